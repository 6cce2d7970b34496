"""What a captured call depends on besides its arguments: attributes of its agent, and, in methods
outside of npr, global variables and closures. A replay is right as long as these are the same.
"""

import contextlib
import dataclasses
import dis
import enum
import functools
import inspect
import numbers
import operator
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from npr.backend import xp
from npr.capture.calls import ARRAY, NotCapturableError
from npr.envs.spaces import Actions, Observations
from npr.heads import Head
from npr.kernels.jit import Kernel
from npr.nn import MLP
from npr.optim import SGD, Adam, Optimizer, RMSprop

_PLAIN = (
    numbers.Number, np.generic, str, bytes, type(None), enum.Enum, type, types.FunctionType,
    type(np.exp), type(xp.exp),
)  # fmt: skip
_PARTS = (MLP, Head, Actions, Observations)
_OUTSIDE = (*_PLAIN, types.BuiltinFunctionType, functools.partial, Kernel)
# functions of Python, and modules, whose use has an effect or depends on more than arguments
_EFFECTS = {
    "print", "open", "input", "exec", "eval", "type", "setattr", "vars", "globals", "random",
    "secrets", "time", "logging", "warnings", "os", "io",
}  # fmt: skip
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")  # instructions that read one
OPTIMIZERS = (Adam, RMSprop, SGD)  # a step of theirs is work on arrays only


class _Unregistered:
    """Precedes an algorithm among the bases of a class that is none."""

    def __init_subclass__(cls) -> None:
        pass


class Reads:
    """What was read, by name.

    own       attributes of the agent
    of_class  attributes of its class: methods and others
    outside   (namespace, name, value) of globals and closures
    """

    def __init__(self, of: Any, method: Any = None) -> None:
        self.of, self._enters = of, method is not None
        self.own: dict[str, Any] = {}
        self.of_class: dict[str, Any] = {}
        self.outside: list[tuple[Any, str, Any]] = []
        self._seen: set[Any] = set()
        self.enter(method)

    def read(self, agent: Any, name: str, value: Any) -> bool:
        """Enter an attribute; whether it is data, not a method or what a property has computed.

        Raises NotCapturableError for data that may change in place.
        """
        held = self.own
        if name not in object.__getattribute__(agent, "__dict__"):
            held, static = self.of_class, inspect.getattr_static(self.of, name, None)
            if hasattr(type(static), "__get__"):
                if not isinstance(static, classmethod):  # bound anew by each access
                    held[name] = getattr(self.of, name)
                for function in (static, *(getattr(static, f, None) for f in ("fget", "__func__"))):
                    self.enter(function)
                return False
        if name not in held and not _is_constant(value):
            raise NotCapturableError(
                f"it reads self.{name}, a {type(value).__qualname__}, which may change between "
                "calls; pass what it needs of it as an argument"
            )
        held[name] = value
        self.enter(value)
        return True

    def enter(self, function: Any) -> None:
        """Enter what a function outside of npr reads from outside of it.

        Raises NotCapturableError if that may change in place, or if it is written.
        """
        function = inspect.unwrap(function) if callable(function) else function
        if not self._enters or not isinstance(function, types.FunctionType):
            return
        if function in self._seen:
            return
        self._seen.add(function)
        if _is_known(function.__module__):
            return
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        for code in _codes(function.__code__):
            for step in dis.get_instructions(code):
                name = step.argval
                if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR") or (
                    step.opname in ("STORE_DEREF", "DELETE_DEREF") and name in cells
                ):
                    raise NotCapturableError(f"it sets {name}")
                if step.opname == "LOAD_GLOBAL":
                    self._global(function.__globals__, name)
                elif step.opname in _ATTRIBUTE and name in ("__class__", "random"):
                    raise NotCapturableError(f"it uses .{name}; pass what it needs as an argument")
        for name, cell in cells.items():
            if name != "__class__":  # of super()
                with contextlib.suppress(ValueError):  # an empty cell
                    self._outside(cell, name, cell.cell_contents)

    def _global(self, variables: dict[str, Any], name: str) -> None:
        value = variables.get(name)
        if name in _EFFECTS and (name not in variables or isinstance(value, types.ModuleType)):
            raise NotCapturableError(f"it uses {name}, which a replay would leave out")
        if isinstance(value, types.ModuleType) and not _is_known(value.__name__):
            raise NotCapturableError(f"it reads the module {name}; pass what it needs of it")
        if name in variables and not isinstance(value, types.ModuleType):
            self._outside(variables, name, value)

    def _outside(self, place: Any, name: str, value: Any) -> None:
        if not isinstance(value, _OUTSIDE):
            raise NotCapturableError(
                f"it reads {name}, a {type(value).__qualname__} outside of it, which may change "
                "between calls; pass it as an argument"
            )
        self.outside.append((place, name, value))
        self.enter(value.func if isinstance(value, functools.partial) else value)


def _is_known(module: str | None) -> bool:
    """Whether a module is one of npr, NumPy or Python."""
    top = (module or "").partition(".")[0]
    return top in ("npr", "numpy") or top in sys.stdlib_module_names - {"__main__"}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object, and those of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


