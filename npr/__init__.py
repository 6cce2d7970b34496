"""npr: reinforcement learning with NumPy.

    import npr
    agent = npr.SAC("Pendulum-v1", seed=0).learn()
    agent.evaluate().mean

Importing npr imports NumPy and nothing else: Gymnasium comes with the first agent, Numba with
the first kernel.
"""

import importlib

from npr.version import __version__ as __version__

# the lists below are what `npr.` completes to; __getattr__ imports each at its first use
_ALGORITHMS = (
    "QLearning", "Sarsa", "DQN", "PERDQN", "REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL",
    "DDPG", "TD3", "SoftQ", "SACS", "SAC",
)  # fmt: skip
_MODULES = ("autodiff", "heads", "infer", "kernels", "nn", "optim", "presets")
_ERRORS = (
    "NprError", "BackendError", "CheckpointError", "ConfigError", "EnvContractError",
    "EnvCrashedError", "GradientError", "NumericsError", "SpaceError",
    "CheckpointWarning", "ConfigWarning", "ResumeWarning",
)  # fmt: skip

__all__ = ["debug_anomaly", "load", *_ALGORITHMS, *_MODULES, *_ERRORS]  # noqa: PLE0604


def __getattr__(name):
    if name in _ALGORITHMS:
        return getattr(importlib.import_module("npr.algorithms"), name)
    if name in _ERRORS:
        return getattr(importlib.import_module("npr.errors"), name)
    if name == "debug_anomaly":
        return importlib.import_module("npr.autodiff").debug_anomaly
    if name in _MODULES:
        return importlib.import_module(f"npr.{name}")
    raise AttributeError(f"module 'npr' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


def load(path, env=None):
    """The agent in a file written by `agent.save(path)`, ready to act, evaluate and go on learning.

    env   what it goes on learning in: an id, an Env, a VectorEnv or a factory; None: the id in
          the file. Loading itself never makes an environment, and never runs code from the file.
    """
    from npr.algorithms.base import REGISTRY
    from npr.files import checkpoint

    importlib.import_module("npr.algorithms")
    return checkpoint.load(path, env, REGISTRY)
