"""Actors of Ray, on this computer or the nodes of a cluster."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import time
import warnings
from collections import deque
from typing import Any

import numpy as np

from npr.distributed.actor import Actor, Setup, Spec
from npr.distributed.engine import Stop, WorkerLostError
from npr.errors import ConfigError, EnvCrashedError, describe_error
from npr.system import ray_session
from npr.system.blas import blas_threads
from npr.system.ray_session import Home

LOOK_INTERVAL = 0.1  # seconds between two looks at signals
MIN_START_TIMEOUT = 60.0  # seconds that a start may take, whatever the timeout
CLOSE_TIMEOUT = 3.0  # seconds that environments get to close themselves
WAITING = 15.0  # seconds without a CPU for an actor, after which that is said


class RayActors:
    """An Engine of Ray's actors, each in a process of its own on any node.

    Ray reserves a CPU for each of them; one that takes the place of a lost one does without if
    there is none left.
    """

    def __init__(self, n_workers: int, size: int, spec: Spec) -> None:
        self._ray = ray_session.acquire(cpus=n_workers)
        self._open = True
        # "watch": calls that are answered while another one runs
        self._class = self._ray.remote(
            max_restarts=0, scheduling_strategy="SPREAD", concurrency_groups={"watch": 1}
        )(RemoteActor)
        self._home = Home.here()
        self._workers: list[_Worker | None] = [None] * n_workers
        self._published: deque[Any] = deque(maxlen=3)
        self._warned = False

    def start(self, i: int, setup: Setup) -> None:
        before, self._workers[i] = self._workers[i], None
        cpus = setup.threads
        if before is not None:
            before.end()
            if self._ray.available_resources().get("CPU", 0) < cpus:
                cpus = 0
        made = self._class.options(
            num_cpus=cpus, **ray_session.environment(NPR_BACKEND="numpy")
        ).remote()
        self._workers[i] = _Worker(self._ray, made, setup, self._home)

    def publish(self, weights: np.ndarray) -> Any:
        self._published.append(self._ray.put(weights))
        return self._published[-1]

    def send(self, i: int, method: str, *args: Any) -> None:
        self._worker(i).send(method, args)

    def receive(self, i: int, stop: Stop) -> Any:
        worker = self._worker(i)
        began = time.monotonic()

        def look() -> None:
            stop()
            if not (worker.is_there() or self._warned) and time.monotonic() > began + WAITING:
                self._warned = True
                held = sum(ray_session.cpus(self._ray))
                warnings.warn(
                    f"Ray has not started all actors yet: n_workers={len(self._workers)} need a "
                    f"CPU each, and the cluster has {held:g}, which others may use.",
                    RuntimeWarning,
                    stacklevel=2,
                )

        return worker.receive(look)

    def interrupt(self) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.interrupt()

    def close(self) -> None:
        workers = [one for one in self._workers if one is not None]
        self._workers = [None] * len(self._workers)
        for one in workers:
            one.interrupt()
            one.send("close", ())
        if workers:
            last = [one.calls[-1] for one in workers]
            self._ray.wait(last, num_returns=len(last), timeout=CLOSE_TIMEOUT)
        for one in workers:
            one.end()
        if self._open:
            self._open = False
            ray_session.release(self._ray)

    def pids(self) -> list[int]:
        """The numbers of the processes, each on its node."""
        asked = [one._watch("pid") for one in self._workers if one is not None]
        found: list[int] = self._ray.get(asked)
        return found

    def _worker(self, i: int) -> _Worker:
        worker = self._workers[i]
        if worker is None:
            raise WorkerLostError("it was closed")
        return worker


class _Worker:
    """An actor, as the learner knows it.

    calls   references to the answers that were not received, the earliest first
    """

    def __init__(self, ray: Any, made: Any, setup: Setup, home: Home) -> None:
        self.ray, self.made, self.timeout = ray, made, setup.timeout
        self.calls: deque[Any] = deque()
        self.number = 0  # of the last call
        made.settle.remote(home)  # before it imports what the setup holds
        self.beginning: Any = made.begin.remote(setup)
        self._asked: Any = self._watch("progress")  # for its steps
        self._steps = -1  # the last answer
        self._since: float | None = None  # when that has changed; None: it is not there yet

    def _watch(self, method: str, *args: Any) -> Any:
        return getattr(self.made, method).options(concurrency_group="watch").remote(*args)

    def send(self, method: str, args: tuple[Any, ...]) -> None:
        self.number += 1
        self.calls.append(self.made.call.remote(self.number, method, args))

    def interrupt(self) -> None:
        self._watch("interrupt", self.number)

    def receive(self, look: Stop) -> Any:
        if self.beginning is not None:
            timeout = self.timeout
            if timeout is not None:
                timeout = max(timeout, MIN_START_TIMEOUT)
            answer = self._receive(self.beginning, look, timeout)
            self.beginning = None
            if answer is not None:  # why it cannot be made
                return answer
        answer = self._receive(self.calls[0], look, self.timeout)
        self.calls.popleft()
        return answer

    def _receive(self, ref: Any, look: Stop, timeout: float | None) -> Any:
        ray, errors = self.ray, self.ray.exceptions
        if self._since is not None:
            self._since = time.monotonic()
        while not ray.wait([ref], timeout=LOOK_INTERVAL)[0]:
            look()
            if timeout is not None and self.is_there() and self._idle() > timeout:
                self.end()
                raise WorkerLostError(f"it did not step for {timeout:g} s")
        try:
            return ray.get(ref)
        except errors.RayTaskError as failure:
            return _cause(failure, errors.RayError)
        except errors.RayError as lost:
            self.end()
            raise WorkerLostError(_reason(lost)) from None

    def is_there(self) -> bool:
        """Whether its process has begun; asks it for its steps."""
        if self.ray.wait([self._asked], timeout=0)[0]:
            try:
                steps = self.ray.get(self._asked)
            except self.ray.exceptions.RayError:
                return True  # it has ended, as its next answer will say
            if steps != self._steps:
                self._steps, self._since = steps, time.monotonic()
            self._asked = self._watch("progress")
        return self._since is not None

    def _idle(self) -> float:
        """Seconds since it has taken a step, as far as it is known."""
        return time.monotonic() - (self._since or time.monotonic())

    def end(self) -> None:
        """End its process immediately."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.made)


