"""Observation and action spaces as plain data, one class per kind of space.

A policy needs them to turn observations into network inputs and network outputs into actions.
`spec` is plain data for a file; npr.envs.contract makes it from Gymnasium's spaces. Needs only
NumPy.
"""

import math
import operator
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from npr.backend import FLOAT, Array, xp
from npr.errors import ConfigError, EnvContractError

INDEX_DTYPE = np.dtype(np.int64)  # of discrete actions
Spec = dict[str, Any]
_REAL = "fiub"  # kinds of dtypes whose values are numbers
_MAX_DEPTH = 8  # of nested spaces
_MAX_CHOICES = 1 << 24  # whose indices are exact as float32
_NAMES = {"box": "Box", "image": "Image", "multibinary": "MultiBinary"}
_FIX = (
    "Fix the environment's observation_space or what reset() and step() return, or pass an "
    "observation that fits."
)


def _count(n: Any) -> int:
    """n, if it is a whole number from 0 to 2^31: sizes may come from a file."""
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 1 << 31:
        raise ConfigError(f"A size in a space must be a whole number from 0 to 2^31, got {n!r}.")
    return n


def _first(n: Any) -> int:
    """n, if it is a whole number of at most 62 bits: what the first index of a space stands for."""
    if isinstance(n, bool) or not isinstance(n, int) or abs(n) >= 1 << 62:
        raise ConfigError(f"The start of a space must be a whole number below 2^62, got {n!r}.")
    return n


