"""imitate: policies that choose the actions of a known expert."""

import copy

import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import CASES, TABLES, RandomEnv, small_agent

import npr
from npr.backend import to_host
from npr.errors import ConfigError, NumericsError
from npr.files.parts import arrays_of, parts

BOX = ["PPO-Box", "DDPG", "TD3", "SoftQ", "SACS", "SAC"]
DISCRETE = ["REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL", "SAC-Discrete"]


def observations(n, size, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, size))


def torque(s):
    """A smooth controller, in the units of Pendulum-v1."""
    return 1.8 * np.tanh(2 * s[:, :1] - s[:, 1:2])


def push(s):
    return (s[:, 0] + s[:, 2] > 0).astype(int)


@pytest.mark.parametrize("case", BOX)
def test_a_controller_is_recovered(case):
    agent, s = small_agent(case, net_arch=[32]), observations(2_000, 3)
    result = agent.imitate(s, torque(s), epochs=15, learning_rate=3e-3)
    new = observations(500, 3, seed=1)
    error = np.abs(agent.act(new) - torque(new)).mean()
    assert error < 0.15, "of torques from -1.8 to 1.8"
    assert result.accuracy is None and abs(result.error - error) < 0.05
    assert result.losses.shape == (15,) and result.losses[-1] < result.losses[0]


@pytest.mark.parametrize("case", DISCRETE)
def test_choices_are_recovered(case):
    agent, s = small_agent(case, net_arch=[32]), observations(2_000, 4)
    result = agent.imitate(s, push(s), epochs=10, learning_rate=3e-3)
    new = observations(500, 4, seed=1)
    assert (agent.act(new) == push(new)).mean() > 0.96
    assert result.accuracy > 0.97 and result.error is None
    assert result.accuracy == np.mean(agent.act(s) == push(s))


def with_actions(space):
    return RandomEnv(spaces.Box(-1, 1, (2,)), space)


@pytest.mark.parametrize(
    ("space", "expert"),
    [
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), lambda s: (s > 0) + [1, 0]),
        (spaces.MultiBinary(2), lambda s: (s > 0).astype(np.int8)),
    ],
    ids=["MultiDiscrete", "MultiBinary"],
)
def test_several_choices_count_as_one_action(space, expert):
    agent = npr.PPO(with_actions(space), seed=0, verbose=0, n_envs=1, net_arch=[32])
    s = observations(1_000, 2)
    result = agent.imitate(s, expert(s), epochs=30)
    assert result.accuracy == np.mean((agent.act(s) == expert(s)).all(axis=1)) > 0.95


def test_choices_and_numbers_of_a_dict_are_compared_apart():
    space = spaces.Dict(lever=spaces.Discrete(2, start=1), place=spaces.Box(-2, 2, (1,)))
    agent = npr.PPO(with_actions(space), seed=0, verbose=0, n_envs=1, net_arch=[32])
    s = observations(1_000, 2)
    expert = {"lever": 1 + (s[:, 0] > 0), "place": 1.5 * np.tanh(s[:, 1:]).astype(np.float32)}
    result = agent.imitate(s, expert, epochs=30, learning_rate=3e-3)
    chosen = agent.act(s)
    assert result.accuracy == np.mean(chosen["lever"] == expert["lever"]) > 0.95
    assert result.error == pytest.approx(np.abs(chosen["place"] - expert["place"]).mean(), rel=1e-5)
    assert result.error < 0.1, "of places from -1.2 to 1.2"


def test_a_mixture_of_actions_is_learned_as_probabilities():
    """Three of four times action 1: maximum likelihood gives 3/4, in nats log 4 - 3/4 log 3."""
    agent = npr.PPO("CartPole-v1", seed=0, verbose=0, n_envs=1, net_arch=[])
    s, a = np.zeros((400, 4)), np.tile([0, 1, 1, 1], 100)
    result = agent.imitate(s, a, epochs=150, batch_size=400, learning_rate=0.03)
    p = np.exp(to_host(agent.pi(agent.theta, np.zeros((1, 4), np.float32)).logp))
    np.testing.assert_allclose(p, [[0.25, 0.75]], atol=1e-3)
    np.testing.assert_allclose(result.losses[-1], np.log(4) - 0.75 * np.log(3), atol=1e-5)


def test_a_gaussian_learns_the_spread_of_the_data():
    agent = npr.PPO("Pendulum-v1", seed=0, verbose=0, n_envs=1, net_arch=[])
    a = np.random.default_rng(0).normal(0.4, 0.2, (1_000, 1))  # of torques, half of them in [-1, 1]
    agent.imitate(np.zeros((1_000, 3)), a, epochs=300, batch_size=1_000, learning_rate=0.03)
    np.testing.assert_allclose(np.exp(agent.theta[-1]), (a / 2).std(), rtol=0.01)


def test_a_sampler_keeps_the_two_sides_of_its_data():
    """Actions at -1.2 and 1.2: the squared error is least at 0, the energy distance is not."""
    agent = small_agent("SoftQ", net_arch=[32])
    a = np.tile([[-1.2], [1.2]], (500, 1))
    agent.imitate(np.zeros((1_000, 3)), a, epochs=80, batch_size=100, learning_rate=3e-3)
    drawn = agent.act(np.zeros((1_000, 3)), deterministic=False)[:, 0]
    assert 0.4 < (drawn > 0).mean() < 0.6
    assert (np.abs(np.abs(drawn) - 1.2) < 0.4).mean() > 0.7


