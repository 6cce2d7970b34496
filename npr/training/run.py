"""One call of learn(): the loop over the environments, as generators that an algorithm iterates
over, with budget, progress, callback, signals and saving.

The collected steps are part of the agent, not of a generator, so that a run can be interrupted by
an exception at any step, saved and continued. For the same reason `_train` can be entered again for
every step, which is how a run pauses after each of them.
"""

import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from npr.autodiff.anomaly import first_bad
from npr.backend import is_finite, to_host
from npr.buffers import Rollout
from npr.envs.batched import Episode
from npr.envs.contract import all_finite
from npr.errors import (
    ConfigError,
    ConfigWarning,
    EnvCrashedError,
    NprError,
    NumericsError,
    describe_error,
)
from npr.files.parts import is_array, parts
from npr.loggers import Outputs
from npr.settings import EpsilonGreedy, Replay, Schedule
from npr.system import memory, streams
from npr.system.blas import blas_threads, keep_freed_memory, threads_for
from npr.training import saving
from npr.training.acting import Acting
from npr.training.advice import warn_of_settings, widest
from npr.training.counters import Counters
from npr.training.interrupts import Interrupts, stopped_by
from npr.training.logger import Logger
from npr.training.nonfinite import NonFiniteGuard
from npr.training.progress import progress_of

DEFAULT_BUDGET = 100_000  # env steps of learn() without a preset
ROWS = 100  # of a log whose interval is not given


class Transition(NamedTuple):
    """One transition of each environment; arrays (n, ...) on the host."""

    s: np.ndarray
    a: np.ndarray
    r: np.ndarray
    s2: np.ndarray  # the true next observation, also where the episode ended
    terminated: np.ndarray
    episode: np.ndarray  # numbers of the episodes


class Step(NamedTuple):
    """One step of all n environments, after the updates that followed it.

    num_timesteps      env steps so far; n_updates: updates so far
    observations       (n, size) network inputs that were acted on, or (n,) indices for a table
    actions            (n, ...) of the agent: indices, or numbers from -1 to 1
    rewards            (n,)
    next_observations  as observations; the true ones, also where an episode ended
    terminated         (n,); truncated: (n,)
    valid              (n,) False where the step only reset an environment
    episodes           (return, length, success) of those that ended in this step
    metrics            what the last update of this step returned; empty if there was none. Arrays
                       are valid until the next step
    """

    num_timesteps: int
    n_updates: int
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    episodes: list[Episode]
    metrics: Mapping[str, Any]


def _rows(columns: tuple[np.ndarray, ...]) -> Iterator[tuple[Any, ...]]:
    """The rows of columns (n,), as Python numbers."""
    return zip(*map(np.ndarray.tolist, columns))


class Stopped(Exception):
    """A signal requested a stop, and the agent is in a state that can be saved."""


