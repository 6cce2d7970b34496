"""Rows of several columns, for minibatches. On a device they are taken by one launch.

A block there has column after column, each row by row, in words of 4 bytes.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from npr.backend import Array, on_device, to_device, xp
from npr.kernels.cuda import compiler as cuda
from npr.kernels.cuda import rows
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


take_rows = Kernel(None, _take_rows_reference, rows.take_rows)


K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Kept(dict[K, T]):
    """What is made for batches of each size, such as memory: that of the sizes used last is kept.

    A copy is empty, and no file has its contents.
    """

    def __init__(self, sizes: int = 4) -> None:
        super().__init__()
        self._sizes = sizes

    def __repr__(self) -> str:
        return f"Kept({len(self)} of {self._sizes} sizes)"

    def __reduce__(self) -> Any:
        return Kept, (self._sizes,)

    def used(self, size: K, make: Callable[[K], T]) -> T:
        """What was made for a size, or else make(size)."""
        made = self.pop(size, None)
        if made is None:
            made = make(size)
            if len(self) == self._sizes:
                del self[next(iter(self))]
        self[size] = made  # the last one in order
        return made


class _Memory:
    """Memory for rows of columns with these (shapes, types), on a device in a block."""

    def __init__(self, layout: list[tuple[tuple[int, ...], Any]]) -> None:
        self.layout = layout
        self.taken: Kept[int, tuple[Any, list[Array]]] = Kept()
        if not on_device():
            return
        self._words = [math.prod(shape) * dtype.itemsize // 4 for shape, dtype in layout]
        # wide types first, whose addresses must be multiples of their size
        places = sorted(range(len(layout)), key=lambda c: -layout[c][1].itemsize)
        ends = np.cumsum([self._words[c] for c in places]).tolist()
        self._starts = dict(zip(places, [0, *ends]))
        of_words = [
            (self._starts[c], self._words[c]) for c in places for _ in range(self._words[c])
        ]
        self.of_words = list(to_device(np.array(of_words).T.copy()))

    def new(self, n: int) -> tuple[Any, list[Array]]:
        """A block of n rows, None on the host, and its columns."""
        if not on_device():
            return None, [np.empty((n, *shape), dtype) for shape, dtype in self.layout]
        block = xp.empty(n * sum(self._words), np.uint32)
        return block, [
            block[n * self._starts[c] : n * (self._starts[c] + words)]
            .view(dtype)
            .reshape(n, *shape)
            for c, (words, (shape, dtype)) in enumerate(zip(self._words, self.layout))
        ]


class Block:
    """Columns (n, ...) to take rows of, on a device in one block, and memory for the rows."""

    def __init__(self) -> None:
        self._memory: _Memory | None = None

    def __reduce__(self) -> Any:
        return Block, ()  # it holds nothing between rollouts

    def taker(self, columns: Sequence[Array]) -> Callable[[Array], list[Array]]:
        """A function of an index (B,): these rows of the columns.

        They are valid until the next ones of as many rows, which have the same memory, also those
        of another function if its columns have the same shapes and types.
        """
        if on_device() and (not cuda.used() or any(x.dtype.itemsize % 4 for x in columns)):
            return lambda index: [x.take(index, axis=0) for x in columns]
        layout = [(x.shape[1:], x.dtype) for x in columns]
        memory = self._memory
        if memory is None or memory.layout != layout:
            memory = self._memory = _Memory(layout)  # functions made before go on with theirs
        if not on_device():
            return lambda index: [
                x.take(index, axis=0, out=out, mode="clip")  # other modes copy `out`
                for x, out in zip(columns, memory.taken.used(len(index), memory.new)[1])
            ]
        filled, views = memory.new(len(columns[0]))
        for view, x in zip(views, columns):
            view[...] = x

        def take(index: Array) -> list[Array]:
            block, taken = memory.taken.used(len(index), memory.new)
            take_rows(filled, index, *memory.of_words, block)
            return taken

        return take
