"""Stein variational gradient descent: particles that approximate a density and repel each other."""

import math
from functools import partial
from typing import Any

from npr.backend import Array, empty_like, floats, xp
from npr.kernels.cuda import svgd as cuda
from npr.kernels.jit import Kernel

MIN_BANDWIDTH = 1e-3


def _bandwidth_reference(fixed: Array, updated: Array, h: Array, scratch: Array) -> None:
    """h (B,) <- the bandwidths; scratch (K L,) is used by the loop alone."""
    square = ((fixed[:, :, None] - updated[:, None]) ** 2).sum(axis=-1)
    square = square.reshape(len(fixed), fixed.shape[1] * updated.shape[1])
    median = xp.sort(square, axis=-1)[:, (square.shape[1] - 1) // 2]
    h[:] = xp.maximum(median / math.log(fixed.shape[1]), MIN_BANDWIDTH)
    h += (0 * square).sum(axis=-1)  # NaN where any distance is NaN, which the median would ignore


def _select(x: Array, k: int) -> Any:
    """The number at index k of x (n,) when it is sorted; changes the order of x."""
    low, high = 0, x.shape[0] - 1
    while low < high:
        pivot, i, j = x[k], low, high
        while i <= j:  # smaller numbers to the left, larger ones to the right
            while x[i] < pivot:
                i += 1
            while pivot < x[j]:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return x[k]


def _bandwidth_loop(fixed: Array, updated: Array, h: Array, scratch: Array) -> None:
    B, K, D = fixed.shape
    L = updated.shape[1]
    for b in range(B):
        hidden = scratch.dtype.type(0)
        for j in range(K):
            for i in range(L):
                total = 0.0
                for d in range(D):
                    total += (fixed[b, j, d] - updated[b, i, d]) ** 2
                scratch[j * L + i] = total
                hidden += 0 * scratch[j * L + i]
        h[b] = max(_select(scratch, (K * L - 1) // 2) / math.log(K), MIN_BANDWIDTH) + hidden


def _direction_reference(
    fixed: Array, updated: Array, score: Array, h: Array, direction: Array
) -> None:
    """direction (B, L, D) <- the directions of the updated particles."""
    difference = fixed[:, :, None] - updated[:, None]  # (B, K, L, D)
    kernel = xp.exp(-(difference**2).sum(axis=-1, keepdims=True) / h[:, None, None, None])
    slope = -2 * difference / h[:, None, None, None] * kernel  # in the fixed particle
    direction[:] = (kernel * score[:, :, None] + slope).mean(axis=1)


def _direction_loop(fixed: Array, updated: Array, score: Array, h: Array, direction: Array) -> None:
    B, K, D = fixed.shape
    for b in range(B):
        for i in range(updated.shape[1]):
            for d in range(D):
                direction[b, i, d] = 0
            for j in range(K):
                square = 0.0
                for d in range(D):
                    square += (fixed[b, j, d] - updated[b, i, d]) ** 2
                kernel = math.exp(-square / h[b])
                for d in range(D):
                    slope = -2.0 * (fixed[b, j, d] - updated[b, i, d]) / h[b]
                    direction[b, i, d] += kernel * (score[b, j, d] + slope)
            for d in range(D):
                direction[b, i, d] /= K


_bandwidth = Kernel(
    _bandwidth_loop, _bandwidth_reference, partial(cuda.bandwidth, MIN_BANDWIDTH), calls=(_select,)
)
_direction = Kernel(_direction_loop, _direction_reference, cuda.direction)


def svgd_bandwidth(fixed: Array, updated: Array) -> Array:
    """The median heuristic: median squared distance of fixed and updated particles / log K.

    fixed    (..., K, D), K > 1
    updated  (..., L, D)
    Returns  (...), at least 1e-3. For an even number of distances it is the lower median.
    """
    batch = _check(fixed, updated, fixed)
    fixed, updated = floats(fixed, updated)
    if fixed.shape[-2] < 2:
        raise ValueError("The bandwidth of one fixed particle is not defined: log 1 = 0.")
    fixed, updated = _flat(fixed, updated)
    h = empty_like(fixed, len(fixed))
    scratch = empty_like(fixed, fixed.shape[1] * updated.shape[1])
    _bandwidth(fixed, updated, h, scratch)
    return h.reshape(batch)


def svgd_direction(
    fixed: Array, updated: Array, score: Array, bandwidth: Array | float | None = None
) -> Array:
    """The direction in which particles move to approximate a density p.

    fixed      (..., K, D) particles of the expectation
    updated    (..., L, D) particles to update
    score      (..., K, D) the gradient of log p at the fixed ones
    bandwidth  h of the kernel exp(-|x - y|^2 / h), a number or (...); None: svgd_bandwidth
    Returns    (..., L, D), an ascent direction: the mean over j of kernel(x_j, x) score_j, which
               attracts to the density, plus the kernel's gradient in x_j, which repels x from x_j.
    Source: Liu and Wang 2016, eq. 8; Haarnoja et al. 2017, eq. 13.
    """
    batch = _check(fixed, updated, score)
    fixed, updated, score = floats(fixed, updated, score)
    if bandwidth is None:
        bandwidth = svgd_bandwidth(fixed, updated)
    elif isinstance(bandwidth, (int, float)) and not bandwidth > 0:
        raise ValueError(f"The bandwidth of SVGD's kernel must be above 0, got {bandwidth!r}.")
    h: Array = bandwidth if hasattr(bandwidth, "dtype") else xp.asarray(bandwidth)
    h = xp.broadcast_to(h.astype(fixed.dtype, copy=False), batch).reshape(-1)
    direction = empty_like(updated)
    _direction(*_flat(fixed, updated, score), h, *_flat(direction))
    return direction


def _flat(*particles: Array) -> list[Array]:
    """The particles with one leading axis."""
    return [x.reshape(-1, *x.shape[-2:]) for x in particles]


def _check(fixed: Array, updated: Array, score: Array) -> Any:
    """The leading axes; raises ValueError if the shapes do not fit."""
    if (
        fixed.ndim < 2
        or score.shape != fixed.shape
        or 0 in (*fixed.shape[-2:], *updated.shape[-2:])
        or (*fixed.shape[:-2], fixed.shape[-1]) != (*updated.shape[:-2], updated.shape[-1])
    ):
        raise ValueError(
            "SVGD needs fixed particles and scores (..., K, D) and updated particles (..., L, D), "
            f"got {fixed.shape}, {score.shape} and {updated.shape}."
        )
    return fixed.shape[:-2]
