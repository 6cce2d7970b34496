"""The checks of the lesson on SAC."""

import numpy as np
import pytest
from support.lessons import correct, refused

from npr.heads import TanhGaussian


def target(r, terminated, q1, q2, logp, gamma, alpha):
    return r + gamma * (1 - terminated) * (np.minimum(q1, q2) - alpha * logp)


@pytest.mark.parametrize(
    "answer",
    [
        target,
        lambda r, t, q1, q2, logp, gamma, alpha: [
            x if t[i] else x + gamma * (min(q1[i], q2[i]) - alpha * logp[i])
            for i, x in enumerate(r)
        ],
    ],
)
def test_the_target_of_sac(answer):
    correct("sac-1", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, t, *rest: target(r, 0, *rest), "after termination"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, p, g, 0), "bonus is missing"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, -p, g, alpha), "sign of the"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q1, p, g, alpha), "first critic"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, p, g, 1), "alpha is not used"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, 0, g, 0) - alpha * p, "discounted"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, p, 1, alpha), "gamma is missing"),
        (
            lambda r, t, q1, q2, p, g, alpha: r + g * (1 - t) * (np.maximum(q1, q2) - alpha * p),
            "larger of both",
        ),
        (lambda r, t, *rest: target(r, 1 - t, *rest), "wrong way"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, p, g * g, alpha), "not every row"),
        (lambda r, t, q1, q2, p, g, alpha: target(r, t, q1, q2, p, g, alpha).mean(), "shape"),
        (lambda r: r, "raised TypeError"),
    ],
)
def test_a_wrong_target(answer, hint):
    refused("sac-1", answer, hint)


@pytest.mark.parametrize("answer", [1.64, np.float32(1.64), [1.64], 1.5 + 0.14])
def test_the_target_of_the_value_network(answer):
    correct("sac-2", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(2.14, "larger"), (1.36, "sign"), (1.5, "bonus is missing"), (2.6236, "target of Q"),
     (2.64, "no reward"), (1.6236, "not discounted"), (2.2, "alpha is not"), (0, "subtract"),
     ("1.64", "got str")],
)  # fmt: skip
def test_a_wrong_target_of_the_value_network(answer, hint):
    refused("sac-2", answer, hint)


def gradients(slope, mean, log_std, noise):
    std = np.exp(log_std)
    df = slope(mean + std * noise)
    return np.mean(df), np.mean(df * std * noise)


@pytest.mark.parametrize("answer", [gradients, lambda *args: np.array(gradients(*args))])
def test_the_pathwise_gradients(answer):
    correct("sac-3", answer)


def in_std(slope, mean, log_std, noise):
    first, second = gradients(slope, mean, log_std, noise)
    return first, second / np.exp(log_std)


def without_noise(slope, mean, log_std, noise):
    first, _ = gradients(slope, mean, log_std, noise)
    return first, first * np.exp(log_std)


def each(slope, mean, log_std, noise):
    df = slope(mean + np.exp(log_std) * noise)
    return df, df * np.exp(log_std) * noise


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (in_std, "in the standard deviation"),
        (without_noise, "noise is missing|not"),
        (each, "means over the actions"),
        (lambda *args: gradients(*args)[::-1], "swapped|not"),
        (lambda *args: tuple(-g for g in gradients(*args)), "sign|not"),
        (lambda slope, m, s, e: gradients(slope, m, np.log(abs(s) + 1e-9), e), "not"),
        (lambda *args: gradients(*args)[0], "shape"),
        (lambda slope, m, s, e: slope(None), "raised TypeError"),
    ],
)
def test_wrong_gradients(answer, hint):
    refused("sac-3", answer, hint)


def log_density(u, mean, log_std):
    z = (u - mean) / np.exp(log_std)
    gaussian = -0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi)
    return gaussian - 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))


def gaussian(u, mean, log_std):
    return -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize(
    "answer",
    [
        log_density,
        lambda u, m, s: TanhGaussian(np.array([m, s]) + 0 * u[:, None]).log_prob_u(u[:, None]),
        lambda u, m, s: [log_density(x, m, s) for x in u],
    ],
)
def test_the_log_density(answer):
    correct("sac-4", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (gaussian, "change of variables"),
        (lambda u, m, s: gaussian(u, m, s) - np.log(1 - np.tanh(u) ** 2), "not finite"),
        (lambda u, m, s: gaussian(u, m, s) - np.log(1 - np.tanh(u) ** 2 + 1e-6), "imprecise|you"),
        (lambda u, m, s: gaussian(u, m, s) + np.log(1 - np.tanh(u) ** 2), "sign of the"),
        (lambda u, m, s: log_density(u, m, s) + s, "-log_std|you return"),
        (lambda u, m, s: np.exp(log_density(u, m, s)), "logarithm|you return"),
        (lambda u, m, s: log_density(u, m, np.exp(s)), "you return"),
        (lambda u, m, s: log_density(u, m, s).sum(), "shape"),
    ],
)
def test_a_wrong_log_density(answer, hint):
    refused("sac-4", answer, hint)


def step(log_alpha, logp, H_bar, rate):
    return log_alpha + rate * np.mean(logp + H_bar)


@pytest.mark.parametrize("answer", [step, lambda *args: [step(*args)]])
def test_the_step_of_the_temperature(answer):
    correct("sac-5", answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, p, H, rate: x - rate * np.mean(p + H), "away"),
        (lambda x, p, H, rate: x + rate * np.mean(p - H), "sign of the target"),
        (lambda x, p, H, rate: rate * np.mean(p + H), "the change|not"),
        (lambda x, p, H, rate: x + rate * np.sum(p + H), "take the mean"),
        (lambda x, p, H, rate: x + rate * np.mean(p), "target entropy is missing"),
        (lambda x, p, H, rate: x + np.mean(p + H), "not used"),
        (lambda x, p, H, rate: x + rate * np.exp(x) * np.mean(p + H), "factor alpha"),
        (lambda x, p, H, rate: np.exp(step(x, p, H, rate)), "new alpha"),
        (lambda x, p, H, rate: 2 * x + 1, "is not"),
        (lambda x, p, H, rate: x + rate * (p + H), "number"),
    ],
)
def test_a_wrong_step(answer, hint):
    refused("sac-5", answer, hint)
