"""Distributions over actions, from the output of a network. Shapes: (..., K) or (..., 2 D) in,
(...) out for log-probabilities, entropies and divergences.

Random numbers come from outside (`noise`), so that what is computed from them is a pure function.
All work on plain arrays and on Tensors.
"""

import functools
import math
import operator

import numpy as np

from npr.autodiff import (
    Tensor,
    clip,
    concatenate,
    exp,
    record,
    sigmoid,
    softplus,
    stop_gradient,
    sum,
)
from npr.backend import FLOAT, to_device, xp
from npr.errors import ConfigError
from npr.kernels import categorical
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN, squash, squash_backward

LOG_2PI = math.log(2 * math.pi)


class Categorical:
    """One of K choices, from logits (..., K)."""

    def __init__(self, logits):
        self.logits, self.batch = logits, logits.shape[:-1]
        if logits.dtype.kind != "f" or not logits.shape[-1]:
            raise ConfigError(
                f"Categorical needs floating-point logits of at least one choice, got "
                f"{logits.dtype}{logits.shape}."
            )
        plain = xp.ascontiguousarray(stop_gradient(logits)).reshape(-1, logits.shape[-1])
        self._logp = categorical.log_softmax(plain)  # (B, K), as everything of these kernels

    def _node(self, name, y, pull):
        """A value of the logits, given how its cotangent (B, ...) is pulled back to them."""
        shape, rows = self.logits.shape, y.shape
        y = y.reshape((*self.batch, *rows[1:]))
        if type(self.logits) is not Tensor:
            return y
        return record(
            y, [self.logits],
            lambda g: [pull(xp.ascontiguousarray(g).reshape(rows)).reshape(shape)],
            name, (self.logits,),
        )  # fmt: skip

    def _flat(self, what, x):
        """One number for each choice, as (B,)."""
        if getattr(x, "shape", None) != self.batch:
            got = getattr(x, "shape", type(x).__name__)
            raise ConfigError(
                f"Categorical needs {what} of shape {self.batch}, one for each row of logits "
                f"{self.logits.shape}; got {got}."
            )
        return xp.ascontiguousarray(x).reshape(-1)

    @property
    def logp(self):
        """The log-probabilities of all choices, (..., K)."""
        logp = self._logp
        return self._node(
            "Categorical.logp", logp, lambda g: categorical.log_softmax_backward(logp, g)
        )

    def noise(self, rng: np.random.Generator):
        """What `sample` needs, on the host: one uniform number (...) for each choice."""
        return rng.random(self.batch, FLOAT)

    def sample(self, noise):
        """Choices (...), by inverting the distribution function at noise in [0, 1)."""
        return categorical.draw(self._logp, self._flat("noise", noise)).reshape(self.batch)

    def mode(self):
        return self._logp.argmax(axis=-1).reshape(self.batch)

    def log_prob(self, a):
        logp, a = self._logp, self._flat("actions", a)
        chosen = categorical.log_prob(logp, a)
        return self._node(
            "Categorical.log_prob", chosen, lambda g: categorical.log_prob_backward(logp, a, g)
        )

    def entropy(self):
        logp = self._logp
        H = categorical.entropy(logp)
        return self._node(
            "Categorical.entropy", H, lambda g: categorical.entropy_backward(logp, H, g)
        )

    def kl(self, other):
        """KL(self || other)."""
        logp = self.logp
        return sum(exp(logp) * (logp - other.logp), axis=-1)


class MultiCategorical:
    """Independent choices, one of nvec[i] each, from their logits side by side (..., sum(nvec)).

    Actions are (..., len(nvec)).
    """

    def __init__(self, logits, nvec):
        ends = np.cumsum(nvec).tolist()
        self.parts = [Categorical(logits[..., i:j]) for i, j in zip([0, *ends], ends)]

    def noise(self, rng: np.random.Generator):
        """What `sample` needs, on the host: one uniform number (..., len(nvec)) per choice."""
        return rng.random((*self.parts[0].batch, len(self.parts)), FLOAT)

    def sample(self, noise):
        return xp.stack([p.sample(noise[..., i]) for i, p in enumerate(self.parts)], axis=-1)

    def mode(self):
        return xp.stack([part.mode() for part in self.parts], axis=-1)

    def log_prob(self, a):
        return _total(part.log_prob(a[..., i]) for i, part in enumerate(self.parts))

    def entropy(self):
        return _total(part.entropy() for part in self.parts)

    def kl(self, other):
        """KL(self || other)."""
        return _total(p.kl(q) for p, q in zip(self.parts, other.parts))


