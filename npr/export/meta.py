"""What files in other languages say about a policy, as plain data, and how it is written in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npr.export.card import observation_names
from npr.export.graph import Array, Graph, Layer, bounds, ranges
from npr.export.model import Model
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN


def meta_of(model: Model) -> dict[str, Any]:
    """The card, and what observations, actions, noise and masks are, for JSON.

    low and high are the bounds of each number of an observation and of an action, null where there
    are none; choices and start those of each index. A Dict or Tuple of actions has these for each
    of its parts, whose numbers follow one after the other, and a distribution for each number of
    the noise.
    """
    graph, card = model.graph, model.card.plain()
    names = observation_names(graph)
    observation = {
        "numbers": graph.numbers, "low": card.pop("low"), "high": card.pop("high"),
        "names": names if any(names) else None,
    }  # fmt: skip
    action = _action(graph)
    if graph.members:
        action["parts"] = [{"name": one.label, **_action(one)} for one in graph.members]
    noise = None
    if graph.noise:
        kinds = graph.distributions
        noise = {"numbers": graph.noise, "distribution": kinds if graph.members else kinds[0]}
    mask = {"numbers": graph.mask} if graph.mask else None
    return {**card, "observation": observation, "action": action, "noise": noise, "mask": mask}


def _action(graph: Graph) -> dict[str, Any]:
    action: dict[str, Any] = {"kind": graph.kind, "numbers": graph.actions}
    if graph.kind == "box":
        action |= {"low": bounds(graph.low), "high": bounds(graph.high)}
    elif graph.choices:
        action |= {"choices": list(graph.choices), "start": list(graph.start)}
    return action


def data_of(graph: Graph, sampled: bool) -> dict[str, Any]:
    """A graph as plain data and arrays, for code that computes it; see the templates.

    sampled   with what only sampled actions need
    """
    names = "numbers", "inputs", "divisor", "start"
    parts = [dict(zip(names, [getattr(part, name) for name in names])) for part in graph.parts]
    stack = [] if graph.table is not None else [*graph.hidden, graph.output]
    norm = graph.norm
    return {
        "parts": parts,
        "inputs": stack[0].W.shape[1] if stack else 1,
        "table": _table(graph),
        "norm": norm and {"mean": norm.mean, "scale": norm.scale, "clip": float(norm.clip)},
        "layers": [_layer(layer) for layer in stack],
        "ranges": ranges(graph),
        "noise": graph.noise,
        "mask": [end - start for start, end in graph.spans],
        **_head(graph, sampled),
        "members": [_head(member, sampled) for member in graph.members],
    }


def _head(graph: Graph, sampled: bool) -> dict[str, Any]:
    """What leads from the outputs of a network to an action, see data_of."""
    spread = graph.log_std if sampled else None
    return {
        "head": graph.head,
        "kind": graph.kind,
        "outputs": len(graph.output.b),
        "actions": graph.actions,
        "masked": graph.mask,
        "spread": _layer(spread) if isinstance(spread, Layer) else spread,
        "clip": [LOG_STD_MIN, LOG_STD_MAX] if graph.head == "tanh_gaussian" else None,
        "choices": list(graph.choices),
        "start": list(graph.start),
        "low": bounds(graph.low),
        "high": bounds(graph.high),
        "middle": bounds(graph.middle),
        "half": bounds(graph.half),
        "epsilon": float(graph.epsilon),
        "temperature": float(graph.temperature),
    }  # fmt: skip


def _table(graph: Graph) -> list[Any] | None:
    """The best action of each state; with masks a list of its actions, the best first."""
    if graph.table is None:
        return None
    rows: list[Any] = graph.table.tolist()
    return [[a for a in row if a < graph.choices[0]] for row in rows] if graph.mask else rows


def _layer(layer: Layer) -> dict[str, Any]:
    outputs, inputs = layer.W.shape
    sizes = {"inputs": inputs, "outputs": outputs, "activation": layer.activation}
    return {**sizes, "W": layer.W, "b": layer.b, "gain": layer.gain}


def tests_of(model: Model, sampled: bool) -> dict[str, Array]:
    """The tests that a file carries."""
    tests = {"observations": model.observations, "actions": model.actions}
    if model.graph.mask:
        tests["masks"] = model.masks
    return {**tests, "noise": model.noise, "sampled": model.sampled} if sampled else tests


def largest_error(got: Array, want: Array, units: Sequence[float | None]) -> float:
    """The largest error of actions (B,) or (B, actions).

    units   of each number, see `ranges`; for None, the action if that is larger than 1

    NaN is an infinite error.
    """
    got, want = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (got, want))
    known = np.array([np.nan if unit is None else unit for unit in units])
    error = abs(got - want) / np.where(np.isnan(known), np.maximum(1, abs(want)), known)
    return float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(initial=0.0))


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with each $NAME replaced, and nothing replaced in what is put in."""
    return re.sub(r"\$([A-Z_]+)", lambda found: values[found[1]], template)
