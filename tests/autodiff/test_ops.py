"""Every operation of npr.autodiff against finite differences, NumPy and algebraic laws.

Hypothesis draws shapes, broadcasts and numbers; the table CASES lists the operations."""

import gc
import weakref
from functools import partial
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from support.arrays import cotangent, frozen
from support.proof_size import n_trials

from npr import autodiff as ad
from npr.autodiff import OPS, gradcheck, vjp

# --- strategies that draw calls of each operation ------------------------------------------------


class Case(NamedTuple):
    """One call of an operation as a function of arrays; its options are bound."""

    call: object
    numpy: object  # the same in plain NumPy
    arrays: list


def ordinary(rng, shape):
    return rng.uniform(-2, 2, shape)


def positive(rng, shape):
    return rng.uniform(0.5, 2, shape)


def nonzero(rng, shape):
    return positive(rng, shape) * rng.choice([-1, 1], shape)


def distinct(rng, shape):
    return 0.1 * rng.permutation(int(np.prod(shape))).reshape(shape)


def lattice(offset):
    """Numbers near multiples of 0.5 plus offset; lattices a quarter apart do not meet."""
    return lambda rng, shape: (
        offset + 0.5 * rng.integers(-4, 5, shape) + rng.uniform(-0.05, 0.05, shape)
    )


even, odd = lattice(0.0), lattice(0.25)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
shapes = partial(hnp.array_shapes, max_dims=3, max_side=3)


def broadcastable(n, min_side=1):
    return hnp.mutually_broadcastable_shapes(
        num_shapes=n, min_side=min_side, max_side=3, max_dims=3
    ).map(lambda drawn: drawn.input_shapes)


@st.composite
def elementwise(draw, op, numpy, *domains):
    """Arguments that broadcast, possibly empty; one of two may be a Python number."""
    rng = draw(generators)
    drawn = draw(broadcastable(len(domains), min_side=0))
    arrays = [np.asarray(f(rng, shape)) for f, shape in zip(domains, drawn)]
    number = draw(st.sampled_from(["none", "left", "right"])) if len(domains) == 2 else "none"
    if number == "left":
        c = float(domains[0](rng, ()))
        return Case(partial(op, c), partial(numpy, c), arrays[1:])
    if number == "right":
        c = float(domains[1](rng, ()))
        return Case(lambda x: op(x, c), lambda x: numpy(x, c), arrays[:1])
    return Case(op, numpy, arrays)


def integer_powers():
    return st.sampled_from([-2, -1, 0, 1, 2, 3]).flatmap(
        lambda p: elementwise(lambda x: ad.power(x, p), lambda x: x ** float(p), nonzero)
    )


@st.composite
def clips(draw):
    rng = draw(generators)
    x, p, q = (
        np.asarray(f(rng, shape), np.float32)  # bounds that keep the dtype float32 of x
        for f, shape in zip((even, odd, odd), draw(broadcastable(3)))
    )
    low, high = np.minimum(p, q), np.maximum(p, q)
    if draw(st.booleans()):
        low, high = float(low.min()), float(high.max())
    return Case(
        lambda x: ad.clip(x, low, high), lambda x: np.clip(x, low, high), [x.astype(np.float64)]
    )


@st.composite
def wheres(draw):
    rng = draw(generators)
    first, second, third = draw(broadcastable(3))
    condition = rng.random(first) < 0.5
    if draw(st.booleans()):
        return Case(
            lambda x: ad.where(condition, x, 0),
            lambda x: np.where(condition, x, 0),
            [ordinary(rng, second)],
        )
    arrays = [ordinary(rng, second), ordinary(rng, third)]
    return Case(partial(ad.where, condition), partial(np.where, condition), arrays)


@st.composite
def reductions(draw, op, numpy, domain, keepdims=True):
    """Over no axis, one, a negative one or several; axis and keepdims may be omitted."""
    shape = draw(shapes(min_dims=0))
    options = {"axis": None}
    if shape:
        n = len(shape)
        several = hnp.valid_tuple_axes(n, min_size=1)
        axis = st.none() | st.integers(-n, n - 1) | several
        options = draw(st.just({}) | st.fixed_dictionaries({"axis": axis}))
    if keepdims:
        options |= draw(st.just({}) | st.fixed_dictionaries({"keepdims": st.booleans()}))
    x = np.asarray(domain(draw(generators), shape))
    return Case(lambda x: op(x, **options), lambda x: numpy(x, **options), [x])


@st.composite
def reshapes(draw):
    x = np.asarray(ordinary(draw(generators), draw(shapes(min_dims=0))))
    shape = draw(st.sampled_from([-1, (-1,), x.shape[::-1], (*x.shape, 1), (1, *x.shape), x.shape]))
    return Case(lambda x: ad.reshape(x, shape), lambda x: np.reshape(x, shape), [x])


@st.composite
def transposes(draw):
    x = np.asarray(ordinary(draw(generators), draw(shapes(min_dims=0))))
    axes = draw(st.none() | st.permutations(range(x.ndim)) | st.permutations(range(-x.ndim, 0)))
    return Case(lambda x: ad.transpose(x, axes), lambda x: np.transpose(x, axes), [x])


