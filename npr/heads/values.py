"""Heads of action values: the best action, or epsilon-greedy."""

import numpy as np

from npr.heads.base import Head


class ArgmaxHead(Head):
    """Outputs are the values of discrete actions."""

    name, kinds = "argmax", ("discrete",)

    def choose(self, y: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        a: np.ndarray = y.argmax(axis=-1)
        if rng is not None and self.epsilon:
            random = rng.random(len(a)) < self.epsilon
            a = np.where(random, self.actions.uniform(rng, len(a)), a)
        return a


class TableHead(ArgmaxHead):
    """An ArgmaxHead for the rows of a table (states, actions) instead of a network."""

    name = "table"


class DuelingHead(ArgmaxHead):
    """Outputs are the value of the state, then the advantages of actions up to a constant."""

    name = "dueling"

    @property
    def outputs(self) -> int:
        return 1 + self.actions.size

    def choose(self, y: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return super().choose(y[:, 1:], rng)
