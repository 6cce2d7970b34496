"""`npr.sweep`: runs for every combination of settings and seeds, and their scores."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npr import plot
from npr.algorithms.base import Algorithm
from npr.errors import ConfigError, ConfigWarning
from npr.runs.config import RunConfig, grid, varied
from npr.runs.parallel import Engine, run_all
from npr.runs.task import Outcome
from npr.settings.setting import check_names, plain, whole


@dataclass(frozen=True)
class SweepRow:
    """The runs with the same settings.

    settings   those that differ within the sweep
    folders    of the runs that have finished
    scores     (runs,) of each of them
    """

    settings: dict[str, Any]
    folders: list[Path]
    scores: np.ndarray

    @property
    def mean(self) -> float:
        """The mean score; NaN if no run has finished."""
        return float(self.scores.mean()) if len(self.scores) else float("nan")

    @property
    def std(self) -> float:
        """The standard deviation of the scores between runs; NaN for fewer than two."""
        return float(self.scores.std(ddof=1)) if len(self.scores) > 1 else float("nan")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has trained; `print` shows a table.

    outcomes   how each run has ended: folder, state, error. Combinations in the order of
               `npr.runs.grid`, seeds fastest
    rows       a row for each combination of settings
    score      what the scores are: "evaluation", the mean of the last one, or "return", the mean of
               the last 100 episodes, if the runs were not evaluated
    """

    outcomes: list[Outcome]
    rows: list[SweepRow]
    score: str

    @property
    def folders(self) -> list[Path]:
        """The folders of all runs, for `npr.plot.curves` and others."""
        return [one.folder for one in self.outcomes]

    @property
    def failed(self) -> list[Outcome]:
        """The runs that have not finished."""
        return [one for one in self.outcomes if one.state != "finished"]

    @property
    def best(self) -> SweepRow:
        """The row with the largest mean. Raises ConfigError if no run has finished."""
        rows = [row for row in self.rows if len(row.scores)]
        if not rows:
            errors = [one.error for one in self.outcomes if one.error] or ["see console.log"]
            raise ConfigError(f"No run has finished; the last error: {errors[-1]}")
        return max(rows, key=lambda row: row.mean)

    def __str__(self) -> str:
        names = [*self.rows[0].settings] if self.rows else []
        cells = [[*names, "runs", self.score, "std"]]
        for row in self.rows:
            values = [_text(one) for one in row.settings.values()]
            cells.append([*values, str(len(row.scores)), _text(row.mean), _text(row.std)])
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = ["  ".join(cell.rjust(n) for cell, n in zip(row, widths)) for row in cells]
        for one in self.failed:
            lines.append(f"{one.folder} {one.state}{': ' * bool(one.error)}{one.error}")
        return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def sweep(
    algorithm: "str | type[Algorithm]",
    env: str,
    *,
    seeds: "int | Iterable[int]" = 1,
    total_timesteps: int | None = None,
    jobs: int | None = None,
    engine: Engine = "processes",
    num_cpus: float | None = None,
    out: "str | Path" = "runs",
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    imports: Sequence[str] = (),
    eval_freq: int | None = None,
    eval_episodes: int = 10,
    save_freq: int | None = None,
    **settings: Any,
) -> SweepResult:
    """Train a run for each combination of settings and seeds, in folders of `out`.

        if __name__ == "__main__":
            result = npr.sweep("SAC", "Pendulum-v1", learning_rate=[1e-3, 3e-4], seeds=3)
            print(result)
            npr.plot.curves(result.folders)

    algorithm        class or name
    env              id of an environment
    seeds            a list of seeds; or a number of them, which are 0, 1, ...
    total_timesteps  env steps of each run; None: the preset's budget
    jobs             runs at a time; None: one per core, or with Ray as many as the cluster has CPUs
                     for
    engine           "processes" of this computer, or tasks of "ray"; see `npr.runs.run_all`
    num_cpus         CPUs that Ray reserves for each run; None: those that it uses
    out              folder, which a cluster's nodes must share
    settings         a list, range or array holds the values of a grid; anything else is one value.
                     A value that is itself a list, such as net_arch, is written as a tuple:
                     (64, 64) is one value, [(64, 64), (256,)] are two

    The others are fields of `npr.runs.RunConfig`. Failed runs do not stop the others. After Ctrl-C
    or SIGTERM `npr resume` continues the runs.

    Raises ConfigError or SpaceError before the first run for invalid values, and ConfigError if the
    program has no `if __name__ == "__main__":` around this call.
    """
    if not isinstance(env, str):
        raise ConfigError(
            f"sweep() makes runs in folders, which hold the id of an environment; got {env!r}. "
            "Register it with Gymnasium."
        )
    name = algorithm if isinstance(algorithm, str) else algorithm.__name__
    module, _, env = env.rpartition(":")  # Gymnasium's notation
    config = RunConfig(
        name, env, total_timesteps=total_timesteps, env_kwargs=dict(env_kwargs or {}),
        wrappers=[*wrappers], imports=[*imports, *([module] if module else [])],
        eval_freq=eval_freq, eval_episodes=eval_episodes, save_freq=save_freq,
    )  # fmt: skip
    points = points_of(config, seeds, settings)
    outcomes = run_all(points, out, jobs, engine=engine, num_cpus=num_cpus)
    return result_of(points, outcomes)


