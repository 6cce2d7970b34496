"""The memory that is available, checked before it is allocated.

Linux provides pages when they are first written to, not when they are allocated: a process with a
replay buffer that is too large would be killed hours later, without a message.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from npr.backend import ON_HOST, xp
from npr.errors import BackendError, ConfigError

SHARE = 0.8  # of the available memory for one buffer: environments and networks need some too

# files of the limit and of the usage, and the field of page cache that can be reclaimed
_VERSION_2 = "memory.max", "memory.current", "inactive_file"
_VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def available(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still allocate; None where the system does not report it.

    The smaller of what the machine has left and what the container's limit leaves.
    """
    left = container(root)
    reported = [left] if left is not None else []
    machine = _fields(root / "proc/meminfo").get("MemAvailable:")
    if machine is not None:
        reported.append(machine * 1024)
    elif not reported and "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        reported.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(reported, default=None)


def container(root: Path = Path("/")) -> int | None:
    """Bytes that the limits of the control groups around this process leave; None without one."""
    left = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, files = root / "sys/fs/cgroup", _VERSION_2
        elif "memory" in controllers.split(","):
            base, files = root / "sys/fs/cgroup/memory", _VERSION_1
        else:
            continue
        group = base / path.lstrip("/")
        # a container may see its own group at the top, under a path that only the host has
        inside = [folder for folder in (group, *group.parents) if folder.is_relative_to(base)]
        left += [_left(folder, *files) for folder in inside]
    return min((size for size in left if size is not None), default=None)


def _left(folder: Path, limit_file: str, usage_file: str, cache: str) -> int | None:
    limit, usage = _text(folder / limit_file).strip(), _text(folder / usage_file).strip()
    if not (limit.isdigit() and usage.isdigit()) or int(limit) >= 2**60:  # "max", or no limit in v1
        return None
    return max(0, int(limit) - int(usage) + _fields(folder / "memory.stat").get(cache, 0))


def _fields(path: Path) -> dict[str, int]:
    """{"MemAvailable:": 123} of lines such as "MemAvailable:  123 kB"."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def check_replay(capacity: int, row: int) -> None:
    """Check that a replay buffer of `capacity` transitions of `row` bytes fits into memory.

    Raises ConfigError above 80 % of what is available, with the size that fits.
    """
    there = available()
    if there is None or capacity * row <= SHARE * there:
        return
    fits = int(SHARE * there) // row
    step = 10 ** max(0, len(str(fits)) - 3)  # rounded down to three digits
    raise ConfigError(
        f"A replay buffer of {capacity:,} transitions needs {format_bytes(capacity * row)}, "
        f"{format_bytes(there)} are available; buffer_size <= {fits - fits % step:,} fits."
    )


# settings that decide how much memory is needed, the usual culprits first
_SIZES = (
    "batch_size", "net_arch", "n_particles", "value_n_particles", "n_steps", "n_episodes", "n_envs",
    "buffer_size",
)  # fmt: skip
_POOL_IS_FULL: Any = () if ON_HOST else xp.cuda.memory.OutOfMemoryError
# what the driver and cuBLAS raise are RuntimeErrors, whose texts begin with a name
_DRIVER_IS_FULL, _CUBLAS_IS_FULL = "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED"


class PinnedMemoryError(MemoryError):
    """The host has no more memory that the device can read by itself."""


def pinned(size: int) -> np.ndarray:
    """Bytes of pinned memory, not initialized.

    Raises PinnedMemoryError if there is not enough.
    """
    try:
        return np.frombuffer(xp.cuda.alloc_pinned_memory(size), np.uint8, size)
    except xp.cuda.runtime.CUDARuntimeError as error:
        if not str(error).startswith(_DRIVER_IS_FULL):
            raise
        text = f"Out of pinned memory allocating {size:,} bytes ({error})."
        raise PinnedMemoryError(text) from error


def is_full(error: BaseException) -> bool:
    """Whether this error says that memory of the device, or pinned memory, did not suffice."""
    return isinstance(error, (_POOL_IS_FULL, PinnedMemoryError)) or (
        isinstance(error, RuntimeError)
        and str(error).startswith((_DRIVER_IS_FULL, _CUBLAS_IS_FULL))
    )


@contextlib.contextmanager
def explain_full_device(settings: Mapping[str, Any]) -> Iterator[None]:
    """A context that raises BackendError if the memory of the device does not suffice, or the
    pinned memory of the host.

    settings   those of an agent, and perhaps other values; the error names what to lower

    The arrays of the calls that failed are freed, so that the agent can be saved.
    """
    try:
        yield
    except Exception as error:
        if ON_HOST or not is_full(error):
            raise
        free, total = xp.cuda.runtime.memGetInfo()
        pinned_is_full = isinstance(error, PinnedMemoryError)
        place = "pinned memory of the host" if pinned_is_full else "memory of the GPU"
        left = "" if pinned_is_full else f"{format_bytes(free)} of {format_bytes(total)} are free. "
        programs = "" if pinned_is_full else " on the GPU"
        sizes = ", ".join(f"{name}={settings[name]!r}" for name in _SIZES if name in settings)
        message = (
            f"The {place} does not suffice: {str(error).rstrip('.')}. {left}Lower "
            f"{sizes or 'the size of the batch or of the network'}, end other programs{programs}, "
            "or unset NPR_BACKEND to run on the CPU."
        )
        traceback.clear_frames(error.__traceback__)
        xp.get_default_memory_pool().free_all_blocks()
        xp.get_default_pinned_memory_pool().free_all_blocks()
        raise BackendError(message) from error


def format_bytes(size: int) -> str:
    """A number of bytes in MB or GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def peak() -> int | None:
    """The most bytes of memory that this process has used; None where it is not reported."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
