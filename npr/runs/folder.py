"""The folder of a run: its name, and a lock while it is trained."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from npr.errors import ConfigError
from npr.files.run_folder import BEST, CHECKPOINTS, CONFIG, CONSOLE, FINAL, LATEST
from npr.runs.config import RunConfig

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# which agent of a run -> its file
WHICH = {"best": BEST, "final": FINAL, "latest": f"{CHECKPOINTS}/{LATEST}"}
_LONGEST = 150  # characters of a name, before the seed; systems allow 255


def name_of(config: RunConfig, first: Iterable[str] = ()) -> str:
    """The name of a run's folder: algorithm, environment and how it is made, settings and seed.

    first   settings that come before others and are always named, those that differ within a
            grid. Others are named if the preset and the defaults have another value
    """
    usual = {**config.kind.defaults(), **config.preset}
    given = {name: config.settings[name] for name in first if name in config.settings}
    others = {k: v for k, v in config.settings.items() if k != "verbose" and v != usual[k]}
    given |= {k: v for k, v in others.items() if k not in given}
    values = [*config.env_kwargs.items(), *given.items()]
    wrappers = [name.rpartition(":")[2] for name in config.wrappers]
    parts = [config.algorithm, config.env, *wrappers, *(f"{k}={_short(v)}" for k, v in values)]
    stem = re.sub(r"[^\w.=-]+", "-", "_".join(parts))
    return f"{stem[:_LONGEST]}_seed{config.seed}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(f"{k}-{_short(v)}" for k, v in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def make(out: Path, name: str) -> Path:
    """Make a new folder `name` in `out`, or name_2, name_3 ... if that exists."""
    out.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = out / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another process may make the same ones
            number += 1


def check_is_run(folder: Path) -> None:
    """Raise ConfigError if this is not the folder of a run; for a folder of them, it says so."""
    if (folder / CONFIG).is_file():
        return
    reason = f"it has no {CONFIG}"
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "there is no such folder"
    elif n := number_of_runs(folder):
        reason = f"it holds run folders ({n}): name one of them"
    raise ConfigError(f"{folder} is not a run folder: {reason}.")


def number_of_runs(folder: Path) -> int:
    """How many run folders are in a folder."""
    return sum((one / CONFIG).is_file() for one in folder.iterdir())


def agent_file(given: str | os.PathLike[str], which: str | None = None) -> Path:
    """The file of an agent: `given` itself, or one in the run folder `given`.

    which   a key of WHICH; None: the first one that exists

    Raises ConfigError if the folder has no such file, or `which` is not valid.
    """
    folder = Path(given)
    if not folder.is_dir():
        if which is not None:
            raise ConfigError(f"which={which!r} needs a run folder, {given} is not a folder.")
        return folder
    if which not in (None, *WHICH):
        raise ConfigError(f"which must be {', '.join(WHICH)} or None, got {which!r}.")
    names = [WHICH[which]] if which else [*WHICH.values()]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        if not (folder / CONFIG).is_file() and number_of_runs(folder):
            check_is_run(folder)
        kind = "run folder" if (folder / CONFIG).is_file() else "folder"
        raise ConfigError(f"The {kind} {given} has no {', '.join(names)}.")
    return found[0]


class FolderInUse(ConfigError):
    """The run in a folder is being trained."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it nobody else trains the run in a folder, where the system can lock files.

    The lock is on console.log, which a run never replaces, and ends with the process. Raises
    FolderInUse if another process, or another thread, has it.
    """
    handle = os.open(folder / CONSOLE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _lock(handle, folder)
        yield
    finally:
        if fcntl is not None:  # to close is not enough where an environment's process has a copy
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderInUse(
            f"The run in {folder} is being trained by another process. Resume it when that has "
            "stopped."
        ) from None
    except OSError:  # this file system has no locks
        pass
