"""Writes TOML; the standard library only reads it."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from npr.errors import ConfigError
from npr.settings.setting import plain

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(values: Mapping[str, Any], comment: str = "") -> str:
    """A TOML document of plain data: bool, numbers, texts, lists and dicts with texts as keys.

    comment   lines at the top

    A dict at the top level becomes a table, other dicts are inline. TOML has no null: keys whose
    value is None are left out. Raises ConfigError for None in a list and for other types.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    scalars = {k: v for k, v in values.items() if not isinstance(v, Mapping)}
    lines += _pairs(scalars)
    for name, table in values.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(name)}]", *_pairs(table)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(k)} = {_value(v)}" for k, v in values.items() if v is not None]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(given: Any) -> str:
    one = plain(given)
    if isinstance(one, bool):
        return "true" if one else "false"
    if isinstance(one, str):
        return _text(one)
    if isinstance(one, int):
        return str(one)
    if isinstance(one, float):
        return repr(one) if math.isfinite(one) else str(one)  # inf, -inf and nan are TOML's
    if isinstance(one, list):
        return f"[{', '.join(map(_value, one))}]"
    if isinstance(one, Mapping):
        return "{" + ", ".join(_pairs(one)) + "}"
    raise ConfigError(
        f"TOML has bool, numbers, texts, lists and dicts, got {given!r}; a .json file holds None."
    )


def _text(text: str) -> str:
    """A basic string. JSON escapes what TOML does, but not the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