@st.composite
def indexings(draw):
    """Slices, Ellipsis, None, integers; integer arrays and lists that repeat; masks; mixtures."""
    rng, shape = draw(generators), draw(shapes())
    n = shape[0]
    rows = st.lists(st.integers(-n, n - 1), min_size=1, max_size=4)
    index = draw(
        hnp.basic_indices(shape, allow_newaxis=True)
        | hnp.integer_array_indices(shape, result_shape=shapes(max_dims=2))
        | hnp.arrays(bool, shape)
        | rows
        | rows.map(lambda i: (np.array(i), Ellipsis, slice(None, None, -1))[: len(shape) + 1])
    )
    return Case(lambda x: ad.getitem(x, index), lambda x: x[index], [ordinary(rng, shape)])


@st.composite
def picks(draw):
    rng, (*batch, K) = draw(generators), draw(shapes())
    index = rng.integers(K, size=batch)
    return Case(
        lambda x: ad.pick(x, index),
        lambda x: np.take_along_axis(x, index[..., None], -1).reshape(batch),
        [ordinary(rng, (*batch, K))],
    )


@st.composite
def joins(draw, op, numpy, equal):
    """One to three arrays along any axis, of equal length there if `equal`."""
    rng, shape = draw(generators), draw(shapes(min_dims=0 if equal else 1))
    n = len(shape) + equal
    axis = draw(st.integers(-n, n - 1))
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        size = list(shape)
        if not equal:
            size[axis] = draw(st.integers(0, 3))
        arrays.append(ordinary(rng, size))
    return Case(lambda *x: op(list(x), axis=axis), lambda *x: numpy(x, axis=axis), arrays)


@st.composite
def matmuls(draw):
    """Vectors, matrices and stacks of matrices, as in NumPy."""
    drawn = draw(
        hnp.mutually_broadcastable_shapes(
            signature=np.matmul.signature, max_dims=2, min_side=1, max_side=3
        )
    )
    rng = draw(generators)
    return Case(ad.matmul, np.matmul, [ordinary(rng, shape) for shape in drawn.input_shapes])


def hubers():
    return st.sampled_from([0.5, 1.0, 2.0]).flatmap(
        lambda delta: elementwise(
            partial(ad.huber, delta=delta), partial(plain_huber, delta=delta), even, odd
        )
    )


def plain_huber(q, target, delta=1.0):
    inside = np.abs(q - target) <= delta
    return np.where(inside, (q - target) ** 2 / 2, delta * np.abs(q - target) - delta**2 / 2)


