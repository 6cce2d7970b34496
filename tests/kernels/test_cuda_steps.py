"""CUDA kernels of optimizers: against their references, and by steps of Adam, RMSprop and SGD."""

import numpy as np
import pytest
from support import cuda
from support.processes import DOUBLE, run

from npr.kernels import steps

SIZES = [0, 1, 31, 256, 257, 1025, 70_000]  # a block has 256 threads, and a sum of 1024 one part
every_size = pytest.mark.parametrize("n", SIZES)
RATE = np.array(0.01)
OPTIONS = {"adam": (0.9, 0.99, 1e-3), "rmsprop": (0.9, 1e-3), "sgd": (0.9,)}
every_step = pytest.mark.parametrize("name", OPTIONS)


def vectors(n, number, seed=0):
    return list(np.random.default_rng(seed).standard_normal((number, n)))


def arguments(name, n, counts=(6, 3, 2), rate=RATE):
    """Those of a step: theta, g, the averages, counts, rate, options."""
    theta, g, m, v = vectors(n, 4)
    averages = {"adam": (m, v**2), "rmsprop": (v**2,), "sgd": (m,)}[name]
    return [theta, g, *averages, np.array(counts), rate, *OPTIONS[name]]


def check(name, *args, launches=2, **options):
    """The arrays after a step in float64, which equal those of the reference in both types."""
    options = {"tolerance": {"float64": 1e-12}, **options}
    return cuda.check(getattr(steps, name), *args, launches=launches, **options)["float64"].device


@every_step
@every_size
def test_a_step_equals_the_reference(name, n):
    theta, *_, counts, _ = check(name, *arguments(name, n))
    assert theta.size == n and counts.tolist() == [7, 3, 0]


@every_size
def test_clip_norm_equals_the_reference(n):
    (g,) = vectors(n, 1)
    for max_norm in (0.5, 2.0 + float(np.linalg.norm(g))):
        clipped, _ = check("clip_norm", g, max_norm, np.zeros(16))
        assert np.array_equal(clipped, g) == (max_norm >= np.linalg.norm(g))


@every_size
def test_polyak_equals_the_reference(n):
    for tau in (0.0, 0.005, 1.0):
        theta_bar, theta = vectors(n, 2)
        moved, source = check("polyak", theta_bar, theta, tau, launches=1)
        np.testing.assert_array_equal(source, theta)
        np.testing.assert_allclose(moved, tau * theta + (1 - tau) * theta_bar, atol=1e-12)


BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": None, "overflow": None}


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@every_step
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("n", [1, 300, 5000])
def test_a_step_with_a_non_finite_gradient_changes_its_counts_alone(name, bad, n):
    for dtype in ("float32", "float64"):
        args, largest = arguments(name, n), float(np.finfo(dtype).max)
        if bad == "overflow":  # each square is finite, their sum is not
            args[1][:] = np.sqrt(largest) * (2.0 if n == 1 else 0.9)
        else:
            args[1][-1] = largest if bad == "huge" else BAD[bad]
        made = cuda.check(getattr(steps, name), *args, types=[dtype], launches=2)[dtype].device
        held = [x.astype(y.dtype) for x, y in zip(args, made) if x is not RATE]
        held[len(made) - 2] = np.array([6, 4, 3])
        for x, y in zip(made, held):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_gradient_with_a_non_finite_norm_is_not_clipped(bad):
    (g,) = vectors(3000, 1)
    g[1234] = bad
    (made,) = cuda.check(steps.clip_norm, g, 0.5, g[:16], types=["float32"], launches=2).values()
    np.testing.assert_array_equal(made.device[0], g.astype(np.float32))


