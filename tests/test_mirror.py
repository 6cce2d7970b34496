"""Replay buffers on a device: the same batches as on the host, from one upload each."""

import copy
import warnings

import numpy as np
import pytest
from support.on_the_double import no_pinned_memory, on_the_double
from test_buffers import transitions

from npr import mirror
from npr.backend import FLOAT, on_host, to_device, to_host, xp
from npr.buffers import PrioritizedReplayBuffer, ReplayBuffer
from npr.errors import ConfigWarning
from npr.normalize import ObservationNorm, RewardNorm

KINDS = {"discrete": {}, "box": {"a_shape": (3,), "a_dtype": FLOAT}}


def buffer_of(kind=ReplayBuffer, capacity=20, normalized=False, actions="box", n_step=1, **options):
    norms = {}
    if normalized:
        norms = {"obs_norm": ObservationNorm(2, clip=1.5), "reward_norm": RewardNorm(2, 0.9, 2.0)}
        norms["obs_norm"].add(np.random.default_rng(1).normal(3, 2, (50, 2)).astype(FLOAT))
        for r in np.random.default_rng(2).normal(0, 9, (9, 2)):
            norms["reward_norm"].add(r, np.zeros(2, bool), np.ones(2, bool))
    return kind(capacity, 2, **KINDS[actions], n_step=n_step, **norms, **options)


def add(buffer, rng, n):
    """n steps of a new episode."""
    for _ in range(n):
        new = transitions(rng, 1, first=float(rng.integers(99)), **KINDS[kind_of(buffer)])
        buffer.add(*new, np.array([buffer.episode]))
    buffer.episode += 1


def kind_of(buffer):
    return "box" if buffer.a.ndim == 2 else "discrete"


def batches(buffer, rng, **options):
    """A batch on the device and the same one on the host, as host arrays and numbers."""
    state = rng.bit_generator.state
    there = buffer.sample(7, rng, **options)
    rng.bit_generator.state = state
    with on_host():
        here = buffer.sample(7, rng, **options)
    return [[to_host(x) if hasattr(x, "dtype") else x for x in one] for one in (there, here)]


def assert_same(there, here):
    for x, y in zip(there, here, strict=True):
        assert getattr(x, "dtype", type(x)) == getattr(y, "dtype", type(y))
        np.testing.assert_array_equal(x, y)


@on_the_double
def test_batches_are_those_of_the_host_to_the_bit():
    """While the ring fills, wraps around, and is overwritten as a whole between two samples."""
    for actions in KINDS:
        for n_step in (1, 3):
            for normalized in (False, True):
                buffer = buffer_of(actions=actions, n_step=n_step, normalized=normalized)
                buffer.episode, rng = 0, np.random.default_rng(0)
                for n in (3, 0, 1, 9, 6, 5, 20, 19, 1, 45, 2):
                    add(buffer, rng, n)
                    assert_same(*batches(buffer, rng))


@on_the_double
def test_a_batch_has_contiguous_columns_of_the_types_of_the_network():
    for actions, options in KINDS.items():
        buffer = buffer_of(actions=actions)
        buffer.episode = 0
        add(buffer, np.random.default_rng(0), 5)
        s, a, r, s2, terminated, gamma = buffer.sample(4, np.random.default_rng(0))
        assert [x.shape for x in (s, r, s2, terminated)] == [(4, 2), (4,), (4, 2), (4,)]
        assert a.shape == (4, *options.get("a_shape", ())) and gamma == 0.99
        assert a.dtype == options.get("a_dtype", np.int64)
        assert all(x.flags.c_contiguous and x.dtype == FLOAT for x in (s, r, s2, terminated))


@on_the_double
def test_a_sample_is_one_upload():
    noise = [np.full((4, 3), 5, FLOAT), None, np.arange(6)]
    for kind in (ReplayBuffer, PrioritizedReplayBuffer):
        buffer = buffer_of(kind, normalized=True, n_step=3)
        buffer.episode, rng = 0, np.random.default_rng(0)
        for n in (7, 0, 1, 30):
            add(buffer, rng, n)
            xp.counts.reset()
            if kind is ReplayBuffer:
                *_, first, none, last = buffer.sample(4, rng, noise)
                assert to_host(first).tolist() == noise[0].tolist()
                assert none is None and to_host(last).tolist() == noise[2].tolist()
                xp.counts.downloads -= 2
            else:
                buffer.sample(4, rng)
            assert xp.counts.uploads == 1, (kind, n)
            assert xp.counts.downloads == xp.counts.synchronizations == 0


