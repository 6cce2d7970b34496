"""What is computed with arrays, as a table of calls on their memory.

Arrays are NumPy's, and each has its address for good: what a call of a captured function computes
into them is computed there again by every replay. A step that NumPy makes is written as the call of
the inner loop of its ufunc, over the same strides and in the same order, so that the bits are the
same; other steps are native kernels.
"""

import ctypes
import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.capture.calls import NotCapturableError
from npr.capture.compiling import is_ready
from npr.kernels import table as kernels
from npr.kernels.jit import Kernel
from npr.kernels.native import Native

MOST_ROWS = 1 << 14  # of a table
UNROLLED = 32  # rows for the axes of an operation that `strided` has no loop for


class CompilingError(NotCapturableError):
    """A call can be captured later."""


class _UFunc(ctypes.Structure):
    """The beginning of NumPy's PyUFuncObject, which is a part of its C API."""

    _fields_ = [
        ("head", ctypes.c_byte * object.__basicsize__),
        ("nin", ctypes.c_int), ("nout", ctypes.c_int), ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)), ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int), ("reserved1", ctypes.c_int),
        ("name", ctypes.c_char_p), ("types", ctypes.c_void_p),
    ]  # fmt: skip


@functools.cache
def inner_loop(ufunc: np.ufunc, types: str) -> tuple[int, int]:
    """The addresses of a ufunc's loop for types such as "ff->f", and of the loop's data.

    Raises NotCapturableError if there is none.
    """
    held = _UFunc.from_address(id(ufunc))
    if (held.nin, held.nout, held.ntypes) != (ufunc.nin, ufunc.nout, ufunc.ntypes) or (
        held.name or b""
    ).decode() != ufunc.__name__:
        raise NotCapturableError(f"NumPy {np.__version__} keeps its ufuncs in another way")
    if types not in ufunc.types:
        raise NotCapturableError(f"np.{ufunc.__name__} has no loop for {types}")
    i = ufunc.types.index(types)
    return held.functions[i] or 0, (held.data[i] or 0) if held.data else 0


def address(x: np.ndarray) -> int:
    """Where the first number of an array is."""
    place: int = x.__array_interface__["data"][0]
    return place


