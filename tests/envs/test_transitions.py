"""`interact` yields the transitions that single environments yield in a plain loop.

The reference is `toy_envs.single_env_rows`."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from support.recorders import (
    KINDS,
    SYNC_KINDS,
    CartPoleRecorder,
    Recorder,
    env_and_count,
    record,
    rows_by_env,
)
from support.toy_envs import (
    PLANS,
    Bandit,
    CountingEnv,
    Fixed,
    TwoStates,
    counting_action,
    counting_envs,
    single_env_rows,
)

import npr
from npr.envs.make import open_envs

# ---- interact: the same transitions from every kind of environment


@pytest.mark.parametrize("kind", KINDS)
def test_interact_yields_the_transitions_of_single_environments(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.rows) == agent.num_timesteps >= 60, "autoreset steps must not count"
    parts = rows_by_env(agent.rows)
    assert sorted(parts) == [0, 1, 2]
    for number, rows in parts.items():
        assert len(rows) >= 12
        reference = single_env_rows(CountingEnv(number, PLANS[number]), counting_action, len(rows))
        assert rows == [row[:5] for row in reference]


@pytest.mark.parametrize("kind", KINDS)
def test_s2_is_the_true_next_observation_of_the_same_episode(kind):
    for s, _, _, s2, _ in record(kind, counting_envs(), steps=60).rows:
        assert s2 == (s[0], s[1], s[2] + 1)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_every_episode_has_a_unique_number(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.episodes) == len(agent.rows)
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}) == len({where for _, where in pairs})


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_single_environment_is_a_vector_of_one(kind):
    rows = record(kind, counting_envs(1), steps=20).rows
    reference = single_env_rows(CountingEnv(0, PLANS[0]), counting_action, 20)
    assert rows == [row[:5] for row in reference]


def test_one_environment_may_be_an_env_a_function_or_an_id():
    reference = [row[:5] for row in single_env_rows(CountingEnv(), counting_action, 10)]
    assert Recorder(CountingEnv(), verbose=0).learn(10).rows == reference
    assert Recorder(CountingEnv, verbose=0).learn(10).rows == reference
    gym.register("Counting-v0", CountingEnv)
    try:
        assert Recorder("Counting-v0", verbose=0).learn(10).rows == reference
    finally:
        del gym.registry["Counting-v0"]


def test_transitions_do_not_alias_a_reused_array():
    agent = record("list", counting_envs(reuse=True), steps=60)
    assert agent.rows == record("list", counting_envs(), steps=60).rows


def test_a_second_learn_continues_the_episodes():
    makers = counting_envs()
    env, n_envs = env_and_count("list", makers)
    agent = Recorder(env, n_envs=n_envs, verbose=0).learn(30).learn(30)
    assert agent.rows == record("list", makers, steps=60).rows


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_statistics_cover_complete_episodes(kind):
    agent = record(kind, counting_envs(), steps=60)
    expected = []
    for number, rows in rows_by_env(agent.rows).items():
        total, length = 0.0, 0
        for row in single_env_rows(CountingEnv(number, PLANS[number]), counting_action, len(rows)):
            total, length = total + row[2], length + 1
            if row[4] or row[5]:
                expected.append((total, length))
                total, length = 0.0, 0
    assert sorted(agent.logger.episodes) == sorted(expected)
    assert agent.logger.episode_count == len(expected) > 12


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_terminated_and_truncated_are_separate(kind):
    """(terminated, truncated) of each step against the plans of the environments."""
    makers = counting_envs()
    env, n_envs = env_and_count(kind, makers)
    envs = open_envs(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    flags = {}
    for _ in range(20):
        a = np.array([counting_action(s) for s in envs.s])
        s2, _, terminated, truncated, valid = envs.step(a)
        for i in np.flatnonzero(valid):
            flags[tuple(s2[i])] = bool(terminated[i]), bool(truncated[i])
    envs.close()
    meaning = {"terminated": (True, False), "truncated": (False, True), "both": (True, True)}
    for (number, episode, t), got in flags.items():
        plan = PLANS[int(number)]
        length, ending = plan[int(episode) % len(plan)]
        assert got == (meaning[ending] if t == length else (False, False))
    assert set(flags.values()) == {(False, False), *meaning.values()}


def test_gymnasiums_vectorized_cartpole_yields_steps_of_cartpole():
    """A VectorEnv without single environments inside: its rows are steps of a single CartPole."""
    agent = CartPoleRecorder(gym.make_vec("CartPole-v1", 3), seed=0, verbose=0).learn(200)
    single = gym.make("CartPole-v1").unwrapped
    single.reset(seed=0)
    ends = 0
    for s, a, r, s2, terminated in agent.rows:
        single.state, single.steps_beyond_terminated = s, None
        expected, reward, ended, _, _ = single.step(a)
        np.testing.assert_allclose(s2, expected, atol=1e-5)
        assert (r, terminated) == (reward, ended)
        ends += terminated
    assert ends > 5


def test_max_episode_steps_truncates():
    env, n_envs = lambda: CountingEnv(plan=((10, "terminated"),)), 2
    envs = open_envs(env, n_envs, np.random.SeedSequence(0), max_episode_steps=4)
    envs.reset()
    steps = [envs.step(np.zeros(2, int)) for _ in range(5)]
    assert [bool(truncated.all()) for _, _, _, truncated, _ in steps] == [0, 0, 0, 1, 0]
    assert not any(terminated.any() for _, _, terminated, _, _ in steps)
    assert steps[3][0][0].tolist() == [0, 0, 4], "the true last observation"
    assert steps[4][0][0].tolist() == [0, 1, 1], "the first step of the next episode"


def test_autoreset_steps_are_invalid_in_next_step_mode():
    env = SyncVectorEnv([lambda: CountingEnv(plan=((1, "terminated"),))])
    envs = open_envs(env, 1, np.random.SeedSequence(0))
    envs.reset()
    assert [bool(envs.step(np.zeros(1, int))[4][0]) for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    assert envs.s[0].tolist() == [0, 3, 0]


# ---- tables and scaled actions


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_tabular_agent_finds_the_fixed_point(kind):
    env, n_envs = env_and_count(kind, [TwoStates, TwoStates])
    agent = npr.QLearning(env, n_envs=n_envs, seed=0, verbose=0, gamma=0.9, learning_rate=0.5,
                          exploration_final_eps=1.0)  # fmt: skip
    agent.learn(1_500)
    np.testing.assert_allclose(agent.Q, TwoStates.Q_STAR, atol=1e-5)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_table_indices_start_at_zero_for_any_start_of_the_space(kind):
    makers = [lambda x=x: Fixed(spaces.Discrete(4, start=-2), x) for x in (-2, 1)]
    env, n_envs = env_and_count(kind, makers)
    envs = open_envs(env, n_envs, np.random.SeedSequence(0), table=True)
    envs.reset()
    for _ in range(4):
        assert envs.s.tolist() == [0, 3]
        assert envs.step(np.zeros(2, int))[0].tolist() == [0, 3]


def test_rewards_are_those_of_the_scaled_action():
    envs = open_envs(Bandit(), 1, np.random.SeedSequence(0))
    envs.reset()
    for a in (-1.0, 0.3, 0.8):
        assert envs.step(np.array([[a]]))[1][0] == pytest.approx(-4 * (a - 0.3) ** 2, abs=1e-5)
