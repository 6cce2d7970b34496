"""Opens what the user passed as `env` (id, Env, VectorEnv or function) as a BatchedEnv."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.backend import FLOAT
from npr.envs import workers
from npr.envs.batched import RAISE, BatchedEnv, ErrorPolicy
from npr.envs.contract import checked_reset, checked_step, observation_spec
from npr.envs.env_list import EnvList
from npr.envs.spaces import observations_from_spec
from npr.envs.vector import VectorEnvAdapter
from npr.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium

    SingleEnv = gymnasium.Env[Any, Any]
    VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]
    SingleSource = str | SingleEnv | Callable[[], SingleEnv]
    EnvSource = SingleSource | VectorEnv


def make_env(env: SingleSource, max_episode_steps: int | None = None) -> SingleEnv:
    """One Gymnasium environment from an id, a function or an Env, with its time limit."""
    import gymnasium

    if isinstance(env, str):
        # npr checks every step; Gymnasium's checker would check the first one only
        made: object = gymnasium.make(env, disable_env_checker=True)
    elif isinstance(env, gymnasium.Env):
        made = env
    else:
        made = env() if callable(env) else None
    if not isinstance(made, gymnasium.Env):
        got = f"the function returned {type(made).__name__}" if callable(env) else f"got {env!r}"
        raise ConfigError(
            "env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an "
            f"Env; {got}."
        )
    if max_episode_steps is not None:
        return gymnasium.wrappers.TimeLimit(made, max_episode_steps)
    return made


def env_id(env: object) -> str | None:
    """The registered id of an environment, if it has one."""
    return env if isinstance(env, str) else getattr(getattr(env, "spec", None), "id", None)


def number_of_envs(env: object) -> int | None:
    """How many environments an Env or a VectorEnv is; None: n_envs says how many are made."""
    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        return env.num_envs
    return 1 if isinstance(env, gymnasium.Env) else None


def open_envs(
    env: EnvSource,
    n_envs: int,
    seeds: np.random.SeedSequence,
    *,
    max_episode_steps: int | None = None,
    table: bool = False,
    error_policy: ErrorPolicy = RAISE,
    env_timeout: float | None = None,
) -> BatchedEnv:
    """Open n_envs environments, not yet reset.

    table          observations are indices of a table, from a Discrete space
    env_timeout    seconds that one call may take; each environment gets a worker process.
                   None: no limit, all in this process
    """
    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        _watch_user_env(env, max_episode_steps, env_timeout)
        return VectorEnvAdapter(env, seeds, table=table, error_policy=error_policy)
    single = isinstance(env, gymnasium.Env)
    if n_envs > 1 and single:
        raise ConfigError(
            f"n_envs={n_envs} needs an id or a function that makes an environment, got one Env."
        )
    if env_timeout is None:
        envs = [make_env(env, max_episode_steps) for _ in range(n_envs)]
        return EnvList(envs, seeds, table=table, error_policy=error_policy, owned=not single)
    if single:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs an id or a function that makes an environment: "
            "an Env cannot be moved to a worker process."
        )
    make = functools.partial(_make_checked, env, max_episode_steps)
    reopen = functools.partial(workers.open_workers, make, n_envs, env_timeout)
    opened = reopen()
    try:
        return VectorEnvAdapter(
            opened, seeds, table=table, error_policy=error_policy, reopen=reopen
        )
    except BaseException:
        opened.close()
        raise


def _watch_user_env(
    env: VectorEnv, max_episode_steps: int | None, env_timeout: float | None
) -> None:
    """Watch the workers of a user's VectorEnv. Raises ConfigError for unsupported settings."""
    import gymnasium

    if max_episode_steps is not None:
        raise ConfigError(
            f"max_episode_steps={max_episode_steps} cannot be applied to a VectorEnv; pass it to "
            "gymnasium.make_vec, or pass an id with n_envs."
        )
    if isinstance(env.unwrapped, gymnasium.vector.AsyncVectorEnv):
        workers.watch(env.unwrapped, env_timeout)
    elif env_timeout is not None:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs environments in worker processes, got "
            f"{type(env).__name__}; pass an id with n_envs, or an AsyncVectorEnv."
        )


def _make_checked(env: SingleSource, max_episode_steps: int | None) -> SingleEnv:
    """An environment for a worker: what it returns is checked before Gymnasium converts it."""
    import gymnasium

    class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            result = self.env.reset(seed=seed, options=options)
            observations.row(checked_reset(result), row)
            return result

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, *others = checked_step(self.env.step(action))
            observations.row(observation, row)
            return observation, *others, {}

    checked = CheckedEnv(make_env(env, max_episode_steps))
    observations = observations_from_spec(observation_spec(checked.observation_space))
    row = np.empty(observations.size, FLOAT)
    return checked
