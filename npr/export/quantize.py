"""Policies of integers, for processors without floating point or with little memory.

int8   weights of 8 bits. Each row has a step of its own, a multiple of one step per layer
q15    weights of up to 16 bits; steps are powers of two, so that shifts are all that is needed

Activations have up to 16 bits. Their ranges are those in a batch of observations, with a margin.
Sums cannot overflow 32 bits whatever the observation is: where the largest possible sum could,
activations (int8) or weights (q15) get fewer bits.

The observations also say how to round: errors of weights that cancel each other in them do no harm.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from npr.errors import ConfigError
from npr.export.graph import Array, Graph, Layer, Norm
from npr.export.integer import LARGEST, STEPS, IntegerGraph, IntegerLayer, divided, rounded
from npr.policy import ACTIVATIONS

DTYPES = ("int8", "q15")
_MARGIN = 4.0  # the largest value that is expected, relative to the largest that was seen
_NOISE = 6.0  # deviations of the noise of a sampler
_SHIFT = 24  # the largest shift
_LIMIT = (1 << 31) - (1 << 24)  # of sums: rounding adds at most half a step of the largest shift
_FACTOR, _INT8 = 255, 127
_COLUMNS = 2048  # of weights whose errors make up for each other
_DAMPING = 1e-2  # of that, relative to the variance: other observations differ from those given
_TABLE_POINT = 12  # bits after the point where tanh is read from its table


def quantized(graph: Graph, dtype: str, observations: Array) -> IntegerGraph:
    """The policy with integers.

    dtype          int8 or q15
    observations   (B, numbers) that are usual; ranges are taken from them

    Raises ConfigError for tables, layer normalization, Dict and Tuple actions, for missing
    observations, for outputs that overflow, and for weights that are too large.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is not known; use 'float32', 'int8' or 'q15'.")
    if graph.table is not None:
        raise ConfigError(
            f"dtype={dtype!r} is for networks; the table of this policy is packed already. "
            "Leave dtype out."
        )
    if graph.members:
        raise ConfigError(
            f"dtype={dtype!r} cannot hold Dict and Tuple actions, whose outputs have different "
            "scales. Use dtype='float32'."
        )
    if any(layer.gain is not None for layer in graph.hidden):
        raise ConfigError(
            f"dtype={dtype!r} cannot hold layer normalization, which needs floats between layers. "
            "Use dtype='float32', or train with layer_norm=False."
        )
    if not len(observations):
        raise ConfigError(f"dtype={dtype!r} needs observations, to find the ranges of numbers.")
    if not np.isfinite(graph.outputs(observations)).all():
        raise ConfigError(
            "The outputs of the policy overflow float32 in some of the observations, which "
            f"dtype={dtype!r} needs to find the ranges of numbers. Leave these out."
        )
    heads = [_differences(graph)]
    if isinstance(graph.log_std, Layer):
        heads.append(graph.log_std)
    stages = [*([layer] for layer in graph.hidden), heads]  # layers of the same inputs
    center, gain, x = _inputs(graph, dtype, stages[0], observations)
    most, hidden = x.most, []
    for layer, following in zip(graph.hidden, stages[1:]):
        made = _layer(dtype, layer, x, _most(dtype, following[0].W.shape[-1]))
        real = ACTIVATIONS[layer.activation](_product(layer, x.real))
        x = _Values(real, made.integers(x.integers), made.scale, 0.0, made.most)
        hidden.append(made)
    given: dict[str, Any] = {field.name: getattr(graph, field.name) for field in fields(graph)}
    given["hidden"] = tuple(hidden)
    given["output"] = _layer(dtype, heads[0], x, LARGEST, graph.squashed)
    if len(heads) > 1:
        given["log_std"] = _layer(dtype, heads[1], x, LARGEST)
    return IntegerGraph(
        **given, dtype=dtype, center=center, gain=gain, most=most, noise_gain=most / _NOISE
    )


@dataclass(frozen=True)
class _Values:
    """What a layer gets for the observations.

    real       (B, n) values in the policy of floats
    integers   (B, n), which stand for off + step * integers
    most       the largest possible integer
    """

    real: Array
    integers: Array
    step: Any
    off: Any
    most: int

    @cached_property
    def varying(self) -> Array:
        """The integers without their means."""
        difference: Array = self.integers - self.integers.mean(axis=0)
        return difference

    @cached_property
    def covariance(self) -> Array:
        """That of the integers (n, n), and something on its diagonal, so that it has an inverse."""
        H: Array = self.varying.T @ self.varying / len(self.varying)
        damping = _DAMPING * H.trace() / len(H) + 1e-6
        H[np.diag_indices(len(H))] += damping
        return H


