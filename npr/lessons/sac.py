"""The exercises of the lesson sac."""

import math
from typing import Any

import numpy as np

from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, number, refuse


@checked
def soft_target(answer: Any) -> None:
    r, ended = np.array([1.0, 1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.0, 0.0])
    q1, q2 = np.array([2.0, 2.0, -4.0, 3.0]), np.array([1.5, 3.0, -3.0, 8.0])
    logp, gamma, alpha = np.array([-0.7, 1.2, 0.4, 2.0]), 0.9, 0.25
    low, high = np.array([1.5, 2.0, -4.0, 3.0]), np.array([2.0, 3.0, -3.0, 8.0])
    bonus, on = -alpha * logp, gamma * (1 - ended)
    found = array(call(answer, r, ended, q1, q2, logp, gamma, alpha), (4,), RETURNED)
    known(found, {
        NO_MASK: r + gamma * (low + bonus),
        "The entropy bonus is missing: - alpha log pi(a'|s').": r + on * low,
        "The sign of the entropy bonus is wrong: an unlikely action, with a small log pi, is worth "
        "more.": r + on * (low - bonus),
        "You take the larger of both critics: their errors would add up.": r + on * (high + bonus),
        "The mean of both critics is too optimistic; take the smaller one, row by row.":
            r + on * ((q1 + q2) / 2 + bonus),
        "Only the first critic is used.": r + on * (q1 + bonus),
        "alpha is not used: it multiplies log pi.": r + on * (low - logp),
        "The entropy bonus belongs to the value of s', so it is discounted, and dropped at "
        "termination.": r + on * low + bonus,
        "gamma is missing.": r + (1 - ended) * (low + bonus),
        "The reward is missing.": on * (low + bonus),
        "terminated is used the wrong way round.": r + gamma * ended * (low + bonus),
    })  # fmt: skip
    if not near(found, r + on * (low + bonus)):
        refuse(
            f"For r {r}, terminated {ended}, q1 {q1}, q2 {q2}, logp {logp}, gamma {gamma} and "
            f"alpha {alpha} you return {found}: not every row is right."
        )


@checked
def value_target(answer: Any) -> None:
    v = number(answer)
    known(v, {
        "The larger critic is used; take the smaller one.": 2.14,
        "The sign of the entropy bonus is wrong: it is - alpha log pi, and log pi is negative.":
            1.36,
        "The entropy bonus is missing.": 1.5,
        "That is the target of Q, for this value. The target of V has no reward and no discount.":
            1 + 0.99 * 1.64,
        "The target of V has no reward: it is in the target of Q.": 2.64,
        "The target of V is not discounted: V is the value of s itself.": 0.99 * 1.64,
        "alpha is not used: it multiplies log pi.": 2.2,
        "The mean of both critics is used; take the smaller one.": 1.89,
    }, 1e-4)  # fmt: skip
    if not near(v, 1.64, 1e-4):
        refuse("Take the smaller value of both critics, and subtract alpha log pi.")


@checked
def pathwise(answer: Any) -> None:
    noise = np.array([0.5, -1.0, 2.0, 0.1])
    for mean, log_std in ((0.0, 0.0), (0.4, -0.7)):
        std = math.exp(log_std)

        def f(m: float, scale: float) -> float:
            return math.fsum(math.cos(m + scale * e) for e in noise) / len(noise)

        h, right = 1e-5, [0.0, 0.0]  # by finite differences
        right[0] = (f(mean + h, std) - f(mean - h, std)) / (2 * h)
        right[1] = (f(mean, std * math.exp(h)) - f(mean, std * math.exp(-h))) / (2 * h)
        found = call(answer, lambda a: -np.sin(a), mean, log_std, noise)
        if np.shape(found) == (2, len(noise)):
            refuse("Return the means over the actions, two numbers.")
        found = array(found, (2,), RETURNED)
        if log_std:
            known(found, {
                "The second gradient is that in the standard deviation; in its logarithm it is "
                "std times as large.": [right[0], right[1] / std],
                "log_std is used as the standard deviation; take its exponential.":
                    _with_scale(noise, mean, log_std),
                "Both gradients are swapped: return first the one in the mean.": right[::-1],
                "The sign is wrong: these gradients climb f.": [-right[0], -right[1]],
                "In the second gradient the factor noise is missing: log_std moves each action by "
                "std times its noise.": [right[0], std * right[0]],
            }, 1e-5)  # fmt: skip
        if not near(found, right, 1e-5):
            refuse(
                f"For f = cos, mean {mean:g}, log_std {log_std:g} and the noise {noise} the "
                f"gradients are not {found}."
            )