def plain_logsumexp(x, axis=-1, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def plain_log_softmax(x, axis=-1):
    return x - plain_logsumexp(x, axis, keepdims=True)


CASES = {
    "add": elementwise(ad.add, np.add, ordinary, ordinary),
    "subtract": elementwise(ad.subtract, np.subtract, ordinary, ordinary),
    "multiply": elementwise(ad.multiply, np.multiply, ordinary, ordinary),
    "divide": elementwise(ad.divide, np.divide, nonzero, nonzero),
    "negative": elementwise(ad.negative, np.negative, ordinary),
    "power": elementwise(ad.power, np.power, positive, positive) | integer_powers(),
    "matmul": matmuls(),
    "exp": elementwise(ad.exp, np.exp, ordinary),
    "log": elementwise(ad.log, np.log, positive),
    "sqrt": elementwise(ad.sqrt, np.sqrt, positive),
    "tanh": elementwise(ad.tanh, np.tanh, ordinary),
    "sigmoid": elementwise(ad.sigmoid, lambda x: 1 / (1 + np.exp(-x)), ordinary),
    "relu": elementwise(ad.relu, lambda x: np.where(x > 0, x, 0), nonzero),
    "softplus": elementwise(ad.softplus, lambda x: np.log(1 + np.exp(x)), ordinary),
    "abs": elementwise(ad.abs, np.abs, nonzero),
    "clip": clips(),
    "minimum": elementwise(ad.minimum, np.minimum, even, odd),
    "maximum": elementwise(ad.maximum, np.maximum, even, odd),
    "where": wheres(),
    "sum": reductions(ad.sum, np.sum, ordinary),
    "mean": reductions(ad.mean, np.mean, ordinary),
    "max": reductions(ad.max, np.max, distinct),
    "min": reductions(ad.min, np.min, distinct),
    "logsumexp": reductions(ad.logsumexp, plain_logsumexp, ordinary),
    "log_softmax": reductions(ad.log_softmax, plain_log_softmax, ordinary, keepdims=False),
    "reshape": reshapes(),
    "transpose": transposes(),
    "getitem": indexings(),
    "pick": picks(),
    "concatenate": joins(ad.concatenate, np.concatenate, equal=False),
    "stack": joins(ad.stack, np.stack, equal=True),
    "huber": hubers(),
}


def test_cases_cover_exactly_the_operations():
    assert set(CASES) == set(OPS)


def test_every_public_function_is_core_or_an_operation():
    core = {
        "OPS",
        "TapeView",
        "Tensor",
        "debug_anomaly",
        "grad",
        "gradcheck",
        "guarded",
        "record",
        "show",
        "stop_gradient",
        "value_and_grad",
        "vjp",
    }
    assert set(ad.__all__) - core == set(OPS)
    assert all(getattr(ad, name) is function for name, function in OPS.items())


# --- properties of every operation ---------------------------------------------------------------


settings_of_operations = settings(
    max_examples=n_trials(10, 20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def for_every_operation(test):
    """Run test(case) on drawn calls of every registered operation."""

    @pytest.mark.parametrize("name", sorted(OPS))
    @settings_of_operations
    @given(data=st.data())
    def walk(name, data):
        test(data.draw(CASES[name]))

    walk.__doc__ = test.__doc__
    return walk


def varying(case, i):
    """The case as a function of its i-th argument; the others are plain arrays."""
    before, after = case.arrays[:i], case.arrays[i + 1 :]
    return lambda x: case.call(*before, x, *after)


def packed(case):
    """The case as a function of one flat vector, so that all its arguments are Tensors.

    The factor of ones would broadcast a cotangent of the wrong shape, so that it is detected.
    """
    ends = np.cumsum([0, *(a.size for a in case.arrays)])

    def f(x):
        parts = zip(ends, ends[1:], case.arrays)
        return case.call(*(ad.reshape(x[i:j], a.shape) * np.ones_like(a) for i, j, a in parts))

    return f, np.concatenate([a.ravel() for a in case.arrays])


LAYOUTS = {
    "every other number": lambda x: np.stack([x, x], axis=-1)[..., 0],
    "columns first": lambda x: x.T.copy().T,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "stretched": lambda x: np.broadcast_to(x.ravel()[0] if x.size else 0.0, x.shape),
}


@for_every_operation
def test_plain_arguments_give_the_plain_value_of_numpy(case):
    y, expected = case.call(*case.arrays), case.numpy(*case.arrays)
    assert isinstance(y, (np.ndarray, np.float64)) and y.shape == np.shape(expected)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-15)
    for i, x in enumerate(case.arrays):
        np.testing.assert_array_equal(vjp(varying(case, i), x)[0], y)


@for_every_operation
def test_gradient_in_each_argument(case):
    for i, x in enumerate(case.arrays):
        gradcheck(varying(case, i), x, tolerance=1e-6)


@for_every_operation
def test_gradient_in_all_arguments_at_once(case):
    f, x = packed(case)
    gradcheck(f, x, tolerance=1e-6)


@for_every_operation
def test_gradient_if_all_arguments_are_the_same_tensor(case):
    x = case.arrays[-1]
    try:
        case.numpy(*[x] * len(case.arrays))
    except ValueError:  # a matrix product of a matrix that is not square
        assume(False)

    def f(x):
        y = case.call(*[x] * len(case.arrays))
        return y * y

    gradcheck(f, x, tolerance=1e-6)


@for_every_operation
def test_a_view_has_the_same_gradient_as_its_copy(case):
    for layout in LAYOUTS.values():
        views = case._replace(arrays=[layout(a) for a in case.arrays])
        copies = case._replace(arrays=[v.copy(order="C") for v in views.arrays])
        for i in range(len(case.arrays)):
            y, pullback = vjp(varying(views, i), views.arrays[i])
            expected, pullback_copy = vjp(varying(copies, i), copies.arrays[i])
            np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-15)
            v = cotangent(y)
            np.testing.assert_allclose(pullback(v), pullback_copy(v), rtol=1e-13, atol=1e-14)


@for_every_operation
def test_float32_stays_float32(case):
    arrays = [np.asarray(a, np.float32) for a in case.arrays]
    case32 = case._replace(arrays=arrays)
    assert case.call(*arrays).dtype == np.float32
    for f, x in [(varying(case32, i), a) for i, a in enumerate(arrays)] + [packed(case32)]:
        y, pullback = vjp(f, x)
        gradient = pullback(cotangent(y))
        assert y.dtype == gradient.dtype == np.float32
        exact = vjp(f, x.astype(np.float64))[1](cotangent(y).astype(np.float64))
        np.testing.assert_allclose(gradient, exact, rtol=1e-4, atol=1e-4)


@for_every_operation
def test_pullbacks_are_repeatable_and_modify_no_argument(case):
    case = case._replace(arrays=[frozen(a) for a in case.arrays])
    for f, x in [(varying(case, i), a) for i, a in enumerate(case.arrays)] + [packed(case)]:
        y, pullback = vjp(f, x)
        v = frozen(cotangent(y))
        once = np.array(pullback(v))
        np.testing.assert_array_equal(pullback(v), once)
        assert once.shape == x.shape


@for_every_operation
def test_the_graph_is_freed_without_the_garbage_collector(case):
    gc.disable()
    try:
        for i, a in enumerate(case.arrays):
            x = a.copy()  # every pullback refers to it, so a cycle would keep it alive
            held = weakref.ref(x)
            y, pullback = vjp(varying(case, i), x)
            pullback(cotangent(y))
            del x, y, pullback
            assert held() is None
    finally:
        gc.enable()
