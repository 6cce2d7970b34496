"""Every algorithm with small networks and budgets, for tests.

Every setting is given, defaults included, so that presets have no effect: a few dozen updates, a
replay that wraps around, about a second for all.
"""

import contextlib
import hashlib

import gymnasium
import numpy as np

import npr
from npr.loggers import Outputs
from npr.training.run import Run

BUDGET = 96  # env steps of `trained`: six rounds of PPO, a replay of 64 that wraps

_TABULAR = {"max_episode_steps": 30, "exploration_final_eps": 0.3}
_OFF_POLICY = {
    "net_arch": [8], "buffer_size": 64, "learning_starts": 32, "batch_size": 16, "train_freq": 2,
    "learning_rate": 1e-3,
}  # fmt: skip
_DQN = {**_OFF_POLICY, "target_update_interval": 20}
_PPO = {
    "net_arch": [8], "n_steps": 16, "batch_size": 8, "n_epochs": 2, "n_envs": 1,
    "learning_rate": 1e-3, "max_episode_steps": 20,
}  # fmt: skip

_SAC = {**_OFF_POLICY, "max_episode_steps": 20}
_ON_POLICY = {"net_arch": [8], "n_envs": 1, "learning_rate": 1e-3, "max_episode_steps": 20}

# name of the case -> (algorithm, environment, settings)
CASES = {
    "QLearning": ("QLearning", "CliffWalking-v1", _TABULAR),
    "Sarsa": ("Sarsa", "CliffWalking-v1", _TABULAR),
    "DQN": ("DQN", "CartPole-v1", _DQN),
    "DQN-n": ("DQN", "CartPole-v1", {**_DQN, "n_step_return": 3, "double": True}),
    "PERDQN": ("PERDQN", "CartPole-v1", {**_DQN, "dueling": True}),
    "REINFORCE": ("REINFORCE", "CartPole-v1", {**_ON_POLICY, "n_episodes": 1}),
    "QActorCritic": ("QActorCritic", "CartPole-v1", {**_ON_POLICY, "n_steps": 8}),
    "A2C": ("A2C", "CartPole-v1", {**_ON_POLICY, "n_steps": 8}),
    "PPO": ("PPO", "CartPole-v1", _PPO),
    "PPO-Box": ("PPO", "Pendulum-v1", _PPO),  # a Gaussian head with a state-independent log std
    "PPOKL": ("PPOKL", "CartPole-v1", _PPO),
    "DDPG": ("DDPG", "Pendulum-v1", _SAC),
    "TD3": ("TD3", "Pendulum-v1", _SAC),
    "SoftQ": ("SoftQ", "Pendulum-v1", {**_SAC, "target_update_interval": 20}),
    "SoftQ-n": ("SoftQ", "CartPole-v1", {**_DQN, "n_step_return": 3}),
    "SACS": ("SACS", "Pendulum-v1", _SAC),
    "SAC": ("SAC", "Pendulum-v1", _SAC),
    "SAC-Discrete": ("SAC", "CartPole-v1", _SAC),
}
TABLES = [case for case, (name, *_) in CASES.items() if getattr(npr, name).table]


def small_agent(case, env=None, seed=0, **settings):
    """A new agent of one case, silent; `env` and `settings` override those of the case."""
    name, own_env, own_settings = CASES[case]
    algorithm = getattr(npr, name)
    given = {**algorithm.defaults(), "verbose": 0, **own_settings, **settings}
    return algorithm(own_env if env is None else env, seed=seed, **given)


def run_of(agent):
    """One call of learn() that has not begun, for tests of its parts."""
    return Run(agent, None, False, None, None, None, Outputs())


def trained(case, seed=0, **settings):
    return small_agent(case, seed=seed, **settings).learn(BUDGET)


class _Caught(Exception):
    pass


def next_update(agent, steps=200):
    """The arguments of the next call of `update`: learn until then, without that update."""
    caught = []

    def catch(*batch):
        caught.append(batch)
        raise _Caught

    agent.update = catch
    with contextlib.suppress(_Caught):
        agent.learn(steps, reset_num_timesteps=False)
    del agent.update
    return caught[0]


def parameters(agent):
    """Name -> array of everything that is learned: vectors, tables, temperatures, targets."""
    return {k: np.array(v) for k, v in sorted(vars(agent).items()) if isinstance(v, np.ndarray)}


def assert_same_parameters(one, other):
    mine, theirs = parameters(one), parameters(other)
    assert mine and mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.tobytes() == theirs[name].tobytes(), f"{name} differs"


def observations(agent, n, seed=0):
    """n observations of the agent's space, for a network or for a table."""
    rng = np.random.default_rng(seed)
    if agent.observations.kind == "discrete":
        return rng.integers(agent.observations.size, size=n)
    return rng.standard_normal((n, *agent.observations.shape)).astype(np.float32)


def digest(agent):
    """A hash of the parameters, to compare agents of two processes."""
    whole = hashlib.sha256()
    for name, array in parameters(agent).items():
        whole.update(name.encode() + array.tobytes())
    return whole.hexdigest()


class RandomEnv(gymnasium.Env):
    """Random observations of any space, for actions of any space; episodes of `length` steps."""

    def __init__(self, observation_space, action_space, length=10):
        self.observation_space, self.action_space = observation_space, action_space
        self.length = length

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        self.t += 1
        return self.observation_space.sample(), 1.0, False, self.t == self.length, {}
