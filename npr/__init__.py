"""npr: reinforcement learning with NumPy.

    import npr
    agent = npr.SAC("Pendulum-v1", seed=0).learn()
    agent.evaluate().mean

Importing npr imports NumPy only. Gymnasium is imported with the first agent, Numba with the first
kernel.
"""

import importlib
from typing import TYPE_CHECKING, Any

from npr.version import __version__ as __version__

if TYPE_CHECKING:  # for editors; at run time __getattr__ imports each name at its first use
    import os
    from typing import TypeVar

    from npr import autodiff, heads, infer, kernels, nn, optim, plot, presets
    from npr.algorithms import (
        A2C,
        DDPG,
        DQN,
        PERDQN,
        PPO,
        PPOKL,
        REINFORCE,
        SAC,
        SACS,
        TD3,
        QActorCritic,
        QLearning,
        Sarsa,
        SoftQ,
    )  # fmt: skip
    from npr.algorithms.base import Algorithm
    from npr.autodiff import debug_anomaly
    from npr.envs.make import EnvSource
    from npr.errors import (
        BackendError,
        CheckpointError,
        CheckpointWarning,
        ConfigError,
        ConfigWarning,
        EnvContractError,
        EnvCrashedError,
        GradientError,
        LogWarning,
        NprError,
        NumericsError,
        ResumeWarning,
        SpaceError,
        UnknownNameError,
    )  # fmt: skip

    Agent = TypeVar("Agent", bound=Algorithm)

__all__ = [
    "clone", "debug_anomaly", "load",
    "QLearning", "Sarsa", "DQN", "PERDQN", "REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL",
    "DDPG", "TD3", "SoftQ", "SACS", "SAC",
    "autodiff", "heads", "infer", "kernels", "nn", "optim", "plot", "presets",
    "NprError", "BackendError", "CheckpointError", "ConfigError", "EnvContractError",
    "EnvCrashedError", "GradientError", "NumericsError", "SpaceError", "UnknownNameError",
    "CheckpointWarning", "ConfigWarning", "LogWarning", "ResumeWarning",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'npr' has no attribute {name!r}")
    if name.endswith(("Error", "Warning")):
        return getattr(importlib.import_module("npr.errors"), name)
    if name == "debug_anomaly":
        return importlib.import_module("npr.autodiff").debug_anomaly
    if name.islower():
        return importlib.import_module(f"npr.{name}")
    return getattr(importlib.import_module("npr.algorithms"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load(
    path: "str | os.PathLike[str]", env: "EnvSource | None" = None, **settings: Any
) -> "Algorithm":
    """Load an agent from a file written by `agent.save(path)`. It can act, evaluate and learn on.

    env        environment to continue in: an id, an Env, a VectorEnv or a function; None: the one
               that the file describes. Loading never makes an environment, and never runs code from
               the file.
    settings   new values, e.g. learning_rate=1e-4 or n_envs=4; ConfigError for those that the
               agent was built with, such as net_arch
    """
    from npr.algorithms.base import REGISTRY
    from npr.files import checkpoint

    importlib.import_module("npr.algorithms")
    agent = checkpoint.load(path, env, REGISTRY)
    agent.override(settings)
    return agent


def clone(agent: "Agent", env: "EnvSource | None" = None, **settings: Any) -> "Agent":
    """A new agent that has learned nothing, with the settings and the seed of another.

    env        its environment; None: another like the agent's own, which is not shared
    settings   values that differ, e.g. seed=1 or gamma=0.9

    Raises ConfigError if npr cannot make another environment like the agent's.
    """
    from npr.algorithms.base import Algorithm
    from npr.errors import ConfigError
    from npr.training import cloning

    if not isinstance(agent, Algorithm):
        raise ConfigError(f"npr.clone takes an agent, e.g. npr.SAC('Pendulum-v1'), got {agent!r}.")
    new: Agent = cloning.clone(agent, env, settings)
    return new
