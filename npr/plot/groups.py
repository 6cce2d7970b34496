"""Runs and groups of runs, from folders and agents, and their curves."""

import glob
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from npr.errors import ConfigError, ConfigWarning
from npr.files import run_folder
from npr.files.run_folder import RunData
from npr.plot import statistics

# A folder of a run or of several runs, or a pattern like "runs/SAC*"; an agent; what
# npr.files.run_folder.read returns; a list of those; or label -> those, which defines the groups.
Runs: TypeAlias = Any
Normalize: TypeAlias = Mapping[str, tuple[float, float]]  # env -> scores that become 0 and 1

X_AXES = {
    "steps": "environment steps",
    "seconds": "time since the start of the run in seconds",
    "episodes": "episodes",
}
_OF_ENV = ("env_kwargs", "wrappers")  # in a label only where there are any
_NOT_COMPARED = ("seed", "verbose")
# the columns of progress.csv that hold x
_X_KEYS = {
    "steps": "time/total_timesteps",
    "seconds": "time/time_elapsed",
    "episodes": "time/episodes",
}
_OF_MONITOR = {"return": "r", "length": "l"}


@dataclass
class OneRun:
    """A run that is drawn: a folder, or the history of an agent in this process.

    history   (n, 4): env step at the end of each finished episode, return, length, seconds
    per_row   consecutive episodes that a row of the history stands for
    """

    name: str
    algorithm: str | None
    env: str | None
    seed: int | None
    settings: dict[str, Any]
    history: np.ndarray
    progress: Mapping[str, np.ndarray] = field(default_factory=dict)
    evaluations: Mapping[str, np.ndarray] = field(default_factory=dict)
    per_row: int = 1

    @property
    def episodes(self) -> np.ndarray:
        """Number of finished episodes (n,) at each row of the history."""
        return np.arange(1.0, len(self.history) + 1) * self.per_row


@dataclass
class Group:
    """Runs that are drawn as one curve."""

    label: str
    runs: list[OneRun]

    @property
    def title(self) -> str:
        """The label and the number of runs."""
        seeds = [run.seed for run in self.runs]
        distinct = None not in seeds and len(set(seeds)) == len(seeds)
        n, word = len(seeds), "seed" if distinct else "run"
        return f"{self.label} ({n} {word}{'s' if n > 1 else ''})"

    @property
    def envs(self) -> list[str]:
        return sorted({run.env or "" for run in self.runs})


def few(runs: Iterable[int]) -> str:
    """What to say of intervals of groups with these numbers of runs; "" if there are enough."""
    if any(n < statistics.FEW for n in runs):
        return f"fewer than {statistics.FEW} runs: intervals are too narrow"
    return ""


# ---- from what the user gave


def resolve(runs: Runs, x: str = "steps", y: str | None = None) -> list[Group]:
    """The groups of runs, in the order given.

    y   a curve that the runs must have, None: any. Those without it, such as runs that have just
        begun or failed, are left out with a ConfigWarning before the others are grouped

    A dict has one group per label. Other runs are grouped by algorithm, environment and those
    settings that differ between runs of the same algorithm and environment, but not by seed. A
    setting that a run does not name, such as one of a newer version, is not compared with it.
    Raises ConfigError if there is nothing to draw, and FileNotFoundError for a missing folder.
    """
    reasons: list[ConfigError] = []

    def collected(these: Runs) -> list[OneRun]:
        return [run for run in _collect(these) if y is None or _has(x, y, reasons, run)]

    if isinstance(runs, Mapping):
        groups = [Group(str(label), collected(these)) for label, these in runs.items()]
        groups = [group for group in groups if group.runs]
    else:
        groups = _grouped(collected(runs))
    if reasons and not groups:
        raise reasons[0]
    if not groups:
        raise ConfigError(f"There are no runs in {runs!r}. Pass folders of runs, or agents.")
    for reason in dict.fromkeys(map(str, reasons)):
        warnings.warn(f"{reason} It is left out.", ConfigWarning, stacklevel=3)
    return groups


def _has(x: str, y: str, reasons: list[ConfigError], run: OneRun) -> bool:
    try:
        series(run, x, y, 1)
    except ConfigError as reason:
        reasons.append(reason)
        return False
    return True


def _collect(runs: Runs) -> list[OneRun]:
    if isinstance(runs, str | os.PathLike):
        return [_of_data(run_folder.read(path)) for path in _folders(os.fspath(runs))]
    if isinstance(runs, RunData):
        return [_of_data(runs)]
    if isinstance(runs, OneRun):
        return [runs]
    if hasattr(runs, "logger"):
        return [_of_agent(runs)]
    if isinstance(runs, Iterable):
        return [one for these in runs for one in _collect(these)]
    raise ConfigError(
        f"Runs are folders, patterns like 'runs/SAC*', agents, or a list or dict of those; got "
        f"{runs!r}."
    )


