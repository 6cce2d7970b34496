"""Distributions over actions: densities, samples, entropies, divergences and gradients."""

import functools
import itertools
import math

import numpy as np
import pytest

from npr.autodiff import gradcheck, value_and_grad, vjp
from npr.backend import FLOAT
from npr.envs.spaces import ACTIONS as ACTION_KINDS
from npr.heads import (
    Bernoulli,
    Categorical,
    Gaussian,
    MultiCategorical,
    TanhGaussian,
    policy_head,
)

# Outputs of a network, (3, 4): logits of four actions, or means and log stds of two dimensions.
OUT = np.array([[0.3, -1.2, 0.4, -0.7], [1.5, 0.2, -1.0, 0.1], [-0.4, 0.9, -0.2, -1.6]])
OTHER = np.array([[0.5, 0.1, -0.3, 0.6], [-1.1, 0.8, 0.2, -0.5], [0.0, -0.6, 0.7, 0.3]])
CHOICES = np.array([2, 0, 3])
ACTIONS = np.array([[0.2, -0.6], [0.9, 0.1], [-0.3, 0.5]])
NOISE = np.array([[0.4, -1.3], [1.1, 0.3], [-0.8, 2.0]])

PAIRS = np.array([[1, 0], [0, 1], [1, 1]])
BITS = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]])
Pair = functools.partial(
    MultiCategorical, nvec=[2, 2]
)  # four logits: two variables with two values

HEADS = {
    Categorical: CHOICES, Pair: PAIRS, Bernoulli: BITS, Gaussian: ACTIONS,
    TanhGaussian: ACTIONS,
}  # fmt: skip
every_head = pytest.mark.parametrize(
    "head", HEADS, ids=["Categorical", "MultiCategorical", "Bernoulli", "Gaussian", "TanhGaussian"]
)
continuous = pytest.mark.parametrize("head", [Gaussian, TanhGaussian])


def logits(*probabilities):
    return np.log(np.array(probabilities))


# --- shapes, types, gradients --------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_results_have_the_batch_shape_and_dtype_of_the_outputs(head, batch, dtype):
    out, other = (np.resize(x, (*batch, 4)).astype(dtype) for x in (OUT, OTHER))
    actions = np.resize(HEADS[head], (*batch, *HEADS[head].shape[1:]))
    if actions.dtype.kind == "f":
        actions = actions.astype(dtype)
    pi = head(out)
    for number in (pi.log_prob(actions), pi.entropy(), pi.kl(head(other))):
        assert number.shape == batch and number.dtype == dtype
    assert pi.mode().shape == actions.shape


@every_head
def test_noise_has_the_shape_for_sample(head):
    pi = head(OUT.astype(FLOAT))
    noise = pi.noise(np.random.default_rng(0))
    assert noise.dtype == FLOAT and noise.shape == HEADS[head].shape
    np.testing.assert_array_equal(noise, pi.noise(np.random.default_rng(0)))
    sample = pi.sample(noise)
    actions = sample[0] if head is TanhGaussian else sample
    assert actions.shape == HEADS[head].shape


