"""Flags of the settings of an algorithm, made from their declarations, and values from words."""

import argparse
import json
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from npr.errors import ConfigError
from npr.settings import NetArch, Setting, Settings, sb3
from npr.settings.setting import near

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
ALIASES = {"n_envs": "num-envs"}  # setting -> its name in CleanRL
_OWN_FLAGS = ("env_kwargs",)  # settings with a flag of their own


def add_settings(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """Add a flag for each setting of an algorithm, in groups; several values make a grid.

    Their values arrive as lists of valid values, by the name of the setting; None: not given.
    `order` has the names in the order of the words.
    """
    groups: dict[str, Any] = {}
    for name, one in kind.settings.items():
        if name in _OWN_FLAGS:
            continue
        title = _group(kind, name)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        flag = f"--{name.replace('_', '-')}"
        flags = [flag, *(f"--{ALIASES[name]}" for _ in "1" if name in ALIASES)]
        groups[title].add_argument(
            *flags, dest=name, action=_Values, nargs="*" if _is_bool(one) else "+",
            metavar=_metavar(one), help=_help(one), setting=one, owner=kind,
        )  # fmt: skip
        if _is_bool(one):
            groups[title].add_argument(
                f"--no-{flag[2:]}", dest=name, action="store_const", const=[False],
                help=argparse.SUPPRESS,
            )  # fmt: skip


class _Values(argparse.Action):
    """Parses the words after a flag as values of its setting. A repeated flag adds values."""

    def __init__(self, *args: Any, setting: Setting, owner: type[Settings], **others: Any) -> None:
        super().__init__(*args, **others)
        self.setting, self.owner = setting, owner

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        words = values or ["true"]  # of a bare --normalize-obs
        try:
            new = [parse(self.owner, self.setting, word) for word in words]
        except ConfigError as error:
            parser.error(f"{option_string}: {error}")
        before = getattr(namespace, self.dest, None) or []
        setattr(namespace, self.dest, [*before, *new])
        namespace.order = [*dict.fromkeys([*getattr(namespace, "order", []), self.dest])]


def parse(owner: type[Settings], setting: Setting, word: str) -> Any:
    """The value of a setting that a word stands for. Raises ConfigError if there is none.

    "none" is None; lists and dicts are JSON, or "64,64" for a list of numbers; numbers may be 1e5.
    """
    return setting.checked(owner.__name__, _value(setting.type, word), owner.networks)


def text(value: Any) -> str:
    """The word that stands for a value: `parse` reads it back."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def _value(kind: Any, word: str) -> Any:
    """The word as the first of the types that it fits; the word itself if it fits none."""
    kinds, choices = _kinds(kind)
    lower = word.lower()
    if lower == "none" and type(None) in kinds:
        return None
    for choice in choices:
        if word == str(choice):
            return choice
    if bool in kinds and lower in (*_TRUE, *_FALSE):
        return lower in _TRUE
    if (int in kinds or float in kinds) and (number := _number(word)) is not None:
        return number
    if list in kinds or dict in kinds:
        if word[:1] in ("[", "{"):
            return _json(word)
        if kind == NetArch and re.fullmatch(r"\d+(,\d+)*,?", word):
            return [int(one) for one in word.split(",") if one]
    return word


def _number(word: str) -> int | float | None:
    for convert in (int, float):  # int first: a float has 53 bits
        try:
            return convert(word)
        except ValueError:
            continue
    return None


def _json(word: str) -> Any:
    try:
        return json.loads(word)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{word!r} is not valid JSON ({error}).") from None


_PYTHON = {"True": True, "False": False, "None": None}


def pairs(words: Iterable[str]) -> dict[str, Any]:
    """The dict that "name=value" words stand for; values are JSON, True, False or None as Python
    writes them, or else texts.

    Raises ConfigError for a word without "=", and for a name that is given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ConfigError(f"{word!r} must be name=value, e.g. map_name=8x8.")
        if name in found:
            raise ConfigError(f"{name!r} is given twice.")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = _PYTHON.get(value, value)
    return found


def advice(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown flag, such as "--lr": a sentence with the nearest one.

    known   all flags of the command
    """
    setting = name.lstrip("-").replace("-", "_")
    if setting in sb3.SETTINGS:
        return f"There is no {name}: {sb3.SETTINGS[setting]}."
    words = [flag.lstrip("-").replace("-", "_") for flag in known if flag.startswith("--")]
    nearest = near(setting, words)
    if nearest is None:
        return f"There is no {name}; --help shows all flags."
    return f"There is no {name}; did you mean --{nearest.replace('_', '-')}?"


# ---- types


def _is_bool(one: Setting) -> bool:
    return _kinds(one.type)[0] == [bool]


def _kinds(kind: Any) -> tuple[list[Any], list[Any]]:
    """The types of a union without their arguments, and the values of its Literals."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    kinds: list[Any] = []
    choices: list[Any] = []
    for part in typing.get_args(kind) if union else (kind,):
        origin = typing.get_origin(part)
        if origin is typing.Literal:
            choices += typing.get_args(part)
        else:
            kinds.append(origin or part)
    return kinds, choices


# ---- help


def _group(kind: type[Settings], name: str) -> str:
    """The title of a setting's group: that of the class that first declares it."""
    owner = [base for base in kind.__mro__ if isinstance(vars(base).get(name), Setting)][-1]
    if owner is kind:
        return f"settings of {kind.__name__}"
    return _TITLES.get(owner.__name__, f"settings of {owner.__name__}")


_TITLES = {
    "Algorithm": "settings of all algorithms",
    "Networks": "networks",
    "Replay": "replay buffer and updates",
    "TargetNetwork": "target network",
    "EpsilonGreedy": "exploration",
    "PolicyGradient": "policy gradient",
    "Advantages": "advantages and critic",
}


def _metavar(one: Setting) -> str:
    kinds, choices = _kinds(one.type)
    if _is_bool(one):
        return "BOOL"
    if choices:
        return "|".join([*_names(kinds), *map(str, choices)])
    return "|".join(_names(kinds)) or "VALUE"


_NAMES: dict[Any, str] = {
    int: "N", float: "X", str: "TEXT", list: "LIST", dict: "JSON", type(None): "none", bool: "BOOL",
}  # fmt: skip


def _names(kinds: Iterable[Any]) -> list[str]:
    return [*dict.fromkeys(_NAMES[kind] for kind in kinds if kind in _NAMES)]


def _help(one: Setting) -> str:
    return (one.__doc__ or "").replace("%", "%%")


Parse = Callable[[list[str]], argparse.Namespace]
