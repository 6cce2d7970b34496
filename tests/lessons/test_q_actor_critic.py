"""The checks of the lesson on Q actor-critic and A2C."""

import numpy as np
import pytest
from support.lessons import correct, refused

from npr import kernels


def taken(q, a):
    return q[np.arange(len(a)), a]


def test_advantages_of_actions():
    correct("q_actor_critic-1", lambda q, p, a: taken(q, a) - (p * q).sum(axis=1))
    correct("q_actor_critic-1", lambda q, p, a: [x[i] - y @ x for x, y, i in zip(q, p, a)])
    correct("q_actor_critic-1", lambda q, p, a: taken(q - np.sum(p * q, -1, keepdims=True), a))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda q, p, a: taken(q, a), "not subtracted"),
        (lambda q, p, a: (p * q).sum(axis=1), "to be subtracted"),
        (lambda q, p, a: (p * q).sum(axis=1) - taken(q, a), "sign"),
        (lambda q, p, a: taken(q, a) - q.mean(axis=1), "with its probability"),
        (lambda q, p, a: taken(q, a) - q.max(axis=1), "largest"),
        (lambda q, p, a: taken(p * q, a) - (p * q).sum(axis=1), "multiplied"),
        (lambda q, p, a: taken(q, a) - (p * q).sum(), "not over the batch"),
        (lambda q, p, a: q[:, 0] - (p * q).sum(axis=1), "are wrong"),
        (lambda q, p, a: q - (p * q).sum(axis=1, keepdims=True), "one number per action"),
        (lambda q, p, a: q[:, a] - (p * q).sum(axis=1), "shape"),
    ],
)
def test_wrong_advantages_of_actions(answer, hint):
    refused("q_actor_critic-1", answer, hint)


@pytest.mark.parametrize("answer", [[0.125, 0.25, 0.5], (1 / 8, 1 / 4, 1 / 2)])
def test_the_values_after_a_pass_backwards(answer):
    correct("q_actor_critic-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([0, 0, 0.5], "forward"), ([0.5, 0.25, 0.125], "order"), ([1, 1, 1], "step size"),
     ([0.5, 0.5, 0.5], "half"), ([0.875, 0.75, 0.5], "last step only"), ([0, 0.25, 1], "Q_2"),
     ([0, 0, 0.5001], "Q_2"), ([0, 1, 0.5], "Q_1"), ([0, 0.25, 0.5], "Q_0"), (0.125, "shape")],
)  # fmt: skip
def test_wrong_values_after_a_pass_backwards(answer, hint):
    refused("q_actor_critic-2", answer, hint)


@pytest.mark.parametrize("answer", [3.5, np.float32(3.5), [3.5]])
def test_the_error_of_a_truncated_step(answer):
    correct("q_actor_critic-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(-1, "termination"), (5.3, "next episode"), (4, "gamma"), (5.5, "target"), (-3.5, "sign"),
     (0, "Which observation")],
)  # fmt: skip
def test_a_wrong_error_of_a_truncated_step(answer, hint):
    refused("q_actor_critic-3", answer, hint)


def recursion(r, v, v_next, terminated, done, gamma, lam, factor=None):
    A, following = np.zeros(len(r)), 0.0
    factor = gamma * lam if factor is None else factor
    for t in reversed(range(len(r))):
        delta = r[t] + gamma * (1 - terminated[t]) * v_next[t] - v[t]
        following = A[t] = delta + factor * (1 - done[t]) * following
    return A


def test_generalized_advantages():
    correct("q_actor_critic-4", recursion)
    correct("q_actor_critic-4", lambda *args: recursion(*args).tolist())

    def by_the_kernel(*args):
        columns = [np.asarray(x)[:, None] for x in args[:5]]
        return kernels.gae(*columns, *args[5:]).ravel()

    correct("q_actor_critic-4", by_the_kernel)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, end, done, g, 0), "TD errors"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, end, done, g, 1), "lambda is"),
        (lambda *args: recursion(*args, args[6]), "gamma is missing in the recursion"),
        (lambda *args: recursion(*args) + args[1], "target of the critic"),
        (lambda *args: recursion(*args)[::-1], "reversed"),
        (lambda r, v, *others: recursion(r, 0 * v, *others), "not subtracted"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, end, done, 1, 0, g * lam),
         "missing in the TD error"),
        (lambda r, *others: r, "without an end"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, 0 * r, 0 * r, g, lam), "not used"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, 0 * r, done, g, lam),
         "after termination"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, end, 0 * r, g, lam),
         "belongs to another"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, done, done, g, lam),
         "lost its future"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, end, end, g, lam),
         "not only terminated"),
        (lambda r, v, v2, end, done, g, lam: recursion(r, v, v2, done, end, g, lam),
         "where episodes end"),
        (lambda *args: 0.0, "shape"),
    ],
)  # fmt: skip
def test_wrong_generalized_advantages(answer, hint):
    refused("q_actor_critic-4", answer, hint)


@pytest.mark.parametrize("answer", [2.3558, 2.356, np.array([2.3558])])
def test_the_advantage_of_three_steps(answer):
    correct("q_actor_critic-5", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(2.8558, "minus"), (2.21, "is missing"), (2.372, r"gamma\^3"), (2.41, "not discounted"),
     (2.7, "Nothing"), (0.86, "one step"), (1.942592, "0.8"), (1, "subtract")],
)  # fmt: skip
def test_a_wrong_advantage_of_three_steps(answer, hint):
    refused("q_actor_critic-5", answer, hint)
