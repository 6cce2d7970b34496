"""The multi-layer perceptron: a function of (theta, x), and ONE node on the tape.

theta is a flat vector: layer after layer, W (in, out) row-major, then b (out). A stack of equal
networks (twin critics) has one row of theta each. On the small networks of reinforcement
learning the cost is Python per operation, not arithmetic, hence one node with a pullback of its
own; the same network composed of matmul, add and relu stands in the tests as its oracle.
"""

import math

import numpy as np

from npr.autodiff import Tensor, record
from npr.backend import FLOAT, Array, to_device, xp
from npr.errors import ConfigError
from npr.kernels.dense import bias_relu, column_sum, relu_backward, tanh_backward


def _bias_tanh(z, b):
    z += b
    xp.tanh(z, out=z)


def _bias_elu(z, b):
    z += b
    z[...] = xp.where(z > 0, z, xp.expm1(xp.minimum(z, 0)))


def _elu_backward(g, h, out):
    g *= xp.where(h > 0, 1, h + 1)
    column_sum(g, out)


def _bias(z, b):
    z += b


def _identity_backward(g, h, out):
    column_sum(g, out)


# name -> (z <- activation(z + b) in place, g <- g * activation'(h) in place with its column sums)
ACTIVATIONS = {
    "relu": (bias_relu, relu_backward),
    "tanh": (_bias_tanh, tanh_backward),
    "elu": (_bias_elu, _elu_backward),
    "identity": (_bias, _identity_backward),
}


