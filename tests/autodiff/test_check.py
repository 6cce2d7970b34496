"""gradcheck accepts correct derivatives and detects wrong ones."""

import numpy as np
import pytest
from support.arrays import frozen

from npr.autodiff import Tensor, gradcheck, record
from npr.errors import GradientError

X = np.array([1.0, 2.0, 3.0])


def square_with(derivative):
    """x * x with the given derivative in its pullback."""

    def f(x):
        if type(x) is not Tensor:
            return x * x
        data = x.data
        return record(data * data, [x], lambda g: [derivative(g, data)])

    return f


def test_gradcheck_returns_the_error_of_a_correct_derivative():
    assert gradcheck(square_with(lambda g, x: 2 * x * g), X) <= 1e-8
    assert gradcheck(lambda x: x * x, np.array([1e5])) <= 1e-8  # the step grows with x
    assert gradcheck(lambda x: x.sum(), np.ones((0, 2))) == 0


@pytest.mark.parametrize(
    "derivative",
    [
        lambda g, x: x * g,
        lambda g, x: 2 * x * g * (1 + 1e-5),
        lambda g, x: 2 * x * g + 1e-4 * (x == 2),
        lambda g, x: 2 * x * g.mean(),
        lambda g, x: 2 * x * g * np.where(x == 2, np.nan, 1),
    ],
    ids=["factor", "a little", "one entry", "correct for g = 1 only", "NaN"],
)
def test_gradcheck_detects_wrong_derivatives(derivative):
    with pytest.raises(GradientError, match="The gradient is wrong: at entry"):
        gradcheck(square_with(derivative), X)


def test_gradcheck_shows_the_worst_entry():
    f = square_with(lambda g, x: 2 * x * g + np.array([[0.0, 0.1], [5.0, 0.0]]))
    with pytest.raises(GradientError, match=r"at entry \(1, 0\) of \(2, 2\) the pullback gives"):
        gradcheck(f, np.ones((2, 2)))


def test_gradcheck_casts_to_float64_and_does_not_change_x():
    x = frozen(X, np.float32)
    assert gradcheck(lambda x: x**3, x) <= 1e-8