def _product(layer: Layer, x: Array) -> Array:
    y: Array = x @ layer.W.T.astype(np.float64) + layer.b
    return y


def _differences(graph: Graph) -> Layer:
    """The output layer; for choices without what all scores of a choice have in common, which
    decides nothing and is large for values of actions."""
    if not graph.choices:
        return graph.output
    ends = np.cumsum(graph.choices)[:-1]
    both = np.column_stack([graph.output.W, graph.output.b]).astype(np.float64)
    both = np.concatenate([rows - rows.mean(axis=0) for rows in np.split(both, ends)])
    return Layer(both[:, :-1], both[:, -1])


# ---- ranges


def _inputs(
    graph: Graph, dtype: str, layers: list[Layer], observations: Array
) -> tuple[Array, Array, _Values]:
    """The centers and gains (n,) of the network's inputs, and their values.

    layers   that get them
    """
    x = graph.inputs(observations).astype(np.float64)
    counts = [part.inputs for part in graph.parts]
    divisor = np.repeat([part.divisor for part in graph.parts], counts)
    index = np.repeat([part.start is not None for part in graph.parts], counts)
    norm = graph.norm or Norm(np.zeros(len(divisor)), np.ones(len(divisor)), np.inf)
    norm = Norm(norm.mean.astype(np.float64), norm.scale.astype(np.float64), norm.clip)
    unit = divisor / norm.scale
    # numbers up to `half` from the center can be told apart
    low, high = x.min(axis=0), x.max(axis=0)
    center = (low + high) / 2 if graph.norm is None else norm.mean * divisor
    half = _MARGIN * np.maximum(high - center, center - low)
    half = np.where(half > 0, half, unit)  # it was always the same
    half = np.maximum(np.minimum(half, norm.clip * unit), 1e-30)  # its inverse is finite
    if graph.norm is None:  # images have a known range
        center, half = np.where(divisor == 1, [center, half], [0 * divisor, divisor])
    center = np.where(index, 0.0, center).astype(np.float32)
    off = norm(center / divisor)
    reach = np.where(index, norm(np.ones(len(index))) - off, half / unit)
    real = norm(x / divisor)
    n = layers[0].W.shape[1] - len(reach)  # inputs of noise
    noise = np.random.default_rng(0).standard_normal((len(x), n))
    reach, off = np.append(reach, np.full(n, _NOISE)), np.append(off, np.zeros(n))
    most = _most(dtype, len(reach))
    gain = (most / np.where(index, 1.0, half)).astype(np.float32)
    integers = [rounded(x, center, gain, most), rounded(noise, 0.0, most / _NOISE, most)]
    real = np.concatenate([real, noise], axis=-1)
    step = reach / most
    return center, gain, _Values(real, np.concatenate(integers, axis=-1), step, off, most)


def _most(dtype: str, n: int) -> int:
    """The largest of n activations that a row multiplies."""
    if dtype == "q15":  # weights get what is left: about as many bits as activations
        bits = round(18 - math.log2(max(n, 1)) / 2)
    else:
        bits = math.floor(math.log2(_LIMIT / (_INT8 * max(n, 1))))
    return (1 << min(bits, 15)) - 1


# ---- layers


