"""Seeds of environments."""

import gymnasium as gym
import numpy as np
import pytest
from support.recorders import (
    SYNC_KINDS,
    Recorder,
    env_and_count,
)
from support.toy_envs import (
    CountingEnv,
    RandomObservation,
)

from npr.errors import ConfigError


def first_observations(seed, kind="list", n=3, episodes=1):
    env, n_envs = env_and_count(kind, [RandomObservation] * n)
    agent = Recorder(env, n_envs=n_envs, seed=seed, verbose=0)
    agent.envs.reset()
    rows = [agent.envs.s.copy()]
    while len(rows) < 1 + 6 * (episodes - 1):
        agent.envs.step(np.zeros(n, int))
        rows.append(agent.envs.s.copy())
    return np.array(rows)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_same_seed_same_observations(kind):
    one = first_observations(7, kind, episodes=3)
    assert np.array_equal(one, first_observations(7, kind, episodes=3))
    assert not np.array_equal(one, first_observations(8, kind, episodes=3))


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_environments_and_episodes_of_one_agent_have_different_seeds(kind):
    rows = first_observations(7, kind, episodes=4).reshape(-1, 2)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_seeds_do_not_depend_on_the_kind_of_vector_env():
    one, *others = (first_observations(7, kind) for kind in SYNC_KINDS)
    assert all(np.array_equal(one, other) for other in others)


def test_consecutive_seeds_share_no_environment():
    """With Gymnasium's s, s+1, ..., env 1 of seed s would equal env 0 of seed s+1."""
    rows = np.concatenate([first_observations(seed)[0] for seed in range(20)])
    assert len(np.unique(rows, axis=0)) == 60


def test_a_seed_is_a_whole_number_or_none_for_a_random_one():
    one = first_observations(7)
    for seed in (np.int64(7), np.uint8(7)):
        assert np.array_equal(one, first_observations(seed))
    assert not np.array_equal(first_observations(None), first_observations(None))
    first_observations(2**40)
    for seed in (-1, 1.5, "7"):
        with pytest.raises(ConfigError, match="seed must be a whole number >= 0 or None, got"):
            first_observations(seed)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint32, lambda n: n + 10**40])
def test_a_thousand_environments_have_a_thousand_streams(kind):
    agents = [Recorder(CountingEnv, n_envs=4, seed=kind(n), verbose=0) for n in range(250)]
    seeds = [seed for agent in agents for seed in agent.envs.seeds]
    assert len(set(seeds)) == 1_000
    starts = {gym.utils.seeding.np_random(seed)[0].integers(2**63) for seed in seeds}
    assert len(starts) == 1_000
