"""Running normalization: moments against their definitions, and their use in agents."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proof_size import n_trials
from support.small_agents import CASES, TABLES, next_update, parameters, small_agent
from support.toy_envs import ConstantReward, Fixed

import npr
from npr import ConfigError
from npr.backend import FLOAT, to_host
from npr.buffers import ReplayBuffer
from npr.normalize import EPS, Moments, ObservationNorm, RewardNorm

NETWORKS = [case for case in CASES if case not in TABLES]


# ---- moments


@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=9),
    offset=st.sampled_from([0.0, 1e6, -1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_do_not_depend_on_the_batches_of_rows(sizes, offset, seed):
    rng, moments = np.random.default_rng(seed), Moments(3)
    batches = [offset + rng.standard_normal((n, 3)) for n in sizes]
    for batch in batches:
        moments.add(batch)
    rows = np.concatenate(batches)
    assert moments.count == len(rows)
    if len(rows):
        np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-9, atol=1e-9)
    else:
        assert (moments.variance == 1).all()


def test_moments_of_many_rows_do_not_drift():
    """Every block has the same rows with a mean of a million, so the moments stay the same."""
    block = 1e6 + np.random.default_rng(0).standard_normal((1000, 2))
    moments = Moments(2)
    for _ in range(n_trials(2_000, 100_000)):  # two million rows, or a hundred million
        moments.add(block)
    exact = block.astype(np.longdouble)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0).astype(float), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, exact.var(axis=0).astype(float), rtol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(2)}, {"mean": np.zeros(3, np.float32)}, {"mean": np.full(3, np.nan)},
        {"squares": np.full(3, -1.0)}, {"count": np.array(-1)}, {"squares": np.full(3, np.inf)},
    ],
)  # fmt: skip
def test_an_invalid_state_is_refused_and_changes_nothing(change):
    moments = Moments(3)
    moments.add(np.arange(6.0).reshape(2, 3))
    before = {name: array.copy() for name, array in moments.state().items()}
    with pytest.raises(ConfigError):
        moments.load({**before, **change})
    for name, array in moments.state().items():
        np.testing.assert_array_equal(array, before[name])


# ---- observations and rewards


def test_observations_are_standardized_and_clipped():
    rng, norm = np.random.default_rng(0), ObservationNorm(2)
    rows = np.array([5.0, -3.0]) + np.array([2.0, 0.1]) * rng.standard_normal((1000, 2))
    np.testing.assert_allclose(norm(rows.astype(FLOAT)), np.clip(rows, -10, 10), rtol=1e-6)
    norm.add(rows)
    seen = norm(rows.astype(FLOAT))
    assert seen.dtype == FLOAT
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-4)
    assert norm(np.array([1e9, -1e9], FLOAT)).tolist() == [10, -10]


def test_rewards_are_divided_by_the_std_of_discounted_returns():
    """Against a loop over the episodes of two environments."""
    rng, norm, returns = np.random.default_rng(1), RewardNorm(2, 0.9), []
    running = [0.0, 0.0]
    for t in range(50):
        r, done = rng.standard_normal(2), np.array([t % 7 == 6, t % 11 == 10])
        valid = np.array([True, t % 7 != 0 or t == 0])  # an invalid row after each end, in env 1
        norm.add(r, done & valid, valid)
        for i in range(2):
            running[i] = 0.9 * running[i] + r[i] if valid[i] else 0.0
            if valid[i]:
                returns.append(running[i])
            if done[i] and valid[i]:
                running[i] = 0.0
    expected = 1 / np.sqrt(np.var(returns) + EPS)
    assert norm(np.ones(1, FLOAT)).dtype == FLOAT
    assert norm(np.ones(1))[0] == pytest.approx(expected, rel=1e-6)
    assert norm(np.zeros(3)).tolist() == [0, 0, 0], "rewards are not shifted"


@pytest.mark.parametrize("reward", [1.0, -3.5, 0.1, 1e4, 1e-3])
def test_rewards_that_never_vary_stay_in_bounds(reward):
    """Episodes of one step: there is no variance to divide by."""
    norm = RewardNorm(2, 0.99)
    for _ in range(100):
        norm.add(np.full(2, reward), np.ones(2, bool), np.ones(2, bool))
    normalized = norm(np.full(2, reward, FLOAT))
    assert normalized.tolist() == [pytest.approx(np.clip(reward * 1e4, -10, 10))] * 2
    assert norm(np.full(1, 5 * reward), 5)[0] == pytest.approx(5 * normalized[0], rel=1e-5)


def test_normalizing_rewards_leaves_the_given_array_alone():
    norm, r = RewardNorm(1, 0.99), np.array([300.0, -300.0, 0.5], FLOAT)
    assert norm(r).tolist() == [10, -10, 0.5] and r.tolist() == [300, -300, 0.5]


# ---- in an agent


@pytest.mark.parametrize("case", ["PPO", "DQN", "DQN-n", "QLearning"])
def test_a_constant_reward_is_learned_from_within_bounds(case):
    class OneStep(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,))
        action_space = gym.spaces.Discrete(2)

        def reset(self, seed=None, options=None):
            super().reset(seed=seed)
            return self._observe(), {}

        def step(self, action):
            return self._observe(), 1.0, True, False, {}

        def _observe(self):
            return np.zeros(1, np.float32)

    class OneStepTable(OneStep):
        observation_space = gym.spaces.Discrete(2)

        def _observe(self):
            return 0

    table = case == "QLearning"
    agent = small_agent(
        case,
        env=(OneStepTable if table else OneStep)(),
        normalize_reward=True,
        max_episode_steps=None,
    ).learn(200)
    if table:
        assert np.abs(agent.Q).max() <= 10
    else:
        loss = [v for k, v in agent.logger.snapshot().items() if "loss" in k]
        assert loss and np.abs(loss).max() < 200
    assert agent.reward_norm(np.ones(1, FLOAT))[0] == 10


@pytest.mark.parametrize("case", NETWORKS)
def test_batches_are_normalized_with_the_moments_of_all_observations(case):
    agent = small_agent(case, normalize_obs=True, normalize_reward=True)
    seen, step = [], agent.envs.step

    def recorded(a):
        seen.append(agent.envs.s.copy())
        return step(a)

    agent.envs.step = recorded
    agent.learn(96)
    moments = agent.obs_norm.moments
    assert 64 <= moments.count <= len(seen) == 96
    rows = np.concatenate(seen[: moments.count]).astype(np.float64)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-6, atol=1e-9)
    s = to_host(next_update(agent)[0])
    assert np.abs(s).max() <= 10 and s.std() > 0.1
    assert all(np.isfinite(array).all() for array in parameters(agent).values())


@pytest.mark.parametrize("case", ["DQN", "DDPG", "SAC"])
def test_learning_does_not_depend_on_the_units_of_observations(case):
    """With observations in other units the inputs of the network are the same."""

    class ScaledObservation(gym.ObservationWrapper):
        def __init__(self, env, unit):
            super().__init__(env)
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, env.observation_space.shape)
            self.unit = unit

        def observation(self, observation):
            return (observation * self.unit).astype(np.float32)

    def agent(unit):
        env = ScaledObservation(gym.make(CASES[case][1]), unit)
        return small_agent(case, env=env, normalize_obs=True).learn(96)

    one, other = agent(1), agent(64)
    s = np.random.default_rng(0).standard_normal((20, one.observations.size)).astype(np.float32)
    np.testing.assert_allclose(
        one.policy.outputs(one.obs_norm(s)), other.policy.outputs(other.obs_norm(64 * s)), atol=1e-3
    )


def test_a_replay_stores_raw_and_samples_normalized_observations():
    norm, rewards, rng = ObservationNorm(2), RewardNorm(1, 0.9), np.random.default_rng(0)
    buffer = ReplayBuffer(8, 2, obs_norm=norm, reward_norm=rewards)
    stored = ReplayBuffer(8, 2)
    s = rng.standard_normal((8, 2)).astype(FLOAT) * 5 + 3
    for each in (buffer, stored):
        each.add(s, np.zeros(8, int), np.arange(8), s + 1, np.zeros(8))
    norm.add(s)
    rewards.add(np.array([3.0]), np.array([False]), np.array([True]))
    rewards.add(np.array([-3.0]), np.array([False]), np.array([True]))
    plain = [to_host(x) for x in stored.gather(np.arange(8))[:5]]
    seen = [to_host(x) for x in buffer.gather(np.arange(8))[:5]]
    np.testing.assert_array_equal(buffer.s, s)
    np.testing.assert_array_equal(seen[0], norm(plain[0]))
    np.testing.assert_array_equal(seen[3], norm(plain[3]))
    np.testing.assert_array_equal(seen[2], rewards(plain[2]))
    np.testing.assert_array_equal(seen[4], plain[4])


def test_acting_and_evaluating_do_not_change_the_moments(tmp_path):
    agent = small_agent("SAC", normalize_obs=True).learn(64)
    before = agent.obs_norm.moments.mean.copy(), agent.obs_norm.moments.count
    agent.evaluate(episodes=2)
    agent.act(np.ones(3)), agent.predict(np.ones((4, 3)))
    assert (agent.obs_norm.moments.mean == before[0]).all()
    assert agent.obs_norm.moments.count == before[1]


@pytest.mark.parametrize("case", NETWORKS)
def test_the_policy_and_its_file_contain_the_moments(case, tmp_path):
    agent = small_agent(case, normalize_obs=True).learn(96)
    agent.save(tmp_path / "a.npz")
    policy, loaded = npr.infer.load(tmp_path / "a.npz"), npr.load(tmp_path / "a.npz")
    s = 3 * np.random.default_rng(0).standard_normal((50, agent.observations.size))
    for acts in (policy, loaded.act):
        np.testing.assert_array_equal(acts(s.astype(np.float32)), agent.act(s.astype(np.float32)))
    assert (policy.norm.moments.mean == agent.obs_norm.moments.mean).all()
    assert policy.norm.moments.mean.any()


def test_learning_does_not_depend_on_the_scale_of_rewards():
    """The value of a state is the same with reward 1 and with reward a million."""

    class ScaledReward(ConstantReward):
        def __init__(self, scale):
            super().__init__(length=10)
            self.scale = scale

        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, self.scale * reward, *rest

    values = []
    for scale in (1.0, 1e6):
        agent = small_agent("DQN", env=ScaledReward(scale), normalize_reward=True, gamma=0.9).learn(
            400
        )
        values.append(float(agent.Q(agent.theta, np.ones((1, 1), FLOAT)).max()))
    assert values[0] == pytest.approx(values[1], rel=0.05)


def test_a_table_normalizes_rewards_but_not_observations():
    with pytest.raises(ConfigError, match="QLearning: normalize_obs=True needs observations that"):
        npr.QLearning("CliffWalking-v1", normalize_obs=True)
    plain, scaled = (small_agent("QLearning", normalize_reward=n).learn(96) for n in (False, True))
    assert plain.Q.any() and scaled.Q.any() and (plain.Q != scaled.Q).any()


def test_a_constant_observation_is_normalized_to_zero():
    space = gym.spaces.Box(-10, 10, (2,), np.float32)
    env = Fixed(space, np.array([4.0, -7.0], np.float32))
    agent = small_agent("DQN", env=env, normalize_obs=True).learn(40)
    assert agent.obs_norm(agent.envs.s).tolist() == [[0.0, 0.0]]
    assert np.isfinite(agent.theta).all()
