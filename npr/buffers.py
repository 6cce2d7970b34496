"""Where experience is kept: preallocated columns on the host; batches go to the device."""

import numpy as np

from npr.backend import FLOAT, to_device
from npr.errors import ConfigError

CHOICE = np.dtype(np.int64)  # of discrete actions


class ReplayBuffer:
    """The last `capacity` transitions (s, a, r, s2, terminated), in a ring.

    s_size       numbers per observation
    a_shape      () with a_dtype int64 for discrete actions, (D,) otherwise
    A time-out is not stored: s2 is always the true next observation, and `terminated` alone
    decides whether its value counts.
    """

    def __init__(self, capacity: int, s_size: int, a_shape=(), a_dtype=CHOICE):
        self.capacity, self.position, self.size = capacity, 0, 0
        self.s = np.zeros((capacity, s_size), FLOAT)
        self.a = np.zeros((capacity, *a_shape), a_dtype)
        self.r = np.zeros(capacity, FLOAT)
        self.s2 = np.zeros((capacity, s_size), FLOAT)
        self.terminated = np.zeros(capacity, FLOAT)
        self.columns = (self.s, self.a, self.r, self.s2, self.terminated)

    def add(self, *transition) -> None:
        """Store a batch of transitions: s (N, ...), a (N, ...), r, s2, terminated (N,)."""
        n = len(transition[2])
        if n > self.capacity:
            raise ConfigError(
                f"{n} transitions at once do not fit a replay buffer of {self.capacity}; "
                "raise buffer_size to at least n_envs."
            )
        start = self.position
        end = start + n
        if end <= self.capacity:
            for column, values in zip(self.columns, transition):
                column[start:end] = values
        else:
            index = np.arange(start, end) % self.capacity
            for column, values in zip(self.columns, transition):
                column[index] = values
        self.position = end % self.capacity
        self.size = min(self.size + n, self.capacity)

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple:
        """A batch (s, a, r, s2, terminated) on the device, drawn uniformly with replacement."""
        if not self.size:
            raise ConfigError("The replay buffer is empty; add transitions before sampling.")
        index = (rng.random(batch_size) * self.size).astype(np.int64)
        return tuple(to_device(column.take(index, axis=0)) for column in self.columns)

    def state(self) -> dict:
        """The filled part of every column, and where the next transition goes."""
        names = ("s", "a", "r", "s2", "terminated")
        arrays = {name: column[: self.size] for name, column in zip(names, self.columns)}
        return {**arrays, "position": np.array(self.position, np.int64)}

    def load(self, state: dict) -> None:
        position = int(state["position"])
        size = len(state["r"])
        if size > self.capacity or not 0 <= position < self.capacity:
            raise ConfigError(f"A replay of {size} does not fit buffer_size={self.capacity}.")
        for name, column in zip(("s", "a", "r", "s2", "terminated"), self.columns):
            column[:size] = state[name]
        self.position, self.size = position, size


class Rollout:
    """T steps of N environments as the environments told them: columns (T, N, ...).

    done        terminated or truncated: a trace is cut after this step
    s2          the true next observation, also where the episode ended here
    valid       0 where a vector environment only reset itself: not an experience
    """

    def __init__(self, T: int, N: int, s_size: int, a_shape=(), a_dtype=CHOICE):
        self.s = np.zeros((T, N, s_size), FLOAT)
        self.a = np.zeros((T, N, *a_shape), a_dtype)
        self.r = np.zeros((T, N), FLOAT)
        self.s2 = np.zeros((T, N, s_size), FLOAT)
        self.terminated = np.zeros((T, N), FLOAT)
        self.done = np.zeros((T, N), FLOAT)
        self.valid = np.zeros((T, N), bool)

    def put(self, t, s, a, r, s2, terminated, truncated, valid) -> None:
        """Store step t of all environments. A row that is not valid cuts every trace."""
        self.s[t], self.a[t], self.r[t], self.s2[t] = s, a, r, s2
        self.terminated[t] = terminated | ~valid
        self.done[t] = terminated | truncated | ~valid
        self.valid[t] = valid

    def arrays(self) -> tuple:
        """(s, a, r, s2, terminated, done) on the device, each (T, N, ...)."""
        columns = (self.s, self.a, self.r, self.s2, self.terminated, self.done)
        return tuple(to_device(column) for column in columns)

    def minibatches(self, batch_size: int, rng: np.random.Generator):
        """Index arrays on the device that visit every valid step once, in random order.

        They index columns flattened to (T N, ...). A last minibatch of a single step joins the
        one before it: one step has no standard deviation.
        """
        index = np.flatnonzero(self.valid)
        rng.shuffle(index)
        cuts = list(range(0, len(index), batch_size)) + [len(index)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            del cuts[-2]
        order = to_device(index)
        return [order[i:j] for i, j in zip(cuts, cuts[1:])]
