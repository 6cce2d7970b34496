"""Pieces of C text: names, numbers, tables, comments."""

import re
import textwrap
from typing import Any

import numpy as np

from npr.errors import ConfigError
from npr.export.graph import Array

BYTES = {
    "float": 4, "unsigned char": 1, "int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2,
    "int32_t": 4, "uint32_t": 4,
}  # fmt: skip
_LONGEST_NAME = 32
_WORDS = """
    alignas alignof and asm auto bitand bitor bool break case catch char class compl concept const
    constexpr continue default delete do double else enum explicit export extern false float for
    friend goto if inline int long mutable namespace new noexcept not nullptr operator or private
    protected public register requires restrict return short signed sizeof static struct switch
    template this throw true try typedef typeid typename typeof union unsigned using virtual void
    volatile while xor
"""
_KEYWORDS = frozenset(_WORDS.split())


def checked_name(name: Any) -> str:
    """The prefix of all names. Raises ConfigError if it is not one in C and C++."""
    valid = isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII)
    if not valid or len(name) > _LONGEST_NAME or name in _KEYWORDS:
        raise ConfigError(
            f"name={name!r} must be a name in C: a letter, then letters, digits and _, at most "
            f"{_LONGEST_NAME} in all, and not a keyword; e.g. name='robot'."
        )
    return str(name)


def named(text: str, name: str) -> str:
    """Text with the prefix in place of each @: @act is policy_act, @OBS_DIM is POLICY_OBS_DIM."""
    text = re.sub("@(?=[a-z])", f"{name}_", text)
    return re.sub("@(?=[A-Z])", f"{name.upper()}_", text)


def number(x: Any) -> str:
    """The literal of one float, as in `numbers`."""
    return numbers(x)[0]


def numbers(array: Any) -> list[str]:
    """Float literals for the numbers of an array: the fewest digits that give each as float32.

    Raises ConfigError if one is beyond float32.
    """
    given = np.ravel(array)
    with np.errstate(over="ignore"):
        values = given.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        wrong = given[~finite][0]
        raise ConfigError(f"The policy holds the number {wrong}, which float in C cannot hold.")
    return [f"{value!s}f" for value in values]


def each(n: int, line: str) -> list[str]:
    """The lines of a loop over i."""
    return [f"for (i = 0; i < {n}; i++) {{", f"    {line}", "}"]


class Tables:
    """Constant arrays, and the bytes that they take in flash."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.bytes = 0

    def floats(self, name: str, array: Array) -> None:
        """static const float @name[n]: the numbers of an array of any shape, in its order."""
        self.add(name, numbers(array), "float")

    def integers(self, name: str, array: Array, kind: str) -> None:
        """static const kind @name[n], with kind from BYTES."""
        self.add(name, [str(x) for x in np.ravel(array).tolist()], kind)

    def add(self, name: str, literals: list[str], kind: str) -> None:
        rows = textwrap.fill(
            ", ".join(literals), 99, initial_indent="    ", subsequent_indent="    ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        self.texts.append(f"static const {kind} @{name}[{len(literals)}] @FLASH = {{\n{rows}\n}};")
        self.bytes += BYTES[kind] * len(literals)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def harmless(text: Any, longest: int = 100) -> str:
    """A text from a file, for a comment: it can neither end the comment nor be read as code.

    Only ASCII that is printed stays, without backslashes and pairs of question marks, which could
    join lines.
    """
    kept = "".join(c if " " <= c <= "~" and c != "\\" else "_" for c in str(text))
    kept = kept.replace("??", "?_")
    kept = re.sub(r"\*(?=/)|/(?=\*)", r"\g<0> ", kept)
    return kept if len(kept) <= longest else f"{kept[: longest - 3]}..."
