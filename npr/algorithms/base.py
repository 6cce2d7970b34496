"""What all algorithms share: settings, environments, acting, evaluation and files. The training
loop is in npr/training/run.py; the updates are in the file of each algorithm.
"""

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from npr import presets
from npr.backend import Array, to_host
from npr.buffers import Steps
from npr.envs.batched import BatchedEnv, ErrorPolicy
from npr.envs.make import env_id, open_envs
from npr.envs.spaces import Actions, Observations, actions_from_spec, observations_from_spec
from npr.errors import ConfigError, ResumeWarning, SpaceError
from npr.files import checkpoint
from npr.files.parts import Snapshot, instances, parts
from npr.heads import Head
from npr.nn import MLP
from npr.normalize import ObservationNorm, RewardNorm
from npr.optim import Optimizer
from npr.policy import Policy
from npr.settings import Schedule, Settings, setting
from npr.settings.schedule import value_at
from npr.settings.setting import check_names, checked_seed, documentation, is_whole, near
from npr.training import evaluation, restoring, saving
from npr.training.counters import Counters
from npr.training.logger import Logger
from npr.training.run import DEFAULT_BUDGET, Run
from npr.training.space_checks import check_spaces

if TYPE_CHECKING:
    import os

    from npr.envs.make import EnvSource
    from npr.settings.setting import argument

REGISTRY: dict[str, type["Algorithm"]] = {}  # name -> class that `npr.load` may create

_READ_ONLY = ("seed", "env_id", "preset", "settings", "networks", "action_kinds", "table")
# one random generator per purpose, so that drawing from one does not affect the others
_STREAMS = ("init", "explore", "sample", "noise", "act")


