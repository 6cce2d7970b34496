"""Operations at extreme arguments and at kinks."""

import numpy as np
import pytest

from npr import autodiff as ad
from npr.autodiff import grad, stop_gradient, value_and_grad, vjp

FAR = [-np.inf, -1e4, 0.0, 1e4, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "op, value, derivative",
    [
        (ad.sigmoid, [0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
        (ad.softplus, [0, 0, np.log(2), 1e4, np.inf], [0, 0, 0.5, 1, 1]),
        (ad.tanh, [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
    ],
)
def test_activations_have_their_limits(op, value, derivative, dtype):
    x = np.array(FAR, dtype)
    y, pullback = vjp(op, x)
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.ones_like(x)), derivative, rtol=1e-6)


@pytest.mark.parametrize("dtype, precision", [(np.float32, 1e-3), (np.float64, 1e-11)])
@pytest.mark.parametrize(
    "x, value, derivative",
    [
        ([1e4, 1e4], 1e4 + np.log(2), [0.5, 0.5]),
        ([-1e4, -1e4], -1e4 + np.log(2), [0.5, 0.5]),
        ([-1e4, 1e4], 1e4, [0, 1]),
        ([-np.inf, 0.0], 0.0, [0, 1]),
        ([-np.inf, -1e4], -1e4, [0, 1]),
    ],
)
def test_logsumexp_is_finite_for_large_arguments(x, value, derivative, dtype, precision):
    y, pullback = vjp(ad.logsumexp, np.array(x, dtype))
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.ones_like(y)), derivative, rtol=precision)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "x, value, derivative",
    [
        ([1e4, 1e4], [-np.log(2), -np.log(2)], [-0.5, 0.5]),
        ([-1e4, -1e4], [-np.log(2), -np.log(2)], [-0.5, 0.5]),
        ([-1e4, 1e4], [-2e4, 0], [0, 0]),
        ([1e4, -1e4], [0, -2e4], [-1, 1]),
        ([-np.inf, 0.0], [-np.inf, 0], [0, 0]),
    ],
)
def test_log_softmax_is_exact_for_large_arguments(x, value, derivative, dtype):
    y, pullback = vjp(ad.log_softmax, np.array(x, dtype))
    np.testing.assert_allclose(y, value, rtol=1e-6)
    np.testing.assert_allclose(pullback(np.array([0, 1], dtype)), derivative, rtol=1e-6)


@pytest.mark.parametrize("op, at_four", [(ad.sqrt, 0.25), (ad.log, 0.25)])
def test_the_unused_branch_of_where_has_no_gradient(op, at_four):
    def f(x):
        return ad.where(stop_gradient(x) > 0, op(x), 0).sum()

    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(grad(f)(np.array([0.0, 4.0])), [0, at_four])


@pytest.mark.parametrize(
    "op, x, derivative",
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
def test_derivatives_at_kinks(op, x, derivative):
    gradient = grad(lambda x: op(x).sum())(np.array(x))
    np.testing.assert_array_equal(gradient, derivative)


def test_huber_by_hand():
    """An error of 2.3 with delta = 1."""
    loss, derivative = value_and_grad(lambda x: ad.huber(x[0], x[1]))(np.array([0.5, 2.8]))
    np.testing.assert_allclose((loss, *derivative), (1.8, -1, 1))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_pick_takes_negative_indices(shape):
    x, last = np.arange(float(np.prod(shape))).reshape(shape), np.full(shape[:-1], -1)
    y, pullback = vjp(lambda x: ad.pick(x, last), x)
    np.testing.assert_array_equal(y, x[..., -1])
    np.testing.assert_array_equal(pullback(np.ones(y.shape)), np.broadcast_to([0, 0, 1], shape))
