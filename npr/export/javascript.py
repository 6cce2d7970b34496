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
from npr.kernels.mlp import EPSILON

_TEMPLATE = Path(__file__).parent / "templates" / "policy.js"
_SAMPLE = """
/**
 * The action for one observation that the noise decides.
 *
 * @param {number | ArrayLike<number>} obs  as for act
 * @param {ArrayLike<number>} noise  meta.noise.numbers numbers, from meta.noise.distribution:
 *     uniform in [0, 1), or standard normal; one for each number where it is a list
$MASK_COMMENT * @returns {$ACTION}
 * @throws {RangeError} as act does, and for noise of another length
 */
export function sample(obs, noise$MASK) {
  if (noise?.length !== policy.noise) {
    throw new RangeError(`Noise has length ${policy.noise}, got ${noise?.length}.`);
  }
  return /** @type {$ACTION} */ (choose(encode(obs), noise, $ALLOWED));
}
"""
_MASK_COMMENT = """\
 * @param {ArrayLike<number | boolean> | null} [mask]  meta.mask.numbers numbers, 1 for what is
 *     allowed now and 0 for the rest: those of each index one after the other; two for each bit,
 *     for 0 and for 1. Without it all is allowed
"""
_MASKS = """\
// ---- masks of actions

/** @type {(mask: ArrayLike<number | boolean> | null) => boolean[] | null} */
function checked(mask) {
  if (mask === null) return null;
  const numbers = meta.mask.numbers;
  if (mask.length !== numbers) {
    throw new RangeError(`A mask has length ${numbers}, got ${mask.length}.`);
  }
  const allowed = Array.from(mask, (value) => {
    if (value !== true && value !== false && value !== 0 && value !== 1) {
      throw new RangeError(`A mask has 1 for what is allowed and 0 for the rest, got ${value}.`);
    }
    return Boolean(value);
  });
  let from = 0;
  for (const n of policy.mask) {
    if (!allowed.slice(from, (from += n)).includes(true)) {
      throw new RangeError(`The mask allows nothing in its numbers ${from - n} to ${from - 1}.`);
    }
  }
  return allowed;
}

"""
_OF_TEST = ", floats(tests.masks).subarray(i * meta.mask.numbers, (i + 1) * meta.mask.numbers)"
# what stands for a word in the template, with masks and without
_MASKED = {
    "MASK": (", mask = null", ""),
    "MASK_COMMENT": (_MASK_COMMENT, ""),
    "MASK_ERROR": (",\n *     and for such a mask, or one that allows nothing", ""),
    "MASKS": (_MASKS, ""),
    "ALLOWED": ("checked(mask)", "null"),
    "OF_TEST": (_OF_TEST, ""),
}
_LARGEST = "largest(floats(tests.actions), (obs, i) => act(obs$OF_TEST))"
_LARGEST_OF_BOTH = f"""Math.max({_LARGEST}, largest(floats(tests.sampled), (obs, i) => {{
    const noise = floats(tests.noise).subarray(i * policy.noise, (i + 1) * policy.noise);
    return sample(obs, noise$OF_TEST);
  }}))"""


def source(model: Model, *, stochastic: bool = False, file: str = "policy.js") -> str:
    """An ES module with `act(obs)`, `selftest()` and `meta`; `sample(obs, noise)` if stochastic.
    With masks of actions, `act(obs, mask)` and `sample(obs, noise, mask)`.

    file   its name, for the comment
    """
    graph, card = model.graph, model.card
    sampled = stochastic and graph.noise > 0
    words = {name: pair[0] if graph.mask else pair[1] for name, pair in _MASKED.items()}
    words["ACTION"] = "number" if graph.kind == "discrete" else "number[]"
    return filled(_TEMPLATE.read_text(encoding="utf-8"), {
        **words,
        "SAMPLE": filled(_SAMPLE, words) if sampled else "",
        "LARGEST": filled(_LARGEST_OF_BOTH if sampled else _LARGEST, words),
        "EPSILON": text(EPSILON),
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
