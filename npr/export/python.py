"""Policies as plain Python without any import, which MicroPython runs too.

What is computed is in templates/policy.py.txt; the policy is literals in it. All text of the policy
is escaped, so that it can end neither a string nor a comment, and no text is in the first two
lines, where a comment can name the encoding of the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from npr.export.meta import data_of, filled, meta_of, tests_of
from npr.export.model import Model
from npr.kernels.mlp import EPSILON

_TEMPLATE = Path(__file__).parent / "templates" / "policy.py.txt"
_SAMPLE = '''
def sample(obs, noise$MASK):
    """The action for one observation that the noise decides: $ACTION.

    obs     as for act
    noise   META["noise"]["numbers"] numbers, from META["noise"]["distribution"]: uniform in [0, 1),
            or standard normal; one for each number where it is a list
$MASK_OF_SAMPLE
    Raises ValueError as act does, and for noise of another length.
    """
    if len(noise) != POLICY["noise"]:
        raise ValueError("Noise has length %d, got %d." % (POLICY["noise"], len(noise)))
    return _choose(_encode(obs), noise, $ALLOWED)

'''
_MASK_COMMENT = """\
    mask  META["mask"]["numbers"] numbers, 1 for what is allowed now and 0 for the rest: those of
          each index one after the other; two for each bit, for 0 and for 1. Without it all is
          allowed
"""
_MASKS = """\
# ---- masks of actions


def _checked(mask):
    if mask is None:
        return None
    if len(mask) != META["mask"]["numbers"]:
        raise ValueError("A mask has length %d, got %d." % (META["mask"]["numbers"], len(mask)))
    for value in mask:
        if value not in (0, 1):
            text = "A mask has 1 for what is allowed and 0 for the rest, got %s."
            raise ValueError(text % (value,))
    first = 0
    for n in POLICY["mask"]:
        if not any(mask[first : first + n]):
            text = "The mask allows nothing in its numbers %d to %d."
            raise ValueError(text % (first, first + n - 1))
        first += n
    return mask


"""
# what stands for a word in the template, with masks and without
_MASKED = {
    "MASK": (", mask=None", ""),
    "MASK_COMMENT": (_MASK_COMMENT, ""),
    "MASK_OF_SAMPLE": ("    mask    as for act\n", ""),
    "MASK_ERROR": (", and for a\n    mask of another length or that allows nothing", ""),
    "MASKS": (_MASKS, ""),
    "ALLOWED": ("_checked(mask)", "None"),
    "OF_TEST": (', TESTS["masks"][i]', ""),
}
_LARGEST = '_largest(TESTS["actions"], lambda i, obs: act(obs$OF_TEST))'
_SAMPLED = '_largest(TESTS["sampled"], lambda i, obs: sample(obs, TESTS["noise"][i]$OF_TEST))'
_LINE = 100  # characters


def source(model: Model, *, stochastic: bool = False) -> str:
    """Python with `act(obs)`, `selftest()` and META; `sample(obs, noise)` if stochastic. With masks
    of actions, `act(obs, mask)` and `sample(obs, noise, mask)`."""
    graph, card = model.graph, model.card
    sampled = stochastic and graph.noise > 0
    number = "float" if graph.kind == "box" else "float or int" if graph.members else "int"
    words = {name: pair[0] if graph.mask else pair[1] for name, pair in _MASKED.items()}
    words["ACTION"] = number if graph.kind == "discrete" else f"a list of {graph.actions} {number}"
    data, tests = data_of(graph, sampled), tests_of(model, sampled)
    # differences of observations and means can be small, so these have all their digits
    tests["observations"] = tests["observations"].tolist()
    if data["norm"]:
        data["norm"]["mean"] = data["norm"]["mean"].tolist()
    largest = f"max(\n        {_LARGEST},\n        {_SAMPLED},\n    )"
    return filled(_TEMPLATE.read_text(encoding="utf-8"), {
        **words,
        "SAMPLE": filled(_SAMPLE, words) if sampled else "",
        "LARGEST": filled(largest if sampled else _LARGEST, words),
        "EPSILON": str(EPSILON),
        "TITLE": ascii(card.title)[1:-1],
        "MEASURED": ascii(card.measured)[1:-1],
        "VERSION": ascii(card.npr)[1:-1],
        "META": literal(meta_of(model)),
        "POLICY": literal(data),
        "TESTS": literal(tests),
    })  # fmt: skip


def literal(value: Any, indent: int = 0) -> str:
    """Plain data and arrays as a literal of ASCII; arrays as tuples, in their shortest digits."""
    inside = " " * (indent + 4)
    if isinstance(value, Mapping):
        items = [f"{name!a}: {literal(one, indent + 4)}" for name, one in value.items()]
        short = f"{{{', '.join(items)}}}"
        lines = "".join(f"{inside}{item},\n" for item in items)
        return short if _fits(short, indent) else f"{{\n{lines}{' ' * indent}}}"
    if isinstance(value, list | np.ndarray):
        items = [literal(one, indent + 4) for one in value]
        short = f"({', '.join(items)}{',' * (len(items) == 1)})"
        return short if _fits(short, indent) else f"(\n{_wrapped(items, inside)}{' ' * indent})"
    if isinstance(value, np.floating | np.integer):
        return str(value)
    return ascii(value)


def _fits(text: str, indent: int) -> bool:
    return "\n" not in text and indent + len(text) < _LINE


def _wrapped(items: list[str], inside: str) -> str:
    """Items with commas, as many to a line as fit."""
    lines, line = [], inside
    for item in items:
        if line != inside and len(line) + len(item) + 2 > _LINE:
            lines.append(line.rstrip() + "\n")
            line = inside
        line += f"{item}, "
    return "".join([*lines, line.rstrip(), "\n"])
