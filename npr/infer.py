"""Trained policies with NumPy alone: `policy = npr.infer.load("sac.npz"); policy(observation)`."""

from npr.errors import CheckpointError
from npr.files import checkpoint
from npr.policy import Policy


def load(path) -> Policy:
    """The policy in an agent's file. Needs none of npr's dependencies but NumPy."""
    manifest, arrays = checkpoint.read(path)
    try:
        return Policy.of_file(manifest, arrays)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path} does not hold a whole policy: {error!r}.") from error