@on_the_double
def test_a_row_is_uploaded_once():
    buffer = buffer_of()
    buffer.episode, rng = 0, np.random.default_rng(0)
    add(buffer, rng, 6)
    before = to_host(buffer.gather(np.arange(6))[2])
    buffer.r[:6] = -1  # not by `add`
    add(buffer, rng, 3)
    after = to_host(buffer.gather(np.arange(9))[2])
    np.testing.assert_array_equal(after, [*before, *buffer.r[6:9]])


@on_the_double
def test_batches_of_one_size_are_at_the_same_place():
    buffer = buffer_of(n_step=3)
    buffer.episode, rng = 0, np.random.default_rng(0)
    add(buffer, rng, 8)
    first = buffer.sample(4, rng, [np.zeros(2, FLOAT)])
    other = buffer.sample(5, rng, [np.zeros(2, FLOAT)])
    add(buffer, rng, 8)
    again = buffer.sample(4, rng, [np.ones(2, FLOAT)])
    assert all(x is y for x, y in zip(first, again, strict=True))
    assert not any(x is y for x, y in zip(first, other, strict=True))
    for n in range(20):  # memory of sizes that are not used any more is released
        buffer.sample(6 + n, rng)
        assert buffer.sample(4, rng, [np.ones(2, FLOAT)])[0] is first[0], "this one is in use"
    assert len(buffer._mirror._kinds) == mirror.KINDS


@on_the_double
def test_memory_that_is_released_is_not_being_copied():
    buffer = buffer_of()
    buffer.episode, rng = 0, np.random.default_rng(0)
    add(buffer, rng, 8)
    for n in range(mirror.KINDS):
        buffer.sample(4 + n, rng)
    copied = [event for event in buffer._mirror._kinds[next(iter(buffer._mirror._kinds))][0]._copied
              if event is not None]  # fmt: skip
    assert copied and not copied[0].done
    xp.counts.reset()
    buffer.sample(4 + mirror.KINDS, rng)
    assert xp.counts.waits == len(copied), "the first kind's only"


