"""Checks of an agent's file, before and after the agent is built from it."""

from collections.abc import Mapping
from typing import Any

from npr.backend import Array
from npr.envs.spaces import observations_from_spec
from npr.errors import CheckpointError
from npr.files.checkpoint import count
from npr.own_network import is_network
from npr.policy import Policy

_ACTIONS = ("buffer/buffer.a", "state/steps.a")


def check_before(manifest: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Check the policy in a file, and that no layer in the settings is larger than the file.

    So a small file cannot create a large network. Raises an exception of any type.
    """
    if "own" not in manifest["policy"]:
        Policy.from_file(manifest, arrays)
    held = sum(array.size for array in arrays.values())
    n_inputs = observations_from_spec(manifest["policy"]["observations"]).size
    arch = manifest["settings"].get("net_arch", [])
    for widths in arch.values() if isinstance(arch, Mapping) else [arch]:
        if is_network(widths):
            continue
        for n, m in zip([n_inputs, *widths], widths):
            if count(n) * count(m) > held:
                raise CheckpointError(
                    f"a layer of {n} x {m} has more parameters than the file has numbers."
                )


def check_after(
    policy: Policy, parameters: str, manifest: dict[str, Any], arrays: dict[str, Array]
) -> None:
    """Check that the policy and the actions in a file match the agent that was built.

    parameters  name of the attribute with the policy's parameters

    Raises CheckpointError if they do not.
    """
    if (manifest["policy"], manifest["policy_parameters"]) != (policy.spec, f"params/{parameters}"):
        raise CheckpointError("the policy does not match the agent's settings.")
    for key in _ACTIONS:
        if key in arrays and not policy.actions.contains(arrays[key]):
            raise CheckpointError(f"{key} contains actions outside of the action space.")
