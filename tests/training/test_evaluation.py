"""`evaluate`: returns and lengths of whole episodes, seeds, time limits and invalid arguments."""

import inspect

import gymnasium
import numpy as np
import pytest
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.small_agents import (
    CASES,
    RandomEnv,
    small_agent,
    trained,
)

from npr import ConfigError
from npr.algorithms.base import Algorithm

every_case = pytest.mark.parametrize("case", CASES)


def cartpole():
    return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_evaluate_makes_an_environment_like_those_of_a_vector_env(mode):
    agent = small_agent("DQN", env=gymnasium.make_vec("CartPole-v1", 2, vectorization_mode=mode))
    assert agent.evaluate(episodes=2, seed=0).lengths.min() > 0


def test_evaluate_returns_returns_and_lengths_of_episodes():
    result = trained("DQN").evaluate(episodes=5, seed=3)
    assert result.returns.shape == result.lengths.shape == (5,)
    np.testing.assert_array_equal(
        result.returns, result.lengths
    )  # CartPole has reward 1 in each step
    assert result.mean == result.returns.mean()
    assert result.std == result.returns.std()
    assert isinstance(result.mean, float)
    assert isinstance(result.std, float)
    low, high = result.returns.min(), result.returns.max()
    assert repr(result) == (
        f"Evaluation(mean={result.mean:.2f}, std={result.std:.2f}, min={low:.2f}, max={high:.2f}, "
        "episodes=5)"
    )
    assert inspect.signature(Algorithm.evaluate).parameters["episodes"].default == 100


def test_evaluate_starts_its_episodes_in_different_states():
    agent = small_agent("SAC", max_episode_steps=5)
    assert len(set(agent.evaluate(episodes=4, seed=0).returns)) == 4


@every_case
def test_evaluate_with_a_seed_is_reproducible(case):
    agent = trained(case)
    first = agent.evaluate(episodes=3, seed=7, deterministic=False)
    again = agent.evaluate(episodes=3, seed=7, deterministic=False)
    other = agent.evaluate(episodes=3, seed=8, deterministic=False)
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.returns != other.returns).any()


def test_evaluate_keeps_the_time_limit_of_the_agent():
    assert small_agent("SAC", max_episode_steps=5).evaluate(episodes=2).lengths.tolist() == [5, 5]


class Closing(gymnasium.Wrapper):
    closed = False

    def close(self):
        self.closed = True


def test_evaluate_takes_an_environment():
    agent = small_agent("SAC", max_episode_steps=None)
    mine = Closing(gymnasium.make("Pendulum-v1", max_episode_steps=7))
    assert agent.evaluate(mine, episodes=1).lengths.tolist() == [7]
    assert not mine.closed
    # it closes environments that it makes
    made = []

    def make():
        made.append(Closing(gymnasium.make("Pendulum-v1", max_episode_steps=3)))
        return made[-1]

    assert agent.evaluate(make, episodes=2).lengths.tolist() == [3, 3]
    assert [env.closed for env in made] == [True]
    assert agent.evaluate("Pendulum-v1", episodes=1).lengths.tolist() == [200]


def test_evaluate_needs_an_environment_if_it_cannot_make_one():
    agent = small_agent("SAC", env=RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box"]))
    with pytest.raises(ConfigError, match=r"a separate environment; pass one: evaluate\(env="):
        agent.evaluate()


@pytest.mark.parametrize("episodes", [0, -1, 2.5, "3", True])
def test_evaluate_needs_a_number_of_episodes(episodes):
    with pytest.raises(ConfigError, match=f"episodes must be .*got {episodes!r}"):
        small_agent("DQN").evaluate(episodes=episodes)


@pytest.mark.parametrize("env", [5, gymnasium.vector.SyncVectorEnv([cartpole])])
def test_evaluate_refuses_anything_but_a_single_environment(env):
    with pytest.raises(ConfigError, match="must be an id, a gymnasium.Env"):
        small_agent("DQN").evaluate(env, episodes=1)
