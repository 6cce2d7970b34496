"""CUDA kernels that work row by row, and what all launches have in common."""

import functools
import types

import numpy as np
import pytest
from support import cuda
from support.kernel_cases import CASES, KERNELS, Draw

from npr.errors import BackendError
from npr.kernels.cuda import categorical as launches
from npr.kernels.cuda import compiler
from npr.kernels.cuda import pick as picks

CATEGORICAL = (
    "log_softmax", "log_softmax_backward", "draw", "log_prob", "log_prob_backward", "entropy",
    "entropy_backward", "kl", "kl_backward",
)  # fmt: skip
NAMES = *CATEGORICAL, "pick", "pick_backward", "squash", "squash_backward", "bandwidth", "direction"
EXACT = {"tolerance": {"float64": 1e-12}}
every_kernel = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
narrow_and_wide = pytest.mark.parametrize("n", [3, 40])  # rows of one thread, and of a block


def arguments(name, seed, B, n):
    return list(CASES[name][1](Draw(seed, B, n, np.float64)))


def check(name, *args, launches=1, **options):
    """The arrays after the launch in float64, which equal those of the reference in both types."""
    outcomes = cuda.check(KERNELS[name], *args, launches=launches, **{**EXACT, **options})
    return outcomes["float64"].device


@every_kernel
@pytest.mark.parametrize(
    ("B", "n"), [(1, 1), (5, 4), (130, 3), (3, 32), (3, 33), (2, 128), (2, 300)]
)
def test_a_launch_equals_the_reference(name, B, n):
    args = arguments(name, 0, B, n)
    if n > 1 or name not in CATEGORICAL or not name.endswith("_backward"):
        check(name, *args)
        return
    for dtype in ("float32", "float64"):  # of one action: zero, and what rounding leaves of it
        outcome, unit = cuda.run(KERNELS[name], *args, dtype=dtype), 8 * np.finfo(dtype).eps
        for x, y in zip(outcome.device, outcome.reference, strict=True):
            np.testing.assert_allclose(x, y, rtol=unit, atol=unit, strict=True)
        assert outcome.launches == 1


@every_kernel
def test_a_batch_without_rows_starts_nothing(name):
    outcome = cuda.run(KERNELS[name], *arguments(name, 0, 0, 3), orders=["forward"])
    assert outcome.launches == 0
    assert [x.shape for x in outcome.device] == [x.shape for x in outcome.reference]


@pytest.mark.parametrize("name", [name for name in NAMES if "pick" not in name])
@narrow_and_wide
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_row_that_is_not_finite_leaves_the_others_alone(name, n, bad):
    args = arguments(name, 2, 4, n)
    clean = check(name, *args)
    args[0][2] = bad
    for x, y in zip(check(name, *args), clean, strict=True):
        others = np.arange(len(y)) != 2
        np.testing.assert_array_equal(x[others], y[others])


# ---- categorical


@narrow_and_wide
def test_an_action_of_probability_zero_has_no_influence(n):
    d = Draw(3, 4, n, np.float64)
    logits, u, g = d.table(), d.rng.random(4), d.normal(4)
    logits[:, 1] = -np.inf
    _, logp = check("log_softmax", logits, d.table())
    check("log_softmax_backward", logp, d.table(), d.table())
    _, H = check("entropy", logp, d.normal(4))
    assert np.isfinite(H).all()
    assert not check("entropy_backward", logp, H, g, d.table())[3][:, 1].any()
    *_, kl = check("kl", logp, logp, d.normal(4))
    assert not kl.any()
    *_, dp, dq = check("kl_backward", logp, logp, kl, g, d.table(), d.table())
    assert not dp.any() and not dq.any()
    *_, a = check("draw", logp, u, np.zeros(4, int))
    assert (a != 1).all()


@narrow_and_wide
@pytest.mark.parametrize(
    ("name", "cotangents"),
    [("log_softmax_backward", [1]), ("log_prob_backward", [2]), ("entropy_backward", [2]),
     ("kl_backward", [3]), ("squash_backward", [3, 4])],
)  # fmt: skip
def test_a_row_whose_cotangent_is_zero_has_zeros(name, cotangents, n):
    """Even if the other numbers are not finite."""
    args = arguments(name, 4, 3, n)
    for i, x in enumerate(args):
        if x.dtype.kind == "f" and (i or "squash" not in name):  # clipped numbers have none anyway
            x[0], x[2] = (0, 0) if i in cotangents else (np.nan, np.inf)
    for d in cuda.run(KERNELS[name], *args).device[-2 if name == "kl_backward" else -1 :]:
        assert not d[[0, 2]].any() and np.isfinite(d[1]).all() and d[1].any()