@on_the_double
def test_what_is_uploaded_with_a_batch_keeps_within_its_room():
    """CuPy rounds pinned memory up to a power of two."""
    buffer = buffer_of(capacity=mirror.ROOM // 36 + 1000, n_step=3)
    buffer.episode, rng = 0, np.random.default_rng(0)
    add(buffer, rng, 8)
    buffer.sample(7, rng, [np.zeros(100, FLOAT)])
    ((staging, _),) = buffer._mirror._kinds.values()
    row = buffer._rows[0].nbytes
    assert mirror.ROOM - row < staging._blocks[0].nbytes <= mirror.ROOM


@on_the_double
def test_many_new_rows_are_uploaded_by_themselves():
    """As after loading a file. The rows may wrap around."""
    for room in (0, 256 + 5 * buffer_of()._rows[0].nbytes):  # 256: the numbers of the rows
        mirror.ROOM = room
        buffer = buffer_of()
        buffer.episode, rng = 0, np.random.default_rng(0)
        for n, uploads in ((6, 2), (18, 3), (5, 2 if room == 0 else 1), (50, 3)):
            add(buffer, rng, n)
            xp.counts.reset()
            buffer.sample(7, rng)
            assert xp.counts.uploads == uploads, (room, n, xp.counts.uploads)
            assert_same(*batches(buffer, rng))


@on_the_double
def test_rows_that_do_not_fit_the_device_stay_on_the_host():
    buffer = buffer_of(normalized=True, n_step=3)
    buffer.episode, rng = 0, np.random.default_rng(0)
    fits, mirror.fits = mirror.fits, lambda rows: False
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for n in (3, 9, 30):
                add(buffer, rng, n)
                there, here = batches(buffer, rng, noise=[np.ones(3, FLOAT), None])
                assert_same(there, here)
            xp.counts.reset()
            buffer.sample(3, rng, [np.ones(3, FLOAT)])
            assert xp.counts.uploads == 1
    finally:
        mirror.fits = fits
    assert [str(one.message) for one in seen if one.category is ConfigWarning] == [
        "A replay buffer of 20 transitions, 0.0 MB, is too large for the free memory of the "
        "device: batches are gathered on the host, which is slower. Lower buffer_size."
    ]


@on_the_double
def test_rows_take_no_more_than_their_share_of_the_memory():
    """Free is what no process has, and what CuPy keeps of arrays that were freed."""
    rows = buffer_of()._rows
    needed, pool = rows.nbytes + mirror.ROOM, xp.get_default_memory_pool()
    before = xp.cuda.runtime.memGetInfo, type(pool).free_bytes
    try:
        for free, kept, fits in (
            (2 * needed, 0, True), (2 * needed - 1, 0, False), (0, 2 * needed, True),
            (needed, needed, True), (needed, 0, False),
        ):  # fmt: skip
            xp.cuda.runtime.memGetInfo = lambda free=free: (free, 10**12)
            type(pool).free_bytes = lambda self, kept=kept: kept
            assert mirror.fits(rows) is fits, (free, kept)
    finally:
        xp.cuda.runtime.memGetInfo, type(pool).free_bytes = before


@on_the_double
def test_copies_and_loaded_buffers_have_rows_of_their_own():
    buffer, rng = buffer_of(), np.random.default_rng(0)
    buffer.episode = 0
    add(buffer, rng, 13)
    buffer.sample(7, rng)
    loaded, copied = buffer_of(), copy.deepcopy(buffer)
    loaded.load(buffer.state())
    loaded.episode = copied.episode
    for each in (copied, loaded):
        add(each, rng, 5)
        assert_same(*batches(each, rng))
    assert_same(*batches(buffer, rng))
    loaded.load(buffer.state())  # which replaces rows that are on the device
    assert_same(*batches(loaded, rng))


# ---- priorities


@on_the_double
def test_priorities_from_the_device_are_used_by_the_next_draw():
    """As if they had been set at once: with new rows in between, overwritten ones, rows drawn
    twice and errors that are not finite."""
    late, early = (buffer_of(PrioritizedReplayBuffer, capacity=9, eps=0.1) for _ in range(2))
    late.episode = early.episode = 0
    rng = np.random.default_rng(0)
    for step in range(60):
        for each in (late, early):
            add(each, np.random.default_rng(step), 1 + step % 3)
        for _ in range(step % 3):
            errors = rng.normal(0, 3, 6).astype(FLOAT)
            errors[rng.integers(6)] = rng.choice([np.nan, np.inf, 20])
            *there, index = late.sample(6, np.random.default_rng(step))
            with on_host():
                *here, same = early.sample(6, np.random.default_rng(step))
            np.testing.assert_array_equal(index, same)
            assert_same([to_host(x) for x in there if x is not late.gamma], here[:5] + here[6:])
            index[0] = index[1]
            xp.counts.reset()
            late.set_priorities(index, to_device(errors))
            early.set_priorities(index, errors)
            assert xp.counts.downloads == 0
    assert late.tree._tree.tobytes() == early.tree._tree.tobytes()
    assert late.largest == early.largest


@pytest.mark.parametrize("reader", ["state", "copy", "tree", "largest", "host"])
def test_whoever_reads_priorities_sees_those_that_wait(reader):
    """On any backend: an array that is not NumPy's waits."""

    class Later:
        def __init__(self, x):
            self.x = x

        def get(self):
            return self.x

    buffer = buffer_of(PrioritizedReplayBuffer, alpha=1.0, eps=0.0)
    buffer.episode = 0
    add(buffer, np.random.default_rng(0), 3)
    buffer._waiting = [(np.array([0, 1]), Later(np.array([7.0, 9.0])))]
    add(buffer, np.random.default_rng(1), 1)
    if reader == "host":
        buffer.set_priorities(np.array([2]), np.array([4.0]))
    seen = {
        "state": lambda: buffer.state()["priority"],
        "copy": lambda: copy.deepcopy(buffer)._tree[:4],
        "tree": lambda: buffer.tree[:4],
        "largest": lambda: np.array([7, 9, 1, buffer.largest]),
        "host": lambda: buffer._tree[:4],
    }[reader]()
    assert seen.tolist() == [7, 9, 4 if reader == "host" else 1, 9]


@on_the_double
def test_priorities_are_not_lost_where_a_download_fails():
    buffer = buffer_of(PrioritizedReplayBuffer, alpha=1.0, eps=0.0)
    buffer.episode = 0
    add(buffer, np.random.default_rng(0), 3)
    buffer.set_priorities(np.array([0, 1]), to_device(np.array([7, 9], FLOAT)))
    buffer.set_priorities(np.array([1]), to_device(np.array([8], FLOAT)))
    add(buffer, np.random.default_rng(1), 1)
    with no_pinned_memory(), pytest.raises(MemoryError):
        buffer.state()
    assert buffer.state()["priority"].tolist() == [7, 8, 1, 9]


def test_priorities_that_wait_are_those_of_the_rows_before_a_load():
    buffer = buffer_of(PrioritizedReplayBuffer)
    buffer.episode = 0
    add(buffer, np.random.default_rng(0), 3)
    state = buffer.state()
    buffer._waiting = [(np.array([0]), None)]
    buffer.load(state)
    assert buffer._waiting == [] and buffer.state()["priority"].tolist() == [1, 1, 1]
