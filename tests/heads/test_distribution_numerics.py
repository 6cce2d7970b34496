"""Heads at extreme arguments, fused nodes, and errors for invalid ones."""

import functools
import gc
import math
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from npr import autodiff as ad
from npr.autodiff import value_and_grad, vjp
from npr.errors import ConfigError
from npr.heads import Bernoulli, Categorical, Gaussian, MultiCategorical, TanhGaussian
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN

# Outputs of a network, (3, 4): logits of four actions, or means and log stds of two dimensions.
OUT = np.array([[0.3, -1.2, 0.4, -0.7], [1.5, 0.2, -1.0, 0.1], [-0.4, 0.9, -0.2, -1.6]])

CHOICES = np.array([2, 0, 3])

NOISE = np.array([[0.4, -1.3], [1.1, 0.3], [-0.8, 2.0]])

Pair = functools.partial(
    MultiCategorical, nvec=[2, 2]
)  # four logits: two variables with two values


# --- the fused node of a tanh-Gaussian sample ----------------------------------------------------


def composed_sample(out, noise):
    """TanhGaussian.sample composed of basic operations."""
    D = noise.shape[-1]
    mean, log_std = out[..., :D], ad.clip(out[..., D:], LOG_STD_MIN, LOG_STD_MAX)
    u = mean + ad.exp(log_std) * noise
    density = -0.5 * noise * noise - log_std - 0.5 * math.log(2 * math.pi)
    slope = 2 * (math.log(2) - u - ad.softplus(-2 * u))
    return ad.tanh(u), (density - slope).sum(axis=-1)


PARTS = {
    "action": lambda a, logp: a,
    "log-probability": lambda a, logp: logp,
    "both": lambda a, logp: (a * a).sum(axis=-1) + 0.7 * logp,
}
every_part = pytest.mark.parametrize("part", PARTS)


@every_part
@settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.sampled_from([(), (1,), (0,), (4,), (2, 3)]),
    D=st.integers(1, 3),
    scale=st.sampled_from([0.5, 3.0, 30.0]),
)
def test_a_sample_equals_its_composition(part, seed, batch, D, scale):
    rng = np.random.default_rng(seed)
    out, noise = rng.normal(0, scale, (*batch, 2 * D)), rng.standard_normal((*batch, D))
    y, pullback = vjp(lambda out: PARTS[part](*TanhGaussian(out).sample(noise)), out)
    expected, pullback_composed = vjp(lambda out: PARTS[part](*composed_sample(out, noise)), out)
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    v = np.asarray(rng.standard_normal(expected.shape))
    np.testing.assert_allclose(pullback(v), pullback_composed(v), rtol=1e-9, atol=1e-10)


@every_part
def test_a_sample_modifies_no_argument_and_its_graph_is_freed(part):
    out, noise = OUT.copy(), NOISE.copy()
    out.flags.writeable = noise.flags.writeable = False
    held = weakref.ref(out)
    gc.disable()
    try:
        y, pullback = vjp(lambda out: PARTS[part](*TanhGaussian(out).sample(noise)), out)
        v = np.ones_like(y)
        v.flags.writeable = False
        np.testing.assert_array_equal(pullback(v), pullback(v))
        del out, y, pullback
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", [(5, 2), (1, 2), (3, 1), (3, 3)])
def test_noise_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"needs noise of shape \(3, 2\), got"):
        TanhGaussian(OUT).sample(np.zeros(shape))


# --- extremes ------------------------------------------------------------------------------------


