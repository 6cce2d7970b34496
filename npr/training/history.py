"""Finished episodes of a run in bounded memory, for plots."""

import numpy as np

ROWS = 4_096  # at most


class History:
    """Rows (env step, return, length, seconds) of finished episodes: the count at the end of the
    episode, and the time since the run began.

    Beyond 4,096 episodes a row stands for several consecutive ones: it has the step and the time of
    the last, and the mean return and length. `per_row` is their number, a power of two.
    """

    def __init__(self) -> None:
        self.per_row = 1
        self._rows: list[tuple[float, float, float, float]] = []
        self._held: list[tuple[float, float, float, float]] = []  # of the next row

    def add(self, step: int, ret: float, length: int, seconds: float) -> None:
        """Append an episode."""
        self._held.append((step, ret, length, seconds))
        if len(self._held) < self.per_row:
            return
        self._rows.append(_merged(self._held))
        self._held = []
        if len(self._rows) == ROWS:
            self._rows = [_merged(self._rows[i : i + 2]) for i in range(0, ROWS, 2)]
            self.per_row *= 2

    @property
    def seconds(self) -> float:
        """The time at the end of the last episode; 0 before the first."""
        last = (self._held or self._rows)[-1:]
        return last[0][3] if last else 0.0

    def rows(self) -> np.ndarray:
        """(n, 4): the episodes so far, without those that do not fill a row yet."""
        return np.array(self._rows, np.float64).reshape(-1, 4)


def _merged(rows: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """One row for several of the same number of episodes."""
    step, _, _, seconds = rows[-1]
    n = len(rows)
    return step, sum(row[1] for row in rows) / n, sum(row[2] for row in rows) / n, seconds
