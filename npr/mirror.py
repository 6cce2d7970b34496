"""The rows of a replay buffer on the device, and batches of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.backend import FLOAT, Array, xp
from npr.kernels.replay import gather
from npr.system.staging import Staging, block_size

SHARE = 0.5  # of the free memory of the device for the rows of one buffer
ROOM = 8 << 20  # bytes that are uploaded at once: a batch's, and the new rows
KINDS = 4  # of batches, such as batch sizes: the last ones used keep their memory


def fits(rows: np.ndarray) -> bool:
    """Whether these rows may take memory of the device."""
    free, _ = xp.cuda.runtime.memGetInfo()
    free += xp.get_default_memory_pool().free_bytes()  # such as the rows of an earlier agent
    return bool(rows.nbytes + ROOM <= SHARE * free)


class Mirror:
    """The rows (C, W) of a replay buffer on the device; see npr.kernels.replay.

    rows      those on the host, which the buffer changes
    s_size    numbers per observation
    a_shape   of an action
    a_dtype   int64 or FLOAT
    unsent    the number of the newest rows that are not on the device yet
    """

    def __init__(self, rows: np.ndarray, s_size: int, a_shape: tuple[int, ...], a_dtype: Any):
        self._host, self._device = rows, xp.empty(rows.shape, FLOAT)
        self._shapes = (s_size,), a_shape, (), (s_size,), ()  # of s, a, r, s2, terminated
        self._types = FLOAT, a_dtype, FLOAT, FLOAT, FLOAT
        self.unsent = 0
        self._none = xp.empty(0, FLOAT)
        self._kinds: dict[Any, tuple[Staging, list[Array]]] = {}

    def batch(
        self,
        end: int,
        index: np.ndarray,
        optional: dict[str, np.ndarray],
        clip: float,
        reward_clip: float,
        more: Sequence[np.ndarray],
    ) -> tuple[list[Array], dict[str, Array], list[Array]]:
        """The batch of the transitions that start at rows `index` (B,), after one upload.

        end                row after the newest one
        optional           by name: last (B,) and returns (B,) of several steps, mean and scale (S,)
                           of observations, reward_scale (1,); others are uploaded only
        clip, reward_clip  bounds of normalized observations and rewards
        more               arrays that are uploaded only

        Returns s, a, r, s2, terminated; the optional arrays; and the others: all on the device,
        and valid until the next batch of this size, which is written to the same memory.
        """
        held = {"index": index.astype(np.int32), **optional}
        for i, x in enumerate(more):
            held[str(i)] = x
        staging, columns = self._kind({name: (x.shape, x.dtype) for name, x in held.items()})
        *host, fresh = staging.host()
        if self.unsent > len(fresh):
            self._send_all(end)
        for there, x in zip(host, held.values()):
            there[...] = x
        count, C = self.unsent, len(self._host)
        start = (end - count) % C
        before = min(count, C - start)  # the end of the ring
        fresh[:before] = self._host[start : start + before]
        fresh[before:count] = self._host[: count - before]
        staging.send(count)
        self.unsent = 0
        device = dict(zip(held, staging.device))
        s, a, r, s2, terminated = columns
        names = "returns", "mean", "scale", "reward_scale"
        gather(
            self._device, staging.device[-1], start, count, device["index"],
            device.get("last", device["index"]), *(device.get(x, self._none) for x in names),
            clip, reward_clip, s, a.reshape(len(index), -1), r, s2, terminated,
        )  # fmt: skip
        return columns, device, [device[str(i)] for i in range(len(more))]

    def _send_all(self, end: int) -> None:
        """Upload the rows that are not on the device yet, by copies of their own."""
        C, start = len(self._host), end - self.unsent
        for rows in (slice(max(start, 0), end), slice(start % C, C) if start < 0 else slice(0, 0)):
            if rows.start < rows.stop:
                self._device[rows].set(self._host[rows])
        self.unsent = 0

    def _kind(self, layout: dict[str, Any]) -> tuple[Staging, list[Array]]:
        """The memory of batches of one kind: what is uploaded, and the columns."""
        key = tuple(layout.items())
        if key not in self._kinds:
            if len(self._kinds) == KINDS:
                oldest, _ = self._kinds.pop(next(iter(self._kinds)))
                oldest.wait()
            ((B,), _), (C, W) = layout["index"], self._host.shape
            # with the others within ROOM: CuPy rounds pinned memory up to a power of two
            left = ROOM - block_size([*layout.values(), ((0, W), FLOAT)])
            room = max(1, min(C, left // (W * FLOAT.itemsize)))
            staging = Staging([*layout.values(), ((room, W), FLOAT)])
            columns = [
                xp.empty((B, *shape), dtype) for shape, dtype in zip(self._shapes, self._types)
            ]
            self._kinds[key] = staging, columns
        held = self._kinds[key] = self._kinds.pop(key)  # now the last one used
        return held
