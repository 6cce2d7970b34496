"""Compares CUDA kernels with their references, on the strict double of CuPy.

    from npr.kernels import steps
    from support import cuda

    def test_polyak():
        cuda.check(steps.polyak, target, theta, 0.005)

`check` runs `steps.polyak.device` on the double and `steps.polyak.reference` on NumPy with copies
of the same arguments, in float32 and float64. All arrays among the arguments, and what is returned,
must agree up to rounding. The device body must also give the same bits in each order of threads and
blocks, start kernels of CUDA sources, transfer nothing, and not wait for the device. Writes out of
bounds raise, see tests/strict_device/cupy/raw.py.

This process has imported NumPy as npr's array module, so each type has a process of its own with
NPR_BACKEND=cupy, which stays until the tests end. Without g++ the test is skipped.
"""

import atexit
import functools
import importlib.util
import pickle
import shutil
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass

import numpy as np
import pytest

from support.processes import DOUBLE, environment
from support.proof_size import FULL

SECONDS = 300  # for the answer to one question
ORDERS = ("forward", "reverse", "shuffled 1", *(["shuffled 2"] if FULL else []))
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
CAN_COMPILE = sys.platform == "linux" and bool(shutil.which("g++"))
REASON = "CUDA sources are compiled for the host by g++, on Linux"
needs_compiler = pytest.mark.skipif(not CAN_COMPILE, reason=REASON)


@functools.cache
def host_compiler():
    """The module that compiles CUDA sources by g++; the double of CuPy is not imported."""
    path = DOUBLE / "cupy" / "_compiler.py"
    spec = importlib.util.spec_from_file_location("host_compiler", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Outcome:
    """What a kernel made of its arguments, in one type."""

    device: list  # the arrays among the arguments after the call, then those returned
    reference: list
    launches: int  # of kernels from CUDA sources
    all_launches: int  # with those of array operations, copies and fills
    error: float = 0.0  # the largest, see `error`


def check(kernel, *args, types=("float32", "float64"), tolerance=None, launches=None, **options):
    """Compare a kernel's device body with its reference; returns {type: Outcome}.

    kernel     a Kernel, or a function that launches kernels. It is found by its module and name
    args       NumPy arrays, 0-d too, are put on the device, those of floats in each of `types`;
               tuples, lists and dicts of such are entered, and everything else passed as it is
    tolerance  largest error for each type, see `error`; {} means TOLERANCE
    launches   the number of kernels of CUDA sources that are started; None: one or more
    reference  the function to compare with, instead of the Kernel's
    orders     the orders of threads to run
    """
    outcomes = {dtype: run(kernel, *args, dtype=dtype, **options) for dtype in types}
    for dtype, outcome in outcomes.items():
        name = f"{'.'.join(_place(kernel))} in {dtype}"
        assert outcome.launches == launches or (launches is None and outcome.launches), (
            f"{name}: {outcome.launches} launches"
        )
        assert len(outcome.device) == len(outcome.reference), name
        pairs = list(zip(outcome.device, outcome.reference, strict=True))
        outcome.error = max((error(*pair) for pair in pairs), default=0.0)
        print(f"{name}: largest error {outcome.error:.1e}")
        limit = (tolerance or {}).get(dtype, TOLERANCE[dtype])
        errors = {i: error(*pair) for i, pair in enumerate(pairs)}
        wrong = {i: value for i, value in errors.items() if not value <= limit}
        assert not wrong, f"{name}: errors of the arrays {wrong}, allowed {limit}"
    return outcomes


def error(device, reference):
    """The largest difference, relative to the element plus the array's mean magnitude.

    Infinite if shapes, types, elements that are not finite, or integers differ.
    """
    same = device.shape == reference.shape and device.dtype == reference.dtype
    if not same or device.dtype.kind != "f":
        return 0.0 if same and np.array_equal(device, reference) else np.inf
    finite = np.isfinite(reference)
    alike = np.array_equal(finite, np.isfinite(device))
    if not alike or not np.array_equal(device[~finite], reference[~finite], equal_nan=True):
        return np.inf
    x, y = device[finite].astype(float), reference[finite].astype(float)
    difference, magnitude = abs(x - y), abs(y)
    scale = magnitude + (magnitude.mean() if y.size else 0)
    if not scale.any():  # all of the reference is zero
        return np.inf if difference.any() else 0.0
    return float((difference / scale).max())


def run(kernel, *args, dtype="float32", reference=None, orders=ORDERS):
    """The Outcome of a kernel in one type, without comparing; see `check`."""
    if not CAN_COMPILE:
        pytest.skip(REASON)
    answer = _ask(dtype, (_place(kernel), reference and _place(reference), args, orders))
    if isinstance(answer, str):
        raise AssertionError(answer)
    return Outcome(*answer)


def _place(kernel):
    """(module, name) of a Kernel or function."""
    reference = getattr(kernel, "reference", kernel)
    module = importlib.import_module(reference.__module__)
    return module.__name__, next(name for name, it in vars(module).items() if it is kernel)


@functools.cache
def _server(dtype):
    process = subprocess.Popen(
        [sys.executable, "-m", "support.cuda"],
        env=environment([DOUBLE], NPR_BACKEND="cupy", NPR_DTYPE=dtype, NPR_NUMBA="0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(process.stdin.close)  # then it ends
    return process


def _ask(dtype, question):
    """The answer of the process of this type. If it ends, the next question starts another."""
    process = _server(dtype)
    alarm = threading.Timer(SECONDS, process.kill)
    alarm.start()
    try:
        pickle.dump(question, process.stdin)
        process.stdin.flush()
        return pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        _server.cache_clear()
        raise RuntimeError(
            f"{question[0]}: the process crashed, or took {SECONDS} s; exit status {process.wait()}"
        ) from None
    finally:
        alarm.cancel()


# ---- in the other process


def _map(function, value):
    """The value with the function applied to each array in it."""
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "_host"):
        return function(value)
    if isinstance(value, tuple | list):
        return type(value)(_map(function, item) for item in value)
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    return value


def _arrays(value):
    found = []
    _map(found.append, value)
    return found


def _answer(place, reference_place, args, orders):
    import cupy

    from npr.backend import FLOAT, on_host

    def find(module, name):
        return getattr(importlib.import_module(module), name)

    def typed(x):
        x = np.asarray(x)
        return x.astype(FLOAT) if x.dtype.kind == "f" else x.copy()

    kernel = find(*place)
    reference = find(*reference_place) if reference_place else kernel.reference
    with on_host():
        values = _map(typed, args)
        result = reference(*values)
    expected = [np.asarray(x) for x in _arrays([values, result])]
    made = []
    for order in orders:
        cupy.raw.order = order
        values = _map(lambda x: cupy.asarray(typed(x)), args)
        cupy.counts.reset()
        cupy.raw.launches = 0
        result = getattr(kernel, "device", kernel)(*values)
        assert not any(cupy.counts.transfers().values()), cupy.counts
        made.append([x._host.copy() for x in _arrays([values, result])])
    for order, arrays in zip(orders, made, strict=True):
        for at, (x, y) in enumerate(zip(made[0], arrays, strict=True)):
            same = np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
            assert same, f"array {at} differs between the orders {orders[0]} and {order}"
    return made[0], expected, cupy.raw.launches, cupy.counts.launches


def _serve():
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = _answer(*question)
        except Exception:
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
