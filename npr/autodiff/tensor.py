"""Reverse-mode automatic differentiation on a Wengert list.

An operation on plain arrays is plain arithmetic and records nothing. An operation on a Tensor also
appends to the Tensor's tape how to pull a cotangent of its result back to its arguments. `vjp`
puts the first Tensor on a new tape, runs the function, and walks the tape backwards:

    out, pullback = vjp(f, x)       pullback(v) = v . (d out / d x)
    value_and_grad(L)(theta)        = L(theta), dL/dtheta

The tape holds arrays and indices, never Tensors, so nothing here is a reference cycle.
Source: Wengert 1964; Griewank and Walther 2008, chapter 3.
"""

from __future__ import annotations  # annotations of the inner functions of `op` cost nothing then

import operator
from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from typing import Any

import numpy as np

from npr.autodiff import anomaly
from npr.autodiff.guard import Guard, not_differentiable
from npr.backend import ON_HOST, Array, contiguous, empty_like, on_device, xp
from npr.errors import GradientError

Function = Callable[..., Any]

_OF_NUMPY = np.ndarray, np.generic

OPS: dict[str, Function] = {}  # name -> differentiable function; the tests check each of them


class Tape:
    """Entries (indices of the parents, pullback), in the order of computation."""

    __slots__ = ("dtype", "entries")

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype  # of all values and cotangents: that of the input
        self.entries: Any = [((), None)]  # entry 0 is the input; None: the gradient is finished


def record(data: Array, parents: Sequence[Tensor], pullback: Callable[[Array], Sequence[Array]],
           name: str = "an operation", arguments: Sequence[Any] = ()) -> Tensor:  # fmt: skip
    """Put a new value on the tape of its parents.

    pullback(g) returns one cotangent per parent (None for zero), each of its parent's shape.
    It must not write to g: other pullbacks may hold it. Values and cotangents of another type are
    rounded to that of the tape's input; GradientError is raised if they are complex. The name and
    all arguments, the parents and plain ones, are for `debug_anomaly` and `show`.
    """
    tape, indices = parents[0].tape, []
    entries = tape.entries
    for parent in parents:
        if parent.tape is not tape:
            raise GradientError(
                "Tensors of two different gradients met in one operation; gradients do not nest. "
                "Use stop_gradient on what belongs to the outer one."
            )
        indices.append(parent.index)
    if entries is None:
        raise GradientError(
            "This Tensor belongs to a gradient that is already finished, and its parameters may "
            "have changed since. Return it with has_aux=True, or use stop_gradient inside the loss."
        )
    if data.dtype != tape.dtype:
        data = _rounded(data, tape.dtype, name)
    if anomaly.watching:
        pullback = anomaly.watched(tape, name, data, arguments, pullback)
    entries.append((indices, pullback))
    return Tensor(data, tape, len(entries) - 1)


def _rounded(x: Array, dtype: np.dtype[Any], name: str) -> Array:
    """x in the type of a tape's input. Raises GradientError unless x holds real numbers."""
    if x.dtype.kind not in "fiub":
        raise GradientError(
            f"{name} gave {x.dtype}, but a gradient needs real numbers, here {dtype}. Give it real "
            "arguments; a fractional power of a negative number is not real."
        )
    return x.astype(dtype)


def op(name: str, forward: Function, *rules: Any) -> Function:
    """Make forward(*args, **options) differentiable, and enter it in OPS.

    rules[i](g, y, *args, **options) is the cotangent of args[i], given g, the cotangent of the
    result y; None: there is no derivative. Broadcasting is undone here: a rule may ignore it.
    """

    def apply(*args: Any, **options: Any) -> Any:
        values, parents, active = [], [], []
        for i, arg in enumerate(args):
            if type(arg) is Tensor:
                if i >= len(rules) or rules[i] is None:
                    raise GradientError(
                        f"{name} has no derivative in its argument {i + 1}; give it a plain "
                        "array, or stop_gradient(tensor)."
                    )
                parents.append(arg)
                arg = arg.data
                active.append((rules[i], arg.shape))
            values.append(arg)
        y = forward(*values, **options)
        if not parents:
            return y

        def pullback(g: Array) -> list[Array]:
            cotangents = []
            for rule, shape in active:
                cotangent = rule(g, y, *values, **options)
                if cotangent.shape != shape:
                    cotangent = _unbroadcast(cotangent, shape)
                cotangents.append(cotangent)
            return cotangents

        return record(y, parents, pullback, name, args)

    return register(name, apply)


