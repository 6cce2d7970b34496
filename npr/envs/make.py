"""Opens what the user passed as `env` (id, Env, VectorEnv or function) as a BatchedEnv."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.backend import FLOAT
from npr.envs import engines, envpool, state_check, workers
from npr.envs.batched import RAISE, BatchedEnv, ErrorPolicy
from npr.envs.contract import (
    action_mask,
    checked_reset,
    checked_step,
    has_action_mask,
    observation_spec,
    success,
)
from npr.envs.env_list import EnvList
from npr.envs.gymnasium_internals import constructor_arguments, single_envs
from npr.envs.remake import EnvOfFile
from npr.envs.spaces import observations_from_spec
from npr.envs.vector import VectorEnvAdapter
from npr.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium

    SingleEnv = gymnasium.Env[Any, Any]
    VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]
    SingleSource = str | SingleEnv | Callable[..., SingleEnv]
    EnvSource = SingleSource | VectorEnv


def make_env(
    env: SingleSource | gymnasium.envs.registration.EnvSpec,
    max_episode_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> SingleEnv:
    """One Gymnasium environment from an id, a function or an Env.

    max_episode_steps  replaces the time limit of an id; must not be above that of an Env
    env_kwargs         arguments of gymnasium.make, or of the function
    """
    import gymnasium

    kwargs = dict(env_kwargs or {})
    if taken := {"max_episode_steps", "disable_env_checker"} & set(kwargs):
        raise ConfigError(f"env_kwargs has {taken}; pass max_episode_steps= by itself.")
    if isinstance(env, (str, gymnasium.envs.registration.EnvSpec)):
        # npr checks every step; Gymnasium's checker would check the first one only
        return gymnasium.make(env, max_episode_steps, disable_env_checker=True, **kwargs)
    if isinstance(env, gymnasium.Env):
        made: object = env
        if kwargs:
            raise ConfigError(
                f"env_kwargs={kwargs!r} needs an id or a function that makes an environment, got "
                "an Env; pass them to gymnasium.make."
            )
    else:
        made = env(**kwargs) if callable(env) else None
    if not isinstance(made, gymnasium.Env):
        got = f"the function returned {type(made).__name__}" if callable(env) else f"got {env!r}"
        raise ConfigError(
            "env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an "
            f"Env; {got}."
        )
    if max_episode_steps is None:
        return made
    limit = time_limit(made)
    if limit is not None and limit < max_episode_steps:
        raise ConfigError(
            f"max_episode_steps={max_episode_steps} is above the time limit of the environment, "
            f"which ends its episodes after {limit} steps. Pass the id, or make it with "
            f"gymnasium.make(id, max_episode_steps={max_episode_steps})."
        )
    if limit == max_episode_steps:
        return made
    return gymnasium.wrappers.TimeLimit(made, max_episode_steps)


def not_registered(error: Exception) -> str:
    """What Gymnasium says about the id of an agent's environment that is not registered, and what
    to do."""
    text = str(error)
    end = "" if text.endswith((".", "?", "!")) else "."
    return f"{text}{end} Import the module that registers it, or pass env=."


def sendable(env: Any) -> Any:
    """What makes an environment in a new process, which may not know what this one registered."""
    import gymnasium

    return gymnasium.registry.get(env, env) if isinstance(env, str) else env


def time_limit(env: SingleEnv) -> int | None:
    """The number of steps after which wrappers of an environment truncate its episodes."""
    import gymnasium

    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            limits += [(constructor_arguments(env) or {}).get("max_episode_steps")]
        env = env.env
    return min((limit for limit in limits if limit is not None), default=None)


def is_vector(env: object) -> bool:
    """Whether this is a VectorEnv."""
    import gymnasium

    return isinstance(env, gymnasium.vector.VectorEnv)


def has_limit_below(env: object, max_episode_steps: int) -> bool:
    """Whether max_episode_steps does not apply: to a VectorEnv, or an Env with a shorter limit."""
    import gymnasium

    if isinstance(env, gymnasium.Env) and not is_vector(env):  # an EnvPool is both
        return (time_limit(env) or max_episode_steps) < max_episode_steps
    return is_vector(env)


def env_id(env: object) -> str | None:
    """The registered id of an environment, if it has one."""
    if isinstance(env, (str, EnvOfFile)):
        return env if isinstance(env, str) else env.id
    if envpool.is_pool(env):
        return envpool.task_id(env)
    spec = env if type(env).__name__ == "EnvSpec" else getattr(env, "spec", None)
    return getattr(spec, "id", None)


def number_of_envs(env: Any) -> int | None:
    """How many environments an Env or a VectorEnv is; None: n_envs says how many are made."""
    import gymnasium

    if is_vector(env):
        return int(env.num_envs)
    return 1 if isinstance(env, gymnasium.Env) else None


def env_name(env: object) -> str | None:
    """What to call an environment in a text: its id, or the name of its function or class.

    None for a function without a name.
    """
    if isinstance(env, functools.partial):
        return env_name(env.func)
    name = env_id(env) or getattr(env, "__name__", None)
    return None if name == "<lambda>" else name or type(getattr(env, "unwrapped", env)).__name__


def time_limited(env: Any) -> bool | None:
    """Whether Gymnasium limits the episodes of an Env or VectorEnv; None if that is unknown."""
    if not is_vector(env):
        return time_limit(env) is not None
    if envpool.is_pool(env):
        return envpool.limit_of(env) is not None
    inner = single_envs(env.unwrapped)
    if getattr(env.spec, "max_episode_steps", None) is not None:
        return True
    return time_limited(inner[0]) if inner else None


def open_envs(
    env: EnvSource | EnvOfFile,
    n_envs: int,
    seeds: np.random.SeedSequence,
    *,
    max_episode_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    table: bool = False,
    scale_images: bool = False,
    error_policy: ErrorPolicy = RAISE,
    action_masks: bool = False,
    env_timeout: float | None = None,
    vectorization: engines.Vectorization | None = None,
    say: Callable[[str], object] | None = None,
) -> BatchedEnv:
    """Open n_envs environments, not yet reset.

    max_episode_steps, env_kwargs   as for `make_env`, or for the engine
    table          observations are indices of a table, from a Discrete space
    scale_images   images are divided by 255
    action_masks   rows of observations end with the mask of actions that the environment gives
    env_timeout    seconds that one call may take; each environment gets a worker process.
                   None: no limit
    vectorization  the engine that steps them, see `npr.envs.engines`. None: "sync", or "async"
                   with env_timeout
    say            is called with a line about the engine that "auto" takes

    Raises ConfigError for settings that the engine or the environment cannot have.
    """
    import gymnasium

    given: dict[str, Any] = {
        "table": table, "scale_images": scale_images, "error_policy": error_policy,
        "action_masks": action_masks,
    }  # fmt: skip
    if vectorization is not None:
        engines.check(env, vectorization, env_timeout)
    if isinstance(env, gymnasium.vector.VectorEnv):
        _watch_user_env(env, max_episode_steps, env_kwargs, env_timeout)
        return VectorEnvAdapter(env, seeds, **given)
    single = isinstance(env, gymnasium.Env)
    if n_envs > 1 and single:
        raise ConfigError(
            f"n_envs={n_envs} needs an id or a function that makes an environment, got one Env."
        )
    if single and env_timeout is not None:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs an id or a function that makes an environment: "
            "an Env cannot be moved to a worker process."
        )
    if isinstance(env, EnvOfFile) and env.vector is not None:
        return _adapted(functools.partial(_vector_of_file, env, n_envs, env_timeout, seeds),
                        seeds, given)  # fmt: skip
    make = functools.partial(make_env, env, max_episode_steps, env_kwargs)
    if vectorization == "auto":
        plain = not env_kwargs and error_policy.nan_obs != "terminate"
        vectorization, why = engines.fastest(env, n_envs, env_timeout, make, plain)
        if say is not None:
            say(f"vectorization='auto' takes {vectorization!r}: {why}")
    if vectorization is None:
        vectorization = "sync" if env_timeout is None else "async"
    if vectorization == "sync":
        envs = [make() for _ in range(n_envs)]
        owned = not any(map(state_check.in_use, envs))  # a function may return one that exists
        return EnvList(envs, seeds, owned=owned and not single, **given)
    if vectorization == "async":
        checked = functools.partial(
            _make_checked, sendable(env), max_episode_steps, env_kwargs, action_masks
        )
        return _adapted(
            functools.partial(workers.open_workers, checked, n_envs, env_timeout), seeds, given
        )
    opens: Callable[..., VectorEnv] = (
        engines.open_entry_point if vectorization == "entry_point" else engines.open_envpool
    )
    return _adapted(
        functools.partial(opens, env, n_envs, seeds, max_episode_steps, env_kwargs), seeds, given
    )


def _adapted(
    reopen: Callable[[], VectorEnv], seeds: np.random.SeedSequence, given: dict[str, Any]
) -> VectorEnvAdapter:
    opened = reopen()
    try:
        return VectorEnvAdapter(opened, seeds, reopen=reopen, **given)
    except BaseException:
        opened.close()
        raise


def _vector_of_file(
    env: EnvOfFile, n: int, env_timeout: float | None, seeds: np.random.SeedSequence
) -> VectorEnv:
    opened = env.open_vector(n, seeds)
    try:
        _watch_user_env(opened, None, None, env_timeout)
    except BaseException:
        opened.close()
        raise
    return opened


def _watch_user_env(
    env: VectorEnv,
    max_episode_steps: int | None,
    env_kwargs: Mapping[str, Any] | None,
    env_timeout: float | None,
) -> None:
    """Watch the workers of a user's VectorEnv. Raises ConfigError for unsupported settings."""
    import gymnasium

    if max_episode_steps is not None:
        raise ConfigError(
            f"max_episode_steps={max_episode_steps} cannot be applied to a VectorEnv; pass it to "
            "gymnasium.make_vec, or pass an id with n_envs."
        )
    if env_kwargs:
        raise ConfigError(
            f"env_kwargs={env_kwargs!r} cannot be applied to a VectorEnv; pass them to "
            "gymnasium.make_vec, or pass an id with n_envs."
        )
    if isinstance(env.unwrapped, gymnasium.vector.AsyncVectorEnv):
        workers.watch(env.unwrapped, env_timeout)
    elif env_timeout is not None:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs environments in worker processes, got "
            f"{type(env).__name__}; pass an id with n_envs, or an AsyncVectorEnv."
        )


