"""Every operation of npr.autodiff, held against finite differences, NumPy and the laws.

CASES says, for each operation in the registry OPS, how to draw one use of it. The tests walk the
registry, so that an operation without a check cannot exist. Inputs stay away from kinks by
construction; what happens on a kink is pinned by hand further down, and so is every wrong use.
"""

import gc
import weakref
from functools import partial
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from npr import autodiff as ad
from npr.autodiff import OPS, Tensor, grad, gradcheck, record, stop_gradient, value_and_grad, vjp
from npr.errors import GradientError

# --- how to draw a use of each operation ---------------------------------------------------------


class Case(NamedTuple):
    """One use of an operation: with its options bound, a function of these arrays alone."""

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
    """Near multiples of 0.5, moved by offset: two lattices a quarter apart never meet."""
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
    """Arguments that broadcast, empty ones too; of two arguments, one may be a Python number."""
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
        np.asarray(f(rng, shape), np.float32)  # bounds that leave a float32 x as it is
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
    """Over no axis, one, a negative one or several; axis and keepdims given or left out."""
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
    """One to three arrays along any axis, of the same length there if `equal`."""
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
    """Vectors, matrices and stacks of matrices, as NumPy allows them."""
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


def test_every_operation_has_a_case_and_every_case_an_operation():
    assert set(CASES) == set(OPS)


def test_every_public_function_is_core_or_an_operation():
    core = {
        "OPS",
        "Tensor",
        "debug_anomaly",
        "grad",
        "gradcheck",
        "record",
        "stop_gradient",
        "value_and_grad",
        "vjp",
    }
    assert set(ad.__all__) - core == set(OPS)
    assert all(getattr(ad, name) is function for name, function in OPS.items())


# --- what holds for every operation --------------------------------------------------------------


def for_every_operation(test):
    """Run test(case) on drawn uses of each operation in the registry."""

    @pytest.mark.parametrize("name", sorted(OPS))
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(data=st.data())
    def walk(name, data):
        test(data.draw(CASES[name]))

    walk.__doc__ = test.__doc__
    return walk


def varying(case, i):
    """The case as a function of its i-th argument alone; the others are plain arrays."""
    before, after = case.arrays[:i], case.arrays[i + 1 :]
    return lambda x: case.call(*before, x, *after)


def packed(case):
    """The case as a function of one flat vector, so that all its arguments are Tensors.

    The ones change nothing, but would stretch a cotangent that comes back in the wrong shape.
    """
    ends = np.cumsum([0, *(a.size for a in case.arrays)])

    def f(x):
        parts = zip(ends, ends[1:], case.arrays)
        return case.call(*(ad.reshape(x[i:j], a.shape) * np.ones_like(a) for i, j, a in parts))

    return f, np.concatenate([a.ravel() for a in case.arrays])


def cotangent(y):
    return np.asarray(np.random.default_rng(0).standard_normal(y.shape), y.dtype)


def frozen(array, dtype=None):
    """A copy that raises where it is written to."""
    array = np.array(array, dtype)
    array.flags.writeable = False
    return array


LAYOUTS = {
    "every other number": lambda x: np.stack([x, x], axis=-1)[..., 0],
    "columns first": lambda x: x.T.copy().T,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "stretched": lambda x: np.broadcast_to(x.ravel()[0] if x.size else 0.0, x.shape),
}


@for_every_operation
def test_value_is_numpys_and_a_plain_array_where_no_tensor_came_in(case):
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
def test_gradient_where_the_same_tensor_is_every_argument(case):
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
def test_a_view_has_the_gradient_of_its_copy(case):
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
def test_inputs_and_cotangents_are_read_only_and_a_pullback_repeats_itself(case):
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
            x = a.copy()  # every pullback holds it, so a cycle would keep it
            held = weakref.ref(x)
            y, pullback = vjp(varying(case, i), x)
            pullback(cotangent(y))
            del x, y, pullback
            assert held() is None
    finally:
        gc.enable()


# --- operators and methods of Tensor -------------------------------------------------------------

A = np.array([[0.5, 1.5], [2.5, 0.75]])

