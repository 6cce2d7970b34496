"""Checks whether an algorithm supports the spaces of environments."""

import math
from collections.abc import Mapping
from typing import Any

from npr.envs.batched import BatchedEnv
from npr.envs.contract import is_image
from npr.envs.spaces import ACTION_SPACES, Actions, Observations
from npr.errors import ConfigError, SpaceError


def check_spaces(agent: Any, envs: BatchedEnv, registry: Mapping[str, Any]) -> None:
    """Raise SpaceError for unsupported spaces.

    registry   classes of all algorithms by name, to recommend one that supports them

    Raises ConfigError if the replay buffer cannot hold one step of all environments.
    """
    name, space = type(agent).__name__, envs.action_space
    buffer_size = getattr(agent, "buffer_size", envs.n)
    if envs.n > buffer_size:
        raise ConfigError(
            f"{name}: buffer_size must be at least n_envs, the transitions of one step; got "
            f"buffer_size={buffer_size} and n_envs={envs.n}."
        )
    actions = envs.actions
    kind = actions.kind if actions else type(space).__name__
    if kind not in agent.action_kinds:
        wanted = " or ".join(name for k in agent.action_kinds for name in ACTION_SPACES[k])
        fits = ", ".join(
            n
            for n, c in registry.items()
            if kind in c.action_kinds and (not c.table or envs.observations.kind == "discrete")
        )
        names = " and ".join(ACTION_SPACES.get(kind, ()))
        advice = f"for {names} actions use {fits}." if fits else _action_advice(space)
        raise SpaceError(f"{name} needs a {wanted} action space, got {space}; {advice}")
    if agent.needs_bounds and actions and not actions.bounded:
        raise SpaceError(
            f"{name} squashes actions into finite bounds, got {space}. Give the action_space "
            "finite low and high, or use PPO, whose Gaussian is not squashed."
        )
    if agent.table and envs.observations.kind != "discrete":
        space = envs.observation_space
        raise SpaceError(
            f"{name} uses a table and needs a Discrete observation space, got {space}; for other "
            f"observations use DQN or PPO{_table_advice(space)}."
        )
    if is_image(envs.observation_space) and not agent.flatten_images:
        raise SpaceError(
            f"{name} got images, {envs.observation_space}, and npr has no convolutional networks. "
            "For small images pass flatten_images=True: they are flattened and divided by 255. "
            f"Otherwise wrap the environment with {_WRAPPERS}.TransformObservation to make them "
            "features."
        )


def check_same_spaces(observations: Observations, actions: Actions, envs: BatchedEnv) -> None:
    """Raise SpaceError unless environments have these spaces, those of an agent."""
    mine = observations.spec, actions.spec
    theirs = envs.observations.spec, envs.actions and envs.actions.spec
    if mine != theirs:
        kept = observations, actions
        short = repr(kept) != repr((envs.observations, envs.actions))  # without bounds
        had, has = (kept, (envs.observations, envs.actions)) if short else (mine, theirs)
        raise SpaceError(
            "This is not an environment of the agent. It was trained with observations "
            f"{had[0]} and actions {had[1]}, this environment has {has[0]} and "
            f"{has[1] or envs.action_space}. Use one with the same spaces."
        )


_WRAPPERS = "gymnasium.wrappers"
_SPACES = "gymnasium.spaces"
_LARGEST_TABLE = 1_000_000  # rows


def _action_advice(space: Any) -> str:
    """How to make an action space that no algorithm supports one that some do."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Box) and space.dtype.kind in "iub" and space.shape:
        low, high = space.low.astype(object), space.high.astype(object)
        code = f"{_SPACES}.MultiDiscrete({(high - low + 1).tolist()}, start={low.tolist()})"
        if (high - low + 1).max() > 1 << 16:
            code = f"{_SPACES}.MultiDiscrete(n) of n integers each"
        return (
            "declare whole numbers as MultiDiscrete, for A2C, PPO and REINFORCE: "
            f"{_WRAPPERS}.TransformAction(env, lambda a: a.astype({str(space.dtype)!r}), {code})."
        )
    first = ""
    if isinstance(space, (gs.Dict, gs.Tuple)):
        first = (
            "a Dict or Tuple needs parts that are Discrete, MultiDiscrete, MultiBinary or a Box of "
            "floats, a Dict strings as keys; "
        )
    wrapper = f"{_WRAPPERS}.TransformAction"
    return f"{first}wrap the environment with {wrapper} to make it Discrete or a Box."


def _table_advice(space: Any) -> str:
    """How to make an observation space Discrete, with Gymnasium's wrappers."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Box):
        first = ""
        if not space.is_bounded():
            clip = f"lambda s: np.clip(s, low, high), {_SPACES}.Box(low, high)"
            first = f"bound them, {_WRAPPERS}.TransformObservation(env, {clip}), and "
        return f", or {first}make them Discrete: {_WRAPPERS}.DiscretizeObservation(env, bins=10)"
    indices, sizes = "s", []
    if isinstance(space, gs.MultiDiscrete) and space.nvec.ndim == 1:
        sizes = space.nvec.tolist()
        if space.start.any():
            indices = f"s - {space.start.tolist()}"
    elif isinstance(space, gs.MultiBinary) and len(space.shape) == 1:
        sizes = [2] * space.shape[0]
    elif isinstance(space, (gs.Tuple, gs.Dict)):
        named, held = isinstance(space, gs.Dict), space.spaces
        parts = list(held.values()) if isinstance(held, dict) else list(held)
        sizes = [int(p.n) for p in parts if isinstance(p, gs.Discrete) and not p.start]
        if len(sizes) != len(parts):
            return ""
        if named:
            indices = f"[{', '.join(f's[{k!r}]' for k in held)}]"
    n = math.prod(sizes)
    if not sizes or n > _LARGEST_TABLE:
        return ""
    return (
        f", or make them Discrete: {_WRAPPERS}.TransformObservation(env, lambda s: "
        f"int(np.ravel_multi_index({indices}, {tuple(sizes)})), {_SPACES}.Discrete({n}))"
    )
