"""CUDA kernels that work row by row, run on the host, against the reference of each."""

import importlib.util
import sys

import numpy as np
import pytest
from support.kernel_cases import CASES, KERNELS, Draw, arrays_after
from support.processes import DOUBLE

from npr.errors import BackendError
from npr.kernels.cuda import categorical, compiler, squash, svgd

CATEGORICAL = (
    "log_softmax", "log_softmax_backward", "draw", "log_prob", "log_prob_backward", "entropy",
    "entropy_backward", "kl", "kl_backward",
)  # fmt: skip
SVGD = "bandwidth", "direction"
SQUASH = "squash", "squash_backward"
NAMES = (*CATEGORICAL, *SQUASH, *SVGD)
DTYPES = np.float32, np.float64
ORDERS = "forward", "reverse", "shuffled 1", "shuffled 2"
CLOSE = {
    np.float32: {"rtol": 1e-5, "atol": 1e-5},
    np.float64: {"rtol": 1e-12, "atol": 1e-12},
}
every_kernel = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture
def device(monkeypatch):
    """The double of CuPy, which the launches use; arrays of both types are allowed."""
    monkeypatch.setenv("NPR_DTYPE", "float64")
    spec = importlib.util.spec_from_file_location("strict_double", DOUBLE / "cupy" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "strict_double", module)
    spec.loader.exec_module(module)
    for user in (compiler, squash, svgd):
        monkeypatch.setattr(user, "xp", module)
    for user in (categorical, squash, svgd):
        monkeypatch.setattr(user, "_SOURCE", compiler.Source(user._SOURCE.file))
    return module


def launched(device, name, arguments):
    """`arrays_after` of the kernel's launch, which is one."""

    def body(*arguments):
        on_device = [device.asarray(x) if isinstance(x, np.ndarray) else x for x in arguments]
        device.counts.reset()
        result = KERNELS[name].device(*on_device)
        for x, after in zip(arguments, on_device):
            if isinstance(x, np.ndarray):
                x[...] = device.asnumpy(after)
        return None if result is None else device.asnumpy(result)

    return arrays_after(body, arguments)


def compare(device, name, arguments, dtype):
    expected = arrays_after(KERNELS[name].reference, arguments)
    got = launched(device, name, arguments)
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, **CLOSE[dtype])
    return got


@every_dtype
@every_kernel
@pytest.mark.parametrize(
    ("B", "n"), [(0, 3), (1, 1), (5, 4), (130, 3), (3, 32), (3, 33), (2, 128), (2, 300)]
)
def test_a_launch_equals_the_reference(device, name, dtype, B, n):
    compare(device, name, CASES[name][1](Draw(0, B, n, dtype)), dtype)


@every_kernel
def test_the_order_of_threads_does_not_change_a_bit(device, name, monkeypatch):
    arguments, results = CASES[name][1](Draw(1, 70, 40, np.float32)), []
    for order in ORDERS:
        monkeypatch.setattr(sys.modules["strict_double.raw"], "order", order)
        results.append([x.tobytes() for x in launched(device, name, arguments)])
    assert results == results[:1] * len(ORDERS)


@every_kernel
@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_row_that_is_not_finite_leaves_the_others_alone(device, name, n, bad):
    arguments = CASES[name][1](Draw(2, 4, n, np.float64))
    clean = launched(device, name, arguments)
    arguments[0][2] = bad
    got = compare(device, name, arguments, np.float64)
    for x, y in zip(got, clean, strict=True):
        others = np.arange(len(y)) != 2
        np.testing.assert_array_equal(x[others], y[others])


# ---- categorical


@pytest.mark.parametrize("K", [3, 50])
@every_dtype
def test_an_action_of_probability_zero_has_no_influence(device, dtype, K):
    draw = Draw(3, 4, K, dtype)
    logits, u, g = draw.table(), draw.rng.random(4).astype(dtype), draw.normal(4)
    logits[:, 1] = -np.inf
    _, logp = compare(device, "log_softmax", (logits, draw.table()), dtype)
    compare(device, "log_softmax_backward", (logp, draw.table(), draw.table()), dtype)
    _, H = compare(device, "entropy", (logp, draw.normal(4)), dtype)
    assert np.isfinite(H).all()
    _, _, _, d = compare(device, "entropy_backward", (logp, H, g, draw.table()), dtype)
    assert not d[:, 1].any()
    _, _, kl = compare(device, "kl", (logp, logp, draw.normal(4)), dtype)
    assert not kl.any()
    arguments = logp, logp, kl, g, draw.table(), draw.table()
    assert not np.array(compare(device, "kl_backward", arguments, dtype)[-2:]).any()
    assert (compare(device, "draw", (logp, u, draw.rng.integers(K, size=4)), dtype)[2] != 1).all()


