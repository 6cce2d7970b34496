"""Several runs beside each other, each in its own process.

A child ignores Ctrl-C, which a terminal sends to all processes, and stops with SIGTERM: of its
parent, or of itself when the parent has died. It then saves, as every run does.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from npr.errors import ConfigError, NprError, describe_error
from npr.files.run_folder import CHECKPOINTS, CONSOLE
from npr.runs.board import Board
from npr.runs.config import RunConfig, varied
from npr.runs.console import send_to
from npr.runs.folder import FolderInUse, check_is_run, locked, name_of
from npr.runs.train import check, prepare, resume, start, steps_if_finished
from npr.settings.setting import whole
from npr.system import streams
from npr.system.machine import usable_cores
from npr.system.processes import (
    GUARD,
    UNGUARDED,
    check_guard,
    ignore_terminal,
    sigint_blocked,
    wait_for_end_of_parent,
)
from npr.training.interrupts import Interrupts, stopped_by

REPORT_INTERVAL = 0.5  # seconds between two reports of a child
LOOK_INTERVAL = 0.2  # seconds between two looks at signals
SKIPPED = 75  # exit status of a child whose folder is in use
_NAME = "npr run"  # of the processes


class Outcome(NamedTuple):
    """How a run ended.

    state   "finished", "stopped", "failed", "not started", or "skipped": another process trains it
    error   why it failed or was skipped
    """

    folder: Path
    state: str
    error: str = ""


class _Task(NamedTuple):
    """A run to train or to resume.

    folder    of the run; `_prepared` makes that of a new one
    config    None: resume
    options   keyword arguments of `start` or `resume`
    """

    folder: Path
    config: RunConfig | None
    options: dict[str, Any]


def run_all(
    configs: Iterable[RunConfig],
    out: "str | Path" = "runs",
    jobs: int | None = None,
    command: Sequence[str] = (),
) -> list[Outcome]:
    """Train runs in new folders of `out`, each in its own process; returns how each ended.

    jobs      processes at a time; None: one per core
    command   the words of the command line, for each config.json

    A run that fails does not stop the others. Ctrl-C and SIGTERM stop all of them: each is saved,
    those that wait get their folders too, for `resume_all`, and KeyboardInterrupt or SystemExit is
    raised when they have ended.

    Raises ConfigError or SpaceError before the first run if the agent of one cannot be made, and
    ConfigError if the program has no `if __name__ == "__main__":` around this call: each process
    imports it.
    """
    check_guard(_NAME)
    configs = [one.checked() for one in configs]
    if jobs is not None:
        whole("jobs", jobs)
    check(configs)
    first = varied(configs) if configs else []
    return _run(
        [_Task(Path(out) / name_of(one, first), one, {"command": [*command]}) for one in configs],
        jobs,
    )


def resume_all(
    folders: Iterable["str | Path"], jobs: int | None = None, **options: Any
) -> list[Outcome]:
    """Continue runs, each in its own process; see `run_all`. options: keywords of `resume`.

    Runs that are finished need no process. Raises ConfigError before the first one starts if one of
    the folders has no run.
    """
    check_guard(_NAME)
    paths = [Path(one) for one in folders]
    for path in paths:
        check_is_run(path)
    if jobs is not None:
        whole("jobs", jobs)
    finished: dict[Path, int] = {}
    if options.get("total_timesteps") is None:
        for path in paths:
            with contextlib.suppress(FolderInUse), locked(path):
                if (steps := steps_if_finished(path)) is not None:
                    finished[path] = steps
                    streams.write(sys.stderr, f"npr: {path} is finished: {steps:,} steps.\n")
    rest = [path for path in paths if path not in finished]
    found = _run([_Task(path, None, options) for path in rest], jobs) if rest else []
    outcomes = {one.folder: one for one in found}
    return [outcomes.get(path, Outcome(path, "finished")) for path in paths]


# ---- the parent


class _Child:
    """A run in another process, as its parent knows it."""

    def __init__(self, task: _Task) -> None:
        self.folder, self.new = task.folder, task.config is not None
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe(duplex=False)
        target = (self.folder, task.config, task.options, other)
        self.process: BaseProcess = context.Process(target=_child, args=target, name=_NAME)
        with sigint_blocked():  # else Ctrl-C would end a child that is starting
            self.process.start()
        other.close()
        self.error = ""

    def receive(self) -> Iterator[tuple[int, int, float | None]]:
        """Yield what the child reports: (step, end, mean return)."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, str):
                    self.error = message
                else:
                    yield message

    def outcome(self) -> Outcome:
        """How a process that has ended did."""
        code = self.process.exitcode
        if code == 0:
            return Outcome(self.folder, "finished")
        if code == SKIPPED:
            return Outcome(self.folder, "skipped", self.error)
        if code in (128 + signal.SIGTERM, -signal.SIGTERM, 130):
            return Outcome(self.folder, "stopped")
        error = self.error
        if not error:
            memory = " (often out of memory)" if code == -9 else ""
            how = f"died with signal {-code}{memory}" if code and code < 0 else f"ended with {code}"
            error = f"its process {how}"
        return Outcome(self.folder, "failed", error)


