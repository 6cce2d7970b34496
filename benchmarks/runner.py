"""Trainings in processes of their own: niced, one BLAS thread each, some at a time.

A job prints its result as a line of JSON; what it writes to stderr is in NAME.err. What is trained
has the defaults of npr: variables of the environment that change npr or OpenBLAS are not handed on.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
UNITS = {"s": 1, "m": 60, "h": 3_600}


class Job(NamedTuple):
    """A training.

    command  of its process
    store    takes its result, lists of which are arrays; returns what is printed
    cost     CPU seconds, as an estimate
    """

    name: str
    command: list[Any]
    store: Callable[[dict], str]
    cost: float = 0.0


class _Process:
    """A job that runs."""

    def __init__(self, job, folder):
        self.job, self.output = job, folder / f"{job.name}.txt"
        self.errors = folder / f"{job.name}.err"
        others = {k: v for k, v in os.environ.items() if not k.startswith(("NPR_", "OPENBLAS_"))}
        with self.output.open("w") as output, self.errors.open("w") as errors:
            # in a session of its own: a terminal's Ctrl-C does not reach it, only run_all's signal
            self.popen = subprocess.Popen(
                job.command, stdout=output, stderr=errors, env=others | THREADS, cwd=folder,
                start_new_session=True, preexec_fn=lambda: os.nice(10),
            )  # fmt: skip

    def result(self):
        held = json.loads(self.output.read_text().splitlines()[-1])
        return {k: np.array(v) if isinstance(v, list) else v for k, v in held.items()}


def run_all(jobs, at_once, folder, budget=np.inf):
    """Run jobs for `budget` seconds of wall-clock time; returns the names of those that failed.

    Jobs that cost more than what is left of it do not begin, unless none is running. Those that run
    at its end, or when this program is stopped, get SIGTERM, with which a run of npr saves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline, waiting, running, failed = time.monotonic() + budget, list(jobs), [], []
    try:
        while running or waiting:
            rest = deadline - time.monotonic()
            if rest <= 0:
                break
            while waiting and len(running) < at_once:
                fitting = [job for job in waiting if job.cost <= rest] or waiting[: not running]
                if not fitting:
                    break
                waiting.remove(fitting[0])
                running.append(_Process(fitting[0], folder))
            time.sleep(0.2)
            for one in [one for one in running if one.popen.poll() is not None]:
                running.remove(one)
                if one.popen.returncode:
                    failed.append(one.job.name)
                failure = f"failed, see {one.errors}" if one.popen.returncode else ""
                print(f"{one.job.name}: {failure or one.job.store(one.result())}", flush=True)
    finally:
        for one in running:
            one.popen.send_signal(signal.SIGTERM)
        for one in running:
            one.popen.wait()
        if waiting or running:
            names = ", ".join(one.job.name for one in running) or "none"
            print(f"{len(waiting)} jobs have not begun; stopped: {names}", flush=True)
    return failed


def seconds_of(text):
    """ "2h", "90m", "30s" -> seconds."""
    try:
        return float(text[:-1]) * UNITS[text[-1]]
    except (ValueError, LookupError):
        raise ValueError(f"a time is 2h, 90m or 30s, got {text!r}") from None
