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
from npr.kernels import mlp

ACTIVATIONS = mlp.ACTIVATIONS

# glibc gives large blocks back to the system as soon as they are free, and every new one costs
# page faults: a sixth of an update at width 256. To have freed one of nearly 32 MiB, untouched,
# makes it keep what is smaller for the rest of the process.
np.empty(31 << 20, np.uint8)


def threads_for(width: int) -> int:
    """How many BLAS threads are safe for networks of this width: one, up to a thousand.

    OpenBLAS waits busily. Where another process has a core, every product waits for a turn of the
    scheduler, some milliseconds: unnoticed at a width of 1,024, sixty times slower at 256.
    """
    return max(1, width // 512)


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
        self.activation = activation
        self.size = sum((n + 1) * m for n, m in zip(self.sizes, self.sizes[1:])) + free
        self._shape = (rows, self.size) if rows else (self.size,)  # of theta
        self._out = () if outputs is None else (outputs + free,)  # of a row of the result
        # what the kernels are called with
        self._plan = np.array(self.sizes), ACTIVATIONS.index(activation), ACTIVATIONS.index(out)
        self._units = sum(self.sizes[1:])
        self._name = "MLP " + "-".join(map(str, self.sizes))

    def init(self, rng: np.random.Generator, scheme="fan_in", out_gain=1.0, free=0.0) -> Array:
        """A new theta, (size,) or (rows, size), drawn on the host.

        scheme    "fan_in": W and b uniform in +-1/sqrt(in). "orthogonal": W orthogonal with gain
                  sqrt(2), and `out_gain` in the last layer; b zero.
        free      value of the free outputs
        """
        if scheme not in ("fan_in", "orthogonal"):
            raise ConfigError(f"scheme={scheme!r} is not known; use fan_in or orthogonal.")
        theta = np.full((self.rows or 1, self.size), free, FLOAT)
        for row in theta:
            layers = mlp.layers(row, self.sizes)
            for W, b in layers:
                n, m = W.shape
                if scheme == "fan_in":
                    W[...] = rng.uniform(-1, 1, (n, m)) / math.sqrt(n)
                    b[...] = rng.uniform(-1, 1, m) / math.sqrt(n)
                else:
                    gain = out_gain if W is layers[-1][0] else math.sqrt(2)
                    q, r = np.linalg.qr(rng.standard_normal((max(n, m), min(n, m))))
                    q *= np.sign(np.diag(r))
                    W[...] = gain * (q if n >= m else q.T)
                    b[...] = 0
        return to_device(theta if self.rows else theta[0])

    def layers(self, theta: Array) -> list:
        """[(W, b), ...] of every row, as views that share theta's memory."""
        return [mlp.layers(row, self.sizes) for row in theta.reshape(-1, self.size)]

    def __call__(self, theta, *xs):
        plain = theta.data if type(theta) is Tensor else theta
        inputs = [x.data if type(x) is Tensor else x for x in xs]
        x = inputs[0] if len(inputs) == 1 else xp.concatenate(inputs, axis=-1)
        if x.shape[-1] != self.sizes[0]:
            raise ConfigError(f"This network takes {self.sizes[0]} inputs, got shape {x.shape}.")
        if plain.shape != self._shape:
            raise ConfigError(
                f"This network has parameters of shape {self._shape}, got theta of shape "
                f"{plain.shape}."
            )
        batch, dtype = x.shape[:-1], plain.dtype
        if x.dtype != dtype:
            dtype = np.result_type(x.dtype, dtype)  # as NumPy would
        x = xp.ascontiguousarray(x if x.ndim == 2 else x.reshape(-1, self.sizes[0]), dtype)
        networks = xp.ascontiguousarray(plain.reshape(-1, self.size), dtype)
        N, B, K = len(networks), len(x), self.sizes[-1]
        values = xp.empty(N * B * self._units, dtype)
        mlp.forward(networks, x, *self._plan, values)

        y = values[N * B * (self._units - K) :]
        if self.free:
            tail = xp.broadcast_to(networks[:, None, -self.free :], (N, B, self.free))
            y = xp.concatenate([y.reshape(N, B, K), tail], axis=-1)
        y = y.reshape((*self._shape[:-1], *batch, *self._out))
        wants_theta = type(theta) is Tensor
        if not wants_theta and Tensor not in map(type, xs):
            return y
        wanted = [i for i, x in enumerate(xs) if type(x) is Tensor]

        def pullback(g):
            g = g.reshape(N, B, K + self.free)
            dtheta = xp.empty(networks.shape if wants_theta else (0, 0), dtype)
            dx = xp.empty(x.shape if wanted else (0, 0), dtype)
            if self.free:
                if wants_theta:
                    dtheta[:, -self.free :] = g[..., K:].sum(axis=1)
                g = g[..., :K]
            g = xp.ascontiguousarray(g, dtype)
            mlp.backward(networks, x, *self._plan, values, g, dtheta, dx)
            cotangents = []
            if wants_theta:
                cotangents.append(dtheta.reshape(plain.shape).astype(plain.dtype, copy=False))
            for i in wanted:
                start = sum(part.shape[-1] for part in inputs[:i])
                part = dx[:, start : start + inputs[i].shape[-1]]
                part = part.astype(inputs[i].dtype, copy=False)
                cotangents.append(part.reshape(inputs[i].shape))
            return cotangents

        parents = [t for t in (theta, *xs) if type(t) is Tensor]
        return record(y, parents, pullback, self._name, (theta, *xs))
