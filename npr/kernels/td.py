"""The Huber loss of temporal differences, with its slope: one pass over the batch."""

from npr.backend import ON_HOST, Array, xp
from npr.kernels.jit import ActionIndexError, Kernel


def _td_huber_reference(
    q: Array, a: Array, y: Array, w: Array, loss: Array, chosen: Array, slope: Array
) -> None:
    """chosen <- q[a], loss[0] <- mean w huber(chosen - y), slope <- its gradient in q."""
    if ON_HOST and (a < 0).any():
        raise ActionIndexError("action index out of range 0..K-1")
    rows = xp.arange(len(q))
    chosen[:] = q[rows, a]
    error = chosen - y
    bounded = xp.clip(error, -1, 1)
    loss[0] = (w * bounded * (error - 0.5 * bounded)).sum() / len(q)
    slope[:] = 0
    slope[rows, a] = w * bounded / len(q)


def _td_huber_loop(
    q: Array, a: Array, y: Array, w: Array, loss: Array, chosen: Array, slope: Array
) -> None:
    B, K = q.shape
    total = 0.0
    one, half, size = q.dtype.type(1), q.dtype.type(0.5), q.dtype.type(B)
    for i in range(B):
        for k in range(K):
            slope[i, k] = 0
        if a[i] < 0 or a[i] >= K:
            raise ActionIndexError("action index out of range 0..K-1")
        value = q[i, a[i]]
        error = value - y[i]
        bounded = error  # NaN propagates
        if error > one:
            bounded = one
        elif error < -one:
            bounded = -one
        chosen[i] = value
        slope[i, a[i]] = w[i] * bounded / size
        total += w[i] * bounded * (error - half * bounded)
    loss[0] = total / B


td_huber = Kernel(_td_huber_loop, _td_huber_reference)
