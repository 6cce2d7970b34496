"""Loops for Numba, each with its array twin, compiled at the first call and not before.

NPR_NUMBA=0 runs every kernel on its twin. So does a machine without a usable Numba, after one
warning: its absence costs speed, not features.
"""

import contextlib
import os
import stat
import warnings
from pathlib import Path

from npr.backend import ON_HOST

_ASKED = os.environ.get("NPR_NUMBA", "1") != "0"


class ChoiceError(IndexError):
    """What a loop refuses by itself: an index that would lead out of an array's memory."""


class Kernel:
    """A function with two bodies that are tested equal.

    loop   for Numba: plain loops over arrays
    twin   the same in array operations: the reference, and what CuPy runs
    host   the arguments are host arrays on every backend (trees, replay columns)
    calls  functions of ours that the loop calls
    sums   those whose sums may be taken in any order, which vector instructions need
    needs  what must be found for the loop to compile, if anything: a function that tells
    """

    def __init__(self, loop, twin, host=False, calls=(), sums=(), needs=None):
        self.loop, self.twin, self.host = loop, twin, host
        self.calls, self.sums, self.needs = calls, sums, needs
        self.__name__, self.__doc__ = twin.__name__, twin.__doc__
        self._run, self._cached = None, False

    def __call__(self, *args):
        if self._run is None:
            self._run = self._choose()
        try:
            return self._run(*args)
        except Exception as error:
            ours = isinstance(error, ChoiceError) or type(error).__module__ == "numba.core.errors"
            if ours or not self._cached:
                raise  # nothing to do with the cache
            # Numba compiles for new types of arguments in the call itself, and a damaged file in
            # its cache, or no place for one, raises anything, MemoryError too
            _warn_once("cache", f"Numba's cache cannot be used ({error!r}); compiling anew.")
            with contextlib.suppress(Exception):
                self._run._cache.flush()  # so that the next process writes a sound one
            self._run, self._cached = self._compile(cache=False), False
            return self._run(*args)

    def _choose(self):
        if _numba() is None or not (ON_HOST or self.host) or (self.needs and not self.needs()):
            return self.twin
        try:
            run = self._compile(cache=True)
            folder = run._cache.cache_path
        except Exception as error:
            _warn_once("cache", f"Numba's cache cannot be used ({error!r}); compiling anew.")
            return self._compile(cache=False)
        if open_to_all(folder):
            _warn_once("cache", f"Numba's cache in {folder} is not used: {OPEN}; compiling anew.")
            return self._compile(cache=False)
        self._cached = True
        return run

    def _compile(self, cache):
        for function in self.calls:
            _numba().extending.register_jitable(function)
        for function in self.sums:
            _numba().extending.register_jitable(fastmath={"reassoc"})(function)
        return _numba().njit(cache=cache, error_model="numpy", nogil=True)(self.loop)


def available() -> bool:
    """Whether kernels are compiled by Numba in this process."""
    return _numba() is not None


OPEN = (
    "every user of this machine may write there, and what lies there is run. Set NUMBA_CACHE_DIR "
    "to a folder of your own"
)


def open_to_all(folder) -> bool:
    """Whether any user may put files into a cache, or another folder in its place.

    A folder above it may be like /tmp, if it is this user's: there nobody moves what is not theirs.
    """
    if os.name != "posix":  # elsewhere the mode tells nothing about others
        return False
    here, above = Path(folder).stat(), Path(folder).parent.stat()
    kept = above.st_mode & stat.S_ISVTX and above.st_uid == os.getuid()
    return bool(here.st_mode & stat.S_IWOTH or (above.st_mode & stat.S_IWOTH and not kept))


def cache_folder() -> Path:
    """Where Numba keeps the kernels, in the way that it chooses; raises where it finds no place."""
    return Path(_numba().njit(cache=True)(open_to_all)._cache.cache_path)  # a neighbour of theirs


def _numba():
    """The numba module, or None where it is switched off or cannot be imported."""
    if not _ASKED:
        return None
    try:
        import numba
    except Exception as error:  # too new a NumPy, a broken llvmlite, not installed
        _warn_once(
            "import",
            f"Numba cannot be used ({error}); running on NumPy alone, slower. "
            "Install a matching numba, or set NPR_NUMBA=0 to silence this.",
        )
        return None
    return numba


_warned: set[str] = set()


def _warn_once(topic, text):
    if topic not in _warned:
        _warned.add(topic)
        warnings.warn(text, RuntimeWarning, stacklevel=5)
