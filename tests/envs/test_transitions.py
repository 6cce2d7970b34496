"""`interact` yields the transitions that single environments yield in a plain loop.

The reference is `toy_envs.alone`."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from support.recorders import (
    KINDS,
    SYNC_KINDS,
    Recorder,
    RowsOfCartPole,
    behind_the_door,
    by_env,
    record,
)
from support.toy_envs import (
    M2,
    PLANS,
    Bandit,
    CountingEnv,
    Fixed,
    alone,
    counting_action,
    counting_envs,
)

import npr
from npr.envs.make import open_environments

# ---- interact: the same transitions from every kind of environment


@pytest.mark.parametrize("kind", KINDS)
def test_interact_yields_what_each_environment_yields_alone(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.rows) == agent.num_timesteps >= 60, "dead rows must not count"
    parts = by_env(agent.rows)
    assert sorted(parts) == [0, 1, 2]
    for number, rows in parts.items():
        assert len(rows) >= 12
        reference = alone(CountingEnv(number, PLANS[number]), counting_action, len(rows))
        assert rows == [row[:5] for row in reference]


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_crosses_an_episode_and_s2_is_its_true_end(kind):
    for s, _, _, s2, _ in record(kind, counting_envs(), steps=60).rows:
        assert s2 == (s[0], s[1], s[2] + 1)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_every_episode_has_a_number_of_its_own(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.episodes) == len(agent.rows)
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}) == len({where for _, where in pairs})


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_one_environment_is_a_vector_of_one(kind):
    rows = record(kind, counting_envs(1), steps=20).rows
    reference = alone(CountingEnv(0, PLANS[0]), counting_action, 20)
    assert rows == [row[:5] for row in reference]


def test_one_environment_may_be_an_env_a_function_or_an_id():
    reference = [row[:5] for row in alone(CountingEnv(), counting_action, 10)]
    assert Recorder(CountingEnv(), verbose=0).learn(10).rows == reference
    assert Recorder(CountingEnv, verbose=0).learn(10).rows == reference
    gym.register("Counting-v0", CountingEnv)
    try:
        assert Recorder("Counting-v0", verbose=0).learn(10).rows == reference
    finally:
        del gym.registry["Counting-v0"]


def test_rows_survive_an_environment_that_reuses_its_array():
    agent = record("list", counting_envs(reuse=True), steps=60)
    assert agent.rows == record("list", counting_envs(), steps=60).rows


def test_learning_goes_on_where_it_stopped():
    makers = counting_envs()
    env, n_envs = behind_the_door("list", makers)
    agent = Recorder(env, n_envs=n_envs, verbose=0).learn(30).learn(30)
    assert agent.rows == record("list", makers, steps=60).rows


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_statistics_are_those_of_whole_episodes(kind):
    agent = record(kind, counting_envs(), steps=60)
    expected = []
    for number, rows in by_env(agent.rows).items():
        total, length = 0.0, 0
        for row in alone(CountingEnv(number, PLANS[number]), counting_action, len(rows)):
            total, length = total + row[2], length + 1
            if row[4] or row[5]:
                expected.append((total, length))
                total, length = 0.0, 0
    assert sorted(agent.logger.episodes) == sorted(expected)
    assert agent.logger.episode_count == len(expected) > 12


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_death_and_time_out_are_kept_apart(kind):
    """(terminated, truncated) of each step, with what the plans of the environments say."""
    makers = counting_envs()
    env, n_envs = behind_the_door(kind, makers)
    envs = open_environments(env, n_envs, np.random.SeedSequence(0))
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


def test_gymnasiums_vector_cartpole_keeps_to_its_physics():
    """A VectorEnv that is no list of environments: every row is a step of a single CartPole."""
    agent = RowsOfCartPole(gym.make_vec("CartPole-v1", 3), seed=0, verbose=0).learn(200)
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


def test_own_time_limit_truncates():
    env, n_envs = lambda: CountingEnv(plan=((10, "terminated"),)), 2
    envs = open_environments(env, n_envs, np.random.SeedSequence(0), max_episode_steps=4)
    envs.reset()
    steps = [envs.step(np.zeros(2, int)) for _ in range(5)]
    assert [bool(truncated.all()) for _, _, _, truncated, _ in steps] == [0, 0, 0, 1, 0]
    assert not any(terminated.any() for _, _, terminated, _, _ in steps)
    assert steps[3][0][0].tolist() == [0, 0, 4], "the true last observation"
    assert steps[4][0][0].tolist() == [0, 1, 1], "the first step of the next episode"


def test_dead_rows_are_marked_in_next_step_mode():
    env = SyncVectorEnv([lambda: CountingEnv(plan=((1, "terminated"),))])
    envs = open_environments(env, 1, np.random.SeedSequence(0))
    envs.reset()
    assert [bool(envs.step(np.zeros(1, int))[4][0]) for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    assert envs.s[0].tolist() == [0, 3, 0]


# ---- a table, a bandit


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_table_agent_sees_indices_and_finds_the_fixed_point(kind):
    env, n_envs = behind_the_door(kind, [M2, M2])
    agent = npr.QLearning(env, n_envs=n_envs, seed=0, verbose=0, gamma=0.9, learning_rate=0.5,
                          exploration_final_eps=1.0)  # fmt: skip
    agent.learn(1_500)
    np.testing.assert_allclose(agent.Q, M2.Q_STAR, atol=1e-5)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_table_counts_from_zero_wherever_the_space_starts(kind):
    makers = [lambda x=x: Fixed(spaces.Discrete(4, start=-2), x) for x in (-2, 1)]
    env, n_envs = behind_the_door(kind, makers)
    envs = open_environments(env, n_envs, np.random.SeedSequence(0), table=True)
    envs.reset()
    for _ in range(4):
        assert envs.s.tolist() == [0, 3]
        assert envs.step(np.zeros(2, int))[0].tolist() == [0, 3]


def test_rewards_belong_to_the_action_that_was_scaled():
    envs = open_environments(Bandit(), 1, np.random.SeedSequence(0))
    envs.reset()
    for a in (-1.0, 0.3, 0.8):
        assert envs.step(np.array([[a]]))[1][0] == pytest.approx(-4 * (a - 0.3) ** 2, abs=1e-5)
