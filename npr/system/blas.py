"""NumPy's BLAS: its name, its threads, and the memory of its operands."""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator

import numpy as np

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@functools.cache
def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS of NumPy's wheels; None where NumPy was built with another BLAS."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
        library.scipy_openblas_get_num_threads64_, library.scipy_cblas_sgemm64_  # noqa: B018
        return library
    return None


def blas_name() -> str:
    """Version, build options and core type of NumPy's OpenBLAS, as it reports them."""
    config = getattr(openblas(), "scipy_openblas_get_config64_", None)
    if config is None:
        return "not the OpenBLAS of NumPy's wheels"
    config.restype = ctypes.c_char_p
    name: bytes = config()
    return name.decode()


def threads_set_by_user() -> str | None:
    """The variable that sets the number of BLAS threads, e.g. "OMP_NUM_THREADS=4"."""
    given = (f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)
    return next(given, None)


def threads_for(width: int) -> int:
    """How many BLAS threads are safe for networks of this width: one per 512 units.

    OpenBLAS busy-waits. Where another process uses a core, each product waits for the scheduler,
    some milliseconds: negligible at a width of 1,024, a factor of sixty at 256.
    """
    return max(1, width // 512)


_lock = threading.Lock()
_limits: list[int] = []  # of the runs in progress


@contextlib.contextmanager
def blas_threads(at_most: int) -> Iterator[None]:
    """Run with at most so many threads of the OpenBLAS in NumPy's wheels.

    On the small products of small networks a second thread costs more than it saves, and many
    times more where the cores are shared, since OpenBLAS busy-waits. Nothing changes with another
    BLAS, nor where OPENBLAS_NUM_THREADS, OMP_NUM_THREADS or MKL_NUM_THREADS is set.
    """
    library = None if threads_set_by_user() else openblas()
    if library is None:
        yield
        return
    with _lock:
        threads = library.scipy_openblas_get_num_threads64_()
        library.scipy_openblas_set_num_threads64_(min(at_most, threads))
        _limits.append(at_most)
    try:
        yield
    finally:
        with _lock:
            library.scipy_openblas_set_num_threads64_(threads)
            _limits.pop()


@contextlib.contextmanager
def without_limits() -> Iterator[bool]:
    """Whether no run of this process limits the threads; if so none begins to meanwhile."""
    with _lock:
        yield not _limits


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks below 32 MiB, for the rest of this process.

    By default glibc returns large blocks to the system when they are freed, and each new one costs
    page faults: a sixth of an update at width 256. Freeing one block of nearly 32 MiB, which is
    never written to, raises the threshold. Other allocators are not affected.
    """
    np.empty(31 << 20, np.uint8)