@narrow_and_wide
def test_an_action_that_is_out_of_range_gives_nan(n):
    logp, g = CASES["entropy"][1](Draw(5, 5, n, np.float64))
    a, bad = np.array([0, -1, n, n - 1, 2**40]), [False, True, True, False, True]
    in_range, dlogits = np.clip(a, 0, n - 1), np.zeros((5, n))

    def device(name, *args):
        return cuda.run(launch_of[name], *args, reference=nothing).device[-1]

    assert np.isnan(device("log_prob", logp, a, g)).tolist() == bad
    d = device("log_prob_backward", logp, a, g, dlogits)
    assert np.isnan(d).all(axis=1).tolist() == np.isnan(d).any(axis=1).tolist() == bad
    expected = device("log_prob_backward", logp, in_range, g, dlogits)
    np.testing.assert_array_equal(d[[0, 3]], expected[[0, 3]])


launch_of = vars(launches)


def nothing(*args):
    """A reference that does not look at invalid arguments."""


def test_a_value_of_an_action_that_is_out_of_range_is_nan():
    q, a = np.arange(24.0).reshape(2, 4, 3), np.array([2, -1, 3, 0])
    chosen = cuda.run(picks.pick, q, a, np.zeros((2, 4)), reference=nothing).device[-1]
    np.testing.assert_array_equal(chosen, [[2, np.nan, np.nan, 9], [14, np.nan, np.nan, 21]])
    dq = cuda.run(picks.pick_backward, a, np.ones((2, 4)), q, reference=nothing).device[-1]
    np.testing.assert_array_equal(dq[0], [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])


def test_indices_of_actions_may_have_any_integer_type_and_no_other():
    logp, a = Draw(6, 3, 4, np.float64).table(), np.array([3, 0, 1])
    for kind in (np.int8, np.uint8, np.int32, np.int64):
        check("log_prob", logp, a.astype(kind), np.zeros(3))
    with pytest.raises(AssertionError, match="IndexError: .* must be integers, got float"):
        cuda.run(launches.log_prob, logp, a.astype(float), np.zeros(3), reference=nothing)


@every_dtype
@pytest.mark.parametrize("K", [1, 7, 32, 33, 1000])
def test_draws_cover_the_whole_distribution(dtype, K):
    """With u from 0 to the largest number below 1: action k for a share of p_k, in order."""
    B, kind = 4000 if K < 33 else 400, np.dtype(dtype).type
    p = np.random.default_rng(7).random(K) + 0.1
    p /= p.sum()
    u = np.linspace(0, np.nextafter(kind(1), kind(0)), B, dtype=dtype)
    logp, a = np.tile(np.log(p), (B, 1)), np.zeros(B, int)
    a = cuda.run(KERNELS["draw"], logp, u, a, dtype=dtype, orders=["forward"]).device[-1]
    assert a[0] == 0 and a[-1] == K - 1 and (np.diff(a) >= 0).all()
    np.testing.assert_allclose(np.bincount(a, minlength=K), B * p, atol=1 + 1e-9)


def kl_of_two_types(logp, logq, kl):
    launches.kl(logp.astype(np.float32), logq, kl)


def test_a_divergence_of_two_types_has_the_more_precise_one():
    logp, logq, kl = arguments("kl", 1, 3, 4)
    logp = logp.astype(np.float32).astype(float)
    reference = KERNELS["kl"].reference
    cuda.check(kl_of_two_types, logp, logq, kl, types=["float64"], reference=reference)


# ---- squash


@pytest.mark.parametrize("missing", [3, 4])
def test_an_empty_cotangent_is_zero(missing):
    args = arguments("squash_backward", 8, 4, 3)
    args[missing][...] = 0
    *_, expected = check("squash_backward", *args)
    args[missing] = np.empty(0 if missing == 4 else (0, 3))
    *_, dout = check("squash_backward", *args)
    np.testing.assert_array_equal(dout, expected)
    kernel, dout = KERNELS["squash_backward"], np.empty_like(expected)
    for body in (kernel.loop, kernel):
        body(*args[:-1], dout)
        np.testing.assert_allclose(dout, expected, rtol=1e-13)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_log_standard_deviation_that_is_nan_gives_nan():
    out, noise = np.array([[0.5, np.nan]]), np.ones((1, 1))
    _, _, a, logp = check("squash", out, noise, np.zeros((1, 1)), np.zeros(1))
    assert np.isnan(a).all() and np.isnan(logp).all()


def test_extreme_actions_have_finite_log_probabilities():
    out, noise = np.array([[1e4, -1e4, 0, 3, -100, 100]]), np.array([[1.0, -1, 30]])
    _, _, a, logp = check("squash", out, noise, np.zeros((1, 3)), np.zeros(1))
    assert np.isfinite(logp).all() and (np.abs(a) <= 1).all()


