"""Trains every preset with several seeds and stores the learning curves.

    python benchmarks/suite.py [--only classic SAC Pendulum-v1] [--seeds 0 1 2] [--budget 2h]
                               [--jobs 2] [--folder build/suite] [--list]

Tasks are data in tasks.py, in groups: classic, equal (the budgets of published figures), box2d and
mujoco (with these extras of npr-rl). --only takes names of groups, algorithms, environments and
tasks. Every run has a niced process of its own with one BLAS thread and a folder of npr.runs, so a
suite that is cut goes on where it stopped. --budget is wall-clock time: runs that do not fit are
left for the next call, and those that are running at its end are saved.

benchmarks/curves has a file per task: what suite.py writes and `python benchmarks/table.py` shows.
Files with other settings than those of tasks.py are replaced when a run of theirs is finished.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import records
from tasks import GROUPS

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS, EPISODES = 20, 10  # evaluations during training, and episodes of each
FINAL_EPISODES, FINAL_OF_TABLES = 100, 1_000
PACKAGES = ("npr-rl", "numpy", "numba", "gymnasium", "box2d", "mujoco")
UNITS = {"s": 1, "m": 60, "h": 3_600}


# ---- one run, in its own process


class Stopwatch:
    """CPU seconds of a run without its evaluations, over all its processes.

    path    a file beside the folder of the run, which keeps them
    before  seconds of its earlier processes
    """

    def __init__(self, path, given, before=0.0):
        self.path, self.given, self.before = path, given, before
        self.outside, self.due = 0.0, 0.0

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
            self.path.write_text(json.dumps({"given": self.given, "seconds": self.seconds}))


def train(task, seed, folder):
    """Train a run, or go on with it, and print it as JSON."""
    import store

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
    if held.get("given") != task.given and folder.exists():  # of another preset
        shutil.rmtree(folder)
        held = {}
    watch = Stopwatch(path, task.given, held.get("seconds", 0.0))
    evaluate = Agent.evaluate
    watch.leave_out(Agent, "evaluate")
    if folder.exists():
        longer = {}
        if (folder / "final.npz").exists():
            done = json.loads((folder / "config.json").read_text())["total_timesteps"]
            longer = {"total_timesteps": task.budget} if done < task.budget else {}
        agent = npr.runs.resume(folder, report=watch, **longer)
    else:
        agent = npr.runs.train(config, folder, report=watch)
    seconds = watch.seconds
    evaluations = read_evaluations(folder / "evaluations.npz")
    episodes = FINAL_OF_TABLES if agent.table else FINAL_EPISODES
    final = evaluate(agent, episodes=episodes, seed=10_000 + seed)
    print(json.dumps({
        "settings": task.given, "seed": seed, "steps": evaluations["timesteps"].tolist(),
        "curve": evaluations["results"].mean(axis=1).tolist(), "final": final.returns.tolist(),
        "seconds": round(seconds, 2), "trained": agent.num_timesteps,
        "machine": store.machine(PACKAGES) | {"numba kernels": os.environ.get("NPR_NUMBA", "1")},
    }))  # fmt: skip


# ---- all runs


def chosen(names):
    """The tasks of these names of groups, algorithms, environments and tasks; [] is all."""
    everything = {task.name: task for group in GROUPS.values() for task in group}
    groups = {task.name: key for key, group in GROUPS.items() for task in group}
    known = {*GROUPS, *everything}
    known |= {word for task in everything.values() for word in (task.algorithm, task.env)}
    if unknown := set(names) - known:
        raise SystemExit(f"Unknown names: {', '.join(sorted(unknown))}.")
    kinds = [
        [name for name in names if name in kind]
        for kind in (GROUPS, everything, {t.algorithm for t in everything.values()},
                     {t.env for t in everything.values()})
    ]  # fmt: skip
    return [
        task
        for task in everything.values()
        if all(
            not kind or word in kind
            for kind, word in zip(kinds, (groups[task.name], task.name, task.algorithm, task.env))
        )
    ]


def wanted(tasks, seeds, folder=records.FOLDER):
    """(task, seed) of all runs that are not stored: first seed of every task, second one, ..."""
    found = []
    for task in tasks:
        held = records.load(task.name, folder)
        same = held is not None and held.settings == task.given
        stored = {run.seed for run in held.runs if run.trained >= task.budget} if same else set()
        for seed in range(task.seeds) if seeds is None else seeds:
            if seed not in stored:
                found.append((task, seed))
    return sorted(found, key=lambda run: run[1])


def cost(task):
    """Seconds that a run takes, from those that are stored."""
    held = records.load(task.name)
    return float(np.mean([run.seconds for run in held.runs])) if held else task.cost


def seconds_of(text):
    """ "2h", "90m", "30s" -> seconds."""
    return float(text[:-1]) * UNITS[text[-1]]


class Worker:
    """A run in a process."""

    def __init__(self, task, seed, folder):
        self.task, self.seed = task, seed
        script = Path(__file__).resolve()
        self.output = folder / f"{task.name}_seed{seed}.txt"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", script, "--run", task.name, str(seed), "--folder",
                 folder],
                stdout=output, env=environment, cwd=folder, preexec_fn=lambda: os.nice(10),
            )  # fmt: skip

    def finish(self):
        """Store the run of a process that has ended; the mean return, or None."""
        if self.process.returncode:
            return None
        held = json.loads(self.output.read_text().splitlines()[-1])
        settings = held.pop("settings")  # a preset may have been changed since this suite began
        run = records.Run(**{
            name: np.array(value) if isinstance(value, list) else value
            for name, value in held.items()
        })  # fmt: skip
        if dropped := records.add(self.task.name, settings, [run]):
            print(f"{self.task.name}: {dropped} runs with other settings were replaced")
        return run.final.mean()


def run_all(runs, jobs, folder, budget):
    """Train runs, `jobs` at a time, for `budget` seconds; returns those that failed."""
    deadline, waiting, workers, failed = time.monotonic() + budget, list(runs), [], []
    try:
        while workers or waiting:
            rest = deadline - time.monotonic()
            while waiting and len(workers) < jobs and rest > 0:
                task, seed = waiting.pop(0)
                if cost(task) <= rest:
                    workers.append(Worker(task, seed, folder))
            if rest <= 0:
                break
            time.sleep(0.2)
            for worker in [one for one in workers if one.process.poll() is not None]:
                workers.remove(worker)
                mean = worker.finish()
                state = "failed" if mean is None else f"{mean:,.2f}"
                print(f"{worker.task.name} seed {worker.seed}: {state}", flush=True)
                failed += [worker.task.name] if mean is None else []
    finally:
        for worker in workers:  # it saves
            worker.process.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.process.wait()
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="groups, algorithms, environments")
    parser.add_argument("--seeds", type=int, nargs="*", help="by default those of each task")
    parser.add_argument("--budget", default="1000h", help="wall-clock time: 2h, 90m")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "suite")
    parser.add_argument("--list", action="store_true", help="show what is missing, run nothing")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        (task,) = chosen(arguments.run[:1])
        seed = int(arguments.run[1])
        train(task, seed, arguments.folder.resolve() / f"{task.name}_seed{seed}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    runs = wanted(chosen(arguments.only), arguments.seeds)
    hours = sum(cost(task) for task, _ in runs) / 3_600
    print(f"{len(runs)} runs are missing, about {hours:.1f} hours of CPU time", flush=True)
    if arguments.list:
        for task, seed in runs:
            print(f"  {task.name} seed {seed}: about {cost(task):,.0f} s")
        return
    failed = run_all(runs, arguments.jobs, arguments.folder.resolve(), seconds_of(arguments.budget))
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}; see their console.log.")


if __name__ == "__main__":
    main()
