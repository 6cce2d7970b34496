"""The arithmetic of optimisers, in place on flat vectors.

A step with a gradient that is not finite changes nothing, and its kernel returns False; on a
device an array, which nobody waits for. The sum of the squares decides, in the type of the
parameters: no square that enters an average can overflow then.
"""

import math

import numpy as np

from npr.backend import xp
from npr.kernels.jit import Kernel


def _square(g):
    """The sum of g * g, in g's type."""
    total = g.dtype.type(0)
    for i in range(g.shape[0]):  # over the numbers themselves it would not be vectorised
        total += g[i] * g[i]
    return total


def _adam_twin(theta, g, m, v, step, beta1, beta2, eps):
    """One Adam step on flat vectors; `step` and `eps` already carry the bias corrections.

    The loop sets averages below 1e-30 to zero: no step of theirs could be seen.
    """
    square = g * g
    moved = xp.isfinite(square.sum())
    # to take away nothing leaves every bit as it was
    m -= xp.where(moved, (1 - beta1) * (m - g), 0)
    v -= xp.where(moved, (1 - beta2) * (v - square), 0)
    theta -= xp.where(moved, step * m / (xp.sqrt(v) + eps), 0)
    return moved


def _adam_loop(theta, g, m, v, step, beta1, beta2, eps):
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    a, b = number(1.0 - beta1), number(1.0 - beta2)
    step, eps = number(step), number(eps)
    # the average of a dead unit's gradient would fade into denormal numbers, which are slow
    zero, faded = number(0), number(1e-30)
    for i in range(theta.shape[0]):
        mean = m[i] + a * (g[i] - m[i])
        square = v[i] + b * (g[i] * g[i] - v[i])
        m[i] = zero if abs(mean) < faded else mean
        v[i] = zero if square < faded else square
        theta[i] -= step * mean / (math.sqrt(square) + eps)
    return True


def _rmsprop_twin(theta, g, v, rate, decay, eps):
    """One RMSprop step on flat vectors."""
    square = g * g
    moved = xp.isfinite(square.sum())
    v -= xp.where(moved, (1 - decay) * (v - square), 0)
    theta -= xp.where(moved, rate * g / (xp.sqrt(v) + eps), 0)
    return moved


def _rmsprop_loop(theta, g, v, rate, decay, eps):
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    rate, b, eps = number(rate), number(1.0 - decay), number(eps)
    for i in range(theta.shape[0]):
        v[i] += b * (g[i] * g[i] - v[i])
        theta[i] -= rate * g[i] / (math.sqrt(v[i]) + eps)
    return True


def _sgd_twin(theta, g, velocity, rate, momentum):
    """One step with heavy-ball momentum on flat vectors."""
    moved = xp.isfinite((g * g).sum())
    velocity[:] = xp.where(moved, momentum * velocity + g, velocity)
    theta -= xp.where(moved, rate * velocity, 0)
    return moved


def _sgd_loop(theta, g, velocity, rate, momentum):
    if not math.isfinite(_square(g)):
        return False
    number = theta.dtype.type
    rate, momentum = number(rate), number(momentum)
    for i in range(theta.shape[0]):
        velocity[i] = momentum * velocity[i] + g[i]
        theta[i] -= rate * velocity[i]
    return True


def _polyak_twin(theta_bar, theta, tau):
    """theta_bar <- tau theta + (1 - tau) theta_bar, on flat vectors."""
    theta_bar += tau * (theta - theta_bar)


def _polyak_loop(theta_bar, theta, tau):
    tau = theta.dtype.type(tau)
    for i in range(theta.shape[0]):
        theta_bar[i] += tau * (theta[i] - theta_bar[i])


def _clip_norm_twin(g, max_norm):
    """g <- g * min(1, max_norm / |g|), on a flat vector; left alone where |g| is not finite."""
    square = xp.sum(g * g)
    scale = xp.minimum(1, max_norm / (xp.sqrt(square) + 1e-6))
    g *= xp.where(xp.isfinite(square), scale, 1)


def _clip_norm_loop(g, max_norm):
    square, whole = 0.0, g.shape[0] // 16 * 16
    parts = np.zeros(16, g.dtype)  # sums side by side, for vector instructions
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


adam = Kernel(_adam_loop, _adam_twin, sums=(_square,))
rmsprop = Kernel(_rmsprop_loop, _rmsprop_twin, sums=(_square,))
sgd = Kernel(_sgd_loop, _sgd_twin, sums=(_square,))
polyak = Kernel(_polyak_loop, _polyak_twin)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_twin)
