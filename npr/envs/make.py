"""The one door to Gymnasium: whatever the user gives becomes records (npr.envs.batched)."""

import functools

import numpy as np

from npr.backend import FLOAT
from npr.envs import workers
from npr.envs.batched import EnvironmentList
from npr.envs.contract import first, observation_spec, transition
from npr.envs.spaces import observations_from_spec
from npr.envs.vector import VectorEnvironments
from npr.errors import ConfigError


def make_env(env, max_episode_steps=None):
    """One Gymnasium environment from an id, a factory or an Env, with its time limit."""
    import gymnasium

    if isinstance(env, str):
        # the contract is checked in `step`, every time; Gymnasium's checker looks once
        env = gymnasium.make(env, disable_env_checker=True)
    elif not isinstance(env, gymnasium.Env):
        made = env() if callable(env) else None
        if not isinstance(made, gymnasium.Env):
            got = (
                f"the function returned {type(made).__name__}" if callable(env) else f"got {env!r}"
            )
            raise ConfigError(
                "env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an "
                f"Env; {got}."
            )
        env = made
    if max_episode_steps is not None:
        env = gymnasium.wrappers.TimeLimit(env, max_episode_steps)
    return env


def env_id(env) -> str | None:
    """The registered id of an environment, where it has one."""
    spec = getattr(env, "spec", None)
    return env if isinstance(env, str) else getattr(spec, "id", None)


def open_environments(
    env,
    n_envs,
    seeds,
    max_episode_steps=None,
    table=False,
    nan_obs="raise",
    on_env_error="raise",
    env_timeout=None,
):
    """The record interface for whatever the user gave. seeds: a SeedSequence.

    nan_obs       of a number that is not finite: "raise", or "terminate" the open episode
    on_env_error  of an environment that raises: "raise", or "reset" it and drop the open episode
    env_timeout   seconds that one call may take; each environment gets a process of its own
    """
    import gymnasium

    rules = {"table": table, "nan_obs": nan_obs, "on_env_error": on_env_error}
    if isinstance(env, gymnasium.vector.VectorEnv):
        if max_episode_steps is not None:
            raise ConfigError(
                f"max_episode_steps={max_episode_steps} cannot be imposed on a VectorEnv; give it "
                "to gymnasium.make_vec, or pass an id with n_envs."
            )
        if isinstance(env.unwrapped, gymnasium.vector.AsyncVectorEnv):
            workers.watch(env.unwrapped, env_timeout)
        elif env_timeout is not None:
            raise ConfigError(
                f"env_timeout={env_timeout:g} needs environments in processes of their own, got "
                f"{type(env).__name__}; pass an id with n_envs, or an AsyncVectorEnv."
            )
        return VectorEnvironments(env, seeds, **rules)
    single = isinstance(env, gymnasium.Env)
    if n_envs > 1 and single:
        raise ConfigError(
            f"n_envs={n_envs} needs an id or a function that makes an environment, got one Env."
        )
    if env_timeout is None:
        envs = [make_env(env, max_episode_steps) for _ in range(n_envs)]
        return EnvironmentList(envs, seeds, owned=not single, **rules)
    if single:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs an id or a function that makes an environment: "
            "an Env cannot be moved to a process of its own."
        )
    make = functools.partial(_make_checked, env, max_episode_steps)
    reopen = functools.partial(workers.open_workers, make, n_envs, env_timeout)
    opened = reopen()
    try:
        return VectorEnvironments(opened, seeds, reopen=reopen, **rules)
    except BaseException:
        opened.close()
        raise


def _make_checked(env, max_episode_steps):
    """An environment for a worker: what it returns is checked before Gymnasium converts it."""
    import gymnasium

    class Checked(gymnasium.Wrapper):
        def reset(self, **kwargs):
            result = self.env.reset(**kwargs)
            observations.row(first(result), row)
            return result

        def step(self, action):
            observation, *others = transition(self.env.step(action))
            observations.row(observation, row)
            return observation, *others, {}

    checked = Checked(make_env(env, max_episode_steps))
    observations = observations_from_spec(observation_spec(checked.observation_space))
    row = np.empty(observations.size, FLOAT)
    return checked
