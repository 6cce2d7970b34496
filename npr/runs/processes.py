"""Runs in processes of this computer.

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
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from npr.errors import ConfigError
from npr.files.run_folder import CHECKPOINTS, CONSOLE
from npr.runs.board import Board
from npr.runs.config import RunConfig
from npr.runs.console import send_to
from npr.runs.folder import FolderInUse
from npr.runs.task import LOOK_INTERVAL, Outcome, Report, Task, reason, reporter
from npr.runs.train import resume, start
from npr.system.processes import (
    GUARD,
    UNGUARDED,
    ignore_terminal,
    sigint_blocked,
    wait_for_end_of_parent,
)
from npr.training.interrupts import Interrupts

SKIPPED = 75  # exit status of a child whose folder is in use
NAME = "npr run"  # of the processes


class _Child:
    """A run in another process, as its parent knows it."""

    def __init__(self, task: Task) -> None:
        self.folder, self.new = task.folder, task.config is not None
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe(duplex=False)
        target = (self.folder, task.config, task.options, other)
        self.process: BaseProcess = context.Process(target=_child, args=target, name=NAME)
        with sigint_blocked():  # else Ctrl-C would end a child that is starting
            self.process.start()
        other.close()
        self.error = ""

    def receive(self) -> Iterator[Report]:
        """Yield what the child reports."""
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


class Processes:
    """Runs in processes of this computer."""

    def __init__(self, limit: int, board: Board) -> None:
        self.limit: int | None = limit
        self.board = board
        self.running: dict[int, _Child] = {}
        self.unguarded: list[_Child] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error: object) -> None:
        for child in self.running.values():  # after a second Ctrl-C, or an error of the parent
            child.process.kill()
            child.process.join()
        for child in self.unguarded:
            if child.new and not (child.folder / CHECKPOINTS).exists():
                shutil.rmtree(child.folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.running)

    def start(self, number: int, task: Task) -> None:
        """Start the process of a run."""
        self.running[number] = _Child(task)
        self.board.begin(number, task.folder.name)

    def stop(self) -> None:
        """Send SIGTERM, once: a second one would not save."""
        for child in self.running.values():
            child.process.terminate()

    def look(self) -> dict[int, Outcome]:
        """Read the reports of children for a while. The runs that have ended."""
        by_handle: dict[Any, int] = {}
        for number, child in self.running.items():
            by_handle |= {child.pipe: number, child.process.sentinel: number}
        ready = {by_handle[handle] for handle in connection.wait([*by_handle], LOOK_INTERVAL)}
        ended: dict[int, Outcome] = {}
        for number in sorted(ready):
            child = self.running[number]
            alive = child.process.is_alive()
            for report in child.receive():
                self.board.report(number, *report)
            if not alive:
                child.process.join()
                child.pipe.close()
                del self.running[number]
                if child.process.exitcode == UNGUARDED:
                    self.unguarded = [child, *self.running.values()]
                    raise ConfigError(GUARD)
                ended[number] = child.outcome()
        if ready and not ended:  # a pipe at its end is always ready
            time.sleep(0.02)
        return ended


# ---- a child


def _child(
    folder: Path, config: RunConfig | None, options: dict[str, Any], pipe: Connection
) -> None:
    """Train or resume a run, in a process of its own."""

    def send(report: Report) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            pipe.send(report)

    ignore_terminal()  # the end of the parent stops it
    Interrupts.repeats = False
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        send_to(folder / CONSOLE)
        given = {**options, "report": reporter(send), "copy": False}
        if config is None:
            resume(folder, **given)
        else:
            start(config, folder, **given)
    except FolderInUse as error:
        with contextlib.suppress(OSError):
            pipe.send(str(error))
        sys.exit(SKIPPED)
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(reason(error))
        sys.exit(1)


def _stop_with_parent() -> None:
    """Wait for the end of the parent, then stop this process as the parent would have."""
    wait_for_end_of_parent()
    os.kill(os.getpid(), signal.SIGTERM)
