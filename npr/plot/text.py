"""Curves as text, for terminals and where matplotlib is missing."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from npr.errors import ConfigError
from npr.plot import statistics
from npr.plot.comparisons import count, final_scores, pairs_of, score_name, title_of
from npr.plot.drawing import shortened
from npr.plot.groups import Normalize, Runs, curve, few, resolve
from npr.settings.setting import whole

_BLOCKS = "▁▂▃▄▅▆▇█"
_LEAST = 12  # characters that labels and sparklines keep


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
    interval: float | None = 0.95,
    normalize: Normalize | None = None,
    width: int = 40,
    columns: int | None = None,
) -> str:
    """The curves of `npr.plot.curves` as text: a line per group with the mean and the
    interquartile mean at the end of its curve, the interval of the mean, and a sparkline of the
    mean over x. Arguments as for `curves`.

    width    characters of the sparkline
    columns  characters of a line, to which sparklines and labels are shortened; None: any number
    """
    whole("smooth", smooth)
    whole("width", width)
    if interval is not None:
        statistics.check_interval(interval)
    groups = resolve(runs, x, y)
    several = len({env for group in groups for env in group.envs}) > 1
    between = "interval" if interval is None else f"{100 * interval:g}% interval"
    rows = [[f"{y} over {x}", "mean", "IQM", between]]
    found = [curve(group, x, y, smooth, "mean", interval, 200, normalize) for group in groups]
    for one in found:
        between = "-"
        if one.low is not None and one.high is not None:
            between = f"[{one.low[-1]:.4g}, {one.high[-1]:.4g}]"
        name = one.group.title
        name = f"{name}, {', '.join(one.group.envs)}" if several else name
        middle = statistics.iqm(one.each)[-1]
        rows.append([name, f"{one.center[-1]:.4g}", f"{middle:.4g}", between])
    if columns is not None:  # labels have what a short sparkline leaves
        width = min(width, max(len(one.center) for one in found))
        left = columns - max(len(row[0]) for row in rows) - _beside(rows) - 2
        width = max(min(width, left), min(width, _LEAST))
    lines = _aligned(rows, None if columns is None else columns - width - 2)
    sparklines = ["", *(sparkline(one.center, width) for one in found)]
    text = [f"{one}  {line}".rstrip() for one, line in zip(lines, sparklines)]
    return "\n".join([*text, *_note(len(one.each) for one in found if one.low is not None)])


def profile_text(
    runs: Runs,
    y: str = "return",
    *,
    last: int = 100,
    normalize: Normalize | None = None,
    columns: int | None = None,
) -> str:
    """The final scores of groups, and the shares of their runs above five scores, as text."""
    scores = final_scores(runs, y, last, normalize)
    titles = {label: title_of(label, tasks) for label, tasks in scores.items()}
    rows = [["score of a run", "mean", "IQM", "min", "max"]]
    for label, tasks in scores.items():
        for env, values in tasks.items():
            numbers = (values.mean(), statistics.iqm(values), values.min(), values.max())
            name = titles[label] if len(tasks) == 1 else f"{titles[label]}: {env}"
            rows.append([name, *(f"{float(number):.4g}" for number in numbers)])
    everything = np.concatenate([one for tasks in scores.values() for one in tasks.values()])
    taus = np.linspace(everything.min(), everything.max(), 7)[1:-1]
    shares = [["share of runs above", *(f"{tau:.4g}" for tau in taus)]]
    for label, tasks in scores.items():
        above = statistics.profile([*tasks.values()], taus)
        shares.append([titles[label], *(f"{share:.2f}" for share in above)])
    return "\n".join([*_aligned(rows, columns), "", *_aligned(shares, columns)])


def improvement_text(
    runs: Runs,
    y: str = "return",
    *,
    last: int = 100,
    interval: float = 0.95,
    normalize: Normalize | None = None,
    columns: int | None = None,
) -> str:
    """What `npr.plot.compare` returns as text: what the score is, and a line per pair of groups."""
    scores = final_scores(runs, y, last, normalize)
    pairs = pairs_of(scores, None, interval)
    names = [*scores]
    between = f"{100 * interval:g}% interval"
    tails = [f"   probability {p:.2f}   {between} [{low:.2f}, {high:.2f}]"
             for _, _, p, (low, high) in pairs]  # fmt: skip
    if columns is not None:
        names = shortened(names, max(_LEAST, (columns - max(map(len, tails)) - 3) // 2))
    short = dict(zip(scores, names))
    lines = [f"{short[a]} > {short[b]}{tail}" for (a, b, *_), tail in zip(pairs, tails)]
    name = score_name(y, last, runs, normalize)
    score = [] if name == "score" else [f"score of a run: {name}"]
    return "\n".join([*score, *lines, *_note(map(count, scores.values()))])


def _note(runs: Iterable[int]) -> list[str]:
    return [note.capitalize() + "."] if (note := few(runs)) else []


def _beside(rows: list[list[str]]) -> int:
    """The width of all columns but the first, with the spaces before them."""
    return sum(2 + max(map(len, column)) for column in list(zip(*rows))[1:])


def _aligned(rows: list[list[str]], columns: int | None) -> list[str]:
    """Lines of a table: the first column at the left and shortened, numbers at the right."""
    names = [row[0] for row in rows]
    if columns is not None:
        names = names[:1] + shortened(names[1:], max(_LEAST, columns - _beside(rows)))
    cells = [*zip(*(row[1:] for row in rows))]
    widths = [max(map(len, column)) for column in cells]
    first = max(map(len, names))
    return [
        "  ".join([f"{name:<{first}}", *(f"{one:>{w}}" for one, w in zip(row[1:], widths))])
        for name, row in zip(names, rows)
    ]
