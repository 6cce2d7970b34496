"""Launches of the kernels in returns.cu."""

import numpy as np

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source, per_part, per_thread

# An estimate, to be measured by `make gpu`:
ONE_BLOCK = 2**14  # numbers below which one block standardizes all of them, in one launch

_SOURCE = Source("returns.cu")


def gae(
    r: Array, v: Array, v_next: Array, terminated: Array, done: Array, gamma: float, lam: float,
    advantage: Array,
) -> None:  # fmt: skip
    arrays = (xp.ascontiguousarray(x, v.dtype) for x in (r, v, v_next, terminated, done))
    T, N = v.shape
    _SOURCE.launch("gae", *per_thread(N, 64), *arrays, advantage, T, N, gamma, lam)


def returns(r: Array, done: Array, gamma: float, bootstrap: Array, G: Array) -> None:
    arrays = (xp.ascontiguousarray(x, r.dtype) for x in (r, done, bootstrap))
    T, N = r.shape
    _SOURCE.launch("returns", *per_thread(N, 64), *arrays, G, T, N, gamma)


def standardize(x: Array, y: Array) -> None:
    rounding, x, n = float(np.finfo(x.dtype).eps), xp.ascontiguousarray(x), len(x)
    if n < ONE_BLOCK:
        blocks, threads = min(1, n), 256 if n <= 1024 else 1024
        _SOURCE.launch("standardize", blocks, threads, x, y, n, rounding)
        return
    blocks, threads = per_part(n)
    differences, squares = xp.empty(blocks, x.dtype), xp.empty(blocks, x.dtype)
    _SOURCE.launch("sum_differences", blocks, threads, x, n, differences)
    _SOURCE.launch("sum_squares", blocks, threads, x, n, differences, blocks, squares)
    _SOURCE.launch(
        "standardize_by", blocks, threads, x, y, n, differences, squares, blocks, rounding
    )
