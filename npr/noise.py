"""Exploration noise for deterministic policies, in units of the action in [-1, 1]."""

import math

import numpy as np

from npr.backend import FLOAT


class OrnsteinUhlenbeck:
    """Noise that wanders and is drawn back to zero, a state for each environment.

    x <- x - theta x dt + sigma sqrt(dt) e, with e standard normal. With dt = .01, as usual in this
    field, it is correlated over hundreds of steps; its stationary deviation is
    sigma sqrt(dt / (1 - (1 - theta dt)^2)). Source: Uhlenbeck and Ornstein 1930.
    """

    def __init__(self, shape, sigma=0.5, theta=0.15, dt=0.01):
        self.sigma, self.theta, self.dt = sigma, theta, dt
        self.x = np.zeros(shape, FLOAT)

    def reset(self, rows) -> None:
        """Start anew in the environments `rows`, a mask (N,)."""
        self.x[rows] = 0

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        e = rng.standard_normal(self.x.shape, FLOAT)
        self.x += -self.theta * self.dt * self.x + self.sigma * math.sqrt(self.dt) * e
        return self.x
