"""How an environment is brought back into the middle of an episode, on a file's word.

What it was seeded with, or the state of its generator before its last reset, and the actions
since then: set the state, reset, act again, and compare what is seen with what was seen. So an
environment needs no way to save itself, and a file no objects.
"""

import numpy as np

from npr.files.generators import WORDS, generator_state, set_generator_state

# what stands for the seed of an episode that began without one
CONTINUED, UNKNOWN = -1, -2  # from a state of the environment's generator; nobody knows from where


class EpisodeLog:
    """The beginning of one environment's present episode, and its actions since."""

    def __init__(self, env):
        self.env = env
        self.seed, self.start, self.actions = UNKNOWN, np.zeros(WORDS, np.uint64), []

    def begin(self, seed: int | None) -> None:
        """To be called right before the environment is reset with this seed."""
        self.actions = []
        if seed is not None:
            self.seed = seed
            return
        start = generator_state(self.env.unwrapped.np_random)
        self.seed = UNKNOWN if start is None else CONTINUED
        if start is not None:
            self.start = start

    def replay(self, seed: int, start: np.ndarray, actions):
        """Begin as noted and act again; returns the last observation, None if the episode ended."""
        if seed == UNKNOWN:
            return None
        if seed == CONTINUED:
            set_generator_state(self.env.unwrapped.np_random, start)
        seed = None if seed == CONTINUED else seed
        self.begin(seed)
        observation, _ = self.env.reset(seed=seed)
        for action in actions:
            if not self.env.action_space.contains(action):
                return None
            observation, _, terminated, truncated, _ = self.env.step(action)
            if terminated or truncated:
                return None
            self.actions.append(action)
        return observation
