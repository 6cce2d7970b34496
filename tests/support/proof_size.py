"""Size of exhaustive tests: a sample by default, everything with NPR_PROOFS=full."""

import itertools
import os

FULL = os.environ.get("NPR_PROOFS") == "full"


def n_trials(sample: int, full: int) -> int:
    """The number of trials: `full` under `make prove`, else `sample`."""
    return full if FULL else sample


def pairs(*axes):
    """Combinations of the values of three axes or more, the longest first, for `parametrize`: every
    pair of values of two axes, if those after the second have fewer values; under `make prove`,
    all."""
    if FULL:
        return list(itertools.product(*axes))
    first, second, *others = axes
    return [
        (a, b, *(axis[(i + j) % len(axis)] for axis in others))
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


def half(*axes):
    """Every second combination of the values of axes, which has every pair of values of two axes if
    there are more than two; under `make prove`, all."""
    numbered = itertools.product(*(list(enumerate(axis)) for axis in axes))
    return [
        tuple(value for _, value in one)
        for one in numbered
        if FULL or sum(number for number, _ in one) % 2 == 0
    ]


def rotated(first, second):
    """Combinations of two axes: every value of either; under `make prove`, all."""
    if FULL:
        return list(itertools.product(first, second))
    n = max(len(first), len(second))
    return [(first[i % len(first)], second[i % len(second)]) for i in range(n)]
