"""Launches of the kernels in steps.cu."""

import math
from typing import Any

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source, per_part, per_thread

_SOURCE = Source("steps.cu")


def adam(
    theta: Array, g: Array, m: Array, v: Array, counts: Array, rate: Array,
    beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    blocks, threads = per_part(g.size)
    work = xp.empty(2 + blocks, g.dtype)
    logs = logarithm(beta1), logarithm(beta2)
    _SOURCE.launch(
        "adam_squares", blocks, threads, g, g.size, counts, rate, *logs, float(eps), work
    )
    _launch("adam", theta, g, m, v, g.size, counts, 1.0 - beta1, 1.0 - beta2, work, blocks)


def rmsprop(
    theta: Array, g: Array, v: Array, counts: Array, rate: Array, decay: float, eps: float
) -> None:
    sums = _squares(g)
    _launch("rmsprop", theta, g, v, g.size, counts, rate, 1.0 - decay, float(eps), *sums)


def sgd(
    theta: Array, g: Array, velocity: Array, counts: Array, rate: Array, momentum: float
) -> None:
    _launch("sgd", theta, g, velocity, g.size, counts, rate, float(momentum), *_squares(g))


def polyak(theta_bar: Array, theta: Array, tau: float) -> None:
    _launch("polyak", theta_bar, theta, theta.size, float(tau))


def clip_norm(g: Array, max_norm: float, scratch: Array) -> None:
    _launch("clip_norm", g, g.size, float(max_norm), *_squares(g))


def logarithm(beta: float) -> float:
    """log(beta) of a decay rate, which may be 0."""
    return math.log(beta) if beta else -math.inf


def _squares(g: Array) -> tuple[Array, int]:
    """The parts of the sum of g * g, and their number."""
    blocks, threads = per_part(g.size)
    sums = xp.empty(blocks, g.dtype)
    _SOURCE.launch("squares", blocks, threads, g, g.size, sums)
    return sums, blocks


def _launch(name: str, x: Array, *args: Any) -> None:
    """Launch a kernel with one thread per number of x; one block at least, since a step counts."""
    blocks, threads = per_thread(x.size)
    _SOURCE.launch(name, max(1, blocks), threads, x, *args)
