"""Numba loops with their array twins: what a tape of array operations cannot do fast."""

from npr.kernels.returns import discounted_returns, gae

__all__ = ["discounted_returns", "gae"]
