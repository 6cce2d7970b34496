"""Files that learn() writes: checks of their path, and saving when the run stops."""

import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

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
    check_path("save_path", path)
    folder = os.path.dirname(os.path.abspath(os.fsdecode(path)))
    if not os.path.isdir(folder):
        raise ConfigError(f"save_path={path!r}: there is no folder {folder!r}; create it first.")


def check_path(name: str, path: Any) -> None:
    """Raise ConfigError unless this is a path, and not of a folder; `name` is the argument's."""
    paths = (str, bytes, os.PathLike)
    if not isinstance(path, paths) or not os.fspath(path) or os.path.isdir(path):
        raise ConfigError(
            f"{name} must be the path of a file, e.g. 'agent.npz', got {path!r}"
            f"{', which is a folder' if isinstance(path, paths) and os.fspath(path) else ''}."
        )


def save_or_warn(agent: Agent, path: Path) -> bool:
    """Save during a run; warn and continue if the file cannot be written or misses state.

    Returns whether a file was written.
    """
    lost = _unsaved(agent)
    try:
        checkpoint.save(agent, path, without=lost)
        message, written = f"was saved without its {', '.join(lost)}" if lost else "", True
    except (OSError, ConfigError) as error:
        written = False
        message = f"could not be saved ({error}). An earlier file there is unchanged, and training "
        message += "continues"
    if message:
        warnings.warn(
            f"{os.fsdecode(path)}, step {agent.num_timesteps:,}: the agent {message}.",
            CheckpointWarning,
            stacklevel=2,
        )
    return written


def check_arguments(progress_bar: Any, log_interval: Any, reset_num_timesteps: Any) -> None:
    """Check arguments of learn(). Raises ConfigError."""
    if progress_bar is not None and not isinstance(progress_bar, (bool, np.bool_)):
        raise ConfigError(
            f"progress_bar must be True, False or None, got {progress_bar!r}. Pass arguments after "
            "the callback by name: learn(100, f, log_interval=4)."
        )
    if log_interval is not None and not (is_whole(log_interval) and log_interval >= 1):
        raise ConfigError(
            "log_interval must be a whole number above 0, of rollouts or episodes between rows of "
            f"the log, or None; got {log_interval!r}."
        )
    if not isinstance(reset_num_timesteps, (bool, np.bool_)):
        raise ConfigError(
            f"reset_num_timesteps must be True or False, got {reset_num_timesteps!r}."
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
    if agent.position().get("steps", 0) <= 1 and not agent.n_updates:
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
