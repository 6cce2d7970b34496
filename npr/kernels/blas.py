"""Matrix products inside a kernel, by the BLAS that NumPy itself was built with.

Numba would want SciPy for them. The OpenBLAS in NumPy's wheels can be called by name instead, so
that a whole network is one call from Python. Where it is not found, `find` says so and the kernels
that need it run on their array twins.
"""

import ctypes
import functools

import numpy as np

from npr.backend import blas

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


def product(A, B, out, flip_A=False, flip_B=False, add=False):
    """out (+)= A B, each of A and B transposed where flipped; all C-contiguous, of one type."""
    value = np.dot(A.T if flip_A else A, B.T if flip_B else B)
    out[...] = out + value if add else value


@functools.cache
def find() -> bool:
    """Let kernels call `product`; False where there is no OpenBLAS whose names are known."""
    library = blas()
    if library is None:
        return False
    import llvmlite.binding
    from numba import types
    from numba.extending import overload

    external = {}
    for number, letter in ((types.float32, "s"), (types.float64, "d")):
        function = getattr(library, f"scipy_cblas_{letter}gemm64_")
        name = f"npr_{letter}gemm"
        llvmlite.binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        kinds = [types.int32] * 3 + [types.int64] * 3 + [number, types.voidptr, types.int64]
        kinds += [types.voidptr, types.int64, number, types.voidptr, types.int64]
        external[number] = types.ExternalFunction(name, types.void(*kinds))

    @overload(product)
    def _(A, B, out, flip_A=False, flip_B=False, add=False):
        gemm, number = external[out.dtype], np.dtype(out.dtype.name).type

        def call(A, B, out, flip_A=False, flip_B=False, add=False):
            gemm(
                _ROW_MAJOR, _TRANSPOSED if flip_A else _PLAIN, _TRANSPOSED if flip_B else _PLAIN,
                out.shape[0], out.shape[1], A.shape[0] if flip_A else A.shape[1],
                number(1), A.ctypes, A.shape[1], B.ctypes, B.shape[1],
                number(1 if add else 0), out.ctypes, out.shape[1],
            )  # fmt: skip

        return call

    return True
