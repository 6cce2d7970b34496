"""Reverse-mode automatic differentiation on a Wengert list.

An operation on plain arrays is plain arithmetic and leaves no trace. An operation on a Tensor
also appends to the Tensor's tape how to pull a cotangent of its result back to its arguments.
`vjp` puts the first Tensor on a fresh tape, runs the function, and walks the list backwards:

    out, pullback = vjp(f, x)       pullback(v) = v . (d out / d x)
    value_and_grad(L)(theta)        = L(theta), dL/dtheta

The tape holds arrays and indices, never Tensors, so nothing here is a reference cycle.
Source: Wengert 1964; Griewank and Walther 2008, chapter 3.
"""

import operator

from npr.autodiff import anomaly
from npr.backend import ON_HOST, Array, xp
from npr.errors import GradientError

OPS: dict = {}  # name -> differentiable function: the table that the gradient checks walk


class Tape:
    """Entries (indices of the parents, pullback), in the order of computation."""

    __slots__ = ("entries",)

    def __init__(self):
        self.entries = [((), None)]  # entry 0 is the input


class Tensor:
    """An array on a tape. `data` is the array; `stop_gradient(tensor)` is the way off the tape."""

    __slots__ = ("data", "index", "tape")
    __array_ufunc__ = None  # so that `array * tensor` reaches Tensor.__rmul__

    def __init__(self, data, tape, index):
        self.data, self.tape, self.index = data, tape, index

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)

    # comparisons are constants: plain arrays of truths, for `where`
    __hash__ = object.__hash__

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        return f"Tensor({self.data!r})"

    def __setitem__(self, index, value):
        raise TypeError(
            "A Tensor cannot be assigned to: build the new value with where, concatenate or stack."
        )

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "A Tensor was turned into an array, which would lose its gradient. "
            "Use the functions of npr.autodiff on it, or stop_gradient(tensor) for its array."
        )

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(_foreign(f"np.{function.__name__}"))

    def __bool__(self):
        raise TypeError(
            "The truth of a Tensor is not differentiable: use where(condition, a, b), "
            "or stop_gradient(tensor) to branch on its value."
        )

    def __float__(self):
        raise TypeError(
            "float(tensor) inside a gradient would lose it. Return it with has_aux=True, "
            "or use stop_gradient(tensor)."
        )


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _compare = getattr(operator, _name)
    setattr(Tensor, f"__{_name}__", lambda a, b, _f=_compare: _f(a.data, stop_gradient(b)))


def _foreign(name):
    return (
        f"{name} got a Tensor and cannot differentiate through it: use the function of the same "
        "name from npr.autodiff, or stop_gradient(tensor) where no gradient is wanted."
    )


def stop_gradient(x) -> Array:
    """x as a plain array: a constant for every gradient."""
    return x.data if type(x) is Tensor else x


def record(data: Array, parents: list, pullback, name="an operation", arguments=()) -> Tensor:
    """Put a new value on the tape of its parents.

    pullback(g) returns one cotangent per parent (None for zero), each of its parent's shape.
    It must not write to g: other pullbacks may hold it. The name and all arguments, the parents
    and plain ones, are for the messages of `debug_anomaly`.
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
            "have moved since. Return it with has_aux=True, or use stop_gradient inside the loss."
        )
    if anomaly.on:
        pullback = anomaly.watched(name, data, arguments, pullback)
    entries.append((indices, pullback))
    return Tensor(data, tape, len(entries) - 1)


def op(name: str, forward, *rules):
    """Make forward(*args, **options) differentiable and enter it in the table.

    rules[i](g, y, *args, **options) is the cotangent of args[i], given g, the cotangent of the
    result y. Broadcasting is undone here, so that a rule may ignore it.
    """

    def apply(*args, **options):
        values, parents, active = [], [], []
        for i, arg in enumerate(args):
            if type(arg) is Tensor:
                parents.append(arg)
                active.append((i, arg.data.shape))
                arg = arg.data
            values.append(arg)
        y = forward(*values, **options)
        if not parents:
            return y
        for i, _ in active:
            if i >= len(rules) or rules[i] is None:
                raise GradientError(
                    f"{name} has no derivative in its argument {i + 1}; give it a plain array, "
                    "or stop_gradient(tensor)."
                )

        def pullback(g):
            cotangents = []
            for i, shape in active:
                cotangent = rules[i](g, y, *values, **options)
                if cotangent.shape != shape:
                    cotangent = _unbroadcast(cotangent, shape)
                cotangents.append(cotangent)
            return cotangents

        return record(y, parents, pullback, name, args)

    apply.__name__ = apply.__qualname__ = name
    OPS[name] = apply
    return apply


def _unbroadcast(g, shape):
    """Sum g over the axes that broadcasting added or stretched to come from `shape`."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


