"""Launches of the kernels in distributions.cu."""

from npr.backend import Array
from npr.kernels.cuda.compiler import Source, per_row, per_thread

_SOURCE = Source("distributions.cu")


def launch(name: str, D: int, *rows: Array) -> None:
    """Start kernel `name`, for rows of parameters of distributions over D numbers or bits."""
    B = len(rows[0])
    blocks, threads, lanes = per_row(B, D)
    _SOURCE.launch(name, blocks, threads, *rows, B, D, lanes)


def launch_elementwise(name: str, *arrays: Array) -> None:
    """Start kernel `name`, for arrays of one size."""
    n = arrays[0].size
    _SOURCE.launch(name, *per_thread(n), *arrays, n)
