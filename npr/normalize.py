"""Running normalization of observations and rewards, part of the policy and of its file.

Experience is stored as it was; it is normalized when it is used, with the moments at that time.
Source: Welford 1962; Chan, Golub and LeVeque 1983, eq. 2.1.
"""

from typing import Any

import numpy as np

from npr.backend import FLOAT, Array, check_array
from npr.errors import ConfigError

EPS = 1e-8  # added to a variance


class Moments:
    """Mean and variance of all rows (B, D) so far, in float64."""

    def __init__(self, D: int) -> None:
        self.count = 0
        self.mean: Array = np.zeros(D)
        self.squares: Array = np.zeros(D)  # sum of squared deviations from the mean

    def add(self, rows: Array) -> None:
        """Include rows (B, D), of any B."""
        n = len(rows)
        if not n:
            return
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        step, self.count = mean - self.mean, self.count + n
        self.mean += step * (n / self.count)
        self.squares += ((rows - mean) ** 2).sum(axis=0) + step**2 * (n * (1 - n / self.count))

    @property
    def variance(self) -> Array:
        """(D,); one before the first row."""
        return self.squares / self.count if self.count else np.ones_like(self.squares)

    def state(self) -> dict[str, Array]:
        return {"count": np.array(self.count), "mean": self.mean, "squares": self.squares}

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one of D dimensions."""
        count, mean, squares = int(state["count"]), state["mean"], state["squares"]
        check_array("The mean of moments", mean, self.mean.shape, np.float64)
        check_array("The squares of moments", squares, self.mean.shape, np.float64)
        if (squares < 0).any() or count < 0:
            raise ConfigError("The squares and the count of moments must be at least 0.")
        self.count, self.mean, self.squares = count, mean.copy(), squares.copy()


class ObservationNorm:
    """Observations standardized by their running mean and variance, clipped to [-clip, clip].

    size      numbers per observation
    ignored   numbers that follow them in a row, which stay as they are: a mask of actions
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, size: int, clip: float = 10.0, ignored: int = 0) -> None:
        self.moments, self.clip, self._size = Moments(size), clip, size
        self._mean, self._scale = np.zeros(size + ignored, FLOAT), np.ones(size + ignored, FLOAT)
        self._refresh()

    def __repr__(self) -> str:
        moments = self.moments
        return f"ObservationNorm({len(moments.mean)} numbers, {moments.count:,} observations)"

    def add(self, rows: Array) -> None:
        """Include observations (B, size) that were acted on."""
        self.moments.add(rows[:, : self._size])
        self._refresh()

    def _refresh(self) -> None:
        self._mean[: self._size] = self.moments.mean
        self._scale[: self._size] = 1 / np.sqrt(self.moments.variance + EPS)

    def share(self, mean: Array, scale: Array) -> None:
        """Keep what `scaling` returns in these arrays, which have its values, from now on."""
        self._mean, self._scale = mean, scale

    @property
    def scaling(self) -> tuple[Array, Array]:
        """The mean (size + ignored,) and the factor of what differs from it: always these arrays,
        until `share`."""
        return self._mean, self._scale

    @property
    def of_observations(self) -> tuple[Array, Array]:
        """`scaling` of the numbers of observations alone, (size,) each."""
        return self._mean[: self._size], self._scale[: self._size]

    def __call__(self, rows: Array) -> Array:
        """Normalized rows (..., size + ignored) or (..., size), a new array."""
        mean, scale = self._mean, self._scale
        if rows.shape[-1:] != mean.shape:
            mean, scale = self.of_observations
        rows = (rows - mean) * scale
        return np.clip(rows, -self.clip, self.clip, out=rows)

    def state(self) -> dict[str, Array]:
        return self.moments.state()

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one of this size."""
        self.moments.load(state)
        self._refresh()


class RewardNorm:
    """Rewards divided by the running standard deviation of their discounted returns, and clipped to
    [-clip, clip], as in Stable-Baselines3.

    They are not shifted, which would change the optimal policy. The bound matters where returns
    hardly vary: in episodes of one step with the same reward there is nothing to divide by.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, n_envs: int, gamma: float, clip: float = 10.0) -> None:
        self.moments, self.gamma, self.clip = Moments(1), gamma, clip
        self.returns: Array = np.zeros(n_envs)  # discounted sum of each environment's past rewards

    def __repr__(self) -> str:
        return f"RewardNorm({len(self.returns)} environments, {self.moments.count:,} rewards)"

    def add(self, r: Array, done: Array, valid: Array) -> None:
        """Include one step of every environment: rewards, ends of episodes, validity (n,)."""
        self.returns = np.where(valid, self.gamma * self.returns + r, 0.0)
        self.moments.add(self.returns[valid, None])
        self.returns[done] = 0.0

    def add_sequence(self, r: Array, goes_on: Array) -> None:
        """Include rewards (B,) that are not of these environments, in the order of their episodes;
        goes_on (B,): whether the next one belongs to the same episode."""
        total, past = 0.0, []
        for reward, more in zip(r.tolist(), goes_on.tolist()):
            total = self.gamma * total + reward
            past.append(total)
            total *= more
        self.moments.add(np.reshape(past, (-1, 1)))

    def begin(self, n_envs: int) -> None:
        """Start new episodes in this many environments."""
        self.returns = np.zeros(n_envs)

    @property
    def scale(self) -> Any:
        """The factor of rewards, a FLOAT."""
        return FLOAT.type(1 / np.sqrt(self.moments.variance[0] + EPS))

    def __call__(self, r: Array, steps: int = 1) -> Array:
        """Normalized rewards, a new array; or discounted sums of the rewards of so many steps, with
        a bound as many times as large."""
        r = r * self.scale
        bound = self.clip * steps
        return np.clip(r, -bound, bound, out=r)

    def state(self) -> dict[str, Array]:
        return {**self.moments.state(), "returns": self.returns}

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one of this many environments."""
        returns = state["returns"]
        check_array("The returns of each environment", returns, self.returns.shape, np.float64)
        self.moments.load(state)
        self.returns = returns.copy()