def _folders(pattern: str) -> list[str]:
    """The run folders of a folder or pattern; those in a folder that is not one itself."""
    found = [pattern] if os.path.exists(pattern) else glob.glob(pattern)
    if not found:
        raise FileNotFoundError(f"There is no run folder {pattern}.")
    folders: list[str] = []
    for path in sorted((path for path in found if os.path.isdir(path)), key=_natural):
        inside = [] if run_folder.is_run(path) else [*filter(run_folder.is_run, _inside(path))]
        folders += sorted(map(str, inside), key=_natural) or [path]
    if not folders:
        raise ConfigError(f"{pattern} is a file; runs are folders.")
    return folders


def _inside(path: str) -> list[Path]:
    return [one for one in Path(path).iterdir() if one.is_dir()]


def _natural(path: str) -> list[Any]:
    """A key that sorts seed2 before seed10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path))]


def _of_data(data: RunData) -> OneRun:
    config, monitor = data.config, data.monitor
    history = np.empty((0, 4))
    if monitor:
        lengths = monitor["l"]
        history = np.column_stack([lengths.cumsum(), monitor["r"], lengths, monitor["t"]])
    settings = config.get("settings", {})
    settings = dict(settings) if isinstance(settings, Mapping) else {}
    settings |= {key: config.get(key) for key in _OF_ENV if config}
    algorithm = config.get("algorithm")
    if algorithm is None:  # of another library: runs are told from each other by their folders
        algorithm = re.sub(r"[ _-]*seed[ _=-]*\d+$", "", Path(data.folder).name) or data.folder
    return OneRun(
        data.folder, algorithm, data.env, config.get("seed"), settings, history,
        data.progress, data.evaluations,
    )  # fmt: skip


def _of_agent(agent: Any) -> OneRun:
    name, history = type(agent).__name__, agent.logger.history
    settings = {key: getattr(agent, key) for key in getattr(agent, "settings", ())}
    env = getattr(agent, "env_name", None)
    return OneRun(
        f"the agent {name}", name, env, getattr(agent, "seed", None), settings, history.rows(),
        per_row=history.per_row,
    )  # fmt: skip


def _grouped(runs: list[OneRun]) -> list[Group]:
    kinds: dict[Any, list[OneRun]] = {}
    for run in runs:
        kinds.setdefault((run.algorithm, run.env), []).append(run)
    groups: dict[tuple[str, str | None], Group] = {}
    for (algorithm, env), same in kinds.items():
        names = dict.fromkeys([*(name for run in same for name in run.settings), "wrappers"])
        for name in _NOT_COMPARED:
            names.pop(name, None)
        full = len({_wrappers(run, full=True) for run in same}) > len({*map(_wrappers, same)})
        shown = [{name: text(name, run.settings[name]) for name in names if name in run.settings}
                 | {"wrappers": _wrappers(run, full)} for run in same]  # fmt: skip
        differing = [name for name in names if len({one[name] for one in shown if name in one}) > 1]
        for run, texts in zip(same, shown):
            changed = [f"{name}={texts[name]}" for name in differing if texts.get(name)]
            label = ", ".join([str(algorithm), *changed])
            groups.setdefault((label, env), Group(label, [])).runs.append(run)
    return [*groups.values()]


def _wrappers(run: OneRun, full: bool = False) -> str:
    """The classes of the environment's wrappers, which a run names as "module:Class"."""
    names = map(str, run.settings.get("wrappers") or ())
    return "+".join(name if full else name.rpartition(":")[2] for name in names)


def text(name: str, value: Any) -> str:
    """The value of a setting in a label."""
    if name == "env_kwargs" and not value:
        return ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={text(str(key), one)}" for key, one in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- curves


