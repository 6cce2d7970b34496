"""The checks of the lesson on policy gradients."""

import numpy as np
import pytest
from support.lessons import correct, refused


def softmax(theta):
    e = np.exp(theta - np.max(theta))
    return e / e.sum()


def one_hot(theta, a):
    return np.eye(len(theta))[a]


def test_the_score():
    correct("policy_gradient-1", lambda theta, a: one_hot(theta, a) - softmax(theta))

    def loop(theta, a):
        return [(i == a) - p for i, p in enumerate(softmax(theta))]

    correct("policy_gradient-1", loop)
    correct("policy_gradient-1", lambda t, a: one_hot(t, a) - np.exp(t) / np.exp(t).sum())


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda t, a: softmax(t)[a] * (one_hot(t, a) - softmax(t)), r"gradient of pi\(a\)"),
        (lambda t, a: softmax(t) - one_hot(t, a), "sign"),
        (lambda t, a: softmax(t), "which entry"),
        (one_hot, "theta_a alone"),
        (lambda t, a: np.log(softmax(t)), "log-probabilities"),
        (lambda t, a: one_hot(t, a) - t, "not the parameters"),
        (lambda t, a: 1 - softmax(t), "add up to 0"),
        (lambda t, a: one_hot(t, 0) - softmax(t), "wrong for theta"),
        (lambda t, a: 1 - softmax(t)[a], "shape"),
    ],
)
def test_a_wrong_score(answer, hint):
    refused("policy_gradient-1", answer, hint)


@pytest.mark.parametrize("answer", [[0.05, -0.05], (0.05, -0.05), np.float32([0.05, -0.05])])
def test_one_update(answer):
    correct("policy_gradient-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([0.5, -0.5], "the score"), ([0.05, 0], "other action"), ([0.1, 0], "1 minus"),
     ([0.1, -0.1], "one-hot"), ([-0.05, 0.05], "sign"), ([0.52498, 0.47502], "probabilities"),
     ([0, 0], "0.5"), (0.05, "shape")],
)  # fmt: skip
def test_a_wrong_update(answer, hint):
    refused("policy_gradient-2", answer, hint)


@pytest.mark.parametrize("answer", [0.75, 3 / 4, np.float32(0.75), [0.75]])
def test_the_best_baseline(answer):
    correct("policy_gradient-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.25, "mean reward"), (0.5, "pi ="), (0, "b = 0"), (1, "b = 1"), (0.6, "equal")],
)
def test_a_wrong_baseline(answer, hint):
    refused("policy_gradient-3", answer, hint)


def backwards(r, gamma, after, wanted=slice(None)):
    G = []
    for reward in r[::-1]:
        after = reward + gamma * after
        G.append(after)
    return G[::-1][wanted]


def test_returns_to_go():
    correct("policy_gradient-4", backwards)

    def by_sums(r, gamma, after):
        x = np.append(r, after)
        return [x[t:] @ gamma ** np.arange(len(x) - t) for t in range(len(r))]

    correct("policy_gradient-4", by_sums)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, after: np.cumsum(r * g ** np.arange(len(r))), "from the beginning"),
        (lambda r, g, after: np.cumsum(r[::-1])[::-1], "gamma is missing"),
        (lambda r, g, after: [*backwards(r, g, after)[1:], after], "includes the reward"),
        (lambda r, g, after: g ** np.arange(len(r)) * backwards(r, g, after), "from its own step"),
        (lambda r, g, after: np.full(len(r), backwards(r, g, after)[0]), "whole episode"),
        (lambda r, g, after: backwards(r, g, after)[::-1], "reversed"),
        (lambda r, g, after: backwards(r, g, 0), "not used"),
        (lambda r, g, after: backwards([*r[:-1], r[-1] + after], g, 0), "one step after"),
        (lambda r, g, after: [*backwards(r, g, 0)[:-1], r[-1] + g * after], "steps before"),
        (lambda r, g, after: np.add(backwards(r, g, 0), g * after), "once per step"),
        (lambda r, g, after: r, "terminated"),
        (lambda r, g, after: sum(r), "shape"),
    ],
)
def test_wrong_returns_to_go(answer, hint):
    refused("policy_gradient-4", answer, hint)
