"""What every algorithm takes for granted: settings, environments, the loop as a generator,
evaluation, files. What the pseudocode says stands in the algorithm's own file.
"""

import copy
import functools
import inspect
import math
import sys
import time
import types
import typing
import warnings

import numpy as np

from npr import checkpoint, evaluation, presets, settings
from npr.autodiff import debug_anomaly
from npr.autodiff.anomaly import first_bad
from npr.backend import ON_HOST, blas_threads, to_host
from npr.buffers import ReplayBuffer, Rollout, Steps
from npr.envs import env_id, finite, open_environments
from npr.errors import (
    ConfigError,
    ConfigWarning,
    EnvCrashedError,
    NprError,
    NumericsError,
    ResumeWarning,
    SpaceError,
)
from npr.interrupts import Interrupts, stopped_by
from npr.logger import Logger, Progress
from npr.nn import MLP, threads_for
from npr.normalize import ObservationNorm, RewardNorm
from npr.optim import Optimiser
from npr.policy import Policy
from npr.spaces import Actions, Observations

REGISTRY: dict[str, type] = {}  # name -> class: what `npr.load` may build
DEFAULT_BUDGET = 100_000  # env steps of learn() where no preset knows better
_LOOK_EVERY = 1 if ON_HOST else 100  # updates between looks at skipped steps: a device must wait

# purposes of random numbers, one generator each: drawing more of one never moves another
_STREAMS = ("init", "explore", "sample", "noise", "act")


class _Stopped(Exception):
    """A signal asked learn() to stop, and everything is in a state that can be saved."""