class _Tracing(threading.local):
    """What is traced in a thread."""

    agent: Any = None
    reads: Any = None
    wrap: Any = None


_tracing = _Tracing()


@functools.cache  # a class is a cycle of references, and not freed at once
def _traced_class(own: Any) -> Any:
    """A class of agents whose attributes are watched in a thread that traces one of them."""

    def getattribute(self: Any, name: str) -> Any:
        if self is not _tracing.agent:
            return own.__getattribute__(self, name)
        if name == "__dict__":
            raise NotCapturableError("it reads self.__dict__")
        try:
            value = own.__getattribute__(self, name)
        except AttributeError as error:
            raise NotCapturableError(f"it asks for self.{name}, which is not there") from error
        if name[:2] == "__":
            return value
        return _tracing.wrap(value) if _tracing.reads.read(self, name, value) else value

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if self is not _tracing.agent:
            return own.__setattr__(self, name, value)  # type: ignore[no-any-return]
        raise NotCapturableError(f"it sets self.{name}; return the value, and set it elsewhere")

    methods = {"__getattribute__": getattribute, "__setattr__": set_attribute}
    return type(own)(own.__name__, (_Unregistered, own), methods)


@contextlib.contextmanager
def traced(
    agent: Any, wrap: Callable[[Any], Any] = lambda value: value, method: Any = None
) -> Iterator[Reads]:
    """Within this block what a call of the method reads is collected; of an attribute that is read
    it gets wrap(value). Without a method these are the attributes alone.

    NotCapturableError is raised if an attribute is set, or if one is read that may change in place:
    a replay would not notice.
    """
    own: Any = type(agent)
    reads = Reads(own, method)
    try:
        subclass = _traced_class(own)
        known = {*vars(subclass)}
        object.__setattr__(agent, "__class__", subclass)
    except TypeError as error:  # a class with slots
        raise NotCapturableError(f"{own.__name__} cannot be traced: {error}") from error
    _tracing.agent, _tracing.reads, _tracing.wrap = agent, reads, wrap
    try:
        yield reads
        if set_names := {*vars(subclass)} - known:
            raise NotCapturableError(f"it sets {', '.join(sorted(set_names))} of its class")
    finally:
        _tracing.agent = _tracing.reads = _tracing.wrap = None
        object.__setattr__(agent, "__class__", own)
        for name in {*vars(subclass)} - known:
            delattr(subclass, name)


def _is_constant(value: Any) -> bool:
    """Whether a replay may rely on the value as long as it is the same object: nothing in it is
    changed, except by work on arrays."""
    if isinstance(value, (ARRAY, *_PLAIN)) or type(value) in OPTIMIZERS:
        return True
    if isinstance(value, _PARTS):  # those of npr do not change
        return _is_known(type(value).__module__)
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
    """What a captured call has read. It is kept alive, so that addresses tell whether something
    was replaced: comparing them is quick, and is done in each call."""

    def __init__(self, reads: Reads) -> None:
        self._class, self._outside = reads.of, reads.outside
        self._own = _Objects(operator.itemgetter, reads.own)
        self._of_class = _Objects(operator.attrgetter, reads.of_class)
        self._class_names = frozenset(reads.of_class)
        self.optimizers = [*optimizers(reads.own.values())]
        self._optimizers = [
            _Objects(operator.attrgetter, {"counts": one.counts, "theta": one.theta, **vars(one)})
            for one in self.optimizers  # without the learning rate, which is an input
        ]

    def changed(self, agent: Any) -> str | None:
        """The name of something that is not what it was, if there is one."""
        held: dict[str, Any] = vars(agent)
        if not self._own.are_in(held):
            return self._own.changed(held.get)
        if not held.keys().isdisjoint(self._class_names):  # it hides what was read from the class
            return next(name for name in held if name in self._class_names)
        if not self._of_class.are_in(self._class):
            return self._of_class.changed(lambda name: getattr(self._class, name, None))
        for optimizer, objects in zip(self.optimizers, self._optimizers):
            if not objects.are_in(optimizer):
                name = objects.changed(lambda name, one=optimizer: getattr(one, name, None))  # type: ignore[misc]
                return f"{name} of {type(optimizer).__name__}"
        for place, name, value in self._outside:
            if (place[name] if isinstance(place, dict) else place.cell_contents) is not value:
                return name
        return None if type(agent) is self._class else "__class__"


class _Objects:
    """Objects by name, and what gets those of these names from a place."""

    def __init__(self, getter: Any, objects: dict[str, Any]) -> None:
        self._objects = objects
        names = [*objects] * (2 if len(objects) == 1 else 1)  # of one name it is no tuple
        self._get = getter(*names) if names else lambda place: ()
        self._addresses = tuple(id(objects[name]) for name in names)

    def are_in(self, place: Any) -> bool:
        """Whether a place has these objects."""
        try:
            return tuple(map(id, self._get(place))) == self._addresses
        except (KeyError, AttributeError):
            return False

    def changed(self, get: Callable[[str], Any]) -> str:
        """The name of one that is not there any more."""
        return next((n for n, x in self._objects.items() if get(n) is not x), "an attribute")
