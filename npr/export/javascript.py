"""Policies as ES modules, for browsers and Node.

What is computed is in templates/policy.js; the policy is data in it. All text of the policy is
JSON without angle brackets, so that it can end neither a string, a comment nor a script element.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from npr.export.graph import Array
from npr.export.meta import data_of, filled, meta_of, tests_of
from npr.export.model import Model

_TEMPLATE = Path(__file__).parent / "templates" / "policy.js"
_SAMPLE = """
/**
 * The action for one observation that the noise decides.
 *
 * @param {number | ArrayLike<number>} obs  as for act
 * @param {ArrayLike<number>} noise  meta.noise.numbers numbers, from meta.noise.distribution:
 *     uniform in [0, 1), or standard normal
 * @returns {$ACTION}
 * @throws {RangeError} as act does, and for noise of another length
 */
export function sample(obs, noise) {
  if (noise?.length !== policy.noise) {
    throw new RangeError(`Noise has length ${policy.noise}, got ${noise?.length}.`);
  }
  return /** @type {$ACTION} */ (toEnvironment(choose(encode(obs), noise)));
}
"""
_LARGEST = "largest(floats(tests.actions), act)"
_LARGEST_OF_BOTH = f"""Math.max({_LARGEST}, largest(floats(tests.sampled), (obs, i) => {{
    const noise = floats(tests.noise).subarray(i * policy.noise, (i + 1) * policy.noise);
    return sample(obs, noise);
  }}))"""


def source(model: Model, *, stochastic: bool = False, file: str = "policy.js") -> str:
    """An ES module with `act(obs)`, `selftest()` and `meta`; `sample(obs, noise)` if stochastic.

    file   its name, for the comment
    """
    graph, card = model.graph, model.card
    sampled = stochastic and graph.noise > 0
    action = "number" if graph.kind == "discrete" else "number[]"
    return filled(_TEMPLATE.read_text(encoding="utf-8"), {
        "SAMPLE": _SAMPLE.replace("$ACTION", action) if sampled else "",
        "LARGEST": _LARGEST_OF_BOTH if sampled else _LARGEST,
        "ACTION": action,
        "FILE": text(f"./{file}"),
        "TITLE": text(card.title)[1:-1],
        "MEASURED": text(card.measured)[1:-1],
        "VERSION": text(card.npr)[1:-1],
        "META": _object(meta_of(model)),
        "POLICY": _object(data_of(graph, sampled)),
        "TESTS": _object(tests_of(model, sampled)),
    })  # fmt: skip


def text(value: Any) -> str:
    """A value as JSON that is safe in a script element: ASCII without angle brackets; arrays as
    base64."""
    plain = json.dumps(value, allow_nan=False, default=_floats)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e")


def _object(values: Mapping[str, Any]) -> str:
    """An object with a line for each member, and for each member of a list of objects."""
    lines = []
    for name, value in values.items():
        shown = text(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            shown = "[\n" + "".join(f"    {text(one)},\n" for one in value) + "  ]"
        lines.append(f"  {name}: {shown},\n")
    return "{\n" + "".join(lines) + "}"


def _floats(x: Array) -> str:
    """float32 numbers, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()
