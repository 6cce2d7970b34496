"""A sum tree: draw an index with probability proportional to its priority, in log n steps."""

from typing import Any

import numpy as np

from npr.backend import Array
from npr.errors import NumericsError
from npr.kernels.jit import Kernel


def _set_reference(tree: Array, leaves: Array, priority: Array) -> None:
    """Write priorities to leaves, in order, and recompute the sums of their ancestors."""
    tree[leaves] = priority
    nodes = leaves
    while nodes[0] > 1:
        nodes = np.unique(nodes >> 1)
        tree[nodes] = tree[2 * nodes] + tree[2 * nodes + 1]


def _set_loop(tree: Array, leaves: Array, priority: Array) -> None:
    for i in range(leaves.shape[0]):
        node = leaves[i]
        tree[node] = priority[i]
        node >>= 1
        while node >= 1:
            tree[node] = tree[2 * node] + tree[2 * node + 1]
            node >>= 1


def _find_reference(tree: Array, mass: Array, leaves: Array) -> None:
    """leaves <- the first leaf at which the cumulative sum of priorities exceeds `mass`."""
    mass = mass.copy()
    leaves[:] = 1
    for _ in range(int(len(tree)).bit_length() - 2):
        left, right = tree[2 * leaves], tree[2 * leaves + 1]
        goes_left = (mass < left) | (right <= 0)
        mass -= np.where(goes_left, 0, left)
        leaves[:] = 2 * leaves + ~goes_left


def _find_loop(tree: Array, mass: Array, leaves: Array) -> None:
    half = tree.shape[0] // 2
    for i in range(mass.shape[0]):
        node, rest = 1, mass[i]
        while node < half:
            node *= 2
            # rounding may leave too much mass: never descend into a subtree with sum zero
            if rest >= tree[node] and tree[node + 1] > 0.0:
                rest -= tree[node]
                node += 1
        leaves[i] = node


_set = Kernel(_set_loop, _set_reference, host=True)
_find = Kernel(_find_loop, _find_reference, host=True)


class SumTree:
    """Priorities of 0..capacity-1, initially zero, with sampling in proportion to them.

    float64, on the host. Sums are recomputed from both children, never updated by differences, so
    that the tree equals, bit for bit, one that is built from the same priorities.
    Source: Schaul et al. 2016, appendix B.2.1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"SumTree needs a capacity of at least 1, got {capacity}.")
        self.capacity = capacity = int(capacity)  # NumPy's integers have no bit_length
        self._half = 1 << max(capacity - 1, 1).bit_length()  # leaves, a power of two
        self._tree = np.zeros(2 * self._half)

    def __repr__(self) -> str:
        return f"SumTree({self.capacity:,} priorities, total {self.total:.4g})"

    def set(self, index: Any, priority: Any) -> None:
        """Set the priorities (n,), or one number, at index (n,). For a repeated index the last one
        is used.

        Raises NumericsError for priorities that are NaN, infinite or negative, and IndexError for
        an index outside the tree; then nothing is changed.
        """
        index = np.atleast_1d(np.asarray(index, np.int64))
        priority = np.broadcast_to(np.asarray(priority, np.float64), index.shape)
        if not index.size:
            return
        if index.min() < 0 or index.max() >= self.capacity:
            raise IndexError(
                f"SumTree.set needs indices in 0..{self.capacity - 1}, got {index.min()} to "
                f"{index.max()}."
            )
        if not (priority.min() >= 0 and priority.max() < np.inf):
            bad = ~(np.isfinite(priority) & (priority >= 0))
            raise NumericsError(
                f"{bad.sum()} of {bad.size} priorities are NaN, infinite or negative (the first: "
                f"{priority[bad][0]}); they come from TD errors, so check rewards and the loss."
            )
        _set(self._tree, index + self._half, np.ascontiguousarray(priority))

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._tree[1])

    def __getitem__(self, index: Any) -> Array:
        """The priorities at index."""
        return self._tree[self._half : self._half + self.capacity][index]

    def find(self, mass: Any) -> Array:
        """The first indices (n,) whose cumulative priority exceeds `mass` (n,), in [0, total).

        A priority of zero is never found unless all are zero.
        """
        mass = np.atleast_1d(np.asarray(mass, np.float64))
        leaves = np.empty(mass.shape, np.int64)
        _find(self._tree, mass, leaves)
        return leaves - self._half
