"""Operators and methods of Tensor."""

import numpy as np
import pytest
from support.arrays import cotangent

from npr import autodiff as ad
from npr.autodiff import value_and_grad, vjp

A = np.array([[0.5, 1.5], [2.5, 0.75]])

OPERATORS = {
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


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_and_methods_equal_functions(operator):
    short, long = OPERATORS[operator]
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    (y, pullback), (expected, pullback_long) = vjp(short, x), vjp(long, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(y, short(x))
    v = cotangent(y)
    np.testing.assert_array_equal(pullback(v), pullback_long(v))


def test_a_tensor_has_a_shape_and_a_repr():
    def f(x):
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float32, 2)
        assert "Tensor(array" in repr(x)
        return x.sum()

    value_and_grad(f)(np.ones((2, 3), np.float32))


def test_the_class_itself_defines_the_operators_as_operations():
    for method, name in {
        "__add__": "add", "__sub__": "subtract", "__mul__": "multiply", "__truediv__": "divide",
        "__pow__": "power", "__matmul__": "matmul", "__neg__": "negative", "__abs__": "abs",
        "__getitem__": "getitem", "sum": "sum", "mean": "mean", "max": "max", "min": "min",
        "reshape": "reshape", "transpose": "transpose",
    }.items():  # fmt: skip
        assert vars(ad.Tensor)[method] is getattr(ad, name) is ad.OPS[name]
