"""Comparisons of the final performance of several sets of runs; Agarwal et al. 2021."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.errors import ConfigError
from npr.plot import statistics
from npr.plot.drawing import (
    below,
    check_path,
    color,
    finish,
    legend,
    line,
    new_figure,
    shortened,
    style,
)  # fmt: skip
from npr.plot.groups import Group, Normalize, OneRun, Runs, few, resolve, scaled, series
from npr.settings.setting import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scores = dict[str, dict[str, np.ndarray]]  # label -> environment -> (runs,)
MOST_PAIRS = 28  # of a picture: those of eight groups
Pair = tuple[str, str, float, tuple[float, float]]  # two labels, probability and its interval


def final_scores(
    runs: Runs, y: str = "return", last: int = 100, normalize: Normalize | None = None
) -> Scores:
    """The final performance of each run: {label: {environment: (runs,)}}.

    runs   as for `curves`; or {label: numbers}, one number per run, such as agent.evaluate().mean
    y      "return": the mean of the last episodes of the training; "evaluation": of the last
           evaluation; or a key of progress.csv: its last value
    last   episodes in the mean of returns
    """
    whole("last", last)
    if isinstance(runs, Mapping) and runs and all(map(_are_numbers, runs.values())):
        numbers = {str(label): np.asarray(one, np.float64) for label, one in runs.items()}
        for label, one in numbers.items():
            if not np.isfinite(one).all():
                raise ConfigError(f"The scores of {label!r} must be finite, got {one.tolist()}.")
        return {label: {"": one} for label, one in numbers.items()}
    groups = resolve(runs, "steps", y)
    several = len({env for group in groups for env in group.envs}) > 1
    scores: Scores = {}
    for group in groups:
        label = f"{group.label}, {', '.join(group.envs)}" if several else group.label
        scores[label] = _of_group(group, y, last, normalize)
    return scores


def _are_numbers(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iuf" and len(value) > 0
    numbers = (int, float, np.number)
    return isinstance(value, list | tuple) and bool(value) and all(
        isinstance(one, numbers) for one in value
    )  # fmt: skip


def _of_group(group: Group, y: str, last: int, normalize: Normalize | None) -> dict[str, Any]:
    held: dict[str, list[float]] = {}
    for run in group.runs:
        score = scaled(np.array(_final(run, y, last)), run.env, normalize)
        held.setdefault(run.env or "", []).append(float(score))
    return {env: np.array(one) for env, one in held.items()}


def _final(run: OneRun, y: str, last: int) -> float:
    """The last point of a run's curve: its moving mean, if it has one."""
    return float(series(run, "steps", y, last)[1][-1])


def title_of(label: str, tasks: Mapping[str, np.ndarray]) -> str:
    """The label and the number of runs."""
    n = count(tasks)
    return f"{label} ({n} run{'s' if n > 1 else ''})"


def count(tasks: Mapping[str, np.ndarray]) -> int:
    """The number of runs in all environments."""
    return sum(map(len, tasks.values()))


def score_name(y: str, last: int, runs: Any, normalize: Normalize | None) -> str:
    """What the score of a run is, see `final_scores`."""
    if isinstance(runs, Mapping) and all(map(_are_numbers, runs.values())):
        return "score"
    names = {
        "return": f"mean return of the last {last} training episodes",
        "length": f"mean length of the last {last} training episodes in steps",
        "evaluation": "mean return of the last evaluation",
    }
    return ("normalized " if normalize else "") + names.get(y, f"last {y}")


