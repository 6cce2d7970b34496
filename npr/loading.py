"""Agents from files, and from other agents: npr.load and npr.clone."""

import functools
import os
from typing import TYPE_CHECKING, Any, TypeVar

from npr import (
    algorithms,  # noqa: F401  (they register themselves)
    own_network,
)
from npr.algorithms.base import REGISTRY, Algorithm
from npr.errors import ConfigError
from npr.files import checkpoint
from npr.training import cloning

if TYPE_CHECKING:
    from npr.envs.make import EnvSource

Agent = TypeVar("Agent", bound=Algorithm)


def load(
    path: str | os.PathLike[str], env: "EnvSource | None" = None, **settings: Any
) -> Algorithm:
    """Load an agent from a file written by `agent.save(path)`. It can act, evaluate and learn on.

    env        environment to continue in: an id, an Env, a VectorEnv or a function; None: the one
               that the file describes. Loading never makes an environment, and never runs code from
               the file.
    settings   new values, e.g. learning_rate=1e-4 or n_envs=4; ConfigError for those that the
               agent was built with, such as net_arch. Networks of your own code, which no file
               holds, are given by net_arch={"pi": network}
    """
    prepare = functools.partial(own_network.restored, given=settings.get("net_arch"))
    agent = checkpoint.load(path, env, REGISTRY, prepare)
    given, own = settings.get("net_arch"), getattr(agent, "net_arch", None)
    if isinstance(given, dict) and isinstance(own, dict):
        settings["net_arch"] = {**own, **given}  # networks of widths may be left out
    agent.override(settings)
    return agent


def clone(agent: Agent, env: "EnvSource | None" = None, **settings: Any) -> Agent:
    """A new agent that has learned nothing, with the settings and the seed of another.

    env        its environment; None: another like the agent's own, which is not shared
    settings   values that differ, e.g. seed=1 or gamma=0.9

    Raises ConfigError if npr cannot make another environment like the agent's.
    """
    if not isinstance(agent, Algorithm):
        raise ConfigError(f"npr.clone takes an agent, e.g. npr.SAC('Pendulum-v1'), got {agent!r}.")
    new: Agent = cloning.clone(agent, env, settings)
    return new
