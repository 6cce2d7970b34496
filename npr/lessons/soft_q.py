"""The exercises of the lesson soft_q."""

import math
from typing import Any

import numpy as np

from npr.lessons.answers import RETURNED, array, call, checked, known, near, number, refuse

_OVERFLOW = "For values near 1000 the result is not finite: subtract the maximum before exp."
_VALUES = ([1.0, 2.0, 3.0], [0.5, 0.5], [-3.0, 1.0, 0.0, 0.9])


@checked
def soft_value(answer: Any) -> None:
    for q in _VALUES:
        for alpha in (1.0, 0.5):
            total = math.fsum(math.exp(x / alpha) for x in q)
            found = number(call(answer, np.array(q), alpha), RETURNED)
            right = alpha * math.log(total)
            known(found, {
                "The result has to be multiplied by alpha in the end.": math.log(total),
                "The values have to be divided by alpha within the exponential.":
                    alpha * math.log(math.fsum(math.exp(x) for x in q)),
                "alpha is not used.": math.log(math.fsum(math.exp(x) for x in q)),
                "The logarithm has to be multiplied by alpha before the maximum is added.":
                    max(q) + math.log(total) - max(q) / alpha,
                "That is the mean of the exponentials; they are added.":
                    right - alpha * math.log(len(q)),
                "That is the maximum itself.": max(q),
                "The logarithm is missing.": total,
            } if alpha != 1 else {})  # fmt: skip
            if alpha != 1 and not near(found, right):
                refuse(f"The soft maximum of {q} for alpha {alpha:g} is not {found:.6g}.")
    found = number(call(answer, np.array([1000.0, 999.0, -2000.0]), 0.5), RETURNED, _OVERFLOW)
    if not near(found, 1000 + 0.5 * math.log1p(math.exp(-2))):
        refuse("For the values [1000, 999, -2000] and alpha 0.5 the result is wrong.")
    wrong = "For the values [-3000, -3000] the result is wrong: subtract their own maximum."
    found = number(call(answer, np.array([-3000.0, -3000.0]), 1.0), RETURNED, wrong)
    if not near(found, -3000 + math.log(2)):
        refuse(wrong)


@checked
def boltzmann(answer: Any) -> None:
    for q in _VALUES:
        for alpha in (0.5, 2.0):
            weights = [math.exp(x / alpha) for x in q]
            right = [w / math.fsum(weights) for w in weights]
            found = array(call(answer, np.array(q), alpha), (len(q),), RETURNED)
            V = alpha * math.log(math.fsum(weights))
            if len(set(q)) > 1:
                plain = [math.exp(x) for x in q]
                known(found, {
                    "alpha is not used: the values are divided by it within the exponential.":
                        [x / math.fsum(plain) for x in plain],
                    "Q - V has to be divided by alpha; this does not even add up to 1.":
                        [math.exp(x - V) for x in q],
                    "The probabilities do not add up to 1: divide by their sum.": weights,
                    "The values are multiplied by alpha; divide by it.":
                        _normal([math.exp(x * alpha) for x in q]),
                    "These are logarithms of probabilities.": [math.log(p) for p in right],
                    "That is the greedy policy.": [float(x == max(q)) for x in q],
                })  # fmt: skip
            if not near(found, right):
                refuse(f"For the values {q} and alpha {alpha:g} the policy is not {found}.")
    found = array(call(answer, np.array([1000.0, 999.0]), 0.5), (2,), RETURNED, _OVERFLOW)
    if not near(found, _normal([1.0, math.exp(-2)])):
        refuse("For the values [1000, 999] and alpha 0.5 the policy is wrong.")


def _normal(weights: list[float]) -> list[float]:
    return [w / math.fsum(weights) for w in weights]


@checked
def value_of_samples(answer: Any) -> None:
    q = [-2.0, -0.5, -0.1, -1.2, -3.0]
    for D, alpha in ((3, 0.2), (4, 2.0)):
        total = math.fsum(math.exp(x / alpha) for x in q)
        found = number(call(answer, np.array(q), D, alpha), RETURNED)
        mean, volume = alpha * math.log(total / len(q)), alpha * D * math.log(2)
        known(found, {
            "The volume of the box is missing.": mean,
            "alpha multiplies the logarithm of the volume, too.": mean + D * math.log(2),
            "You add the exponentials; take their mean, or more actions would give a larger value.":
                alpha * math.log(total) + volume,
            "The volume is subtracted; dividing by the density 2^-D adds it.": mean - volume,
            "The box is 2 wide in each of the D dimensions, so its volume is 2^D, not 2 D.":
                mean + alpha * math.log(2 * D),
            "alpha is missing in front of the logarithm.": (mean + volume) / alpha,
        })  # fmt: skip
        if not near(found, mean + volume):
            refuse(f"For q {q}, D={D} and alpha={alpha:g} the value is not {found:.6g}.")
    wrong = "For values near 2000 the result is wrong: subtract the maximum before exp."
    found = number(call(answer, np.array([2000.0, 2000.0]), 1, 1.0), RETURNED, wrong)
    if not near(found, 2000 + math.log(2)):
        refuse(wrong)


@checked
def direction(answer: Any) -> None:
    rng = np.random.default_rng(7)
    for D, h in ((1, 1.0), (3, 0.7)):
        fixed, updated = rng.normal(size=(5, D)), rng.normal(size=(4, D))
        score = rng.normal(size=(5, D))
        pull, push = np.zeros((4, D)), np.zeros((4, D))
        for i, x in enumerate(updated):
            for y, s in zip(fixed, score):
                near_by = math.exp(-math.fsum((x - y) ** 2) / h)
                pull[i] += near_by * s / 5
                push[i] += 2 * near_by * (x - y) / h / 5
        found = array(call(answer, fixed, updated, score, h), (4, D), RETURNED)
        known(found, {
            "The repulsion is missing, the gradient of the kernel.": pull,
            "The attraction is missing, the kernel times the score.": push,
            "The sign of the repulsion is wrong: the gradient of the kernel is taken in the fixed "
            "particle, so that it pushes the updated one away.": pull - push,
            "That is the sum over the fixed particles; take the mean.": 5 * (pull + push),
            "The factor 2 of the derivative of the square is missing.": pull + push / 2,
        })  # fmt: skip
        if D > 1 or h != 1:
            known(found, {"The repulsion lacks the division by h.": pull + h * push})
        if not near(found, pull + push):
            refuse(f"For D={D} and h={h:g} the direction is wrong; try the numbers of the lesson.")


CHECKS = {
    "soft_q-1": soft_value,
    "soft_q-2": boltzmann,
    "soft_q-3": value_of_samples,
    "soft_q-4": direction,
}
