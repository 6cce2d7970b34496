"""The exercises of the lesson dqn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, number, refuse

_R, _GAMMA = np.array([1.0, -2.0, 0.5]), 0.9
_ENDS = np.array([0.0, 1.0, 0.0])
_Q2 = np.array([[2.0, 1.5, -1.0], [4.0, 6.0, 1.0], [-3.0, -1.0, -2.0]])


@checked
def huber_gradient(answer: Any) -> None:
    found = array(answer, (2, 2))
    right = np.array([[-0.5, 0], [0, -0.25]])
    known(found, {
        "The loss is the mean over the batch: divide by 2.": 2 * right,
        "That is the gradient of half the squared error; beyond an error of 1 the slope of the "
        "Huber loss is constant.": [[-1.15, 0], [0, -0.25]],
        "That is the gradient of the squared error; the Huber loss is half of it near zero, and "
        "its slope is constant beyond an error of 1.": [[-2.3, 0], [0, -0.5]],
        "The sign is wrong: a larger value would be closer to the target, so the loss falls.":
            -right,
        "These are the losses, or their mean: the gradient is their slope.": [[1.8, 0], [0, 0.125]],
    })  # fmt: skip
    if found[0, 1] != 0 or found[1, 0] != 0:
        refuse("The loss does not depend on the value of an action that was not taken.")
    for row, (column, error) in enumerate(((0, -2.3), (1, -0.5))):
        if not near(found[row, column], right[row, column]):
            refuse(
                f"Row {row}: the error is {error}. What is the slope of the Huber loss there, and "
                "what does the mean make of it?"
            )


def _targets(answer: Any, *values: NDArray[np.float64]) -> NDArray[np.float64]:
    return array(call(answer, _R, _GAMMA, _ENDS, *values), what=RETURNED)


def _compare(
    found: NDArray[np.float64], right: Any, mistakes: Mapping[str, Any], **q: NDArray[np.float64]
) -> None:
    """Refuse targets that are wrong; q: the values that the function got, by name."""
    tried = {"r": _R, "gamma": _GAMMA, "terminated": _ENDS, **q}
    if found.shape == (3, 3):
        refuse(
            "The result has shape (B, B): an array of shape (B, 1) was combined with one of shape "
            "(B,). Each transition needs one number."
        )
    array(found, (3,), RETURNED)
    known(found, mistakes)
    if near(found, right):
        return
    if not near(found[1], right[1]) and near(found[::2], right[::2]):
        refuse(NO_MASK)
    inputs = ", ".join(f"{name} = {np.asarray(x).tolist()}" for name, x in tried.items())
    refuse(f"The targets should be {right.round(3).tolist()}, not {found.round(3).tolist()}, for "
           f"this batch: {inputs}.")  # fmt: skip


@checked
def batch_target(answer: Any) -> None:
    goes_on, best = 1 - _ENDS, _Q2.max(axis=1)
    _compare(_targets(answer, _Q2), _R + _GAMMA * goes_on * best, {
        NO_MASK: _R + _GAMMA * best,
        "gamma is missing.": _R + goes_on * best,
        "terminated and 1 - terminated are swapped.": _R + _GAMMA * _ENDS * best,
        "That is the maximum over the whole batch; each row has its own: axis=1.":
            _R + _GAMMA * goes_on * best.max(),
        "That is the maximum of the columns; the actions are the last axis.":
            _R + _GAMMA * goes_on * _Q2.max(axis=0),
        "That is the mean over actions; Q-learning takes the best one.":
            _R + _GAMMA * goes_on * _Q2.mean(axis=1),
        "The reward is masked, too; only what comes after it ends.":
            goes_on * (_R + _GAMMA * best),
        "That is the index of the best action; the target needs its value.":
            _R + _GAMMA * goes_on * _Q2.argmax(axis=1),
        "That is the smallest value; Q-learning takes the best one.":
            _R + _GAMMA * goes_on * _Q2.min(axis=1),
        "That is the sum over actions; Q-learning takes the best one.":
            _R + _GAMMA * goes_on * _Q2.sum(axis=1),
    }, q2=_Q2)  # fmt: skip


@checked
def without_the_mask(answer: Any) -> None:
    found = number(answer)
    known(found, {
        "That is the value for gamma = 0.99.": 100.0,
        "That is the longest episode, and without discount.": 500.0,
        "That is the reward; the target holds gamma times the next value, too.": 1.0,
        "That is the value where the pole falls at once; the target never learns that it does.":
            1.98,
        "That is the value of an endless episode whose first reward does not count.": 49.0,
    }, 1e-3)  # fmt: skip
    if not near(found, 50, 1e-3):
        refuse(
            "Every target is 1 + gamma q, with q the value of the next state. Which number q "
            "equals its own target?"
        )


@checked
def updates_with_one_copy(answer: Any) -> None:
    found = number(answer)
    known(found, {
        "The interval counts env steps, not updates. How many steps lie between two of the 128 "
        "updates?": 10.0,
        "That is train_freq, in env steps; the question counts updates.": 256.0,
        "On average there is one update in two steps, but they are not spread: they are made after "
        "each 256th step.": 5.0,
        "The target network is copied about 25 times between two rounds of updates, and not "
        "within one.": 1280.0,
    })  # fmt: skip
    if found != 128:
        refuse("Look at the two loops of _train: the line with [16] is not in the inner one.")


@checked
def double_target(answer: Any) -> None:
    q2 = np.array([[1.0, 3.0, 2.0], [0.0, 1.0, 2.0], [-1.0, -4.0, -2.0]])
    rows, goes_on = np.arange(3), 1 - _ENDS

    def target(next_values: NDArray[np.float64]) -> NDArray[np.float64]:
        return _R + _GAMMA * goes_on * next_values

    right = _Q2[rows, q2.argmax(axis=1)]
    _compare(_targets(answer, q2, _Q2), target(right), {
        "That is the target of DQN: the target network chooses and evaluates.":
            target(_Q2.max(axis=1)),
        "Here the network chooses and evaluates, and the target network is not used.":
            target(q2.max(axis=1)),
        "The two are swapped: the network chooses, the target network evaluates.":
            target(q2[rows, _Q2.argmax(axis=1)]),
        "gamma is missing.": _R + goes_on * right,
        NO_MASK: _R + _GAMMA * right,
        "That is the index of the chosen action; the target needs its value.":
            target(q2.argmax(axis=1)),
    }, q2=q2, q2_bar=_Q2)  # fmt: skip


CHECKS = {
    "dqn-1": huber_gradient,
    "dqn-2": batch_target,
    "dqn-3": without_the_mask,
    "dqn-4": updates_with_one_copy,
    "dqn-5": double_target,
}
