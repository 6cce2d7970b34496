"""What all algorithms share: settings, environments, acting, evaluation and files. The training
loop is in npr/training/run.py; the updates are in the file of each algorithm.
"""

import copy
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import InitVar
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from npr import presets
from npr.backend import Array, check_array, to_host
from npr.buffers import ReplayBuffer, Steps
from npr.callbacks import Callback, as_callback
from npr.capture import capture_methods
from npr.distributed.collected import ActorEnvs
from npr.envs.batched import BatchedEnv, ErrorPolicy
from npr.envs.make import env_id, env_name, has_limit_below, is_vector, number_of_envs, open_envs
from npr.envs.observed import ObservedEnvs
from npr.envs.remake import EnvOfFile, description
from npr.envs.spaces import Actions, Observations, actions_from_spec, observations_from_spec
from npr.errors import CheckpointWarning, ConfigError, ResumeWarning, SpaceError
from npr.files import checkpoint, replay_file
from npr.files.parts import Snapshot, instances, parts
from npr.heads import Head
from npr.kernels.rows import Kept
from npr.loggers import Output, Outputs, configure
from npr.nn import MLP
from npr.normalize import ObservationNorm, RewardNorm
from npr.optim import Optimizer
from npr.policy import Policy
from npr.settings import Schedule, Settings, sb3, setting
from npr.settings.schedule import value_at
from npr.settings.setting import check_names, checked_seed, documentation, is_whole, near
from npr.system import memory, streams
from npr.training import cloning, evaluation, imitation, offline, restoring, saving
from npr.training.acting import Acting
from npr.training.advice import note_on_batches, note_on_threads
from npr.training.counters import Counters
from npr.training.logger import Logger
from npr.training.observing import NOTHING_SELECTED, Observer
from npr.training.run import DEFAULT_BUDGET, Run, Step
from npr.training.space_checks import check_same_spaces, check_spaces

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from npr.envs.make import EnvSource
    from npr.export import Exported
    from npr.settings.setting import argument

REGISTRY: dict[str, type["Algorithm"]] = {}  # name -> class that `npr.load` may create

_READ_ONLY = ("env", "seed", "env_id", "preset", "settings", "networks", "action_kinds", "table")
# settings of the environments, which may change whenever these are opened
_OF_ENVS = (
    "n_envs", "vectorization", "n_workers", "engine", "max_episode_steps", "env_kwargs", "nan_obs",
    "on_env_error", "env_timeout",
)  # fmt: skip
# one random generator per purpose, so that drawing from one does not affect the others
_STREAMS = ("init", "explore", "sample", "noise", "act")


