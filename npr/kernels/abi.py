"""What native code of kernels and its callers agree on.

The code of a loop for one tuple of argument types is a C function `int64 op(const int64 *words)`
with a word per argument: of an array the address of its PyArrayObject, id(array), of an integer its
value, of a float the bits of a double. It returns one of:

0  done
1  the loop raised an exception
2  an array is not of the type that the code is for, or it is read-only and written to

The code needs neither Numba's runtime nor Python, and callers run it without the GIL. It locks
nothing: two threads that give it one output, or one table, get undefined numbers.
"""

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

ENTRY = "npr_op"  # the symbol of the function
DONE, RAISED, OTHER_TYPES = range(3)

# offsets in a PyArrayObject and in a PyArray_Descr, the same in all versions of NumPy
_HEAD = object.__basicsize__
DATA, NDIM, SHAPE, STRIDES, DESCR, FLAGS = (_HEAD + i for i in (0, 8, 16, 24, 40, 48))
BYTE_ORDER, TYPE_NUMBER = _HEAD + 10, _HEAD + 12


class Library(Protocol):
    """Functions of a C library that loops call.

    name   for messages
    """

    name: str

    def symbols(self) -> dict[str, int] | None:
        """Their addresses by name; None if the library is not found."""

    def declare(self) -> None:
        """Make them known to Numba."""


class Loop(Protocol):
    """What of a Kernel is compiled, see npr.kernels.jit."""

    loop: Callable[..., Any]
    calls: Sequence[Callable[..., Any]]
    sums: Sequence[Callable[..., Any]]
    library: Library | None


def check_layout() -> None:
    """Raise RuntimeError if objects are not laid out as native code expects them."""
    if sys.implementation.name != "cpython" or struct.calcsize("P") != 8:
        raise RuntimeError("kernels are compiled for CPython with 64 bits alone")
    x = np.zeros((3, 5, 7), np.int16)[:, ::2]
    word, number = ctypes.c_int64.from_address, ctypes.c_int32.from_address
    shape, strides = word(id(x) + SHAPE).value, word(id(x) + STRIDES).value
    descr = word(id(x) + DESCR).value
    found = (
        word(id(x) + DATA).value, number(id(x) + NDIM).value,
        [word(shape + 8 * i).value for i in range(3)],
        [word(strides + 8 * i).value for i in range(3)],
        descr, number(descr + TYPE_NUMBER).value,
        ctypes.c_char.from_address(descr + BYTE_ORDER).value, number(id(x) + FLAGS).value,
    )  # fmt: skip
    expected = (
        x.ctypes.data, 3, [3, 3, 7], list(x.strides), id(x.dtype), x.dtype.num, b"=", x.flags.num,
    )  # fmt: skip
    if found != expected:
        raise RuntimeError(f"arrays of NumPy {np.__version__} are not laid out as expected")
