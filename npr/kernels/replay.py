"""Transitions into the rows of a replay buffer, and batches from them: one kernel each, which reads
or writes all columns.

A row (W,) of the buffer has the columns s (S), a (A), r, s2 (S) and terminated, W = 2 S + A + 2.
"""

import numpy as np

from npr.backend import ON_HOST, Array
from npr.kernels.cuda import replay as cuda
from npr.kernels.jit import ActionIndexError, Kernel


def _gather_reference(rows: Array, fresh: Array, start: int, count: int, index: Array, last: Array,
                      returns: Array, mean: Array, scale: Array, reward_scale: Array,
                      clip: float, reward_clip: float, s: Array, a: Array, r: Array, s2: Array,
                      terminated: Array) -> None:  # fmt: skip
    """Store new rows, then write the batch of the transitions that start at `index`.

    rows               (C, W) <- the first `count` rows of `fresh` (n, W), count <= C, from row
                       `start` on; a ring
    index              (B,) rows of s, a and r
    last               (B,) rows of s2 and terminated
    returns            (B,) instead of the column r; () for none
    mean, scale        (S,) s and s2 <- (s - mean) scale, within +-clip; () for none
    reward_scale       (1,) r <- r reward_scale, within +-reward_clip; () for none
    s, s2              (B, S)
    a                  (B, A) numbers or integers
    r, terminated      (B,)
    """
    C, S, A = len(rows), s.shape[1], a.shape[1]
    if ON_HOST and ((index < 0).any() or (last < 0).any()):
        raise ActionIndexError("row out of range")
    before = min(count, C - start)  # the end of the ring
    rows[start : start + before] = fresh[:before]
    rows[: count - before] = fresh[before:count]
    first, second = rows.take(index, axis=0), rows.take(last, axis=0)
    s[:], a[:], r[:] = first[:, :S], first[:, S : S + A], first[:, S + A]
    s2[:], terminated[:] = second[:, S + A + 1 : -1], second[:, -1]
    if returns.size:
        r[:] = returns
    if mean.size:
        for x in (s, s2):
            x -= mean
            x *= scale
            x.clip(-clip, clip, out=x)
    if reward_scale.size:
        r *= reward_scale
        r.clip(-reward_clip, reward_clip, out=r)


def _gather_loop(rows: Array, fresh: Array, start: int, count: int, index: Array, last: Array,
                 returns: Array, mean: Array, scale: Array, reward_scale: Array,
                 clip: float, reward_clip: float, s: Array, a: Array, r: Array, s2: Array,
                 terminated: Array) -> None:  # fmt: skip
    C, W = rows.shape
    (B, S), A = s.shape, a.shape[1]
    number = rows.dtype.type
    bound, reward_bound = number(clip), number(reward_clip)
    for i in range(count):
        for j in range(W):
            rows[(start + i) % C, j] = fresh[i, j]
    for i in range(B):
        if min(index[i], last[i]) < 0 or max(index[i], last[i]) >= C:
            raise ActionIndexError("row out of range")
    for i in range(B):  # reads of all rows at once wait for memory together, later ones do not
        read = rows[last[i], W - 1]
        for j in range(0, W - 16, 16):  # one number per cache line
            read += rows[index[i], j]
        r[i], terminated[i] = rows[index[i], S + A], read
    for i in range(B):
        first, second = index[i], last[i]
        for j in range(S):
            s[i, j] = rows[first, j]
        for j in range(A):
            a[i, j] = rows[first, S + j]
        for j in range(S):
            s2[i, j] = rows[second, S + A + 1 + j]
        terminated[i] = rows[second, W - 1]
    if returns.size:
        for i in range(B):
            r[i] = returns[i]
    if mean.size:
        for i in range(B):
            for j in range(S):
                s[i, j] = min(max((s[i, j] - mean[j]) * scale[j], -bound), bound)
                s2[i, j] = min(max((s2[i, j] - mean[j]) * scale[j], -bound), bound)
    if reward_scale.size:
        for i in range(B):
            r[i] = min(max(r[i] * reward_scale[0], -reward_bound), reward_bound)


def _insert_reference(rows: Array, start: int, s: Array, a: Array, r: Array, s2: Array,
                      terminated: Array) -> None:  # fmt: skip
    """Store transitions s (n, S), a (n, A) or (n,), r (n,), s2 (n, S), terminated (n,) of any types
    in the rows (C, W) from row `start` on, a ring; n <= C."""
    n, S = s.shape
    A = rows.shape[1] - 2 * S - 2
    index = (start + np.arange(n)) % len(rows)
    rows[index, :S], rows[index, S : S + A], rows[index, S + A] = s, a.reshape(n, A), r
    rows[index, S + A + 1 : -1], rows[index, -1] = s2, terminated


def _insert_loop(rows: Array, start: int, s: Array, a: Array, r: Array, s2: Array,
                 terminated: Array) -> None:  # fmt: skip
    C, W = rows.shape
    n, S = s.shape
    A = W - 2 * S - 2
    if not (len(a) == len(r) == len(s2) == len(terminated) == n <= C and a.size == n * A):
        raise ActionIndexError("a column is too short")
    if s2.shape[1] != S or start < 0:
        raise ActionIndexError("a column is too narrow")
    numbers = a.flat
    for i in range(n):
        row = (start + i) % C
        for j in range(S):
            rows[row, j] = s[i, j]
        for j in range(A):
            rows[row, S + j] = numbers[i * A + j]
        rows[row, S + A] = r[i]
        for j in range(S):
            rows[row, S + A + 1 + j] = s2[i, j]
        rows[row, W - 1] = terminated[i]


gather = Kernel(_gather_loop, _gather_reference, cuda.gather)
gather_on_host = Kernel(_gather_loop, _gather_reference, host=True)
insert = Kernel(_insert_loop, _insert_reference, host=True)
