"""The exercises of the lesson tape."""

from typing import Any

import numpy as np

from npr.autodiff import value_and_grad
from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, refuse


@checked
def by_hand(answer: Any) -> None:
    found = array(answer, (4,))
    known(found, {
        "Give the cotangents in the order v, u, x, y.": [18, 6, 6, 6],
        "These are the values of v, u, x and y, not their cotangents.": [3, 2, 1, 2],
    })  # fmt: skip
    v, u, x, y = found
    if not near(v, 6):
        refuse("The cotangent of v is the derivative of v^2, at the value that v has.")
    if not near(u, v):
        refuse("u is used in v = u + x only: a sum passes its cotangent on as it is.")
    known(x, {
        "x is used twice, in v and in u: the direct way from v to x is missing.": 12,
        "x is used twice, in v and in u: the way over u is missing.": 6,
    })  # fmt: skip
    if not near(x, 18):
        refuse("The cotangent of x is a sum of two: one from v = u + x, one from u = x y.")
    if not near(y, 6):
        refuse("The cotangent of y comes from u = x y: that of u times the other factor.")


@checked
def sigmoid(answer: Any) -> None:
    x = np.array([[-3.0, -0.5, 0.0], [0.7, 2.0, 4.0]])
    y, g, h = 1 / (1 + np.exp(-x)), np.array([[1.0, -2.0, 0.5], [3.0, 1.5, -1.0]]), 1e-5
    slope = (1 / (1 + np.exp(-x - h)) - 1 / (1 + np.exp(-x + h))) / (2 * h)
    found = array(call(answer, g, y, x), x.shape, RETURNED)
    known(found, {
        "That is the derivative; the chain rule multiplies it by the cotangent g.": slope,
        "The formula needs y, the value of the sigmoid, where you have x.": g * x * (1 - x),
        "That is the rule of tanh.": g * (1 - y * y),
        "That is y (1 - y) with the wrong sign.": -g * slope,
        "That is the value times g, as for exp; the sigmoid becomes flat for large x.": g * y,
    })  # fmt: skip
    if not near(found, g * slope, 1e-6):
        refuse(
            "It differs from finite differences: for y = 0.5 the derivative is 0.25, and for y "
            "near 0 or 1 it is near 0."
        )


@checked
def unbroadcast(answer: Any) -> None:
    rng = np.random.default_rng(3)
    for shape, wide in [
        ((3,), (4, 3)), ((4, 3), (4, 3)), ((4, 1), (4, 3)), ((), (2, 3)), ((1, 3), (4, 3)),
        ((3,), (2, 4, 3)), ((1,), (4, 3)), ((1, 3), (2, 4, 3)), ((1, 1), (1, 5)), ((2, 1, 3),) * 2,
    ]:  # fmt: skip
        g, case = rng.normal(size=wide), f"For g of shape {wide} and shape={shape}"
        returned = call(answer, g, shape)
        if np.shape(returned) != shape:
            refuse(f"{case} your function returns shape {np.shape(returned)}.")
        found = array(returned, shape, RETURNED)
        right = np.zeros(shape)  # by the definition: add each entry to where it came from
        for index in np.ndindex(*wide):
            place = index[len(wide) - len(shape) :]
            right[tuple(0 if n == 1 else i for i, n in zip(place, shape))] += g[index]
        if near(found, right):
            continue
        if near(found * (g.size / max(found.size, 1)), right):
            refuse("You take a mean; what arrives at one place by several ways is added.")
        refuse(f"{case} the numbers are wrong: sum over the axes that were added or stretched.")


@checked
def td_loss(answer: Any) -> None:
    rng = np.random.default_rng(4)
    x, x2, r = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)
    terminated, theta, gamma = np.array([0.0, 1.0, 0.0, 0.0, 1.0]), rng.normal(size=3), 0.8

    def error(future: Any) -> Any:
        return r + gamma * future * (x2 @ theta) - x @ theta

    def loss(theta: Any) -> Any:
        result = call(answer, theta, x, r, x2, terminated, gamma)
        if np.shape(getattr(result, "data", result)) != ():
            refuse("The loss must be one number: take the mean over the batch.")
        return result

    try:
        value, found = value_and_grad(loss)(theta.copy())
    except (ArithmeticError, TypeError, ValueError, AttributeError) as wrong:
        refuse(f"Your loss cannot be differentiated: {type(wrong).__name__}: {wrong}")
    value, d = array(value, (), RETURNED), error(1 - terminated)
    half = (d * d).mean() / 2
    known(value, {
        NO_MASK: (error(1.0) ** 2).mean() / 2,
        "The factor 1/2 is missing.": 2 * half,
        "You add over the batch; take the mean.": 5 * half,
        "The next value is not discounted: gamma is missing.":
            ((r + (1 - terminated) * (x2 @ theta) - x @ theta) ** 2).mean() / 2,
        "The future is kept where the episode has ended, and left out where it goes on.":
            (error(terminated) ** 2).mean() / 2,
    })  # fmt: skip
    if not near(value, half):
        refuse(f"The loss should be {half:.4g} for the batch that was tried, not {value:.4g}.")
    through = (d[:, None] * (gamma * (1 - terminated)[:, None] * x2 - x)).mean(axis=0)
    known(found, {
        "The loss is right, but its gradient goes through the target, too: hold the target "
        "constant with stop_gradient.": through,
        "The gradient is zero: only the target is to be held constant, not the prediction.":
            np.zeros(3),
        "The gradient goes through the target only: hold the target constant, not the prediction.":
            through + (d[:, None] * x).mean(axis=0),
    })  # fmt: skip
    if not near(found, -(d[:, None] * x).mean(axis=0)):
        refuse("The loss is right, its gradient is not: only the prediction may depend on theta.")


CHECKS = {
    "tape-1": by_hand,
    "tape-2": sigmoid,
    "tape-3": unbroadcast,
    "tape-4": td_loss,
}
