"""Resuming an episode from numbers in a file, since environments cannot be saved.

The log has the seed of the last reset, or the state of the environment's generator before it,
and the actions since. To resume, it repeats the reset and the actions; the caller compares the
observation with the saved one. So a file contains no objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.files.generators import WORDS, generator_state, set_generator_state

if TYPE_CHECKING:
    import gymnasium

# in place of the seed of an episode that was begun without one
CONTINUED = -1  # `start` is the generator's state before the reset
UNKNOWN = -2  # the generator is of another kind: the episode cannot be repeated


class EpisodeLog:
    """The start of an environment's current episode, and the actions since.

    start    (WORDS,) uint64, state of the generator; used if seed is CONTINUED
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env = env
        self.seed, self.start = UNKNOWN, np.zeros(WORDS, np.uint64)
        self.actions: list[Any] = []

    def begin(self, seed: int | None) -> None:
        """Must be called right before the environment is reset with this seed."""
        self.actions = []
        if seed is not None:
            self.seed = seed
            return
        start = generator_state(self.env.unwrapped.np_random)
        self.seed = UNKNOWN if start is None else CONTINUED
        if start is not None:
            self.start = start

    def replay(self, seed: int, start: np.ndarray, actions: Iterable[Any]) -> Any:
        """Repeat a logged episode, and log it. Returns the last observation, or None if the
        episode cannot be repeated or ended early."""
        if seed == UNKNOWN:
            return None
        if seed == CONTINUED:
            set_generator_state(self.env.unwrapped.np_random, start)
        reset_seed = None if seed == CONTINUED else seed
        self.begin(reset_seed)
        observation, _ = self.env.reset(seed=reset_seed)
        for action in actions:
            if not self.env.action_space.contains(action):
                return None
            observation, _, terminated, truncated, _ = self.env.step(action)
            if terminated or truncated:
                return None
            self.actions.append(action)
        return observation
