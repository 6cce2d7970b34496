"""Learning curves over several runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from npr.plot import statistics
from npr.plot.drawing import below, check_path, color, finish, legend, line, new_figure, style
from npr.plot.groups import X_AXES, Curve, Group, Normalize, Runs, curve, few, resolve
from npr.settings.setting import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CENTER_NAMES = {"mean": "mean", "iqm": "interquartile mean"}
_Y_NAMES = {
    "return": "return of an episode",
    "length": "length of an episode in steps",
    "evaluation": "return of evaluation episodes",
}
_Y_WIDTH = 44  # characters beside a panel


def curves(
    runs: Runs,
    x: str = "steps",
    y: str = "return",
    *,
    smooth: int = 10,
    center: str = "mean",
    interval: float | None = 0.95,
    each: bool = False,
    points: int = 200,
    normalize: Normalize | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw learning curves: one line per group of runs, with the interval of its center.

    runs       folders of runs (or of several runs), patterns such as "runs/SAC*", agents, or a list
               of those, which are grouped by algorithm, environment and differing settings; or
               {label: runs}, one group per label
    x          "steps" of the environment, "seconds" or "episodes"
    y          "return" or "length" of the training's episodes, "evaluation": mean return of the
               evaluations in evaluations.npz, or a key of progress.csv, e.g. "train/critic_loss"
    smooth     episodes in the moving mean of returns and lengths: each episode and those before it
    center     "mean" over the runs, or "iqm": the interquartile mean
    interval   coverage of the stratified bootstrap interval of the center, which is drawn where a
               group has two runs or more; None: no interval
    each       draw each run too, as a thin line
    points     of a curve, if the runs have different x; a curve covers the x that all its runs have
    normalize  {environment: (low, high)}: returns on a scale where low is 0 and high is 1
    title      None: the environment
    ax         axes to draw into; None: a new figure, with a panel per environment
    path       file to write: .png, .svg or .pdf

    Returns the matplotlib Figure. Raises ConfigError if matplotlib is missing or a run does not
    have y, and FileNotFoundError for a folder that does not exist.
    """
    check_path(path)
    whole("smooth", smooth)
    if interval is not None:
        statistics.check_interval(interval)
    groups = resolve(runs, x, y)
    panels = _panels(groups, one=ax is not None or isinstance(runs, dict))
    if ax is None:
        columns = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 3
        rows = -(-len(panels) // columns)
        legends = max(below([group.title for group in members]) for _, members in panels)
        figure = new_figure(5.2 * columns + 1.2, (3.8 + legends) * rows)
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for unused in axes[len(panels) :]:
            unused.remove()
    else:
        axes = [ax]
    order = {group.label: i for i, group in enumerate({g.label: g for g in groups}.values())}
    for one, (env, members) in zip(axes, panels):
        found = [curve(g, x, y, smooth, center, interval, points, normalize) for g in members]
        for lines in found:
            _draw(one, lines, order[lines.group.label], each)
        one.set_xlabel(X_AXES[x])
        one.set_ylabel(_y_label(y, smooth, normalize is not None))
        one.set_title(env if title is None else title, fontsize=11)
        _ticks(one, whole=x != "seconds")
        style(one)
        legend(one, _explanation(found, center, interval))
    drawn: Any = axes[0].figure
    return finish(drawn, path)


def _ticks(ax: Axes, whole: bool) -> None:
    """Numbers without an offset, with thousands separated; of steps and episodes whole ones."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=whole))
    ax.xaxis.set_major_formatter("{x:,.0f}" if whole else "{x:,g}")
    ax.ticklabel_format(axis="y", useOffset=False)


def _panels(groups: list[Group], one: bool) -> list[tuple[str, list[Group]]]:
    """(title, groups) of each panel: one per environment, or a single one."""
    envs = list(dict.fromkeys(env for group in groups for env in group.envs))
    if one or len(envs) == 1:
        return [(", ".join(envs), groups)]
    return [(env, [group for group in groups if env in group.envs]) for env in envs]


def _draw(ax: Axes, found: Curve, i: int, each: bool) -> None:
    look: dict[str, Any] = {"color": color(i), "linestyle": line(i)}
    if each:
        for y in found.each:
            ax.plot(found.x, y, linewidth=0.7, alpha=0.45, label="_one run", **look)
    ax.plot(found.x, found.center, linewidth=1.8, label=found.group.title, **look)
    if found.low is not None and found.high is not None:
        ax.fill_between(found.x, found.low, found.high, color=color(i), alpha=0.2, linewidth=0)


def _y_label(y: str, smooth: int, normalized: bool) -> str:
    name = _Y_NAMES.get(y, y)
    name = f"normalized {name}" if normalized else name
    if y not in ("return", "length") or smooth == 1:
        return name
    both = f"{name}, mean of {smooth} episodes"
    return both if len(both) <= _Y_WIDTH else both.replace(", ", ",\n", 1)


def _explanation(found: list[Curve], center: str, interval: float | None) -> str:
    """What lines and bands are."""
    runs = [len(one.each) for one in found]
    if max(runs) == 1:
        return ""
    text = _CENTER_NAMES[center]
    if interval is None:
        return text
    return "\n".join(
        filter(None, [f"{text}, {100 * interval:g}% interval", few(n for n in runs if n > 1)])
    )
