"""What every algorithm takes for granted: settings, environments, acting, evaluation, files. How it
learns is in npr/run.py; what the pseudocode says stands in the algorithm's own file.
"""

import copy
import inspect
import types
import typing
import warnings

import numpy as np

from npr import presets, settings
from npr.backend import Array, to_host
from npr.buffers import ReplayBuffer, Steps
from npr.envs.make import env_id, open_environments
from npr.envs.spaces import Actions, Observations, actions_from_spec, observations_from_spec
from npr.errors import (
    ConfigError,
    ResumeWarning,
    SpaceError,
)
from npr.files import checkpoint
from npr.heads import Head
from npr.nn import MLP
from npr.normalize import ObservationNorm, RewardNorm
from npr.policy import Policy
from npr.training import evaluation
from npr.training.logger import Logger
from npr.training.run import Run

REGISTRY: dict[str, type] = {}  # name -> class: what `npr.load` may build

# purposes of random numbers, one generator each: drawing more of one never moves another
_STREAMS = ("init", "explore", "sample", "noise", "act")


class Algorithm(Run):
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
        agent._start(
            observations_from_spec(spec["observations"]), actions_from_spec(spec["actions"])
        )
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
        if self.needs_bounds and not envs.actions.bounded:
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

    # ---- acting

    @property
    def policy(self) -> Policy:
        """The present policy, on the host. On the NumPy backend it shares the parameters."""
        head, network, theta = self.acts_by()
        policy = self._policy
        # on a device `theta` is never the policy's copy of it, so that a new policy is made
        if policy is None or policy.theta is not theta or policy.head != head:
            layers = (network.sizes, network.activation, network.free) if network else ()
            policy = Policy(self.observations, head, to_host(theta), *layers, norm=self.obs_norm)
            self._policy = policy
        return policy

    def acts_by(self) -> tuple[Head, MLP | None, Array]:
        """What the policy is made of: its head, its network (None: a table), its parameters."""
        raise NotImplementedError

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        """(action, None) for one observation or a batch: Stable-Baselines3's signature."""
        return self.policy(observation, deterministic, self.rng["act"]), None

    def act(self, observation, deterministic=True):
        """The environment's action for one observation or a batch."""
        return self.policy(observation, deterministic, self.rng["act"])

    def evaluate(self, env=None, episodes=100, seed=None, deterministic=True):
        """Whole episodes in an environment of their own: .mean .std .returns .lengths"""
        if not settings.is_whole(episodes) or episodes < 1:
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
        """Write the whole agent to one file: see npr.files.checkpoint."""
        checkpoint.save(self, path)
