"""What all agents have besides learning: settings, environments, acting, evaluation and files."""

import copy
import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from npr import own_network, presets
from npr.backend import Array, check_array, to_host
from npr.buffers import ReplayBuffer, Steps
from npr.distributed.collected import ActorEnvs
from npr.envs.batched import BatchedEnv, ErrorPolicy
from npr.envs.make import (
    env_id,
    env_name,
    has_limit_below,
    is_vector,
    not_registered,
    number_of_envs,
    open_envs,
)
from npr.envs.remake import EnvOfFile, description
from npr.envs.spaces import Actions, Observations, actions_from_spec, observations_from_spec
from npr.errors import CheckpointWarning, ConfigError, ResumeWarning, SpaceError
from npr.files import checkpoint
from npr.files.parts import Snapshot, instances, parts
from npr.heads import Head
from npr.kernels.rows import Kept
from npr.loggers import Outputs
from npr.nn import MLP
from npr.normalize import ObservationNorm, RewardNorm
from npr.optim import Optimizer
from npr.own_network import BoundNetwork
from npr.policy import Policy
from npr.settings import Schedule, Settings, sb3, setting
from npr.settings.schedule import value_at
from npr.settings.setting import check_names, checked_seed, is_whole, near
from npr.system import memory, streams
from npr.training import cloning, evaluation, inspecting, restoring, saving
from npr.training.acting import Acting
from npr.training.advice import note_on_batches, note_on_threads
from npr.training.counters import Counters
from npr.training.logger import Logger
from npr.training.observing import Observer
from npr.training.space_checks import check_same_spaces, check_spaces

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from npr.envs.make import EnvSource
    from npr.export import Exported
    from npr.settings.setting import argument

_READ_ONLY = ("env", "seed", "env_id", "preset", "settings", "networks", "action_kinds", "table")
# settings of the environments, which may change whenever these are opened
_OF_ENVS = (
    "n_envs", "vectorization", "n_workers", "engine", "max_episode_steps", "env_kwargs", "nan_obs",
    "on_env_error", "env_timeout",
)  # fmt: skip
# one random generator per purpose, so that drawing from one does not affect the others
_STREAMS = ("init", "explore", "sample", "noise", "act")


class Agent(Settings, sb3.Methods):
    """Settings, environments, acting, evaluation and files of an agent."""

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

    registry: ClassVar[Mapping[str, Any]] = {}  # name -> class, of all algorithms
    action_kinds: ClassVar[tuple[str, ...]] = ("discrete", "box")  # supported action spaces
    needs_bounds: ClassVar[bool] = False  # whether a Box action space must be bounded
    table: ClassVar[bool] = False  # whether observations are indices of a table
    off_policy: ClassVar[bool] = False  # whether it learns about another policy than it acts with
    rates: ClassVar[dict[str, str]] = {}  # optimizer -> its setting, see npr.settings.ActorCritic
    # the file of a run that fails; None: save_path, or after an NprError a new file; False: none
    _crash_file: Any = None

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
            one = own_network.wrapped(value) if key == "net_arch" else value
            setattr(self, key, copy.deepcopy(one))
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
            check_spaces(self, envs, self.registry)
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
        unused = self.envs.offers_masks and not self.action_masks and self.actions.mask_size
        if unused and "action_masks" not in self._advised:
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
        import gymnasium

        if self.env is None:
            raise self._no_env("npr.load(path, env=...) or agent.set_env(env)")
        position, self._position = self._position, {}
        if position.get("steps", 0) or num_timesteps:
            self._renew_seeds(num_timesteps)
        try:
            envs = self._open_envs()
        except gymnasium.error.UnregisteredEnv as error:
            raise ConfigError(not_registered(error)) from None
        self._enter(envs)
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

    def _end_observation(self) -> None:
        """End the run of `observe`, if there is one."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.end()

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

    def acts_by(self) -> tuple[Head, MLP | BoundNetwork | None, Array]:
        """The head, the network (None: a table) and the parameters of the policy."""
        raise NotImplementedError

    def values_by(self) -> tuple[Callable[..., Array], Array] | None:
        """The critic Q(parameters, s, a) and its parameters; None: there is no critic of actions.

        It takes batches, (B, n) and (B, D) in [-1, 1]; several critics are rows of the result.
        """
        return None

    def state_values_by(self) -> tuple[Callable[..., Array], Array] | None:
        """The critic V(parameters, s) -> (B,) and its parameters; None: there is none."""
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
                if isinstance(network, BoundNetwork):
                    shape["network"] = network
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

    def inspect(
        self,
        observation: Any,
        action_masks: Any = None,
        names: Sequence[str] | None = None,
    ) -> inspecting.Inspection:
        """What the policy observes, computes and does for one observation: print the result, or
        take its attributes, see npr.training.inspecting.Inspection.

        observation    one observation, as for `act`
        action_masks   as for `act`: (mask_size,)
        names          of Discrete actions, one for each; None: those of the environment's
                       get_action_meanings(), or the numbers of the actions

        It has the observation, what the network gets, Q-values or the distribution, the values of
        the critics, and the deterministic action before and after scaling, which is that of
        predict(observation, deterministic=True) to the bit. The agent does not change.

        Raises EnvContractError for an observation or a mask that does not fit, and ConfigError for
        a batch.
        """
        return inspecting.inspect(self, observation, action_masks, names)

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
        if self.env is None:
            raise self._no_env("env=...")
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
        """The settings by name, as plain data; fixed ones as they were when the agent was built.

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
        return own_network.plain(held)

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Save the complete agent to one file, without pickle. No suffix is added to the path.

        Raises ConfigError if the path is not one of a file or a setting is invalid, OSError if the
        file cannot be written, and CheckpointError if it would lose state of the agent.
        """
        saving.check_path("path", path)
        checkpoint.save(self, path)

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
