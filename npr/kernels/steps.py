"""The arithmetic of optimisers, in place on flat vectors."""

import math

import numpy as np

from npr.backend import xp
from npr.kernels.jit import Kernel


def _adam_twin(theta, g, m, v, step, beta1, beta2, eps):
    """One Adam step on flat vectors; `step` and `eps` already carry the bias corrections.

    The loop sets averages below 1e-30 to zero: no step of theirs could be seen.
    """
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    theta -= step * m / (xp.sqrt(v) + eps)


def _adam_loop(theta, g, m, v, step, beta1, beta2, eps):
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


def _polyak_twin(theta_bar, theta, tau):
    """theta_bar <- tau theta + (1 - tau) theta_bar, on flat vectors."""
    theta_bar += tau * (theta - theta_bar)


def _polyak_loop(theta_bar, theta, tau):
    tau = theta.dtype.type(tau)
    for i in range(theta.shape[0]):
        theta_bar[i] += tau * (theta[i] - theta_bar[i])


def _clip_norm_twin(g, max_norm):
    """g <- g * min(1, max_norm / |g|), on a flat vector."""
    g *= xp.minimum(1, max_norm / (xp.sqrt(xp.sum(g * g)) + 1e-6))


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
    if not scale >= 1.0:  # also when it is NaN
        factor = g.dtype.type(scale)
        for i in range(g.shape[0]):
            g[i] *= factor


adam = Kernel(_adam_loop, _adam_twin)
polyak = Kernel(_polyak_loop, _polyak_twin)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_twin)
