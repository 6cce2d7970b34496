"""Distributions with impossible choices, and rows with outputs that are not finite."""

import functools
import math

import numpy as np
import pytest

from npr.autodiff import grad, value_and_grad, where
from npr.envs.spaces import actions_from_spec
from npr.errors import ConfigError
from npr.heads import (
    ArgmaxHead,
    Bernoulli,
    Categorical,
    CategoricalHead,
    Gaussian,
    MultiCategorical,
    MultiCategoricalHead,
    TanhGaussian,
)

INF, NAN = np.inf, np.nan
Pair = functools.partial(MultiCategorical, nvec=[2, 2])

# ---- impossible choices: logits of -inf, also +inf for bits

MASKED = np.array([[0.0, -INF, 1.0], [-INF, -INF, 0.3], [0.2, 0.1, -INF]])
OTHER = np.array([[0.0, -INF, 0.5], [-INF, -INF, 2.0], [-0.4, 0.7, -INF]])


def probabilities(logits):
    weights = [[math.exp(x) for x in row] for row in logits]
    return [[w / sum(row) for w in row] for row in weights]


def by_definition(f):
    """The sum of f(p, q) over the possible choices, for every row of MASKED and OTHER."""
    rows = zip(probabilities(MASKED), probabilities(OTHER))
    return [sum(f(p, q) for p, q in zip(*pair) if p) for pair in rows]


def test_masked_choices_do_not_count_in_entropy_and_kl():
    pi, other = Categorical(MASKED), Categorical(OTHER)
    entropy = by_definition(lambda p, q: -p * math.log(p))
    kl = by_definition(lambda p, q: p * math.log(p / q))
    np.testing.assert_allclose(pi.entropy(), entropy, atol=1e-15)
    np.testing.assert_allclose(pi.kl(other), kl, atol=1e-15)
    assert pi.kl(other)[0] == pytest.approx(0.0263446, abs=5e-8)
    assert MultiCategorical(MASKED, [2, 1]).kl(MultiCategorical(OTHER, [2, 1])).shape == (3,)


def test_a_choice_that_only_the_other_rules_out_has_an_infinite_divergence():
    with np.errstate(divide="ignore"):
        assert Categorical(np.zeros(2)).kl(Categorical(np.array([0.0, -INF]))) == INF
        assert Categorical(np.array([0.0, -INF])).kl(Categorical(np.zeros(2))) == math.log(2)


def without_masked(f, head, logits, *, width=3):
    """The gradient of f(head(x)) in the finite logits of each row, the others left out."""
    g = np.zeros_like(logits)
    for i, row in enumerate(logits):
        known = np.isfinite(row)
        g[i, known] = grad(lambda x, known=known, i=i: f(head(x[None]), known, i).sum())(row[known])
    return g


def test_gradients_with_masked_choices_are_those_without_them():
    x = np.arange(9.0).reshape(3, 3)
    last = np.array([2, 2, 1])
    cases = {
        "entropy": (lambda pi: pi.entropy(), lambda pi, known, i: pi.entropy()),
        "kl": (
            lambda pi: pi.kl(Categorical(OTHER)),
            lambda pi, known, i: pi.kl(Categorical(OTHER[i : i + 1, known])),
        ),
        "kl of the other": (
            lambda pi: Categorical(OTHER).kl(pi),
            lambda pi, known, i: Categorical(OTHER[i : i + 1, known]).kl(pi),
        ),
        "log_prob": (
            lambda pi: pi.log_prob(last),
            lambda pi, known, i: pi.log_prob(np.array([known.sum() - 1])),
        ),
        "expectation": (
            lambda pi: pi.expectation()[2](x - 0.3 * pi.expectation()[1]),
            lambda pi, known, i: pi.expectation()[2](
                x[i : i + 1, known] - 0.3 * pi.expectation()[1]
            ),
        ),
    }
    for name, (whole, part) in cases.items():
        value, g = value_and_grad(lambda x, f=whole: f(Categorical(x)).sum())(MASKED)
        assert np.isfinite(value), name
        np.testing.assert_allclose(
            g, without_masked(part, Categorical, MASKED), atol=1e-15, err_msg=name
        )


def test_the_expectation_of_the_soft_value_leaves_masked_choices_out():
    _, logp, E = Categorical(MASKED).expectation()
    np.testing.assert_allclose(-E(logp), Categorical(MASKED).entropy(), atol=1e-15)


def test_several_masked_choices_are_independent():
    logits, other = np.array([[0.0, -INF, 0.4, 1.0]]), np.array([[3.0, -INF, 0.4, 0.5]])
    alone = Categorical(logits[:, 2:])
    np.testing.assert_allclose(Pair(logits).entropy(), alone.entropy())
    np.testing.assert_allclose(Pair(logits).kl(Pair(other)), alone.kl(Categorical(other[:, 2:])))
    g = grad(lambda x: Pair(x).entropy().sum() + Pair(x).kl(Pair(other)).sum())(logits)
    assert np.isfinite(g).all() and (g[0, :2] == 0).all()


