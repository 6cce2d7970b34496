"""Rows of several columns in one launch."""

import numpy as np
import pytest
from support import cuda

from npr.kernels import rows


@pytest.mark.parametrize(("n", "B", "widths"), [(7, 3, [2, 1, 5]), (40, 70, [1]), (1, 1, [3, 3])])
def test_the_rows_of_a_block_are_those_of_its_columns(n, B, widths):
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 2**32, (n, w), dtype=np.uint32) for w in widths]
    index, ends = rng.integers(0, n, B), np.cumsum([0, *widths])
    start, width = np.repeat(ends[:-1], widths), np.repeat(widths, widths)
    block = np.concatenate([column.ravel() for column in columns])
    out = np.zeros(B * sum(widths), np.uint32)
    outcome = cuda.check(rows.take_rows, block, index, start, width, out, launches=1)
    expected = np.concatenate([column[index].ravel() for column in columns])
    assert np.array_equal(outcome["float32"].device[-1], expected)
