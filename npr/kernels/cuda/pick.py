"""Launches of the kernels in pick.cu."""

from npr.backend import Array
from npr.kernels.cuda.compiler import Source, index, per_thread

_SOURCE = Source("pick.cu")


def pick(q: Array, a: Array, chosen: Array) -> None:
    N, B, K = q.shape
    _SOURCE.launch("pick", *per_thread(N * B), q, index(a), chosen, N * B, B, K)


def pick_backward(a: Array, g: Array, dq: Array) -> None:
    N, B, K = dq.shape
    _SOURCE.launch("pick_backward", *per_thread(dq.size), index(a), g, dq, dq.size, B, K)