def _layer(dtype: str, layer: Layer, x: _Values, most: int, squashed: bool = False) -> IntegerLayer:
    """The layer in integers.

    most       the largest output
    squashed   its outputs are looked up in the table of tanh afterwards
    """
    V, b = layer.W * x.step, layer.b + (layer.W * x.off).sum(axis=-1)
    real = _product(layer, x.real)
    V = _refitted(V, x, real - b)
    squashed |= layer.activation == "tanh"
    looked_up = squashed or layer.activation == "elu"
    step = max(abs(b).max(initial=0) / LARGEST, 1e-9)
    if not squashed:
        seen = np.maximum(real, 0) if layer.activation == "relu" else abs(real)
        step = max(step, _MARGIN * seen.max(initial=0) / most)
    if looked_up or dtype == "q15":
        step = 2.0 ** math.ceil(math.log2(step))
    if looked_up:
        step = max(step, 2.0**-_TABLE_POINT if squashed else 2.0**-15)
    rows = _factors if dtype == "int8" else _shifts
    while (found := rows(V, step, x)) is None:
        step *= 2
    point = -round(math.log2(step)) if looked_up else 0
    if looked_up and point < STEPS:
        raise ConfigError(
            f"Sums of a layer are too large for dtype={dtype!r}: up to {step * LARGEST:.1e} before "
            "tanh or elu. Use dtype='float32', or train with normalized observations."
        )
    made = IntegerLayer(b=np.zeros(len(b), np.int16), activation=layer.activation, **found)
    # the mean error of the rounded weights
    b = b + (real - b - step * made.requantized(x.integers)).mean(axis=0)
    b = np.clip(np.rint(b / step), -LARGEST, LARGEST).astype(np.int16)
    if layer.activation == "tanh":
        down = 15 - most.bit_length()
        largest = int(divided(np.array(LARGEST), down))
        return replace(made, b=b, point=point, down=down, most=largest, scale=2.0 ** (down - 15))
    return replace(made, b=b, point=point, down=15 - point, most=most, scale=step)


def _refitted(V: Array, x: _Values, products: Array) -> Array:
    """Weights V (m, n) changed a little, so that they make up for errors of the integers before."""
    if not 0 < V.shape[-1] <= _COLUMNS:
        return V
    missing = products - x.integers @ V.T
    correlated = x.varying.T @ (missing - missing.mean(axis=0)) / len(missing)
    refitted: Array = V + np.linalg.solve(x.covariance, correlated).T
    return refitted


def _rounded(V: Array, steps: Array, x: _Values, most: int) -> Array:
    """Integers W (m, n) from -most to most for weights V = steps (m,) * W.

    Columns are rounded one after the other, and those that follow make up for the error of each, as
    in Frantar et al. 2023 (GPTQ).
    """
    W = V / steps[:, None]
    n = W.shape[-1]
    if not 0 < n <= _COLUMNS:
        rounded: Array = np.rint(W).clip(-most, most)
        return rounded
    order = np.argsort(-x.covariance.diagonal(), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(x.covariance[np.ix_(order, order)])).T
    W = W[:, order]
    for j in range(n):
        left = W[:, j].copy()
        W[:, j] = np.rint(left).clip(-most, most)
        W[:, j + 1 :] -= np.outer((left - W[:, j]) / upper[j, j], upper[j, j + 1 :])
    result = np.empty_like(W)
    result[:, order] = W
    return result


def _factors(V: Array, step: float, x: _Values) -> dict[str, Any] | None:
    """int8 rows for weights V (m, n); None if results in units of `step` could overflow."""
    largest = abs(V).max(axis=-1, initial=0)
    total = 0
    if largest.any():
        total = min(2 * _SHIFT, math.floor(math.log2(_FACTOR * _INT8 * step / largest.max())))
    factor = np.clip(np.ceil(largest / (_INT8 * step) * 2.0**total), 1, _FACTOR)
    sums = V.shape[-1] * _INT8 * x.most
    for shift in range(max(0, total - _SHIFT), min(total, _SHIFT) + 1):
        if (sums / 2.0**shift + 1) * factor.max(initial=0) <= _LIMIT:
            return {
                "W": _rounded(V, factor * step * 2.0**-total, x, _INT8).astype(np.int8),
                "shift": np.array([shift], np.uint8), "factor": factor.astype(np.uint8),
                "after": total - shift,
            }  # fmt: skip
    return None


def _shifts(V: Array, step: float, x: _Values) -> dict[str, Any] | None:
    """q15 rows, as in _factors."""
    point = -round(math.log2(step))
    sums, largest = abs(V).sum(axis=-1) + 1e-300, abs(V).max(axis=-1, initial=0) + 1e-300
    room = np.minimum(_LIMIT / x.most / sums, LARGEST / largest)
    bits = np.minimum(np.floor(np.log2(room)), point + _SHIFT)
    while True:
        if (bits < point).any():
            return None
        W = _rounded(V, 2.0**-bits, x, LARGEST)
        over = abs(W).sum(axis=-1) * x.most > _LIMIT
        if not over.any():
            break
        bits -= over
    return {
        "W": W.astype(np.int16), "shift": (bits - point).astype(np.uint8),
        "factor": None, "after": 0,
    }  # fmt: skip
