"""Spaces as plain data: what a policy file needs to turn observations into network inputs and
network outputs into actions. Built from Gymnasium's spaces in contract.py; needs NumPy alone here.
"""

import math
import operator
import reprlib

import numpy as np

from npr.backend import FLOAT, xp
from npr.errors import ConfigError, EnvContractError

CHOICE = np.dtype(np.int64)  # of a choice of the learner
ACTION_KINDS = ("discrete", "box", "multidiscrete", "multibinary")
_REAL = "fiub"  # kinds of dtypes whose values are numbers
_FIX = "Fix the environment's observation_space or what reset() and step() return."


def _count(n) -> int:
    """n, where it is a whole number from 0 to 2^31: sizes may come from a file."""
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 1 << 31:
        raise ConfigError(f"A size in a space must be a whole number from 0 to 2^31, got {n!r}.")
    return n


class Observations:
    """How one observation becomes a row of numbers.

    spec is plain data: {"kind": "box", "shape": [3]}, {"kind": "discrete", "n": 16, "start": 0},
    {"kind": "multidiscrete", "nvec": [3, 2]}, {"kind": "multibinary", "shape": [4]}, or
    {"kind": "group", "keys": [...], "parts": [spec, ...]} for Dict (keys) and Tuple (indices).
    """

    def __init__(self, spec: dict, depth: int = 8):
        self.spec, self.kind = spec, spec["kind"]
        if depth == 0:
            raise ConfigError("Observation spaces are nested more than eight deep.")
        if self.kind in ("box", "multibinary"):
            self.shape = tuple(_count(n) for n in spec["shape"])
            self.size = math.prod(self.shape)
        elif self.kind == "discrete":
            self.shape, self.size, self.start = (), _count(spec["n"]), int(spec["start"])
        elif self.kind == "multidiscrete":
            self.nvec, self.start = np.array(spec["nvec"]), np.array(spec["start"])
            self.shape, self.size = self.nvec.shape, int(self.nvec.sum())
            self._offsets = np.concatenate([[0], np.cumsum(self.nvec.ravel())[:-1]])
        elif self.kind == "group":
            self.parts = [Observations(part, depth - 1) for part in spec["parts"]]
            self.shape, self.size = None, sum(part.size for part in self.parts)
        else:
            raise ConfigError(f"Observation kind {self.kind!r} is not known.")

    def row(self, observation, out: np.ndarray) -> None:
        """Write one observation to out, (size,)."""
        if self.kind in ("box", "multibinary"):
            if (
                observation.__class__ is not np.ndarray
                or observation.shape != self.shape
                or observation.dtype.kind not in _REAL
            ):
                observation = self._shaped(observation)
            out[...] = observation if len(self.shape) == 1 else observation.reshape(-1)
        elif self.kind == "discrete":
            out[...] = 0
            out[self.index(observation)] = 1
        elif self.kind == "multidiscrete":
            out[...] = 0
            index = self._shaped(observation, "iu") - self.start
            if (index < 0).any() or (index >= self.nvec).any():
                raise EnvContractError(
                    f"The observation {observation!r} is outside MultiDiscrete("
                    f"{self.nvec.tolist()}, start={self.start.tolist()}). Fix the environment's "
                    "observation_space or its step()."
                )
            out[self._offsets + index.ravel()] = 1
        else:
            start = 0
            for key, part in zip(self.spec["keys"], self.parts):
                part.row(self._member(observation, key), out[start : start + part.size])
                start += part.size

    def index(self, observation) -> int:
        """The row of a table for a Discrete observation."""
        try:
            index = operator.index(observation) - self.start
        except TypeError:  # no whole number
            index = -1
        if not 0 <= index < self.size:
            raise EnvContractError(
                f"The observation {observation!r} is outside Discrete({self.size}, "
                f"start={self.start}). Fix the environment's observation_space or its step()."
            )
        return index

    def _shaped(self, observation, kinds=_REAL):
        try:
            array = np.asarray(observation)
        except (ValueError, TypeError):  # lists of unequal lengths
            array = np.empty(0, object)
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

    def _member(self, observation, key):
        """The part of a Dict or Tuple observation that stands under a key."""
        keys = self.spec["keys"]
        try:
            if isinstance(key, str) or len(observation) == len(keys):
                return observation[key]
        except (KeyError, IndexError, TypeError):
            pass
        raise EnvContractError(
            f"Got {reprlib.repr(observation)} ({type(observation).__name__}) for an observation "
            f"with the parts {keys}: {key!r} is missing, or there are too many. {_FIX}"
        )

    def batched(self, observation) -> bool:
        """Whether this is a batch of observations (one leading axis) rather than one."""
        if self.kind == "group":
            key, part = self.spec["keys"][0], self.parts[0]
            return part.batched(self._member(observation, key))
        return np.ndim(observation) == len(self.shape) + 1

    def encode(self, observation) -> np.ndarray:
        """Network input (B, size) of a batch of observations, or of one (B = 1)."""
        if self.kind == "box" and isinstance(observation, np.ndarray):
            fits = self.shape in (observation.shape, observation.shape[1:])
            if not fits or observation.dtype.kind not in _REAL:
                self._shaped(observation)
            return observation.reshape(-1, self.size).astype(FLOAT)
        rows = self.rows(observation)
        out = np.empty((len(rows), self.size), FLOAT)
        for row, one in zip(out, rows):
            self.row(one, row)
        return out

    def rows(self, observation):
        """The single observations of a batch; of one, a list of it."""
        if not self.batched(observation):
            return [observation]
        if self.kind != "group":
            return observation
        keys = self.spec["keys"]
        columns = [part.rows(self._member(observation, key)) for key, part in zip(keys, self.parts)]
        return [dict(zip(keys, row)) for row in zip(*columns)]


