"""Resuming an episode from numbers in a file, since environments cannot be saved.

The log has the seed of the last reset, or the state of the environment's generator before it,
and the actions since. To resume, it repeats the reset and the actions; the caller compares the
observation with the saved one. So a file contains no objects.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npr.files.generators import WORDS, generator_state, set_generator_state

if TYPE_CHECKING:
    import gymnasium

# in place of the seed of an episode that was begun without one
CONTINUED = -1  # `start` is the generator's state before the reset
UNKNOWN = -2  # the generator is of another kind: the episode cannot be repeated
TOO_LONG = -3  # it has more steps than are kept: the episode cannot be repeated
# that are kept, so that an endless episode needs no more memory
MAX_ACTIONS, MAX_BYTES = 100_000, 1 << 24
_INDEX, _index_bytes = np.int64(0), struct.Struct("q").pack  # of an int


class Mark(NamedTuple):
    """A position in an episode.

    seed, start   of its beginning, as in the log
    actions       all actions of the episode, as bytes, of which the first `size` are before
    """

    seed: int
    start: np.ndarray
    actions: bytearray
    size: int


class EpisodeLog:
    """The start of an environment's current episode, and the actions since.

    start    (WORDS,) uint64, state of the generator; used if seed is CONTINUED
    to_env   makes the environment's action from what is logged; None: that is the action itself
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], to_env: Callable[[Any], Any] | None = None
    ) -> None:
        self.env, self.to_env = env, to_env
        self.seed, self.start = UNKNOWN, np.zeros(WORDS, np.uint64)
        self._like: Any = np.empty(0)  # an action, for dtype and shape
        self._bytes, self._limit = bytearray(), 0

    def __len__(self) -> int:
        size: int = self._like.nbytes
        return len(self._bytes) // max(size, 1)

    def begin(self, seed: int | None) -> None:
        """Must be called right before the environment is reset with this seed."""
        self._bytes, self._limit = bytearray(), 0
        if seed is not None:
            self.seed = seed
            return
        start = generator_state(getattr(self.env.unwrapped, "np_random", None))
        self.seed = UNKNOWN if start is None else CONTINUED
        if start is not None:
            self.start = start

    def add(self, action: Any) -> None:
        """Append an action: an int, or a NumPy number or array. It is copied: an environment may
        change it."""
        held = self._bytes
        held += _index_bytes(action) if action.__class__ is int else action.tobytes()
        if len(held) > self._limit:
            self._reached_limit(action)

    def _reached_limit(self, action: Any) -> None:
        """Find the limit, of bytes, at the first action of an episode, or keep no more of it."""
        if self.seed != TOO_LONG and not self._limit:
            self._like = _INDEX if isinstance(action, int) else action
            self._limit = min(MAX_BYTES, MAX_ACTIONS * self._like.nbytes)
        if len(self._bytes) > self._limit:
            self.seed, self._bytes, self._limit = TOO_LONG, bytearray(), 0

    def actions(self) -> np.ndarray:
        """(len(self), ...), the actions since the start of the episode."""
        like = self._like
        return np.frombuffer(bytes(self._bytes), like.dtype).reshape(-1, *like.shape)

    def mark(self) -> Mark:
        """The current position, to which `at` can refer when more actions have followed."""
        return Mark(self.seed, self.start, self._bytes, len(self._bytes))

    def at(self, mark: Mark, steps: int) -> tuple[int, np.ndarray, np.ndarray]:
        """(seed, start, actions), as they were so many steps after a mark of this environment,
        which the episode had then."""
        like = self._like
        end = mark.size + steps * like.nbytes
        if mark.seed < CONTINUED or end > len(mark.actions):
            lost = mark.seed if mark.seed < CONTINUED else TOO_LONG
            return lost, mark.start, np.empty((0, *like.shape), like.dtype)
        held = np.frombuffer(bytes(mark.actions[:end]), like.dtype)
        return mark.seed, mark.start, held.reshape(-1, *like.shape)

    def replay(self, seed: int, start: np.ndarray, actions: np.ndarray) -> Any:
        """Repeat a logged episode, and log it. Returns the last observation and info, or None if
        the episode cannot be repeated or ended early."""
        if seed == UNKNOWN:
            return None
        if seed == CONTINUED:
            set_generator_state(self.env.unwrapped.np_random, start)
        reset_seed = None if seed == CONTINUED else seed
        self.begin(reset_seed)
        observation, info = self.env.reset(seed=reset_seed)
        for action in actions:
            taken = action.item() if actions.dtype.kind == "i" and actions.ndim == 1 else action
            of_env = taken if self.to_env is None else self.to_env(taken)
            if not self.env.action_space.contains(of_env):
                return None
            self.add(taken)
            observation, _, terminated, truncated, info = self.env.step(of_env)
            if terminated or truncated:
                return None
        return observation, info
