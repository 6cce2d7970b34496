"""Tanh-Gaussian actions with their log-probabilities, and the pullback: one pass over the batch.

out (B, 2 D) has the means, then the log standard deviations; noise (B, D) is standard normal; u =
mean + exp(log_std) noise, a = tanh(u).
"""

import math
from functools import partial

from npr.backend import Array, empty_like, xp
from npr.kernels.cuda import squash as cuda
from npr.kernels.jit import Kernel

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2)


def _squash_reference(out: Array, noise: Array, a: Array, logp: Array) -> None:
    """a <- tanh(u), logp <- log density of a, summed over D."""
    D = noise.shape[1]
    log_std = xp.clip(out[:, D:], LOG_STD_MIN, LOG_STD_MAX)
    u = out[:, :D] + xp.exp(log_std) * noise
    xp.tanh(u, out=a)
    log_slope = 2 * (_LOG_2 - u - xp.logaddexp(-2 * u, 0))
    xp.sum(-0.5 * noise * noise - log_std - _HALF_LOG_2PI - log_slope, axis=1, out=logp)


def _squash_loop(out: Array, noise: Array, a: Array, logp: Array) -> None:
    B, D = noise.shape
    number = out.dtype.type
    low, high = number(LOG_STD_MIN), number(LOG_STD_MAX)
    half, two, log_2, c = number(0.5), number(2), number(_LOG_2), number(_HALF_LOG_2PI)
    for i in range(B):
        total = number(0)
        for j in range(D):
            e = noise[i, j]
            log_std = min(max(out[i, D + j], low), high)
            u = out[i, j] + math.exp(log_std) * e
            a[i, j] = math.tanh(u)
            x = -two * u
            softplus = max(x, number(0)) + math.log1p(math.exp(-abs(x)))
            total += -half * e * e - log_std - c - two * (log_2 - u - softplus)
        logp[i] = total


def _squash_backward_reference(
    out: Array, noise: Array, a: Array, da: Array, dlogp: Array, dout: Array
) -> None:
    """dout <- da . da/dout + dlogp . dlogp/dout; 0 where da and dlogp are. Empty ones are zero."""
    D = noise.shape[1]
    log_std = xp.clip(out[:, D:], LOG_STD_MIN, LOG_STD_MAX)
    da = da if da.size else xp.zeros_like(a)
    dlogp = dlogp[:, None] if dlogp.size else xp.zeros_like(a)
    used = (da != 0) | (dlogp != 0)
    inside = used & (log_std == out[:, D:])
    du = da * (1 - a * a) + 2 * dlogp * a
    dout[:, :D] = xp.where(used, du, 0)
    dout[:, D:] = xp.where(inside, du * xp.exp(log_std) * noise - dlogp, 0)


def _squash_backward_loop(
    out: Array, noise: Array, a: Array, da: Array, dlogp: Array, dout: Array
) -> None:
    B, D = noise.shape
    number = out.dtype.type
    low, high = number(LOG_STD_MIN), number(LOG_STD_MAX)
    zero, one, two = number(0), number(1), number(2)
    for i in range(B):
        for j in range(D):
            log_std = out[i, D + j]
            dout[i, j] = dout[i, D + j] = zero
            g = da[i, j] if da.size else zero
            h = dlogp[i] if dlogp.size else zero
            if g != 0 or h != 0:
                du = g * (one - a[i, j] * a[i, j]) + two * h * a[i, j]
                dout[i, j] = du
                if low <= log_std <= high:
                    dout[i, D + j] = du * math.exp(log_std) * noise[i, j] - h


_LIMITS = LOG_STD_MIN, LOG_STD_MAX

_squash = Kernel(_squash_loop, _squash_reference, partial(cuda.squash, *_LIMITS))
_squash_backward = Kernel(
    _squash_backward_loop, _squash_backward_reference, partial(cuda.squash_backward, *_LIMITS)
)


def squash(out: Array, noise: Array) -> tuple[Array, Array]:
    """Actions (B, D) and their log-probabilities (B,)."""
    a, logp = empty_like(out, noise.shape), empty_like(out, len(noise))
    _squash(out, noise, a, logp)
    return a, logp


def squash_backward(
    out: Array, noise: Array, a: Array, da: Array, dlogp: Array, shape: tuple[int, ...]
) -> Array:
    """The cotangent of `out`, of the given shape, from those of the actions (B, D) and log-probs
    (B,); one that is empty is zero."""
    dout = empty_like(out)
    _squash_backward(out, noise, a, da, dlogp, dout)
    return dout.reshape(shape)
