"""Returns and advantages, backwards through time."""

import math

import numpy as np

from npr.backend import Array, empty_like, floats, xp
from npr.kernels.cuda import returns as cuda
from npr.kernels.jit import Kernel


def _gae_reference(
    r: Array, v: Array, v_next: Array, terminated: Array, done: Array, gamma: float, lam: float,
    advantage: Array,
) -> None:  # fmt: skip
    delta = r + gamma * v_next * (1 - terminated) - v
    keep = gamma * lam * (1 - done)
    trace = xp.zeros(v.shape[1:], v.dtype)
    for t in range(len(r) - 1, -1, -1):
        trace = delta[t] + keep[t] * trace
        advantage[t] = trace


def _gae_loop(
    r: Array, v: Array, v_next: Array, terminated: Array, done: Array, gamma: float, lam: float,
    advantage: Array,
) -> None:  # fmt: skip
    T, N = r.shape
    for n in range(N):
        trace = 0.0
        for t in range(T - 1, -1, -1):
            delta = r[t, n] + gamma * v_next[t, n] * (1.0 - terminated[t, n]) - v[t, n]
            trace = delta + gamma * lam * (1.0 - done[t, n]) * trace
            advantage[t, n] = trace


_gae = Kernel(_gae_loop, _gae_reference, cuda.gae)


def gae(
    r: Array, v: Array, v_next: Array, terminated: Array, done: Array, gamma: float, lam: float
) -> Array:
    """Generalized advantage estimates, backwards through time.

    r, v, v_next      (T, N) rewards, V(s_t), V(s_{t+1}); v_next at a cut is V(final observation)
    terminated, done  (T, N) 0/1: the episode terminated / it terminated or was truncated, which
                      cuts the trace
    gamma, lam        per env step, in [0, 1]
    Returns           (T, N) advantages in reward units; returns-to-go are advantages + v.
    Source: Schulman et al. 2016, eq. 11-16; truncation as in Pardo et al. 2018.
    """
    _check_shapes("gae", r, v=v, v_next=v_next, terminated=terminated, done=done)
    (v,) = floats(v)
    advantage = empty_like(v)
    _gae(r, v, v_next, terminated, done, float(gamma), float(lam), advantage)
    return advantage


def _returns_reference(r: Array, done: Array, gamma: float, bootstrap: Array, G: Array) -> None:
    G_next = xp.zeros(r.shape[1:], r.dtype)
    for t in range(len(r) - 1, -1, -1):
        last = done[t] if t < len(r) - 1 else xp.ones_like(done[t])
        G_next = r[t] + gamma * xp.where(last, bootstrap[t], G_next)
        G[t] = G_next


def _returns_loop(r: Array, done: Array, gamma: float, bootstrap: Array, G: Array) -> None:
    T, N = r.shape
    for n in range(N):
        G_next = 0.0
        for t in range(T - 1, -1, -1):
            if t == T - 1 or done[t, n]:
                G_next = bootstrap[t, n]
            G_next = r[t, n] + gamma * G_next
            G[t, n] = G_next


_returns = Kernel(_returns_loop, _returns_reference, cuda.returns)


def discounted_returns(
    r: Array, done: Array, gamma: float, bootstrap: Array | None = None
) -> Array:
    """Discounted returns G_t = r_t + gamma G_{t+1}, restarted at every cut.

    r, done     (T, N) rewards; 1 where an episode ends or is cut after this step
    gamma       per env step, in [0, 1]
    bootstrap   (T, N) value of what follows a cut, and the last row: V(final observation) where
                the episode was truncated, 0 where it terminated; default 0 everywhere
    Returns     (T, N) in reward units.
    Source: Sutton and Barto 2018, eq. 3.9.
    """
    (r,) = floats(r)
    if bootstrap is None:
        bootstrap = xp.zeros_like(r)
    _check_shapes("discounted_returns", r, done=done, bootstrap=bootstrap)
    G = empty_like(r)
    _returns(r, done, float(gamma), bootstrap, G)
    return G


def _n_step_reference(rewards: Array, next_row: Array, index: Array, n: int, gamma: float,
                      r: Array, power: Array, last: Array) -> None:  # fmt: skip
    """Walk up to n steps from each row of `index` along next_row (-1: nothing follows).

    r <- the discounted sum of rewards, power <- gamma^(steps taken), last <- the last row.
    """
    r[:], power[:], last[:] = rewards[index], gamma, index
    for _ in range(n - 1):
        follow = next_row[last]
        continues = follow >= 0  # once nothing follows, `last` does not change any more
        r += continues * power * rewards[follow]
        power[continues] *= gamma
        last[continues] = follow[continues]


def _n_step_loop(rewards: Array, next_row: Array, index: Array, n: int, gamma: float,
                 r: Array, power: Array, last: Array) -> None:  # fmt: skip
    for i in range(index.shape[0]):
        row, total, factor = index[i], 0.0, 1.0
        for _ in range(n):
            total += factor * rewards[row]
            factor *= gamma
            last[i] = row
            row = next_row[row]
            if row < 0:
                break
        r[i], power[i] = total, factor


n_step_returns = Kernel(_n_step_loop, _n_step_reference, host=True)


def _standardize_reference(x: Array, y: Array) -> None:
    """y <- x standardized."""
    first = x[:1]
    y[:] = x - first  # exact for numbers that are nearly equal, so that their mean is precise
    y -= y.sum() / len(x)
    floor = 4 * float(np.finfo(x.dtype).eps) * xp.abs(first) + 1e-8
    y /= xp.sqrt((y * y).sum() / (len(x) - 1)) + floor


def _standardize_loop(x: Array, y: Array) -> None:
    n, first, mean, square = x.shape[0], x[0], 0.0, 0.0
    for i in range(n):
        mean += (x[i] - first) / n
    for i in range(n):
        deviation = x[i] - first - mean
        square += deviation * deviation
        y[i] = deviation
    scale = math.sqrt(square / (n - 1)) + 4.0 * np.finfo(x.dtype).eps * abs(first) + 1e-8
    for i in range(n):
        y[i] /= scale


_standardize = Kernel(_standardize_loop, _standardize_reference, cuda.standardize)


def standardize(x: Array) -> Array:
    """x (n,) standardized to mean 0 and standard deviation 1; n must be at least 2.

    The standard deviation is the sample's, with n - 1; four rounding errors of a number of x's
    size, and 1e-8, are added to it. Equal numbers give exactly 0, and numbers that differ by no
    more than rounding give numbers near 0.
    """
    (x,) = floats(x)
    y = empty_like(x)
    _standardize(x, y)
    return y


def _check_shapes(name: str, r: Array, **others: Array) -> None:
    if r.ndim != 2:
        raise ValueError(
            f"{name} needs arrays of shape (T, N), got r of shape {r.shape}; "
            "one environment is N = 1: r[:, None]."
        )
    for key, value in others.items():
        if value.shape != r.shape:
            raise ValueError(f"{name} needs {key} of r's shape {r.shape}, got {value.shape}.")