class Run:
    """One call of learn(). It updates the agent, which keeps no reference to it.

    agent     an Algorithm: its `_train(run)` iterates over one of the generators below
    callback  an npr.callbacks.Callback, or None
    outputs   where rows of the log are written; open
    others    the arguments of `Algorithm.learn`
    """

    def __init__(
        self,
        agent: Any,
        callback: Any,
        progress_bar: bool | None,
        log_interval: int | None,
        save_path: Any,
        save_freq: int | None,
        outputs: Outputs,
    ) -> None:
        self.agent = agent
        self.counters: Counters = agent.counters.clock
        self.logger: Logger = agent.logger
        self.envs = self.environments()
        if self.envs.masks is not None:
            self.envs.masks.hold([vars(agent)[name] for name in agent.masked_tables])
        self.callback, self.save_path = callback, save_path
        self.log_interval, self.save_freq = int(log_interval or 0), int(save_freq or 0)  # 0: none
        self.outputs = self.logger.outputs = outputs
        self.start, self.began = self.counters.num_timesteps, time.perf_counter()
        kinds = (Schedule, Schedule | None)
        self.schedules = [n for n, one in agent.settings.items() if one.type in kinds]
        self.by_rollout = False  # whether the algorithm learns from rollouts
        self.iterated = False  # whether the last step completed a rollout that was learned from
        self.collecting = False  # whether the callback knows that steps are collected
        self.whole_episodes = False  # whether updates need complete ones
        self.learned = False  # whether a rollout was complete
        self.last_steps = 0  # env steps of the last step of all environments
        self.metrics: Mapping[str, Any] = {}  # of the last update of a step
        self.acting: Acting | None = None
        self.choose: Callable[[np.ndarray], np.ndarray]  # of the algorithm, once it has begun
        self._observed: bool = self.envs.observed
        self._pauses = self._stopped = False  # after each step; by the callback
        self._paused_at: Step | None = None
        # the steps that follow with the same policy, and the episodes that it waits for, for actors
        self.wanted: Callable[[], tuple[int, np.ndarray | None]] = lambda: (sys.maxsize, None)
        self.interrupts = Interrupts()
        self.guard = NonFiniteGuard(agent)
        shown = progress_bar if progress_bar is not None else bool(agent.verbose)
        title = f"{type(agent).__name__} {agent.env_name}"
        self.progress = progress_of(title, self.counters, self.logger, shown)
        self.logger.clear_line = self.progress.clear

    def environments(self) -> Any:
        """Those that it steps."""
        return self.agent.envs

    def execute(self) -> None:
        """Run the algorithm until the budget is used, the callback or a signal stops it."""
        for _ in self._execute():
            pass

    def steps(self) -> Iterator[Step]:
        """`execute` with a pause after every step; to close the iterator ends the run there."""
        self._pauses = True
        yield from self._execute()

    def _execute(self) -> Iterator[Step]:
        self._warn_if_idle()
        warn_of_settings(self.agent, stacklevel=4)
        keep_freed_memory()
        with self.interrupts, self.guard, blas_threads(threads_for(widest(self.agent))):
            self.envs.claim()
            try:
                yield from self._train()
            finally:
                self.envs.leave()
                self.progress.close()
        if self.interrupts.requested:
            self._stop(self.interrupts.requested)

    def _train(self) -> Iterator[Step]:
        """Run the algorithm, and save the agent at the end or if it fails."""
        try:
            if self.callback is not None:
                self.callback.on_training_start({"self": self.agent}, {})
            with memory.explain_full_device(vars(self.agent)):
                self.guard.run(self.agent._train, self)
                while self._paused_at is not None:
                    step, self._paused_at = self._paused_at, None
                    try:
                        yield step
                    except GeneratorExit:
                        break
                    if self._t < self.counters.end and not self._stopped:
                        self.guard.run(self.agent._train, self)
                self.check_policy()
            self.finish()
        except BaseException as error:  # the callback may raise anything
            # Ctrl-C on a terminal reaches worker processes too, and then the step fails
            stopped = isinstance(error, (Stopped, KeyboardInterrupt, EnvCrashedError))
            own = self.agent._crash_file
            crash_file = self.save_path if own is None else own
            if stopped and self.interrupts.requested and not self.interrupts.repeated:
                if not isinstance(error, Stopped):  # in the middle of a step
                    self.save_path = crash_file
                self._end_callback_of_stopped_run()
                return
            rescued = own is not False and (isinstance(error, NprError) or crash_file is not None)
            if rescued and not self.interrupts.repeated:
                error.add_note(saving.rescue(self.agent, "crash", crash_file))
            raise

    def finish(self) -> None:
        """End the log and save the agent, after the last step of a run."""
        if self.callback is not None:
            self.callback.on_training_end()
        if self.outputs and not self.log_interval and (self.logger.last_row or 0) < self._t:
            self._log_row()
        if self._t >= self.counters.end:
            self.logger.finish(self._t)
        if self.save_path is not None and not self.interrupts.requested:
            self.agent.save(self.save_path)

    def _end_callback_of_stopped_run(self) -> None:
        """Call the last hook of the callback, whose error must not keep the agent from its file."""
        try:
            if self.callback is not None:
                self.callback.on_training_end()
        except Exception as error:
            warnings.warn(
                f"The callback failed at the end of the run: {describe_error(error)}.",
                ConfigWarning,
                stacklevel=2,
            )

    def check_policy(self) -> None:
        agent = self.agent
        *_, theta = agent.acts_by()
        if not is_finite(to_host(theta), agent.policy_parameters in agent.masked_tables):
            raise NumericsError(
                f"{type(agent).__name__}'s policy holds numbers that are not finite: training "
                "has diverged. Lower learning_rate, or check the scale of rewards and "
                "observations."
            )

    def _stop(self, signal: int) -> NoReturn:
        """Save the agent and end the program as the signal requested."""
        self.counters.unfinished = self.counters.num_timesteps < self.counters.end
        message = saving.rescue(self.agent, "interrupted", self.save_path)
        streams.write(sys.stderr, f"npr: {message}\n")
        if self.envs.owned:
            self.agent.close()
        raise stopped_by(signal)

    def _warn_if_idle(self) -> None:
        """Warn if the run will end before its first update is due."""
        agent, start, end = self.agent, self.start, self.counters.end
        if not isinstance(agent, Replay) or start == end:
            return
        reached = end + self.envs.n - 1  # at most: many environments step at once
        last_due = reached - reached % agent.train_freq
        if last_due < max(agent.learning_starts, start + 1):
            warnings.warn(
                f"{type(agent).__name__}: no update will run: learning_starts="
                f"{agent.learning_starts:,} and train_freq={agent.train_freq:,} leave none to "
                f"steps {start + 1:,} to {end:,}. Lower them, or raise total_timesteps.",
                ConfigWarning,
                stacklevel=5,
            )

    def _warn_of_no_update(self, needed: str, setting: str, stacklevel: int = 9) -> None:
        """Warn if the run has ended before its first rollout was complete."""
        done = self.learned or self._observed or self._t < self.counters.end
        if self.agent.steps and not done:
            warnings.warn(
                f"{type(self.agent).__name__}: no update was made, since one needs {needed}. The "
                "steps so far are kept for the next call of learn(). Raise total_timesteps, or "
                f"lower {setting}.",
                ConfigWarning,
                stacklevel=stacklevel,
            )

    # ---- the loop

    def interact(self, choose: Callable[[np.ndarray], np.ndarray]) -> Iterator[Transition]:
        """Step the environments with a = choose(s) until the budget is used.

        Yields the Transitions of each step, without rows that only reset an environment. Resets,
        statistics, progress and callbacks are handled here.
        """
        return map(Transition._make, self._columns(choose))

    def transitions(
        self, choose: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[tuple[int, int, float, int, bool, int]]:
        """The Transitions of `interact` one by one, as Python numbers: these index a table in less
        time than those of NumPy."""
        return itertools.chain.from_iterable(map(_rows, self._columns(choose)))

    def _columns(
        self, choose: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """The fields of the Transitions of `interact`."""
        agent, all_valid, waiting = self.agent, self.envs.all_valid, self.callback is not None
        obs_norm, reward_norm = agent.obs_norm, agent.reward_norm
        for s, a, r, s2, terminated, truncated, valid, episode in self._steps(choose):
            if waiting and self.every(getattr(agent, "train_freq", 1)):
                self._end_collecting()
            if reward_norm:
                reward_norm.add(r, terminated | truncated, valid)
            if valid is not all_valid:
                if not valid.any():
                    continue
                s, a, r, s2 = s[valid], a[valid], r[valid], s2[valid]
                terminated, episode = terminated[valid], episode[valid]
            if obs_norm:
                obs_norm.add(s)
            if reward_norm and agent.table:  # a replay buffer would do it when sampling
                r = reward_norm(r)
            yield s, a, r, s2, terminated, episode

    def rollouts(
        self, n_steps: int, choose: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[Rollout]:
        """Yield Rollouts of n_steps of all environments. Further steps stay in agent.steps, for the
        next run."""
        steps = self.agent.steps
        self.by_rollout = True
        # more may be held already, if n_steps was lowered
        self.wanted = lambda: (max(1, n_steps - len(steps)), None)
        for step in self._steps(choose):
            steps.append(step[:-1])
            if len(steps) >= n_steps:
                D = self._rollout()
                if D.valid.any():  # else every environment only reset itself
                    yield from self._normalized(D)
        self._warn_of_no_update(f"{n_steps:,} steps of each environment", "n_steps")

    def episodes(
        self, n_episodes: int, choose: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[Rollout]:
        """Yield Rollouts of n_episodes complete episodes of one policy.

        Every environment contributes the same number (n_episodes is rounded up): taking those that
        end first would favor short episodes. Further steps of an environment are dropped. When the
        budget ends within a rollout, its steps stay in agent.steps, for the next run.
        """
        envs, steps = self.envs, self.agent.steps
        per_env, self.whole_episodes = -(-n_episodes // envs.n), True
        self.by_rollout = True
        if not steps and any(envs.lengths):
            self.reset()
        ended = [valid & (term | trunc) for *_, term, trunc, valid in steps]
        missing = np.full(envs.n, per_env) - sum(one.astype(int) for one in ended)
        missing = np.maximum(missing, 0)  # n_episodes may have been lowered
        self.wanted = lambda: (sys.maxsize, missing if steps else np.full(envs.n, per_env))
        for *step, terminated, truncated, valid, _ in self._steps(choose):
            if not steps:
                missing = np.full(envs.n, per_env)
            valid = valid & (missing > 0)
            steps.append((*step, terminated, truncated, valid))
            missing = missing - (valid & (terminated | truncated))
            if not missing.any():
                yield from self._normalized(self._rollout(whole=True))
                if envs.n > 1:
                    self.reset()
        self._warn_of_no_update(
            f"{n_episodes} complete episodes", "n_episodes, or set max_episode_steps"
        )

    def reset(self) -> None:
        """Start a new episode in every environment."""
        self.envs.reset()
        self.agent.note_on_masks()
        if self.agent.reward_norm:
            self.agent.reward_norm.begin(self.envs.n)

    def _rollout(self, whole: bool = False) -> Rollout:
        """The rollout of agent.steps, which is emptied; whole: of its complete episodes only."""
        D = Rollout(self.agent.steps)
        self.agent.steps.clear()
        self.learned = True
        if whole:
            ended = (D.done > 0) & D.valid
            D.valid &= np.logical_or.accumulate(ended[::-1])[::-1]
        return D

    def _normalized(self, D: Rollout) -> Iterator[Rollout]:
        """Yield one rollout with normalized observations and rewards.

        Its observations update the running moments after the update, which so uses the moments that
        the actions were chosen with. The first rollout is normalized with its own moments.
        """
        obs_norm, reward_norm = self.agent.obs_norm, self.agent.reward_norm
        first = obs_norm is not None and not obs_norm.moments.count
        s = D.s[D.valid] if obs_norm else None
        if first:
            obs_norm.add(s)
        if reward_norm:
            for r, done, valid in zip(D.r, D.done > 0, D.valid):
                reward_norm.add(r, done, valid)
            D.r = reward_norm(D.r)
        if obs_norm:
            D.s, D.s2 = obs_norm(D.s), obs_norm(D.s2)
        self._end_collecting()
        yield D
        if obs_norm and not first:
            obs_norm.add(s)
        self.logger.iterations += 1
        self.iterated = True

    def _steps(self, choose: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple[Any, ...]]:
        """Yield (s, a, r, s2, terminated, truncated, valid, episode) of every step."""
        envs, counters = self.envs, self.counters
        callback, progress, interrupts = self.callback, self.progress, self.interrupts
        observed = self._observed
        if self.acting is None and (observed or not envs.acts):
            self.acting = Acting.of(self.agent)
        acting = self.acting
        if acting is not None:
            choose = acting.on_host(self.agent, choose)
        self.choose = choose
        self._expected = envs.n, *self.agent.actions.columns()[0]
        while envs.waiting if observed else counters.num_timesteps < counters.end:
            if callback is not None and not self.collecting:
                self.collecting = True
                callback.on_rollout_start()
            if envs.s is None:  # at the start, after a step that failed, or one of others
                self.agent.steps.end_episodes(whole=self.whole_episodes)
                self.reset()
            if envs.acts:
                s, a, episode, record = envs.advance(*self.wanted(), self._stop_waiting)
            else:
                s, episode = envs.s, envs.episode
                a = self.action_at(s)
                record = envs.step(a)
            s2, r, terminated, truncated, valid = record
            n = envs.n if valid is envs.all_valid else int(valid.sum())
            self.last_steps = n
            counters.num_timesteps += n
            self.metrics = {}
            yield s, a, r, s2, terminated, truncated, valid, episode
            if self.agent.mask_size:  # masks follow the observations
                size = self.agent.observations.size
                s, s2 = s[:, :size], s2[:, :size]
            if self._pauses:
                self._paused_at = Step(
                    counters.num_timesteps, counters.n_updates, s, a, r, s2, terminated, truncated,
                    valid, envs.finished, self.metrics,
                )  # fmt: skip
            if acting is not None:
                acting.updated(self.agent)
            if envs.finished:
                self._log_episodes()
            if self.iterated:
                self.iterated = False
                self._log_if_due(self.logger.iterations)
            progress.update()
            if callback is not None:
                done = terminated | truncated
                callback.update_locals(
                    {"obs": s, "actions": a, "rewards": r, "new_obs": s2, "dones": done}
                )
                if not callback.on_step():
                    self._stopped = True
                    return
                if envs.used_by_others():
                    envs.claim()
            if self.save_freq and self.every(self.save_freq):
                self.progress.clear()  # there may be a warning
                saving.save_or_warn(self.agent, self.save_path)
            if interrupts.requested and counters.num_timesteps < counters.end:
                raise Stopped
            if self._pauses:
                return

    def action_at(self, s: np.ndarray) -> np.ndarray:
        """The agent's actions (n, ...) for the next step, at s (n, ...) of the environments.

        Raises ConfigError or NumericsError if `choose` of the algorithm returned no such actions.
        """
        obs_norm = self.agent.obs_norm
        a = self.choose(s if obs_norm is None else obs_norm(s))
        if a.shape != self._expected:
            raise self._bad_shape(a.shape, self._expected)
        if a.dtype.kind == "f" and not all_finite(a):
            raise self._bad_action()
        return a

    def _stop_waiting(self) -> None:
        if self.interrupts.requested:
            raise Stopped

    def _end_collecting(self) -> None:
        """Tell the callback that the steps of a rollout, or before an update, are complete."""
        if self.callback is not None and self.collecting:
            self.collecting = False
            self.callback.on_rollout_end()

    def _bad_shape(self, found: tuple[int, ...], expected: tuple[int, ...]) -> ConfigError:
        return ConfigError(
            f"{type(self.agent).__name__}.explore must return actions {expected}, one row per "
            f"environment, got {found}. The environments were not stepped."
        )

    def _bad_action(self) -> NumericsError:
        return NumericsError(
            "The policy chose an action that is not finite at step "
            f"{self.counters.num_timesteps}: {self._bad_parameter()}. The environment was not "
            "stepped. Lower learning_rate, or check the scale of rewards and observations."
        )

    def _bad_parameter(self) -> str:
        for name, part in parts(self.agent).items():
            if is_array(part) and (bad := first_bad(part)):
                return f"{name} is not finite ({bad})"
        return "its parameters are finite, so they or the observations have grown too large"

    # ---- counts

    def every(self, interval: int) -> int:
        """The number of multiples of `interval` env steps that the last step reached."""
        t = self.counters.num_timesteps
        return t // interval - (t - self.last_steps) // interval

    def updates_due(self) -> int:
        """The number of updates due after the last step: `gradient_steps` every `train_freq` env
        steps once `learning_starts` is reached; gradient_steps = -1 means one per env step."""
        agent = self.agent
        if self.counters.num_timesteps < agent.learning_starts:
            return 0
        each: int = agent.gradient_steps if agent.gradient_steps >= 0 else agent.train_freq
        return each * self.every(agent.train_freq)

    def updated(self, metrics: dict[str, Any]) -> None:
        """Count an update and log its metrics: numbers, or arrays whose mean is logged."""
        self.counters.updated()
        self.metrics = metrics
        self.logger.add(metrics)
        skipped = self.guard.check(self.counters.n_updates)
        if skipped:
            self.logger.record("train/n_skipped", skipped)

    # ---- the log

    def _log_episodes(self) -> None:
        """Log the episodes that ended in the last step."""
        seconds = time.perf_counter() - self.began
        for ret, length, success in self.envs.finished:
            self.logger.episode(ret, length, success, self._t, seconds)
            if not self.by_rollout:
                self._log_if_due(self.logger.episode_count)

    def _log_if_due(self, count: int) -> None:
        """Write a row every log_interval rollouts or episodes; without one, if the last row is of
        an earlier hundredth of the run."""
        if not self.outputs:
            return
        if self.log_interval:
            due = count % self.log_interval == 0
        else:
            per_row = max(1, self.counters.end // ROWS)
            due = self._t // per_row > (self.logger.last_row or 0) // per_row
        if due:
            self._log_row()

    def _log_row(self) -> None:
        """Write the values since the last row, with those of the run."""
        agent, counters, record = self.agent, self.counters, self.logger.record
        elapsed = time.perf_counter() - self.began
        self.logger.last_row = self._t
        record("time/total_timesteps", self._t)
        record("time/episodes", self.logger.episode_count)
        record("time/time_elapsed", elapsed)
        record("time/fps", (self._t - self.start) / elapsed)
        if self.by_rollout:
            record("time/iterations", self.logger.iterations)
        if (peak := memory.peak()) is not None:
            record("time/peak_rss_mb", peak / 1e6)
        if not agent.table:  # which learns from every step
            record("train/n_updates", counters.n_updates)
        for name in self.schedules:
            if (value := getattr(agent, name)) is not None:
                record(f"train/{name}", agent.now(value))
        if isinstance(agent, EpsilonGreedy):
            record("rollout/exploration_rate", agent.epsilon)
        for name, value in self.envs.metrics().items():
            record(f"time/{name}", value)
        head, _, theta = agent.acts_by()
        for name, value in head.metrics(theta).items():
            record(f"train/{name}", value)
        self.logger.dump(self._t)

    @property
    def _t(self) -> int:
        """Env steps so far."""
        return self.counters.num_timesteps