SPELLINGS = {
    "x + y": (lambda x: x + A, lambda x: ad.add(x, A)),
    "y + x": (lambda x: A + x, lambda x: ad.add(A, x)),
    "x - y": (lambda x: x - A, lambda x: ad.subtract(x, A)),
    "y - x": (lambda x: A - x, lambda x: ad.subtract(A, x)),
    "x * y": (lambda x: x * A, lambda x: ad.multiply(x, A)),
    "y * x": (lambda x: A * x, lambda x: ad.multiply(A, x)),
    "x / y": (lambda x: x / A, lambda x: ad.divide(x, A)),
    "y / x": (lambda x: A / x, lambda x: ad.divide(A, x)),
    "x ** y": (lambda x: x**A, lambda x: ad.power(x, A)),
    "y ** x": (lambda x: A**x, lambda x: ad.power(A, x)),
    "x @ y": (lambda x: x @ A, lambda x: ad.matmul(x, A)),
    "y @ x": (lambda x: A @ x, lambda x: ad.matmul(A, x)),
    "2 - x": (lambda x: 2 - x, lambda x: ad.subtract(2, x)),
    "-x": (lambda x: -x, ad.negative),
    "abs(x)": (lambda x: abs(x), ad.abs),
    "x[0]": (lambda x: x[0], lambda x: ad.getitem(x, 0)),
    "x.sum(1)": (lambda x: x.sum(1), lambda x: ad.sum(x, 1)),
    "x.mean(axis=0)": (lambda x: x.mean(axis=0), lambda x: ad.mean(x, axis=0)),
    "x.max(axis=-1)": (lambda x: x.max(axis=-1), lambda x: ad.max(x, axis=-1)),
    "x.min(keepdims)": (lambda x: x.min(keepdims=True), lambda x: ad.min(x, keepdims=True)),
    "x.reshape(4)": (lambda x: x.reshape(4), lambda x: ad.reshape(x, 4)),
    "x.reshape(1, -1)": (lambda x: x.reshape(1, -1), lambda x: ad.reshape(x, (1, -1))),
    "x.reshape((4, 1))": (lambda x: x.reshape((4, 1)), lambda x: ad.reshape(x, (4, 1))),
    "x.transpose()": (lambda x: x.transpose(), ad.transpose),
    "x.transpose(1, 0)": (lambda x: x.transpose(1, 0), lambda x: ad.transpose(x, (1, 0))),
    "x.transpose((1, 0))": (lambda x: x.transpose((1, 0)), lambda x: ad.transpose(x, (1, 0))),
    "x.T": (lambda x: x.T, ad.transpose),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_operator_is_the_function_of_that_name(spelling):
    short, long = SPELLINGS[spelling]
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    (y, pullback), (expected, pullback_long) = vjp(short, x), vjp(long, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(y, short(x))
    v = cotangent(y)
    np.testing.assert_array_equal(pullback(v), pullback_long(v))


def test_a_tensor_tells_its_shape_and_shows_its_numbers():
    def f(x):
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float32, 2)
        assert "Tensor(array" in repr(x)
        return x.sum()

    value_and_grad(f)(np.ones((2, 3), np.float32))


# --- the ends of the number line, and the kinks --------------------------------------------------

FAR = [-np.inf, -1e4, 0.0, 1e4, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "op, value, slope",
    [
        (ad.sigmoid, [0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
        (ad.softplus, [0, 0, np.log(2), 1e4, np.inf], [0, 0, 0.5, 1, 1]),
        (ad.tanh, [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
    ],
)
def test_far_from_zero_an_activation_has_its_limit(op, value, slope, dtype):
    x = np.array(FAR, dtype)
    y, pullback = vjp(op, x)
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.ones_like(x)), slope, rtol=1e-6)


@pytest.mark.parametrize("dtype, precision", [(np.float32, 1e-3), (np.float64, 1e-11)])
@pytest.mark.parametrize(
    "x, value, slope",
    [
        ([1e4, 1e4], 1e4 + np.log(2), [0.5, 0.5]),
        ([-1e4, -1e4], -1e4 + np.log(2), [0.5, 0.5]),
        ([-1e4, 1e4], 1e4, [0, 1]),
        ([-np.inf, 0.0], 0.0, [0, 1]),
        ([-np.inf, -1e4], -1e4, [0, 1]),
    ],
)
def test_far_from_zero_logsumexp_is_finite(x, value, slope, dtype, precision):
    y, pullback = vjp(ad.logsumexp, np.array(x, dtype))
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.ones_like(y)), slope, rtol=precision)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "x, value, slope",
    [
        ([1e4, 1e4], [-np.log(2), -np.log(2)], [-0.5, 0.5]),
        ([-1e4, -1e4], [-np.log(2), -np.log(2)], [-0.5, 0.5]),
        ([-1e4, 1e4], [-2e4, 0], [0, 0]),
        ([1e4, -1e4], [0, -2e4], [-1, 1]),
        ([-np.inf, 0.0], [-np.inf, 0], [0, 0]),
    ],
)
def test_far_from_zero_log_softmax_is_as_exact_as_near_it(x, value, slope, dtype):
    y, pullback = vjp(ad.log_softmax, np.array(x, dtype))
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.array([0, 1], dtype)), slope, rtol=1e-6)


