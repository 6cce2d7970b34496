"""What a policy computes, as plain arrays: the description that every writer starts from.

    numbers of the observation -> encode -> normalize -> layers -> head -> scale and clip -> action

`graph_of(policy)` makes it, and `Graph` computes it with NumPy: the reference for what is written.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from npr.backend import is_finite
from npr.envs.spaces import Actions, GroupActions, GroupObservations, Observations, spans
from npr.errors import ConfigError
from npr.heads import Head, ProductHead
from npr.kernels.mlp import gains, layers
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN
from npr.nn import activations, normalized
from npr.policy import ACTIVATIONS, Policy

Array = np.ndarray[Any, Any]

# the noise that each head samples from: numbers per action, from their distribution
NOISE = {
    "argmax": "uniform", "categorical": "uniform", "multi_categorical": "uniform",
    "bernoulli": "uniform", "gaussian": "normal", "tanh_gaussian": "normal", "sampler": "normal",
}  # fmt: skip
_FLOAT = np.finfo(np.float32)
_SAME = {"table": "argmax", "dueling": "argmax"}  # chosen in the same way
_HEADS = (*NOISE, *_SAME, "tanh", "product")


@dataclass(frozen=True)
class Part:
    """A part of the observation, and how the network sees it.

    numbers   of the observation: one for an index
    inputs    of the network
    divisor   numbers are divided by it: 255 for images, else 1
    start     None for numbers; for an index the smallest, and the inputs are one-hot
    name      of a part of a Dict or Tuple; "" else
    """

    numbers: int
    inputs: int
    divisor: float = 1.0
    start: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Layer:
    """activation(W x + b), with one row of W (m, n) per output.

    gain   (m,) with layer normalization, activation(LN(W x) * gain + b); else None
    """

    W: Array
    b: Array
    activation: str = "identity"
    gain: Array | None = None

    def __call__(self, x: Array) -> Array:
        z = x @ self.W.T
        if self.gain is not None:
            z = normalized(z) * self.gain
        y: Array = ACTIVATIONS[self.activation](z + self.b)
        return y


@dataclass(frozen=True)
class Norm:
    """clip((x - mean) * scale, -clip, clip)"""

    mean: Array
    scale: Array
    clip: float

    def __call__(self, x: Array) -> Array:
        y: Array = np.clip((x - self.mean) * self.scale, -self.clip, self.clip)
        return y


@dataclass(frozen=True)
class Graph:
    """A policy.

    parts         of the observation, in order
    norm          of the encoded observation; None: it is not normalized
    hidden        the hidden layers
    output        K outputs: scores of choices, log odds of bits, or means of box actions
    log_std       gaussian and tanh_gaussian: the log standard deviations, a Layer of the last
                  hidden values, or an array (D,) that does not depend on them; else None
    table         the best action of each state (states,), instead of layers; with masks all actions
                  of each (states, K), the best first, and K in place of those whose value is -inf.
                  Else None
    head          argmax, categorical, multi_categorical, bernoulli, gaussian, tanh_gaussian, tanh,
                  sampler, whose noise is further inputs of the network, or product
    kind          of actions: discrete, multidiscrete, multibinary, box, or group (Dict or Tuple)
    choices       the number of choices of each index; empty for multibinary and box
    start         the smallest action of each index
    low, high     bounds of box actions (D,), infinite ones where there are none
    middle, half  box actions are middle + half * the head's
    epsilon       argmax: the probability of a random action, if noise is given
    temperature   categorical: divides the scores, if noise is given
    masked        whether it takes masks of actions; always false for box actions
    members       product: a graph for each part of the action, without a network but `output`, the
                  rows of this one's. Outputs, actions, noise and masks are those of the members,
                  one after the other
    label         of a member, its keys in the Dict or Tuple; "" else
    """

    parts: tuple[Part, ...]
    norm: Norm | None
    hidden: tuple[Layer, ...]
    output: Layer
    log_std: Layer | Array | None
    table: Array | None
    head: str
    kind: str
    choices: tuple[int, ...]
    start: tuple[int, ...]
    low: Array
    high: Array
    middle: Array
    half: Array
    epsilon: float = 0.0
    temperature: float = 1.0
    masked: bool = False
    members: tuple["Graph", ...] = ()
    label: str = ""

    # ---- sizes

    @property
    def numbers(self) -> int:
        """Numbers of an observation."""
        return sum(part.numbers for part in self.parts)

    @property
    def actions(self) -> int:
        """Numbers of an action."""
        if self.members:
            return sum(member.actions for member in self.members)
        return len(self.choices) or len(self.low)

    @property
    def noise(self) -> int:
        """Numbers of noise of a sampled action; 0: the policy is deterministic."""
        if self.head == "argmax":
            return 2 if self.epsilon else 0
        return self.actions if self.members or self.head in NOISE else 0

    @property
    def distributions(self) -> list[str]:
        """Of each number of noise: uniform or normal."""
        if self.members:
            return [one for member in self.members for one in member.distributions]
        return [NOISE[self.head]] * self.noise if self.noise else []

    @property
    def whole(self) -> list[bool]:
        """Whether each number of an action is a whole one."""
        if self.members:
            return [one for member in self.members for one in member.whole]
        return [self.kind != "box"] * self.actions

    @property
    def smallest(self) -> list[int]:
        """The smallest value of each index and bit."""
        if self.members:
            return [one for member in self.members for one in member.smallest]
        return [] if self.kind == "box" else list(self.start) or [0] * self.actions

    @property
    def places(self) -> list[tuple["Graph", slice, slice, slice]]:
        """Each member, and the places of its outputs, of its actions and noise, and of its mask."""
        sizes = [(len(one.output.b), one.actions, one.mask) for one in self.members]
        columns = [[slice(*span) for span in spans(each)] for each in zip(*sizes)]
        return list(zip(self.members, *columns))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the part of a mask for each index or bit starts and ends; none without masks."""
        if not self.masked:
            return []
        if self.members:
            widths = [j - i for member in self.members for i, j in member.spans]
            return spans(widths)
        return spans(self.choices or [2] * self.actions)

    @property
    def mask(self) -> int:
        """Numbers of a mask of actions, see npr.heads.masks; 0: it takes none."""
        return sum(end - start for start, end in self.spans)

    @property
    def macs(self) -> int:
        """Multiplications of weights for a deterministic action."""
        return sum(layer.W.size for layer in (*self.hidden, self.output))

    @property
    def squashed(self) -> bool:
        """Whether the head applies tanh to the outputs."""
        return self.head in ("tanh", "tanh_gaussian", "sampler")

    # ---- the reference

    def __call__(
        self, observations: Array, noise: Array | None = None, mask: Array | None = None
    ) -> Array:
        """Environments' actions for rows of numbers (B, numbers): (B,) for discrete ones, else
        (B, actions). An index or bit for which a mask allows nothing is one less than the smallest.

        noise   (B, noise), from the distribution in NOISE; None: deterministic actions
        mask    (B, mask), not 0 for what is allowed; None: all is allowed
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return self.scale(self.choose(self.encode(observations), noise, mask))

    def outputs(self, observations: Array) -> Array:
        """The outputs (B, K) of a network for rows of numbers; not finite where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.output(self.features(self.encode(observations)))

    def widened(self) -> "Graph":
        """The same policy of floats with all numbers in float64."""
        widened: Graph = _widened(self)
        return widened

    def encode(self, observations: Array) -> Array:
        """The network's inputs (B, n) for rows of numbers; the states (B,) for a table."""
        rows = self.inputs(observations)
        if self.table is not None:
            return rows
        divisors = [np.full(part.inputs, part.divisor, np.float32) for part in self.parts]
        rows = (rows / np.concatenate(divisors)).astype(self.output.W.dtype)
        return rows if self.norm is None else self.norm(rows)

    def inputs(self, observations: Array) -> Array:
        """The network's inputs (B, n) before they are divided and normalized: numbers as they are,
        indices one-hot; the states (B,) for a table."""
        columns, i = [], 0
        for part in self.parts:
            x = observations[:, i : i + part.numbers]
            i += part.numbers
            if part.start is not None:
                index = x.astype(np.int64) - part.start
                if self.table is not None:
                    return index[:, 0]
                x = (index == np.arange(part.inputs)).astype(np.float32)
            columns.append(x)
        return np.concatenate(columns, axis=-1)

    def decode(self, rows: Array) -> Array:
        """The numbers (B, numbers) of rows as `Observations.encode` gives them, or of the states
        (B,) of a table: the inverse of `encode` without its normalization."""
        if self.table is not None:
            return (rows[:, None] + (self.parts[0].start or 0)).astype(np.float32)
        columns, i = [], 0
        for part in self.parts:
            x = rows[:, i : i + part.inputs]
            i += part.inputs
            if part.start is not None:
                x = x.argmax(axis=-1)[:, None] + part.start
            elif part.divisor != 1:
                x = np.rint(x * part.divisor)
            columns.append(x)
        return np.concatenate(columns, axis=-1).astype(np.float32)

    def choose(self, x: Array, noise: Array | None = None, mask: Array | None = None) -> Array:
        """The agent's actions for encoded observations, before scaling to the action space."""
        if self.table is None:
            h = self.features(x, noise)
            return self.chosen(self.output(h), h, noise, mask)
        best = self.table[x]
        if self.masked:
            ranked = best < self.choices[0]
            if mask is not None:  # those that have no rank are not allowed
                allowed = np.append(mask > 0, np.zeros((len(mask), 1), bool), axis=-1)
                ranked = np.take_along_axis(allowed, best, axis=-1)
            place = self._explored(_nth(ranked, np.zeros(len(x))), noise, ranked)
            chosen = np.take_along_axis(best, place[:, None], axis=-1)[:, 0]
            return np.where(place < 0, -1, chosen)
        return self._explored(best, noise)

    def chosen(
        self, y: Array, h: Array, noise: Array | None = None, mask: Array | None = None
    ) -> Array:
        """`choose` from the outputs y (B, K) and the last hidden values h (B, m)."""
        if self.members:
            columns = [
                member.chosen(
                    y[:, outputs],
                    h,
                    None if noise is None else noise[:, own],
                    mask[:, allowed] if mask is not None and member.mask else None,
                )
                for member, outputs, own, allowed in self.places
            ]
            return np.concatenate([a.reshape(len(y), -1).astype(y.dtype) for a in columns], axis=-1)
        allowed = None if mask is None else mask > 0
        if self.head == "argmax":
            return self._explored(_choice(y, None, allowed), noise, allowed)
        if self.head == "categorical":
            drawn = None if noise is None else noise[:, 0]
            return _choice(y / y.dtype.type(self.temperature), drawn, allowed)
        if self.head == "multi_categorical":
            chosen = [
                _choice(
                    y[:, start:end],
                    None if noise is None else noise[:, i],
                    None if allowed is None else allowed[:, start:end],
                )
                for i, (start, end) in enumerate(spans(self.choices))
            ]
            return np.stack(chosen, axis=-1)
        if self.head == "bernoulli":
            on = y > 0 if noise is None else noise < 0.5 + 0.5 * np.tanh(0.5 * y)
            if allowed is not None:
                zero, one = allowed[:, 0::2], allowed[:, 1::2]
                return np.where(zero, one & on, np.where(one, 1, -1)).astype(np.int64)
            return on.astype(np.int64)
        if noise is not None and self.log_std is not None:
            y = y + np.exp(self.spread(h)) * noise
        return y if self.head == "gaussian" else np.tanh(y)

    def features(self, x: Array, noise: Array | None = None) -> Array:
        """The last hidden values (B, m)."""
        if self.head == "sampler":
            shape = len(x), self.noise
            x = np.concatenate([x, np.zeros(shape, x.dtype) if noise is None else noise], axis=-1)
        for layer in self.hidden:
            x = layer(x)
        return x

    def spread(self, h: Array) -> Array:
        """The log standard deviations for hidden values (B, m)."""
        log_std: Any = self.log_std(h) if isinstance(self.log_std, Layer) else self.log_std
        squashed = self.head == "tanh_gaussian"
        y: Array = np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX) if squashed else log_std
        return y

    def scale(self, a: Array) -> Array:
        """The environments' actions for the agent's."""
        if self.members:
            columns = [member.scale(a[:, own]) for member, _, own, _ in self.places]
            return np.concatenate(columns, axis=-1).astype(a.dtype)
        if self.kind == "box":
            with np.errstate(over="ignore"):  # infinite actions are clipped
                scaled: Array = np.clip(a * self.half + self.middle, self.low, self.high)
            return scaled
        first: Any = self.start[0] if self.kind == "discrete" else np.array(self.start or 0)
        shifted: Array = a + first
        return shifted

    def _explored(self, a: Array, noise: Array | None, allowed: Array | None = None) -> Array:
        """Actions a (B,), or with probability epsilon random ones: numbers among all K, or among
        those that are allowed (B, K)."""
        if noise is None:
            return a
        if allowed is None:
            n: Any = self.choices[0]
            random = np.minimum((noise[:, 1] * n).astype(np.int64), n - 1)
        else:
            n = allowed.sum(axis=-1)
            number = np.minimum((noise[:, 1] * n.astype(noise.dtype)).astype(np.int64), n - 1)
            random = _nth(allowed, number)
        explored: Array = np.where(noise[:, 0] < self.epsilon, random, a)
        return explored


