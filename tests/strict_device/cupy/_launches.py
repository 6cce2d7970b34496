"""How many kernels CuPy launches for a call, read from the source of CuPy 14.2.

The functions take the arguments of the call, device arrays; they raise where a graph is captured
that cannot hold it (R16), and count uploads and calls of cuBLAS.
"""

import numpy as np

from . import _device

SEVERAL = {"array_equal": 2, "eye": 2}


def of(name):
    """The function from the arguments of cupy.NAME to a number of kernels."""
    return DEPENDS.get(name, lambda *_, **__: SEVERAL.get(name, 1))


def gathers(arrays):
    """Kernels of an index with this many index arrays: CuPy first combines several to one."""
    return arrays + 2 if arrays > 1 else 1


def join(arrays, *_, **__):
    """A copy for each array; more than eight by one kernel, with their uploaded addresses."""
    if len(arrays) <= 8:
        return len(arrays)
    _device.transfer("H2D")
    _device.counts.uploads += 1
    return 1


def product(a, b, *_, **__):
    """A call of cuBLAS, but for integers and for two vectors."""
    if a.ndim == b.ndim == 1 or not a.ndim or not b.ndim:
        return 2 if a.ndim and b.ndim else 1  # multiply and sum
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        _device.product()
    return 1


def matmul(a, b, *_, **__):
    """matmul: several products are one call, of contiguous operands."""
    if max(a.ndim, b.ndim) <= 2:
        return product(a, b)
    copies = (not a.flags.c_contiguous) + (not b.flags.c_contiguous)
    shapes = (a.shape[:-2], b.shape[:-2])
    addresses = 0 if shapes[0] == shapes[1] else 3  # kernels that list those of matrices
    _device.product()
    return 1 + copies + addresses


def mean(a, axis=None, *_, **__):
    """One kernel, but CUB sums over last axes of contiguous arrays and leaves the division."""
    axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    last = sorted(i % a.ndim for i in axes) == [*range(a.ndim - len(axes), a.ndim)]
    return 2 if last and a.flags.c_contiguous else 1


def var(a, axis=None, *_, **__):
    return mean(a, axis) + 1


def std(a, axis=None, *_, **__):
    return var(a, axis) + 1


def tensordot(a, b, axes=2):
    contracted = axes if isinstance(axes, int) else len(np.atleast_1d(axes[0]))
    if contracted == a.ndim == b.ndim:
        return 2
    return product(a, b) if contracted else 1


def einsum(*_, **__):
    _device.product()
    return 1


def sort(*_, **__):
    """Thrust sorts; that it does not wait for the device is not documented."""
    if _device.capture is not None:
        raise RuntimeError("sorting while a stream captures is not known to be possible")
    return 1


def where(*args, **__):
    if len(args) == 1:
        _device.read("where() of a condition alone")
    return 1


DEPENDS = {
    "mean": mean, "var": var, "std": std, "concatenate": join, "stack": join, "dot": product,
    "tensordot": tensordot, "einsum": einsum, "sort": sort, "argsort": sort, "where": where,
}  # fmt: skip
