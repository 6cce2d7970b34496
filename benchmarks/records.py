"""Runs of one task in a file: learning curves, final returns, seconds, versions and processors.

A file holds arrays only. Its runs are of the same settings: `add` replaces those of other ones.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npr.files.atomic import replacement
from npr.files.run_folder import RunData
from npr.plot import statistics

FOLDER = Path(__file__).with_name("curves")


class Run(NamedTuple):
    """One training with one seed.

    steps    env steps (k,) of the evaluations during training
    curve    mean returns (k,) of these evaluations
    final    returns (episodes,) of the trained agent, deterministic
    seconds  CPU time of the training without evaluations
    trained  env steps of the training
    machine  processor and versions, as store.machine names them; of suite.py also the commit and a
             hash of npr's source
    began    time at which the process began that ended the run; 0: not known
    """

    seed: int
    steps: np.ndarray
    curve: np.ndarray
    final: np.ndarray
    seconds: float
    trained: int
    machine: dict
    began: float = 0.0


class Record(NamedTuple):
    """The runs of a task, sorted by seed, and the settings that they were given."""

    settings: dict
    runs: list[Run]

    @property
    def returns(self):
        """The mean final return (runs,) of each run."""
        return np.array([run.final.mean() for run in self.runs])


def path_of(name, folder=FOLDER):
    return Path(folder) / f"{name}.npz"


def load(name, folder=FOLDER):
    """The Record of a task; None if it has no file."""
    path = path_of(name, folder)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        held = {key: file[key] for key in file.files}
    runs = []
    for i, seed in enumerate(held["seeds"]):
        there = ~np.isnan(held["steps"][i])
        runs.append(Run(
            int(seed), held["steps"][i][there], held["curves"][i][there].astype(float),
            held["final"][i][~np.isnan(held["final"][i])].astype(float), float(held["seconds"][i]),
            int(held["trained"][i]), json.loads(str(held["machines"][held["machine"][i]])),
            float(held["began"][i]) if "began" in held else 0.0,
        ))  # fmt: skip
    return Record(json.loads(str(held["settings"])), runs)


def add(name, settings, runs, folder=FOLDER):
    """Put runs into the file of a task; a run replaces the one with the same seed.

    Returns how many runs were dropped because they had other settings.
    """
    held, dropped = load(name, folder), 0
    if held is not None and held.settings != settings:
        held, dropped = None, len(held.runs)
    by_seed = {run.seed: run for run in (held.runs if held else [])}
    by_seed |= {run.seed: run for run in runs}
    ordered = [by_seed[seed] for seed in sorted(by_seed)]
    texts = [json.dumps(run.machine, sort_keys=True) for run in ordered]
    machines = sorted(set(texts))
    arrays = {
        "settings": np.array(json.dumps(settings, sort_keys=True)),
        "seeds": np.array([run.seed for run in ordered]),
        "steps": _padded([run.steps for run in ordered], np.float64),
        "curves": _padded([run.curve for run in ordered]),
        "final": _padded([run.final for run in ordered]),
        "seconds": np.array([run.seconds for run in ordered], np.float32),
        "trained": np.array([run.trained for run in ordered]),
        "began": np.array([run.began for run in ordered]),
        "machines": np.array(machines),
        "machine": np.array([machines.index(text) for text in texts]),
    }
    path = path_of(name, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(str(path)) as file:
        np.savez_compressed(file, **arrays)
    return dropped


def _padded(rows, dtype=np.float32):
    """Rows (n, longest) with NaN after the end of each."""
    table = np.full((len(rows), max(map(len, rows))), np.nan, dtype)
    for into, row in zip(table, rows):
        into[: len(row)] = row
    return table


def resampled_means(groups, resamples=10_000):
    """Means (groups, resamples) of draws with replacement from each group of numbers."""
    rng = np.random.default_rng(0)
    return np.array([rng.choice(one, (resamples, len(one))).mean(axis=1) for one in groups])


class Summary(NamedTuple):
    """Statistics of the final returns over the runs of a task.

    interval  of the interquartile mean, 95 %, by bootstrap
    """

    runs: int
    mean: float
    std: float
    iqm: float
    interval: tuple[float, float]
    worst: float
    seconds: float


def summary(record):
    returns = record.returns
    low, high = statistics.bootstrap(returns, statistics.iqm)
    return Summary(
        len(returns), float(returns.mean()),
        float(returns.std(ddof=1)) if len(returns) > 1 else float("nan"),
        float(statistics.iqm(returns)), (float(low), float(high)), float(returns.min()),
        float(np.mean([run.seconds for run in record.runs])),
    )  # fmt: skip


def at(record, step):
    """The mean returns of the evaluations at a step, to 1 %, of those runs that have one."""
    near = [(run.curve, abs(run.steps - step)) for run in record.runs]
    return np.array([curve[away.argmin()] for curve, away in near if away.min() <= 0.01 * step])


def run_data(task, record):
    """The runs as npr.plot takes them."""
    return [
        RunData(
            f"{task.name} seed {run.seed}",
            {"algorithm": task.algorithm, "env": task.env, "seed": run.seed},
            task.env,
            evaluations={
                "timesteps": run.steps, "results": run.curve[:, None],
                "ep_lengths": np.zeros((len(run.steps), 1), int),
            },
        )
        for run in record.runs
    ]  # fmt: skip