def _nth(allowed: Array, number: Array) -> Array:
    """The places (B,) of the allowed choices (B, K) with these numbers (B,), counted from 0; -1
    where none is allowed."""
    place: Array = (np.cumsum(allowed, axis=-1) <= number[:, None]).sum(axis=-1)
    return np.where(allowed.any(axis=-1), place, -1)


def _choice(scores: Array, noise: Array | None, allowed: Array | None = None) -> Array:
    """The first best choice of each row (B, K), or the one at noise (B,) in [0, 1), among those
    that are allowed (B, K); -1 where none is."""
    last: Any = scores.shape[-1] - 1
    if allowed is not None:
        scores = np.where(allowed, scores, scores.dtype.type(-np.inf))
        last = last - allowed[:, ::-1].argmax(axis=-1)
    chosen: Array
    if noise is None:
        chosen = scores.argmax(axis=-1)
    else:
        reached = np.cumsum(np.exp(scores - scores.max(axis=-1, keepdims=True)), axis=-1)
        below: Array = (reached <= noise[:, None] * reached[:, -1:]).sum(axis=-1)
        chosen = np.minimum(below, last)
    return chosen if allowed is None else np.where(allowed.any(axis=-1), chosen, -1)


def bounds(x: Array) -> list[float | None]:
    """Bounds for JSON: null for infinite ones."""
    return [float(v) if np.isfinite(v) else None for v in x]


