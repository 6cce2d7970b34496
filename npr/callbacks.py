"""Callbacks of `learn()`, with the names of Stable-Baselines3.

    agent.learn(callback=EvalCallback(eval_freq=1_000, best_model_save_path="best.npz"))

A callback of your own derives from `Callback`; a function of the agent, or a list of callbacks, is
accepted too. Imports training, and no algorithm: an agent is what it is given.
"""

import inspect
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from npr.errors import CheckpointError, CheckpointWarning, ConfigError, ConfigWarning
from npr.files.evaluations import read_evaluations, write_evaluations
from npr.files.run_folder import EVALUATIONS
from npr.settings.setting import whole
from npr.system import streams
from npr.training import recording, saving

__all__ = [
    "BaseCallback", "Callback", "CallbackList", "CheckpointCallback", "EvalCallback",
    "EventCallback", "EveryNTimesteps", "FunctionCallback", "ProgressBarCallback", "RecordVideo",
    "StopTrainingOnMaxEpisodes", "StopTrainingOnNoModelImprovement",
    "StopTrainingOnRewardThreshold", "StopTrainingOnTime", "as_callback",
]  # fmt: skip


class Callback:
    """What is called during `learn()`. Override the hooks, which begin with an underscore:

    _init_callback       when `model` is set, before a run
    _on_training_start   before the first step
    _on_rollout_start    before steps are collected for an update
    _on_step             after every step of all environments, and the updates after it; returning
                         False stops the run
    _on_rollout_end      after the steps for an update, before the update
    _on_training_end     at the end of the run, also when Ctrl-C stops it; not after an error

    verbose   0: silent; 1: what happens is printed

    model           the agent
    n_calls         calls of _on_step
    num_timesteps   env steps of the agent; in learn_offline() updates of the run
    logger          of the agent: logger.record("my/key", 1.0) adds a value to the next row
    training_env    the environments of the agent
    locals          of the last step: obs, actions, rewards, new_obs and dones, (n_envs, ...); the
                    infos of environments are not kept
    globals         empty
    parent          the callback that calls this one, if any
    children        the callbacks that this one calls; they are told of everything but steps
    """

    def __init__(self, verbose: int = 0) -> None:
        self.verbose, self.n_calls = verbose, 0
        self.model: Any = None
        self.locals: dict[str, Any] = {}
        self.globals: dict[str, Any] = {}
        self.parent: Callback | None = None
        self.children: list[Callback] = []

    @property
    def num_timesteps(self) -> int:
        """Env steps of the agent; in learn_offline() updates of the run."""
        return int(self.model.counters.clock.num_timesteps)

    @property
    def logger(self) -> Any:
        """The agent's logger."""
        return self.model.logger

    @property
    def training_env(self) -> Any:
        """The environments that the agent learns in."""
        return self.model.envs

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # ---- called by a run

    def init_callback(self, model: Any) -> None:
        """Called with the agent before a run."""
        self.model = model
        self._init_callback()
        for child in self.children:
            child.init_callback(model)

    def on_training_start(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """Called before the first step."""
        self.update_locals(locals_)
        self._on_training_start()
        for child in self.children:
            child.on_training_start(locals_, globals_)

    def on_rollout_start(self) -> None:
        """Called before steps are collected."""
        self._on_rollout_start()
        for child in self.children:
            child.on_rollout_start()

    def on_step(self) -> bool:
        """Called after every step. Returns False to stop."""
        self.n_calls += 1
        result = self._on_step()
        return not isinstance(result, (bool, np.bool_)) or bool(result)

    def on_rollout_end(self) -> None:
        """Called after steps were collected."""
        self._on_rollout_end()
        for child in self.children:
            child.on_rollout_end()

    def on_training_end(self) -> None:
        """Called at the end of the run."""
        self._on_training_end()
        for child in self.children:
            child.on_training_end()

    def update_locals(self, locals_: dict[str, Any]) -> None:
        """Set `locals`, also of the callbacks that this one calls."""
        self.locals = locals_
        for child in self.children:
            child.update_locals(locals_)

    # ---- hooks

    def _init_callback(self) -> None: ...

    def _on_training_start(self) -> None: ...

    def _on_rollout_start(self) -> None: ...

    def _on_step(self) -> bool | None: ...

    def _on_rollout_end(self) -> None: ...

    def _on_training_end(self) -> None: ...

    # ---- for subclasses

    def _child(self, callback: Any) -> "Callback | None":
        """A function, a list or a Callback as a child of this one. Raises ConfigError."""
        if callback is None:
            return None
        child = _one(callback)
        child.parent = self
        self.children.append(child)
        return child

    def _tell(self, text: str) -> None:
        """Print a line, if verbose."""
        if self.verbose:
            self.logger.clear_line()
            streams.write(sys.stdout, f"{self.num_timesteps:,} steps: {text}\n")


BaseCallback = Callback  # its name in Stable-Baselines3


class FunctionCallback(Callback):
    """Calls a function with the agent after every step; False stops the run."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def __repr__(self) -> str:
        return f"FunctionCallback({self.function!r})"

    def _on_step(self) -> bool | None:
        result: bool | None = self.function(self.model)
        return result


class CallbackList(Callback):
    """Several callbacks as one. All of them are called, also if one stops the run."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        super().__init__()
        for callback in callbacks:
            self._child(callback)

    def __repr__(self) -> str:
        return f"CallbackList({self.children!r})"

    def _on_step(self) -> bool:
        return all([child.on_step() for child in self.children])


class EventCallback(Callback):
    """Base of callbacks that call another one at some event."""

    def __init__(self, callback: Any = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.callback = self._child(callback)

    def _on_event(self) -> bool:
        """Call the other callback; False stops the run."""
        return self.callback is None or self.callback.on_step()


class EveryNTimesteps(EventCallback):
    """Calls a callback every n_steps env steps (at the first step at or after each multiple)."""

    def __init__(self, n_steps: int, callback: Any) -> None:
        super().__init__(callback)
        self.n_steps = whole("n_steps", n_steps)
        self._next = 0

    def _on_training_start(self) -> None:
        self._next = _multiple_after(self.num_timesteps, self.n_steps)

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self._next = _multiple_after(self.num_timesteps, self.n_steps)
        return self._on_event()


# ---- evaluation


class EvalCallback(EventCallback):
    """Evaluates the policy at intervals, and keeps the best one.

    eval_env               as for agent.evaluate; None: a new environment like the agent's
    callback_on_new_best   called when the mean return is the best so far; its False stops the run
    callback_after_eval    called after every evaluation; its False stops the run
    n_eval_episodes        complete episodes per evaluation
    eval_freq              env steps between evaluations
    log_path               folder of evaluations.npz (npr.files.evaluations); None: not written
    best_model_save_path   a file name that ends with .npz, or a folder for best_model.npz
    deterministic          False: sample actions, as in training
    seed                   of every evaluation, which then has the same episodes; None: others each
                           time, derived from the agent's seed and its env steps
    verbose                1: print the result of each evaluation
    render, warn           as in Stable-Baselines3: render must be False, use RecordVideo instead;
                           warn has no effect

    best_mean_reward, last_mean_reward   -inf before the first evaluation
    evaluations_timesteps, evaluations_results, evaluations_length, evaluations_successes

    An evaluation writes a row of the log with eval/mean_reward, eval/mean_ep_length and
    eval/success_rate. It has its own environments and random numbers: the run is the same to the
    bit as without it. A run that continues goes on from the file in log_path.

    Raises ConfigError before the first step if the environment is one that the agent learns in.
    """

    def __init__(
        self,
        eval_env: Any = None,
        callback_on_new_best: Any = None,
        callback_after_eval: Any = None,
        n_eval_episodes: int = 5,
        eval_freq: int = 10_000,
        log_path: "str | os.PathLike[str] | None" = None,
        best_model_save_path: "str | os.PathLike[str] | None" = None,
        deterministic: bool = True,
        verbose: int = 1,
        seed: int | None = None,
        render: bool = False,
        warn: bool = True,
    ) -> None:
        super().__init__(callback_after_eval, verbose)
        if render:
            raise ConfigError("EvalCallback does not render; use RecordVideo.")
        self.on_new_best = self._child(callback_on_new_best)
        self.eval_env, self.deterministic, self.seed = eval_env, deterministic, seed
        self.n_eval_episodes = whole("n_eval_episodes", n_eval_episodes)
        self.eval_freq = whole("eval_freq", eval_freq)
        self.log_file = None if log_path is None else Path(log_path) / EVALUATIONS
        self.best_file = None if best_model_save_path is None else Path(best_model_save_path)
        if self.best_file is not None and self.best_file.suffix != ".npz":
            self.best_file /= "best_model.npz"
        self._next = 0
        self._clear()

    def _clear(self) -> None:
        self.best_mean_reward = self.last_mean_reward = -np.inf
        self.evaluations_timesteps: list[int] = []
        self.evaluations_results: list[list[float]] = []
        self.evaluations_length: list[list[int]] = []
        self.evaluations_successes: list[list[bool]] = []

    def _on_training_start(self) -> None:
        _check_separate(self.model, self.eval_env)
        for file in (self.log_file, self.best_file):
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
        if self.num_timesteps == 0:
            self._clear()
        elif self.log_file is not None and self.log_file.exists():
            self._continue_from(self.log_file)
        self._next = _multiple_after(self.num_timesteps, self.eval_freq)

    def _continue_from(self, file: Path) -> None:
        """Take over the evaluations up to the current step, as of a run that is resumed."""
        try:
            held = read_evaluations(file)
            if (n := held["results"].shape[1]) != self.n_eval_episodes:
                raise CheckpointError(f"{file} has {n} episodes per evaluation.")
        except (OSError, CheckpointError) as error:
            self._clear()
            warnings.warn(
                f"This run begins its evaluations anew, with {self.n_eval_episodes} episodes each, "
                f"and replaces the earlier ones: {error}",
                ConfigWarning,
                stacklevel=2,
            )
            return
        self._clear()
        known = held["timesteps"] <= self.num_timesteps
        none = np.empty((len(known), 0))
        self.evaluations_timesteps = held["timesteps"][known].tolist()
        self.evaluations_results = held["results"][known].tolist()
        self.evaluations_length = held["ep_lengths"][known].tolist()
        self.evaluations_successes = [
            row for row in held.get("successes", none)[known].tolist() if row
        ]
        means = [float(np.mean(row)) for row in self.evaluations_results]
        if means:
            self.last_mean_reward, self.best_mean_reward = means[-1], max(means)

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self._next = _multiple_after(self.num_timesteps, self.eval_freq)
        return self.evaluate()

    def evaluate(self) -> bool:
        """Evaluate the policy now. Returns False if a callback wants to stop."""
        t, seed = self.num_timesteps, self.seed
        if seed is None:
            seeds = np.random.SeedSequence([self.model.seed or 0, t])
            seed = int(seeds.generate_state(1)[0])
        result = self.model.evaluate(
            self.eval_env, self.n_eval_episodes, seed, deterministic=self.deterministic
        )
        self.last_mean_reward = result.mean
        self.evaluations_timesteps.append(t)
        self.evaluations_results.append(result.returns.tolist())
        self.evaluations_length.append(result.lengths.tolist())
        if result.successes is not None:
            self.evaluations_successes.append(result.successes.tolist())
        if self.log_file is not None:
            self._write(self.log_file)
        self.logger.record("eval/mean_reward", result.mean)
        self.logger.record("eval/mean_ep_length", float(result.lengths.mean()))
        if result.success_rate is not None:
            self.logger.record("eval/success_rate", result.success_rate)
        self.logger.dump(t)
        self._tell(f"mean return {result.mean:.2f} +- {result.std:.2f} of {len(result.returns)}")
        proceed = True
        if result.mean > self.best_mean_reward:
            self.best_mean_reward = result.mean
            if self.best_file is not None:
                saving.save_or_warn(self.model, self.best_file)
            if self.on_new_best is not None:
                proceed = self.on_new_best.on_step()
        return self._on_event() and proceed

    def _write(self, file: Path) -> None:
        arrays = {
            "timesteps": np.array(self.evaluations_timesteps, np.int64),
            "results": np.array(self.evaluations_results, np.float64),
            "ep_lengths": np.array(self.evaluations_length, np.int64),
        }
        if len(self.evaluations_successes) == len(self.evaluations_results):
            arrays["successes"] = np.array(self.evaluations_successes, bool)
        try:
            write_evaluations(file, arrays)
        except OSError as error:
            warnings.warn(
                f"{file} could not be written ({error}); training continues.",
                CheckpointWarning,
                stacklevel=2,
            )


class StopTrainingOnRewardThreshold(Callback):
    """Stops when an EvalCallback, as callback_on_new_best, has a mean return of the threshold."""

    def __init__(self, reward_threshold: float, verbose: int = 1) -> None:
        super().__init__(verbose)
        self.reward_threshold = reward_threshold

    def _on_step(self) -> bool:
        best = _evaluation(self).best_mean_reward
        if best >= self.reward_threshold:
            self._tell(f"stopping, since the mean return {best:.2f} has reached the threshold "
                       f"{self.reward_threshold:g}")  # fmt: skip
            return False
        return True


class StopTrainingOnNoModelImprovement(Callback):
    """Stops when an EvalCallback, as callback_after_eval, has had no new best mean return.

    max_no_improvement_evals   in more than so many evaluations in a row
    min_evals                  evaluations before any of them counts
    """

    def __init__(self, max_no_improvement_evals: int, min_evals: int = 0, verbose: int = 1) -> None:
        super().__init__(verbose)
        self.max_no_improvement_evals, self.min_evals = max_no_improvement_evals, min_evals

    def _on_step(self) -> bool:
        means = [float(np.mean(row)) for row in _evaluation(self).evaluations_results]
        best = -np.inf
        without = 0
        for count, mean in enumerate(means, 1):
            without = 0 if mean > best or count <= self.min_evals else without + 1
            best = max(best, mean)
        if without > self.max_no_improvement_evals:
            self._tell(f"stopping, since {without} evaluations did not improve on {best:.2f}")
            return False
        return True


def _check_separate(model: Any, env: Any) -> None:
    """Raise ConfigError if evaluations in `env` would step an environment that the agent learns
    in. None: one like the agent's own."""
    made = model.evaluation_env() if env is None else env
    if isinstance(made, str) or (callable(made) and not hasattr(made, "step")):
        return
    if not hasattr(made, "unwrapped"):
        raise ConfigError(
            f"An environment must be an id, an Env, a VectorEnv or a function, got {env!r}."
        )
    shared = model.envs.holds(made)
    if env is None and not shared:
        made.close()
    if shared:
        raise ConfigError(
            "A callback got an environment that the agent learns in: its episodes would end. Pass "
            "another one, or an id."
        )


def _evaluation(callback: Callback) -> EvalCallback:
    """The EvalCallback that calls a callback, perhaps in a list."""
    parent = callback.parent
    while isinstance(parent, CallbackList):
        parent = parent.parent
    if not isinstance(parent, EvalCallback):
        raise ConfigError(
            f"{type(callback).__name__} needs evaluations: pass it to an EvalCallback, as "
            "callback_on_new_best or callback_after_eval."
        )
    return parent


# ---- other reasons to stop


class StopTrainingOnMaxEpisodes(Callback):
    """Stops after so many episodes of each environment in this run."""

    def __init__(self, max_episodes: int, verbose: int = 1) -> None:
        super().__init__(verbose)
        self.max_episodes = whole("max_episodes", max_episodes)
        self._start = 0

    def _on_training_start(self) -> None:
        self._start = self.logger.episode_count

    def _on_step(self) -> bool:
        n = self.logger.episode_count - self._start
        if n >= self.max_episodes * self.training_env.n:
            self._tell(f"stopping after {n:,} episodes")
            return False
        return True


class StopTrainingOnTime(Callback):
    """Stops when this run has lasted so many seconds."""

    def __init__(self, seconds: float, verbose: int = 1) -> None:
        super().__init__(verbose)
        self.seconds, self._began = seconds, 0.0

    def _on_training_start(self) -> None:
        self._began = time.monotonic()

    def _on_step(self) -> bool:
        if time.monotonic() - self._began >= self.seconds:
            self._tell(f"stopping after {self.seconds:g} seconds")
            return False
        return True


# ---- files


class CheckpointCallback(Callback):
    """Saves the complete agent at intervals, as {name_prefix}_{steps}_steps.npz.

    save_freq     env steps between two files
    save_path     folder, which is made
    name_prefix   of the file names
    keep          number of files that are kept, the newest; None: all of them. Files with more
                  steps than the agent are of another run, and stay
    latest        name of a further file in the folder, always the same as the newest one
    save_replay_buffer, save_vecnormalize
                  as in Stable-Baselines3, without effect: a file always has both

    A file that cannot be written gives a CheckpointWarning, and training continues.
    """

    def __init__(
        self,
        save_freq: int,
        save_path: "str | os.PathLike[str]",
        name_prefix: str = "rl_model",
        keep: int | None = None,
        latest: str | None = None,
        verbose: int = 0,
        save_replay_buffer: bool = True,
        save_vecnormalize: bool = True,
    ) -> None:
        super().__init__(verbose)
        self.save_freq, self.folder = whole("save_freq", save_freq), Path(save_path)
        self.name_prefix, self.latest = name_prefix, latest
        self.keep = None if keep is None else whole("keep", keep)
        self._next = 0

    def _on_training_start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._next = _multiple_after(self.num_timesteps, self.save_freq)

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = _multiple_after(self.num_timesteps, self.save_freq)
            self.save()
        return True

    def save(self) -> None:
        """Save now."""
        file = self.folder / f"{self.name_prefix}_{self.num_timesteps}_steps.npz"
        if not saving.save_or_warn(self.model, file):
            return
        self._tell(f"saved {file}")
        try:
            if self.latest is not None:
                _same_file(file, self.folder / self.latest)
            for old in self._files()[: -self.keep] if self.keep is not None else []:
                old.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                f"{file} was saved, but the other checkpoints in its folder could not be updated "
                f"({error}). Training continues.",
                CheckpointWarning,
                stacklevel=2,
            )

    def _files(self) -> list[Path]:
        """The files of this run in the folder, the oldest first."""
        start, end = f"{self.name_prefix}_", "_steps.npz"
        found = [
            (int(number), path)
            for path in self.folder.glob("*" + end)
            if path.name.startswith(start)
            and (number := path.name[len(start) : -len(end)]).isdecimal()
        ]
        return [path for steps, path in sorted(found) if steps <= self.num_timesteps]


def _same_file(file: Path, other: Path) -> None:
    """Let another name stand for a file: a hard link, or a copy where there are none."""
    new = other.with_name(f".{other.name}.new")
    new.unlink(missing_ok=True)
    try:
        try:
            os.link(file, new)
        except OSError:
            shutil.copyfile(file, new)
        os.replace(new, other)
    except OSError:
        new.unlink(missing_ok=True)
        raise


class RecordVideo(Callback):
    """Records the policy at intervals, as {name_prefix}_{steps}_steps.gif.

    save_freq      env steps between two videos
    save_path      folder, which is made
    name_prefix    of the file names
    suffix         ".gif" or ".mp4"
    episodes       complete episodes per video
    env            as for npr.training.recording.record; None: a new one like the agent's
    deterministic  False: sample actions, as in training
    seed           of every video, which then has the same episodes; None: others each time

    A recording has its own environment and random numbers: the run is the same to the bit as
    without it. A video that cannot be written gives a CheckpointWarning, and training continues.
    Raises ConfigError before the first step if the environment cannot render, or if a package is
    missing: pip install 'npr-rl[video]'.
    """

    def __init__(
        self,
        save_freq: int,
        save_path: "str | os.PathLike[str]",
        name_prefix: str = "video",
        suffix: str = ".gif",
        episodes: int = 1,
        env: Any = None,
        deterministic: bool = True,
        seed: int | None = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.save_freq, self.folder = whole("save_freq", save_freq), Path(save_path)
        self.name_prefix, self.suffix = name_prefix, suffix
        self.episodes, self.env = whole("episodes", episodes), env
        self.deterministic, self.seed = deterministic, seed
        self._next = 0

    def _on_training_start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _check_separate(self.model, self.env)
        recording.check_file(self._file())
        made = recording.rendering(self.model, "rgb_array", self.env)
        if made is not self.env:
            made.close()
        self._next = _multiple_after(self.num_timesteps, self.save_freq)

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = _multiple_after(self.num_timesteps, self.save_freq)
            self._record()
        return True

    def _record(self) -> None:
        file = self._file()
        try:
            played = recording.record(
                self.model, file, self.env, self.episodes, self.seed, self.deterministic
            )
        except (OSError, RuntimeError) as error:  # imageio_ffmpeg raises RuntimeError
            warnings.warn(
                f"{file} could not be written ({error}). Training continues.",
                CheckpointWarning,
                stacklevel=2,
            )
            return
        self._tell(f"recorded {file}, mean return {played.mean:.2f}")

    def _file(self) -> Path:
        return self.folder / f"{self.name_prefix}_{self.num_timesteps}_steps{self.suffix}"


class ProgressBarCallback(Callback):
    """A bar by tqdm, which shows well in notebooks; `pip install 'npr-rl[progress]'`."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ConfigError(
                "ProgressBarCallback needs tqdm: pip install 'npr-rl[progress]'. The progress line "
                "of learn() needs nothing."
            ) from None
        self._tqdm: Any = tqdm
        self._bar: Any = None

    def _on_training_start(self) -> None:
        total = self.model.counters.clock.end - self.num_timesteps
        self._bar = self._tqdm(total=total, unit="step", desc=type(self.model).__name__)
        self._start = self.num_timesteps

    def _on_step(self) -> bool:
        self._bar.update(self.num_timesteps - self._start - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


# ---- arguments


def as_callback(callback: Any) -> Callback | None:
    """The `callback` of learn() as a Callback: None, a function, a Callback or a list of them.

    Raises ConfigError for anything else.
    """
    return None if callback is None else _one(callback)


def _one(callback: Any) -> Callback:
    """A function, a list or a Callback as a Callback. Raises ConfigError."""
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, (list, tuple)):
        return CallbackList(callback)
    if wrong := _wrong(callback):
        raise ConfigError(
            "callback must be a function of one argument, the agent, which returns False to stop, "
            f"a Callback of npr.callbacks, or a list of these; got {wrong}."
        )
    return FunctionCallback(callback)


def _wrong(callback: Any) -> str | None:
    """What is wrong with a callback that is not a Callback, and what to do; None if nothing is."""
    kind = callback if isinstance(callback, type) else type(callback)
    if any(cls.__module__.startswith("stable_baselines3") for cls in kind.__mro__):
        return (
            f"{kind.__name__}, an object of Stable-Baselines3. npr.callbacks has classes of the "
            "same names"
        )
    if isinstance(callback, type):
        return f"the class {callback.__name__}. Pass a function, or an instance of the class"
    if not callable(callback):
        return f"{callback!r}. Write one: def callback(agent): ..."
    if inspect.iscoroutinefunction(callback) or inspect.isgeneratorfunction(callback):
        return f"{callback.__name__}, whose call would not run it. Write it without async and yield"
    try:
        signature = inspect.signature(callback)
    except (ValueError, TypeError):  # a function in C may have none
        return None
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(callback, "__name__", type(callback).__name__)
        return f"{name}{signature}. Write def {name}(agent)"
    return None


def _multiple_after(t: int, interval: int) -> int:
    """The first multiple of an interval above t."""
    return (t // interval + 1) * interval
