"""Transfers that are packed and asynchronous, on the strict double of CuPy."""

import numpy as np
import pytest
from support.on_the_double import no_pinned_memory, on_the_double

from npr.backend import to_device, to_host, xp
from npr.system.staging import Downloads, Staging, upload

F = np.float32


def arrays(seed=0):
    """Arrays of all types that are uploaded, of sizes that do not fill their places."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((3, 5)).astype(F), rng.integers(9, size=7), rng.random(11) < 0.5,
        rng.integers(9, size=3).astype(np.int32), np.zeros((0, 4), F), np.full(1, 7, F),
    ]  # fmt: skip


def same(there, here):
    assert [x.dtype for x in there] == [x.dtype for x in here]
    for x, y in zip(there, here, strict=True):
        np.testing.assert_array_equal(to_host(x), y, strict=True)


def test_nothing_is_uploaded_on_the_numpy_backend():
    given = [*arrays(), None]
    assert all(x is y for x, y in zip(upload(*given), given, strict=True))
    assert upload() == []


@on_the_double
def test_an_upload_is_one_transfer():
    xp.counts.reset()
    first, *rest = upload(None, *arrays())
    assert xp.counts.uploads == 1 and xp.counts.synchronizations == 0
    assert first is None
    same(rest, arrays())
    xp.counts.reset()
    assert upload() == [] and upload(None) == [None] and xp.counts.uploads == 0


@on_the_double
def test_uploaded_arrays_keep_no_host_array():
    given = arrays()
    there = upload(*given)
    for x in given:
        x[...] = 1
    same(there, arrays())


def staged(staging, values, rows):
    for x, y in zip(staging.host(), values, strict=True):
        x[...] = y
    staging.send(rows)


@on_the_double
def test_staged_arrays_arrive_at_the_same_place_each_time():
    values = [arrays(seed) for seed in range(5)]
    staging = Staging([(x.shape, x.dtype) for x in values[0]])
    there = staging.device
    xp.counts.reset()
    kept = []
    for each in values:  # more than there are blocks on the host
        staged(staging, each, 1)
        assert all(x is y for x, y in zip(staging.device, there, strict=True))
        kept.append([x.copy() for x in there])
    assert xp.counts.uploads == 5
    assert xp.counts.waits == 3, "for the copy before the last, from the third on"
    for each, copies in zip(values, kept):
        same(copies, each)


@on_the_double
def test_only_as_many_rows_of_the_last_array_are_sent():
    staging = Staging([((2,), np.dtype(F)), ((4, 3), np.dtype(F))])
    staged(staging, [np.ones(2, F), np.full((4, 3), 1, F)], 4)
    staged(staging, [np.full(2, 2, F), np.full((4, 3), 2, F)], 1)
    first, last = map(to_host, staging.device)
    assert first.tolist() == [2, 2] and last[:, 0].tolist() == [2, 1, 1, 1]
    staged(staging, [np.full(2, 3, F), np.full((4, 3), 3, F)], 0)
    first, last = map(to_host, staging.device)
    assert first.tolist() == [3, 3] and last[:, 0].tolist() == [2, 1, 1, 1]


@on_the_double
def test_downloads_are_started_together():
    queue, here = Downloads(), [x for x in arrays() if x.dtype == F]
    there = [to_device(x) for x in here]
    asked = [queue.ask(x) for x in there]
    xp.counts.reset()
    queue.start()
    for x in there:  # the copies are in the order of the stream, so they have the values before
        x.fill(-1)
    assert xp.counts.downloads == 1
    same([x.get() for x in asked], here)
    same([x.get() for x in asked], here)  # again
    assert xp.counts.downloads == 1 and xp.counts.synchronizations == 0


@on_the_double
def test_a_download_that_is_read_early_is_started_then():
    queue = Downloads()
    one, two = (queue.ask(to_device(np.full(3, i, F))) for i in (1, 2))
    xp.counts.reset()
    assert two.get().tolist() == [2, 2, 2] and one.get().tolist() == [1, 1, 1]
    queue.start()
    assert xp.counts.downloads == 1
    assert queue.ask(to_device(np.zeros((2, 2), F))).get().shape == (2, 2)


@on_the_double
def test_a_download_that_could_not_be_started_is_started_later():
    queue, here = Downloads(), [np.arange(3, dtype=F), np.arange(4)]
    asked = [queue.ask(to_device(x)) for x in here]
    with no_pinned_memory(), pytest.raises(MemoryError, match="Out of pinned memory"):
        queue.start()
    same([x.get() for x in asked], here)


@on_the_double
def test_a_download_is_a_copy_of_the_callers_own():
    queue = Downloads()
    x = queue.ask(to_device(np.zeros(3, F)))
    x.get()[:] = 1
    assert x.get().tolist() == [0, 0, 0]


@on_the_double
def test_a_download_that_nobody_reads_harms_no_other():
    """Its memory is kept until its copy is done, and no longer."""
    queue = Downloads()
    for i in range(9):
        queue.ask(to_device(np.full(5, i, F)))
        queue.start()
        assert 1 <= len(queue._flying) <= 3
    last = queue.ask(to_device(np.full(5, 9, F)))
    assert last.get().tolist() == [9] * 5


@on_the_double
def test_arrays_of_two_types_are_not_mixed():
    queue = Downloads()
    x, y = queue.ask(to_device(np.arange(3, dtype=F))), queue.ask(to_device(np.arange(4)))
    assert x.get().dtype == F and y.get().dtype == np.int64
    assert x.get().tolist() == [0, 1, 2] and y.get().tolist() == [0, 1, 2, 3]
