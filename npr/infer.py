"""Trained policies with NumPy alone: `policy = npr.infer.load("sac.npz"); policy(observation)`."""

import os

from npr.errors import CheckpointError
from npr.files import checkpoint, policy_file, safetensors_file
from npr.files.archive import Arrays, Manifest
from npr.named_tensors import policy_of
from npr.policy import Policy


def load(path: str | os.PathLike[str]) -> Policy:
    """The policy in the file of an agent, or in one that `npr.export` wrote: *.npz or
    *.safetensors.

    Needs none of npr's dependencies but NumPy, and the package safetensors for its files. Raises
    FileNotFoundError if there is no file, and CheckpointError if anything in it is invalid.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str]) -> tuple[Policy, Manifest, Arrays]:
    """The policy in a file, the manifest of the file, and its arrays or tensors.

    Raises as `load` does.
    """
    tensors = os.fsdecode(path).lower().endswith(".safetensors")
    manifest, arrays = safetensors_file.read(path) if tensors else checkpoint.read(path)
    try:
        if tensors:
            tests = {key: arrays.pop(key) for key in [*arrays] if key.startswith("tests.")}
            policy = policy_of(manifest["policy"], arrays)
            return policy, manifest, {key.replace(".", "/"): one for key, one in tests.items()}
        if policy_file.is_policy(manifest):
            policy_file.check(path, manifest, arrays)
        return Policy.from_file(manifest, arrays), manifest, arrays
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path} does not hold a valid policy: {error!r}.") from error
