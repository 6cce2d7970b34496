"""Heads of action values: the best action, or epsilon-greedy."""

from typing import Any

import numpy as np

from npr.errors import EnvContractError
from npr.heads.base import Head
from npr.heads.masks import masked


class ArgmaxHead(Head):
    """Outputs are the values of discrete actions; -inf is that of an action that is not allowed."""

    name, kinds = "argmax", ("discrete",)

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        y = masked(y, mask)
        a: np.ndarray = y.argmax(axis=-1)
        if rng is not None and self.epsilon:
            random = rng.random(len(a)) < self.epsilon
            allowed = y > -np.inf
            other = self.actions.uniform(rng, len(a), None if allowed.all() else allowed)
            a = np.where(random, other, a)
        return a

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        return {"q_values": masked(y, mask)}


class TableHead(ArgmaxHead):
    """An ArgmaxHead for the rows of a table (states, actions) instead of a network."""

    name = "table"

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        if mask is not None and not (masked(y, mask) > -np.inf).any(axis=-1).all():
            raise EnvContractError(
                "The mask allows only actions that were forbidden at this observation in training. "
                "A table needs masks that depend on the observation alone."
            )
        return super().choose(y, rng, mask)


class DuelingHead(ArgmaxHead):
    """Outputs are the value of the state, then the advantages of actions up to a constant."""

    name = "dueling"

    @property
    def outputs(self) -> int:
        return 1 + self.actions.size

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return super().choose(y[:, 1:], rng, mask)

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        V, A = y[0], y[1:] - y[1:].mean()
        return {"q_values": masked(V + A, mask), "advantages": A, "state_value": V}
