"""Actors in processes of this machine, with shared memory for weights and columns."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np

from npr.backend import FLOAT
from npr.distributed.actor import Actor, Block, Columns, Setup, Spec, rows_of
from npr.distributed.engine import LOOK_INTERVAL, Stop, WorkerLostError
from npr.envs.workers import CLOSE_TIMEOUT
from npr.errors import ConfigError, EnvCrashedError, describe_error
from npr.system.blas import THREAD_VARIABLES, threads_set_by_user
from npr.system.processes import (
    GUARD,
    UNGUARDED,
    check_guard,
    how_it_ended,
    ignore_terminal,
    importable_main,
    sigint_blocked,
    variables_restored,
    wait_for_end_of_parent,
)

_NAME = "npr actor"  # of the processes
_IMPORTS = (
    "It imports the program and the environment: a function or class that is defined at a prompt, "
    "in a notebook or in a program that is read from stdin is not there. Put it in a module, or "
    "register it and pass its id."
)


class Processes:
    """An Engine of processes. size: numbers of the weights; spec: columns of one environment."""

    def __init__(self, n_workers: int, size: int, spec: Spec) -> None:
        check_guard(_NAME)
        if multiprocessing.current_process().daemon:
            raise ConfigError(
                f"n_workers={n_workers} starts processes, but this is a daemonic process (of a "
                "multiprocessing.Pool, for example), which may not start others. Leave n_workers "
                "out, or use concurrent.futures.ProcessPoolExecutor."
            )
        self._spec = spec
        # two, since one is written while actors may still read the other
        self._weights: Any = RawArray("B", 2 * size * FLOAT.itemsize)
        self._published = 0
        self._vectors = _vectors(self._weights)
        self._moves: Any = RawArray("q", n_workers + 1)  # steps of each actor; whether all stop
        self._workers: list[_Worker | None] = [None] * n_workers
        # if nothing refers to it any more; multiprocessing ends the processes at exit
        ends = weakref.finalize(self, _close, self._workers, self._moves, os.getpid())
        ends.atexit = False

    def start(self, i: int, setup: Setup) -> None:
        before, self._workers[i] = self._workers[i], None
        if before is not None:
            before.end()
        columns = before.memory if before else RawArray("B", _bytes(self._spec, setup))
        self._workers[i] = _Worker(i, setup, self._weights, self._moves, columns, self._spec)

    def publish(self, weights: np.ndarray) -> int:
        self._published = 1 - self._published
        self._vectors[self._published] = weights
        return self._published

    def send(self, i: int, method: str, *args: Any) -> None:
        self._moves[-1] = 0
        self._worker(i).send(method, args)

    def receive(self, i: int, stop: Stop) -> Any:
        return self._worker(i).receive(stop)

    def interrupt(self) -> None:
        self._moves[-1] = 1

    def close(self) -> None:
        _close(self._workers, self._moves, os.getpid())

    def pids(self) -> list[int | None]:
        """The numbers of the processes."""
        return [None if one is None else one.process.pid for one in self._workers]

    def _worker(self, i: int) -> _Worker:
        worker = self._workers[i]
        if worker is None:
            raise WorkerLostError("it was closed")
        return worker


class _Worker:
    """A process with an actor, as its parent knows it."""

    def __init__(
        self, i: int, setup: Setup, weights: Any, moves: Any, memory: Any, spec: Spec
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.i, self.setup, self.memory, self._moves = i, setup, memory, moves
        self._columns = _carved(memory, spec, setup)
        self._starting, self._moves_before = True, moves[i]
        self._pipe, other = context.Pipe()
        try:
            # not an argument: start() waits until a process has read its arguments, and for ever if
            # it ends before and they fill the pipe
            self._written: Any = _written(setup)
            target = self._written, weights, moves, memory, spec, i, other
            self.process: BaseProcess = context.Process(
                target=_work, args=target, name=_NAME, daemon=True
            )
            with sigint_blocked(), importable_main(), _environment(setup.threads):
                self.process.start()
        except (AttributeError, TypeError, ValueError) as error:  # of pickle, and its own error
            raise _not_sendable(error) from error
        except Exception as error:
            if type(error).__name__ == "PicklingError":
                raise _not_sendable(error) from error
            raise
        other.close()

    def send(self, method: str, args: tuple[Any, ...]) -> None:
        try:
            self._pipe.send((method, args))
        except OSError as error:
            raise WorkerLostError(self._how_it_ended()) from error

    def receive(self, stop: Stop) -> Any:
        if self._starting:
            answer = self._receive(stop, self.setup.start_timeout)
            self._starting, self._written = False, None
            if answer is not None:  # why it cannot be made
                return answer
        answer = self._receive(stop, self.setup.timeout)
        if isinstance(answer, Block):
            return answer._replace(columns=self._columns)
        return answer

    def _receive(self, stop: Stop, timeout: float | None) -> Any:
        if self._pipe.closed:
            raise WorkerLostError("its process was ended")
        moves, since = self._moves[self.i], time.monotonic()
        while not self._pipe.poll():
            connection.wait([self._pipe, self.process.sentinel], LOOK_INTERVAL)
            if self._pipe.poll():
                break
            stop()
            if not self.process.is_alive():
                raise WorkerLostError(self._how_it_ended())
            now, moves_now = time.monotonic(), self._moves[self.i]
            if moves_now != moves:
                moves, since = moves_now, now
            elif timeout is not None and now - since > timeout:
                pid = self.process.pid
                self.end()
                raise WorkerLostError(f"its process (pid {pid}) did not step for {timeout:g} s")
        try:
            return self._pipe.recv()
        except (OSError, EOFError) as error:
            raise WorkerLostError(self._how_it_ended()) from error

    def _how_it_ended(self) -> str:
        self.process.join(1.0)
        pid, code = self.process.pid, self.process.exitcode
        self.end()
        if code == UNGUARDED:
            raise ConfigError(GUARD)
        if code == 1 and self._starting and self._moves[self.i] == self._moves_before:
            raise ConfigError(
                "A process of n_workers has ended before its first call; its error is above. "
                f"{_IMPORTS}"
            )
        return f"its process (pid {pid}) {how_it_ended(code)}"

    def end(self) -> None:
        """End the process immediately."""
        self.process.kill()
        self.process.join()
        self._pipe.close()


def _close(held: list[_Worker | None], moves: Any, owner: int) -> None:
    """End the workers; not in a fork of the process that owns them."""
    workers = [one for one in held if one is not None]
    if os.getpid() != owner:
        return
    held[:] = [None] * len(held)
    moves[-1] = 1
    for one in workers:
        with contextlib.suppress(WorkerLostError):
            one.send("close", ())
    deadline = time.monotonic() + CLOSE_TIMEOUT
    for one in workers:
        one.process.join(max(0.0, deadline - time.monotonic()))
    for one in workers:
        one.end()


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Within it, processes that start have so many BLAS threads and act on the host."""
    changed = {"NPR_BACKEND": "numpy"}
    if threads_set_by_user() is None:
        changed |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    with variables_restored(changed):
        os.environ.update(changed)
        yield


