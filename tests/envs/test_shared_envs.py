"""Environments that somebody else uses between two steps of an agent: no transition is learned
that never happened."""

import copy
import random
import weakref

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES, small_agent

from npr import ResumeWarning
from npr.envs.state_check import fingerprint

EPISODE = 10


class Numbered(gymnasium.Env):
    """Observations (episode, step): a transition goes from (e, t) to (e, t + 1)."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.e = 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.e, self.t = self.e + 1, 0
        return np.array([self.e, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.e, self.t], np.float32), 1.0, self.t >= EPISODE, False, {}


class Opaque(Numbered):
    """Its state is not in attributes of this object, as that of a simulator in C."""

    def __init__(self):
        vars(self)["_np_random"] = None
        states[self] = [0, 0]

    def reset(self, seed=None, options=None):
        state = states[self]
        state[:] = state[0] + 1, 0
        return np.array(state, np.float32), {}

    def step(self, action):
        state = states[self]
        state[1] += 1
        return np.array(state, np.float32), 1.0, state[1] >= EPISODE, False, {}


states = weakref.WeakKeyDictionary()


def agent_in(env, **settings):
    return small_agent("DQN", env=env, buffer_size=200, **settings)


def assert_true_transitions(agent):
    buffer = agent.buffer
    s, s2 = buffer.s[: buffer.size], buffer.s2[: buffer.size]
    np.testing.assert_array_equal(s2[:, 0], s[:, 0])
    np.testing.assert_array_equal(s2[:, 1], s[:, 1] + 1)
    assert all(episode == (EPISODE, EPISODE) for episode in agent.logger.episodes)


def reset(env, agent):
    env.reset()


def step(env, agent):
    env.step(0)


def play(env, agent):
    observation, _ = env.reset()
    for _ in range(3):
        observation, *_ = env.step(agent.act(observation))


def play_through_a_wrapper(env, agent):
    gymnasium.wrappers.ClipReward(env, max_reward=1.0).step(0)


def evaluate(env, agent):
    agent.evaluate(env, episodes=1)


def another_agent(env, agent):
    agent_in(env).learn(5)


@pytest.mark.parametrize(
    "use", [reset, step, play, play_through_a_wrapper, evaluate, another_agent]
)
def test_an_environment_that_was_used_starts_a_new_episode(use):
    env = Numbered()
    agent = agent_in(env)
    agent.learn(25)
    use(env, agent)
    with pytest.warns(ResumeWarning, match=r"stepped, reset or changed by others.*a new one"):
        agent.learn(25)
    assert_true_transitions(agent)
    assert agent.buffer.size == 50


@pytest.mark.parametrize("use", [evaluate, another_agent])
def test_npr_knows_its_own_uses_of_an_environment_without_attributes(use):
    env = Opaque()
    agent = agent_in(env)
    agent.learn(25)
    use(env, agent)
    with pytest.warns(ResumeWarning):
        agent.learn(25)
    assert_true_transitions(agent)


@pytest.mark.parametrize("env", [Numbered, Opaque])
def test_a_function_that_returns_the_same_environment(env):
    one = env()
    agent = agent_in(lambda: one)
    agent.learn(25)
    agent.evaluate(episodes=1)
    with pytest.warns(ResumeWarning):
        agent.learn(25)
    assert_true_transitions(agent)


@pytest.mark.parametrize("env", [Numbered, Opaque])
def test_two_agents_take_turns(env):
    one = env()
    first, second = agent_in(one), agent_in(one)
    first.learn(15)
    for agent in (second, first, second):
        if agent.num_timesteps:
            with pytest.warns(ResumeWarning):
                agent.learn(15)
        else:
            agent.learn(15)
    assert_true_transitions(first)
    assert_true_transitions(second)


@pytest.mark.parametrize("env", [Numbered, Opaque])
def test_a_callback_that_evaluates_in_the_environment_of_the_training(env):
    one = env()
    agent = agent_in(one)

    def callback(agent):
        if agent.num_timesteps in (7, 23):
            agent.evaluate(one, episodes=1)

    with pytest.warns(ResumeWarning):
        agent.learn(50, callback=callback)
    assert_true_transitions(agent)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
@pytest.mark.parametrize("inner", [False, True])
def test_a_vector_env_that_was_used(mode, inner):
    envs = gymnasium.vector.SyncVectorEnv(
        [Numbered, Numbered], autoreset_mode=gymnasium.vector.AutoresetMode[mode]
    )
    agent = agent_in(envs)
    agent.learn(26)
    if inner:
        envs.envs[1].step(0)
    else:
        envs.reset()
    with pytest.warns(ResumeWarning):
        agent.learn(26)
    assert_true_transitions(agent)


def test_an_async_vector_env_that_was_used():
    envs = gymnasium.vector.AsyncVectorEnv([Numbered, Numbered])
    agent = agent_in(envs)
    agent.learn(26)
    envs.step(np.zeros(2, int))
    with pytest.warns(ResumeWarning):
        agent.learn(26)
    assert_true_transitions(agent)
    envs.close()


@pytest.mark.parametrize("case", CASES)
def test_an_environment_that_was_only_looked_at_goes_on(case, recwarn):
    env = gymnasium.make(CASES[case][1])
    agent = small_agent(case, env=env)
    agent.learn(32)
    lengths = list(agent.envs.lengths)
    env.spec, env.observation_space.sample(), env.action_space.sample(), str(env)
    agent.evaluate(episodes=1)  # in another one
    agent.learn(0)
    assert agent.envs.lengths == lengths
    assert not [w for w in recwarn.list if issubclass(w.category, ResumeWarning)]


@pytest.mark.parametrize(
    "state",
    [
        lambda: [0], lambda: {"x": [1.0]}, lambda: np.zeros(3), lambda: (np.zeros(2), 1),
        lambda: np.random.default_rng(0), lambda: np.random.RandomState(0),
        lambda: random.Random(0), lambda: np.random.Generator(np.random.MT19937(0)),
    ],
)  # fmt: skip
def test_a_fingerprint_sees_changes_in_attributes(state):
    class Holder(Numbered):
        pass

    env = Holder()
    env.inner = Holder()
    env.inner.state = state()
    env.inner.back = env  # a cycle
    before = fingerprint([env])
    assert fingerprint([env]) == before
    held = env.inner.state
    if hasattr(held, "random"):
        held.random()
    else:
        part = held["x"] if isinstance(held, dict) else held[0] if isinstance(held, tuple) else held
        part[0] += 1
    assert fingerprint([env]) != before


# ---- what was collected before is learned from


@pytest.mark.parametrize("case, updates", [("PPO", 6), ("A2C", 12), ("REINFORCE", 5)])
@pytest.mark.filterwarnings("ignore::npr.ResumeWarning", "ignore::npr.ConfigWarning")
def test_steps_before_and_after_another_use_make_a_rollout(case, updates):
    """Pieces of 12 steps, after each of which somebody resets the environment: its episodes of 10
    steps are cut after 2 more."""
    env, seen = Numbered(), []
    agent = small_agent(case, env=env, n_epochs=1, batch_size=16) if case == "PPO" else small_agent(
        case, env=env
    )  # fmt: skip
    train = agent._train

    def watched(run):
        normalized = run._normalized
        run._normalized = lambda D: seen.append(copy.deepcopy(D)) or normalized(D)
        train(run)

    agent._train = watched
    for _ in range(8):
        agent.learn(12, reset_num_timesteps=False)
        env.reset()
    assert len(seen) >= updates
    for D in seen:
        s, s2, valid = D.s[:, 0], D.s2[:, 0], D.valid[:, 0]
        np.testing.assert_array_equal(s2[:, 1], s[:, 1] + 1)
        cut = D.done[:-1, 0] > 0
        same = (s[1:, 0] == s[:-1, 0]) & valid[1:] & valid[:-1]
        assert not (same & cut).any()
        assert (cut | same | ~valid[1:] | ~valid[:-1]).all()
        if case == "REINFORCE":  # complete episodes only
            assert (s[valid & (D.done[:, 0] > 0), 1] == EPISODE - 1).all()
            assert valid.sum() % EPISODE == 0


def test_another_environment_begins_other_episodes():
    agent = agent_in(Numbered(), n_step_return=5, max_episode_steps=None)
    agent.learn(23)
    first, steps = set(agent.envs.episode), agent.envs.steps
    agent.set_env(Numbered())
    assert agent.envs.steps == steps
    agent.learn(23)
    assert min(agent.envs.episode) > max(first)
    assert_true_transitions(agent)
    buffer = agent.buffer
    rows = np.flatnonzero(buffer.next[: buffer.size] >= 0)
    np.testing.assert_array_equal(buffer.s[buffer.next[rows]], buffer.s2[rows])


def test_another_environment_has_other_seeds():
    agent = small_agent("DQN", env="CartPole-v1")
    starts = []
    for _ in range(3):
        agent.learn(1)
        starts.append(agent.envs.envs[0].unwrapped.np_random.bit_generator.state["state"]["state"])
        agent.set_env("CartPole-v1")
    assert len(set(starts)) == 3
