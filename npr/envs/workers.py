"""Environments in worker processes: detects workers that die, raise or hang, and terminates all.

Gymnasium's AsyncVectorEnv waits forever for a worker that was killed, and raises a plain
BrokenPipeError or EOFError in the next call. `watch` replaces the pipes of an AsyncVectorEnv with
pipes that check the processes while they wait. This needs no subclass and no wrapper, so an
environment made by the user can be watched too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, cast

from npr.envs.gymnasium_internals import AsyncInternals, clear_pending_call, is_call_pending
from npr.errors import ConfigError, EnvCrashedError, describe_error
from npr.system.blas import THREAD_VARIABLES, blas_threads
from npr.system.processes import how_it_ended

if TYPE_CHECKING:
    import gymnasium

POLL_INTERVAL = 0.5  # seconds between two checks that all workers are alive
CLOSE_TIMEOUT = 3.0  # seconds that environments get to close themselves
MIN_START_TIMEOUT = 60.0  # seconds that making an environment may take, whatever the timeout


class WorkerError(EnvCrashedError):
    """A worker did not answer, and all were terminated. env: the index of its environment."""

    def __init__(self, env: int, message: str) -> None:
        super().__init__(message)
        self.env = env


class WorkerPool:
    """The worker processes of an AsyncVectorEnv.

    timeout    seconds that one call may take; None: no limit
    """

    def __init__(self, env: AsyncInternals, timeout: float | None = None) -> None:
        self.timeout = timeout
        self.processes: Sequence[BaseProcess] = env.processes
        self.error_queue = env.error_queue
        # a weak reference: env refers to the pool, and a cycle would delay its destruction
        self._env = weakref.ref(env)
        pending = is_call_pending(env)
        self.pipes = [_WatchedPipe(self, i, p, pending) for i, p in enumerate(env.parent_pipes)]
        env.parent_pipes[:] = cast("list[Connection]", self.pipes)
        self.ready = False  # whether all pending answers can be read

    @property
    def closed(self) -> bool:
        env = self._env()
        return env is None or env.closed

    def wait_for_answers(self, timeout: float | None = None) -> None:
        """Wait until all pending answers can be read. None is read before, so that an interrupt
        leaves them complete."""
        timeout = self.timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        for pipe in self.pipes:
            while pipe.pending and not pipe.poll(_interval_until(deadline)):
                dead = self.dead_worker()
                if dead is not None:
                    raise self.failure(dead)
                if deadline is not None and time.monotonic() >= deadline:
                    self.terminate()
                    raise WorkerError(pipe.i, f"env {pipe.i} did not answer for {timeout:g} s")
        self.ready = True

    def drain(self, timeout: float | None = None) -> None:
        """Receive and drop the answers to a call that was interrupted, if there was one."""
        self.wait_for_answers(timeout)
        for pipe in self.pipes:
            if pipe.pending:
                pipe.recv()
        env = self._env()
        if env is not None:
            clear_pending_call(env)

    def close(self) -> None:
        """Ask the environments to close, and terminate the rest after CLOSE_TIMEOUT."""
        if not self.closed:
            with contextlib.suppress(EnvCrashedError):
                self.drain(CLOSE_TIMEOUT)
        if not self.closed:  # no worker has failed
            for pipe in self.pipes:
                pipe.send_close()
            self._wait_for_exit(CLOSE_TIMEOUT)
            self.terminate()

    def terminate(self) -> None:
        """Terminate all workers immediately; the environment is closed then."""
        for end in ("terminate", "kill"):
            for process in self.processes:
                getattr(process, end)()
            self._wait_for_exit(POLL_INTERVAL)
        for pipe in self.pipes:
            pipe.close()
        self.error_queue.close()
        env = self._env()
        if env is not None:
            env.closed = True

    def dead_worker(self) -> int | None:
        """The index of a worker that has ended, or None.

        This checks exit codes, not pipes, which stay open in processes that the environment has
        started.
        """
        codes = [process.exitcode for process in self.processes]
        return next((i for i, code in enumerate(codes) if code is not None), None)

    def failure(self, i: int, reported: bool = False) -> WorkerError:
        """Terminate all workers; returns the error that describes what happened to worker i.

        reported    whether the worker reported that its environment raised
        """
        process, cause = self.processes[i], None
        _wait_until(lambda: process.exitcode is not None, POLL_INTERVAL)
        pid, code = process.pid, process.exitcode
        if code is None or code >= 0:
            # fails for an exception that cannot be pickled or unpickled
            with contextlib.suppress(Exception):
                i, _, cause, trace = self.error_queue.get(timeout=POLL_INTERVAL)
                cause.add_note(f"In the worker of env {i}:\n{trace}")
        self.terminate()
        if cause is not None:
            message = f"env {i} raised {describe_error(cause)}"
        elif reported or code is None:
            message = f"env {i} raised an error that cannot be sent from its process"
        else:
            advice = _spawn_advice() if code >= 0 else ""
            message = f"env worker {i} (pid {pid}) {how_it_ended(code)}{advice}"
        error = WorkerError(i, message)
        error.__cause__ = cause
        return error

    def _wait_for_exit(self, seconds: float) -> None:
        _wait_until(lambda: all(p.exitcode is not None for p in self.processes), seconds)


class _WatchedPipe:
    """The pipe to worker i, for AsyncVectorEnv: raises WorkerError instead of waiting forever.

    pending    whether an answer is expected
    """

    def __init__(self, pool: WorkerPool, i: int, pipe: Connection, pending: bool) -> None:
        self.pool, self.i, self.pipe, self.pending = pool, i, pipe, pending

    def send(self, message: object) -> None:
        try:
            self.pipe.send(message)
            self.pending, self.pool.ready = True, False
        except OSError as error:
            failure = self.pool.failure(self.i)
            raise failure from failure.__cause__ or error
        except BaseException as error:
            if not isinstance(error, Exception):  # an interrupt may leave half a message
                self.pool.terminate()
            raise

    def recv(self) -> Any:
        """The worker's (answer, success), once all workers have answered."""
        if not self.pending:  # it would wait forever
            self.pool.terminate()
            raise WorkerError(self.i, f"env {self.i}: its answer was received by another call")
        if not self.pool.ready:
            self.pool.wait_for_answers()
        try:
            message = self.pipe.recv()
            self.pending = False
        except (OSError, EOFError) as error:
            failure = self.pool.failure(self.i)
            raise failure from failure.__cause__ or error
        except BaseException:  # half a message may have been read
            self.pool.terminate()
            raise
        if not message[1]:
            raise self.pool.failure(self.i, reported=True)
        return message

    def poll(self, timeout: float | None = 0.0) -> bool:
        try:
            return self.pipe.poll(timeout)
        except BrokenPipeError:  # on Windows, where POSIX says that the end can be read
            return True

    def send_close(self) -> None:
        """Ask the worker to close its environment and exit, if it is alive."""
        with contextlib.suppress(OSError):
            self.pipe.send(("close", None))

    def close(self) -> None:
        self.pipe.close()

    @property
    def closed(self) -> bool:
        return self.pipe.closed