class Actions:
    """How what the learner chooses becomes what the environment gets.

    discrete       learner: int in 0..n-1                environment: start + that
    box            learner: (size,) in [-1, 1], clipped  environment: low + (a+1)/2 (high-low)
    multidiscrete  learner: (len(nvec),) ints            environment: start + that, in its shape
    multibinary    learner: (size,) of 0 and 1           environment: that, in its shape

    A Box dimension without finite bounds passes unscaled and unclipped; one with low == high is
    held there. size is how many numbers a network puts out for an action, or its mean.
    """

    nvec = np.empty(0, np.int64)  # number of values of each choice of a multidiscrete action

    def __init__(self, spec: dict):
        self.spec, self.kind = spec, spec["kind"]
        if self.kind == "discrete":
            self.n = self.size = _count(spec["n"])
            self.start = int(spec["start"])
        elif self.kind == "box":
            self.shape = tuple(_count(n) for n in spec["shape"])
            self.dtype = np.dtype(
                {"float32": "f4", "float64": "f8", "float16": "f2"}[spec["dtype"]]
            )
            self.size = math.prod(self.shape)
            # None in a file: JSON has no infinity
            low = np.array([-np.inf if x is None else x for x in spec["low"]], np.float64)
            high = np.array([np.inf if x is None else x for x in spec["high"]], np.float64)
            finite = np.isfinite(low) & np.isfinite(high)
            self.bounded = bool(finite.all())
            bounds = [low, high]
            low, high = np.where(finite, low, -1), np.where(finite, high, 1)
            bounds += [low / 2 + high / 2, high / 2 - low / 2]
            precise = np.result_type(self.dtype, np.float32)
            self._low, self._high, self._middle, self._half = (x.astype(precise) for x in bounds)
        elif self.kind == "multidiscrete":
            nvec, start = np.array(spec["nvec"]), np.array(spec["start"])
            self.shape, self.dtype = nvec.shape, np.dtype(np.int64)
            self.nvec = np.array([_count(n) for n in nvec.ravel().tolist()])
            self.start, self.size = start.ravel(), int(self.nvec.sum())
        elif self.kind == "multibinary":
            self.shape, self.dtype = tuple(_count(n) for n in spec["shape"]), np.dtype(np.int8)
            self.start, self.size = 0, math.prod(self.shape)
        else:
            raise ConfigError(f"Action kind {self.kind!r} is not known; use {ACTION_KINDS}.")

    def holds(self, a: np.ndarray) -> bool:
        """Whether these are actions of the learner, (..., *columns()[0])."""
        if self.kind == "box":
            return bool(np.isfinite(a).all())
        choices = self.nvec if self.kind == "multidiscrete" else getattr(self, "n", 2)
        return bool(((a >= 0) & (a < choices)).all())

    def columns(self):
        """Shape and dtype of one action of the learner, as a buffer stores it."""
        if self.kind == "discrete":
            return (), CHOICE
        if self.kind == "box":
            return (self.size,), FLOAT
        return (len(self.nvec) if self.kind == "multidiscrete" else self.size,), CHOICE

    def encode(self, a):
        """A batch of the learner's actions as critics take them, (..., size) on the device:
        numbers and switches as they are, a one for each choice of a multidiscrete action."""
        if self.kind == "multidiscrete":
            choices = [xp.eye(n, dtype=FLOAT)[a[..., i]] for i, n in enumerate(self.nvec.tolist())]
            return xp.concatenate(choices, axis=-1)
        return a.astype(FLOAT) if self.kind == "multibinary" else a

    def to_env(self, action):
        """The environment's action for one action of the learner."""
        if self.kind == "discrete":
            return self.start + int(action)
        if self.kind != "box":
            return (action + self.start).astype(self.dtype).reshape(self.shape)
        return self._into_box(action).reshape(self.shape)

    def to_env_batch(self, actions) -> np.ndarray:
        """The environments' actions (B, ...) for a batch of the learner's."""
        if self.kind == "discrete":
            return np.asarray(actions) + self.start
        if self.kind != "box":
            return (actions + self.start).astype(self.dtype).reshape(-1, *self.shape)
        return self._into_box(actions).reshape(-1, *self.shape)

    def _into_box(self, a):
        """a (..., size), scaled to the bounds and held between them."""
        a = a * self._half
        a += self._middle
        np.maximum(a, self._low, out=a)
        np.minimum(a, self._high, out=a)
        return a.astype(self.dtype, copy=False)