def assert_finite(f, out):
    y, pullback = vjp(f, out)
    assert np.isfinite(y).all() and np.isfinite(pullback(np.ones_like(y))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite(dtype):
    out = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 0]], dtype)
    assert_finite(lambda out: Categorical(out).log_prob(np.array([1, 2, 0])), out)
    assert_finite(lambda out: Categorical(out).entropy(), out)
    assert_finite(lambda out: Categorical(out).kl(Categorical(-out)), out)
    assert_finite(lambda out: Bernoulli(out).log_prob(np.array([1, 0, 1])), out)
    assert_finite(lambda out: Bernoulli(out).entropy(), out)
    assert_finite(lambda out: Bernoulli(out).kl(Bernoulli(-out)), out)
    assert (Bernoulli(out).sample(np.full((3, 3), 0.5, dtype))[0] == [1, 0, 0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_std", [-1e4, -20, 2, 1e4])
@pytest.mark.parametrize("mean", [-1e4, -50, 50, 1e4])
def test_extreme_tanh_gaussians_stay_finite(mean, log_std, dtype):
    out, noise = np.array([[mean, log_std]], dtype), np.array([[3.0]], dtype)
    a, logp = TanhGaussian(out).sample(noise)
    assert (np.abs(a) <= 1).all()
    assert_finite(lambda out: TanhGaussian(out).sample(noise)[0], out)
    assert_finite(lambda out: TanhGaussian(out).sample(noise)[1], out)
    assert_finite(lambda out: TanhGaussian(out).entropy(), out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_at_the_bounds_have_a_finite_density(dtype):
    ends, out = np.array([[-1.0], [1.0]], dtype), np.array([[0.3, -0.5], [0.3, -0.5]], dtype)
    assert_finite(lambda out: TanhGaussian(out).log_prob(ends), out)


def test_the_log_standard_deviation_is_clipped():
    pi, held = TanhGaussian(np.array([[0.5, 7.0]])), TanhGaussian(np.array([[0.5, LOG_STD_MAX]]))
    noise = np.array([[0.3]])
    for number, expected in zip(pi.sample(noise), held.sample(noise)):
        np.testing.assert_array_equal(number, expected)


@pytest.mark.parametrize(
    "log_std, moves",
    [(-30, False), (-20.001, False), (-20, True), (0, True), (2, True), (2.001, False), (7, False)],
)
def test_a_clipped_log_standard_deviation_has_no_gradient(log_std, moves):
    noise = np.array([[0.3]])
    _, pullback = vjp(lambda out: TanhGaussian(out).sample(noise)[1], np.array([[0.5, log_std]]))
    d_mean, d_log_std = pullback(np.ones(1))[0]
    assert d_mean != 0 and (d_log_std != 0) == moves


# --- modes ---------------------------------------------------------------------------------------


def test_the_mode_of_a_tensor_is_a_plain_array():
    expected = {
        Categorical: [2, 0, 1], Pair: [[0, 0], [0, 1], [1, 0]], Bernoulli: OUT > 0,
        Gaussian: OUT[:, :2], TanhGaussian: np.tanh(OUT[:, :2]),
    }  # fmt: skip
    for head, mode in expected.items():
        seen = []

        def f(out, head=head, seen=seen):
            seen.append(head(out).mode())
            return out.sum()

        value_and_grad(f)(OUT)
        assert type(seen[0]) is np.ndarray
        np.testing.assert_array_equal(seen[0], mode)


def test_the_mode_is_the_most_likely_action():
    likelihoods = np.stack([Categorical(OUT).log_prob(np.full(3, k)) for k in range(4)], axis=-1)
    np.testing.assert_array_equal(Categorical(OUT).mode(), likelihoods.argmax(axis=-1))
    nearby = Gaussian(OUT).mode() + 0.01
    assert (Gaussian(OUT).log_prob(Gaussian(OUT).mode()) > Gaussian(OUT).log_prob(nearby)).all()


@pytest.mark.parametrize("x", [np.array([1]), 1, np.zeros((3, 1), int), np.zeros(4, int)])
def test_a_categorical_refuses_wrong_shapes(x):
    """A kernel would read beyond the end of a short array."""
    with pytest.raises(ConfigError, match=r"shape \(3,\), one for each row of logits \(3, 4\)"):
        Categorical(OUT).log_prob(x)
    with pytest.raises(ConfigError, match=r"noise of shape \(3,\)"):
        Categorical(OUT).sample(x)


@pytest.mark.parametrize("logits", [np.zeros((3, 4), int), np.zeros((3, 0))])
def test_a_categorical_refuses_invalid_logits(logits):
    with pytest.raises(ConfigError, match="floating-point logits of at least one choice"):
        Categorical(logits)


def test_a_categorical_is_freed_without_the_garbage_collector():
    held = weakref.ref(out := OUT.copy())
    gc.disable()
    try:
        y, pullback = vjp(lambda out: Categorical(out).log_prob(CHOICES), out)
        pullback(y)
        del out, y, pullback
        assert held() is None
    finally:
        gc.enable()
