"""The attributes of an agent that its file contains, and the detection of those that it would lose.

A part of an agent is a public attribute that is an array of the backend, or an object whose class
has a `group`, `state()` and `load()`. Attributes whose names begin with an underscore are derived
from others and never saved.
"""

import collections
import enum
import functools
import hashlib
import numbers
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from npr.backend import Array, to_host, xp

T = TypeVar("T")
GROUPS = ("optim", "buffer", "state")  # of objects; arrays have the group "params"


class Part(Protocol):
    """A stateful part of an agent, such as an optimizer or a replay buffer."""

    @property
    def group(self) -> str:
        """One of GROUPS: the first half of its keys in a file."""

    def state(self) -> dict[str, Array]:
        """Arrays by name; the names do not depend on the state."""

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state. Raises ConfigError if it does not fit this object."""


class CountingPart(Part, Protocol):
    """An optimizer, whose counters are in the manifest and not among the arrays."""

    def counters(self) -> dict[str, int]:
        """`skipped` and `consecutive` steps with non-finite gradients, and `t` of Adam."""

    def load_counters(self, counters: dict[str, int]) -> None:
        """Restore the counters."""


def parts(agent: object) -> dict[str, Array | Part]:
    """The parts of an agent by the names of their attributes, sorted by name. A setting is none."""
    settings = getattr(agent, "settings", ())
    return {
        name: value
        for name, value in _public(agent)
        if (is_array(value) or _is_part(value)) and name not in settings
    }


def instances(agent: object, kind: type[T]) -> dict[str, T]:
    """The public attributes of an agent that are instances of a class, sorted by name."""
    return {name: value for name, value in _public(agent) if isinstance(value, kind)}


def arrays_of(name: str, part: Array | Part) -> dict[str, Array]:
    """The arrays of a part by their keys in a file: params/NAME or GROUP/NAME.KEY."""
    if is_array(part):
        return {f"params/{name}": part}
    return {f"{part.group}/{name}.{key}": array for key, array in part.state().items()}


def _public(owner: object) -> list[tuple[str, Any]]:
    """The attributes of an object without a leading underscore, sorted by name."""
    return sorted((name, value) for name, value in _attributes(owner) if not name.startswith("_"))


def _attributes(owner: object) -> Iterator[tuple[str, Any]]:
    yield from getattr(owner, "__dict__", {}).items()
    for cls in type(owner).__mro__:
        names = cls.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if hasattr(owner, name):
                yield name, getattr(owner, name)


def is_array(value: object) -> bool:
    return isinstance(value, (np.ndarray, xp.ndarray))


def _is_part(value: object) -> bool:
    cls = type(value)
    return getattr(cls, "group", None) in GROUPS and hasattr(cls, "state") and hasattr(cls, "load")


# ---- state that a file would lose

_PLAIN = (type(None), numbers.Number, str, bytes, enum.Enum, np.generic)
_CODE = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial,
    types.ModuleType, type,
)  # fmt: skip


class Snapshot:
    """The names of an agent's parts and hashes of its other public attributes, as it is built.

    A file does not restore an attribute that changes or is added afterwards.

    known   names of attributes that a file stores in other ways, such as settings and counters
    """

    def __init__(self, agent: object, known: Iterable[str] = ()):
        self._known = frozenset(known)
        self._hashes = self._take(agent)

    def changed(self, agent: object) -> list[str]:
        """The names of attributes whose changes a file of this agent would not restore."""
        now = self._take(agent)
        return [name for name in now if now[name] != self._hashes.get(name, now[name])]

    def added(self, agent: object) -> list[str]:
        """The names of attributes that the agent did not have when it was built."""
        return [name for name in self._take(agent) if name not in self._hashes]

    def _take(self, agent: object) -> dict[str, bytes]:
        saved, others = parts(agent), {}
        exclude = {id(agent), *map(id, saved.values())}
        for name, value in _public(agent):
            if name in self._known:
                exclude |= {id(value), *map(id, value.values() if isinstance(value, dict) else ())}
            elif name not in saved and not _is_code(value) and value is not self:
                others[name] = value
        hashes = {name: _hash(value, frozenset(exclude)) for name, value in others.items()}
        return hashes | {name: b"" for name in saved if name not in self._known}


def _is_code(value: object) -> bool:
    """Whether a value is a function, class or module; wrappers of Numba and functools are too."""
    return isinstance(value, _CODE) or hasattr(value, "__wrapped__")


def _hash(value: object, exclude: frozenset[int]) -> bytes:
    """A hash of plain data or of an object's public attributes. A deep copy has the same one.

    exclude   ids of objects that are skipped: a file stores them elsewhere
    """
    result = hashlib.blake2b(type(value).__qualname__.encode(), digest_size=16)
    if isinstance(value, _PLAIN):
        result.update(repr(value).encode())
    elif id(value) not in exclude and not _is_code(value):
        for item in _contents(value):
            result.update(_hash(item, exclude | {id(value)}))
    return result.digest()


def _contents(value: Any) -> Iterable[object]:
    """The contents of an object, for its hash."""
    if is_array(value):
        host = to_host(value)
        data = host.tolist() if host.dtype.hasobject else hashlib.sha256(host.tobytes()).digest()
        return [host.dtype.str, host.shape, data]
    if isinstance(value, np.random.Generator):
        return [repr(value.bit_generator.state)]
    if isinstance(value, (set, frozenset)):
        return sorted(_hash(item, frozenset()) for item in value)
    items: list[object] = [item for pair in _public(value) for item in pair]
    if isinstance(value, Mapping):
        items += [item for pair in value.items() for item in pair]
    elif isinstance(value, (list, tuple, collections.deque)):
        items += value
    return items
