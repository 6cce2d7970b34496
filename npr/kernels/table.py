"""The interpreter of captured work: a table of calls, and what its rows need besides kernels.

A row of a table (n, W) of int64 is the address of a C function and its words, see
npr.kernels.native: `run` calls one row after the other. NumPy's own elementwise functions are rows
of `strided`, which calls the inner loop of a ufunc, so that a replay has NumPy's bits.
"""

import ctypes
import functools
from typing import Any

import numpy as np

from npr.backend import Array
from npr.kernels.jit import Kernel

# words of `strided`: the inner loop and its data, the length, addresses and strides of up to four
# operands, then how often the loop is called and by how many bytes the addresses move each time
FUNCTION, DATA, LENGTH, ADDRESSES, STRIDES, OUTER, OUTER_STRIDES = 0, 1, 2, 3, 7, 11, 12
OPERANDS, WORDS = 4, 16

_Call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
_Inner = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)


def call_row(row: Array) -> int:
    """Call the function of a row with its words; nonzero if it failed.

    Compiled kernels call it directly; this is the implementation for plain Python, as below.
    """
    return int(_Call(int(row[0]))(row[1:].ctypes.data))


def call_inner(words: Array) -> None:
    """Call the inner loop of a ufunc once."""
    base, item = words.ctypes.data, words.itemsize
    _Inner(int(words[FUNCTION]))(
        base + ADDRESSES * item, base + LENGTH * item, base + STRIDES * item, int(words[DATA])
    )


class _Intrinsics:
    """What compiles the two functions above within a loop."""

    name = "call by address"

    def symbols(self) -> dict[str, int]:
        return {}

    def declare(self) -> None:
        _declare()


@functools.cache
def _declare() -> None:
    """Make both known to Numba."""
    from llvmlite import ir
    from numba import extending, types

    intrinsic: Any = extending.intrinsic
    overload: Any = extending.overload
    word, pointer = ir.IntType(64), ir.IntType(64).as_pointer()

    def entries(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        """A function of k: a pointer to entry k of the array that is the argument."""
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return lambda k: builder.gep(array.data, [ir.Constant(word, k)])

    @intrinsic  # type: ignore[untyped-decorator]
    def function(_: Any, row: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            at = entries(context, builder, signature, args)
            kind = ir.FunctionType(word, [pointer]).as_pointer()
            return builder.call(builder.inttoptr(builder.load(at(0)), kind), [at(1)])

        return types.int64(row), code

    @intrinsic  # type: ignore[untyped-decorator]
    def inner(_: Any, words: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            at = entries(context, builder, signature, args)
            kind = ir.FunctionType(ir.VoidType(), [pointer] * 4).as_pointer()
            loop = builder.inttoptr(builder.load(at(FUNCTION)), kind)
            data = builder.inttoptr(builder.load(at(DATA)), pointer)
            builder.call(loop, [at(ADDRESSES), at(LENGTH), at(STRIDES), data])
            return context.get_dummy_value()

        return types.none(words), code

    @overload(call_row)  # type: ignore[untyped-decorator]
    def typed_row(row: Any) -> Any:
        def call(row: Any) -> Any:
            return function(row)

        return call

    @overload(call_inner)  # type: ignore[untyped-decorator]
    def typed_inner(words: Any) -> Any:
        def call(words: Any) -> Any:
            return inner(words)

        return call


def _run_reference(table: Array, failed: Array) -> None:
    """Call the rows of table (n, W) in turn; failed[0] <- the first that failed, plus one, else 0.
    The rows after it are not called."""
    failed[0] = 0
    for i in range(table.shape[0]):
        if call_row(table[i]):
            failed[0] = i + 1
            break


def _strided_reference(words: Array) -> None:
    """Call the inner loop of a ufunc words[OUTER] times; words (WORDS,) are as before then."""
    for _ in range(words[OUTER]):
        call_inner(words)
        for k in range(OPERANDS):
            words[ADDRESSES + k] += words[OUTER_STRIDES + k]
    for k in range(OPERANDS):
        words[ADDRESSES + k] -= words[OUTER] * words[OUTER_STRIDES + k]


_INTRINSICS = _Intrinsics()
run = Kernel(_run_reference, _run_reference, host=True, library=_INTRINSICS)
strided = Kernel(_strided_reference, _strided_reference, host=True, library=_INTRINSICS)

# ---- operations on flat arrays that are no ufuncs


def _cast_reference(x: Array, y: Array) -> None:
    """y <- x in another type; (n,)."""
    y[:] = x


def _cast_loop(x: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        y[i] = x[i]


def _select_reference(condition: Array, a: Array, b: Array, y: Array) -> None:
    """y <- a where the condition holds, b elsewhere; (n,)."""
    y[:] = np.where(condition, a, b)


def _select_loop(condition: Array, a: Array, b: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        y[i] = a[i] if condition[i] else b[i]


def _argmax_reference(x: Array, best: Array) -> None:
    """best (B,) <- the index of the largest number, or of the first NaN, in each row (B, K)."""
    x.argmax(axis=1, out=best)


def _argmax_loop(x: Array, best: Array) -> None:
    for i in range(x.shape[0]):
        row, top = x[i], 0
        for k in range(1, x.shape[1]):
            if not row[k] <= row[top] and row[top] == row[top]:
                top = k
        best[i] = top


cast = Kernel(_cast_loop, _cast_reference, host=True)
select = Kernel(_select_loop, _select_reference, host=True)
argmax = Kernel(_argmax_loop, _argmax_reference, host=True)
