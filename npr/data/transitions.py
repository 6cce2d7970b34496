"""Transitions in the units of the environment, and their encoding as rows of numbers."""

from typing import Any, NamedTuple

import numpy as np

from npr.backend import FLOAT
from npr.envs.contract import all_finite
from npr.envs.spaces import Actions, Observations, as_array, zeros_and_ones
from npr.errors import ConfigError, EnvContractError


class Transitions(NamedTuple):
    """B transitions, in the units of the environment: the arguments of `add_batch`, in its order.

    observations, next_observations   (B, ...), or a dict or tuple of such arrays; the next ones are
                                      the true ones, also where an episode ended
    actions                           (B, ...)
    rewards                           (B,)
    terminated, truncated             (B,) bool
    action_masks, next_action_masks   (B, mask_size) 1 or True for what is allowed at these
                                      observations, or None
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    next_observations: Any
    terminated: np.ndarray
    truncated: np.ndarray
    action_masks: np.ndarray | None = None
    next_action_masks: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Transitions({len(self.rewards):,})"


def encoded_observations(name: str, given: Any, observations: Observations) -> np.ndarray:
    """Rows (B, size) of a batch of observations, newly allocated.

    name   of the argument, for errors

    Raises ConfigError if they do not fit the space or are not finite.
    """
    try:
        batched = observations.batched(given)
        rows = observations.encode(given) if batched else np.empty(0)
    except (EnvContractError, ValueError) as error:  # lists of unequal lengths are a ValueError
        reason = str(error).partition(" Fix the environment")[0]
        raise ConfigError(f"{name} do not fit the agent's {observations}: {reason}") from None
    if not batched:
        raise ConfigError(
            f"{name} must be a batch of {observations}, with one more axis in front than one of "
            f"them has; got {type(given).__name__} of shape {as_array(given).shape}."
        )
    if not all_finite(rows):
        row = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise ConfigError(f"{name} holds numbers that are not finite, the first in row {row}.")
    return rows


def encoded_actions(name: str, given: Any, actions: Actions) -> np.ndarray:
    """The agent's actions (B, ...) for a batch of those of the environment.

    Raises ConfigError if they are not in the space.
    """
    try:
        return actions.from_env_batch(given)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def encoded_masks(
    name: str, given: Any, n: int, actions: Actions, size: int, free: np.ndarray | None = None
) -> np.ndarray:
    """Masks (n, size) of ones and zeros; ones for None.

    size   mask_size of the actions, or 0 for an agent without masks, which takes none
    free   (n,) where a mask has no meaning, and is ones: after the end of an episode

    Raises ConfigError if they do not fit, or allow nothing.
    """
    masks = np.ones((n, size), FLOAT)
    if given is None:
        return masks
    if not size:
        raise ConfigError(f"{name} need an agent with action_masks=True.")
    array = as_array(given)
    if array.shape != masks.shape or array.dtype.kind not in "fiub":
        raise ConfigError(
            f"{name} must be numbers or bools of shape {masks.shape}, 1 for what is allowed; got "
            f"{array.dtype} of shape {array.shape}."
        )
    try:
        masks[...] = zeros_and_ones(array)
        if free is not None:
            masks[free] = 1
        actions.check_allowed(masks)
    except EnvContractError as error:
        raise ConfigError(f"{name}: {error}") from None
    return masks


def check_allowed(a: np.ndarray, masks: np.ndarray, actions: Actions) -> None:
    """Raise ConfigError where a mask (B, mask_size) forbids an action (B, ...) of the agent."""
    allowed = actions.allowed(a, masks)
    if not allowed.all():
        raise ConfigError(f"action_masks forbid the action in row {int(np.argmin(allowed))}.")


def numbers(name: str, given: Any, n: int) -> np.ndarray:
    """One finite number per transition, (n,). Raises ConfigError for anything else."""
    array = as_array(given)
    if array.shape != (n,) or array.dtype.kind not in "fiub":
        raise ConfigError(
            f"{name} must be numbers of shape {(n,)}, one for each observation; got {array.dtype} "
            f"of shape {array.shape}."
        )
    with np.errstate(over="ignore"):
        array = array.astype(FLOAT)
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ConfigError(f"{name} holds numbers that are not finite, the first in row {row}.")
    return array


def flags(name: str, given: Any, n: int) -> np.ndarray:
    """One truth value per transition, (n,) bool. Raises ConfigError for anything else."""
    array = numbers(name, given, n)
    if not ((array == 0) | (array == 1)).all():
        raise ConfigError(f"{name} must be true or false, 0 or 1.")
    return array > 0


def follows(s: np.ndarray, s2: np.ndarray, done: np.ndarray) -> np.ndarray:
    """(B,) whether the next row goes on with the episode of each: no episode ended there, and it
    begins with the observation that this one ended with."""
    result = np.zeros(len(done), bool)
    result[:-1] = ~done[:-1] & (s[1:] == s2[:-1]).all(axis=1)
    return result
