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
    from npr import (
        autodiff,
        callbacks,
        data,
        heads,
        infer,
        kernels,
        loggers,
        nn,
        optim,
        plot,
        presets,
        report,
        runs,
        tune,
    )  # fmt: skip
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
    from npr.autodiff import debug_anomaly
    from npr.ensemble import module as ensemble
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
    from npr.export import module as export
    from npr.loading import clone, load
    from npr.runs.sweep import sweep

__all__ = [
    "clone", "debug_anomaly", "load", "sweep",
    "QLearning", "Sarsa", "DQN", "PERDQN", "REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL",
    "DDPG", "TD3", "SoftQ", "SACS", "SAC",
    "autodiff", "callbacks", "data", "ensemble", "export", "heads", "infer", "kernels", "loggers",
    "nn", "optim", "plot", "presets", "report", "runs", "tune",
    "NprError", "BackendError", "CheckpointError", "ConfigError", "EnvContractError",
    "EnvCrashedError", "GradientError", "NumericsError", "SpaceError", "UnknownNameError",
    "CheckpointWarning", "ConfigWarning", "LogWarning", "ResumeWarning",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        advice = ""
        if name[:1].isupper():  # else it may be a module, which is imported next
            advice = importlib.import_module("npr.settings.sb3").CLASSES.get(name, "")
        raise AttributeError(f"module 'npr' has no attribute {name!r}{advice and f'; {advice}'}")
    if name.endswith(("Error", "Warning")):
        return getattr(importlib.import_module("npr.errors"), name)
    if name in ("load", "clone"):
        return getattr(importlib.import_module("npr.loading"), name)
    if name == "sweep":
        return importlib.import_module("npr.runs.sweep").sweep
    if name == "debug_anomaly":
        return importlib.import_module("npr.autodiff").debug_anomaly
    if name.islower():
        return importlib.import_module(f"npr.{name}")
    return getattr(importlib.import_module("npr.algorithms"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
