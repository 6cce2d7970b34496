"""A check of gradients by finite differences."""

from collections.abc import Callable

import numpy as np

from npr.autodiff.tensor import vjp
from npr.backend import Array, to_device, to_host
from npr.errors import GradientError


def gradcheck(
    f: Callable[[Array], Array],
    x: Array,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> float:
    """Compare the pullback of f at x with central differences in float64.

    f          a function of one float64 array; its value is projected on a random cotangent
    x          any shape; copied to float64
    step       of the difference, relative to max(1, |x_i|)
    tolerance  largest error allowed, relative to the largest gradient entry (at least 1)
    Returns    that error. Raises GradientError that shows the worst entry.
    """
    x = np.array(to_host(x), np.float64)
    value, pullback = vjp(f, to_device(x))
    v = np.random.default_rng(seed).standard_normal(value.shape)
    exact = to_host(pullback(to_device(v)))

    numeric = np.empty_like(x)
    for i in np.ndindex(x.shape):
        h = step * max(1.0, abs(x[i]))
        ends = []
        for moved in (x[i] + h, x[i] - h):
            y = x.copy()
            y[i] = moved
            ends.append(np.sum(v * to_host(f(to_device(y)))))
        numeric[i] = (ends[0] - ends[1]) / (2 * h)

    if x.size == 0:
        return 0.0
    error = np.abs(exact - numeric) / max(1.0, np.abs(numeric).max())
    worst = np.unravel_index(np.argmax(error), x.shape)
    if not error[worst] <= tolerance:  # also when it is NaN
        raise GradientError(
            f"The gradient is wrong: at entry {tuple(map(int, worst))} of {x.shape} the pullback "
            f"gives {exact[worst]:.9g}, central differences {numeric[worst]:.9g}; relative error "
            f"{error[worst]:.2e}, allowed {tolerance:.0e}."
        )
    return float(error[worst])
