"""An entry of a tape as `show` returns it, and its arrays as text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.autodiff.tensor import OPS


@dataclass(frozen=True)
class Node:
    """An entry of a tape.

    number     its place, from 0; the inputs come first
    name       of the operation, or of the input
    parents    numbers of the entries that it was computed from, on the tape
    arguments  all its arguments, as text: "#0, 2"
    value      the array, on the host
    cotangent  the derivative of the result with respect to the value; None: the result does not
               depend on it
    """

    number: int
    name: str
    parents: tuple[int, ...]
    arguments: str
    value: np.ndarray
    cotangent: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def fused(self) -> bool:
        """Whether it is a whole function with a pullback of its own, such as a network or a loss,
        and none of the operations of npr.autodiff."""
        return bool(self.arguments) and self.name not in OPS


def number(x: float) -> str:
    """A number with four significant digits."""
    return f"{float(x):.4g}"


def text(x: np.ndarray | None, limit: int, ranges: bool = True) -> str:
    """An array of at most `limit` numbers; of larger ones how many, and their range."""
    if x is None:
        return "none"
    if x.size <= limit:
        return _nested(x.tolist())
    if not ranges or x.dtype.kind not in "fiu":
        return f"{x.dtype}{x.shape}"
    return f"{x.size} numbers, {number(x.min())} to {number(x.max())}"


def _nested(x: Any) -> str:
    if isinstance(x, list):
        return f"[{', '.join(map(_nested, x))}]"
    return number(x) if isinstance(x, float) else str(x)
