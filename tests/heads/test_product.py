"""The distribution of a Dict or Tuple of actions: a product of those of its parts."""

import itertools

import numpy as np
import pytest

from npr.autodiff import grad, gradcheck
from npr.backend import FLOAT
from npr.envs.spaces import actions_from_spec
from npr.heads import Bernoulli, Categorical, Gaussian, MultiCategorical, policy_head

BOX = {"kind": "box", "shape": [2], "dtype": "float32", "low": [-2, 0], "high": [2, 1]}
NUMBER = {"kind": "box", "shape": [], "dtype": "float32", "low": [-1], "high": [1]}
CHOICE = {"kind": "discrete", "n": 3, "start": 1}
CHOICES = {"kind": "multidiscrete", "nvec": [2, 3], "start": [0, 0]}
BITS = {"kind": "multibinary", "shape": [2]}


def group(**parts):
    return {"kind": "group", "keys": list(parts), "parts": list(parts.values())}


INNER = {"kind": "group", "keys": [0, 1, 2], "parts": [CHOICES, NUMBER, BITS]}
ACTIONS = actions_from_spec(group(choice=CHOICE, box=BOX, inner=INNER))
HEAD = policy_head(ACTIONS)
# outputs: 3 logits | 2 means | 2 + 3 logits | 1 mean | 2 log odds || log stds of 2, and of 1
RNG = np.random.default_rng(0)
OUT, OTHER = RNG.normal(size=(2, 4, 16))
ACTION = np.array(
    [
        [0, 0.3, -0.2, 0, 2, 0.1, 0, 1],
        [2, -1.3, 0.4, 1, 0, -0.6, 1, 1],
        [1, 0.7, 0.9, 1, 1, 2.1, 0, 0],
        [2, 0.0, -0.5, 0, 0, -0.1, 1, 0],
    ]
)


def parts_of(out):
    """The distributions of the parts, with the columns of an action that are theirs."""

    def gaussian(mean, log_std):
        return Gaussian(np.concatenate([out[..., mean], out[..., log_std]], axis=-1))

    return [
        (Categorical(out[..., 0:3]), 0, int),
        (gaussian(slice(3, 5), slice(13, 15)), slice(1, 3), float),
        (MultiCategorical(out[..., 5:10], [2, 3]), slice(3, 5), int),
        (gaussian(slice(10, 11), slice(15, 16)), slice(5, 6), float),
        (Bernoulli(out[..., 11:13]), slice(6, 8), int),
    ]


def test_its_sizes_are_those_of_the_parts():
    assert (HEAD.outputs, HEAD.free, ACTIONS.columns()) == (13, 3, ((8,), FLOAT))


def test_log_probabilities_entropies_and_divergences_are_sums_over_the_parts():
    pi, other = HEAD(OUT), HEAD(OTHER)
    mine, theirs = parts_of(OUT), parts_of(OTHER)
    log_prob = sum(p.log_prob(ACTION[:, columns].astype(kind)) for p, columns, kind in mine)
    np.testing.assert_allclose(pi.log_prob(ACTION), log_prob, rtol=1e-13)
    np.testing.assert_allclose(pi.entropy(), sum(p.entropy() for p, *_ in mine), rtol=1e-13)
    kl = sum(p.kl(q) for (p, *_), (q, *_) in zip(mine, theirs))
    np.testing.assert_allclose(pi.kl(other), kl, rtol=1e-13)


def test_the_log_probability_by_its_formula():
    a, y = ACTION[1], OUT[1]
    z = [(a[1] - y[3], y[13]), (a[2] - y[4], y[14]), (a[5] - y[10], y[15])]
    normal = sum(-0.5 * (d * np.exp(-s)) ** 2 - s - 0.5 * np.log(2 * np.pi) for d, s in z)
    softmax = [np.exp(x) / np.exp(x).sum() for x in (y[0:3], y[5:7], y[7:10])]
    bits = 1 / (1 + np.exp(-y[11:13]))
    chosen = softmax[0][2] * softmax[1][1] * softmax[2][0] * bits[0] * bits[1]
    np.testing.assert_allclose(HEAD(OUT).log_prob(ACTION)[1], np.log(chosen) + normal, rtol=1e-12)


def test_gradients():
    gradcheck(lambda out: HEAD(out).log_prob(ACTION), OUT, tolerance=1e-6)
    gradcheck(lambda out: HEAD(out).entropy(), OUT, tolerance=1e-6)
    gradcheck(lambda out: HEAD(out).kl(HEAD(OTHER)), OUT, tolerance=1e-6)
    gradcheck(lambda out: HEAD(OTHER).kl(HEAD(out)), OUT, tolerance=1e-6)


def test_samples_have_the_columns_of_the_parts_each_from_its_own_noise():
    pi = HEAD(OUT)
    noise = pi.noise(np.random.default_rng(1))
    drawn = pi.sample(noise)
    for part, columns, _ in parts_of(OUT):
        np.testing.assert_allclose(drawn[:, columns], part.sample(noise[:, columns]), rtol=1e-13)
        np.testing.assert_array_equal(pi.mode()[:, columns], part.mode())
    gradcheck(lambda out: HEAD(out).sample(noise)[:, 1:3], OUT, tolerance=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (5, 2)])
def test_noise_is_the_same_with_and_without_a_distribution(shape):
    rngs = [np.random.default_rng(0) for _ in range(2)]
    pi = HEAD(np.zeros((*shape, 16), FLOAT))
    noise = HEAD.noise(rngs[0], shape)
    np.testing.assert_array_equal(noise, pi.noise(rngs[1]), strict=True)
    assert noise.shape == pi.noise_shape == (*shape, 8) and noise.dtype == FLOAT
    assert pi.sample(noise).shape == (*shape, 8)


