"""The search for the first number on a tape that is not finite."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from npr.backend import Array, to_host, xp
from npr.errors import NumericsError

on = False  # whether values and cotangents are checked
observers: dict[Any, Callable[..., Any]] = {}  # tape -> what gets its operations, see show.py
watching = False  # whether there is any of both: read once for each operation


@contextlib.contextmanager
def debug_anomaly() -> Iterator[None]:
    """Within this block the first number on a tape that is not finite raises NumericsError.

    The values of all operations are checked in the forward pass, all cotangents in the backward
    pass; an optimizer also raises for a gradient that it would otherwise skip. The error names the
    operation, the shape, the index, and an argument that was not finite already. An intended
    infinity, such as the logarithm of 0 behind a `where`, is reported as well. Slow, since every
    number is read. The switch holds for the whole process.
    """
    before = on
    _switch(True)
    try:
        yield
    finally:
        _switch(before)


def _switch(checks: bool) -> None:
    global on, watching
    on, watching = checks, checks or bool(observers)


@contextlib.contextmanager
def observed(tape: Any, observer: Callable[..., Any]) -> Iterator[None]:
    """Within this block observer(index, name, y, arguments, pullback) is called for the operations
    of a tape, index being that of the entry; what it returns takes the place of the pullback."""
    observers[tape] = observer
    _switch(on)
    try:
        yield
    finally:
        del observers[tape]
        _switch(on)


def first_bad(x: Any) -> str | None:
    """Index and value of the first number of an array that is not finite; None: all are finite."""
    if not isinstance(x, (float, np.ndarray, np.generic, xp.ndarray)):
        return None
    x = np.asarray(to_host(x))
    if x.dtype.kind != "f" or np.isfinite(x).all():
        return None
    index = tuple(np.argwhere(~np.isfinite(x))[0].tolist())
    return f"entry {index} = {x[index]}" if index else f"it is {x[index]}"


def check(what: str, x: Array, arguments: Sequence[Any] = ()) -> None:
    """Raise NumericsError for an array with a number that is not finite."""
    bad = first_bad(x)
    if bad:
        raise NumericsError(f"{what}, shape {x.shape}, is not finite: {bad}.{_origin(arguments)}")


def _origin(arguments: Sequence[Any]) -> str:
    """A sentence that names an argument of the operation that was not finite already."""
    for i, argument in enumerate(arguments, 1):
        on_tape = hasattr(argument, "tape")
        bad = first_bad(argument.data if on_tape else argument)
        if bad:
            kind = "a Tensor" if on_tape else "a plain array such as a target"
            return f" Its argument {i}, {kind}, was not finite already: {bad}."
    return " All its arguments are finite: it begins here." if arguments else ""


def watched(
    tape: Any,
    name: str,
    y: Array,
    arguments: Sequence[Any],
    pullback: Callable[[Array], Sequence[Array]],
) -> Callable[[Array], Sequence[Array]]:
    """Check the next entry of a tape, and show it to the tape's observer; returns the pullback to
    record."""
    if on:
        pullback = _checked(name, y, arguments, pullback)
    if tape in observers:
        pullback = observers[tape](len(tape.entries), name, y, arguments, pullback)
    return pullback


def _checked(
    name: str, y: Array, arguments: Sequence[Any], pullback: Callable[[Array], Sequence[Array]]
) -> Callable[[Array], Sequence[Array]]:
    """Check the value y of an operation; returns its pullback with checks of all cotangents."""
    check(f"Forwards: the value of {name}", y, arguments)
    places = [i for i, argument in enumerate(arguments, 1) if hasattr(argument, "tape")]

    def checked_pullback(g: Array) -> Sequence[Array]:
        check(f"Backwards: the cotangent that reaches {name}, a sum over its uses", g)
        cotangents = pullback(g)
        for place, cotangent in zip(places or range(1, len(cotangents) + 1), cotangents):
            if cotangent is not None:
                what = f"Backwards: the cotangent of argument {place} of {name}"
                check(what, cotangent, arguments)
        return cotangents

    return checked_pullback


def check_step(made: bool, g: Array) -> None:
    """Raise NumericsError for the gradient g unless the optimizer made its step."""
    if made:
        return
    check("The gradient given to the optimizer", g)
    raise NumericsError(
        f"The gradient given to the optimizer, shape {g.shape}, is finite, but the sum of its "
        f"squares is more than {g.dtype} can hold: its largest entry is "
        f"{np.abs(to_host(g)).max():.3g}."
    )