@pytest.mark.parametrize("op, at_four", [(ad.sqrt, 0.25), (ad.log, 0.25)])
def test_a_branch_that_where_switches_off_stays_off_at_zero(op, at_four):
    def f(x):
        return ad.where(stop_gradient(x) > 0, op(x), 0).sum()

    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(grad(f)(np.array([0.0, 4.0])), [0, at_four])


@pytest.mark.parametrize(
    "op, x, slope",
    [
        (ad.relu, [0.0], [0]),
        (ad.abs, [0.0], [0]),
        (lambda x: ad.clip(x, -1, 1), [-1.0, 1.0], [1, 1]),
        (lambda x: ad.huber(x, 0.0), [-1.0, 1.0], [-1, 1]),
        (lambda x: ad.minimum(x, x), [3.0], [1]),
        (lambda x: ad.maximum(x, x), [3.0], [1]),
        (lambda x: ad.minimum(x, 3.0) + ad.minimum(3.0, x), [3.0], [1]),
        (lambda x: ad.maximum(x, 3.0) + ad.maximum(3.0, x), [3.0], [1]),
        (ad.max, [2.0, 1.0, 2.0], [0.5, 0, 0.5]),
        (ad.min, [2.0, 3.0, 2.0], [0.5, 0, 0.5]),
    ],
)
def test_on_a_kink_the_slope_is_pinned(op, x, slope):
    gradient = grad(lambda x: op(x).sum())(np.array(x))
    np.testing.assert_array_equal(gradient, slope)


def test_huber_by_hand():
    """An error of 2.3 with delta = 1."""
    loss, slope = value_and_grad(lambda x: ad.huber(x[0], x[1]))(np.array([0.5, 2.8]))
    np.testing.assert_allclose((loss, *slope), (1.8, -1, 1))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_pick_counts_a_negative_index_from_the_end(shape):
    x, last = np.arange(float(np.prod(shape))).reshape(shape), np.full(shape[:-1], -1)
    y, pullback = vjp(lambda x: ad.pick(x, last), x)
    np.testing.assert_array_equal(y, x[..., -1])
    np.testing.assert_array_equal(pullback(np.ones(y.shape)), np.broadcast_to([0, 0, 1], shape))


# --- vjp, grad, value_and_grad -------------------------------------------------------------------

X = np.array([1.0, 2.0, 3.0])


def test_value_and_gradient_of_a_loss_with_arguments():
    value, gradient = value_and_grad(lambda x, scale, shift: (scale * x * x + shift).sum())(X, 2, 1)
    assert value == 31 and type(value) is np.float64
    np.testing.assert_array_equal(gradient, 4 * X)
    np.testing.assert_array_equal(grad(lambda x, scale: (scale * x).sum())(X, 5), [5, 5, 5])


def test_a_pullback_takes_any_cotangent_any_number_of_times():
    y, pullback = vjp(lambda x, c: c * x[:2], X, 10)
    np.testing.assert_array_equal(y, [10, 20])
    np.testing.assert_array_equal(pullback(np.array([1.0, 0.0])), [10, 0, 0])
    np.testing.assert_array_equal(pullback(np.array([0.0, 2.0])), [0, 20, 0])


def test_a_number_is_a_cotangent_of_a_scalar():
    x = X.astype(np.float32)
    for f in (lambda x: 2 * x[1], lambda x: x.mean()):
        _, pullback = vjp(f, x)
        np.testing.assert_array_equal(pullback(3.0), pullback(np.float32(3)))
        assert pullback(3.0).dtype == np.float32


@pytest.mark.parametrize("constant", [3.0, np.array(3.0)], ids=["number", "array"])
def test_what_does_not_depend_on_x_has_gradient_zero(constant):
    value, gradient = value_and_grad(lambda x: constant)(X)
    assert value == 3.0
    np.testing.assert_array_equal(gradient, [0, 0, 0])
    value, pullback = vjp(lambda x: constant, X)
    assert value == 3.0
    np.testing.assert_array_equal(pullback(np.ones(())), [0, 0, 0])