def points_of(config: RunConfig, seeds: Any, settings: Mapping[str, Any]) -> list[RunConfig]:
    """The runs of a sweep. Raises ConfigError."""
    if "seed" in settings:
        raise ConfigError(f"A sweep has no setting 'seed'; use seeds={settings['seed']!r}.")
    check_names(config.kind.__name__, settings, config.kind.settings)
    lists = {name: _values(name, one) for name, one in settings.items() if _is_list(one)}
    single = {name: one for name, one in settings.items() if name not in lists}
    kind = config.kind
    for name, values in lists.items():
        for one in values:
            try:
                kind.settings[name].checked(kind.__name__, one, kind.networks)
            except ConfigError as error:
                raise ConfigError(
                    f"{error} A list holds the values of a grid: if {name}={settings[name]!r} is "
                    "one value, write it as a tuple."
                ) from None
    if _is_list(seeds) or isinstance(seeds, tuple):
        chosen = _values("seeds", seeds)
    else:
        chosen = [*range(whole("seeds", seeds))]
    config.settings = single
    return grid(config, **lists, seed=chosen)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, range)) or getattr(value, "ndim", 0) > 0


def _values(name: str, given: Any) -> list[Any]:
    values = [*plain(given)] if not isinstance(given, range) else [*given]
    if not values:
        raise ConfigError(f"{name} has no values: a sweep needs at least one.")
    return values


def result_of(points: list[RunConfig], outcomes: list[Outcome]) -> SweepResult:
    """The scores of runs that have ended, by their settings."""
    score = "return" if points[0].eval_freq == 0 else "evaluation"
    names, rows = varied(points), dict[str, SweepRow]()
    groups: dict[str, tuple[dict[str, Any], list[Path]]] = {}
    for point, outcome in zip(points, outcomes):
        settings = {name: point.settings.get(name) for name in names}
        folders = groups.setdefault(repr(settings), (settings, []))[1]
        if outcome.state == "finished":
            folders.append(outcome.folder)
    for key, (settings, folders) in groups.items():
        rows[key] = SweepRow(settings, folders, _scores(folders, score))
    return SweepResult(outcomes, [*rows.values()], score)


def _scores(folders: list[Path], score: str) -> np.ndarray:
    """The score of each run; NaN where no episode has ended."""
    found = []
    for folder in folders:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConfigWarning)
            try:
                by_env = plot.final_scores({"run": [folder]}, score)["run"]
            except ConfigError:
                found.append(np.nan)
                continue
        found.append(float(next(iter(by_env.values()))[0]))
    return np.array(found)