def _not_sendable(error: BaseException) -> ConfigError:
    return ConfigError(
        f"n_workers needs an environment that can be sent to another process: {error}. Pass an id, "
        "or a function that is defined at the top of a module, with env_kwargs for its arguments."
    )


def _written(setup: Setup) -> Any:
    """A setup in shared memory."""
    held = ForkingPickler.dumps(setup)
    memory = RawArray("B", len(held))
    np.frombuffer(memory, np.uint8)[:] = np.frombuffer(held, np.uint8)
    return memory


def _vectors(memory: Any) -> np.ndarray:
    """The two vectors of weights in shared memory."""
    return np.frombuffer(memory, FLOAT).reshape(2, -1)


def _bytes(spec: Spec, setup: Setup) -> int:
    sizes = [_shape(name, shape, setup) for name, (shape, _) in spec.items()]
    types = [dtype.itemsize for _, dtype in spec.values()]
    return sum(-(-int(np.prod(size)) * width // 8) * 8 for size, width in zip(sizes, types))


def _carved(memory: Any, spec: Spec, setup: Setup) -> Columns:
    """The columns of an actor in shared memory."""
    columns, start, flat = {}, 0, np.frombuffer(memory, np.uint8)
    for name, (shape, dtype) in spec.items():
        full = _shape(name, shape, setup)
        size = int(np.prod(full)) * dtype.itemsize
        columns[name] = flat[start : start + size].view(dtype).reshape(full)
        start += -(-size // 8) * 8
    return columns


def _shape(name: str, shape: tuple[int, ...], setup: Setup) -> tuple[int, ...]:
    """The shape of a column of all environments of an actor, from its shape for one."""
    return rows_of(name, setup.steps), setup.n, *shape[1:]


# ---- in the process


def _work(
    written: Any, weights: Any, moves: Any, memory: Any, spec: Spec, i: int, pipe: Connection
) -> None:
    """Answer calls until the parent closes the actor, or ends. written: a Setup."""
    moves[i] += 1  # it has begun
    ignore_terminal()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        setup: Setup = ForkingPickler.loads(bytes(written))
    except (AttributeError, ImportError) as error:
        _send(pipe, ConfigError(f"A process of n_workers cannot begin: {error}. {_IMPORTS}"))
        return
    try:
        columns = _carved(memory, spec, setup)
        actor = _Stoppable(setup, _vectors(weights), moves, i)
    except Exception as error:
        _send(pipe, error)
        return
    _send(pipe, None)
    while True:
        try:
            method, args = pipe.recv()
        except (EOFError, OSError):  # the agent is not there any more
            break
        if method == "close":
            break
        try:
            if method == "collect":
                block = actor.collect(args[0], columns)
                answer: Any = block._replace(columns={})  # which are in shared memory
            else:
                answer = getattr(actor, method)(*args)
        except Exception as error:
            answer = error
        _send(pipe, answer)
    actor.close()


def _send(pipe: Connection, answer: Any) -> None:
    with contextlib.suppress(OSError):  # the parent is gone
        try:
            pipe.send(answer)
        except OSError:
            raise
        except Exception:  # of an exception that cannot be sent
            pipe.send(EnvCrashedError(f"an actor raised {describe_error(answer)}"))


class _Stoppable(Actor):
    """An actor that counts its steps in shared memory, and stops there."""

    def __init__(self, setup: Setup, vectors: np.ndarray, moves: Any, i: int) -> None:
        super().__init__(setup, vectors.__getitem__, self._move)
        self._moves, self._i = moves, i

    def _move(self) -> None:
        self._moves[self._i] += 1
        self.stopped = bool(self._moves[-1])


def _end_with_parent() -> None:
    wait_for_end_of_parent()
    os._exit(1)