class Table:
    """Collects calls; `finish` returns them as one array.

    held   the arrays that the calls use, so that they live as long as the table
    """

    def __init__(self) -> None:
        self._rows: list[list[int]] = []
        self.calls: list[
            tuple[Kernel, tuple[Any, ...]]
        ] = []  # of each row, to repeat one that failed
        self._numbers: list[tuple[np.ndarray, int, int]] = []
        self.held: list[np.ndarray] = []

    def kernel(
        self, kernel: Kernel, *args: Any, numbers: Sequence[tuple[int, np.ndarray]] = ()
    ) -> None:
        """Add the call of a kernel with arrays and numbers.

        numbers   (position of an argument, 0-d float64 array): read when the row is run
        """
        row = len(self._rows) + len(numbers)
        for k, cell in numbers:  # copied to the word of the row
            words = self._strided(np.positive, "d->d", [(address(cell), 0), (0, 0)], [])
            self._numbers.append((words, row, k + 1))
            self.held.append(cell)
            self._call(kernels.strided, words)
        self._call(kernel, *args)

    def _call(self, kernel: Kernel, *args: Any) -> None:
        native = self.native(kernel, *args)
        if len(self._rows) == MOST_ROWS:
            raise NotCapturableError(f"it makes more than {MOST_ROWS:,} operations")
        self.held += [x for x in args if isinstance(x, np.ndarray)]
        row = [native.address]
        for kind, x in zip(native.format, args):
            if kind == "Q":
                row.append(id(x))
            else:
                row += struct.unpack("q", struct.pack(kind, x))
        self._rows.append(row)
        self.calls.append((kernel, args))

    def native(self, kernel: Kernel, *args: Any) -> Native:
        """The native code of a kernel for these arguments.

        Raises CompilingError if it is not there yet, and NotCapturableError if there is none.
        """
        if not is_ready(kernel, args):
            raise CompilingError("its kernels are being compiled")
        native = kernel.native(*args)
        if native is None:
            raise NotCapturableError(f"{kernel.__name__} is not native: {kernel.why_not(*args)}")
        return native

    def finish(self) -> np.ndarray:
        """(n, W) int64, to be run by npr.kernels.table.run."""
        width = max(map(len, self._rows), default=1)
        table = np.array([row + [0] * (width - len(row)) for row in self._rows], np.int64)
        table = table.reshape(len(self._rows), width)
        for words, row, k in self._numbers:
            words[kernels.ADDRESSES + 1] = address(table) + table.itemsize * (row * width + k)
        return table

    # ---- NumPy's operations

    def ufunc(self, ufunc: np.ufunc, inputs: Sequence[np.ndarray], y: np.ndarray) -> None:
        """y <- ufunc(*inputs), which are broadcast to it, all of the types of one of its loops."""
        types = "".join(x.dtype.char for x in inputs) + "->" + y.dtype.char
        operands = [np.broadcast_to(x, y.shape) for x in inputs] + [y]
        axes = _merged(y.shape, [x.strides for x in operands])
        if _has_vector_code(ufunc) and any(min(strides) < 0 for _, strides in axes):
            raise NotCapturableError(f"it calls np.{ufunc.__name__} on a reversed array")
        order = sorted(axes, key=lambda axis: -abs(axis[1][-1]))
        # inside is the smallest stride, as in NumPy's iterator, and next to it the longest axis
        order[:-1] = sorted(order[:-1], key=lambda axis: axis[0])
        self._loops(ufunc, types, operands, order)

    def copy(self, y: np.ndarray, x: np.ndarray) -> None:
        """y <- x, which is broadcast to it."""
        if x.dtype != y.dtype:
            x = self.cast(x, y.dtype)
        if x.dtype == bool:
            self.ufunc(np.logical_or, [x, x], y)
        else:
            self.ufunc(np.positive, [x], y)

    def cast(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """x in another type, a new array."""
        y = np.empty(x.shape, dtype)
        self.kernel(kernels.cast, self.flat(x), y.reshape(-1))
        return y

    def flat(self, x: np.ndarray) -> np.ndarray:
        """x as (n,), in C order; a copy where it is not contiguous."""
        if not x.flags.c_contiguous:
            contiguous = np.empty(x.shape, x.dtype)
            self.copy(contiguous, x)
            x = contiguous
        return x.reshape(-1)

    def reduce(self, ufunc: np.ufunc, x: np.ndarray, y: np.ndarray, axes: Sequence[int]) -> None:
        """y <- ufunc.reduce(x) over these axes, which y has with length one."""
        if ufunc is np.add:
            self.copy(y, np.zeros((), y.dtype))
        elif ufunc in (np.maximum, np.minimum) and len(axes) == 1 and x.size:
            first = [slice(None)] * x.ndim
            first[axes[0]] = slice(0, 1)
            self.copy(y, x[tuple(first)])
            first[axes[0]] = slice(1, None)
            x = x[tuple(first)]
        else:
            raise NotCapturableError(f"it calls np.{ufunc.__name__}.reduce over axes {tuple(axes)}")
        to = tuple(0 if i in axes else stride for i, stride in enumerate(y.strides))
        # inside is the axis with the smallest stride in x, as in NumPy's iterator
        order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))
        axes_of = [(x.shape[i], (to[i], x.strides[i], to[i])) for i in order if x.shape[i] != 1]
        types = f"{y.dtype.char}{x.dtype.char}->{y.dtype.char}"
        self._loops(ufunc, types, [y, x, y], _joined(axes_of), x.size == 0)

    def _loops(
        self, ufunc: np.ufunc, types: str, operands: Sequence[np.ndarray],
        axes: Sequence[tuple[int, tuple[int, ...]]], empty: bool = False,
    ) -> None:  # fmt: skip
        """Calls of an inner loop over axes (length, strides of operands), the inner one last."""
        if empty or operands[-1].size == 0:
            return
        self.held += operands
        outer, inner = axes[:-2], axes[-2:]
        lengths = [n for n, _ in outer]
        if math.prod(lengths) > UNROLLED:
            raise NotCapturableError(f"it calls np.{ufunc.__name__} over more than two axes")
        for index in np.ndindex(*lengths):
            moved = [
                address(x) + sum(i * strides[k] for i, (_, strides) in zip(index, outer))
                for k, x in enumerate(operands)
            ]
            strides = inner[-1][1] if inner else (0,) * len(operands)
            self._call(kernels.strided, self._strided(ufunc, types, [*zip(moved, strides)], inner))

    def _strided(
        self, ufunc: np.ufunc, types: str, operands: Sequence[tuple[int, int]],
        axes: Sequence[tuple[int, tuple[int, ...]]],
    ) -> np.ndarray:  # fmt: skip
        """The words of `strided` for operands (address, inner stride) and at most two axes."""
        if len(operands) > kernels.OPERANDS:
            raise NotCapturableError(f"it calls np.{ufunc.__name__}")
        words = np.zeros(kernels.WORDS, np.int64)
        words[[kernels.FUNCTION, kernels.DATA]] = inner_loop(ufunc, types)
        words[kernels.LENGTH] = axes[-1][0] if axes else 1
        words[kernels.OUTER] = 1
        for k, (place, stride) in enumerate(operands):
            words[kernels.ADDRESSES + k], words[kernels.STRIDES + k] = place, stride
        if len(axes) == 2:
            words[kernels.OUTER], moves = axes[0]
            words[kernels.OUTER_STRIDES : kernels.OUTER_STRIDES + len(moves)] = moves
        return words


def _has_vector_code(ufunc: np.ufunc) -> bool:
    """Whether NumPy may compute a function of floats in two ways, whose last bits differ.

    With AVX-512 these have code for vectors, and other code, depending on the direction in which
    its iterator goes through reversed arrays.
    """
    return ufunc is np.power or not any("l" in types for types in ufunc.types)


def _merged(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> list[tuple[int, tuple[int, ...]]]:
    """The axes (length, stride of each operand), outer ones first, joined where they are one."""
    return _joined([(n, tuple(s[i] for s in strides)) for i, n in enumerate(shape) if n != 1])


def _joined(axes: Sequence[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    result: list[tuple[int, tuple[int, ...]]] = []
    for n, strides in axes:
        if result and all(a == n * b for a, b in zip(result[-1][1], strides)):
            result[-1] = result[-1][0] * n, strides
        else:
            result.append((n, strides))
    return result
