"""The exercises of the lesson policy_gradient."""

from typing import Any

import numpy as np

from npr.lessons.answers import RETURNED, array, call, checked, known, near, number, refuse


@checked
def score(answer: Any) -> None:
    for theta, a in ((np.array([0.3, -1.0, 0.8]), 2), (np.array([0.0, 0.0, 1.0, 2.0]), 0)):
        e = np.exp(theta)
        p, taken = e / e.sum(), np.zeros(len(theta))
        taken[a] = 1
        found = array(call(answer, theta, a), theta.shape, RETURNED)
        known(found, {
            "That is the gradient of pi(a); divide it by pi(a).": p[a] * (taken - p),
            "The sign is wrong: the score points to where the action becomes more probable.":
                p - taken,
            "These are the probabilities; which entry has to change for the action a?": p,
            "That is the derivative of theta_a alone; the logarithm of the sum depends on theta, "
            "too.": taken,
            "These are the log-probabilities, not their gradient.": np.log(p),
            "Subtract the probabilities, not the parameters.": taken - theta,
        })  # fmt: skip
        if not near(found, taken - p):
            total = found.sum()
            hint = "" if near(total, 0) else f" Its entries must add up to 0, not {total:.3g}."
            refuse(f"The score is wrong for theta = {theta.tolist()} and a = {a}.{hint}")


@checked
def one_update(answer: Any) -> None:
    found = array(answer, (2,))
    known(found, {
        "That is the score; the step is alpha times r times the score.": [0.5, -0.5],
        "The probability of the other action falls, and so does its parameter.": [0.05, 0.0],
        "The score of an action is 1 minus its probability, not 1.": [0.1, 0.0],
        "The score of an action is one-hot minus the probabilities; these are 0.5 each.":
            [0.1, -0.1],
        "The sign is wrong: the action was rewarded, so it becomes more probable.": [-0.05, 0.05],
        "These are the new probabilities; the question is theta.":
            [1 / (1 + np.exp(-0.1)), 1 / (1 + np.exp(0.1))],
    }, 1e-4)  # fmt: skip
    if not near(found, [0.05, -0.05]):
        refuse("Both probabilities are 0.5. What is the score of action 0, and then the step?")


@checked
def best_baseline(answer: Any) -> None:
    found = number(answer)
    known(found, {
        "That is the mean reward: close to the best baseline in many cases, but not here.": 0.25,
        "That is right for pi = [0.5, 0.5].": 0.5,
        "With b = 0 action 1 gives the estimate 0, and action 0 does not.": 0.0,
        "With b = 1 action 0 gives the estimate 0, and action 1 does not.": 1.0,
    })  # fmt: skip
    if not near(found, 0.75, 1e-4):
        refuse(
            "Write (r - b) times the first component of the score for both actions, and set them "
            "equal."
        )


@checked
def returns(answer: Any) -> None:
    r, gamma = np.array([1.0, -2.0, 3.0, 0.5]), 0.5
    right = np.array([0.8125, -0.375, 3.25, 0.5])
    mistakes = {
        "These are discounted sums from the beginning; a return to go begins at its own step.":
            np.cumsum(r * gamma ** np.arange(4)),
        "gamma is missing.": np.cumsum(r[::-1])[::-1],
        "The return of step t includes the reward r_t.": np.append(right[1:], 0),
        "Each return is discounted from its own step, not from the start of the episode.":
            gamma ** np.arange(4) * right,
        "All steps have the return of the whole episode; leave out what was before each step.":
            np.full(4, right[0]),
        "They are in reversed order.": right[::-1],
    }  # fmt: skip
    found = array(call(answer, r, gamma, 0.0), (4,), RETURNED)
    known(found, mistakes)
    if not near(found, right):
        refuse("The returns are wrong for an episode that has terminated. Begin with the last one.")
    cut = array(call(answer, r, gamma, 8.0), (4,), RETURNED)
    known(cut, {
        "after is not used: where the episode was truncated, its value follows the last step.":
            right,
        "after comes one step after the last reward, so gamma times it counts there.":
            right + 8 * gamma ** np.arange(3, -1, -1),
        "after counts in all steps before the last one, too, discounted.":
            right + np.array([0, 0, 0, 4.0]),
        "after is discounted once per step between, not once for all steps.": right + 4.0,
    })  # fmt: skip
    if not near(cut, right + 8 * gamma ** np.arange(4, 0, -1)):
        refuse("The returns are wrong for an episode that was truncated: after takes G's place.")


CHECKS = {
    "policy_gradient-1": score,
    "policy_gradient-2": one_update,
    "policy_gradient-3": best_baseline,
    "policy_gradient-4": returns,
}
