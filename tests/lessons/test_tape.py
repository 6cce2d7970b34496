"""The checks of the lesson on automatic differentiation."""

import numpy as np
import pytest
from support.lessons import correct, refused

from npr.autodiff import stop_gradient


@pytest.mark.parametrize("answer", [[6, 6, 18, 6], (6.0, 6.0, 18.0, 6.0), np.array([6, 6, 18, 6])])
def test_cotangents_by_hand(answer):
    correct("tape-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([18, 6, 6, 6], "in the order"), ([3, 2, 1, 2], "values"), ([6, 6, 12, 6], "direct way"),
     ([6, 6, 6, 6], "over u"), ([3, 6, 18, 6], "of v"), ([6, 12, 18, 6], "sum passes"),
     ([6, 6, 10, 6], "sum of two"), ([6, 6, 18, 12], "other factor"), ([6, 6], "shape")],
)  # fmt: skip
def test_wrong_cotangents(answer, hint):
    refused("tape-1", answer, hint)


def test_the_pullback_of_the_sigmoid():
    correct("tape-2", lambda g, y, x: g * y * (1 - y))
    correct("tape-2", lambda g, y, x: (g * np.exp(-x) / (1 + np.exp(-x)) ** 2).tolist())


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda g, y, x: y * (1 - y), "by the cotangent"),
        (lambda g, y, x: g * x * (1 - x), "where you have x"),
        (lambda g, y, x: g * (1 - y * y), "tanh"),
        (lambda g, y, x: g * y * (y - 1), "wrong sign"),
        (lambda g, y, x: g * y, "as for exp"),
        (lambda g, y, x: g * np.exp(-x), "finite differences"),
        (lambda g, y, x: (g * y * (1 - y)).sum(), "shape"),
        (lambda g, x: g, "raised TypeError"),
    ],
)
def test_a_wrong_pullback(answer, hint):
    refused("tape-2", answer, hint)


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def test_undoing_broadcasting():
    correct("tape-3", unbroadcast)
    correct("tape-3", lambda g, shape: unbroadcast(g, shape).tolist())


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda g, shape: g, "returns shape"),
        (lambda g, shape: g.sum(axis=tuple(range(g.ndim - len(shape)))), "returns shape"),
        (lambda g, shape: unbroadcast(g, shape) * np.size(unbroadcast(g, shape)) / g.size, "mean"),
        (lambda g, shape: np.broadcast_to(g.sum(), shape), "numbers are wrong"),
        (lambda g, shape: g.reshape(shape), "raised ValueError"),
    ],
)
def test_wrong_broadcasting(answer, hint):
    refused("tape-3", answer, hint)


def loss(y, x, theta):
    return (0.5 * (y - x @ theta) ** 2).mean()


def target(theta, r, x2, terminated, gamma):
    return r + gamma * (1 - terminated) * (x2 @ theta)


def held(theta, x, r, x2, terminated, gamma):
    return loss(target(stop_gradient(theta), r, x2, terminated, gamma), x, theta)


def test_the_loss_of_td():
    correct("tape-4", held)

    def without_matmul(theta, x, r, x2, terminated, gamma):
        constant = theta.data
        y = r + gamma * (1 - terminated) * (x2 * constant).sum(axis=1)
        error = y - (x * theta).sum(axis=1)
        return (error * error).sum() / (2 * len(r))

    correct("tape-4", without_matmul)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda th, x, r, x2, t, gamma: loss(target(th, r, x2, t, gamma), x, th), "stop_gradient"),
        (lambda th, x, r, x2, t, gamma: held(th, x, r, x2, 0 * t, gamma), "after termination"),
        (lambda th, x, r, x2, t, gamma: held(th, x, r, x2, 1 - t, gamma), "where it goes on"),
        (lambda th, x, r, x2, t, gamma: held(th, x, r, x2, t, 1.0), "gamma is missing"),
        (lambda th, x, r, x2, t, gamma: 2 * held(th, x, r, x2, t, gamma), "1/2"),
        (lambda th, x, r, x2, t, gamma: 5 * held(th, x, r, x2, t, gamma), "take the mean"),
        (lambda th, *rest: held(stop_gradient(th), *rest), "gradient is zero"),
        (
            lambda th, x, r, x2, t, gamma: loss(
                target(th, r, x2, t, gamma), x, stop_gradient(th)
            ),
            "target only",
        ),
        (lambda th, x, *rest: 0.5 * (x @ th) ** 2, "one number"),
        (lambda th, x, r, *rest: np.tanh(x @ th).mean(), "raised|differentiated"),
        (lambda th, x, r, *rest: ((r - x @ th) ** 2).mean() + 7.0, "should be"),
    ],
)  # fmt: skip
def test_a_wrong_loss_of_td(answer, hint):
    refused("tape-4", answer, hint)
