"""Every kernel against a scalar loop: its Python loop, its array version, the compiled one."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from support.kernel_cases import CASES, KERNELS, SCRATCH, Draw, arrays_after, as_float64
from support.proof_size import n_trials

from npr.heads import Categorical
from npr.kernels import gae
from npr.losses import td_huber


def test_cases_cover_exactly_the_kernels():
    assert set(CASES) == set(KERNELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
@settings(
    max_examples=n_trials(8, 15),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1), B=st.integers(0, 6), n=st.integers(1, 4))
def test_all_versions_of_a_kernel_agree_with_the_scalar_loop(name, dtype, seed, B, n):
    slow, arguments = CASES[name]
    arguments, kernel = arguments(Draw(seed, B, n, dtype)), KERNELS[name]
    scratch = name in SCRATCH
    expected = arrays_after(slow, [as_float64(x) for x in arguments], scratch)
    precision = (
        {"rtol": 1e-10, "atol": 1e-12} if dtype is np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    )
    for body in (kernel.loop or kernel, kernel.reference, kernel):
        got = arrays_after(body, arguments, scratch)
        assert all(x.dtype == dtype for x in got if x.dtype.kind == "f")
        for x, y in zip(got, expected, strict=True):
            np.testing.assert_allclose(x, y, **precision)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    "name", ["bias_relu", "bias_tanh", "bias_elu", "tanh_backward", "clip_norm", "squash", "gae"]
)
def test_no_version_hides_a_nan(name):
    """A NaN that an activation turned into 0 could not be detected later."""
    first, *rest = CASES[name][1](Draw(0, 3, 2, np.float32))
    first[0] = np.nan
    kernel = KERNELS[name]
    arguments, scratch = [first, *rest], name in SCRATCH
    expected = [np.isnan(x) for x in arrays_after(kernel.reference, arguments, scratch)]
    assert expected[0].any() or expected[-1].any()
    for body in (kernel.loop, kernel):
        for x, y in zip(arrays_after(body, arguments, scratch), expected):
            np.testing.assert_array_equal(np.isnan(x), y)


STEPS = ("adam", "rmsprop", "sgd")
LARGEST = {np.float32: 3e38, np.float64: 1.7e308}


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "huge", "overflow"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_with_a_non_finite_gradient_changes_its_counts_alone(name, bad, dtype):
    """Also if the gradient is finite and the sum of its squares is not."""
    theta, g, *rest = CASES[name][1](Draw(0, 1, 37, dtype))
    theta[3], rest[0][4] = -0.0, 0.0
    if bad == "overflow":
        g[:] = 0.3 * np.sqrt(LARGEST[dtype])
    else:
        g[36] = LARGEST[dtype] if bad == "huge" else bad
    kernel, before = KERNELS[name], arrays_after(lambda *arguments: None, [theta, g, *rest])
    (counts,) = (x for x in before if x.dtype.kind == "i")
    counts += [0, 1, 1]
    for body in (kernel.loop, kernel.reference, kernel):
        after = arrays_after(body, [theta, g, *rest])
        assert [x.tobytes() for x in after] == [x.tobytes() for x in before]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_with_a_finite_gradient_is_counted(name):
    for n in (0, 1, 37):
        arguments = CASES[name][1](Draw(0, 1, n, np.float32))
        (counts,) = (x for x in arguments if getattr(x, "dtype", None) == np.int64)
        for body in (KERNELS[name].loop, KERNELS[name].reference, KERNELS[name]):
            counts[:] = [7, 3, 2]
            body(*arguments)
            assert counts.tolist() == [8, 3, 0]


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_gradient_with_a_non_finite_norm_is_not_clipped(bad):
    """Else one infinite entry would turn all others into zeros, and a huge one all entries."""
    g = Draw(0, 1, 37, np.float32).row()
    g[20] = bad
    kernel = KERNELS["clip_norm"]
    for body in (kernel.loop, kernel.reference, kernel):
        held = g.copy()
        body(held, 0.5, np.zeros(16, np.float32))
        assert held.tobytes() == g.tobytes()


def test_actions_of_probability_zero_do_not_contribute_to_entropy():
    logits = np.array([[0, -np.inf, 0]], np.float32)
    logp, H, dlogits = np.empty_like(logits), np.empty(1, np.float32), np.empty_like(logits)
    for name in ("loop", "reference", "__call__"):
        getattr(KERNELS["log_softmax"], name)(logits, logp)
        getattr(KERNELS["entropy"], name)(logp, H)
        getattr(KERNELS["entropy_backward"], name)(logp, H, np.ones_like(H), dlogits)
        assert H[0] == pytest.approx(math.log(2)) and np.abs(dlogits).max() < 1e-6


def test_an_out_of_range_action_is_refused():
    values = np.zeros((2, 3), np.float32)
    for refused in (Categorical(values).log_prob, lambda a: td_huber(values, a, values[:, 0])):
        for a in ([0, 3], [-1, 0]):
            with pytest.raises(IndexError, match="choice|index"):
                refused(np.array(a))


def test_tanh_of_floats_has_a_small_error():
    z = np.concatenate([np.linspace(-12, 12, 40_001), np.logspace(-30, 0, 999), [np.inf, -np.inf]])
    z = z.astype(np.float32)[:, None]
    exact = np.tanh(z.astype(np.float64))
    KERNELS["bias_tanh"](z, np.zeros(1, np.float32))
    np.testing.assert_allclose(z, exact, rtol=4e-7, atol=0)
    assert np.abs(z).max() == 1


def test_strided_arguments_give_the_same_result():
    r, v, v_next, terminated, done, gamma, lam = CASES["gae"][1](Draw(0, 6, 4, np.float32))[:7]
    views = [np.repeat(x, 2, axis=1)[:, ::2] for x in (r, v, v_next)] + [terminated, done]
    np.testing.assert_array_equal(
        gae(*views, gamma, lam), gae(r, v, v_next, terminated, done, gamma, lam)
    )


def test_a_prepared_kernel_runs_on_the_same_arguments_again_and_again():
    """Also where an index is out of range, and where arrays cannot be taken by native code."""
    kernel = KERNELS["gather_on_host"]
    _, arguments = CASES["gather"]
    for seed in range(20):
        args = arguments(Draw(seed, 4, 2, np.float32))
        if seed % 2:  # not aligned
            rows = np.zeros(args[0].nbytes + 1, np.uint8)[1:].view(np.float32)
            args = (rows.reshape(args[0].shape), *args[1:])
        run = kernel.prepared(*args)
        for _ in range(3):
            args[0][...] = np.random.default_rng(seed).random(args[0].shape)
            expected = arrays_after(kernel.reference, args)
            run()
            for x, y in zip((x for x in args if isinstance(x, np.ndarray)), expected):
                np.testing.assert_allclose(x, y, rtol=1e-6)
        args[4][0] = len(args[0])
        with pytest.raises(IndexError):
            run()
