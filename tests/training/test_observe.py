"""select_action() and observe(): an agent whose caller steps the environments learns as in learn()."""

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES, small_agent

import npr
from npr import ConfigError
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
