"""Small runs in folders, for tests."""

import csv
import hashlib
import json
import os
import signal

from npr.runs import RunConfig

TABLE = {"max_episode_steps": 30, "verbose": 0}


def table_run(**fields):
    """A run of QLearning of 300 steps without evaluations: a fraction of a second."""
    settings = {**TABLE, **fields.pop("settings", {})}
    given = {"env": "CliffWalking-v1", "total_timesteps": 300, "eval_freq": 0, **fields}
    return RunConfig("QLearning", settings=settings, **given)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def progress(folder):
    """The rows of progress.csv without times and memory."""
    with open(folder / "progress.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    timed = ("time/fps", "time/time_elapsed", "time/peak_rss_mb")
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


def monitor(folder):
    """The rows of monitor.csv without times."""
    lines = (folder / "monitor.csv").read_text().splitlines()[1:]
    return [line.rsplit(",", 1)[0] for line in lines]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def stop_at(step, error=None):
    """A report that sends Ctrl-C, or raises an error, at a step."""

    def report(agent):
        if agent.num_timesteps == step:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGINT)

    return report
