"""Masks of actions: which ones the environment allows now.

A mask has one number per choice, 1 where it is allowed and 0 where it is not: (..., K) for
Discrete actions, the concatenated masks of all indices for MultiDiscrete ones, and two numbers per
bit, for 0 and for 1, for MultiBinary ones.
"""

import math
from typing import Any

import numpy as np

from npr.autodiff import where
from npr.backend import Array, xp
from npr.envs.spaces import INDEX_DTYPE
from npr.kernels import categorical


def masked(scores: Any, mask: Array | None) -> Any:
    """Scores (..., K) of choices, -inf where the mask (..., K) forbids one; None: all are allowed.

    Differentiable in the scores: the derivative by one of a forbidden choice is 0.
    """
    if mask is None:
        return scores
    choose = np.where if type(scores) is np.ndarray else where  # policies are on the host
    return choose(mask > 0, scores, -math.inf)


def masked_bits(logits: Any, mask: Array | None) -> Any:
    """Log odds (..., D) of bits, -inf or inf where the mask (..., 2 D) allows only 0 or 1."""
    if mask is None:
        return logits
    choose = np.where if type(logits) is np.ndarray else where
    zero, one = mask[..., 0::2] > 0, mask[..., 1::2] > 0
    return choose(zero, choose(one, logits, -math.inf), math.inf)


def uniform_choice(u: Array, K: int, mask: Array | None) -> Array:
    """Indices (B,) below K from u (B,) in [0, 1), uniform among those that the mask (B, K)
    allows."""
    if mask is None:
        return (u * K).astype(INDEX_DTYPE)
    return categorical.draw(xp.where(mask > 0, 0.0, -math.inf).astype(u.dtype), u)
