"""Kernels: loops for Numba and launches of CUDA kernels, each with a reference implementation in
array operations.

A loop is compiled to native code by its first call, not at import, and loaded by later processes.
The reference implementations run with NPR_NUMBA=0 (on a device with NPR_CUDA_KERNELS=0), for
arguments that native code cannot take, and after one warning if Numba (NVRTC) cannot be used:
without it npr is slower, but complete.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npr.backend import CUDA_KERNELS, NUMBA, ON_HOST, Array, on_device
from npr.kernels import native
from npr.kernels.abi import DONE, Library
from npr.kernels.cuda import compiler as cuda
from npr.kernels.native import Native

_ARRAY = np.ndarray


class ActionIndexError(IndexError):
    """An index of an action is out of range: loops check it, since Numba does not."""


def check_actions(a: Array, K: int) -> None:
    """Raise ActionIndexError unless indices are in 0..K-1, which a device does not check."""
    if ON_HOST and ((a < 0) | (a >= K)).any():
        raise ActionIndexError("action index out of range 0..K-1")


class Kernel:
    """A function with several implementations, tested equal.

    loop       for Numba: plain loops over arrays that allocate and return nothing; None: the
               reference, on the host too
    reference  the same in array operations, to test the others
    device     the same on device arrays, by kernels of npr.kernels.cuda; None: the reference
    host       the arguments are host arrays on every backend (trees, replay columns)
    calls      functions of npr that the loop calls
    sums       those whose sums may be reordered, which vector instructions need
    library    a library that the loop needs

    An argument that is neither an array nor a number may define `__kernel__(kernel, args)`, which
    then runs instead and gives the result, as `__array_function__` does for NumPy's functions. The
    reference of a kernel without a loop gets such an argument: it consists of NumPy's operations.
    """

    def __init__(
        self,
        loop: Callable[..., Any] | None,
        reference: Callable[..., Any],
        device: Callable[..., Any] | None = None,
        host: bool = False,
        calls: Sequence[Callable[..., Any]] = (),
        sums: Sequence[Callable[..., Any]] = (),
        library: Library | None = None,
    ) -> None:
        self.loop: Any = loop
        self.reference, self.device, self.host = reference, device, host
        self.calls, self.sums, self.library = calls, sums, library
        self.__name__ = reference.__name__.removeprefix("_").removesuffix("_reference")
        self.__doc__ = reference.__doc__
        self._always_host = ON_HOST or host
        self._natives: dict[Any, Native | None] = {}
        # of the last call: types of the arguments, its native code, what packs the words, and
        # whether they are all arrays; in one tuple, so that threads see all of it or nothing
        self._last: tuple[Any, Any, Any, bool] = None, None, None, False

    def __call__(self, *args: Any) -> Any:
        if not self._always_host and on_device():
            return self._on_device()(*args)
        types, function, pack, arrays = self._last
        if tuple(map(type, args)) == types:
            words = map(id, args) if arrays else [id(x) if type(x) is _ARRAY else x for x in args]
            try:
                if not function(pack(*words)):
                    return None
            except struct.error:  # noqa: SIM105  an integer of more than 64 bits; this is faster
                pass
        return self._first(args)

    def _first(self, args: tuple[Any, ...]) -> Any:
        """A call that the native code of the last one did not compute."""
        if self.loop is None:
            return self.reference(*args)
        for x in args:
            if hasattr(type(x), "__kernel__"):
                return type(x).__kernel__(x, self, args)
        args = tuple(bool(x) if type(x) is np.bool_ else x for x in args)  # which has no word
        code = self.native(*args)
        if code is not None and code(*args) == DONE:
            types = tuple(map(type, args))
            self._last = types, code.function, code.pack, {*types} == {_ARRAY}
            return None
        return self.reference(*args)  # which also raises its own errors for those of the loop

    def native(self, *args: Any) -> Native | None:
        """The native code for arguments of these types; None if the reference must run."""
        kinds = native.kinds_of(args) if NUMBA else None
        if kinds is None:
            return None
        if kinds not in self._natives:
            self._natives[kinds] = native.native(self, kinds)
        return self._natives[kinds]

    def why_not(self, *args: Any) -> str:
        """Why `native` gives nothing for these arguments, for messages."""
        if self.loop is None:
            return "it is no loop"
        if not NUMBA:
            return "Numba is switched off"
        kinds = native.kinds_of(args)
        if kinds is not None:
            return native.why_not(self, kinds)
        other = next(x for x in args if native.kinds_of([x]) is None)
        if type(other) is np.ndarray:
            stored = "" if other.flags.aligned else ", not aligned"
            return f"native code takes no array of {other.dtype}{stored}"
        size = " of more than 64 bits" if type(other) is int else ""
        return f"native code takes no {type(other).__name__}{size}"

    def is_compiled(self, *args: Any) -> bool:
        """Whether `native` need not compile for arguments of these types."""
        kinds = native.kinds_of(args) if NUMBA else None
        return kinds is None or kinds in self._natives or native.has_file(self, kinds)

    def prepared(self, *args: Any) -> Callable[[], Any]:
        """A function that runs the kernel on these same arguments, again and again: in less time
        than a call, which has to look at each of them. Their types must stay what they are."""
        code = self.native(*args) if self._always_host or not on_device() else None
        if code is None:
            return functools.partial(self, *args)
        function, words = code.function, code.words(args)

        def run() -> Any:
            if function(words):
                return self(*args)
            return None

        return run

    def _on_device(self) -> Any:
        if self.device is not None and CUDA_KERNELS and cuda.available():  # asks the device once
            return self.device
        return self.reference


@functools.cache
def available() -> bool:
    """Whether kernels run as native code in this process."""
    return NUMBA and native.usable()