def test_certain_bits_have_no_entropy_and_no_divergence():
    logits, other = np.array([[0.3, -INF, INF, -1e4]]), np.array([[-0.2, -INF, INF, -1e4]])
    one, two = Bernoulli(logits[:, :1]), Bernoulli(other[:, :1])
    np.testing.assert_allclose(Bernoulli(logits).entropy(), one.entropy())
    np.testing.assert_allclose(Bernoulli(logits).kl(Bernoulli(other)), one.kl(two))
    for f in (
        lambda x: Bernoulli(x).entropy().sum(),
        lambda x: Bernoulli(x).kl(Bernoulli(other)).sum(),
        lambda x: Bernoulli(other).kl(Bernoulli(x)).sum(),
    ):
        g = grad(f)(logits)
        assert np.isfinite(g).all() and g[0, 0] != 0 and (g[0, 1:] == 0).all()


def test_masked_choices_are_never_taken():
    discrete = actions_from_spec({"kind": "discrete", "n": 3, "start": 0})
    several = actions_from_spec({"kind": "multidiscrete", "nvec": [2, 1], "start": [0, 0]})
    y, rng = np.repeat(MASKED, 2_000, axis=0), np.random.default_rng(0)
    possible = np.isfinite(y)
    for temperature in (1.0, 0.1):
        head = CategoricalHead(discrete, temperature=temperature)
        for a in (head.choose(y, rng), head.choose(y, None), head(y).draw(rng), head(y).mode()):
            assert possible[np.arange(len(y)), a].all()
    assert possible[np.arange(len(y)), ArgmaxHead(discrete).choose(y, rng)].all()
    a = MultiCategoricalHead(several).choose(y[:2_000], rng)
    assert (a == 0).all()


def test_kl_refuses_distributions_of_different_shapes():
    with pytest.raises(ConfigError, match=r"of one shape, got logits \(3, 3\) and \(3, 2\)"):
        Categorical(MASKED).kl(Categorical(OTHER[:, :2]))


# ---- rows that `where` drops

OUT = np.array([[0.3, -1.2, 0.4, -0.7], [1.5, 0.2, -1.0, 0.1], [-0.4, 0.9, -0.2, -1.6]])
KEPT = np.array([True, False, True])
BITS, CHOICES = np.array([[1, 0, 0, 1]] * 3), np.array([2, 0, 3])
NOISE = np.array([[0.4, -1.3], [1.1, 0.3], [-0.8, 2.0]])
ACTIONS = np.tanh(NOISE)
FUNCTIONS = {
    "Categorical.log_prob": lambda x, i: Categorical(x).log_prob(CHOICES[i]),
    "Categorical.entropy": lambda x, i: Categorical(x).entropy(),
    "Categorical.logp": lambda x, i: Categorical(x).logp[:, 1],
    "Categorical.kl": lambda x, i: Categorical(x).kl(Categorical(OUT[i] + BITS[i])),
    "Categorical.kl, other": lambda x, i: Categorical(OUT[i] + BITS[i]).kl(Categorical(x)),
    "Categorical.expectation": lambda x, i: Categorical(x).expectation()[2](OUT[i]),
    "MultiCategorical": lambda x, i: Pair(x).entropy() + Pair(x).log_prob(BITS[i][:, :2]),
    "Bernoulli.log_prob": lambda x, i: Bernoulli(x).log_prob(BITS[i]),
    "Bernoulli.entropy": lambda x, i: Bernoulli(x).entropy(),
    "Bernoulli.kl": lambda x, i: Bernoulli(x).kl(Bernoulli(OUT[i] + BITS[i])),
    "Gaussian.log_prob": lambda x, i: Gaussian(x).log_prob(ACTIONS[i]),
    "Gaussian.kl": lambda x, i: Gaussian(x).kl(Gaussian(OUT[i] + BITS[i])),
    "Gaussian.sample": lambda x, i: Gaussian(x).sample(NOISE[i])[:, 0],
    "TanhGaussian.log_prob": lambda x, i: TanhGaussian(x).log_prob(ACTIONS[i]),
    "TanhGaussian.entropy": lambda x, i: TanhGaussian(x).entropy(),
    "TanhGaussian.sample": lambda x, i: TanhGaussian(x).sample(NOISE[i])[0][:, 0],
    "TanhGaussian.sample, logp": lambda x, i: TanhGaussian(x).sample(NOISE[i])[1],
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("column", [0, 3, slice(None)], ids=str)
def test_rows_that_where_drops_have_no_influence(name, value, column):
    f, everything = FUNCTIONS[name], slice(None)
    out = OUT.copy()
    out[1, column] = value
    with np.errstate(all="ignore"):
        g = grad(lambda x: where(KEPT, f(x, everything), 0).sum())(out)
    expected = np.zeros_like(out)
    expected[KEPT] = grad(lambda x: f(x, KEPT).sum())(OUT[KEPT])
    np.testing.assert_allclose(g, expected, rtol=1e-12)