def test_what_is_computed_and_not_used_has_no_influence():
    def f(x):
        ad.exp(x) * x
        return x[0] * stop_gradient(x[1])

    np.testing.assert_array_equal(grad(f)(X), [2, 0, 0])


def test_a_pullback_of_our_own_may_return_none_for_zero():
    def first(a, b):
        return record(a.data, [a, b], lambda g: [g, None])

    np.testing.assert_array_equal(grad(lambda x: first(x, x).sum())(X), [1, 1, 1])
    np.testing.assert_array_equal(grad(lambda x: first(2 * x, x).sum())(X), [2, 2, 2])


def test_aux_comes_back_as_plain_arrays_from_dicts_tuples_and_lists():
    def f(x):
        y = x * x
        return y.sum(), {"y": y, "rest": (x[0], [y[1], "word"], None), "number": 7}

    (value, aux), gradient = value_and_grad(f, has_aux=True)(X)
    assert value == 14
    np.testing.assert_array_equal(gradient, 2 * X)
    np.testing.assert_array_equal(aux["y"], [1, 4, 9])
    first, (second, word), nothing = aux["rest"]
    assert (first, second, word, nothing, aux["number"]) == (1, 4, "word", None, 7)
    assert type(aux["y"]) is np.ndarray and not isinstance(second, Tensor)
    assert type(aux["rest"]) is tuple and type(aux["rest"][1]) is list


def test_a_gradient_of_other_numbers_inside_a_loss_is_a_constant():
    slope = grad(lambda u: (u * u).sum())
    np.testing.assert_array_equal(grad(lambda x: (slope(X) * x).sum())(X), 2 * X)


def test_a_finished_gradient_frees_its_arrays_although_a_tensor_leaked():
    leaked, theta = [], X.copy()
    held = weakref.ref(theta)

    def loss(theta):
        leaked.append(theta * 2)
        return (leaked[0] * theta).sum()

    gc.disable()
    try:
        value_and_grad(loss)(theta)
        del theta
        assert held() is None
    finally:
        gc.enable()


# --- wrong uses, each with its sentence ----------------------------------------------------------


@pytest.mark.parametrize(
    "use, sentence",
    [
        (lambda x: np.exp(x).sum(), "got a Tensor and cannot differentiate through it: use the"),
        (lambda x: np.add(X, x).sum(), "got a Tensor and cannot differentiate through it: use the"),
        (lambda x: np.sum(x), r"np\.sum got a Tensor .* same name from npr\.autodiff"),
        (lambda x: np.concatenate([x, x]), r"np\.concatenate got a Tensor"),
        (lambda x: np.asarray(x), "turned into an array, which would lose its gradient"),
        (lambda x: np.array([x[0], 1.0]), "turned into an array, which would lose its gradient"),
        (lambda x: x.__setitem__(0, 1.0), "cannot be assigned to: build the new value with where"),
        (lambda x: x if x.sum() else 2 * x, r"truth of a Tensor .* use where\(condition, a, b\)"),
        (lambda x: float(x[0]), r"float\(tensor\) inside a gradient would lose it"),
    ],
)
def test_a_tensor_where_it_would_lose_its_gradient(use, sentence):
    with pytest.raises(TypeError, match=sentence):
        grad(use)(X)


@pytest.mark.parametrize("compare", [lambda x: x > 2, lambda x: x >= 3, lambda x: x == 3])
def test_a_comparison_is_a_plain_array_of_truths(compare):
    def f(x):
        assert type(compare(x)) is np.ndarray
        return ad.where(compare(x), 10 * x, x).sum()

    np.testing.assert_array_equal(grad(f)(X), [1, 1, 10])


def test_an_error_inside_the_loss_keeps_its_own_words():
    def loss(x):
        raise TypeError("something else")

    with pytest.raises(TypeError, match="^something else$"):
        grad(loss)(X)


@pytest.mark.parametrize("loss", [lambda x: x * x, lambda x: X], ids=["a Tensor", "a constant"])
def test_a_loss_is_a_scalar(loss):
    with pytest.raises(
        GradientError,
        match=r"grad needs a scalar, fn returned shape \(3,\); did you forget \.mean\(\)\?",
    ):
        grad(loss)(X)


