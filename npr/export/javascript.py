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

from npr.export.graph import Array, Graph, Layer
from npr.export.meta import bounds, filled, meta_of, ranges
from npr.export.model import Model
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN

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
    throw new RangeError(`Noise has ${policy.noise} numbers, got ${noise?.length}.`);
  }
  return /** @type {$ACTION} */ (toEnvironment(choose(encode(obs), noise)));
}
"""
_LARGEST = "largest(floats(tests.actions), act)"
_LARGEST_OF_BOTH = f"""Math.max({_LARGEST}, largest(floats(tests.sampled), (obs, i) => {{
    const noise = floats(tests.noise).subarray(i * policy.noise, (i + 1) * policy.noise);
    return sample(obs, noise);
  }}))"""


def source(model: Model, *, stochastic: bool = False) -> str:
    """An ES module with `act(obs)`, `selftest()` and `meta`; `sample(obs, noise)` if stochastic."""
    graph, card = model.graph, model.card
    sampled = stochastic and graph.noise > 0
    action = "number" if graph.kind == "discrete" else "number[]"
    return filled(_TEMPLATE.read_text(encoding="utf-8"), {
        "SAMPLE": _SAMPLE.replace("$ACTION", action) if sampled else "",
        "LARGEST": _LARGEST_OF_BOTH if sampled else _LARGEST,
        "LOG_STD_MIN": text(LOG_STD_MIN),
        "LOG_STD_MAX": text(LOG_STD_MAX),
        "ACTION": action,
        "TITLE": text(card.title)[1:-1],
        "MEASURED": text(card.measured)[1:-1],
        "VERSION": text(card.npr)[1:-1],
        "META": _object(meta_of(model)),
        "POLICY": _object(_policy(graph, sampled)),
        "TESTS": _object(_tests(model, sampled)),
    })  # fmt: skip


def text(value: Any) -> str:
    """A value as JSON that is safe in a script element: ASCII without angle brackets."""
    plain = json.dumps(value, allow_nan=False)
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
    return base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()


def _layer(layer: Layer) -> dict[str, Any]:
    outputs, inputs = layer.W.shape
    return {
        "inputs": inputs, "outputs": outputs, "activation": layer.activation,
        "W": _floats(layer.W), "b": _floats(layer.b),
    }  # fmt: skip


def _policy(graph: Graph, sampled: bool) -> dict[str, Any]:
    """The policy as plain data: the type Policy in the template."""
    parts = [[part.numbers, part.inputs, part.divisor, part.start] for part in graph.parts]
    stack = [] if graph.table is not None else [*graph.hidden, graph.output]
    norm, spread = graph.norm, graph.log_std if sampled else None
    return {
        "parts": [dict(zip(("numbers", "inputs", "divisor", "start"), part)) for part in parts],
        "inputs": stack[0].W.shape[1] if stack else 1,
        "head": graph.head,
        "kind": graph.kind,
        "table": None if graph.table is None else graph.table.tolist(),
        "norm": norm and {
            "mean": _floats(norm.mean), "scale": _floats(norm.scale), "clip": float(norm.clip),
        },
        "layers": [_layer(layer) for layer in stack],
        "spread": _layer(spread) if isinstance(spread, Layer) else
                  None if spread is None else _floats(spread),
        "choices": list(graph.choices),
        "start": list(graph.start),
        "low": bounds(graph.low),
        "high": bounds(graph.high),
        "middle": bounds(graph.middle),
        "half": bounds(graph.half),
        "ranges": ranges(graph),
        "epsilon": float(graph.epsilon),
        "temperature": float(graph.temperature),
        "noise": graph.noise,
    }  # fmt: skip


def _tests(model: Model, sampled: bool) -> dict[str, str]:
    tests = {"observations": model.observations, "actions": model.actions}
    if sampled:
        tests |= {"noise": model.noise, "sampled": model.sampled}
    return {name: _floats(array) for name, array in tests.items()}
