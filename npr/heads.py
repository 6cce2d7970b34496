"""Distributions over actions, from the output of a network. Shapes: (..., K) or (..., 2 D) in,
(...) out for log-probabilities, entropies and divergences.

Random numbers come from outside (`noise`), so that what is computed from them is a pure function.
All work on plain arrays and on Tensors.
"""

import math

import numpy as np

from npr.autodiff import (
    Tensor,
    clip,
    concatenate,
    exp,
    log_softmax,
    pick,
    record,
    softplus,
    stop_gradient,
    sum,
)
from npr.backend import FLOAT, to_device, xp
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN, squash, squash_backward

LOG_2PI = math.log(2 * math.pi)


class Categorical:
    """One of K choices, from logits (..., K)."""

    def __init__(self, logits):
        self.logp = log_softmax(logits)

    @staticmethod
    def noise(rng: np.random.Generator, shape, size):
        """What `sample` needs for `shape` choices of `size`: one uniform number each."""
        return rng.random(shape, FLOAT)

    def sample(self, noise):
        """Choices (...), by inverting the distribution function at noise in [0, 1)."""
        reached = xp.cumsum(xp.exp(stop_gradient(self.logp)), axis=-1)
        # scaled by the last sum, so that rounding cannot lead past the last choice
        return (reached <= noise[..., None] * reached[..., -1:]).sum(axis=-1)

    def mode(self):
        return stop_gradient(self.logp).argmax(axis=-1)

    def log_prob(self, a):
        return pick(self.logp, a)

    def entropy(self):
        return -sum(exp(self.logp) * self.logp, axis=-1)

    def kl(self, other):
        """KL(self || other)."""
        return sum(exp(self.logp) * (self.logp - other.logp), axis=-1)


class Gaussian:
    """Independent normal distributions, from mean and log standard deviation side by side."""

    def __init__(self, out):
        D = out.shape[-1] // 2
        self.mean, self.log_std = out[..., :D], out[..., D:]

    @staticmethod
    def noise(rng: np.random.Generator, shape, size):
        """What `sample` needs: standard normal numbers (*shape, size)."""
        return rng.standard_normal((*shape, size), FLOAT)

    def sample(self, noise):
        return self.mean + exp(self.log_std) * noise

    def mode(self):
        return stop_gradient(self.mean)

    def log_prob(self, a):
        z = (a - self.mean) * exp(-self.log_std)
        return -sum(0.5 * z * z + self.log_std + 0.5 * LOG_2PI, axis=-1)

    def entropy(self):
        return sum(self.log_std + 0.5 * (LOG_2PI + 1), axis=-1)

    def kl(self, other):
        """KL(self || other)."""
        ratio = exp(2 * (self.log_std - other.log_std))
        z = (self.mean - other.mean) * exp(-other.log_std)
        return sum(other.log_std - self.log_std + 0.5 * (ratio + z * z - 1), axis=-1)


class TanhGaussian:
    """tanh of a Gaussian: actions in (-1, 1). The log standard deviation is held to [-20, 2].

    The correction of the density is 2 (log 2 - u - softplus(-2u)) per dimension, which stays
    finite and exact for any u; log(1 - tanh(u)^2 + 1e-6) is off by nats in the tails.
    Source: Haarnoja et al. 2018, eq. 21.
    """

    noise = staticmethod(Gaussian.noise)

    def __init__(self, out):
        self.out = out

    def _base(self):
        D = self.out.shape[-1] // 2
        log_std = clip(self.out[..., D:], LOG_STD_MIN, LOG_STD_MAX)
        return Gaussian(concatenate([self.out[..., :D], log_std], axis=-1))

    def sample(self, noise):
        """Actions (..., D) and their log-probabilities (...), both differentiable in `out`."""
        out, shape = stop_gradient(self.out), noise.shape
        if shape != (*out.shape[:-1], out.shape[-1] // 2):
            raise ValueError(
                f"TanhGaussian.sample needs noise of shape "
                f"{(*out.shape[:-1], out.shape[-1] // 2)}, got {shape}."
            )
        flat, e = out.reshape(-1, out.shape[-1]), noise.reshape(-1, shape[-1])
        a, logp = squash(flat, e)
        if type(self.out) is not Tensor:
            return a.reshape(shape), logp.reshape(shape[:-1])

        def pull_action(g):
            return [squash_backward(flat, e, a, g.reshape(a.shape), xp.zeros_like(logp), out.shape)]

        def pull_logp(g):
            return [squash_backward(flat, e, a, xp.zeros_like(a), g.reshape(-1), out.shape)]

        return (
            record(a.reshape(shape), [self.out], pull_action),
            record(logp.reshape(shape[:-1]), [self.out], pull_logp),
        )

    def mode(self):
        """tanh(mean): the usual deterministic action."""
        return xp.tanh(stop_gradient(self.out)[..., : self.out.shape[-1] // 2])

    def log_prob(self, a):
        """Of actions in (-1, 1), through u = artanh(a)."""
        a = xp.clip(a, -1 + 1e-6, 1 - 1e-6)
        return self.log_prob_u(xp.arctanh(a))

    def log_prob_u(self, u):
        """Of tanh(u), from u: exact where tanh has long been rounded to one."""
        return self._base().log_prob(u) - sum(_log_slope(u), axis=-1)

    def entropy(self):
        """By Gauss-Hermite quadrature in each dimension (there is no closed form): within 1e-4 for
        standard deviations up to e."""
        base = self._base()
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        weights = to_device((weights / weights.sum()).astype(self.out.dtype))
        nodes = to_device(nodes.astype(self.out.dtype))
        u = base.mean[..., None] + exp(base.log_std)[..., None] * nodes
        return base.entropy() + sum(sum(_log_slope(u) * weights, axis=-1), axis=-1)

    def kl(self, other):
        """KL(self || other), which tanh leaves as it is."""
        return self._base().kl(other._base())


def _log_slope(u):
    """log d tanh(u) / du."""
    return 2 * (math.log(2) - u - softplus(-2 * u))
