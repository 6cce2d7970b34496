"""Categorical distributions: log-probabilities, samples and entropies, with their pullbacks.

logits, logp (B, K); a (B,) indices of actions; each kernel is one pass over the batch.
A row whose cotangent g is 0 has cotangents 0, even if its log-probabilities are not finite.
"""

import math

import numpy as np

from npr.backend import Array, empty_like, xp
from npr.kernels.cuda import categorical as cuda
from npr.kernels.jit import ActionIndexError, Kernel, check_actions


def _log_softmax_reference(logits: Array, logp: Array) -> None:
    """logp <- logits - log sum exp(logits)."""
    x = logits - logits.max(axis=1, keepdims=True)
    logp[:] = x - xp.log(xp.exp(x).sum(axis=1, keepdims=True))


def _log_softmax_loop(logits: Array, logp: Array) -> None:
    for i in range(logits.shape[0]):
        row, out = logits[i], logp[i]
        top, total = row[0], logits.dtype.type(0)
        for x in row:
            top = x if x > top else top
        for x in row:
            total += math.exp(x - top)
        shift = math.log(total)
        for k in range(row.shape[0]):
            out[k] = row[k] - top - shift


def _log_softmax_backward_reference(logp: Array, g: Array, dlogits: Array) -> None:
    """dlogits <- the cotangent of the logits from g (B, K), that of logp."""
    total = g.sum(axis=1, keepdims=True)
    dlogits[:] = g - xp.where(total == 0, 0, xp.exp(logp) * total)


def _log_softmax_backward_loop(logp: Array, g: Array, dlogits: Array) -> None:
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in g[i]:
            total += x
        for k in range(logp.shape[1]):
            dlogits[i, k] = g[i, k]
            if total != 0:
                dlogits[i, k] -= math.exp(logp[i, k]) * total


def _draw_reference(logp: Array, u: Array, a: Array) -> None:
    """a <- samples, by inverting the cumulative distribution at u (B,) in [0, 1)."""
    reached = xp.cumsum(xp.exp(logp), axis=1)
    # scaled by the last sum, so that rounding cannot exceed the last action
    a[:] = (reached <= u[:, None] * reached[:, -1:]).sum(axis=1)


def _draw_loop(logp: Array, u: Array, a: Array) -> None:
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in logp[i]:
            total += math.exp(x)
        reached, mass = logp.dtype.type(0), u[i] * total
        a[i] = 0
        for x in logp[i]:
            reached += math.exp(x)
            a[i] += reached <= mass


def _log_prob_reference(logp: Array, a: Array, chosen: Array) -> None:
    """chosen <- logp[a]."""
    check_actions(a, logp.shape[1])
    chosen[:] = logp[xp.arange(len(logp)), a]


def _log_prob_loop(logp: Array, a: Array, chosen: Array) -> None:
    for i in range(logp.shape[0]):
        if a[i] < 0 or a[i] >= logp.shape[1]:
            raise ActionIndexError("action index out of range 0..K-1")
        chosen[i] = logp[i, a[i]]


def _log_prob_backward_reference(logp: Array, a: Array, g: Array, dlogits: Array) -> None:
    """dlogits <- the cotangent of the logits from g (B,), that of logp[a]."""
    dlogits[:] = xp.where(g[:, None] == 0, 0, -g[:, None] * xp.exp(logp))
    dlogits[xp.arange(len(logp)), a] += g


def _log_prob_backward_loop(logp: Array, a: Array, g: Array, dlogits: Array) -> None:
    for i in range(logp.shape[0]):
        for k in range(logp.shape[1]):
            chosen = g[i] if k == a[i] else 0 * g[i]
            dlogits[i, k] = chosen - g[i] * math.exp(logp[i, k]) if g[i] != 0 else chosen


def _entropy_reference(logp: Array, H: Array) -> None:
    """H <- -sum p log p, where 0 log 0 = 0."""
    H[:] = -(xp.exp(logp) * xp.where(logp == -math.inf, 0, logp)).sum(axis=1)


def _entropy_loop(logp: Array, H: Array) -> None:
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in logp[i]:
            if x != -math.inf:
                total -= math.exp(x) * x
        H[i] = total


def _entropy_backward_reference(logp: Array, H: Array, g: Array, dlogits: Array) -> None:
    """dlogits <- the cotangent of the logits from g (B,), that of H."""
    finite, g = xp.where(logp == -math.inf, 0, logp), g[:, None]
    dlogits[:] = xp.where(g == 0, 0, -g * xp.exp(logp) * (finite + H[:, None]))


def _entropy_backward_loop(logp: Array, H: Array, g: Array, dlogits: Array) -> None:
    for i in range(logp.shape[0]):
        for k in range(logp.shape[1]):
            x = logp[i, k]
            if x == -math.inf or g[i] == 0:
                dlogits[i, k] = 0
            else:
                dlogits[i, k] = -g[i] * math.exp(x) * (x + H[i])


