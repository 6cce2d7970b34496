"""Environments in JavaScript are Gymnasium's: whole episodes step by step, and their tables."""

import json
import shutil
import subprocess

import gymnasium
import numpy as np
import pytest
from support import ROOT, TESTS
from support.pages import CONTROL, GRIDS

if shutil.which("node") is None:
    pytest.skip("node is not installed", allow_module_level=True)

ENVS = ROOT / "npr" / "report" / "envs.mjs"


def answers(*cases):
    """What the driver answers to cases, [{"ask": ..., ...}]."""
    done = subprocess.run(
        ["node", TESTS / "report" / "envs_driver.mjs", ENVS],
        input=json.dumps(cases), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def actions_of(policy, env, observation, t):
    """The action of a policy of these tests: random, at the bounds, or with the velocity."""
    space = env.action_space
    if policy == "random":
        return space.sample()
    if isinstance(space, gymnasium.spaces.Box):
        sign = np.sign(observation[-1]) if policy == "swing" else (-1) ** (t // 9)
        return (space.high * np.float32(sign or 1)).astype(np.float32)
    if space.n == 2:  # balances the pole
        return int(observation[2] + 0.5 * observation[3] + 0.1 * observation[1] > 0)
    if policy == "swing":
        return 2 if observation[-1] >= 0 else 0
    return (t // 9) % space.n


def played(id, kwargs, seed, policy):
    """An episode in Gymnasium, to its end: the case for the driver, and what it must answer."""
    env = gymnasium.make(id, disable_env_checker=True, **kwargs)
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    state = np.asarray(env.unwrapped.state, np.float64).tolist()
    rows = {"first": observation, "obs": [], "rewards": [], "terminated": [], "truncated": []}
    actions, done = [], False
    while not done:
        action = actions_of(policy, env, observation, len(actions))
        observation, reward, terminated, truncated, _ = env.step(action)
        actions.append(np.asarray(action, np.float64).tolist())
        for name, value in zip([*rows][1:], (observation, reward, terminated, truncated)):
            rows[name].append(value)
        done = terminated or truncated
    case = {"ask": "episode", "id": id, "kwargs": kwargs, "state": state, "actions": actions}
    return case, rows


def test_whole_episodes_are_those_of_gymnasium():
    expected = [
        played(id, kwargs, seed, policy)
        for id, variants in CONTROL.items()
        for kwargs in variants
        for policy in ("random", "swing", "slow")
        for seed in (0, 1, 2)
    ]
    ends = set()
    for (case, rows), got in zip(expected, answers(*[case for case, _ in expected]), strict=True):
        note = f"{case['id']} {case['kwargs']}"
        for name in ("terminated", "truncated"):
            assert got[name] == [*map(bool, rows[name])], note
            ends |= {(case["id"], name)} if got[name][-1] else set()
        for name in ("first", "obs", "rewards"):
            np.testing.assert_allclose(
                np.float64(got[name]), np.float64(rows[name]), rtol=0, atol=1e-6, err_msg=note
            )
    # both ends of an episode have been seen
    both = {"CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"}
    wanted = {(id, end) for id in both for end in ("terminated", "truncated")}
    assert ends >= wanted | {("Pendulum-v1", "truncated")}


def merged(outcomes):
    """{(next state, reward, terminated): probability} of what a table holds for an action."""
    found = {}
    for p, state, reward, terminated in outcomes:
        key = int(state), float(reward), bool(terminated)
        found[key] = found.get(key, 0) + p
    return found


def test_transition_tables_are_those_of_gymnasium():
    cases = [(id, kwargs) for id, variants in GRIDS.items() for kwargs in variants]
    got = answers(*[{"ask": "table", "id": id, "kwargs": kwargs} for id, kwargs in cases])
    for (id, kwargs), found in zip(cases, got, strict=True):
        env = gymnasium.make(id, **kwargs).unwrapped
        assert len(found["table"]) == len(env.P)
        for state, actions in env.P.items():
            assert len(found["table"][state]) == len(actions)
            for action, outcomes in actions.items():
                expected = {k: p for k, p in merged(outcomes).items() if p}
                assert merged(found["table"][state][action]) == pytest.approx(expected), (id, state)
        starts = np.zeros(len(env.P))
        np.add.at(starts, found["first"], 1 / len(found["first"]))
        np.testing.assert_allclose(starts, env.initial_state_distrib)


def test_masks_of_the_taxi_are_those_of_gymnasium():
    (got,) = answers({"ask": "masks", "id": "Taxi-v4"})
    env = gymnasium.make("Taxi-v4").unwrapped
    assert got == [env.action_mask(state).tolist() for state in range(500)]


def test_steps_of_a_grid_are_drawn_from_its_table():
    """From the same state each outcome comes as often as the table says."""
    n, state, action = 3_000, 14, 2
    (got,) = answers(
        {"ask": "draws", "id": "FrozenLake-v1", "state": state, "action": action, "n": n}
    )
    counts = np.bincount(got, minlength=16) / n
    env = gymnasium.make("FrozenLake-v1").unwrapped
    for p, following, _, _ in env.P[state][action]:
        assert abs(counts[following] - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_time_limits_and_start_states_are_those_of_gymnasium():
    (ids,) = answers({"ask": "ids"})
    assert set(ids) == {*CONTROL, *GRIDS}
    limits = answers(*[{"ask": "limit", "id": id} for id in ids])
    assert dict(zip(ids, limits)) == {id: gymnasium.spec(id).max_episode_steps for id in ids}
    n = 2_000
    starts = answers(*[{"ask": "starts", "id": id, "n": n} for id in CONTROL])
    for id, got in zip(CONTROL, map(np.array, starts)):
        env = gymnasium.make(id)
        theirs = []
        for seed in range(200):
            env.reset(seed=seed)
            theirs.append(env.unwrapped.state)
        low, high = np.min(theirs, 0), np.max(theirs, 0)
        np.testing.assert_allclose(got.min(0), low, atol=0.05 * (1e-9 + np.max(high - low)))
        np.testing.assert_allclose(got.max(0), high, atol=0.05 * (1e-9 + np.max(high - low)))


def test_noise_has_the_given_size_and_no_mean():
    n = 4_000
    (clean,), noisy = answers(
        {"ask": "noise", "id": "MountainCar-v0", "noise": 0, "n": 1},
        {"ask": "noise", "id": "MountainCar-v0", "noise": 0.5, "n": n},
    )
    error = np.array(noisy) - clean
    np.testing.assert_allclose(error.std(0), [0.15, 0.01], rtol=0.05)
    assert (np.abs(error.mean(0)) < 5 * error.std(0) / np.sqrt(n)).all()
    (seen,) = answers({"ask": "noise", "id": "FrozenLake-v1", "noise": 0.25, "n": n})
    assert abs(np.mean(np.array(seen) != 0) - 0.25 * 15 / 16) < 5 * np.sqrt(0.25 / n)