def _run(tasks: list[_Task], jobs: int | None) -> list[Outcome]:
    limit = min(len(tasks), usable_cores()) if jobs is None else whole("jobs", jobs)
    waiting, running = dict(enumerate(tasks)), dict[int, _Child]()
    outcomes: dict[int, Outcome] = {}
    board, interrupts = Board(len(tasks)), Interrupts()
    stopping, unguarded = False, list[_Child]()
    try:
        with interrupts:
            while running or (waiting and not stopping):
                if interrupts.requested and not stopping:
                    stopping = True
                    board.interrupted()
                    for child in running.values():
                        child.process.terminate()  # SIGTERM, once: a second one would not save
                    waiting = {number: _prepared(task) for number, task in waiting.items()}
                while waiting and len(running) < limit and not interrupts.requested:
                    number = next(iter(waiting))
                    running[number] = _Child(_prepared(waiting.pop(number)))
                    board.begin(number, running[number].folder.name)
                for number in _look(running, board):
                    child = running.pop(number)
                    if child.process.exitcode == UNGUARDED:
                        unguarded += [child, *running.values()]
                        raise ConfigError(GUARD)
                    outcomes[number] = child.outcome()
                    board.end(number, outcomes[number].state)
                board.update()
    finally:
        for child in running.values():  # after a second Ctrl-C, or an error of this function
            child.process.kill()
            child.process.join()
        for child in unguarded:
            if child.new and not (child.folder / CHECKPOINTS).exists():
                shutil.rmtree(child.folder, ignore_errors=True)
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


def _prepared(task: _Task) -> _Task:
    """The task of a new run with its folder, which is complete before its process starts."""
    if task.config is None:
        return task
    return task._replace(folder=prepare(task.config, task.folder, task.options["command"]))


def _look(running: dict[int, _Child], board: Board) -> list[int]:
    """Read the reports of children for a while. Returns the numbers of those that have ended."""
    by_handle: dict[Any, int] = {}
    for number, child in running.items():
        by_handle |= {child.pipe: number, child.process.sentinel: number}
    ready = {by_handle[handle] for handle in connection.wait([*by_handle], LOOK_INTERVAL)}
    ended = []
    for number in sorted(ready):
        child = running[number]
        if not child.process.is_alive():
            ended.append(number)
        for report in child.receive():
            board.report(number, *report)
        if number in ended:
            child.process.join()
            child.pipe.close()
    if ready and not ended:  # a pipe at its end is always ready
        time.sleep(0.02)
    return ended


# ---- a child


def _child(
    folder: Path, config: RunConfig | None, options: dict[str, Any], pipe: Connection
) -> None:
    """Train or resume a run, in a process of its own."""
    ignore_terminal()  # the end of the parent stops it
    Interrupts.repeats = False
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        send_to(folder / CONSOLE)
        given = {**options, "report": _reporter(pipe), "copy": False}
        if config is None:
            resume(folder, **given)
        else:
            start(config, folder, **given)
    except FolderInUse as error:
        with contextlib.suppress(OSError):
            pipe.send(str(error))
        sys.exit(SKIPPED)
    except Exception as error:
        text = str(error) if isinstance(error, NprError) else describe_error(error)
        with contextlib.suppress(OSError):
            pipe.send(text)
        sys.exit(1)


def _reporter(pipe: Connection) -> Callable[[Any], None]:
    """A callback that reports (step, end, mean return) at intervals."""
    due = 0.0

    def report(agent: Any) -> None:
        nonlocal due
        now = time.perf_counter()
        if now >= due or agent.num_timesteps >= agent.end:
            due = now + REPORT_INTERVAL
            with contextlib.suppress(OSError):  # the parent is gone
                pipe.send((agent.num_timesteps, agent.end, agent.logger.mean_return()))

    return report


def _stop_with_parent() -> None:
    """Wait for the end of the parent, then stop this process as the parent would have."""
    wait_for_end_of_parent()
    os.kill(os.getpid(), signal.SIGTERM)
