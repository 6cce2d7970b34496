"""What a learner needs of the engine that runs its actors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from npr.distributed.actor import Columns, Setup

Stop = Callable[[], None]
LOOK_INTERVAL = 0.1  # seconds between two looks at signals and at workers that may hang


class WorkerLostError(Exception):
    """A worker does not exist any more, or was ended because it did not answer. The message says
    what happened, e.g. "its process (pid 7) died with signal 9"."""


class ActorError(Exception):
    """A call of an actor raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Engine(Protocol):
    """Runs actors, numbered from 0. A restarted one has the number of the lost one.

    The columns of an answer to `collect` are valid until the next `collect` is sent to this actor.
    """

    def start(self, i: int, setup: Setup) -> None:
        """Start actor i, or another one in its place. Does not wait."""

    def publish(self, weights: np.ndarray) -> Any:
        """Make weights, one flat vector, available to all actors, and return what stands for them
        in a request. They stay available until two others have been published."""

    def send(self, i: int, method: str, *args: Any) -> None:
        """Call a method of actor i. Does not wait. Raises WorkerLostError."""

    def receive(self, i: int, stop: Stop) -> Any:
        """The answer to the earliest call of actor i that was not received; the exception, if the
        call raised one.

        stop() is called while this waits, and may raise; then the answer can still be received.
        Raises WorkerLostError.
        """

    def interrupt(self) -> None:
        """Let `collect` end as soon as possible in all actors, where the engine can."""

    def close(self) -> None:
        """End all actors. May be called twice."""


__all__ = ["ActorError", "Columns", "Engine", "Setup", "Stop", "WorkerLostError"]
