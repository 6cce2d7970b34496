"""One setting in one line of its class: type, default, meaning and range.

    class SAC(Replay, Algorithm):
        tau: float = setting(0.005, "soft-update coefficient", within="[0, 1]")

The signature, `help()`, the checks of values and the messages are derived from that line.
"""

import copy
import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, dataclass_transform

import numpy as np

from npr.errors import ConfigError
from npr.own_network import OwnNetwork, is_network, wrapped
from npr.settings import sb3, schedule

# hidden widths of all networks, or by network; there also a network of the user's
NetArch = list[int] | dict[str, list[int] | OwnNetwork]
_Name = Literal["relu", "tanh", "elu", "identity"]
_ACTIVATIONS = typing.get_args(_Name)
# of all hidden layers, of each, or by network
Activation = _Name | list[str] | dict[str, str | list[str]]

_HINTS = {"polyak": "tau (tau = 1 - polyak)", "lr": "learning_rate"} | dict.fromkeys(
    ("actor_lr", "critic_lr", "alpha_lr"), "learning_rate"
)


def setting(
    default: Any,
    doc: str,
    *,
    within: str | None = None,
    fixed: bool = False,
    hint: str = "",
) -> Any:
    """Declare a setting in the body of a class. Its annotation is its type; a Literal lists the
    allowed values.

    default  value if neither the preset nor the user gives one
    doc      meaning and unit, for `help()` and the documentation
    within   range, e.g. "[0, 1]", "(0, inf)" or "[0, 0.5] or 1"
    fixed    used when the agent is built: later assignments raise ConfigError
    hint     advice that is added to the message about a value out of range

    Returns a Setting, typed as Any so that editors use the annotation as its type.
    """
    return Setting(default, doc, within, fixed, hint)


class Setting:
    """A declared setting.

    A descriptor that only intercepts assignment: the value is in the instance's __dict__, so that
    reading it costs no call.
    """

    def __init__(
        self,
        default: Any,
        doc: str,
        within: str | None = None,
        fixed: bool = False,
        hint: str = "",
    ) -> None:
        self.default, self.doc, self.within = default, doc, within
        self.fixed, self.hint = fixed, hint
        self.name = ""
        self.type: Any = Any
        self.choices: tuple[Any, ...] = ()
        self.__doc__ = doc

    def declared(self, name: str, kind: Any) -> "Setting":
        """Set the name and the type, from the line that declares the setting."""
        self.name, self.type = name, kind
        self.choices = _choices(kind)
        limits = [" or ".join(map(repr, self.choices))] if self.choices else []
        limits += [self.limits] if self.within else []
        self.__doc__ = f"{self.doc} ({'; '.join([*limits, f'default {self.default!r}'])})"
        return self

    def with_default(self, default: Any, kind: Any) -> "Setting":
        """The same setting with another default, and perhaps another type."""
        other = copy.copy(self)
        other.default = default
        return other.declared(self.name, kind)

    @property
    def limits(self) -> str:
        """The range of its values in words, such as "at least 0"; empty: there is none."""
        return _range(self.within).text if self.within else ""

    @property
    def type_name(self) -> str:
        """The type as shown in the signature."""
        name = self.type.__name__ if type(self.type) is type else str(self.type)
        return name.replace("typing.", "")

    def __repr__(self) -> str:
        return f"Setting({self.name}: {self.type_name} = {self.default!r}, {self.doc!r})"

    def __set__(self, owner: "Settings", value: Any) -> None:
        if vars(owner).get("_built"):
            owner.assign({self.name: value})
        else:
            name = type(owner).__name__
            vars(owner)[self.name] = self.checked(name, value, owner.networks)

    def replacement(self, owner: "Settings", value: Any) -> Any:
        """The value for an agent that is built. Raises ConfigError if it is not valid, or if it
        differs from a fixed one.
        """
        name, before = type(owner).__name__, vars(owner)[self.name]
        value = self.checked(name, value, owner.networks)
        if self.fixed and value != before:
            raise ConfigError(
                f"{name}: {self.name} takes effect when the agent is built, and this one was built "
                f"with {before!r}; make a new one: npr.clone(agent, {self.name}={value!r})."
            )
        return value

    def checked(self, owner: str, value: Any, networks: tuple[str, ...] = ()) -> Any:
        """The value, converted to the setting's type. Raises ConfigError if it is not valid.

        owner     name of the class, for the message
        networks  names of the networks that net_arch and activation may contain
        """
        kinds = _kinds(self.type)
        if self.type == NetArch and is_network(value):
            each = ", ".join(f"{name!r}: ..." for name in networks)
            raise ConfigError(
                f"{owner}: {self.name} must be a dict where it has a network of your own, "
                f"{{{each}}} with the network or hidden widths for each; got {value!r}."
            )
        if value is None and type(None) in kinds:
            return None
        where = f"{owner}: {self.name}"
        value = _typed(where, value, kinds)
        if self.type == NetArch:
            value = _widths(where, value, networks)
        if self.type == Activation:
            return _activations(where, value, networks)
        others = [part for part in _parts(self.type) if typing.get_origin(part) is not Literal]
        if self.choices and type(value) not in others and value not in self.choices:
            names = [other.__name__ for other in others if other is not type(None)]
            allowed = " or ".join([*names, *map(repr, self.choices)])
            raise ConfigError(f"{where} must be {allowed}, got {value!r}.")
        if self.within is not None:
            self._check_range(where, value, kinds)
        return value

    def _check_range(self, where: str, value: Any, kinds: tuple[Any, ...]) -> None:
        both: tuple[Any, ...] = (value,)
        if isinstance(value, (str, list)):  # a schedule, or a word that the algorithm checks
            both = schedule.ends(where, value) if list in kinds else ()
        allowed = _range(self.within or "")
        if not all(number in allowed for number in both):
            raise ConfigError(f"{where} must be {allowed.text}{self.hint}, got {value!r}.")


