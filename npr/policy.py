"""A trained policy as it runs in the world: encode -> normalise -> network -> head -> scale.

This is what `predict`, `act` and `evaluate` call, what a file holds and what gets exported. It
computes with NumPy alone.
"""

import numpy as np

from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.errors import ConfigError
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN
from npr.normalize import ObservationNorm

# head -> the kinds of action spaces that it chooses from
HEADS = {
    "table": ("discrete",),
    "argmax": ("discrete",),
    "dueling": ("discrete",),
    "categorical": ("discrete",),
    "multi_categorical": ("multidiscrete",),
    "bernoulli": ("multibinary",),
    "gaussian": ("box",),
    "tanh_gaussian": ("box",),
    "tanh": ("box",),
    "sampler": ("box",),
}
_SPEC = (
    "observations", "actions", "head", "sizes", "activation", "free", "epsilon", "temperature",
    "normalize",
)  # fmt: skip


def _choice(logits, rng):
    """The likeliest choice of every row (B, K), or one drawn with its probability."""
    if rng is None:
        return logits.argmax(axis=-1)
    reached = np.cumsum(np.exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)
    return (reached <= rng.random((len(logits), 1)) * reached[:, -1:]).sum(axis=-1)


_ACTIVATE = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "identity": lambda x: x,
}


