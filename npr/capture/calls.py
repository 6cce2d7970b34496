"""Calls of an agent's pure methods, and their signatures."""

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npr.backend import Array, xp

SIGNATURES = 8  # captured per agent; the one that was not used for the longest time is dropped
ARRAY: Any = xp.ndarray

Method = Callable[..., Any]


class NotCapturableError(Exception):
    """A call cannot be captured. The text says why, for `report` and a warning."""


class Report(NamedTuple):
    """What happens to the calls of one signature."""

    signature: str  # e.g. "s float32(64, 4), delayed=True"; on the host with the method's name
    state: str  # "captured", or "eager: REASON"
    replays: int


class Thread(threading.local):
    inside = False  # whether a captured method is running: what it calls is a part of it


thread = Thread()

# ---- arguments

BY_VALUE = (bool, int, str, type(None))  # a part of the signature


def sort(values: Iterable[Any], key: list[Any], arrays: list[Array], floats: list[float]) -> None:
    """Append the arrays and floats among arguments to these lists, and their signature to `key`.

    Raises NotCapturableError for an argument of another type.
    """
    for x in values:
        kind = type(x)
        if kind is ARRAY:
            arrays.append(x)
            key.append((x.shape, x.strides, x.dtype.char))
        elif kind is float or isinstance(x, np.floating):
            floats.append(float(x))
            key.append(float)
        elif kind in BY_VALUE:
            key.append((kind, x))
        elif kind is tuple or kind is list:
            key.append((kind, len(x)))
            sort(x, key, arrays, floats)
        else:
            raise NotCapturableError(f"it was given a {kind.__qualname__}")


def filled(values: Iterable[Any], arrays: Iterator[Any], floats: Iterator[Any]) -> list[Any]:
    """The same arguments with these arrays, and these for the floats."""
    result: list[Any] = []
    for x in values:
        if type(x) is ARRAY:
            result.append(next(arrays))
        elif isinstance(x, (float, np.floating)):
            result.append(next(floats))
        elif type(x) in (tuple, list):
            result.append(type(x)(filled(x, arrays, floats)))
        else:
            result.append(x)
    return result


def _text(name: str, x: Any) -> str:
    """An argument in a signature."""
    if type(x) is ARRAY:
        return f"{name} {x.dtype}{x.shape}"
    if isinstance(x, (float, np.floating)):
        return f"{name} float"
    if type(x) in (tuple, list):
        return f"{name} [{', '.join(_text('', item).strip() for item in x)}]"
    return f"{name}={x!r}" if type(x) in BY_VALUE else f"{name} {type(x).__name__}"


def signature_text(method: Method, agent: object, args: Any, options: Any) -> str:
    """The arguments of a call, for `Report`."""
    try:
        given = inspect.signature(method).bind(agent, *args, **options).arguments
    except TypeError:  # wrong arguments: the call will say so
        return f"{len(args) + len(options)} arguments"
    return ", ".join(_text(name, x) for name, x in [*given.items()][1:])
