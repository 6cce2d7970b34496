"""Trained policies with NumPy alone: `policy = npr.infer.load("sac.npz"); policy(observation)`."""

import os

from npr.errors import CheckpointError
from npr.files import checkpoint
from npr.policy import Policy


def load(path: str | os.PathLike[str]) -> Policy:
    """The policy in an agent's file. Needs none of npr's dependencies but NumPy."""
    manifest, arrays = checkpoint.read(path)
    try:
        return Policy.from_file(manifest, arrays)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path} does not hold a valid policy: {error!r}.") from error
