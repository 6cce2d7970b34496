"""What the modules of the double share: counts, errors, and the device work itself.

All work of the simulated device goes through `new`, `write` and `empty`, which count it, do it and,
while a stream captures a graph (see cuda.py), record it.
"""

import contextlib
from dataclasses import dataclass, fields

import numpy as np


class SynchronizationError(RuntimeError):
    """Something would have made the CPU wait for the GPU (R4, R5)."""


class PrecisionError(RuntimeError):
    """A float64 array was made where the compute type is float32 (R10)."""


@dataclass
class Counts:
    """What a program asked of the device since `reset`."""

    uploads: int = 0
    downloads: int = 0
    synchronizations: int = 0  # operations that wait for the device, including those that raised
    launches: int = 0  # kernels, copies within the device and fills, one each
    products: int = 0  # those of them that call cuBLAS

    def reset(self):
        for field in fields(self):
            setattr(self, field.name, 0)

    def transfers(self):
        """The first three, in which the host and the device meet."""
        names = ("uploads", "downloads", "synchronizations")
        return {name: getattr(self, name) for name in names}


counts = Counts()
_sync_allowed = False


@contextlib.contextmanager
def allow_sync():
    """Within this block the host may read values; each read is still counted."""
    global _sync_allowed
    before, _sync_allowed = _sync_allowed, True
    try:
        yield
    finally:
        _sync_allowed = before


def synchronize(what):
    counts.synchronizations += 1
    if not _sync_allowed:
        raise SynchronizationError(f"{what} of a device array makes the CPU wait for the GPU.")


def poison(kind):
    """The value of memory that nothing was written to (R9): NaN, the smallest integer, True."""
    return np.nan if kind.kind in "fc" else np.iinfo(kind).min if kind.kind in "iu" else True


def empty(shape, dtype):
    """New memory of the device."""
    kind = np.dtype(dtype)
    return np.full(shape, poison(kind), kind)


def new(function, *args, launches=1, **options):
    """The result of a function in new memory of the device; `launches` kernels compute it."""
    counts.launches += launches
    return np.asarray(function(*args, **options))


def write(function, *targets, launches=1):
    """Do work of the device that writes to the NumPy arrays `targets`, within `launches` kernels.

    function   takes no arguments; it must hold the memory that it uses
    """
    counts.launches += launches
    function()
