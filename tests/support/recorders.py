"""Agents that record transitions, and vector environments of every kind by name."""

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import npr
from npr.algorithms.base import REGISTRY, Algorithm
from npr.buffers import PrioritizedReplayBuffer, ReplayBuffer
from npr.envs.make import open_environments
from support.toy_envs import (
    counting_action,
)

GAMMA, LAMBDA = 0.9, 0.8


# ---- what stands behind the door, by name


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


def behind_the_door(kind, makers):
    """(env, n_envs) for an agent: n_envs copies made by npr, or a vector environment."""
    if kind == "list":
        queue = iter(makers)
        return (lambda: next(queue)()), len(makers)
    return VECTORS[kind](makers), 1


class Recorder(Algorithm):
    """An agent that learns nothing and keeps what `interact` yields, row by row."""

    def build(self):
        self.rows, self.episodes = [], []

    def choose(self, s):
        return np.array([counting_action(row) for row in s])

    def train(self):
        for columns in self.interact(self.choose):
            self.episodes.extend(self.last.episode.tolist())
            for s, a, r, s2, terminated in zip(*columns):
                self.rows.append((tuple(s), int(a), float(r), tuple(s2), bool(terminated)))


class RolloutRecorder(Recorder):
    """The same with `rollouts` of eight steps."""

    def train(self):
        self.rows = list(self.rollouts(8, self.choose))


class Keeper(Recorder):
    """The same in what an algorithm learns from, named by `consumer`."""

    consumer = "replay"

    def train(self):
        if self.consumer in ("rollouts", "episodes"):
            consume, each = (
                getattr(Algorithm, self.consumer),
                8 if self.consumer == "rollouts" else 10,
            )
            self.rows = list(consume(self, each, self.choose))
            return
        kind = PrioritizedReplayBuffer if self.consumer == "prioritized" else ReplayBuffer
        self.buffer = kind(1_000, 3, gamma=GAMMA, n_step=3 if self.consumer == "n-step" else 1)
        for columns in self.interact(self.choose):
            self.buffer.add(*columns, self.last.episode)


class RowsOfCartPole(Recorder):
    def choose(self, s):
        return self.rng["explore"].integers(2, size=len(s))


for _name in (
    "Recorder",
    "RolloutRecorder",
    "Keeper",
    "RowsOfCartPole",
):  # they are nothing that a file may name
    del REGISTRY[_name]


def record(kind, makers, steps, cls=Recorder):
    env, n_envs = behind_the_door(kind, makers)
    agent = cls(env, n_envs=n_envs, seed=0, verbose=0).learn(steps)
    agent.envs.close()
    return agent


def by_env(rows):
    """Rows of CountingEnvs in the order of each environment."""
    parts = {}
    for row in rows:
        parts.setdefault(int(row[0][0]), []).append(row)
    return parts


def stepped(env):
    envs = open_environments(env, 1, np.random.SeedSequence(0))
    envs.reset()
    return envs.step(np.zeros(1, int))


# ---- nothing bad is kept


def dqn(env, n_envs, **settings):
    return npr.DQN(
        env, n_envs=n_envs, seed=0, verbose=0, learning_starts=1_000, buffer_size=100, **settings
    )
