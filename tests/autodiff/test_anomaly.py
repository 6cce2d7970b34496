"""Anomaly detection reports the first operation whose value is not finite."""

import re

import numpy as np
import pytest

import npr
from npr import autodiff as ad
from npr.autodiff import anomaly, grad, record, value_and_grad, vjp
from npr.errors import GradientError, NumericsError
from npr.heads import Categorical, TanhGaussian
from npr.losses import clipped_surrogate, mse, td_huber
from npr.nn import MLP

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

BAD = [np.nan, np.inf, -np.inf]

every_bad = pytest.mark.parametrize("bad", BAD)

X = np.array([[1.0, 0.0], [2.0, 3.0]], np.float32)


@pytest.fixture(autouse=True)
def anomaly_detection_is_off():
    assert not anomaly.on
    yield
    assert not anomaly.on


# ---- anomaly detection


def gradient_with_detection(f, x=X):
    with npr.debug_anomaly():
        return grad(f)(x)


@pytest.mark.parametrize(
    "f, message",
    [
        (
            lambda x: ad.exp(100 * x).sum(),
            "Forwards: the value of exp, shape (2, 2), is not finite: entry (0, 0) = inf. "
            "All its arguments are finite: it begins here.",
        ),
        (
            lambda x: ad.log(x[0, 1]) + x.sum(),
            "Forwards: the value of log, shape (), is not finite: it is -inf. "
            "All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (x * np.array([1, np.nan], np.float32)).sum(),
            "Forwards: the value of multiply, shape (2, 2), is not finite: entry (0, 1) = nan. "
            "Its argument 2, a plain array such as a target, was not finite already: "
            "entry (1,) = nan.",
        ),
        (
            lambda x: ad.stack([np.full((2, 2), np.inf, np.float32), x]).sum(),
            "Forwards: the value of stack, shape (2, 2, 2), is not finite: entry (0, 0, 0) = inf. "
            "Its argument 1, a plain array such as a target, was not finite already: "
            "entry (0, 0) = inf.",
        ),
        (
            lambda x: ad.sqrt(x).sum(),
            "Backwards: the cotangent of argument 1 of sqrt, shape (2, 2), is not finite: "
            "entry (0, 1) = inf. All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (np.ones((2, 2), np.float32) / (x + 1e-30)).sum(),
            "Backwards: the cotangent of argument 2 of divide, shape (2, 2), is not finite: "
            "entry (0, 1) = -inf. All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (-(0 * x) * 3e38 + -(0 * x) * 0 + 3e38 * (y := 0 * x) + 3e38 * y).sum(),
            "Backwards: the cotangent that reaches multiply, a sum over its uses, shape (2, 2), "
            "is not finite: entry (0, 0) = inf.",
        ),
        (
            lambda x: (3e38 * (x - X) + 3e38 * (x - X)).sum(),
            "Backwards: the gradient, a sum over its uses, shape (2, 2), is not finite: "
            "entry (0, 0) = inf.",
        ),
    ],
)
def test_the_first_non_finite_value_is_reported(f, message):
    with pytest.raises(NumericsError, match=f"^{re.escape(message)}$"):
        gradient_with_detection(f)
    grad(f)(X)


@every_bad
def test_a_non_finite_input_is_reported(bad):
    x = X.copy()
    x[1, 0] = bad
    message = rf"array that the gradient is taken in, .* entry \(1, 0\) = {bad}"
    with pytest.raises(NumericsError, match=message):
        gradient_with_detection(lambda x: x.sum(), x)


def nan(*shape):
    return np.full(shape, np.nan, np.float32)


NET = MLP(2, [3])
THETA = np.ones(NET.size, np.float32)
ACTIONS = np.array([0, 1])
NODES = {
    "MLP 2-3-1": (lambda theta: NET(theta, nan(4, 2)).sum(), THETA, 2),
    "mse": (lambda x: mse(x, nan(2, 2)), X, 2),
    "clipped_surrogate": (lambda x: clipped_surrogate(x, nan(2, 2), 0.2), X, 2),
    "td_huber": (lambda x: td_huber(x, ACTIONS, nan(2))[0], X, 3),
    "TanhGaussian.sample, its actions": (
        lambda x: TanhGaussian(x).sample(nan(2, 1))[0].sum(), X, 2,
    ),
    "huber": (lambda x: ad.huber(x, nan(2, 2)).sum(), X, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_a_fused_node_reports_its_name_and_the_non_finite_argument(name):
    f, x, argument = NODES[name]
    message = rf"the value of {name}, .* Its argument {argument}, a plain array such as a target"
    with pytest.raises(NumericsError, match=message):
        gradient_with_detection(f, x)


@pytest.mark.parametrize(
    "name, value",
    [
        ("Categorical.logp", lambda x: Categorical(x).logp),
        ("Categorical.log_prob", lambda x: Categorical(x).log_prob(ACTIONS)),
        ("Categorical.entropy", lambda x: Categorical(x).entropy()),
        (
            "TanhGaussian.sample, their log-probabilities",
            lambda x: TanhGaussian(x).sample(X[:, :1])[1],
        ),
    ],
)
def test_a_non_finite_cotangent_of_a_head_is_reported(name, value):
    with npr.debug_anomaly():
        y, pullback = vjp(value, X)
        with pytest.raises(NumericsError, match=f"^Backwards: the cotangent that reaches {name}"):
            pullback(np.full(y.shape, np.nan, np.float32))


def test_anomaly_detection_does_not_change_finite_gradients():
    rng = np.random.default_rng(0)
    theta, x = NET.init(rng), rng.standard_normal((5, 2)).astype(np.float32)

    def loss(theta):
        return mse(ad.tanh(NET(theta, x)), x[:, 0])

    plain = value_and_grad(loss)(theta)
    with npr.debug_anomaly():
        looked_at = value_and_grad(loss)(theta)
    for one, other in zip(plain, looked_at):
        assert one.tobytes() == other.tobytes()


def test_anomaly_detection_ends_with_its_block():
    with npr.debug_anomaly():
        with pytest.raises(KeyboardInterrupt), npr.debug_anomaly():
            raise KeyboardInterrupt
        assert anomaly.on, "the outer block is still active"
    with pytest.raises(NumericsError):
        gradient_with_detection(lambda x: ad.log(x - 5).sum())
    assert not anomaly.on


# ---- exceptions within a gradient


def raises_once(x, raised):
    def pullback(g):
        if not raised:
            raised.append(True)
            raise KeyboardInterrupt
        return [g]

    return record(x.data, [x], pullback)


def test_a_pullback_that_raised_can_be_called_again():
    raised = []
    _, pullback = vjp(lambda x: 2 * raises_once(3 * x, raised) + x, X)
    with pytest.raises(KeyboardInterrupt):
        pullback(np.ones_like(X))
    np.testing.assert_array_equal(pullback(np.ones_like(X)), np.full_like(X, 7))


def test_a_gradient_that_raised_is_finished():
    raised, leaked = [], []

    def loss(x):
        leaked.append(x)
        return (2 * raises_once(3 * x, raised)).sum()

    with pytest.raises(KeyboardInterrupt):
        grad(loss)(X)
    with pytest.raises(GradientError, match="belongs to a gradient that is already finished"):
        leaked[0] * 2
    np.testing.assert_array_equal(grad(loss)(X), np.full_like(X, 6))
