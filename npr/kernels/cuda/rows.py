"""The launch of the kernel in rows.cu."""

from npr.backend import Array
from npr.kernels.cuda.compiler import Source, per_thread

_SOURCE = Source("rows.cu")


def take_rows(block: Array, index: Array, start: Array, width: Array, out: Array) -> None:
    W, B = start.size, index.size
    _SOURCE.launch(
        "take_rows", *per_thread(out.size), block, index, start, width, out, block.size // W, B, W
    )
