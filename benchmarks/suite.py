"""Trains every preset with several seeds and stores the learning curves.

    python benchmarks/suite.py [--only classic SAC Pendulum-v1] [--seeds 3 4 5] [--budget 2h]
                               [--jobs 2] [--folder build/suite] [--curves FOLDER] [--list]

Tasks are data in tasks.py, in groups: classic, equal (the budgets of published figures), box2d and
mujoco (with these extras of npr-rl). --only takes names of groups, algorithms, environments and
tasks. Every run has a niced process of its own with one BLAS thread and a folder of npr.runs, so a
suite that is cut goes on where it stopped. --budget is wall-clock time: runs that do not fit are
left for the next call, and those that are running at its end are saved.

benchmarks/curves has a file per task: what suite.py writes and `python benchmarks/table.py` shows.
Runs that are stored are not repeated; --curves FOLDER stores others elsewhere, to make a row again.
Files with other settings than those of tasks.py are replaced when a run of theirs is finished. A
run that began before theirs is not stored. Two suites at the same time need different tasks.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import records
import store
from runner import Job, run_all, seconds_of
from tasks import GROUPS

from npr.runs.git import head

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS, EPISODES = 20, 10  # evaluations during training, and episodes of each
FINAL_EPISODES, FINAL_OF_TABLES = 100, 1_000
PACKAGES = ("npr-rl", "numpy", "numba", "gymnasium", "box2d", "mujoco")


# ---- one run, in its own process


class Stopwatch:
    """CPU seconds of a run without its evaluations, over all its processes.

    path    a file beside the folder of the run, which keeps them
    before  seconds of its earlier processes
    """

    def __init__(self, path, given, before=0.0):
        self.path, self.given, self.before = path, given, before
        self.outside, self.due = time.process_time(), 0.0  # imports are not counted

    @property
    def seconds(self):
        return self.before + time.process_time() - self.outside

    def leave_out(self, owner, name):
        """Leave out the time of a method."""
        method = getattr(owner, name)

        def timed(*args, **kwargs):
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.outside += time.process_time() - start

        setattr(owner, name, timed)

    def __call__(self, agent):
        """Keep the seconds, in case this process is ended."""
        if time.perf_counter() >= self.due:
            self.due = time.perf_counter() + 5.0
            self.keep()

    def keep(self):
        store.write(self.path, {"given": self.given, "seconds": self.seconds})


def source_hash():
    """Of npr's files, which may differ from those of the commit."""
    files = sorted((ROOT / "npr").rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def train(task, seed, folder):
    """Train a run, or go on with it, and print it as JSON."""
    began, commit, source = time.time(), head(ROOT), source_hash()
    import npr
    from npr.algorithms.agent import Agent
    from npr.files.evaluations import read_evaluations

    config = npr.runs.RunConfig(
        task.algorithm, task.env, {"verbose": 0, **task.settings}, seed, task.budget,
        eval_freq=task.budget // CHECKPOINTS, eval_episodes=EPISODES, keep=1, log=[],
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f"{folder.name}.json")
    held = json.loads(path.read_text()) if path.exists() else {}
    if held.get("given") != task.given or not folder.exists():  # of another preset, or none
        shutil.rmtree(folder, ignore_errors=True)
        held = {}
    watch = Stopwatch(path, task.given, held.get("seconds", 0.0))
    watch.leave_out(Agent, "evaluate")
    if folder.exists():
        agent = npr.runs.resume(folder, report=watch)
        if agent.num_timesteps < task.budget:  # the task has grown
            agent = npr.runs.resume(folder, total_timesteps=task.budget, report=watch)
    else:
        agent = npr.runs.train(config, folder, report=watch)
    watch.keep()
    seconds = watch.seconds
    evaluations = read_evaluations(folder / "evaluations.npz")
    episodes = FINAL_OF_TABLES if agent.table else FINAL_EPISODES
    final = agent.evaluate(episodes=episodes, seed=10_000 + seed)
    print(json.dumps({
        "settings": task.given, "began": began, "seed": seed,
        "steps": evaluations["timesteps"].tolist(),
        "curve": evaluations["results"].mean(axis=1).tolist(), "final": final.returns.tolist(),
        "seconds": round(seconds, 2), "trained": agent.num_timesteps,
        "machine": store.machine(PACKAGES) | {"commit": commit, "source": source},
    }))  # fmt: skip


# ---- all runs


def chosen(names):
    """The tasks of these names of groups, algorithms, environments and tasks; [] is all."""
    labelled = {
        (group, task.name, task.algorithm, task.env): task
        for group, tasks in GROUPS.items()
        for task in tasks
    }
    columns = [{*column} for column in zip(*labelled)]
    if unknown := {*names}.difference(*columns):
        raise SystemExit(f"Unknown names: {', '.join(sorted(unknown))}.")
    asked = [column & {*names} for column in columns]
    return [
        task
        for labels, task in labelled.items()
        if all(not words or label in words for words, label in zip(asked, labels))
    ]


def wanted(tasks, seeds, curves=records.FOLDER):
    """(task, seed) of all runs that are not stored: first seed of every task, second one, ..."""
    found = []
    for task in tasks:
        held = records.load(task.name, curves)
        same = held is not None and held.settings == task.given
        stored = {run.seed for run in held.runs if run.trained >= task.budget} if same else set()
        for i, seed in enumerate(task.shown if seeds is None else seeds):
            if seed not in stored:
                found.append((i, task, seed))
    return [run[1:] for run in sorted(found, key=lambda run: run[0])]


def cost(task):
    """CPU seconds of a run: as long per step as those that are stored took."""
    held = records.load(task.name)
    if held is None:
        return task.cost
    return float(np.mean([run.seconds / run.trained for run in held.runs])) * task.budget


def newer(name, settings, began, curves=records.FOLDER):
    """Whether a stored run of a task has other settings and began after this time."""
    held = records.load(name, curves)
    others = [] if held is None or held.settings == settings else held.runs
    return any(run.began > began for run in others)


def job(task, seed, folder, curves):
    """The run of a task as a job that stores it."""

    def store_run(result):
        settings = result.pop("settings")  # a preset may have been changed since this suite began
        run = records.Run(**result)
        if newer(task.name, settings, run.began, curves):
            return "not stored: runs that began later have other settings"
        if dropped := records.add(task.name, settings, [run], curves):
            print(f"{task.name}: {dropped} runs with other settings were replaced")
        return f"{run.final.mean():,.2f}"

    command = [sys.executable, "-W", "ignore", Path(__file__).resolve(), "--run", task.name]
    command += [str(seed), "--folder", folder]
    return Job(f"{task.name}_seed{seed}", command, store_run, cost(task))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="groups, algorithms, environments")
    parser.add_argument("--seeds", type=int, nargs="*", help="by default those of each task")
    parser.add_argument("--budget", type=seconds_of, default=np.inf, help="2h, 90m or 30s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "suite", help="of the runs")
    parser.add_argument("--curves", type=Path, default=records.FOLDER, help="of what is stored")
    parser.add_argument("--list", action="store_true", help="show what is missing, run nothing")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        (task,) = chosen(arguments.run[:1])
        seed = int(arguments.run[1])
        train(task, seed, arguments.folder.resolve() / f"{task.name}_seed{seed}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    runs = wanted(chosen(arguments.only), arguments.seeds, arguments.curves)
    folder = arguments.folder.resolve()
    jobs = [job(task, seed, folder, arguments.curves) for task, seed in runs]
    hours = sum(one.cost for one in jobs) / 3_600
    print(f"{len(jobs)} runs are missing, about {hours:.1f} hours of CPU time", flush=True)
    if arguments.list:
        for one in jobs:
            print(f"  {one.name}: about {one.cost:,.0f} s")
        return
    if failed := run_all(jobs, arguments.jobs, folder, arguments.budget):
        raise SystemExit(f"Failed: {', '.join(failed)}. {folder} has what they printed.")


if __name__ == "__main__":
    main()
