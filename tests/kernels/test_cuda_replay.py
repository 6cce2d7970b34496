"""The kernel that gathers a batch of a replay buffer on the device."""

import numpy as np
import pytest
from support import cuda
from support.kernel_cases import Draw, gather_of

from npr.kernels import replay

EXACT = {"float32": 0, "float64": 0}  # there is a difference and a product, and no sum


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_equals_that_of_array_operations(seed):
    """All combinations of normalizations, n steps, kinds of actions and wrap-around."""
    arguments = gather_of(Draw(seed, 1 + seed, 3, np.float64))
    cuda.check(replay.gather, *arguments, launches=1, tolerance=EXACT)


@pytest.mark.parametrize("B", [1, 700])
def test_any_number_of_rows_is_gathered(B):
    cuda.check(replay.gather, *gather_of(Draw(3, B, 5, np.float64)), launches=1, tolerance=EXACT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_not_hidden(value):
    rows, fresh, start, _, index, last, *_, s, a, r, s2, terminated = gather_of(
        Draw(1, 6, 2, np.float64)
    )
    rows[index[2]] = value
    mean, scale, one = np.zeros(2), np.ones(2), np.ones(1)
    a = a.astype(float)  # no index can hold these
    outcomes = cuda.check(
        replay.gather, rows, fresh, start, 0, index, last, r[:0], mean, scale, one, 3.0, 2.0,
        s, a, r, s2, terminated, tolerance=EXACT,
    )  # fmt: skip
    for outcome in outcomes.values():
        s, a, r, _, _ = outcome.device[-5:]
        seen = [s[2, 0], a[2, 0], r[2]]
        np.testing.assert_array_equal(seen, [np.clip(value, -3, 3), value, np.clip(value, -2, 2)])