class Algorithm:
    """The shared half of an agent. Annotated class attributes are its settings."""

    n_envs: int = 1  # environments stepped side by side
    max_episode_steps: int | None = None  # own time limit; None: the environment's
    normalize_obs: bool = False  # observations less their running mean, over their deviation
    normalize_reward: bool = False  # rewards over the deviation of their discounted returns
    nan_obs: str = "raise"  # or "terminate": drop the episode that a number not finite came in
    on_env_error: str = "raise"  # or "reset": drop the episode in which an environment raised
    env_timeout: float | None = None  # seconds an environment may take, in a process of its own
    verbose: int = 1  # 0: silent; 1: settings, progress and result

    action_kinds = ("discrete", "box")  # which action spaces it can learn
    needs_bounds = False  # whether a Box must be finite
    parts = ()  # names of its networks, for net_arch as a dict
    table = False  # whether observations are indices of a table
    policy_parts = ()  # (head, name of the network, name of its parameters)
    temperature = 1.0  # what a categorical policy divides the network's outputs by

    def __init_subclass__(cls):
        cls.settings = {}
        for base in reversed(cls.__mro__):
            for name in getattr(base, "__annotations__", {}):
                cls.settings[name] = getattr(cls, name)
        cls._types = typing.get_type_hints(cls)
        parameters = [
            inspect.Parameter("env", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None),
            inspect.Parameter("seed", inspect.Parameter.KEYWORD_ONLY, default=None),
        ] + [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in cls.settings.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)
        REGISTRY[cls.__name__] = cls

    def __init__(self, *args, seed=None, **given):
        env, *args = args or (given.pop("env", None),)
        if isinstance(env, str) and env == "MlpPolicy":  # Stable-Baselines3's first argument
            env, *args = args or (given.pop("env", None),)
        if env is None or args:
            raise ConfigError(
                f"{type(self).__name__} takes one environment: an id, a gymnasium.Env, a VectorEnv "
                f"or a function that makes one; got {(env, *args)}."
            )
        self.env_id = env_id(env)
        self.preset = presets.find(type(self).__name__, self.env_id)
        self._configure(given, seed)
        if hasattr(env, "step") and not isinstance(env, type) and "n_envs" not in given:
            self.n_envs = 1  # an Env stands for itself; a VectorEnv brings its own number
        self.env = env
        self._seed_streams()
        self.envs = self._open_envs()
        try:
            self._start(self.envs.observations, self.envs.actions)
        except BaseException:
            if self.envs.owned:
                self.envs.close()
            raise

    @classmethod
    def restore(cls, manifest, env=None):
        """An agent as a file describes it, without an environment until it learns again."""
        agent = cls.__new__(cls)
        agent.env_id = manifest["env"]
        agent.preset = presets.find(cls.__name__, agent.env_id)
        agent._configure(manifest["settings"], manifest["seed"])
        # gymnasium.make("package:id") imports the package: not on a file's word
        own = None if ":" in (agent.env_id or "") else agent.env_id
        agent.env = own if env is None else env
        agent._seed_streams()
        agent.envs = None
        spec = manifest["policy"]
        agent._start(Observations(spec["observations"]), Actions(spec["actions"]))
        return agent

    # ---- settings

    def _configure(self, given, seed):
        """Defaults, then the preset, then what the user gave."""
        owner = type(self).__name__
        preset = {k: v for k, v in self.preset.items() if k != "total_timesteps"}
        settings.check_names(owner, given, self.settings)
        for name, value in {**self.settings, **preset, **given}.items():
            value = settings.checked(owner, name, copy.copy(value), self._types[name], self.parts)
            setattr(self, name, value)
        self.seed = settings.checked_seed(owner, seed)
        if self.table and self.normalize_obs:
            raise ConfigError(
                f"{owner}: normalize_obs=True needs observations that are numbers; a table's are "
                "indices. Leave it out, or use an algorithm with a network."
            )
        self.check()

    def check(self):
        """What a subclass demands of its settings together."""

    def now(self, setting):
        """The present value of a setting that may be a schedule, e.g. "linear:3e-4"."""
        if isinstance(setting, (int, float)):
            return setting
        first, last = settings.ends(setting)
        return first + (last - first) * self.progress

    @property
    def progress(self) -> float:
        """The share of the budget that is used, from 0 to 1."""
        return min(1.0, self.num_timesteps / self.end) if self.end else 0.0

    def widths(self, part) -> list:
        """The hidden widths of one network: net_arch is a list for all, or a dict by part."""
        return self.net_arch[part] if isinstance(self.net_arch, dict) else self.net_arch

    # ---- construction

    def _seed_streams(self):
        seeds = np.random.SeedSequence(self.seed)
        *streams, self._env_seeds = seeds.spawn(len(_STREAMS) + 1)
        self.rng = {name: np.random.default_rng(s) for name, s in zip(_STREAMS, streams)}

    def _open_envs(self):
        envs = open_environments(
            self.env, self.n_envs, self._env_seeds, self.max_episode_steps, self.table,
            self.nan_obs, self.on_env_error, self.env_timeout,
        )  # fmt: skip
        self.n_envs = envs.n
        try:
            self._check_spaces(envs)
        except (ConfigError, SpaceError):
            if envs.owned:
                envs.close()
            raise
        return envs

    def _reopen_envs(self):
        """The environments of an agent that came from a file."""
        if self.env is None:
            raise ConfigError(
                f"This agent's file names no environment that npr would open by itself "
                f"({self.env_id!r}); pass one: npr.load(path, env=...)."
            )
        position, self._position = self._position, {}
        if position.get("steps", 0) or self.num_timesteps:
            # not the seeds of the first environments: their episodes were seen already
            self._env_seeds = np.random.SeedSequence(
                self._env_seeds.entropy, spawn_key=(len(_STREAMS), self.num_timesteps)
            )
        envs = self._open_envs()
        for mine, theirs in ((self.observations, envs.observations), (self.actions, envs.actions)):
            if mine.spec != theirs.spec:
                raise SpaceError(
                    f"The agent was trained with {mine.spec}, this environment has {theirs.spec}."
                )
        self._count_environments(envs.n)
        try:
            why = envs.resume(position) if position else None
        except Exception as error:  # an environment may raise anything, and so may a bad file
            why = f"playing them again ended with {error!r}"
        if why:
            self.steps.clear()
            warnings.warn(
                f"{type(self).__name__} cannot go on in the middle of its episodes: {why}. They "
                "begin anew; everything that was learnt is as it was saved.",
                ResumeWarning,
                stacklevel=3,
            )
        elif position.get("open") and (changed := self._changes()):
            warnings.warn(
                f"{type(self).__name__} goes on where it was, but not to the last bit: {changed}.",
                ResumeWarning,
                stacklevel=3,
            )
        return envs

    def _changes(self):
        """What this process has that the one of the file had not, as far as bits depend on it."""
        here, there = checkpoint.made_with(), self.made_with
        return "; ".join(
            f"{name} was {there.get(name)}, here it is {what}"
            for name, what in here.items()
            if there.get(name) != what
        )

    def _count_environments(self, n):
        """Make room for what is kept of every environment, unless there were as many already."""
        if n != self.steps.N:
            self.steps = Steps(n, self.observations.size, *self.actions.columns())
            if self.reward_norm:
                self.reward_norm.begin(n)

    def position(self) -> dict:
        """Where the environments stand, as arrays that a file can hold."""
        return self._position if self.envs is None else self.envs.state()

    def resume(self, num_timesteps, end, position) -> None:
        """Go on from these counters, in environments at this position once they are opened."""
        self.num_timesteps, self.end, self._position = num_timesteps, end, position
        self._unfinished = num_timesteps < end

    def _check_spaces(self, envs):
        if envs.n > getattr(self, "buffer_size", envs.n):
            raise ConfigError(
                f"{type(self).__name__}: buffer_size must be at least n_envs, the transitions of "
                f"one step; got buffer_size={self.buffer_size} and n_envs={envs.n}."
            )
        name, space = type(self).__name__, envs.action_space
        kind = envs.actions.kind if envs.actions else type(space).__name__
        if kind not in self.action_kinds:
            wanted = " or ".join(k.capitalize() for k in self.action_kinds)
            fits = ", ".join(
                n
                for n, c in REGISTRY.items()
                if kind in c.action_kinds and (not c.table or envs.observations.kind == "discrete")
            )
            advice = f"for {kind} actions use {fits}." if fits else "wrap the environment."
            raise SpaceError(f"{name} needs a {wanted} action space, got {space}; {advice}")
        if self.needs_bounds and kind == "box" and not envs.actions.bounded:
            raise SpaceError(
                f"{name} squashes actions into finite bounds, got {space}. Give the action_space "
                "finite low and high, or use PPO, whose Gaussian is not squashed."
            )
        if self.table and envs.observations.kind != "discrete":
            raise SpaceError(
                f"{name} keeps a table and needs a Discrete observation space, got "
                f"{envs.observations.spec}; for other observations use DQN or PPO."
            )

    def _start(self, observations: Observations, actions: Actions):
        self.observations, self.actions = observations, actions
        self.num_timesteps, self.end, self.n_updates = 0, 0, 0
        self._unfinished = False  # whether a file holds the middle of a run
        self._position = {}  # of environments that are closed, or not opened yet
        self.made_with = checkpoint.made_with()
        self.last = types.SimpleNamespace(steps=0, episode=None)  # of the last interaction
        self.logger = Logger()
        self._policy: Policy | None = None
        self.steps = Steps(self.n_envs, observations.size, *actions.columns())
        self.obs_norm = ObservationNorm(observations.size) if self.normalize_obs else None
        self.reward_norm = RewardNorm(self.n_envs, self.gamma) if self.normalize_reward else None
        self.build()
        for part in vars(self).values():
            if isinstance(part, ReplayBuffer):
                part.obs_norm, part.reward_norm = self.obs_norm, self.reward_norm

    def build(self):
        """Make networks, parameters, optimisers and buffers."""
        raise NotImplementedError

    # ---- learning

    def learn(self, total_timesteps=None, callback=None, progress_bar=None, log_interval=None,
              reset_num_timesteps=True, save_path=None, save_freq=None):  # fmt: skip
        """Learn for a number of environment steps and return the agent.

        total_timesteps      None: the preset's budget for this environment, or what was left of it
        callback             called with the agent after every step; returning False stops
        progress_bar         False: none; None or True: one line, on runs longer than a second
        log_interval         episodes between tables of the logged values; None: no tables
        reset_num_timesteps  False: go on counting, where schedules stood. So does the first learn
                             of an agent whose file was saved in the middle of a run
        save_path            file that the agent is written to, however learn ends
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
        if not _is_whole(total_timesteps):
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

    def _describe(self, budget):
        if self.verbose and not getattr(self, "_described", False):
            self._described = True
            where = self.env_id or getattr(self.env, "__name__", type(self.env).__name__)
            print(f"{type(self).__name__} on {where}, {budget:,} steps: {self._differences()}")

    def _differences(self):
        """The settings that are not the defaults, as they would be written in a call."""
        default = self.settings
        changed = {k: getattr(self, k) for k in default if getattr(self, k) != default[k]}
        return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "default settings"

    def __repr__(self):
        return f"{type(self).__name__}({self.env_id!r}, {self._differences()})"

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
            if self._interrupts.asked:
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
        if self.n_updates % _LOOK_EVERY == 0:
            self._count_skipped()

    @functools.cached_property
    def _optimisers(self):
        """Its optimisers by name, each with the last update that it is known to have moved in."""
        parts = [(name, part) for name, part in vars(self).items() if isinstance(part, Optimiser)]
        return {name: [part, self.n_updates - _LOOK_EVERY] for name, part in parts}

    def _count_skipped(self):
        """Note the steps that optimisers skipped; the tenth in a row is made under scrutiny."""
        total = 0
        for entry in self._optimisers.values():
            skipped, in_a_row = entry[0].missed()
            total += skipped
            if not in_a_row:
                entry[1] = self.n_updates
            elif in_a_row >= 9:
                self.update = self._scrutinised_update  # once
        if total:
            self.logger.record("train", {"n_skipped": total})

    def _scrutinised_update(self, *batch):
        """`update`, with NumericsError for the first number in it that is not finite."""
        del self.update
        try:
            with debug_anomaly():
                return self.update(*batch)
        except NumericsError as error:
            raise NumericsError(f"{self._who_skips()} {error} {self._what_to_do()}") from error

    def _who_skips(self):
        held = {id(x): name for name, x in vars(self).items()}
        stuck = [
            f"{held.get(id(optimiser.theta), 'parameters')} ({name}, since update {last + 1:,})"
            for name, (optimiser, last) in self._optimisers.items()
            if optimiser.missed()[1] >= 9
        ]
        return (
            f"{type(self).__name__}: ten steps or more in a row were skipped, since their "
            f"gradients are not finite, of {' and '.join(stuck)}."
        )

    def _first_bad_parameter(self):
        for name, part in vars(self).items():
            bad = first_bad(part)
            if bad:
                return f"{name} is not finite ({bad})"
        return "its parameters are finite, so they or the observations have grown too large"

    def _what_to_do(self):
        for optimiser, _ in self._optimisers.values():
            bad = first_bad(optimiser.theta)
            if bad:
                return f"No step made the parameters so ({bad}): something else wrote into them."
        return (
            "The parameters are finite, as the last good step left them. Lower learning_rate, or "
            "bring rewards and observations near 1 (normalize_reward=True, normalize_obs=True)."
        )

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

    # ---- acting

    @property
    def policy(self) -> Policy:
        """The present policy, on the host. On the NumPy backend it shares the parameters."""
        if self._policy is None or not ON_HOST:
            head, network, theta = self.policy_parts
            net = getattr(self, network) if network else None
            spec = {
                "observations": self.observations.spec,
                "actions": self.actions.spec,
                "head": head,
                "sizes": net.sizes if net else None,
                "activation": getattr(self, "activation", "identity"),
                "normalize": self.normalize_obs,
                "free": net.free if net else 0,
                "epsilon": float(getattr(self, "exploration_final_eps", 0.0)),
                "temperature": self.temperature,
            }
            self._policy = Policy(spec, to_host(getattr(self, theta)), self.obs_norm)
        return self._policy

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        """(action, None) for one observation or a batch: Stable-Baselines3's signature."""
        return self.policy(observation, deterministic, self.rng["act"]), None

    def act(self, observation, deterministic=True):
        """The environment's action for one observation or a batch."""
        return self.policy(observation, deterministic, self.rng["act"])

    def evaluate(self, env=None, episodes=100, seed=None, deterministic=True):
        """Whole episodes in an environment of their own: .mean .std .returns .lengths"""
        if not _is_whole(episodes) or episodes < 1:
            raise ConfigError(f"episodes must be a whole number above 0, got {episodes!r}.")
        if env is None:
            env = self._evaluation_env()
        return evaluation.evaluate(
            self.policy, env, int(episodes), seed, deterministic, self.max_episode_steps
        )

    def _evaluation_env(self):
        import gymnasium

        spec = getattr(self.env, "spec", None)
        if isinstance(self.env, gymnasium.vector.VectorEnv) and spec is not None:
            vector = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers")
            kwargs = {k: v for k, v in spec.kwargs.items() if k not in vector}
            return lambda: gymnasium.make(spec.id, disable_env_checker=True, **kwargs)
        if isinstance(self.env, gymnasium.Env) and spec is not None:
            return lambda: gymnasium.make(spec, disable_env_checker=True)
        if isinstance(self.env, str) or callable(self.env):
            return self.env
        raise ConfigError(
            "evaluate() needs an environment of its own; pass one: evaluate(env=...)."
        )

    def close(self) -> None:
        """Close the environments. The agent can still act, evaluate and save."""
        if self.envs is not None:
            self._position = self.envs.state()
            self.envs.close()
            self.envs = None

    # ---- files

    def save(self, path) -> None:
        """Write the whole agent to one file: see npr.checkpoint."""
        checkpoint.save(self, path)


def _is_whole(number) -> bool:
    return (
        isinstance(number, (int, float, np.number))
        and not isinstance(number, bool)
        and math.isfinite(number)
        and number == int(number)
    )
