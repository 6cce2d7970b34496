"""CUDA kernels of returns and advantages, against their references."""

import numpy as np
import pytest
from support import cuda
from support.kernel_cases import CASES, KERNELS, Draw

# (T - 1, N): a thread per environment, 64 in a block
SHAPES = [(0, 1), (4, 1), (30, 31), (7, 64), (7, 65), (2, 300), (300, 3)]


def check(name, *args, launches=1, **options):
    """The arrays after the launch in float64, which equal those of the reference in both types."""
    options = {"tolerance": {"float64": 1e-12}, **options}
    return cuda.check(KERNELS[name], *args, launches=launches, **options)["float64"].device


@pytest.mark.parametrize("name", ["gae", "returns"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_launch_equals_the_reference(name, shape):
    for seed in (0, 1):  # flags are booleans and numbers
        *_, result = check(name, *CASES[name][1](Draw(seed, *shape, np.float64)))
        assert result.shape == (shape[0] + 1, shape[1])


@pytest.mark.parametrize("name, after", [("gae", 2), ("returns", 3)])
def test_a_number_that_is_not_finite_is_not_hidden(name, after):
    """In column 1, where an episode ends at step 2 of 8: its return does not depend on later ones,
    but an advantage has them times zero, as in the reference."""
    args = list(CASES[name][1](Draw(0, 7, 3, np.float64)))
    for i in (3, 4) if name == "gae" else (1,):
        args[i] = np.zeros((8, 3))
        args[i][2] = 1
    for place, last in ((0, 4), (after, 7)):
        held = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
        held[place][last, 1] = np.nan
        *_, result = check(name, *held)
        expected = np.zeros((8, 3), bool)
        expected[0 if name == "gae" else 3 : last + 1, 1] = True
        np.testing.assert_array_equal(np.isnan(result), expected)


def test_integer_rewards_are_converted():
    r, v, *rest = CASES["gae"][1](Draw(0, 5, 3, np.float64))
    check("gae", np.arange(18).reshape(6, 3), v, *rest)


SIZES = [2, 31, 256, 257, 1024, 1025, 2**14 - 1, 2**14, 70_000]  # 2**14: more than one block


@pytest.mark.parametrize("n", SIZES)
def test_standardize_equals_the_reference(n):
    rng = np.random.default_rng(n)
    for x in (rng.standard_normal(n), 1e3 + rng.standard_normal(n)):
        tolerance = {"float32": 1e-4, "float64": 1e-11}
        launches = 1 if n < 2**14 else 3
        *_, y = check("standardize", x, np.empty(n), launches=launches, tolerance=tolerance)
        assert abs(y.mean()) < 1e-12 and y.std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize("n", [2, 300, 5000, 20_000])
@pytest.mark.parametrize("c", [0.0, 0.1, -1234.567, 3e7, 1e-12])
def test_equal_numbers_are_standardized_to_zero(c, n):
    for outcome in cuda.check(KERNELS["standardize"], np.full(n, c), np.empty(n)).values():
        assert (outcome.device[1] == 0).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n, launches", [(300, 1), (20_000, 3)])
def test_standardize_does_not_hide_a_number_that_is_not_finite(bad, n, launches):
    for place in (0, n - 1):
        x = np.random.default_rng(0).standard_normal(n)
        x[place] = bad
        *_, y = check("standardize", x, np.empty(n), launches=launches)
        assert np.isnan(y[place])


def test_no_numbers_start_nothing():
    assert cuda.run(KERNELS["standardize"], np.empty(0), np.empty(0)).launches == 0
    for name in ("gae", "returns"):
        args = CASES[name][1](Draw(0, 3, 2, np.float64))
        empty = [x[:, :0] if isinstance(x, np.ndarray) else x for x in args]
        assert check(name, *empty, launches=0)[-1].shape == (4, 0)
