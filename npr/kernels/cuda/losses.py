"""Launches of the kernels in losses.cu."""

from typing import Any

import numpy as np

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source, index, per_part

_SOURCE = Source("losses.cu")


def mse(x: Array, y: Array) -> tuple[Array, Array]:
    y = y.astype(x.dtype, copy=False)
    if y.shape != x.shape[x.ndim - y.ndim :]:  # y does not just repeat
        shape = np.broadcast_shapes(x.shape, y.shape)
        x, y = xp.broadcast_to(x, shape), xp.broadcast_to(y, shape)
    loss, error = xp.empty((), x.dtype), xp.empty(x.shape, x.dtype)
    x, y = xp.ascontiguousarray(x), xp.ascontiguousarray(y)
    _mean("mse", x.size, loss, x, y, error, x.size, y.size)
    return loss, error


def surrogate(ratio: Array, A: Array, epsilon: Any) -> tuple[Array, Array]:
    """epsilon: a number, or an array of one."""
    n, loss, slope = ratio.size, xp.empty((), ratio.dtype), xp.empty(ratio.shape, ratio.dtype)
    A = xp.ascontiguousarray(xp.broadcast_to(A, ratio.shape), ratio.dtype)
    on_device = isinstance(epsilon, xp.ndarray)  # where the host must not read it
    held, number = (epsilon, 0.0) if on_device else (None, float(epsilon))
    _mean("surrogate", n, loss, xp.ascontiguousarray(ratio), A, slope, held, number, n)
    return loss, slope


def td_huber(
    q: Array, a: Array, y: Array, w: Array, loss: Array, chosen: Array, slope: Array
) -> None:
    q, a = xp.ascontiguousarray(q), xp.ascontiguousarray(index(a))
    y, w = xp.ascontiguousarray(y, q.dtype), xp.ascontiguousarray(w, q.dtype)
    _mean("td_huber", len(q), loss, q, a, y, w, chosen, slope, *q.shape)


def _mean(name: str, n: int, loss: Array, *args: Any) -> None:
    """Launch a kernel that writes the mean of n numbers to loss, in parts if they are many."""
    blocks, threads = per_part(n)
    held = loss if blocks == 1 else xp.empty(blocks, loss.dtype)
    _SOURCE.launch(name, blocks, threads, *args, held)
    if blocks > 1:
        _SOURCE.launch("total", 1, threads, held, blocks, loss)