def argument(*, default: Any, kw_only: bool) -> Any:
    """Declare, for type checkers, an argument of the constructor that is not a setting."""


@dataclass_transform(kw_only_default=True, field_specifiers=(argument,))
class Settings:
    """Base of classes whose settings are declared with `setting`; groups of settings derive from
    it. A plain value for an inherited setting is a new default.

    settings   name -> Setting, those of the class itself first
    networks   names of the networks that net_arch may contain
    """

    settings: ClassVar[dict[str, Setting]] = {}
    networks: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        types = _annotations(cls)
        for name, value in vars(cls).items():
            if isinstance(value, Setting):
                if name not in types:
                    raise TypeError(f"{cls.__name__}.{name} is a setting and needs an annotation.")
                value.declared(name, _evaluated(cls, name, types[name]))
        for name, one in _declared(cls.__mro__).items():
            first = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
            if first is not one:  # a plain value, in the class itself or in a group
                own = name in types and name in vars(cls)
                kind = _evaluated(cls, name, types[name]) if own else one.type
                setattr(cls, name, one.with_default(first, kind))
        cls.settings = _declared(cls.__mro__)
        for name, one in cls.settings.items():
            if name in vars(cls) and not (isinstance(one.default, dict) and not cls.networks):
                one.checked(cls.__name__, one.default, cls.networks)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """name -> default of every setting."""
        return {name: copy.copy(one.default) for name, one in cls.settings.items()}

    def check(self) -> None:
        """Check combinations of settings, in subclasses. Raises ConfigError."""

    def assign(self, values: Mapping[str, Any]) -> None:
        """Change settings of an agent that is built; ConfigError if one is refused, and then none
        has changed.
        """
        held = vars(self)
        new = {name: self.settings[name].replacement(self, value) for name, value in values.items()}
        before = {name: held[name] for name in new}
        held.update(new)
        try:
            self.check()
        except ConfigError:
            held.update(before)
            raise


def _declared(classes: Iterable[type]) -> dict[str, Setting]:
    """name -> Setting, the first of each name along the MRO."""
    found: dict[str, Setting] = {}
    for one in classes:
        found |= {k: v for k, v in vars(one).items() if isinstance(v, Setting) and k not in found}
    return found


def documentation(settings: Mapping[str, Setting]) -> str:
    """The settings as a section of a docstring, in numpydoc format."""
    rows = [f"{one.name} : {one.type_name}\n    {one.__doc__}" for one in settings.values()]
    return "\n".join(["Parameters", "----------", *rows])


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError for an unknown name, and suggest the nearest known one."""
    known = list(known)
    for name in given:
        if name not in known:
            if name in sb3.SETTINGS:
                raise ConfigError(f"{owner} has no setting {name!r}; {sb3.SETTINGS[name]}.")
            nearest = near(name, known)
            advice = f"did you mean {nearest}?" if nearest else f"it has {', '.join(known)}."
            raise ConfigError(f"{owner} has no setting {name!r}; {advice}")


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    close = difflib.get_close_matches(name, known, 1)
    return _HINTS.get(name) or (close[0] if close else None)


def checked_seed(owner: str, seed: Any) -> int | None:
    """The seed as an int or None. Raises ConfigError if it is not valid."""
    if seed is None:
        return None
    number = plain(seed)
    whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
    if not (whole and number >= 0):
        raise ConfigError(f"{owner}: seed must be a whole number >= 0 or None, got {seed!r}.")
    return int(number)


def plain(value: Any) -> Any:
    """NumPy's numbers, texts and arrays, and tuples, as Python's numbers, texts and lists; also
    within lists."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def is_whole(number: Any) -> bool:
    """Whether a value of any numeric type, or an array of no dimensions, is a whole number."""
    number = plain(number)
    return (
        isinstance(number, numbers.Real)
        and not isinstance(number, bool)
        and math.isfinite(number)
        and number % 1 == 0
    )


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value of an argument as an int. Raises ConfigError unless it is a whole number of at
    least `least`."""
    if not is_whole(value) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(plain(value))


@dataclasses.dataclass(frozen=True)
class _Range:
    """An interval, with optional further values."""

    low: float
    high: float
    with_low: bool
    with_high: bool
    extra: tuple[float, ...]
    text: str

    def __contains__(self, x: float) -> bool:
        above = x > self.low or (self.with_low and x == self.low)
        below = x < self.high or (self.with_high and x == self.high)
        return (above and below) or x in self.extra


@functools.cache
def _range(notation: str) -> _Range:
    """The range that "[0, 1]", "(1, inf)" or "[0, 0.5] or 1" stands for."""
    found = re.fullmatch(r"([\[(])([^\s,]+), ([^\s,]+)([\])])((?: or \S+)*)", notation)
    if not found:
        raise ValueError(f"within={notation!r} is not a range such as '[0, 1]' or '(0, inf)'.")
    left, low, high, right, extra = found.groups()
    text = f"in {notation}"
    if high == "inf" and not extra:
        text = f"at least {low}" if left == "[" else f"above {low}"
    singles = tuple(map(float, extra.split(" or ")[1:]))
    return _Range(float(low), float(high), left == "[", right == "]", singles, text)


@functools.cache
def _kinds(kind: Any) -> tuple[Any, ...]:
    """The types of a union without their arguments: int | list[float] -> (int, list)."""
    kinds: list[Any] = []
    for part in _parts(kind):
        literal = typing.get_origin(part) is Literal
        kinds += map(type, typing.get_args(part)) if literal else [typing.get_origin(part) or part]
    return tuple(dict.fromkeys(kinds))


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of the Literals in a type."""
    found = [typing.get_args(p) for p in _parts(kind) if typing.get_origin(p) is Literal]
    return tuple(value for values in found for value in values)


