"""Numba loops with their array twins: what a tape of array operations cannot do fast."""

from npr.kernels.returns import discounted_returns, gae, standardize
from npr.kernels.sumtree import SumTree
from npr.kernels.svgd import svgd_bandwidth, svgd_direction

__all__ = [
    "SumTree", "discounted_returns", "gae", "standardize", "svgd_bandwidth", "svgd_direction",
]  # fmt: skip
