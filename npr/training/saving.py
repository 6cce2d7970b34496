"""Files that learn() writes: checks of their path, and saving when the run stops."""

import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

from npr.errors import CheckpointWarning, ConfigError
from npr.files import checkpoint
from npr.files.archive import Path
from npr.files.checkpoint import Agent
from npr.settings.setting import is_whole


def check_target(path: Path | None, interval: int | None) -> None:
    """Check save_path and save_freq. Raises ConfigError if no file can be written there."""
    if interval is not None and not (is_whole(interval) and interval >= 1 and path is not None):
        raise ConfigError(
            "save_freq must be a whole number of env steps, with a save_path to write to; got "
            f"save_freq={interval!r}, save_path={path!r}."
        )
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)) or os.path.isdir(path):
        raise ConfigError(f"save_path must be the path of a file, got {path!r}.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ConfigError(f"save_path={path!r}: there is no folder {folder!r}; create it first.")


def save_or_warn(agent: Agent, path: Path) -> None:
    """Save during a run; warn and continue if the file cannot be written or misses state."""
    lost = _unsaved(agent)
    try:
        checkpoint.save(agent, path, without=lost)
        message = f"was saved without its {', '.join(lost)}" if lost else ""
    except OSError as error:
        message = f"could not be saved ({error}). An earlier file there is unchanged, and training "
        message += "continues"
    if message:
        warnings.warn(
            f"{os.fsdecode(path)}, step {agent.num_timesteps:,}: the agent {message}.",
            CheckpointWarning,
            stacklevel=2,
        )


def check_arguments(callback: object, log_interval: Any) -> None:
    """Check callback and log_interval of learn(). Raises ConfigError."""
    if callback is not None and not callable(callback):
        raise ConfigError(f"callback must be a function of the agent, got {callback!r}.")
    if log_interval is not None and not (is_whole(log_interval) and log_interval >= 1):
        raise ConfigError(
            f"log_interval must be a whole number of episodes or None, got {log_interval!r}."
        )


def _unsaved(agent: Agent) -> list[str]:
    """The names of attributes that a file of the agent would not restore."""
    return [*agent.snapshot.changed(agent), *agent.snapshot.added(agent)]


def rescue(agent: Agent, reason: str, path: Path | None = None) -> str:
    """Save an agent whose run stops early. Returns a sentence for the user; raises nothing.

    reason  part of the name of the file if path is None, e.g. "interrupted"
    path    None: a new file in the working directory
    """
    where = f"step {agent.num_timesteps:,} of {agent.end:,}"
    if agent.position()["steps"] <= 1:
        return f"Nothing was saved, since nothing was learned yet ({where})."
    file = os.fsdecode(path or _free_name(agent, reason))
    try:
        lost = _unsaved(agent)
        checkpoint.save(agent, file, without=lost)
    except Exception as error:  # must not replace the error that stopped the run
        return f"At {where} the agent could not be saved to {file}: {error}"
    loss = f", without its {', '.join(lost)}" if lost else ""
    then = ".learn() continues from there" if agent.num_timesteps < agent.end else ""
    return f"At {where} the agent was saved{loss}: npr.load({file!r}){then}."


def _free_name(agent: Agent, reason: str) -> str:
    """An unused file name in the working directory, unique to this process."""
    words = (type(agent).__name__, agent.env_id, reason, os.getpid())
    stem = re.sub(r"[^\w-]+", "-", "-".join(str(word) for word in words if word))
    names: Iterator[str] = (f"{stem}{end}.npz" for end in ("", *(f"-{i}" for i in range(2, 1_000))))
    return next(name for name in names if not os.path.exists(name))
