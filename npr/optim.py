"""Optimizers: they update a flat parameter vector in place, and keep their state as vectors.

adam = Adam(theta, learning_rate=1e-3)
adam.step(theta, gradient)
"""

import math
from typing import Any, ClassVar

from npr.autodiff import anomaly
from npr.backend import ON_HOST, Array, check_array, to_device, to_host, xp
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

    theta                the vector that it was made for
    skipped              how many steps were skipped, in total; on a device an array
    consecutive_skipped  how many since the last step that was made
    """

    group = "optim"  # in an agent's file: npr.files.parts
    _vectors: ClassVar[tuple[str, ...]] = ()  # names of the attributes that are its state

    # in slots, so that theta is not taken for one of the optimizer's own arrays
    __slots__ = ("consecutive_skipped", "skipped", "theta")

    def __init__(self, theta: Array) -> None:
        self.theta = theta
        self.skipped: Any = 0
        self.consecutive_skipped: Any = 0

    def __repr__(self) -> str:
        rate = getattr(self, "learning_rate", None)  # every optimizer of npr has one
        return f"{type(self).__name__}({self.theta.size:,} parameters, learning_rate={rate})"

    def step(self, theta: Array, g: Array) -> None:
        """Update theta in place by the gradient g, or count a skipped step."""
        raise NotImplementedError

    def _count(self, stepped: Any, g: Array) -> None:
        """Count a step, from what its kernel returned."""
        skipped = 1 - stepped
        self.skipped += skipped
        self.consecutive_skipped = (self.consecutive_skipped + skipped) * skipped
        if anomaly.on:
            anomaly.check_step(stepped, g)

    def skip_counts(self) -> tuple[int, int]:
        """(skipped, consecutive_skipped) as integers; waits for a device."""
        return int(to_host(self.skipped)), int(to_host(self.consecutive_skipped))

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
        self.skipped, self.consecutive_skipped = counters["skipped"], counters["consecutive"]


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015). learning_rate may be changed between steps."""

    _vectors = ("m", "v")

    def __init__(self, theta: Array, learning_rate: float = 1e-3, beta1: float = 0.9,
                 beta2: float = 0.999, eps: float = 1e-8) -> None:  # fmt: skip
        super().__init__(theta)
        self.learning_rate, self.beta1, self.beta2, self.eps = learning_rate, beta1, beta2, eps
        self.m, self.v = xp.zeros(theta.size, theta.dtype), xp.zeros(theta.size, theta.dtype)
        self.t = 0

    def step(self, theta: Array, g: Array) -> None:
        t = self.t + 1
        correction = math.sqrt(1 - self.beta2**t)
        step = self.learning_rate * correction / (1 - self.beta1**t)
        stepped = steps.adam(
            _parameters(theta, self.m), _same_shape("gradient", g, theta), self.m, self.v,
            step, self.beta1, self.beta2, self.eps * correction,
        )  # fmt: skip
        if not ON_HOST or stepped:  # on a device t counts skipped steps too, rather than wait
            self.t = t
        self._count(stepped, g)

    def counters(self) -> dict[str, int]:
        return {"t": self.t, **super().counters()}

    def load_counters(self, counters: dict[str, int]) -> None:
        super().load_counters(counters)
        self.t = counters["t"]


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012), eps outside the root."""

    _vectors = ("v",)

    def __init__(
        self, theta: Array, learning_rate: float = 7e-4, decay: float = 0.99, eps: float = 1e-5
    ) -> None:
        super().__init__(theta)
        self.learning_rate, self.decay, self.eps = learning_rate, decay, eps
        self.v = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat, flat_g = _parameters(theta, self.v), _same_shape("gradient", g, theta)
        stepped = steps.rmsprop(flat, flat_g, self.v, self.learning_rate, self.decay, self.eps)
        self._count(stepped, g)


class SGD(Optimizer):
    """Stochastic gradient descent, with heavy-ball momentum where momentum > 0."""

    _vectors = ("velocity",)

    def __init__(self, theta: Array, learning_rate: float = 1e-2, momentum: float = 0.0) -> None:
        super().__init__(theta)
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat, flat_g = _parameters(theta, self.velocity), _same_shape("gradient", g, theta)
        stepped = steps.sgd(flat, flat_g, self.velocity, self.learning_rate, self.momentum)
        self._count(stepped, g)


def clip_norm(g: Array, max_norm: float) -> Array:
    """Scale g in place so that its Euclidean norm is at most max_norm; returns g.

    Where the norm is not finite g is unchanged, and the optimizer skips it.
    """
    steps.clip_norm(_flat(g), max_norm)
    return g


def polyak(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, in place."""
    steps.polyak(_flat(theta_bar), _same_shape("target's source", theta, theta_bar), tau)
