"""Optimisers: they move a flat parameter vector in place, and keep their state as vectors.

adam = Adam(theta, learning_rate=1e-3)
adam.step(theta, gradient)
"""

import math

import numpy as np

from npr.autodiff import anomaly
from npr.backend import ON_HOST, Array, to_device, to_host, xp
from npr.errors import ConfigError
from npr.kernels import steps


def _parameters(theta: Array, state: Array) -> Array:
    """theta as a flat view, of the size that the optimiser's state was made for."""
    if theta.size != state.size:
        raise ConfigError(
            f"This optimiser was made for {state.size} parameters, got {theta.size}; "
            "make one for each parameter vector."
        )
    return _flat(theta)


def _flat(array: Array) -> Array:
    """A flat view; a copy would be moved in its place and lost."""
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


class Optimiser:
    """What moves one parameter vector, but never by a gradient that is not finite.

    theta     the vector it was made for
    skipped   the steps that it did not make, in all
    in_a_row  those since the last one that it made
    """

    group = "optim"  # in an agent's file: npr.files.parts

    # in slots, so that none of them is an array of an agent's file; numbers, on a device arrays
    __slots__ = ("in_a_row", "skipped", "theta")

    def __init__(self, theta: Array):
        self.theta, self.skipped, self.in_a_row = theta, 0, 0

    def _count(self, moved, g) -> None:
        """Count a step, from what its kernel returned."""
        missed = 1 - moved
        self.skipped += missed
        self.in_a_row = (self.in_a_row + missed) * missed
        if anomaly.on:
            anomaly.check_step(moved, g)

    def missed(self) -> tuple:
        """(skipped, in_a_row) as numbers; a device is waited for."""
        return int(to_host(self.skipped)), int(to_host(self.in_a_row))

    def state(self) -> dict:
        return {name: held for name, held in vars(self).items() if isinstance(held, xp.ndarray)}

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError if it is not one of this optimiser."""
        for name, present in self.state().items():
            held = state[name]
            if held.shape != present.shape or held.dtype != present.dtype:
                raise ConfigError(
                    f"An optimiser's {name!r} must be {present.dtype}{present.shape}, got "
                    f"{held.dtype}{held.shape}."
                )
            if not np.isfinite(held).all():
                raise ConfigError(f"An optimiser's {name!r} holds numbers that are not finite.")
            present[...] = to_device(held)

    def counters(self) -> dict:
        return dict(zip(("skipped", "consecutive"), self.missed()))

    def load_counters(self, counters: dict) -> None:
        self.skipped, self.in_a_row = counters["skipped"], counters["consecutive"]


class Adam(Optimiser):
    """Adam (Kingma and Ba 2015). learning_rate may be set between steps."""

    def __init__(self, theta: Array, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(theta)
        self.learning_rate, self.beta1, self.beta2, self.eps = learning_rate, beta1, beta2, eps
        self.m, self.v = xp.zeros(theta.size, theta.dtype), xp.zeros(theta.size, theta.dtype)
        self.t = 0

    def step(self, theta: Array, g: Array) -> None:
        t = self.t + 1
        correction = math.sqrt(1 - self.beta2**t)
        step = self.learning_rate * correction / (1 - self.beta1**t)
        moved = steps.adam(
            _parameters(theta, self.m), _same_shape("gradient", g, theta), self.m, self.v,
            step, self.beta1, self.beta2, self.eps * correction,
        )  # fmt: skip
        if not ON_HOST or moved:  # a device is not asked: there t counts skipped steps as well
            self.t = t
        self._count(moved, g)

    def counters(self) -> dict:
        return {"t": self.t, **super().counters()}

    def load_counters(self, counters: dict) -> None:
        super().load_counters(counters)
        self.t = counters["t"]


class RMSprop(Optimiser):
    """RMSprop (Tieleman and Hinton 2012), eps outside the root."""

    def __init__(self, theta: Array, learning_rate=7e-4, decay=0.99, eps=1e-5):
        super().__init__(theta)
        self.learning_rate, self.decay, self.eps = learning_rate, decay, eps
        self.v = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat, flat_g = _parameters(theta, self.v), _same_shape("gradient", g, theta)
        moved = steps.rmsprop(flat, flat_g, self.v, self.learning_rate, self.decay, self.eps)
        self._count(moved, g)


class SGD(Optimiser):
    """Stochastic gradient descent, with heavy-ball momentum where momentum > 0."""

    def __init__(self, theta: Array, learning_rate=1e-2, momentum=0.0):
        super().__init__(theta)
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat, flat_g = _parameters(theta, self.velocity), _same_shape("gradient", g, theta)
        moved = steps.sgd(flat, flat_g, self.velocity, self.learning_rate, self.momentum)
        self._count(moved, g)


def clip_norm(g: Array, max_norm: float) -> Array:
    """Scale g in place so that its Euclidean norm is at most max_norm; returns g.

    Where the norm is not finite g stays as it is, and the optimiser skips it.
    """
    steps.clip_norm(_flat(g), max_norm)
    return g


def polyak(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, in place."""
    steps.polyak(_flat(theta_bar), _same_shape("target's source", theta, theta_bar), tau)
