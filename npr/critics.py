"""Action-value networks, one class per way to pass the action: as an output of the network, if the
values of all actions are computed at once, or as an input.
"""

from typing import Any

from npr.autodiff import pick
from npr.backend import Array, xp
from npr.envs.spaces import Actions
from npr.nn import MLP


def critic(n: int, actions: Actions, hidden: list[int], activation: str,
           rows: int | None = None) -> MLP:  # fmt: skip
    """The network Q(theta, s, a) for states (B, n) and these actions; `rows` as in nn.MLP."""
    kind = OutputCritic if actions.enumerable else InputCritic
    return kind(n, actions, hidden, activation, rows)


class OutputCritic(MLP):
    """For Discrete actions: one output per action."""

    def __init__(self, n: int, actions: Actions, hidden: list[int], activation: str,
                 rows: int | None = None):  # fmt: skip
        super().__init__(n, hidden, actions.size, activation, rows=rows)

    def __call__(self, theta: Any, s: Any, a: Array | None = None) -> Any:
        """Values (B,) or (rows, B) of actions (B,); a=None: of all actions, (B, K)."""
        q = super().__call__(theta, s)
        if a is None:
            return q
        return pick(q, xp.stack([a] * self.rows) if self.rows else a)


class InputCritic(MLP):
    """For other actions: inputs of the network, concatenated with the state."""

    def __init__(self, n: int, actions: Actions, hidden: list[int], activation: str,
                 rows: int | None = None):  # fmt: skip
        super().__init__([n, actions.size], hidden, None, activation, rows=rows)
        self.actions = actions

    def __call__(self, theta: Any, s: Any, a: Any) -> Any:
        """Values (B,) or (rows, B) of actions (B, ...)."""
        return super().__call__(theta, s, self.actions.encode(a))
