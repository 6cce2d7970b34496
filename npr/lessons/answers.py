"""What checks of the lessons share: an answer as a number, an array or a function, or its refusal.

A check is a function of the answer, decorated with `checked`, that raises Refused(sentence).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Check = Callable[[Any], str | None]
# parts of sentences
RETURNED = "What your function returns"
NO_MASK = (
    "The target still holds the value of a state after termination, where nothing comes after the "
    "reward: multiply it by 1 - terminated."
)


class Refused(Exception):
    """An answer is wrong; the text is the hint."""


def checked(test: Callable[[Any], None]) -> Check:
    """test as a check: what it raises as Refused is returned as a sentence."""

    @functools.wraps(test)
    def check(answer: Any) -> str | None:
        try:
            test(answer)
        except Refused as refused:
            return str(refused)
        return None

    return check


def refuse(sentence: str) -> NoReturn:
    raise Refused(sentence)


def array(
    answer: Any, shape: tuple[int, ...] | None = None, what: str = "The answer", infinite: str = ""
) -> NDArray[np.float64]:
    """The answer as float64 numbers: of a number, a list or an array, of this shape if given.

    what      the answer in the hints
    infinite  hint for NaN and infinity, in place of the usual one
    """
    try:
        found = np.asarray(answer)
        real = found.dtype.kind in "fiu"
    except Exception:
        real = False
    if not real:
        kind = type(answer).__name__
        refuse(f"{what} must be {'a number' if shape == () else 'numbers'}, got {kind}.")
    if shape is not None and found.shape != shape:
        needed = "one number" if shape == () else f"shape {shape}"
        refuse(f"{what} must have {needed}, got shape {found.shape}.")
    if not np.isfinite(found).all():
        refuse(infinite or f"{what} holds NaN or infinity.")
    return found.astype(np.float64)


def number(answer: Any, what: str = "The answer", infinite: str = "") -> float:
    """As `array`, for one number; an array with one entry counts."""
    try:
        if (found := np.asarray(answer)).size == 1 and found.dtype.kind in "fiu":
            answer = found.reshape(())
    except Exception:  # what it is instead is said below
        pass
    return float(array(answer, (), what, infinite))


def call(answer: Any, *args: Any, **kwargs: Any) -> Any:
    """What the answer, a function, returns for copies of the arguments.

    Without NumPy's warnings about overflow or NaN: the checks find these themselves.
    """
    if not callable(answer):
        refuse(f"The answer must be a function, got {type(answer).__name__}.")
    copies = [arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args]
    try:
        with np.errstate(all="ignore"):
            return answer(*copies, **kwargs)
    except Exception as error:
        if isinstance(error, TypeError) and ("'invert'" in str(error) or "unary ~" in str(error)):
            refuse("~ needs bools, and flags are 0 and 1 here: instead of ~terminated write "
                   "1 - terminated.")  # fmt: skip
        refuse(f"Your function raised {type(error).__name__}: {error}")


def near(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Whether all numbers are equal up to tolerance, relative to the larger of 1 and |b|."""
    return bool(np.all(np.abs(np.subtract(a, b)) <= tolerance * np.maximum(1, np.abs(b))))


def known(found: Any, mistakes: Mapping[str, Any], tolerance: float = 1e-6) -> None:
    """Refuse what equals a frequent mistake, with its sentence: {sentence: wrong value}."""
    for sentence, wrong in mistakes.items():
        if near(found, wrong, tolerance):
            refuse(sentence)
