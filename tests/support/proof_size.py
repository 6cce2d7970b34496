"""How much a proof proves: a sample in every run of the tests, all of it where NPR_PROOFS=full."""

import os

FULL = os.environ.get("NPR_PROOFS") == "full"


def many(sample: int, full: int) -> int:
    """The number of trials of a proof: `full` under `make prove`."""
    return full if FULL else sample
