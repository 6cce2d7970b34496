"""Kernels compiled by Numba, each with a reference implementation in array operations.

Imports npr.backend, npr.errors, npr.files and npr.system, not npr.autodiff. Everything in
`__all__` is public.
"""

from npr.kernels.returns import discounted_returns, gae, standardize
from npr.kernels.sumtree import SumTree
from npr.kernels.svgd import svgd_bandwidth, svgd_direction

__all__ = [
    "SumTree", "discounted_returns", "gae", "standardize", "svgd_bandwidth", "svgd_direction",
]  # fmt: skip