class MLP:
    """A stack of dense layers, called as mlp(theta, x) or mlp(theta, s, a).

    inputs      numbers per row, or a list of them: the inputs are concatenated in that order
    hidden      widths of the hidden layers, e.g. [64, 64]; [] is a linear map
    outputs     numbers per row; None for one number without an axis, shape (B,)
    activation  of the hidden layers: relu, tanh, elu or identity
    out         activation of the output
    rows        a stack of that many networks: theta (rows, size), result (rows, B, ...)
    free        further outputs that do not depend on the input (a log standard deviation), at
                the end of theta and of the result

    x is (B, inputs) or (inputs,); the result (B, outputs) or (outputs,). Plain arrays in, plain
    arrays out. Where theta or x is a Tensor, only the cotangents of the Tensors are computed.
    """

    def __init__(self, inputs, hidden, outputs=None, activation="relu", out="identity",
                 rows=None, free=0):  # fmt: skip
        for name in (activation, out):
            if name not in ACTIVATIONS:
                raise ConfigError(
                    f"activation={name!r} is not known; use {', '.join(ACTIVATIONS)}."
                )
        if free and outputs is None:
            raise ConfigError(f"free={free} needs outputs to stand beside; outputs is None.")
        width = sum(inputs) if isinstance(inputs, (list, tuple)) else inputs
        self.sizes = [width, *hidden, 1 if outputs is None else outputs]
        self.outputs, self.rows, self.free = outputs, rows, free
        self.activations = [ACTIVATIONS[activation]] * len(hidden) + [ACTIVATIONS[out]]
        self._spans = []  # (start of W, start of b, end, in, out) of each layer
        start = 0
        for n, m in zip(self.sizes, self.sizes[1:]):
            self._spans.append((start, start + n * m, start + n * m + m, n, m))
            start += n * m + m
        self.size = start + free  # parameters of one network
        self._cache = {}

    def init(self, rng: np.random.Generator, scheme="fan_in", out_gain=1.0, free=0.0) -> Array:
        """A new theta, (size,) or (rows, size), drawn on the host.

        scheme    "fan_in": W and b uniform in +-1/sqrt(in). "orthogonal": W orthogonal with gain
                  sqrt(2), and `out_gain` in the last layer; b zero.
        free      value of the free outputs
        """
        theta = np.full((self.rows or 1, self.size), free, FLOAT)
        for row in theta:
            for start, middle, end, n, m in self._spans:
                if scheme == "fan_in":
                    row[start:end] = rng.uniform(-1, 1, end - start) / math.sqrt(n)
                elif scheme == "orthogonal":
                    gain = out_gain if end == self._spans[-1][2] else math.sqrt(2)
                    q, r = np.linalg.qr(rng.standard_normal((max(n, m), min(n, m))))
                    q *= np.sign(np.diag(r))
                    row[start:middle] = gain * (q if n >= m else q.T).ravel()
                    row[middle:end] = 0
                else:
                    raise ConfigError(f"scheme={scheme!r} is not known; use fan_in or orthogonal.")
        return to_device(theta if self.rows else theta[0])

    def layers(self, theta: Array) -> list:
        """[(W, b), ...] of every row, as views that share theta's memory."""
        held = self._cache.get(id(theta))
        if held is not None and held[0] is theta:
            return held[1]
        shape = (self.rows, self.size) if self.rows else (self.size,)
        if theta.shape != shape:
            raise ConfigError(
                f"This network has parameters of shape {shape}, got theta of shape {theta.shape}."
            )
        views = self._views(theta)
        if len(self._cache) >= 8:  # an entry keeps its theta alive, so few of them
            self._cache.clear()
        self._cache[id(theta)] = theta, views
        return views

    def _views(self, theta):
        return [
            [(row[i:j].reshape(n, m), row[j:k]) for i, j, k, n, m in self._spans]
            for row in theta.reshape(-1, self.size)
        ]

    def __call__(self, theta, *xs):
        plain = theta.data if type(theta) is Tensor else theta
        inputs = [x.data if type(x) is Tensor else x for x in xs]
        x = inputs[0] if len(inputs) == 1 else xp.concatenate(inputs, axis=-1)
        if x.shape[-1] != self.sizes[0]:
            raise ConfigError(f"This network takes {self.sizes[0]} inputs, got shape {x.shape}.")
        batch = x.shape[:-1]
        if x.ndim != 2:
            x = x.reshape(-1, self.sizes[0])
        rows = self.layers(plain)
        hs = [self._forward(layers, x) for layers in rows]
        y = self._result(plain, [h[-1] for h in hs], batch)

        tensors = [t for t in (theta, *xs) if type(t) is Tensor]
        if not tensors:
            return y
        wants_theta = type(theta) is Tensor
        wanted = [i for i, t in enumerate(xs) if type(t) is Tensor]

        def pullback(g):
            dtheta, dx = self._pull(g, plain, rows, hs, wants_theta, bool(wanted))
            cotangents = [dtheta] if wants_theta else []
            for i in wanted:
                start = sum(part.shape[-1] for part in inputs[:i])
                part = dx[:, start : start + inputs[i].shape[-1]]
                cotangents.append(part.reshape(inputs[i].shape))
            return cotangents

        return record(y, tensors, pullback)

    def _forward(self, layers, x):
        """The values of every layer, x first."""
        h = [x]
        for (W, b), (activate, _) in zip(layers, self.activations):
            z = xp.dot(h[-1], W)
            activate(z, b)
            h.append(z)
        return h

    def _result(self, theta, ys, batch):
        if self.outputs is None:
            ys = [y[:, 0] for y in ys]
        if self.free:
            tails = theta.reshape(-1, self.size)[:, self.size - self.free :]
            ys = [
                xp.concatenate([y, xp.broadcast_to(tail, (len(y), self.free))], axis=-1)
                for y, tail in zip(ys, tails)
            ]
        y = xp.stack(ys) if self.rows else ys[0]
        if len(batch) == 1:
            return y
        lead = (self.rows,) if self.rows else ()
        return y.reshape((*lead, *batch, *y.shape[len(lead) + 1 :]))

    def _pull(self, g, theta, rows, hs, wants_theta, wants_x):
        """The cotangents of theta and of the concatenated inputs; None where not wanted."""
        g = g.reshape(len(rows), -1, self.sizes[-1] + self.free)
        dtheta = xp.empty(theta.shape, theta.dtype) if wants_theta else None
        views = self._views(dtheta) if wants_theta else None
        dx = None
        for row, layers in enumerate(rows):
            grad, h = g[row], hs[row]
            if self.free:
                if wants_theta:
                    tail = dtheta.reshape(-1, self.size)[row, self.size - self.free :]
                    tail[...] = grad[:, -self.free :].sum(axis=0)
                grad = grad[:, : -self.free]
            grad = grad.copy()  # the kernels below work in place, and g is not ours
            for layer in range(len(layers) - 1, -1, -1):
                backward = self.activations[layer][1]
                if wants_theta:
                    dW, db = views[row][layer]
                    backward(grad, h[layer + 1], db)
                    xp.dot(h[layer].T, grad, out=dW)
                else:
                    backward(grad, h[layer + 1], xp.empty(grad.shape[1], grad.dtype))
                if layer or wants_x:
                    W = layers[layer][0]
                    # a column times a row: BLAS is slow at it
                    grad = grad * W.T if W.shape[1] == 1 else xp.dot(grad, W.T)
            if wants_x:
                dx = grad if dx is None else dx + grad
        return dtheta, dx
