"""Launches of the kernels in returns.cu."""

import numpy as np

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source, per_thread

_SOURCE = Source("returns.cu")


def gae(
    r: Array, v: Array, v_next: Array, terminated: Array, done: Array, gamma: float, lam: float
) -> Array:
    arrays = (xp.ascontiguousarray(x, v.dtype) for x in (r, v, v_next, terminated, done))
    (T, N), advantage = v.shape, xp.empty(v.shape, v.dtype)
    _SOURCE.launch("gae", *per_thread(N, 64), *arrays, advantage, T, N, gamma, lam)
    return advantage


def returns(r: Array, done: Array, gamma: float, bootstrap: Array) -> Array:
    arrays = (xp.ascontiguousarray(x, r.dtype) for x in (r, done, bootstrap))
    (T, N), G = r.shape, xp.empty(r.shape, r.dtype)
    _SOURCE.launch("returns", *per_thread(N, 64), *arrays, G, T, N, gamma)
    return G


def standardize(x: Array, y: Array) -> None:
    rounding = float(np.finfo(x.dtype).eps)
    blocks, threads = min(1, len(x)), 256 if len(x) <= 1024 else 1024
    _SOURCE.launch("standardize", blocks, threads, xp.ascontiguousarray(x), y, len(x), rounding)