def _cause(failure: Any, of_ray: type[Exception]) -> Exception:
    """The error that an actor has raised."""
    cause = failure.cause
    if isinstance(cause, Exception) and not isinstance(cause, of_ray):
        return cause
    if missing := re.search(r"No module named '([\w.]+)'", str(failure)):
        return ConfigError(
            f"A node of Ray cannot import {missing[1]!r}, which the environment needs: install it "
            "on all nodes."
        )
    return EnvCrashedError(f"an actor raised {describe_error(failure)}")


def _reason(lost: Exception) -> str:
    """What Ray says about the end of an actor, such as "its node has died (node 10.0.0.7)"."""
    text = str(lost)
    why = re.search(r"because (its [^.:\n]+)", text)
    node = re.search(r"^\s*ip: (\S+)", text, re.M)
    reason = why[1] if why else text.partition("\n")[0].rstrip(".") or type(lost).__name__
    return f"{reason} (node {node[1]})" if node else reason


# ---- on a node


class RemoteActor:
    """An actor in a process of Ray."""

    def settle(self, home: Home) -> None:
        """Make the process like one of this computer."""
        ray_session.settle(home)

    def begin(self, setup: Setup) -> None:
        """Make the actor."""
        self._number, self._interrupted = 0, -1
        self._threads = contextlib.ExitStack()  # for the rest of the process
        self._threads.enter_context(blas_threads(setup.threads))
        held = copy.deepcopy(setup.held)  # Ray's arrays cannot be written to
        self._actor = Actor(setup._replace(held=held), ray_session.module().get, self._move)

    moves = 0

    def call(self, number: int, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method of the actor. number: of this call."""
        self._number = number
        return getattr(self._actor, method)(*args)

    def _move(self) -> None:
        self.moves += 1
        self._actor.stopped = self._number <= self._interrupted

    def progress(self) -> int:
        """How many steps it has begun."""
        return self.moves

    def pid(self) -> int:
        """The number of its process."""
        return os.getpid()

    def interrupt(self, number: int) -> None:
        """Let calls up to this number end with the next step."""
        self._interrupted = number
