"""Runs as tasks of Ray, on this computer or a cluster.

Each run has a process of its own, on any node; nodes share the folder of the runs. Its reports, and
the request to stop, go through an actor on the node of this program.
"""

import _thread
import contextlib
import os
import platform
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

from npr.errors import ConfigError
from npr.files.run_folder import CONSOLE
from npr.runs.board import Board
from npr.runs.console import sent_to
from npr.runs.folder import FolderInUse
from npr.runs.task import LOOK_INTERVAL, Outcome, Report, Task, reason, reporter
from npr.runs.train import resume, start
from npr.system import ray_session
from npr.system.ray_session import Home
from npr.training.interrupts import Interrupts

RETRIES = 3  # of a run whose node or process is lost
LOCKED = 60.0  # seconds that a run waits for the end of its process on a lost node
_REPORTS = "reports"  # name of the box


class _Attempt(NamedTuple):
    """A task of Ray that trains a run.

    number   of the run
    again    how often the run was lost before
    """

    number: int
    again: int
    task: Task


class RayTasks:
    """Runs as tasks of Ray; see `npr.runs.task.Running`.

    limit     how many are submitted at a time; None: all
    num_cpus  CPUs of each; None: those that its settings need
    most      the most CPUs that one needs
    """

    def __init__(self, limit: int | None, num_cpus: float | None, most: int, board: Board) -> None:
        self.limit, self.num_cpus, self.most, self.board = limit, num_cpus, most, board
        self.attempts: dict[Any, _Attempt] = {}  # by the reference to its result
        self.begun: set[int] = set()
        self.stopping = False
        self.token = f".npr-{secrets.token_hex(8)}"
        self.folders: set[Path] = set()  # that hold the token

    def __enter__(self) -> "RayTasks":
        with contextlib.ExitStack() as stack:
            stack.enter_context(ray_session.keeping_sigterm(default=True))
            self.ray = stack.enter_context(ray_session.session(self.most))
            # a process trains one run, as on this computer
            self.remote = self.ray.remote(max_calls=1, max_retries=0, scheduling_strategy="SPREAD")(
                train_one
            )
            self.mail = ray_session.mailbox(self.ray)
            stack.callback(self._clear)
            self.reports = self.mail.take.remote(_REPORTS)
            self.home = Home.here()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def _clear(self) -> None:
        for ref in self.attempts:
            self.ray.cancel(ref, force=True)
        self.ray.kill(self.mail)
        for folder in self.folders:
            (folder / self.token).unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self.attempts)

    def start(self, number: int, task: Task) -> None:
        """Submit a run, which begins when a node has a CPU for it."""
        folder = task.folder.parent
        if folder not in self.folders:
            self.folders.add(folder)
            (folder / self.token).touch()
        self._submit(_Attempt(number, 0, task))

    def _submit(self, attempt: _Attempt) -> None:
        cpus = self.num_cpus or ray_session.cpus_of(attempt.task.settings)
        if max(ray_session.cpus(self.ray), default=0) < cpus:
            self.board.note = f"no node has {cpus:g} CPUs yet"
        name = f"npr {attempt.task.folder.name}"
        options = {"name": name, "num_cpus": cpus, **ray_session.environment()}
        ref = self.remote.options(**options).remote(attempt, self.mail, self.home, self.token)
        self.attempts[ref] = attempt

    def stop(self) -> None:
        """Ask the runs to save and to end; those that wait for a CPU do not begin."""
        self.stopping = True
        for ref, attempt in self.attempts.items():
            self.mail.put.remote(_stop(attempt), True)
            if attempt.number not in self.begun:
                self.ray.cancel(ref)

    def look(self) -> dict[int, Outcome]:
        """Read the reports for a while. The runs that have ended."""
        ready, _ = self.ray.wait([self.reports, *self.attempts], timeout=LOOK_INTERVAL)
        ended: dict[int, Outcome] = {}
        for ref in ready:
            if ref is self.reports:
                for number, task, report in self.ray.get(ref):
                    self._report(number, task, report)
                self.reports = self.mail.take.remote(_REPORTS)
            else:
                attempt = self.attempts.pop(ref)
                outcome = self._outcome(ref, attempt)
                if outcome is not None:
                    self._report(attempt.number, attempt.task, None)
                    ended[attempt.number] = outcome
        return ended

    def _report(self, number: int, task: Task, report: Report | None) -> None:
        if number not in self.begun:
            self.begun.add(number)
            self.board.note = ""
            self.board.begin(number, task.folder.name)
        if report is not None and number in self.board.titles:
            self.board.report(number, *report)

    def _outcome(self, ref: Any, attempt: _Attempt) -> Outcome | None:
        """How a run has ended; None: it begins again, on another node."""
        number, again, task = attempt
        errors = self.ray.exceptions
        try:
            state, error, report = self.ray.get(ref)
        except errors.TaskCancelledError:
            return Outcome(task.folder, "stopped" if number in self.begun else "not started")
        except errors.RayTaskError as failure:
            return Outcome(task.folder, "failed", reason(failure.cause))
        except errors.RayError as lost:
            why = str(lost).splitlines()[0]
            if self.stopping:
                return Outcome(task.folder, "stopped")
            if again == RETRIES or task.options.get("total_timesteps") is not None:
                return Outcome(task.folder, "failed", why)
            self.board.say(f"npr: {task.folder.name} was lost and goes on elsewhere: {why}")
            self._submit(_Attempt(number, again + 1, task))
            return None
        if report is not None:
            self._report(number, task, report)
        return Outcome(task.folder, state, error)


