"""EnvPool's vector environments: opened by id, and recognized where a user passes one.

EnvPool is imported only by `open_pool` and others that need one; a user's pool has imported it.
Checked against EnvPool 1.2: environments are reset by the step after the one that ends an episode
(NEXT_STEP), seeds are fixed when a pool is made, and an episode that ends of itself in the step
that reaches the time limit is reported as truncated only.
"""

from __future__ import annotations

import contextlib
import difflib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.envs.contract import action_spec, observation_spec
from npr.errors import ConfigError, SpaceError, describe_error
from npr.system.processes import variables_restored

if TYPE_CHECKING:
    import gymnasium

    SingleEnv = gymnasium.Env[Any, Any]
    VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]

# variables by which the import would choose how the program's own plots are drawn
_CHANGED_BY_IMPORT = ("MPLBACKEND", "MPLCONFIGDIR")
NO_LIMIT = 2**31 - 1  # max_episode_steps of an environment without a time limit
# arguments of a pool that do not change its environments
_OF_POOL = {
    "num_envs", "batch_size", "num_threads", "thread_affinity_offset", "base_path", "seed",
    "env_seed", "gym_reset_return_info", "max_num_players", "reward_threshold",
}  # fmt: skip
_REFUSED = {
    "num_envs": "pass n_envs", "seed": "pass seed", "env_seed": "pass seed",
    "max_episode_steps": "pass max_episode_steps by itself",
    "batch_size": "npr steps all environments of a pool in every call",
}  # fmt: skip


# ---- pools that exist


def is_pool(env: Any) -> bool:
    """Whether a VectorEnv, without its wrappers, is one of EnvPool.

    Raises ConfigError for pools with other interfaces, as those of envpool.make_dm.
    """
    package: Any = sys.modules.get("envpool.python.envpool")
    if package is None or not isinstance(getattr(env, "unwrapped", env), package.EnvPoolMixin):
        return False
    if not hasattr(env, "unwrapped"):
        raise ConfigError(
            f"npr takes pools of envpool.make_gymnasium, got {type(env).__name__}, which has "
            "another interface."
        )
    return True


def task_id(pool: Any) -> str | None:
    """The id that a pool was probably made with; None if nothing fits.

    A pool does not hold it. An id of its class whose registered arguments differ the least from the
    pool's stands for the same environment; of several, such as aliases, one that Gymnasium has too.
    """
    import gymnasium
    from envpool.registration import registry

    kind, config = type(pool.unwrapped), _config(pool)
    fits: list[tuple[Any, ...]] = []
    for id, (module, _, kwargs) in registry.specs.items():
        name = registry.envpools[id]["gymnasium"][1]
        package = sys.modules.get(module)  # not imported by attribute, which may need a library
        if package is not None and vars(package).get(name) is kind:
            differ = sum(config.get(k) != v for k, v in kwargs.items() if k != "base_path")
            foreign = id not in gymnasium.registry, "/" in id
            fits.append((differ, *foreign, -len(fits), id))  # the newest version
    return str(min(fits)[-1]) if fits else None


def arguments(pool: VectorEnv) -> dict[str, Any]:
    """The arguments that make a pool's environments again, with its `task_id`."""
    from envpool.registration import registry

    config, id = _config(pool), str(task_id(pool))
    kind: Any = type(pool.unwrapped.spec)
    usual = {**dict(zip(kind._config_keys, kind._default_config_values)), **registry.specs[id][2]}
    return {k: v for k, v in config.items() if k not in _OF_POOL and usual.get(k) != v}


def limit_of(pool: VectorEnv) -> int | None:
    """Steps after which a pool truncates its episodes."""
    limit = int(_config(pool)["max_episode_steps"])
    return None if limit >= NO_LIMIT else limit


def check_pool(pool: VectorEnv) -> None:
    """Raise ConfigError for a pool whose steps do not return all of its environments, or which does
    not obey its time limit."""
    config = _config(pool)
    if config["batch_size"] not in (0, config["num_envs"]):
        raise ConfigError(
            f"This EnvPool has batch_size={config['batch_size']} of {config['num_envs']} "
            "environments, so that its steps return some of them only. npr steps all together: "
            "leave batch_size out."
        )
    if (id := task_id(pool)) and "max_episode_steps" in (own := arguments(pool)):
        _check_limit(id, own)
    if config["max_num_players"] != 1:
        raise ConfigError(
            f"This EnvPool has up to {config['max_num_players']} players per environment; npr "
            "trains one."
        )


def _check_limit(id: str, kwargs: Mapping[str, Any]) -> None:
    """Raise ConfigError if EnvPool's environments of an id do not obey max_episode_steps.

    Some of EnvPool (CliffWalking, Catch) ignore it, and report what ends of itself after so many
    steps as truncated. One step of an environment with a limit of one tells.
    """
    with _quiet():
        probe = module().make_gymnasium(id, num_envs=1, **{**kwargs, "max_episode_steps": 1})
        _, actions = spaces_of(probe)
        probe.reset()
        actions.seed(0)
        _, _, terminated, truncated, _ = probe.step(np.asarray(actions.sample())[None])
        probe.close()
    if not (terminated[0] or truncated[0]):
        raise ConfigError(
            f"EnvPool's {id} does not end its episodes after max_episode_steps="
            f"{kwargs['max_episode_steps']}; pass max_episode_steps=None, or use "
            "vectorization='sync'."
        )


def spaces_of(
    env: VectorEnv,
) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """The spaces of single environments of a VectorEnv.

    Actions of float64 of an EnvPool, which converts what it gets, are float32, as those of the
    same environments of Gymnasium: policies fit both.
    """
    import gymnasium.spaces as gs

    if not is_pool(env):
        return env.single_observation_space, env.single_action_space
    with _quiet():
        observations, actions = env.single_observation_space, env.single_action_space
    if isinstance(actions, gs.Box) and actions.dtype == np.float64:
        low, high = actions.low.astype(np.float32), actions.high.astype(np.float32)
        actions = gs.Box(low, high, dtype=np.float32)
    return observations, actions