def series(run: OneRun, x: str, y: str, smooth: int) -> tuple[np.ndarray, np.ndarray]:
    """The curve (x, y) of one run.

    x        "steps", "seconds" or "episodes"
    y        "return" or "length" of episodes, "evaluation", or a key of progress.csv
    smooth   episodes in the moving mean of returns and lengths

    Raises ConfigError if the run does not have it.
    """
    if x not in X_AXES:
        raise ConfigError(f"x must be one of {', '.join(X_AXES)}; got {x!r}.")
    if y in _OF_MONITOR:
        if not len(run.history):
            raise ConfigError(f"{run.name} has no finished episodes, so no {y} of one.")
        values = run.history[:, 1 if y == "return" else 2]
        window = max(1, smooth // run.per_row)
        return _at(run, x, run.history[:, 0]), statistics.moving_mean(values, window)
    if y == "evaluation":
        if not run.evaluations:
            raise ConfigError(
                f"{run.name} has no evaluations. Evaluate during the training, or use y='return'."
            )
        timesteps = run.evaluations["timesteps"].astype(np.float64)
        return _at(run, x, timesteps), run.evaluations["results"].mean(axis=1)
    if y not in run.progress:
        keys = sorted(key for key in run.progress if not key.startswith("time/"))
        known = ", ".join(["return", "length", "evaluation", *keys])
        raise ConfigError(f"{run.name} has no values of {y!r}. It can be one of {known}.")
    return _logged(run, x, y)


def _logged(run: OneRun, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve from the rows of progress.csv in which both are numbers."""
    values, steps = run.progress[y], run.progress.get(_X_KEYS["steps"])
    at = run.progress.get(_X_KEYS[x])
    if at is None and steps is not None:
        at = _at(run, x, steps)
    if at is None:
        raise ConfigError(f"{run.name} has no column {_X_KEYS['steps']} in progress.csv.")
    valid = np.isfinite(at) & np.isfinite(values)
    if not valid.any():
        raise ConfigError(f"{run.name} has no numbers of {y!r} in progress.csv.")
    return at[valid], values[valid]


def _at(run: OneRun, x: str, steps: np.ndarray) -> np.ndarray:
    """Env steps as x: seconds and episodes are read off the finished episodes."""
    if x == "steps":
        return steps
    history = run.history
    if not len(history):
        raise ConfigError(
            f"{run.name} has no finished episodes, so its {x} are not known. Use x='steps'."
        )
    ends, known = history[:, 0], history[:, 3] if x == "seconds" else run.episodes
    if np.array_equal(steps, ends):
        return known
    return statistics.interpolated(np.append(0.0, ends), np.append(0.0, known), steps)


def scaled(y: np.ndarray, env: str | None, normalize: Normalize | None) -> np.ndarray:
    """Scores of an environment on the scale in which its two reference scores are 0 and 1."""
    if normalize is None:
        return y
    if env is None or env not in normalize:
        raise ConfigError(f"normalize has no scores for {env}; it has {', '.join(normalize)}.")
    low, high = normalize[env]
    if not (math.isfinite(low) and math.isfinite(high) and low != high):
        raise ConfigError(f"normalize[{env!r}] must be two different numbers, got {(low, high)}.")
    scaled_y: np.ndarray = (y - low) / (high - low)
    return scaled_y


@dataclass
class Curve:
    """The curve of a group: its center and interval over the runs.

    x        (points,)
    each     (runs, points)
    center, low, high   (points,); low and high are None without an interval
    """

    group: Group
    x: np.ndarray
    each: np.ndarray
    center: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def curve(
    group: Group,
    x: str,
    y: str,
    smooth: int,
    center: str,
    interval: float | None,
    points: int,
    normalize: Normalize | None,
) -> Curve:
    """The curve of a group, over the range of x that all of its runs cover."""
    if center not in statistics.CENTERS:
        raise ConfigError(f"center must be one of {', '.join(statistics.CENTERS)}; got {center!r}.")
    if len(group.envs) > 1 and normalize is None:
        warnings.warn(
            f"{group.label}: the mean is over {', '.join(group.envs)}, whose returns have "
            "different scales. Pass normalize={env: (low, high)}, or plot them apart.",
            ConfigWarning,
            stacklevel=4,
        )
    found = [series(run, x, y, smooth) for run in group.runs]
    grid = statistics.common_grid([xs for xs, _ in found], points)
    ends = np.array([xs[-1] for xs, _ in found])
    if ends.min() < 0.9 * ends.max() and x == "steps":
        shortest = group.runs[int(ends.argmin())]
        warnings.warn(
            f"{group.label}: the curve ends at {ends.min():,.0f} {x}, where {shortest.name} ends; "
            f"the longest run has {ends.max():,.0f}.",
            ConfigWarning,
            stacklevel=4,
        )
    each = np.array([
        scaled(statistics.interpolated(xs, ys, grid), run.env, normalize)
        for run, (xs, ys) in zip(group.runs, found)
    ])  # fmt: skip
    statistic = statistics.CENTERS[center]
    low = high = None
    if interval is not None and len(each) > 1:
        strata = [each[[run.env == env for run in group.runs]]
                  for env in dict.fromkeys(run.env for run in group.runs)]  # fmt: skip
        low, high = statistics.bootstrap(strata, statistic, interval)
    return Curve(group, grid, each, np.asarray(statistic(each)), low, high)
