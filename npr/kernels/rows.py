"""Rows of several columns, for minibatches. On a device they are taken by one launch.

A block there has column after column, each row by row, in words of 4 bytes.
"""

import math
from collections.abc import Callable, Sequence
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


T = TypeVar("T")


class Kept(dict[int, T]):
    """What is made for batches of each size, such as memory: of the last sizes it is kept."""

    SIZES = 4

    def __init__(self, make: Callable[[int], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, size: int) -> T:
        made = self[size] = self._make(size)
        if len(self) > self.SIZES:
            del self[next(iter(self))]
        return made


class Block:
    """Columns (n, ...) to take rows of, on a device in one block, and memory for the rows."""

    def __init__(self) -> None:
        self._layout: list[Any] = []
        self._taken: Kept[tuple[Any, list[Array]]] = Kept(self._new)

    def __reduce__(self) -> Any:
        return Block, ()  # it holds nothing between rollouts

    def taker(self, columns: Sequence[Array]) -> Callable[[Array], list[Array]]:
        """A function of an index (B,): these rows of the columns.

        They are valid until the next ones of as many rows, which have the same memory.
        """
        if not on_device():
            self._lay_out(columns)
            return lambda index: [
                x.take(index, axis=0, out=out, mode="clip")  # other modes copy `out`
                for x, out in zip(columns, self._taken[len(index)][1])
            ]
        if not cuda.used() or any(x.dtype.itemsize % 4 for x in columns):
            return lambda index: [x.take(index, axis=0) for x in columns]
        self._fill(columns)
        return self._take

    def _lay_out(self, columns: Sequence[Array]) -> bool:
        """Note the shapes and types of columns; whether these are others than before."""
        layout = [(x.shape[1:], x.dtype) for x in columns]
        new = layout != self._layout
        if new:
            self._layout = layout
            self._taken.clear()
        return new

    def _fill(self, columns: Sequence[Array]) -> None:
        if self._lay_out(columns):
            layout = self._layout
            self._words = [math.prod(shape) * dtype.itemsize // 4 for shape, dtype in layout]
            # wide types first, whose addresses must be multiples of their size
            places = sorted(range(len(layout)), key=lambda c: -layout[c][1].itemsize)
            ends = np.cumsum([self._words[c] for c in places]).tolist()
            self._starts = dict(zip(places, [0, *ends]))
            of_words = [
                (self._starts[c], self._words[c]) for c in places for _ in range(self._words[c])
            ]
            self._of_words = list(to_device(np.array(of_words).T.copy()))
        self._filled, views = self._new(len(columns[0]))
        for view, x in zip(views, columns):
            view[...] = x

    def _new(self, n: int) -> tuple[Array, list[Array]]:
        """A block of n rows, None on the host, and its columns."""
        if not on_device():
            return None, [np.empty((n, *shape), dtype) for shape, dtype in self._layout]
        block = xp.empty(n * sum(self._words), np.uint32)
        return block, [
            block[n * self._starts[c] : n * (self._starts[c] + words)]
            .view(dtype)
            .reshape(n, *shape)
            for c, (words, (shape, dtype)) in enumerate(zip(self._words, self._layout))
        ]

    def _take(self, index: Array) -> list[Array]:
        block, columns = self._taken[len(index)]
        take_rows(self._filled, index, *self._of_words, block)
        return columns
