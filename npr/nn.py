"""The multi-layer perceptron: a function of (theta, x), with flat parameters theta.

`composed` defines what it computes, one operation after the other; `MLP` computes the same as ONE
node on the tape, in one kernel call each way. On the small networks of reinforcement learning the
cost is Python per operation, not arithmetic.

theta holds, layer after layer, W (n, m) row-major, then b (m,); then the gains of layer
normalization, if there is one, then the free outputs. A stack of equal networks (twin critics) has
one row of theta each.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npr.autodiff import Tensor, exp, minimum, record, relu, tanh, where
from npr.backend import FLOAT, Array, contiguous, empty_like, on_device, to_device
from npr.errors import ConfigError
from npr.kernels import mlp
from npr.kernels.jit import available
from npr.kernels.mlp import EPSILON, gains, layers

Function = Callable[[Any], Any]


def identity(z: Any) -> Any:
    return z


def elu(z: Any) -> Any:
    return where(z > 0, z, exp(minimum(z, 0)) - 1)


ACTIVATIONS: dict[str, Function] = {"relu": relu, "tanh": tanh, "elu": elu, "identity": identity}


def normalized(x: Any) -> Any:
    """Rows x (..., n), without their mean and divided by their standard deviation: layer
    normalization (Ba et al. 2016)."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x / ((x * x).mean(axis=-1, keepdims=True) + EPSILON) ** 0.5


def composed(layers: Sequence[tuple[Any, Any]], x: Any,
             activation: Function | Sequence[Function] = relu, out: Function = identity,
             gains: Sequence[Any] = ()) -> Any:  # fmt: skip
    """What an MLP computes: x (B, n) -> (B, m), from layers(theta, sizes), of Tensors or arrays.

    activation  of all hidden layers, or of each
    gains       of the hidden layers, if they are normalized
    """
    *hidden, (W, b) = layers
    for i, (V, c) in enumerate(hidden):
        x = normalized(x @ V) * gains[i] + c if gains else x @ V + c
        x = activation(x) if callable(activation) else activation[i](x)
    return out(x @ W + b)


