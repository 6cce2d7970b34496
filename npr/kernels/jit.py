"""Kernels: loops for Numba and launches of CUDA kernels, each with a reference implementation in
array operations.

A kernel is compiled by its first call, not at import. The reference implementations run with
NPR_NUMBA=0 (on a device with NPR_CUDA_KERNELS=0), and after one warning if Numba (NVRTC) cannot be
used: without it npr is slower, but complete.
"""

import contextlib
import inspect
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from npr.backend import CUDA_KERNELS, NUMBA, ON_HOST, on_device
from npr.kernels.cuda import compiler as cuda


class ActionIndexError(IndexError):
    """An index of an action is out of range: loops check it, since Numba does not."""


class Kernel:
    """A function with several implementations, tested equal.

    loop       for Numba: plain loops over arrays; None: the reference, on the host too
    reference  the same in array operations, to test the others
    device     the same on device arrays, by kernels of npr.kernels.cuda; None: the reference
    host       the arguments are host arrays on every backend (trees, replay columns)
    calls      functions of npr that the loop calls
    sums       those whose sums may be reordered, which vector instructions need
    needs      called before compiling; returns whether the libraries that the loop needs exist
    """

    def __init__(
        self,
        loop: Callable[..., Any] | None,
        reference: Callable[..., Any],
        device: Callable[..., Any] | None = None,
        host: bool = False,
        calls: Sequence[Callable[..., Any]] = (),
        sums: Sequence[Callable[..., Any]] = (),
        needs: Callable[[], bool] | None = None,
    ) -> None:
        self.loop: Any = loop
        self.reference, self.device, self.host = reference, device, host
        self.calls, self.sums, self.needs = calls, sums, needs
        self.__name__, self.__doc__ = reference.__name__, reference.__doc__
        self._run: Any = None  # what a call runs: `_host`, or `_where_arrays_are`
        self._host: Any = None  # the implementation for arrays on the host
        self._cached = False

    def __call__(self, *args: Any) -> Any:
        if self._run is None:
            self._use(self._choose_on_host())
        try:
            return self._run(*args)
        except Exception as error:
            from_loop = isinstance(error, ActionIndexError)
            from_device = self._run is not self._host and on_device()
            from_numba = type(error).__module__ == "numba.core.errors"
            if from_loop or from_device or from_numba or not self._cached:
                raise  # not from the cache
            # Numba compiles for new types of arguments within the call. A damaged file in its cache
            # or a full disk can raise any exception, even MemoryError
            _warn_once("cache", f"Numba's cache cannot be used ({error!r}); compiling again.")
            with contextlib.suppress(Exception):
                self._host._cache.flush()  # so that the next process writes a valid one
            self._use(self._compile(cache=False))
            self._cached = False
            return self._run(*args)

    def _use(self, host: Any) -> None:
        """Run this implementation for arrays on the host."""
        self._host = host
        self._run = host if ON_HOST or self.host else self._where_arrays_are

    def _where_arrays_are(self, *args: Any) -> Any:
        return (self._on_device() if on_device() else self._host)(*args)

    def _on_device(self) -> Any:
        if self.device is not None and CUDA_KERNELS and cuda.available():  # asks the device once
            return self.device
        return self.reference

    def _choose_on_host(self) -> Any:
        if self.loop is None or _numba() is None or (self.needs and not self.needs()):
            return self.reference
        try:
            run = self._compile(cache=True)
            folder = run._cache.cache_path
        except Exception as error:
            _warn_once("cache", f"Numba's cache cannot be used ({error!r}); compiling again.")
            return self._compile(cache=False)
        if open_to_all(folder):
            _warn_once("cache", f"Numba's cache in {folder} is not used: {OPEN}; compiling again.")
            return self._compile(cache=False)
        self._cached = True
        return run

    def _compile(self, cache: bool) -> Any:
        numba: Any = _numba()
        for function in self.calls:
            numba.extending.register_jitable(function)
        for function in self.sums:
            numba.extending.register_jitable(fastmath={"reassoc"})(function)
        run = numba.njit(cache=cache, error_model="numpy", nogil=True)(self.loop)
        if cache:
            # Numba compiles again when the loop's file has changed; add the files of what it calls
            index = run._cache._cache_file
            stamps = ((s.st_mtime, s.st_size) for s in map(os.stat, self._other_files()))
            index._source_stamp = (index._source_stamp, *stamps)
        return run

    def _other_files(self) -> list[str]:
        """The source files of the functions that the loop calls, without its own file."""
        called = [*self.calls, *self.sums, *([self.needs] if self.needs else [])]
        files = {inspect.unwrap(function).__code__.co_filename for function in called}
        return sorted(files - {self.loop.__code__.co_filename})


def available() -> bool:
    """Whether kernels are compiled by Numba in this process."""
    return _numba() is not None


OPEN = (
    "every user of this machine may write there, and its content is executed. Set NUMBA_CACHE_DIR "
    "to a private folder"
)


def open_to_all(folder: str | Path) -> bool:
    """Whether any user may write files to a cache, or replace its folder.

    A parent folder like /tmp is safe if this user owns it: only the owner of a file may move it
    there.
    """
    if os.name != "posix":  # on other systems the mode does not describe other users
        return False
    here, above = Path(folder).stat(), Path(folder).parent.stat()
    sticky = above.st_mode & stat.S_ISVTX and above.st_uid == os.getuid()
    return bool(here.st_mode & stat.S_IWOTH or (above.st_mode & stat.S_IWOTH and not sticky))


def cache_folder() -> Path:
    """The folder in which Numba caches the kernels; raises if there is none."""
    numba: Any = _numba()
    return Path(numba.njit(cache=True)(open_to_all)._cache.cache_path)  # that of the kernels too


def _numba() -> ModuleType | None:
    """The numba module, or None if it is switched off or cannot be imported."""
    if not NUMBA:
        return None
    try:
        import numba
    except Exception as error:  # not installed, NumPy too new, llvmlite broken
        _warn_once(
            "import",
            f"Numba cannot be used ({error}); running on NumPy alone, slower. "
            "Install a matching numba, or set NPR_NUMBA=0 to silence this.",
        )
        return None
    return numba


_warned: set[str] = set()


def _warn_once(topic: str, text: str) -> None:
    if topic not in _warned:
        _warned.add(topic)
        warnings.warn(text, RuntimeWarning, stacklevel=5)
