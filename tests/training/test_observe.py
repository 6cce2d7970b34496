"""select_action() and observe(): an agent learns from steps of its caller as in learn()."""

import copy
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from support.small_agents import CASES, TABLES, RandomEnv, small_agent
from support.toy_envs import CountingEnv

import npr
from npr.envs.make import make_env
from npr.files.parts import arrays_of, parts

STEPS = 120
SINGLE = [(case, {}) for case in CASES] + [
    ("DQN-n", {"normalize_obs": True, "normalize_reward": True}),
    ("PPO-Box", {"normalize_obs": True, "normalize_reward": True}),
    ("QLearning", {"normalize_reward": True}),
    ("Sarsa", {"expected": True, "learning_rate": "linear:0.5"}),
    ("DDPG", {"action_noise": "ou", "n_step_return": 2}),
]


def bytes_of(agent):
    """Everything that a file of the agent holds, but for the position in its environments."""
    held = {f"rng.{name}": str(rng.bit_generator.state) for name, rng in agent.rng.items()}
    for name, part in parts(agent).items():
        held |= {key: np.asarray(one).tobytes() for key, one in arrays_of(name, part).items()}
    counters = agent.num_timesteps, agent.end, agent.n_updates, agent.logger.episode_count
    return {**held, "counters": counters}


def env_like(agent):
    """Another environment like the agent's own, and the seed of its first reset."""
    return make_env(agent.env, agent.max_episode_steps), agent.envs.seeds[0]


class Loop:
    """The loop of somebody who steps an environment and lets an agent learn."""

    def __init__(self, env, seed):
        self.env = env
        self.s, _ = env.reset(seed=seed)

    def step(self, agent, action=None):
        chosen = agent.select_action(self.s)
        action = chosen if action is None else action
        s2, r, terminated, truncated, _ = self.env.step(action)
        agent.observe(self.s, action, r, s2, terminated, truncated)
        self.s = self.env.reset()[0] if terminated or truncated else s2

    def steps(self, agent, n):
        for _ in range(n):
            self.step(agent)


def assert_same(one, other):
    mine, theirs = bytes_of(one), bytes_of(other)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if mine[key] != theirs[key]] == []


@pytest.mark.parametrize(("case", "settings"), SINGLE, ids=str)
def test_observed_steps_are_those_of_learn(case, settings):
    agent, learned = (small_agent(case, **settings) for _ in range(2))
    learned.learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    loop.steps(agent, STEPS)
    assert_same(agent, learned)
    assert agent.n_updates == learned.n_updates


class BatchLoop:
    """The same with several environments, in a VectorEnv of any autoreset mode."""

    def __init__(self, agent, mode):
        self.mode = mode
        make = lambda: make_env(agent.env, agent.max_episode_steps)  # noqa: E731
        self.env = gymnasium.vector.SyncVectorEnv([make] * agent.n_envs, autoreset_mode=mode)
        self.s, _ = self.env.reset(seed=[*agent.envs.seeds])
        self.resets = np.zeros(agent.n_envs, bool)

    def steps(self, agent, n):
        for _ in range(n):
            a = agent.select_action(self.s)
            s, r, terminated, truncated, info = self.env.step(a)
            done, s2 = terminated | truncated, s.copy()
            if self.mode is AutoresetMode.SAME_STEP and done.any():
                s2[done] = np.stack(info["final_obs"][done])
            before = agent.n_updates
            agent.observe(self.s, a, r, s2, terminated, truncated, valid=~self.resets)
            if self.mode is AutoresetMode.NEXT_STEP:
                self.resets = done
            elif self.mode is AutoresetMode.DISABLED:
                if done.any():
                    s = self.env.reset(options={"reset_mask": done})[0]
                if hasattr(agent, "n_episodes") and agent.n_updates > before:
                    s = self.env.reset()[0]  # REINFORCE begins all episodes anew
            self.s = s


