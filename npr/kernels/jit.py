"""Loops for Numba, each with its array twin, compiled at the first call and not before.

NPR_NUMBA=0 runs every kernel on its twin. So does a machine without a usable Numba, after one
warning: its absence costs speed, not features.
"""

import os
import warnings

from npr.backend import ON_HOST

_ASKED = os.environ.get("NPR_NUMBA", "1") != "0"


class Kernel:
    """A function with two bodies that are tested equal.

    loop   for Numba: plain loops over arrays
    twin   the same in array operations: the reference, and what CuPy runs
    host   the arguments are host arrays on every backend (trees, replay columns)
    """

    def __init__(self, loop, twin, host=False):
        self.loop, self.twin, self.host = loop, twin, host
        self.__name__, self.__doc__ = twin.__name__, twin.__doc__
        self._run = None

    def __call__(self, *args):
        if self._run is None:
            self._run = self._choose(args)
        return self._run(*args)

    def _choose(self, args):
        numba = _numba() if (ON_HOST or self.host) else None
        if numba is None:
            return self.twin
        options = {"error_model": "numpy", "nogil": True}
        try:
            compiled = numba.njit(cache=True, **options)(self.loop)
            compiled.compile(tuple(numba.typeof(arg) for arg in args))
        except Exception as error:  # no place for a cache, or a damaged file in it
            _warn_once("cache", f"Numba's cache cannot be used ({error}); compiling anew.")
            compiled = numba.njit(**options)(self.loop)
        return compiled


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
