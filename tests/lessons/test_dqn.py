"""The checks of the lesson on DQN."""

import numpy as np
import pytest
from support.lessons import correct, refused


@pytest.mark.parametrize(
    "answer", [[[-0.5, 0], [0, -0.25]], np.float32([[-0.5, 0], [0, -0.25]]), ((-0.5, 0), (0, -1/4))]
)  # fmt: skip
def test_the_gradient_of_the_huber_loss(answer):
    correct("dqn-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [([[-1, 0], [0, -0.5]], "mean"), ([[-1.15, 0], [0, -0.25]], "half the squared"),
     ([[-2.3, 0], [0, -0.5]], "the squared error"), ([[0.5, 0], [0, 0.25]], "sign"),
     ([[1.8, 0], [0, 0.125]], "slope"), ([[-0.5, -0.5], [0, -0.25]], "not taken"),
     ([[-0.5, 0], [0, -0.5]], "Row 1"), ([[-0.25, 0], [0, -0.25]], "Row 0"),
     ([-0.5, -0.25], "shape")],
)  # fmt: skip
def test_a_wrong_gradient_of_the_huber_loss(answer, hint):
    refused("dqn-1", answer, hint)


def test_the_target_of_a_batch():
    correct("dqn-2", lambda r, g, end, q2: r + g * (1 - end) * q2.max(axis=1))
    correct("dqn-2", lambda r, g, end, q2: np.where(end == 1, r, r + g * np.max(q2, -1)))

    def loop(r, gamma, terminated, q2):
        return [
            reward + (0 if end else gamma * max(row)) for reward, end, row in zip(r, terminated, q2)
        ]

    correct("dqn-2", loop)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, end, q2: r + g * q2.max(axis=1), "after termination"),
        (lambda r, g, end, q2: r + (1 - end) * q2.max(axis=1), "gamma is missing"),
        (lambda r, g, end, q2: r + g * end * q2.max(axis=1), "swapped"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.max(), "whole batch"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.max(axis=0), "columns"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.mean(axis=1), "mean over actions"),
        (lambda r, g, end, q2: (1 - end) * (r + g * q2.max(axis=1)), "reward is masked"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.max(axis=1, keepdims=True), r"\(B, B\)"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.argmax(axis=1), "index of the best"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.min(axis=1), "smallest"),
        (lambda r, g, end, q2: r + g * (1 - end) * q2.sum(axis=1), "sum over actions"),
        (lambda r, g, end, q2: r + g * ~end * q2.max(axis=1), "write 1 - terminated"),
        (lambda r, g, end, q2: r + g * ~float(end[0]) * q2.max(axis=1), "write 1 - terminated"),
        (
            lambda r, g, end, q2: r - g * (1 - end) * q2.max(axis=1),
            r"should be .*, for this batch: r = \[1.0, -2.0, 0.5\], gamma = 0.9, "
            r"terminated = \[0.0, 1.0, 0.0\], q2 = \[\[2.0, ",
        ),
        (lambda g, r, end, q2: r + g * (1 - end) * q2.max(axis=1), "gamma = 0.9"),
        (lambda r, g, end, q2: (r + g * (1 - end) * q2.max(axis=1)).sum(), "shape"),
        (lambda r, g, q2: r, "raised TypeError"),
        ([1.0, 2.0, 3.0], "must be a function"),
    ],
)
def test_a_wrong_target_of_a_batch(answer, hint):
    refused("dqn-2", answer, hint)


@pytest.mark.parametrize("answer", [50, 50.0, 1 / (1 - 0.98), np.float32(50), np.array([50])])
def test_the_values_without_the_mask(answer):
    correct("dqn-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(100, "0.99"), (500, "longest"), (1, "reward"), (1.98, "at once"), (49, "first reward"),
     (0, "its own target"), (float("inf"), "infinity")],
)  # fmt: skip
def test_wrong_values_without_the_mask(answer, hint):
    refused("dqn-3", answer, hint)


@pytest.mark.parametrize("answer", [128, 128.0, np.int64(128)])
def test_updates_with_one_copy(answer):
    correct("dqn-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(10, "env steps, not updates"), (256, "train_freq"), (5, "not spread"),
     (1280, "25 times"), (1, "inner")],
)  # fmt: skip
def test_a_wrong_number_of_updates_with_one_copy(answer, hint):
    refused("dqn-4", answer, hint)


def chosen(by, of):
    return of[np.arange(len(of)), by.argmax(axis=1)]


def test_the_double_target():
    correct("dqn-5", lambda r, g, end, q2, bar: r + g * (1 - end) * chosen(q2, bar))

    def by_take(r, gamma, terminated, q2, q2_bar):
        index = q2.argmax(axis=-1)[:, None]
        return r + gamma * (1 - terminated) * np.take_along_axis(q2_bar, index, 1)[:, 0]

    correct("dqn-5", by_take)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g, end, q2, bar: r + g * (1 - end) * bar.max(axis=1), "target of DQN"),
        (lambda r, g, end, q2, bar: r + g * (1 - end) * q2.max(axis=1), "not used"),
        (lambda r, g, end, q2, bar: r + g * (1 - end) * chosen(bar, q2), "swapped"),
        (lambda r, g, end, q2, bar: r + (1 - end) * chosen(q2, bar), "gamma is missing"),
        (lambda r, g, end, q2, bar: r + g * chosen(q2, bar), "after termination"),
        (lambda r, g, end, q2, bar: r + g * (1 - end) * q2.argmax(axis=1), "index"),
        (lambda r, g, end, q2, bar: r + g * (1 - end) * bar[:, q2.argmax(axis=1)], r"\(B, B\)"),
        (lambda r, g, end, q2, bar: r, "should be"),
    ],
)
def test_a_wrong_double_target(answer, hint):
    refused("dqn-5", answer, hint)
