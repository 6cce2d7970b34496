"""Differentiable functions, beside the operators of Tensor: name, value, then the cotangent of each
argument, as `op` takes them. All take plain arrays too, and return plain arrays then. Names are
NumPy's.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

from npr.autodiff.tensor import (
    Tensor,
    elementwise,
    guarded,
    op,
    record,
    register,
    spread,
    stop_gradient,
    times,
)
from npr.backend import Array, xp

# the operators and methods of Tensor, as functions
add, subtract, multiply, divide = Tensor.__add__, Tensor.__sub__, Tensor.__mul__, Tensor.__truediv__
negative, power, matmul, abs = Tensor.__neg__, Tensor.__pow__, Tensor.__matmul__, Tensor.__abs__
sum, mean, max, min = Tensor.sum, Tensor.mean, Tensor.max, Tensor.min
getitem, reshape, transpose = Tensor.__getitem__, Tensor.reshape, Tensor.transpose

# elementwise functions
exp = op("exp", lambda x: xp.exp(x), lambda g, y, x: times(g, y))
log = elementwise("log", lambda x: xp.log(x), lambda g, y, x: g / x)
sqrt = elementwise("sqrt", lambda x: xp.sqrt(x), lambda g, y, x: g / (2 * y))
tanh = op("tanh", lambda x: xp.tanh(x), lambda g, y, x: times(g, 1 - y * y))
sigmoid = elementwise("sigmoid", lambda x: _sigmoid(x), lambda g, y, x: g * y * _sigmoid(-x))
softplus = op("softplus", lambda x: xp.logaddexp(x, 0), lambda g, y, x: times(g, _sigmoid(x)))
huber = elementwise(
    "huber",
    lambda q, target, delta=1.0: (s := _huber_slope(q, target, delta)) * (q - target - 0.5 * s),
    lambda g, y, q, target, delta=1.0: g * _huber_slope(q, target, delta),
    lambda g, y, q, target, delta=1.0: -g * _huber_slope(q, target, delta),
)

# functions that are constant in places: no cotangent, not even an infinite one, passes there
relu = op("relu", lambda x: xp.maximum(x, 0), lambda g, y, x: xp.where(x > 0, g, 0))
clip = op(
    "clip",
    lambda x, low, high: xp.minimum(xp.maximum(x, low), high),  # faster than xp.clip
    lambda g, y, x, low, high: xp.where((x >= low) & (x <= high), g, 0),
)
minimum = op(
    "minimum",
    lambda a, b: xp.minimum(a, b),
    lambda g, y, a, b: xp.where(a <= b, g, 0),
    lambda g, y, a, b: xp.where(a > b, g, 0),
)
maximum = op(
    "maximum",
    lambda a, b: xp.maximum(a, b),
    lambda g, y, a, b: xp.where(a >= b, g, 0),
    lambda g, y, a, b: xp.where(a < b, g, 0),
)
where = op(
    "where",
    lambda condition, a, b: xp.where(condition, a, b),
    None,  # a condition has no derivative
    lambda g, y, condition, a, b: xp.where(condition, g, 0),
    lambda g, y, condition, a, b: xp.where(condition, 0, g),
)


def _sigmoid(x: Array) -> Array:
    return xp.exp(-xp.logaddexp(-x, 0))


def _huber_slope(q: Array, target: Array, delta: float) -> Array:
    return xp.minimum(xp.maximum(q - target, -delta), delta)


# functions of a row
_times_exp = guarded(lambda g, x: g * xp.exp(x))


def _logsumexp(x: Array, axis: Any = -1, keepdims: bool = False) -> Array:
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    y = xp.log(xp.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return y if keepdims else y.squeeze(axis)


logsumexp = op(
    "logsumexp",
    _logsumexp,
    lambda g, y, x, axis=-1, keepdims=False: _times_exp(
        spread(g, x, axis, keepdims), x - spread(y, x, axis, keepdims)
    ),
)


def _log_softmax(x: Array, axis: int = -1) -> Array:
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=axis, keepdims=True))


log_softmax = op(
    "log_softmax",
    _log_softmax,
    lambda g, y, x, axis=-1: g - _times_exp(g.sum(axis=axis, keepdims=True), y),
)


def _pick(x: Array, index: Array) -> Array:
    if x.ndim == 2:
        return x[xp.arange(len(x)), index]
    return xp.take_along_axis(x, index[..., None], -1)[..., 0]


def _pick_back(g: Array, y: Array, x: Array, index: Array) -> Array:
    if x.ndim == 2:
        dx = xp.zeros_like(x)
        dx[xp.arange(len(x)), index] = g
        return dx
    K = x.shape[-1]
    return xp.where((index % K)[..., None] == xp.arange(K), g[..., None], 0)


pick = op("pick", _pick, _pick_back)  # x (..., K), index (...) -> (...): one entry of each row


# functions of a list of arrays
def _join(name: str, join: Callable[..., Array], split: Callable[..., Any]) -> Callable[..., Any]:
    """join(arrays, axis) as a differentiable function; split(g, arrays, axis) is its pullback."""

    def apply(arrays: Sequence[Any], axis: int = 0) -> Any:
        values, on_tape = [stop_gradient(a) for a in arrays], [type(a) is Tensor for a in arrays]
        y = join(values, axis)
        if not any(on_tape):
            return y

        def pullback(g: Array) -> list[Array]:
            return list(compress(split(g, values, axis), on_tape))

        return record(y, list(compress(arrays, on_tape)), pullback, name, arrays)

    return register(name, apply)


def _split(g: Array, arrays: list[Array], axis: int) -> list[Array]:
    g, parts, end = xp.moveaxis(g, axis, 0), [], 0
    for a in arrays:
        start, end = end, end + a.shape[axis]
        parts.append(xp.moveaxis(g[start:end], 0, axis))
    return parts


concatenate = _join("concatenate", lambda arrays, axis: xp.concatenate(arrays, axis), _split)
stack = _join(
    "stack",
    lambda arrays, axis: xp.stack(arrays, axis),
    lambda g, arrays, axis: xp.moveaxis(g, axis, 0),
)
