"""The checks of the lesson on Q-learning and Sarsa."""

import numpy as np
import pytest
from support.lessons import correct, refused


@pytest.mark.parametrize("answer", [[2.15, 1.97], (2.15, 1.97), np.float32([2.15, 1.97])])
def test_two_updates(answer):
    correct("td-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([1.97, 2.15], "order"), ([3.5, 1.7], "targets"), ([1.5, -0.3], "TD errors"),
     ([0.15, -0.03], "missing"), ([2.2, 2.0], "0.9"), ([2.15, 2.15], "Sarsa.*two differ"),
     ([2.15, 2.0], "Sarsa"), ([0, 1.97], "Q-learning"), (2.15, "shape")],
)  # fmt: skip
def test_wrong_updates(answer, hint):
    refused("td-1", answer, hint)


def test_the_target_of_sarsa():
    correct("td-2", lambda r, g, end, Q, s2, a2: r + g * (0 if end else Q[s2][a2]))
    correct("td-2", lambda r, g, end, Q, s2, a2: np.array([r + g * (not end) * Q[s2, a2]]))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, end, Q, s2, a2: r + g * Q[s2, a2], "after termination"),
        (lambda r, g, end, Q, s2, a2: r + g * (1 - end) * Q[s2].max(), "best one"),
        (lambda r, g, end, Q, s2, a2: r + (1 - end) * Q[s2, a2], "gamma is missing"),
        (lambda r, g, end, Q, s2, a2: r + g * (1 - end) * Q[a2, s2], "swapped"),
        (lambda r, g, end, Q, s2, a2: r + g * end * Q[s2, a2], "left out"),
        (lambda r, g, end, Q, s2, a2: g * (1 - end) * Q[s2, a2], "should be"),
        (lambda r, g, end, Q, s2: r, "raised TypeError"),
        (1.0, "must be a function"),
    ],
)
def test_a_wrong_target_of_sarsa(answer, hint):
    refused("td-2", answer, hint)


def test_the_expected_target():
    correct("td-3", lambda r, g, end, q, e: r + g * (1 - end) * ((1 - e) * q.max() + e * q.mean()))

    def by_probabilities(r, gamma, terminated, q2, epsilon):
        p = np.full(len(q2), epsilon / len(q2))
        p[q2.argmax()] += 1 - epsilon
        return r if terminated else r + gamma * p @ q2

    correct("td-3", by_probabilities)


def shared(r, gamma, terminated, q2, epsilon):
    others = (q2.sum() - q2.max()) / (len(q2) - 1)
    return r + gamma * (1 - terminated) * ((1 - epsilon) * q2.max() + epsilon * others)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, end, q, e: r + g * (1 - end) * q.max(), "Q-learning"),
        (lambda r, g, end, q, e: r + g * (1 - end) * q.mean(), "uniform"),
        (lambda r, g, end, q, e: r + g * ((1 - e) * q.max() + e * q.mean()), "after termination"),
        (lambda r, g, end, q, e: r + (1 - end) * ((1 - e) * q.max() + e * q.mean()), "gamma"),
        (lambda r, g, end, q, e: r + g * (1 - end) * (e * q.max() + (1 - e) * q.mean()), "swapped"),
        (shared, "may be the greedy|all of them"),
        (lambda r, g, end, q, e: r - g * q.max(), "should be"),
    ],
)
def test_a_wrong_expected_target(answer, hint):
    refused("td-3", answer, hint)


@pytest.mark.parametrize("answer", [1 / 0.19, 5.263, 5.26, np.float32(5.26316)])
def test_the_value_with_a_wrong_limit(answer):
    correct("td-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(10, "right value"), (6.513, "return of ten"), (3.57, "limit of 5"), (5.0, "limit of 9"),
     (1, "function of v"), ("5.263", "number")],
)  # fmt: skip
def test_a_wrong_value_with_a_wrong_limit(answer, hint):
    refused("td-4", answer, hint)


def test_the_double_target():
    correct("td-5", lambda r, g, end, qa, qb: r + g * (1 - end) * qb[qa.argmax()])
    correct("td-5", lambda r, g, end, qa, qb: r if end else r + g * qb[int(np.argmax(qa))])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, end, qa, qb: r + g * (1 - end) * qa.max(), "maximum of table A"),
        (lambda r, g, end, qa, qb: r + g * (1 - end) * qb.max(), "maximum of table B"),
        (lambda r, g, end, qa, qb: r + g * (1 - end) * qa[qb.argmax()], "swapped"),
        (lambda r, g, end, qa, qb: r + g * qb[qa.argmax()], "after termination"),
        (lambda r, g, end, qa, qb: r + (1 - end) * qb[qa.argmax()], "gamma is missing"),
        (lambda r, g, end, qa, qb: 0.0, "should be"),
    ],
)
def test_a_wrong_double_target(answer, hint):
    refused("td-5", answer, hint)
