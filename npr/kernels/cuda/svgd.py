"""Launches of the kernels in svgd.cu."""

import math

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source

_SOURCE = Source("svgd.cu")
_BINS, _TILE = 256, 128  # as in svgd.cu


def bandwidth(least: float, fixed: Array, updated: Array, h: Array, scratch: Array) -> None:
    (B, K, D), L = fixed.shape, updated.shape[1]
    fixed, updated = xp.ascontiguousarray(fixed), xp.ascontiguousarray(updated)
    _SOURCE.launch("bandwidth", B, _BINS, fixed, updated, h, K * L, L, D, math.log(K), least)


def direction(fixed: Array, updated: Array, score: Array, h: Array, direction: Array) -> None:
    (B, K, D), L = fixed.shape, updated.shape[1]
    arrays = map(xp.ascontiguousarray, (fixed, updated, score, h))
    threads = min(_TILE, -(-max(K, D) // 32) * 32)
    _SOURCE.launch("direction", B * L, threads, *arrays, direction, K, L, D)
