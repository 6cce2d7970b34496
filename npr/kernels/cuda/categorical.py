"""Launches of the kernels in categorical.cu."""

from npr.backend import Array
from npr.kernels.cuda.compiler import Source, index, per_row, per_thread

_SOURCE = Source("categorical.cu")


def log_softmax(logits: Array, logp: Array) -> None:
    _launch("log_softmax", logits, logp)


def log_softmax_backward(logp: Array, g: Array, dlogits: Array) -> None:
    _launch("log_softmax_backward", logp, g, dlogits)


def draw(logp: Array, u: Array, a: Array) -> None:
    _launch("draw", logp, u.astype(logp.dtype, copy=False), a)


def log_prob(logp: Array, a: Array, chosen: Array) -> None:
    B, K = logp.shape
    _SOURCE.launch("log_prob", *per_thread(B), logp, index(a), chosen, B, K)


def log_prob_backward(logp: Array, a: Array, g: Array, dlogits: Array) -> None:
    _launch("log_prob_backward", logp, index(a), g, dlogits)


def entropy(logp: Array, H: Array) -> None:
    _launch("entropy", logp, H)


def entropy_backward(logp: Array, H: Array, g: Array, dlogits: Array) -> None:
    _launch("entropy_backward", logp, H, g, dlogits)


def kl(logp: Array, logq: Array, kl: Array) -> None:
    p, q = (x.astype(kl.dtype, copy=False) for x in (logp, logq))
    _launch("kl", p, q, kl)


def kl_backward(logp: Array, logq: Array, kl: Array, g: Array, dp: Array, dq: Array) -> None:
    q, kl, g = (x.astype(logp.dtype, copy=False) for x in (logq, kl, g))
    _launch("kl_backward", logp, q, kl, g, dp, dq)


def _launch(name: str, logp: Array, *others: Array) -> None:
    """Launch a kernel that works on rows of K numbers."""
    B, K = logp.shape
    blocks, threads, lanes = per_row(B, K)
    _SOURCE.launch(name, blocks, threads, logp, *others, B, K, lanes)
