"""Curves as text, for terminals and where matplotlib is missing."""

import math
from collections.abc import Sequence

import numpy as np

from npr.errors import ConfigError
from npr.plot import statistics
from npr.plot.groups import Normalize, Runs, curve, resolve

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float] | np.ndarray, width: int = 40) -> str:
    """A curve as a line of at most `width` blocks, from ▁ (the lowest) to █ (the highest).

    A block is the mean of the values that fall into it; one without finite values is a space, and
    blocks of a constant curve are of medium height.
    """
    if width < 1:
        raise ConfigError(f"width must be at least 1, got {width!r}.")
    y = np.asarray(values, np.float64).ravel()
    parts = np.array_split(y, min(width, len(y))) if len(y) else []
    means = [one[np.isfinite(one)].mean() if np.isfinite(one).any() else math.nan for one in parts]
    finite = [one for one in means if math.isfinite(one)]
    if not finite:
        return " " * len(means)
    low, high = min(finite), max(finite)

    def block(mean: float) -> str:
        if not math.isfinite(mean):
            return " "
        if high == low:
            return _BLOCKS[3]
        return _BLOCKS[min(7, int(8 * (mean - low) / (high - low)))]

    return "".join(map(block, means))


def curves_text(
    runs: Runs,
    x: str = "steps",
    y: str = "return",
    *,
    smooth: int = 10,
    interval: float = 0.95,
    normalize: Normalize | None = None,
    width: int = 40,
) -> str:
    """The curves of `npr.plot.curves` as text: a line per group with the mean and the
    interquartile mean at the end of its curve, the interval of the mean, and a sparkline of the
    mean over x. Arguments as for `curves`; width: characters of the sparkline.
    """
    groups = resolve(runs, x, y)
    several = len({env for group in groups for env in group.envs}) > 1
    rows = [(f"{y} over {x}", "mean", "IQM", f"{interval:.0%} interval", "")]
    for group in groups:
        found = curve(group, x, y, smooth, "mean", interval, 200, normalize)
        between = "-"
        if found.low is not None and found.high is not None:
            between = f"[{found.low[-1]:.4g}, {found.high[-1]:.4g}]"
        name = f"{group.title}, {', '.join(group.envs)}" if several else group.title
        middle = statistics.iqm(found.each)[-1]
        line = sparkline(found.center, width)
        rows.append((name, f"{found.center[-1]:.4g}", f"{middle:.4g}", between, line))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip()
        for a, b, c, d, e in rows
    )
