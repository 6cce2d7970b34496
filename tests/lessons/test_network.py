"""The checks of the lesson on networks."""

import numpy as np
import pytest
from support.lessons import correct, refused


@pytest.mark.parametrize("answer", [4996, 4996.0, np.int64(4996), [4996]])
def test_the_number_of_parameters(answer):
    correct("network-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(4864, "vectors b"), (4992, "last layer has a vector"), (132, "units"), (900, "second and"),
     (4420, "first layer"), (4736, "last layer is missing"), (5000, "Three layers"),
     ("4996", "number")],
)  # fmt: skip
def test_a_wrong_number_of_parameters(answer, hint):
    refused("network-1", answer, hint)


def forward(layers, x, hidden=lambda z: np.maximum(z, 0), out=lambda z: z, bias=1):
    for W, b in layers[:-1]:
        x = hidden(x @ W + bias * b)
    W, b = layers[-1]
    return out(x @ W + bias * b)


def test_the_forward_pass():
    correct("network-2", forward)
    correct("network-2", lambda layers, x: forward(layers, x).tolist())

    def in_place(layers, x):
        for i, (W, b) in enumerate(layers):
            x = x @ W
            x += b
            if i < len(layers) - 1:
                x[x < 0] = 0
        return x

    correct("network-2", in_place)


def relu_of_all(layers, x):
    for W, b in layers:
        x = np.maximum(x @ W + b, 0)
    return x


def bias_last(layers, x):
    for W, b in layers[:-1]:
        x = np.maximum(x @ W, 0) + b
    return x @ layers[-1][0] + layers[-1][1]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (relu_of_all, "may be negative"),
        (bias_last, "after b"),
        (lambda layers, x: forward(layers, x, bias=0), "vectors b"),
        (lambda layers, x: forward(layers, x, hidden=lambda z: z), "activation is missing"),
        (lambda layers, x: forward(layers, x, hidden=np.tanh), "not tanh"),
        (lambda layers, x: forward(layers[1:], x), "raised ValueError"),
        (lambda layers, x: forward(layers, x).T, "shape"),
        (lambda layers, x: forward(layers, x) + 1, "Compare"),
    ],
)
def test_a_wrong_forward_pass(answer, hint):
    refused("network-2", answer, hint)


@pytest.mark.parametrize("answer", [np.sqrt(2 / 256), 0.0884, [0.08839]])
def test_the_first_weights(answer):
    correct("network-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(1 / 16, "half of the numbers"), (2 / 256, "variance"), (2 / 16, "twice"),
     (0.0442, "wrong side"), (1.41421, "number of inputs"), (0.5, "stays level")],
)  # fmt: skip
def test_wrong_first_weights(answer, hint):
    refused("network-3", answer, hint)


@pytest.mark.parametrize("answer", [0.04, 2 / 50, np.float64(0.04)])
def test_the_largest_rate(answer):
    correct("network-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.02, "first step"), (25, "c/2"), (0.06, "-1 and 1"), (0.05, "absolute"), (None, "number")],
)
def test_a_wrong_largest_rate(answer, hint):
    refused("network-4", answer, hint)


def adam(theta, g, m, v, t, rate, late=0, fixed=(True, True), root=np.sqrt, sign=-1):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m_hat = m / (1 - 0.9 ** (t + late)) if fixed[0] else m
    v_hat = v / (1 - 0.999 ** (t + late)) if fixed[1] else v
    return theta + sign * rate * m_hat / (root(v_hat) + 1e-8), m, v


def test_a_step_of_adam():
    correct("network-5", adam)
    correct("network-5", lambda *args: [one.tolist() for one in adam(*args)])


def changes_its_arguments(theta, g, m, v, t, rate):
    new, m2, v2 = adam(theta, g, m, v, t, rate)
    theta[:] = new
    return theta, m2, v2


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *args: adam(*args, fixed=(False, False)), "start at zero, are missing"),
        (lambda *args: adam(*args, fixed=(False, True)), "m is not corrected"),
        (lambda *args: adam(*args, fixed=(True, False)), "v is not corrected"),
        (lambda *args: adam(*args, late=1), "t . 1"),
        (lambda *args: adam(*args, root=lambda v: v), "root of v"),
        (lambda *args: adam(*args, sign=1), "subtract"),
        (lambda *args: adam(*args[:5], 1.0), "learning rate is missing"),
        (lambda *args: adam(*args)[0], "three arrays"),
        (lambda theta, g, m, v, t, rate: (theta, 0.1 * m + 0.9 * g, v), "swapped"),
        (lambda theta, g, m, v, t, rate: (theta, 0.9 * m + g, v), "m is wrong"),
        (lambda *args: (*adam(*args)[:2], 0.001 * args[1]), "squares"),
        (lambda *args: (*adam(*args)[:2], args[1] ** 2), "v is wrong"),
        (lambda *args: (args[0], *adam(*args)[1:]), "theta is wrong"),
        (changes_its_arguments, "changes its arguments"),
        (lambda theta, g: theta, "raised TypeError"),
    ],
)
def test_a_wrong_step_of_adam(answer, hint):
    refused("network-5", answer, hint)
