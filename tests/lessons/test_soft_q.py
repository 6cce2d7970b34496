"""The checks of the lesson on soft Q-learning."""

import numpy as np
import pytest
from support.lessons import correct, refused

from npr.autodiff import logsumexp
from npr.kernels import svgd_direction


def value(q, alpha):
    m = np.max(q)
    return m + alpha * np.log(np.sum(np.exp((q - m) / alpha)))


@pytest.mark.parametrize(
    "answer",
    [value, lambda q, alpha: [alpha * logsumexp(q / alpha)],
     lambda q, alpha: alpha * np.logaddexp.reduce(q / alpha)],
)  # fmt: skip
def test_the_soft_value(answer):
    correct("soft_q-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, alpha: alpha * np.log(np.sum(np.exp(q / alpha))), "not finite"),
        (lambda q, alpha: value(q, alpha) / alpha, "multiplied by alpha"),
        (lambda q, alpha: alpha * value(q, 1.0), "divided by alpha"),
        (lambda q, alpha: value(q, 1.0), "alpha is not used"),
        (lambda q, alpha: q.max() + np.log(np.exp((q - q.max()) / alpha).sum()), "before the max"),
        (lambda q, alpha: value(q, alpha) - alpha * np.log(len(q)), "mean of the"),
        (lambda q, alpha: q.max(), "maximum itself"),
        (lambda q, alpha: q.max() + alpha, "is not"),
        (lambda q, alpha: 3 + alpha * np.log(np.exp((q - 3) / alpha).sum()), "not finite"),
        (lambda q, alpha: q, "numbers|shape|number"),
    ],
)
def test_a_wrong_soft_value(answer, hint):
    refused("soft_q-1", answer, hint)


def test_a_shift_that_is_not_the_maximum():
    def shifted(q, alpha):
        m = max(q.max(), 0)
        return m + alpha * np.log(np.exp((q - m) / alpha).sum())

    refused("soft_q-1", shifted, "their own maximum")


def policy(q, alpha):
    x = np.exp((q - q.max()) / alpha)
    return x / x.sum()


@pytest.mark.parametrize(
    "answer",
    [policy, lambda q, alpha: np.exp((q - value(q, alpha)) / alpha).tolist()],
)
def test_the_boltzmann_policy(answer):
    correct("soft_q-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, alpha: np.exp(q / alpha) / np.exp(q / alpha).sum(), "not finite"),
        (lambda q, alpha: policy(q, 1.0), "alpha is not used"),
        (lambda q, alpha: np.exp(q - value(q, alpha)), "even add up"),
        (lambda q, alpha: np.exp(q / alpha), "divide by their sum"),
        (lambda q, alpha: policy(q, 1 / alpha), "multiplied by alpha"),
        (lambda q, alpha: np.eye(len(q))[q.argmax()], "greedy"),
        (lambda q, alpha: np.log(policy(q, alpha)), "logarithms"),
        (lambda q, alpha: policy(q, alpha).max(), "shape"),
        (lambda q, alpha: policy(q, alpha + 1), "is not"),
    ],
)
def test_a_wrong_policy(answer, hint):
    refused("soft_q-2", answer, hint)


def of_samples(q, D, alpha):
    return value(q, alpha) + alpha * (D * np.log(2) - np.log(len(q)))


@pytest.mark.parametrize(
    "answer",
    [of_samples, lambda q, D, alpha: np.float32(of_samples(q, D, alpha)).reshape(1)],
)
def test_the_value_of_samples(answer):
    correct("soft_q-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, D, alpha: of_samples(q, 0, alpha), "volume of the box is missing"),
        (lambda q, D, alpha: of_samples(q, 0, alpha) + D * np.log(2), "alpha multiplies"),
        (lambda q, D, alpha: value(q, alpha) + alpha * D * np.log(2), "take their mean"),
        (lambda q, D, alpha: of_samples(q, -D, alpha), "subtracted"),
        (lambda q, D, alpha: of_samples(q, 0, alpha) + alpha * np.log(2 * D), "not 2 D"),
        (lambda q, D, alpha: of_samples(q, D, alpha) / alpha, "in front"),
        (lambda q, D, alpha: alpha * np.log(np.mean(np.exp(q / alpha)) * 2**D), "near 2000"),
        (lambda q, D, alpha: q.mean(), "is not"),
    ],
)
def test_a_wrong_value_of_samples(answer, hint):
    refused("soft_q-3", answer, hint)


def direction(fixed, updated, score, h, sign=1, attract=1, factor=2):
    difference = fixed[:, None] - updated
    k = np.exp(-np.sum(difference**2, axis=-1, keepdims=True) / h)
    return np.mean(attract * k * score[:, None] - sign * factor * difference / h * k, axis=0)


@pytest.mark.parametrize(
    "answer", [direction, svgd_direction, lambda *args: direction(*args).tolist()]
)
def test_the_direction(answer):
    correct("soft_q-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *args: direction(*args, sign=0), "repulsion is missing"),
        (lambda *args: direction(*args, attract=0), "attraction is missing"),
        (lambda *args: direction(*args, sign=-1), "sign of the repulsion"),
        (lambda *args: 5 * direction(*args), "take the mean"),
        (lambda *args: direction(*args, factor=1), "factor 2"),
        (lambda f, u, s, h: direction(f, u, s, h, sign=h), "division by h"),
        (lambda f, u, s, h: direction(f, u, s, 2 * h), "direction is wrong"),
        (lambda f, u, s, h: direction(f, u, s, h).T, "shape"),
        (lambda f, u, s, h: f - u, "raised ValueError"),
    ],
)
def test_a_wrong_direction(answer, hint):
    refused("soft_q-4", answer, hint)