def _config(pool: VectorEnv) -> dict[str, Any]:
    config: dict[str, Any] = pool.unwrapped.config  # type: ignore[attr-defined]
    return config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Gymnasium's warnings of the bounds that EnvPool gives spaces of float32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*precision lowered by casting")
        yield


# ---- pools that npr makes


def module() -> Any:
    """The package envpool. Raises ConfigError if it is not installed."""
    try:
        with variables_restored(_CHANGED_BY_IMPORT):
            import envpool
    except ImportError:
        raise ConfigError(
            "vectorization='envpool' needs EnvPool (Linux, x86-64, Python below 3.14): pip install "
            "'npr-rl[envpool]'"
        ) from None
    return envpool


def check_id(id: str) -> None:
    """Raise ConfigError unless EnvPool is installed and has an environment of this id."""
    names = module().list_all_envs()
    if id in names:
        return
    found = difflib.get_close_matches(id.rpartition("/")[2], names, 1, 0.5)
    nearest = f" The nearest that it has is {found[0]!r}." if found else ""
    raise ConfigError(
        f"EnvPool has no environment {id!r}.{nearest} envpool.list_all_envs() has all; other "
        "environments take vectorization='sync' or 'async'."
    )


def open_pool(
    id: str,
    n: int,
    seeds: np.random.SeedSequence,
    max_episode_steps: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> VectorEnv:
    """An EnvPool of n environments, not yet reset.

    seeds               children of it are the environments' seeds: other ones in every call
    max_episode_steps   replaces the time limit of the id
    kwargs              other arguments of envpool.make_gymnasium

    Raises ConfigError if EnvPool, its id or an argument does not exist.
    """
    given = dict(kwargs or {})
    check_id(id)
    for name in set(_REFUSED) & set(given):
        raise ConfigError(f"env_kwargs has {name!r}; {_REFUSED[name]}.")
    if max_episode_steps is not None:
        given["max_episode_steps"] = max_episode_steps
    own = [int(child.generate_state(1)[0] >> 1) for child in seeds.spawn(n)]  # of 31 bits
    try:
        with _quiet():
            pool: VectorEnv = module().make_gymnasium(id, num_envs=n, env_seed=own, **given)
            spaces_of(pool)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"EnvPool does not make {id!r} with {given!r}: {describe_error(error)}. env_kwargs are "
            "the arguments of envpool.make_gymnasium."
        ) from error
    try:
        check_pool(pool)
    except ConfigError:
        pool.close()
        raise
    return pool


def single(
    id: str, max_episode_steps: int | None = None, kwargs: Mapping[str, Any] | None = None
) -> SingleEnv:
    """One environment like those of a pool: Gymnasium's own one of the same id where it has the
    same spaces and no other argument matters, with the pool's time limit; else a pool of one.
    """
    given = {k: v for k, v in (kwargs or {}).items() if k not in _OF_POOL}
    limit = given.pop("max_episode_steps", max_episode_steps)
    pool = open_pool(id, 1, np.random.SeedSequence(), limit, given)
    own = None if given else _of_gymnasium(id, pool)
    if own is not None:
        pool.close()
        return own
    return _as_single(pool, id, limit, given)


def same_as_gymnasium(id: str) -> bool:
    """Whether EnvPool has the id, with the spaces that Gymnasium's own environment has."""
    try:
        pool = open_pool(id, 1, np.random.SeedSequence(0))
    except ConfigError:
        return False
    own = _of_gymnasium(id, pool)
    pool.close()
    if own is not None:
        own.close()
    return own is not None


def _of_gymnasium(id: str, pool: VectorEnv) -> SingleEnv | None:
    """Gymnasium's own environment of an id, if it can be made and has a pool's spaces."""
    import gymnasium

    if id not in gymnasium.registry:
        return None
    try:
        own: SingleEnv = gymnasium.make(id, limit_of(pool), disable_env_checker=True)
    except (gymnasium.error.Error, ImportError):  # of what it needs
        return None
    try:
        specs = [
            (observation_spec(observations), action_spec(actions))
            for observations, actions in (
                spaces_of(pool), (own.observation_space, own.action_space),
            )
        ]  # fmt: skip
    except SpaceError:
        specs = []
    if len(specs) == 2 and specs[0] == specs[1]:
        return own
    own.close()
    return None


def _as_single(
    pool: VectorEnv, id: str, max_episode_steps: int | None, kwargs: Mapping[str, Any]
) -> SingleEnv:
    """A pool of one environment as an Env. A seed makes another pool: theirs are fixed."""
    import gymnasium

    class PoolOfOne(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            self.pool = pool
            self.observation_space, self.action_space = spaces_of(pool)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            if seed is not None:
                self.pool.close()
                seeds = np.random.SeedSequence(seed)
                self.pool = open_pool(id, 1, seeds, max_episode_steps, kwargs)
            observation, info = self.pool.reset()
            return _first(observation), _first(info)

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            result = self.pool.step(np.asarray(action)[None])
            observation, reward, terminated, truncated, info = map(_first, result)
            return observation, float(reward), bool(terminated), bool(truncated), info

        def close(self) -> None:
            self.pool.close()

    PoolOfOne.__name__ = id
    return PoolOfOne()


def _first(batch: Any) -> Any:
    """The first row of an array, or of each array in nested dicts."""
    return {k: _first(v) for k, v in batch.items()} if isinstance(batch, dict) else batch[0]