def profile(
    runs: Runs,
    y: str = "return",
    *,
    last: int = 100,
    interval: float | None = 0.95,
    normalize: Normalize | None = None,
    points: int = 400,
    xlabel: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw performance profiles: for every score tau, the share of runs that score above it.

    A curve that is higher everywhere is a better algorithm; curves that cross have no best one.
    Bands are pointwise intervals of the stratified bootstrap.

    runs      as for `curves`; or {label: numbers}, one number per run
    y, last   the score of a run, see `final_scores`
    others    as for `curves`; points: number of taus; xlabel: of the scores

    Returns the matplotlib Figure.
    """
    check_path(path)
    if interval is not None:
        statistics.check_interval(interval)
    scores = final_scores(runs, y, last, normalize)
    everything = np.concatenate([one for tasks in scores.values() for one in tasks.values()])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.03 * (high - low) or 1.0
    taus = np.linspace(low - margin, high + margin, points)
    if ax is None:
        legends = below([title_of(*one) for one in scores.items()])
        ax = new_figure(6.4, 3.8 + legends).subplots()
    for i, (label, tasks) in enumerate(scores.items()):
        held = [*tasks.values()]
        shares = statistics.profile(held, taus)
        ax.plot(
            taus, shares, drawstyle="steps-post", color=color(i), linestyle=line(i), linewidth=1.8,
            label=title_of(label, tasks),
        )  # fmt: skip
        if interval is not None and max(map(len, held)) > 1:
            band = statistics.profile_interval(held, taus, interval)
            ax.fill_between(taus, *band, step="post", color=color(i), alpha=0.2, linewidth=0)
    ax.set_xlabel(xlabel or f"{score_name(y, last, runs, normalize)} (tau)")
    ax.set_ylabel("share of runs that score above tau")
    ax.set_ylim(-0.03, 1.03)
    ax.set_title(title or "", fontsize=11)
    style(ax)
    runs_of = [count(tasks) for tasks in scores.values() if count(tasks) > 1]
    legend(ax, "" if interval is None else few(runs_of))
    figure: Any = ax.figure
    return finish(figure, path)


def compare(
    runs: Runs,
    y: str = "return",
    *,
    last: int = 100,
    against: str | None = None,
    interval: float = 0.95,
    normalize: Normalize | None = None,
) -> list[Pair]:
    """(X, Y, probability, (low, high)) of pairs of groups: the probability that a run of X scores
    higher than a run of Y (ties count one half), and its bootstrap interval.

    against   compare every other group with this one; None: all pairs, in the order given

    Raises ConfigError if there is only one group, or they are of different environments.
    """
    return pairs_of(final_scores(runs, y, last, normalize), against, interval)


def pairs_of(scores: Scores, against: str | None, interval: float) -> list[Pair]:
    """What `compare` returns for these scores."""
    statistics.check_interval(interval)
    if len(scores) < 2:
        raise ConfigError(
            f"The probability of improvement needs two groups of runs or more; got {len(scores)}: "
            f"{', '.join(scores)}. Pass {{label: runs}} to define them."
        )
    if against is not None and against not in scores:
        raise ConfigError(f"against={against!r} is not a group; these are {', '.join(scores)}.")
    pairs = [
        (a, b)
        for a, b in itertools.permutations(scores, 2)
        if (b == against if against else list(scores).index(a) < list(scores).index(b))
    ]
    return [_compared(a, b, scores, interval) for a, b in pairs]


def _compared(a: str, b: str, scores: Scores, interval: float) -> Pair:
    if scores[a].keys() != scores[b].keys():
        raise ConfigError(
            f"{a} was run on {', '.join(scores[a])}, {b} on {', '.join(scores[b])}; a comparison "
            "needs runs on the same environments."
        )
    x, y = ([scores[label][env] for env in scores[a]] for label in (a, b))
    between = statistics.improvement_interval(x, y, interval)
    return a, b, statistics.probability_of_improvement(x, y), between


def improvement(
    runs: Runs,
    y: str = "return",
    *,
    last: int = 100,
    against: str | None = None,
    interval: float = 0.95,
    normalize: Normalize | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the probability of improvement P(X > Y) of pairs of groups, with bootstrap intervals.

    Arguments as for `compare`, which returns the numbers, and `curves`. Returns the matplotlib
    Figure. Raises ConfigError too if there are more pairs than a picture can show.
    """
    check_path(path)
    scores = final_scores(runs, y, last, normalize)
    n = len(scores) - 1 if against else len(scores) * (len(scores) - 1) // 2
    if n > MOST_PAIRS:
        raise ConfigError(
            f"{len(scores)} groups make {n} pairs, and a picture shows at most {MOST_PAIRS}. Name "
            "two sets of runs, npr plot --improvement A B, or compare with one group: "
            "improvement(runs, against='label')."
        )
    pairs = pairs_of(scores, against, interval)
    names = dict(zip(scores, shortened([*scores], 72)))
    labels = [f"{names[a]}  >  {names[b]}" for a, b, *_ in pairs]
    if max(map(len, labels)) > 60:
        labels = [f"{names[a]}\n>  {names[b]}" for a, b, *_ in pairs]
    if ax is None:
        widest = max(len(part) for label in labels for part in label.split("\n"))
        ax = new_figure(4.8 + 0.08 * widest, 1.3 + 0.45 * len(pairs)).subplots()
    at = np.arange(len(pairs))[::-1]
    ax.axvline(0.5, color="0.6", linestyle="--", linewidth=1.0)
    for i, (_, _, p, (low, high)) in zip(at, pairs):
        ax.plot([low, high], [i, i], color=color(0), linewidth=6, alpha=0.3, solid_capstyle="butt")
        ax.plot([p], [i], "|", color=color(0), markersize=14, markeredgewidth=2.5)
    ax.set_yticks(at, labels, fontsize=8 if "\n" in labels[0] else None)
    ax.set_ylim(-0.6, len(pairs) - 0.4)
    ax.set_xlim(-0.02, 1.02)
    what = f"probability that the first scores higher, {100 * interval:g}% interval"
    note = few(map(count, scores.values()))
    ax.set_xlabel(f"{what}\n{note}" if note else what)
    ax.set_title(title or "", fontsize=11)
    style(ax)
    ax.grid(visible=False, axis="y")
    figure: Any = ax.figure
    return finish(figure, path)
