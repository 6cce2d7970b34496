"""support.cuda finds what is wrong with a kernel."""

import numpy as np
import pytest
from support import cuda, cuda_samples

pytestmark = cuda.needs_compiler

X, Y = np.arange(1.0, 9), np.zeros(8)


def test_a_right_kernel_passes():
    outcomes = cuda.check(cuda_samples.scaled, X, Y, 0.1, reference=cuda_samples.scaled, launches=1)
    for dtype, outcome in outcomes.items():
        assert [x.dtype for x in outcome.device] == [dtype] * 3
        np.testing.assert_allclose(outcome.device[1], 0.1 * X, 1e-6)
        assert outcome.error <= 1e-7
        assert outcome.launches == outcome.all_launches == 1
    assert not Y.any(), "the arguments were copied"


@pytest.mark.parametrize(
    "kernel, reference, n, message",
    [
        ("scaled", "twice", 8, "errors of the arrays {1: .*, 2"),
        ("scaled", "race", 8, "RawModule"),  # the reference raises
        ("outside", "scaled", 7, "outside wrote outside an array of 28 bytes"),
        ("race", "twice", 8, "array 1 differs between the orders forward and"),
        ("waits", "twice", 8, "makes the CPU wait|downloads"),
        ("no_launch", "twice", 8, "0 launches"),
    ],
)
def test_a_wrong_kernel_is_found(kernel, reference, n, message):
    device, reference = getattr(cuda_samples, kernel), getattr(cuda_samples, reference)
    with pytest.raises(AssertionError, match=message):
        cuda.check(device, X[:n], Y[:n], 0.5, reference=reference)


def test_the_number_of_launches_is_checked():
    with pytest.raises(AssertionError, match="1 launches"):
        cuda.check(cuda_samples.scaled, X, Y, 0.5, reference=cuda_samples.scaled, launches=2)


@pytest.mark.parametrize(
    "x, y, expected",
    [
        ([1.0, 3.0], [1.0, 3.0], 0),
        ([1.0, 3.3], [1.0, 3.0], 0.3 / 5),
        ([0.1, 3.0], [0.0, 3.0], 0.1 / 1.5),
        ([np.nan, 1.0], [np.nan, 1.0], 0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([0.1], [0.0], np.inf),
        ([1], [1], 0),
        ([1], [2], np.inf),
        ([1.0], [1], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([], [], 0),
    ],
)
def test_errors(x, y, expected):
    assert cuda.error(np.array(x), np.array(y)) == pytest.approx(expected)


def test_a_process_that_crashes_is_named_and_replaced():
    with pytest.raises(RuntimeError, match="crash.*the process crashed.*exit status -6"):
        cuda.check(cuda_samples.crash, X, Y, 0.5, reference=cuda_samples.twice)
    cuda.check(cuda_samples.scaled, X, Y, 0.5, reference=cuda_samples.scaled)
