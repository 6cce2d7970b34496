"""Loops for Numba, each with its array twin, compiled at the first call and not before.

NPR_NUMBA=0 runs every kernel on its twin. So does a machine without a usable Numba, after one
warning: its absence costs speed, not features.
"""

import contextlib
import os
import warnings

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
            ours = (
                isinstance(error, (ChoiceError, MemoryError))
                or type(error).__module__ == "numba.core.errors"
            )
            if ours or not self._cached:
                raise  # nothing to do with the cache
            # Numba compiles for new types of arguments in the call itself, and a damaged file in
            # its cache, or no place for one, raises anything
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
        except Exception as error:
            _warn_once("cache", f"Numba's cache cannot be used ({error!r}); compiling anew.")
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
