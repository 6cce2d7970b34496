"""The arithmetic of optimizers, in place on flat vectors.

counts (3,), integers: steps that were made, steps that were skipped, and those skipped since the
last one that was made. A step with a gradient that is not finite is skipped: it changes its counts
alone. They are where the vectors are, so that the host does not wait for a device, and so is the
rate there: a 0-d array, which a captured graph reads in each replay. A gradient counts as finite if
the sum of its squares is, in the type of the parameters: then no square in an average overflows.
"""

import math
from typing import Any

from npr.backend import Array, on_device, xp
from npr.kernels.cuda import steps as cuda
from npr.kernels.jit import Kernel


def _square(g: Array) -> Array:
    """The sum of g * g, in g's type."""
    total = g.dtype.type(0)
    for i in range(g.shape[0]):  # a loop over the values would not be vectorized
        total += g[i] * g[i]
    return total


def _count(counts: Array, made: Any) -> None:
    """Count a step on the host."""
    if made:
        counts[0] += 1
        counts[2] = 0
    else:
        counts[1] += 1
        counts[2] += 1


def _count_reference(counts: Array, made: Array) -> None:
    if not on_device():
        _count(counts, made)  # faster
        return
    counts[0] += made
    counts[1] += 1 - made
    counts[2] = (counts[2] + 1) * (1 - made)


def _corrections(counts: Array, beta1: float, beta2: float, dtype: Any) -> Any:
    """Adam's bias corrections of the step that follows: 1 - beta1^t, and the root of 1 - beta2^t.

    On a device they are arrays of this type, by expm1: in float32 1 - beta^t has three digits while
    t is small.
    """
    if not on_device():
        t = int(counts[0]) + 1
        return 1 - beta1**t, math.sqrt(1 - beta2**t)
    t = (counts[0] + 1).astype(dtype)
    first, second = (-xp.expm1(t * cuda.logarithm(beta)) for beta in (beta1, beta2))
    return first, xp.sqrt(second)


def _adam_reference(
    theta: Array, g: Array, m: Array, v: Array, counts: Array, rate: Any,
    beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    """One Adam step on flat vectors.

    The loop sets averages below 1e-30 to zero, where they are too small to change a step.
    """
    first, second = _corrections(counts, beta1, beta2, theta.dtype)
    step, eps = rate * second / first, eps * second
    square = g * g
    made = xp.isfinite(square.sum())
    # subtracting zero changes no bit
    m -= xp.where(made, (1 - beta1) * (m - g), 0)
    v -= xp.where(made, (1 - beta2) * (v - square), 0)
    theta -= xp.where(made, step * m / (xp.sqrt(v) + eps), 0)
    _count_reference(counts, made)


def _adam_loop(
    theta: Array, g: Array, m: Array, v: Array, counts: Array, rate: float,
    beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    made = math.isfinite(_square(g))
    _count(counts, made)
    if not made:
        return
    number, t = theta.dtype.type, float(counts[0])
    correction = math.sqrt(1.0 - math.pow(beta2, t))
    step, eps = number(rate * correction / (1.0 - math.pow(beta1, t))), number(eps * correction)
    a, b = number(1.0 - beta1), number(1.0 - beta2)
    # the average of a dead unit's gradient would decay to denormal numbers, which are slow
    zero, faded = number(0), number(1e-30)
    for i in range(theta.shape[0]):
        mean = m[i] + a * (g[i] - m[i])
        square = v[i] + b * (g[i] * g[i] - v[i])
        m[i] = zero if abs(mean) < faded else mean
        v[i] = zero if square < faded else square
        theta[i] -= step * mean / (math.sqrt(square) + eps)


def _rmsprop_reference(
    theta: Array, g: Array, v: Array, counts: Array, rate: Any, decay: float, eps: float
) -> None:
    """One RMSprop step on flat vectors."""
    square = g * g
    made = xp.isfinite(square.sum())
    v -= xp.where(made, (1 - decay) * (v - square), 0)
    theta -= xp.where(made, rate * g / (xp.sqrt(v) + eps), 0)
    _count_reference(counts, made)


def _rmsprop_loop(
    theta: Array, g: Array, v: Array, counts: Array, rate: float, decay: float, eps: float
) -> None:
    made = math.isfinite(_square(g))
    _count(counts, made)
    if not made:
        return
    number = theta.dtype.type
    rate, b, eps = number(rate), number(1.0 - decay), number(eps)
    for i in range(theta.shape[0]):
        v[i] += b * (g[i] * g[i] - v[i])
        theta[i] -= rate * g[i] / (math.sqrt(v[i]) + eps)


def _sgd_reference(
    theta: Array, g: Array, velocity: Array, counts: Array, rate: Any, momentum: float
) -> None:
    """One step with heavy-ball momentum on flat vectors."""
    made = xp.isfinite((g * g).sum())
    velocity[:] = xp.where(made, momentum * velocity + g, velocity)
    theta -= xp.where(made, rate * velocity, 0)
    _count_reference(counts, made)


def _sgd_loop(
    theta: Array, g: Array, velocity: Array, counts: Array, rate: float, momentum: float
) -> None:
    made = math.isfinite(_square(g))
    _count(counts, made)
    if not made:
        return
    number = theta.dtype.type
    rate, momentum = number(rate), number(momentum)
    for i in range(theta.shape[0]):
        velocity[i] = momentum * velocity[i] + g[i]
        theta[i] -= rate * velocity[i]


def _polyak_reference(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, on flat vectors."""
    theta_bar += tau * (theta - theta_bar)


def _polyak_loop(theta_bar: Array, theta: Array, tau: float) -> None:
    tau = theta.dtype.type(tau)
    for i in range(theta.shape[0]):
        theta_bar[i] += tau * (theta[i] - theta_bar[i])


def _clip_norm_reference(g: Array, max_norm: float, scratch: Array) -> None:
    """g <- g * min(1, max_norm / |g|), on a flat vector; unchanged where |g| is not finite.

    scratch (16,) is used by the loop alone.
    """
    square = xp.sum(g * g)
    scale = xp.minimum(1, max_norm / (xp.sqrt(square) + 1e-6))
    g *= xp.where(xp.isfinite(square), scale, 1)


def _clip_norm_loop(g: Array, max_norm: float, scratch: Array) -> None:
    square, whole = 0.0, g.shape[0] // 16 * 16
    for k in range(16):  # independent sums, for vector instructions
        scratch[k] = 0
    for i in range(0, whole, 16):
        for k in range(16):
            scratch[k] += g[i + k] * g[i + k]
    for k in range(16):
        square += scratch[k]
    for i in range(whole, g.shape[0]):
        square += g[i] * g[i]
    scale = max_norm / (square**0.5 + 1e-6)
    if scale < 1.0 and math.isfinite(g.dtype.type(square)):
        factor = g.dtype.type(scale)
        for i in range(g.shape[0]):
            g[i] *= factor


adam = Kernel(_adam_loop, _adam_reference, cuda.adam, calls=(_count,), sums=(_square,))
rmsprop = Kernel(_rmsprop_loop, _rmsprop_reference, cuda.rmsprop, calls=(_count,), sums=(_square,))
sgd = Kernel(_sgd_loop, _sgd_reference, cuda.sgd, calls=(_count,), sums=(_square,))
polyak = Kernel(_polyak_loop, _polyak_reference, cuda.polyak)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_reference, cuda.clip_norm)
