"""Running normalisation of observations and rewards, part of the policy and of its file.

Experience is stored as it was; what a network sees is normalised when it is used, with the
moments of that moment. Source: Welford 1962; Chan, Golub and LeVeque 1983, eq. 2.1.
"""

import numpy as np

from npr.backend import FLOAT
from npr.errors import ConfigError

EPS = 1e-8  # added to a variance


class Moments:
    """Mean and variance of all rows (B, D) so far, in float64."""

    def __init__(self, D: int):
        self.count = 0
        self.mean, self.squares = np.zeros(D), np.zeros(D)  # squares: summed, of the deviations

    def add(self, rows: np.ndarray) -> None:
        """Count rows (B, D), of any B."""
        n = len(rows)
        if not n:
            return
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        step, self.count = mean - self.mean, self.count + n
        self.mean += step * (n / self.count)
        self.squares += ((rows - mean) ** 2).sum(axis=0) + step**2 * (n * (1 - n / self.count))

    @property
    def variance(self) -> np.ndarray:
        """(D,); one before the first row."""
        return self.squares / self.count if self.count else np.ones_like(self.squares)

    def state(self) -> dict:
        return {"count": np.array(self.count), "mean": self.mean, "squares": self.squares}

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError if it is not one of D numbers."""
        count, mean, squares = int(state["count"]), state["mean"], state["squares"]
        for array in (mean, squares):
            if array.shape != self.mean.shape or array.dtype != np.float64:
                raise ConfigError(
                    f"Moments must be float64{self.mean.shape}, got {array.dtype}{array.shape}."
                )
        finite = np.isfinite(mean).all() and np.isfinite(squares).all()
        if not finite or (squares < 0).any() or count < 0:
            raise ConfigError("Moments must be finite, squares and counts at least 0.")
        self.count, self.mean, self.squares = count, mean.copy(), squares.copy()


class ObservationNorm:
    """Observations less their mean, over their deviation, clipped to [-clip, clip]."""

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, size: int, clip: float = 10.0):
        self.moments, self.clip = Moments(size), clip
        self._refresh()

    def add(self, rows: np.ndarray) -> None:
        """Count observations (B, size) that were acted on."""
        self.moments.add(rows)
        self._refresh()

    def _refresh(self):
        self._mean = self.moments.mean.astype(FLOAT)
        self._scale = (1 / np.sqrt(self.moments.variance + EPS)).astype(FLOAT)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Normalised rows (..., size), a new array."""
        rows = (rows - self._mean) * self._scale
        return np.clip(rows, -self.clip, self.clip, out=rows)

    def state(self) -> dict:
        return self.moments.state()

    def load(self, state: dict) -> None:
        self.moments.load(state)
        self._refresh()


class RewardNorm:
    """Rewards over the deviation of the discounted returns that they add up to.

    They are neither shifted nor clipped: that would change what is best.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, n_envs: int, gamma: float):
        self.moments, self.gamma = Moments(1), gamma
        self.returns = np.zeros(n_envs)  # of the present episodes, discounted forwards

    def add(self, r: np.ndarray, done: np.ndarray, valid: np.ndarray) -> None:
        """Count a step of every environment (n,)."""
        self.returns = np.where(valid, self.gamma * self.returns + r, 0.0)
        self.moments.add(self.returns[valid, None])
        self.returns[done] = 0.0

    def begin(self, n_envs: int) -> None:
        """So many environments start anew."""
        self.returns = np.zeros(n_envs)

    def __call__(self, r: np.ndarray) -> np.ndarray:
        return r * FLOAT.type(1 / np.sqrt(self.moments.variance[0] + EPS))

    def state(self) -> dict:
        return {**self.moments.state(), "returns": self.returns}

    def load(self, state: dict) -> None:
        returns = state["returns"]
        if returns.shape != self.returns.shape or not np.isfinite(returns).all():
            raise ConfigError(
                f"Returns must be finite numbers, {self.returns.shape}: one of each environment; "
                f"got {returns.dtype}{returns.shape}."
            )
        self.moments.load(state)
        self.returns = returns.copy()
