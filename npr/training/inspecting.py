"""What an agent observes, computes and does for one observation: `agent.inspect(observation)`."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from npr.autodiff.nodes import number, text
from npr.backend import FLOAT, to_device, to_host
from npr.envs.spaces import Actions
from npr.errors import ConfigError
from npr.heads import Head, ProductHead, masked
from npr.heads.masks import masked_bits
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN

_LONG = 8  # numbers of an array that are written out
_MANY = 12  # actions that have a line of their own
_LABELS = {
    "q_values": "Q", "advantages": "advantage", "state_value": "dueling network's V",
    "probabilities_of_1": "probabilities of 1", "before_tanh": "before tanh",
}  # fmt: skip
_COLUMNS = _LABELS | {"probabilities": "probability"}  # of one action in its line


@dataclass
class Inspection:
    """What `agent.inspect` returns; print it. What does not apply is None.

    agent          algorithm and environment, as text
    observation    as it was given
    inputs         the numbers that the network gets, (size,); of a table the index of its row
    normalized     whether they are standardized by the running moments of normalize_obs
    head           the name of the head, which says how the action follows from the outputs
    distribution   what the head makes of the outputs, in the agent's units:
                   "q_values" (K,) of Discrete actions, -inf for those that the mask forbids;
                   of a dueling network also "state_value" and "advantages" (K,), of mean 0;
                   "probabilities" (K,), of MultiDiscrete actions a list with those of each index;
                   "probabilities_of_1" (D,) of MultiBinary ones; "mean" and "std" (D,) of a
                   Gaussian, before tanh where there is one; "before_tanh" (D,) of a deterministic
                   policy; "particles" (n, D), sampled actions of SoftQ; else "outputs".
                   Of Dict and Tuple actions: one such dict for each part, by key
    value          V(s) of the critic
    critic         Q of the critics: of the chosen action () or (n_critics,), or of all Discrete
                   actions (K,) or (n_critics, K)
    mask           (mask_size,) 1 for what is allowed
    choice         the deterministic action as the agent has it: an index, or numbers in [-1, 1]
    clipped        whether a number of it was outside of the bounds of the action space
    action         the action that the environment gets: that of predict(deterministic=True)
    names          of the Discrete actions, (K,): those that the environment has, or its numbers
    """

    agent: str
    observation: Any
    inputs: Any
    normalized: bool
    head: str
    distribution: dict[Any, Any]
    choice: Any
    action: Any
    clipped: bool = False
    value: float | None = None
    critic: np.ndarray | None = None
    mask: np.ndarray | None = None
    names: list[str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The attributes by name, without those that are None."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in held.items() if value is not None}

    @property
    def q_values(self) -> np.ndarray | None:
        """distribution["q_values"], if the policy has action values."""
        return self.distribution.get("q_values")

    @property
    def probabilities(self) -> Any:
        """distribution["probabilities"], if there are some."""
        return self.distribution.get("probabilities")

    @property
    def mean(self) -> np.ndarray | None:
        """distribution["mean"], of a Gaussian."""
        return self.distribution.get("mean")

    @property
    def std(self) -> np.ndarray | None:
        """distribution["std"], of a Gaussian."""
        return self.distribution.get("std")

    @property
    def particles(self) -> np.ndarray | None:
        """distribution["particles"], of SoftQ's sampler."""
        return self.distribution.get("particles")

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(label) for label, _ in rows)
        lines = [f"{label.ljust(width)}  {words}".rstrip() for label, words in rows]
        return "\n".join([self.agent, *lines])

    __repr__ = __str__

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Labels, and what is beside them."""
        yield "observation", _words(self.observation)
        if isinstance(self.inputs, int):
            yield "row of the table", str(self.inputs)
        elif self.normalized:
            yield "normalized", text(self.inputs, _LONG)
        elif text(self.inputs, _LONG) != _words(self.observation):
            yield "network input", text(self.inputs, _LONG)
        if self.mask is not None:
            yield "mask", text(self.mask.astype(int), 2 * _LONG)
        if self.names is None:
            yield from _described(self.distribution, self.head)
        else:
            yield from self._table(self.names)
        if self.value is not None:
            yield "value V", number(self.value)
        if self.critic is not None and self.names is None:
            yield "critic's Q", text(self.critic, _LONG)
        if self.names is not None:
            name = self.names[self.choice]
            also = "" if name == str(self.action) else f"  {name}"
            yield "action", f"{_words(self.action)}{also}"
            return
        yield "action of the agent", _words(self.choice)
        clipped = "  clipped to the bounds" if self.clipped else ""
        yield "action", f"{_words(self.action)}{clipped}"

    def _table(self, names: list[str]) -> Iterator[tuple[str, str]]:
        """One line for each Discrete action, or for those of the largest numbers."""
        K, columns = len(names), {}
        for name, x in self.distribution.items():
            if np.shape(x) == (K,):
                columns[_COLUMNS.get(name, name)] = x
            else:
                yield _COLUMNS.get(name, name), _words(x)
        if self.critic is not None:
            critics = self.critic.reshape(-1, K)
            numbers = [""] if len(critics) == 1 else range(1, len(critics) + 1)
            columns |= {f"critic's Q{i}": q for i, q in zip(numbers, critics)}
        first = next(iter(columns.values()), np.zeros(K))
        order = [int(i) for i in np.argsort(-np.asarray(first), kind="stable")[:_MANY]]
        if self.choice not in order:
            order[-1] = self.choice
        cells = [["action", *columns]]
        for i in sorted(order):
            row = [names[i], *(_cell(column[i]) for column in columns.values())]
            cells.append(row)
        widths = [max(map(len, column)) for column in zip(*cells)]
        for i, row in zip((-1, *sorted(order)), cells):
            words = "  ".join(map(str.rjust, row, widths))
            yield ("policy" if i < 0 else ""), words + ("  <- chosen" if i == self.choice else "")
        if len(names) > len(order):
            yield "", f"{len(names) - len(order)} other actions are left out"


def inspect(
    agent: Any, observation: Any, action_masks: Any = None, names: Sequence[str] | None = None
) -> Inspection:
    """See Agent.inspect."""
    policy = agent.policy
    seen, actions, head = policy.observations, policy.actions, policy.head
    action = policy(observation, True, None, action_masks)  # first, since it checks
    if seen.batched(observation):
        raise ConfigError(
            "inspect takes one observation, got a batch. Give one of them, such as obs[0]."
        )
    x, mask = policy.encode(observation), None
    if action_masks is not None:
        mask = np.empty((1, actions.mask_size), FLOAT)
        actions.write_mask(action_masks, mask[0])
    table = policy.sizes is None
    noise = np.zeros((1, head.noise_inputs), x.dtype)
    y = policy.outputs(x if table or not noise.size else np.concatenate([x, noise], axis=-1))
    choice = policy.choose(x, True, None, mask)
    distribution = _distribution(head, y, mask)
    if head.noise_inputs:
        distribution = {"particles": _particles(agent, policy, x)}
    critic, value = (None, None) if table else _values(agent, x, mask, choice)
    return Inspection(
        agent=f"{type(agent).__name__} on {agent.env_name}",
        observation=observation,
        inputs=int(x[0]) if table else x[0],
        normalized=policy.norm is not None,
        head=head.name,
        distribution=distribution,
        choice=int(choice[0]) if actions.kind == "discrete" else choice[0],
        action=action,
        clipped=_clipped(actions, choice[0]),
        value=value,
        critic=critic,
        mask=None if mask is None else mask[0],
        names=_names(agent, actions, names),
    )


def _distribution(head: Head, y: np.ndarray, mask: np.ndarray | None) -> dict[Any, Any]:
    """What a head makes of its outputs y (1, outputs + free)."""
    name, D = head.name, head.actions.size
    if name in ("table", "argmax"):
        return {"q_values": masked(y, mask)[0]}
    if name == "dueling":
        V, A = y[:, :1], y[:, 1:]
        q = masked(V + A - A.mean(axis=-1, keepdims=True), mask)[0]
        return {"q_values": q, "advantages": A[0] - A[0].mean(), "state_value": float(V[0, 0])}
    if name == "categorical":
        return {"probabilities": _softmax(masked(y, mask) / head.temperature)[0]}
    if name == "multi_categorical":
        y = masked(y, mask)
        ends = np.cumsum(head.actions.nvec)  # type: ignore[attr-defined]
        return {"probabilities": [_softmax(part)[0] for part in np.split(y, ends[:-1], axis=-1)]}
    if name == "bernoulli":
        return {"probabilities_of_1": (0.5 + 0.5 * np.tanh(0.5 * masked_bits(y, mask)))[0]}
    if isinstance(head, ProductHead):
        each = zip(head.parts, head.split(y, np.concatenate), head.actions.masks(mask))
        parts = [_distribution(part, out, one) for part, out, one in each]
        return dict(zip(head.actions.keys, parts))
    if name == "gaussian":
        return {"mean": y[0, :D], "std": np.exp(y[0, D:])}
    if name == "tanh_gaussian":
        return {"mean": y[0, :D], "std": np.exp(np.clip(y[0, D:], LOG_STD_MIN, LOG_STD_MAX))}
    return {"before_tanh" if name == "tanh" else "outputs": y[0]}


def _softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    q: np.ndarray = p / p.sum(axis=-1, keepdims=True)
    return q


def _particles(agent: Any, policy: Any, x: np.ndarray) -> np.ndarray:
    """Actions (n, D) that the sampler draws at x (1, size), with a generator of their own."""
    rows = np.repeat(x, getattr(agent, "n_particles", 16), axis=0)
    a: np.ndarray = policy.choose(rows, False, np.random.default_rng(0))
    return a


def _values(
    agent: Any, x: np.ndarray, mask: np.ndarray | None, choice: np.ndarray
) -> tuple[np.ndarray | None, float | None]:
    """Q of the critics, of all Discrete actions or of the one chosen, and V of the critic."""
    critic, value = None, None
    if agent.mask_size:  # the rows that it learns from end with masks
        allowed = np.ones((1, agent.mask_size), FLOAT) if mask is None else mask
        x = np.concatenate([x, allowed], axis=-1)
    s = to_device(x)
    if found := agent.values_by():
        Q, theta = found
        if agent.actions.enumerable:
            q = to_host(Q(theta, s))[..., 0, :]
            critic = q if mask is None else masked(q, mask[0])
        else:
            critic = to_host(Q(theta, s, to_device(choice)))[..., 0]
    if found := agent.state_values_by():
        V, phi = found
        value = float(to_host(V(phi, s))[0])
    return critic, value


def _clipped(actions: Actions, a: np.ndarray) -> bool:
    """Whether a number of a box is outside of its bounds, before it is clipped."""
    outside = False
    for part, x in actions.leaves(a):
        if part.kind == "box":
            low, high, *_ = part.bounds  # type: ignore[attr-defined]
            scaled = np.isfinite(low) & np.isfinite(high)
            beyond = np.where(scaled, abs(x) > 1, (x < low) | (x > high))
            outside = outside or bool(beyond.any())
    return outside


def _names(agent: Any, actions: Actions, given: Sequence[str] | None) -> list[str] | None:
    """The names of Discrete actions."""
    if actions.kind != "discrete":
        if given is not None:
            raise ConfigError(f"names are those of Discrete actions; the agent's are {actions}.")
        return None
    K, start = actions.size, actions.start  # type: ignore[attr-defined]
    if given is None:
        for env in agent.envs.bases()[:1] if agent.envs is not None else ():
            meanings = getattr(getattr(env, "unwrapped", env), "get_action_meanings", None)
            given = meanings() if callable(meanings) else None
    elif len(given) != K:
        raise ConfigError(f"There are {K} actions, got {len(given)} names: {given!r}.")
    if given is None or len(given) != K:
        given = [str(start + i) for i in range(K)]
    return [str(name) for name in given]


# ---- text


def _described(found: dict[Any, Any], head: str, key: str = "") -> Iterator[tuple[str, str]]:
    """Lines of a distribution; `key` is that of the part of a Dict or Tuple."""
    for name, x in found.items():
        before = f"{key} " if key else ""
        if isinstance(x, dict):
            yield from _described(x, head, f"{before}{name}")
        elif isinstance(x, list):
            for i, p in enumerate(x):
                yield f"{before}index {i}", text(p, _LONG)
        elif name == "particles":
            some = np.sort(x[:, 0]) if x.shape[1] == 1 else x
            lines = textwrap.wrap(text(some, 4 * _LONG), 76)
            yield from zip(["particles", *[""] * (len(lines) - 1)], lines)
        else:
            tanh = " before tanh" if head == "tanh_gaussian" else ""
            yield f"{before}{_LABELS.get(name, name)}{tanh}", text(x, _LONG)


def _cell(x: Any) -> str:
    return "forbidden" if x == -np.inf else number(x)


def _words(x: Any) -> str:
    """An observation or an action as one line."""
    if isinstance(x, dict):
        return "{" + ", ".join(f"{key}: {_words(one)}" for key, one in x.items()) + "}"
    if isinstance(x, tuple):
        return "(" + ", ".join(map(_words, x)) + ")"
    try:
        return text(np.asarray(x), _LONG)
    except ValueError:
        return repr(x)
