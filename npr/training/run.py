"""How a run goes: the frame of learn(), and the environments' loop as generators that an
algorithm iterates over. What a run has collected stands in the agent and not in a generator, so
that it can be left at any step by an exception, saved, and entered again.
"""

import functools
import sys
import time
import warnings

import numpy as np

from npr.autodiff.anomaly import first_bad
from npr.backend import to_host
from npr.buffers import Rollout
from npr.envs.contract import finite
from npr.errors import ConfigError, ConfigWarning, EnvCrashedError, NprError, NumericsError
from npr.files import checkpoint
from npr.nn import MLP
from npr.settings import is_whole
from npr.system.blas import blas_threads, keep_freed_memory, threads_for
from npr.training import nonfinite as watch
from npr.training.interrupts import Interrupts, stopped_by
from npr.training.logger import Progress

DEFAULT_BUDGET = 100_000  # env steps of learn() where no preset knows better


class _Stopped(Exception):
    """A signal asked learn() to stop, and everything is in a state that can be saved."""


class Run:
    """The half of an agent that learns: what `Algorithm` inherits."""

    def learn(self, total_timesteps=None, callback=None, progress_bar=None, log_interval=None,
              reset_num_timesteps=True, save_path=None, save_freq=None):  # fmt: skip
        """Learn for a number of environment steps and return the agent.

        total_timesteps      None: the preset's budget for this environment, or what was left of it
        callback             called with the agent after every step; returning False stops
        progress_bar         False: none; None or True: one line, on runs longer than a second
        log_interval         episodes between tables of the logged values; None: no tables
        reset_num_timesteps  False: go on counting, where schedules stood. So does the first learn
                             of an agent whose file was saved in the middle of a run
        save_path            file that the agent is written to at the end, and where it breaks off
        save_freq            env steps between writes to save_path on the way

        Ctrl-C and SIGTERM end it after the present update: the agent is saved, its environments
        are closed, and the program ends with KeyboardInterrupt or exit status 143. The second
        one ends it at once. An NprError (an environment that breaks its contract, numbers that
        diverge) saves the agent too. Without save_path the file is named after the agent, in the
        working folder.
        """
        budget = self._budget(total_timesteps)
        checkpoint.check_target(save_path, save_freq)
        if reset_num_timesteps and not self._unfinished:
            self.num_timesteps = 0
        self._unfinished = False
        start = self.num_timesteps
        self.end = start + budget
        if self.envs is None:
            self.envs = self._reopen_envs()
        self._warn_if_idle(start)
        self._describe(budget)
        shown = progress_bar if progress_bar is not None else bool(self.verbose)
        title = f"{type(self).__name__} {self.env_id or ''}".strip()
        self._progress = Progress(title, start, self.end, shown)
        self._callback, self._log_interval = callback, log_interval
        self._save_path, self._save_freq = save_path, save_freq
        self._began = time.perf_counter(), start
        keep_freed_memory()
        try:
            with Interrupts() as self._interrupts, blas_threads(threads_for(self._width())):
                self._train()
                if save_path is not None and not self._interrupts.asked:
                    self.save(save_path)
        finally:
            self._progress.close(self.num_timesteps, self.logger)
            self._callback = None
        if self._interrupts.asked:
            self._unfinished = self.num_timesteps < self.end
            said = checkpoint.rescue(self, "interrupted", save_path)
            print(f"npr: {said}", file=sys.stderr, flush=True)
            if self.envs.owned:  # what was given belongs to the giver
                self.close()
            raise stopped_by(self._interrupts.asked)
        return self

    def _train(self):
        """train(), and what is to be kept of it where it breaks off."""
        try:
            self.train()
            self._check_policy()
        except (_Stopped, KeyboardInterrupt, NprError) as error:
            # Ctrl-C on a terminal reaches worker processes too: then the step breaks off with them
            stopped = isinstance(error, (_Stopped, KeyboardInterrupt, EnvCrashedError))
            if stopped and self._interrupts.asked and not self._interrupts.now:
                return
            if isinstance(error, NprError):
                error.add_note(checkpoint.rescue(self, "crash", self._save_path))
            raise

    def _check_policy(self):
        if (
            self.policy_parts
            and not np.isfinite(to_host(getattr(self, self.policy_parts[2]))).all()
        ):
            raise NumericsError(
                f"{type(self).__name__}'s policy holds numbers that are not finite: training has "
                "diverged. Lower learning_rate, or look at the scale of rewards and observations."
            )

    def _width(self):
        """The widest layer of its networks."""
        nets = [part for part in vars(self).values() if isinstance(part, MLP)]
        return max((max(net.sizes) for net in nets), default=0)

    def _budget(self, total_timesteps):
        if total_timesteps is None and self._unfinished:
            return self.end - self.num_timesteps
        if total_timesteps is None:
            return self.preset.get("total_timesteps", DEFAULT_BUDGET)
        if not is_whole(total_timesteps):
            raise ConfigError(f"total_timesteps must be a whole number, got {total_timesteps!r}.")
        if total_timesteps < 0:
            raise ConfigError(f"total_timesteps must not be negative, got {total_timesteps!r}.")
        return int(total_timesteps)

    def _warn_if_idle(self, start):
        """Say so where the run will end before its first update is due."""
        if "learning_starts" not in self.settings or start == self.end:
            return
        reached = self.end + self.n_envs - 1  # at most: many environments step at once
        last_round = reached - reached % self.train_freq
        if last_round < max(self.learning_starts, start + 1):
            warnings.warn(
                f"{type(self).__name__}: no update will run: learning_starts="
                f"{self.learning_starts:,} and train_freq={self.train_freq:,} leave none to steps "
                f"{start + 1:,} to {self.end:,}. Lower them, or raise total_timesteps.",
                ConfigWarning,
                stacklevel=3,
            )

    def train(self):
        """The algorithm: iterate over interact or rollouts until they end."""
        raise NotImplementedError

    def interact(self, choose):
        """Step the environments with a = choose(s) until the budget is used.

        Yields (s, a, r, s2, terminated), each (n, ...), on the host: real transitions only, s2
        the true next observation; self.last.episode (n,) numbers their episodes. Resets,
        statistics, progress and callbacks happen here.
        """
        for s, a, r, s2, terminated, truncated, valid in self._steps(choose):
            if self.reward_norm:
                self.reward_norm.add(r, terminated | truncated, valid)
            if valid is not self.envs.all_valid:
                if not valid.any():
                    continue
                self.last.episode = self.last.episode[valid]
                s, a, r, s2, terminated = s[valid], a[valid], r[valid], s2[valid], terminated[valid]
            if self.obs_norm:
                self.obs_norm.add(s)
            if self.table and self.reward_norm:  # there is no replay that would do it later
                r = self.reward_norm(r)
            yield s, a, r, s2, terminated

    def rollouts(self, n_steps, choose):
        """Yield Rollouts of n_steps of all environments, the last one perhaps shorter."""
        for step in self._steps(choose):
            self.steps.append(step)
            if len(self.steps) == n_steps:
                D = self._rollout()
                if D.valid.any():  # else every environment did nothing but reset itself
                    yield from self._normalised(D)
        if self.steps:
            D = self._rollout()
            if D.valid.sum() > 1:  # the budget is used, and so is what it bought
                yield from self._normalised(D)

    def episodes(self, n_episodes, choose):
        """Yield Rollouts of n_episodes whole episodes of one policy, each begun anew.

        Every environment gives as many of them (n_episodes is rounded up): those that end first
        would be the short ones. What an environment does beyond its share is not used, and of what
        the budget cuts only the whole episodes of a single environment are.
        """
        envs = self.envs
        share = -(-n_episodes // envs.n)
        if not self.steps and any(envs.lengths):
            self._begin()
        missing = share - sum(
            (valid & (terminated | truncated)).astype(int)
            for *_, terminated, truncated, valid in self.steps
        )
        missing = np.broadcast_to(missing, envs.n)
        for *step, terminated, truncated, valid in self._steps(choose):
            valid = valid & (missing > 0)
            self.steps.append((*step, terminated, truncated, valid))
            missing = missing - (valid & (terminated | truncated))
            if not missing.any():
                yield from self._normalised(self._rollout(whole=True))
                missing = np.full(envs.n, share)
                if envs.n > 1:
                    self._begin()
        if envs.n == 1 and missing < share:
            yield from self._normalised(self._rollout(whole=True))
        self.steps.clear()

    def _begin(self):
        """Start a new episode in every environment."""
        self.envs.reset()
        if self.reward_norm:
            self.reward_norm.begin(self.envs.n)

    def _rollout(self, whole=False):
        """The rollout of the steps so far, which it uses up; whole: of their whole episodes."""
        D = Rollout(self.steps)
        self.steps.clear()
        if whole:
            ended = (D.done > 0) & D.valid
            D.valid &= np.logical_or.accumulate(ended[::-1])[::-1]
        return D

    def _normalised(self, D):
        """Yield one rollout as networks see it; its observations count from the next one on, so
        that it is learnt from with the moments that it was collected with. The first one had none,
        and is learnt from with its own."""
        s = D.s[D.valid]
        first = self.obs_norm is not None and not self.obs_norm.moments.count
        if first:
            self.obs_norm.add(s)
        if self.reward_norm:
            for r, done, valid in zip(D.r, D.done > 0, D.valid):
                self.reward_norm.add(r, done, valid)
            D.r = self.reward_norm(D.r)
        if self.obs_norm:
            D.s, D.s2 = self.obs_norm(D.s), self.obs_norm(D.s2)
        yield D
        if self.obs_norm and not first:
            self.obs_norm.add(s)

    def _steps(self, choose):
        envs, progress, logger, last = self.envs, self._progress, self.logger, self.last
        while self.num_timesteps < self.end:
            if envs.s is None:  # at the start, and after a step that broke off
                self.steps.clear()
                self._begin()
            s, last.episode = envs.s, envs.episode
            a = choose(s if self.obs_norm is None else self.obs_norm(s))
            if a.dtype.kind == "f" and not finite(a):
                raise NumericsError(
                    f"The policy chose an action that is not finite at step {self.num_timesteps}: "
                    f"{self._first_bad_parameter()}. The environment was not stepped. Lower "
                    "learning_rate, or look at the scale of rewards and observations."
                )
            s2, r, terminated, truncated, valid = envs.step(a)
            last.steps = envs.n if valid is envs.all_valid else int(valid.sum())
            self.num_timesteps += last.steps
            yield s, a, r, s2, terminated, truncated, valid
            for episode in envs.finished:
                logger.episode(episode)
                if self._log_interval and logger.episode_count % self._log_interval == 0:
                    self._log_table()
            progress.update(self.num_timesteps, logger)
            if self._callback is not None:
                answer = self._callback(self)
                if isinstance(answer, (bool, np.bool_)) and not answer:
                    return
            if self._save_freq and self.every(self._save_freq):
                checkpoint.save_or_warn(self, self._save_path)
            if self._interrupts.asked and self.num_timesteps < self.end:
                raise _Stopped

    @property
    def epsilon(self) -> float:
        """The present share of random actions: linear over exploration_fraction of the budget."""
        share = min(1.0, self.progress / max(self.exploration_fraction, 1e-9))
        first, last = self.exploration_initial_eps, self.exploration_final_eps
        return first + (last - first) * share

    def epsilon_greedy(self, q) -> int:
        """A random action with chance epsilon, else one of the best in q (K,), ties at random."""
        rng = self.rng["explore"]
        if rng.random() < self.epsilon:
            return int(rng.random() * len(q))
        best = np.flatnonzero(q == q.max())
        return best[int(rng.random() * len(best))]

    def every(self, interval: int) -> int:
        """How many multiples of `interval` env steps the last step reached."""
        t = self.num_timesteps
        return t // interval - (t - self.last.steps) // interval

    def updates_due(self) -> int:
        """Gradient steps owed after the last step: `gradient_steps` every `train_freq` env steps
        once `learning_starts` is reached; gradient_steps = -1 means one per env step."""
        if self.num_timesteps < self.learning_starts:
            return 0
        each = self.gradient_steps if self.gradient_steps >= 0 else self.train_freq
        return each * self.every(self.train_freq)

    def log(self, metrics: dict) -> None:
        """Note the metrics of one update: numbers, or arrays of which the mean counts."""
        self.n_updates += 1
        self.logger.record("train", metrics)
        if self.n_updates % watch.EVERY == 0:
            skipped = self._watch.look(self)
            if skipped:
                self.logger.record("train", {"n_skipped": skipped})

    @functools.cached_property
    def _watch(self):
        return watch.Watch(self)

    def _first_bad_parameter(self):
        for name, part in vars(self).items():
            bad = first_bad(part)
            if bad:
                return f"{name} is not finite ({bad})"
        return "its parameters are finite, so they or the observations have grown too large"

    def _log_table(self):
        began, start = self._began
        elapsed = time.perf_counter() - began
        self.logger.record(
            "time",
            {
                "total_timesteps": self.num_timesteps,
                "episodes": self.logger.episode_count,
                "time_elapsed": elapsed,
                "fps": (self.num_timesteps - start) / elapsed,
            },
        )
        rates = {"n_updates": self.n_updates, "learning_rate": self.now(self.learning_rate)}
        self.logger.record("train", rates)
        if "exploration_fraction" in self.settings:
            self.logger.record("rollout", {"exploration_rate": self.epsilon})
        self.logger.table()
