"""Errors for wrong uses of Tensors and gradients."""

import numpy as np
import pytest

from npr import autodiff as ad
from npr.autodiff import grad, vjp
from npr.errors import GradientError

X = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("compare", [lambda x: x > 2, lambda x: x >= 3, lambda x: x == 3])
def test_a_comparison_gives_a_plain_boolean_array(compare):
    def f(x):
        assert type(compare(x)) is np.ndarray
        return ad.where(compare(x), 10 * x, x).sum()

    np.testing.assert_array_equal(grad(f)(X), [1, 1, 10])


def test_an_error_in_the_loss_is_not_changed():
    def loss(x):
        raise TypeError("something else")

    with pytest.raises(TypeError, match="^something else$"):
        grad(loss)(X)


@pytest.mark.parametrize("loss", [lambda x: x * x, lambda x: X], ids=["a Tensor", "a constant"])
def test_a_loss_must_be_a_scalar(loss):
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
def test_theta_must_be_an_array_of_floats(theta, got):
    with pytest.raises(GradientError, match=f"A gradient needs an array of floats, got {got}"):
        grad(lambda x: x)(theta)


def test_nested_gradients_are_refused():
    with pytest.raises(GradientError, match="do not nest: got a Tensor where a plain array"):
        grad(lambda x: grad(lambda y: y.sum())(x).sum())(X)


@pytest.mark.parametrize(
    "mix",
    [lambda x, y: x * y, lambda x, y: ad.concatenate([x, y]), lambda x, y: ad.stack([y, x])],
    ids=["multiply", "concatenate", "stack"],
)
def test_tensors_of_two_gradients_are_refused(mix):
    with pytest.raises(GradientError, match="two different gradients met .* do not nest"):
        grad(lambda x: grad(lambda y: mix(x, y).sum())(X).sum())(X)


def test_a_tensor_of_a_finished_gradient_is_refused():
    leaked = []

    def loss(x):
        leaked.append(x)
        return x.sum()

    grad(loss)(X)
    with pytest.raises(GradientError, match="belongs to a gradient that is already finished"):
        leaked[0] * 2


def test_a_pullback_refuses_a_theta_that_was_changed_in_place():
    theta = X.copy()
    _, pullback = vjp(lambda x: x * x, theta)
    theta[1] += 1e-9
    with pytest.raises(GradientError, match=r"x was changed in place after vjp\(f, x\)"):
        pullback(X)


def test_a_pullback_accepts_an_unchanged_theta_with_nan():
    _, pullback = vjp(lambda x: 2 * x, np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(pullback(np.ones(2)), [2, 2])


@pytest.mark.parametrize("v, got", [(np.ones(2), r"\(2,\)"), (1.0, r"float|\(\)"), ([1.0], "list")])
def test_a_pullback_refuses_a_cotangent_of_the_wrong_shape(v, got):
    _, pullback = vjp(lambda x: x * x, X)
    with pytest.raises(GradientError, match=rf"needs v of shape \(3,\), got ({got})"):
        pullback(v)


@pytest.mark.parametrize(
    "use",
    [lambda x: ad.clip(X, x, 5.0), lambda x: ad.clip(X, 0.0, x), lambda x: ad.where(x, X, X)],
    ids=["clip low", "clip high", "where condition"],
)
def test_a_tensor_as_argument_without_derivative_is_refused(use):
    with pytest.raises(GradientError, match="has no derivative in its argument"):
        grad(lambda x: use(x).sum())(X)