def _interval_until(deadline: float | None) -> float:
    """Seconds until the next check of the processes, or until the deadline if that is earlier."""
    if deadline is None:
        return POLL_INTERVAL
    return min(POLL_INTERVAL, max(0.0, deadline - time.monotonic()))


def _spawn_advice() -> str:
    if multiprocessing.get_start_method() == "fork":
        return ""
    return (
        "; a script must start learning under if __name__ == '__main__':, since each worker runs it"
    )


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)


def pool_of(env: object) -> WorkerPool | None:
    """The WorkerPool that watches a vector environment, if any."""
    pipes = getattr(env, "parent_pipes", None)
    return pipes[0].pool if pipes and isinstance(pipes[0], _WatchedPipe) else None


def watch(env: gymnasium.vector.AsyncVectorEnv[Any, Any], timeout: float | None = None) -> None:
    """Watch the workers of an AsyncVectorEnv from now on; timeout as for `WorkerPool`."""
    pool = pool_of(env)
    if pool is None:
        WorkerPool(cast(AsyncInternals, env), timeout)
    else:
        pool.timeout = timeout


class _WorkerEnvFactory:
    """Makes an environment; in a worker it also ignores SIGINT and limits BLAS to one thread."""

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]]) -> None:
        self.make, self.parent_pid = make, os.getpid()

    def __call__(self) -> gymnasium.Env[Any, Any]:
        if os.getpid() != self.parent_pid:  # Gymnasium calls it in the parent for the spaces
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            blas_threads(at_most=1).__enter__()
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        return self.make()


def open_workers(
    make: Callable[[], gymnasium.Env[Any, Any]], n: int, timeout: float | None
) -> gymnasium.vector.AsyncVectorEnv[Any, Any]:
    """An AsyncVectorEnv of n environments, watched from the start; the caller resets them.

    timeout   as for `WorkerPool`
    """
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode

    if multiprocessing.current_process().daemon:
        setting = "vectorization='async'" if timeout is None else f"env_timeout={timeout:g}"
        raise ConfigError(
            f"{setting} puts environments into processes, but this is a daemonic "
            "process (of a multiprocessing.Pool, for example), which may not start others. Leave "
            f"{setting.partition('=')[0]} out, or use concurrent.futures.ProcessPoolExecutor."
        )

    class WatchedAsyncVectorEnv(AsyncVectorEnv):
        def _check_spaces(self) -> None:
            """The first call to the workers, which answer when their environments are made."""
            start = None if timeout is None else max(timeout, MIN_START_TIMEOUT)
            self.pool = WorkerPool(cast(AsyncInternals, self), start)
            try:
                super()._check_spaces()  # type: ignore[no-untyped-call]
            except BaseException:
                self.pool.terminate()
                raise
            self.pool.timeout = timeout

        def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
            if terminate:
                self.pool.terminate()
            else:
                self.pool.close()

    factories = [_WorkerEnvFactory(make)] * n
    return WatchedAsyncVectorEnv(factories, autoreset_mode=AutoresetMode.DISABLED)
