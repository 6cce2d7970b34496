"""Optimizers: they update a flat parameter vector in place, and keep their state as vectors.

adam = Adam(theta, learning_rate=1e-3)
adam.step(theta, gradient)
"""

from typing import Any, ClassVar

import numpy as np

from npr.autodiff import anomaly
from npr.backend import ON_HOST, Array, check_array, empty_like, to_device, to_host, xp
from npr.errors import ConfigError
from npr.kernels import steps


def _parameters(theta: Array, state: Array) -> Array:
    """theta as a flat view, of the size that the optimizer was made for."""
    if theta.size != state.size:
        raise ConfigError(
            f"This optimizer was made for {state.size} parameters, got {theta.size}; "
            "make one for each parameter vector."
        )
    return _flat(theta)


def _flat(array: Array) -> Array:
    """A flat view; a step on a copy would be lost."""
    if not array.flags.c_contiguous:
        raise ConfigError(
            f"A step in place needs a contiguous array, got strides {array.strides} for shape "
            f"{array.shape}; pass the vector itself, or its .copy()."
        )
    return array.reshape(-1)


def _same_shape(what: str, array: Array, theta: Array) -> Array:
    if array.shape != theta.shape:
        raise ConfigError(f"The {what} must have shape {theta.shape}, got {array.shape}.")
    return array.reshape(-1)


class Optimizer:
    """Updates one parameter vector, but never by a gradient that is not finite.

    theta          the vector that it was made for
    learning_rate  may be changed between steps
    counts         (3,) where theta is: steps that were made, skipped in total, and skipped since
                   the last one that was made; reading them from a device waits for it
    """

    group = "optim"  # in an agent's file: npr.files.parts
    _vectors: ClassVar[tuple[str, ...]] = ()  # names of the attributes that are its state

    # in slots, so that they are not taken for the optimizer's own vectors
    __slots__ = ("_rate", "_written", "counts", "learning_rate", "theta")

    def __init__(self, theta: Array, learning_rate: float) -> None:
        self.theta, self.learning_rate = theta, learning_rate
        self.counts = xp.zeros(3, np.int64)
        # the rate that kernels on a device read, and the number that it has
        self._rate: Any = None if ON_HOST else xp.empty((), theta.dtype)
        self._written: float | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.theta.size:,} parameters, "
            f"learning_rate={self.learning_rate})"
        )

    def step(self, theta: Array, g: Array) -> None:
        """Update theta in place by the gradient g, or count a skipped step."""
        raise NotImplementedError

    def refresh(self) -> Any:
        """The learning rate as kernels take it. On a device that is an array, to which a rate that
        changed is written: before a captured graph with a step is replayed this must be called.

        Raises RuntimeError if a graph would be captured with that write, and repeat it.
        """
        if ON_HOST:
            return self.learning_rate
        if self._written != self.learning_rate:
            if xp.cuda.get_current_stream().is_capturing():
                raise RuntimeError("a learning rate was changed that is not one of the agent's own")
            self._rate.fill(self.learning_rate)
            self._written = self.learning_rate
        return self._rate

    @property
    def skipped(self) -> int:
        """How many steps were skipped, in total."""
        return self.skip_counts()[0]

    @property
    def consecutive_skipped(self) -> int:
        """How many steps were skipped since the last one that was made."""
        return self.skip_counts()[1]

    def skip_counts(self) -> tuple[int, int]:
        """(skipped, consecutive_skipped); waits for a device."""
        _, skipped, consecutive = to_host(self.counts).tolist()
        return skipped, consecutive

    def _check(self, g: Array) -> None:
        """With anomaly detection: raise NumericsError if the step by g was skipped."""
        if anomaly.on:
            anomaly.check_step(not self.consecutive_skipped, g)

    def state(self) -> dict[str, Array]:
        """The vectors of the optimizer by name; they are not copied."""
        return {name: getattr(self, name) for name in self._vectors}

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state of host arrays; raises ConfigError, and changes nothing, if one of them
        has another shape or type or is not finite.
        """
        for name, own in self.state().items():
            check_array(f"The optimizer's {name!r}", state[name], own.shape, own.dtype)
        for name, own in self.state().items():
            own[...] = to_device(state[name])

    def counters(self) -> dict[str, int]:
        """Numbers that belong to the state but are not arrays."""
        return dict(zip(("skipped", "consecutive"), self.skip_counts()))

    def load_counters(self, counters: dict[str, int]) -> None:
        values = [counters.get("t", 0), counters["skipped"], counters["consecutive"]]
        self.counts[...] = to_device(np.array(values, np.int64))


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    _vectors = ("m", "v")

    def __init__(self, theta: Array, learning_rate: float = 1e-3, beta1: float = 0.9,
                 beta2: float = 0.999, eps: float = 1e-8) -> None:  # fmt: skip
        super().__init__(theta, learning_rate)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.m, self.v = xp.zeros(theta.size, theta.dtype), xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        steps.adam(
            _parameters(theta, self.m), _same_shape("gradient", g, theta), self.m, self.v,
            self.counts, self.refresh(), self.beta1, self.beta2, self.eps,
        )  # fmt: skip
        self._check(g)

    @property
    def t(self) -> int:
        """How many steps were made; waits for a device."""
        return int(to_host(self.counts)[0])

    def counters(self) -> dict[str, int]:
        return {"t": self.t, **super().counters()}


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012), eps outside the root."""

    _vectors = ("v",)

    def __init__(
        self, theta: Array, learning_rate: float = 7e-4, decay: float = 0.99, eps: float = 1e-5
    ) -> None:
        super().__init__(theta, learning_rate)
        self.decay, self.eps = decay, eps
        self.v = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        steps.rmsprop(
            _parameters(theta, self.v), _same_shape("gradient", g, theta), self.v, self.counts,
            self.refresh(), self.decay, self.eps,
        )  # fmt: skip
        self._check(g)


class SGD(Optimizer):
    """Stochastic gradient descent, with heavy-ball momentum where momentum > 0."""

    _vectors = ("velocity",)

    def __init__(self, theta: Array, learning_rate: float = 1e-2, momentum: float = 0.0) -> None:
        super().__init__(theta, learning_rate)
        self.momentum = momentum
        self.velocity = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        steps.sgd(
            _parameters(theta, self.velocity), _same_shape("gradient", g, theta), self.velocity,
            self.counts, self.refresh(), self.momentum,
        )  # fmt: skip
        self._check(g)


def clip_norm(g: Array, max_norm: float) -> Array:
    """Scale g in place so that its Euclidean norm is at most max_norm; returns g.

    Where the norm is not finite g is unchanged, and the optimizer skips it.
    """
    steps.clip_norm(_flat(g), max_norm, empty_like(g, 16))
    return g


def clip_joint_norm(g: Array, h: Array, max_norm: float) -> None:
    """Scale g and h, both flat, by the same number in place so that the Euclidean norm of the two
    together is at most max_norm; unchanged where it is not finite."""
    both = clip_norm(xp.concatenate([_flat(g), _flat(h)]), max_norm)
    g[...], h[...] = both[: g.size], both[g.size :]


def polyak(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, in place."""
    steps.polyak(_flat(theta_bar), _same_shape("target's source", theta, theta_bar), tau)