def ranges(graph: Graph) -> list[float | None]:
    """What errors of each number of an action are divided by: its range, and at least a tenth of
    its largest bound, as float32 has seven digits; None where it has no range."""
    if graph.members:
        return [unit for member in graph.members for unit in ranges(member)]
    if graph.kind != "box":
        return [1.0] * graph.actions
    low, high = graph.low.astype(np.float64), graph.high.astype(np.float64)
    largest = np.maximum(abs(low), abs(high))
    width = np.maximum(high - low, 0.1 * largest)
    return bounds(np.clip(width, _FLOAT.tiny, np.where(largest < np.inf, _FLOAT.max, np.inf)))


def _widened(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    if isinstance(value, tuple):
        return tuple(_widened(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: _widened(one) for name, one in held.items()})
    return value


# ---- from a policy


def graph_of(policy: Policy) -> Graph:
    """The graph of a policy, in the type of its parameters.

    Raises ConfigError for a network of the user's own, if its parameters are not finite, and for
    numbers that do not fit float32.
    """
    if policy.own:
        raise ConfigError(
            "A network of your own code cannot be exported: npr does not know what it computes. "
            "Export an agent with hidden widths in net_arch, or keep the file of agent.save(path)."
        )
    check_finite(policy)
    norm = None
    if policy.norm is not None:
        mean, scale = policy.norm.of_observations
        norm = Norm(mean.copy(), scale.copy(), policy.norm.clip)
    graph = _acting(policy.actions, policy.head, policy.masked)
    graph = replace(graph, parts=tuple(_parts(policy.observations)), norm=norm)
    _check_fits(graph)
    if policy.sizes is None:
        return replace(graph, table=_ranked(policy.theta, graph.masked))
    stack = [Layer(W.T.copy(), b.copy()) for W, b in layers(policy.theta, policy.sizes)]
    names = activations(policy.activation, len(stack) - 1)
    stretched = gains(policy.theta, policy.sizes) if policy.layer_norm else [None] * len(names)
    hidden = tuple(
        replace(layer, activation=name, gain=None if gain is None else gain.copy())
        for layer, name, gain in zip(stack, names, stretched)
    )
    graph = replace(graph, hidden=hidden)
    free: Array = policy.theta[len(policy.theta) - policy.free :].copy()
    return _with_outputs(graph, stack[-1], free, policy.head.name == "dueling")


def _acting(actions: Actions, head: Head, masked: bool, name: str = "") -> Graph:
    """The graph without a network: from its outputs to actions. Raises ConfigError for a head that
    is not one of npr's."""
    if head.name not in _HEADS:
        raise ConfigError(
            f"The head {head.name!r}, a {type(head).__name__}, cannot be exported: no form has its "
            f"code. They have that of {', '.join(_HEADS)}. Where NumPy is available, "
            "npr.infer.load(path) takes the file that agent.save(path) wrote."
        )
    spec, kind = actions.spec, actions.kind
    nothing: Array = np.zeros(0, np.float32)
    choices: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    low = high = middle = half = nothing
    members: list[Graph] = []
    if isinstance(actions, GroupActions) and isinstance(head, ProductHead):
        prefix = f"{name}." if name else ""
        for key, part, own in zip(actions.keys, actions.parts, head.parts):
            member = _acting(part, own, masked, f"{prefix}{key}")
            members += member.members or [member]
    elif kind == "discrete":
        choices, start = (spec["n"],), (spec["start"],)
    elif kind == "multidiscrete":
        choices = tuple(np.ravel(spec["nvec"]).tolist())
        start = tuple(np.ravel(spec["start"]).tolist())
    elif kind == "box":
        low, high, middle, half = actions.bounds  # type: ignore[attr-defined]
    else:
        low, high = np.zeros(actions.size), np.ones(actions.size)
    return Graph(
        (), None, (), Layer(np.zeros((0, 0), np.float32), nothing), None, None,
        _SAME.get(head.name, head.name), kind, choices, start, low, high, middle, half,
        head.epsilon, head.temperature, masked and kind != "box", tuple(members), name,
    )  # fmt: skip


def _with_outputs(graph: Graph, output: Layer, free: Array, dueling: bool) -> Graph:
    """The graph with its last layer.

    output   all outputs of the network
    free     those that do not depend on the observation
    dueling  whether the first output is the value of the state, which changes no order of the
             others, the advantages
    """
    if dueling:
        return replace(graph, output=_rows(output, slice(1, None)))
    if graph.members:
        return _with_members(graph, output, free)
    if graph.head not in ("gaussian", "tanh_gaussian"):
        return replace(graph, output=output)
    D = graph.actions
    log_std = free if len(free) else _rows(output, slice(D, None))
    return replace(graph, output=_rows(output, slice(D)), log_std=log_std)


def _with_members(graph: Graph, output: Layer, free: Array) -> Graph:
    """A product of heads with its last layer. Raises ConfigError if log standard deviations are
    among its outputs."""
    members, first, freed = [], 0, 0
    for member in graph.members:
        n = sum(member.choices) or member.actions
        log_std = None
        if member.head == "gaussian":
            log_std = free[freed : freed + n]
            freed += n
        members.append(
            replace(member, output=_rows(output, slice(first, first + n)), log_std=log_std)
        )
        first += n
    if (first, freed) != (len(output.b), len(free)):
        raise ConfigError(
            "Only Dict and Tuple actions whose deviations do not depend on the observation can be "
            "exported, as npr's agents have them."
        )
    return replace(graph, output=output, members=tuple(members))


def _ranked(values: Array, masked: bool) -> Array:
    """`Graph.table` of a table of action values (states, K)."""
    if not masked:
        best: Array = values.argmax(axis=-1)
        return best
    order: Array = np.argsort(-values, axis=-1, kind="stable")
    worst = np.isneginf(np.take_along_axis(values, order, axis=-1))
    return np.where(worst, values.shape[-1], order)


def _check_fits(graph: Graph) -> None:
    """Raise ConfigError for indices and settings that float32 does not hold: the numbers of
    observations, and in C of actions, have this type."""
    for member in graph.members:
        _check_fits(member)
    parts = [(part.start, part.inputs) for part in graph.parts if part.start is not None]
    for start, n in [*zip(graph.start, graph.choices), *parts]:
        if max(abs(start), abs(start + n)) > 1 << 24:
            raise ConfigError(
                f"Whole numbers from {start} to {start + n - 1} cannot be exported as float32, "
                "which is exact up to 2^24. Use a space that starts at 0."
            )
    with np.errstate(over="ignore"):
        bounds = [row.astype(np.float32) for row in (graph.middle, graph.half)]
        temperature = np.float32(graph.temperature)
    if not np.isfinite(bounds).all():
        raise ConfigError(
            "Bounds of the actions are beyond float32, whose largest number is 3.4e38. Use smaller "
            "ones, or infinite ones for actions without bounds."
        )
    if not 0 < temperature < np.inf:
        raise ConfigError(f"The temperature {graph.temperature!r} is beyond float32.")


def check_finite(policy: Policy) -> None:
    """Raise ConfigError if a parameter or a moment of the normalization is not finite, or beyond
    float32."""
    arrays = {"parameters": policy.theta}
    if policy.norm is not None:
        arrays |= dict(zip(("means", "scales"), policy.norm.of_observations))
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            table = policy.masked and policy.sizes is None and array is policy.theta
            finite = is_finite(array.astype(np.float32), table)
        if not finite:
            raise ConfigError(
                f"The {name} of the policy contain NaN or infinite values: training has diverged. "
                "Export an earlier file of the agent."
            )


def _parts(observations: Observations, name: str = "") -> list[Part]:
    if isinstance(observations, GroupObservations):
        prefix = f"{name}." if name else ""
        members = zip(observations.keys, observations.parts)
        return [part for key, one in members for part in _parts(one, f"{prefix}{key}")]
    spec, kind = observations.spec, observations.kind
    if kind == "discrete":
        return [Part(1, observations.size, 1.0, int(spec["start"]), name)]
    if kind == "multidiscrete":
        pairs = zip(np.ravel(spec["nvec"]).tolist(), np.ravel(spec["start"]).tolist())
        return [Part(1, n, 1.0, start, name) for n, start in pairs]
    size, divisor = observations.size, 255.0 if kind == "image" else 1.0
    return [Part(size, size, divisor, None, name)]


def _rows(layer: Layer, rows: slice) -> Layer:
    return Layer(layer.W[rows].copy(), layer.b[rows].copy(), layer.activation)
