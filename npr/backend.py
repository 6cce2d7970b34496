"""The array module that everything numerical is written in: NumPy, or CuPy on a GPU.

NPR_BACKEND=numpy|cupy      where parameters live and updates run (default numpy)
NPR_DTYPE=float32|float64   the one floating type of parameters and batches (default float32)
NPR_NUMBA=1|0               whether kernels on the host are compiled by Numba (default 1)
NPR_CUDA_KERNELS=1|0        whether kernels on a device are CUDA's, or array operations (default 1)
NPR_GRAPHS=1|0              whether updates on a device are replayed as CUDA graphs (default 1)
NPR_CAPTURE=1|0             whether updates on the host are replayed as one call (default 1)

Read once, at import. Code that computes imports `xp`; code for data that is always on the host
(environments, replay columns, files) imports numpy, so that the import line shows whether a file
handles device or host arrays.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from npr.errors import BackendError, ConfigError

Array = Any  # an array of either backend


def _variable(name: str, *values: str, others: Mapping[str, str] | None = None) -> str:
    """The value of an environment variable, one of `values`; the first if it is not set or empty.

    others   other spellings of these values. Case and outer spaces do not matter: `set X=0 & npr`
             in Windows' shell sets "0 "
    """
    text = os.environ.get(name, "")
    word = text.strip().lower() or values[0]
    word = (others or {}).get(word, word)
    if word not in values:
        also = f" (or {', '.join(others)})" if others else ""
        known = " or ".join(map(repr, values))
        raise BackendError(f"{name}={text!r} is not known; use {known}{also}.")
    return word


_SWITCH = {
    **dict.fromkeys(("true", "yes", "on"), "1"),
    **dict.fromkeys(("false", "no", "off"), "0"),
}

BACKEND = _variable("NPR_BACKEND", "numpy", "cupy")
FLOAT = np.dtype(_variable("NPR_DTYPE", "float32", "float64"))
NUMBA = _variable("NPR_NUMBA", "1", "0", others=_SWITCH) == "1"
CUDA_KERNELS = _variable("NPR_CUDA_KERNELS", "1", "0", others=_SWITCH) == "1"
GRAPHS = _variable("NPR_GRAPHS", "1", "0", others=_SWITCH) == "1"
CAPTURE = _variable("NPR_CAPTURE", "1", "0", others=_SWITCH) == "1"


def _load(name: str) -> Any:
    if name == "numpy":
        return np
    try:
        import cupy
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        problem = "is not installed" if missing else f"cannot be imported ({error})"
        raise BackendError(
            f"NPR_BACKEND=cupy, but CuPy {problem}. Install npr-rl[cuda12] or npr-rl[cuda13], or "
            "unset NPR_BACKEND to run on the CPU."
        ) from error
    if not cupy.is_available():
        raise BackendError(
            f"NPR_BACKEND=cupy, but no usable NVIDIA GPU was found (cupy {cupy.__version__} "
            "imports; the driver is missing or too old). Unset NPR_BACKEND to run on the CPU."
        )
    return cupy


class _Switch:
    """The array module of a device, and NumPy for a thread within `on_host()`."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._module = ContextVar("module", default=device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module.get(), name)

    def _on_device(self) -> bool:
        return self._module.get() is self._device

    @contextlib.contextmanager
    def _on_host(self) -> Iterator[None]:
        before = self._module.set(np)
        try:
            yield
        finally:
            self._module.reset(before)


_module = _load(BACKEND)
ON_HOST = _module is np
xp: Any = np if ON_HOST else _Switch(_module)


def on_device() -> bool:
    """Whether arrays are computed on a device now: never on the NumPy backend."""
    return not ON_HOST and xp._on_device()


def on_host() -> contextlib.AbstractContextManager[None]:
    """A context in which every backend computes with NumPy, and `to_device` leaves an array where
    it is: a network of one row is faster there. Parameters must be host arrays. Other threads
    are not affected."""
    return contextlib.nullcontext() if ON_HOST else xp._on_host()


def to_device(array: Array) -> Array:
    """A host array as an array of the backend. On the NumPy backend: the same object."""
    return xp.asarray(array) if on_device() else array


def to_host(array: Array) -> Array:
    """An array of the backend as a NumPy array. On the NumPy backend: the same object."""
    return _module.asnumpy(array) if not ON_HOST else array


def empty_like(x: Array, shape: Any = None, dtype: Any = None) -> Array:
    """A new array of x's kind, C-contiguous; its shape and type are x's if they are not given.

    What an update computes is created from its arguments, so that these may be of any kind.
    """
    return xp.empty_like(x, dtype, "C", shape=x.shape if shape is None else shape)


def contiguous(x: Any, dtype: Any = None) -> Array:
    """x as a C-contiguous array, of the given type; x itself if it is one."""
    if hasattr(x, "__kernel__"):  # an array that NumPy's function would convert
        return x.astype(dtype or x.dtype, order="C", copy=False)
    return xp.ascontiguousarray(x, dtype)


def floats(*arrays: Array) -> list[Array]:
    """The arrays in one floating type: FLOAT where none of them has one."""
    dtype = np.result_type(*(x.dtype for x in arrays))
    dtype = dtype if dtype.kind == "f" else FLOAT
    return [x.astype(dtype, copy=False) for x in arrays]


def check_array(what: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise ConfigError unless a host array has this shape and type, and finite numbers."""
    if array.shape != shape or array.dtype != dtype:
        raise ConfigError(
            f"{what} must be {np.dtype(dtype)}{shape}, got {array.dtype}{array.shape}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ConfigError(f"{what} holds numbers that are not finite.")


def is_finite(array: Any, masked: bool = False) -> bool:
    """Whether a host array has finite numbers only.

    masked   it is a table (..., S, K), in which -inf is the value of an action that is not allowed,
             but not of all actions of a state
    """
    finite = np.isfinite(array)
    if masked:
        return bool((finite | np.isneginf(array)).all() and finite.any(axis=-1).all())
    return bool(finite.all())


MISSING = "not installed"


def installed(package: str) -> str:
    """The version of a package, found without importing it; MISSING if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
