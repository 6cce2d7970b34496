"""A trained policy: encode -> normalize -> network -> head -> scale to the space.

`predict`, `act` and `evaluate` call it, and files contain it. It runs on the host, with NumPy only.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npr.backend import FLOAT, is_finite, on_host
from npr.envs.contract import all_finite
from npr.envs.spaces import (
    Observations,
    actions_from_spec,
    as_array,
    observations_from_spec,
    zeros_and_ones,
)
from npr.errors import CheckpointError, ConfigError, ConfigWarning, EnvContractError
from npr.heads import HEADS, Head, TableHead
from npr.kernels.mlp import gains, layers
from npr.nn import activations, composed, described, identity
from npr.normalize import ObservationNorm
from npr.one_row import one_row
from npr.own_network import BoundNetwork

_SPEC = (
    "observations", "actions", "head", "sizes", "activation", "free", "epsilon", "temperature",
    "normalize",
)  # fmt: skip
_OPTIONAL = ("masked", "layer_norm", "own")  # of a spec: True, or left out


def _relu(x: np.ndarray) -> np.ndarray:
    positive: np.ndarray = np.maximum(x, 0)
    return positive


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


# those of npr.nn compute on the device, a policy on the host
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": _relu, "tanh": np.tanh, "elu": _elu, "identity": identity,
}  # fmt: skip


def _nonfinite(rows: np.ndarray) -> str:
    """A message about the first number of encoded observations (B, size) that is not finite."""
    row, i = np.argwhere(~np.isfinite(rows))[0].tolist()
    value = rows[row, i]
    which = f", the first in row {row} of the batch" if len(rows) > 1 else ""
    large = f" It may be too large for {rows.dtype}." if np.isinf(value) else ""
    return (
        f"Got an observation that is not finite: number {i} of {rows.shape[1]} is {value}{which}."
        f"{large} A policy needs finite numbers: fix what computes observations, or reset the "
        "environment."
    )


class Policy:
    """action = policy(observation).

    observations  the encoding of observations as rows of numbers
    head          how an action is chosen from the network's outputs
    theta         the flat parameter vector (npr.nn), or a table (states, actions); not copied
    sizes         widths of the network's layers, input first; None: theta is a table
    activation    of the hidden layers; a list has one for each
    free          number of outputs at the end of theta that do not depend on the observation
    norm          running moments that normalize observations; acting does not update them
    masked        whether it was trained with masks of actions: calls without one give a warning
    layer_norm    whether hidden layers are normalized before the activation
    network       the user's own network, of which `sizes` are the inputs and outputs; else None

    Raises ConfigError if these do not match.
    """

    def __init__(
        self,
        observations: Observations,
        head: Head,
        theta: np.ndarray,
        sizes: list[int] | None = None,
        activation: str | list[str] = "identity",
        free: int = 0,
        norm: ObservationNorm | None = None,
        masked: bool = False,
        layer_norm: bool = False,
        network: BoundNetwork | None = None,
    ):
        self.masked, self.layer_norm, self.network = masked, layer_norm, network
        self.observations, self.head, self.actions = observations, head, head.actions
        self.theta, self.norm = theta, norm
        self.sizes, self.activation, self.free = sizes, activation, free
        self._check_head()
        self._check_theta()
        self._prepare()

    @classmethod
    def from_spec(
        cls, spec: Mapping[str, Any], theta: np.ndarray, norm: ObservationNorm | None = None
    ) -> "Policy":
        """The policy described by `spec` (plain data), with these parameters."""
        optional = [spec[name] for name in _OPTIONAL if name in spec]
        if {*spec} - {*_OPTIONAL} != {*_SPEC} or any(value is not True for value in optional):
            raise ConfigError(
                f"The spec of a policy has {', '.join(_SPEC)}; got {', '.join(spec)}."
            )
        if "own" in spec:
            raise CheckpointError(
                "this policy has a network of the user's own code, which no file holds; npr.load "
                "takes it: npr.load(path, net_arch={'pi': network})."
            )
        if spec["head"] not in tuple(HEADS):
            raise ConfigError(
                f"A policy with head {spec['head']!r} is not known; heads are {', '.join(HEADS)}. "
                "One of your own is known once its module is imported."
            )
        if spec["normalize"] is not (norm is not None):
            raise ConfigError(f"normalize={spec['normalize']!r} does not match norm={norm!r}.")
        actions = actions_from_spec(spec["actions"])
        return cls(
            observations_from_spec(spec["observations"]),
            HEADS[spec["head"]](actions, spec["epsilon"], spec["temperature"]),
            theta, spec["sizes"], spec["activation"], spec["free"], norm, "masked" in spec,
            "layer_norm" in spec,
        )  # fmt: skip

    @classmethod
    def from_file(cls, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Policy":
        """The policy in the content of a file. Raises an exception if it is not valid."""
        spec, norm = manifest["policy"], None
        if spec["normalize"] is True:
            masks = actions_from_spec(spec["actions"]).mask_size if "masked" in spec else 0
            norm = ObservationNorm(observations_from_spec(spec["observations"]).size, ignored=masks)
            prefix = "state/obs_norm."
            held = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            norm.load(held)
        return cls.from_spec(spec, arrays[manifest["policy_parameters"]], norm)

    @property
    def own(self) -> bool:
        """Whether its network is the user's own."""
        return self.network is not None

    @property
    def spec(self) -> dict[str, Any]:
        """The policy without its parameters, as plain data for a file."""
        return {
            "observations": self.observations.spec,
            "actions": self.actions.spec,
            "head": self.head.name,
            "sizes": self.sizes,
            "activation": self.activation,
            "normalize": self.norm is not None,
            "free": self.free,
            "epsilon": float(self.head.epsilon),
            "temperature": self.head.temperature,
            **{name: True for name in _OPTIONAL if getattr(self, name)},
        }

    def __repr__(self) -> str:
        hidden = [] if self.sizes is None else self.sizes[1:-1]
        path = " -> ".join(map(str, [self.observations, *hidden, self.actions]))
        kind = "table" if self.sizes is None else described(self.activation, self.layer_norm)
        kind = "own network" if self.own else kind
        normalized = ", normalized observations" if self.norm else ""
        return f"Policy({path}, {kind}, head {self.head.name!r}{normalized})"

    # ---- acting

    def __call__(
        self,
        observation: Any,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        action_masks: Any = None,
    ) -> Any:
        """The environment's action for one observation, or a batch of actions for a batch.

        deterministic  True: the best action; False: drawn, with exploration as in training
        rng            for deterministic=False; None: a new generator without a seed
        action_masks   1 or True for what is allowed, (mask_size,) or (B, mask_size); None: all is
                       allowed, with a ConfigWarning where the policy was trained with masks
        """
        one_row = self._one_row
        if one_row is not None and deterministic and observation.__class__ is np.ndarray:
            action = one_row(observation) if action_masks is None else None
            if action is not None:
                return action
        if observation.__class__ is tuple:
            self._check_tuple(observation)
        x, masks = self.encode(observation), None
        if action_masks is not None:
            masks = self._masks(action_masks, len(x))
        elif self.masked and self.sizes is not None:  # a table has those of what it has seen
            self._warn_of_no_masks()
        a = self.choose(x, deterministic, rng, masks)
        if self.observations.batched(observation):
            return self.actions.to_env_batch(a)
        return self.actions.to_env(a[0])

    def _check_tuple(self, observation: Any) -> None:
        """Raise ConfigError if this is what reset() or step() returned, not an observation."""
        call = {2: "reset()", 5: "step(action)"}.get(len(observation))
        if call is None or not isinstance(observation[-1], dict):
            return
        parts = getattr(self.observations, "parts", [])
        if len(parts) == len(observation) and parts[-1].shape is None:
            return  # a Tuple space that ends with a Dict
        raise ConfigError(
            f"Got what {call} returns, a tuple of {len(observation)} that ends with info; an "
            "observation is needed. Take the first of them: "
            f"{'observation, info' if len(observation) == 2 else 'observation, *_'} = env.{call}."
        )

    def encode(self, observation: Any) -> np.ndarray:
        """Inputs of the network: rows (B, size), or indices (B,) for a table.

        Raises EnvContractError for observations that do not fit, or are not finite.
        """
        if self.sizes is None:
            batch = self.observations.rows(observation)
            return np.array([self.observations.index(one) for one in batch])
        rows = self.observations.encode(observation)
        if not all_finite(rows):
            raise EnvContractError(_nonfinite(rows))
        return rows if self.norm is None else self.norm(rows)

    def _masks(self, masks: Any, B: int) -> np.ndarray:
        """Masks (B, mask_size) as numbers. Raises EnvContractError if they do not fit."""
        size = self.actions.mask_size
        if not size:
            raise ConfigError(f"action_masks have no meaning for {self.actions}: leave them out.")
        out = np.empty((B, size), FLOAT)
        given = as_array(masks)
        if given.shape == (B, size) and given.dtype.kind in "fiub":
            out[...] = zeros_and_ones(given)
            self.actions.check_allowed(out)
        elif B == 1:
            self.actions.write_mask(masks, out[0])
        else:
            raise EnvContractError(
                f"Got action_masks of shape {given.shape} for {B} observations with the actions "
                f"{self.actions}; the shape must be {(B, size)}."
            )
        return out

    def _warn_of_no_masks(self) -> None:
        warnings.warn(
            "This policy was trained with masks of actions. Without one it may choose an action "
            "that the environment does not allow: pass action_masks.",
            ConfigWarning,
            stacklevel=3,
        )

    def choose(
        self,
        x: np.ndarray,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        masks: np.ndarray | None = None,
    ) -> np.ndarray:
        """The agent's actions (B, ...) for rows x, before scaling to the action space.

        masks   (B, mask_size) of ones and zeros. They may follow the observations in x instead
        """
        rng = None if deterministic else rng or np.random.default_rng()
        size = self.observations.size
        if masks is None and x.ndim == 2 and x.shape[1] > size:
            x, masks = x[:, :size], x[:, size:]
        if self._noise_inputs:
            shape = len(x), self._noise_inputs
            noise = np.zeros(shape, x.dtype) if rng is None else rng.standard_normal(shape, x.dtype)
            x = np.concatenate([x, noise], axis=-1)
        return self.head.choose(self.outputs(x), rng, masks)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The network's outputs (B, K) for rows x; the rows of the table for indices x."""
        y: np.ndarray
        if self.sizes is None:
            y = self.theta[x]
            return y
        if self.network is not None:
            with on_host():
                y = self.network.linear(self.theta, x)
            return y
        y = composed(self._layers, x, self._activations, gains=self._gains)
        if self.free:
            free = np.broadcast_to(self.theta[-self.free :], (len(y), self.free))
            y = np.concatenate([y, free], axis=-1)
        return y

    # ---- construction

    def _check_head(self) -> None:
        head, name = self.head, self.head.name
        if self.actions.kind not in head.kinds or not 0 < head.temperature < np.inf:
            raise ConfigError(
                f"The head {name!r} at temperature {head.temperature!r} does not support "
                f"{self.actions.kind} actions; it supports {' or '.join(head.kinds)} actions, at a "
                "temperature above 0."
            )
        if not 0 <= head.epsilon <= 1:
            raise ConfigError(f"epsilon must be a probability, got {head.epsilon!r}.")
        table = isinstance(head, TableHead)
        normal = self.norm is not None or self.layer_norm
        if table is not (self.sizes is None) or (table and normal):
            raise ConfigError(
                "A table has neither sizes nor norm nor layer_norm, a network has sizes; got "
                f"sizes={self.sizes!r} and norm={self.norm!r} for the head {name!r}."
            )

    def _check_theta(self) -> None:
        """Check that parameters are finite and match the layer widths, and widths the spaces."""
        theta, sizes, free = self.theta, self.sizes, self.free
        masked_table = self.masked and sizes is None
        if theta.dtype.kind != "f" or not is_finite(theta, masked_table):
            raise ConfigError(
                "The parameters of this policy are not finite floating-point numbers. If training "
                "has diverged, use an earlier file of the agent."
            )
        inputs = self.observations.size + self.head.noise_inputs
        outputs = self.head.outputs + self.head.free
        if sizes is None:
            activations(self.activation, 0)
            if theta.shape != (inputs, outputs):
                raise ConfigError(
                    f"The table must have shape {(inputs, outputs)}, got {theta.shape}."
                )
            return
        if any(type(m) is not int or m < 0 for m in (*sizes, free)) or len(sizes) < 2:
            raise ConfigError(f"Widths must be at least two whole numbers, got {sizes!r}.")
        if sizes[0] != inputs or sizes[-1] + free != outputs:
            raise ConfigError(
                f"A network of widths {sizes} and {free} free outputs does not map {inputs} inputs "
                f"to {outputs} outputs, as the head {self.head.name!r} needs."
            )
        activations(self.activation, len(sizes) - 2)
        needed = sum(n * m + m for n, m in zip(sizes, sizes[1:])) + free
        needed += sum(sizes[1:-1]) if self.layer_norm else 0
        if self.network is not None:
            needed = self.network.size
        if theta.shape != (needed,):
            raise ConfigError(f"Widths {sizes} need {needed} parameters, got {theta.shape}.")

    def _prepare(self) -> None:
        """Precompute what acting needs. Weights and biases are views of theta."""
        self._noise_inputs = self.head.noise_inputs
        sizes = [] if self.sizes is None or self.own else self.sizes
        self._layers = layers(self.theta, sizes) if sizes else []
        self._gains = gains(self.theta, sizes) if self.layer_norm else []
        each = activations(self.activation, max(len(sizes) - 2, 0))
        self._activations = [ACTIVATIONS[name] for name in each]
        self._one_row = None
        if sizes and not self._noise_inputs and not self.masked:
            self._one_row = one_row(
                self.observations, self.norm, self._layers, self._gains,
                [None if name == "relu" else ACTIVATIONS[name] for name in each], self.head,
            )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        # without the views, which would not share memory with theta in a copy
        state = vars(self).copy()
        for name in ("_layers", "_gains", "_activations", "_one_row"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()
