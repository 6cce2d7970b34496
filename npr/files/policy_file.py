"""Files of a policy alone: its parameters, the moments of its normalization and its tests, without
optimizer and replay.

The manifest has the spec of the policy and a card, which says where it comes from; the arrays are

    params/theta                       the parameters
    state/obs_norm.count|mean|squares  the moments, if it normalizes
    tests/observations|actions|masks   of a self-test; masks where it was trained with them
"""

import os
from collections.abc import Mapping
from typing import Any

from npr.errors import CheckpointError
from npr.files.archive import Arrays, Manifest, Path, archive_bytes

PARAMETERS, NORM, TESTS = "params/theta", "state/obs_norm.", "tests/"
_MANIFEST = {"format", "npr", "policy", "policy_parameters", "card"}
_TEXT = 300  # characters of a name


def encoded(
    spec: Mapping[str, Any], theta: Any, norm: Mapping[str, Any], card: Any, tests: Arrays
) -> bytes:
    """The content of the file of a policy.

    spec    of the policy, as plain data
    norm    the state of its normalization; empty if there is none
    card    plain data, with algorithm, env and num_timesteps
    tests   observations and actions, and masks of actions if it was trained with them
    """
    manifest = {"policy": spec, "policy_parameters": PARAMETERS, "card": card}
    arrays = {PARAMETERS: theta, **_named(NORM, norm), **_named(TESTS, tests)}
    return archive_bytes(manifest, arrays)


def is_policy(manifest: Manifest) -> bool:
    """Whether this is the manifest of a policy alone, not that of an agent."""
    return "card" in manifest


def check(path: Path, manifest: Manifest, names: Any) -> None:
    """Raise CheckpointError if the manifest, or the names of arrays, are not those of a policy."""
    names_of_tests = ["observations", "actions", *["masks"] * ("masked" in manifest["policy"])]
    expected = {PARAMETERS, *_named(TESTS, dict.fromkeys(names_of_tests))}
    if manifest["policy"]["normalize"]:
        expected |= {*_named(NORM, dict.fromkeys(("count", "mean", "squares")))}
    for what, found, right in (
        ("keys", set(manifest), _MANIFEST), ("arrays", set(names), expected)
    ):  # fmt: skip
        if found != right:
            raise CheckpointError(
                f"{os.fsdecode(path)} holds a policy alone with the {what} "
                f"{sorted(found)[:9]}; it must have {sorted(right)}."
            )
    check_card(path, manifest["card"])


def check_card(path: Path, card: Any) -> None:
    """Raise CheckpointError if this does not say where a policy comes from."""
    if isinstance(card, dict) and {"algorithm", "env", "num_timesteps"} <= card.keys():
        names, steps = (card["algorithm"], card["env"]), card["num_timesteps"]
        known = all(x is None or (isinstance(x, str) and len(x) <= _TEXT) for x in names)
        if known and (steps is None or (type(steps) is int and 0 <= steps < 1 << 63)):
            return
    raise CheckpointError(
        f"{os.fsdecode(path)} does not say where its policy comes from: the card must have the "
        "names algorithm and env, and the number num_timesteps, each of which may be null."
    )


def _named(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: array for name, array in arrays.items()}
