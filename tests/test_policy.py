"""Policies: heads choose as their distributions do, specs, copies, and no stale parameters."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import CASES, TABLES, RandomEnv, observations, small_agent, trained

import npr
from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.errors import ConfigError
from npr.heads import HEADS, ArgmaxHead, CategoricalHead, TableHead, TanhHead, policy_head
from npr.normalize import ObservationNorm
from npr.policy import Policy

every_case = pytest.mark.parametrize("case", CASES)

DISCRETE = actions_from_spec({"kind": "discrete", "n": 3, "start": 0})
BOX = actions_from_spec(
    {"kind": "box", "shape": [2], "dtype": "float32", "low": [-1, -1], "high": [1, 1]}
)
MULTI = actions_from_spec({"kind": "multidiscrete", "nvec": [3, 2], "start": [0, 0]})
BITS = actions_from_spec({"kind": "multibinary", "shape": [3]})
EVERY_ACTION = {actions.kind: actions for actions in (DISCRETE, BOX, MULTI, BITS)}
STATES = observations_from_spec({"kind": "box", "shape": [4]})
INDICES = observations_from_spec({"kind": "discrete", "n": 5, "start": 0})


def random_policy(head, seed=0, **settings):
    """A policy of one hidden layer, its parameters drawn at random."""
    n = STATES.size + head.noise_inputs
    sizes = [n, 6, head.outputs]
    size = sum((a + 1) * b for a, b in zip(sizes, sizes[1:])) + head.free
    theta = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    given = {"sizes": sizes, "activation": "tanh", "free": head.free, **settings}
    return Policy(STATES, head, theta, **given)


def head_cases():
    return [
        head(actions)
        for head in HEADS.values()
        for kind, actions in EVERY_ACTION.items()
        if kind in head.kinds and head is not TableHead
    ]


every_head = pytest.mark.parametrize("head", head_cases(), ids=lambda head: head.name)


# ---- heads


@every_head
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_head_chooses_actions_of_its_space(head, deterministic):
    policy, rng = random_policy(head), np.random.default_rng(1)
    s = rng.standard_normal((50, 4)).astype(np.float32)
    a = policy.choose(s, deterministic, rng)
    shape, _ = head.actions.columns()
    assert a.shape == (50, *shape) and head.actions.contains(a)
    assert len(policy(s, deterministic, rng)) == 50 and len({str(x) for x in a}) > 1


@pytest.mark.parametrize("kind", EVERY_ACTION)
@pytest.mark.parametrize("squashed", [False, True])
def test_the_deterministic_action_is_the_mode(kind, squashed):
    head = policy_head(EVERY_ACTION[kind], squashed)
    policy = random_policy(head)
    s = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    pi = head(policy.outputs(s))
    np.testing.assert_array_equal(policy.choose(s), pi.mode())


@pytest.mark.parametrize("kind", EVERY_ACTION)
@pytest.mark.parametrize("squashed", [False, True])
def test_random_actions_have_the_mean_of_the_distribution(kind, squashed):
    """Acting on the host and sampling for learning implement the same distribution twice."""
    head = policy_head(EVERY_ACTION[kind], squashed)
    policy, rng = random_policy(head), np.random.default_rng(2)
    s = np.repeat(rng.standard_normal((1, 4)).astype(np.float32), 40_000, axis=0)
    acted, drawn = policy.choose(s, False, rng), head(policy.outputs(s)).draw(rng)
    assert acted.shape == drawn.shape
    error = acted.mean(axis=0) - drawn.mean(axis=0)
    assert (abs(error) < 5 * (acted.std(axis=0) + 1e-9) / np.sqrt(20_000)).all()


def test_the_temperature_divides_the_logits():
    head = CategoricalHead(DISCRETE, temperature=0.5)
    y = np.array([[0.0, 1.0, 2.0]])
    np.testing.assert_allclose(np.exp(head(y).logp[0]), [0.015876, 0.117310, 0.866813], atol=1e-6)
    drawn = head.choose(np.repeat(y, 20_000, axis=0), np.random.default_rng(0))
    frequencies = np.bincount(drawn) / 20_000
    np.testing.assert_allclose(frequencies, [0.015876, 0.117310, 0.866813], atol=0.01)


@pytest.mark.parametrize("name", ["argmax", "dueling", "table"])
def test_epsilon_is_the_probability_of_a_random_action(name):
    head = HEADS[name](DISCRETE, epsilon=0.3)
    y = np.zeros((30_000, head.outputs), np.float32)
    y[:, -1] = 1
    frequencies = np.bincount(head.choose(y, np.random.default_rng(0))) / len(y)
    np.testing.assert_allclose(frequencies, [0.1, 0.1, 0.8], atol=0.01)
    assert (head.choose(y, None) == 2).all()


@pytest.mark.parametrize("kind", EVERY_ACTION)
def test_a_uniform_action_is_one_of_its_space(kind):
    actions, rng = EVERY_ACTION[kind], np.random.default_rng(0)
    a = actions.uniform(rng, 1_000)
    shape, dtype = actions.columns()
    assert a.shape == (1_000, *shape) and a.dtype == dtype and actions.contains(a)
    assert not actions.contains(a * np.nan if dtype.kind == "f" else a - 1)
    middle = (a.max(axis=0) + a.min(axis=0)) / 2
    np.testing.assert_allclose(a.mean(axis=0), middle, atol=0.1)


def test_heads_with_equal_settings_are_equal():
    assert ArgmaxHead(DISCRETE, 0.1) == ArgmaxHead(DISCRETE, 0.1) != ArgmaxHead(DISCRETE, 0.2)
    assert ArgmaxHead(DISCRETE) != TableHead(DISCRETE)


# ---- the spec


@every_case
def test_a_spec_describes_the_policy(case):
    agent = trained(case, **({} if case in TABLES else {"normalize_obs": True}))
    policy = agent.policy
    other = Policy.from_spec(policy.spec, policy.theta, policy.norm)
    assert other.spec == policy.spec and other.head.name in HEADS
    obs = observations(agent, 20)
    for deterministic in (True, False):
        mine, theirs = (p(obs, deterministic, np.random.default_rng(0)) for p in (policy, other))
        np.testing.assert_array_equal(mine, theirs)


SPEC = random_policy(ArgmaxHead(DISCRETE)).spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evil": 1}, r"The spec of a policy has observations, .*got .*evil"),
        ({"head": "softmax"}, r"head 'softmax' is not known; heads are table, argmax, dueling"),
        ({"head": ["argmax"]}, r"head \['argmax'\] is not known"),
        ({"activation": "gelu"}, r"activation='gelu' is not known; use relu, tanh, elu, identity"),
        ({"head": "tanh"}, r"'tanh' .* does not support discrete.*; it supports box actions"),
        ({"temperature": 0}, r"at temperature 0 does not support .* at a temperature above 0"),
        ({"temperature": np.nan}, r"at temperature nan"),
        ({"epsilon": 1.5}, r"epsilon must be a probability, got 1.5"),
        ({"normalize": True}, r"normalize=True does not match norm=None"),
        ({"sizes": None}, r"a network has sizes; got sizes=None .* head 'argmax'"),
        ({"head": "table"}, r"A table has neither sizes nor norm.*got sizes=\[4, 6, 3\]"),
        ({"sizes": [4, 6.0, 3]}, r"Widths must be at least two whole numbers"),
        ({"sizes": [3]}, r"Widths must be at least two whole numbers"),
        ({"sizes": [4, 6, 2]}, r"does not map 4 inputs to 3 outputs, as the head 'argmax'"),
        ({"head": "dueling"}, r"does not map 4 inputs to 4 outputs, as the head 'dueling'"),
        ({"sizes": [4, 5, 3]}, r"Widths \[4, 5, 3\] need 43 parameters, got \(51,\)"),
    ],
    ids=str,
)
def test_an_invalid_spec_is_refused(change, message):
    theta = random_policy(ArgmaxHead(DISCRETE)).theta
    with pytest.raises(ConfigError, match=message):
        Policy.from_spec({**SPEC, **change}, theta)


def test_invalid_parameters_are_refused():
    with pytest.raises(ConfigError, match="not finite floating-point numbers"):
        Policy.from_spec(SPEC, np.full(51, np.inf))
    with pytest.raises(ConfigError, match=r"table must have shape \(5, 3\), got \(3, 5\)"):
        Policy(INDICES, TableHead(DISCRETE), np.zeros((3, 5)))
    with pytest.raises(ConfigError, match="neither sizes nor norm"):
        Policy(INDICES, TableHead(DISCRETE), np.zeros((5, 3)), norm=ObservationNorm(5))
    with pytest.raises(ConfigError, match="A table needs Discrete observations, got .*box"):
        Policy(STATES, TableHead(DISCRETE), np.zeros((4, 3)))(np.zeros(4))


# ---- copies and rebound parameters

COPIES = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda policy: pickle.loads(pickle.dumps(policy)),
}


@every_case
@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_acts_the_same_and_its_layers_are_views_of_its_theta(case, copied):
    agent = trained(case)
    policy, obs = agent.policy, observations(agent, 30)
    other = COPIES[copied](policy)
    assert other.spec == policy.spec and other.actions is other.head.actions
    np.testing.assert_array_equal(other(obs), policy(obs))
    shared = copied == "copy.copy"
    assert np.shares_memory(other.theta, policy.theta) == shared
    x = policy.encode(obs)
    if policy.head.noise_inputs:
        x = np.concatenate([x, np.zeros((30, policy.head.noise_inputs), x.dtype)], axis=-1)
    before = policy.outputs(x)
    other.theta[...] = 0
    assert not other.outputs(x).any()
    assert shared or np.array_equal(policy.outputs(x), before)


@every_case
def test_predict_follows_parameters_that_are_rebound(case):
    agent = trained(case)
    *_, theta = agent.acts_by()
    name = next(name for name, part in vars(agent).items() if part is theta)
    obs = observations(agent, 30)
    agent.act(obs)
    setattr(agent, name, -3 * theta)
    fresh = Policy.from_spec(agent.policy.spec, -3 * theta)
    np.testing.assert_array_equal(agent.act(obs), fresh(obs))
    assert agent.policy is agent.policy


def test_predict_follows_parameters_that_change_in_place():
    agent = small_agent("DQN")
    agent.act(np.ones(4))
    agent.theta[:] = 0
    agent.theta[-2:] = 0, 1
    assert agent.act(np.ones(4)) == 1
    agent.theta[-2:] = 1, 0
    assert agent.act(np.ones(4)) == 0


def test_predict_follows_settings_that_change():
    agent, obs = small_agent("DQN", exploration_final_eps=0.0), np.ones((1_000, 4))
    assert len(set(agent.predict(obs)[0].tolist())) == 1
    agent.exploration_final_eps = 1.0
    assert agent.predict(obs)[0].mean() == pytest.approx(0.5, abs=0.1)
    agent = small_agent("SoftQ-n", ent_coef=1.0)
    agent.theta[:] = 0
    agent.theta[-2:] = 0, 1
    assert agent.predict(obs)[0].mean() == pytest.approx(0.731, abs=0.07)
    agent.ent_coef = 0.1
    assert agent.predict(obs)[0].mean() > 0.99


def test_a_file_has_the_names_of_the_parameters_of_the_policy(tmp_path):
    for case, name in (("DQN", "theta"), ("SAC", "phi"), ("QLearning", "Q"), ("SoftQ-n", "theta")):
        agent = small_agent(case)
        agent.save(tmp_path / "a.npz")
        manifest, _ = npr.files.archive.read_archive(tmp_path / "a.npz")
        assert manifest["policy_parameters"] == f"params/{name}"


def test_a_sampler_takes_noise_and_the_observation():
    policy = random_policy(HEADS["sampler"](BOX))
    assert policy.spec["sizes"] == [6, 6, 2]
    s = np.ones((2, 4), np.float32)
    calm, drawn = policy.choose(s), policy.choose(s, False, np.random.default_rng(0))
    assert (calm[0] == calm[1]).all() and (drawn[0] != drawn[1]).all()
    assert isinstance(policy.head, TanhHead)


# ---- arguments


@pytest.mark.parametrize("case", ["DQN", "QLearning", "PPO"])
def test_what_an_environment_returns_is_not_an_observation(case):
    agent = small_agent(case)
    env = gymnasium.make(agent.env_id)
    reset = env.reset(seed=0)
    with pytest.raises(ConfigError, match="Got what reset.. returns.*: observation, info = env"):
        agent.act(reset)
    with pytest.raises(ConfigError, match="Got what reset.. returns"):
        agent.predict(reset)
    action = agent.act(reset[0])
    with pytest.raises(ConfigError, match=r"Got what step\(action\) returns.*: observation, \*_"):
        agent.policy(env.step(action))


@pytest.mark.parametrize(
    "space",
    [spaces.Tuple([spaces.Discrete(3), spaces.Dict(a=spaces.Box(-1, 1, (2,)))]),
     spaces.Tuple([spaces.Discrete(3), spaces.Discrete(2)]),
     spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1, 2))],
    ids=str,
)  # fmt: skip
def test_tuples_that_are_observations_are_taken(space):
    env = RandomEnv(space, spaces.Discrete(2))
    agent = small_agent("DQN", env=env)
    observation, _ = env.reset(seed=0)
    expected = agent.act(observation)
    if isinstance(space, spaces.Box):
        observation = tuple(observation.tolist())
    assert agent.act(observation) == expected


@pytest.mark.parametrize("inner", [spaces.Discrete(3), spaces.Dict(a=spaces.Discrete(3))])
def test_a_reset_of_an_environment_with_tuples_is_not_an_observation(inner):
    env = RandomEnv(spaces.Tuple([inner, spaces.Discrete(2)]), spaces.Discrete(2))
    agent = small_agent("DQN", env=env)
    with pytest.raises(ConfigError, match=r"Got what reset\(\) returns"):
        agent.act(env.reset(seed=0))