def _total(parts):
    return functools.reduce(operator.add, parts)


class Bernoulli:
    """Independent switches, on (1) or off (0), from the log odds (..., D) of on."""

    def __init__(self, logits):
        self.logits = logits

    def noise(self, rng: np.random.Generator):
        """What `sample` needs, on the host: one uniform number (..., D) per switch."""
        return rng.random(self.logits.shape, FLOAT)

    def sample(self, noise):
        # sigmoid through tanh, which cannot overflow
        return (noise < 0.5 + 0.5 * xp.tanh(0.5 * stop_gradient(self.logits))).astype(np.int64)

    def mode(self):
        return (stop_gradient(self.logits) > 0).astype(np.int64)

    def log_prob(self, a):
        sign = (1 - 2 * a).astype(stop_gradient(self.logits).dtype)
        return -sum(softplus(sign * self.logits), axis=-1)

    def entropy(self):
        return sum(softplus(self.logits) - sigmoid(self.logits) * self.logits, axis=-1)

    def kl(self, other):
        """KL(self || other)."""
        p = sigmoid(self.logits)
        off = softplus(other.logits) - softplus(self.logits)  # log of the ratio of being off
        return sum(off + p * (self.logits - other.logits), axis=-1)


class Gaussian:
    """Independent normal distributions, from mean and log standard deviation side by side."""

    def __init__(self, out):
        D = out.shape[-1] // 2
        self.mean, self.log_std = out[..., :D], out[..., D:]

    def noise(self, rng: np.random.Generator):
        """What `sample` needs, on the host: standard normal numbers (..., D)."""
        return rng.standard_normal(self.mean.shape, FLOAT)

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

    def __init__(self, out):
        self.out = out

    def noise(self, rng: np.random.Generator):
        """What `sample` needs, on the host: standard normal numbers (..., D)."""
        *batch, width = self.out.shape
        return rng.standard_normal((*batch, width // 2), FLOAT)

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

        def pull(da, dlogp):
            return [squash_backward(flat, e, a, da, dlogp, out.shape)]

        def pull_action(g):
            return pull(g.reshape(a.shape), xp.zeros(logp.shape, logp.dtype))

        def pull_logp(g):
            return pull(xp.zeros(a.shape, a.dtype), g.reshape(-1))

        return (
            record(
                a.reshape(shape), [self.out], pull_action,
                "TanhGaussian.sample, its actions", (self.out, noise),
            ),
            record(
                logp.reshape(shape[:-1]), [self.out], pull_logp,
                "TanhGaussian.sample, their log-probabilities", (self.out, noise),
            ),
        )  # fmt: skip

    def mode(self):
        """tanh(mean): the usual deterministic action."""
        return xp.tanh(stop_gradient(self.out)[..., : self.out.shape[-1] // 2])

    def log_prob(self, a):
        """Of actions in (-1, 1), through u = artanh(a)."""
        a = xp.clip(a, -1 + 1e-6, 1 - 1e-6)
        return self.log_prob_u(xp.arctanh(a))

    def log_prob_u(self, u):
        """Of tanh(u), from u: exact where tanh has long been rounded to one."""
        return self._base().log_prob(u) - sum(log_slope(u), axis=-1)

    def entropy(self):
        """By Gauss-Hermite quadrature in each dimension (there is no closed form): within 1e-4 for
        standard deviations up to e."""
        base = self._base()
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        weights = to_device((weights / weights.sum()).astype(self.out.dtype))
        nodes = to_device(nodes.astype(self.out.dtype))
        u = base.mean[..., None] + exp(base.log_std)[..., None] * nodes
        return base.entropy() + sum(sum(log_slope(u) * weights, axis=-1), axis=-1)

    def kl(self, other):
        """KL(self || other), which tanh leaves as it is."""
        return self._base().kl(other._base())


def log_slope(u):
    """log d tanh(u) / du."""
    return 2 * (math.log(2) - u - softplus(-2 * u))


def policy_head(actions):
    """What a stochastic policy for these npr.envs.spaces.Actions is made of: its name in a policy's
    spec, the outputs of its network, how many more of them are free, its distribution.
    """
    n = actions.size
    return {
        "discrete": ("categorical", n, 0, Categorical),
        "box": ("gaussian", n, n, Gaussian),
        "multidiscrete": (
            "multi_categorical", n, 0, lambda y: MultiCategorical(y, actions.nvec),
        ),
        "multibinary": ("bernoulli", n, 0, Bernoulli),
    }[actions.kind]  # fmt: skip