def _kl_reference(logp: Array, logq: Array, kl: Array) -> None:
    """kl <- sum p (log p - log q), where 0 log 0 = 0."""
    p = xp.exp(logp)
    kl[:] = (p * _log_ratio(p, logp, logq)).sum(axis=1)


def _log_ratio(p: Array, logp: Array, logq: Array) -> Array:
    never = p == 0
    return xp.where(never, 0, logp) - xp.where(never, 0, logq)


def _kl_loop(logp: Array, logq: Array, kl: Array) -> None:
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for k in range(logp.shape[1]):
            p = math.exp(logp[i, k])
            if p != 0:
                total += p * (logp[i, k] - logq[i, k])
        kl[i] = total


def _kl_backward_reference(logp: Array, logq: Array, kl: Array, g: Array,
                           dp: Array, dq: Array) -> None:  # fmt: skip
    """dp, dq <- the cotangents of both distributions' logits from g (B,), that of kl."""
    p, g = xp.exp(logp), g[:, None]
    dp[:] = xp.where(g == 0, 0, g * p * (_log_ratio(p, logp, logq) - kl[:, None]))
    dq[:] = xp.where(g == 0, 0, g * (xp.exp(logq) - p))


def _kl_backward_loop(logp: Array, logq: Array, kl: Array, g: Array,
                      dp: Array, dq: Array) -> None:  # fmt: skip
    for i in range(logp.shape[0]):
        for k in range(logp.shape[1]):
            p = math.exp(logp[i, k])
            dp[i, k] = dq[i, k] = 0
            if g[i] != 0:
                dq[i, k] = g[i] * (math.exp(logq[i, k]) - p)
                if p != 0:
                    dp[i, k] = g[i] * p * (logp[i, k] - logq[i, k] - kl[i])


_log_softmax = Kernel(_log_softmax_loop, _log_softmax_reference, cuda.log_softmax)
_log_softmax_backward = Kernel(
    _log_softmax_backward_loop, _log_softmax_backward_reference, cuda.log_softmax_backward
)
_draw = Kernel(_draw_loop, _draw_reference, cuda.draw)
_log_prob = Kernel(_log_prob_loop, _log_prob_reference, cuda.log_prob)
_log_prob_backward = Kernel(
    _log_prob_backward_loop, _log_prob_backward_reference, cuda.log_prob_backward
)
_entropy = Kernel(_entropy_loop, _entropy_reference, cuda.entropy)
_entropy_backward = Kernel(
    _entropy_backward_loop, _entropy_backward_reference, cuda.entropy_backward
)
_kl = Kernel(_kl_loop, _kl_reference, cuda.kl)
_kl_backward = Kernel(_kl_backward_loop, _kl_backward_reference, cuda.kl_backward)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities (B, K)."""
    logp = empty_like(logits)
    _log_softmax(logits, logp)
    return logp


def log_softmax_backward(logp: Array, g: Array) -> Array:
    dlogits = empty_like(logp)
    _log_softmax_backward(logp, g, dlogits)
    return dlogits


def draw(logp: Array, u: Array) -> Array:
    """Samples (B,), by inverting the cumulative distribution at u (B,) in [0, 1)."""
    a = empty_like(logp, len(logp), np.int64)
    _draw(logp, u, a)
    return a


def log_prob(logp: Array, a: Array) -> Array:
    """logp[a], (B,). An index out of range raises IndexError, except on a GPU."""
    chosen = empty_like(logp, len(logp))
    _log_prob(logp, a, chosen)
    return chosen


def log_prob_backward(logp: Array, a: Array, g: Array) -> Array:
    dlogits = empty_like(logp)
    _log_prob_backward(logp, a, g, dlogits)
    return dlogits


def entropy(logp: Array) -> Array:
    """Entropies (B,) in nats."""
    H = empty_like(logp, len(logp))
    _entropy(logp, H)
    return H


def entropy_backward(logp: Array, H: Array, g: Array) -> Array:
    dlogits = empty_like(logp)
    _entropy_backward(logp, H, g, dlogits)
    return dlogits


def kl(logp: Array, logq: Array) -> Array:
    """KL(p || q), (B,), in the more precise of both types."""
    divergence = empty_like(logp, len(logp), np.result_type(logp.dtype, logq.dtype))
    _kl(logp, logq, divergence)
    return divergence


def kl_backward(logp: Array, logq: Array, kl: Array, g: Array) -> tuple[Array, Array]:
    dp, dq = empty_like(logp), empty_like(logp)
    _kl_backward(logp, logq, kl, g, dp, dq)
    return dp, dq