def elementwise(name: str, forward: Function, *rules: Any) -> Function:
    """An `op` on each number by itself, whose rules are `guarded` products with g."""
    return op(name, forward, *(rule and guarded(rule) for rule in rules))


def guarded(rule: Function) -> Function:
    """A rule that multiplies g by a derivative: 0 where g is 0, even if the derivative is infinite
    or NaN there. What a result does not depend on, such as the branch that `where` did not take,
    has no influence then.
    """

    def product(g: Array, *args: Any, **options: Any) -> Array:
        # the usual case, and the faster one; the values of other arrays than NumPy's may be unknown
        if isinstance(g, _OF_NUMPY) and (g if g.ndim == 0 else np.count_nonzero(g) == g.size):
            return rule(g, *args, **options)
        with np.errstate(divide="ignore", invalid="ignore"):
            cotangent = rule(g, *args, **options)
            if on_device() and cotangent.dtype == g.dtype:
                return _kernel("y = g == 0 ? T(0) : x")(g, cotangent)
            return xp.where(g == 0, 0, cotangent)

    return product


@cache
def _kernel(operation: str, arguments: str = "T g, T x") -> Any:
    """An elementwise function of arrays and numbers as one kernel of a device."""
    return xp.ElementwiseKernel(arguments, "T y", operation, "npr_autodiff")


def _scaling(operation: Function, symbol: str) -> Function:
    """operation(g, x), guarded, for the operation of C with this symbol."""
    product = guarded(operation)

    def scaled(g: Array, x: Any) -> Array:
        if on_device() and getattr(x, "dtype", g.dtype) == g.dtype:
            return _kernel(f"y = g == 0 ? T(0) : g {symbol} x")(g, x)
        return product(g, x)

    return product if ON_HOST else scaled


times, _over = _scaling(operator.mul, "*"), _scaling(operator.truediv, "/")  # g x and g / x


def register(name: str, function: Function) -> Function:
    """Enter a differentiable function in OPS."""
    function.__name__ = function.__qualname__ = name
    OPS[name] = function
    return function


