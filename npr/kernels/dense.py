"""The elementwise half of a dense network and its optimiser: bias, activation, Adam, Polyak.

All work in place on their first argument or write to `out`; matrix products stay with BLAS.
"""

import math

import numpy as np

from npr.backend import xp
from npr.kernels.jit import Kernel


def _bias_twin(z, b):
    """z <- z + b; z (B, n), b (n,)."""
    z += b


def _bias_loop(z, b):
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            row[j] += b[j]


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


def _bias_tanh_twin(z, b):
    """z <- tanh(z + b); z (B, n), b (n,)."""
    z += b
    xp.tanh(z, out=z)


def _bias_tanh_loop(z, b):
    if z.itemsize == 8:
        for i in range(z.shape[0]):
            row = z[i]
            for j in range(z.shape[1]):
                row[j] = math.tanh(row[j] + b[j])
        return
    # Compilers do not run libm's tanh on several numbers at once, but they do this: the ratio of
    # two polynomials with the smallest relative error (2e-8) up to 9, where tanh rounds to one.
    number = z.dtype.type
    one, edge = number(1), number(9)
    p1, p2 = number(0.1338102828), number(0.003495589515)
    p3, p4 = number(2.060904058e-05), number(1.335449363e-08)
    q1, q2 = number(0.4671434395), number(0.02587699197)
    q3, q4 = number(0.0003285634222), number(7.776512307e-07)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            x = -edge if x < -edge else x
            x = edge if x > edge else x
            y = x * x
            x *= one + y * (p1 + y * (p2 + y * (p3 + y * p4)))
            x /= one + y * (q1 + y * (q2 + y * (q3 + y * q4)))
            x = -one if x < -one else x
            row[j] = one if x > one else x


def _bias_elu_twin(z, b):
    """z <- z + b where that is above 0, exp(z + b) - 1 elsewhere; z (B, n), b (n,)."""
    z += b
    z[...] = xp.where(z > 0, z, xp.expm1(xp.minimum(z, 0)))


def _bias_elu_loop(z, b):
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            row[j] = x if x > zero else math.expm1(x)


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


def _elu_backward_twin(g, h, out):
    """g <- g where h > 0, g * (h + 1) elsewhere, out <- its column sums; g, h (B, n), out (n,)."""
    g *= xp.where(h > 0, 1, h + 1)
    xp.sum(g, axis=0, out=out)


def _elu_backward_loop(g, h, out):
    zero, one = g.dtype.type(0), g.dtype.type(1)
    out[:] = zero
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] if value[j] > zero else row[j] * (value[j] + one)
            row[j] = x
            out[j] += x


def _bias_backward_twin(g, h, out):
    """out <- column sums of g (B, n); g stays as it is, h is not looked at."""
    xp.sum(g, axis=0, out=out)


def _bias_backward_loop(g, h, out):
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


bias = Kernel(_bias_loop, _bias_twin)
bias_relu = Kernel(_bias_relu_loop, _bias_relu_twin)
bias_tanh = Kernel(_bias_tanh_loop, _bias_tanh_twin)
bias_elu = Kernel(_bias_elu_loop, _bias_elu_twin)
bias_backward = Kernel(_bias_backward_loop, _bias_backward_twin)
relu_backward = Kernel(_relu_backward_loop, _relu_backward_twin)
tanh_backward = Kernel(_tanh_backward_loop, _tanh_backward_twin)
elu_backward = Kernel(_elu_backward_loop, _elu_backward_twin)
adam = Kernel(_adam_loop, _adam_twin)
polyak = Kernel(_polyak_loop, _polyak_twin)
clip_norm = Kernel(_clip_norm_loop, _clip_norm_twin)
