"""One number of each row of K, such as the values of the actions taken.

q, dq (N, B, K) for N networks, a (B,) indices of actions, chosen, g (N, B).
"""

from npr.backend import Array, xp
from npr.kernels.cuda import pick as cuda
from npr.kernels.jit import ActionIndexError, Kernel, check_actions


def _pick_reference(q: Array, a: Array, chosen: Array) -> None:
    """chosen <- q[a]."""
    check_actions(a, q.shape[2])
    chosen[:] = q[:, xp.arange(len(a)), a]


def _pick_loop(q: Array, a: Array, chosen: Array) -> None:
    N, B, K = q.shape
    for i in range(B):
        if a[i] < 0 or a[i] >= K:
            raise ActionIndexError("action index out of range 0..K-1")
        for n in range(N):
            chosen[n, i] = q[n, i, a[i]]


def _pick_backward_reference(a: Array, g: Array, dq: Array) -> None:
    """dq <- the cotangent of q from g, that of q[a]."""
    dq[:] = 0
    dq[:, xp.arange(len(a)), a] = g


def _pick_backward_loop(a: Array, g: Array, dq: Array) -> None:
    N, B = g.shape
    dq[:] = 0
    for n in range(N):
        for i in range(B):
            dq[n, i, a[i]] = g[n, i]


pick = Kernel(_pick_loop, _pick_reference, cuda.pick)
pick_backward = Kernel(_pick_backward_loop, _pick_backward_reference, cuda.pick_backward)
