"""Policies alone, for `npr.infer` and for PyTorch: parameters and moments as they were trained."""

import math
import os

from npr import infer
from npr.errors import CheckpointError, EnvContractError
from npr.export.graph import graph_of, ranges
from npr.export.meta import largest_error, tests_of
from npr.export.model import Model
from npr.files import policy_file, safetensors_file
from npr.named_tensors import tensors_of


def archive(model: Model) -> bytes:
    """A *.npz of npr, see npr.files.policy_file."""
    policy = model.policy
    norm = {} if policy.norm is None else policy.norm.state()
    tests = tests_of(model, False)
    return policy_file.encoded(policy.spec, policy.theta, norm, model.card.plain(), tests)


def tensors(model: Model) -> bytes:
    """A *.safetensors, see npr.named_tensors.

    Raises ConfigError if the package safetensors is not installed.
    """
    tests = {f"tests.{name}": array for name, array in tests_of(model, False).items()}
    named = {**tensors_of(model.policy), **tests}
    return safetensors_file.encoded(model.policy.spec, model.card.plain(), named)


def selftest(path: str | os.PathLike[str]) -> float:
    """The largest error of the tests in a *.npz or *.safetensors that `export` wrote, by the policy
    that `npr.infer` loads.

    It is in units of the action's range, see npr.export.graph.ranges; where it has none, of the
    action if that is larger than 1. Infinite if the policy refuses one of them.

    Raises CheckpointError for a file that is not valid or has no tests.
    """
    policy, _, arrays = infer.read(path)
    graph = graph_of(policy)
    try:
        rows, want = arrays["tests/observations"], arrays["tests/actions"]
        masks = arrays["tests/masks"] if graph.mask else None
        got = graph.scale(policy.choose(graph.encode(rows), masks=masks))
        return largest_error(got, want, ranges(graph))
    except EnvContractError:  # it has no action that the mask of a test allows
        return math.inf
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{os.fsdecode(path)} has no tests: npr.export writes them ({error!r:.200})."
        ) from None
