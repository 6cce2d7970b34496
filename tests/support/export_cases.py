"""Policies with random parameters, for tests of exports: every head, action space, activation and
kind of observation, normalized and not; and observations for them."""

import dataclasses

import numpy as np

from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.export.model import draw_masks
from npr.heads import HEADS
from npr.normalize import ObservationNorm
from npr.policy import Policy

_INF = None  # no bound, as in a file
ACTIONS = {
    "discrete": {"kind": "discrete", "n": 5, "start": 0},
    "started": {"kind": "discrete", "n": 3, "start": -1},
    "one": {"kind": "discrete", "n": 1, "start": 2},
    "multi": {"kind": "multidiscrete", "nvec": [3, 2, 1], "start": [0, 5, -1]},
    "bits": {"kind": "multibinary", "shape": [2, 2]},
    "box": {
        "kind": "box", "shape": [3], "dtype": "float32",
        "low": [-2.0, 0.0, -1.0], "high": [2.0, 10.0, 0.5],
    },
    "half": {  # one of its numbers has no bounds
        "kind": "box", "shape": [2], "dtype": "float64", "low": [_INF, -1.0], "high": [_INF, 1.0],
    },
}  # fmt: skip
ACTIONS["tuple"] = {"kind": "group", "keys": [0, 1], "parts": [ACTIONS["half"], ACTIONS["one"]]}
ACTIONS["dict"] = {
    "kind": "group", "keys": ["lever", "more", "place", "switches"],
    "parts": [
        ACTIONS["started"],
        {"kind": "group", "keys": [0, 1], "parts": [ACTIONS["half"], ACTIONS["multi"]]},
        ACTIONS["box"], ACTIONS["bits"],
    ],
}  # fmt: skip
OBSERVATIONS = {
    "states": {"kind": "discrete", "n": 37, "start": 3},
    "box": {"kind": "box", "shape": [2, 3]},
    "image": {"kind": "image", "shape": [4, 4, 1]},
    "indices": {"kind": "multidiscrete", "nvec": [3, 4], "start": [0, -2]},
    "bits": {"kind": "multibinary", "shape": [5]},
    "one_hot": {"kind": "discrete", "n": 6, "start": 1},
    "dict": {
        "kind": "group", "keys": ["goal", "pose"],
        "parts": [
            {"kind": "discrete", "n": 4, "start": 0},
            {"kind": "group", "keys": [0, 1], "parts": [
                {"kind": "box", "shape": [3]}, {"kind": "image", "shape": [2, 2, 1]},
            ]},
        ],
    },
}  # fmt: skip

# name -> head, actions, observations, hidden widths, activation, settings
CASES = {
    "table": ("table", "discrete", "states", None, "identity", {"epsilon": 0.3}),
    "table-started": ("table", "started", "states", None, "identity", {
        "epsilon": 0.3, "masked": True,
    }),
    "argmax": ("argmax", "discrete", "box", [16, 16], "relu", {"epsilon": 0.25}),
    "argmax-one": ("argmax", "one", "box", [4], "relu", {}),
    "argmax-linear": ("argmax", "started", "bits", [], "relu", {"epsilon": 0.3, "masked": True}),
    "dueling": ("dueling", "discrete", "box", [12], "elu", {"normalize": True}),
    "categorical": (
        "categorical", "discrete", "dict", [9, 7], ["tanh", "elu"], {"temperature": 0.5},
    ),
    "categorical-normal": (
        "categorical", "discrete", "indices", [8, 5], ["elu", "identity"], {"layer_norm": True},
    ),
    "categorical-identity": ("categorical", "started", "one_hot", [8], "identity", {
        "masked": True, "temperature": 2.0,
    }),
    "multi": ("multi_categorical", "multi", "indices", [16], "relu", {"normalize": True}),
    "multi-masked": ("multi_categorical", "multi", "box", [6], "elu", {"masked": True}),
    "bernoulli": ("bernoulli", "bits", "image", [8, 8], "tanh", {}),
    "bernoulli-masked": ("bernoulli", "bits", "box", [5], "relu", {"masked": True}),
    "gaussian": ("gaussian", "box", "box", [16, 16], "tanh", {"normalize": True}),
    "gaussian-free-bounds": ("gaussian", "half", "box", [8], "relu", {}),
    "gaussian-two": ("gaussian", "box", "box", [8], "elu", {"both": True, "normalize": True}),
    "tanh_gaussian": ("tanh_gaussian", "box", "box", [64, 64], "relu", {"normalize": True}),
    "tanh_gaussian-elu": ("tanh_gaussian", "box", "dict", [5], "elu", {}),
    "tanh_gaussian-normal": (
        "tanh_gaussian", "box", "box", [17, 6], ["relu", "tanh"],
        {"layer_norm": True, "normalize": True},
    ),
    "tanh": ("tanh", "box", "box", [16], "relu", {}),
    "tanh-linear": ("tanh", "box", "bits", [], "relu", {"normalize": True}),
    "hybrid": ("product", "dict", "box", [12], "tanh", {"normalize": True, "masked": True}),
    "hybrid-tuple": ("product", "tuple", "dict", [7], "relu", {}),
    "sampler": ("sampler", "box", "box", [16, 8], "relu", {"normalize": True}),
}  # fmt: skip
MASKED = [name for name, (*_, given) in CASES.items() if given.get("masked")]
NORMAL = [name for name in CASES if name.endswith("-normal")]
HYBRID = [name for name in CASES if name.startswith("hybrid")]
NETWORKS = [  # that can be quantized
    name for name in CASES if not name.startswith("table") and name not in (*NORMAL, *HYBRID)
]


