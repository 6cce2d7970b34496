"""Checks whether an algorithm supports the spaces of environments."""

from collections.abc import Mapping
from typing import Any

from npr.envs.batched import BatchedEnv
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
        wanted = " or ".join(k.capitalize() for k in agent.action_kinds)
        fits = ", ".join(
            n
            for n, c in registry.items()
            if kind in c.action_kinds and (not c.table or envs.observations.kind == "discrete")
        )
        advice = f"for {kind} actions use {fits}." if fits else "wrap the environment."
        raise SpaceError(f"{name} needs a {wanted} action space, got {space}; {advice}")
    if agent.needs_bounds and actions and not actions.bounded:
        raise SpaceError(
            f"{name} squashes actions into finite bounds, got {space}. Give the action_space "
            "finite low and high, or use PPO, whose Gaussian is not squashed."
        )
    if agent.table and envs.observations.kind != "discrete":
        raise SpaceError(
            f"{name} uses a table and needs a Discrete observation space, got "
            f"{envs.observations.spec}; for other observations use DQN or PPO."
        )