class MLP:
    """A stack of dense layers, called as mlp(theta, x) or mlp(theta, s, a).

    inputs      numbers per row, or a list of them: the inputs are concatenated in that order
    hidden      widths of the hidden layers, e.g. [64, 64]; [] is a linear map
    outputs     numbers per row; None for one number without an axis, shape (B,)
    activation  of the hidden layers: relu, tanh, elu or identity; or a list with one for each
    out         activation of the output
    rows        a stack of that many networks: theta (rows, size), result (rows, B, ...); theta may
                have other rows, such as some of them
    free        further outputs that do not depend on the input (a log standard deviation), at
                the end of theta and of the result
    ignored     numbers that may follow those of the first input, which are not read: a mask of
                actions
    layer_norm  hidden layers normalize before the activation: act(LN(x W) * gain + b)

    x is (B, inputs) or (inputs,); the result (B, outputs) or (outputs,). Plain arrays in, plain
    arrays out. Where theta or x is a Tensor, only the cotangents of the Tensors are computed.
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        hidden: Sequence[int],
        outputs: int | None = None,
        activation: str | Sequence[str] = "relu",
        out: str = "identity",
        rows: int | None = None,
        free: int = 0,
        ignored: int = 0,
        layer_norm: bool = False,
    ) -> None:
        names = [*activations(activation, len(hidden)), *activations(out, 1)]
        if free and outputs is None:
            raise ConfigError(f"free={free} needs outputs to stand beside; outputs is None.")
        widths = [np.sum(inputs), *hidden, 1 if outputs is None else outputs]
        self.sizes = [int(n) for n in widths]  # they may be NumPy's
        self.outputs, self.rows, self.free = outputs, rows, free
        self.ignored, self._first = ignored, int(np.ravel(inputs)[0])
        self.activation, self.layer_norm = shortened(activation), layer_norm
        normalized = sum(self.sizes[1:-1]) if layer_norm else 0
        self.size = sum((n + 1) * m for n, m in zip(self.sizes, self.sizes[1:])) + normalized + free
        self._shape = (rows, self.size) if rows else (self.size,)  # of theta
        self._out = () if outputs is None else (outputs + free,)  # of a row of the result
        codes = [mlp.ACTIVATIONS.index(name) for name in names]
        self._plan = np.array(self.sizes), np.array(codes), layer_norm  # arguments of the kernels
        self._units = sum(self.sizes[1:])
        self._work = mlp.work_size(self.sizes, layer_norm, 1, 1)  # per row of the batch
        self._name = "MLP " + "-".join(map(str, self.sizes))

    def __repr__(self) -> str:
        stack = f"{self.rows} x " if self.rows else ""
        widths = "-".join(map(str, self.sizes))
        kind = described(self.activation, self.layer_norm)
        return f"{type(self).__name__}({stack}{widths}, {kind})"

    def init(
        self,
        rng: np.random.Generator,
        scheme: str = "fan_in",
        out_gain: float = 1.0,
        free: float = 0.0,
    ) -> Array:
        """A new theta, (size,) or (rows, size), drawn on the host.

        scheme    "fan_in": W and b uniform in +-1/sqrt(n). "orthogonal": W orthogonal with gain
                  sqrt(2), and `out_gain` in the last layer; b zero.
                  Layers that are normalized have b zero and gains of one.
        free      value of the free outputs
        """
        if scheme not in ("fan_in", "orthogonal"):
            raise ConfigError(f"scheme={scheme!r} is not known; use fan_in or orthogonal.")
        theta = np.full((self.rows or 1, self.size), free, FLOAT)
        for row in theta:
            *hidden, last = layers(row, self.sizes)
            for W, b in (*hidden, last):
                n, m = W.shape
                if scheme == "fan_in":
                    W[...] = rng.uniform(-1, 1, (n, m)) / math.sqrt(n)
                else:
                    W[...] = (out_gain if W is last[0] else math.sqrt(2)) * _orthogonal(rng, n, m)
                if scheme == "fan_in" and (W is last[0] or not self.layer_norm):
                    b[...] = rng.uniform(-1, 1, m) / math.sqrt(n)
                else:
                    b[...] = 0
            for gain in gains(row, self.sizes) if self.layer_norm else ():
                gain[...] = 1
        return to_device(theta if self.rows else theta[0])

    def layers(self, theta: Array) -> list[list[tuple[Array, Array]]]:
        """[(W, b), ...] of every row, as views that share theta's memory."""
        return [layers(row, self.sizes) for row in theta.reshape(-1, self.size)]

    def __call__(self, theta: Any, *xs: Any) -> Any:
        wants_theta = type(theta) is Tensor
        plain = theta.data if wants_theta else theta
        if self.ignored and xs[0].shape[-1] == self._first + self.ignored:
            xs = (xs[0][..., : self._first], *xs[1:])
        inputs = [x.data if type(x) is Tensor else x for x in xs]
        networks, x = self._kernel_arguments(plain, inputs)
        N, B, K = len(networks), len(x), self.sizes[-1]
        values = empty_like(x, N * B * self._work)
        mlp.forward(networks, x, *self._plan, values)
        y = values[N * B * (self._units - K) : N * B * self._units]  # those of the last layer
        if self.free:
            y = mlp.add_free(y.reshape(N, B, K), networks, self.free)
        y = y.reshape((*plain.shape[:-1], *inputs[0].shape[:-1], *self._out))
        if not wants_theta and Tensor not in map(type, xs):
            return y
        wanted = [i for i, t in enumerate(xs) if type(t) is Tensor]

        def pullback(g: Array) -> list[Array]:
            dtheta, dx = self._backward(networks, x, values, g, wants_theta, bool(wanted))
            cotangents = [_like(dtheta, plain)] if wants_theta else []
            for i in wanted:
                start = sum(part.shape[-1] for part in inputs[:i])
                part = dx[:, start : start + inputs[i].shape[-1]]
                cotangents.append(_like(part, inputs[i]))
            return cotangents

        parents = [t for t in (theta, *xs) if type(t) is Tensor]
        return record(y, parents, pullback, self._name, (theta, *xs))

    def _kernel_arguments(self, theta: Array, inputs: list[Array]) -> tuple[Array, Array]:
        """theta as (rows, size) and the concatenated inputs as (B, n), contiguous, of one type."""
        x = inputs[0] if len(inputs) == 1 else mlp.join(inputs)
        if x.shape[-1] != self.sizes[0]:
            raise ConfigError(f"This network takes {self.sizes[0]} inputs, got shape {x.shape}.")
        if theta.shape != self._shape and not (self.rows and theta.shape[1:] == (self.size,)):
            raise ConfigError(
                f"This network has parameters of shape {self._shape}, got theta of shape "
                f"{theta.shape}."
            )
        dtype = theta.dtype
        if x.dtype != dtype:
            dtype = np.result_type(x.dtype, dtype)  # as NumPy would
        x = contiguous(x if x.ndim == 2 else x.reshape(-1, self.sizes[0]), dtype)
        return contiguous(theta.reshape(-1, self.size), dtype), x

    def _backward(self, networks: Array, x: Array, values: Array, g: Array, wants_theta: bool,
                  wants_x: bool) -> tuple[Array, Array]:  # fmt: skip
        """Cotangents (rows, size) of theta and (B, n) of x; empty where they are not wanted."""
        g = g.reshape(len(networks), len(x), self.sizes[-1] + self.free)
        dtheta = empty_like(x, networks.shape if wants_theta else (0, 0))
        dx = empty_like(x, x.shape if wants_x else (0, 0))
        if self.free:
            g = mlp.split_free(g, self.free, dtheta)
        g = contiguous(g, x.dtype)
        native = available() and not on_device()  # the others need no scratch
        scratch = empty_like(x, mlp.scratch_size(self.sizes, len(x)) if native else 0)
        mlp.backward(networks, x, *self._plan, values, g, dtheta, dx, scratch)
        return dtheta, dx


