"""The checks of the lesson on PPO."""

import math

import numpy as np
import pytest
from support.lessons import correct, refused


def objective(ratio, A, epsilon):
    return np.minimum(ratio * A, np.clip(ratio, 1 - epsilon, 1 + epsilon) * A)


@pytest.mark.parametrize(
    "answer",
    [
        objective,
        lambda r, A, e: np.where(A >= 0, np.minimum(r, 1 + e), np.maximum(r, 1 - e)) * A,
        lambda r, A, e: objective(r, A, e).astype(np.float32).tolist(),
    ],
)
def test_the_clipped_objective(answer):
    correct("ppo-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, A, e: np.clip(r, 1 - e, 1 + e) * A, "clipped product alone"),
        (lambda r, A, e: r * A, "not clipped"),
        (lambda r, A, e: np.maximum(r * A, np.clip(r, 1 - e, 1 + e) * A), "the larger"),
        (lambda r, A, e: np.minimum(r, np.clip(r, 1 - e, 1 + e)) * A, "of the ratios"),
        (lambda r, A, e: -objective(r, A, e), "to minimize"),
        (lambda r, A, e: objective(r, A, e).mean(), "the mean"),
        (lambda r, A, e: objective(r, A, 0.2), "For ratio"),
        (lambda r, A: r * A, "raised TypeError"),
        (lambda r, A, e: objective(r, A, e)[:3], "shape"),
    ],
)
def test_a_wrong_objective(answer, hint):
    refused("ppo-1", answer, hint)


@pytest.mark.parametrize("answer", [0.44, np.float32(0.44), [0.44], 1 - 0.8 * 0.7])
def test_where_the_clip_stops(answer):
    correct("ppo-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.36, "bad one still"), (0.6, "denominators"), (0.56, "second action"), (0.5, "stopped"),
     (1.4667, "its probability"), (0.9, "Both have to hold"), ("0.44", "got str")],
)  # fmt: skip
def test_a_wrong_place_to_stop(answer, hint):
    refused("ppo-2", answer, hint)


def kl(p, q):
    used = p > 0
    return np.sum(p[used] * np.log(p[used] / q[used]))


@pytest.mark.parametrize(
    "answer",
    [
        kl,
        lambda p, q: np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0).sum(),
        lambda p, q: sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0),
        lambda p, q: np.nansum(p * np.log(p / q)),
    ],
)
def test_the_divergence(answer):
    correct("ppo-3", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda p, q: kl(q, p), "KL.new"),
        (lambda p, q: -kl(p, q), "never negative"),
        (lambda p, q: np.sum(p * np.log(p / q)), "NaN"),
        (lambda p, q: kl(p, q) / len(p), "their sum"),
        (lambda p, q: p * np.log(p / q), "one number"),
        (lambda p, q: kl(p, q) / np.log(2), "base 2"),
        (lambda p, q: np.abs(p - q).sum(), "is 0.223144"),
        (lambda p, q: kl(p, q) + (p == q).all(), "equal distributions"),
        (0.22, "a function"),
    ],
)
def test_a_wrong_divergence(answer, hint):
    refused("ppo-3", answer, hint)


def adapt(weight, d, target):
    return 2 * weight if d > 1.5 * target else weight / 2 if d < target / 1.5 else weight


@pytest.mark.parametrize(
    "answer",
    [adapt, lambda weight, d, target: [weight * 2.0 ** ((d > 1.5 * target) - (1.5 * d < target))]],
)
def test_the_rule_for_the_penalty(answer):
    correct("ppo-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda w, d, t: w / 2 if d > 1.5 * t else w * 2 if d < t / 1.5 else w, "other way"),
        (lambda w, d, t: 2 * w if d > t else w / 2, "stays"),
        (lambda w, d, t: w * d / t, "doubled"),
        (lambda w, d, t: 2 * w if d > 1.5 * t else w, "halved"),
        (lambda w, d, t: 2 * w if d > 1.5 * t else w / 2 if d < t * 1.5 else w, "stays"),
        (lambda w, d, t: 4 * w if d > 9 * t else adapt(w, d, t), "once"),
        (lambda w, d, t: None, "NoneType"),
    ],
)
def test_a_wrong_rule(answer, hint):
    refused("ppo-4", answer, hint)
