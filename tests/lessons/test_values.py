"""The checks of the lesson on bandits and values."""

import numpy as np
import pytest
from support.lessons import correct, refused


def mean(estimate, reward, n, step=None):
    return estimate + (1 / n if step is None else step) * (reward - estimate)


@pytest.mark.parametrize(
    "answer",
    [
        mean,
        lambda e, r, n, step=None: np.float32(mean(e, r, n, step)),
        lambda e, r, n, step=None: (
            ((n - 1) * e + r) / n if step is None else [(1 - step) * e + step * r]
        ),
    ],
)
def test_a_mean_one_reward_at_a_time(answer):
    correct("values-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda e, r, n, step=None: e + (r - e) / (n + 1), "mean of one reward"),
        (lambda e, r, n, step=None: e + (r - e) / max(n - 1, 1), "the n-th"),
        (lambda e, r, n, step=None: e + r / n, "without subtracting"),
        (lambda e, r, n, step=None: e + (r - e) / n, "step is not used"),
        (lambda e, r, n, step=None: e + (step or 1 / n) * (r - e), "with None"),
        (lambda e, r, n: e + (r - e) / n, "raised TypeError"),
        (lambda e, r, n, step=None: e + 0.1 * (r - e), "mean of one reward"),
        (lambda e, r, n, step=None: e + (1 if n == 1 else 0.4) * (r - e), "After the rewards"),
        (lambda e, r, n, step=None: None, "NoneType"),
        (3.0, "a function"),
    ],
)
def test_a_wrong_mean(answer, hint):
    refused("values-1", answer, hint)


@pytest.mark.parametrize("answer", [0.91, np.float32(0.91), [0.91], 91 / 100])
def test_the_probability_of_the_greedy_action(answer):
    correct("values-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.9, "from all ten"), (0.01, "each other"), (0.1, "drawn at random"), (91, "percentage"),
     (0.09, "another action"), (0.99, "two cases"), ("0.91", "a number, got str")],
)  # fmt: skip
def test_a_wrong_probability(answer, hint):
    refused("values-2", answer, hint)


def test_the_values_of_the_machine():
    P = np.array([[0.7, 0.3, 0], [0, 0.6, 0.4], [1, 0, 0]])
    v = np.linalg.solve(np.eye(3) - 0.9 * P, [10, 6, -8])
    for answer in (v, v.tolist(), tuple(v.round(2)), v.astype(np.float32)):
        correct("values-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([61.687, 47.518, 47.518], "repairs the worn"), ([36.527, 13.043, 0], "never repairs"),
     ([10, 6, -8], "first day"), ([51.2137, 53.1238, 65.7930], "order NEW"),
     ([65.8, 53.1], "shape"), ([60, 50, 40], "Bellman"), (65.8, "shape"),
     (["a", "b", "c"], "numbers")],
)  # fmt: skip
def test_wrong_values_of_the_machine(answer, hint):
    refused("values-3", answer, hint)


def test_action_values():
    correct("values-4", lambda P, R, v, gamma: R + gamma * P @ v)
    correct("values-4", lambda P, R, v, gamma: (R + gamma * (P * v).sum(axis=-1)).tolist())

    def in_place(P, R, v, gamma):
        R += gamma * (P @ v)
        return R

    correct("values-4", in_place)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda P, R, v, gamma: gamma * P @ v, "reward is missing"),
        (lambda P, R, v, gamma: R + P @ v, "gamma is missing"),
        (lambda P, R, v, gamma: gamma * (R + P @ v), "multiplies the reward"),
        (lambda P, R, v, gamma: R + gamma * v[:, None], "next states"),
        (lambda P, R, v, gamma: (R + gamma * P @ v).max(axis=1), "each action"),
        (lambda P, R, v, gamma: (R + gamma * P @ v).T, "shape"),
        (lambda P, R, v, gamma: R - gamma * P @ v, "Some entries"),
        (lambda P, R, v, gamma: R @ v, "raised ValueError"),
    ],
)
def test_wrong_action_values(answer, hint):
    refused("values-4", answer, hint)


@pytest.mark.parametrize("answer", [88, 88.0, np.int64(88)])
def test_the_number_of_sweeps(answer):
    correct("values-5", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(87, "less than needed"), (89, "One sweep less"), (87.4, "whole"), (66, "sum of many"),
     (44, "Solve")],
)  # fmt: skip
def test_a_wrong_number_of_sweeps(answer, hint):
    refused("values-5", answer, hint)