def policy(name, seed=0):
    """The policy of a case, its parameters drawn at random."""
    head_name, actions, observations, hidden, activation, given = CASES[name]
    rng = np.random.default_rng(seed)
    spaces = observations_from_spec(OBSERVATIONS[observations])
    settings = given.get("epsilon", 0.0), given.get("temperature", 1.0)
    head = HEADS[head_name](actions_from_spec(ACTIONS[actions]), *settings)
    if hidden is None:
        theta = rng.standard_normal((spaces.size, head.outputs)).astype(np.float32)
        if given.get("masked"):  # -inf is the value of what was not allowed
            forbidden = rng.random(theta.shape) < 0.4
            forbidden[np.arange(len(theta)), rng.integers(head.outputs, size=len(theta))] = False
            theta[forbidden] = -np.inf
        return Policy(spaces, head, theta, masked=given.get("masked", False))
    free = 0 if given.get("both") else head.free
    sizes = [spaces.size + head.noise_inputs, *hidden, head.outputs + head.free - free]
    layer_norm = given.get("layer_norm", False)
    size = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])) + free + sum(hidden) * layer_norm
    theta = rng.standard_normal(size).astype(np.float32) * 0.5
    masked = given.get("masked", False)
    ignored = head.actions.mask_size if masked else 0
    norm = ObservationNorm(spaces.size, ignored=ignored) if given.get("normalize") else None
    if norm is not None:
        norm.add(rng.normal(1.0, 3.0, (100, spaces.size)))
    return Policy(spaces, head, theta, sizes, activation, free, norm, masked, layer_norm)