def _with_scale(noise: Any, mean: float, std: float) -> list[float]:
    slopes = -np.sin(mean + std * noise)
    return [float(slopes.mean()), float((slopes * std * noise).mean())]


@checked
def log_density(answer: Any) -> None:
    def exact(u: float, mean: float, log_std: float) -> float:
        gaussian = _gaussian(u, mean, log_std)
        # 1 - tanh(u)^2 is 4 e^-2|u| / (1 + e^-2|u|)^2
        far = abs(u)
        return gaussian - (math.log(4) - 2 * far - 2 * math.log1p(math.exp(-2 * far)))

    u = np.array([0.0, 1.0, -2.0, 0.3])
    for mean, log_std in ((0.0, 0.0), (0.5, -1.0)):
        found = array(call(answer, u, mean, log_std), u.shape, RETURNED)
        normal = np.array([_gaussian(x, mean, log_std) for x in u])
        right = np.array([exact(x, mean, log_std) for x in u])
        known(found, {
            "That is the density of u; the change of variables to a = tanh u is missing.": normal,
            "The sign of the correction is wrong: where tanh is flat, many u come close together, "
            "and the density grows.": 2 * normal - right,
        })  # fmt: skip
        if log_std:
            known(found, {
                "The term -log_std of the Gaussian is missing.": right + log_std,
                "The term of log 2 pi of the Gaussian is missing.":
                    right + 0.5 * math.log(2 * math.pi),
                "That is the density; return its logarithm.": np.exp(right),
            })  # fmt: skip
        if not near(found, right, 1e-5):
            i = int(np.abs(found - right).argmax())
            refuse(
                f"For u={u[i]:g}, mean={mean:g} and log_std={log_std:g} the log density is "
                f"{right[i]:.6f}, you return {found[i]:.6f}."
            )
    far = np.array([20.0, -400.0, 10.0])
    overflow = "For u=20 or u=-400 the result is not finite: use the exact form with logaddexp."
    found = array(call(answer, far, 0.0, 0.0), far.shape, RETURNED, overflow)
    if not near(found, [exact(x, 0.0, 0.0) for x in far]):
        refuse("For u=10 or larger the result is imprecise: use the exact form with logaddexp.")


def _gaussian(u: float, mean: float, log_std: float) -> float:
    return -(((u - mean) / math.exp(log_std)) ** 2) / 2 - log_std - math.log(2 * math.pi) / 2


@checked
def temperature(answer: Any) -> None:
    logp = np.array([0.5, -1.5, 2.0, 0.2])  # mean 0.3
    for start, H_bar, rate in ((0.5, -1.0, 0.1), (-1.0, -2.0, 0.01)):
        found = number(call(answer, start, logp, H_bar, rate), RETURNED)
        change = rate * (0.3 + H_bar)
        known(found, {
            "alpha moves away from where it should: if the entropy is too large, alpha must fall.":
                start - change,
            "That is the change; return the new log_alpha.": change,
            "The step size is not used.": start + change / rate,
            "The sum over the batch is used; take the mean.": start + rate * (1.2 + 4 * H_bar),
            "The sign of the target entropy is wrong: at the target, log pi is -H_bar on average.":
                start + rate * (0.3 - H_bar),
            "The target entropy is missing.": start + rate * 0.3,
            "That is the new alpha; return its logarithm.": math.exp(start + change),
            "log_alpha multiplies the gradient; it is what is differentiated.":
                start + change * start,
            "There is no factor alpha: the loss is -log alpha times the mean.":
                start + change * math.exp(start),
        })  # fmt: skip
        if not near(found, start + change):
            refuse(
                f"For log_alpha {start:g}, logp {logp}, H_bar {H_bar:g} and rate {rate:g} the new "
                f"log_alpha is not {found:.6g}."
            )


CHECKS = {
    "sac-1": soft_target,
    "sac-2": value_target,
    "sac-3": pathwise,
    "sac-4": log_density,
    "sac-5": temperature,
}
