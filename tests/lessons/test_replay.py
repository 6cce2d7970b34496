"""The checks of the lesson on prioritized replay."""

import numpy as np
import pytest
from support.lessons import correct, refused


def share(p):
    return p / p.sum()


def test_probabilities():
    correct("replay-1", lambda d, alpha, eps: share((np.abs(d) + eps) ** alpha))

    def loop(td_error, alpha, eps):
        p = [(abs(x) + eps) ** alpha for x in td_error]
        return [x / sum(p) for x in p]

    correct("replay-1", loop)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda d, alpha, eps: (abs(d) + eps) ** alpha, "add up"),
        (lambda d, alpha, eps: share(abs(d) + eps), "alpha is missing"),
        (lambda d, alpha, eps: share(abs(d) + eps) ** alpha, "exponent"),
        (lambda d, alpha, eps: share(abs(d) ** alpha), "eps is missing"),
        (lambda d, alpha, eps: share(abs(d) ** alpha + eps), "before the exponent"),
        (lambda d, alpha, eps: share((d**2 + eps) ** alpha), "square"),
        (lambda d, alpha, eps: share(np.exp(d)), "softmax"),
        (lambda d, alpha, eps: share(np.maximum(d + eps, 0) ** alpha), "sign"),
        (lambda d, alpha, eps: (d + eps) ** alpha, "absolute value"),
        (lambda d, alpha, eps: d, "not negative"),
        (lambda d, alpha, eps: share((abs(d) + eps) ** 0.6), "alpha = 0"),
        ([0.1, 0.2, 0.3, 0.4], "function"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_wrong_probabilities(answer, hint):
    refused("replay-1", answer, hint)


@pytest.mark.parametrize("answer", [[0, 6, 4, 2, 3, 1, 0, 2], np.float32([0, 6, 4, 2, 3, 1, 0, 2])])
def test_the_tree_of_sums(answer):
    correct("replay-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([6, 4, 2, 3, 1, 0, 2], "seven"), ([3, 1, 0, 2, 4, 2, 6, 0], "leaves come last"),
     ([0, 6, 4, 2, 3, 4, 4, 6], "cumulative"), ([0, 6, 4, 2, 0, 1, 2, 3], "leaves"),
     ([0, 6, 3, 3, 3, 1, 0, 2], "children"), ([0, 5, 4, 2, 3, 1, 0, 2], "root"),
     ([1, 6, 4, 2, 3, 1, 0, 2], "Entry 0"), ([3, 1, 0, 2], "shape")],
)  # fmt: skip
def test_a_wrong_tree_of_sums(answer, hint):
    refused("replay-2", answer, hint)


def test_stratified_points():
    correct("replay-3", lambda u, total: (np.arange(len(u)) + u) / len(u) * total)
    correct("replay-3", lambda u, total: [(i + x) * total / len(u) for i, x in enumerate(u)])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda u, total: u * total, "not stratified"),
        (lambda u, total: (np.arange(len(u)) + u) / len(u), "length total"),
        (lambda u, total: np.arange(len(u)) / len(u) * total, "random part"),
        (lambda u, total: (np.arange(len(u)) + u) * total, "divide by"),
        (lambda u, total: (np.arange(len(u)) + 1 + u) / len(u) * total, "begins at 0"),
        (lambda u, total: np.sort(u) * total, "share i"),
        (lambda u, total: (np.arange(len(u)) + 0.5) / len(u) * total, "fraction u"),
        (lambda u, total: u[0] * total, "shape"),
    ],
)
def test_wrong_points(answer, hint):
    refused("replay-3", answer, hint)


def over_largest(w):
    return w / w.max()


def test_weights():
    correct("replay-4", lambda P, n, beta: over_largest((n * P) ** -beta))
    correct("replay-4", lambda P, n, beta: (P.min() / P) ** beta)
    correct("replay-4", lambda P, n, beta: [(min(P) / x) ** beta for x in P])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda P, n, beta: (n * P) ** -beta, "maximum is missing"),
        (lambda P, n, beta: over_largest((n * P) ** beta), "sign"),
        (lambda P, n, beta: share((n * P) ** -beta), "not by the sum"),
        (lambda P, n, beta: P**-beta / (P**-beta).mean(), "mean"),
        (lambda P, n, beta: over_largest(1 / (n * P)), "wrong|beta"),
        (lambda P, n, beta: P, "wrong"),
        (lambda P, n, beta: 1.0, "shape"),
    ],
)
def test_wrong_weights(answer, hint):
    refused("replay-4", answer, hint)


def test_the_weighted_loss():
    correct("replay-5", lambda q, y, w: (w * (y - q) ** 2).mean())
    correct("replay-5", lambda q, y, w: np.sum(w * (q - y) * (q - y)) / len(q))
    correct("replay-5", lambda q, y, w: np.array([np.mean(w * (q - y) ** 2)], np.float64))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, y, w: ((y - q * w) ** 2).mean(), "source"),
        (lambda q, y, w: ((w * (y - q)) ** 2).mean(), "w squared"),
        (lambda q, y, w: ((y - q) ** 2).mean(), "weights are missing"),
        (lambda q, y, w: (w * (y - q) ** 2).sum(), "not the sum"),
        (lambda q, y, w: 0.5 * (w * (y - q) ** 2).mean(), "half"),
        (lambda q, y, w: np.average((y - q) ** 2, weights=w), "sum of the weights"),
        (lambda q, y, w: (w * abs(y - q)).mean(), "not squared"),
        (lambda q, y, w: 0.0, "loss is wrong"),
        (lambda q, y, w: w * (y - q) ** 2, "one number"),
    ],
)
def test_a_wrong_loss(answer, hint):
    refused("replay-5", answer, hint)
