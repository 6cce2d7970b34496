"""Action-value networks, one class per way to pass the action: as an output of the network, if the
values of all actions are computed at once, or as an input.
"""

from collections.abc import Sequence
from typing import Any

from npr.autodiff import Tensor, record, stop_gradient
from npr.backend import Array, contiguous, empty_like
from npr.envs.spaces import Actions
from npr.errors import ConfigError
from npr.kernels import mlp as networks
from npr.kernels import pick as kernels
from npr.nn import MLP


def critic(n: int, actions: Actions, hidden: Sequence[int], **options: Any) -> MLP:
    """The network Q(theta, s, a) for states (B, n) and these actions; options as in nn.MLP."""
    kind = OutputCritic if actions.enumerable else InputCritic
    return kind(n, actions, hidden, **options)


class OutputCritic(MLP):
    """For Discrete actions: one output per action."""

    def __init__(self, n: int, actions: Actions, hidden: Sequence[int], **options: Any):
        super().__init__(n, hidden, actions.size, **options)

    def __call__(self, theta: Any, s: Any, a: Array | None = None) -> Any:
        """Values (B,) or (rows, B) of actions (B,); a=None: of all actions, (B, K)."""
        q = super().__call__(theta, s)
        if a is None:
            return q
        return pick(q, a)


def chosen(theta: Array, index: Array | None) -> Array:
    """The parameters (M, size) of the critics `index` (M,) of theta (N, size), a copy; None: theta
    itself. Gradients do not pass: it is for targets."""
    if index is None:
        return theta
    out = empty_like(theta, (len(index), theta.shape[1]))
    networks.chosen(theta, index, out)
    return out


def pick(q: Any, a: Array) -> Any:
    """One number of each row of q (..., K): that of the action, (...).

    a   indices of actions, of q's shape without K, or for several networks (N, ..., K) without N
        and K. An index out of range raises IndexError; on a GPU the number is NaN
    """
    plain = stop_gradient(q)
    shape, K = plain.shape[:-1], plain.shape[-1]
    if a.shape not in (shape, shape[1:]):
        raise ConfigError(f"Values {plain.shape} need actions of shape {shape}, got {a.shape}.")
    a = contiguous(a).reshape(-1)
    rows = contiguous(plain).reshape(-1, len(a), K)
    chosen = empty_like(plain, rows.shape[:-1])
    kernels.pick(rows, a, chosen)
    chosen = chosen.reshape(shape)
    if type(q) is not Tensor:
        return chosen

    def pullback(g: Array) -> list[Array]:
        dq = empty_like(plain, rows.shape)
        kernels.pick_backward(a, contiguous(g).reshape(rows.shape[:-1]), dq)
        return [dq.reshape(plain.shape)]

    return record(chosen, [q], pullback, "pick", (q, a))


class InputCritic(MLP):
    """For other actions: inputs of the network, concatenated with the state."""

    def __init__(self, n: int, actions: Actions, hidden: Sequence[int], **options: Any):
        super().__init__([n, actions.size], hidden, None, **options)
        self.actions = actions

    def __call__(self, theta: Any, s: Any, a: Any) -> Any:
        """Values (B,) or (rows, B) of actions (B, ...)."""
        return super().__call__(theta, s, self.actions.encode(a))
