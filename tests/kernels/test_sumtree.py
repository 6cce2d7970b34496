"""The sum tree against a plain list."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.proof_size import n_trials

from npr.errors import NumericsError
from npr.kernels import SumTree
from npr.kernels.sumtree import _find, _set

F = np.float32


def rebuilt(tree):
    """A tree with the same priorities, written at once."""
    other = SumTree(tree.capacity)
    other.set(np.arange(tree.capacity), tree[:])
    return other


class SumTreeAgainstList(RuleBasedStateMachine):
    """Any sequence of writes, against a list that is summed from left to right."""

    @initialize(capacity=st.integers(1, 40))
    def start(self, capacity):
        self.tree, self.list = SumTree(capacity), [0.0] * capacity

    @rule(data=st.data())
    def write(self, data):
        places = st.integers(0, len(self.list) - 1)
        values = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
        pairs = data.draw(st.lists(st.tuples(places, values), min_size=1, max_size=12))
        index, priority = zip(*pairs)
        self.tree.set(index, priority)
        for i, p in pairs:  # the last of duplicate indices counts
            self.list[i] = p

    @invariant()
    def priorities_and_total_are_equal(self):
        assert self.tree[:].tolist() == self.list
        assert self.tree.total == pytest.approx(sum(self.list), rel=1e-12)
        assert self.tree._tree.tobytes() == rebuilt(self.tree)._tree.tobytes()

    @rule(fraction=st.floats(0, 1, exclude_max=True))
    def find(self, fraction):
        if self.tree.total == 0:
            return
        mass = fraction * self.tree.total
        [found] = self.tree.find(mass)
        assert self.list[found] > 0
        below = sum(self.list[:found])
        slack = 1e-9 * self.tree.total
        assert below - slack <= mass <= below + self.list[found] + slack


TestAgainstAList = SumTreeAgainstList.TestCase
TestAgainstAList.settings = settings(
    max_examples=n_trials(100, 1000), stateful_step_count=n_trials(25, 200), deadline=None
)


def test_find_by_hand():
    tree = SumTree(4)
    tree.set([0, 1, 2, 3], [1, 2, 3, 4])
    assert tree.total == 10
    masses = [0.999, 1.0, 2.5, 5.5, 6.0, 9.999]
    assert tree.find(masses).tolist() == [0, 1, 1, 2, 3, 3]


@given(seed=st.integers(0, 2**32), capacity=st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_both_versions_write_and_find_the_same(seed, capacity):
    rng = np.random.default_rng(seed)
    one, other = SumTree(capacity), SumTree(capacity)
    for _ in range(4):
        index = rng.integers(capacity, size=9)
        priority = rng.random(9) * (rng.random(9) > 0.4)
        _set.loop(one._tree, index + one._half, priority)
        _set.reference(other._tree, index + other._half, priority)
        assert one._tree.tobytes() == other._tree.tobytes()
    mass = rng.random(20) * one.total
    found = np.empty((2, 20), np.int64)
    _find.loop(one._tree, mass, found[0])
    _find.reference(one._tree, mass, found[1])
    assert found[0].tolist() == found[1].tolist()


BLOCK = 10_000


def test_a_million_writes_do_not_drift():
    """Ten million under `make prove`; priorities from 1e-9 to Pareto-distributed ones."""
    rng, tree = np.random.default_rng(0), SumTree(5_000)
    for _ in range(n_trials(10**6, 10**7) // BLOCK):
        tree.set(
            rng.integers(5_000, size=BLOCK), rng.pareto(0.5, BLOCK) * (rng.random(BLOCK) > 0.1)
        )
    tree.set(np.arange(5_000), rng.random(5_000) * 1e-9)
    assert tree._tree.tobytes() == rebuilt(tree)._tree.tobytes()
    assert tree.total == pytest.approx(math.fsum(tree[:]), rel=1e-13)


def test_find_never_returns_a_zero_priority_by_rounding():
    """u just below one, times the total, may be rounded to the total."""
    rng = np.random.default_rng(0)
    for n in (3, 17, 1_000):
        tree = SumTree(n)
        tree.set(np.arange(n), rng.random(n) * (rng.random(n) < 0.5) + 1e-30 * (np.arange(n) == 1))
        masses = np.array([0.0, np.nextafter(1, 0) * tree.total, tree.total, 2 * tree.total])
        assert (tree[tree.find(masses)] > 0).all()


def normal_quantile(chi_square, degrees):
    """A chi-square as a standard normal number, by Wilson and Hilferty's cube root."""
    variance = 2 / (9 * degrees)
    return ((chi_square / degrees) ** (1 / 3) - (1 - variance)) / math.sqrt(variance)


def test_normal_quantile_agrees_with_tables():
    """p = .001 is 43.820 at 19 degrees, 149.449 at 100, and 3.0902 of a normal."""
    for chi_square, degrees in ((43.820, 19), (149.449, 100)):
        assert normal_quantile(chi_square, degrees) == pytest.approx(3.0902, abs=0.02)


@pytest.mark.parametrize("size", [20, 999, 1024])
def test_draws_follow_the_priorities(size):
    """A million draws, ten million under `make prove`; chi-square test at p = .001."""
    rng, tree, n = np.random.default_rng(size), SumTree(size), n_trials(10**6, 10**7)
    priority = (0.1 + rng.random(size)) * (rng.random(size) > 0.3)
    priority[[0, -1]] = 0
    tree.set(np.arange(size), priority)
    counts = np.zeros(size, int)
    for _ in range(n // BLOCK):
        u = rng.random(BLOCK)
        counts += np.bincount(tree.find(u * tree.total), minlength=size)  # none out of range
    assert counts.sum() == n
    assert not counts[priority == 0].any()
    expected = n * priority[priority > 0] / priority.sum()
    chi_square = ((counts[priority > 0] - expected) ** 2 / expected).sum()
    assert abs(normal_quantile(chi_square, len(expected) - 1)) < 3.0902


@given(seed=st.integers(0, 2**32), size=st.integers(1, 300), zeros=st.floats(0, 0.99))
@settings(max_examples=n_trials(100, 1000), deadline=None)
def test_draws_near_one_never_find_a_zero_priority(seed, size, zeros):
    rng, tree = np.random.default_rng(seed), SumTree(size)
    priority = rng.pareto(0.5, size) * (rng.random(size) >= zeros)
    priority[rng.integers(size)] = 1.0
    tree.set(np.arange(size), priority)
    u = 1 - np.arange(1, 1000) * 2.0**-53
    for body in (tree.find, lambda mass: find_by_arrays(tree, mass)):
        found = body(np.append(u * tree.total, tree.total))
        assert (tree[found] > 0).all()


def find_by_arrays(tree, mass):
    leaves = np.empty(mass.shape, np.int64)
    _find.reference(tree._tree, mass, leaves)
    return leaves - tree._half


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_an_invalid_priority_is_refused_and_changes_nothing(bad):
    tree = SumTree(4)
    tree.set([0, 1], [1, 2])
    before = tree._tree.copy()
    with pytest.raises(NumericsError, match="1 of 2 priorities are NaN, infinite or negative"):
        tree.set([2, 3], [1, bad])
    assert tree._tree.tobytes() == before.tobytes()


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError, match=r"needs indices in 0\.\.3"):
        SumTree(4).set(index, 1.0)


def test_the_capacity_must_be_positive():
    with pytest.raises(ValueError, match="capacity of at least 1"):
        SumTree(0)
