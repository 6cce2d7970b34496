"""Advantages and returns by hand, and errors for wrong shapes."""

import math

import numpy as np
import pytest
from support.kernel_cases import CASES, KERNELS, Draw

from npr.kernels import discounted_returns, gae, standardize

# --- generalized advantage estimates, by hand ----------------------------------------------------

REWARDS = np.array([[1.0], [1.0], [1.0]])
VALUES = np.array([[0.5], [0.4], [0.3]])
NEXT_VALUES = np.array([[0.4], [0.3], [0.2]])
NEVER, AT_ONE = np.zeros((3, 1)), np.array([[0.0], [1.0], [0.0]])


@pytest.mark.parametrize(
    "terminated, done, lam, expected",
    [
        (NEVER, NEVER, 0.8, [1.942592, 1.5036, 0.88]),
        (AT_ONE, AT_ONE, 0.8, [1.292, 0.6, 0.88]),
        (
            NEVER,
            AT_ONE,
            0.8,
            [0.86 + 0.72 * 0.87, 0.87, 0.88],
        ),  # truncated: bootstrapped, then a new episode
        (NEVER, NEVER, 1.0, [2.3558, 1.662, 0.88]),
        (NEVER, NEVER, 0.0, [0.86, 0.87, 0.88]),
    ],
    ids=["continuing", "terminated", "truncated", "lambda 1", "lambda 0"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gae_by_hand(terminated, done, lam, expected, dtype):
    arrays = [x.astype(dtype) for x in (REWARDS, VALUES, NEXT_VALUES, terminated, done)]
    A = gae(*arrays, 0.9, lam)
    assert A.shape == (3, 1) and A.dtype == dtype
    np.testing.assert_allclose(A[:, 0], expected, rtol=1e-6)


def test_returns_to_go_by_hand():
    A = gae(REWARDS, VALUES, NEXT_VALUES, NEVER, NEVER, 0.9, 0.8)
    np.testing.assert_allclose((A + VALUES)[:, 0], [2.442592, 1.9036, 1.18], rtol=1e-6)


def test_no_advantage_crosses_an_episode_or_an_environment():
    r, v, v_next, terminated, done, gamma, lam = CASES["gae"][1](Draw(1, 7, 3, np.float64))[:7]
    done[3] = 1
    before = gae(r, v, v_next, terminated, done, gamma, lam)
    r[4:], r[:, 2] = 1e6, -1e6
    after = gae(r, v, v_next, terminated, done, gamma, lam)
    np.testing.assert_array_equal(after[:4, :2], before[:4, :2])


# --- discounted returns, by hand -----------------------------------------------------------------


def column(*numbers):
    return np.array(numbers, np.float64)[:, None]


@pytest.mark.parametrize(
    "done, bootstrap, expected",
    [
        (column(0, 0, 0), None, [2.75, 3.5, 3]),
        (column(0, 0, 1), None, [2.75, 3.5, 3]),
        (column(0, 0, 1), column(0, 0, 4), [3.25, 4.5, 5]),
        (column(0, 0, 0), column(0, 0, 4), [3.25, 4.5, 5]),
        (column(0, 0, 0), column(9, 9, 4), [3.25, 4.5, 5]),  # used at episode ends only
        (column(1, 0, 1), column(8, 0, 4), [5, 4.5, 5]),
        (column(0, 1, 0), None, [2, 2, 3]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_discounted_returns_by_hand(done, bootstrap, expected, dtype):
    G = discounted_returns(
        column(1, 2, 3).astype(dtype),
        done,
        0.5,
        None if bootstrap is None else bootstrap.astype(dtype),
    )
    assert G.shape == (3, 1) and G.dtype == dtype
    np.testing.assert_array_equal(G[:, 0], expected)


def test_integer_rewards_have_float_returns():
    whole = np.array([[1], [2], [3]])
    np.testing.assert_array_equal(discounted_returns(whole, 0 * whole, 0.5)[:, 0], [2.75, 3.5, 3])
    advantages = gae(whole, whole, whole, 0 * whole, 0 * whole, 0.5, 0.5)
    np.testing.assert_array_equal(advantages[:, 0], [0.84375, 1.375, 1.5])


# --- wrong shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (3, 2, 1)])
def test_rewards_need_an_environment_axis(shape):
    x = np.zeros(shape)
    for name, call in (
        ("gae", lambda: gae(x, x, x, x, x, 0.9, 0.9)),
        ("discounted_returns", lambda: discounted_returns(x, x, 0.9)),
    ):
        with pytest.raises(
            ValueError, match=rf"{name} needs arrays of shape \(T, N\), got .* N = 1"
        ):
            call()


@pytest.mark.parametrize("wrong", ["v", "v_next", "terminated", "done"])
def test_gae_reports_the_array_with_the_wrong_shape(wrong):
    arrays = {key: np.zeros((3, 2)) for key in ("r", "v", "v_next", "terminated", "done")}
    arrays[wrong] = np.zeros((3, 1))
    with pytest.raises(ValueError, match=rf"gae needs {wrong} of r's shape \(3, 2\), got \(3, 1\)"):
        gae(**arrays, gamma=0.9, lam=0.9)


@pytest.mark.parametrize("wrong", ["done", "bootstrap"])
def test_discounted_returns_reports_the_array_with_the_wrong_shape(wrong):
    arrays = {key: np.zeros((3, 2)) for key in ("r", "done", "bootstrap")}
    arrays[wrong] = np.zeros((4, 2))
    with pytest.raises(ValueError, match=rf"needs {wrong} of r's shape \(3, 2\), got \(4, 2\)"):
        discounted_returns(**arrays, gamma=0.9)


# --- standardized advantages ---------------------------------------------------------------------


@pytest.fixture(params=["loop", "reference"])
def body(request, monkeypatch):
    """standardize, with one body of its kernel."""
    kernel = KERNELS["standardize"]
    monkeypatch.setattr("npr.kernels.returns._standardize", getattr(kernel, request.param))
    return standardize


def test_standardize_by_hand(body):
    """1, 2, 6 have mean 3 and variance (4 + 1 + 9) / 2 = 7."""
    x = np.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(body(x), np.array([-2, -1, 3]) / math.sqrt(7), rtol=1e-7)
    np.testing.assert_allclose(body(x.astype(int)), body(x), rtol=1e-6)
    assert x.tolist() == [1, 2, 6]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [0.0, 0.1, 1.3, -7.7, 1 / 3, 100.1, -1234.567, 1e-12, 3e7, 1e18])
def test_equal_numbers_are_standardized_to_zero(c, dtype, body):
    for n in range(2, 131):
        assert (body(np.full(n, c, dtype)) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [0.1, -7.7, 1234.567, 3e7])
def test_differences_of_rounding_stay_small(c, dtype, body):
    c, rng = dtype(c), np.random.default_rng(0)
    for n in (2, 10, 64, 129):
        x = np.where(rng.random(n) < 0.5, c, np.nextafter(c, dtype(np.inf)))
        assert np.abs(body(x)).max() < 0.3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e3])
@pytest.mark.parametrize("scale", [0.1, 1.0, 1e4])
def test_numbers_that_differ_have_mean_zero_and_deviation_one(scale, offset, dtype, body):
    x = (scale * (offset + np.random.default_rng(0).standard_normal(64))).astype(dtype)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean()) / exact.std(ddof=1)
    np.testing.assert_allclose(body(x), exact, atol=2e-3 if dtype is np.float32 else 1e-6)


def test_an_outlier_in_front_does_not_matter(body):
    x = np.array([1e6, *np.random.default_rng(0).standard_normal(50)], np.float32)
    np.testing.assert_allclose(body(x), body(x[::-1].copy())[::-1], atol=1e-3)
