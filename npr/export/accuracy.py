"""How far a quantized policy is from the policy of floats, and what is too far."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from npr.envs.spaces import spans
from npr.errors import ConfigError
from npr.export.card import Quantized
from npr.export.graph import Array, Graph
from npr.export.integer import IntegerGraph
from npr.export.model import decided
from npr.training.evaluation import Evaluation


@dataclass(frozen=True)
class Errors:
    """Errors of actions.

    Boxes: relative to the range of actions, or to 1 where it has no end. Indices and bits: a
    different one is an error of 1.

    largest   in any observation and number; for indices the largest loss: the difference between
              the best score and that of the action, relative to the range of scores
    mean      over observations, and numbers of a box
    near      indices and bits: the share of observations with a different action where the policy
              of floats hardly prefers its own
    """

    largest: float
    mean: float
    near: float = 0.0


def compare(
    graph: Graph, integer: IntegerGraph, observations: Array, masks: Array | None = None
) -> Errors:
    """The errors of a quantized policy in observations (B, numbers), with masks (B, graph.mask) of
    their actions."""
    a, b = graph(observations, None, masks), integer(observations, None, masks)
    if graph.kind == "box":
        with np.errstate(invalid="ignore"):  # inf - inf
            width = np.asarray(graph.high, np.float64) - graph.low
        error = abs(a.astype(np.float64) - b) / np.where(np.isfinite(width) & (width > 0), width, 1)
        return Errors(float(error.max()), float(error.mean()))
    different = (a != b).reshape(len(a), -1).any(axis=-1)
    near = different & ~decided(graph, observations, masks)
    y = graph.output(graph.features(graph.encode(observations))).astype(np.float64)
    return Errors(_loss(graph, y, b, masks), float(different.mean()), float(near.mean()))


def _loss(graph: Graph, y: Array, actions: Array, masks: Array | None) -> float:
    """The largest loss of scores y (B, K) with other actions than the best, see Errors."""
    if not graph.choices:
        free = True if masks is None else (masks[:, 0::2] > 0) & (masks[:, 1::2] > 0)
        wrong = ((y > 0) != (actions > 0)) & free
        return float(np.where(wrong, abs(y), 0).max() / max(abs(y).max(), 1e-300))
    losses = [0.0]
    index = (actions - np.array(graph.start)).reshape(len(y), -1).astype(np.int64)
    for i, (start, end) in enumerate(spans(graph.choices)):
        scores = y[:, start:end]
        allowed = True if masks is None else masks[:, start:end] > 0
        best = np.where(allowed, scores, -np.inf).max(axis=-1)
        lost = best - np.take_along_axis(scores, index[:, i : i + 1], axis=-1)[:, 0]
        losses.append(lost.max() / max(np.ptp(scores, axis=-1).max(), 1e-300))
    return float(max(losses))


def checked(
    graph: Graph,
    integer: IntegerGraph,
    observations: Array,
    before: Evaluation | None,
    after: Evaluation | None,
    max_error: float,
    max_return_loss: float,
    masks: Array | None = None,
) -> Quantized:
    """What the quantization costs.

    before, after    the same episodes with the policy of floats and with the quantized one
    max_error        of the mean error
    max_return_loss  of the fall of the mean return, relative to it; twice the standard error of the
                     difference is allowed in any case
    masks            of the actions in the observations; None: all are allowed

    Raises ConfigError if it is more than that.
    """
    errors, dtype = compare(graph, integer, observations, masks), integer.dtype
    result = Quantized(
        dtype, graph.kind == "box", errors.largest, errors.mean, errors.near, len(observations),
        None if before is None else before.mean, None if before is None else before.std,
    )  # fmt: skip
    other = "dtype='q15' or " if dtype == "int8" else ""
    advice = f"Use {other}dtype='float32', give observations that are typical, or raise"
    if not errors.mean <= max_error:
        raise ConfigError(
            f"{result.text}: the mean error is above max_error={max_error:g}. Nothing was written. "
            f"{advice} max_error."
        )
    if before is not None and after is not None:
        difference = after.returns - before.returns
        spread = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else 0.0
        if difference.mean() < -max(max_return_loss * abs(before.mean), 2 * spread):
            raise ConfigError(
                f"{result.text}. With {dtype} it falls to {after.mean:.2f} +- {after.std:.2f}, "
                f"more than max_return_loss={max_return_loss:g} allows. Nothing was written. "
                f"{advice} max_return_loss."
            )
    return result


def checked_limit(name: str, value: Any) -> float:
    """A limit that the caller gives. Raises ConfigError if it is not a number from 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
        raise ConfigError(f"{name} must be a number from 0, got {value!r}; float('inf'): no limit.")
    return float(value)
