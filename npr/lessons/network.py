"""The exercises of the lesson network."""

from typing import Any

import numpy as np

from npr.lessons.answers import array, call, checked, known, near, number, refuse


@checked
def parameters(answer: Any) -> None:
    n = number(answer)
    known(n, {
        "The vectors b are missing: each layer has one number per unit, too.": 4864,
        "The last layer has a vector b, too.": 4992,
        "The product of the second and third layer is missing: 64 units to 64 units.": 900,
        "These are the units, not the parameters.": 132,
        "The first layer is missing.": 4420,
        "The last layer is missing.": 4736,
    })  # fmt: skip
    if n != 4996:
        refuse("Three layers have parameters, from 8 to 64 to 64 to 4; add n m + m for each.")


def _forward(layers: Any, x: Any, hidden: Any, out: Any = lambda z: z, bias: float = 1) -> Any:
    for W, b in layers[:-1]:
        x = hidden(np.einsum("bn,nm->bm", x, W) + bias * b)
    W, b = layers[-1]
    return out(np.einsum("bn,nm->bm", x, W) + bias * b)


@checked
def forward(answer: Any) -> None:
    rng = np.random.default_rng(6)

    def relu(z: Any) -> Any:
        return np.where(z > 0, z, 0.0)

    x = rng.normal(size=(7, 3))
    for widths in ((3, 5, 4, 2), (3, 2), (3, 6, 1)):
        layers = [
            (rng.normal(size=pair), rng.normal(size=pair[1])) for pair in zip(widths, widths[1:])
        ]
        right = _forward(layers, x, relu)
        case = f"For layers of widths {'-'.join(map(str, widths))}"
        found = array(call(answer, [(W.copy(), b.copy()) for W, b in layers], x),
                      right.shape, f"{case}, what your function returns")  # fmt: skip
        known(found, {
            "The last layer has no activation: its output may be negative.":
                _forward(layers, x, relu, relu),
            "The vectors b are missing.": _forward(layers, x, relu, bias=0),
            "The activation is missing in the hidden layers.": _forward(layers, x, lambda z: z),
            "The hidden layers have the activation relu here, not tanh.":
                _forward(layers, x, np.tanh),
            "The activation comes after b is added.":
                _before(layers, x, relu),
        } if len(layers) > 1 else {
            "A network of one layer is a linear map: its last layer has no activation.":
                _forward(layers, x, relu, relu),
        })  # fmt: skip
        if not near(found, right):
            refuse(f"{case} the numbers are wrong. Compare with the code at the top of the lesson.")


def _before(layers: Any, x: Any, relu: Any) -> Any:
    for W, b in layers[:-1]:
        x = relu(x @ W) + b
    W, b = layers[-1]
    return x @ W + b


@checked
def first_weights(answer: Any) -> None:
    scale = number(answer)
    known(scale, {
        "With 1/sqrt(n) the sum keeps its size, but then relu sets half of the numbers to zero.":
            1 / 16,
        "That is the variance; give the standard deviation.": 2 / 256,
        "That is twice too much in the sum of squares: relu takes half, not three quarters.":
            2 / 16,
        "The factor is on the wrong side: relu makes the signal smaller, so weights are larger.":
            np.sqrt(0.5 / 256),
        "The number of inputs is missing: the more there are, the smaller the weights.":
            np.sqrt(2),
    }, 5e-4)  # fmt: skip
    if not near(scale, np.sqrt(1 / 128), 1e-3):
        refuse("Look at the line of the picture that stays level, and put in n = 256.")


@checked
def largest_rate(answer: Any) -> None:
    rate = number(answer)
    known(rate, {
        "With that rate the first step hits the minimum; larger ones can still converge.": 1 / 50,
        "That is c/2; the larger the curvature, the smaller the rate.": 25.0,
        "Converging needs a factor between -1 and 1, not between -2 and 2.": 3 / 50,
    })  # fmt: skip
    if not near(rate, 0.04, 1e-9):
        refuse("A step multiplies theta by 1 - 50 alpha. When does its absolute value not grow?")


@checked
def adam_step(answer: Any) -> None:
    rng = np.random.default_rng(7)
    theta, m, v = rng.normal(size=6), np.zeros(6), np.zeros(6)
    rate = 0.1
    for t in (1, 2, 3):
        g = rng.normal(size=6) * 10.0 ** np.arange(-3, 3)
        arguments = theta.copy(), g.copy(), m.copy(), v.copy()
        before = [one.copy() for one in arguments]
        returned = call(_as_they_are(answer, arguments), t, rate)
        if not isinstance(returned, (tuple, list)) or len(returned) != 3:
            refuse(
                "Your function must return three arrays, theta, m and v, got "
                f"{type(returned).__name__}."
            )
        if not all(np.array_equal(a, b) for a, b in zip(arguments, before)):
            refuse("Your function changes its arguments: write m = ..., and not m += ....")
        found, m2, v2 = (array(one, (6,), f"The new {name}")
                         for one, name in zip(returned, ("theta", "m", "v")))  # fmt: skip
        m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
        where = f"At step {t}"
        if t == 1:  # m and v were zero
            known(m2, {"The factors 0.9 and 0.1 of m are swapped.": 0.9 * g})
        else:
            known(m2, {"m is the gradient alone; it is a running mean.": g})
        if not near(m2, m, 1e-9):
            refuse(f"{where} m is wrong: it keeps 0.9 of the old mean and takes 0.1 of g.")
        if t == 1:
            known(v2, {
                "v is a mean of the squares of the gradient, not of the gradient.": 0.001 * g,
            })  # fmt: skip
        if not near(v2 / np.maximum(v, 1e-30), 1.0, 1e-6):
            refuse(f"{where} v is wrong: it keeps 0.999 of the old mean and takes 0.001 of g^2.")
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        late = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.999 ** (t + 1))
        known(found, {
            "The corrections of m and v, which start at zero, are missing.":
                theta - rate * m / (np.sqrt(v) + 1e-8),
            "The root of v is missing.": theta - rate * m_hat / (v_hat + 1e-8),
            "theta moves along the gradient, so the loss grows: subtract the step.":
                theta + rate * m_hat / (np.sqrt(v_hat) + 1e-8),
            "The step number counts from 1; you use t + 1.":
                theta - rate * late[0] / (np.sqrt(late[1]) + 1e-8),
            "The learning rate is missing.": theta - m_hat / (np.sqrt(v_hat) + 1e-8),
            "m is not corrected by 1 - beta1^t.": theta - rate * m / (np.sqrt(v_hat) + 1e-8),
            "v is not corrected by 1 - beta2^t.": theta - rate * m_hat / (np.sqrt(v) + 1e-8),
        }, 1e-9)  # fmt: skip
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        if not near(found, theta, 1e-7):
            refuse(f"{where} theta is wrong, while m and v are right.")


def _as_they_are(answer: Any, arguments: Any) -> Any:
    """The answer as a function of what follows these arguments, which are not copied."""
    if not callable(answer):
        return answer
    return lambda *rest: answer(*arguments, *rest)


CHECKS = {
    "network-1": parameters,
    "network-2": forward,
    "network-3": first_weights,
    "network-4": largest_rate,
    "network-5": adam_step,
}
