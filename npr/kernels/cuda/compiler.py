"""CUDA sources, compiled by NVRTC when a kernel of theirs is first launched.

A source is written once for both floating types: `real` is float or double. It uses thread indices,
static shared memory, __syncthreads() and integer atomics, and no warp intrinsics, so that the tests
can compile it for the host.
"""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from npr.backend import CUDA_KERNELS, FLOAT, Array, on_device, xp
from npr.errors import BackendError

FOLDER = Path(__file__).parent
PRELUDE = "prelude.cuh"  # what all sources begin with
TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def options(dtype: Any) -> tuple[str, ...]:
    """The options of the compiler for this floating type."""
    return (f"-Dreal={TYPES[np.dtype(dtype)]}", "--std=c++17")


def text(file: str) -> str:
    """A source as it is compiled."""
    return (FOLDER / PRELUDE).read_text() + (FOLDER / file).read_text()


class Source:
    """The kernels in one file of this folder."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._functions: dict[Any, Any] = {}

    def launch(self, name: str, blocks: Any, threads: int, *args: Any) -> None:
        """Start kernel `name`; does not wait for it.

        blocks   number of blocks, or up to three numbers; none are started where one is 0
        threads  per block
        args     device arrays, C-contiguous, floats of one type; None, as a null pointer; Python
                 ints, as `int`; Python floats, as `real`
        Raises BackendError for more work than CUDA has indices for.
        """
        dtype = next((x.dtype for x in args if getattr(x, "dtype", _INT).kind == "f"), FLOAT)
        function = self._functions.get((name, dtype))
        if function is None:
            function = self._functions[name, dtype] = self._module(dtype).get_function(name)
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        arguments = tuple(_argument(x, dtype) for x in args)
        if any(n > most for n, most in zip(grid, _MOST_BLOCKS)):
            raise _too_large(f"{grid} blocks", f"{_MOST_BLOCKS}")
        if grid[0] * threads > _MOST:  # THREAD has 32 bits
            raise _too_large(f"{grid[0] * threads:,} threads", f"{_MOST:,}")
        if 0 not in grid:  # which CUDA refuses
            function(grid, (threads,), arguments)

    @functools.cache  # noqa: B019  sources live as long as the process
    def _module(self, dtype: Any) -> Any:
        return xp.RawModule(code=text(self.file), options=options(dtype))


_INT = np.dtype(np.int32)
_NULL = np.uint64(0)  # as wide as a pointer
_MOST = 2**31 - 1  # of an `int`
_MOST_BLOCKS = _MOST, 65_535, 65_535


def _argument(x: Any, dtype: Any) -> Any:
    if isinstance(x, int):  # a bool is one
        if abs(x) > _MOST:
            raise _too_large(f"{x:,} numbers", f"{_MOST:,}")
        return np.int32(x)
    if isinstance(x, float):
        return dtype.type(x)
    if x is None:
        return _NULL
    if x.dtype.kind == "f" and x.dtype != dtype:
        raise TypeError(f"A CUDA kernel needs floats of one type, got {dtype} and {x.dtype}.")
    if not x.flags.c_contiguous:
        raise ValueError(f"A CUDA kernel needs contiguous arrays, got strides {x.strides}.")
    return x


def _too_large(wanted: str, most: str) -> BackendError:
    return BackendError(
        f"A CUDA kernel cannot be started for {wanted}, at most {most}. Lower what the batch "
        "consists of: batch_size, n_steps, n_envs, n_particles or the width of the network."
    )


def per_thread(n: int, threads: int = 256) -> tuple[int, int]:
    """(blocks, threads) for n independent threads."""
    return -(-n // threads), threads


def per_part(n: int, threads: int = 256) -> tuple[int, int]:
    """(blocks, threads) for a sum over n numbers, in one part per block; see prelude.cuh."""
    return max(1, min(per_thread(n, 4 * threads)[0], threads)), threads


def per_row(B: int, n: int) -> tuple[int, int, int]:
    """(blocks, threads, threads per row) for B rows of n numbers; see prelude.cuh."""
    return (B, 128, 128) if n > 32 else (*per_thread(B, 64), 1)


def index(a: Array) -> Array:
    """Indices, or bits, as `index_t`."""
    if a.dtype.kind not in "iu":
        raise IndexError(f"Indices of actions must be integers, got {a.dtype}.")
    return a.astype(np.int64, copy=False)


def used() -> bool:
    """Whether arrays are on a device now, and CUDA kernels compute with them."""
    return on_device() and CUDA_KERNELS and available()


def try_out(module: Any) -> None:
    """Compile and run one kernel with CuPy's module; raises whatever prevents it."""
    source = module.RawModule(code=text("probe.cu"), options=options(FLOAT))
    x: Array = module.zeros(1, FLOAT)
    source.get_function("probe")((1,), (1,), (x,))


@functools.cache
def available() -> bool:
    """Whether CUDA kernels can be compiled in this process; warns once if not.

    Raises what CuPy raises when memory is short, which says nothing of the compiler.
    """
    try:
        try_out(xp)
    except Exception as error:
        if isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error):
            raise  # a later call may find memory
        warnings.warn(
            f"CUDA kernels cannot be compiled ({error}); computing with CuPy's array operations, "
            "which is slower. Install CuPy with its NVRTC (pip install 'cupy-cuda13x[ctk]'), or "
            "set NPR_CUDA_KERNELS=0 to silence this.",
            RuntimeWarning,
            stacklevel=5,
        )
        return False
    return True