# ---- SVGD


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
def test_the_median_is_exact(dtype, K, L, D):
    """With ties, for even and odd numbers of distances, that are stored or computed again."""
    rng = np.random.default_rng(K * L)
    fixed, updated = (rng.integers(0, 12, (3, n, D)).astype(dtype) for n in (K, L))
    square = ((fixed[:, :, None] - updated[:, None]) ** 2).sum(axis=-1).reshape(3, -1)
    median = np.sort(square)[:, (K * L - 1) // 2]
    least, log_K = np.array([1e-3, np.log(K)], dtype)
    arguments = fixed, updated, np.zeros(3), np.zeros(0)
    *_, h, _ = cuda.run(KERNELS["bandwidth"], *arguments, dtype=dtype).device
    np.testing.assert_array_equal(h, np.maximum(median / log_K, least))


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1.0, 1e15])
@pytest.mark.parametrize("n", [5, 40])
def test_distances_of_any_magnitude_have_their_median(scale, n):
    rng = np.random.default_rng(9)
    fixed, updated = (scale * rng.standard_normal((2, n, 3)) for _ in "xy")
    check("bandwidth", fixed, updated, np.zeros(2), np.zeros(0))


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_one_distance_that_is_not_finite_makes_the_bandwidth_nan(n, bad):
    fixed, updated = np.random.default_rng(10).standard_normal((2, 3, n, 2))
    fixed[1, n - 1, 1] = bad
    *_, h, _ = cuda.run(KERNELS["bandwidth"], fixed, updated, np.zeros(3), np.zeros(0)).device
    assert np.isnan(h).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("K", "L", "D"), [(1, 1, 1), (2, 3, 50), (130, 2, 3), (300, 3, 1), (257, 1, 127), (5, 1, 300)]
)
def test_directions_of_many_particles_equal_the_reference(K, L, D):
    rng = np.random.default_rng(K)
    fixed, updated, score = (rng.standard_normal((2, n, D)) for n in (K, L, K))
    check("direction", fixed, updated, score, np.array([0.7, 2 * D]), np.zeros_like(updated))


# ---- all launches


@pytest.fixture
def started(monkeypatch):
    """The grids that were started, by an array module whose kernels do nothing."""
    grids = []
    kernel = types.SimpleNamespace(get_function=lambda name: lambda grid, *_: grids.append(grid))
    module = types.SimpleNamespace(RawModule=lambda **options: kernel)
    monkeypatch.setattr(compiler, "xp", module)
    return grids


@pytest.mark.parametrize(
    ("blocks", "threads", "n", "message"),
    [(1, 1, 2**31, "2,147,483,648 numbers"), (2**31, 1, 1, r"\(2147483648,\) blocks"),
     ((1, 65_536), 1, 1, r"\(1, 65536\) blocks"), ((1, 1, 65_536), 1, 1, r"\(1, 1, 65536\) blocks"),
     (2**23, 256, 1, "2,147,483,648 threads")],
)  # fmt: skip
def test_a_launch_that_is_too_large_for_cuda_is_refused(started, blocks, threads, n, message):
    source = compiler.Source("probe.cu")
    with pytest.raises(BackendError, match=f"{message}, at most .* Lower .* batch_size"):
        source.launch("probe", blocks, threads, n)
    assert not started
    source.launch("probe", (2**31 - 1, 65_535, 65_535), 1, 2**31 - 1)
    source.launch("probe", 2**23 - 1, 256, 1)
    assert len(started) == 2


@pytest.mark.parametrize(
    "error, known",
    [(MemoryError("full"), False), (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: full"), False),
     (RuntimeError("no compiler"), True)],
)  # fmt: skip
def test_too_little_memory_says_nothing_of_the_compiler(monkeypatch, error, known):
    def fail(module):
        raise error

    available = functools.cache(compiler.available.__wrapped__)
    monkeypatch.setattr(compiler, "try_out", fail)
    if known:
        with pytest.warns(RuntimeWarning, match="CUDA kernels cannot be compiled .no compiler"):
            assert not available()
    else:
        with pytest.raises(type(error), match="full"):
            available()
    monkeypatch.setattr(compiler, "try_out", lambda module: None)
    assert available() is not known


def test_arguments_of_two_floating_types_or_with_strides_are_refused(started):
    x, y, source = np.zeros(3, np.float32), np.zeros(3), compiler.Source("probe.cu")
    with pytest.raises(TypeError, match="one type, got float32 and float64"):
        source.launch("probe", 1, 1, x, y)
    with pytest.raises(ValueError, match="contiguous arrays"):
        source.launch("probe", 1, 1, x[::2])
    assert not started
