"""The search for the first number on a tape that is not finite."""

import contextlib

import numpy as np

from npr.backend import to_host, xp
from npr.errors import NumericsError

on = False  # whether it is searched: asked once for each operation


@contextlib.contextmanager
def debug_anomaly():
    """Within this block the first number on a tape that is not finite raises NumericsError.

    Looked at are the values of all operations, forwards, and all cotangents, backwards; an
    optimiser also refuses the gradient that it would skip without a word. The error names the
    operation, the shape, the index, and an argument that was not finite already. An infinity that
    is meant, as the logarithm of 0 behind a `where`, is reported as well. Slow, since every number
    is read; it holds for the whole process.
    """
    global on
    before, on = on, True
    try:
        yield
    finally:
        on = before


def first_bad(x) -> str | None:
    """Which number of an array is the first that is not finite, in words; None: there is none."""
    if not isinstance(x, (float, np.ndarray, np.generic, xp.ndarray)):
        return None
    x = np.asarray(to_host(x))
    if x.dtype.kind != "f" or np.isfinite(x).all():
        return None
    index = tuple(np.argwhere(~np.isfinite(x))[0].tolist())
    return f"entry {index} = {x[index]}" if index else f"it is {x[index]}"


def check(what, x, arguments=()) -> None:
    """Refuse an array with a number that is not finite."""
    bad = first_bad(x)
    if bad:
        raise NumericsError(f"{what}, shape {x.shape}, is not finite: {bad}.{_origin(arguments)}")


def _origin(arguments):
    """A sentence on which argument of an operation was not finite already."""
    for i, argument in enumerate(arguments, 1):
        on_tape = hasattr(argument, "tape")
        bad = first_bad(argument.data if on_tape else argument)
        if bad:
            kind = "a Tensor" if on_tape else "a plain array such as a target"
            return f" Its argument {i}, {kind}, was not finite already: {bad}."
    return " All its arguments are finite: it begins here." if arguments else ""


def watched(name, y, arguments, pullback):
    """Look at the value y of an operation; its pullback, which then looks at what passes it."""
    check(f"Forwards: the value of {name}", y, arguments)
    places = [i for i, argument in enumerate(arguments, 1) if hasattr(argument, "tape")]

    def watched_pullback(g):
        check(f"Backwards: the cotangent that reaches {name}, a sum over its uses", g)
        cotangents = pullback(g)
        for place, cotangent in zip(places or range(1, len(cotangents) + 1), cotangents):
            if cotangent is not None:
                what = f"Backwards: the cotangent of argument {place} of {name}"
                check(what, cotangent, arguments)
        return cotangents

    return watched_pullback


def check_step(moved, g) -> None:
    """Refuse a gradient that an optimiser did not move by."""
    if to_host(moved):
        return
    check("The gradient given to the optimiser", g)
    raise NumericsError(
        f"The gradient given to the optimiser, shape {g.shape}, is finite, but the sum of its "
        f"squares is more than {g.dtype} can hold: its largest entry is "
        f"{np.abs(to_host(g)).max():.3g}."
    )
