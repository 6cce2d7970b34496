"""The parameters of a policy under the names and in the shapes that PyTorch gives them.

layers.0.weight (m, n), layers.0.bias (m,), ...   of the network's layers
layer_norms.0.weight (m,), layer_norms.0.bias     of hidden layers that are normalized, which have
                                                  no layers.0.bias
log_std (D,)                                      where it does not depend on the observation
table (states, actions)                           of a table
norm.count (), norm.mean (n,), norm.squares (n,)  moments that normalize observations
norm.scale (n,)                                   1 / sqrt(squares / count + 1e-8)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.errors import ConfigError
from npr.kernels.mlp import gains, layers
from npr.normalize import ObservationNorm
from npr.policy import Policy

Arrays = dict[str, np.ndarray[Any, Any]]


def tensors_of(policy: Policy) -> Arrays:
    """The parameters and moments of a policy, contiguous copies."""
    named: Arrays = {}
    if policy.sizes is None:
        named["table"] = policy.theta.copy()
    else:
        stretched = gains(policy.theta, policy.sizes) if policy.layer_norm else []
        for i, (W, b) in enumerate(layers(policy.theta, policy.sizes)):
            named[f"layers.{i}.weight"] = W.T.copy()
            named[_bias(i, len(stretched))] = b.copy()
        for i, gain in enumerate(stretched):
            named[f"layer_norms.{i}.weight"] = gain.copy()
        if policy.free:
            named["log_std"] = policy.theta[-policy.free :].copy()
    if policy.norm is not None:
        moments = {**policy.norm.state(), "scale": policy.norm.of_observations[1]}
        named |= {f"norm.{key}": np.array(value) for key, value in moments.items()}
    return named


def policy_of(spec: Mapping[str, Any], named: Arrays) -> Policy:
    """The policy with this spec and all these tensors.

    Raises ConfigError if names, shapes or types are not those of the spec, or values are not
    finite, and an exception for a spec that is not valid.
    """
    left = dict(named)
    norm = None
    if spec["normalize"] is True:
        size = observations_from_spec(spec["observations"]).size
        scale = _take(left, "norm.scale", (size,))  # before memory of this size is allocated
        masks = actions_from_spec(spec["actions"]).mask_size if "masked" in spec else 0
        norm = ObservationNorm(size, ignored=masks)
        norm.load({key: _take(left, f"norm.{key}") for key in ("count", "mean", "squares")})
        if not np.array_equal(scale, norm.of_observations[1]):
            raise ConfigError("norm.scale is not 1 / sqrt(norm.squares / norm.count + 1e-8).")
    if spec["sizes"] is None:
        theta = _take(left, "table")
    else:
        pieces = []
        normalized = spec["sizes"][1:-1] if spec.get("layer_norm") else []
        for i, (n, m) in enumerate(zip(spec["sizes"], spec["sizes"][1:])):
            pieces.append(_take(left, f"layers.{i}.weight", (m, n)).T.ravel())
            pieces.append(_take(left, _bias(i, len(normalized)), (m,)))
        for i, m in enumerate(normalized):
            pieces.append(_take(left, f"layer_norms.{i}.weight", (m,)))
        if spec["free"]:
            pieces.append(_take(left, "log_std", (spec["free"],)))
        if len({piece.dtype for piece in pieces}) > 1:
            raise ConfigError("The layers have tensors of several types; they must have one.")
        theta = np.concatenate(pieces)
    if left:
        raise ConfigError(f"The policy has nothing for the tensors {sorted(left)[:5]}.")
    return Policy.from_spec(spec, theta, norm)


def _bias(layer: int, normalized: int) -> str:
    """The name of the bias of a layer, of which the first `normalized` ones are so."""
    return f"layer_norms.{layer}.bias" if layer < normalized else f"layers.{layer}.bias"


def _take(left: Arrays, name: str, shape: tuple[int, ...] | None = None) -> Any:
    """Remove a tensor and return it."""
    if name not in left:
        raise ConfigError(f"The tensor {name} is missing.")
    array = left.pop(name)
    if shape is not None and array.shape != shape:
        raise ConfigError(f"The tensor {name} has shape {array.shape}; it must have {shape}.")
    return array