def test_masks_count_in_the_likelihood():
    """Where one action is allowed its probability is 1, and nothing is learned from it."""
    agent = npr.PPO(
        with_actions(spaces.Discrete(3)),
        seed=0,
        verbose=0,
        n_envs=1,
        net_arch=[8],
        action_masks=True,
    )
    before, s = agent.theta.copy(), observations(64, 2)
    masks = np.tile([0, 1, 0], (64, 1))
    result = agent.imitate(s, np.ones(64, int), epochs=3, action_masks=masks)
    assert result.losses.tolist() == [0, 0, 0] and result.accuracy == 1
    assert np.array_equal(agent.theta, before)
    with pytest.raises(ConfigError, match="action_masks forbid the action in row 0"):
        agent.imitate(s, np.zeros(64, int), action_masks=masks)
    with pytest.raises(ConfigError, match="action_masks=True"):
        small_agent("PPO").imitate(observations(3, 4), [0, 1, 1], action_masks=np.ones((3, 2)))


@pytest.mark.parametrize("case", ["PPO", "SAC", "SoftQ", "TD3"])
def test_the_same_seed_gives_the_same_bits_and_nothing_else_changes(case):
    agent = small_agent(case)
    size = agent.observations.size
    s = observations(100, size)
    a = push(s) if size == 4 else torque(s)
    before = {name: copy.deepcopy(arrays_of(name, part)) for name, part in parts(agent).items()}
    other = copy.deepcopy(agent)
    one, two = (x.imitate(s, a, epochs=2) for x in (agent, other))
    assert one.losses.tobytes() == two.losses.tobytes()
    changed = set()
    for name, part in parts(agent).items():
        for key, array in arrays_of(name, part).items():
            assert np.array_equal(array, arrays_of(name, parts(other)[name])[key]), key
            if not np.array_equal(array, before[name][key]):
                changed.add(name)
    actor = agent.policy_parameters
    assert changed == ({actor, "phi_bar"} if case == "TD3" else {actor})
    if case == "TD3":
        assert np.array_equal(agent.phi, agent.phi_bar)
    assert agent.n_updates == agent.num_timesteps == 0


def test_an_imitator_learns_on_and_resumes_exactly(tmp_path):
    agent = small_agent("PPO").learn(24)  # half a rollout is kept
    assert len(agent.steps) == 8
    s = observations(100, 4)
    agent.imitate(s, push(s), epochs=2)
    assert not agent.steps, "steps of the policy before"
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    for one in (agent, loaded):
        one.imitate(s, push(s), epochs=1)
        one.learn(40, reset_num_timesteps=False)
    assert np.array_equal(agent.theta, loaded.theta)


def test_hidden_layers_that_the_critic_shares_are_those_of_the_new_policy():
    agent, s = small_agent("PPO", vf_share_layers=True, net_arch=[8]), observations(64, 4)
    agent.imitate(s, push(s), epochs=1)
    shared = (4 + 1) * 8
    assert (agent.phi[:shared] == agent.theta[:shared]).all()


def test_observations_are_normalized_by_their_own_moments_at_first():
    agent = small_agent("PPO", net_arch=[32], normalize_obs=True)
    s = 1_000 + 50 * observations(2_000, 4)
    a = push(s - 1_000)
    assert agent.imitate(s, a, epochs=15).accuracy > 0.97
    np.testing.assert_allclose(agent.obs_norm.moments.mean, s.mean(axis=0), rtol=1e-5)
    agent.imitate(s, a, epochs=1)
    assert agent.obs_norm.moments.count == 2_000, "not a second time"


@pytest.mark.parametrize("case", ["DQN", "PERDQN", "SoftQ-n", *TABLES])
def test_an_algorithm_without_an_actor_says_so(case):
    agent = small_agent(case)
    with pytest.raises(ConfigError, match=rf"{CASES[case][0]} chooses actions by their values"):
        agent.imitate(np.zeros((2, 4)), [0, 1])


BAD = [
    ({"observations": np.zeros((3, 5))}, "observations do not fit"),
    ({"actions": [0, 2, 0]}, "actions: The action .* is outside"),
    ({"actions": [0, 1]}, "one action for each observation"),
    ({"observations": np.zeros((0, 4)), "actions": np.zeros(0, int)}, "at least one"),
    ({"epochs": 0}, "epochs must be a whole number"),
    ({"batch_size": 1.5}, "batch_size must be a whole number"),
    ({"learning_rate": 0}, "learning_rate must be a number above 0"),
    ({"learning_rate": True}, "learning_rate must be a number above 0"),
    ({"learning_rate": "linear:1"}, "learning_rate must be a number above 0"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=[message for _, message in BAD])
def test_what_does_not_fit_is_refused_and_nothing_is_learned(wrong, message):
    agent = small_agent("PPO", normalize_obs=True)
    before = agent.theta.copy()
    with pytest.raises(ConfigError, match=message):
        agent.imitate(**{"observations": np.zeros((3, 4)), "actions": [0, 1, 1], **wrong})
    assert np.array_equal(agent.theta, before) and not agent.obs_norm.moments.count


def test_divergence_is_an_error():
    agent, s = small_agent("DDPG"), observations(64, 3)
    agent.phi[:] = np.nan
    with pytest.raises(NumericsError, match=r"has diverged: the loss of epoch 1 is nan"):
        agent.imitate(s, torque(s), epochs=5)


def test_it_is_refused_while_the_agent_learns():
    agent = small_agent("PPO")
    with pytest.raises(ConfigError, match="is learning"):
        agent.learn(60, callback=lambda agent: agent.imitate(np.zeros((1, 4)), [0]))


def test_a_critic_with_the_layers_of_the_actor_has_those_that_were_learned():
    agent = small_agent("PPO", vf_share_layers=True, layer_norm=True)
    s = observations(64, 4)
    agent.imitate(s, push(s), epochs=2)
    shared = agent.phi.copy()
    agent.share_layers()
    np.testing.assert_array_equal(agent.phi, shared)
