"""Processes beside this one: those that multiprocessing spawns."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from multiprocessing import connection, resource_tracker

from npr.errors import ConfigError

UNGUARDED = 76  # exit status of a process whose program starts it again
GUARD = (
    "Each new process imports the program that starts it, which would start it again: put the call "
    'under `if __name__ == "__main__":`.'
)


def check_guard(name: str) -> None:
    """Raise ConfigError in a process that is only importing the program, as multiprocessing does.

    A process of this name ends without a word, with exit status UNGUARDED: its parent raises the
    error.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        if process.name == name:
            sys.exit(UNGUARDED)
        raise ConfigError(GUARD)


@contextlib.contextmanager
def variables_restored(names: Iterable[str]) -> Iterator[None]:
    """Within it, these environment variables may be changed; they are restored at its end."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Within it, SIGINT waits; a process that is started then has it blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def importable_main() -> Iterator[None]:
    """Within it, processes that start do not import a program that is not a file, as one that is
    read from stdin, which multiprocessing would have them do."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or os.path.exists(path):
        yield
        return
    main.__file__ = None
    try:
        yield
    finally:
        main.__file__ = path


def ignore_terminal() -> None:
    """In a process that was started with SIGINT blocked: what a terminal sends to all processes is
    for its parent, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # of a terminal that is closed
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def how_it_ended(code: int | None) -> str:
    """What to say of a process with this exit code, such as "died with signal 11"."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    return f"died with signal {-code}{' (often out of memory)' if code == -9 else ''}"


def wait_for_end_of_parent() -> None:
    """Return when the process that started this one has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