def _make_checked(
    env: SingleSource | gymnasium.envs.registration.EnvSpec,
    max_episode_steps: int | None,
    env_kwargs: Mapping[str, Any] | None,
    action_masks: bool,
) -> SingleEnv:
    """An environment for a worker: what it returns is checked before Gymnasium converts it.

    action_masks   whether masks of actions are used; if not, an info says only that there are some
    """
    import gymnasium

    class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            result = self.env.reset(seed=seed, options=options)
            observations.row(checked_reset(result), row)
            observation, info = result
            sent = self._sent(info)
            if not action_masks and has_action_mask(self.env, info):
                sent["action_mask"] = True
            return observation, sent

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            result = self.env.step(action)
            observation, *others = checked_step(result)
            observations.row(observation, row)
            return observation, *others, self._sent(result[4])

        def _sent(self, info: dict[str, Any]) -> dict[str, Any]:
            """What npr uses of an info."""
            succeeded, sent = success(info), {}
            if succeeded is not None:
                sent["is_success"] = succeeded
            if action_masks and (mask := action_mask(self.env, info)) is not None:
                sent["action_mask"] = mask
            return sent

    checked = CheckedEnv(make_env(env, max_episode_steps, env_kwargs))
    observations = observations_from_spec(observation_spec(checked.observation_space))
    row = np.empty(observations.size, FLOAT)
    return checked
