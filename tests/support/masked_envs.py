"""Environments that say which actions are allowed, and fail at any other."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

K = 4  # cards


class Hand(gym.Env):
    """Each of the cards 0 to K - 1 is played once; a card that beats all others in the hand gets 1.

    kind    "discrete": the card. "multidiscrete": the card and a colour, of which the second is
            never allowed. "multibinary": a set of cards, which may be empty
    how     the mask is in the "info" or returned by the "method" action_masks()
    limit   steps until an episode is truncated
    """

    def __init__(self, kind="discrete", how="info", limit=6):
        self.kind, self.how, self.limit = kind, how, limit
        self.observation_space = spaces.Box(0, 1, (K,), np.float32)
        self.action_space = {
            "discrete": spaces.Discrete(K, start=2),
            "multidiscrete": spaces.MultiDiscrete([K, 3]),
            "multibinary": spaces.MultiBinary(K),
        }[kind]
        if how == "method":
            self.action_masks = self.mask

    def mask(self):
        if self.kind == "discrete":
            return self.held.copy()
        if self.kind == "multidiscrete":
            return np.concatenate([self.held, [True, False, True]])
        return np.stack([np.ones(K, bool), self.held], axis=-1).ravel()

    def _results(self):
        self.info = {"action_mask": self.mask().astype(np.int8)} if self.how == "info" else {}
        return self.held.astype(np.float32), self.info

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.held, self.t = self.np_random.random(K) < 0.7, 0
        self.held[self.np_random.integers(K)] = True
        return self._results()

    def step(self, action):
        self.t += 1
        if self.kind == "discrete":
            cards = [int(action) - 2]
        elif self.kind == "multidiscrete":
            if action[1] == 1:
                raise AssertionError("the second colour is not allowed")
            cards = [int(action[0])]
        else:
            cards = np.flatnonzero(action)
        if not self.held[cards].all():
            raise AssertionError(f"{cards} is not in the hand {self.held}")
        reward = float(len(cards) == 1 and not self.held[cards[0] + 1 :].any())
        self.held[cards] = False
        terminated = not self.held.any()
        observation, info = self._results()
        return observation, reward, terminated, not terminated and self.t >= self.limit, info


class Forgetful(Hand):
    """A Hand whose step() leaves its mask out from step `after` on."""

    def __init__(self, after=3):
        super().__init__()
        self.after = after

    def _results(self):
        observation, info = super()._results()
        return observation, {} if self.t >= self.after else info


class Blocked(Hand):
    """A Hand that allows nothing in the middle of an episode."""

    def mask(self):
        return super().mask() & (self.t < 1)
