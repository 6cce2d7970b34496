"""The array module that everything numerical is written in: NumPy, or CuPy on a GPU.

NPR_BACKEND=numpy|cupy      where parameters live and updates run (default numpy)
NPR_DTYPE=float32|float64   the one floating type of parameters and batches (default float32)

Read once, at import. Code that computes imports `xp`; code that handles what is truly on the
host (environments, replay columns, files) imports numpy itself, so that the import line tells
the reader on which side of the door a file stands.
"""

import contextlib
import ctypes
import functools
import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from npr.errors import BackendError

Array = Any  # an array of either backend

BACKEND = os.environ.get("NPR_BACKEND", "numpy")
_DTYPE = os.environ.get("NPR_DTYPE", "float32")

if _DTYPE not in ("float32", "float64"):
    raise BackendError(f"NPR_DTYPE={_DTYPE!r} is not known; use 'float32' or 'float64'.")
FLOAT = np.dtype(_DTYPE)


def _load(name: str):
    if name == "numpy":
        return np
    if name != "cupy":
        raise BackendError(f"NPR_BACKEND={name!r} is not known; use 'numpy' or 'cupy'.")
    try:
        import cupy
    except ImportError as error:
        raise BackendError(
            "NPR_BACKEND=cupy, but CuPy is not installed. Install npr-rl[cuda12] or "
            "npr-rl[cuda13], or unset NPR_BACKEND to run on the CPU."
        ) from error
    if not cupy.is_available():
        raise BackendError(
            f"NPR_BACKEND=cupy, but no usable NVIDIA GPU was found (cupy {cupy.__version__} "
            "imports; the driver is missing or too old). Unset NPR_BACKEND to run on the CPU."
        )
    return cupy


xp = _load(BACKEND)
ON_HOST = xp is np


def to_device(array) -> Array:
    """A host array as an array of the backend. On the NumPy backend: the same object."""
    return array if ON_HOST else xp.asarray(array)


def to_host(array) -> np.ndarray:
    """An array of the backend as a NumPy array. On the NumPy backend: the same object."""
    return array if ON_HOST else xp.asnumpy(array)


def installed(package: str) -> str:
    """The version of a package, which is not imported for that."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@functools.cache
def blas():
    """The OpenBLAS of NumPy's wheels as a ctypes library; None where NumPy has another one."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)
        library.scipy_openblas_get_num_threads64_, library.scipy_cblas_sgemm64_  # noqa: B018
        return library
    return None


def blas_name() -> str:
    """Version, options and kind of core of NumPy's OpenBLAS, as it tells them."""
    tell = getattr(blas(), "scipy_openblas_get_config64_", None)
    if tell is None:
        return "not the OpenBLAS of NumPy's wheels"
    tell.restype = ctypes.c_char_p
    return tell().decode()


def threads_set_by_user() -> str | None:
    """The variable that says how many threads BLAS may use, e.g. "OMP_NUM_THREADS=4"."""
    held = (f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)
    return next(held, None)


@contextlib.contextmanager
def blas_threads(at_most: int):
    """Run with at most so many threads of the OpenBLAS in NumPy's wheels; else nothing changes.

    On the small products of small networks a second thread costs more than it brings, and many
    times more where the cores are shared, since OpenBLAS waits busily. Untouched where the user
    has set OPENBLAS_NUM_THREADS, OMP_NUM_THREADS or MKL_NUM_THREADS.
    """
    library = None if threads_set_by_user() else blas()
    if library is None:
        yield
        return
    threads = library.scipy_openblas_get_num_threads64_()
    library.scipy_openblas_set_num_threads64_(min(at_most, threads))
    try:
        yield
    finally:
        library.scipy_openblas_set_num_threads64_(threads)
