"""Values and gradients have the type of the array that the gradient is taken in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npr import autodiff as ad
from npr.autodiff import OPS, grad, value_and_grad, vjp
from npr.errors import GradientError
from npr.heads import Bernoulli, Categorical, Gaussian, TanhGaussian
from npr.losses import clipped_surrogate, mse, td_huber
from npr.nn import MLP

from .test_ops import CASES, settings_of_operations, varying

F32, F64 = np.float32, np.float64
THETA = np.array([0.5, 1.0, 1.5], F32)

OTHERS = {
    "float64 array": np.array([1.0, 2.0, 3.0]),
    "int64 array": np.array([1, 2, 3]),
    "uint8 array": np.array([1, 2, 3], np.uint8),
    "bool array": np.array([True, True, True]),
    "float64 scalar": F64(2),
    "float16 scalar": np.float16(2),
    "int64 scalar": np.int64(2),
    "float64 array of no axes": np.array(2.0),
    "float": 2.0,
    "int": 2,
    "bool": True,
}
BINARY = ("add", "subtract", "multiply", "divide", "power", "minimum", "maximum", "huber")


@pytest.mark.parametrize("dtype", [np.float16, F32, F64])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", BINARY)
def test_the_other_argument_does_not_change_the_type(name, other, dtype):
    c, op, theta = OTHERS[other], OPS[name], THETA.astype(dtype)
    sides = [lambda t: op(t, c), lambda t: op(c, t), lambda t: ad.where(c, t, 2 * t)]
    for f in sides:
        value, g = value_and_grad(lambda t, f=f: (f(t) * f(t)).mean())(theta)
        assert value.dtype == g.dtype == dtype
        y, pullback = vjp(f, theta)
        assert y.dtype == dtype
        for v in (np.ones(3), np.ones(3, int), np.ones(3, F32)):
            assert pullback(v).dtype == dtype


@pytest.mark.parametrize("name", sorted(OPS))
@settings_of_operations
@given(data=st.data())
def test_float64_arguments_of_an_operation_are_rounded(name, data):
    case = data.draw(CASES[name])
    for i, x in enumerate(case.arrays):  # the other arguments are float64
        f = varying(case, i)
        y, pullback = vjp(f, x.astype(F32))
        assert y.dtype == F32 and pullback(np.ones(y.shape)).dtype == F32
        np.testing.assert_allclose(y, f(x), rtol=1e-4, atol=1e-5)


Q, A = np.array([[0.1, 0.7, -0.2], [1.0, 0.3, 0.4]], F32), np.array([1, 2])
OUT, WIDE = np.array([[0.1, 0.7, -0.2, 0.3]], F32), np.array([[0.5, 0.2, 0.1, -0.3]])
NETWORK = MLP(3, [4], 2)
FUNCTIONS = {
    "mse": (lambda q: mse(q, np.ones((2, 3))), Q),
    "td_huber": (lambda q: td_huber(q, A, np.ones(2))[0], Q),
    "clipped_surrogate": (lambda r: clipped_surrogate(r, np.ones((2, 3)), 0.2), Q),
    "Categorical.kl": (lambda x: Categorical(x).kl(Categorical(WIDE)), OUT),
    "Categorical.kl, other": (lambda x: Categorical(WIDE).kl(Categorical(x)), OUT),
    "expectation": (lambda x: Categorical(x).expectation()[2](WIDE), OUT),
    "Bernoulli.log_prob": (lambda x: Bernoulli(x).log_prob(np.array([[0, 1, 1, 0]])), OUT),
    "Bernoulli.kl": (lambda x: Bernoulli(x).kl(Bernoulli(WIDE)), OUT),
    "Gaussian.log_prob": (lambda x: Gaussian(x).log_prob(WIDE[:, :2]), OUT),
    "Gaussian.sample": (lambda x: Gaussian(x).sample(WIDE[:, :2]), OUT),
    "TanhGaussian.log_prob": (lambda x: TanhGaussian(x).log_prob(WIDE[:, :2]), OUT),
    "TanhGaussian.sample": (lambda x: TanhGaussian(x).sample(WIDE[:, :2])[0], OUT),
    "TanhGaussian.sample, logp": (lambda x: TanhGaussian(x).sample(WIDE[:, :2])[1], OUT),
    "MLP": (lambda t: NETWORK(t, np.ones((5, 3))), NETWORK.init(np.random.default_rng(0))),
    "MLP, input": (lambda x: NETWORK(np.ones(NETWORK.size), x), Q),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_losses_distributions_and_networks_round_too(name):
    f, x = FUNCTIONS[name]
    x = x.astype(F32)
    loss, g = value_and_grad(lambda x: ad.mean(f(x)))(x)
    exact, slope = value_and_grad(lambda x: ad.mean(f(x)))(x.astype(F64))
    assert loss.dtype == g.dtype == F32 and exact.dtype == slope.dtype == F64
    np.testing.assert_allclose(loss, exact, rtol=1e-5)
    np.testing.assert_allclose(g, slope, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_the_input_itself_has_its_type():
    assert vjp(lambda t: t, THETA)[1](np.ones(3)).dtype == F32
    assert grad(lambda t: F64(2.0))(THETA).dtype == F32


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda t: (t * 1j).sum(), "multiply"),
        (lambda t: (t + np.full(3, 1j)).sum(), "add"),
        (lambda t: (t ** (1j)).sum(), "power"),
        (lambda t: (t * (-8.0) ** 0.5).sum(), "multiply"),
        (lambda t: ad.where(np.arange(3) > 1, t, 1j).sum(), "where"),
        (lambda t: ad.concatenate([t, np.full(3, 1j)]).sum(), "concatenate"),
        (lambda t: mse(t, np.full(3, 1j)), "mse"),
    ],
)
def test_a_complex_result_is_refused(f, name):
    with pytest.raises(GradientError, match=rf"{name} gave complex\d+, but a gradient needs real"):
        grad(f)(THETA)


def test_a_complex_cotangent_and_a_complex_input_are_refused():
    with pytest.raises(GradientError, match="The v of a pullback gave complex128"):
        vjp(lambda t: 2 * t, THETA)[1](np.full(3, 1j))
    with pytest.raises(GradientError, match="needs an array of floats, got complex128"):
        grad(lambda t: t.sum())(np.full(3, 1j))
    with pytest.raises(GradientError, match="multiply gave object"):
        grad(lambda t: (t * np.array([1, 2, 3], object)).sum())(THETA)
