"""Numba loops with their array twins: what a tape of array operations cannot do fast."""

from npr.kernels.returns import discounted_returns, gae
from npr.kernels.sumtree import SumTree
from npr.kernels.svgd import svgd_bandwidth, svgd_direction

__all__ = ["SumTree", "discounted_returns", "gae", "svgd_bandwidth", "svgd_direction"]
