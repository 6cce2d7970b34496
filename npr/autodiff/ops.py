"""The table of derivatives: an operation, then the cotangent of each of its arguments.

A rule gets g, the cotangent of the result y, then y and the arguments; broadcasting is undone
by `op`. All take plain arrays as well, and then return plain arrays. Names are NumPy's.
"""

import builtins
import functools
import math

from npr.autodiff.tensor import OPS, Tensor, op, record
from npr.backend import xp

# arithmetic
add = op("add", lambda a, b: a + b, lambda g, y, a, b: g, lambda g, y, a, b: g)
subtract = op("subtract", lambda a, b: a - b, lambda g, y, a, b: g, lambda g, y, a, b: -g)
multiply = op("multiply", lambda a, b: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
divide = op(
    "divide",
    lambda a, b: a / b,
    lambda g, y, a, b: _ratio(g, b),
    lambda g, y, a, b: -_ratio(g * y, b),
)
negative = op("negative", lambda x: -x, lambda g, y, x: -g)
power = op(
    "power",
    lambda x, p: x**p,
    lambda g, y, x, p: _power_slope(g, x, p),
    lambda g, y, x, p: g * y * xp.log(xp.where(y == 0, 1, xp.asarray(x, y.dtype))),
)


def _rows(a, b, g):
    """a (..., n, k), b (..., k, m), g (..., n, m): vectors as matrices of one row or column."""
    if b.ndim == 1:
        b, g = b[:, None], g[..., None]
    if a.ndim == 1:
        a, g = a[None, :], g[..., None, :]
    return a, b, g


def _matmul_left(g, y, a, b):
    a2, b2, g = _rows(a, b, g)
    da = g @ b2.swapaxes(-1, -2)
    return da.reshape(da.shape[:-2] + da.shape[-1:]) if a.ndim == 1 else da


def _matmul_right(g, y, a, b):
    a2, b2, g = _rows(a, b, g)
    db = a2.swapaxes(-1, -2) @ g
    return db[..., 0] if b.ndim == 1 else db


matmul = op("matmul", lambda a, b: a @ b, _matmul_left, _matmul_right)

# elementwise functions
exp = op("exp", lambda x: xp.exp(x), lambda g, y, x: g * y)
log = op("log", lambda x: xp.log(x), lambda g, y, x: _ratio(g, x))
sqrt = op("sqrt", lambda x: xp.sqrt(x), lambda g, y, x: _ratio(g, 2 * y))
tanh = op("tanh", lambda x: xp.tanh(x), lambda g, y, x: g * (1 - y * y))
sigmoid = op("sigmoid", lambda x: _sigmoid(x), lambda g, y, x: g * y * _sigmoid(-x))
relu = op("relu", lambda x: xp.maximum(x, 0), lambda g, y, x: g * (x > 0))
softplus = op("softplus", lambda x: xp.logaddexp(x, 0), lambda g, y, x: g * _sigmoid(x))
abs = op("abs", lambda x: xp.abs(x), lambda g, y, x: g * xp.sign(x))
clip = op(
    "clip",
    lambda x, low, high: xp.minimum(xp.maximum(x, low), high),  # faster than xp.clip
    lambda g, y, x, low, high: g * ((x >= low) & (x <= high)),
)
minimum = op(
    "minimum",
    lambda a, b: xp.minimum(a, b),
    lambda g, y, a, b: g * (a <= b),
    lambda g, y, a, b: g * (a > b),
)
maximum = op(
    "maximum",
    lambda a, b: xp.maximum(a, b),
    lambda g, y, a, b: g * (a >= b),
    lambda g, y, a, b: g * (a < b),
)
where = op(
    "where",
    lambda condition, a, b: xp.where(condition, a, b),
    None,  # a condition has no derivative
    lambda g, y, condition, a, b: xp.where(condition, g, 0),
    lambda g, y, condition, a, b: xp.where(condition, 0, g),
)


def _sigmoid(x):
    return xp.exp(-xp.logaddexp(-x, 0))


def _ratio(g, x):
    """g / x, but 0 where g is 0: a branch that `where` switched off stays off at x = 0."""
    if isinstance(x, (int, float)):
        return g / x
    return xp.where(g == 0, 0, g / xp.where(g == 0, 1, x))


def _power_slope(g, x, p):
    """g p x^(p - 1), but 0 where g or p is 0, however steep the power is at x = 0."""
    g = g * p
    return xp.where(g == 0, 0, g * xp.where(g == 0, g + 1, x) ** (p - 1))


# reductions
def _spread(g, x, axis, keepdims):
    """A reduced cotangent with its reduced axes back, of length one."""
    if keepdims or axis is None or x.ndim == 0:
        return g
    if axis in (0, -1):  # faster than expand_dims
        return g[None] if axis == 0 else g[..., None]
    return xp.expand_dims(g, axis)


def _count(x, axis):
    if axis is None or x.ndim == 0:
        return x.size
    return math.prod(x.shape[i] for i in (axis if isinstance(axis, tuple) else (axis,)))


def _extremum(g, y, x, axis=None, keepdims=False):
    hit = (x == _spread(y, x, axis, keepdims)).astype(x.dtype)  # ties share the cotangent
    parts = None if keepdims else _parts(hit, axis)
    ties = _spread(builtins.sum(parts), x, axis, False) if parts else hit.sum(axis, keepdims=True)
    return _spread(g, x, axis, keepdims) * (hit / ties)


def _fill(value, shape):
    """value spread over a new array: much cheaper than a broadcast view at these sizes."""
    full = xp.empty(shape, value.dtype)
    full[...] = value
    return full


sum = op(
    "sum",
    lambda x, axis=None, keepdims=False: x.sum(axis=axis, keepdims=keepdims),
    lambda g, y, x, axis=None, keepdims=False: _fill(_spread(g, x, axis, keepdims), x.shape),
)
mean = op(
    "mean",
    lambda x, axis=None, keepdims=False: x.sum(axis=axis, keepdims=keepdims) / _count(x, axis),
    lambda g, y, x, axis=None, keepdims=False: _fill(
        _spread(g, x, axis, keepdims) / _count(x, axis), x.shape
    ),
)


def _parts(x, axis):
    """x along a short first or last axis, which NumPy reduces slowly; None for others."""
    if axis not in (0, -1) or x.ndim < 2 or not 2 <= x.shape[axis] <= 4:
        return None
    return [x[i] if axis == 0 else x[..., i] for i in range(x.shape[axis])]


def _extreme(x, axis, keepdims, reduce, pair):
    parts = None if keepdims else _parts(x, axis)
    return functools.reduce(pair, parts) if parts else reduce(x, axis=axis, keepdims=keepdims)


max = op(
    "max",
    lambda x, axis=None, keepdims=False: _extreme(x, axis, keepdims, xp.max, xp.maximum),
    _extremum,
)
min = op(
    "min",
    lambda x, axis=None, keepdims=False: _extreme(x, axis, keepdims, xp.min, xp.minimum),
    _extremum,
)


def _logsumexp(x, axis=-1, keepdims=False):
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    y = xp.log(xp.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return y if keepdims else y.squeeze(axis)


logsumexp = op(
    "logsumexp",
    _logsumexp,
    lambda g, y, x, axis=-1, keepdims=False: (
        _spread(g, x, axis, keepdims) * xp.exp(x - _spread(y, x, axis, keepdims))
    ),
)


def _log_softmax(x, axis=-1):
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=axis, keepdims=True))