def rows(policy, n=1_000, seed=1):
    """Numbers (n, numbers) of observations: usual ones, then from far away."""
    rng, columns = np.random.default_rng(seed), []

    def add(space):
        if space.kind == "group":
            for part in space.parts:
                add(part)
        elif space.kind == "discrete":
            columns.append(space.start + rng.integers(space.size, size=(n, 1)))
        elif space.kind == "multidiscrete":
            columns.append(space.start + rng.integers(space.nvec, size=(n, len(space.nvec))))
        elif space.kind == "image":
            columns.append(rng.integers(256, size=(n, space.size)))
        elif space.kind == "multibinary":
            columns.append(rng.integers(2, size=(n, space.size)))
        else:
            x = rng.standard_normal((n, space.size)) * 3
            x[n // 2 :] *= 10 ** rng.uniform(-3, 3, (n - n // 2, 1))
            columns.append(x)

    add(policy.observations)
    return np.concatenate(columns, axis=-1).astype(np.float32)


def observation(policy, numbers):
    """The observation that one row of numbers stands for."""
    left = list(numbers)

    def take(space):
        if space.kind == "group":
            parts = [take(part) for part in space.parts]
            return dict(zip(space.keys, parts)) if isinstance(space.keys[0], str) else tuple(parts)
        if space.kind == "discrete":
            return int(left.pop(0))
        count = int(np.prod(space.shape))
        one = np.array([left.pop(0) for _ in range(count)])
        whole = space.kind in ("multidiscrete", "multibinary")
        kind = np.int64 if whole else np.uint8 if space.kind == "image" else np.float32
        return one.astype(kind).reshape(space.shape)

    return take(policy.observations)


def widths(graph):
    """The range of each number of an action, 1 for whole ones; infinite where it has no end."""
    if graph.members:
        return np.concatenate([widths(member) for member in graph.members])
    if graph.choices:
        return np.ones(graph.actions)
    return np.asarray(graph.high - graph.low, np.float64)


def span(graph):
    """What errors of actions are measured by: their range, or 1 where it has no end (D,)."""
    return np.where(np.isfinite(widths(graph)), widths(graph), 1.0)


def corners(policy, n=1_000, seed=3):
    """Numbers (n, numbers) of observations at the ends of what `rows` draws."""
    drawn, rng = rows(policy), np.random.default_rng(seed)
    return np.where(rng.integers(2, size=(n, drawn.shape[1])), drawn.max(axis=0), drawn.min(axis=0))


def masks(graph, rows, seed=5):
    """Masks (n, graph.mask) of actions for rows (n, numbers); None if the graph takes none."""
    if not graph.mask:
        return None
    drawn = draw_masks(graph, len(rows), np.random.default_rng(seed))
    if graph.table is not None:  # it knows of actions that are not allowed
        drawn[graph(rows, None, drawn) < graph.start[0]] = 1
    return drawn


def forbidden(graph, actions, masks):
    """How many of the actions (n, actions) have an index or bit that a mask (n, mask) forbids."""
    if masks is None:
        return 0
    actions = np.asarray(actions, np.int64).reshape(len(masks), -1)
    wrong = np.zeros(len(masks), bool)
    columns = np.flatnonzero(graph.whole)
    for k, (start, end) in enumerate(graph.spans):
        index = actions[:, columns[k]] - graph.smallest[k]
        inside = (index >= 0) & (index < end - start)
        wrong |= ~inside | (masks[np.arange(len(masks)), start + index * inside] == 0)
    return int(wrong.sum())


def exact(graph, numbers, noise=None, mask=None):
    """The actions of a graph in double precision (n, actions)."""
    noise = None if noise is None else noise.astype(np.float64)
    a = graph.widened()(numbers.astype(np.float64), noise, mask)
    return a.reshape(len(numbers), graph.actions)


def rounding(graph, numbers, noise=None, mask=None):
    """How far actions in float32 may be from `exact` ones (n, actions), whatever the order of sums:
    the change of the exact ones if each weight differs by its last two bits, up or down in turn."""
    if graph.table is not None:
        return 0.0

    def moved(layer):
        sign = 1 - 2 * (np.indices(layer.W.shape).sum(axis=0) % 2)
        return dataclasses.replace(layer, W=layer.W.astype(np.float64) * (1 + sign * 2.0**-22))

    hidden = tuple(moved(layer) for layer in graph.hidden)
    other = dataclasses.replace(graph.widened(), hidden=hidden, output=moved(graph.output))
    if graph.members:
        members = [dataclasses.replace(one, output=moved(one.output)) for one in other.members]
        other = dataclasses.replace(other, members=tuple(members))
    return abs(exact(other, numbers, noise, mask) - exact(graph, numbers, noise, mask))


def batch(policy, numbers):
    """The batch of observations that rows of numbers stand for."""
    left = [*np.asarray(numbers).T]

    def take(space):
        if space.kind == "group":
            parts = [take(part) for part in space.parts]
            return dict(zip(space.keys, parts)) if isinstance(space.keys[0], str) else tuple(parts)
        if space.kind == "discrete":
            return left.pop(0).astype(np.int64)
        columns = [left.pop(0) for _ in range(int(np.prod(space.shape)))]
        whole = space.kind in ("multidiscrete", "multibinary")
        kind = np.int64 if whole else np.uint8 if space.kind == "image" else np.float32
        return np.stack(columns, axis=-1).astype(kind).reshape(-1, *space.shape)

    return take(policy.observations)


def actions(policy, numbers, masks=None):
    """The policy's actions (n, ...) for rows of numbers; for a Dict or Tuple (n, actions)."""
    return flat(policy(batch(policy, numbers), action_masks=masks))


def flat(actions):
    """A batch of actions of a Dict or Tuple as rows of numbers; others as they are."""
    if isinstance(actions, np.ndarray):
        return actions
    parts = actions.values() if isinstance(actions, dict) else actions
    columns = [np.asarray(flat(part), np.float64) for part in parts]
    return np.concatenate([one.reshape(len(one), -1) for one in columns], axis=-1)
