"""The deterministic action for one observation of plain numbers, by as few calls as possible: in
networks of 64-64 a call of NumPy takes longer than its arithmetic.

It is what a policy computes for a batch of one, with the same results to the bit. Nothing is kept
between calls, so that several threads may share a function.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from npr.backend import FLOAT
from npr.envs.contract import all_finite
from npr.envs.spaces import Observations
from npr.heads import Head
from npr.nn import normalized as layer_normalized
from npr.normalize import ObservationNorm

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]
_FEW = 16  # numbers that Python adds in less time than a call of NumPy takes


def one_row(
    observations: Observations, norm: ObservationNorm | None, stack: list[tuple[Array, Array]],
    gains: list[Array], activations: list[Function | None], head: Head,
) -> Callable[[Array], Any] | None:  # fmt: skip
    """A function from an observation, an array, to the environment's action; or None where
    observations are not arrays of numbers, or this head is not supported.

    stack        (W, b) of the layers: views, which may change
    gains        of the hidden layers, if they are normalized: views, too
    activations  of the hidden layers; None is relu, which has a faster form

    The function returns None for a batch, and for an observation of another shape, or that is not
    finite or not numbers.
    """
    finish, shape = _finish(head, stack[-1][1]), observations.shape
    if finish is None or observations.kind not in ("box", "multibinary"):
        return None
    is_flat = shape == (observations.size,)
    scales: list[Any] = gains or [None] * len(activations)
    each = zip(stack[:-1], scales, activations)
    hidden = [(V, c, gain, f, np.zeros_like(c)) for (V, c), gain, f in each]
    W, b = stack[-1]
    normalized, few = _normalized(norm), observations.size <= _FEW
    isfinite, maximum = math.isfinite, np.maximum

    def act(x: Array) -> Any:
        if x.shape != shape:
            return None
        if not is_flat:
            x = x.reshape(-1)
        if x.dtype is not FLOAT:
            if x.dtype.kind not in "fiub":
                return None
            x = x.astype(FLOAT)
        if not (isfinite(sum(x.tolist())) if few else all_finite(x)):
            return None
        if normalized is not None:
            x = normalized(x)
        for V, c, gain, function, zeros in hidden:
            x = x.dot(V)
            if gain is not None:
                x = layer_normalized(x)
                x *= gain
            x += c
            x = maximum(x, zeros, out=x) if function is None else function(x)
        x = x.dot(W)
        x += b
        return finish(x)

    return act


def _normalized(norm: ObservationNorm | None) -> Function | None:
    if norm is None:
        return None
    mean, scale = norm.of_observations
    low, high = np.full_like(mean, -norm.clip), np.full_like(mean, norm.clip)

    def normalized(x: Array) -> Array:
        x = x - mean
        x *= scale
        np.maximum(x, low, out=x)
        np.minimum(x, high, out=x)
        return x

    return normalized


def _finish(head: Head, b: Array) -> Callable[[Array], Any] | None:
    """From the outputs of the network for one observation, like b, to the environment's action."""
    actions: Any = head.actions
    if head.name == "argmax" or (head.name == "categorical" and head.temperature == 1):
        start = actions.start
        return lambda y: start + int(y.argmax())
    if head.name == "dueling":
        start = actions.start
        return lambda y: start + int(y[1:].argmax())
    if head.name == "gaussian":
        return _scaled(actions, b, None)
    if head.name in ("tanh_gaussian", "tanh"):
        return _scaled(actions, b, np.tanh)
    return None


def _scaled(actions: Any, b: Array, squash: Function | None) -> Function:
    """The action of a box for outputs that begin with its means."""
    low, high, middle, half = actions.bounds
    D, shape, dtype = actions.size, actions.shape, actions.dtype
    # numbers in [-1, 1] stay within the bounds: sums and products of floats are monotone
    inside = squash is not None and (middle - half >= low).all() and (middle + half <= high).all()
    is_more, is_shifted, is_flat = len(b) > D, middle.any(), shape == (D,)
    is_cast = np.result_type(b, half) != dtype

    def scaled(y: Array) -> Array:
        if is_more:
            y = y[:D]
        if squash is not None:
            y = squash(y)
        y = y * half
        if is_shifted:
            y += middle
        if not inside:
            y = np.minimum(np.maximum(y, low), high)
        if is_cast:
            y = y.astype(dtype)
        return y if is_flat else y.reshape(shape)

    return scaled
