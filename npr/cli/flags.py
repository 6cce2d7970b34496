"""Flags of the settings of an algorithm, made from their declarations, and values from words."""

import argparse
import functools
import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from npr.errors import ConfigError
from npr.settings import NetArch, Setting, Settings, sb3
from npr.settings.setting import is_whole, near

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
ALIASES = {"n_envs": "num-envs"}  # setting -> its name in CleanRL
_OWN_FLAGS = ("env_kwargs", "engine")  # settings with a flag of their own


def add_settings(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """Add a flag for each setting of an algorithm, in groups; several values make a grid.

    `given` has the values that were given.
    """
    groups: dict[str, Any] = {}
    for name, one in kind.settings.items():
        if name in _OWN_FLAGS:
            continue
        title = _group(kind, name)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        words = [name.replace("_", "-"), *([ALIASES[name]] if name in ALIASES else [])]
        # without defaults, which would come first in the namespace, in the order of declaration
        action = groups[title].add_argument(
            *(f"--{word}" for word in words), dest=name, action="append",
            type=functools.partial(_converted, kind, one), default=argparse.SUPPRESS,
            nargs="*" if _is_bool(one) else "+", metavar=_metavar(one), help=_help(one),
        )  # fmt: skip
        action.completer = functools.partial(_completions, one)  # for argcomplete
        if _is_bool(one):
            groups[title].add_argument(
                f"--no-{words[0]}", dest=name, action="append_const", const=[False],
                default=argparse.SUPPRESS, help=argparse.SUPPRESS,
            )  # fmt: skip


def given(args: argparse.Namespace, kind: type[Settings]) -> dict[str, list[Any]]:
    """Setting -> its valid values, in the order in which the words name the settings.

    A repeated flag adds values.
    """
    return {
        name: [one for values in held for one in values or [True]]  # [] of a bare --normalize-obs
        for name, held in vars(args).items()
        if name in kind.settings and name not in _OWN_FLAGS
    }


def _converted(owner: type[Settings], setting: Setting, word: str) -> Any:
    try:
        return parse(owner, setting, word)
    except ConfigError as error:
        message = str(error)
        words = word.split(",")
        if len(words) > 1 and all(_fits(owner, setting, one) for one in words):
            message += f" Separate several values by spaces: {' '.join(words)}."
        raise argparse.ArgumentTypeError(message) from None


def _fits(owner: type[Settings], setting: Setting, word: str) -> bool:
    try:
        parse(owner, setting, word)
    except ConfigError:
        return False
    return True


def _completions(one: Setting, **_: Any) -> list[str]:
    """The words that the shell offers for a setting."""
    kinds, choices = _kinds(one.type)
    words = [text(choice) for choice in choices]
    words += ["true", "false"] if bool in kinds else []
    return words + (["none"] if type(None) in kinds else [])


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
    if (int in kinds or float in kinds) and (held := number(word)) is not None:
        return held
    if list in kinds or dict in kinds:
        if word[:1] in ("[", "{"):
            return _json(word)
        if kind == NetArch and re.fullmatch(r"\d+(,\d+)*,?", word):
            return [int(one) for one in word.split(",") if one]
    return word


def number(word: str) -> int | float | None:
    """The number that a word stands for; None: there is none."""
    for convert in (int, float):  # int first: a float has 53 bits
        try:
            return convert(word)
        except ValueError:
            continue
    return None


def whole(word: str) -> int:
    """A whole number, for argparse; 1e5 is one."""
    held = number(word)
    if not is_whole(held):
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number")
    return int(held)  # type: ignore[arg-type]


def count(word: str) -> int:
    """A whole number above 0, for argparse."""
    if (held := whole(word)) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not above 0")
    return held


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
    "Critics": "critics",
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
        several = [kind for kind in kinds if kind in (list, dict)]  # of choices
        single = _names(kind for kind in kinds if kind not in several)
        return "|".join([*single, *map(str, choices), *_names(several)])
    return "|".join(_names(kinds)) or "VALUE"


_NAMES: dict[Any, str] = {
    int: "N", float: "X", str: "TEXT", list: "LIST", dict: "JSON", type(None): "none", bool: "BOOL",
}  # fmt: skip


def _names(kinds: Iterable[Any]) -> list[str]:
    return [*dict.fromkeys(_NAMES[kind] for kind in kinds if kind in _NAMES)]


def _help(one: Setting) -> str:
    return (one.__doc__ or "").replace("%", "%%")
