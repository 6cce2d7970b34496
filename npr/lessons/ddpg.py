"""The exercises of the lesson ddpg."""

from typing import Any

import numpy as np

from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, number, refuse


@checked
def actor_gradient(answer: Any) -> None:
    slope = number(answer)
    known(slope, {
        "That is the sum over the two states; J is their mean.": 7.0,
        "The factor dmu/dw is missing: an action moves by s when w moves by 1.": 2.5,
        "The sign is wrong: both actions are below 2, and a larger w brings them closer.": -3.5,
        "That is the state s = 1 alone; take the mean over both.": 3.0,
        "That is the state s = 2 alone; take the mean over both.": 4.0,
        "The factor 2 of the derivative of the square is missing.": 1.75,
        "That is J itself; its derivative with respect to w is asked for.": -1.625,
    })  # fmt: skip
    if not near(slope, 3.5, 1e-4):
        refuse("For each state multiply dQ/da at a = w s with dmu/dw, then take the mean.")


@checked
def updates(answer: Any) -> None:
    n, left, right = number(answer), 1.0, 0
    while left > 0.1:
        left, right = left * (1 - 0.02), right + 1
    if n != int(n):
        refuse("The number of updates is a whole number.")
    known(n, {
        "After that many updates a little more than a tenth is left.": right - 1,
        "One update less is enough.": right + 1,
        "After that many updates a tenth is covered, and nine tenths are left.": 6,
        "The distance does not shrink by the same amount each time, but by the same factor.": 45,
        "After 50 updates, which is 1 / tau, 36 % of the distance are left.": 50,
    })  # fmt: skip
    if n != right:
        refuse("With each update the distance is multiplied by 1 - tau. Solve for the number.")


@checked
def environment_action(answer: Any) -> None:
    mu, noise = np.array([0.9, -0.2, -0.8]), np.array([0.3, 0.1, -0.6])
    low, high = np.array([0.0, -2.0, 5.0]), np.array([10.0, 2.0, 6.0])
    middle, half = (low + high) / 2, (high - low) / 2
    held = np.array([1.0, -0.1, -1.0])
    found = array(call(answer, mu, noise, low, high), (3,), RETURNED)
    known(found, {
        "The sum of mu and noise is not clipped to [-1, 1]: the action leaves the box.":
            middle + half * (mu + noise),
        "The action is not scaled to the box of the environment.": held,
        "[-1, 1] is 2 wide: the action moves only by half of high - low for each 1.":
            low + (held + 1) * 2 * half,
        "The middle of the box is missing: it is not always 0.": half * held,
        "The noise is not scaled: it is added to the environment's action, not to mu.":
            np.minimum(np.maximum(middle + half * mu + noise, low), high),
        "The noise is missing.": middle + half * mu,
    })  # fmt: skip
    if not near(found, middle + half * held):
        refuse(
            "-1 must become low, 1 must become high, and 0 the middle between both. Here "
            f"mu + noise is {mu + noise} before it is clipped, and you return {found}."
        )
    first = array(call(answer, mu[:1], -noise[:1], -3.0, -1.0), (1,), RETURNED)
    if not near(first, -1.4):
        refuse("For low=-3, high=-1, mu=0.9 and noise=-0.3 the action is not right.")


@checked
def smaller_target(answer: Any) -> None:
    r, ended = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.0, 0.0, 1.0, 1.0])
    q1, q2, gamma = np.array([2.0, -5.0, 4.0, 1.0]), np.array([3.0, -6.0, 2.0, 7.0]), 0.9
    on = gamma * (1 - ended)
    low = np.array([2.0, -6.0, 2.0, 1.0])
    found = array(call(answer, r, ended, q1, q2, gamma), (4,), RETURNED)
    known(found, {
        NO_MASK: r + gamma * low,
        "You take the larger of both values: that makes the optimism worse.":
            r + on * (q1 + q2 - low),
        "The mean of both critics is still too optimistic; take the smaller one, row by row.":
            r + on * (q1 + q2) / 2,
        "Only the first critic is used.": r + on * q1,
        "Only the second critic is used.": r + on * q2,
        "That is the smallest of all values; take the smaller of both in each row.": r - 6.0 * on,
        "gamma is missing.": r + (1 - ended) * low,
        "gamma multiplies the reward, too.": gamma * r + on * low,
        "The reward disappears at termination; only the value after it does.":
            (1 - ended) * (r + gamma * low),
        "terminated is used the wrong way round.": r + gamma * ended * low,
        "The reward is missing.": on * low,
    })  # fmt: skip
    if not near(found, r + on * low):
        refuse(
            f"For r {r}, terminated {ended}, q1 {q1}, q2 {q2} and gamma {gamma} you return "
            f"{found}: not every row is right."
        )


CHECKS = {
    "ddpg-1": actor_gradient,
    "ddpg-2": updates,
    "ddpg-3": environment_action,
    "ddpg-4": smaller_target,
}
