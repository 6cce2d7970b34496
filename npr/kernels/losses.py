"""Losses with their slopes: one pass over a batch."""

from npr.backend import Array, xp
from npr.kernels.cuda import losses as cuda
from npr.kernels.jit import ActionIndexError, Kernel, check_actions


def _mse_reference(x: Array, y: Array) -> tuple[Array, Array]:
    """(the mean of error^2, error) of error = x - y; y is broadcast to x."""
    error = x - y
    return (error * error).sum() / error.size, error


def _surrogate_reference(ratio: Array, A: Array, epsilon: float) -> tuple[Array, Array]:
    """(mean L, the slope of L) of L = min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A)."""
    unclipped, clipped = ratio * A, xp.minimum(xp.maximum(ratio, 1 - epsilon), 1 + epsilon) * A
    L = xp.fmin(unclipped, clipped).sum() / ratio.size  # 0 for an infinite ratio where A is 0
    return L, xp.where(unclipped <= clipped, A, 0)  # the clipped term is constant


def _td_huber_reference(
    q: Array, a: Array, y: Array, w: Array, loss: Array, chosen: Array, slope: Array
) -> None:
    """chosen <- q[a], loss[0] <- mean w huber(chosen - y), slope <- its gradient in q.

    On a device an index that is out of range cannot raise; the kernel makes the row and the loss
    NaN, so that the optimizer skips the step.
    """
    check_actions(a, q.shape[1])
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


# on the host array operations are kept for two of them: a loop would add in another order
mse = Kernel(None, _mse_reference, cuda.mse)
surrogate = Kernel(None, _surrogate_reference, cuda.surrogate)
td_huber = Kernel(_td_huber_loop, _td_huber_reference, cuda.td_huber)
