"""Prioritized replay: weights and draws by hand."""

import numpy as np
import pytest

from npr.buffers import PrioritizedReplayBuffer
from npr.errors import ConfigError

F = np.float32


# ---- prioritized replay


def filled(n=4, capacity=4, **options):
    buffer = PrioritizedReplayBuffer(capacity, 1, **options)
    for i in range(n):
        buffer.add(np.full((1, 1), i, F), np.zeros(1, int), np.full(1, i, F), np.zeros((1, 1), F),
                   np.zeros(1, F))  # fmt: skip
    return buffer


def prioritized(normalization):
    buffer = filled(alpha=1.0, eps=1e-12, normalization=normalization)
    buffer.set_priorities(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))
    return buffer


@pytest.mark.parametrize("normalization", ["batch", "buffer"])
def test_weights_by_hand(normalization):
    """Priorities 1, 2, 3, 4: P = .1 .2 .3 .4, raw weights 2.5 1.25 .833 .625 at beta = 1."""
    buffer = prioritized(normalization)
    *_, w, index = buffer.sample(64, np.random.default_rng(0), beta=1.0)
    raw = np.array([2.5, 1.25, 2.5 / 3, 0.625])
    top = raw[index].max() if normalization == "batch" else raw.max()
    assert w == pytest.approx(raw[index] / top, rel=1e-5)


def test_normalization_by_batch_or_buffer():
    weights = []
    for normalization in ("batch", "buffer"):
        buffer = prioritized(normalization)
        buffer.tree.find = lambda mass: np.array([1, 3])
        *_, w, _ = buffer.sample(2, np.random.default_rng(0), beta=1.0)
        weights.append(w.tolist())
    assert weights == [pytest.approx([1, 0.5]), pytest.approx([0.5, 0.25])]


def test_weights_correct_the_bias_of_the_sampling():
    buffer = filled(7, 7, alpha=0.6, normalization="buffer")
    buffer.set_priorities(np.arange(7), np.linspace(0.1, 4, 7))
    rng, scale = np.random.default_rng(0), (7 * (buffer.tree[:7].min() / buffer.tree.total)) ** -1
    x = np.array([1.0, 5, 2, 8, 3, 9, 4])
    *_, w, index = buffer.sample(100_000, rng, beta=1.0)
    assert (w * scale * x[index]).mean() == pytest.approx(x.mean(), rel=0.01)


def test_sampling_is_stratified():
    buffer = filled(4, 4, alpha=0.0)
    *_, index = buffer.sample(8, np.random.default_rng(0))
    assert index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_new_transitions_get_the_largest_priority():
    buffer = filled(2, 4, alpha=0.5, eps=0.0)
    assert buffer.tree[:2].tolist() == [1, 1]
    buffer.set_priorities(np.array([0]), np.array([-9.0]))  # |TD error| to the power of alpha
    buffer.add(np.zeros((1, 1), F), np.zeros(1, int), np.zeros(1, F), np.zeros((1, 1), F),
               np.zeros(1, F))  # fmt: skip
    assert buffer.tree[:].tolist() == [3, 1, 3, 0]


def test_only_stored_transitions_are_drawn():
    buffer = filled(3, 8)
    *_, index = buffer.sample(300, np.random.default_rng(0))
    assert set(index.tolist()) == {0, 1, 2}


def test_sampling_is_uniform_if_all_priorities_are_zero():
    buffer = filled(4, 8, eps=0.0)
    buffer.set_priorities(np.arange(4), np.zeros(4))
    *_, w, index = buffer.sample(400, np.random.default_rng(0))
    assert set(index.tolist()) == {0, 1, 2, 3}
    assert (w == 1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_td_error_does_not_change_the_priority(bad):
    buffer = filled()
    buffer.set_priorities(np.array([0, 1]), np.array([3.0, 4.0]))
    before, largest = buffer.tree[:].copy(), buffer.largest
    buffer.set_priorities(np.array([1, 0, 1]), np.array([bad, 2.0, bad]))
    buffer.set_priorities(np.array([1]), np.array([bad]))
    assert buffer.tree[0] == pytest.approx((2.0 + buffer.eps) ** buffer.alpha)
    np.testing.assert_array_equal(buffer.tree[1:], before[1:])
    assert buffer.largest == largest


def test_an_empty_buffer_is_refused():
    with pytest.raises(ConfigError, match="is empty"):
        filled(0).sample(2, np.random.default_rng(0))


def test_the_state_is_restored_and_its_priorities_are_checked():
    buffer, again = filled(3, 8), filled(0, 8)
    buffer.set_priorities(np.array([1]), np.array([5.0]))
    again.load(buffer.state())
    assert again.tree._tree.tobytes() == buffer.tree._tree.tobytes()
    assert again.largest == buffer.largest
    for key, value in (("priority", np.zeros(2)), ("largest", np.array(np.nan))):
        with pytest.raises(ConfigError, match="one priority per transition"):
            filled(0, 8).load({**buffer.state(), key: value})
