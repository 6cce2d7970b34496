"""Exploration noise that is added to a policy's actions, which are in [-1, 1]."""

import math

import numpy as np

from npr.backend import FLOAT, Array, check_array


class Normal:
    """Independent normal noise in D dimensions."""

    def __init__(self, D: int, sigma: float = 0.1) -> None:
        self.D, self.sigma = D, sigma

    def __repr__(self) -> str:
        return f"Normal({self.D}, sigma={self.sigma})"

    def __call__(self, rng: np.random.Generator, episodes: Array) -> Array:
        """Noise (N, D) for N environments; episodes (N,) are the numbers of their episodes."""
        return self.sigma * rng.standard_normal((len(episodes), self.D), FLOAT)


class OrnsteinUhlenbeck:
    """Correlated noise with mean zero, which starts from zero in every episode.

    x <- x - theta x dt + sigma sqrt(dt) e, with e standard normal. With dt = .01, as is common, it
    is correlated over hundreds of steps; its stationary standard deviation is
    sigma sqrt(dt / (1 - (1 - theta dt)^2)). Source: Uhlenbeck and Ornstein 1930.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self, D: int, sigma: float = 0.5, theta: float = 0.15, dt: float = 0.01) -> None:
        self.D, self.sigma, self.theta, self.dt = D, sigma, theta, dt
        self.x: Array = np.empty((0, D), FLOAT)
        self.episodes: Array = np.empty(0, np.int64)

    def __repr__(self) -> str:
        return f"OrnsteinUhlenbeck({self.D}, sigma={self.sigma}, theta={self.theta}, dt={self.dt})"

    def __call__(self, rng: np.random.Generator, episodes: Array) -> Array:
        """Noise (N, D) for N environments; episodes (N,) are the numbers of their episodes."""
        if len(episodes) != len(self.episodes):
            self.x, self.episodes = np.zeros((len(episodes), self.D), FLOAT), episodes
        self.x[episodes != self.episodes] = 0
        self.episodes = episodes.copy()
        e = rng.standard_normal(self.x.shape, FLOAT)
        self.x += -self.theta * self.dt * self.x + self.sigma * math.sqrt(self.dt) * e
        return self.x

    def state(self) -> dict[str, Array]:
        return {"x": self.x, "episodes": self.episodes}

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one of D dimensions."""
        x, episodes = state["x"], state["episodes"]
        check_array("The noise's 'x'", x, (*episodes.shape, self.D), FLOAT)
        self.x, self.episodes = x.copy(), episodes.copy()


NOISES: dict[str, type[Normal] | type[OrnsteinUhlenbeck]] = {
    "normal": Normal,
    "ou": OrnsteinUhlenbeck,
}
