"""The actors of one agent: starts them, calls them and replaces those that are lost."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.distributed.actor import Setup, Spec, acting_part, column_spec, weights_of
from npr.distributed.engine import ActorError, Engine, Stop, WorkerLostError
from npr.distributed.processes import Processes
from npr.errors import EnvCrashedError
from npr.system.blas import threads_for
from npr.training.advice import widest

MAX_FAILURES = 10  # times in a row that an actor may be lost without an answer
_BLOCK_BYTES = 2 << 20  # of the columns of one actor


def wait() -> None:
    """For calls that are not stopped."""


class Actors:
    """The actors of one agent, each with a share of its environments.

    agent       which is built
    source      of the environments; options: further arguments of `open_envs`
    shares      the numbers of each actor's environments
    seeds       of the first resets of all environments
    new_seeds   where the seeds of further ones come from
    ahead       whether actors step while the agent learns, so that each has random numbers of its
                own

    steps       the most steps of a request
    restarts    number of actors that were replaced
    """

    def __init__(
        self,
        agent: Any,
        source: Any,
        options: dict[str, Any],
        shares: Sequence[np.ndarray],
        seeds: Sequence[int],
        new_seeds: np.random.SeedSequence,
        ahead: bool,
    ) -> None:
        self._agent, self._source, self._options = agent, source, options
        self._shares, self._new_seeds, self._ahead = shares, new_seeds, ahead
        self.n = sum(map(len, shares))
        self.spec = column_spec(1, agent.row_size, *agent.actions.columns())
        row = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.spec.values())
        self.steps = max(1, _BLOCK_BYTES // (row * max(map(len, shares))))
        self.restarts = 0
        self._failures = [0] * len(shares)
        # calls whose answers were not received
        self._calls: list[deque[tuple[str, tuple[Any, ...]]]] = [deque() for _ in shares]
        self._settings = self._settings_now()
        self._engine = _new_engine(agent.engine, len(shares), len(weights_of(agent)), self.spec)
        try:
            held = acting_part(agent)
            for i, share in enumerate(shares):
                self._engine.start(i, self._setup(i, held, [seeds[j] for j in share]))
        except BaseException:
            self._engine.close()
            raise

    def _setup(self, i: int, held: dict[str, Any], seeds: list[int]) -> Setup:
        if self._ahead:
            own = np.random.default_rng(self._new_seeds.spawn(1)[0])
            held = {**held, "rng": {**held["rng"], "explore": own}}
        threads = 1 if self._ahead else threads_for(widest(self._agent))
        each = self._agent.env_timeout
        timeout = None if each is None else each * len(seeds)  # which are stepped in turn
        return Setup(
            type(self._agent), held, self._source, self._options, int(self._shares[i][0]), self.n,
            seeds, not self._ahead, self.steps, timeout, threads,
        )  # fmt: skip

    def _settings_now(self) -> dict[str, Any]:
        values = ((name, getattr(self._agent, name)) for name in self._agent.settings)
        return {name: value for name, value in values if not callable(value)}

    def policy(self) -> tuple[Any, dict[str, Any]]:
        """For a request: the weights of the agent, which are published, and the settings that have
        changed since the last one."""
        now = self._settings_now()
        changed = {k: v for k, v in now.items() if v != self._settings.get(k)}
        self._settings = now
        return self._engine.publish(weights_of(self._agent)), changed

    # ---- calls

    def send(self, i: int, method: str, *args: Any) -> None:
        """Call a method of actor i. Does not wait."""
        self._calls[i].append((method, args))
        try:
            self._engine.send(i, method, *args)
        except WorkerLostError as error:
            self._replace(i, error)

    def answer(self, i: int, stop: Stop = wait) -> Any:
        """The answer to the earliest call of actor i; see `Engine.receive`. Raises ActorError."""
        while True:
            try:
                answer = self._engine.receive(i, stop)
            except WorkerLostError as error:
                stop()  # after a signal for all processes
                self._replace(i, error)
            else:
                self._failures[i] = 0
                self._calls[i].popleft()
                if isinstance(answer, Exception):
                    raise ActorError(answer)
                return answer

    def ask(self, method: str, stop: Stop = wait) -> list[Any]:
        """The answers of all actors to a call without arguments."""
        for i in range(len(self._shares)):
            self.send(i, method)
        return [self.answer(i, stop) for i in range(len(self._shares))]

    def positions(self, t: int) -> list[dict[str, np.ndarray]] | None:
        """`Actor.position` of all actors; None if one is lost or does not know."""
        found = []
        for i in range(len(self._shares)):
            try:
                self._engine.send(i, "position", t)
                found.append(self._engine.receive(i, wait))
            except WorkerLostError:
                return None
        return None if None in found else found

    def drop_answers(self) -> None:
        """Let the actors end what they do, and drop their answers."""
        if any(self._calls):
            self._engine.interrupt()
        for i, calls in enumerate(self._calls):
            while calls:
                try:
                    self._engine.receive(i, wait)
                except WorkerLostError:
                    calls.clear()
                else:
                    calls.popleft()

    def close(self) -> None:
        """End all actors."""
        self._engine.close()

    # ---- lost actors

    def _replace(self, i: int, error: WorkerLostError) -> None:
        """Start another actor in the place of one that was lost, with a warning, and repeat the
        calls that it has not answered."""
        self._failures[i] += 1
        n = len(self._shares[i])
        name = f"actor {i} ({n} of {self.n} environments)"
        if self._failures[i] > MAX_FAILURES:
            raise EnvCrashedError(
                f"{name} was lost {MAX_FAILURES + 1} times in a row: {error}. Fix the environment."
            ) from error
        self.restarts += 1
        warnings.warn(
            f"{name} was lost: {error}. Its episodes were dropped, and another one takes its "
            f"place, with new seeds. Restarts so far: {self.restarts}.",
            RuntimeWarning,
            stacklevel=4,
        )
        seeds = [int(one.generate_state(1)[0]) for one in self._new_seeds.spawn(n)]
        self._engine.start(i, self._setup(i, acting_part(self._agent), seeds))
        for number, (method, args) in enumerate(self._calls[i]):
            if method == "collect" and number == 0:
                args = (args[0]._replace(lost=True),)
            try:
                self._engine.send(i, method, *args)
            except WorkerLostError:
                return  # as `receive` will find


def _new_engine(name: str, n_workers: int, size: int, spec: Spec) -> Engine:
    if name == "ray":
        from npr.distributed.ray_actors import RayActors  # which needs the extra

        engine: Engine = RayActors(n_workers, size, spec)
        return engine
    return Processes(n_workers, size, spec)
