"""Guarded rules on the strict double of CuPy, where each is one kernel, against those of NumPy."""

import numpy as np
import pytest
from support import cuda

from npr import autodiff as ad

FUNCTIONS = {
    "a * b": lambda a, b: a * b,
    "b * a": lambda a, b: b * a,
    "a * a": lambda a, b: a * a,
    "a / b": lambda a, b: a / b,
    "b / a": lambda a, b: b / a,
    "2 a": lambda a, b: 2 * a,
    "a / 2": lambda a, b: a / 2,
    "a times infinity": lambda a, b: a * float("inf"),
    "a^2": lambda a, b: a**2,
    "a^0": lambda a, b: a**0,
    "a^b": lambda a, b: abs(a) ** b,
    "a row of b": lambda a, b: a * b[:1],
    "a mask": lambda a, b: a * (b > 0),
    "exp": lambda a, b: ad.exp(a),
    "log": lambda a, b: ad.log(abs(a)),
    "sqrt": lambda a, b: ad.sqrt(abs(a)),
    "tanh": lambda a, b: ad.tanh(a),
    "sigmoid": lambda a, b: ad.sigmoid(a),
    "softplus": lambda a, b: ad.softplus(a),
    "huber": lambda a, b: ad.huber(a, b),
    "logsumexp": lambda a, b: ad.logsumexp(a),
    "mean": lambda a, b: a.mean(axis=1),
    "mean of all": lambda a, b: a.mean(),
    "min of rows": lambda a, b: a.min(axis=0),
    "max of columns with ties": lambda a, b: ad.maximum(a, 0).max(axis=1),
    "max of all": lambda a, b: a[3:].max(),
    "min, its axes kept": lambda a, b: a.min(axis=0, keepdims=True),
    "a sum over the rows of a broadcast": lambda a, b: a[:1] + b,
    "mean, its axes kept": lambda a, b: a.mean(axis=0, keepdims=True),
}


def value_and_cotangent(function, a, b, g):
    value, pullback = ad.vjp(lambda a: FUNCTIONS[function](a, b), a)
    size = int(np.prod(value.shape))
    return value, pullback(g.reshape(-1)[:size].reshape(value.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_rule_of_the_device_equals_that_of_the_host(function, dtype):
    """Also in rows that are not finite, whose cotangents are zero."""
    a, b, g = np.random.default_rng(0).standard_normal((3, 4, 3))
    a[1], a[2], b[2], g[1:3] = [np.nan, np.inf, 0], [-np.inf, 0, 1], [np.inf, np.nan, 0], 0
    outcome = cuda.run(
        value_and_cotangent, function, a, b, g, dtype=dtype, reference=value_and_cotangent
    )
    for got, expected in zip(outcome.device, outcome.reference, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == "float32" else 1e-13)


def gradients(x):
    """Of the identity, twice: the first is overwritten."""
    identity = ad.grad(lambda x: x.reshape(()))
    first = identity(x)
    first += 1
    return first, identity(x)


def test_a_gradient_does_not_share_memory_with_the_next_one():
    *_, second = cuda.run(gradients, np.array([3.0]), reference=gradients).device
    assert second == 1
