"""What tables remember of the steps of an episode: rewards of several steps, eligibility traces."""

from typing import Any

import numpy as np

from npr.backend import Array, check_array
from npr.errors import ConfigError


class Trail(dict[int, tuple[Any, Any]]):
    """Pairs of a table (S, K) that episodes have visited, and a number for each.

    Number of an episode -> (pairs, numbers) of one length; a pair is s K + a.

    size   pairs of the table
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def keep(self, episodes: Array) -> None:
        """Forget all episodes but these."""
        for gone in self.keys() - episodes.tolist():
            del self[gone]

    def visit(
        self, episode: int, pair: int, decay: float, replace: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (m,) with an eligibility trace, each once, and the traces e (m,), after a step
        at a pair: e <- decay e, then e(pair) <- e(pair) + 1, or 1 if traces are replaced."""
        if not decay or episode not in self:
            pairs, e = np.array([pair]), np.ones(1)
        else:
            pairs, e = (np.asarray(x) for x in self[episode])
            e *= decay
            at = np.flatnonzero(pairs == pair)
            if not len(at):
                pairs, e = np.append(pairs, pair), np.append(e, 1.0)
            else:
                e[at] = 1.0 if replace else e[at] + 1.0
        self[episode] = pairs, e
        return pairs, e

    def state(self) -> dict[str, Array]:
        rows = [(k, pair) for k, (pairs, _) in self.items() for pair in pairs]
        numbers = [float(x) for _, own in self.values() for x in own]
        return {
            "pairs": np.array(rows, np.int64).reshape(-1, 2),
            "numbers": np.array(numbers, np.float64),
        }

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one."""
        rows, numbers = state["pairs"], state["numbers"]
        check_array("The pairs of episodes", rows, (len(rows), 2), np.int64)
        check_array("The numbers of episodes", numbers, (len(rows),), np.float64)
        if not ((rows[:, 1] >= 0) & (rows[:, 1] < self.size)).all():
            raise ConfigError(f"The pairs of episodes must be below {self.size:,}, the table's.")
        self.clear()
        for k, pair, x in zip(*rows.T.tolist(), numbers.tolist()):
            pairs, own = self.setdefault(k, ([], []))
            pairs.append(pair)
            own.append(x)
