"""Trials as tasks of Ray: the study stays with this program."""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from npr.system import ray_session
from npr.system.blas import blas_threads
from npr.system.ray_session import Home
from npr.tune.trials import Objective, trained

RETRIES = 3  # of a trial whose node or process is lost
POLL = 0.1  # seconds between looks at a request to stop


class Trials:
    """Trains agents in tasks of Ray."""

    def __init__(self, ray: Any) -> None:
        self.ray, self.mail, self.home = ray, ray_session.mailbox(ray), Home.here()
        self.remote = ray.remote(max_retries=0, scheduling_strategy="SPREAD")(train_agents)

    @property
    def cpus(self) -> int:
        """CPUs of the cluster."""
        return max(1, int(sum(ray_session.cpus(self.ray))))

    def evaluations(
        self,
        objective: Objective,
        settings: dict[str, Any],
        seeds: Sequence[int],
        watch: Callable[[], object],
        report: Callable[[int, float], object] | None = None,
    ) -> tuple[np.ndarray, list[str]]:
        """The same as `npr.tune.trials.trained`, in a task; `watch` is called all the while.

        If its node is lost, the agents begin again elsewhere.
        """
        errors, reported = self.ray.exceptions, set[int]()

        def once(step: int, median: float) -> None:
            if report is not None and step not in reported:
                reported.add(step)
                report(step, median)

        lost = 0
        while True:
            try:
                return self._evaluations(objective, settings, seeds, watch, once)
            except errors.RayTaskError as failure:
                raise failure.cause from None
            except errors.RayError:
                lost += 1
                if lost > RETRIES:
                    raise

    def _evaluations(
        self, objective: Objective, settings: Any, seeds: Any, watch: Any, report: Any
    ) -> tuple[np.ndarray, list[str]]:
        box, ray = secrets.token_hex(8), self.ray
        options = {"num_cpus": ray_session.cpus_of(settings), "name": "npr trial"}
        options |= ray_session.environment()
        held = ray.put((objective, settings, [*seeds]))
        ref = self.remote.options(**options).remote([held], self.home, self.mail, box)
        mail = self.mail.take.remote(box)
        try:
            while True:
                ready, _ = ray.wait([ref, mail], timeout=POLL)
                watch()
                if mail in ready:
                    for step, median in ray.get(mail):
                        report(step, median)
                        self.mail.put.remote((box, "goes on"), True)
                    mail = self.mail.take.remote(box)
                elif ready:
                    return ray.get(ref)  # type: ignore[no-any-return]
        except BaseException:  # pruned, or interrupted
            ray.cancel(ref, force=True)
            raise


@contextlib.contextmanager
def trials(settings: Mapping[str, Any]) -> Iterator[Trials]:
    """Within it Ray trains trials. settings: of all of them."""
    cpus = ray_session.cpus_of(settings)
    with ray_session.keeping_sigterm(default=True), ray_session.session(cpus) as ray:
        found = Trials(ray)
        try:
            yield found
        finally:
            ray.kill(found.mail)


def train_agents(held: list[Any], home: Home, mail: Any, box: str) -> tuple[np.ndarray, list[str]]:
    """A task: `npr.tune.trials.trained`, whose reports are letters that are answered.

    held   a reference to (objective, settings, seeds); in a list, since what they need is imported
           from where the program does
    """
    ray = ray_session.module()
    ray_session.settle(home)
    objective, settings, seeds = ray.get(held[0])

    def report(step: int, median: float) -> None:
        mail.put.remote(box, (step, median))
        ray.get(mail.take.remote((box, "goes on")))  # else the task is ended

    with blas_threads(1):
        return trained(objective, settings, seeds, lambda: None, report)


def in_threads(jobs: int, work: Callable[[int, Callable[[], bool]], None], poll: Any) -> None:
    """Call work(n, stopped) in threads, and poll() in this one until they have ended.

    An error of a thread, or of poll, stops the others and is raised.
    """
    failures: list[BaseException] = []
    done = threading.Event()

    def one(n: int) -> None:
        try:
            work(n, done.is_set)
        except BaseException as error:
            failures.append(error)
            done.set()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            if poll():
                done.set()
            for thread in threads:
                thread.join(POLL / len(threads))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