EARLY_AND_LATE = [0, 1, 99, 5000, 2**24 + 1, 100 * (2**53 - 5)]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), (0.99, 0.9999)])
@pytest.mark.parametrize("made", EARLY_AND_LATE)
def test_the_bias_corrections_are_precise(made, betas):
    """Of the kernel, and of array operations on a device: theta starts at zero, so that rounding
    of the step is not hidden beside it."""
    t, (beta1, beta2) = made + 1, betas
    first, second = (-np.expm1(t * np.log(b)) if b else 1.0 for b in betas)
    g, zero = vectors(50, 1)[0], np.zeros(50)
    m, v = (1 - beta1) * g / first, (1 - beta2) * g**2 / second
    exact = -0.01 * m / (np.sqrt(v) + 1e-8)
    args = [zero, g, zero, zero, np.array([made, 0, 0]), RATE, *betas, 1e-8]
    arrays = {"launches": 0, "reference": steps._adam_reference}  # array operations on a device
    for kernel, how in ((steps.adam, {"launches": 2}), (steps._adam_reference, arrays)):
        for dtype, outcome in cuda.check(kernel, *args, **how).items():
            precision = 2e-6 if dtype == "float32" else 1e-12
            np.testing.assert_allclose(outcome.device[0], exact, rtol=precision)


def test_rmsprop_and_sgd_read_the_rate_from_memory():
    for name in ("rmsprop", "sgd"):
        moves = []
        for rate in (0.01, 0.02):
            args = arguments(name, 40, rate=np.array(rate))
            moves.append(check(name, *args)[0] - args[0])
        np.testing.assert_allclose(moves[1], 2 * moves[0], rtol=1e-10)


# ---- steps in a row, in new processes

SEVERAL = """
import sys
import numpy as np
from npr.backend import FLOAT, to_device, to_host
from npr.optim import SGD, Adam, RMSprop, clip_norm
saved = {}
for kind in (Adam, RMSprop, SGD):
    rng, theta = np.random.default_rng(0), to_device(np.ones(300, FLOAT))
    optimizer = kind(theta, 0.1)
    for step in range(12):
        g = (rng.standard_normal(300) * rng.choice([0, 1e-6, 1, 10], 300)).astype(FLOAT)
        if step in (0, 5, 6):
            g[step] = np.nan
        optimizer.learning_rate = 0.1 / (1 + step // 4)
        optimizer.step(theta, clip_norm(to_device(g), 5.0))
        saved[f"{kind.__name__} {step}"] = optimizer.skip_counts()
    assert optimizer.counters().get("t", 9) == 9, "steps that were made"
    for name, array in {"theta": theta, **optimizer.state()}.items():
        saved[f"{kind.__name__} {name}"] = to_host(array)
np.savez(sys.argv[1], **saved)
"""


@cuda.needs_compiler
@pytest.mark.parametrize("kernels", ["1", "0"])
@pytest.mark.parametrize("dtype, precision", [("float32", 1e-5), ("float64", 1e-12)])
def test_steps_in_a_row_equal_those_on_the_host(kernels, dtype, precision, tmp_path):
    held = []
    for backend in ("numpy", "cupy"):
        file = str(tmp_path / f"{backend}.npz")
        variables = {"NPR_BACKEND": backend, "NPR_DTYPE": dtype, "NPR_CUDA_KERNELS": kernels}
        ran = run("-c", SEVERAL, file, path=[DOUBLE], **variables)
        assert ran.returncode == 0, ran.stderr
        held.append(np.load(file))
    host, device = held
    assert host["Adam 6"].tolist() == [3, 2] and host["SGD 11"].tolist() == [3, 0]
    for name in host.files:
        assert host[name].dtype == device[name].dtype
        scale = np.abs(host[name]).max()
        np.testing.assert_allclose(device[name], host[name], rtol=0, atol=precision * scale)


@cuda.needs_compiler
def test_a_rate_is_written_to_the_device_where_it_changed():
    code = """
import numpy as np
from npr.backend import to_device, to_host, xp
from npr.optim import SGD, Adam, RMSprop
for kind in (Adam, RMSprop, SGD):
    theta = to_device(np.ones(5, np.float32))
    optimizer = kind(theta, 0.5)
    rate = optimizer.refresh()
    assert rate.shape == () and to_host(rate) == 0.5
    xp.counts.reset()
    assert optimizer.refresh() is rate and xp.counts.launches == 0, "written again"
    optimizer.learning_rate = 0.25
    assert to_host(rate) == 0.5, "written before refresh"
    assert optimizer.refresh() is rate and to_host(rate) == 0.25
    optimizer.learning_rate = 0.125
    optimizer.step(theta, theta)
    assert to_host(rate) == 0.125, "not written by a step"
"""
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
