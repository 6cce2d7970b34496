"""The exercises of the lesson td."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, number, refuse


@checked
def two_updates(answer: Any) -> None:
    found = array(answer, (2,))
    known(found, {
        "That is in the order [Sarsa, Q-learning].": [1.97, 2.15],
        "These are the targets y; move Q(s, a) by alpha times the TD error.": [3.5, 1.7],
        "These are the TD errors; add alpha times the error to Q(s, a).": [1.5, -0.3],
        "The old Q(s, a) is missing: these are the amounts by which it changes.": [0.15, -0.03],
        "The next values count gamma times: 0.9 is missing.": [2.2, 2.0],
    })  # fmt: skip
    for name, one, right in zip(("Q-learning", "Sarsa"), found, (2.15, 1.97)):
        if not near(one, right):
            both = near(found[0], found[1])
            refuse(
                f"The value after the update of {name} is wrong. "
                + ("The two differ: one takes the largest next value, the other the next action's."
                   if both else "Compute y first, then y - Q(s, a), then move by alpha times this.")
            )  # fmt: skip


def _ended(value: float, r: float) -> None:
    if not near(value, r):
        refuse(NO_MASK)


def _compare(value: float, right: float, mistakes: Mapping[str, float]) -> None:
    known(value, mistakes)
    if not near(value, right):
        refuse(f"The target should be {right:.4g} for the values that were tried, not {value:.4g}.")


@checked
def sarsa_target(answer: Any) -> None:
    Q = np.array([[1.0, 4.0, 2.0], [3.0, 0.5, 7.0]])
    for end in (False, 0, np.False_, 0.0):
        value = number(call(answer, -1.0, 0.5, end, Q, 1, 0), RETURNED)
        _compare(value, -1 + 0.5 * 3, {
            "That is the target of Q-learning; Sarsa takes the action a2, not the best one.":
                -1 + 0.5 * 7,
            "gamma is missing.": 2.0,
            "The future is left out although the episode goes on.": -1.0,
            "The indices are swapped: rows of Q are states, columns are actions.": -1 + 0.5 * 4,
        })  # fmt: skip
    for last in (True, 1, np.True_):
        _ended(number(call(answer, -1.0, 0.5, last, Q, 1, 0), RETURNED), -1.0)


@checked
def expected_target(answer: Any) -> None:
    q2 = np.array([1.0, 6.0, 2.0, -3.0])
    value = number(call(answer, 2.0, 0.9, False, q2, 0.2), RETURNED)
    _compare(value, 2 + 0.9 * (0.8 * 6 + 0.2 * 1.5), {
        "That is the target of Q-learning; the random actions count, too.": 2 + 0.9 * 6,
        "That is the mean over a uniform policy; the greedy action is more probable.":
            2 + 0.9 * 1.5,
        "gamma is missing.": 2 + 0.8 * 6 + 0.2 * 1.5,
        "The greedy action gets 1 - epsilon only; a random action may be the greedy one, too.":
            2 + 0.9 * (0.8 * 6 + 0.2 / 4 * 0),
        "epsilon is shared by all actions, not by the others only.": 2 + 0.9 * 0.8 * 6,
        "epsilon and 1 - epsilon are swapped.": 2 + 0.9 * (0.2 * 6 + 0.8 * 1.5),
    })  # fmt: skip
    other = number(call(answer, 0.0, 1.0, 0, np.array([4.0, 0.0, -1.0]), 0.3), RETURNED)
    _compare(other, 0.7 * 4 + 0.3 * 1, {
        "epsilon is divided among the other actions; the random action is one of all of them.":
            0.7 * 4 + 0.15 * -1,
    })  # fmt: skip
    _ended(number(call(answer, 2.0, 0.9, True, q2, 0.2), RETURNED), 2.0)


@checked
def with_a_wrong_limit(answer: Any) -> None:
    v = number(answer)
    known(v, {
        "That is the right value of the state; the question is what the mistake makes of it.": 10.0,
        "That is the return of ten steps. v is one number for all steps, the last one too.":
            sum(0.9**t for t in range(10)),
        "That is the result for a limit of 5.": 1 / 0.28,
        "That is the result for a limit of 9: one target in ten has no future.": 5.0,
    }, 0.005)  # fmt: skip
    if not near(v, 1 / 0.19, 0.01):
        refuse("Write the mean of the targets as a function of v, and solve it for v.")


@checked
def double_target(answer: Any) -> None:
    qa2, qb2 = np.array([1.0, 3.0, 2.0]), np.array([5.0, -3.0, 4.0])
    value = number(call(answer, 1.0, 0.5, False, qa2, qb2), RETURNED)
    _compare(value, 1 + 0.5 * -3, {
        "That is the maximum of table A: chosen and valued by the same table.": 1 + 0.5 * 3,
        "That is the maximum of table B; table A chooses the action.": 1 + 0.5 * 5,
        "The tables are swapped: the one that is updated, A, chooses.": 1 + 0.5 * 1,
        "gamma is missing.": -2.0,
    })  # fmt: skip
    _ended(number(call(answer, 1.0, 0.5, True, qa2, qb2), RETURNED), 1.0)


CHECKS = {
    "td-1": two_updates,
    "td-2": sarsa_target,
    "td-3": expected_target,
    "td-4": with_a_wrong_limit,
    "td-5": double_target,
}