log_softmax = op(
    "log_softmax",
    _log_softmax,
    lambda g, y, x, axis=-1: g - xp.exp(y) * g.sum(axis=axis, keepdims=True),
)

# shape and selection
reshape = op(
    "reshape", lambda x, shape: x.reshape(shape), lambda g, y, x, shape: g.reshape(x.shape)
)
transpose = op(
    "transpose",
    lambda x, axes=None: x.transpose(axes),
    lambda g, y, x, axes=None: g.transpose(
        None if axes is None else [[a % x.ndim for a in axes].index(i) for i in range(x.ndim)]
    ),
)


def _scatter(g, y, x, index):
    dx = xp.zeros_like(x)
    parts = index if isinstance(index, tuple) else (index,)
    if all(p is None or p is Ellipsis or isinstance(p, (int, slice)) for p in parts):
        dx[index] = g
    else:  # array indices may repeat: their cotangents add up
        xp.add.at(dx, index, g)
    return dx


getitem = op("getitem", lambda x, index: x[index], _scatter)


def _pick(x, index):
    if x.ndim == 2:
        return x[xp.arange(len(x)), index]
    return xp.take_along_axis(x, index[..., None], -1)[..., 0]


def _unpick(g, y, x, index):
    if x.ndim == 2:
        dx = xp.zeros_like(x)
        dx[xp.arange(len(x)), index] = g
        return dx
    K = x.shape[-1]
    return xp.where((index % K)[..., None] == xp.arange(K), g[..., None], 0)