def _choices(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of choices and their starts in a spec of kind multidiscrete, of one shape."""
    nvec, start = (np.array(spec[name], object) for name in ("nvec", "start"))
    if nvec.shape != start.shape or not nvec.size:
        raise ConfigError(f"nvec and start of a space must have one shape, got {spec}.")
    counts, firsts = [_count(n) for n in nvec.flat], [_first(n) for n in start.flat]
    shape = nvec.shape
    return np.array(counts, INDEX_DTYPE).reshape(shape), np.array(firsts, INDEX_DTYPE).reshape(
        shape
    )


def _keys(spec: Spec) -> list[Any]:
    """The keys in a spec of kind group, one for each part."""
    keys, n = spec["keys"], len(spec["parts"])
    if not isinstance(keys, list) or len(keys) != n or len({*keys}) < n:
        raise ConfigError(f"A space of several parts needs a key for each, got {keys!r}.")
    return keys


def as_array(value: Any) -> np.ndarray:
    """A value as an array; of dtype object and shape (0,) if that is not possible."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # lists of unequal lengths
        return np.empty(0, object)


def zeros_and_ones(masks: np.ndarray) -> np.ndarray:
    """Whether each number of masks of actions is 1. Raises EnvContractError for others than 0 and
    1, such as what is added to logits: 0 for what is allowed there."""
    ones: np.ndarray = masks == 1
    if masks.dtype.kind != "b" and (ones != (masks != 0)).any():
        raise EnvContractError(
            f"A mask of actions has 1 for what is allowed and 0 for the rest, got {masks!r:.80}."
        )
    return ones


def described(spec: Spec) -> str:
    """A space as short text, in the words of Gymnasium."""
    kind = spec["kind"]
    if kind == "group":
        parts = [described(part) for part in spec["parts"]]
        if all(isinstance(key, str) for key in spec["keys"]):
            return f"Dict({', '.join(map('{}={}'.format, spec['keys'], parts))})"
        return f"Tuple({', '.join(parts)})"
    if kind == "discrete":
        start = f", start={spec['start']}" if spec["start"] else ""
        return f"Discrete({spec['n']}{start})"
    if kind == "multidiscrete":
        return f"MultiDiscrete({spec['nvec']})"
    shape = ", ".join(map(str, spec["shape"]))
    return f"{_NAMES[kind]}({shape})"


# ---- observations


class Observations(ABC):
    """The encoding of observations as rows of numbers.

    spec    plain data, see the subclasses
    shape   of one observation; None for a group
    size    numbers per row
    images  whether there are images among them
    """

    shape: tuple[int, ...] | None
    size: int
    images = False

    def __init__(self, spec: Spec):
        self.spec, self.kind = spec, str(spec["kind"])

    def __repr__(self) -> str:
        return described(self.spec)

    @abstractmethod
    def row(self, observation: Any, out: np.ndarray) -> None:
        """Write one observation to out, (size,). Raises EnvContractError if it does not fit."""

    def write(self, rows: np.ndarray, i: int, observation: Any) -> None:
        """Write one observation to row i; see `row`."""
        self.row(observation, rows[i])

    def write_index(self, rows: np.ndarray, i: int, observation: Any) -> None:
        """Write the `index` of one observation to row i."""
        rows[i] = self.index(observation)

    def index(self, observation: Any) -> int:
        """The row of a table for one observation; only Discrete observations have one."""
        raise ConfigError(f"A table needs Discrete observations, got {self.spec}.")

    def batched(self, observation: Any) -> bool:
        """Whether this is a batch of observations (one leading axis) and not a single one."""
        try:
            return np.ndim(observation) == len(self.shape or ()) + 1
        except ValueError:  # lists of unequal lengths, which `row` refuses
            return False

    def rows(self, observation: Any) -> Sequence[Any]:
        """The single observations of a batch, or a list of the one given."""
        return observation if self.batched(observation) else [observation]

    def encode(self, observation: Any) -> np.ndarray:
        """Network input (B, size) of a batch of observations, or of one (B = 1)."""
        rows = self.rows(observation)
        out = np.empty((len(rows), self.size), FLOAT)
        for row, one in zip(out, rows):
            self.row(one, row)
        return out

    def _shaped(self, observation: Any, kinds: str = _REAL) -> np.ndarray:
        """One observation as an array of this shape, of one of these kinds of dtypes."""
        array = as_array(observation)
        if array.dtype.kind not in kinds:
            numbers = "numbers" if kinds == _REAL else "whole numbers"
            raise EnvContractError(
                f"Got {reprlib.repr(observation)} ({type(observation).__name__}) for an "
                f"observation, the space says {numbers} of shape {self.shape}. {_FIX}"
            )
        if array.shape != self.shape:
            raise EnvContractError(
                f"Got an observation of shape {array.shape}, the space says {self.shape}. {_FIX}"
            )
        return array


class ArrayObservations(Observations):
    """Arrays of numbers: {"kind": "box", "shape": [3]}, {"kind": "multibinary", "shape": [4]}."""

    shape: tuple[int, ...]

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.shape = tuple(_count(n) for n in spec["shape"])
        self.size = math.prod(self.shape)
        # of observations that are rows already
        self._row_shape = self.shape if len(self.shape) == 1 and not self.images else None

    def write(self, rows: np.ndarray, i: int, observation: Any) -> None:
        if (
            observation.__class__ is np.ndarray
            and observation.shape == self._row_shape
            and observation.dtype.kind in _REAL
        ):
            rows[i] = observation
        else:
            self.row(observation, rows[i])

    def row(self, observation: Any, out: np.ndarray) -> None:
        if (
            observation.__class__ is not np.ndarray
            or observation.shape != self.shape
            or observation.dtype.kind not in _REAL
        ):
            observation = self._shaped(observation)
        out[...] = observation if len(self.shape) == 1 else observation.reshape(-1)

    def encode(self, observation: Any) -> np.ndarray:
        if not isinstance(observation, np.ndarray):
            return super().encode(observation)
        fits = self.shape in (observation.shape, observation.shape[1:])
        if not fits or observation.dtype.kind not in _REAL:
            self._shaped(observation)
        return observation.reshape(-1, self.size).astype(FLOAT)


class ImageObservations(ArrayObservations):
    """Images of values from 0 to 255, flattened and divided by 255:
    {"kind": "image", "shape": [64, 64, 3]}."""

    images = True

    def row(self, observation: Any, out: np.ndarray) -> None:
        super().row(observation, out)
        out /= 255

    def encode(self, observation: Any) -> np.ndarray:
        rows = super().encode(observation)
        if isinstance(observation, np.ndarray):  # `row` encodes lists, and has scaled them
            rows /= 255
        return rows


class DiscreteObservations(Observations):
    """One of n indices, one-hot: {"kind": "discrete", "n": 16, "start": 0}."""

    shape: tuple[int, ...] = ()

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.size, self.start = _count(spec["n"]), _first(spec["start"])

    def row(self, observation: Any, out: np.ndarray) -> None:
        out[...] = 0
        out[self.index(observation)] = 1

    def indices(self, observations: np.ndarray) -> np.ndarray | None:
        """The `index` of each of (B,) observations; None if one of them has none."""
        if observations.dtype.kind not in "iu":
            return None
        indices: np.ndarray = observations.astype(INDEX_DTYPE) - self.start
        inside = (indices >= 0) & (indices < self.size)
        return indices if inside.all() else None

    def index(self, observation: Any) -> int:
        try:
            index = operator.index(observation) - self.start
        except TypeError:  # not an integer
            index = -1
        if not 0 <= index < self.size:
            raise EnvContractError(
                f"The observation {observation!r} is outside Discrete({self.size}, "
                f"start={self.start}). {_FIX}"
            )
        return index


class MultiDiscreteObservations(Observations):
    """Several indices, concatenated one-hot: {"kind": "multidiscrete", "nvec": [3, 2],
    "start": [0, 0]}."""

    shape: tuple[int, ...]

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.nvec, self.start = _choices(spec)
        self.shape, self.size = self.nvec.shape, int(self.nvec.sum())
        self._offsets = np.concatenate([[0], np.cumsum(self.nvec.ravel())[:-1]])

    def row(self, observation: Any, out: np.ndarray) -> None:
        out[...] = 0
        index = self._shaped(observation, "iu") - self.start
        if (index < 0).any() or (index >= self.nvec).any():
            raise EnvContractError(
                f"The observation {observation!r} is outside MultiDiscrete("
                f"{self.nvec.tolist()}, start={self.start.tolist()}). {_FIX}"
            )
        out[self._offsets + index.ravel()] = 1


class GroupObservations(Observations):
    """Dict (string keys) or Tuple (indices as keys), with concatenated parts:
    {"kind": "group", "keys": [...], "parts": [spec, ...]}."""

    shape = None

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.keys = _keys(spec)
        self.parts = [observations_from_spec(part, depth - 1) for part in spec["parts"]]
        self.size = sum(part.size for part in self.parts)
        self.images = any(part.images for part in self.parts)

    def row(self, observation: Any, out: np.ndarray) -> None:
        start = 0
        for key, part in zip(self.keys, self.parts):
            part.row(self._member(observation, key), out[start : start + part.size])
            start += part.size

    def batched(self, observation: Any) -> bool:
        return self.parts[0].batched(self._member(observation, self.keys[0]))

    def rows(self, observation: Any) -> Sequence[Any]:
        if not self.batched(observation):
            return [observation]
        columns = [
            part.rows(self._member(observation, key)) for key, part in zip(self.keys, self.parts)
        ]
        return [dict(zip(self.keys, row)) for row in zip(*columns)]

    def _member(self, observation: Any, key: Any) -> Any:
        """The part of a Dict or Tuple observation under a key."""
        try:
            if isinstance(key, str) or len(observation) == len(self.keys):
                return observation[key]
        except (KeyError, IndexError, TypeError):
            pass
        raise EnvContractError(
            f"Got {reprlib.repr(observation)} ({type(observation).__name__}) for an observation "
            f"with the parts {self.keys}: {key!r} is missing, or there are too many. {_FIX}"
        )


OBSERVATIONS: dict[str, Callable[[Spec, int], Observations]] = {
    "box": ArrayObservations,
    "image": ImageObservations,
    "multibinary": ArrayObservations,
    "discrete": DiscreteObservations,
    "multidiscrete": MultiDiscreteObservations,
    "group": GroupObservations,
}
OBSERVATION_KINDS = tuple(OBSERVATIONS)


def observations_from_spec(spec: Spec, depth: int = _MAX_DEPTH) -> Observations:
    """The observations of a spec; `depth` limits the nesting of groups."""
    if depth == 0:
        raise ConfigError("Observation spaces are nested more than eight deep.")
    kind = spec["kind"]
    if kind not in OBSERVATION_KINDS:
        raise ConfigError(f"Observation kind {kind!r} is not known.")
    return OBSERVATIONS[kind](spec, depth)


# ---- actions


def spans(widths: Any) -> list[tuple[int, int]]:
    """Where columns of these widths start and end."""
    ends = np.cumsum(widths).tolist()
    return list(zip([0, *ends], ends))


class Actions(ABC):
    """The conversion of the agent's actions to the environment's.

    An agent's action is an index (discrete), numbers in [-1, 1] (box), indices (multidiscrete),
    bits (multibinary), or one row of numbers with all of these (group).

    spec       plain data, see the subclasses
    size       outputs of a network per action: scores of all indices and bits, or means
    shape      of one of the environment's actions
    mask_size  numbers of a mask, see npr.heads.masks; 0: there are no choices that could be
               forbidden
    """

    size: int
    shape: tuple[int, ...] = ()
    _remedy: ClassVar[str] = ""  # how to bring an action into the space
    mask_size: int = 0
    enumerable: ClassVar[bool] = False  # whether a network can output all action values
    bounded: bool = True  # whether the environment's actions have finite bounds

    def __init__(self, spec: Spec):
        self.spec, self.kind = spec, str(spec["kind"])

    def __repr__(self) -> str:
        return described(self.spec)

    @abstractmethod
    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of one of the agent's actions, as a buffer stores it."""

    @abstractmethod
    def contains(self, a: np.ndarray) -> bool:
        """Whether all of (..., *columns()[0]) are valid actions of the agent."""

    @abstractmethod
    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """n uniformly random actions of the agent, (n, *columns()[0]); of those that the mask
        (n, mask_size) allows."""

    def write_mask(self, mask: Any, out: np.ndarray) -> None:
        """Write one mask of the environment, of any shape with mask_size numbers or bools, to out
        (mask_size,), as ones and zeros. Raises EnvContractError if it does not fit or if nothing
        is allowed."""
        array = as_array(mask)
        if array.size != self.mask_size or array.dtype.kind not in _REAL:
            raise EnvContractError(
                f"Got {reprlib.repr(mask)} as the mask of actions, {self} needs {self.mask_size} "
                f"numbers or bools{self._mask_layout()}: 1 for what is allowed."
            )
        out[...] = zeros_and_ones(array.reshape(-1))
        self.check_allowed(out)

    def _mask_layout(self) -> str:
        return ""

    def check_allowed(self, masks: np.ndarray) -> None:
        """Raise EnvContractError where one of the masks (..., mask_size) allows no action."""
        for start, end in self._choice_spans():
            if not masks[..., start:end].any(axis=-1).all():
                which = (
                    "" if end - start == self.mask_size else f" in its numbers {start}-{end - 1}"
                )
                raise EnvContractError(
                    f"A mask allows no action{which}, so that {self} has no valid one. If the "
                    "episode is over, the environment must say so with terminated=True."
                )

    def allowed(self, a: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Whether masks (B, mask_size) allow the agent's actions (B, *columns()[0]), (B,)."""
        starts = [start for start, _ in self._choice_spans()]
        index = a.reshape(len(a), len(starts)) + np.array(starts)
        taken: np.ndarray = np.take_along_axis(masks, index, axis=1)
        inside: np.ndarray = np.all(taken > 0, axis=1)
        return inside

    def _choice_spans(self) -> list[tuple[int, int]]:
        """Where the part of a mask for each choice starts and ends."""
        return [(0, self.mask_size)]

    def encode(self, a: Array) -> Array:
        """A batch of the agent's actions as a critic's inputs, (..., size) on the device."""
        return a

    @abstractmethod
    def to_env(self, action: Any) -> Any:
        """The environment's action for one of the agent's."""

    @abstractmethod
    def to_env_batch(self, actions: np.ndarray) -> Any:
        """The environments' actions (B, ...) for a batch of the agent's, as a VectorEnv expects."""

    def to_envs(self, actions: np.ndarray) -> Any:
        """`to_env_batch` one by one: discrete actions as Python's int, as environments expect."""
        return self.to_env_batch(actions)

    def from_env(self, action: Any) -> Any:
        """The agent's action, of shape columns()[0], for one of the environment's: the inverse of
        `to_env`, for numbers up to rounding.

        Raises ConfigError for an action that is not in the space.
        """
        return self.from_env_batch(as_array(action)[None])[0]

    def leaves(self, a: np.ndarray) -> list[tuple["Actions", np.ndarray]]:
        """The actions that are no groups, each with what is its own of the agent's a (B, ...)."""
        return [(self, a)]

    @abstractmethod
    def from_env_batch(self, actions: Any) -> np.ndarray:
        """The agent's actions (B, *columns()[0]) for the environments' (B, *shape), newly
        allocated; see `from_env`."""

    def _given(self, actions: Any, kinds: str) -> np.ndarray:
        """Actions of an environment as an array (B, size), of one of these kinds of dtypes."""
        array = as_array(actions)
        if array.dtype.kind not in kinds or not array.ndim or array.shape[1:] != self.shape:
            what = "numbers" if kinds == _REAL else "whole numbers"
            raise ConfigError(
                f"An action of {self} must be {what} of shape {self.shape}; got {array.dtype} of "
                f"shape {array.shape[1:]} in a batch of shape {array.shape}."
            )
        return array.reshape(len(array), math.prod(self.shape))

    def _check_inside(self, inside: np.ndarray, actions: np.ndarray) -> None:
        """Raise ConfigError unless all of `inside` (B, n) is true, about rows of `actions`."""
        if not inside.all():
            row = int(np.argmin(inside.all(axis=1)))
            one = np.asarray(actions)[row]
            which = f", in row {row} of {len(inside)}" if len(inside) > 1 else ""
            raise ConfigError(
                f"The action {reprlib.repr(one.tolist())} is outside {self}{which}.{self._remedy}"
            )


def _one_allowed(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A random index per row that the mask (B, K) allows, (B,)."""
    allowed = np.cumsum(mask > 0, axis=-1)
    number = (rng.random(len(mask)) * allowed[:, -1]).astype(INDEX_DTYPE)
    index: np.ndarray = (allowed <= number[:, None]).sum(axis=-1)
    return index


def _one_hot(a: Array, n: int) -> Array:
    """(..., n) with a 1 at each index of a (...)."""
    one_hot: Array = (a[..., None] == xp.arange(n)).astype(FLOAT)
    return one_hot


class DiscreteActions(Actions):
    """{"kind": "discrete", "n": 3, "start": 0}: the environment gets start + the agent's index."""

    enumerable = True

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.n = self.size = self.mask_size = _count(spec["n"])
        self.start = _first(spec["start"])

    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        return (), INDEX_DTYPE

    def contains(self, a: np.ndarray) -> bool:
        return bool(((a >= 0) & (a < self.n)).all())

    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return rng.integers(self.n, size=n) if mask is None else _one_allowed(rng, mask)

    def encode(self, a: Array) -> Array:
        return _one_hot(a, self.n)

    def to_env(self, action: Any) -> int:
        return self.start + int(action)

    def to_env_batch(self, actions: np.ndarray) -> np.ndarray:
        return np.asarray(actions) + self.start

    def to_envs(self, actions: np.ndarray) -> list[int]:
        indices: list[int] = actions.tolist()
        return [self.start + a for a in indices] if self.start else indices

    def from_env_batch(self, actions: Any) -> np.ndarray:
        given = self._given(actions, "iu")
        a = given.astype(INDEX_DTYPE) - self.start
        self._check_inside((a >= 0) & (a < self.n), given)
        return a[:, 0]


class BoxActions(Actions):
    """{"kind": "box", "shape": [2], "dtype": "float32", "low": [...], "high": [...]}, bounds flat.

    The environment gets low + (a + 1) / 2 (high - low), clipped to the bounds. A dimension
    without finite bounds (None in a file: JSON has no infinity) is neither scaled nor clipped.
    """

    _remedy = " Its numbers must be finite, and clipped or scaled to the bounds of the space."

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.shape = tuple(_count(n) for n in spec["shape"])
        self.dtype = np.dtype({"float32": "f4", "float64": "f8", "float16": "f2"}[spec["dtype"]])
        self.size = math.prod(self.shape)
        low = np.array([-np.inf if x is None else x for x in spec["low"]], np.float64)
        high = np.array([np.inf if x is None else x for x in spec["high"]], np.float64)
        precise = np.result_type(self.dtype, np.float32)
        if not len(low) == len(high) == self.size or not (low <= high).all():
            raise ConfigError(
                f"Bounds of actions of shape {self.shape} must be {self.size} numbers each, the "
                f"low at most the high ones; got {spec['low']!r:.80} and {spec['high']!r:.80}."
            )
        bounds = np.concatenate([low, high])
        if (abs(bounds[np.isfinite(bounds)]) > np.finfo(precise).max).any():
            raise ConfigError(f"Bounds of actions are beyond {self.dtype}; use infinite ones.")
        finite = np.isfinite(low) & np.isfinite(high)
        self.bounded = bool(finite.all())
        self.bounds = [low, high]
        low, high = np.where(finite, low, -1), np.where(finite, high, 1)
        self.bounds += [low / 2 + high / 2, high / 2 - low / 2]
        self.bounds = [x.astype(precise) for x in self.bounds]  # low, high, middle, half the range
        self._repeated: dict[tuple[int, ...], list[np.ndarray]] = {}  # shape of a -> these

    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        return (self.size,), FLOAT

    def contains(self, a: np.ndarray) -> bool:
        return bool(np.isfinite(a).all())

    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return rng.uniform(-1, 1, (n, self.size)).astype(FLOAT)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        return self._scale(action).reshape(self.shape)

    def to_env_batch(self, actions: np.ndarray) -> np.ndarray:
        scaled = self._scale(actions)
        return scaled if scaled.shape[1:] == self.shape else scaled.reshape(-1, *self.shape)

    def _scale(self, a: np.ndarray) -> np.ndarray:
        """a (..., size), scaled and clipped to the bounds."""
        low, high, middle, half = self._repeated.get(a.shape) or self._repeat(a.shape)
        # in place it would take twice as long for one number
        scaled: np.ndarray = np.minimum(np.maximum(a * half + middle, low), high)
        return scaled.astype(self.dtype, copy=False)

    def from_env_batch(self, actions: Any) -> np.ndarray:
        low, high, middle, half = self.bounds
        given = self._given(actions, _REAL).astype(low.dtype)  # the bounds are rounded alike
        self._check_inside((low <= given) & (given <= high) & np.isfinite(given), given)
        bound = np.where(np.isfinite(low) & np.isfinite(high), 1, np.inf)
        a = (given - middle) / np.where(half == 0, 1, half)  # 0 where one number is possible
        return np.clip(a, -bound, bound).astype(FLOAT)

    def _repeat(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """The bounds for actions of this shape. Those for few actions are repeated and kept, as
        broadcasting takes longer than the arithmetic."""
        if math.prod(shape) > 256:
            return self.bounds
        if len(self._repeated) == 8:
            del self._repeated[next(iter(self._repeated))]
        repeated = [np.broadcast_to(x, shape).copy() for x in self.bounds]
        self._repeated[shape] = repeated
        return repeated


class MultiDiscreteActions(Actions):
    """{"kind": "multidiscrete", "nvec": [3, 2], "start": [0, 0]}, of any shape: the environment
    gets start + the agent's (len(nvec),) indices, in its shape."""

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        nvec, start = _choices(spec)
        self.shape, self.nvec, self.start = nvec.shape, nvec.ravel(), start.ravel()
        self.size = self.mask_size = int(self.nvec.sum())

    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        return (len(self.nvec),), INDEX_DTYPE

    def contains(self, a: np.ndarray) -> bool:
        return bool(((a >= 0) & (a < self.nvec)).all())

    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        if mask is None:
            return rng.integers(self.nvec, size=(n, len(self.nvec)))
        parts = [_one_allowed(rng, mask[:, i:j]) for i, j in self._choice_spans()]
        return np.stack(parts, axis=-1)

    def _mask_layout(self) -> str:
        return ", the masks of its indices one after the other"

    def _choice_spans(self) -> list[tuple[int, int]]:
        return spans(self.nvec)

    def encode(self, a: Array) -> Array:
        one_hot = [_one_hot(a[..., i], n) for i, n in enumerate(self.nvec.tolist())]
        return xp.concatenate(one_hot, axis=-1)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        return self._shift(action).reshape(self.shape)

    def to_env_batch(self, actions: np.ndarray) -> np.ndarray:
        return self._shift(actions).reshape(-1, *self.shape)

    def _shift(self, a: np.ndarray) -> np.ndarray:
        shifted: np.ndarray = (a + self.start).astype(INDEX_DTYPE)
        return shifted

    def from_env_batch(self, actions: Any) -> np.ndarray:
        given = self._given(actions, "iu")
        a: np.ndarray = given.astype(INDEX_DTYPE) - self.start
        self._check_inside((a >= 0) & (a < self.nvec), given)
        return a


class MultiBinaryActions(Actions):
    """{"kind": "multibinary", "shape": [4]}: the environment gets the agent's (size,) bits, in its
    shape."""

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.shape = tuple(_count(n) for n in spec["shape"])
        self.size = math.prod(self.shape)
        self.mask_size = 2 * self.size

    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        return (self.size,), INDEX_DTYPE

    def contains(self, a: np.ndarray) -> bool:
        return bool(((a >= 0) & (a < 2)).all())

    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        bits = rng.integers(2, size=(n, self.size))
        if mask is not None:
            zero, one = mask[:, 0::2] > 0, mask[:, 1::2] > 0
            bits = np.where(zero & one, bits, one).astype(INDEX_DTYPE)
        return bits

    def _mask_layout(self) -> str:
        return ", two per bit, for 0 and for 1"

    def _choice_spans(self) -> list[tuple[int, int]]:
        return [(i, i + 2) for i in range(0, self.mask_size, 2)]

    def encode(self, a: Array) -> Array:
        return a.astype(FLOAT)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        return action.astype(np.int8).reshape(self.shape)

    def to_env_batch(self, actions: np.ndarray) -> np.ndarray:
        return actions.astype(np.int8).reshape(-1, *self.shape)

    def from_env_batch(self, actions: Any) -> np.ndarray:
        given = self._given(actions, "iub")
        self._check_inside((given == 0) | (given == 1), given)
        return given.astype(INDEX_DTYPE)


class GroupActions(Actions):
    """Dict (string keys) or Tuple (0, 1, ... as keys) of other actions, which may be groups:
    {"kind": "group", "keys": [...], "parts": [spec, ...]}.

    The agent's action is a row with the columns of all parts, in order; indices and bits are whole
    numbers in it. Its mask has those of the parts, one after the other.
    """

    def __init__(self, spec: Spec, depth: int = _MAX_DEPTH):
        super().__init__(spec)
        self.keys = _keys(spec)
        self._named = all(isinstance(key, str) for key in self.keys)
        if not self.keys or not (self._named or self.keys == [*range(len(self.keys))]):
            raise ConfigError(
                f"A Dict of actions needs strings as keys, a Tuple 0, 1, ...; got {self.keys!r}."
            )
        self.parts = [actions_from_spec(part, depth - 1) for part in spec["parts"]]
        for part in self.parts:
            counts = getattr(part, "nvec", getattr(part, "n", 0))
            if np.max(counts, initial=0) > _MAX_CHOICES:
                raise ConfigError(
                    f"{part} in a Dict or Tuple of actions has more than 2^24 choices, which "
                    "float32 does not tell apart. Use fewer, or several indices."
                )
        self.size = sum(part.size for part in self.parts)
        self.mask_size = sum(part.mask_size for part in self.parts)
        self.bounded = all(part.bounded for part in self.parts)
        columns = [part.columns() for part in self.parts]
        widths = [math.prod(shape) for shape, _ in columns]
        self.width = sum(widths)
        # of each part: its columns, all or one of them, and their type
        self._columns = [
            (slice(i, j) if shape else i, dtype)
            for (i, j), (shape, dtype) in zip(spans(widths), columns)
        ]

    def columns(self) -> tuple[tuple[int, ...], np.dtype]:
        return (self.width,), FLOAT

    def slices(self, rows: Array) -> list[Array]:
        """The columns of each part in rows (..., width): (...) of an index, else (..., D)."""
        return [rows[..., columns] for columns, _ in self._columns]

    def split(self, a: Array) -> list[Array]:
        """The action of each part in rows a (..., width), as its own type."""
        pairs = [(a[..., columns], dtype) for columns, dtype in self._columns]
        return [x if dtype.kind == "f" else x.astype(dtype) for x, dtype in pairs]

    def join(self, parts: Iterable[Any], concatenate: Callable[..., Any] = np.concatenate) -> Any:
        """The inverse of `split`.

        concatenate   (arrays, axis=-1) for the memory that they are in
        """
        pairs = zip(self._columns, parts)
        joined = [x[..., None] if isinstance(columns, int) else x for (columns, _), x in pairs]
        return concatenate([x if x.dtype.kind == "f" else x.astype(FLOAT) for x in joined], axis=-1)

    def contains(self, a: np.ndarray) -> bool:
        if not np.isfinite(a).all():
            return False
        return all(
            part.contains(x) and (dtype.kind == "f" or not (x % 1).any())
            for part, x, (_, dtype) in zip(self.parts, self.slices(a), self._columns)
        )

    def uniform(
        self, rng: np.random.Generator, n: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        pairs = zip(self.parts, self.masks(mask))
        rows: np.ndarray = self.join(part.uniform(rng, n, one) for part, one in pairs)
        return rows

    def masks(self, mask: Array | None) -> list[Array | None]:
        """The mask of each part in masks (..., mask_size); None: there is none."""
        if mask is None:
            return [None] * len(self.parts)
        sizes = [part.mask_size for part in self.parts]
        return [mask[..., i:j] if j > i else None for i, j in spans(sizes)]

    def _mask_layout(self) -> str:
        return ", the masks of its parts one after the other"

    def _choice_spans(self) -> list[tuple[int, int]]:
        starts = spans([part.mask_size for part in self.parts])
        return [
            (start + i, start + j)
            for (start, end), part in zip(starts, self.parts)
            if end > start
            for i, j in part._choice_spans()
        ]

    def encode(self, a: Array) -> Array:
        encoded = [part.encode(x) for part, x in zip(self.parts, self.split(a))]
        return xp.concatenate(encoded, axis=-1)

    def to_env(self, action: np.ndarray) -> Any:
        return self._named_parts([p.to_env(x) for p, x in zip(self.parts, self.split(action))])

    def to_env_batch(self, actions: np.ndarray) -> Any:
        pairs = zip(self.parts, self.split(actions))
        return self._named_parts([part.to_env_batch(x) for part, x in pairs])

    def to_envs(self, actions: np.ndarray) -> list[Any]:
        return [self.to_env(action) for action in actions]

    def allowed(self, a: np.ndarray, masks: np.ndarray) -> np.ndarray:
        inside = np.ones(len(a), bool)
        for part, x, mask in zip(self.parts, self.split(a), self.masks(masks)):
            if mask is not None:
                inside &= part.allowed(x, mask)
        return inside

    def from_env(self, action: Any) -> np.ndarray:
        pairs = zip(self.parts, self._members(action))
        row: np.ndarray = self.join([np.asarray(part.from_env(x)) for part, x in pairs])
        return row

    def from_env_batch(self, actions: Any) -> np.ndarray:
        """As for others: a dict or tuple of batches, or a list of single actions."""
        if isinstance(actions, list):
            rows = [self.from_env(one) for one in actions]
            return np.array(rows, FLOAT).reshape(len(rows), self.width)
        pairs = zip(self.parts, self._members(actions))
        parts = [part.from_env_batch(x) for part, x in pairs]
        if len({*map(len, parts)}) > 1:
            raise ConfigError(
                f"The parts of a batch of {self} must have the same number of actions; got "
                f"{[*map(len, parts)]}."
            )
        batch: np.ndarray = self.join(parts)
        return batch

    def leaves(self, a: np.ndarray) -> list[tuple[Actions, np.ndarray]]:
        return [leaf for part, x in zip(self.parts, self.split(a)) for leaf in part.leaves(x)]

    def _members(self, action: Any) -> list[Any]:
        """The parts of an environment's action, or of a batch. Raises ConfigError."""
        kind = dict if self._named else tuple
        if isinstance(action, kind) and len(action) == len(self.keys):
            try:
                return [action[key] for key in self.keys]
            except KeyError:
                pass
        raise ConfigError(
            f"An action of {self} must be a {kind.__name__} with the parts {self.keys}; got "
            f"{reprlib.repr(action)}."
        )

    def _named_parts(self, parts: list[Any]) -> Any:
        """A dict or a tuple of what belongs to the parts."""
        return dict(zip(self.keys, parts)) if self._named else tuple(parts)


ACTIONS: dict[str, Callable[[Spec, int], Actions]] = {
    "discrete": DiscreteActions,
    "box": BoxActions,
    "multidiscrete": MultiDiscreteActions,
    "multibinary": MultiBinaryActions,
    "group": GroupActions,
}
ACTION_KINDS = tuple(ACTIONS)
# of Gymnasium, by kind of actions
ACTION_SPACES = {
    "discrete": ("Discrete",), "box": ("Box",), "multidiscrete": ("MultiDiscrete",),
    "multibinary": ("MultiBinary",), "group": ("Dict", "Tuple"),
}  # fmt: skip


def actions_from_spec(spec: Spec, depth: int = _MAX_DEPTH) -> Actions:
    """The actions of a spec; `depth` limits the nesting of groups."""
    if depth == 0:
        raise ConfigError("Action spaces are nested more than eight deep.")
    kind = spec["kind"]
    if kind not in ACTION_KINDS:
        raise ConfigError(f"Action kind {kind!r} is not known; use {ACTION_KINDS}.")
    return ACTIONS[kind](spec, depth)
