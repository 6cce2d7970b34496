"""Heads for discrete actions: one of K choices, several choices, or independent bits."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npr.autodiff import Tensor, exp, record, sigmoid, softplus, stop_gradient, sum, where
from npr.backend import Array, contiguous, xp
from npr.envs.spaces import INDEX_DTYPE, MultiDiscreteActions, spans
from npr.errors import ConfigError
from npr.heads import device
from npr.heads.base import Distribution, StochasticHead, node, total, uniform
from npr.heads.masks import masked, masked_bits
from npr.kernels import categorical

# ---- one of K


class Categorical(Distribution):
    """One of K choices, from logits (..., K)."""

    random = staticmethod(uniform)

    def __init__(self, logits: Any):
        self.logits, self.batch = logits, logits.shape[:-1]
        if logits.dtype.kind != "f" or not logits.shape[-1]:
            raise ConfigError(
                f"Categorical needs floating-point logits of at least one choice, got "
                f"{logits.dtype}{logits.shape}."
            )
        plain = contiguous(stop_gradient(logits)).reshape(-1, logits.shape[-1])
        self._logp = categorical.log_softmax(plain)  # (B, K), the shape for the kernels

    def _flat(self, what: str, x: Array) -> Array:
        """One number per choice, as (B,)."""
        if getattr(x, "shape", None) != self.batch:
            got = getattr(x, "shape", type(x).__name__)
            raise ConfigError(
                f"Categorical needs {what} of shape {self.batch}, one for each row of logits "
                f"{self.logits.shape}; got {got}."
            )
        return contiguous(x).reshape(-1)

    @property
    def logp(self) -> Any:
        """The log-probabilities of all choices, (..., K)."""
        return self._log_probabilities(self._logp)

    def _log_probabilities(self, y: Array) -> Any:
        """Log-probabilities y (B, K) as a function of the logits."""
        logp = self._logp
        return node(
            "Categorical.logp",
            self.logits,
            y,
            lambda g: categorical.log_softmax_backward(logp, g),
        )

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(...): one number per choice."""
        shape: tuple[int, ...] = self.batch
        return shape

    def sample(self, noise: Array) -> Array:
        """Choices (...), by inverting the distribution function at noise in [0, 1)."""
        return categorical.draw(self._logp, self._flat("noise", noise)).reshape(self.batch)

    def mode(self) -> Array:
        return self._logp.argmax(axis=-1).reshape(self.batch)

    def log_prob(self, a: Array) -> Any:
        logp, a = self._logp, self._flat("actions", a)
        chosen = categorical.log_prob(logp, a)
        return node(
            "Categorical.log_prob",
            self.logits,
            chosen,
            lambda g: categorical.log_prob_backward(logp, a, g),
        )

    def entropy(self) -> Any:
        logp = self._logp
        H = categorical.entropy(logp)
        return node(
            "Categorical.entropy",
            self.logits,
            H,
            lambda g: categorical.entropy_backward(logp, H, g),
        )

    def kl(self, other: "Categorical") -> Any:
        shape = self.logits.shape
        if other.logits.shape != shape:
            raise ConfigError(
                f"Categorical.kl needs two distributions of one shape, got logits {shape} and "
                f"{other.logits.shape}."
            )
        logp, logq = self._logp, other._logp
        kl = categorical.kl(logp, logq)
        logits = self.logits, other.logits
        parents = [x for x in logits if type(x) is Tensor]
        if not parents:
            return kl.reshape(self.batch)

        def pull(g: Array) -> list[Array]:
            g = contiguous(g).reshape(-1)
            both = categorical.kl_backward(logp, logq, kl, g)
            return [d.reshape(shape) for d, wanted in zip(both, on_tape) if wanted]

        on_tape = [type(x) is Tensor for x in logits]
        return record(kl.reshape(self.batch), parents, pull, "Categorical.kl", logits)

    def expectation(self, noise: Any = None) -> tuple[None, Any, Callable[[Any], Any]]:
        """(None, log pi(.|s), E): for all K actions, and E, which maps x (..., K) to its mean.

        Needs no noise; see TanhGaussian.expectation. The logarithm of 0 is a large finite number,
        so that 0 times it is 0.
        """
        logp = self._log_probabilities(xp.maximum(self._logp, _LOG_0))
        p = exp(logp)
        return None, logp, lambda x: sum(p * x, axis=-1)


_LOG_0 = -1e9  # exp gives 0 in every type


class CategoricalHead(StochasticHead):
    """Outputs are the logits of discrete actions, times the temperature."""

    name, kinds = "categorical", ("discrete",)
    distribution = Categorical

    def __call__(self, outputs: Any, mask: Array | None = None) -> Categorical:
        outputs = masked(outputs, mask)
        return Categorical(outputs if self.temperature == 1 else outputs / self.temperature)

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return _choose(masked(y, mask) / self.temperature, rng)

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        return {"probabilities": _softmax(masked(y, mask) / self.temperature)}


