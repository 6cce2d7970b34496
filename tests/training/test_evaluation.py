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

import npr
from npr import ConfigError, ConfigWarning, SpaceError
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
    with pytest.raises(
        ConfigError, match=r"A separate environment is needed; pass one: env="
    ) as caught:
        agent.evaluate()
    assert not str(caught.value).endswith("..")


def test_an_agent_without_an_environment_says_so(tmp_path):
    agent = small_agent("SAC", env=RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box"]))
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    with pytest.raises(
        ConfigError, match=r"does not hold how .* is made: .*Pass one: env=\.\.\.\.$"
    ):
        loaded.evaluation_env()
    note = npr.export(loaded, tmp_path / "p.py").model.card.measured
    assert "does not hold how" in note


def test_the_module_of_an_id_is_to_be_imported(tmp_path):
    gymnasium.register("Rope-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    small_agent("DQN", env="Rope-v0").save(tmp_path / "a.npz")
    del gymnasium.registry["Rope-v0"]
    loaded = npr.load(tmp_path / "a.npz")
    for call in (loaded.evaluate, lambda: loaded.learn(10)):
        with pytest.raises(
            ConfigError, match=r"Rope.*[.?] Import the module that registers it, or pass "
        ):
            call()


@pytest.mark.parametrize("episodes", [0, -1, 2.5, "3", True])
def test_evaluate_needs_a_number_of_episodes(episodes):
    with pytest.raises(ConfigError, match=f"episodes must be .*got {episodes!r}"):
        small_agent("DQN").evaluate(episodes=episodes)


def test_evaluate_refuses_anything_but_an_environment():
    with pytest.raises(ConfigError, match="must be an id, a gymnasium.Env"):
        small_agent("DQN").evaluate(5, episodes=1)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
@pytest.mark.parametrize("episodes", [1, 3, 7])
def test_each_environment_of_a_vector_env_plays_the_same_number_of_episodes(mode, episodes):
    """Env i has episodes of i + 1 steps, so the lengths say whose they are."""
    envs = gymnasium.vector.SyncVectorEnv(
        [lambda i=i: Lasting(i + 1) for i in range(3)],
        autoreset_mode=gymnasium.vector.AutoresetMode[mode],
    )
    result = small_agent("DQN", env=lambda: Lasting(1)).evaluate(envs, episodes=episodes)
    played = [result.lengths.tolist().count(i + 1) for i in range(3)]
    assert sum(played) == episodes
    assert max(played) - min(played) <= 1
    np.testing.assert_array_equal(result.returns, result.lengths)
    assert not envs.closed


class Lasting(gymnasium.Env):
    """Episodes of n steps, and a reward of 1 in each; n = inf never ends."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    closed = 0

    def __init__(self, n=float("inf")):
        self.n = n

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t >= self.n, False, {}

    def close(self):
        self.closed += 1


def test_an_episode_that_is_cut_is_reported():
    agent = small_agent("DQN", env=Lasting)
    with pytest.warns(ConfigWarning, match=r"cut 3 of 3 episodes after 50 steps.*episode_limit"):
        assert agent.evaluate(episodes=3, episode_limit=50).lengths.tolist() == [50] * 3
    vector = gymnasium.vector.SyncVectorEnv([Lasting, lambda: Lasting(4)])
    with pytest.warns(ConfigWarning, match="cut 2 of 4 episodes"):
        lengths = agent.evaluate(vector, episodes=4, episode_limit=50).lengths
    assert sorted(lengths.tolist()) == [4, 4, 50, 50]


@pytest.mark.parametrize("length", [5, 60])
def test_complete_episodes_cause_no_warning(recwarn, length):
    agent = small_agent("DQN", env=lambda: Lasting(length))
    assert agent.evaluate(episodes=2, episode_limit=60).lengths.tolist() == [length] * 2
    assert small_agent("DQN", env=Lasting, max_episode_steps=7).evaluate(
        episodes=2
    ).lengths.tolist() == [7, 7]
    assert not recwarn.list


@pytest.mark.parametrize("limit", [0, 1.5, None])
def test_the_episode_limit_is_a_whole_number(limit):
    with pytest.raises(ConfigError, match="episode_limit must be a whole number above 0"):
        small_agent("DQN").evaluate(episode_limit=limit)


@pytest.mark.parametrize("limit", [None, 3])
def test_a_given_environment_is_not_closed(limit):
    mine, training = Lasting(5), Lasting(5)
    agent = small_agent("DQN", env=training, max_episode_steps=limit)
    agent.learn(20)
    for env in (mine, training):
        assert agent.evaluate(env, episodes=1).lengths.tolist() == [limit or 5]
        assert env.closed == 0
    shared = Lasting(5)
    other = small_agent("DQN", env=lambda: shared)
    other.learn(20)
    other.evaluate(episodes=1)
    assert shared.closed == 0


@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCarContinuous-v0"])
@pytest.mark.parametrize("vector", [False, True])
def test_an_environment_with_other_spaces_is_refused(env, vector):
    other = gymnasium.make_vec(env, 2, vectorization_mode="sync") if vector else env
    with pytest.raises(SpaceError, match="This is not an environment of the agent"):
        small_agent("DQN").evaluate(other, episodes=1)


def test_returns_are_sums_in_double_precision():
    class Tenth(Lasting):
        def step(self, action):
            return *super().step(action)[:1], 0.1, *super().step(action)[2:]

    agent = small_agent("DQN", env=lambda: Tenth(20))
    assert agent.evaluate(episodes=1).returns.tolist() == [sum([0.1] * 10)]
