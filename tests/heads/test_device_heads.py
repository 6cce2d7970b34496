"""Functions of distributions in one kernel each way, against their composition on the host."""

import numpy as np
import pytest
from support import cuda
from support.proof_size import half

from npr.autodiff import vjp
from npr.heads import Bernoulli, Gaussian, log_slope

HEADS = {"Gaussian": Gaussian, "Bernoulli": Bernoulli}
FUNCTIONS = {
    "log_prob": lambda head, x, y, a: head(x).log_prob(a),
    "entropy": lambda head, x, y, a: head(x).entropy(),
    "kl": lambda head, x, y, a: head(x).kl(head(y)),
    "kl of the other": lambda head, x, y, a: head(y).kl(head(x)),
    "kl of both": lambda head, x, y, a: head(x).kl(head(2 * x)),
    "mean": lambda head, x, y, a: head(x).log_prob(a).mean(),  # its cotangent is a broadcast one
}
every_head = pytest.mark.parametrize("head", HEADS)
every_function = pytest.mark.parametrize("function", FUNCTIONS)


def value_and_cotangent(head, function, x, y, a, g):
    """The value at plain parameters x, then with the cotangent of x on a tape."""
    plain = FUNCTIONS[function](HEADS[head], x, y, a)
    value, pullback = vjp(lambda x: FUNCTIONS[function](HEADS[head], x, y, a), x)
    return plain, value, pullback(g if g.shape == value.shape else g.reshape(-1)[0])


def arguments(head, batch, D, seed=0):
    rng = np.random.default_rng(seed)
    K = 2 * D if head == "Gaussian" else D
    a = (
        rng.standard_normal((*batch, D))
        if head == "Gaussian"
        else rng.integers(2, size=(*batch, D))
    )
    x, y = rng.standard_normal((2, *batch, K))
    return x, y, a, rng.standard_normal(batch)


def compare(head, function, *arguments, launches=3, tolerance=1e-12):
    outcomes = cuda.check(
        value_and_cotangent, head, function, *arguments, launches=launches,
        reference=value_and_cotangent, tolerance={"float64": tolerance},
    )  # fmt: skip
    return outcomes["float64"].device[-3:]


@pytest.mark.parametrize(
    "head, function, batch, D",
    half(HEADS, FUNCTIONS, [(), (1,), (5,), (70,), (2, 3)], [1, 3, 40]),
    ids=str,
)
def test_a_kernel_equals_the_composition(head, function, batch, D):
    compare(head, function, *arguments(head, batch, D))


@every_head
@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "mean"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_row_whose_cotangent_is_zero_has_no_influence(head, function, bad):
    """As in the composition, even if its parameters are not finite."""
    x, y, a, g = arguments(head, (3,), 2)
    x[1], g[1] = bad, 0
    _, value, cotangent = compare(head, function, x, y, a, g)
    assert cotangent.any(axis=1).tolist() == [True, False, True]
    assert np.isfinite(value[[0, 2]]).all()


@every_function
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bits_of_probability_one_have_no_entropy_and_no_divergence(function):
    x = np.array([[np.inf, 0.3], [-np.inf, 1e4]])
    a, g = np.array([[1, 0], [0, 1]]), np.ones(2)
    _, value, cotangent = compare("Bernoulli", function, x, x.copy(), a, g)
    assert np.isfinite(value).all() and np.isfinite(cotangent).all()


@pytest.mark.parametrize("function", ["log_prob", "kl"])
def test_arguments_of_other_shapes_and_types_are_composed(function):
    """Which broadcasts, for example."""
    x, y, a, g = arguments("Gaussian", (4,), 3)
    value_and_cotangent("Gaussian", function, x, y[0], a[0], g)
    outcome = cuda.run(
        value_and_cotangent, "Gaussian", function, x, y[0], a[0], g, reference=value_and_cotangent
    )
    assert outcome.launches == 0
    for got, expected in zip(outcome.device, outcome.reference, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def log_prob_in_actions(x, a, g):
    value, pullback = vjp(lambda a: Gaussian(x).log_prob(a), a)
    return value, pullback(g)


def test_actions_on_a_tape_are_composed():
    x, _, a, g = arguments("Gaussian", (4,), 3)
    outcome = cuda.run(log_prob_in_actions, x, a, g, reference=log_prob_in_actions)
    assert outcome.launches == 0
    for got, expected in zip(outcome.device, outcome.reference, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def slope_and_cotangent(u, g):
    value, pullback = vjp(log_slope, u)
    return log_slope(u), value, pullback(g)


@pytest.mark.parametrize("shape", [(), (5,), (70, 3, 2)], ids=str)
def test_the_slope_of_tanh_is_one_kernel_each_way(shape):
    u, g = 3 * np.random.default_rng(0).standard_normal((2, *shape))
    cuda.check(slope_and_cotangent, u, g, launches=3, reference=slope_and_cotangent)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_slope_of_tanh_at_extremes():
    u, g = np.array([1e4, -1e4, np.nan, np.inf, 0, 0]), np.array([1.0, 1, 0, 0, 0, 1])
    outcome = cuda.check(slope_and_cotangent, u, g, launches=3, reference=slope_and_cotangent)
    assert outcome["float64"].device[-1].tolist() == [-2, 2, 0, 0, 0, 0]
