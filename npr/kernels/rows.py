"""Rows of several columns in one launch, for minibatches on a device.

A block of words of 4 bytes has column after column, each row by row.
"""

from npr.backend import Array, xp
from npr.kernels.cuda import rows as cuda
from npr.kernels.jit import Kernel


def _take_rows_reference(
    block: Array, index: Array, start: Array, width: Array, out: Array
) -> None:
    """out <- a block of the rows `index`.

    block, out    (n W,) and (B W,) for W words per row of all columns together
    index         (B,)
    start, width  (W,) of the column of each word: the words of a row before it, and its own
    """
    n, B = block.size // start.size, len(index)
    word = xp.arange(start.size) - start
    there, here = index[:, None] * width, xp.arange(B)[:, None] * width
    out[B * start + here + word] = block[n * start + there + word]


take_rows = Kernel(None, _take_rows_reference, cuda.take_rows)