class Algorithm(Settings, sb3.Methods):
    """Base class of agents: settings, environments, acting, evaluation and files."""

    if TYPE_CHECKING:  # the other arguments of the constructor
        env: EnvSource = argument(default=None, kw_only=False)
        seed: int | None = None
        policy_kwargs: InitVar[dict[str, Any] | None] = None

    learning_rate: Schedule = setting(3e-4, "step size of the optimizers", within="[0, 10]")
    gamma: float = setting(0.99, "discount per env step", within="[0, 1]", fixed=True)
    n_envs: int = setting(1, "number of environments", within="[1, inf)", fixed=True)
    vectorization: Literal["sync", "async", "entry_point", "envpool", "auto"] | None = setting(
        None,
        "what steps the environments of an id; None: sync, or async with env_timeout",
        fixed=True,
    )
    n_workers: int = setting(
        0,
        "processes that step the environments and act in them; 0: this one",
        within="[0, inf)",
        fixed=True,
    )
    engine: Literal["processes", "ray"] = setting(
        "processes", "what runs the workers: processes of this machine, or Ray", fixed=True
    )
    max_episode_steps: int | None = setting(
        None,
        "steps per episode, as for gymnasium.make; None: the environment's limit",
        within="[1, inf)",
        fixed=True,
    )
    env_kwargs: dict[str, Any] | None = setting(
        None, "arguments of gymnasium.make, or of the function that makes an Env", fixed=True
    )
    normalize_obs: bool = setting(
        False,
        "standardize observations by running mean and deviation, and clip them to 10",
        fixed=True,
    )
    normalize_reward: bool = setting(
        False,
        "divide rewards by the running standard deviation of returns, and clip them to 10",
        fixed=True,
    )
    flatten_images: bool = setting(
        False, "accept images (uint8, three axes): flatten and divide them by 255", fixed=True
    )
    action_masks: bool = setting(
        False,
        'choose only actions that info["action_mask"] or env.action_masks() allows',
        fixed=True,
    )
    nan_obs: Literal["raise", "terminate"] = setting(
        "raise", "on non-finite observations or rewards; terminate: drop the episode", fixed=True
    )
    on_env_error: Literal["raise", "reset"] = setting(
        "raise", "on exceptions of an environment; reset: drop the episode", fixed=True
    )
    env_timeout: float | None = setting(
        None, "seconds per call of an environment in a process", within="(0, inf)", fixed=True
    )
    verbose: int = setting(1, "0: silent; 1: settings, progress and result", within="[0, inf)")

    action_kinds: ClassVar[tuple[str, ...]] = ("discrete", "box")  # supported action spaces
    needs_bounds: ClassVar[bool] = False  # whether a Box action space must be bounded
    table: ClassVar[bool] = False  # whether observations are indices of a table
    rates: ClassVar[dict[str, str]] = {}  # optimizer -> its setting, see npr.settings.ActorCritic
    # the file of a run that fails; None: save_path, or after an NprError a new file; False: none
    _crash_file: Any = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind = inspect.Parameter
        parameters = [
            kind("env", kind.POSITIONAL_OR_KEYWORD, default=None),
            kind("seed", kind.KEYWORD_ONLY, default=None, annotation=int | None),
        ] + [
            kind(name, kind.KEYWORD_ONLY, default=one.default, annotation=one.type)
            for name, one in cls.settings.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        own = [inspect.cleandoc(cls.__doc__)] if cls.__doc__ else []
        cls.__doc__ = "\n\n".join([*own, documentation(cls.settings)])
        REGISTRY[cls.__name__] = cls
        capture_methods(cls)

    def __init__(self, *args: Any, seed: int | None = None, **given: Any) -> None:
        args = sb3.without_policy(type(self).__name__, args, given)
        sb3.expand_policy_kwargs(type(self).__name__, given, self.settings)
        if "seeds" in given:
            raise ConfigError(
                f"An agent has one seed. Agents with several seeds that learn together are "
                f"npr.ensemble(npr.{type(self).__name__}, env, seeds={given['seeds']!r})."
            )
        env = args[0] if args else given.pop("env", None)
        if env is None or len(args) > 1 or "env" in given:
            raise ConfigError(
                f"{type(self).__name__} takes one environment: an id, a gymnasium.Env, a VectorEnv "
                f"or a function that returns one; got {args or (env,)}."
            )
        if is_vector(env):
            number = number_of_envs(env)
            if given.get("n_envs", 1) not in (1, number):
                raise ConfigError(
                    f"n_envs={given['n_envs']!r} does not match the VectorEnv, which has {number} "
                    "environments. Leave n_envs out."
                )
            given["n_envs"] = number
        self._configure(env, env_id(env), given, seed)
        self.envs = self._open_envs()
        try:
            self._start(self.envs.observations, self.envs.actions)
        except BaseException:
            if self.envs.owned:
                self.envs.close()
            raise

    @classmethod
    def restore(
        cls, manifest: dict[str, Any], arrays: dict[str, np.ndarray], env: Any = None
    ) -> Self:
        """Create an agent from a file's content. Environments are opened when it learns again.

        Its parts are newly initialized; npr.files.checkpoint loads their state. Raises an
        exception if the policy or the actions in the file do not match the agent.
        """
        restoring.check_before(manifest, arrays)
        agent = cls.__new__(cls)
        name, described = manifest["env"], {**manifest["env_description"]}
        if described.pop("assumed", False) and env is None:
            warnings.warn(
                f"The file was written by an earlier npr, which kept only the id {name} of the "
                "environment. If it had other arguments or wrappers, pass it: "
                "npr.load(path, env=...).",
                CheckpointWarning,
                stacklevel=6,
            )
        own = None if "unknown" in described else EnvOfFile(described)
        source = (own and own.source) if env is None else env
        settings = manifest["settings"]
        if env is None and own is not None and source == own.id:
            settings = {**settings, "env_kwargs": own.kwargs or None}
        agent._configure(source, name, settings, manifest["seed"])
        agent.envs = None
        agent.env_description = described if env is None else description(env)
        spec = manifest["policy"]
        agent._start(
            observations_from_spec(spec["observations"]), actions_from_spec(spec["actions"])
        )
        if env is not None:  # only now: the steps in the file are those of the earlier environments
            vars(agent).update(_settings_for(env, agent.max_episode_steps))
        restoring.check_after(agent.policy, agent.policy_parameters, manifest, arrays)
        return agent

    # ---- settings

    def _configure(self, env: Any, name: str | None, given: dict[str, Any], seed: Any) -> None:
        """Apply defaults, then the preset, then the user's values; create random generators."""
        owner = type(self).__name__
        self.env, self.env_id, self.preset = env, name, presets.find(owner, name)
        preset = {k: v for k, v in self.preset.items() if k != "total_timesteps"}
        check_names(owner, given, self.settings)
        own = _settings_for(env, preset.get("max_episode_steps"))
        for key, value in {**self.defaults(), **preset, **own, **given}.items():
            setattr(self, key, copy.deepcopy(value))
        if self.preset and "n_steps" in self.settings and "n_steps" not in given:
            held, tuned_for = vars(self), preset.get("n_envs", self.settings["n_envs"].default)
            held["n_steps"] = presets.steps_per_env(held["n_steps"], tuned_for, self.n_envs)
        if self.n_workers > self.n_envs and "n_envs" not in given and number_of_envs(env) is None:
            vars(self)["n_envs"] = self.n_workers
        self.seed = checked_seed(owner, seed)
        if self.table and self.normalize_obs:
            raise ConfigError(
                f"{owner}: normalize_obs=True needs observations that are numbers; those of a "
                "table are indices. Remove it, or use an algorithm with a network."
            )
        self.check()
        *streams, env_seeds = np.random.SeedSequence(self.seed).spawn(len(_STREAMS) + 1)
        self.rng = {name: np.random.default_rng(s) for name, s in zip(_STREAMS, streams)}
        self._env_seeds = env_seeds.entropy, env_seeds.spawn_key

    if not TYPE_CHECKING:  # type checkers refuse unknown attributes themselves

        def __setattr__(self, name, value):
            held = self.__dict__
            if "_built" in held and name[0] != "_":
                if name in _READ_ONLY:
                    other = ", except with set_env(env)" if name == "env" else ""
                    raise ConfigError(
                        f"{type(self).__name__}: {name} cannot be changed after construction"
                        f"{other}."
                    )
                nearest = None if name in held else near(name, self.settings)
                if nearest and not hasattr(type(self), name):
                    raise ConfigError(
                        f"{type(self).__name__} has no attribute {name!r}; did you mean {nearest}?"
                    )
            object.__setattr__(self, name, value)

    def now(self, schedule: Schedule | None) -> Any:
        """The current value of a setting that may be a schedule, e.g. "linear:3e-4", or None."""
        if schedule is None or isinstance(schedule, (int, float)):
            return schedule
        return value_at(schedule, self.counters.progress)

    def set_learning_rate(self) -> None:
        """Set the current learning rate in every optimizer, its own one if it has one."""
        rate = self.now(self.learning_rate)
        for name, optimizer in self._optimizers.items():
            own = getattr(self, self.rates.get(name, "learning_rate"))
            optimizer.learning_rate = rate if own is None else self.now(own)

    def override(self, given: dict[str, Any]) -> None:
        """Change settings of an agent that was loaded, before its environments are opened.

        Raises ConfigError for a setting that the agent was built with.
        """
        check_names(type(self).__name__, given, self.settings)
        for name, value in given.items():
            if name in _OF_ENVS:
                one = self.settings[name]
                vars(self)[name] = one.checked(type(self).__name__, value, self.networks)
            else:
                setattr(self, name, value)
        if not self.n_workers and "engine" not in given:
            vars(self)["engine"] = "processes"  # that of workers which are left out
        number, vector = number_of_envs(self.env), getattr(self.env, "vector", None)
        for name, fixed in (
            ("n_envs", number is not None or vector),
            ("max_episode_steps", is_vector(self.env) or vector),
            ("env_kwargs", number is not None or isinstance(self.env, EnvOfFile)),
            ("vectorization", number is not None or vector),
        ):
            if fixed and given.get(name) not in (None, number):
                raise ConfigError(
                    f"{name}={given[name]!r} cannot be applied to the agent's environment, "
                    f"{self.env!r}; pass another: npr.load(path, env=...)."
                )
        self._resize(self.n_envs)
        if "env_kwargs" in given and isinstance(self.env, str):
            self.env_description = description(self.env, **(self.env_kwargs or {}))
        self.check()

    # ---- counters

    @property
    def num_timesteps(self) -> int:
        """Env steps so far."""
        return self.counters.num_timesteps

    @property
    def end(self) -> int:
        """Env steps at which the run ends."""
        return self.counters.end

    @property
    def n_updates(self) -> int:
        """Updates so far."""
        return self.counters.n_updates

    @property
    def progress(self) -> float:
        """The fraction of the budget that is used, from 0 to 1."""
        return self.counters.progress

    # ---- construction

    def _start(self, observations: Observations, actions: Actions) -> None:
        self.observations, self.actions = observations, actions
        self.counters, self.logger = Counters(), Logger()
        self.made_with = checkpoint.made_with()
        self._position: dict[str, Any] = {}  # of environments that are closed, or not opened yet
        self._policy: Policy | None = None
        self._acting: Acting | None = None  # on a device
        self._captured: Any = None  # recorded calls, see npr.capture
        self._normal: Kept[tuple[int, ...], Any] = Kept()  # memory of `normal`
        self._described = self._learning = False
        self._observer: Observer | None = None  # of a run whose environments the caller steps
        self._outputs: Outputs | None = None  # of set_logger
        self._optimizers: dict[str, Any] = {}  # of the agent, at the start of a run
        self._advised: set[str] = set()  # warnings about settings that were given
        self.mask_size = actions.mask_size if self.action_masks and not self.table else 0
        self.row_size = observations.size + self.mask_size
        self.steps = Steps(self.n_envs, self.row_size, *actions.columns())
        norm = ObservationNorm(observations.size, ignored=self.mask_size)
        self.obs_norm = norm if self.normalize_obs else None
        self.reward_norm = RewardNorm(self.n_envs, self.gamma) if self.normalize_reward else None
        own = set(vars(self))
        with memory.explain_full_device(vars(self)):
            self.build()
        for buffer in instances(self, ReplayBuffer).values():
            buffer.set_spaces(observations, actions)
        self._optimizers = instances(self, Optimizer) if self.rates else {}
        self.set_learning_rate()
        # a fixed list or dict may be changed in place; a file holds what the agent was built with
        fixed = [n for n, one in self.settings.items() if one.fixed and n not in _OF_ENVS]
        self._built_with = {name: copy.deepcopy(getattr(self, name)) for name in fixed}
        self.snapshot = Snapshot(self, known=own)
        self._initial = cloning.fingerprint(self)
        self._built = True

    def build(self) -> None:
        """Make networks, parameters, optimizers and buffers."""
        raise NotImplementedError

    def mask(self, s: Array) -> Array | None:
        """The masks (..., mask_size) at the end of rows s (..., row_size) of observations; None
        without action_masks."""
        return s[..., -self.mask_size :] if self.mask_size else None

    def _open_envs(self) -> Any:
        entropy, spawn_key = self._env_seeds
        seeds = np.random.SeedSequence(entropy, spawn_key=spawn_key)
        options: dict[str, Any] = {
            "max_episode_steps": self.max_episode_steps, "env_kwargs": self._env_kwargs(),
            "scale_images": self.flatten_images, "vectorization": self.vectorization,
            "action_masks": self.action_masks,
            "error_policy": ErrorPolicy(self.nan_obs, self.on_env_error),
        }  # fmt: skip
        envs: BatchedEnv
        if self.n_workers:
            envs = ActorEnvs(self, seeds, options, self._say)
        else:
            envs = open_envs(
                self.env, self.n_envs, seeds, table=self.table, env_timeout=self.env_timeout,
                say=self._say, **options,
            )  # fmt: skip
        try:
            check_spaces(self, envs, REGISTRY)
        except (ConfigError, SpaceError):
            if envs.owned:
                envs.close()
            raise
        vars(self)["n_envs"] = envs.n  # a VectorEnv determines the number
        if isinstance(self.env, EnvOfFile):
            self.env_description = self.env.description
        else:
            made = envs.described()
            self.env_description = description(self.env, made, **(self.env_kwargs or {}))
        return envs

    def note_on_masks(self) -> None:
        """Say once that the environments have masks of actions, which are not used."""
        if self.envs.offers_masks and not self.action_masks and "action_masks" not in self._advised:
            self._advised.add("action_masks")
            self._say(
                "the environment says which actions are allowed; they are all tried. With "
                "action_masks=True the agent chooses among the allowed ones."
            )

    def _say(self, line: str) -> None:
        if self.verbose:
            streams.write(sys.stdout, f"{type(self).__name__}: {line}\n")

    def _env_kwargs(self) -> dict[str, Any] | None:
        return None if isinstance(self.env, EnvOfFile) else self.env_kwargs

    def _no_env(self, call: str) -> ConfigError:
        name = f" ({self.env_id})" if self.env_id else ""
        return ConfigError(
            f"A file or copy of the agent does not hold how its environment{name} is made: "
            f"{self.env_description.get('unknown')}. Pass one: {call}."
        )

    def _reopen_envs(self, num_timesteps: int) -> None:
        """Open the environments of an agent that was loaded or closed."""
        if self.env is None:
            raise self._no_env("npr.load(path, env=...) or agent.set_env(env)")
        position, self._position = self._position, {}
        if position.get("steps", 0) or num_timesteps:
            self._renew_seeds(num_timesteps)
        self._enter(self._open_envs())
        if position:
            self._resume_episodes(position)

    def _renew_seeds(self, *key: int) -> None:
        """Let the next environments have other seeds than the first: their episodes were seen."""
        self._env_seeds = self._env_seeds[0], (len(_STREAMS), *key)

    def _enter(self, envs: BatchedEnv) -> None:
        """Go on in newly opened environments. Raises SpaceError if they have other spaces."""
        try:
            check_same_spaces(self.observations, self.actions, envs)
        except SpaceError:
            if envs.owned:
                envs.close()
            raise
        self._resize(envs.n)
        self.envs = envs

    def _resize(self, n: int) -> None:
        """Prepare what depends on the number of environments."""
        if n != self.steps.N:
            self.steps = Steps(n, self.row_size, *self.actions.columns())
            if self.reward_norm:
                self.reward_norm.begin(n)

    def set_env(self, env: "EnvSource", env_kwargs: dict[str, Any] | None = None) -> None:
        """Go on in another environment with the same spaces. New episodes begin.

        env          as for the constructor; an id or a function makes n_envs of them
        env_kwargs   arguments of gymnasium.make, or of the function

        Raises SpaceError or ConfigError, and changes nothing, if the environment does not fit.
        """
        if self._learning:
            raise ConfigError("set_env() was called on an agent that is learning.")
        self._end_observation()
        before, position = dict(vars(self)), self.position()
        own: dict[str, Any] = {"env": env, "env_id": env_id(env), "env_kwargs": env_kwargs}
        try:
            vars(self).update(own | _settings_for(env, self.max_episode_steps))
            if position:
                self._renew_seeds(int(position["steps"]), 1)
            self._enter(self._open_envs())
        except BaseException:
            vars(self).update(before)
            raise
        if position:  # count on: numbers of episodes are not used twice
            self.envs.resume({**position, "open": np.array(False)})
        old, self._position = before["envs"], {}
        if old is not None and old.owned:
            old.close()

    def _resume_episodes(self, position: dict[str, Any]) -> None:
        """Restore the position of the environments, or warn that new episodes start."""
        try:
            why = self.envs.resume(position)
        except Exception as error:  # an environment may raise anything, and so may a bad file
            why = f"repeating them raised {error!r}"
        name = type(self).__name__
        if why:
            warnings.warn(
                f"{name} cannot continue its episodes: {why}. New episodes start; "
                "everything that was learned is restored.",
                ResumeWarning,
                stacklevel=5,
            )
        elif position.get("open") and (changed := checkpoint.changes(self.made_with)):
            warnings.warn(
                f"{name} continues, but results may differ in the last bits: {changed}.",
                ResumeWarning,
                stacklevel=5,
            )

    # ---- learning

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Self:
        """Learn for a number of environment steps and return the agent.

        total_timesteps      None: the preset's budget for this environment, or the rest of an
                             unfinished run
        callback             a function that is called with the agent after every step, a Callback
                             of npr.callbacks, or a list of these; returning False stops, and so
                             does an exception. It must not step the agent's environment
        progress_bar         False: none; None or True: one line, on runs longer than a second
        log_interval         rows of the log are written every so many rollouts (PPO and others
                             that learn from rollouts) or episodes; None: about 100 rows of a log
                             that was asked for. Without a log it prints tables
        reset_num_timesteps  False: continue to count, and continue schedules. An unfinished run
                             always continues: one that was interrupted, or loaded from a file
                             that was saved before its end
        save_path            file that the agent is written to at the end, and if the run fails
        save_freq            env steps between writes to save_path during the run
        log                  outputs by name ("csv", "tensorboard", see npr.loggers.configure) or
                             npr.loggers.Output objects; None: those of set_logger, if any
        log_dir              folder of the files of `log`; None: the working directory

        Ctrl-C and SIGTERM stop the run after the current update: the agent is saved, its
        environments are closed, and the program ends with KeyboardInterrupt or exit status 143. A
        second signal stops it immediately. The agent is also saved after an NprError (an
        environment that violates Gymnasium's API, training that diverged). Without save_path the
        file is named after the agent, in the working directory. After other exceptions, such as
        those of the callback, it is saved to save_path only. Every exception is raised unchanged,
        with a note that names the file.
        """
        run = self._begin(
            total_timesteps, callback, progress_bar, log_interval, reset_num_timesteps, save_path,
            save_freq, log, log_dir,
        )  # fmt: skip
        try:
            run.execute()
        finally:
            self._end(run)
        return self

    def iterate(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Iterator[Step]:
        """Learn as `learn` does with the same arguments, and yield a Step after every step of the
        environments and the updates that followed it.

        The run begins with the first Step that is asked for. Leaving the loop, or closing the
        iterator, ends it as if a callback had returned False. Between two steps the agent may be
        saved, evaluated and changed; it is still learning, so that another run is refused, and
        Ctrl-C takes effect in the next step.
        """
        run = self._begin(
            total_timesteps, callback, progress_bar, log_interval, reset_num_timesteps, save_path,
            save_freq, log, log_dir,
        )  # fmt: skip
        try:
            yield from run.steps()
        finally:
            self._end(run)

    def begin_run(
        self,
        total_timesteps: int | None = None,
        reset_num_timesteps: bool = True,
        log_interval: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> None:
        """Begin a run whose environments the caller steps, with `select_action` and `observe`.

        The arguments are those of `learn`. Schedules follow the budget; steps beyond it are learned
        from too, with the values that they have at its end. Without this call the first
        `select_action` goes on with the agent's last run, or begins one with the preset's budget.
        """
        saving.check_arguments(None, log_interval, reset_num_timesteps)
        outputs = self._outputs_of(log, log_dir, log_interval)
        counters = self._next_counters(total_timesteps, reset_num_timesteps, "begin_run")
        self._observe_envs(counters, outputs, log_interval)

    def select_action(self, observation: Any, action_masks: Any = None) -> Any:
        """The environment's action for an observation, chosen as in `learn`: with exploration.

        observation   of n_envs environments, as a batch, if there are several; then the result is
                      one, too. If it is not the next observation of the last step, a new episode
                      begins
        action_masks  for action_masks=True: 1 or True for each action that is allowed, one mask
                      per environment

        `observe` learns from what follows. Raises EnvContractError for an observation that does not
        fit the space, NumericsError if training has diverged.
        """
        if self._observer is None:
            counters = self._next_counters(None, True, "select_action")
            counters = self.counters if self.counters.end else counters
            self._observe_envs(counters, self._outputs_of(None, None, None), None)
        elif self._learning:
            raise self._is_learning("select_action")
        return self._observer.select(observation, action_masks)

    def observe(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        next_observation: Any,
        terminated: Any,
        truncated: Any,
        valid: Any = None,
        action_masks: Any = None,
    ) -> None:
        """Learn from one step as `learn` would: after the same steps the agent is the same.

        observation        that of the last `select_action`
        action             what was done: the action that it returned, or another one of the
                           environment's space
        reward             a number; (n_envs,) for several environments, as the flags
        next_observation   the true one, also where the episode ended
        terminated         whether the episode ended there; truncated: whether it was cut, by a time
                           limit or a reset. The next `select_action` then begins a new one
        valid              (n_envs,) False where the step only reset an environment, as in
                           Gymnasium's autoreset mode NEXT_STEP; None: nowhere
        action_masks       as for `select_action`, at the next observation; not needed where the
                           episode terminated

        Updates run here when they are due, and the log is written. A call that raises ConfigError
        or EnvContractError has changed nothing and can be repeated.
        """
        if self._learning:
            raise self._is_learning("observe")
        if self._observer is None:
            raise NOTHING_SELECTED
        self._observer.observe(
            observation, action, reward, next_observation, terminated, truncated, valid,
            action_masks,
        )  # fmt: skip

    def _is_learning(self, call: str) -> ConfigError:
        return ConfigError(f"{call}() was called on an agent that is learning; copy it first.")

    def _next_counters(self, total_timesteps: Any, reset: bool, call: str) -> Counters:
        """Those of a run that begins now. Raises ConfigError if the agent is learning."""
        if self._learning:
            raise self._is_learning(call)
        default = self.preset.get("total_timesteps", DEFAULT_BUDGET)
        return self.counters.next_run(total_timesteps, default, reset)

    def _observe_envs(self, counters: Counters, outputs: Outputs, log_interval: Any) -> None:
        """Begin a run in environments that the caller steps."""
        self._end_observation()
        if self.envs is None or not self.envs.observed:
            position = self.position()
            self.envs, self._position = ObservedEnvs(
                self.n_envs, self.observations, self.actions, self.envs,
                self.actions.mask_size if self.action_masks else 0, table=self.table,
                error_policy=ErrorPolicy(self.nan_obs, self.on_env_error),
            ), {}  # fmt: skip
            if position:
                self._resume_episodes(position)
        run = self._open(counters, None, False, log_interval, None, None, outputs)
        self._learning = False
        self._observer = Observer(self, run)

    def _end_observation(self) -> None:
        """End the run of `observe`, if there is one."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.end()

    def _leave_observed_envs(self) -> None:
        """Go back from environments that the caller steps to the agent's own ones, in which new
        episodes begin."""
        self._end_observation()
        if self.envs is None or not self.envs.observed:
            return
        self._position = {**self.envs.state(), "open": np.array(False)}
        self.envs = self.envs.own
        if self.envs is not None:
            self.envs.s = None
            self.envs.resume(self._position)
            self._position = {}

    def _begin(
        self, total_timesteps: Any, callback: Any, progress_bar: Any, log_interval: Any,
        reset_num_timesteps: Any, save_path: Any, save_freq: Any, log: Any, log_dir: Any,
    ) -> Run:  # fmt: skip
        """The run of one call of `learn`, ready to be executed. `_end` must follow."""
        saving.check_target(save_path, save_freq)
        saving.check_arguments(progress_bar, log_interval, reset_num_timesteps)
        callbacks, outputs = as_callback(callback), self._outputs_of(log, log_dir, log_interval)
        counters = self._next_counters(total_timesteps, reset_num_timesteps, "learn")
        self._leave_observed_envs()
        if self.envs is None:
            self._reopen_envs(counters.num_timesteps)
        if callbacks is not None:
            callbacks.init_callback(self)
        return self._open(
            counters, callbacks, progress_bar, log_interval, save_path, save_freq, outputs
        )

    def _open(
        self, counters: Counters, callback: Callback | None, progress_bar: Any, log_interval: Any,
        save_path: Any, save_freq: Any, outputs: Outputs,
    ) -> Run:  # fmt: skip
        own = {name: getattr(self, name) for name in self.settings}
        about = {"algorithm": type(self).__name__, "env": self.env_name, "seed": self.seed, **own}
        title = f"{type(self).__name__} {self.env_name}"
        episodes = self.logger.episode_count if counters.num_timesteps else 0
        outputs.open(title, about, counters.num_timesteps, episodes)
        self.counters = counters
        self._optimizers = instances(self, Optimizer)
        self._describe(counters.end - counters.num_timesteps)
        self.logger.begin(counters.num_timesteps)
        run = Run(self, callback, progress_bar, log_interval, save_path, save_freq, outputs)
        self._learning = True
        return run

    def _end(self, run: Run) -> None:
        """A run of `_begin` has ended, in whatever way."""
        self._learning = False
        run.outputs.close()

    def learn_offline(
        self,
        updates: int,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Self:
        """Make a number of updates from the replay buffer as it is, without environments, and
        return the agent.

        The arguments are those of `learn`, where every step is an update: schedules go over these
        updates, and target_update_interval, log_interval, save_freq and the intervals of callbacks
        count them. learning_starts, train_freq and gradient_steps have no effect. Callbacks are
        called after every update; num_timesteps of the agent does not change.

        Warns once of extrapolation errors. Raises ConfigError for an algorithm without a replay
        buffer, and for an empty buffer.
        """
        offline.learn_offline(
            self, updates, as_callback(callback), progress_bar, log_interval, save_path, save_freq,
            self._outputs_of(log, log_dir, log_interval),
        )  # fmt: skip
        return self

    def imitate(
        self,
        observations: Any,
        actions: Any,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        action_masks: Any = None,
    ) -> imitation.Imitation:
        """Behavior cloning: let the policy choose the actions of others, as a start for `learn`.

        observations, actions   (B, ...) in the units of the environment
        epochs                  passes through them, in batches in random order
        learning_rate           of an Adam of its own: the optimizers of the agent are not changed
        action_masks            (B, mask_size), for an agent with action_masks=True; None: all
                                actions were allowed

        It maximizes the log-likelihood of the actions; for DDPG and TD3 it minimizes the squared
        error, and for SoftQ's sampler an energy distance (Gneiting and Raftery 2007, eq. 22).
        Critics are not trained. A target network of the actor is set to it, and steps that `learn`
        has kept for its next rollout are dropped. With normalize_obs the first observations that
        the agent gets are those of the data, if it has had none.

        Returns the losses of the epochs, and how close the actions of the policy are to the data.
        Raises ConfigError for an algorithm without an actor (DQN, tables), and for data that are
        not in the spaces; NumericsError if it diverges.
        """
        return imitation.imitate(
            self, observations, actions, epochs, batch_size, learning_rate, action_masks
        )

    def set_logger(self, outputs: "Iterable[Output] | None") -> None:
        """Write the log of every further learn() to these outputs, see npr.loggers.configure.

        None: to none. A `log` of learn() replaces them in that call.
        """
        self._outputs = None if outputs is None else Outputs(configure(None, outputs))

    def _outputs_of(self, log: Any, log_dir: Any, log_interval: Any) -> Outputs:
        """The outputs of one call of learn()."""
        if log is None and log_dir is not None:
            raise ConfigError(
                f"log_dir={log_dir!r} needs a log to write there: learn(log=['csv', 'monitor'], "
                "log_dir=...)."
            )
        if log is not None:
            return Outputs(configure(log_dir, log))
        if self._outputs is not None:
            return self._outputs
        return Outputs(configure(None, "stdout") if log_interval is not None else [])

    def _train(self, run: Run) -> None:
        """The algorithm: iterate over run.interact, transitions, rollouts or episodes."""
        raise NotImplementedError

    def _describe(self, budget: int) -> None:
        if self.verbose and not self._described:
            self._described = True
            name = type(self).__name__
            text = f"{name} on {self.env_name}, {budget:,} steps: {self._differences()}"
            streams.write(sys.stdout, f"{text}{note_on_batches(self)}\n{note_on_threads(self)}")

    def _differences(self) -> str:
        """The settings of the preset and others that are no defaults, as keyword arguments."""
        changed = {
            name: getattr(self, name)
            for name, default in self.defaults().items()
            if name in self.preset or getattr(self, name) != default
        }
        return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "default settings"

    def __repr__(self) -> str:
        env = self.env_name if self.env_id is None else repr(self.env_id)
        return f"{type(self).__name__}({env}, {self._differences()})"

    @property
    def env_name(self) -> str:
        """What to call the environment in a text, in which its id may be missing."""
        if self.env is None:
            return self.env_id or "no environment"
        opened = [*map(env_name, self.envs.bases()[:1])] if self.envs else []
        return env_name(self.env) or "".join(filter(None, opened)) or "a function"

    # ---- acting

    def acts_by(self) -> tuple[Head, MLP | None, Array]:
        """The head, the network (None: a table) and the parameters of the policy."""
        raise NotImplementedError

    def values_by(self) -> tuple[Callable[..., Array], Array] | None:
        """The critic Q(parameters, s, a) and its parameters; None: there is no critic of actions.

        It takes batches, (B, n) and (B, D) in [-1, 1]; several critics are rows of the result.
        """
        return None

    @property
    def policy(self) -> Policy:
        """The current policy, on the host. On the NumPy backend it shares the parameters; on a
        device it has a copy of them, as they are now: each call writes it to the same policy, also
        to one that was handed out before."""
        head, network, theta = self.acts_by()
        policy = self._policy
        there = not isinstance(theta, np.ndarray)
        if there and policy is not None and policy.head == head:
            policy.theta[...] = to_host(theta)
        elif policy is None or policy.theta is not theta or policy.head != head:
            shape: dict[str, Any] = {}
            if network is not None:
                names = ("sizes", "activation", "free", "layer_norm")
                shape = {name: getattr(network, name) for name in names}
            policy = Policy(
                self.observations, head, to_host(theta), norm=self.obs_norm,
                masked=self.action_masks, **shape,
            )  # fmt: skip
            self._policy = policy
        return policy

    @property
    def masked_tables(self) -> tuple[str, ...]:
        """The names of tables with -inf for actions that a mask forbids, that of the policy
        first."""
        return ()

    @property
    def policy_parameters(self) -> str:
        """The name of the attribute with the policy's parameters."""
        *_, theta = self.acts_by()
        return next(name for name, part in parts(self).items() if part is theta)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, Any]:
        """(action, None) for one observation or a batch, with Stable-Baselines3's signature.

        action_masks   as for `act`
        """
        return self.policy(observation, deterministic, self.rng["act"], action_masks), None

    def act(self, observation: Any, deterministic: bool = True, action_masks: Any = None) -> Any:
        """The environment's action for one observation or a batch.

        action_masks   1 or True for each action that is allowed, one mask per observation; None:
                       all are, with a warning if the agent was trained with action_masks=True
        """
        return self.policy(observation, deterministic, self.rng["act"], action_masks)

    def evaluate(
        self,
        env: "EnvSource | None" = None,
        episodes: int = 100,
        seed: int | None = None,
        deterministic: bool = True,
        episode_limit: int = evaluation.EPISODE_LIMIT,
    ) -> evaluation.Evaluation:
        """Run complete episodes and return an Evaluation: .mean .std .returns .lengths

        env            id, Env, VectorEnv or function. None: a new environment like the agent's own,
                       with the statistics of its normalizing wrappers; ConfigError if npr cannot
                       make one. An Env or VectorEnv is not closed, and keeps its statistics.
                       Episodes end after the agent's max_episode_steps in any of them
        episodes       each environment of a VectorEnv contributes the same number, up to one
        seed           for the first reset and for sampled actions: same seed, same episodes
        deterministic  False: sample actions, as in training
        episode_limit  steps after which an episode is cut, with a ConfigWarning

        Raises SpaceError if the environment's spaces are not the agent's, and EnvContractError or
        EnvCrashedError for its faults.
        """
        for name, number in (("episodes", episodes), ("episode_limit", episode_limit)):
            if not is_whole(number) or number < 1:
                raise ConfigError(f"{name} must be a whole number above 0, got {number!r}.")
        if env is None and self.env is None:
            raise self._no_env("evaluate(env=...)")
        return evaluation.evaluate(
            self.policy, self.evaluation_env if env is None else env, int(episodes),
            checked_seed("evaluate", seed), deterministic, int(episode_limit),
            self.max_episode_steps, self.action_masks,
        )  # fmt: skip

    def evaluation_env(self) -> Any:
        """A new environment like the agent's own, for evaluations.

        Raises ConfigError if npr cannot make one.
        """
        return evaluation.separate(
            self.env, self.envs, self.max_episode_steps, self._env_kwargs(), self.vectorization
        )

    def score(
        self, env: "EnvSource | None" = None, episodes: int = 100, seed: int | None = None
    ) -> float:
        """The mean return of complete episodes, as `evaluate` with the same arguments."""
        return self.evaluate(env, episodes, seed).mean

    # ---- conventions of scikit-learn

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name: env, seed and the settings, as they are now.

        deep   has no effect: no argument has parameters of its own
        """
        held = {name: getattr(self, name) for name in self.settings} | self._built_with
        return {"env": self.env, "seed": self.seed, **copy.deepcopy(held)}

    def set_params(self, **params: Any) -> Self:
        """Change settings and return the agent. n_steps and n_episodes act from the next run on.

        An agent that has learned nothing takes `env`, `seed` and every setting: if it was built
        with another value it is built again, as by npr.clone.

        Raises ConfigError for unknown names, for values that are not valid, and, once the agent has
        learned or its parameters were changed, for other values of those that it was built with;
        then nothing has changed.
        """
        owner = type(self).__name__
        check_names(owner, params, ["env", "seed", *self.settings])
        held = self.get_params()
        new = [name for name in ("env", "seed") if params.get(name, held[name]) != held[name]]
        for name, value in params.items():
            one = self.settings.get(name)
            if one and one.fixed and one.checked(owner, value, self.networks) != held[name]:
                new.append(name)
        if new and cloning.is_new(self):
            cloning.rebuild(self, params)
            return self
        for name in ("env", "seed"):
            if name in new:
                setattr(self, name, held[name])  # refused
        self.assign({name: value for name, value in params.items() if name in self.settings})
        return self

    def __sklearn_clone__(self) -> Self:
        """For sklearn.base.clone."""
        return cloning.clone(self)  # type: ignore[no-any-return]

    # ---- plots

    def plot(self, path: "str | os.PathLike[str] | None" = None, **options: Any) -> "Figure":
        """Draw the learning curve of this process: returns of the training's episodes.

        path      file to write: .png, .svg or .pdf
        options   arguments of npr.plot.curves, e.g. x="seconds"

        Returns the matplotlib Figure. Raises ConfigError if matplotlib is missing, or no episode
        has finished.
        """
        from npr.plot import curves

        return curves([self], path=path, **options)

    # ---- files

    def setting_values(self) -> dict[str, Any]:
        """The settings by name; fixed ones as they were when the agent was built.

        Raises ConfigError if one was made invalid in ways that are not checked, such as in place:
        a file with it would not load.
        """
        owner = type(self).__name__
        held = {name: getattr(self, name) for name in self.settings}
        # the arguments of the environments are in their description
        held |= {**self._built_with, "n_envs": self.steps.N, "env_kwargs": None}
        try:
            checked_seed(owner, self.seed)
            for name, one in self.settings.items():
                held[name] = one.checked(owner, held[name], self.networks)
            self.check()
        except ConfigError as error:
            raise ConfigError(f"{error} Set it to a valid value; nothing was saved.") from None
        return held

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Save the complete agent to one file, without pickle. No suffix is added to the path.

        Raises ConfigError if the path is not one of a file or a setting is invalid, OSError if the
        file cannot be written, and CheckpointError if it would lose state of the agent.
        """
        saving.check_path("path", path)
        checkpoint.save(self, path)

    def save_replay_buffer(self, path: "str | os.PathLike[str]") -> None:
        """Save the transitions of the replay buffer alone, with the running moments of
        normalize_obs and normalize_reward, to one file without pickle.

        Raises ConfigError for an algorithm without one, or if the path is not one of a file, and
        OSError if the file cannot be written.
        """
        saving.check_path("path", path)
        offline.buffer_of(self, "save_replay_buffer")
        replay_file.save(self, path)

    def load_replay_buffer(self, path: "str | os.PathLike[str]") -> None:
        """Replace the transitions of the replay buffer by those of a file.

        It must be that of an agent with the same spaces, n_step_return and kind of buffer. Its
        buffer_size may be another one, if the transitions fit. The running moments are taken over
        if the agent has none. Episodes that went on do not go on.

        Raises CheckpointError, and changes nothing, if the file is damaged or does not fit.
        """
        saving.check_path("path", path)
        offline.buffer_of(self, "load_replay_buffer")
        replay_file.load(self, path)

    def export(self, path: "str | os.PathLike[str]", **options: Any) -> "Exported":
        """Write the policy for use without npr: C, Python, JavaScript, ONNX and others, by suffix.

        Takes the options of `npr.export`, which describes them.
        """
        from npr.export import export  # needed by few runs

        return export(self, path, **options)

    def acting_parameters(self) -> np.ndarray | None:
        """The parameters that the next action of a run is chosen by; None: the current ones."""
        return None if self._acting is None else self._acting.upcoming(self.n_updates)

    def close(self) -> None:
        """Close the environments. The agent can still act, evaluate and save."""
        self._end_observation()
        if self.envs is not None:
            self._position = self.envs.state()
            self.envs.close()
            self.envs = None

    def position(self) -> dict[str, Any]:
        """The position of the environments in their episodes, as arrays."""
        return self._position if self.envs is None else self.envs.state()

    def resume(
        self,
        *,
        num_timesteps: int,
        end: int,
        n_updates: int,
        episodes: int,
        made_with: dict[str, str],
        position: dict[str, np.ndarray],
        acting: np.ndarray | None,
    ) -> None:
        """Restore the counters, the position for when the environments are opened, and the
        parameters to act by until the next updates, if they are not the current ones.

        Raises ConfigError if the position or these parameters are not valid.
        """
        if position:
            BatchedEnv.check_state(position)
        *_, theta = self.acts_by()
        if acting is not None:
            check_array("The array of parameters that act", acting, theta.shape, theta.dtype)
        self.counters = Counters(num_timesteps, end, n_updates, unfinished=num_timesteps < end)
        self.logger.episode_count = episodes
        self.made_with, self._position = made_with, position
        if acting is not None and not isinstance(theta, np.ndarray):  # on the host nothing lags
            self._acting = Acting(self, acting)

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without environments, which a copy opens when it continues to learn, and
        without the policy, which shares memory with the parameters."""
        without: dict[str, Any] = {
            "envs": None,
            "_policy": None,
            "_learning": False,
            "_observer": None,
            "_outputs": None,
            "_optimizers": {},
            "env": self._env_of_copy(),
        }
        return {**vars(self), **without, "_position": self.position()}

    def _env_of_copy(self) -> Any:
        """What a copy makes its environments from. Vector environments and functions without a
        name of their own cannot be copied; None if there is no description either."""
        env = self.env
        function = env.func if isinstance(env, functools.partial) else env
        local = "<" in getattr(function, "__qualname__", "")
        made = number_of_envs(env) is not None
        if "unknown" not in self.env_description and (made or local):
            return EnvOfFile(self.env_description).source
        return None if is_vector(env) or local else env

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = memo[id(self)] = type(self).__new__(type(self))
        state = self.__getstate__()
        if state["env"] is None and callable(self.env):
            state["env"] = self.env  # a function needs no copy
        vars(other).update(copy.deepcopy(state, memo))
        return other


def _settings_for(env: Any, max_episode_steps: int | None) -> dict[str, Any]:
    """The settings that follow from an Env or VectorEnv, which is stepped as it is; a shorter time
    limit of its own counts."""
    number = number_of_envs(env)
    settings = {} if number is None else {"n_envs": number, "vectorization": None}
    shorter = max_episode_steps is not None and has_limit_below(env, max_episode_steps)
    return settings | ({"max_episode_steps": None} if shorter else {})
