"""The elementwise half of a dense network and its optimiser: bias, activation, Adam, Polyak.

All work in place on their first argument or write to `out`; matrix products stay with BLAS.
"""

import math

from npr.backend import xp
from npr.kernels.jit import Kernel


def _bias_relu_twin(z, b):
    """z <- max(z + b, 0); z (B, n), b (n,)."""
    z += b
    xp.maximum(z, 0, out=z)


def _bias_relu_loop(z, b):
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            row[j] = zero if x < zero else x  # in this order a NaN stays one


def _relu_backward_twin(g, h, out):
    """g <- g * (h > 0), out <- its column sums; g, h (B, n), out (n,)."""
    g *= h > 0
    xp.sum(g, axis=0, out=out)


def _relu_backward_loop(g, h, out):
    zero = g.dtype.type(0)
    out[:] = zero
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] if value[j] > zero else zero
            row[j] = x
            out[j] += x


def _tanh_backward_twin(g, h, out):
    """g <- g * (1 - h^2), out <- its column sums; g, h (B, n), out (n,)."""
    g *= 1 - h * h
    xp.sum(g, axis=0, out=out)


def _tanh_backward_loop(g, h, out):
    one = g.dtype.type(1)
    out[:] = g.dtype.type(0)
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] * (one - value[j] * value[j])
            row[j] = x
            out[j] += x


def _column_sum_twin(g, out):
    """out <- column sums of g; g (B, n), out (n,)."""
    xp.sum(g, axis=0, out=out)


def _column_sum_loop(g, out):
    out[:] = g.dtype.type(0)
    for i in range(g.shape[0]):
        row = g[i]
        for j in range(g.shape[1]):
            out[j] += row[j]


def _adam_twin(theta, g, m, v, step, beta1, beta2, eps):
    """One Adam step on flat vectors; `step` and `eps` already carry the bias corrections."""
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    theta -= step * m / (xp.sqrt(v) + eps)


def _adam_loop(theta, g, m, v, step, beta1, beta2, eps):
    number = theta.dtype.type
    a, b = number(1.0 - beta1), number(1.0 - beta2)
    step, eps = number(step), number(eps)
    for i in range(theta.shape[0]):
        m[i] += a * (g[i] - m[i])
        v[i] += b * (g[i] * g[i] - v[i])
        theta[i] -= step * m[i] / (math.sqrt(v[i]) + eps)


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
    square = 0.0
    for i in range(g.shape[0]):
        square += g[i] * g[i]
    scale = max_norm / (square**0.5 + 1e-6)
    if not scale >= 1.0:  # also when it is NaN
        factor = g.dtype.type(scale)
        for i in range(g.shape[0]):
            g[i] *= factor


bias_relu = Kernel(_bias_relu_loop, _bias_relu_twin)
relu_backward = Kernel(_relu_backward_loop, _relu_backward_twin)
tanh_backward = Kernel(_tanh_backward_loop, _tanh_backward_twin)
column_sum = Kernel(_column_sum_loop, _column_sum_twin)
adam = Kernel(_adam_loop, _adam_twin)
polyak = Kernel(_polyak_loop, _polyak_twin)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_twin)
