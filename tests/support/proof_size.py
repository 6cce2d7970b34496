"""Size of exhaustive tests: a sample by default, everything with NPR_PROOFS=full."""

import os

FULL = os.environ.get("NPR_PROOFS") == "full"


def n_trials(sample: int, full: int) -> int:
    """The number of trials: `full` under `make prove`, else `sample`."""
    return full if FULL else sample
