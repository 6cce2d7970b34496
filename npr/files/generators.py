"""The state of NumPy's generators as numbers that a file can hold."""

import numpy as np

from npr.errors import CheckpointError

WORDS = 5  # state and increment in two words each, then the half of a word that is left over
_LOW = (1 << 64) - 1


def generator_state(rng: np.random.Generator) -> np.ndarray | None:
    """uint64 (5,); None for a generator that is not a PCG64, NumPy's own default."""
    held = rng.bit_generator.state
    if held["bit_generator"] != "PCG64":
        return None
    state, inc = held["state"]["state"], held["state"]["inc"]
    left = held["has_uint32"] << 32 | held["uinteger"]
    return np.array([state >> 64, state & _LOW, inc >> 64, inc & _LOW, left], np.uint64)


def set_generator_state(rng: np.random.Generator, words: np.ndarray) -> None:
    """Put a PCG64 where `generator_state` found it. Raises CheckpointError for other numbers."""
    if words.shape != (WORDS,) or words.dtype != np.uint64 or words[4] >> 33:
        raise CheckpointError("The state of a generator must be five words of a PCG64.")
    a, b, c, d, left = words.tolist()
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": a << 64 | b, "inc": c << 64 | d},
        "has_uint32": left >> 32,
        "uinteger": left & 0xFFFFFFFF,
    }
