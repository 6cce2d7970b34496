"""Replay buffer and rollouts against simple models: a list of tuples and loops over it."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npr.backend import FLOAT, ON_HOST, to_host
from npr.buffers import INDEX_DTYPE, PrioritizedReplayBuffer, ReplayBuffer, Rollout, Steps
from npr.errors import ConfigError
from npr.kernels.rows import Block, Kept
from npr.normalize import ObservationNorm, RewardNorm


def transitions(rng, n, first=0, s_size=2, a_shape=(), a_dtype=INDEX_DTYPE):
    """n transitions; rewards are consecutive numbers."""
    a = rng.integers(5, size=(n, *a_shape)) if a_dtype == INDEX_DTYPE else rng.random((n, *a_shape))
    return (
        rng.random((n, s_size)).astype(FLOAT),
        a.astype(a_dtype),
        np.arange(first, first + n, dtype=FLOAT),
        rng.random((n, s_size)).astype(FLOAT),
        rng.random(n) < 0.3,
    )


def batch_of(buffer, n, seed=0):
    """A sample as host arrays (s, a, r, s2, terminated) that are kept, and gamma."""
    *columns, gamma = buffer.sample(n, np.random.default_rng(seed))
    return [to_host(column).copy() for column in columns], gamma


def rows_of(columns):
    """Columns as a list of comparable rows."""
    columns = [np.asarray(column, float) for column in columns]
    return [tuple(np.concatenate([np.ravel(part) for part in row])) for row in zip(*columns)]


# ---- the replay buffer


KINDS = {"discrete": {}, "box": {"a_shape": (3,), "a_dtype": FLOAT}}


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 9), max_size=12),
    kind=st.sampled_from(list(KINDS)),
)
def test_the_buffer_has_the_newest_transitions_of_a_list(capacity, sizes, kind):
    rng = np.random.default_rng(0)
    buffer, model = ReplayBuffer(capacity, 2, **KINDS[kind]), []
    for size in sizes:
        new = transitions(rng, min(size, capacity), first=len(model), **KINDS[kind])
        buffer.add(*new)
        model += rows_of(new)
    newest = model[-capacity:]
    assert buffer.size == len(newest)
    state = buffer.state()
    held = rows_of(state[name] for name in ("s", "a", "r", "s2", "terminated"))
    assert sorted(held) == sorted(newest)
    if model:
        columns, _ = batch_of(buffer, 64)
        assert set(rows_of(columns)) <= set(newest), "samples are stored transitions"


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_one_size_share_memory(kind, n_step):
    """What was written to it since is nowhere to be seen, in copies of the buffer neither."""
    buffer, rng = ReplayBuffer(8, 2, **KINDS[kind], n_step=n_step), np.random.default_rng(0)
    buffer.add(*transitions(rng, 5, **KINDS[kind]), np.arange(5))
    first = buffer.sample(4, np.random.default_rng(1))
    held = [np.copy(to_host(x)) for x in first]
    other = buffer.sample(3, np.random.default_rng(2))
    for x, y in zip(first, held):
        np.testing.assert_array_equal(to_host(x), y)
    for twin in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert not any(x is y for x, y in zip(twin.sample(4, rng)[:5], first))
    for x in first[:5]:
        x[...] = 1
    again = buffer.sample(4, np.random.default_rng(1))
    assert all(x is y for x, y in zip(again[:5], first))
    for x, y in zip(again, held):
        np.testing.assert_array_equal(to_host(x), y)
    assert not any(np.shares_memory(to_host(x), to_host(y)) for x, y in zip(first[:5], other[:5]))


def test_the_memory_of_the_sizes_used_last_is_kept():
    buffer = ReplayBuffer(8, 2)
    buffer.add(*transitions(np.random.default_rng(0), 5))
    first = buffer.sample(64, np.random.default_rng(0))
    for size in range(1, 40):
        buffer.sample(size, np.random.default_rng(0))
        again = buffer.sample(64, np.random.default_rng(0))
        assert not ON_HOST or all(x is y for x, y in zip(again, first))
    assert len(buffer._batches) == 4


def test_what_was_not_used_for_the_longest_time_is_made_again():
    made, kept = [], Kept(2)
    for size in (1, 2, 1, 3, 1, 2):
        assert kept.used(size, lambda n: made.append(n) or f"of {n}") == f"of {size}"
    assert made == [1, 2, 3, 2]
    for twin in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert not twin and [twin.used(n, str) for n in (4, 5, 6)] and [*twin] == [5, 6]


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_buffer_that_nobody_uses_is_freed_at_once(n_step):
    """It may have gigabytes, which the collector of cycles does not know of."""
    gc.disable()
    try:
        buffer = ReplayBuffer(8, 2, n_step=n_step, obs_norm=ObservationNorm(2))
        buffer.add(*transitions(np.random.default_rng(0), 5), np.arange(5))
        buffer.sample(4, np.random.default_rng(0))
        rows = weakref.ref(buffer._rows)
        del buffer
        assert rows() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("n_step", [1, 3])
def test_settings_of_a_buffer_count_from_the_next_batch_on(n_step):
    norms = {"obs_norm": ObservationNorm(2), "reward_norm": RewardNorm(1, 0.9)}
    changes = {"gamma": 0.5} if n_step == 1 else {"gamma": 0.5, "n_step": 2}
    buffer = ReplayBuffer(16, 2, n_step=n_step, **norms)
    given = *transitions(np.random.default_rng(0), 12, first=1), np.zeros(12, int)
    for row in zip(*([x[None] for x in column] for column in given)):
        buffer.add(*row)

    def batches(buffer):
        return [to_host(x).copy() for x in buffer.sample(32, np.random.default_rng(0))[:5]] + [
            np.array(to_host(buffer.sample(32, np.random.default_rng(0))[5]))
        ]

    def new(**settings):
        other = ReplayBuffer(16, 2, **{"n_step": n_step, **norms, **settings})
        for row in zip(*([x[None] for x in column] for column in given)):
            other.add(*row)
        return batches(other)

    def same(xs, ys):
        return all(np.array_equal(x, y) for x, y in zip(xs, ys, strict=True))

    before = batches(buffer)
    for name, value in changes.items():
        setattr(buffer, name, value)
    after = batches(buffer)
    assert not same(before, after) and same(after, new(**changes))
    buffer.obs_norm.clip, buffer.reward_norm.clip = 0.1, 0.5
    clipped = batches(buffer)
    assert np.abs(clipped[0]).max() == FLOAT.type(0.1)
    assert clipped[2].max() == FLOAT.type(0.5 * buffer.n_step)
    assert same(clipped, new(**changes))
    buffer.obs_norm = buffer.reward_norm = None
    assert same(batches(buffer), new(**changes, obs_norm=None, reward_norm=None))


@pytest.mark.parametrize("row", [-1, 5, 99])
def test_a_row_that_the_buffer_does_not_have_is_refused(row):
    buffer = ReplayBuffer(5, 2)
    buffer.add(*transitions(np.random.default_rng(0), 5))
    with pytest.raises(IndexError):
        buffer.gather(np.array([0, row]))


def test_transitions_of_other_shapes_are_refused():
    buffer = ReplayBuffer(5, 2)
    s, a, r, s2, terminated = transitions(np.random.default_rng(0), 3)
    for bad in ((s[:, :1], a, r, s2[:2], terminated), (s, a, r, s2, terminated[:2])):
        with pytest.raises(ValueError):
            buffer.add(*bad)
    assert not buffer.size and not buffer._rows.any()


def test_widths_that_add_up_to_a_row_are_refused_as_well():
    """After transitions of the right shapes, whose native code is kept."""
    buffer, rng = ReplayBuffer(5, 3, (1,), FLOAT), np.random.default_rng(0)
    buffer.add(*transitions(rng, 1, s_size=3, a_shape=(1,), a_dtype=FLOAT))
    before = buffer._rows.copy()
    for s_size, a_size in ((2, 3), (1, 5)):
        with pytest.raises(ValueError):
            buffer.add(*transitions(rng, 1, 1, s_size, (a_size,), FLOAT))
    assert buffer.size == 1 and np.array_equal(buffer._rows, before)


def test_the_oldest_transitions_are_overwritten_first():
    buffer = ReplayBuffer(4, 2)
    for first in (0, 3, 6):
        buffer.add(*transitions(np.random.default_rng(0), 3, first))
    assert sorted(buffer.state()["r"]) == [5, 6, 7, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_have_the_dtypes_of_the_network(kind):
    buffer = ReplayBuffer(8, 2, **KINDS[kind])
    buffer.add(*transitions(np.random.default_rng(0), 5, **KINDS[kind]))
    (s, a, r, s2, terminated), gamma = batch_of(buffer, 7)
    assert [x.shape for x in (s, r, s2, terminated)] == [(7, 2), (7,), (7, 2), (7,)]
    assert {x.dtype for x in (s, r, s2, terminated)} == {FLOAT}
    assert a.shape == (7, *KINDS[kind].get("a_shape", ()))
    assert a.dtype == KINDS[kind].get("a_dtype", INDEX_DTYPE)
    assert gamma == 0.99, "the default; one step needs no column of discounts"


def test_numbers_are_stored_in_the_compute_dtype():
    buffer = ReplayBuffer(4, 2)
    s, a, r, s2, terminated = transitions(np.random.default_rng(0), 2)
    buffer.add(s.astype(float), a.astype(np.int32), r.astype(float), s2.tolist(), terminated)
    columns, _ = batch_of(buffer, 3)
    assert [x.dtype for x in columns] == [FLOAT, INDEX_DTYPE, FLOAT, FLOAT, FLOAT]


def test_no_memory_is_shared_with_the_caller():
    """Environments may reuse their arrays, and callers may modify a batch."""
    buffer = ReplayBuffer(4, 2)
    given = transitions(np.random.default_rng(0), 3)
    buffer.add(*given)
    before = {name: column.copy() for name, column in buffer.state().items()}
    for array in given:
        array[...] = 1
    for array in batch_of(buffer, 16)[0]:
        array[...] = 1
    for name, column in buffer.state().items():
        assert np.array_equal(column, before[name])


@pytest.mark.parametrize(("stored", "capacity"), [(50, 80), (130, 50)])
def test_sampling_is_uniform(stored, capacity):
    """Chi-square of 200,000 draws over 50 rows: above 85.4 with probability .001 (49 degrees)."""
    buffer = ReplayBuffer(capacity, 1)
    for first in range(0, stored, 10):
        buffer.add(*transitions(np.random.default_rng(0), 10, first, s_size=1))
    (_, _, r, _, _), _ = batch_of(buffer, 200_000, seed=1)
    drawn = np.bincount(r.astype(int), minlength=stored)[stored - 50 :]
    assert drawn.sum() == 200_000, "only the 50 newest are stored"
    assert ((drawn - 4_000) ** 2 / 4_000).sum() < 85.4


def test_a_batch_depends_on_the_generator_alone():
    buffer = ReplayBuffer(64, 2)
    buffer.add(*transitions(np.random.default_rng(0), 64))
    one, same, other = (batch_of(buffer, 32, seed)[0][2] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_batch_may_be_larger_than_what_is_stored():
    buffer = ReplayBuffer(8, 2)
    buffer.add(*transitions(np.random.default_rng(0), 1))
    assert batch_of(buffer, 5)[0][0].shape == (5, 2)


def test_empty_buffers_and_too_many_transitions_are_refused():
    buffer = ReplayBuffer(3, 2)
    with pytest.raises(ConfigError, match="The replay buffer is empty; add transitions before"):
        buffer.sample(1, np.random.default_rng(0))
    with pytest.raises(
        ConfigError,
        match="4 transitions at once do not fit a replay buffer of 3; raise buffer_size to at "
        "least n_envs",
    ):
        buffer.add(*transitions(np.random.default_rng(0), 4))
    assert buffer.size == 0


def filled(n_step=1, capacity=8, rounds=7):
    """A buffer of two environments with episodes of three steps, and the next reward."""
    buffer, rng = ReplayBuffer(capacity, 2, n_step=n_step), np.random.default_rng(0)
    for t in range(rounds):
        episode = np.array([0, 1]) + 2 * (t // 3)
        buffer.add(*transitions(rng, 2, first=2 * t), episode)
    return buffer


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("rounds", [3, 7])
def test_a_saved_buffer_samples_the_same(n_step, rounds):
    buffer, other = filled(n_step, rounds=rounds), ReplayBuffer(8, 2, n_step=n_step)
    other.load({name: column.copy() for name, column in buffer.state().items()})
    one, gamma = batch_of(buffer, 64)
    two, gamma2 = batch_of(other, 64)
    assert rows_of(one) == rows_of(two)
    assert np.array_equal(to_host(gamma), to_host(gamma2))
    new = transitions(np.random.default_rng(9), 1, first=100)
    for each in (buffer, other):  # and continues at the same position
        each.add(*new, np.array([99]))
    assert all(
        np.array_equal(a, b) for a, b in zip(buffer.state().values(), other.state().values())
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_a_copy_samples_what_is_added_to_it_later(kind, n_step, copied):
    rng = np.random.default_rng(0)
    buffer = kind(4, 2, n_step=n_step, obs_norm=ObservationNorm(2))
    buffer.add(*transitions(rng, 4), np.arange(4))
    other = copied(buffer)
    other.add(*transitions(rng, 4, first=100), np.arange(4, 8))
    for each, rewards in ((buffer, {0, 1, 2, 3}), (other, {100, 101, 102, 103})):
        assert set(to_host(each.gather(np.arange(4))[2]).tolist()) == rewards
        assert set(to_host(each.sample(64, rng)[2]).tolist()) <= rewards
        assert set(each.state()["r"].tolist()) == rewards


def test_a_state_that_is_refused_changes_nothing():
    buffer = filled(n_step=3)
    before = buffer.state()
    state = {name: column.copy() for name, column in before.items()}
    state["newest"] = np.array([[7, 99]])
    with pytest.raises(ConfigError, match="newest rows are out of range"):
        buffer.load(state)
    for name, column in buffer.state().items():
        np.testing.assert_array_equal(column, before[name])


@pytest.mark.parametrize("name, value", [("position", 8), ("position", -1), ("size", 9)])
def test_a_state_with_wrong_shapes_is_refused(name, value):
    state = dict(filled().state())
    if name == "position":
        state["position"] = np.array(value)
    else:
        state = {k: np.resize(v, (value, *v.shape[1:])) for k, v in state.items()}
        state["position"] = np.array(0)
    with pytest.raises(ConfigError, match=r"A replay of [89] does not fit buffer_size=8"):
        ReplayBuffer(8, 2).load(state)


@pytest.mark.parametrize("row", [8, -2, 2**40])
def test_a_state_with_invalid_row_numbers_is_refused(row):
    """Compiled loops do not check bounds, so rows from a file are checked first."""
    state = dict(filled(n_step=3).state())
    state["next"] = np.full_like(state["next"], row)
    with pytest.raises(ConfigError, match="next"):
        ReplayBuffer(8, 2, n_step=3).load(state)


# ---- n-step returns


def n_step_model(stored, i, n, gamma):
    """The (r, s2, terminated, gamma) that `sample` must return for row i of a list of
    (r, episode, s2, terminated, s)."""
    episode = stored[i][1]
    rest = [row for row in stored[i:] if row[1] == episode][:n]
    total = sum(gamma**k * row[0] for k, row in enumerate(rest))
    return [total, rest[-1][2], float(rest[-1][3]), gamma ** len(rest)]


@settings(max_examples=60, deadline=None)
@given(
    n_envs=st.integers(1, 3),
    capacity=st.integers(3, 12),
    n_step=st.integers(2, 5),
    lengths=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    rounds=st.integers(1, 15),
)
def test_n_step_returns_do_not_cross_episodes(n_envs, capacity, n_step, lengths, rounds):
    """Any number of environments, episode lengths and wrap-arounds of the buffer."""
    buffer = ReplayBuffer(capacity, 1, gamma=0.5, n_step=n_step)
    rng, stored, number, t = np.random.default_rng(0), [], n_envs, [0] * n_envs
    episode = np.arange(n_envs)
    for _ in range(rounds):
        s, a, r, s2, terminated = transitions(rng, n_envs, len(stored), s_size=1)
        terminated = np.array([t[i] + 1 == lengths[i] for i in range(n_envs)])
        buffer.add(s, a, r, s2, terminated, episode.copy())
        stored += zip(r, episode.tolist(), s2[:, 0], terminated, s[:, 0])
        for i in range(n_envs):
            t[i] = 0 if terminated[i] else t[i] + 1
            if terminated[i]:
                episode[i], number = number, number + 1
    stored = stored[-capacity:]
    model = {
        row[4]: n_step_model(stored, i, n_step, 0.5)  # s identifies the first row of a sample
        for i, row in enumerate(stored)
    }
    (s, _, *got), gamma = batch_of(buffer, 200, seed=3)
    for start, row in zip(s[:, 0], rows_of([*got, to_host(gamma)])):
        assert row == pytest.approx(model[start], rel=1e-5)


# ---- rollouts


def rollout(valid, terminated=None, truncated=None, **columns):
    """A Rollout of len(valid) steps; columns that are not given are consecutive numbers."""
    valid = np.array(valid, bool)
    T, N = valid.shape
    none = np.zeros((T, N), bool)
    terminated = none if terminated is None else np.array(terminated, bool)
    truncated = none if truncated is None else np.array(truncated, bool)
    steps, rng = Steps(N, 2, **columns), np.random.default_rng(0)
    for t in range(T):
        s, a, _, s2, _ = transitions(rng, N, **columns)
        steps.append((s, a, np.full(N, t), s2, terminated[t], truncated[t], valid[t]))
    return Rollout(steps)


@pytest.mark.parametrize("valid", [[[1, 1]] * 3, [[1, 0], [1, 1], [0, 1]]])
def test_flat_has_the_valid_steps_in_memory_that_is_used_again(valid):
    D, rng = rollout(valid), np.random.default_rng(0)
    columns = [rng.random((3, 2, *shape)).astype(FLOAT) for shape in ((), (4,))]
    rows = [[x[t, i] for t in range(3) for i in range(2) if valid[t][i]] for x in columns]
    first = D.flat(*columns)
    for x, expected in zip(first, rows):
        np.testing.assert_array_equal(x, np.array(expected))
    again = D.flat(*(2 * x for x in columns))
    assert all(x is y for x, y in zip(first, again))
    for x, expected in zip(again, rows):
        np.testing.assert_array_equal(x, 2 * np.array(expected))


def test_a_rollout_is_written_to_the_memory_of_the_last_one_and_columns_are_not():
    steps, rng = Steps(2, 2), np.random.default_rng(0)
    held = []
    for T in (3, 3, 2):
        steps.clear()
        for _ in range(T):
            s, a, r, s2, terminated = transitions(rng, 2)
            steps.append((s, a, r, s2, terminated, ~terminated, np.ones(2, bool)))
        held.append(Rollout(steps))
        for name, column in steps.columns().items():
            expected = np.array([row[Steps.NAMES.index(name)] for row in steps])
            assert column.dtype == expected.dtype
            np.testing.assert_array_equal(column, expected)
            if name in ("s", "a", "r", "s2"):
                np.testing.assert_array_equal(getattr(held[-1], name), expected)
                assert not np.shares_memory(column, getattr(held[-1], name))
    one, two, three = (D.s for D in held)
    assert one is two and two is not three


def test_done_is_terminated_or_truncated_or_before_an_invalid_row():
    D = rollout(
        valid=[[1, 1], [1, 0], [1, 1], [1, 1]],
        terminated=[[1, 0], [0, 0], [0, 0], [1, 0]],
        truncated=[[0, 0], [0, 0], [1, 0], [1, 0]],
    )
    # the step before an invalid row too: another episode follows
    assert D.done.tolist() == [[1, 1], [0, 1], [1, 0], [1, 0]]
    assert D.terminated.tolist() == [[1, 0], [0, 1], [0, 0], [1, 0]]
    assert D.valid.tolist() == [[True, True], [True, False], [True, True], [True, True]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_has_the_given_columns(kind):
    D = rollout(np.ones((3, 2)), **KINDS[kind])
    rng = np.random.default_rng(0)
    for t in range(3):
        s, a, _, s2, _ = transitions(rng, 2, **KINDS[kind])
        assert np.array_equal(D.s[t], s) and np.array_equal(D.s2[t], s2)
        assert np.array_equal(D.a[t], a) and (D.r[t] == t).all()
    s, a, *rest = (to_host(x) for x in D.arrays())
    assert a.dtype == KINDS[kind].get("a_dtype", INDEX_DTYPE)
    assert {x.dtype for x in (s, *rest)} == {FLOAT}


def test_a_rollout_shares_no_memory_with_the_environment():
    steps, (s, a, r, s2, flags) = Steps(2, 2), transitions(np.random.default_rng(0), 2)
    terminated, truncated, valid = flags.astype(bool), np.zeros(2, bool), np.ones(2, bool)
    steps.append((s, a, r, s2, terminated, truncated, valid))
    D = Rollout(steps)
    before = [to_host(x).copy() for x in D.arrays()]
    for array in (s, a, r, s2, terminated, truncated, valid):
        array[...] = 1 - array
    assert all(np.array_equal(x, to_host(y)) for x, y in zip(before, D.arrays()))
    assert D.valid.all()


@given(
    valid=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=9),
    batch_size=st.integers(2, 12),
)
def test_minibatches_visit_each_valid_step_once(valid, batch_size):
    D = rollout(valid)
    batches = [to_host(b) for b in D.minibatches(batch_size, np.random.default_rng(0))]
    visited = np.concatenate([*batches, np.zeros(0, int)])
    assert sorted(visited) == np.flatnonzero(valid).tolist()
    sizes = [len(b) for b in batches]
    assert all(size == batch_size for size in sizes[:-1])
    if len(sizes) > 1:
        assert 2 <= sizes[-1] <= batch_size + 1, "a single step joins the batch before it"


def test_a_remainder_of_one_step_joins_the_previous_minibatch():
    D = rollout(np.ones((3, 3)))
    sizes = [len(b) for b in D.minibatches(4, np.random.default_rng(0))]
    assert sizes == [4, 5]
    assert [len(b) for b in D.minibatches(7, np.random.default_rng(0))] == [7, 2]
    assert [len(b) for b in rollout([[1]]).minibatches(4, np.random.default_rng(0))] == [1]


def test_minibatches_are_shuffled_in_every_epoch():
    D, rng = rollout(np.ones((8, 3))), np.random.default_rng(0)
    one, two = (np.concatenate([to_host(b) for b in D.minibatches(5, rng)]) for _ in range(2))
    assert not np.array_equal(one, two) and not np.array_equal(one, np.sort(one))
    again = np.random.default_rng(0)
    same = np.concatenate([to_host(b) for b in D.minibatches(5, again)])
    assert np.array_equal(one, same)


def test_rows_of_other_columns_may_be_taken_between_batches():
    block, index = Block(), np.array([2, 0])
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    take = block.taker([x, y])
    for _ in range(2):
        (rows,) = block.taker([y])(index)
        assert rows.tolist() == [2, 0]
        assert [z.tolist() for z in take(index)] == [[[4, 5], [0, 1]], [2, 0]]


def test_copies_and_files_of_steps_are_without_the_memory_of_rollouts():
    steps = Steps(2, 3)
    size = len(pickle.dumps(steps))
    row = np.zeros((2, 3), FLOAT), np.zeros(2, int), np.ones(2), np.zeros((2, 3), FLOAT)
    steps += [(*row, *np.zeros((3, 2), bool))] * 100
    Rollout(steps)
    steps.clear()
    assert len(pickle.dumps(steps)) == size
    assert steps._kept and not copy.deepcopy(steps)._kept
