"""Calls of an agent's pure methods: their signatures, and what they read from the agent."""

import contextlib
import dataclasses
import enum
import inspect
import numbers
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npr.backend import Array, xp
from npr.envs.spaces import Actions, Observations
from npr.heads import Head
from npr.nn import MLP
from npr.optim import SGD, Adam, Optimizer, RMSprop

SIGNATURES = 8  # captured per agent; the one that was not used for the longest time is dropped
ARRAY: Any = xp.ndarray

Method = Callable[..., Any]


class NotCapturableError(Exception):
    """A call cannot be captured. The text says why, for `report` and a warning."""


class Report(NamedTuple):
    """What happens to the calls of one signature."""

    signature: str  # e.g. "s float32(64, 4), gamma float, delayed=True"
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
            key.append(x)
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


# ---- what a method reads from its agent

_CONSTANTS = (
    numbers.Number, np.generic, str, bytes, type(None), enum.Enum, type, types.FunctionType,
    type(xp.exp), MLP, Head, Actions, Observations,
)  # fmt: skip
OPTIMIZERS = (Adam, RMSprop, SGD)  # a step of theirs is work on arrays only


class _Unregistered:
    """Precedes an algorithm among the bases of a class that is none."""

    def __init_subclass__(cls) -> None:
        pass


class Reads(NamedTuple):
    """The attributes that were read, by name: of an agent itself, and of its class."""

    of: Any  # the class
    own: dict[str, Any]
    of_class: dict[str, Any]


@contextlib.contextmanager
def traced(agent: Any, wrap: Callable[[Any], Any] = lambda value: value) -> Iterator[Reads]:
    """Within this block the attributes that are read from the agent are collected, by name, and
    what is read is wrap(value).

    NotCapturableError is raised if one is set, or if one is read that may change in place: a
    replay would not notice. At the end of the block the dictionaries are emptied.
    """
    own: Any = type(agent)
    reads = Reads(own, {}, {})

    def getattribute(self: Any, name: str) -> Any:
        value = own.__getattribute__(self, name)
        if name == "__dict__" or name in object.__getattribute__(self, "__dict__"):
            held = reads.own
        elif name[:2] != "__" and not hasattr(
            type(inspect.getattr_static(own, name, None)), "__get__"
        ):
            held = reads.of_class
        else:
            return value  # of a method or property
        if name not in held and not _is_constant(value):
            raise NotCapturableError(
                f"it reads self.{name}, a {type(value).__qualname__}, which may change between "
                "calls; pass what it needs of it as an argument"
            )
        held[name] = value
        return wrap(value)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        raise NotCapturableError(f"it sets self.{name}; return the value, and set it elsewhere")

    methods = {"__getattribute__": getattribute, "__setattr__": set_attribute}
    try:
        subclass = type(own)(own.__name__, (_Unregistered, own), methods)
        object.__setattr__(agent, "__class__", subclass)
    except TypeError as error:  # a class with slots
        raise NotCapturableError(f"{own.__name__} cannot be traced: {error}") from error
    try:
        yield reads
    finally:
        object.__setattr__(agent, "__class__", own)
        reads.own.clear()  # the traced class is a cycle, which would keep them alive
        reads.of_class.clear()


def _is_constant(value: Any) -> bool:
    """Whether a replay may rely on the value as long as it is the same object: nothing in it is
    changed, except by work on arrays."""
    if isinstance(value, (ARRAY, *_CONSTANTS)) or type(value) in OPTIMIZERS:
        return True
    inside = contents(value)
    return inside is not None and all(map(_is_constant, inside))


def contents(value: Any) -> Iterable[Any] | None:
    """What is in an object that always holds the same ones: a tuple, a frozen dataclass; None for
    other objects."""
    if isinstance(value, (tuple, frozenset)):
        return value
    if getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return None


def optimizers(values: Iterable[Any]) -> Iterator[Optimizer]:
    """The optimizers among values that a method may read, see `_is_constant`."""
    for value in values:
        if isinstance(value, Optimizer):
            yield value
        else:
            yield from optimizers(contents(value) or ())


class ReadWatch:
    """The attributes that a captured call has read from an agent, and those of its optimizers.

    They are kept alive, so that their addresses tell whether one was replaced.
    """

    def __init__(self, reads: Reads) -> None:
        self._class, self._names = reads.of, tuple(reads.own)
        self._of_class = {**reads.of_class}
        self._held = [*reads.own.values(), *reads.of_class.values()]
        self.optimizers = [*optimizers(reads.own.values())]
        self._attributes = [vars(one) for one in self.optimizers]
        self._held += [x for held in self._attributes for x in held.values()]
        self._addresses = tuple(map(id, reads.own.values()))
        self._of_optimizers = [tuple(map(id, held.values())) for held in self._attributes]

    def changed(self, agent: Any) -> str | None:
        """The name of an attribute that is not what it was, if there is one. Compares by identity,
        as this runs in each call."""
        held = vars(agent)
        now = tuple(map(id, map(held.get, self._names)))
        if now != self._addresses:
            return next(n for n, a, b in zip(self._names, now, self._addresses) if a != b)
        for optimizer, attributes, before in zip(
            self.optimizers, self._attributes, self._of_optimizers
        ):
            if tuple(map(id, attributes.values())) != before:
                now = map(id, attributes.values())
                names = (n for n, a, b in zip(attributes, now, before) if a != b)
                return f"{next(names, 'an attribute')} of {type(optimizer).__name__}"
        for name, value in self._of_class.items():
            if getattr(self._class, name, None) is not value:
                return name
        return None if type(agent) is self._class else "__class__"
