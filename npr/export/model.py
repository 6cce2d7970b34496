"""A policy with everything that is written beside it, and the tests that it carries."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from npr.envs.spaces import spans
from npr.errors import ConfigError
from npr.export.card import Card
from npr.export.episodes import thinned
from npr.export.graph import Array, Graph, ranges
from npr.export.integer import IntegerGraph
from npr.policy import Policy

TESTS = 32  # pairs of an observation and its action
_LARGEST_TESTS = 1 << 15  # numbers in all observations of the tests
_FEWEST = 4  # tests, where there are so many observations
_ROUNDING = 2e-6  # of the action's range, by the rounding of sums in a test: the tolerance is 1e-5
_DRAWS = 8  # of noise for a test
_LATER = (
    "gain",
    "masked",
    "members",
    "label",
)  # fields that digests leave out where they are not used
_FAR = 12.0  # deviations of the normalization, or units where there is no bound


@dataclass(frozen=True)
class Model:
    """What a writer writes.

    policy         as it was trained
    graph          what is computed: graph_of(policy), or a quantized one
    card           where it comes from
    observations   of the tests (T, numbers)
    actions        the deterministic actions for them (T,) or (T, actions)
    noise          (T, graph.noise), from its distribution; empty for deterministic policies
    sampled        the actions for these, like `actions`
    masks          of the tests (T, graph.mask), 0 and 1; empty for policies without masks
    """

    policy: Policy
    graph: Graph
    card: Card
    observations: Array
    actions: Array
    noise: Array
    sampled: Array
    masks: Array


def with_tests(policy: Policy, graph: Graph, card: Card, seen: Array | None) -> Model:
    """A model with its tests: observations that were seen, and extreme ones.

    seen   observations of episodes (B, numbers); None: none, they are drawn at random

    Another order of the same sums gives other last digits, and may decide a near tie otherwise.
    So the tests are those that this hardly changes, where there are such.

    Raises ConfigError if the outputs of the policy overflow.
    """
    rng = np.random.default_rng(0)
    pool = _pool(graph, card, seen, rng)
    most = max(4, min(TESTS, _LARGEST_TESTS // graph.numbers))
    rows = _chosen(graph, pool, most)
    masks = _steady(
        lambda n: draw_masks(graph, n, rng), lambda m: _doubt(graph, rows, None, m), len(rows), 1
    )
    mask = masks if graph.mask else None
    noise = _steady(
        lambda n: draw_noise(graph, n, rng), lambda e: _doubt(graph, rows, e, mask), len(rows), 0
    )
    actions = graph(rows, None, mask)
    sampled = graph(rows, noise, mask) if graph.noise else actions
    return Model(policy, graph, card, rows, actions, noise, sampled, masks)


def draw_masks(graph: Graph, n: int, rng: np.random.Generator) -> Array:
    """Masks of n actions (n, graph.mask), 0 and 1: about half of the choices are allowed, at least
    one of each index and bit."""
    drawn: Array = np.zeros((n, graph.mask), np.uint8)
    for start, end in graph.spans:
        drawn[:, start:end] = rng.integers(2, size=(n, end - start))
        drawn[np.arange(n), rng.integers(start, end, size=n)] = 1
    return drawn


def draw_noise(graph: Graph, n: int, rng: np.random.Generator) -> Array:
    """Noise for n sampled actions (n, graph.noise), float32."""
    if not graph.noise:
        return np.zeros((n, 0), np.float32)
    kinds, drawn = graph.distributions, np.empty((n, graph.noise), np.float32)
    for kind, draw in (("uniform", rng.random), ("normal", rng.standard_normal)):
        columns = [i for i, one in enumerate(kinds) if one == kind]
        drawn[:, columns] = draw((n, len(columns)), np.float32)
    return drawn


def decided(graph: Graph, rows: Array, mask: Array | None = None) -> Array:
    """Whether the deterministic action of each row (B, numbers) holds for outputs that differ by a
    thousandth of the largest."""
    if graph.table is not None or graph.kind == "box":
        return np.ones(len(rows), bool)
    sure: Array = _margin(graph, graph.outputs(rows), mask) > 1e-3
    return sure


def _margin(graph: Graph, y: Array, mask: Array | None) -> Array:
    """By how much outputs (B, K) may differ until another index or bit is chosen (B,), relative to
    the largest of them."""
    if graph.members:
        margins = [
            _margin(one, y[:, outputs], mask[:, own] if mask is not None and one.mask else None)
            for one, outputs, _, own in graph.places
            if one.kind != "box"
        ]
        smallest: Array = np.min(margins, axis=0) if margins else np.full(len(y), np.inf)
        return smallest
    if graph.head == "bernoulli":
        free = True if mask is None else (mask[:, 0::2] > 0) & (mask[:, 1::2] > 0)
        margin = np.where(free, abs(y), np.inf).min(axis=-1)
    else:
        margin = np.full(len(y), np.inf)
        allowed = y if mask is None else np.where(mask > 0, y, -np.inf)
        for start, end in spans(graph.choices):
            if end - start > 1:
                best = np.partition(allowed[:, start:end], -2, axis=-1)
                margin = np.minimum(margin, best[:, -1] - best[:, -2])
    relative: Array = margin / np.maximum(abs(y).max(axis=-1), 1e-30)
    return relative


def _doubt(
    graph: Graph, rows: Array, noise: Array | None = None, mask: Array | None = None
) -> Array:
    """How much the action of each row (B, numbers) depends on the last digits of sums; at most 1
    is little."""
    doubt: Array = np.zeros(len(rows))
    whole = np.array(graph.whole)
    if not (whole.all() or isinstance(graph, IntegerGraph)):
        doubt = _rounding(graph, rows, noise, mask)
    if not whole.any():
        return doubt
    if noise is None and graph.table is not None:
        # a mask must leave one of the actions that it knows
        choices: Array = (graph(rows, None, mask) < graph.start[0]) * 2.0
    elif noise is None:
        margin = _margin(graph, graph.outputs(rows), mask)
        choices = 1e-3 / np.maximum(margin, 1e-30)
    else:
        near = [
            graph(rows, noise + np.float32(shift), mask).reshape(len(rows), -1)
            for shift in (-1e-4, 1e-4)
        ]
        choices = (near[0] != near[1])[:, whole].any(axis=-1) * 2.0
    larger: Array = np.maximum(doubt, choices)
    return larger


def _rounding(graph: Graph, rows: Array, noise: Array | None, mask: Array | None) -> Array:
    """How far rounding takes the action of each row (B, numbers), in units of _ROUNDING."""
    action = graph(rows, noise, mask).astype(np.float64)
    wide = None if noise is None else noise.astype(np.float64)
    unit = np.array([x or np.nan for x in ranges(graph)])
    unit = np.where(np.isnan(unit), np.maximum(1, abs(action)), unit)
    error = abs(action - graph.widened()(rows.astype(np.float64), wide, mask)) / unit
    doubt: Array = np.nan_to_num(error.max(axis=-1) / _ROUNDING, nan=np.inf)
    return doubt


def _steady(
    draw: Callable[[int], Array], doubt: Callable[[Array], Array], n: int, neutral: int
) -> Array:
    """n rows of masks or noise: drawn again, and `neutral` at last, where the last digits of sums
    matter."""
    drawn = draw(n)
    if drawn.size:
        for _ in range(_DRAWS):
            again = doubt(drawn) > 1
            drawn[again] = draw(int(again.sum()))
        drawn[doubt(drawn) > 1] = neutral
    return drawn


def _pool(graph: Graph, card: Card, seen: Array | None, rng: np.random.Generator) -> Array:
    """What the observations of tests are chosen from: usual ones, then extreme ones."""
    if graph.table is not None:
        return graph.decode(np.arange(len(graph.table)))
    pool = np.concatenate([_usual(graph, card, seen, rng), _extreme(graph, card, seen, rng)])
    _, first = np.unique(pool, axis=0, return_index=True)
    pool = pool[np.sort(first)]
    pool = pool[np.isfinite(graph.outputs(pool)).all(axis=-1)]
    if not len(pool):
        raise ConfigError(
            "The outputs of the policy overflow float32 in usual observations: training has "
            "diverged. Export an earlier file of the agent."
        )
    doubt = _doubt(graph, pool)
    if (doubt <= 1).sum() < _FEWEST:  # the best there are
        return pool[np.sort(np.argsort(doubt, kind="stable")[:_FEWEST])]
    steady: Array = pool[doubt <= 1]
    return steady


def _usual(graph: Graph, card: Card, seen: Array | None, rng: np.random.Generator) -> Array:
    seen = np.zeros((0, graph.numbers), np.float32) if seen is None else thinned(seen, 8 * TESTS)
    low, high = _box(graph, card, seen, 1.0)
    drawn = rng.uniform(low, high, (8 * TESTS - len(seen), graph.numbers))
    return np.concatenate([seen, _whole(graph, drawn)])


def _extreme(graph: Graph, card: Card, seen: Array | None, rng: np.random.Generator) -> Array:
    """Corners of the space, and beyond what a normalization clips."""
    low, high = _box(graph, card, seen, _FAR)
    corner = rng.integers(2, size=(TESTS, graph.numbers))
    corner[0], corner[1] = 0, 1
    return _whole(graph, np.where(corner, high, low))


def _box(graph: Graph, card: Card, seen: Array | None, far: float) -> tuple[Array, Array]:
    """Bounds of each number; where there is none, so many deviations or units from the middle."""
    middle, spread = np.zeros(graph.numbers), np.ones(graph.numbers)
    if seen is not None and len(seen):
        numbers = seen.astype(np.float64)
        middle, spread = numbers.mean(axis=0), numbers.std(axis=0) + 1e-6
    elif graph.norm is not None and len(graph.norm.mean) == graph.numbers:
        middle, spread = graph.norm.mean.astype(np.float64), 1 / graph.norm.scale
    largest = float(np.finfo(np.float32).max)
    low, high = (np.clip(middle + far * spread * sign, -largest, largest) for sign in (-1, 1))
    i = 0
    for part in graph.parts:
        if part.start is not None:
            low[i], high[i] = part.start, part.start + part.inputs - 1
        elif part.divisor != 1:
            low[i : i + part.numbers], high[i : i + part.numbers] = 0, 255
        i += part.numbers
    if card.low is not None and card.high is not None:
        low = np.array([x if bound is None else bound for x, bound in zip(low, card.low)])
        high = np.array([x if bound is None else bound for x, bound in zip(high, card.high)])
    return low, high


def _whole(graph: Graph, rows: Array) -> Array:
    """Rows as float32, with whole numbers where the observation has indices or images."""
    i = 0
    for part in graph.parts:
        if part.start is not None or part.divisor != 1:
            rows[:, i : i + part.numbers] = np.rint(rows[:, i : i + part.numbers])
        i += part.numbers
    return rows.astype(np.float32)


def _chosen(graph: Graph, pool: Array, most: int) -> Array:
    """A quarter from the end of the pool; of boxes some with extreme actions, of choices one of
    each and many near the limit between two; the others even."""
    if len(pool) <= most:
        return pool
    quarter = most // 4
    chosen = [*range(len(pool) - quarter, len(pool))]
    a, whole = graph(pool).reshape(len(pool), -1), np.array(graph.whole)
    for i in np.flatnonzero(~whole)[: quarter // 2]:
        chosen += [int(a[:, i].argmin()), int(a[:, i].argmax())]
    if whole.any():  # one of every action, if there are so many
        _, first = np.unique(a[:, whole], axis=0, return_index=True)
        chosen += first[:quarter].tolist()
        near = np.argsort(-_doubt(graph, pool), kind="stable")  # where an error shows
        chosen += near[: most // 2].tolist()
    kept = dict.fromkeys(chosen)
    for i in np.linspace(0, len(pool) - quarter - 1, 2 * most).astype(np.int64).tolist():
        if len(kept) == most:
            break
        kept.setdefault(i)
    return pool[sorted(kept)]


def fingerprint(graph: Graph) -> str:
    """The SHA-256 of all arrays and names of a graph, as hexadecimal digits."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if is_dataclass(value):
            for field in fields(value):
                one = getattr(value, field.name)
                if field.name in _LATER and one is field.default:
                    continue
                digest.update(field.name.encode())
                add(one)
        elif isinstance(value, tuple):
            digest.update(b"(%d" % len(value))
            for one in value:
                add(one)
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(repr(value).encode())

    add(graph)
    return digest.hexdigest()
