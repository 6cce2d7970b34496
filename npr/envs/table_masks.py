"""Masks of actions for tables, whose observations are indices and carry no mask with them."""

from collections.abc import Sequence

import numpy as np

from npr.backend import FLOAT
from npr.errors import EnvContractError


class TableMasks:
    """The actions (S, K) that are allowed at each observation of a table.

    allowed   (S, K) 1 for what is allowed, or not known yet; 0 for what is not allowed
    known     (S,) whether the environment has said what is allowed
    values    tables (..., S, K) whose values of actions that are not allowed are held at -inf
    """

    def __init__(self, S: int, K: int) -> None:
        self.allowed, self.known = np.ones((S, K), FLOAT), np.zeros(S, bool)
        self.values: Sequence[np.ndarray] = ()

    def hold(self, values: Sequence[np.ndarray]) -> None:
        """Hold tables, the first of shape (S, K), which may have values of -inf already."""
        self.values = values
        forbidden = np.isneginf(values[0])
        before = np.flatnonzero(forbidden.any(axis=-1) & ~self.known)
        self.allowed[before], self.known[before] = ~forbidden[before], True
        for table in values:
            table[..., self.allowed == 0] = -np.inf

    def note(self, s: int, mask: np.ndarray) -> None:
        """The environment allows the actions of a mask (K,) of ones and zeros at observation s.

        Raises EnvContractError if it has allowed others there.
        """
        if not self.known[s]:
            self.allowed[s], self.known[s] = mask, True
            for table in self.values:
                table[..., s, mask == 0] = -np.inf
        elif (self.allowed[s] != mask).any():
            before, now = (np.flatnonzero(one).tolist() for one in (self.allowed[s], mask))
            raise EnvContractError(
                f"The mask at observation {s} allowed the actions {before} and allows {now} now. A "
                "table needs masks that depend on the observation alone: let observations say what "
                "they depend on, or use an algorithm with a network, such as DQN."
            )
