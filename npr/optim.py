"""Optimisers: they move a flat parameter vector in place, and keep their state as vectors.

adam = Adam(theta, learning_rate=1e-3)
adam.step(theta, gradient)
"""

import math

from npr.backend import Array, xp
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


class Adam:
    """Adam (Kingma and Ba 2015). learning_rate may be set between steps."""

    def __init__(self, theta: Array, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.learning_rate, self.beta1, self.beta2, self.eps = learning_rate, beta1, beta2, eps
        self.m, self.v = xp.zeros(theta.size, theta.dtype), xp.zeros(theta.size, theta.dtype)
        self.t = 0

    def step(self, theta: Array, g: Array) -> None:
        self.t += 1
        correction = math.sqrt(1 - self.beta2**self.t)
        step = self.learning_rate * correction / (1 - self.beta1**self.t)
        steps.adam(
            _parameters(theta, self.m), _same_shape("gradient", g, theta), self.m, self.v,
            step, self.beta1, self.beta2, self.eps * correction,
        )  # fmt: skip


class RMSprop:
    """RMSprop (Tieleman and Hinton 2012), eps outside the root."""

    def __init__(self, theta: Array, learning_rate=7e-4, decay=0.99, eps=1e-5):
        self.learning_rate, self.decay, self.eps = learning_rate, decay, eps
        self.v = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat, g = _parameters(theta, self.v), _same_shape("gradient", g, theta)
        self.v += (1 - self.decay) * (g * g - self.v)
        flat -= self.learning_rate * g / (xp.sqrt(self.v) + self.eps)


class SGD:
    """Stochastic gradient descent, with heavy-ball momentum where momentum > 0."""

    def __init__(self, theta: Array, learning_rate=1e-2, momentum=0.0):
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity = xp.zeros(theta.size, theta.dtype)

    def step(self, theta: Array, g: Array) -> None:
        flat = _parameters(theta, self.velocity)
        self.velocity *= self.momentum
        self.velocity += _same_shape("gradient", g, theta)
        flat -= self.learning_rate * self.velocity


def clip_norm(g: Array, max_norm: float) -> Array:
    """Scale g in place so that its Euclidean norm is at most max_norm; returns g."""
    steps.clip_norm(_flat(g), max_norm)
    return g


def polyak(theta_bar: Array, theta: Array, tau: float) -> None:
    """theta_bar <- tau theta + (1 - tau) theta_bar, in place."""
    steps.polyak(_flat(theta_bar), _same_shape("target's source", theta, theta_bar), tau)
