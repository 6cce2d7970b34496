"""Statistics of several runs: centers, bootstrap intervals, profiles, comparisons.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". NumPy
only. Runs are along the first axis. The runs of several tasks are passed as a list, one array per
task: resampling then keeps the number of runs of each task (stratified bootstrap).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npr.errors import ConfigError
from npr.settings.setting import whole

RESAMPLES = 2_000
FEW = 5  # runs below which bootstrap intervals are too narrow

Scores = np.ndarray  # (runs, ...)
Statistic = Callable[[np.ndarray], Any]


# ---- curves


def moving_mean(y: np.ndarray, window: int) -> np.ndarray:
    """Mean (n,) of each number and up to window - 1 before it: of fewer at the start."""
    window = whole("window", window)
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(y, np.float64))])
    ends = np.arange(1, len(sums))
    begins = np.maximum(ends - window, 0)
    means: np.ndarray = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def common_grid(xs: Sequence[np.ndarray], points: int = 200) -> np.ndarray:
    """The x values at which curves of several runs are compared.

    xs   of each run, not decreasing

    Their own x values if all runs have the same, else `points` numbers at equal distances in the
    range that all of them cover. Raises ConfigError if there is none.
    """
    if all(len(x) == len(xs[0]) and np.array_equal(x, xs[0]) for x in xs):
        return np.asarray(xs[0], np.float64)
    low, high = max(x[0] for x in xs), min(x[-1] for x in xs)
    if low > high:
        raise ConfigError(
            f"The runs have no common range: one begins at {low:g}, another ends at {high:g}."
        )
    return np.linspace(low, high, whole("points", points))


def interpolated(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The curve through (x, y) at the points of the grid, linear between its points.

    Where several points have the same x, the last counts.
    """
    last = np.append(np.diff(x) > 0, True)
    values: np.ndarray = np.interp(grid, x[last], y[last])
    return values


# ---- centers


def mean(x: np.ndarray) -> Any:
    """Mean over the first axis."""
    return x.mean(axis=0)


def iqm(x: np.ndarray) -> Any:
    """Interquartile mean over the first axis: without the n // 4 lowest and n // 4 highest."""
    cut = len(x) // 4
    if not cut:
        return x.mean(axis=0)
    return np.sort(x, axis=0)[cut:-cut].mean(axis=0)


CENTERS: dict[str, Statistic] = {"mean": mean, "iqm": iqm}


# ---- intervals


def bootstrap(
    scores: Scores | Sequence[Scores],
    statistic: Statistic = mean,
    interval: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Percentile interval (low, high) of a statistic of runs, by stratified bootstrap.

    scores     (runs, ...), or a list with one such array per task
    statistic  maps (all runs, ...) to (...)
    interval   its coverage, between 0 and 1
    seed       of the resampling: the same interval each time

    A single run per task has no spread: the interval is then that of the other tasks, or a point.
    """
    tasks = _tasks(scores)
    values = _resampled(
        [tasks], lambda groups: statistic(np.concatenate(groups[0])), resamples, seed
    )
    return _percentiles(values, interval)


def _tasks(scores: Scores | Sequence[Scores]) -> list[np.ndarray]:
    numbers = isinstance(scores, np.ndarray) or all(np.ndim(one) == 0 for one in scores)
    arrays = [np.asarray(one, np.float64) for one in ([scores] if numbers else scores)]
    if not arrays or any(one.ndim == 0 or len(one) == 0 for one in arrays):
        raise ConfigError("Statistics need at least one run of each task, got none.")
    return arrays


def _resampled(
    groups: list[list[np.ndarray]],
    statistic: Callable[[list[list[np.ndarray]]], Any],
    resamples: int,
    seed: int,
) -> np.ndarray:
    """A statistic of (resamples) draws with replacement: from each task of each group, as many
    runs as it has."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(whole("resamples", resamples)):
        drawn = [[one[rng.integers(len(one), size=len(one))] for one in tasks] for tasks in groups]
        values.append(statistic(drawn))
    return np.array(values)


def _percentiles(values: np.ndarray, interval: float) -> tuple[Any, Any]:
    check_interval(interval)
    low, high = np.quantile(values, [(1 - interval) / 2, (1 + interval) / 2], axis=0)
    return low, high


def check_interval(interval: Any) -> None:
    """Raise ConfigError unless this can be the coverage of an interval."""
    number = isinstance(interval, int | float | np.number) and not isinstance(interval, bool)
    if not (number and 0 < interval < 1):
        raise ConfigError(f"interval must be between 0 and 1, got {interval!r}.")


# ---- profiles and comparisons


def profile(scores: Scores | Sequence[Scores], taus: np.ndarray) -> np.ndarray:
    """Share (len(taus),) of runs whose score is above each tau; Agarwal et al. 2021, eq. 2.

    scores   (runs,), or a list with one such array per task, whose shares are averaged
    """
    shares: np.ndarray = np.mean(
        [(one[:, None] > np.asarray(taus)).mean(axis=0) for one in _tasks(scores)], axis=0
    )
    return shares


def profile_interval(
    scores: Scores | Sequence[Scores],
    taus: np.ndarray,
    interval: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise interval (low, high) of `profile`, by stratified bootstrap."""
    values = _resampled([_tasks(scores)], lambda groups: profile(groups[0], taus), resamples, seed)
    return _percentiles(values, interval)


def probability_of_improvement(x: Scores | Sequence[Scores], y: Scores | Sequence[Scores]) -> float:
    """Probability that a run of x scores higher than a run of y; ties count one half.

    The statistic of Mann and Whitney, divided by the number of pairs. x and y are (runs,), or lists
    with one such array per task, whose probabilities are averaged (Agarwal et al. 2021, section
    4.3).
    """
    ours, theirs = _tasks(x), _tasks(y)
    if len(ours) != len(theirs):
        raise ConfigError(
            f"Both sets of runs need the same tasks, got {len(ours)} and {len(theirs)}."
        )
    return float(np.mean([_higher(a, b) for a, b in zip(ours, theirs)]))


def _higher(a: np.ndarray, b: np.ndarray) -> float:
    difference = a[:, None] - b
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def improvement_interval(
    x: Scores | Sequence[Scores],
    y: Scores | Sequence[Scores],
    interval: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of the probability of improvement: both sets are resampled."""
    groups = [_tasks(x), _tasks(y)]
    values = _resampled(
        groups, lambda drawn: probability_of_improvement(drawn[0], drawn[1]), resamples, seed
    )
    low, high = _percentiles(values, interval)
    return float(low), float(high)