def _trace(f, x, args):
    """Run f on x as the first Tensor of a fresh tape."""
    if type(x) is Tensor:
        raise GradientError("Gradients do not nest: got a Tensor where a plain array is needed.")
    if not hasattr(x, "dtype") or x.dtype.kind != "f":
        kind = getattr(x, "dtype", type(x).__name__)
        raise GradientError(f"A gradient needs an array of floats, got {kind}.")
    if anomaly.on:
        anomaly.check("The array that the gradient is taken in", x)
    tape = Tape()
    try:
        return tape, f(Tensor(x, tape, 0), *args)
    except TypeError as error:
        if "__array_ufunc__" in str(error):
            raise TypeError(_foreign("A NumPy function")) from error
        raise


def _backward(tape, out, g, x):
    """Walk the tape from `out` to the input x, adding up cotangents."""
    if type(out) is not Tensor or out.tape is not tape:
        return xp.zeros_like(x)  # the result does not depend on x
    cotangents = [None] * (out.index + 1)
    cotangents[out.index] = g
    for index in range(out.index, 0, -1):
        g = cotangents[index]
        if g is None:
            continue
        cotangents[index] = None
        parents, pullback = tape.entries[index]
        for parent, cotangent in zip(parents, pullback(g)):
            if cotangent is not None:
                held = cotangents[parent]
                cotangents[parent] = cotangent if held is None else held + cotangent
    g = cotangents[0]
    if anomaly.on and g is not None:
        anomaly.check("Backwards: the gradient, a sum over its uses", g)
    return xp.zeros_like(x) if g is None else xp.ascontiguousarray(g).reshape(x.shape)


def vjp(f, x: Array, *args):
    """f(x) and its pullback: v -> v . df/dx, an array of x's shape.

    The pullback may be called any number of times, with v of f(x)'s shape.
    Raises GradientError if x was changed in place in between.
    """
    tape, out = _trace(f, x, args)
    value = stop_gradient(out)
    before = x.copy() if ON_HOST else None  # comparing on a GPU would wait for it

    def pullback(v):
        if isinstance(v, (int, float)):
            v = xp.asarray(v, x.dtype)
        shape = getattr(value, "shape", ())
        if getattr(v, "shape", None) != shape:
            got = getattr(v, "shape", type(v).__name__)
            raise GradientError(f"The pullback needs v of shape {shape}, got {got}.")
        if before is not None and not xp.array_equal(before, x, equal_nan=True):
            raise GradientError(
                "x was changed in place after vjp(f, x): this pullback belongs to the old value. "
                "Call vjp again, or the pullback before the optimiser's step."
            )
        return _backward(tape, out, v, x)

    return value, pullback


def value_and_grad(f, has_aux: bool = False):
    """A function that returns f(theta, *args) and its gradient in theta.

    f must return a scalar; with has_aux=True a pair (scalar, aux), and the result is then
    ((value, aux), gradient). aux may be a Tensor, or a dict, tuple or list with Tensors in it:
    they come back as plain arrays.
    """

    def both(theta, *args):
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
        one = xp.empty((), theta.dtype)
        one[...] = 1
        try:
            gradient = _backward(tape, out, one, theta)
        finally:
            tape.entries = None  # frees the arrays, and a Tensor that leaked out is recognised
        return ((value, aux) if has_aux else value), gradient

    return both


def grad(f):
    """A function that returns the gradient of the scalar f(theta, *args) in theta."""
    both = value_and_grad(f)
    return lambda theta, *args: both(theta, *args)[1]


def _plain(tree):
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        plain = [_plain(value) for value in tree]
        return type(tree)(*plain) if hasattr(tree, "_fields") else type(tree)(plain)
    return stop_gradient(tree)