def test_results_have_the_dtype_of_the_outputs():
    pi = HEAD(OUT.astype(np.float32))
    for number in (pi.log_prob(ACTION.astype(FLOAT)), pi.entropy(), pi.kl(pi)):
        assert number.shape == (4,) and number.dtype == np.float32


def test_a_policy_on_the_host_chooses_the_mode_and_draws_from_the_distribution():
    n = 4000
    out = np.tile(OUT[0].astype(np.float32), (n, 1))
    np.testing.assert_array_equal(HEAD.choose(out[:1], None), HEAD(out[:1]).mode())
    drawn = HEAD.choose(out, np.random.default_rng(0))
    assert ACTIONS.contains(drawn) and drawn.dtype == FLOAT
    pi = HEAD(out)
    same = pi.sample(pi.noise(np.random.default_rng(0)))
    for column in range(8):
        assert abs(drawn[:, column].mean() - same[:, column].mean()) < 5 * 2 * 3 / n**0.5


# ---- masks: those of the parts, one after the other; a Box has none

JOINT = policy_head(actions_from_spec(group(a=CHOICE, box=BOX, b=BITS, c=CHOICES)))
COUNTS = (3, 2, 2, 2, 3)
# choice | bits, 0 and 1 of each | choices of two indices
MASK = np.array([1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0], FLOAT)


def every_joint_action():
    """All actions, with a Box of zeros, and whether the mask allows them."""
    a = np.array(list(itertools.product(*map(range, COUNTS))))
    allowed = MASK[[0, 1, 2]][a[:, 0]] * MASK[[3, 4]][a[:, 1]] * MASK[[5, 6]][a[:, 2]]
    allowed *= MASK[[7, 8]][a[:, 3]] * MASK[[9, 10, 11]][a[:, 4]]
    rows = np.concatenate([a[:, :1], np.zeros((len(a), 2)), a[:, 1:]], axis=1)
    return rows, allowed > 0


def masked_outputs(rows):
    out = np.random.default_rng(3).normal(size=14)
    return np.tile(out, (rows, 1)), np.tile(MASK, (rows, 1))


def test_forbidden_parts_have_probability_zero_and_the_others_sum_to_one():
    rows, allowed = every_joint_action()
    out, masks = masked_outputs(len(rows))
    pi = JOINT(out, masks)
    with np.errstate(divide="ignore"):
        p = np.exp(pi.log_prob(rows))
    box = Gaussian(out[:1][:, [3, 4, 12, 13]]).log_prob(np.zeros((1, 2)))
    assert (p[~allowed] == 0).all() and 0 < allowed.sum() < len(rows)
    p = p[allowed] / np.exp(box)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    free = JOINT(out)
    unmasked = np.exp(free.log_prob(rows))[allowed]
    np.testing.assert_allclose(p, unmasked / unmasked.sum(), rtol=1e-12)
    entropy = -(p * np.log(p)).sum() + Gaussian(out[:1][:, [3, 4, 12, 13]]).entropy()
    np.testing.assert_allclose(pi.entropy()[0], entropy, rtol=1e-12)
    np.testing.assert_allclose(pi.kl(JOINT(out, masks)), 0, atol=1e-12)


def test_forbidden_parts_are_never_drawn():
    out, masks = masked_outputs(2000)
    pi = JOINT(out, masks)
    rng = np.random.default_rng(0)
    rows, allowed = every_joint_action()
    possible = {tuple(row) for row in np.delete(rows[allowed], [1, 2], axis=1).tolist()}
    for drawn in (
        pi.sample(pi.noise(rng)), pi.mode(), JOINT.choose(out, rng, masks),
        JOINT.choose(out, None, masks), JOINT.actions.uniform(rng, 2000, masks),
    ):  # fmt: skip
        assert {tuple(row) for row in np.delete(drawn, [1, 2], axis=1).tolist()} <= possible
    assert len(possible) == 2 * 2 * 1 * 2 * 1


def test_the_gradient_of_forbidden_logits_is_zero():
    out, masks = masked_outputs(1)
    rows, allowed = every_joint_action()
    a = rows[allowed][:1]
    for f in (
        lambda out: JOINT(out, masks).log_prob(a).sum(),
        lambda out: JOINT(out, masks).entropy().sum(),
        lambda out: JOINT(out, masks).kl(JOINT(out + 0.1 * out * out, masks)).sum(),
    ):
        g = grad(f)(out)[0]
        # the second choice, the second bit, the last two of the last index
        assert np.isfinite(g).all() and (g[[1, 6, 10, 11]] == 0).all()
        assert np.count_nonzero(g) >= 5
    free = [0, 2, 3, 4, 5, 7, 8, 12, 13]

    def changed(x):
        y = out.copy()
        y[0, free] = x
        return y

    numeric, x, h = [], out[0, free], 1e-6
    for i in range(len(free)):
        d = np.eye(len(free))[i] * h
        ends = [JOINT(changed(x + s * d), masks).log_prob(a)[0] for s in (1, -1)]
        numeric.append((ends[0] - ends[1]) / (2 * h))
    g = grad(lambda out: JOINT(out, masks).log_prob(a).sum())(out)[0, free]
    np.testing.assert_allclose(g, numeric, rtol=1e-6, atol=1e-8)
