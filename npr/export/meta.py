"""What files in other languages say about a policy, as plain data, and how it is written in."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from npr.export.card import observation_names
from npr.export.graph import NOISE, Array, Graph
from npr.export.model import Model


def meta_of(model: Model) -> dict[str, Any]:
    """The card, and what observations, actions and noise are, for JSON.

    low and high are the bounds of each number of an observation and of an action, null where there
    are none; choices and start those of each index.
    """
    graph, card = model.graph, model.card.plain()
    names = observation_names(graph)
    observation = {
        "numbers": graph.numbers, "low": card.pop("low"), "high": card.pop("high"),
        "names": names if any(names) else None,
    }  # fmt: skip
    action: dict[str, Any] = {"kind": graph.kind, "numbers": graph.actions}
    if graph.kind == "box":
        action |= {"low": bounds(graph.low), "high": bounds(graph.high)}
    elif graph.choices:
        action |= {"choices": list(graph.choices), "start": list(graph.start)}
    noise = {"numbers": graph.noise, "distribution": NOISE[graph.head]} if graph.noise else None
    return {**card, "observation": observation, "action": action, "noise": noise}


def bounds(x: Array) -> list[float | None]:
    """Bounds for JSON: null for infinite ones."""
    return [float(v) if np.isfinite(v) else None for v in x]


def ranges(graph: Graph) -> list[float | None]:
    """What errors of each number of an action are divided by: its range; None where it has none."""
    return bounds(graph.high - graph.low) if graph.kind == "box" else [1.0] * graph.actions


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with each $NAME replaced, and nothing replaced in what is put in."""
    return re.sub(r"\$([A-Z_]+)", lambda found: values[found[1]], template)
