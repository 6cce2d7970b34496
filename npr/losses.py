"""Losses, each one node on the tape: on small networks the cost is Python per node."""

import functools
from typing import Any

import numpy as np

from npr.autodiff import Tensor, clip, maximum, record, stop_gradient
from npr.autodiff.tensor import times
from npr.backend import Array, empty_like, on_device, xp
from npr.errors import ConfigError
from npr.kernels import losses as kernels


def mse(x: Any, y: Array) -> Any:
    """The mean of (x - y)^2 over all numbers; y is a constant, and may be broadcast to x."""
    plain = stop_gradient(x)
    loss, error = kernels.mse(plain, y)
    if error.shape != plain.shape:
        raise ConfigError(f"mse needs y to fit x of shape {plain.shape}, got {y.shape}.")
    if type(x) is not Tensor:
        return loss
    return record(loss, [x], lambda g: [times(g * (2 / error.size), error)], "mse", (x, y))


def clipped_surrogate(ratio: Any, A: Array, epsilon: float) -> Any:
    """The mean of min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A), differentiable in ratio.

    ratio, A   (B,) pi(a|s) / pi_old(a|s), and advantages
    Source: Schulman et al. 2017, eq. 7.
    """
    plain = stop_gradient(ratio)
    L, slope = kernels.surrogate(plain, A, epsilon)
    if type(ratio) is not Tensor:
        return L
    return record(
        L, [ratio], lambda g: [times(g / plain.size, slope)],
        "clipped_surrogate", (ratio, A),
    )  # fmt: skip


def clipped_mse(v: Any, R: Array, A: Array, epsilon: Any = None) -> Any:
    """The mean of max((v - R)^2, (clip(v, v_old - epsilon, v_old + epsilon) - R)^2).

    v         (B,) values, differentiable
    R, A      (B,) their targets, and advantages R - v_old: v_old are the values when both were made
    epsilon   None: mse(v, R)
    Source: ppo2 of OpenAI's baselines; Engstrom et al. 2020. Stable-Baselines3 takes the second
    square alone, whose slope is zero wherever a value has left the range.
    """
    if epsilon is None:
        return mse(v, R)
    if not v.shape == R.shape == A.shape:
        raise ConfigError(
            f"clipped_mse needs v, R and A of one shape, got {v.shape}, {R.shape} and {A.shape}."
        )
    v_old = R - A
    error, held = v - R, clip(v, v_old - epsilon, v_old + epsilon) - R
    return maximum(error * error, held * held).mean()


@functools.lru_cache(maxsize=16)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    """Weights of one; cached, since a batch size is used again and again. Not for a device: work
    that is captured as a graph may neither fill nor read memory of a cache."""
    return np.ones(n, dtype)


def td_huber(q: Any, a: Array, y: Array, w: Array | None = None) -> tuple[Any, Array]:
    """(loss, q[a]): the mean over rows of w huber(q[a] - y), and the values of the actions.

    q   (B, K) values of all actions
    a   (B,) the actions taken
    y   (B,) targets, constants
    w   (B,) weights; None: all one
    huber(x) is x^2 / 2 up to |x| = 1 and |x| - 1/2 beyond. Differentiable in q; q[a] is a plain
    array. Source: Huber 1964; the error clipping of Mnih et al. 2015.
    """
    plain = stop_gradient(q)
    if w is None:
        w = xp.ones(len(plain), plain.dtype) if on_device() else _ones(len(plain), plain.dtype)
    if plain.ndim != 2 or not a.shape == y.shape == w.shape == plain.shape[:1]:
        raise ConfigError(
            f"td_huber needs q (B, K) and a, y, w (B,), got {plain.shape}, {a.shape}, {y.shape} "
            f"and {w.shape}."
        )
    loss, slope = empty_like(plain, 1), empty_like(plain)
    chosen = empty_like(plain, len(plain))
    kernels.td_huber(plain, a, y, w, loss, chosen, slope)
    if type(q) is not Tensor:
        return loss[0], chosen
    L = record(loss.reshape(()), [q], lambda g: [times(g, slope)], "td_huber", (q, a, y, w))
    return L, chosen
