"""Matrix products inside kernels, with the OpenBLAS of NumPy's wheels.

Numba's `np.dot` needs SciPy, and would load a second BLAS with its own threads.
"""

import ctypes
import functools
from typing import Any

import numpy as np

from npr.backend import Array
from npr.system.blas import openblas

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # enumerations of CBLAS


def product(
    A: Array, B: Array, out: Array, flip_A: bool = False, flip_B: bool = False, add: bool = False
) -> None:
    """out (+)= A B, each of A and B transposed if flipped; all C-contiguous, of one type.

    This is the implementation for plain Python; compiled kernels call BLAS instead.
    """
    value = np.dot(A.T if flip_A else A, B.T if flip_B else B)
    out[...] = out + value if add else value


@functools.cache
def bind() -> bool:
    """Make `product` callable from kernels; False if NumPy's OpenBLAS is not found."""
    library = openblas()
    if library is None:
        return False
    import llvmlite.binding
    from numba import types
    from numba.extending import overload

    external: dict[Any, Any] = {}
    for number, letter in ((types.float32, "s"), (types.float64, "d")):
        function = getattr(library, f"scipy_cblas_{letter}gemm64_")
        name = f"npr_{letter}gemm"
        llvmlite.binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        kinds = [types.int32] * 3 + [types.int64] * 3 + [number, types.voidptr, types.int64]
        kinds += [types.voidptr, types.int64, number, types.voidptr, types.int64]
        external[number] = types.ExternalFunction(name, types.void(*kinds))

    @overload(product)
    def typed(
        A: Any, B: Any, out: Any, flip_A: Any = False, flip_B: Any = False, add: Any = False
    ) -> Any:
        gemm, number = external[out.dtype], np.dtype(out.dtype.name).type

        def call(
            A: Any, B: Any, out: Any, flip_A: Any = False, flip_B: Any = False, add: Any = False
        ) -> None:
            gemm(
                _ROW_MAJOR, _TRANSPOSED if flip_A else _PLAIN, _TRANSPOSED if flip_B else _PLAIN,
                out.shape[0], out.shape[1], A.shape[0] if flip_A else A.shape[1],
                number(1), A.ctypes, A.shape[1], B.ctypes, B.shape[1],
                number(1 if add else 0), out.ctypes, out.shape[1],
            )  # fmt: skip

        return call

    return True
