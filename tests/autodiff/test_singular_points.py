"""Gradients where derivatives are infinite or undefined: rows that `where` drops, and limits."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from npr import autodiff as ad
from npr.autodiff import OPS, grad, gradcheck, value_and_grad

INF, NAN = np.inf, np.nan
SINGULAR = [0.0, -0.0, 1.0, -1.0, -2.5, 1e-300, -1e300, 1e300, INF, -INF, NAN]


def ordinary(rng, *shape):
    return rng.uniform(0.6, 1.9, shape)


def flags(x):
    return x > 1.2


def last(f):
    return lambda x: f(x, axis=-1)


# Operation -> (function of arrays, their widths): results of row i depend on row i of the arrays
# with a width (R, width), and on all of those without rows, which are given as (shape,).
ROWS = {
    **{
        name: (OPS[name], [2, 2])
        for name in ("add", "subtract", "multiply", "divide", "power", "minimum", "maximum")
    },
    **{
        name: (OPS[name], [2])
        for name in ("negative", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "softplus", "abs")
    },
    **{
        name: (last(OPS[name]), [3])
        for name in ("sum", "mean", "max", "min", "logsumexp", "log_softmax")
    },
    "clip": (lambda x: ad.clip(x, 0.9, 1.5), [2]),
    "where": (lambda a, b: ad.where(flags(ad.stop_gradient(a)), a, b), [2, 2]),
    "huber": (ad.huber, [2, 2]),
    "matmul": (ad.matmul, [3, (3, 2)]),
    "reshape": (lambda x: ad.reshape(x, (-1, 2, 2)), [4]),
    "transpose": (lambda x: ad.transpose(ad.reshape(x, (-1, 2, 3)), (0, 2, 1)), [6]),
    "getitem": (lambda x: ad.getitem(x, (slice(None), np.array([1, 0, 1]))), [2]),
    "pick": (lambda x: ad.pick(x, np.ones(len(x), int)), [3]),
    "concatenate": (lambda a, b: ad.concatenate([a, b], axis=-1), [2, 1]),
    "stack": (lambda a, b: ad.stack([a, b], axis=-1), [2, 2]),
}


def test_every_operation_has_a_function_of_rows():
    assert set(ROWS) == set(OPS)


every_operation = pytest.mark.parametrize("name", sorted(OPS))
many = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def gradients(f, arrays):
    """The gradient of the scalar f in each of its arrays."""

    def varied(i):
        return lambda x: f(*arrays[:i], x, *arrays[i + 1 :])

    return [grad(varied(i))(x) for i, x in enumerate(arrays)]


@every_operation
@many
@given(data=st.data())
def test_rows_that_where_drops_have_no_influence(name, data):
    f, widths = ROWS[name]
    seed = data.draw(st.integers(0, 2**32 - 1))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=4)))
    rng, R = np.random.default_rng(seed), len(kept)
    shapes = [(R, width) if isinstance(width, int) else width for width in widths]
    arrays = [ordinary(rng, *shape) for shape in shapes]
    for x, width in zip(arrays, widths):
        if isinstance(width, int):
            singular = st.lists(st.sampled_from(SINGULAR), min_size=width, max_size=width)
            for i in np.flatnonzero(~kept):
                x[i] = data.draw(singular)
    with np.errstate(all="ignore"):
        weights = rng.uniform(0.5, 2, np.shape(f(*arrays)))

        def loss(*arrays):
            rows = kept.reshape(-1, *[1] * (weights.ndim - 1))
            return (ad.where(rows, f(*arrays), 0) * weights).sum()

        def loss_of_kept(*arrays):
            return (f(*arrays) * weights[kept]).sum()

        got = gradients(loss, arrays)
    only = [x[kept] if isinstance(width, int) else x for x, width in zip(arrays, widths)]
    expected = gradients(loss_of_kept, only)
    for x, width, dx, right in zip(arrays, widths, got, expected):
        if isinstance(width, int):
            right, right[kept] = np.zeros_like(x), right
        np.testing.assert_allclose(dx, right, rtol=1e-12)


@every_operation
def test_the_gradients_of_kept_rows_are_those_of_finite_differences(name):
    f, widths = ROWS[name]
    rng = np.random.default_rng(0)
    arrays = [ordinary(rng, *((4, w) if isinstance(w, int) else w)) for w in widths]
    for i, x in enumerate(arrays):
        gradcheck(lambda x, i=i: f(*arrays[:i], x, *arrays[i + 1 :]), x)


@pytest.mark.parametrize(
    ("f", "x", "value", "derivative"),
    [
        # powers: x^0 is 1 for every x, 0^p is 0 for every p > 0
        (lambda x: x**0, [0.0, INF, -3.0], [1, 1, 1], [0, 0, 0]),
        (lambda x: x**0.0, [0.0], [1], [0]),
        (lambda x: x ** np.zeros(1), [0.0], [1], [0]),
        (lambda x: x**1, [0.0, -2.0], [0, -2], [1, 1]),
        (lambda x: x**2, [0.0, -2.0], [0, 4], [0, -4]),
        (lambda x: x**3.0, [0.0, -2.0], [0, -8], [0, 12]),
        (lambda x: x**0.5, [0.0, 4.0, INF], [0, 2, INF], [INF, 0.25, 0]),
        (lambda x: x**-1, [-2.0, INF], [-0.5, 0], [-0.25, 0]),
        (lambda p: np.zeros(3) ** p, [0.0, 1.0, 2.0], [1, 0, 0], [0, 0, 0]),
        (lambda p: 0.0**p, [0.0, 0.5], [1, 0], [0, 0]),
        (lambda p: 0**p, [0.0, 3.0], [1, 0], [0, 0]),
        (lambda p: np.full(2, INF) ** p, [-1.0, -2.0], [0, 0], [0, 0]),
        (lambda p: 1.0**p, [0.0, 7.0], [1, 1], [0, 0]),
        # what is constant stays constant beside an infinite derivative
        (lambda x: ad.sqrt(ad.relu(x)), [-1.0, 4.0], [0, 2], [0, 0.25]),
        (lambda x: ad.sqrt(ad.maximum(x, 0)), [-1.0, 4.0], [0, 2], [0, 0.25]),
        (lambda x: ad.sqrt(ad.maximum(0, x)), [-1.0, 4.0], [0, 2], [0, 0.25]),
        (lambda x: ad.sqrt(-ad.minimum(x, 0)), [1.0, -4.0], [0, 2], [0, -0.25]),
        (lambda x: ad.sqrt(-ad.minimum(0, x)), [1.0, -4.0], [0, 2], [0, -0.25]),
        (lambda x: ad.log(ad.clip(x, 0, 1)), [-3.0, 0.5, 2.0], [-INF, np.log(0.5), 0], [0, 2, 0]),
        (lambda x: ad.sqrt(ad.where(x > 0, x, 0)), [-1.0, 4.0], [0, 2], [0, 0.25]),
        (lambda x: ad.sqrt(x.max() - 2.0), [2.0, 1.0], 0, [INF, 0]),
        (lambda x: ad.sqrt(x.min() - 1.0), [2.0, 1.0], 0, [0, INF]),
        # masked logits
        (ad.logsumexp, [0.0, -INF, 1.0], np.log(1 + np.e), [1 / (1 + np.e), 0, np.e / (1 + np.e)]),
        (lambda x: ad.log_softmax(x)[0], [0.0, -INF], 0, [0, 0]),
        (lambda x: ad.exp(ad.log_softmax(x))[1], [0.0, -INF, 0.0], 0, [0, 0, 0]),
        # huge and infinite arguments of bounded slopes
        (lambda x: ad.huber(x, 0.0), [INF, -1e300], [INF, 1e300], [1, -1]),
        (ad.tanh, [INF, -1e300], [1, -1], [0, 0]),
        (ad.exp, [-INF, -1e300], [0, 0], [0, 0]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_derivatives_at_singular_points_are_their_limits(f, x, value, derivative):
    y, g = value_and_grad(lambda x: (f(x).sum(), f(x)), has_aux=True)(np.array(x))
    np.testing.assert_allclose(y[1], value)
    np.testing.assert_allclose(g, derivative, rtol=1e-12)


def test_a_dropped_branch_gives_no_warning_of_its_own():
    """The forward pass warns where a plain function would; the pullback adds nothing."""
    x = np.array([0.0, 4.0])
    g = grad(lambda x: ad.where(x > 1, ad.sqrt(x), 0).sum())(x)
    np.testing.assert_array_equal(g, [0, 0.25])


def test_infinities_that_matter_are_not_hidden():
    with np.errstate(divide="ignore"):
        assert grad(lambda x: ad.sqrt(x).sum())(np.zeros(1))[0] == INF
        assert grad(lambda x: ad.log(x).sum())(np.zeros(1))[0] == INF
        assert grad(lambda x: (1 / x).sum())(np.zeros(1))[0] == -INF
    x = np.array([[NAN, 1.0], [1.0, 2.0]])
    g = grad(lambda w: ad.matmul(x, w).sum())(np.ones(2))
    assert np.isnan(g[0]) and g[1] == 3