def _unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum g over the axes that broadcasting added or stretched to come from `shape`."""
    if g.ndim > len(shape):
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


# What the longer rules below call, on plain arrays.


def _power_base(g: Array, y: Array, x: Array, p: Array) -> Array:
    """g p x^(p - 1), but 0 where p is 0, also at x = 0."""
    if not (isinstance(p, (int, float)) and p):
        x = xp.where(p == 0, 1, x)
    return g * p * x ** (p - 1)


def _power_exponent(g: Array, y: Array, x: Array, p: Array) -> Array:
    """g x^p log x, but 0 where x^p is 0, and at 0^0, which is 1 beside p = 0 too."""
    x = xp.asarray(x, y.dtype)
    return g * y * xp.log(xp.where((y == 0) | ((x == 0) & (p == 0)), 1, x))


def _product(a: Array, b: Array) -> Array:
    """a @ b of matrices, where zero times infinity or NaN counts as zero."""
    c = a @ b
    if ON_HOST and np.isfinite(c).all():
        return c
    a_bad, b_bad = ~xp.isfinite(a), ~xp.isfinite(b)
    counts = [x.astype(c.dtype) for x in (a_bad, b != 0, a != 0, b_bad)]
    bad = counts[0] @ counts[1] + counts[2] @ counts[3]
    return xp.where(bad > 0, xp.nan, xp.where(a_bad, 0, a) @ xp.where(b_bad, 0, b))


def _matmul_back(left: bool, g: Array, y: Array, a: Array, b: Array) -> Array:
    """g (..., n, m), a (..., n, k), b (..., k, m); a vector is a matrix of one row or column."""
    row, column = a.ndim == 1, b.ndim == 1
    if column:
        b, g = b[:, None], g[..., None]
    if row:
        a, g = a[None, :], g[..., None, :]
    if left:
        da = _product(g, b.swapaxes(-1, -2))
        return da[..., 0, :] if row else da
    db = _product(a.swapaxes(-1, -2), g)
    return db[..., 0] if column else db


# Reductions take more than two lines each: g has lost axes, which `spread` puts back; equal entries
# share the cotangent of their maximum; and NumPy is slow at broadcast views and at short axes.


def spread(g: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    """g, or the result y, with the axes over which x was reduced as axes of length one."""
    if keepdims or axis is None or x.ndim == 0:
        return g
    if axis in (0, -1):  # faster than expand_dims
        return g[None] if axis == 0 else g[..., None]
    return xp.expand_dims(g, axis)


def _sum_back(g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    dx = empty_like(g, x.shape)
    dx[...] = spread(g, x, axis, keepdims)
    return dx


def _mean_back(g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    if ON_HOST:
        return _sum_back(g / _count(x, y), y, x, axis, keepdims)
    return xp.broadcast_to(spread(g, x, axis, keepdims), x.shape) / _count(x, y)  # one launch


def _count(x: Array, y: Array) -> int:
    """How many entries of x each entry of the result y was made of."""
    return int(x.size // (y.size or 1))


def _reduce(whole: Any, pair: Any, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """whole(x), or pair(pair(x_0, x_1), ...) along a first or last axis of at most four entries."""
    if keepdims or axis not in (0, -1) or x.ndim < 2 or not 2 <= x.shape[axis] <= 4:
        return whole(x, axis=axis, keepdims=keepdims)
    return reduce(pair, (x[i] if axis == 0 else x[..., i] for i in range(x.shape[axis])))


def _extremum_back(g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    hit = x == spread(y, x, axis, keepdims)
    if on_device() and g.dtype == x.dtype:
        ties = xp.sum(hit, axis=axis, dtype=x.dtype, keepdims=True)
        top, g = spread(y, x, axis, keepdims), spread(g, x, axis, keepdims)
        kernel = _kernel("y = x == top ? g / ties : T(0)", "T x, T top, T g, T ties")
        return kernel(x, top, g, ties)
    ties = _reduce(xp.sum, xp.add, hit.astype(x.dtype), axis, keepdims)
    return xp.where(hit, spread(g / ties, x, axis, keepdims), 0)


def _getitem_back(g: Array, y: Array, x: Array, index: Any) -> Array:
    dx = xp.zeros_like(x)
    parts = index if isinstance(index, tuple) else (index,)
    if all(p is None or p is Ellipsis or isinstance(p, (int, slice)) for p in parts):
        dx[index] = g
    else:  # array indices may repeat: their cotangents add up
        xp.add.at(dx, index, g)
    return dx


def _transpose_back(g: Array, y: Array, x: Array, *axes: Any) -> Array:
    if axes in ((), (None,)):
        return g.transpose()
    return g.transpose(np.argsort(np.ravel(axes) % x.ndim).tolist())


def _reflected(f: Function) -> Function:
    return lambda self, other: f(other, self)


def _constant(compare: Function) -> Function:
    """A comparison is a constant: a plain boolean array, for `where`."""
    return lambda self, other: compare(self.data, stop_gradient(other))


class Tensor(Guard):
    """An array on a tape; `stop_gradient(tensor)` returns the array.

    An operator is an `op`: the value, then the cotangent of each argument.
    """

    __slots__ = ("data", "index", "tape")

    def __init__(self, data: Array, tape: Tape, index: int) -> None:
        self.data, self.tape, self.index = data, tape, index

    __add__ = op("add", lambda a, b: a + b, lambda g, y, a, b: g, lambda g, y, a, b: g)
    __sub__ = op("subtract", lambda a, b: a - b, lambda g, y, a, b: g, lambda g, y, a, b: -g)
    __mul__ = op(
        "multiply", lambda a, b: a * b,
        lambda g, y, a, b: times(g, b), lambda g, y, a, b: times(g, a),
    )  # fmt: skip
    __truediv__ = op(
        "divide", lambda a, b: a / b,
        lambda g, y, a, b: _over(g, b), guarded(lambda g, y, a, b: -(g * y) / b),
    )  # fmt: skip
    __pow__ = elementwise("power", lambda x, p: x**p, _power_base, _power_exponent)
    __matmul__ = op(
        "matmul", lambda a, b: a @ b, partial(_matmul_back, True), partial(_matmul_back, False)
    )
    __neg__ = op("negative", lambda x: -x, lambda g, y, x: -g)
    __abs__ = elementwise("abs", lambda x: xp.abs(x), lambda g, y, x: g * xp.sign(x))
    __radd__, __rsub__, __rmul__ = _reflected(__add__), _reflected(__sub__), _reflected(__mul__)
    __rtruediv__, __rpow__ = _reflected(__truediv__), _reflected(__pow__)
    __rmatmul__ = _reflected(__matmul__)

    # reductions over all axes, or over `axis`, an integer or a tuple
    sum = op(
        "sum",
        lambda x, axis=None, keepdims=False: x.sum(axis=axis, keepdims=keepdims),
        _sum_back,
    )
    mean = op(
        "mean",
        lambda x, axis=None, keepdims=False: (
            (y := x.sum(axis=axis, keepdims=keepdims)) / _count(x, y)
        ),
        _mean_back,
    )
    max = op("max", lambda x, *how, **k: _reduce(xp.max, xp.maximum, x, *how, **k), _extremum_back)
    min = op("min", lambda x, *how, **k: _reduce(xp.min, xp.minimum, x, *how, **k), _extremum_back)

    # entries and shape
    __getitem__ = op("getitem", lambda x, index: x[index], _getitem_back)
    reshape = op(
        "reshape",
        lambda x, *shape: x.reshape(*shape),  # reshape(2, 3) or reshape((2, 3))
        lambda g, y, x, *shape: g.reshape(x.shape),
    )
    transpose = op("transpose", lambda x, *axes: x.transpose(*axes), _transpose_back)
    T = property(transpose)
    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)

    def __len__(self) -> Any:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data!r})"

    __eq__, __ne__ = _constant(operator.eq), _constant(operator.ne)
    __lt__, __le__ = _constant(operator.lt), _constant(operator.le)
    __gt__, __ge__ = _constant(operator.gt), _constant(operator.ge)
    __hash__ = object.__hash__


def stop_gradient(x: Any) -> Array:
    """x as a plain array: a constant for every gradient."""
    return x.data if type(x) is Tensor else x


def _trace(f: Function, x: Array, args: Sequence[Any]) -> tuple[Tape, Any]:
    """Run f on x as the first Tensor of a new tape."""
    if type(x) is Tensor:
        raise GradientError("Gradients do not nest: got a Tensor where a plain array is needed.")
    if not hasattr(x, "dtype") or x.dtype.kind != "f":
        kind = getattr(x, "dtype", type(x).__name__)
        raise GradientError(f"A gradient needs an array of floats, got {kind}.")
    if anomaly.on:
        anomaly.check("The array that the gradient is taken in", x)
    tape = Tape(x.dtype)
    try:
        return tape, f(Tensor(x, tape, 0), *args)
    except TypeError as error:
        if "__array_ufunc__" in str(error):
            raise not_differentiable("A NumPy function") from error
        raise


def _backward(tape: Tape, out: Any, g: Array, x: Array) -> Array:
    """Walk the tape from `out` to the input x, adding up cotangents."""
    if type(out) is not Tensor or out.tape is not tape:
        return xp.zeros_like(x)  # the result does not depend on x
    cotangents: list[Array] = [None] * (out.index + 1)
    dtype = tape.dtype
    cotangents[out.index] = g
    for index in range(out.index, 0, -1):
        g = cotangents[index]
        if g is None:
            continue
        cotangents[index] = None
        parents, pullback = tape.entries[index]
        for parent, cotangent in zip(parents, pullback(g)):
            if cotangent is not None:
                if cotangent.dtype != dtype:
                    cotangent = _rounded(cotangent, dtype, "A pullback")
                held = cotangents[parent]
                cotangents[parent] = cotangent if held is None else held + cotangent
    g = cotangents[0]
    if anomaly.on and g is not None:
        anomaly.check("Backwards: the gradient, a sum over its uses", g)
    return xp.zeros_like(x) if g is None else contiguous(g).reshape(x.shape)


def vjp(f: Function, x: Array, *args: Any) -> tuple[Array, Callable[[Array | float], Array]]:
    """f(x) and its pullback: v -> v . df/dx, an array of x's shape.

    The pullback may be called any number of times, with v of f(x)'s shape.
    Raises GradientError if x was changed in place in between.
    """
    tape, out = _trace(f, x, args)
    value = stop_gradient(out)
    # comparing on a GPU would wait for it
    before = x.copy() if ON_HOST and isinstance(x, np.ndarray) else None

    def pullback(v: Array | float) -> Array:
        if isinstance(v, (int, float)):
            v = xp.asarray(v, x.dtype)
        shape = getattr(value, "shape", ())
        if getattr(v, "shape", None) != shape:
            got = getattr(v, "shape", type(v).__name__)
            raise GradientError(f"The pullback needs v of shape {shape}, got {got}.")
        if before is not None and not xp.array_equal(before, x, equal_nan=True):
            raise GradientError(
                "x was changed in place after vjp(f, x): this pullback belongs to the old value. "
                "Call vjp again, or the pullback before the optimizer's step."
            )
        if v.dtype != x.dtype:
            v = _rounded(v, x.dtype, "The v of a pullback")
        return _backward(tape, out, v, x)

    return value, pullback


def _one(dtype: np.dtype[Any]) -> Array:
    one = xp.empty((), dtype)
    one[...] = 1
    return one


_one_on_device = cache(_one)  # filling it is a launch; its first use is before graphs are captured


def value_and_grad(f: Function, has_aux: bool = False) -> Callable[..., tuple[Any, Array]]:
    """A function that returns f(theta, *args) and its gradient with respect to theta.

    f must return a scalar; with has_aux=True a pair (scalar, aux), and the result is then
    ((value, aux), gradient). aux may be a Tensor, or a dict, tuple or list with Tensors in it:
    they come back as plain arrays.
    """

    def both(theta: Array, *args: Any) -> tuple[Any, Array]:
        tape, out = _trace(f, theta, args)
        aux = None
        if has_aux:
            if type(out) is not tuple or len(out) != 2:
                raise GradientError(
                    "has_aux=True needs a function that returns the pair (loss, aux), got "
                    f"{type(out).__name__}."
                )
            out, aux = out[0], _plain(out[1])
        value = stop_gradient(out)
        shape = getattr(value, "shape", ())
        if shape != ():
            raise GradientError(
                f"grad needs a scalar, fn returned shape {shape}; did you forget .mean()?"
            )
        one = _one_on_device(theta.dtype) if on_device() else _one(theta.dtype)
        try:
            gradient = _backward(tape, out, one, theta)
            if gradient.size == 1:  # it may be `one` itself
                gradient = gradient.copy()
        finally:
            tape.entries = None  # frees the arrays, and a Tensor that is kept is recognized
        return ((value, aux) if has_aux else value), gradient

    return both


def grad(f: Function) -> Callable[..., Array]:
    """A function that returns the gradient of the scalar f(theta, *args) in theta."""
    both = value_and_grad(f)
    return lambda theta, *args: both(theta, *args)[1]


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        plain = [_plain(value) for value in tree]
        return type(tree)(*plain) if hasattr(tree, "_fields") else type(tree)(plain)
    return stop_gradient(tree)
