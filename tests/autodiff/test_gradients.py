"""vjp, grad and value_and_grad."""

import gc
import weakref

import numpy as np
import pytest

from npr import autodiff as ad
from npr.autodiff import Tensor, grad, record, stop_gradient, value_and_grad, vjp

X = np.array([1.0, 2.0, 3.0])


def test_value_and_gradient_of_a_loss_with_arguments():
    value, gradient = value_and_grad(lambda x, scale, shift: (scale * x * x + shift).sum())(X, 2, 1)
    assert value == 31 and type(value) is np.float64
    np.testing.assert_array_equal(gradient, 4 * X)
    np.testing.assert_array_equal(grad(lambda x, scale: (scale * x).sum())(X, 5), [5, 5, 5])


def test_a_pullback_may_be_called_many_times():
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
def test_a_constant_has_gradient_zero(constant):
    value, gradient = value_and_grad(lambda x: constant)(X)
    assert value == 3.0
    np.testing.assert_array_equal(gradient, [0, 0, 0])
    value, pullback = vjp(lambda x: constant, X)
    assert value == 3.0
    np.testing.assert_array_equal(pullback(np.ones(())), [0, 0, 0])


def test_unused_values_do_not_affect_the_gradient():
    def f(x):
        ad.exp(x) * x
        return x[0] * stop_gradient(x[1])

    np.testing.assert_array_equal(grad(f)(X), [2, 0, 0])


def test_a_custom_pullback_may_return_none_for_zero():
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


def test_a_gradient_of_plain_arrays_within_a_loss_is_a_constant():
    slope = grad(lambda u: (u * u).sum())
    np.testing.assert_array_equal(grad(lambda x: (slope(X) * x).sum())(X), 2 * X)


def test_a_finished_gradient_frees_its_arrays_if_a_tensor_leaks():
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


# --- uses of a Tensor that would lose its gradient ----------------------------------------------


@pytest.mark.parametrize(
    "use, message",
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
def test_uses_that_would_lose_the_gradient_are_refused(use, message):
    with pytest.raises(TypeError, match=message):
        grad(use)(X)
