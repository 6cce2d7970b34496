"""Exploration noise on top of a policy's actions, in units of the action in [-1, 1]."""

import math

import numpy as np

from npr.backend import FLOAT
from npr.errors import ConfigError


class Normal:
    """Independent normal noise on D dimensions."""

    def __init__(self, D, sigma=0.1):
        self.D, self.sigma = D, sigma

    def __call__(self, rng: np.random.Generator, episodes) -> np.ndarray:
        """Noise (N, D) for environments in the episodes of these numbers (N,)."""
        return self.sigma * rng.standard_normal((len(episodes), self.D), FLOAT)


class OrnsteinUhlenbeck:
    """Noise that wanders and is drawn back to zero, where it begins in every episode.

    x <- x - theta x dt + sigma sqrt(dt) e, with e standard normal. With dt = .01, as usual in this
    field, it is correlated over hundreds of steps; its stationary deviation is
    sigma sqrt(dt / (1 - (1 - theta dt)^2)). Source: Uhlenbeck and Ornstein 1930.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, D, sigma=0.5, theta=0.15, dt=0.01):
        self.D, self.sigma, self.theta, self.dt = D, sigma, theta, dt
        self.x, self.episodes = np.empty((0, D), FLOAT), np.empty(0, np.int64)

    def __call__(self, rng: np.random.Generator, episodes) -> np.ndarray:
        """Noise (N, D) for environments in the episodes of these numbers (N,)."""
        if len(episodes) != len(self.episodes):
            self.x, self.episodes = np.zeros((len(episodes), self.D), FLOAT), episodes
        self.x[episodes != self.episodes] = 0
        self.episodes = episodes.copy()
        e = rng.standard_normal(self.x.shape, FLOAT)
        self.x += -self.theta * self.dt * self.x + self.sigma * math.sqrt(self.dt) * e
        return self.x

    def state(self) -> dict:
        return {"x": self.x, "episodes": self.episodes}

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError if it is not one of D dimensions."""
        x, episodes = state["x"], state["episodes"]
        if x.shape != (*episodes.shape, self.D) or x.dtype != FLOAT or not np.isfinite(x).all():
            raise ConfigError(f"Noise in {self.D} dimensions has another state than {x.shape}.")
        self.x, self.episodes = x.copy(), episodes.copy()


NOISES = {"normal": Normal, "ou": OrnsteinUhlenbeck}
