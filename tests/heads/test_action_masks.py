"""Distributions and heads under masks, against enumerations of the actions that are allowed."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npr.autodiff import gradcheck, value_and_grad
from npr.envs.spaces import actions_from_spec
from npr.heads import ArgmaxHead, DuelingHead, TableHead, policy_head, uniform_choice
from npr.heads.masks import masked, masked_bits

SPECS = {
    "discrete": {"kind": "discrete", "n": 4, "start": 0},
    "multidiscrete": {"kind": "multidiscrete", "nvec": [3, 2], "start": [0, 0]},
    "multibinary": {"kind": "multibinary", "shape": [3]},
}
KINDS = {kind: actions_from_spec(spec) for kind, spec in SPECS.items()}
CHOICES = {"discrete": [4], "multidiscrete": [3, 2], "multibinary": [2, 2, 2]}
B = 3


@st.composite
def cases(draw):
    """(kind, logits, other logits, masks); every choice has an option."""
    kind = draw(st.sampled_from(list(KINDS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 20.0]))
    y, other = scale * rng.standard_normal((2, B, KINDS[kind].size))
    masks = []
    for n in CHOICES[kind]:
        part = rng.random((B, n)) < 0.5
        part[np.arange(B), rng.integers(n, size=B)] = True
        masks.append(part)
    return kind, y, other, np.concatenate(masks, axis=-1).astype(float)


def table(kind, y, mask):
    """The probability of every joint action that is allowed: action -> p."""
    if kind == "multibinary":  # the weights of 0 and 1
        y = np.stack([np.zeros(len(y)), y], axis=-1).ravel()
    ends = np.cumsum([0, *CHOICES[kind]])
    each = []
    for i, j in itertools.pairwise(ends):
        top = max(x for x, on in zip(y[i:j], mask[i:j]) if on)
        w = [math.exp(x - top) if on else 0.0 for x, on in zip(y[i:j], mask[i:j])]
        each.append([x / sum(w) for x in w])
    options = itertools.product(*(range(n) for n in CHOICES[kind]))
    joint = {a: math.prod(p[k] for p, k in zip(each, a)) for a in options}
    on = {a: all(mask[i + k] for i, k in zip(ends, a)) for a in joint}
    return {a: p for a, p in joint.items() if on[a]}


def as_action(kind, a):
    return np.array(a[0] if kind == "discrete" else a, np.int64)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_log_probabilities_entropies_and_divergences(case):
    kind, y, other, masks = case
    head = policy_head(KINDS[kind])
    pi, old = head(y, masks), head(other, masks)
    entropy, kl = pi.entropy(), pi.kl(old)
    for i in range(B):
        p, q = table(kind, y[i], masks[i]), table(kind, other[i], masks[i])
        for a in p:
            one = head(y[i : i + 1], masks[i : i + 1]).log_prob(as_action(kind, a)[None])
            assert one[0] == pytest.approx(math.log(p[a]) if p[a] else -800, abs=1e-9) or p[a] == 0
        exact = -sum(x * math.log(x) for x in p.values() if x)
        assert entropy[i] == pytest.approx(exact, abs=1e-9)
        exact = sum(x * math.log(x / q[a]) for a, x in p.items() if x > 1e-300 and q[a] > 1e-300)
        assert kl[i] == pytest.approx(exact, rel=1e-7, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_gradients(case):
    kind, y, other, masks = case
    y, other = np.clip(y, -3, 3), np.clip(other, -3, 3)
    head = policy_head(KINDS[kind])
    rng = np.random.default_rng(0)
    a = KINDS[kind].uniform(rng, B, masks)

    def loss(y):
        pi = head(y, masks)
        return (pi.log_prob(a) + 2 * pi.entropy() + head(other, masks).kl(pi)).sum()

    gradcheck(loss, y)
    _, g = value_and_grad(loss)(y)
    if kind == "multibinary":
        free = (masks[:, 0::2] > 0) & (masks[:, 1::2] > 0)
    else:
        free = masks > 0
    assert (g[~free] == 0).all()


@settings(max_examples=25, deadline=None)
@given(cases())
def test_nothing_forbidden_is_chosen(case):
    kind, y, _, masks = case
    y, masks = np.tile(y, (200, 1)), np.tile(masks, (200, 1))
    actions, rng = KINDS[kind], np.random.default_rng(0)
    head = policy_head(actions)
    pi = head(y, masks)
    chosen = [pi.sample(pi.noise(rng)), pi.mode()]
    chosen += [head.choose(y, rng, masks), head.choose(y, None, masks)]
    for a in chosen:
        assert np.isfinite(pi.log_prob(a)).all()
    np.testing.assert_array_equal(chosen[1], chosen[3])


@pytest.mark.parametrize("head", [ArgmaxHead, TableHead, DuelingHead])
def test_heads_of_values(head):
    actions, rng, n = KINDS["discrete"], np.random.default_rng(0), 20_000
    y = np.tile([[3.0, 9.0, 1.0, 2.0]], (n, 1))
    if head is DuelingHead:
        y = np.concatenate([np.full((n, 1), 100.0), y], axis=-1)
    masks = np.tile([[1.0, 0.0, 1.0, 1.0]], (n, 1))
    assert (head(actions).choose(y, None, masks) == 0).all()
    a = head(actions, epsilon=0.6).choose(y, rng, masks)
    share = np.bincount(a, minlength=4) / n
    np.testing.assert_allclose(share, [0.6, 0, 0.2, 0.2], atol=4 * 0.5 / math.sqrt(n))


def test_uniform_choices_reach_the_first_and_the_last_that_are_allowed():
    mask = np.array([[0, 1, 0, 1, 0]] * 2, np.float32)
    u = np.array([0.0, 1 - 2.0**-53])
    assert uniform_choice(u, 5, mask).tolist() == [1, 3]
    assert uniform_choice(u, 5, None).tolist() == [0, 4]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_keep_the_type(dtype):
    y, mask = np.ones((2, 4), dtype), np.ones((2, 8), np.float32)
    assert masked(y, mask[:, :4]).dtype == masked_bits(y, mask).dtype == dtype
    assert masked(y, None) is masked_bits(y, None) is y
