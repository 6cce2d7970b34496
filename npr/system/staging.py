"""Transfers between host and device of the CuPy backend that do not wait for each other.

A transfer costs more than what it carries here, so arrays travel together, packed into one block of
bytes; and memory of the host is pinned, from which the device copies while the host goes on. All
copies are in the order of the current stream, as kernels are: a kernel that is launched later
reads what was uploaded, and a download has what earlier kernels wrote.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.backend import Array, on_device, xp
from npr.system.memory import pinned

ALIGNMENT = 256  # bytes; of the arrays in a block, as of the device's own allocations

Layout = Sequence[tuple[tuple[int, ...], Any]]  # the shape and the type of each array


def _spans(layout: Layout) -> tuple[list[slice], int]:
    """The bytes of each array in a block, and its length."""
    spans, end = [], 0
    for shape, dtype in layout:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        spans.append(slice(start, end))
    return spans, end


def block_size(layout: Layout) -> int:
    """The bytes of a block of these arrays."""
    _, size = _spans(layout)
    return size


def _views(block: Array, layout: Layout) -> list[Array]:
    """The arrays in a block of bytes, on either side."""
    spans, _ = _spans(layout)
    return [block[span].view(dtype).reshape(shape) for span, (shape, dtype) in zip(spans, layout)]


def upload(*arrays: Array | None) -> list[Any]:
    """Host arrays as arrays of the backend, in one transfer; None stays None.

    On the NumPy backend: the same objects.
    """
    held = [x for x in arrays if x is not None]
    if not on_device() or not held:
        return list(arrays)
    layout = [(x.shape, x.dtype) for x in held]
    spans, size = _spans(layout)
    block = np.empty(size, np.uint8)
    for view, x in zip(_views(block, layout), held):
        view[...] = x
    there = iter(_views(xp.asarray(block), layout))  # CuPy copies it to pinned memory
    return [None if x is None else next(there) for x in arrays]


class Staging:
    """A block of the device that is written again and again, by one copy each time.

    layout   shape and type of its arrays
    device   the arrays on the device, which always have the same addresses

    Two blocks of the host take turns, so that one can be filled while the other is copied.
    """

    def __init__(self, layout: Layout) -> None:
        spans, size = _spans(layout)
        self._last = spans[-1].start, math.prod(layout[-1][0][1:]) * layout[-1][1].itemsize
        self._device = xp.empty(size, np.uint8)
        self.device = _views(self._device, layout)
        self._blocks = [pinned(size) for _ in range(2)]
        self._host = [_views(block, layout) for block in self._blocks]
        self._copied: list[Any] = [None, None]  # events
        self._turn = 0

    def host(self) -> list[np.ndarray]:
        """The arrays on the host, to be filled. Waits until the copy before the last is done."""
        if (copied := self._copied[self._turn]) is not None:
            copied.synchronize()
        return self._host[self._turn]

    def wait(self) -> None:
        """Wait until all copies are done: before that its memory must not be freed."""
        for copied in self._copied:
            if copied is not None:
                copied.synchronize()

    def send(self, rows: int) -> None:
        """Copy the arrays to the device: of the last one, only so many rows."""
        turn, (start, row) = self._turn, self._last
        end = start + rows * row
        self._device[:end].set(self._blocks[turn][:end], stream=xp.cuda.get_current_stream())
        if self._copied[turn] is None:
            self._copied[turn] = xp.cuda.Event(disable_timing=True)
        self._copied[turn].record()
        self._turn = 1 - turn


class Download:
    """A copy of a device array that is read later than it is started; see `Downloads`."""

    def __init__(self, queue: "Downloads", array: Array) -> None:
        self.array: Any = array  # None once the copy is started
        self._queue, self._shape = queue, array.shape
        self._host: Any = None
        self._copied: Any = None  # an event

    def started(self, host: np.ndarray, copied: Any) -> None:
        """The copy is on its way to this memory."""
        self.array, self._host, self._copied = None, host, copied

    def get(self) -> np.ndarray:
        """The array on the host, a copy. Waits for it."""
        if self.array is not None:
            self._queue.start()
        self._copied.synchronize()
        array: np.ndarray = self._host.reshape(self._shape).copy()
        return array


class Downloads:
    """Copies from the device that are asked for one by one and started together, as one.

    An array must keep its values until `start`.
    """

    def __init__(self) -> None:
        self._asked: list[Download] = []
        # pinned memory must not be used again before its copy is done, even if nobody reads it
        self._flying: deque[tuple[np.ndarray, Any]] = deque()

    def ask(self, array: Array) -> Download:
        """The copy of a device array, which `start` starts."""
        self._asked.append(Download(self, array))
        return self._asked[-1]

    def start(self) -> None:
        """Start the copies that were asked for. Does not wait.

        One that fails, e.g. without memory, is still asked for.
        """
        by_type: dict[Any, list[Download]] = {}
        for one in self._asked:
            by_type.setdefault(one.array.dtype, []).append(one)
        try:
            for same in by_type.values():
                self._start(same)
        finally:
            self._asked = [one for one in self._asked if one.array is not None]

    def _start(self, asked: list[Download]) -> None:
        while self._flying and self._flying[0][1].done:
            self._flying.popleft()
        flat = [x.array.reshape(-1) for x in asked]
        joined = flat[0] if len(flat) == 1 else xp.concatenate(flat)
        host = pinned(joined.nbytes).view(joined.dtype)
        joined.get(stream=xp.cuda.get_current_stream(), out=host, blocking=False)
        copied = xp.cuda.Event(disable_timing=True)
        copied.record()
        self._flying.append((host, copied))
        start = 0
        for download, x in zip(asked, flat):
            download.started(host[start : start + x.size], copied)
            start += x.size


downloads = Downloads()  # of this process