class Algorithm(Settings):
    """Base class of agents: settings, environments, acting, evaluation and files."""

    if TYPE_CHECKING:  # the other arguments of the constructor
        env: EnvSource = argument(default=None, kw_only=False)
        seed: int | None = None

    learning_rate: Schedule = setting(3e-4, "step size of the optimizers", within="[0, 10]")
    gamma: float = setting(0.99, "discount per env step", within="[0, 1]", fixed=True)
    n_envs: int = setting(1, "number of environments", within="[1, inf)", fixed=True)
    max_episode_steps: int | None = setting(
        None, "steps per episode; None: the environment's limit", within="[1, inf)", fixed=True
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

    def __init__(self, *args: Any, seed: int | None = None, **given: Any) -> None:
        if args and isinstance(args[0], str) and args[0] == "MlpPolicy":  # of Stable-Baselines3
            args = args[1:]
        env = args[0] if args else given.pop("env", None)
        if env is None or len(args) > 1 or "env" in given:
            raise ConfigError(
                f"{type(self).__name__} takes one environment: an id, a gymnasium.Env, a VectorEnv "
                f"or a function that returns one; got {args or (env,)}."
            )
        self._configure(env, env_id(env), given, seed)
        if hasattr(env, "step") and not isinstance(env, type) and "n_envs" not in given:
            self.n_envs = 1  # an Env is one environment; for a VectorEnv see _open_envs
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
        name = manifest["env"]
        # gymnasium.make("package:id") imports the package: a file must not decide that
        own = None if ":" in (name or "") else name
        source = own if env is None else env
        agent._configure(source, name, manifest["settings"], manifest["seed"])
        agent.envs = None
        spec = manifest["policy"]
        agent._start(
            observations_from_spec(spec["observations"]), actions_from_spec(spec["actions"])
        )
        restoring.check_after(agent.policy, agent.policy_parameters, manifest, arrays)
        return agent

    # ---- settings

    def _configure(self, env: Any, name: str | None, given: dict[str, Any], seed: Any) -> None:
        """Apply defaults, then the preset, then the user's values; create random generators."""
        owner = type(self).__name__
        self.env, self.env_id, self.preset = env, name, presets.find(owner, name)
        preset = {k: v for k, v in self.preset.items() if k != "total_timesteps"}
        check_names(owner, given, self.settings)
        for key, value in {**self.defaults(), **preset, **given}.items():
            setattr(self, key, copy.deepcopy(value))
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
                    raise ConfigError(
                        f"{type(self).__name__}: {name} cannot be changed after construction."
                    )
                nearest = None if name in held else near(name, self.settings)
                if nearest and not hasattr(type(self), name):
                    raise ConfigError(
                        f"{type(self).__name__} has no attribute {name!r}; did you mean {nearest}?"
                    )
            object.__setattr__(self, name, value)

    def now(self, schedule: Schedule) -> float:
        """The current value of a setting that may be a schedule, e.g. "linear:3e-4"."""
        if isinstance(schedule, (int, float)):
            return schedule
        return value_at(schedule, self.counters.progress)

    def set_learning_rate(self) -> None:
        """Set the current learning rate in every optimizer."""
        rate = self.now(self.learning_rate)
        for optimizer in self._optimizers:
            optimizer.learning_rate = rate

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
        self._described = self._learning = False
        self._optimizers: list[Any] = []  # of the agent, at the start of a run
        self.steps = Steps(self.n_envs, observations.size, *actions.columns())
        self.obs_norm = ObservationNorm(observations.size) if self.normalize_obs else None
        self.reward_norm = RewardNorm(self.n_envs, self.gamma) if self.normalize_reward else None
        own = set(vars(self))
        self.build()
        # a fixed list or dict may be changed in place; a file holds what the agent was built with
        fixed = {name: getattr(self, name) for name, one in self.settings.items() if one.fixed}
        mutable = {name: value for name, value in fixed.items() if isinstance(value, (list, dict))}
        self._built_with = copy.deepcopy(mutable)
        self.snapshot = Snapshot(self, known=own)
        self._built = True

    def build(self) -> None:
        """Make networks, parameters, optimizers and buffers."""
        raise NotImplementedError

    def _open_envs(self) -> Any:
        entropy, spawn_key = self._env_seeds
        envs = open_envs(
            self.env, self.n_envs, np.random.SeedSequence(entropy, spawn_key=spawn_key),
            max_episode_steps=self.max_episode_steps, table=self.table,
            error_policy=ErrorPolicy(self.nan_obs, self.on_env_error), env_timeout=self.env_timeout,
        )  # fmt: skip
        try:
            check_spaces(self, envs, REGISTRY)
        except (ConfigError, SpaceError):
            if envs.owned:
                envs.close()
            raise
        vars(self)["n_envs"] = envs.n  # a VectorEnv determines the number
        return envs

    def _reopen_envs(self, num_timesteps: int) -> None:
        """Open the environments of an agent that was loaded or closed."""
        if self.env is None:
            raise ConfigError(
                f"This agent's file names no environment that npr can open ({self.env_id!r}); "
                "pass one: npr.load(path, env=...)."
            )
        position, self._position = self._position, {}
        if position.get("steps", 0) or num_timesteps:
            # seeds differ from those of the first environments: their episodes were already seen
            self._env_seeds = self._env_seeds[0], (len(_STREAMS), num_timesteps)
        envs = self._open_envs()
        for mine, theirs in ((self.observations, envs.observations), (self.actions, envs.actions)):
            if mine.spec != theirs.spec:
                raise SpaceError(
                    f"The agent was trained with {mine.spec}, this environment has {theirs.spec}."
                )
        if envs.n != self.steps.N:
            self.steps = Steps(envs.n, self.observations.size, *self.actions.columns())
            if self.reward_norm:
                self.reward_norm.begin(envs.n)
        self.envs = envs
        if position:
            self._resume_episodes(position)

    def _resume_episodes(self, position: dict[str, Any]) -> None:
        """Restore the position of the environments, or warn that new episodes start."""
        try:
            why = self.envs.resume(position)
        except Exception as error:  # an environment may raise anything, and so may a bad file
            why = f"repeating them raised {error!r}"
        name = type(self).__name__
        if why:
            self.steps.clear()
            warnings.warn(
                f"{name} cannot continue its episodes: {why}. New episodes start; "
                "everything that was learned is restored.",
                ResumeWarning,
                stacklevel=4,
            )
        elif position.get("open") and (changed := checkpoint.changes(self.made_with)):
            warnings.warn(
                f"{name} continues, but results may differ in the last bits: {changed}.",
                ResumeWarning,
                stacklevel=4,
            )

    # ---- learning

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Self], Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
    ) -> Self:
        """Learn for a number of environment steps and return the agent.

        total_timesteps      None: the preset's budget for this environment, or the rest of an
                             unfinished run
        callback             called with the agent after every step; returning False stops
        progress_bar         False: none; None or True: one line, on runs longer than a second
        log_interval         episodes between tables of the logged values; None: no tables
        reset_num_timesteps  False: continue to count, and continue schedules. An unfinished run
                             always continues: one that was interrupted, or loaded from a file
                             that was saved before its end
        save_path            file that the agent is written to at the end, and if the run fails
        save_freq            env steps between writes to save_path during the run

        Ctrl-C and SIGTERM stop the run after the current update: the agent is saved, its
        environments are closed, and the program ends with KeyboardInterrupt or exit status 143. A
        second signal stops it immediately. The agent is also saved after an NprError (an
        environment that violates Gymnasium's API, training that diverged). Without save_path the
        file is named after the agent, in the working directory.
        """
        saving.check_target(save_path, save_freq)
        saving.check_arguments(callback, log_interval)
        if self._learning:
            raise ConfigError("learn() was called on an agent that is learning; copy it first.")
        default = self.preset.get("total_timesteps", DEFAULT_BUDGET)
        counters = self.counters.next_run(total_timesteps, default, reset_num_timesteps)
        if self.envs is None:
            self._reopen_envs(counters.num_timesteps)
        self.counters = counters
        self._optimizers = [*instances(self, Optimizer).values()]
        self._describe(counters.end - counters.num_timesteps)
        self._learning = True
        try:
            Run(self, callback, progress_bar, log_interval, save_path, save_freq).execute()
        finally:
            self._learning = False
        return self

    def _train(self, run: Run) -> None:
        """The algorithm: iterate over run.interact, run.rollouts or run.episodes until they end."""
        raise NotImplementedError

    def _describe(self, budget: int) -> None:
        if self.verbose and not self._described:
            self._described = True
            where = self.env_id or getattr(self.env, "__name__", type(self.env).__name__)
            print(f"{type(self).__name__} on {where}, {budget:,} steps: {self._differences()}")

    def _differences(self) -> str:
        """The settings that differ from the defaults, as keyword arguments."""
        default = self.defaults()
        changed = {k: getattr(self, k) for k in default if getattr(self, k) != default[k]}
        return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "default settings"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.env_id!r}, {self._differences()})"

    # ---- acting

    def acts_by(self) -> tuple[Head, MLP | None, Array]:
        """The head, the network (None: a table) and the parameters of the policy."""
        raise NotImplementedError

    @property
    def policy(self) -> Policy:
        """The current policy, on the host. On the NumPy backend it shares the parameters."""
        head, network, theta = self.acts_by()
        policy = self._policy
        # on a device `theta` is not the policy's host copy, so that a new policy is made
        if policy is None or policy.theta is not theta or policy.head != head:
            policy = Policy(
                self.observations, head, to_host(theta),
                network.sizes if network else None, network.activation if network else "identity",
                network.free if network else 0, self.obs_norm,
            )  # fmt: skip
            self._policy = policy
        return policy

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
    ) -> tuple[Any, Any]:
        """(action, None) for one observation or a batch, with Stable-Baselines3's signature."""
        return self.policy(observation, deterministic, self.rng["act"]), None

    def act(self, observation: Any, deterministic: bool = True) -> Any:
        """The environment's action for one observation or a batch."""
        return self.policy(observation, deterministic, self.rng["act"])

    def evaluate(
        self,
        env: "EnvSource | None" = None,
        episodes: int = 100,
        seed: int | None = None,
        deterministic: bool = True,
    ) -> evaluation.Evaluation:
        """Run complete episodes in a separate environment: .mean .std .returns .lengths"""
        if not is_whole(episodes) or episodes < 1:
            raise ConfigError(f"episodes must be a whole number above 0, got {episodes!r}.")
        return evaluation.evaluate(
            self.policy, evaluation.separate(self.env) if env is None else env, int(episodes),
            seed, deterministic, self.max_episode_steps,
        )  # fmt: skip

    # ---- files

    def setting_values(self) -> dict[str, Any]:
        """The settings by name; fixed ones as they were when the agent was built."""
        return {name: getattr(self, name) for name in self.settings} | self._built_with

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Save the complete agent to one file, without pickle."""
        checkpoint.save(self, path)

    def close(self) -> None:
        """Close the environments. The agent can still act, evaluate and save."""
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
    ) -> None:
        """Restore the counters, and the position for when the environments are opened.

        Raises ConfigError if the position is not valid.
        """
        if position:
            BatchedEnv.check_state(position)
        self.counters = Counters(num_timesteps, end, n_updates, unfinished=num_timesteps < end)
        self.logger.episode_count = episodes
        self.made_with, self._position = made_with, position

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without environments, which a copy opens when it continues to learn, and
        without the policy, which shares memory with the parameters."""
        without: dict[str, Any] = {
            "envs": None,
            "_policy": None,
            "_learning": False,
            "_optimizers": [],
        }
        return {**vars(self), **without, "_position": self.position()}