def _choose(logits: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """The most likely choice in every row (B, K), or a random one."""
    a: np.ndarray
    if rng is None:
        a = logits.argmax(axis=-1)
    else:
        reached = np.cumsum(_weights(logits), axis=-1)
        a = (reached <= rng.random((len(logits), 1)) * reached[:, -1:]).sum(axis=-1)
    return a


def _weights(logits: np.ndarray) -> np.ndarray:
    """Probabilities of choices (..., K), divided by the largest one."""
    weights: np.ndarray = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of choices (K,)."""
    weights = _weights(logits)
    p: np.ndarray = weights / weights.sum()
    return p


# ---- several choices


class MultiCategorical(Distribution):
    """Independent choices, one of nvec[i] each, from concatenated logits (..., sum(nvec)).

    Actions are (..., len(nvec)).
    """

    random = staticmethod(uniform)

    def __init__(self, logits: Any, nvec: Any):
        self.parts = [Categorical(logits[..., i:j]) for i, j in spans(nvec)]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(..., len(nvec)): one number per choice."""
        return *self.parts[0].batch, len(self.parts)

    def sample(self, noise: Array) -> Array:
        return xp.stack([p.sample(noise[..., i]) for i, p in enumerate(self.parts)], axis=-1)

    def mode(self) -> Array:
        return xp.stack([part.mode() for part in self.parts], axis=-1)

    def log_prob(self, a: Array) -> Any:
        return total(part.log_prob(a[..., i]) for i, part in enumerate(self.parts))

    def entropy(self) -> Any:
        return total(part.entropy() for part in self.parts)

    def kl(self, other: "MultiCategorical") -> Any:
        return total(p.kl(q) for p, q in zip(self.parts, other.parts))


class MultiCategoricalHead(StochasticHead):
    """Outputs are the concatenated logits of all indices of a multidiscrete action."""

    name, kinds = "multi_categorical", ("multidiscrete",)
    distribution = MultiCategorical
    actions: MultiDiscreteActions

    def __call__(self, outputs: Any, mask: Array | None = None) -> MultiCategorical:
        return MultiCategorical(masked(outputs, mask), self.actions.nvec)

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        y = masked(y, mask)
        parts = [_choose(y[:, i:j], rng) for i, j in spans(self.actions.nvec)]
        return np.stack(parts, axis=-1)

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        y = masked(y, mask)
        return {"probabilities": [_softmax(y[i:j]) for i, j in spans(self.actions.nvec)]}


# ---- bits


class Bernoulli(Distribution):
    """Independent bits, from the log odds (..., D) of a 1."""

    random = staticmethod(uniform)

    def __init__(self, logits: Any):
        self.logits = logits

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(..., D): one number per bit."""
        shape: tuple[int, ...] = self.logits.shape
        return shape

    def sample(self, noise: Array) -> Array:
        return (noise < _probability(stop_gradient(self.logits))).astype(INDEX_DTYPE)

    def mode(self) -> Array:
        return (stop_gradient(self.logits) > 0).astype(INDEX_DTYPE)

    def log_prob(self, a: Array) -> Any:
        if device.used(self.logits) and a.shape == self.logits.shape and a.dtype == INDEX_DTYPE:
            return device.number("Bernoulli.log_prob", a.shape[-1], self.logits, a)
        sign = (1 - 2 * a).astype(stop_gradient(self.logits).dtype)
        return -sum(softplus(sign * self.logits), axis=-1)

    def _values(self) -> tuple[tuple[Any, Any], ...]:
        """The probability of a 1 and minus its logarithm, then those of a 0."""
        logits = self.logits
        return (sigmoid(logits), softplus(-logits)), (sigmoid(-logits), softplus(logits))

    def entropy(self) -> Any:
        if device.used(self.logits):
            return device.number("Bernoulli.entropy", self.logits.shape[-1], self.logits)
        return sum(total(p * _possible(p, x) for p, x in self._values()), axis=-1)

    def kl(self, other: "Bernoulli") -> Any:
        if device.used(self.logits, other.logits):
            D = self.logits.shape[-1]
            return device.divergence("Bernoulli.kl", D, self.logits, other.logits)
        pairs = zip(self._values(), other._values())
        terms = (p * (_possible(p, y) - _possible(p, x)) for (p, x), (_, y) in pairs)
        return sum(total(terms), axis=-1)


def _possible(p: Any, x: Any) -> Any:
    """x, but 0 where p is 0, so that p times it is 0 even where x is infinite: 0 log 0 = 0."""
    return where(p == 0, 0, x)


def _probability(logits: Array, xp: Any = xp) -> Array:
    """The logistic function through tanh, which cannot overflow; xp is an array module."""
    return 0.5 + 0.5 * xp.tanh(0.5 * logits)


class BernoulliHead(StochasticHead):
    """Outputs are the log odds of bits."""

    name, kinds = "bernoulli", ("multibinary",)
    distribution = Bernoulli

    def __call__(self, outputs: Any, mask: Array | None = None) -> Bernoulli:
        return Bernoulli(masked_bits(outputs, mask))

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        y = masked_bits(y, mask)
        on: np.ndarray = y > 0 if rng is None else rng.random(y.shape) < _probability(y, np)
        return on.astype(INDEX_DTYPE)

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        return {"probabilities_of_1": _probability(masked_bits(y, mask), np)}
