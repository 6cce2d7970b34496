"""The exercises of the lesson ppo."""

import math
from typing import Any

import numpy as np

from npr.lessons.answers import RETURNED, array, call, checked, known, near, number, refuse


@checked
def clipped_objective(answer: Any) -> None:
    ratio = np.array([1.5, 1.5, 0.5, 0.5, 1.1, 0.9, 1.0])
    A = np.array([1.0, -1.0, 1.0, -1.0, 2.0, -2.0, 0.0])
    epsilon = 0.3
    limits = np.where(A > 0, 1 + epsilon, -1 + epsilon)  # where a good and a bad action stop
    right = np.array([min(x * a, abs(a) * limit) for x, a, limit in zip(ratio, A, limits)])
    held = np.minimum(np.maximum(ratio, 1 - epsilon), 1 + epsilon)
    found = call(answer, ratio, A, epsilon)
    if np.shape(found) == () and near(number(found, RETURNED), right.mean()):
        refuse("That is the mean; return the objective of each sample.")
    found = array(found, ratio.shape, RETURNED)
    known(found, {
        "This is the clipped product alone. A good action whose ratio fell to 0.5 would have no "
        "gradient: take the smaller of this and the product without a clip.": held * A,
        "The ratio is not clipped.": ratio * A,
        "You take the larger of both products; the objective is the cautious one.":
            np.maximum(ratio * A, held * A),
        "The minimum is taken of the ratios, before they are multiplied by A: for a negative A "
        "that is not the smaller product.": np.minimum(ratio, held) * A,
        "The advantage is missing.": np.minimum(ratio, held),
        "That is the loss to minimize; the objective is to be maximized.": -right,
    })  # fmt: skip
    if not near(found, right):
        i = int(np.abs(found - right).argmax())
        refuse(
            f"For ratio {ratio[i]:g}, A {A[i]:g} and epsilon {epsilon:g} the objective is not "
            f"{found[i]:.6g}."
        )


@checked
def where_it_stops(answer: Any) -> None:
    p = number(answer)
    known(p, {
        "There the good action stops to push. Does the bad one still push?": 0.36,
        "That is right for an old policy of (0.5, 0.5). Here the ratios have other denominators.":
            0.6,
        "That is the ratio of the first action; give its probability.": 0.44 / 0.3,
        "That is the probability of the second action.": 0.56,
        "At 0.5 the ratio of the second action is 0.71: it stopped before.": 0.5,
    }, 0.002)  # fmt: skip
    if not near(p, 0.44, 0.005):
        refuse(
            "The gradient ends when the ratio of the good action is above 1.2 and that of the bad "
            "one below 0.8. Both have to hold."
        )


@checked
def divergence(answer: Any) -> None:
    pairs = [
        ([0.5, 0.5], [0.8, 0.2]), ([0.2, 0.3, 0.5], [0.6, 0.3, 0.1]), ([0.25] * 4, [0.25] * 4),
        ([0.0, 1.0], [0.5, 0.5]),
    ]  # fmt: skip
    for old, new in pairs:
        terms = [p * (math.log(p) - math.log(q)) for p, q in zip(old, new) if p > 0]
        right, size = math.fsum(terms), len(old)
        found = call(answer, np.array(old), np.array(new))
        if np.shape(found) == (size,) and size > 1 and old[0] > 0:
            refuse("Return one number, the sum over the actions.")
        zero = ("For an old probability of 0 you return NaN, because 0 times log 0 is NaN in "
                "NumPy. Leave such actions out.")  # fmt: skip
        found = number(found, RETURNED, zero if old[0] == 0 else "")
        if right == 0:
            if not near(found, 0):
                refuse(f"The divergence of equal distributions is 0; you return {found:.6g}.")
            continue
        mistakes = {
            "The sign is wrong: the divergence is never negative.": -right,
            "That is the mean over the actions; it is their sum.": right / size,
        }
        if old[0] > 0:
            other = math.fsum(q * (math.log(q) - math.log(p)) for p, q in zip(old, new))
            mistakes |= {
                "That is KL(new || old); the mean is taken over actions of the old policy.": other,
                "The logarithm has base 2; use the natural one.": right / math.log(2),
            }
        known(found, mistakes)
        if not near(found, right):
            refuse(f"KL({old} || {new}) is {right:.6f}, you return {found:.6f}.")


@checked
def adapted(answer: Any) -> None:
    def returned(weight: float, d: float, target: float) -> float:
        return number(call(answer, weight, d, target), RETURNED)

    for weight, target in ((1.0, 0.01), (0.3, 0.05)):
        large, small = (returned(weight, target * factor, target) for factor in (1.6, 0.6))
        if large < weight or small > weight:
            refuse("The other way round: if the policy moved too far, the penalty must grow.")
        if not near(large, weight + weight):
            refuse(f"For d = 1.6 target the weight {weight:g} is doubled; you return {large:.6g}.")
        if not near(small, weight / 2):
            refuse(
                f"For d = 0.6 target, below target / 1.5, the weight {weight:g} is halved; you "
                f"return {small:.6g}."
            )
        for factor in (1.0, 1.4, 0.7):
            if not near(kept := returned(weight, target * factor, target), weight):
                refuse(
                    f"For d = {factor:g} target, between both bounds, the weight stays {weight:g}; "
                    f"you return {kept:.6g}."
                )
    if not near(far := returned(1.0, 1.0, 0.01), 2.0):
        refuse(f"The weight is doubled once however large d is; you return {far:.6g} for 1.")


CHECKS = {
    "ppo-1": clipped_objective,
    "ppo-2": where_it_stops,
    "ppo-3": divergence,
    "ppo-4": adapted,
}
