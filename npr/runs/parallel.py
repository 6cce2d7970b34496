"""Several runs beside each other: in processes of this computer, or on a cluster of Ray."""

import contextlib
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from npr.errors import ConfigError
from npr.runs.board import Board
from npr.runs.config import RunConfig, varied
from npr.runs.folder import FolderInUse, check_is_run, locked, name_of
from npr.runs.on_ray import RayTasks
from npr.runs.processes import NAME, Processes
from npr.runs.task import Outcome, Running, Task
from npr.runs.train import check, prepare, steps_if_finished
from npr.settings.setting import whole
from npr.system import ray_session, streams
from npr.system.machine import usable_cores
from npr.system.processes import check_guard
from npr.training.interrupts import Interrupts, stopped_by

Engine = Literal["processes", "ray"]


def run_all(
    configs: Iterable[RunConfig],
    out: "str | Path" = "runs",
    jobs: int | None = None,
    command: Sequence[str] = (),
    engine: Engine = "processes",
    num_cpus: float | None = None,
) -> list[Outcome]:
    """Train runs in new folders of `out`, each in its own process; returns how each ended.

    jobs      runs at a time; None: one per core, with Ray as many as the cluster has CPUs for
    command   the words of the command line, for each config.json
    engine    "processes" of this computer; "ray": tasks of a Ray cluster, see below
    num_cpus  CPUs that Ray reserves for each run; None: one, and one for each of its n_workers,
              which are processes on the node of the run

    A run that fails does not stop the others. Ctrl-C and SIGTERM stop all of them: each is saved,
    those that wait get their folders too, for `resume_all`, and KeyboardInterrupt or SystemExit is
    raised when they have ended.

    With Ray the runs use the Ray that this program has initialized, or else the cluster at
    RAY_ADDRESS, or else this computer. All nodes need the same npr, and see `out` at the same path.
    The files are those of runs in processes. A run whose node is lost goes on elsewhere from its
    newest checkpoint. When this program is killed, Ray kills its runs: `resume_all` continues them.

    Raises ConfigError or SpaceError before the first run if the agent of one cannot be made, and
    ConfigError if the program has no `if __name__ == "__main__":` around this call: each process
    imports it.
    """
    check_guard(NAME)
    configs = [one.checked() for one in configs]
    _check(jobs, engine, num_cpus)
    check(configs)
    first = varied(configs) if configs else []
    tasks = [Task(Path(out) / name_of(one, first), one, {"command": [*command]}) for one in configs]
    return _run(tasks, jobs, engine, num_cpus)


def resume_all(
    folders: Iterable["str | Path"],
    jobs: int | None = None,
    engine: Engine = "processes",
    num_cpus: float | None = None,
    **options: Any,
) -> list[Outcome]:
    """Continue runs, each in its own process; see `run_all`. options: keywords of `resume`.

    Runs that are finished need no process. Raises ConfigError before the first one starts if one of
    the folders has no run.
    """
    check_guard(NAME)
    paths = [Path(one) for one in folders]
    for path in paths:
        check_is_run(path)
    _check(jobs, engine, num_cpus)
    finished: dict[Path, int] = {}
    if options.get("total_timesteps") is None:
        for path in paths:
            with contextlib.suppress(FolderInUse), locked(path):
                if (steps := steps_if_finished(path)) is not None:
                    finished[path] = steps
                    streams.write(sys.stderr, f"npr: {path} is finished: {steps:,} steps.\n")
    rest = [Task(path, None, options) for path in paths if path not in finished]
    outcomes = {one.folder: one for one in _run(rest, jobs, engine, num_cpus)}
    return [outcomes.get(path, Outcome(path, "finished")) for path in paths]


def check_engine(engine: Any) -> None:
    """Raise ConfigError for an unknown engine, and if Ray is wanted and missing."""
    if engine not in get_args(Engine):
        raise ConfigError(f"engine must be 'processes' or 'ray', got {engine!r}.")
    if engine == "ray":
        ray_session.module()


def _check(jobs: Any, engine: Any, num_cpus: Any) -> None:
    """Raise ConfigError for an invalid argument, and if Ray is wanted and missing."""
    if jobs is not None:
        whole("jobs", jobs)
    check_engine(engine)
    if engine == "ray":
        ray_session.check_cpus(num_cpus)
    elif num_cpus is not None:
        raise ConfigError(f"num_cpus={num_cpus!r} is for engine='ray', which reserves CPUs.")


def _run(
    tasks: list[Task], jobs: int | None, engine: Engine, num_cpus: float | None
) -> list[Outcome]:
    if not tasks:
        return []
    board = Board(len(tasks))
    running: Running
    if engine == "ray":
        most = max(ray_session.cpus_of(task.settings) for task in tasks)
        running = RayTasks(jobs, num_cpus, math.ceil(num_cpus or most), board)
    else:
        running = Processes(usable_cores() if jobs is None else jobs, board)
    return _all_of(tasks, running, board)


def _all_of(tasks: list[Task], running: Running, board: Board) -> list[Outcome]:
    waiting, outcomes = dict(enumerate(tasks)), dict[int, Outcome]()
    interrupts, stopping = Interrupts(), False
    try:
        with running, interrupts:  # Ray has its own handler of SIGTERM
            while len(running) or (waiting and not stopping):
                if interrupts.requested and not stopping:
                    stopping = True
                    board.interrupted()
                    running.stop()
                    waiting = {number: _prepared(task) for number, task in waiting.items()}
                limit = len(tasks) if running.limit is None else running.limit
                while waiting and len(running) < limit and not interrupts.requested:
                    number = next(iter(waiting))
                    running.start(number, _prepared(waiting.pop(number)))
                for number, outcome in running.look().items():
                    outcomes[number] = outcome
                    board.end(number, outcome.state)
                board.update()
    finally:
        board.close()
    outcomes |= {number: Outcome(task.folder, "not started") for number, task in waiting.items()}
    results = [outcomes[number] for number in range(len(tasks))]
    if interrupts.requested:
        for one in results:
            if one.state == "stopped":
                streams.write(sys.stderr, f"npr: `npr resume {one.folder}` continues this run.\n")
            elif one.state == "not started":
                streams.write(
                    sys.stderr, f"npr: `npr resume {one.folder}` trains this run, which waited.\n"
                )
        raise stopped_by(interrupts.requested)
    return results


def _prepared(task: Task) -> Task:
    """The task of a new run with its folder, which is complete before its process starts."""
    if task.config is None:
        return task
    return task._replace(folder=prepare(task.config, task.folder, task.options["command"]))