@pytest.mark.parametrize(
    "theta, got",
    [
        (np.array([1, 2]), "int64"),
        (np.array([True]), "bool"),
        ([1.0, 2.0], "list"),
        (1.0, "float"),
    ],
)
def test_theta_is_an_array_of_floats(theta, got):
    with pytest.raises(GradientError, match=f"A gradient needs an array of floats, got {got}"):
        grad(lambda x: x)(theta)


def test_a_gradient_of_a_tensor_is_refused():
    with pytest.raises(GradientError, match="do not nest: got a Tensor where a plain array"):
        grad(lambda x: grad(lambda y: y.sum())(x).sum())(X)


@pytest.mark.parametrize(
    "mix",
    [lambda x, y: x * y, lambda x, y: ad.concatenate([x, y]), lambda x, y: ad.stack([y, x])],
    ids=["multiply", "concatenate", "stack"],
)
def test_tensors_of_two_gradients_do_not_mix(mix):
    with pytest.raises(GradientError, match="two different gradients met .* do not nest"):
        grad(lambda x: grad(lambda y: mix(x, y).sum())(X).sum())(X)


def test_a_tensor_of_a_finished_gradient_is_recognised():
    leaked = []

    def loss(x):
        leaked.append(x)
        return x.sum()

    grad(loss)(X)
    with pytest.raises(GradientError, match="belongs to a gradient that is already finished"):
        leaked[0] * 2


def test_a_pullback_refuses_a_theta_that_has_moved():
    theta = X.copy()
    _, pullback = vjp(lambda x: x * x, theta)
    theta[1] += 1e-9
    with pytest.raises(GradientError, match=r"x was changed in place after vjp\(f, x\)"):
        pullback(X)


def test_a_pullback_of_a_theta_with_nan_is_not_taken_for_a_moved_one():
    _, pullback = vjp(lambda x: 2 * x, np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(pullback(np.ones(2)), [2, 2])


@pytest.mark.parametrize("v, got", [(np.ones(2), r"\(2,\)"), (1.0, r"float|\(\)"), ([1.0], "list")])
def test_a_pullback_refuses_a_cotangent_of_another_shape(v, got):
    _, pullback = vjp(lambda x: x * x, X)
    with pytest.raises(GradientError, match=rf"needs v of shape \(3,\), got ({got})"):
        pullback(v)


@pytest.mark.parametrize(
    "use",
    [lambda x: ad.clip(X, x, 5.0), lambda x: ad.clip(X, 0.0, x), lambda x: ad.where(x, X, X)],
    ids=["clip low", "clip high", "where condition"],
)
def test_a_tensor_as_an_argument_without_a_derivative_is_refused(use):
    with pytest.raises(GradientError, match="has no derivative in its argument"):
        grad(lambda x: use(x).sum())(X)


# --- gradcheck itself ----------------------------------------------------------------------------


def planted(derivative):
    """x * x, with a pullback of our own making."""

    def f(x):
        if type(x) is not Tensor:
            return x * x
        data = x.data
        return record(data * data, [x], lambda g: [derivative(g, data)])

    return f


def test_gradcheck_returns_the_error_of_a_right_derivative():
    assert gradcheck(planted(lambda g, x: 2 * x * g), X) <= 1e-8
    assert gradcheck(lambda x: x * x, np.array([1e5])) <= 1e-8  # the step grows with x
    assert gradcheck(lambda x: x.sum(), np.ones((0, 2))) == 0


@pytest.mark.parametrize(
    "derivative",
    [
        lambda g, x: x * g,
        lambda g, x: 2 * x * g * (1 + 1e-5),
        lambda g, x: 2 * x * g + 1e-4 * (x == 2),
        lambda g, x: 2 * x * g.mean(),
        lambda g, x: 2 * x * g * np.where(x == 2, np.nan, 1),
    ],
    ids=["factor", "a little", "one entry", "right for g = 1 alone", "NaN"],
)
def test_gradcheck_catches_a_planted_error(derivative):
    with pytest.raises(GradientError, match="The gradient is wrong: at entry"):
        gradcheck(planted(derivative), X)


def test_gradcheck_shows_the_worst_entry():
    f = planted(lambda g, x: 2 * x * g + np.array([[0.0, 0.1], [5.0, 0.0]]))
    with pytest.raises(GradientError, match=r"at entry \(1, 0\) of \(2, 2\) the pullback gives"):
        gradcheck(f, np.ones((2, 2)))


def test_gradcheck_casts_to_float64_and_leaves_x_alone():
    x = frozen(X, np.float32)
    assert gradcheck(lambda x: x**3, x) <= 1e-8
