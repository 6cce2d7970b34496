"""The engines that step n environments, by the names of the setting `vectorization`.

    sync          one after another in this process
    async         each in a worker process, with Gymnasium's AsyncVectorEnv
    entry_point   by the vector environment that an id has registered in Gymnasium
    envpool       by EnvPool
    auto          the fastest of them, see `fastest`

The first two give the same transitions for the same seeds. The others have random numbers of their
own, so that a run with them is another run, as with another seed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from npr.envs import envpool
from npr.envs.gymnasium_internals import spec_of, stalls_while_resetting
from npr.envs.remake import EnvOfFile
from npr.errors import ConfigError, describe_error
from npr.system.machine import usable_cores

if TYPE_CHECKING:
    import gymnasium

    VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]

Vectorization = Literal["sync", "async", "entry_point", "envpool", "auto"]

# environments from which each engine is faster than one after another, on CartPole-v1
MIN_ENTRY_POINT, MIN_ENVPOOL = 16, 8
# seconds per step of one environment, above which a worker process costs less than it gains
SLOW_STEP = 300e-6
_MEASURED = 0.25  # seconds that a measurement may take


def check(env: Any, vectorization: str, env_timeout: float | None) -> None:
    """Raise ConfigError if an environment cannot be stepped by this engine."""
    import gymnasium

    own = f"vectorization={vectorization!r}"
    vector = isinstance(env, gymnasium.vector.VectorEnv)
    if vector or isinstance(env, gymnasium.Env):
        kind = "a VectorEnv, which steps its environments itself" if vector else "an Env"
        raise ConfigError(
            f"{own} needs an id or a function that makes an environment, got {kind}. Leave "
            "vectorization out."
        )
    if isinstance(env, EnvOfFile) and env.vector is not None:
        raise ConfigError(
            f"{own} cannot be applied to the VectorEnv that the agent's file describes, {env!r}; "
            f"pass another: npr.load(path, env={env.id!r}, {own})."
        )
    if env_timeout is not None and vectorization not in ("async", "auto"):
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs environments in worker processes, which {own} does "
            "not have; use vectorization='async', or leave env_timeout out."
        )
    if vectorization in ("entry_point", "envpool") and not _has_id(env):
        raise ConfigError(
            f"{own} needs the id of an environment, got {env!r}; a function that makes one takes "
            "vectorization='sync' or 'async'."
        )


def fastest(
    env: Any,
    n: int,
    env_timeout: float | None,
    make: Callable[[], gymnasium.Env[Any, Any]],
    plain: bool,
) -> tuple[Vectorization, str]:
    """The engine that "auto" takes for n environments, and why.

    The first of these that applies: "async" with an env_timeout; "sync" for one environment;
    "entry_point" for 16 or more, if there is one; "envpool" for 8 or more, if it is installed and
    has the id with Gymnasium's spaces; "async" if a step takes longer than 0.3 ms here and there is
    more than one core; "sync". Only the last two depend on the machine, and they give the same
    transitions.

    make    makes one environment
    plain   whether it has no arguments besides its time limit, which may be others for EnvPool or
            an entry point, and no nan_obs="terminate", which these cannot have
    """
    if env_timeout is not None:
        return "async", "env_timeout needs worker processes"
    if n == 1:
        return "sync", "there is one environment"
    if plain and isinstance(env, str):
        id = env.rpartition(":")[2]
        if n >= MIN_ENTRY_POINT and _has_entry_point(env):
            return "entry_point", f"{id} has a vector environment in Gymnasium"
        if n >= MIN_ENVPOOL and envpool.same_as_gymnasium(id):
            return "envpool", f"EnvPool has {id}"
    cores = usable_cores()
    if cores == 1:
        return "sync", "there is one core"
    seconds = _seconds_per_step(make)
    text = f"a step takes {1e6 * seconds:,.0f} us"
    if seconds > SLOW_STEP:
        return "async", f"{text}, and there are {cores} cores"
    return "sync", f"{text}, less than worker processes cost"


def _seconds_per_step(make: Callable[[], gymnasium.Env[Any, Any]]) -> float:
    """The median time of one step, or reset, of an environment with random actions."""
    env = make()
    try:
        env.action_space.seed(0)
        env.reset(seed=0)
        taken: list[float] = []
        end = time.perf_counter() + _MEASURED
        while len(taken) < 200 and (not taken or time.perf_counter() < end):
            action = env.action_space.sample()
            start = time.perf_counter()
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
            taken.append(time.perf_counter() - start)
        return float(np.median(taken))
    finally:
        env.close()


def _has_id(env: Any) -> bool:
    return isinstance(env, str) or type(env).__name__ == "EnvSpec"


def _has_entry_point(id: str) -> bool:
    import gymnasium

    try:
        open_entry_point(id, 1).close()
    except (ConfigError, gymnasium.error.UnregisteredEnv):  # EnvPool may have it
        return False
    return True


def open_entry_point(
    env: str | gymnasium.envs.registration.EnvSpec,
    n: int,
    seeds: np.random.SeedSequence | None = None,
    max_episode_steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> VectorEnv:
    """The vector environment that is registered for an id, not yet reset.

    Raises ConfigError if there is none, or it cannot be used.
    """
    import gymnasium

    spec = spec_of(env) if isinstance(env, str) else env
    if spec.vector_entry_point is None:
        raise ConfigError(
            f"{spec.id} has no vector environment in Gymnasium (vector_entry_point); "
            f"{_other_engines(spec.id)}"
        )
    given = dict(kwargs or {})
    if max_episode_steps is not None:
        given["max_episode_steps"] = max_episode_steps
    try:
        made: VectorEnv = gymnasium.make_vec(
            spec, n, vectorization_mode="vector_entry_point", **given
        )
    except (gymnasium.error.Error, TypeError, ImportError) as error:
        raise ConfigError(
            f"The vector environment of {spec.id} cannot be made with {given!r}: "
            f"{describe_error(error).rstrip('.')}; {_other_engines(spec.id)}"
        ) from error
    if stalls_while_resetting(made):
        made.close()
        raise ConfigError(
            f"The vector environment of {spec.id}, {type(made.unwrapped).__name__}, does not step "
            "the others while it resets one of its environments, which gives transitions that did "
            f"not happen; {_other_engines(spec.id)}"
        )
    return made


def _other_engines(id: str) -> str:
    engines = ["'sync'", "'async'"]
    with contextlib.suppress(ConfigError):
        envpool.check_id(id)
        engines.append("'envpool'")
    return f"it takes vectorization={' or '.join(engines)}."


def open_envpool(
    env: str | gymnasium.envs.registration.EnvSpec,
    n: int,
    seeds: np.random.SeedSequence,
    max_episode_steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> VectorEnv:
    """An EnvPool for an id or a spec; it gets what a spec has beside what is registered."""
    import gymnasium

    if isinstance(env, str):
        return envpool.open_pool(env.rpartition(":")[2], n, seeds, max_episode_steps, kwargs)
    usual = gymnasium.registry.get(env.id, env)
    own = {k: v for k, v in env.kwargs.items() if usual.kwargs.get(k) != v}
    limit = env.max_episode_steps if max_episode_steps is None else max_episode_steps
    return envpool.open_pool(env.id, n, seeds, limit, {**own, **(kwargs or {})})
