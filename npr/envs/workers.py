"""Environments in worker processes: one that dies, raises or hangs is named, and none is left.

Gymnasium's AsyncVectorEnv waits for ever for a worker that was killed, and raises a bare
BrokenPipeError or EOFError in the next call. `watch` makes one look after its workers instead;
`open_workers` opens one that is watched from the start.
"""

import contextlib
import os
import signal
import time

from npr.errors import EnvCrashedError
from npr.system.blas import THREAD_VARIABLES, blas_threads

PULSE = 0.5  # seconds between two looks at whether all workers are alive
GRACE = 3.0  # seconds that environments get to close themselves
START = 60.0  # seconds at least that an environment gets to be made


def named(error) -> str:
    """The type of an error and, if it has one, its text."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _until(true, seconds):
    """Wait until it is, or the time is up. A process is asked for its exit code: what else tells of
    its end stays open in processes that the environment has started."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.002)


class WorkerFault(EnvCrashedError):
    """One worker gives no answer, and all have been ended. env: the number of its environment."""

    def __init__(self, env: int, what: str):
        super().__init__(what)
        self.env = env


def watched(base):
    """A subclass of AsyncVectorEnv, or of a subclass: an instance may be made one of its own."""

    class Watched(base):
        """A vector environment that waits for nothing without an end.

        patience    seconds that one call of one environment may take; None: any number
        """

        patience: float | None = None

        def reset_async(self, *args, **kwargs):
            with self._at_the_pipes(reading=False):
                super().reset_async(*args, **kwargs)

        def step_async(self, actions):
            with self._at_the_pipes(reading=False):
                super().step_async(actions)

        def reset_wait(self, timeout=None):
            return self._answers(super().reset_wait, timeout)

        def step_wait(self, timeout=None):
            return self._answers(super().step_wait, timeout)

        def call_wait(self, timeout=None):
            return self._answers(super().call_wait, timeout)

        def settle(self, timeout=None) -> None:
            """Take in the answers to a call that was interrupted, if there was one."""
            if self._state.value != "default":
                getattr(self, f"{self._state.value}_wait")(timeout)

        def _answers(self, read, timeout):
            """What `read` makes of the answers; an interrupt before leaves them to `settle`."""
            self._assert_is_running()
            self._await(self.patience if timeout is None else timeout)
            with self._at_the_pipes(reading=True):
                return read()

        @contextlib.contextmanager
        def _at_the_pipes(self, reading):
            """What breaks off in here leaves the pipes half read or written: the workers end."""
            try:
                yield
            except (OSError, EOFError) as error:  # a worker is gone
                _until(lambda: self._ended() is not None, PULSE)
                fault = self._fault(self._ended())
                raise fault from fault.__cause__ or error
            except BaseException as error:
                if reading or not isinstance(error, Exception):
                    self._end()
                raise

        def _await(self, patience):
            """Return when every pipe can be read, if only to its end."""
            deadline = None if patience is None else time.monotonic() + patience
            for i, pipe in enumerate(self.parent_pipes):
                left = PULSE if patience is None else min(PULSE, patience)
                while not pipe.poll(left):
                    # a pipe may outlive its worker in a process that the environment started
                    ended = self._ended()
                    if ended is not None:
                        raise self._fault(ended)
                    if deadline is not None:
                        left = min(PULSE, deadline - time.monotonic())
                        if left <= 0:
                            self._end()
                            raise WorkerFault(i, f"env {i} did not answer for {patience:g} s")

        def _ended(self):
            """The number of a worker that is no more, or None."""
            codes = [process.exitcode for process in self.processes]
            return next((i for i, code in enumerate(codes) if code is not None), None)

        def _raise_if_errors(self, successes):
            if not all(successes):
                raise self._fault(successes.index(False), told=True)

        def _fault(self, i, told=False):
            """What became of worker i, after the end of all of them; told: it has sent word."""
            process, cause = self.processes[i or 0], None
            _until(lambda: process.exitcode is not None, PULSE)
            pid, code = process.pid, process.exitcode
            if code is None or code >= 0:
                # a cause that cannot be sent never comes, or cannot be put together again
                with contextlib.suppress(Exception):
                    i, _, cause, trace = self.error_queue.get(timeout=PULSE)
                    cause.add_note(f"In the worker of env {i}:\n{trace}")
            self._end()
            if cause is not None:
                what = f"env {i} raised {named(cause)}"
            elif told or code is None:
                what = f"env {i} raised an error that cannot be sent from its process"
            elif code < 0:
                memory = " (often out of memory)" if code == -9 else ""
                what = f"env worker {i} (pid {pid}) died with signal {-code}{memory}"
            else:
                what = f"env worker {i} (pid {pid}) ended with exit code {code}"
            fault = WorkerFault(i, what)
            fault.__cause__ = cause
            return fault

        def close_extras(self, timeout=None, terminate=False):
            """Let the environments close themselves, and end what is left after `timeout` (3 s)."""
            timeout = GRACE if timeout is None else timeout
            if not terminate:
                with contextlib.suppress(EnvCrashedError):
                    self.settle(timeout)
                for pipe in self.parent_pipes:
                    with contextlib.suppress(OSError):
                        pipe.send(("close", None))
                self._all_end(timeout)
            self._end()

        def _all_end(self, seconds):
            _until(lambda: all(process.exitcode is not None for process in self.processes), seconds)

        def _end(self):
            for end in ("terminate", "kill"):
                for process in self.processes:
                    getattr(process, end)()
                self._all_end(PULSE)
            for pipe in self.parent_pipes:
                pipe.close()
            self.error_queue.close()
            self.closed = True

    return Watched


def is_watched(env) -> bool:
    """Whether a vector environment looks after its workers."""
    return hasattr(env, "settle")


def watch(env, patience=None) -> None:
    """Watch the workers of an AsyncVectorEnv from now on."""
    if not is_watched(env):
        env.__class__ = watched(type(env))
    env.patience = patience


class _Seat:
    """Makes an environment; in a worker, deaf to the terminal's Ctrl-C and on one BLAS thread."""

    def __init__(self, make):
        self.make, self.home = make, os.getpid()

    def __call__(self):
        if os.getpid() != self.home:  # Gymnasium makes one at home too, to see its spaces
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            blas_threads(at_most=1).__enter__()
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        return self.make()


def open_workers(make, n: int, patience: float):
    """A watched AsyncVectorEnv of n environments; resets are left to the caller (DISABLED)."""
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode

    class Opened(watched(AsyncVectorEnv)):
        def _check_spaces(self):
            """The first thing that the workers are asked, once they have their environments."""
            with self._at_the_pipes(reading=False):
                for pipe in self.parent_pipes:
                    pipe.send(("reset-noop", None))
            self._answers(lambda: [pipe.recv() for pipe in self.parent_pipes], max(patience, START))
            super()._check_spaces()

    env = Opened([_Seat(make)] * n, autoreset_mode=AutoresetMode.DISABLED)
    env.patience = patience
    return env