BOX = {"kind": "box", "dtype": "float32", "low": [-1.0, -1.0], "high": [1.0, 1.0]}
SPACES = {
    "Discrete": ({"kind": "discrete", "n": 4, "start": 0}, False),
    "MultiDiscrete": ({"kind": "multidiscrete", "nvec": [3, 2], "start": [0, 0]}, False),
    "MultiBinary": ({"kind": "multibinary", "shape": [2, 2]}, False),
    "Box": ({**BOX, "shape": [2]}, False),
    "Box, squashed": ({**BOX, "shape": [2]}, True),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("shape", [(), (3,), (5, 2)])
def test_a_head_draws_the_noise_of_its_distribution_without_one(space, shape, monkeypatch):
    spec, squashed = SPACES[space]
    head = policy_head(ACTION_KINDS[spec["kind"]](spec), squashed)
    rngs = [np.random.default_rng(0) for _ in range(2)]
    pi = head(np.zeros((*shape, head.outputs + head.free), FLOAT))
    noise = pi.noise(rngs[0])
    monkeypatch.delattr(type(head), "__call__")
    drawn = head.noise(rngs[1], shape)
    np.testing.assert_array_equal(drawn, noise, strict=True)
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state
    pi.sample(drawn)


@every_head
def test_gradients_of_log_prob_entropy_and_kl(head):
    gradcheck(lambda out: head(out).log_prob(HEADS[head]), OUT, tolerance=1e-6)
    gradcheck(lambda out: head(out).entropy(), OUT, tolerance=1e-6)
    gradcheck(lambda out: head(out).kl(head(OTHER)), OUT, tolerance=1e-6)
    gradcheck(lambda out: head(OTHER).kl(head(out)), OUT, tolerance=1e-6)


def test_gradients_of_samples():
    gradcheck(lambda out: Gaussian(out).sample(NOISE), OUT, tolerance=1e-6)
    gradcheck(lambda out: TanhGaussian(out).sample(NOISE)[0], OUT, tolerance=1e-6)
    gradcheck(lambda out: TanhGaussian(out).sample(NOISE)[1], OUT, tolerance=1e-6)
    gradcheck(lambda u: TanhGaussian(OUT).log_prob_u(u), ACTIONS, tolerance=1e-6)


# --- normalization -------------------------------------------------------------------------------


def test_categorical_probabilities_sum_to_one():
    total = sum(np.exp(Categorical(OUT).log_prob(np.full(3, k))) for k in range(4))
    np.testing.assert_allclose(total, 1, rtol=1e-14)


def outcomes(*counts):
    """All joint actions, where variable i has counts[i] values."""
    return np.array(list(itertools.product(*map(range, counts))))


def joint_probabilities(pi, counts):
    """The probabilities (3, outcomes) of all joint actions for the three rows of OUT."""
    return np.stack([np.exp(pi.log_prob(np.tile(a, (3, 1)))) for a in outcomes(*counts)], axis=-1)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_multi_categorical_probabilities_are_products():
    first = softmax(OUT[:, :3])
    np.testing.assert_allclose(
        joint_probabilities(MultiCategorical(OUT, [3, 1]), (3, 1)), first, rtol=1e-13
    )
    both = softmax(OUT[:, :2])[:, :, None] * softmax(OUT[:, 2:])[:, None]
    np.testing.assert_allclose(
        joint_probabilities(Pair(OUT), (2, 2)), both.reshape(3, 4), rtol=1e-13
    )


def test_bernoulli_probabilities_are_products():
    on = 1 / (1 + np.exp(-OUT))
    a = outcomes(2, 2, 2, 2)
    expected = np.where(a == 1, on[:, None], 1 - on[:, None]).prod(axis=-1)
    np.testing.assert_allclose(
        joint_probabilities(Bernoulli(OUT), (2, 2, 2, 2)), expected, rtol=1e-12
    )


@pytest.mark.parametrize(("head", "counts"), [(Pair, (2, 2)), (Bernoulli, (2, 2, 2, 2))])
def test_entropy_and_kl_of_joint_actions_by_definition(head, counts):
    p, q = joint_probabilities(head(OUT), counts), joint_probabilities(head(OTHER), counts)
    np.testing.assert_allclose(head(OUT).entropy(), -(p * np.log(p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(
        head(OUT).kl(head(OTHER)), (p * np.log(p / q)).sum(axis=1), rtol=1e-12
    )


@pytest.mark.parametrize(("head", "counts"), [(Pair, (2, 2)), (Bernoulli, (2, 2, 2, 2))])
def test_joint_actions_are_drawn_with_their_probabilities(head, counts):
    n, rng = 20_000, np.random.default_rng(0)
    for row, expected in zip(OUT, joint_probabilities(head(OUT), counts)):
        pi = head(np.tile(row, (n, 1)))
        drawn = np.ravel_multi_index(pi.sample(pi.noise(rng)).T, counts)
        assert np.abs(np.bincount(drawn, minlength=len(expected)) / n - expected).max() < 0.015


def test_the_gaussian_density_integrates_to_one():
    x = np.linspace(-12, 12, 601)
    grid = np.stack(np.meshgrid(x, x), axis=-1)
    for out in OUT:
        density = np.exp(Gaussian(np.broadcast_to(out, (601, 601, 4))).log_prob(grid))
        np.testing.assert_allclose(density.sum() * (x[1] - x[0]) ** 2, 1, rtol=1e-9)


def action_grid(n=100_001):
    """A grid of actions in (-1, 1), finer towards the bounds, and the width of its cells."""
    u = np.linspace(-7, 7, n)
    return np.tanh(u)[:, None], (1 - np.tanh(u) ** 2) * (u[1] - u[0])


@pytest.mark.parametrize("mean, log_std", [(0.0, 0.0), (0.7, -1.0), (-1.0, -0.3), (0.2, -3.0)])
def test_the_tanh_gaussian_density_integrates_to_one(mean, log_std):
    a, width = action_grid()
    pi = TanhGaussian(np.broadcast_to([mean, log_std], (len(a), 2)))
    np.testing.assert_allclose((np.exp(pi.log_prob(a)) * width).sum(), 1, rtol=1e-6)


# --- samples follow the density ------------------------------------------------------------------


def test_categorical_samples_have_their_probabilities():
    n = 10_000
    noise = (np.arange(n) + 0.5) / n  # evenly spaced, so that frequencies are exact to 1 / n
    for row in OUT:
        chosen = Categorical(np.broadcast_to(row, (n, 4))).sample(noise)
        probabilities = np.exp(row) / np.exp(row).sum()
        np.testing.assert_allclose(np.bincount(chosen) / n, probabilities, atol=1.01 / n)


def test_categorical_noise_is_uniform():
    noise = Categorical(np.zeros((20_000, 4))).noise(np.random.default_rng(0))
    assert noise.min() >= 0 and noise.max() < 1
    np.testing.assert_allclose(np.histogram(noise, 10, (0, 1))[0] / 20_000, 0.1, atol=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("K", [1, 2, 7, 1000])
def test_categorical_draws_valid_actions_for_extreme_noise(K, noise, dtype):
    logp = np.random.default_rng(K).normal(size=(50, K)).astype(dtype)
    chosen = Categorical(logp).sample(np.full(50, noise, dtype))
    assert chosen.min() >= 0 and chosen.max() < K


@pytest.mark.parametrize("noise", [0.0, 0.3, 1 - 2**-24])
def test_categorical_never_draws_an_action_of_probability_zero(noise):
    out = np.array([[-1e4, 0, -1e4, 0, -1e4]], np.float32)
    assert Categorical(out).sample(np.array([noise], np.float32))[0] in (1, 3)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_every_row_of_a_batch_is_sampled_from_its_logits(batch):
    out, noise = np.resize(OUT, (*batch, 4)), np.linspace(0.1, 0.9, 6)[: int(np.prod(batch))]
    chosen = Categorical(out).sample(noise.reshape(batch))
    assert chosen.shape == batch
    alone = [Categorical(row).sample(x) for row, x in zip(out.reshape(-1, 4), noise)]
    np.testing.assert_array_equal(chosen.ravel(), alone)


def test_a_gaussian_sample_is_the_mean_plus_scaled_noise():
    expected = OUT[:, :2] + np.exp(OUT[:, 2:]) * NOISE
    np.testing.assert_allclose(Gaussian(OUT).sample(NOISE), expected, rtol=1e-15)


def test_gaussian_samples_have_their_mean_and_standard_deviation():
    n = 40_000
    noise = Gaussian(np.zeros((n, 4))).noise(np.random.default_rng(0))
    for out in OUT:
        sample = Gaussian(np.broadcast_to(out, (n, 4))).sample(noise)
        mean, std = out[:2], np.exp(out[2:])
        np.testing.assert_allclose((sample.mean(axis=0) - mean) / std, 0, atol=4 / math.sqrt(n))
        np.testing.assert_allclose(sample.std(axis=0) / std, 1, atol=4 / math.sqrt(2 * n))


def test_tanh_gaussian_samples_follow_their_distribution():
    n, out = 40_000, np.array([0.6, -0.5])
    noise = TanhGaussian(np.zeros((n, 2))).noise(np.random.default_rng(0))
    sample, logp = TanhGaussian(np.broadcast_to(out, (n, 2))).sample(noise)
    a, width = action_grid()
    density = np.exp(TanhGaussian(np.broadcast_to(out, (len(a), 2))).log_prob(a))
    for edge in (-0.5, 0.0, 0.4, 0.7, 0.9):
        expected = (density * width)[a[:, 0] <= edge].sum()
        assert abs((sample <= edge).mean() - expected) < 4 * 0.5 / math.sqrt(n)


def test_sample_returns_the_log_probability_of_its_action():
    a, logp = TanhGaussian(OUT).sample(NOISE)
    np.testing.assert_allclose(TanhGaussian(OUT).log_prob(a), logp, rtol=1e-9)
    u = OUT[:, :2] + np.exp(OUT[:, 2:]) * NOISE
    np.testing.assert_allclose(a, np.tanh(u), rtol=1e-14)
    np.testing.assert_allclose(TanhGaussian(OUT).log_prob_u(u), logp, rtol=1e-12)


def test_the_expectation_over_discrete_actions_is_exact():
    a, logp, E = Categorical(OUT).expectation()
    assert a is None
    p, x = np.exp(OUT) / np.exp(OUT).sum(axis=1, keepdims=True), np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(np.exp(logp), p, rtol=1e-14)
    np.testing.assert_allclose(E(x), (p * x).sum(axis=1), rtol=1e-14)
    gradcheck(lambda out: Categorical(out).expectation()[2](x), OUT, tolerance=1e-6)


def test_the_expectation_over_a_box_is_one_sample():
    a, logp, E = TanhGaussian(OUT).expectation(NOISE)
    for mine, theirs in zip((a, logp), TanhGaussian(OUT).sample(NOISE)):
        np.testing.assert_array_equal(mine, theirs)
    assert E(logp) is logp


@every_head
def test_a_draw_is_the_sample_of_its_noise(head):
    pi = head(OUT.astype(FLOAT))
    sample = pi.sample(pi.noise(np.random.default_rng(0)))
    sample = sample[0] if head is TanhGaussian else sample
    np.testing.assert_array_equal(pi.draw(np.random.default_rng(0)), sample)


# --- entropy -------------------------------------------------------------------------------------


def test_categorical_entropy_by_hand_and_by_definition():
    np.testing.assert_allclose(Categorical(logits(0.25, 0.75)).entropy(), 0.562335, atol=5e-7)
    np.testing.assert_allclose(Categorical(np.zeros(8)).entropy(), math.log(8), rtol=1e-14)
    p = np.exp(OUT) / np.exp(OUT).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Categorical(OUT).entropy(), -(p * np.log(p)).sum(axis=1))


def test_gaussian_entropy_by_formula_and_from_samples():
    np.testing.assert_allclose(
        Gaussian(OUT).entropy(),
        (0.5 * np.log(2 * math.pi * math.e) + OUT[:, 2:]).sum(axis=1),
        rtol=1e-13,
    )
    pi, noise = Gaussian(OUT[:, None]), np.random.default_rng(0).standard_normal((3, 20_000, 2))
    surprise = -pi.log_prob(pi.sample(noise))
    np.testing.assert_allclose(
        surprise.mean(axis=1), pi.entropy()[:, 0], atol=4 / math.sqrt(20_000)
    )


def entropy_by_integration(mean, log_std):
    """The entropy, and its derivatives, from a grid fine enough for the widest distribution."""
    z = np.linspace(-12, 12, 100_001)
    normal = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    u = mean + math.exp(log_std) * z
    # log d tanh(u)/du and its derivative
    slope, turn = -2 * (np.abs(u) + np.log1p(np.exp(-2 * np.abs(u))) - math.log(2)), -2 * np.tanh(u)
    value = 0.5 * math.log(2 * math.pi * math.e) + log_std + (normal * slope).sum()
    scale = math.exp(log_std) * z
    return value, [(normal * turn).sum(), 1 + (normal * turn * scale).sum()]


@pytest.mark.parametrize("dtype, precision", [(np.float64, 1e-6), (np.float32, 1e-4)])
@pytest.mark.parametrize("log_std", [-20, -8, -2, -1, 0, 0.5, 1, 1.3, 1.6, 1.8, 2])
def test_tanh_gaussian_entropy_by_integration(log_std, dtype, precision):
    for mean in (0.0, 0.1, -0.7, 1.5, 3.0, -6.0, 10.0, 40.0):
        expected, slopes = entropy_by_integration(mean, log_std)
        value, g = value_and_grad(lambda out: TanhGaussian(out).entropy())(
            np.array([mean, log_std], dtype)
        )
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=precision)
        np.testing.assert_allclose(g, slopes, rtol=1e-5, atol=precision)


def test_tanh_gaussian_entropy_from_samples():
    noise = np.random.default_rng(0).standard_normal((20_000, 3, 2))
    _, logp = TanhGaussian(np.broadcast_to(OUT, (20_000, 3, 4))).sample(noise)
    error = 4 * logp.std(axis=0) / math.sqrt(20_000)
    assert (np.abs(TanhGaussian(OUT).entropy() + logp.mean(axis=0)) < error).all()


# --- KL divergence -------------------------------------------------------------------------------


def test_kl_by_hand():
    even, skewed = Categorical(logits(0.5, 0.5)), Categorical(logits(0.8, 0.2))
    np.testing.assert_allclose(even.kl(skewed), 0.223144, atol=5e-7)
    np.testing.assert_allclose(skewed.kl(even), 0.192745, atol=5e-7)
    for head in (Gaussian, TanhGaussian):
        narrow, wide = head(np.array([0.0, 0.0])), head(np.array([1.0, math.log(2)]))
        np.testing.assert_allclose(narrow.kl(wide), 0.443147, atol=5e-7)
        np.testing.assert_allclose(wide.kl(narrow), 1.306853, atol=5e-7)


@every_head
def test_kl_of_equal_distributions_and_its_gradient_are_zero(head):
    kl, gradient = value_and_grad(lambda out: head(out).kl(head(OUT)).sum())(OUT)
    np.testing.assert_allclose(kl, 0, atol=1e-15)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


@continuous
def test_kl_is_the_mean_log_ratio_of_samples(head):
    n = 20_000
    noise = np.random.default_rng(0).standard_normal((n, 3, 2))
    p, q = head(np.broadcast_to(OUT, (n, 3, 4))), head(np.broadcast_to(OTHER, (n, 3, 4)))
    u = Gaussian(OUT).sample(noise)
    ratio = (
        p.log_prob_u(u) - q.log_prob_u(u) if head is TanhGaussian else p.log_prob(u) - q.log_prob(u)
    )
    error = 4 * ratio.std(axis=0) / math.sqrt(n)
    assert (np.abs(head(OUT).kl(head(OTHER)) - ratio.mean(axis=0)) < error).all()


def test_categorical_kl_by_definition():
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (OUT, OTHER))
    expected = (p * np.log(p / q)).sum(axis=1)
    np.testing.assert_allclose(Categorical(OUT).kl(Categorical(OTHER)), expected, rtol=1e-13)


# --- the tanh-Gaussian by hand -------------------------------------------------------------------


@pytest.mark.parametrize(
    "u, mean, log_std, expected",
    [
        (0, 0, 0, -0.918939),
        (1, 0, 0, -0.551377),
        (-2, 0.5, -1, -20.359733),
        (10, 0, 0, -32.305233),
    ],
)
def test_log_probabilities_by_hand(u, mean, log_std, expected):
    pi = TanhGaussian(np.array([mean, log_std], np.float64))
    np.testing.assert_allclose(pi.log_prob_u(np.array([u], np.float64)), expected, atol=1e-6)
    _, logp = pi.sample(np.array([(u - mean) / math.exp(log_std)]))
    np.testing.assert_allclose(logp, expected, atol=1e-6)


def test_reparameterized_gradients_by_hand():
    out, noise = np.zeros(2), np.ones(1)
    _, pullback = vjp(lambda out: TanhGaussian(out).sample(noise)[1], out)
    np.testing.assert_allclose(pullback(np.ones(())), [1.523188, 0.523188], atol=1e-6)

    def actor_loss(out):
        a, logp = TanhGaussian(out).sample(noise)
        q = -2 * (a[0] - 0.3) ** 2
        return 0.2 * logp - q

    loss, gradient = value_and_grad(actor_loss)(out)
    np.testing.assert_allclose(loss, 0.315863, atol=1e-6)
    np.testing.assert_allclose(gradient, [1.080068, 0.880068], atol=1e-6)
