"""The checks of the lesson on DDPG."""

import numpy as np
import pytest
from support.lessons import correct, refused


@pytest.mark.parametrize("answer", [3.5, np.float32(3.5), [3.5], 7 / 2])
def test_the_gradient_of_the_actor(answer):
    correct("ddpg-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(7, "sum"), (2.5, "dmu/dw is missing"), (-3.5, "sign"), (3, "s = 1"), (1.75, "factor 2"),
     (-1.625, "J itself"), (1.0, "multiply"), ("3.5", "got str")],
)  # fmt: skip
def test_a_wrong_gradient(answer, hint):
    refused("ddpg-1", answer, hint)


@pytest.mark.parametrize("answer", [114, 114.0, np.int64(114)])
def test_the_number_of_updates(answer):
    correct("ddpg-2", answer)
    assert 0.98**answer <= 0.1 < 0.98 ** (answer - 1)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(113, "a little more"), (115, "less is enough"), (113.97, "whole"), (45, "factor"),
     (50, "36 %"), (6, "nine tenths"), (200, "Solve")],
)  # fmt: skip
def test_a_wrong_number_of_updates(answer, hint):
    refused("ddpg-2", answer, hint)


def action(mu, noise, low, high):
    return low + (np.clip(mu + noise, -1, 1) + 1) / 2 * (high - low)


@pytest.mark.parametrize(
    "answer",
    [
        action,
        lambda m, n, low, high: list((low + high) / 2 + (high - low) / 2 * np.clip(m + n, -1, 1)),
        lambda m, n, low, high: np.clip(
            (low + high) / 2 + (high - low) / 2 * (m + n), low, high
        ).astype(np.float32),
    ],
)
def test_the_action_of_the_environment(answer):
    correct("ddpg-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda m, n, low, high: low + (m + n + 1) / 2 * (high - low), "not clipped"),
        (lambda m, n, low, high: np.clip(m + n, -1, 1), "not scaled to the box"),
        (lambda m, n, low, high: low + (np.clip(m + n, -1, 1) + 1) * (high - low), "2 wide"),
        (lambda m, n, low, high: np.clip(m + n, -1, 1) * (high - low) / 2, "middle"),
        (lambda m, n, low, high: np.clip(action(m, 0 * n, low, high) + n, low, high), "noise is"),
        (lambda m, n, low, high: action(m, 0 * n, low, high), "noise is missing"),
        (lambda m, n, low, high: np.clip(action(m, n, low, high), -1, 1), "low, 1 must"),
        (lambda m, n, low, high: action(m, n, np.zeros(3), np.array([10.0, 2, 6])), "must become"),
        (lambda m, n, low, high: action(m, n, low, high)[:1], "shape"),
    ],
)
def test_a_wrong_action(answer, hint):
    refused("ddpg-3", answer, hint)


def target(r, terminated, q1, q2, gamma):
    return r + gamma * (1 - terminated) * np.minimum(q1, q2)


@pytest.mark.parametrize(
    "answer",
    [
        target,
        lambda r, t, q1, q2, gamma: np.where(t == 1, r, r + gamma * np.min([q1, q2], axis=0)),
        lambda *args: target(*args).tolist(),
    ],
)
def test_the_target_of_two_critics(answer):
    correct("ddpg-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, t, q1, q2, gamma: target(r, 0, q1, q2, gamma), "after termination"),
        (lambda r, t, q1, q2, gamma: r + gamma * (1 - t) * np.maximum(q1, q2), "larger"),
        (lambda r, t, q1, q2, gamma: r + gamma * (1 - t) * (q1 + q2) / 2, "mean of both"),
        (lambda r, t, q1, q2, gamma: r + gamma * (1 - t) * q1, "first critic"),
        (lambda r, t, q1, q2, gamma: r + gamma * (1 - t) * min(q1.min(), q2.min()), "each row"),
        (lambda r, t, q1, q2, gamma: target(r, t, q1, q2, 1.0), "gamma is missing"),
        (lambda r, t, q1, q2, gamma: (1 - t) * target(r, t, q1, q2, gamma), "disappears"),
        (lambda r, t, q1, q2, gamma: target(r, 1 - t, q1, q2, gamma), "wrong way"),
        (lambda r, t, q1, q2, gamma: target(-r, t, q1, q2, gamma), "not every row"),
        (lambda r, t, q1, q2, gamma: min(q1, q2), "raised ValueError"),
    ],
)
def test_a_wrong_target(answer, hint):
    refused("ddpg-4", answer, hint)