class Policy:
    """action = policy(observation).

    spec    plain data, as it stands in a file:
            observations, actions   specs of npr.envs.spaces
            head        what the outputs of the network mean:
                        table, argmax   values of discrete actions
                        dueling         value of the state, then those of actions, less any number
                        categorical     logits
                        multi_categorical  those of every choice, side by side
                        bernoulli       log odds
                        gaussian        mean and log std, side by side; clipped to the box
                        tanh_gaussian   the same, squashed into the box
                        tanh            the action before tanh
                        sampler         the same, from the observation and as many normal numbers
            sizes       widths of the layers, input first; None for a table
            activation  of the hidden layers
            free        number of outputs at the end of theta that ignore the observation
            epsilon     share of random actions of a table or argmax when not deterministic
            temperature what categorical divides the outputs by
            normalize   whether observations are normalised by `norm`
    theta   the flat parameter vector (npr.nn), or the table (states, actions); not copied
    norm    the running moments of the observations; acting does not move them
    """

    def __init__(self, spec: dict, theta: np.ndarray, norm: ObservationNorm | None = None):
        if set(spec) != set(_SPEC):
            raise ConfigError(
                f"The spec of a policy has {', '.join(_SPEC)}; got {', '.join(spec)}."
            )
        self.spec, self.theta = spec, theta
        self.observations = observations_from_spec(spec["observations"])
        self.actions = actions_from_spec(spec["actions"])
        self.head, self.epsilon = spec["head"], spec["epsilon"]
        self.temperature = spec["temperature"]
        if self.head not in HEADS or spec["activation"] not in _ACTIVATE:
            raise ConfigError(
                f"A policy with head {self.head!r} and activation {spec['activation']!r} is not "
                f"known; heads are {', '.join(HEADS)}, activations {', '.join(_ACTIVATE)}."
            )
        if theta.dtype.kind != "f" or not np.isfinite(theta).all():
            raise ConfigError(
                "The parameters of this policy are not finite floating-point numbers."
            )
        if self.actions.kind not in HEADS[self.head] or not 0 < self.temperature < np.inf:
            raise ConfigError(
                f"The head {self.head!r} at temperature {self.temperature!r} does not choose "
                f"{self.actions.kind} actions; it chooses {' or '.join(HEADS[self.head])} ones, "
                "at a temperature above 0."
            )
        if spec["normalize"] is not (norm is not None) or (norm and self.head == "table"):
            raise ConfigError(
                f"normalize={spec['normalize']!r} does not go with norm={norm!r} and the head "
                f"{self.head!r}."
            )
        self.norm = norm
        self._check_sizes(spec, theta)
        self._activate = _ACTIVATE[spec["activation"]]
        self.layers, self.free = [], None
        if self.head != "table":
            end = 0
            for n, m in zip(spec["sizes"], spec["sizes"][1:]):
                start, end = end, end + n * m + m
                W, b = theta[start : start + n * m], theta[start + n * m : end]
                self.layers.append((W.reshape(n, m), b))
            if spec["free"]:
                self.free = theta[end:]

    def _check_sizes(self, spec, theta):
        """Widths against the spaces and the parameters, before anything is cut from them."""
        n, choices = self.observations.size, self.actions.size
        if self.head == "table":
            if theta.shape != (n, choices):
                raise ConfigError(f"The table must have shape {(n, choices)}, got {theta.shape}.")
            return
        sizes, free = spec["sizes"], spec["free"]
        if any(type(m) is not int or m < 0 for m in (*sizes, free)) or len(sizes) < 2:
            raise ConfigError(f"Widths must be whole numbers, two at least, got {sizes!r}.")
        outputs = 2 * choices if self.head in ("gaussian", "tanh_gaussian") else choices
        outputs += self.head == "dueling"
        n += choices if self.head == "sampler" else 0
        if sizes[0] != n or sizes[-1] + free != outputs:
            raise ConfigError(
                f"A network of widths {sizes} and {free} free outputs does not lead from {n} "
                f"numbers to {outputs} for the head {self.head!r}."
            )
        needed = sum(a * b + b for a, b in zip(sizes, sizes[1:])) + free
        if theta.shape != (needed,):
            raise ConfigError(f"Widths {sizes} need {needed} parameters, got {theta.shape}.")

    @classmethod
    def of_file(cls, manifest: dict, arrays: dict) -> "Policy":
        """The policy among the parts of a file; anything wrong raises some error."""
        spec, norm = manifest["policy"], None
        if spec["normalize"] is True:
            norm = ObservationNorm(observations_from_spec(spec["observations"]).size)
            prefix = "state/obs_norm."
            held = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            norm.load(held)
        return cls(spec, arrays[manifest["policy_parameters"]], norm)

    def __call__(self, observation, deterministic: bool = True, rng=None):
        """The environment's action for one observation, or a batch of them for a batch."""
        a = self.choose(self.read(observation), deterministic, rng)
        if self.observations.batched(observation):
            return self.actions.to_env_batch(a)
        return self.actions.to_env(a[0])

    def read(self, observation):
        """What the network takes: rows (B, size), or indices (B,) for a table."""
        if self.head != "table":
            rows = self.observations.encode(observation)
            return rows if self.norm is None else self.norm(rows)
        batch = observation if self.observations.batched(observation) else [observation]
        return np.array([self.observations.index(one) for one in batch])

    def choose(self, x, deterministic: bool = True, rng=None):
        """The learner's actions (B, ...) for rows x, before they are scaled to the space."""
        rng = None if deterministic else rng or np.random.default_rng()
        if self.head == "sampler":
            shape = len(x), self.actions.size
            noise = np.zeros(shape, x.dtype) if rng is None else rng.standard_normal(shape, x.dtype)
            return np.tanh(self.outputs(np.concatenate([x, noise], axis=-1)))
        y = self.outputs(x)
        if self.head in ("table", "argmax", "dueling"):
            a = y[:, self.head == "dueling" :].argmax(axis=-1)
            if rng is not None and self.epsilon:
                random = rng.random(len(a)) < self.epsilon
                a = np.where(random, rng.integers(self.actions.n, size=len(a)), a)
            return a
        if self.head == "categorical":
            return _choice(y / self.temperature, rng)
        if self.head == "multi_categorical":
            ends = np.cumsum(self.actions.nvec).tolist()
            parts = [_choice(y[:, i:j], rng) for i, j in zip([0, *ends], ends)]
            return np.stack(parts, axis=-1)
        if self.head == "bernoulli":
            if rng is None:
                return (y > 0).astype(np.int64)
            return (rng.random(y.shape) < 0.5 + 0.5 * np.tanh(0.5 * y)).astype(np.int64)
        D = self.actions.size
        a = y[:, :D]
        if rng is not None and self.head != "tanh":
            log_std = y[:, D:]
            if self.head == "tanh_gaussian":
                log_std = np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)
            a = a + np.exp(log_std) * rng.standard_normal(a.shape, y.dtype)
        return a if self.head == "gaussian" else np.tanh(a)

    def outputs(self, x):
        """The network's outputs (B, K) for rows x; the rows of the table for indices x."""
        if self.head == "table":
            return self.theta[x]
        *hidden, (W, b) = self.layers
        for V, c in hidden:
            x = self._activate(x @ V + c)
        y = x @ W + b
        if self.free is not None:
            y = np.concatenate([y, np.broadcast_to(self.free, (len(y), len(self.free)))], axis=-1)
        return y