@pytest.mark.parametrize("K", [3, 50])
@pytest.mark.parametrize("name", ["log_prob_backward", "entropy_backward", "kl_backward"])
def test_a_row_whose_cotangent_is_zero_has_zeros(device, name, K):
    """Even if its log-probabilities are not finite."""
    arguments = CASES[name][1](Draw(4, 3, K, np.float64))
    bad, g = arguments[0], arguments[{"kl_backward": 3}.get(name, 2)]
    g[[0, 2]], bad[0], bad[2] = 0, np.nan, np.inf
    outputs = 2 if name == "kl_backward" else 1
    for d in launched(device, name, arguments)[-outputs:]:
        assert not d[[0, 2]].any() and np.isfinite(d[1]).all() and d[1].any()


@pytest.mark.parametrize("K", [3, 50])
def test_an_action_that_is_out_of_range_gives_nan(device, K):
    draw, a = Draw(5, 5, K, np.float32), np.array([0, -1, K, K - 1, 2**40])
    logp, g = CASES["entropy"][1](draw)[0], draw.normal(5)
    bad = [False, True, True, False, True]
    chosen = launched(device, "log_prob", (logp, a, draw.normal(5)))[2]
    assert np.isnan(chosen).tolist() == bad
    dlogits = launched(device, "log_prob_backward", (logp, a, g, draw.table()))[3]
    assert np.isnan(dlogits).all(axis=1).tolist() == np.isnan(dlogits).any(axis=1).tolist() == bad


def test_indices_of_actions_may_have_any_integer_type_and_no_other(device):
    logp, a = Draw(6, 3, 4, np.float32).table(), np.array([3, 0, 1])
    for kind in (np.int8, np.uint8, np.int32, np.uint64):
        got = launched(device, "log_prob", (logp, a.astype(kind), np.zeros(3, np.float32)))
        np.testing.assert_array_equal(got[2], logp[np.arange(3), a])
    with pytest.raises(IndexError, match="must be integers, got float32"):
        launched(device, "log_prob", (logp, a.astype(np.float32), np.zeros(3, np.float32)))


@every_dtype
@pytest.mark.parametrize("K", [1, 7, 32, 33, 1000])
def test_draws_cover_the_whole_distribution(device, dtype, K):
    """With u from 0 to the largest number below 1: action k for a share of p_k, in order."""
    B = 4000 if K < 33 else 400
    p = np.random.default_rng(7).random(K) + 0.1
    p /= p.sum()
    u = np.linspace(0, np.nextafter(dtype(1), dtype(0)), B, dtype=dtype)
    logp = np.broadcast_to(np.log(p), (B, K)).astype(dtype)
    a = launched(device, "draw", (logp, u, np.zeros(B, np.int64)))[2]
    assert a[0] == 0 and a[-1] == K - 1 and (np.diff(a) >= 0).all()
    np.testing.assert_allclose(np.bincount(a, minlength=K), B * p, atol=1 + 1e-9)


def test_a_divergence_of_two_types_has_the_more_precise_one(device):
    logp, logq = (CASES["entropy"][1](Draw(i, 3, 4, np.float32))[0] for i in (1, 2))
    logq = logq.astype(np.float64)
    compare(device, "kl", (logp, logq, np.zeros(3)), np.float32)
    kl, g, d = np.ones(3), np.ones(3, np.float32), np.zeros((2, 3, 4), np.float32)
    compare(device, "kl_backward", (logp, logq, kl, g, *d), np.float32)


# ---- squash


@pytest.mark.parametrize("missing", [3, 4])
@pytest.mark.parametrize("version", ["loop", "reference", "__call__", "launch"])
def test_an_empty_cotangent_is_zero(device, version, missing):
    arguments = list(CASES["squash_backward"][1](Draw(8, 4, 3, np.float64)))
    arguments[missing][...] = 0
    expected = arrays_after(KERNELS["squash_backward"].reference, arguments)[-1]
    arguments[missing] = np.empty(0 if missing == 4 else (0, 3))
    if version == "launch":
        got = launched(device, "squash_backward", arguments)[-1]
    else:
        got = arrays_after(getattr(KERNELS["squash_backward"], version), arguments)[-1]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@every_dtype
