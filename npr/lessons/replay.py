"""The exercises of the lesson replay."""

from typing import Any

import numpy as np

from npr.lessons.answers import RETURNED, array, call, checked, known, near, number, refuse


@checked
def probabilities(answer: Any) -> None:
    delta, alpha, eps = np.array([0.5, -2.0, 0.0, 1.0]), 0.6, 0.1
    size = np.abs(delta) + eps
    negative = "A negative TD error has no such power: take its absolute value."
    found = array(call(answer, delta, alpha, eps), (4,), RETURNED, negative)

    def share(p: Any) -> Any:
        return p / p.sum()

    known(found, {
        "The priorities are right, but probabilities must add up to 1.": size**alpha,
        "alpha is missing.": share(size),
        "alpha is an exponent of the priorities, not a factor or an exponent of the result.":
            share(size) ** alpha,
        "eps is missing: a transition whose error is zero would never be drawn again.":
            share(np.abs(delta) ** alpha),
        "eps belongs to the priority, before the exponent.":
            share(np.abs(delta) ** alpha + eps),
        "The square of the error is not its absolute value.": share((delta**2 + eps) ** alpha),
        "That is a softmax; the priorities are a power of |delta| + eps.": share(np.exp(delta)),
    })  # fmt: skip
    if not near(found, share(size**alpha)):
        if (found < 0).any() or (np.isfinite(found).all() and not near(found.sum(), 1)):
            refuse("Probabilities are not negative and add up to 1.")
        refuse("The probabilities of errors [0.5, -2, 0, 1] are wrong; the sign must not matter.")
    uniform = array(call(answer, delta, 0.0, eps), (4,), RETURNED)
    if not near(uniform, 0.25):
        refuse("With alpha = 0 all transitions must have the same probability.")


@checked
def tree_of_sums(answer: Any) -> None:
    found = array(answer)
    if found.shape == (7,):
        refuse("These are seven numbers: entry 0 is not used, but it is there.")
    array(found, (8,))
    known(found, {
        "The leaves come last: entries 4 to 7.": [3, 1, 0, 2, 4, 2, 6, 0],
        "These are cumulative sums, not sums of pairs.": [0, 6, 4, 2, 3, 4, 4, 6],
    })  # fmt: skip
    if not near(found[4:], [3, 1, 0, 2]):
        refuse("Entries 4 to 7 are the leaves: the priorities in their order.")
    if not near(found[2:4], [4, 2]):
        refuse("Entry 2 is the sum of its children 4 and 5, entry 3 that of 6 and 7.")
    if not near(found[1], 6):
        refuse("Entry 1 is the root: the total of all priorities.")
    if found[0] != 0:
        refuse("Entry 0 is not used; write 0.")


@checked
def points(answer: Any) -> None:
    u, total = np.array([0.5, 0.75, 0.9, 0.25]), 20.0
    found = array(call(answer, u, total), (4,), RETURNED)
    known(found, {
        "These points are not stratified: two of them may lie in the same share.": u * total,
        "The line has length total, not 1.": (np.arange(4) + u) / 4,
        "The points have no random part: u is missing.": np.arange(4) / 4 * total,
        "The line is cut into len(u) shares: divide by len(u).": (np.arange(4) + u) * total,
        "The first share begins at 0: count from 0.": (np.arange(1, 5) + u) / 4 * total,
    })  # fmt: skip
    if not near(found, [2.5, 8.75, 14.5, 16.25]):
        share = np.floor(found / 5)
        if (share != np.arange(4)).any():
            refuse("Point i must lie in share i: with four shares of 20, in [5 i, 5 i + 5).")
        refuse("Within its share a point lies at the fraction u of the way.")


@checked
def weights(answer: Any) -> None:
    P, n = np.array([0.2, 0.4, 0.05]), 10
    half = array(call(answer, P, n, 0.5), (3,), RETURNED)
    full = array(call(answer, P, n, 1.0), (3,), RETURNED)
    known(half, {
        "The division by the maximum is missing.": (n * P) ** -0.5,
        "The sign of the exponent is wrong: what is drawn often must count less.":
            (n * P) ** 0.5 / ((n * P) ** 0.5).max(),
        "beta is missing.": 0.25 * 0.2 / P,
        "Divide by the maximum over the batch, not by the sum.":
            P**-0.5 / (P**-0.5).sum(),
        "Divide by the maximum, not by the mean.": P**-0.5 / (P**-0.5).mean(),
    })  # fmt: skip
    known(full, {
        "The division by the maximum is missing.": 1 / (n * P),
        "Divide by the maximum: the largest weight is 1.": 0.2 / P,
    })  # fmt: skip
    if not near(full, 0.05 / P) or not near(half, (0.05 / P) ** 0.5):
        refuse(
            "The weights are wrong. Compute (n P)^-beta first, then divide by the largest one: "
            "the transition with the smallest probability has the weight 1."
        )
    if not near(array(call(answer, P, n, 0.0), (3,), RETURNED), 1):
        refuse("With beta = 0 all weights must be 1.")


@checked
def weighted_loss(answer: Any) -> None:
    q, y, w = np.array([2.0, 3.0, -1.0]), np.array([3.0, 1.0, 1.0]), np.array([1.0, 0.5, 0.25])
    found = number(call(answer, q, y, w), RETURNED)
    squared = (y - q) ** 2
    known(found, {
        "That is the source's loss: the weight is inside the square, beside Q.":
            ((y - q * w) ** 2).mean(),
        "That is the square of w (y - q): it has w squared.": (w**2 * squared).mean(),
        "The weights are missing.": squared.mean(),
        "The loss is the mean over the batch, not the sum.": (w * squared).sum(),
        "That is half of it; this exercise has no factor 1/2.": 0.5 * (w * squared).mean(),
        "Divide by the size of the batch, not by the sum of the weights: w has its scale already.":
            (w * squared).sum() / w.sum(),
        "The errors are not squared.": (w * np.abs(y - q)).mean(),
    })  # fmt: skip
    if not near(found, (w * squared).mean()):
        refuse("The loss is wrong: each squared error is multiplied by its weight, then averaged.")


CHECKS = {
    "replay-1": probabilities,
    "replay-2": tree_of_sums,
    "replay-3": points,
    "replay-4": weights,
    "replay-5": weighted_loss,
}
