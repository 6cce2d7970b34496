"""One choice of K: log-probabilities, a draw and an entropy, with the ways back to the logits.

logits, logp (B, K); a (B,) choices; each is one pass over the batch.
"""

import math

import numpy as np

from npr.backend import ON_HOST, xp
from npr.kernels.jit import ChoiceError, Kernel


def _log_softmax_twin(logits, logp):
    """logp <- logits - log sum exp(logits)."""
    x = logits - logits.max(axis=1, keepdims=True)
    logp[:] = x - xp.log(xp.exp(x).sum(axis=1, keepdims=True))


def _log_softmax_loop(logits, logp):
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


def _log_softmax_backward_twin(logp, g, dlogits):
    """dlogits <- the cotangent of the logits from g (B, K), that of logp."""
    dlogits[:] = g - xp.exp(logp) * g.sum(axis=1, keepdims=True)


def _log_softmax_backward_loop(logp, g, dlogits):
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in g[i]:
            total += x
        for k in range(logp.shape[1]):
            dlogits[i, k] = g[i, k] - math.exp(logp[i, k]) * total


def _draw_twin(logp, u, a):
    """a <- choices, by inverting the distribution function at u (B,) in [0, 1)."""
    reached = xp.cumsum(xp.exp(logp), axis=1)
    # scaled by the last sum, so that rounding cannot lead past the last choice
    a[:] = (reached <= u[:, None] * reached[:, -1:]).sum(axis=1)


def _draw_loop(logp, u, a):
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in logp[i]:
            total += math.exp(x)
        reached, mass = logp.dtype.type(0), u[i] * total
        a[i] = 0
        for x in logp[i]:
            reached += math.exp(x)
            a[i] += reached <= mass


def _log_prob_twin(logp, a, chosen):
    """chosen <- logp[a]."""
    if ON_HOST and (a < 0).any():
        raise ChoiceError("a choice lies outside of 0..K-1")
    chosen[:] = logp[xp.arange(len(logp)), a]


def _log_prob_loop(logp, a, chosen):
    for i in range(logp.shape[0]):
        if a[i] < 0 or a[i] >= logp.shape[1]:
            raise ChoiceError("a choice lies outside of 0..K-1")
        chosen[i] = logp[i, a[i]]


def _log_prob_backward_twin(logp, a, g, dlogits):
    """dlogits <- the cotangent of the logits from g (B,), that of logp[a]."""
    dlogits[:] = -g[:, None] * xp.exp(logp)
    dlogits[xp.arange(len(logp)), a] += g


def _log_prob_backward_loop(logp, a, g, dlogits):
    for i in range(logp.shape[0]):
        for k in range(logp.shape[1]):
            chosen = g[i] if k == a[i] else 0 * g[i]
            dlogits[i, k] = chosen - g[i] * math.exp(logp[i, k])


def _entropy_twin(logp, H):
    """H <- -sum p log p, where 0 log 0 = 0."""
    H[:] = -(xp.exp(logp) * xp.where(logp == -math.inf, 0, logp)).sum(axis=1)


def _entropy_loop(logp, H):
    for i in range(logp.shape[0]):
        total = logp.dtype.type(0)
        for x in logp[i]:
            if x != -math.inf:
                total -= math.exp(x) * x
        H[i] = total


def _entropy_backward_twin(logp, H, g, dlogits):
    """dlogits <- the cotangent of the logits from g (B,), that of H."""
    finite = xp.where(logp == -math.inf, 0, logp)
    dlogits[:] = -g[:, None] * xp.exp(logp) * (finite + H[:, None])


def _entropy_backward_loop(logp, H, g, dlogits):
    for i in range(logp.shape[0]):
        for k in range(logp.shape[1]):
            x = logp[i, k]
            if x == -math.inf:
                dlogits[i, k] = 0
            else:
                dlogits[i, k] = -g[i] * math.exp(x) * (x + H[i])


_log_softmax = Kernel(_log_softmax_loop, _log_softmax_twin)
_log_softmax_backward = Kernel(_log_softmax_backward_loop, _log_softmax_backward_twin)
_draw = Kernel(_draw_loop, _draw_twin)
_log_prob = Kernel(_log_prob_loop, _log_prob_twin)
_log_prob_backward = Kernel(_log_prob_backward_loop, _log_prob_backward_twin)
_entropy = Kernel(_entropy_loop, _entropy_twin)
_entropy_backward = Kernel(_entropy_backward_loop, _entropy_backward_twin)


def log_softmax(logits):
    """Log-probabilities (B, K)."""
    logp = xp.empty(logits.shape, logits.dtype)
    _log_softmax(logits, logp)
    return logp


def log_softmax_backward(logp, g):
    dlogits = xp.empty(logp.shape, logp.dtype)
    _log_softmax_backward(logp, g, dlogits)
    return dlogits


def draw(logp, u):
    """Choices (B,), by inverting the distribution function at u (B,) in [0, 1)."""
    a = xp.empty(len(logp), np.int64)
    _draw(logp, u, a)
    return a


def log_prob(logp, a):
    """logp[a], (B,). A choice that there is not raises IndexError; a GPU does not look."""
    chosen = xp.empty(len(logp), logp.dtype)
    _log_prob(logp, a, chosen)
    return chosen


def log_prob_backward(logp, a, g):
    dlogits = xp.empty(logp.shape, logp.dtype)
    _log_prob_backward(logp, a, g, dlogits)
    return dlogits


def entropy(logp):
    """Entropies (B,) in nats."""
    H = xp.empty(len(logp), logp.dtype)
    _entropy(logp, H)
    return H


def entropy_backward(logp, H, g):
    dlogits = xp.empty(logp.shape, logp.dtype)
    _entropy_backward(logp, H, g, dlogits)
    return dlogits
