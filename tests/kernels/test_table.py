"""The interpreter of tables, compiled and in Python, and the operations of its rows."""

import ctypes
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from support.tracing import bits, numbers

from npr.backend import NUMBA
from npr.capture import NotCapturableError
from npr.capture import table as tables
from npr.capture.table import inner_loop
from npr.kernels import table
from npr.kernels.jit import available

compiled = pytest.mark.skipif(not NUMBA or not available(), reason="without Numba")
versions = ["reference", pytest.param("__call__", marks=compiled)]
quick = settings(max_examples=60, deadline=None, derandomize=True)


def address(x):
    return x.__array_interface__["data"][0]


def words(ufunc, types, operands, outer=1, moves=(0, 0, 0)):
    """The words of `strided` for 1-d operands of one length; each call moves by so many bytes."""
    held = np.zeros(table.WORDS, np.int64)
    held[[table.FUNCTION, table.DATA]] = inner_loop(ufunc, types)
    held[table.LENGTH], held[table.OUTER] = len(operands[-1]), outer
    for k, x in enumerate(operands):
        held[table.ADDRESSES + k], held[table.STRIDES + k] = address(x), x.strides[0]
        held[table.OUTER_STRIDES + k] = moves[k]
    return held


@pytest.mark.parametrize("version", versions)
@quick
@given(
    n=st.integers(1, 9), step=st.sampled_from([1, 2, -1]), dtype=st.sampled_from("fd"),
    name=st.sampled_from(["add", "subtract", "divide", "maximum"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_strided_calls_the_loop_of_numpy(version, n, step, dtype, name, seed):
    ufunc, y = getattr(np, name), np.zeros(2 * n, dtype)[::2]
    a, b = (numbers(n * abs(step), dtype, seed + k)[::step] for k in (0, 1))
    held = words(ufunc, 2 * dtype + "->" + dtype, [a, b, y])
    before = held.copy()
    getattr(table.strided, version)(held)
    with np.errstate(all="ignore"):
        assert bits(y.copy()) == bits(ufunc(a, b))
    assert held.tolist() == before.tolist()


@pytest.mark.parametrize("version", versions)
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_strided_moves_between_the_calls_of_a_loop(version, rows):
    x, row = numbers((7, 5), "float32", 0, False), numbers(5, "float32", 1, False)
    y = np.full((7, 5), 9, np.float32)
    held = words(np.multiply, "ff->f", [x[0], row, y[0]], rows, (x.strides[0], 0, y.strides[0]))
    before = held.copy()
    getattr(table.strided, version)(held)
    assert bits(y[:rows]) == bits(x[:rows] * row) and (y[rows:] == 9).all()
    assert held.tolist() == before.tolist()


@pytest.mark.parametrize("version", versions)
def test_strided_adds_up_along_an_axis_of_no_stride(version):
    x, total = numbers(100, "float32", 0, False), np.zeros(1, np.float32)
    held = words(np.add, "ff->f", [total, x, total])
    held[table.LENGTH] = 100
    held[[table.STRIDES, table.STRIDES + 2]] = 0
    getattr(table.strided, version)(held)
    assert total[0] == x.sum()


OPERATION = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(ctypes.c_int64))


@pytest.mark.parametrize("version", versions)
@quick
@given(failing=st.lists(st.integers(0, 2), max_size=6))
def test_run_calls_the_rows_in_turn_until_one_fails(version, failing):
    seen = []

    def operation(row):
        seen.append((row[0], row[1]))
        return row[0]

    function = OPERATION(operation)
    place = ctypes.cast(function, ctypes.c_void_p).value
    rows = np.array([[place, code, 10 * k] for k, code in enumerate(failing)], np.int64)
    failed = np.array([7])
    getattr(table.run, version)(rows.reshape(len(failing), 3), failed)
    first = next((k for k, code in enumerate(failing) if code), None)
    assert failed[0] == (0 if first is None else first + 1)
    expected = [(code, 10 * k) for k, code in enumerate(failing)]
    assert seen == (expected if first is None else expected[: first + 1])


@compiled
def test_run_leaves_the_exceptions_of_python_to_python():
    """A row is native code; `run` itself never raises."""
    failed = np.zeros(1, np.int64)
    assert table.run(np.zeros((0, 1), np.int64), failed) is None
    assert failed[0] == 0


KINDS = ["?", "b", "i", "l", "f", "d"]


@pytest.mark.parametrize("version", [*versions, "loop"])
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_cast_is_that_of_numpy(version, source, target):
    for n in (0, 1, 33):
        x = numbers(n, source, n, special=target in "?fd")
        if source in "fd" and target in "bil":
            x = np.trunc(x % 100)  # others have no defined result
        y, expected = np.zeros(n, target), np.zeros(n, target)
        with np.errstate(all="ignore"):
            expected[:] = x
            getattr(table.cast, version)(x, y)
        assert bits(y) == bits(expected)


@pytest.mark.parametrize("version", [*versions, "loop"])
@pytest.mark.parametrize("dtype", KINDS)
def test_select_is_that_of_numpy(version, dtype):
    for n in (0, 1, 33):
        a, b = numbers(n, dtype, 1), numbers(n, dtype, 2)
        condition, y = numbers(n, bool, 3), np.zeros(n, dtype)
        getattr(table.select, version)(condition, a, b, y)
        assert bits(y) == bits(np.where(condition, a, b))


@pytest.mark.parametrize("version", [*versions, "loop"])
@pytest.mark.parametrize("dtype", KINDS)
@quick
@given(shape=st.tuples(st.integers(0, 4), st.integers(1, 5)), seed=st.integers(0, 99))
def test_argmax_is_that_of_numpy(version, dtype, shape, seed):
    x = numbers(shape, dtype, seed)
    best = np.full(shape[0], -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(table.argmax, version)(x, best)
    assert best.tolist() == x.argmax(axis=1).tolist()


def test_there_is_no_loop_for_types_that_a_ufunc_does_not_have():
    with pytest.raises(NotCapturableError, match=r"np.logaddexp has no loop for \?\?->\?"):
        inner_loop(np.logaddexp, "??->?")


def test_a_ufunc_of_another_layout_is_refused(monkeypatch):
    """As a later NumPy may have."""

    class Moved(ctypes.Structure):
        _fields_ = [("moved", ctypes.c_void_p * 2), *tables._UFunc._fields_]

    monkeypatch.setattr(tables, "_UFunc", Moved)
    with pytest.raises(NotCapturableError, match="keeps its ufuncs in another way"):
        tables.inner_loop.__wrapped__(np.add, "ff->f")
