"""What an agent sees, thinks and does for one observation: `agent.inspect(observation)`."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.autodiff.nodes import number, text
from npr.backend import FLOAT, to_device, to_host
from npr.envs.spaces import Actions
from npr.errors import ConfigError
from npr.heads import masked

_LONG = 8  # numbers of an array that are written out
_MANY = 12  # actions that have a line of their own
_COLUMNS = {"q_values": "Q", "advantages": "advantage", "probabilities": "probability"}
_LABELS = {"state_value": "dueling network's V"}


@dataclass
class Inspection:
    """What `agent.inspect` returns; print it. What does not apply is None.

    agent          algorithm and environment, as text
    observation    as it was given
    inputs         the numbers that the network gets, (size,); of a table the index of its row
    normalized     whether they are standardized by the running moments of normalize_obs
    distribution   what the head's `describe` makes of the outputs, in the agent's units:
                   "q_values" (K,) of Discrete actions, -inf for those that the mask forbids;
                   of a dueling network also "state_value" and "advantages" (K,), of mean 0;
                   "probabilities" (K,), of MultiDiscrete actions a list with those of each index;
                   "probabilities_of_1" (D,) of MultiBinary ones; "mean" and "std" (D,) of a
                   Gaussian, "mean_before_tanh" and "std_before_tanh" of one before tanh;
                   "before_tanh" (D,) of a deterministic policy; "particles" (n, D), sampled
                   actions of SoftQ; "outputs" of a head that has no `describe`.
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
    distribution: dict[Any, Any]
    choice: Any
    action: Any
    clipped: bool = False
    value: float | None = None
    critic: np.ndarray | None = None
    mask: np.ndarray | None = None
    names: list[str] | None = None

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
            yield from _described(self.distribution)
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
                columns[_COLUMNS.get(name, _label(name))] = x
            else:
                yield _label(name), _words(x)
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
    choice = policy.choose(x, True, None, mask)
    if head.noise_inputs:
        distribution = {"particles": _particles(agent, policy, x)}
    else:
        y = policy.outputs(x)
        distribution = head.describe(y[0], None if mask is None else mask[0])
    critic, value = (None, None) if table else _values(agent, x, mask, choice)
    return Inspection(
        agent=f"{type(agent).__name__} on {agent.env_name}",
        observation=observation,
        inputs=int(x[0]) if table else x[0],
        normalized=policy.norm is not None,
        distribution=distribution,
        choice=int(choice[0]) if actions.kind == "discrete" else choice[0],
        action=action,
        clipped=_clipped(actions, choice[0]),
        value=value,
        critic=critic,
        mask=None if mask is None else mask[0],
        names=_names(agent, actions, names),
    )


def _particles(agent: Any, policy: Any, x: np.ndarray) -> np.ndarray:
    """Actions (n, D) that the sampler draws at x (1, size), with a generator of their own, in the
    order of their first numbers."""
    rows = np.repeat(x, getattr(agent, "n_particles", 16), axis=0)
    a: np.ndarray = policy.choose(rows, False, np.random.default_rng(0))
    return a[a[:, 0].argsort()]


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


def _described(found: dict[Any, Any], part: str = "") -> Iterator[tuple[str, str]]:
    """Lines of a distribution, of one part of Dict or Tuple actions."""
    for name, x in found.items():
        if isinstance(x, dict):
            yield from _described(x, f"{part}{name} ")
        elif isinstance(x, list):
            for i, p in enumerate(x):
                yield f"{part}index {i}", text(p, _LONG)
        elif np.ndim(x) == 2:
            rows = x[:, 0] if x.shape[1] == 1 else x
            lines = textwrap.wrap(text(rows, 4 * _LONG), 76)
            yield from zip([f"{part}{_label(name)}", *[""] * (len(lines) - 1)], lines)
        else:
            yield f"{part}{_label(name)}", _words(x)


def _label(name: Any) -> str:
    return _LABELS.get(name, str(name).replace("_", " "))


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