pick = op("pick", _pick, _unpick)  # x (..., K), index (...) -> (...): one entry of each row


def _join(name, forward, split):
    """An operation on a list of arrays; split(g, arrays, axis) gives one cotangent each."""

    def apply(arrays, axis=0):
        values = [a.data if type(a) is Tensor else a for a in arrays]
        y = forward(values, axis=axis)
        active = [i for i, a in enumerate(arrays) if type(a) is Tensor]
        if not active:
            return y

        def pullback(g):
            parts = split(g, values, axis)
            return [parts[i] for i in active]

        return record(y, [arrays[i] for i in active], pullback, name, arrays)

    apply.__name__ = apply.__qualname__ = name
    OPS[name] = apply
    return apply


def _split(g, arrays, axis):
    ends = [0]
    for a in arrays:
        ends.append(ends[-1] + a.shape[axis])
    g = xp.moveaxis(g, axis, 0)
    return [xp.moveaxis(g[i:j], 0, axis) for i, j in zip(ends, ends[1:])]


concatenate = _join("concatenate", lambda arrays, axis: xp.concatenate(arrays, axis), _split)
stack = _join(
    "stack",
    lambda arrays, axis: xp.stack(arrays, axis),
    lambda g, arrays, axis: xp.moveaxis(g, axis, 0),
)


# losses, as one node each
def _bound(error, delta):
    return xp.minimum(xp.maximum(error, -delta), delta)


def _huber(q, target, delta=1.0):
    error = q - target
    slope = _bound(error, delta)
    return slope * (error - 0.5 * slope)


huber = op(
    "huber",
    _huber,
    lambda g, y, q, target, delta=1.0: g * _bound(q - target, delta),
    lambda g, y, q, target, delta=1.0: -g * _bound(q - target, delta),
)


def _tuple(sizes):
    """(2, 3), whether called as x.reshape(2, 3) or x.reshape((2, 3))."""
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple) else sizes


# the operators and methods of Tensor
_OPERATORS = {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power, "matmul": matmul,
}  # fmt: skip
for _name, _function in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _function)
    setattr(Tensor, f"__r{_name}__", lambda self, other, _f=_function: _f(other, self))
_METHODS = {
    "__neg__": negative, "__abs__": abs, "__getitem__": getitem,
    "sum": sum, "mean": mean, "max": max, "min": min,
}  # fmt: skip
for _name, _function in _METHODS.items():
    setattr(Tensor, _name, _function)
Tensor.reshape = lambda self, *shape: reshape(self, _tuple(shape))
Tensor.transpose = lambda self, *axes: transpose(self, _tuple(axes) or None)
Tensor.T = property(transpose)