@pytest.mark.parametrize("case", CASES)
def test_observed_batches_are_those_of_learn(case):
    agent, learned = (small_agent(case, n_envs=2) for _ in range(2))
    learned.learn(STEPS)
    loop = BatchLoop(agent, AutoresetMode.DISABLED)
    agent.begin_run(STEPS)
    loop.steps(agent, STEPS // 2)
    assert_same(agent, learned)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("case", ["Sarsa", "PPO", "DQN-n"])
def test_batches_of_every_autoreset_mode_are_those_of_learn(case, mode):
    agent = small_agent(case, n_envs=2)
    loop = BatchLoop(agent, mode)
    other = BatchLoop(agent, mode)
    learned = small_agent(case, other.env, max_episode_steps=None)
    learned.envs.seeds[:] = agent.envs.seeds
    learned.learn(STEPS)
    agent.begin_run(STEPS)
    while agent.num_timesteps < agent.end:
        loop.steps(agent, 1)
    assert_same(agent, learned)


# ---- in pieces, and between learn() and observe()


@pytest.mark.parametrize("case", CASES)
def test_an_observed_run_is_saved_and_continued_exactly(case, tmp_path):
    settings = {"n_envs": 1} if case in TABLES else {"n_envs": 1, "normalize_reward": True}
    agent, learned = (small_agent(case, **settings) for _ in range(2))
    learned.learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    for steps in (1, 40, 33, STEPS - 74):
        loop.steps(agent, steps)
        agent.save(tmp_path / "agent.npz")
        agent = npr.load(tmp_path / "agent.npz")
    assert_same(agent, learned)
    agent.begin_run(5, reset_num_timesteps=False)
    loop.steps(agent, 5)
    assert agent.num_timesteps == agent.end == STEPS + 5


def test_copies_and_closed_agents_go_on_where_they_were():
    agent, learned = small_agent("PPO"), small_agent("PPO").learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    loop.steps(agent, 50)
    other = copy.deepcopy(agent)
    assert other.envs is None
    loop.steps(other, 20)
    other.close()
    loop.steps(other, STEPS - 70)
    assert_same(other, learned)
    assert agent.num_timesteps == 50


def test_learn_and_observe_take_turns():
    """Episodes that are left count as cut, and numbers of episodes are not used twice."""
    agent = small_agent("DQN-n", learning_starts=0)
    agent.learn(30)
    learned, position = agent.envs, agent.position()
    loop = Loop(*env_like(agent))
    agent.begin_run(20, reset_num_timesteps=False)
    loop.steps(agent, 20)
    assert agent.envs.own is learned
    observed = agent.position()
    assert observed["steps"] == 50
    assert observed["episode"] > position["episode"], "the observation was another one"
    agent.learn(10, reset_num_timesteps=False)
    assert agent.envs is learned and agent.num_timesteps == agent.end == 60
    after = agent.position()
    assert after["steps"] == 60 and after["episode"] > observed["episode"]
    loop.steps(agent, 5)
    assert agent.num_timesteps == 65, "beyond the end of the last run"
    agent.set_env("CartPole-v1")
    assert agent.position()["steps"] == 65 and not agent.position()["open"]
    agent.learn(5, reset_num_timesteps=False)
    assert agent.num_timesteps == 70


def test_an_episode_of_learn_goes_on_if_its_observation_is_the_next():
    agent, learned = (
        small_agent("A2C", CountingEnv(plan=[(50, "truncated")]), max_episode_steps=None)
        for _ in range(2)
    )
    learned.learn(STEPS)
    agent.learn(30)
    number = agent.envs.episode.copy()
    loop = Loop.__new__(Loop)
    loop.env, loop.s = agent.env, agent.envs.envs[0].unwrapped.where.copy()
    agent.begin_run(STEPS - 30, reset_num_timesteps=False)
    loop.steps(agent, 10)
    assert agent.envs.episode == number and agent.envs.lengths == [40]
    loop.steps(agent, STEPS - 40)
    assert_same(agent, learned)


def test_a_file_of_an_observed_run_begins_new_episodes_in_learn(tmp_path):
    agent = small_agent("PPO")
    Loop(*env_like(agent)).steps(agent, 5)
    agent.save(tmp_path / "agent.npz")
    agent = npr.load(tmp_path / "agent.npz")
    with pytest.warns(npr.ResumeWarning, match="its caller stepped the environments, with agent.o"):
        agent.learn(10)


# ---- episodes


def test_an_observation_that_does_not_follow_begins_a_new_episode():
    """As if the step before had been truncated, for the environments that were reset."""
    agent = small_agent("PPO", n_envs=2)
    s = np.arange(8, dtype=np.float32).reshape(2, 4)
    flags = np.zeros(2, bool)
    for t in range(3):
        a = agent.select_action(s)
        agent.observe(s, a, np.ones(2), s + 1, flags, flags)
        s = s + 1
    numbers = agent.envs.episode
    agent.select_action(np.stack([s[0], np.zeros(4)]))
    assert agent.envs.episode.tolist() == [numbers[0], numbers.max() + 1]
    assert agent.envs.lengths == [3, 0] and agent.envs.returns == [3.0, 0.0]
    truncated = [step[5].tolist() for step in agent.steps]
    assert truncated == [[False, False], [False, False], [False, True]]
    assert agent.logger.episode_count == 0


def test_the_discounted_return_of_an_episode_that_was_left_is_not_continued():
    agent = small_agent("DQN", normalize_reward=True)
    zeros = np.zeros(4, np.float32)
    agent.observe(zeros, agent.select_action(zeros), 1.0, zeros + 1, False, False)
    assert agent.reward_norm.returns == [1.0]
    agent.select_action(zeros)
    assert agent.reward_norm.returns == [0.0]


def test_a_reset_within_an_episode_leaves_no_incomplete_one_in_a_rollout():
    agent = small_agent("REINFORCE", CountingEnv(plan=[(4, "terminated")]), n_episodes=2)
    loop = Loop(*env_like(agent))
    loop.steps(agent, 6)  # one episode and two steps
    loop.s = loop.env.reset()[0]
    loop.steps(agent, 1)
    assert [bool(step[-1][0]) for step in agent.steps] == [True] * 4 + [False] * 2 + [True]
    loop.steps(agent, 3)
    assert agent.n_updates == 1


# ---- actions


def test_the_action_of_somebody_else_is_learned_from():
    agent = small_agent("DDPG", learning_starts=10_000)
    loop = Loop(*env_like(agent))
    given = [np.array([x], np.float32) for x in (2.0, -1.0, 0.25)]
    for action in given:
        loop.step(agent, action)
    assert agent.buffer.a[:3, 0].tolist() == [1.0, -0.5, 0.125]
    loop.steps(agent, 1)


def test_an_action_that_was_chosen_is_stored_as_it_was_drawn():
    """A Gaussian's action may be beyond the bounds, where the environment gets the bound."""
    agent = small_agent("PPO-Box", n_envs=2, log_std_init=1.5)
    s, flags = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    beyond = 0
    for other in (False, True) * 5:
        actions = agent.select_action(s)
        own, _ = agent._observer.chosen
        done = [actions.tolist(), actions.copy()][other]
        if other:
            done[1] = 0.5
        agent.observe(s, done, np.zeros(2), s, flags, flags)
        a = agent.steps[-1][1]
        assert a[0] == own[0] and a[1] == (0.25 if other else own[1])
        beyond += abs(a[0, 0]) > 1
    assert beyond


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 2, (2, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_actions_are_those_that_the_environment_takes(space, n_envs):
    env = partial(RandomEnv, spaces.Box(-1, 1, (2,)), space)
    agent, learned = (small_agent("A2C", env, n_envs=n_envs, env_kwargs={}) for _ in range(2))
    learned.learn(40)
    observed = learned.envs.envs[0].unwrapped.observation_space
    s = np.stack([observed.sample() for _ in range(n_envs)])
    s = s if n_envs > 1 else s[0]
    flags = np.zeros(n_envs, bool) if n_envs > 1 else False
    for _ in range(10):
        a = agent.select_action(s)
        for one in a if n_envs > 1 else [a]:
            assert space.contains(one) or space.contains(int(one))
        agent.observe(s, a, flags, s, flags, flags)
    assert agent.n_updates and agent.actions.contains(agent.steps[-1][1])
