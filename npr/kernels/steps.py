"""The arithmetic of optimizers, in place on flat vectors.

A step with a gradient that is not finite changes nothing, and its kernel returns False; on a
device it returns an array, so that the host does not wait. A gradient counts as finite if the sum
of its squares is, in the type of the parameters: then no square in an average overflows.
"""

import math

import numpy as np

from npr.backend import Array, xp
from npr.kernels.jit import Kernel


def _square(g: Array) -> Array:
    """The sum of g * g, in g's type."""
    total = g.dtype.type(0)
    for i in range(g.shape[0]):  # a loop over the values would not be vectorized
        total += g[i] * g[i]
    return total


def _adam_reference(
    theta: Array, g: Array, m: Array, v: Array, step: float, beta1: float, beta2: float, eps: float
) -> Array:
    """One Adam step on flat vectors; `step` and `eps` include the bias corrections.

    The loop sets averages below 1e-30 to zero, where they are too small to change a step.
    """
    square = g * g
    stepped = xp.isfinite(square.sum())
    # subtracting zero changes no bit
    m -= xp.where(stepped, (1 - beta1) * (m - g), 0)
    v -= xp.where(stepped, (1 - beta2) * (v - square), 0)
    theta -= xp.where(stepped, step * m / (xp.sqrt(v) + eps), 0)
    return stepped


def _adam_loop(
    theta: Array, g: Array, m: Array, v: Array, step: float, beta1: float, beta2: float, eps: float
) -> bool:
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    a, b = number(1.0 - beta1), number(1.0 - beta2)
    step, eps = number(step), number(eps)
    # the average of a dead unit's gradient would decay to denormal numbers, which are slow
    zero, faded = number(0), number(1e-30)
    for i in range(theta.shape[0]):
        mean = m[i] + a * (g[i] - m[i])
        square = v[i] + b * (g[i] * g[i] - v[i])
        m[i] = zero if abs(mean) < faded else mean
        v[i] = zero if square < faded else square
        theta[i] -= step * mean / (math.sqrt(square) + eps)
    return True


def _rmsprop_reference(
    theta: Array, g: Array, v: Array, rate: float, decay: float, eps: float
) -> Array:
    """One RMSprop step on flat vectors."""
    square = g * g
    stepped = xp.isfinite(square.sum())
    v -= xp.where(stepped, (1 - decay) * (v - square), 0)
    theta -= xp.where(stepped, rate * g / (xp.sqrt(v) + eps), 0)
    return stepped


def _rmsprop_loop(theta: Array, g: Array, v: Array, rate: float, decay: float, eps: float) -> bool:
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    rate, b, eps = number(rate), number(1.0 - decay), number(eps)
    for i in range(theta.shape[0]):
        v[i] += b * (g[i] * g[i] - v[i])
        theta[i] -= rate * g[i] / (math.sqrt(v[i]) + eps)
    return True


def _sgd_reference(theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> Array:
    """One step with heavy-ball momentum on flat vectors."""
    stepped = xp.isfinite((g * g).sum())
    velocity[:] = xp.where(stepped, momentum * velocity + g, velocity)
    theta -= xp.where(stepped, rate * velocity, 0)
    return stepped


def _sgd_loop(theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> bool:
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    rate, momentum = number(rate), number(momentum)
    for i in range(theta.shape[0]):
        velocity[i] = momentum * velocity[i] + g[i]
        theta[i] -= rate * velocity[i]
    return True


def _polyak_reference(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, on flat vectors."""
    theta_bar += tau * (theta - theta_bar)


def _polyak_loop(theta_bar: Array, theta: Array, tau: float) -> None:
    tau = theta.dtype.type(tau)
    for i in range(theta.shape[0]):
        theta_bar[i] += tau * (theta[i] - theta_bar[i])


def _clip_norm_reference(g: Array, max_norm: float) -> None:
    """g <- g * min(1, max_norm / |g|), on a flat vector; unchanged where |g| is not finite."""
    square = xp.sum(g * g)
    scale = xp.minimum(1, max_norm / (xp.sqrt(square) + 1e-6))
    g *= xp.where(xp.isfinite(square), scale, 1)


def _clip_norm_loop(g: Array, max_norm: float) -> None:
    square, whole = 0.0, g.shape[0] // 16 * 16
    parts = np.zeros(16, g.dtype)  # independent sums, for vector instructions
    for i in range(0, whole, 16):
        for k in range(16):
            parts[k] += g[i + k] * g[i + k]
    for x in parts:
        square += x
    for i in range(whole, g.shape[0]):
        square += g[i] * g[i]
    scale = max_norm / (square**0.5 + 1e-6)
    if scale < 1.0 and math.isfinite(g.dtype.type(square)):
        factor = g.dtype.type(scale)
        for i in range(g.shape[0]):
            g[i] *= factor


adam = Kernel(_adam_loop, _adam_reference, sums=(_square,))
rmsprop = Kernel(_rmsprop_loop, _rmsprop_reference, sums=(_square,))
sgd = Kernel(_sgd_loop, _sgd_reference, sums=(_square,))
polyak = Kernel(_polyak_loop, _polyak_reference)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_reference)
