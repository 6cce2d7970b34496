"""Losses as one node on the tape each: on small networks the cost is Python per node."""

from npr.autodiff import Tensor, record
from npr.backend import Array, xp
from npr.errors import ConfigError
from npr.kernels import td

_ones: dict = {}  # (number of rows, type) -> weights of one


def mse(x: Array, y: Array) -> Array:
    """The mean of (x - y)^2 over all numbers; y is held fixed, and may be broadcast to x."""
    plain = x.data if type(x) is Tensor else x
    error = plain - y
    if error.shape != plain.shape:
        raise ConfigError(f"mse needs y to fit x of shape {plain.shape}, got {y.shape}.")
    loss = (error * error).sum() / error.size
    if type(x) is not Tensor:
        return loss
    return record(loss, [x], lambda g: [g * (2 / error.size) * error], "mse", (x, y))


def clipped_surrogate(ratio: Array, A: Array, epsilon: Array) -> Array:
    """The mean of min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A), differentiable in ratio.

    ratio, A   (B,) pi(a|s) / pi_old(a|s), and advantages
    Source: Schulman et al. 2017, eq. 7.
    """
    plain = ratio.data if type(ratio) is Tensor else ratio
    free, held = plain * A, xp.minimum(xp.maximum(plain, 1 - epsilon), 1 + epsilon) * A
    L = xp.minimum(free, held).sum() / plain.size
    if type(ratio) is not Tensor:
        return L
    # where the clipped term is the smaller one it is constant
    return record(
        L, [ratio], lambda g: [(g / plain.size) * (free <= held) * A],
        "clipped_surrogate", (ratio, A),
    )  # fmt: skip


def td_huber(q: Array, a: Array, y: Array, w: Array = None) -> Array:
    """(loss, q[a]): the mean over rows of w huber(q[a] - y), and the values that were chosen.

    q   (B, K) values of all actions
    a   (B,) the actions taken
    y   (B,) targets, held fixed
    w   (B,) weights; None: all one
    huber(x) is x^2 / 2 up to |x| = 1 and |x| - 1/2 beyond. Differentiable in q; q[a] is a plain
    array. Source: Huber 1964; the error clipping of Mnih et al. 2015.
    """
    plain = q.data if type(q) is Tensor else q
    if w is None:
        key = len(plain), plain.dtype
        w = _ones.get(key)
        if w is None:
            w = _ones[key] = xp.ones(*key)
    if plain.ndim != 2 or not a.shape == y.shape == w.shape == plain.shape[:1]:
        raise ConfigError(
            f"td_huber needs q (B, K) and a, y, w (B,), got {plain.shape}, {a.shape}, {y.shape} "
            f"and {w.shape}."
        )
    loss, slope = xp.empty(1, plain.dtype), xp.empty_like(plain)
    chosen = xp.empty(len(plain), plain.dtype)
    td.td_huber(plain, a, y, w, loss, chosen, slope)
    if type(q) is not Tensor:
        return loss[0], chosen
    L = record(loss.reshape(()), [q], lambda g: [g * slope], "td_huber", (q, a, y, w))
    return L, chosen
