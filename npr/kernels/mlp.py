"""A stack of dense networks forwards and backwards, one call each.

theta  (rows, size) a network per row: layer after layer, W (n, m) row-major, then b (m,)
x      (B, n) the input of all of them
sizes  widths of the layers, input first
hidden, out  activations of the hidden layers and of the last, as indices of ACTIVATIONS
work   flat, the values of every layer behind the input: a block (rows, B, m) each
"""

import numpy as np

from npr.backend import xp
from npr.kernels import blas, dense
from npr.kernels.blas import product
from npr.kernels.jit import Kernel

ACTIVATIONS = ("relu", "tanh", "elu", "identity")
RELU, TANH, ELU, IDENTITY = range(4)
_FORWARD = (dense.bias_relu, dense.bias_tanh, dense.bias_elu, dense.bias)
_BACKWARD = (
    dense.relu_backward, dense.tanh_backward, dense.elu_backward, dense.bias_backward,
)  # fmt: skip

_relu, _tanh, _elu, _bias = (kernel.loop for kernel in _FORWARD)
_pull_relu, _pull_tanh, _pull_elu, _pull_bias = (kernel.loop for kernel in _BACKWARD)


def layers(theta, sizes):
    """[(W, b), ...] of one network, as views that share theta's memory."""
    views, start = [], 0
    for n, m in zip(sizes, sizes[1:]):
        middle = start + n * m
        views.append((theta[start:middle].reshape(n, m), theta[middle : middle + m]))
        start = middle + m
    return views


def _values(work, rows, B, sizes):
    """The blocks of work, (rows, B, m) each."""
    blocks, start = [], 0
    for m in sizes[1:]:
        blocks.append(work[start : start + rows * B * m].reshape(rows, B, m))
        start += rows * B * m
    return blocks


def _forward_twin(theta, x, sizes, hidden, out, work):
    """work <- the values of every layer."""
    sizes = sizes.tolist()
    blocks = _values(work, len(theta), len(x), sizes)
    for row, network in enumerate(theta):
        h = x
        for layer, (W, b) in enumerate(layers(network, sizes)):
            z = xp.dot(h, W, out=blocks[layer][row])
            _FORWARD[out if layer == len(sizes) - 2 else hidden](z, b)
            h = z


def _forward_loop(theta, x, sizes, hidden, out, work):
    rows, B, last = theta.shape[0], x.shape[0], sizes.shape[0] - 2
    for row in range(rows):
        h, start, block = x, 0, 0
        for layer in range(last + 1):
            n, m = sizes[layer], sizes[layer + 1]
            middle, first = start + n * m, block + row * B * m
            W, b = theta[row, start:middle].reshape(n, m), theta[row, middle : middle + m]
            z = work[first : first + B * m].reshape(B, m)
            product(h, W, z)
            activation = out if layer == last else hidden
            if activation == RELU:
                _relu(z, b)
            elif activation == TANH:
                _tanh(z, b)
            elif activation == ELU:
                _elu(z, b)
            else:
                _bias(z, b)
            h, start, block = z, middle + m, block + rows * B * m


def _backward_twin(theta, x, sizes, hidden, out, work, g, dtheta, dx):
    """dtheta, dx <- cotangents of theta and x from g (rows, B, m), that of the last layer.

    An empty dtheta or dx is not wanted. The first `size` columns of a row of dtheta are written.
    """
    sizes = sizes.tolist()
    rows, B, last = len(theta), len(x), len(sizes) - 2
    blocks = _values(work, rows, B, sizes)
    if dx.size:
        dx[...] = 0
    for row in range(rows):
        network, slopes = layers(theta[row], sizes), None
        if dtheta.size:
            slopes = layers(dtheta[row], sizes)
        grad = g[row].copy()
        for layer in range(last, -1, -1):
            W, b = network[layer]
            dW, db = slopes[layer] if slopes else (None, xp.empty_like(b))
            _BACKWARD[out if layer == last else hidden](grad, blocks[layer][row], db)
            if slopes:
                xp.dot((blocks[layer - 1][row] if layer else x).T, grad, out=dW)
            if layer:
                grad = xp.dot(grad, W.T)
            elif dx.size:
                dx += xp.dot(grad, W.T)


def _backward_loop(theta, x, sizes, hidden, out, work, g, dtheta, dx):
    rows, B, last = theta.shape[0], x.shape[0], sizes.shape[0] - 2
    sums = np.empty(sizes[1:].max(), theta.dtype)
    for row in range(rows):
        start, block = 0, 0  # behind the last layer
        for layer in range(last + 1):
            m = sizes[layer + 1]
            start, block = start + (sizes[layer] + 1) * m, block + rows * B * m
        grad = g[row].copy()
        for layer in range(last, -1, -1):
            n, m = sizes[layer], sizes[layer + 1]
            middle, start = start - m, start - (n + 1) * m
            block -= rows * B * m
            first = block + row * B * m
            h = work[first : first + B * m].reshape(B, m)
            db = dtheta[row, middle : middle + m] if dtheta.size else sums[:m]
            activation = out if layer == last else hidden
            if activation == RELU:
                _pull_relu(grad, h, db)
            elif activation == TANH:
                _pull_tanh(grad, h, db)
            elif activation == ELU:
                _pull_elu(grad, h, db)
            else:
                _pull_bias(grad, h, db)
            W = theta[row, start:middle].reshape(n, m)
            if dtheta.size:
                dW = dtheta[row, start:middle].reshape(n, m)
                if layer:
                    first = block - rows * B * n + row * B * n
                    product(work[first : first + B * n].reshape(B, n), grad, dW, True)
                else:
                    product(x, grad, dW, True)
            if layer:
                into = np.empty((B, n), theta.dtype)
                if m == 1:  # a column times a row: BLAS is slow at it
                    column = theta[row, start:middle]
                    for i in range(B):
                        x_i, to = grad[i, 0], into[i]
                        for j in range(n):
                            to[j] = x_i * column[j]
                elif n * m <= 4096:  # and a third faster at small matrices that are not flipped
                    flipped = np.empty((m, n), theta.dtype)
                    for i in range(n):
                        for j in range(m):
                            flipped[j, i] = W[i, j]
                    product(grad, flipped, into)
                else:
                    product(grad, W, into, False, True)
                grad = into
            elif dx.size:
                product(grad, W, dx, False, True, row > 0)


_CALLS = (_bias, _relu, _tanh, _elu, _pull_bias, _pull_relu, _pull_tanh, _pull_elu)
forward = Kernel(_forward_loop, _forward_twin, calls=_CALLS, needs=blas.find)
backward = Kernel(_backward_loop, _backward_twin, calls=_CALLS, needs=blas.find)
