"""One trial: agents of several seeds that learn side by side, and their evaluations."""

import contextlib
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.algorithms.base import Algorithm
from npr.errors import ConfigError, ConfigWarning
from npr.tune.spaces import Space


@dataclass(frozen=True)
class Objective:
    """What every trial of a study does. It is sent to the processes.

    algorithm, env    class and environment
    total_timesteps   env steps of each agent
    eval_freq         env steps between evaluations
    eval_episodes     episodes of each
    last              the objective is the mean of so many last evaluations
    seeds             agents per trial, with the seeds 0 to seeds - 1
    fixed             settings of all trials
    space             the others
    """

    algorithm: type[Algorithm]
    env: Any
    total_timesteps: int
    eval_freq: int
    eval_episodes: int
    last: int
    seeds: int
    fixed: dict[str, Any]
    space: Space

    @property
    def steps(self) -> list[int]:
        """Env steps at which agents are evaluated; the last is the end."""
        return [*range(self.eval_freq, self.total_timesteps, self.eval_freq), self.total_timesteps]

    def definition(self) -> dict[str, Any]:
        """What must be the same for all trials of a study, as plain data."""
        env = self.env
        if hasattr(env, "__qualname__"):
            env = f"{env.__module__}.{env.__qualname__}"
        elif not isinstance(env, str):
            env = re.sub(" at 0x[0-9a-f]+", "", repr(env))  # the same in every process
        return {
            "algorithm": self.algorithm.__name__, "env": env,
            "total_timesteps": self.total_timesteps, "eval_freq": self.eval_freq,
            "eval_episodes": self.eval_episodes, "last": self.last, "seeds": self.seeds,
            "settings": self.fixed,
            "space": {name: [kind, *rest] for name, (kind, *rest) in self.space.items()},
        }  # fmt: skip


class Interrupted(Exception):
    """The search is to stop; the trial is not over."""


def evaluations(
    objective: Objective,
    settings: dict[str, Any],
    seeds: Sequence[int],
    watch: Callable[[], object],
    report: Callable[[int, float], object] | None = None,
) -> np.ndarray:
    """Train an agent per seed; the mean return of each evaluation, (seeds, evaluations).

    watch    called after every step; an exception ends all
    report   called with the env steps and the median over the seeds, after the evaluations there

    The agents take turns between evaluations, so that the medians are known while they learn. Each
    learns and is evaluated as it would be alone. Raises ConfigError if one made no update.
    """
    agents: list[Algorithm] = []
    scores = np.empty((len(seeds), len(objective.steps)))
    try:
        for seed in seeds:
            agents.append(objective.algorithm(objective.env, seed=seed, **settings))
            agents[-1]._crash_file = False
        for i, step in enumerate(objective.steps):
            for agent, row in zip(agents, scores):
                _learn_until(agent, step, objective.total_timesteps, watch)
                result = agent.evaluate(episodes=objective.eval_episodes, seed=agent.seed)
                row[i] = result.mean
                watch()
            if report is not None:
                report(step, float(np.median(scores[:, i])))
    finally:
        for agent in agents:
            agent.close()
    for agent in agents:
        if not agent.table and not agent.n_updates:
            raise ConfigError(
                f"{type(agent).__name__} made no update in {objective.total_timesteps:,} steps."
            )
    return scores


def trained(
    objective: Objective,
    settings: dict[str, Any],
    seeds: Sequence[int],
    watch: Callable[[], object],
    report: Callable[[int, float], object] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """`evaluations`, and npr's warnings about the settings."""
    with collected_warnings() as warned:
        scores = evaluations(objective, settings, seeds, watch, report)
    return scores, warned


def _learn_until(agent: Algorithm, step: int, total: int, watch: Callable[[], object]) -> None:
    """Learn until an env step of a run of `total` steps."""

    def goes_on(agent: Algorithm) -> bool:
        watch()
        return agent.num_timesteps < step

    if agent.num_timesteps < step:
        if agent.num_timesteps == 0:
            agent.learn(total, callback=goes_on, progress_bar=False)
            return
        agent.counters.unfinished = True  # goes_on stopped it
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConfigWarning
            )  # those of a run: the first call has them
            agent.learn(callback=goes_on, progress_bar=False)


def final(scores: np.ndarray, last: int) -> np.ndarray:
    """The mean of the last evaluations of each seed, (seeds,)."""
    return np.asarray(scores[:, -last:].mean(1))


class Watch:
    """Called at every step of a trial: stops it on request, and shows that it is alive.

    stopped    whether the search is to stop; asked at every step
    parted     whether the process that started this one has ended; asked once a second
    alive      called once a minute
    """

    SECONDS = 60.0

    def __init__(
        self,
        stopped: Callable[[], bool],
        parted: Callable[[], bool] = lambda: False,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        self.stopped, self.parted, self.alive = stopped, parted, alive
        self._look = self._sign = 0.0

    def __call__(self) -> None:
        if self.stopped():
            raise Interrupted
        now = time.monotonic()
        if now >= self._look:
            self._look = now + 1.0
            if self.parted():
                raise Interrupted
            if now >= self._sign:
                self._sign = now + self.SECONDS
                self.alive()


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Within it, npr's warnings about settings go to the list, once each."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfigWarning)
        try:
            yield texts
        finally:
            ours = [str(one.message) for one in caught if issubclass(one.category, ConfigWarning)]
            texts += dict.fromkeys(ours)
    for one in caught:
        if not issubclass(one.category, ConfigWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
