"""Several agents with different seeds that learn together, in one process on one core.

npr.ensemble(npr.PPO, "CartPole-v1", seeds=range(16)).learn(100_000)

Each agent is an ordinary one, with its own environments, and ends with the same bits as if it had
learned alone. What Python costs per step is paid once for all of them: their actions are chosen by
one native call, and so are their updates computed. Imports the layers below.
"""

import contextlib
import inspect
import os
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from npr.algorithms.base import Algorithm
from npr.backend import ON_HOST
from npr.ensemble.together import Together, is_own
from npr.envs.env_list import EnvList
from npr.envs.make import number_of_envs
from npr.errors import ConfigError, EnvCrashedError, NprError, NumericsError
from npr.plot.statistics import bootstrap
from npr.settings.setting import checked_seed, whole
from npr.system import streams
from npr.system.blas import blas_threads, keep_freed_memory, threads_for
from npr.training import saving
from npr.training.advice import warn_of_settings, widest
from npr.training.evaluation import EPISODE_LIMIT, Evaluation
from npr.training.interrupts import Interrupts, stopped_by
from npr.training.progress import progress_of
from npr.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npr.envs.make import EnvSource

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Scores:
    """Evaluations of the agents of an ensemble."""

    seeds: tuple[int | None, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def means(self) -> np.ndarray:
        """(agents,) the mean return of each."""
        return np.array([one.mean for one in self.evaluations])

    @property
    def mean(self) -> float:
        """The mean of these means."""
        return float(self.means.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% bootstrap interval of the mean, over the agents."""
        low, high = bootstrap(self.means)
        return float(low), float(high)

    def __repr__(self) -> str:
        low, high = self.interval
        each = ", ".join(f"{mean:.1f}" for mean in self.means)
        return f"Scores({self.mean:.1f}, 95% interval {low:.1f} to {high:.1f}; {each})"


class Ensemble(Sequence[Any]):
    """Agents of one class and with the same settings that learn together, one per seed.

    agents   at the same step, with environments of their own

    It is a sequence of these agents: `ensemble[3].save("agent.npz")`. What is set on one of them
    counts for it alone, but settings must stay the same in all.

    An agent that fails (its environment raises, or training has diverged) is saved, and the others
    go on without it, with a RuntimeWarning: `errors` has it by its seed. `learn` raises its error
    if it is the last one.

    Raises ConfigError if the agents cannot learn together.
    """

    def __init__(self, agents: Iterable[Algorithm]) -> None:
        self.agents = list(agents)
        self.errors: dict[int | None, NprError] = {}
        _check_kind(self.agents)
        _check_alike(self.agents)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} x {self.agents[0]!r}, seeds {self.seeds})"

    def __len__(self) -> int:
        return len(self.agents)

    @overload
    def __getitem__(self, i: int) -> Algorithm: ...
    @overload
    def __getitem__(self, i: slice) -> list[Algorithm]: ...
    def __getitem__(self, i: Any) -> Any:
        return self.agents[i]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds of the agents."""
        return tuple(agent.seed for agent in self.agents)

    @property
    def learning(self) -> list[Algorithm]:
        """The agents that have not failed."""
        return [agent for agent in self.agents if agent.seed not in self.errors]

    # ---- learning

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Ensemble], Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: Path_ | None = None,
        save_freq: int | None = None,
        log: str | Iterable[str] | None = None,
        log_dir: Path_ | None = None,
    ) -> "Ensemble":
        """Let every agent learn for a number of steps of its environments; returns the ensemble.

        The arguments are those of `Algorithm.learn`, but for these:

        callback   a function that is called with the ensemble after every step of all agents;
                   returning False stops
        save_path  a folder, with a file seedN.npz per agent
        log        names of outputs, which write to a folder seedN of log_dir per agent

        Ctrl-C and SIGTERM stop after the current update: all agents are saved, to save_path or new
        files in the working directory, and the program ends as after `Algorithm.learn`.
        """
        agents = self.learning
        _check_alike(agents)
        if callback is not None and not callable(callback):
            raise ConfigError(
                "callback must be a function of the ensemble, for all of its agents, got "
                f"{callback!r}."
            )
        files: list[Path] | list[None] = [None] * len(agents)
        if save_path is not None:
            files = self._files(save_path, agents)
        given = [] if log is None else [log] if isinstance(log, str) else [*log]
        if not all(isinstance(name, str) for name in given) or (log and log_dir is None):
            raise ConfigError(
                "The log of an ensemble takes names of outputs, each of which is opened once per "
                f"seed in a folder of log_dir: log=['csv'], log_dir='runs'; got log={log!r}, "
                f"log_dir={log_dir!r}."
            )
        for agent in agents[1:]:
            agent._described = True  # as the first one
        runs: list[Run] = []
        try:
            for agent, file in zip(agents, files):
                folder = None if log_dir is None else Path(log_dir) / _name(agent)
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
                runs.append(agent._begin(
                    total_timesteps, None, False, log_interval, reset_num_timesteps, file,
                    save_freq, log, folder,
                ))  # fmt: skip
            _check_envs(agents)  # those of loaded agents are open now
            self._execute(runs, callback, progress_bar)
        finally:
            for run in runs:
                run.agent._end(run)
        return self

    def _execute(
        self, runs: list[Run], callback: Callable[["Ensemble"], Any] | None, shown: bool | None
    ) -> None:
        all_runs, first = [*runs], runs[0].agent
        first_run = runs[0]
        first_run._warn_if_idle()
        warn_of_settings(first, stacklevel=3)
        interrupts = Interrupts()
        for run in runs:
            run.interrupts = interrupts
        title = f"{len(runs)} x {type(first).__name__} {first.env_name}"
        shown = bool(first.verbose) if shown is None else shown
        progress = progress_of(title, first_run.counters, first_run.logger, shown)
        keep_freed_memory()

        def after() -> bool:
            progress.update()
            if callback is not None:
                if callback(self) is False:
                    return False
                together.agents.refresh_attributes()
                for run in together.runs:
                    if run.envs.used_by_others():
                        run.envs.claim()
            if first_run.save_freq and together.every(first_run.save_freq):
                progress.clear()
                for run in together.runs:
                    saving.save_or_warn(run.agent, run.save_path)
            counters = together.runs[0].counters
            if interrupts.requested and counters.num_timesteps < counters.end:
                raise _Stopped
            return True

        together = Together(runs, after, self._lose)
        with contextlib.ExitStack() as stack:
            stack.callback(progress.close)
            for run in all_runs:
                run.envs.claim()
                stack.callback(run.envs.leave)
            for context in (interrupts, blas_threads(threads_for(widest(first)))):
                stack.enter_context(context)
            for run in all_runs:
                stack.enter_context(run.guard)
            self._train(together, interrupts)
        if interrupts.requested:
            self._stop(together.runs, interrupts.requested)

    def _train(self, together: Together, interrupts: Interrupts) -> None:
        train: Any = type(together.runs[0].agent)._train
        try:
            train(together.agents, together)
            for run in [*together.runs]:
                try:
                    run.check_policy()
                except NumericsError as error:
                    together.lose(run, error)
            together.drop_lost()
            for run in together.runs:
                run.finish()
        except BaseException as error:  # the callback may raise anything
            stopped = isinstance(error, (_Stopped, KeyboardInterrupt, EnvCrashedError))
            if stopped and interrupts.requested and not interrupts.repeated:
                return
            for run in together.runs:
                if run.save_path is not None and not interrupts.repeated:
                    error.add_note(saving.rescue(run.agent, "crash", run.save_path))
            raise

    def _lose(self, run: Run, error: NprError) -> None:
        """An agent has failed."""
        agent = run.agent
        try:
            run.guard.run(_raise, error)  # which names the optimizers
        except NprError as explained:
            error = explained
        run.guard.__exit__(None, None, None)
        self.errors[agent.seed] = error
        saved = saving.rescue(agent, "crash", run.save_path)
        error.add_note(saved)
        warnings.warn(
            f"The agent with seed {agent.seed} has failed, and the others go on without it: "
            f"{error} {saved}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _stop(self, runs: list[Run], signal: int) -> None:
        """Save the agents and end the program as the signal requested."""
        for run in runs:
            counters = run.counters
            counters.unfinished = counters.num_timesteps < counters.end
            message = saving.rescue(run.agent, "interrupted", run.save_path)
            streams.write(sys.stderr, f"npr: {message}\n")
            if run.envs.owned:
                run.agent.close()
        raise stopped_by(signal)

    # ---- results

    def evaluate(
        self,
        env: "EnvSource | None" = None,
        episodes: int = 100,
        seed: int | None = None,
        deterministic: bool = True,
        episode_limit: int = EPISODE_LIMIT,
    ) -> Scores:
        """Evaluate every agent that has not failed, with the arguments of `Algorithm.evaluate`.

        Returns Scores: .means of each agent, their .mean and its .interval, .evaluations
        """
        agents = self.learning
        played = [
            agent.evaluate(env, episodes, seed, deterministic, episode_limit) for agent in agents
        ]
        return Scores(tuple(agent.seed for agent in agents), tuple(played))

    def plot(self, path: Path_ | None = None, **options: Any) -> "Figure":
        """Draw the mean learning curve of the agents and its interval, see `npr.plot.curves`."""
        from npr.plot import curves

        return curves(self.learning, path=path, **options)

    def save(self, folder: Path_) -> None:
        """Save every agent to a file seedN.npz of its own, which `npr.load` takes, in a folder that
        is made if it does not exist."""
        for agent, file in zip(self.agents, self._files(folder, self.agents)):
            agent.save(file)

    def close(self) -> None:
        """Close the environments of all agents."""
        for agent in self.agents:
            agent.close()

    def _files(self, folder: Path_, agents: Sequence[Algorithm]) -> list[Path]:
        """The files of agents in a folder, which is made."""
        path = Path(os.fsdecode(folder))
        if path.exists() and not path.is_dir():
            raise ConfigError(
                f"An ensemble is saved to a folder, and {os.fspath(path)!r} is a file."
            )
        path.mkdir(parents=True, exist_ok=True)
        return [path / f"{_name(agent)}.npz" for agent in agents]


class _Stopped(Exception):
    """A signal requested a stop, and every agent is in a state that can be saved."""


def _raise(error: Exception) -> None:
    raise error


def _name(agent: Algorithm) -> str:
    return f"seed{agent.seed}"


def ensemble(
    algorithm: type[Algorithm], env: "EnvSource", seeds: int | Iterable[int], **settings: Any
) -> Ensemble:
    """Agents with different seeds that learn together; each as if it learned alone.

    algorithm  their class, e.g. npr.PPO
    env        an id or a function that makes an Env: every agent has environments of its own
    seeds      of the agents; or a number of them, which are 0, 1, ...
    settings   of all agents, as for the class

    Raises ConfigError for algorithms whose agents cannot do the same steps: those that learn from
    complete episodes (REINFORCE) and tables (QLearning, Sarsa).
    """
    if not (isinstance(algorithm, type) and issubclass(algorithm, Algorithm)):
        raise ConfigError(f"npr.ensemble takes a class of agents, e.g. npr.PPO, got {algorithm!r}.")
    _check_class(algorithm)
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        seeds = range(whole("seeds", seeds))
    checked = [checked_seed("ensemble", seed) for seed in seeds]
    if not checked or None in checked or len({*checked}) < len(checked):
        raise ConfigError(f"seeds must be different whole numbers, one per agent, got {checked}.")
    if "seed" in settings:
        raise ConfigError("An ensemble has one seed per agent: seeds; leave seed out.")
    if number_of_envs(env) is not None:
        raise ConfigError(
            "The agents of an ensemble need environments of their own: pass an id or a function "
            f"that makes one, not {env!r}."
        )
    agents: list[Algorithm] = []
    try:
        for seed in checked:
            agents.append(algorithm(env, seed=seed, **settings))
        return Ensemble(agents)
    except BaseException:
        for agent in agents:
            agent.close()
        raise


def load(folder: Path_, env: "EnvSource | None" = None, **settings: Any) -> Ensemble:
    """The ensemble of the files seedN.npz in a folder, with the arguments of `npr.load`."""
    from npr.loading import load as load_agent

    found: dict[int, Path] = {}
    for path in Path(os.fsdecode(folder)).glob("seed*.npz"):
        if (match := re.fullmatch(r"seed(\d+)\.npz", path.name)) is not None:
            found[int(match[1])] = path
    if not found:
        raise ConfigError(f"There is no file seedN.npz of an ensemble in {os.fsdecode(folder)!r}.")
    return Ensemble(load_agent(found[seed], env, **settings) for seed in sorted(found))


# ---- what can learn together


def _check_class(kind: type[Algorithm]) -> None:
    name = kind.__name__
    if not ON_HOST:
        raise ConfigError("An ensemble learns on the NumPy backend only; unset NPR_BACKEND.")
    why = None
    if kind.table:
        why = "it learns a table, without a network whose updates could be computed together"
    elif "n_episodes" in kind.settings:
        why = "it learns from complete episodes, which end at different steps for different seeds"
    elif not is_own(kind._train):
        why = "its _train is not one of npr's, which are known to do the same steps for all seeds"
    if why is not None:
        raise ConfigError(
            f"{name} cannot learn in an ensemble: {why}. Train one agent after the other: "
            f"[npr.{name}(env, seed=seed).learn() for seed in seeds], or in parallel processes by "
            "npr train --seed 0 1 2."
        )


def _check_kind(agents: Sequence[Algorithm]) -> None:
    kind = type(agents[0]) if agents else None
    if kind is None or not issubclass(kind, Algorithm) or {*map(type, agents)} != {kind}:
        raise ConfigError("An ensemble needs agents of one class, at least one.")
    _check_class(kind)
    if len({agent.seed for agent in agents}) < len(agents):
        raise ConfigError("The agents of an ensemble need different seeds.")
    first = agents[0]
    for name, usual in (("nan_obs", "raise"), ("on_env_error", "raise"), ("env_timeout", None)):
        if getattr(first, name) != usual:
            raise ConfigError(
                f"An ensemble needs {name}={usual!r}: otherwise its agents would not stay at the "
                "same step."
            )


def _check_alike(agents: Sequence[Algorithm]) -> None:
    """Raise ConfigError unless the agents can do the same steps."""
    if not agents:
        raise ConfigError("All agents of the ensemble have failed; see its errors.")
    first = agents[0]
    for other in agents[1:]:
        for name in first.settings:
            if name != "verbose" and getattr(other, name) != getattr(first, name):
                raise ConfigError(
                    f"The agents of an ensemble need the same settings, but {name} is "
                    f"{getattr(first, name)!r} for seed {first.seed} and {getattr(other, name)!r} "
                    f"for seed {other.seed}."
                )
        spaces = [(one.observations.spec, one.actions.spec) for one in (first, other)]
        if spaces[0] != spaces[1]:
            raise ConfigError("The agents of an ensemble need the same spaces.")
        for name in ("num_timesteps", "end"):
            if getattr(other, name) != getattr(first, name):
                raise ConfigError(
                    f"The agents of an ensemble must be at the same step, but {name} is "
                    f"{getattr(first, name):,} for seed {first.seed} and "
                    f"{getattr(other, name):,} for seed {other.seed}."
                )
        if len(other.steps) != len(first.steps):
            raise ConfigError("The agents of an ensemble must be at the same step of a rollout.")
    _check_envs(agents)


def _check_envs(agents: Sequence[Algorithm]) -> None:
    """Raise ConfigError unless the environments, as far as they are open, are lists of single
    ones."""
    for agent in agents:
        if agent.envs is not None and not isinstance(agent.envs, EnvList):
            given = agent.n_workers, agent.vectorization
            found = {"n_workers": given[0]} if given[0] else {"vectorization": given[1]}
            own = "".join(f"; leave out {k}={v!r}" for k, v in found.items() if v is not None)
            raise ConfigError(
                "An ensemble steps environments one after the other in this process" + own + "."
            )


class Module(types.ModuleType):
    """A module that can be called: npr.ensemble(npr.PPO, env, seeds=range(16))."""

    __call__ = staticmethod(ensemble)


sys.modules[__name__].__class__ = Module
module: Module = sys.modules[__name__]  # type: ignore[assignment]
__signature__ = inspect.signature(ensemble)  # of the module
