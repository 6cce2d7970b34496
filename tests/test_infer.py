"""npr.infer: one observation as fast as NumPy allows, with the results of a batch; NumPy alone."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import export_cases as cases
from support import processes
from support.small_agents import CASES as AGENTS
from support.small_agents import observations, trained

import npr
from npr.errors import EnvContractError
from npr.export import graph_of

FAST = [case for case in cases.CASES if cases.policy(case)._one_row is not None]


def slow(policy, observation, mask=None):
    """The action for one observation, in the way of a batch."""
    a = policy.choose(policy.encode(observation), masks=None if mask is None else mask[None])
    return policy.actions.to_env(a[0])


def masks_of(policy, rows):
    """A mask for each of the rows, None for policies that take none."""
    masks = cases.masks(graph_of(policy), rows)
    return [None] * len(rows) if masks is None else masks


def leaves(action):
    """The arrays and numbers of an action, which may be a Dict or Tuple."""
    if isinstance(action, dict | tuple):
        parts = action.values() if isinstance(action, dict) else action
        return [leaf for part in parts for leaf in leaves(part)]
    return [action]


def test_most_policies_of_numbers_have_a_fast_way():
    assert {cases.CASES[case][0] for case in FAST} == {
        "argmax", "dueling", "gaussian", "tanh_gaussian", "tanh",
    }  # fmt: skip


@pytest.mark.parametrize("case", cases.CASES)
def test_one_observation_has_the_action_of_a_batch_of_one(case):
    policy = cases.policy(case)
    rows = cases.rows(policy, 200)
    for row, mask in zip(rows, masks_of(policy, rows)):
        observation = cases.observation(policy, row)
        a, b = policy(observation, action_masks=mask), slow(policy, observation, mask)
        assert type(a) is type(b)
        for got, want in zip(leaves(a), leaves(b), strict=True):
            assert type(got) is type(want) and np.shape(got) == np.shape(want)
            assert np.asarray(got).dtype == np.asarray(want).dtype
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f4", "i8", "u1", "?"])
@pytest.mark.parametrize("case", ["tanh_gaussian", "argmax", "gaussian-free-bounds"])
def test_observations_of_every_type_of_number_act(case, dtype):
    policy = cases.policy(case)
    observation = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    np.testing.assert_array_equal(policy(observation), slow(policy, observation))
    np.testing.assert_array_equal(policy(observation.T.copy().T), slow(policy, observation))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", FAST)
def test_an_observation_that_is_not_finite_is_an_error(case, value):
    policy = cases.policy(case)
    observation = cases.observation(policy, cases.rows(policy, 1)[0]).astype(np.float32)
    observation.flat[-1] = value
    n = observation.size
    with pytest.raises(EnvContractError, match=rf"not finite: number {n - 1} of {n}"):
        policy(observation)


@pytest.mark.parametrize(
    "observation", [np.zeros(5), np.zeros((3, 2)), np.array(["a"] * 6).reshape(2, 3),
                    np.zeros((2, 3), complex), np.zeros((2, 3), object), np.array(0.0)],
    ids=["few", "turned", "text", "complex", "objects", "number"],
)  # fmt: skip
def test_an_observation_that_does_not_fit_is_an_error(observation):
    with pytest.raises(EnvContractError):
        cases.policy("gaussian")(observation)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_number_that_is_too_large_is_an_error():
    with pytest.raises(EnvContractError, match="too large for float"):
        cases.policy("gaussian-free-bounds")(np.full((2, 3), 1e308))


@pytest.mark.parametrize("case", FAST)
def test_it_keeps_nothing_and_follows_the_parameters(case):
    policy = cases.policy(case)
    rows = [cases.observation(policy, row) for row in cases.rows(policy, 2)]
    given = [row.copy() for row in rows]
    first = policy(rows[0])
    kept = copy.deepcopy(first)
    policy(rows[1])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(rows, given)
    policy.theta[...] *= -0.5
    if policy.norm is not None:
        policy.norm.add(np.full((50, policy.observations.size), 4.0))
    copies = policy, copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))
    for one in copies:
        np.testing.assert_array_equal(one(rows[0]), slow(policy, rows[0]))


def test_several_threads_share_a_policy():
    policy = cases.policy("tanh_gaussian")
    rows = [cases.observation(policy, row) for row in cases.rows(policy, 400)]
    want = [slow(policy, row) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal([*pool.map(policy, rows * 5)], want * 5)


@pytest.mark.parametrize("case", cases.CASES)
def test_a_batch_has_the_actions_of_the_graph(case):
    policy = cases.policy(case)
    rows = cases.rows(policy, 100)
    batch = [cases.observation(policy, row) for row in rows]
    if not isinstance(batch[0], dict):
        graph = graph_of(policy)
        masks = cases.masks(graph, rows)
        got = cases.flat(policy(np.array(batch), action_masks=masks))
        want = graph(rows, None, masks).reshape(got.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


# ---- NumPy alone

ALONE = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import npr

print(json.dumps([
    np.asarray(npr.infer.load(path)(np.array(observation))).tolist()
    for path, observation in json.loads(sys.argv[1])
]))
"""
BLOCKED = "numba", "llvmlite", "gymnasium", "cupy", "matplotlib", "scipy", "torch"


def test_files_of_every_kind_act_where_only_numpy_is_installed(tmp_path):
    given, want = [], []
    for case in AGENTS:
        agent = trained(case)
        observation = observations(agent, 1)[0]
        agent.save(tmp_path / f"{case}.npz")
        npr.export(agent, tmp_path / f"{case}-alone.npz", episodes=0)
        for name in (f"{case}.npz", f"{case}-alone.npz"):
            given.append((str(tmp_path / name), observation.tolist()))
            want.append(np.asarray(agent.act(observation)).tolist())
    done = processes.run("-c", ALONE.format(blocked=BLOCKED), json.dumps(given))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == want


def test_agents_are_exported_where_only_numpy_is_installed(tmp_path):
    trained("SAC").save(tmp_path / "sac.npz")
    script = ALONE.format(blocked=BLOCKED).partition("print(")[0] + "npr.export(*sys.argv[1:])"
    done = processes.run("-c", script, str(tmp_path / "sac.npz"), str(tmp_path / "policy.js"))
    assert done.returncode == 0, done.stderr
    assert "return not measured: gymnasium" in (tmp_path / "policy.js").read_text()


def test_safetensors_act_where_only_they_and_numpy_are_installed(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is in the test extra")
    agent = trained("SAC")
    observation = observations(agent, 1)[0]
    npr.export(agent, tmp_path / "policy.safetensors", episodes=0)
    given = [(str(tmp_path / "policy.safetensors"), observation.tolist())]
    done = processes.run("-c", ALONE.format(blocked=BLOCKED), json.dumps(given))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [np.asarray(agent.act(observation)).tolist()]