def _parts(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _typed(where: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """The value converted to the first of these types that represents it exactly."""
    if callable(value) and tuple in kinds:
        raise ConfigError(
            f"{where} must be a number or a schedule by name, got {value!r}: a file cannot hold a "
            "function. Use 'linear:first' or 'linear:first:last', e.g. 'linear:3e-4'."
        )
    names = ["None" if k is type(None) else k.__name__ for k in kinds if k is not tuple]
    error = ConfigError(f"{where} must be {' or '.join(names)}, got {value!r}.")
    value = plain(value)
    if isinstance(value, bool):
        if bool not in kinds:
            raise error
        return value
    if isinstance(value, numbers.Real):
        value = typing.cast(float, value)
        if int in kinds and abs(value) < 2**62 and value == int(value):
            return int(value)
        if float in kinds and math.isfinite(value):
            return float(value)
        raise error
    if type(value) not in kinds:
        raise error
    return value


def _widths(where: str, arch: Any, networks: tuple[str, ...]) -> NetArch:
    """The hidden widths as Python integers. Raises ConfigError if they are not valid."""
    if isinstance(arch, dict):
        arch = wrapped({plain(name): plain(widths) for name, widths in arch.items()})
    by_network = arch if isinstance(arch, dict) else dict.fromkeys(networks, arch)
    if set(by_network) != set(networks) or not all(
        isinstance(widths, OwnNetwork)
        or (type(widths) is list and all(is_whole(n) and n > 0 for n in widths))
        for widths in by_network.values()
    ):
        raise ConfigError(
            f"{where} must be a list of whole numbers above 0, or a dict of such lists, or of "
            f"networks with size, init(rng) and __call__(theta, *inputs), for "
            f"{' and '.join(networks)}; got {arch!r}."
        )
    if isinstance(arch, dict):
        return {
            name: widths if isinstance(widths, OwnNetwork) else [int(n) for n in widths]
            for name, widths in arch.items()
        }
    return [int(n) for n in arch]


def _activations(where: str, value: Any, networks: tuple[str, ...]) -> Activation:
    """Activations by layer or by network. Raises ConfigError if they are not valid."""
    by_network = value if isinstance(value, dict) else dict.fromkeys(networks, value)
    by_network = {plain(name): plain(one) for name, one in by_network.items()}
    each = [one if type(one) is list else [one] for one in by_network.values()]
    if set(by_network) != set(networks) or not all(x in _ACTIVATIONS for one in each for x in one):
        raise ConfigError(
            f"{where} must be {' or '.join(map(repr, _ACTIVATIONS))}, a list with one for each "
            f"hidden layer, or a dict of these for {' and '.join(networks)}; got {value!r}."
        )
    return by_network if isinstance(value, dict) else plain(value)


if sys.version_info >= (3, 14):
    import annotationlib

    def _annotations(cls: type) -> dict[str, Any]:
        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)

else:

    def _annotations(cls: type) -> dict[str, Any]:
        """The annotations in the body of a class, not evaluated where they are strings."""
        return inspect.get_annotations(cls)


def _evaluated(cls: type, name: str, annotation: Any) -> Any:
    """An annotation as a type; it is a string after `from __future__ import annotations`."""
    if not isinstance(annotation, str):
        return annotation
    body = {"__annotations__": {name: annotation}, "__module__": cls.__module__}
    return typing.get_type_hints(type(cls.__name__, (), body))[name]