def activations(activation: str | Sequence[str], count: int) -> list[str]:
    """The activation of each of `count` hidden layers. Raises ConfigError for an unknown name, and
    for a list of another length."""
    each = [activation] * count if isinstance(activation, str) else list(activation)
    for name in (activation,) if isinstance(activation, str) else each:
        if name not in tuple(ACTIVATIONS):
            raise ConfigError(f"activation={name!r} is not known; use {', '.join(ACTIVATIONS)}.")
    if len(each) != count:
        raise ConfigError(
            f"activation={each!r} has {len(each)} names for {count} hidden layers; give one for "
            "each, or one name for all."
        )
    return each


def shortened(activation: str | Sequence[str]) -> str | list[str]:
    """A list of equal activations as one name; anything else as it is."""
    if isinstance(activation, str):
        return activation
    return activation[0] if len({*activation}) == 1 else list(activation)


def described(activation: str | Sequence[str], layer_norm: bool) -> str:
    """The hidden layers, in a text."""
    kind = activation if isinstance(activation, str) else "-".join(activation)
    return f"{kind}, layer_norm" if layer_norm else kind


def _like(cotangent: Array, x: Array) -> Array:
    """A cotangent of x in x's type and shape."""
    return cotangent.astype(x.dtype, copy=False).reshape(x.shape)


def _orthogonal(rng: np.random.Generator, n: int, m: int) -> Array:
    """A matrix (n, m) with orthonormal rows or columns, uniform among these."""
    q, r = np.linalg.qr(rng.standard_normal((max(n, m), min(n, m))))
    q *= np.sign(np.diag(r))
    return q if n >= m else q.T
