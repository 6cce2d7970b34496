"""Run folders: the names of their files, and reading of what they log.

Folders of Stable-Baselines3 are read too: one or several files of its Monitor, the progress.csv of
its logger and the evaluations.npz of its EvalCallback.
"""

import csv
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npr.errors import ConfigError, ConfigWarning
from npr.files.evaluations import read_evaluations

CONFIG, CONSOLE = "config.json", "console.log"
PROGRESS, PROGRESS_LINES, MONITOR = "progress.csv", "progress.jsonl", "monitor.csv"
EVALUATIONS = "evaluations.npz"
CHECKPOINTS, LATEST, CRASH = "checkpoints", "latest.npz", "crash.npz"  # the latter two are in it
BEST, FINAL = "best.npz", "final.npz"

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class RunData:
    """What the files of a run folder hold. A part whose file is missing is empty.

    folder       the folder
    config       config.json: algorithm, env, seed, settings
    env          name of the environment, from config.json or monitor.csv; None: not known
    monitor      finished episodes (n,) in the order of their ends: r (return), l (length in env
                 steps), t (seconds since the start of the run)
    progress     logged values (n,) by key; NaN where a row has none, or has a text
    evaluations  timesteps (k,), results (k, episodes), ep_lengths (k, episodes)
    """

    folder: str
    config: dict[str, Any] = field(default_factory=dict)
    env: str | None = None
    monitor: Columns = field(default_factory=dict)
    progress: Columns = field(default_factory=dict)
    evaluations: Columns = field(default_factory=dict)


def read(folder: str | os.PathLike[str]) -> RunData:
    """Read a run folder.

    A last row that is not complete, as of a run that is going on or was killed, is left out; other
    rows that cannot be read are left out with a ConfigWarning.

    Raises FileNotFoundError if there is no such folder, ConfigError if it holds no file of a run or
    config.json is not valid, and CheckpointError if evaluations.npz is not.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no run folder {path}.")
    config = _config(path / CONFIG)
    monitor, env = _monitor(sorted(path.glob(f"*{MONITOR}")))
    progress = _table(path / PROGRESS)[1]
    npz = path / EVALUATIONS
    evaluations = read_evaluations(npz) if npz.exists() else {}
    if not (config or monitor or progress or evaluations):
        raise ConfigError(
            f"{path} is not a run folder: it has none of {CONFIG}, {MONITOR}, {PROGRESS} and "
            f"{EVALUATIONS}."
        )
    return RunData(str(path), config, config.get("env", env), monitor, progress, evaluations)


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a file that `read` reads."""
    path = Path(folder)
    names = (CONFIG, PROGRESS, EVALUATIONS)
    return any((path / name).is_file() for name in names) or any(path.glob(f"*{MONITOR}"))


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} must hold an object, got {type(config).__name__}.")
    for name in ("algorithm", "env"):
        if not isinstance(config.get(name), str | None):
            raise ConfigError(f"{path}: {name} must be a text or null, got {config[name]!r:.100}.")
    return config


def _monitor(paths: list[Path]) -> tuple[Columns, str | None]:
    """The episodes of one or several Monitors, and the environment's id.

    Episodes of several are merged by the time of their ends, as load_results of
    Stable-Baselines3 does.
    """
    tables, starts, env = [], [], None
    for path in paths:
        head, columns = _table(path)
        if not columns:
            continue
        if not {"r", "l", "t"} <= columns.keys():
            raise ConfigError(
                f"{path} is not a monitor file: it needs the columns r, l and t, and has "
                f"{', '.join(columns)}."
            )
        env = str(head.get("env_id") or "") or env
        if head.get("episodes_before"):
            warnings.warn(
                f"{path} does not have the first {head['episodes_before']} episodes of its run, so "
                "its steps and episodes are counted from 0.",
                ConfigWarning,
                stacklevel=3,
            )
        start = head.get("t_start", 0.0)
        starts.append(float(start) if isinstance(start, int | float) else 0.0)
        tables.append(columns)
    if not tables:
        return {}, env
    first = min(starts)
    seconds = np.concatenate(
        [columns["t"] + (start - first) for columns, start in zip(tables, starts)]
    )
    order = np.argsort(seconds, kind="stable") if len(tables) > 1 else np.arange(len(seconds))
    shared = [name for name in tables[0] if all(name in columns for columns in tables)]
    merged = {name: np.concatenate([columns[name] for columns in tables]) for name in shared}
    return {name: column[order] for name, column in {**merged, "t": seconds}.items()}, env


def _table(path: Path) -> tuple[dict[str, Any], Columns]:
    """The comment and the columns of a CSV file; empty if there is none."""
    if not path.exists():
        return {}, {}
    text = path.read_text(encoding="utf-8", errors="replace")
    text = text[: text.rfind("\n") + 1]  # the rest is a row that is not complete
    head: dict[str, Any] = {}
    if text.startswith("#"):
        comment, _, text = text.partition("\n")
        try:
            held = json.loads(comment[1:])
            head = held if isinstance(held, dict) else {}
        except ValueError:
            head = {}
    names, *rows = [*csv.reader(text.splitlines())] or [[]]
    if not names:
        return head, {}
    rows = [row for row in rows if row]
    complete = [row for row in rows if len(row) == len(names)]
    if len(complete) < len(rows):
        warnings.warn(
            f"{path}: {len(rows) - len(complete)} of {len(rows)} rows do not have the "
            f"{len(names)} columns of the header, and are left out.",
            ConfigWarning,
            stacklevel=4,
        )
    cells = np.array([[*map(_number, row)] for row in complete]).reshape(-1, len(names))
    return head, dict(zip(names, cells.T))


def _number(text: str) -> float:
    try:
        return float({"True": "1", "False": "0"}.get(text, text))
    except ValueError:
        return float("nan")
