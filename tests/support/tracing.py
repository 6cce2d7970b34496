"""Functions of arrays, recorded as a table, and replayed with other numbers."""

import numpy as np

from npr.capture.arrays import Traced, plain
from npr.capture.table import Table
from npr.kernels import table as kernels

SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 5e-324, 1.2e-38, 2.3e-308, 3e38, -1e300, 1.0,
    -1.0, 0.5, 2.0, 88.0, -104.0, 710.0, 1e-8,
)  # fmt: skip


def numbers(shape, dtype, seed, special=True):
    """Random numbers of a type, a few special ones among them."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind == "i":
        return np.asarray(rng.integers(-5, 6, shape), dtype)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)
    if special:
        x = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), x)
    with np.errstate(all="ignore"):
        return np.asarray(x, dtype)


class Recorded:
    """f(*inputs), computed with Traced arrays, and floats that are inputs, too.

    inputs   arrays, which are read where they are, and floats
    result   what f gives, a tuple of arrays
    traced   its bits after the trace
    """

    def __init__(self, f, *inputs):
        self.f, self.table = f, Table()
        self.cells = [np.array(x) if type(x) is float else None for x in inputs]
        self.inputs = list(inputs)
        traced = [
            Traced(x if cell is None else cell, self.table, is_float=cell is not None)
            for x, cell in zip(inputs, self.cells)
        ]
        before = [x.copy() if isinstance(x, np.ndarray) else x for x in inputs]
        self.result = self._plain(f(*traced))
        self.traced = [*map(bits, self.result)]
        self.rows, self.failed = self.table.finish(), np.zeros(1, np.int64)
        self.fill(before)

    @staticmethod
    def _plain(result):
        many = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(plain(x)) for x in many)

    def fill(self, inputs):
        """Write other numbers to the inputs."""
        for k, (own, cell, x) in enumerate(zip(self.inputs, self.cells, inputs)):
            if cell is None:
                own[...] = x
            else:
                self.inputs[k] = x
                cell[...] = x

    def expected(self):
        """f by NumPy on copies of the inputs of the same layout: results, and inputs after it."""
        copies = [like(x) if isinstance(x, np.ndarray) else x for x in self.inputs]
        result = self._plain(self.f(*copies))
        return [*map(bits, result), *(bits(x) for x in copies if isinstance(x, np.ndarray))]

    def replayed(self):
        """The same by a replay, which changes the inputs."""
        kernels.run(self.rows, self.failed)
        assert self.failed[0] == 0
        return [*map(bits, self.result), *(bits(x) for x in self.inputs if type(x) is np.ndarray)]


def like(x):
    """A copy with the same strides, also of a broadcast array or of a view."""
    low, high = np.lib.array_utils.byte_bounds(x) if x.size else (0, 0)
    memory = np.zeros(max(high - low, x.itemsize), np.uint8)
    start = x.__array_interface__["data"][0] - low if x.size else 0
    y = np.ndarray(x.shape, x.dtype, memory, start if x.size else 0, x.strides if x.size else None)
    if x.size:
        y[...] = x
    return y


def bits(x):
    return x.dtype.str, x.shape, x.tobytes()


def assert_replays(f, *inputs, others=()):
    """f with Traced arrays gives NumPy's bits, and so do replays with other inputs."""
    with np.errstate(all="ignore"):
        recorded = Recorded(f, *[like(x) if isinstance(x, np.ndarray) else x for x in inputs])
        for number, contents in enumerate([inputs, *others]):
            recorded.fill(contents)
            expected = recorded.expected()
            if number == 0:
                assert recorded.traced == expected[: len(recorded.traced)], "the trace"
            assert recorded.replayed() == expected, f"replay {number}"
