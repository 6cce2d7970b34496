"""Matrix products inside kernels, with the OpenBLAS of NumPy's wheels.

Numba's `np.dot` needs SciPy, and would load a second BLAS with its own threads.
"""

import ctypes
import functools
from typing import Any

import numpy as np

from npr.backend import Array
from npr.system.blas import openblas

name = "OpenBLAS of NumPy's wheels"
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # enumerations of CBLAS


def product(A: Array, B: Array, out: Array, flip_A: bool, flip_B: bool, add: bool) -> None:
    """out (+)= A B, each of A and B transposed if flipped; all C-contiguous, of one type.

    This is the implementation for plain Python; compiled kernels call BLAS instead.
    """
    value = np.dot(A.T if flip_A else A, B.T if flip_B else B)
    out[...] = out + value if add else value


def matrix(flat: Array, n: int, m: int) -> Array:
    """A view (n, m) of C-contiguous numbers (n m,).

    In native code `reshape` would need Numba's runtime.
    """
    return flat.reshape(n, m)


@functools.cache
def symbols() -> dict[str, int] | None:
    """Addresses of the functions that `product` calls in native code; None without OpenBLAS."""
    library = openblas()
    if library is None:
        return None
    names = {f"npr_{letter}gemm": f"scipy_cblas_{letter}gemm64_" for letter in "sd"}
    return {
        ours: ctypes.cast(getattr(library, theirs), ctypes.c_void_p).value or 0
        for ours, theirs in names.items()
    }


@functools.cache
def declare() -> None:
    """Make `product` and `matrix` known to Numba."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import lower_builtin, type_callable
    from numba.np.arrayobj import make_array, populate_array

    def type_of_product(context: Any) -> Any:
        return lambda A, B, out, flip_A, flip_B, add: types.none

    def type_of_matrix(context: Any) -> Any:
        return lambda flat, n, m: types.Array(flat.dtype, 2, "C")

    def gemm(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        number = context.get_data_type(signature.args[2].dtype)
        A, B, out = (
            make_array(type_)(context, builder, x) for type_, x in zip(signature.args[:3], args)
        )
        flip_A, flip_B, add = args[3:]
        rows, columns = ([builder.extract_value(x.shape, i) for x in (A, B, out)] for i in (0, 1))
        order = [builder.select(flip, i32(_TRANSPOSED), i32(_PLAIN)) for flip in (flip_A, flip_B)]
        a, b, c = zip([A.data, B.data, out.data], columns)
        given = [
            i32(_ROW_MAJOR), *order, rows[2], columns[2],
            builder.select(flip_A, rows[0], columns[0]), number(1), *a, *b,
            builder.select(add, number(1), number(0)), *c,
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in given])
        name = "npr_sgemm" if isinstance(number, ir.FloatType) else "npr_dgemm"
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    def view(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flat = make_array(signature.args[0])(context, builder, args[0])
        array = make_array(signature.return_type)(context, builder)
        n, m = (
            context.cast(builder, x, t, types.intp) for x, t in zip(args[1:], signature.args[1:])
        )
        strides = [builder.mul(m, flat.itemsize), flat.itemsize]
        populate_array(array, flat.data, [n, m], strides, flat.itemsize, None)
        return array._getvalue()

    type_callable(product)(type_of_product)
    type_callable(matrix)(type_of_matrix)
    arrays, switches, sizes = [types.Array] * 3, [types.Boolean] * 3, [types.Integer] * 2
    lower_builtin(product, *arrays, *switches)(gemm)
    lower_builtin(matrix, types.Array, *sizes)(view)
