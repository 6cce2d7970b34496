"""Agents that record transitions, and vector environments of every kind by name."""

import copy

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import npr
from npr.algorithms.base import REGISTRY, Algorithm
from npr.buffers import PrioritizedReplayBuffer, ReplayBuffer
from npr.envs.make import open_envs
from support.toy_envs import (
    counting_action,
)

GAMMA, LAMBDA = 0.9, 0.8


def sync(mode):
    return lambda makers: SyncVectorEnv(makers, autoreset_mode=mode)


def asynchronous(mode, shared_memory=True):
    return lambda makers: AsyncVectorEnv(makers, shared_memory, autoreset_mode=mode)


VECTORS = {
    "sync-next": sync(AutoresetMode.NEXT_STEP),
    "sync-same": sync(AutoresetMode.SAME_STEP),
    "sync-disabled": sync(AutoresetMode.DISABLED),
    "async-next": asynchronous(AutoresetMode.NEXT_STEP),
    "async-same": asynchronous(AutoresetMode.SAME_STEP),
    "async-disabled": asynchronous(AutoresetMode.DISABLED),
    "async-next-pipes": asynchronous(AutoresetMode.NEXT_STEP, shared_memory=False),
    "async-same-pipes": asynchronous(AutoresetMode.SAME_STEP, shared_memory=False),
    "async-disabled-pipes": asynchronous(AutoresetMode.DISABLED, shared_memory=False),
}
KINDS = ("list", *VECTORS)
SYNC_KINDS = ("list", "sync-next", "sync-same", "sync-disabled")


def env_and_count(kind, makers):
    """Arguments (env, n_envs) of an agent: copies made by npr, or a vector environment."""
    if kind == "list":
        queue = iter(makers)
        return (lambda: next(queue)()), len(makers)
    return VECTORS[kind](makers), 1


class Recorder(Algorithm):
    """An agent that learns nothing and records what `interact` yields, row by row."""

    def build(self):
        self.rows, self.episodes = [], []
        self.theta = np.zeros(1)

    def acts_by(self):
        return None, None, self.theta

    def choose(self, s):
        return np.array([counting_action(row) for row in s])

    def _train(self, run):
        for columns in run.interact(self.choose):
            self.episodes.extend(columns.episode.tolist())
            for s, a, r, s2, terminated, _ in zip(*columns):
                self.rows.append((tuple(s), int(a), float(r), tuple(s2), bool(terminated)))


class RolloutRecorder(Recorder):
    """Records `rollouts` of eight steps."""

    def _train(self, run):
        self.rows = [copy.deepcopy(D) for D in run.rollouts(8, self.choose)]


class ConsumerRecorder(Recorder):
    """Records what an algorithm learns from: a buffer, rollouts or episodes, by `consumer`."""

    consumer = "replay"

    def build(self):
        super().build()
        kind = PrioritizedReplayBuffer if self.consumer == "prioritized" else ReplayBuffer
        n_step = 3 if self.consumer == "n-step" else 1
        self.buffer = kind(1_000, self.observations.size, gamma=GAMMA, n_step=n_step)

    def _train(self, run):
        if self.consumer in ("rollouts", "episodes"):
            each = 8 if self.consumer == "rollouts" else 10
            rollouts = getattr(run, self.consumer)(each, self.choose)
            self.rows = [copy.deepcopy(D) for D in rollouts]
            return
        for columns in run.interact(self.choose):
            self.buffer.add(*columns)


class CartPoleRecorder(Recorder):
    def choose(self, s):
        return self.rng["explore"].integers(2, size=len(s))


for _name in (
    "Recorder",
    "RolloutRecorder",
    "ConsumerRecorder",
    "CartPoleRecorder",
):  # files must not name them
    del REGISTRY[_name]


def record(kind, makers, steps, cls=Recorder):
    env, n_envs = env_and_count(kind, makers)
    agent = cls(env, n_envs=n_envs, seed=0, verbose=0).learn(steps)
    agent.envs.close()
    return agent


def rows_by_env(rows):
    """The rows of CountingEnvs by environment, in order."""
    parts = {}
    for row in rows:
        parts.setdefault(int(row[0][0]), []).append(row)
    return parts


def first_step(env):
    envs = open_envs(env, 1, np.random.SeedSequence(0))
    envs.reset()
    return envs.step(np.zeros(1, int))


def dqn(env, n_envs, **settings):
    return npr.DQN(
        env, n_envs=n_envs, seed=0, verbose=0, learning_starts=1_000, buffer_size=100, **settings
    )
