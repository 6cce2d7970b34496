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

from npr.backend import FLOAT, Array, xp

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

        blocks   number of blocks, or up to three numbers
        threads  per block
        args     device arrays, C-contiguous; Python ints, as `int`; Python floats, as `real`
        """
        dtype = next((x.dtype for x in args if getattr(x, "dtype", _INT).kind == "f"), FLOAT)
        function = self._functions.get((name, dtype))
        if function is None:
            function = self._functions[name, dtype] = self._module(dtype).get_function(name)
        grid = blocks if isinstance(blocks, tuple) else (blocks,)
        function(grid, (threads,), tuple(_argument(x, dtype) for x in args))

    @functools.cache  # noqa: B019  sources live as long as the process
    def _module(self, dtype: Any) -> Any:
        return xp.RawModule(code=text(self.file), options=options(dtype))


_INT = np.dtype(np.int32)


def _argument(x: Any, dtype: Any) -> Any:
    if isinstance(x, int):  # a bool is one
        return np.int32(x)
    if isinstance(x, float):
        return dtype.type(x)
    if not x.flags.c_contiguous:
        raise ValueError(f"A CUDA kernel needs contiguous arrays, got strides {x.strides}.")
    return x


def per_thread(n: int, threads: int = 256) -> tuple[int, int]:
    """(blocks, threads) for n independent threads."""
    return -(-n // threads), threads


@functools.cache
def available() -> bool:
    """Whether CUDA kernels can be compiled in this process; warns once if not."""
    try:
        function = xp.RawModule(code=f"{text('probe.cu')}", options=options(FLOAT)).get_function(
            "probe"
        )
        x: Array = xp.zeros(1, FLOAT)
        function((1,), (1,), (x,))
    except Exception as error:
        warnings.warn(
            f"CUDA kernels cannot be compiled ({error}); computing with CuPy's array operations, "
            "which is slower. Install CuPy with its NVRTC (pip install 'cupy-cuda13x[ctk]'), or "
            "set NPR_CUDA_KERNELS=0 to silence this.",
            RuntimeWarning,
            stacklevel=5,
        )
        return False
    return True
