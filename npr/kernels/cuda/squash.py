"""Launches of the kernels in squash.cu."""

from npr.backend import Array, xp
from npr.kernels.cuda.compiler import Source, per_row, per_thread

_SOURCE = Source("squash.cu")


def squash(low: float, high: float, out: Array, noise: Array, a: Array, logp: Array) -> None:
    """low, high   the log standard deviation is clipped to them, here and below"""
    B, D = noise.shape
    blocks, threads, lanes = per_row(B, D)
    out, noise = xp.ascontiguousarray(out), xp.ascontiguousarray(noise)
    _SOURCE.launch("squash", blocks, threads, out, noise, a, logp, B, D, low, high, lanes)


def squash_backward(
    low: float, high: float,
    out: Array, noise: Array, a: Array, da: Array, dlogp: Array, dout: Array,
) -> None:  # fmt: skip
    arrays = map(xp.ascontiguousarray, (out, noise, a, da, dlogp))
    _SOURCE.launch(
        "squash_backward", *per_thread(a.size), *arrays, dout,
        da.size > 0, dlogp.size > 0, a.size, a.shape[1], low, high,
    )  # fmt: skip