def _stop(attempt: _Attempt) -> tuple[str, int, int]:
    """The name of the box for the request to stop; each attempt has its own."""
    return "stop", attempt.number, attempt.again


# ---- a task


def train_one(
    attempt: _Attempt, mail: Any, home: Home, token: str
) -> tuple[str, str, Report | None]:
    """Train or resume a run in a process of Ray. Its state and error, and its last report."""
    ray = ray_session.module()
    last: Report | None = None
    asked = mail.take.remote(_stop(attempt))

    def send(report: Report) -> None:
        nonlocal last
        last = report
        mail.put.remote(_REPORTS, (attempt.number, attempt.task, report))
        if ray.wait([asked], timeout=0)[0]:
            _thread.interrupt_main()  # Ray blocks the signal itself

    Interrupts.repeats = False
    try:
        ray_session.settle(home)
        task = attempt.task
        if os.getcwd() != home.folder:
            task = task._replace(folder=Path(home.folder) / task.folder)
        _check_visible(task.folder.parent, home, token)
        mail.put.remote(_REPORTS, (attempt.number, attempt.task, None))
        with sent_to(task.folder / CONSOLE):
            _train(task, attempt.again > 0, {"report": reporter(send), "copy": False})
    except FolderInUse as error:
        return "skipped", str(error), last
    except Exception as error:
        return "failed", reason(error), last
    except (KeyboardInterrupt, SystemExit):
        return "stopped", "", last
    return "finished", "", last


def _train(task: Task, again: bool, given: dict[str, Any]) -> None:
    config, options = task.config, task.options
    if not again:
        if config is None:
            resume(task.folder, **options, **given)
        else:
            start(config, task.folder, **options, **given)
        return
    if config is not None:
        options = {"wrappers": config.wrappers, "imports": config.imports}
    deadline = time.monotonic() + LOCKED
    while True:
        try:
            resume(task.folder, **options, **given)
            return
        except FolderInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _check_visible(folder: Path, home: Home, token: str) -> None:
    """Raise ConfigError if this node does not see the folder of the program."""
    if not (folder / token).exists():
        raise ConfigError(
            f"The node {platform.node()} does not see the folder {Path(home.folder) / folder} of "
            "this program. The nodes of a cluster need a folder that all of them see at the same "
            "path, such as one on NFS: name it with out (--out)."
        )
