"""The state of NumPy's random generators as an array, for files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npr.errors import CheckpointError

WORDS = 5  # state and increment in two words each, and the buffered 32-bit half of a word
_LOW = (1 << 64) - 1

Words = np.ndarray[Any, Any]


def generator_state(rng: object) -> Words | None:
    """uint64 (5,); None for a generator other than NumPy's default, a Generator with PCG64."""
    if not isinstance(rng, np.random.Generator):
        return None  # old environments have a RandomState, or Python's random.Random
    state = rng.bit_generator.state
    return pack(state) if state["bit_generator"] == "PCG64" else None


def pack(state: Mapping[str, Any]) -> Words:
    """uint64 (5,) from NumPy's dictionary of the state of a PCG64."""
    number, increment = state["state"]["state"], state["state"]["inc"]
    buffered = state["has_uint32"] << 32 | state["uinteger"]
    words = [number >> 64, number & _LOW, increment >> 64, increment & _LOW, buffered]
    return np.array(words, np.uint64)


def set_generator_state(rng: np.random.Generator, words: Words) -> None:
    """Set a PCG64 to a state from `generator_state`. Raises CheckpointError for anything else."""
    if words.shape != (WORDS,) or words.dtype != np.uint64 or words[4] >> 33:
        raise CheckpointError(
            "The state of a generator must be five words of a PCG64, got "
            f"{words.dtype}{words.shape}."
        )
    a, b, c, d, buffered = words.tolist()
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": a << 64 | b, "inc": c << 64 | d},
        "has_uint32": buffered >> 32,
        "uinteger": buffered & 0xFFFFFFFF,
    }
