"""CuPy's RawModule on the host: CUDA sources are compiled by g++ and run on the double's memory.

host_cuda.h says what of CUDA there is. A launch raises what a GPU would answer with an error, or
with garbage: arguments of another type than the kernel's, host arrays, strides, no blocks, a
barrier that not all threads of a block reach, and writes next to an array. Shared memory begins as
NaN.

order   in which threads and blocks run: "forward", "reverse" or "shuffled SEED". A result that
        depends on it shows a race. From STRICT_DEVICE_ORDER, or set here
guard   whether arrays are copied into larger memory for each launch, and back: writes out of
        bounds raise, reads see NaN. STRICT_DEVICE_GUARD=0 switches it off
"""

import ctypes
import functools
import math
import os

import numpy as np

from . import _device
from ._compiler import compiled, kernels_in

ORDERS = ("forward", "reverse", "shuffled")
BLOCK, GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)  # the limits of all GPUs
PAD = 256  # bytes at each end of a guarded array

order = os.environ.get("STRICT_DEVICE_ORDER", "forward")
launches = 0  # so far, of these kernels alone
guard = os.environ.get("STRICT_DEVICE_GUARD", "1") != "0"


class RawModule:
    """CUDA kernels, compiled by the first get_function."""

    def __init__(self, *, code, options=(), backend="nvrtc"):
        if not isinstance(options, tuple):
            raise TypeError("options must be a tuple of strings")
        if backend != "nvrtc":
            raise ValueError(f"backend {backend!r}: only 'nvrtc' needs no CUDA toolkit")
        self.code, self.options = code, options
        self._library = None

    def get_function(self, name):
        """Kernel `name`, to be called with (grid, block, args)."""
        if self._library is None:
            self._library = ctypes.PyDLL(compiled(self.code, self.options))  # keeps the GIL
        kernels = kernels_in(self.code)
        if name not in kernels:
            raise ValueError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(name, self._library, kernels[name])


class RawKernel:
    """A kernel; a call is a launch."""

    def __init__(self, name, library, bounds=""):
        self.name, self._run = name, getattr(library, f"launch_{name}")
        self._run.argtypes = (*[ctypes.c_void_p] * 3, ctypes.c_int, ctypes.c_ulonglong)
        text = ctypes.create_string_buffer(1024)
        getattr(library, f"types_{name}")(text)
        self.types = text.value.decode().split()
        self.most_threads = int(bounds) if bounds.isdigit() else BLOCK[0]

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem:
            raise ValueError("dynamic shared memory is not simulated")
        grid, block = _three(grid, GRID), _three(block, BLOCK)
        if math.prod(block) > self.most_threads:
            raise ValueError(
                f"{self.name}: a block has at most {self.most_threads} threads, got {block}"
            )
        if len(args) != len(self.types):
            raise TypeError(f"{self.name} has {len(self.types)} arguments, got {len(args)}")
        for at, (value, kind) in enumerate(zip(args, self.types, strict=True)):
            known = (kind, {"*u1": "*b1"}.get(kind), "null" if kind.startswith("*") else None)
            if (given := _type(value)) not in known:
                raise TypeError(f"{self.name}: argument {at} must be {kind}, got {given}")
        global launches
        launches += 1
        arrays = [x for x in args if hasattr(x, "_host")]
        hosts = [_device.host_of(x) if hasattr(x, "_host") else x for x in args]
        _device.run(lambda: self._start(grid, block, hosts), *arrays)

    def _start(self, grid, block, args):
        memory = _Memory(args)
        values = [  # that of an array is its address
            ctypes.c_void_p(memory.address(x)) if isinstance(x, np.ndarray) else _value(x)
            for x in args
        ]
        how, _, seed = order.partition(" ")
        line = self._run(
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            (ctypes.c_void_p * (len(args) or 1))(*map(ctypes.addressof, values)),
            ORDERS.index(how),
            int(seed or 0),
        )
        if line:
            raise RuntimeError(
                f"{self.name}: not all threads of a block reach the barrier in line {line}, or "
                "they reach different ones."
            )
        memory.finish(self.name)


class _Memory:
    """The memory of a launch: that of the arrays, or guarded copies."""

    def __init__(self, args):
        self.copies = []  # (first address, one past the last, the copy between pads)
        spans = sorted(_span(x) for x in args if isinstance(x, np.ndarray) and x.size and guard)
        merged = []  # overlapping arrays share a copy
        for first, end in spans:
            if merged and first < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((first, end))
        for number, (first, end) in enumerate(merged):
            content = _pad(number) + ctypes.string_at(first, end - first) + _pad(number)
            self.copies.append((first, end, ctypes.create_string_buffer(content, len(content))))

    def address(self, array):
        at = _span(array)[0]
        for first, end, copy in self.copies:
            if first <= at < end:
                return ctypes.addressof(copy) + PAD + at - first
        return at

    def finish(self, name):
        """Copy results back, if nothing was written beside them."""
        for number, (first, end, copy) in enumerate(self.copies):
            if not copy[:PAD] == _pad(number) == copy[-PAD:]:
                raise IndexError(f"{name} wrote outside an array of {end - first} bytes.")
            ctypes.memmove(first, ctypes.addressof(copy) + PAD, end - first)


@functools.cache
def _pad(number):
    """What lies beside the array of this number: NaN, and small negative integers.

    It differs between arrays, since NaN that was read beside one may be written beside another.
    """
    low = (np.arange(PAD // 8, dtype=np.uint64) + 37 * number) % 255
    return (np.uint64(2**64 - 1) - low).tobytes()


def _value(x):
    """A number in memory."""
    return np.ctypeslib.as_ctypes_type(np.dtype(type(x)))(x)


def _span(array):
    """The addresses of the first byte and of that after the last."""
    first = array.__array_interface__["data"][0]
    return first, first + array.nbytes


def _three(sizes, limits):
    """A grid or block of three dimensions; CuPy takes 0 as 1."""
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
        raise TypeError(f"grid and block are tuples of one to three integers, got {sizes!r}")
    sizes = tuple(max(1, int(n)) for n in (*sizes, 1, 1)[:3])
    if any(n > most for n, most in zip(sizes, limits, strict=True)):
        raise ValueError(f"CUDA_ERROR_INVALID_VALUE: {sizes} are more than {limits}")
    return sizes


def _type(x):
    """The type of an argument as host_cuda.h writes it. A Python number is wide, as in CuPy."""
    if (host := getattr(x, "_host", None)) is not None:
        if not host.flags.c_contiguous:
            raise ValueError(
                f"A kernel sees the address of an array, not its strides {host.strides}."
            )
        return f"*{host.dtype.kind}{host.dtype.itemsize}"
    if isinstance(x, np.uint64) and not x:
        return "null"  # CuPy also takes None, npr passes numbers alone
    if isinstance(x, np.generic):
        return f"{x.dtype.kind}{x.dtype.itemsize}"
    if isinstance(x, int | float):
        return "i8" if isinstance(x, int) else "f8"
    raise TypeError(f"Unsupported type {type(x)}")
