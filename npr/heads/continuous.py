"""Heads of continuous actions: Gaussian, squashed by tanh, deterministic, or a sampling network."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from npr.autodiff import Tensor, clip, concatenate, exp, record, softplus, stop_gradient, sum
from npr.backend import Array, empty_like, to_device, xp
from npr.heads import device
from npr.heads.base import Distribution, Head, StochasticHead, normal
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN, squash, squash_backward

_LOG_2PI = math.log(2 * math.pi)


# ---- Gaussian


class Gaussian(Distribution):
    """Independent normal distributions, from means and log standard deviations (..., 2 D)."""

    random = staticmethod(normal)

    def __init__(self, out: Any):
        self.out, self.D = out, out.shape[-1] // 2
        self.mean, self.log_std = out[..., : self.D], out[..., self.D :]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(..., D)"""
        shape: tuple[int, ...] = self.mean.shape
        return shape

    def sample(self, noise: Array) -> Any:
        return self.mean + exp(self.log_std) * noise

    def mode(self) -> Array:
        return stop_gradient(self.mean)

    def log_prob(self, a: Array) -> Any:
        if device.used(self.mean, a) and type(a) is not Tensor:
            return device.number("Gaussian.log_prob", self.D, self.out, a)
        z = (a - self.mean) * exp(-self.log_std)
        return -sum(0.5 * z * z + self.log_std + 0.5 * _LOG_2PI, axis=-1)

    def entropy(self) -> Any:
        if device.used(self.out):
            return device.number("Gaussian.entropy", self.D, self.out)
        return sum(self.log_std + 0.5 * (_LOG_2PI + 1), axis=-1)

    def kl(self, other: "Gaussian") -> Any:
        if device.used(self.out, other.out):
            return device.divergence("Gaussian.kl", self.D, self.out, other.out)
        ratio = exp(2 * (self.log_std - other.log_std))
        z = (self.mean - other.mean) * exp(-other.log_std)
        return sum(other.log_std - self.log_std + 0.5 * (ratio + z * z - 1), axis=-1)


class GaussianHead(StochasticHead):
    """Outputs are the means of box actions; their log standard deviations are free parameters.

    A policy file may contain a network with both as outputs.
    """

    name, kinds = "gaussian", ("box",)
    distribution = Gaussian

    @property
    def free(self) -> int:
        return self.actions.size

    def __call__(self, outputs: Any, mask: Array | None = None) -> Gaussian:
        return Gaussian(outputs)

    def metrics(self, theta: Array) -> dict[str, Array]:
        return {"std": xp.exp(theta[-self.free :])}

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        D = self.actions.size
        return y[:, :D] if rng is None else _normal(y[:, :D], y[:, D:], rng)

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        D = self.actions.size
        return {"mean": y[:D], "std": np.exp(y[D:])}