def test_extreme_actions_are_finite(device, dtype):
    out = np.array([[1e4, -1e4, 0, 3, -100, 100]], dtype)
    noise = np.array([[1, -1, 30]], dtype)
    _, _, a, logp = compare(
        device, "squash", (out, noise, np.zeros((1, 3), dtype), np.zeros(1, dtype)), dtype
    )
    assert np.isfinite(logp).all() and (np.abs(a) <= 1).all()


# ---- SVGD


def particles(rng, B, K, L, D, dtype):
    """Particles whose squared distances are exact integers in both types, many of them equal."""
    return tuple(rng.integers(0, 12, (B, n, D)).astype(dtype) for n in (K, L))


@every_dtype
@pytest.mark.parametrize(
    ("K", "L", "D"),
    [
        (2, 1, 1),
        (3, 1, 2),
        (3, 3, 1),
        (8, 8, 6),
        (31, 33, 2),
        (32, 32, 1),
        (41, 25, 1),
        (90, 71, 3),
    ],
)
def test_the_median_is_exact(device, dtype, K, L, D, monkeypatch):
    """With ties, for even and odd numbers, stored distances and recomputed ones."""
    rng = np.random.default_rng(K * L)
    fixed, updated = particles(rng, 3, K, L, D, dtype)
    square = ((fixed[:, :, None] - updated[:, None]) ** 2).sum(axis=-1).reshape(3, -1)
    median = np.sort(square)[:, (K * L - 1) // 2]
    expected = np.maximum(median / dtype(np.log(K)), dtype(1e-3))
    for order in ORDERS:
        monkeypatch.setattr(sys.modules["strict_double.raw"], "order", order)
        got = launched(device, "bandwidth", (fixed, updated))[2]
        np.testing.assert_array_equal(got, expected)


@every_dtype
@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1.0, 1e15])
@pytest.mark.parametrize("n", [5, 40])
def test_distances_of_any_magnitude_have_their_median(device, dtype, scale, n):
    rng = np.random.default_rng(9)
    fixed, updated = (rng.standard_normal((2, n, 3)).astype(dtype) * dtype(scale) for _ in "xy")
    compare(device, "bandwidth", (fixed, updated), dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("n", [3, 40])
def test_one_distance_that_is_not_finite_makes_the_bandwidth_nan(device, n, bad):
    rng = np.random.default_rng(10)
    fixed, updated = (rng.standard_normal((3, n, 2)).astype(np.float32) for _ in "xy")
    fixed[1, n - 1, 1] = bad
    h = launched(device, "bandwidth", (fixed, updated))[2]
    assert np.isnan(h).tolist() == [False, True, False]


@every_dtype
@pytest.mark.parametrize(
    ("K", "L", "D"), [(1, 1, 1), (2, 3, 50), (130, 2, 3), (300, 3, 1), (257, 1, 127), (5, 1, 300)]
)
def test_directions_of_many_particles_equal_the_reference(device, dtype, K, L, D):
    rng = np.random.default_rng(K)
    fixed, updated, score = (rng.standard_normal((2, n, D)).astype(dtype) for n in (K, L, K))
    h = np.array([0.7, 2 * D], dtype)
    compare(device, "direction", (fixed, updated, score, h), dtype)


# ---- launches


def test_a_launch_that_is_too_large_for_cuda_is_refused(device):
    x, source = device.zeros(1, np.float32), compiler.Source("probe.cu")
    with pytest.raises(BackendError, match=r"2,147,483,648 numbers, at most 2,147,483,647. Lower"):
        source.launch("probe", 1, 1, x, 2**31)
    for blocks in (2**31, (1, 65_536), (1, 1, 65_536)):
        with pytest.raises(BackendError, match=r"blocks, at most .*batch_size"):
            source.launch("probe", blocks, 1, x)


def test_a_launch_of_no_blocks_starts_nothing(device):
    x = device.zeros(1, np.float32)
    compiler.Source("probe.cu").launch("probe", 0, 64, x)
    assert device.asnumpy(x)[0] == 0


def test_arguments_of_two_floating_types_or_with_strides_are_refused(device):
    x, y = device.zeros(3, np.float32), device.zeros(3, np.float64)
    with pytest.raises(TypeError, match="one type, got float32 and float64"):
        compiler.Source("probe.cu").launch("probe", 1, 1, x, y)
    with pytest.raises(ValueError, match="contiguous arrays"):
        compiler.Source("probe.cu").launch("probe", 1, 1, x[::2])
