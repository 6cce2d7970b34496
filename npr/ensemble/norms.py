"""Running normalization of several agents at once, for steps of one environment per agent.

The moments of the agents become rows of common arrays, so that a step is a few operations for all
of them. Each row has the bits of `ObservationNorm` and `RewardNorm`: with one row per agent there
are no sums whose order could differ.
"""

from collections.abc import Sequence

import numpy as np

from npr.normalize import EPS, Moments, ObservationNorm, RewardNorm


class _Moments:
    """The moments of agents, all of as many rows."""

    def __init__(self, moments: Sequence[Moments]) -> None:
        self._moments, self.count = moments, moments[0].count
        self.mean = np.stack([one.mean for one in moments])
        self.squares = np.stack([one.squares for one in moments])
        for one, mean, squares in zip(moments, self.mean, self.squares):
            one.mean, one.squares = mean, squares

    def add(self, rows: np.ndarray) -> None:
        """Include one row of each agent, (agents, D)."""
        self.count += 1
        step = rows.astype(np.float64) - self.mean
        self.mean += step * (1 / self.count)
        self.squares += step**2 * (1 * (1 - 1 / self.count))
        for one in self._moments:
            one.count = self.count


class ObservationNorms:
    """The ObservationNorm of each agent."""

    def __init__(self, norms: Sequence[ObservationNorm]) -> None:
        self._moments, self._clip = _Moments([one.moments for one in norms]), norms[0].clip
        self._mean, self._scale = (np.stack(x) for x in zip(*(one.scaling for one in norms)))
        for one, mean, scale in zip(norms, self._mean, self._scale):
            one.share(mean, scale)

    def add(self, rows: np.ndarray) -> None:
        """Include one observation of each agent, (agents, size)."""
        self._moments.add(rows)
        self._mean[...] = self._moments.mean
        self._scale[...] = 1 / np.sqrt(self._moments.squares / self._moments.count + EPS)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Normalized observations (agents, size), a new array."""
        rows = (rows - self._mean) * self._scale
        return np.clip(rows, -self._clip, self._clip, out=rows)


class RewardNorms:
    """The RewardNorm of each agent."""

    def __init__(self, norms: Sequence[RewardNorm]) -> None:
        self._moments, self._gamma = _Moments([one.moments for one in norms]), norms[0].gamma
        self._returns = np.stack([one.returns for one in norms])
        for one, returns in zip(norms, self._returns):
            one.returns = returns

    def add(self, r: np.ndarray, done: np.ndarray) -> None:
        """Include one reward of each agent and whether its episode has ended, (agents,)."""
        self._returns[:, 0] = self._gamma * self._returns[:, 0] + r
        self._moments.add(self._returns)
        self._returns[done] = 0.0


def can_join(norms: Sequence[ObservationNorm | RewardNorm | None], n_envs: int) -> bool:
    """Whether these normalizations of agents can be computed together."""
    return (
        n_envs == 1
        and norms[0] is not None
        and len({one.moments.count for one in norms if one is not None}) == 1
    )