def _normal(mean: np.ndarray, log_std: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers of the mean's shape and dtype."""
    drawn: np.ndarray = mean + np.exp(log_std) * rng.standard_normal(mean.shape, mean.dtype)
    return drawn


# ---- Gaussian squashed by tanh

_NODES = np.linspace(-6, 6, 129)  # of the standard normal, for expectations
_WEIGHTS = np.exp(-0.5 * _NODES**2)
_WEIGHTS /= _WEIGHTS.sum()


class TanhGaussian(Distribution):
    """tanh of a Gaussian: actions in (-1, 1). The log standard deviation is clipped to [-20, 2].

    The correction of the density is 2 (log 2 - u - softplus(-2u)) per dimension, which stays
    finite and accurate for any u; log(1 - tanh(u)^2 + 1e-6) has errors of nats in the tails.
    Source: Haarnoja et al. 2018, eq. 21.
    """

    random = staticmethod(normal)

    def __init__(self, out: Any):
        self.out = out

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(..., D)"""
        *batch, width = self.out.shape
        return *batch, width // 2

    def _base(self) -> Gaussian:
        """The distribution before tanh."""
        D = self.out.shape[-1] // 2
        log_std = clip(self.out[..., D:], LOG_STD_MIN, LOG_STD_MAX)
        return Gaussian(concatenate([self.out[..., :D], log_std], axis=-1))

    def sample(self, noise: Array) -> tuple[Any, Any]:
        """Actions (..., D) and their log-probabilities (...), both differentiable in `out`."""
        out, shape = stop_gradient(self.out), noise.shape
        if shape != self.noise_shape:
            raise ValueError(
                f"TanhGaussian.sample needs noise of shape {self.noise_shape}, got {shape}."
            )
        flat, e = out.reshape(-1, out.shape[-1]), noise.reshape(-1, shape[-1])
        a, logp = squash(flat, e)
        if type(self.out) is not Tensor:
            return a.reshape(shape), logp.reshape(shape[:-1])

        def pull_action(g: Array) -> list[Array]:
            nothing = empty_like(logp, 0)
            return [squash_backward(flat, e, a, g.reshape(a.shape), nothing, out.shape)]

        def pull_logp(g: Array) -> list[Array]:
            nothing = empty_like(a, (0, a.shape[1]))
            return [squash_backward(flat, e, a, nothing, g.reshape(-1), out.shape)]

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

    def choose(self, noise: Array) -> Array:
        a, _ = self.sample(noise)
        return a

    def expectation(self, noise: Array) -> tuple[Any, Any, Callable[[Any], Any]]:
        """(a, log pi(a|s), E): an action from the noise, and E, which maps x (...) to its mean over
        actions: with one sample, x itself.

        E of Q(s, a) is used in the loss of an actor: for Categorical it is the exact expectation,
        here an estimate from one sample that is differentiable in `out`.
        """
        a, logp = self.sample(noise)
        return a, logp, _identity

    def mode(self) -> Array:
        """tanh(mean): the usual deterministic action."""
        return xp.tanh(stop_gradient(self.out)[..., : self.out.shape[-1] // 2])

    def log_prob(self, a: Array) -> Any:
        """Log density of actions in (-1, 1), with u = artanh(a)."""
        a = xp.clip(a, -1 + 1e-6, 1 - 1e-6)
        return self.log_prob_u(xp.arctanh(a))

    def log_prob_u(self, u: Array) -> Any:
        """Log density of tanh(u), from u: accurate where tanh(u) rounds to one."""
        return self._base().log_prob(u) - sum(log_slope(u), axis=-1)

    def entropy(self) -> Any:
        """By the trapezoidal rule in each dimension (there is no closed form), within 1e-6 for any
        mean and log standard deviation: its error decreases exponentially with the step, while
        Gauss-Hermite nodes are too far apart for the widest distributions."""
        base = self._base()
        nodes, weights = (to_device(x.astype(self.out.dtype)) for x in (_NODES, _WEIGHTS))
        u = base.mean[..., None] + exp(base.log_std)[..., None] * nodes
        return base.entropy() + sum(sum(log_slope(u) * weights, axis=-1), axis=-1)

    def kl(self, other: "TanhGaussian") -> Any:
        """KL(self || other), which is invariant under tanh."""
        return self._base().kl(other._base())


def log_slope(u: Any) -> Any:
    """log d tanh(u) / du."""
    if device.used(u):
        return device.elementwise("log_slope", u)
    return 2 * (math.log(2) - u - softplus(-2 * u))


def _identity(x: Any) -> Any:
    return x


class TanhGaussianHead(StochasticHead):
    """Outputs are the means, then the log standard deviations, of box actions before tanh."""

    name, kinds = "tanh_gaussian", ("box",)
    distribution = TanhGaussian

    @property
    def outputs(self) -> int:
        return 2 * self.actions.size

    @property
    def noise_size(self) -> int:
        return self.actions.size

    def __call__(self, outputs: Any, mask: Array | None = None) -> TanhGaussian:
        return TanhGaussian(outputs)

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        D = self.actions.size
        u = y[:, :D]
        if rng is not None:
            u = _normal(u, np.clip(y[:, D:], LOG_STD_MIN, LOG_STD_MAX), rng)
        a: np.ndarray = np.tanh(u)
        return a

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        D = self.actions.size
        std = np.exp(np.clip(y[D:], LOG_STD_MIN, LOG_STD_MAX))
        return {"mean_before_tanh": y[:D], "std_before_tanh": std}


# ---- deterministic networks


class TanhHead(Head):
    """Outputs are the box action before tanh."""

    name, kinds = "tanh", ("box",)

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        a: np.ndarray = np.tanh(y)
        return a

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        return {"before_tanh": y}


class SamplerHead(TanhHead):
    """A TanhHead whose network has normal noise of the action's size as further inputs; zeros for
    deterministic actions."""

    name = "sampler"

    @property
    def noise_inputs(self) -> int:
        return self.actions.size
