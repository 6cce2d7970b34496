"""A strict test double of CuPy: it computes on the host and raises on slow or undefined GPU use.

Put tests/strict_device on PYTHONPATH and set NPR_BACKEND=cupy: `import cupy` then finds this
module. Its `ndarray` wraps a NumPy array and is not one, so the memory is reachable only through
the names listed here. The rules:

R1   implicit conversion of a device array to a NumPy array raises, with CuPy's text
R2   a host array as operand, index or assigned value raises (CuPy uploads some of them silently)
R3   a reduction returns a 0-d device array, never a Python or NumPy scalar
R4   bool, int, float, item, tolist, format, print, `in` and iterating over a vector read values,
     so the CPU would wait for the GPU: they raise outside `with allow_sync():`. Iterating over the
     rows of a matrix is allowed: CuPy's __iter__ only indexes, and rows are still device arrays.
R5   results whose shape depends on values (boolean masks, nonzero, unique) also wait: they raise
R6   only the parameters that CuPy has: no where= or initial= in reductions, no setflags
R7   assigning through an integer index with duplicates raises: a GPU writes in any order
R9   new `empty` memory is NaN (integers: the smallest), so that reading it is detected
R10  a float64 result raises where NPR_DTYPE is float32
R15  uploads, downloads, synchronizations, launches and calls of cuBLAS are counted, in `counts`

There is no `random`: npr draws on the host.

It detects: mixed host and device arrays, hidden transfers and synchronizations, names and
parameters that CuPy lacks, unintended float64, use of uninitialized memory, transfers per update.
It does not detect: errors in kernel sources, races and the order of atomics, GPU rounding (FMA,
TF32, other sums), CuPy's wrap-around of indices out of range (NumPy raises IndexError instead),
stream order, out-of-memory errors, driver errors, speed. No GPU code runs here.
"""

import builtins
import os

import numpy as _np

from . import _device
from ._device import PrecisionError, SynchronizationError, allow_sync, counts  # noqa: F401

__version__ = "14.2.0"  # the CuPy whose names and parameters are offered

_TOO_WIDE = (_np.float64, _np.complex128) if os.environ.get("NPR_DTYPE") != "float64" else ()

float32, float64, int32, int64, bool_ = _np.float32, _np.float64, _np.int32, _np.int64, _np.bool_
dtype, newaxis, pi, inf, nan = _np.dtype, None, _np.pi, _np.inf, _np.nan


def is_available():
    """Whether there is a GPU: always True here."""
    return True


# ---- transfers


def asarray(a, dtype=None):
    """A device array; a host array is uploaded and counted."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    counts.uploads += 1
    return _wrap(_np.array(a, dtype))


def array(a, dtype=None):
    """A new device array."""
    return a.astype(dtype or a.dtype) if isinstance(a, ndarray) else asarray(a, dtype)


def asnumpy(a):
    """A host array; a device array is downloaded and counted."""
    if not isinstance(a, ndarray):
        return _np.asarray(a)
    counts.downloads += 1
    counts.launches += not a._host.flags.c_contiguous  # copied within the device first
    return a._host.copy()


def _wrap(value):
    """The device array of a NumPy result; scalars become 0-d arrays (R3), float64 raises (R10)."""
    host = _np.asarray(value)
    if host.dtype in _TOO_WIDE:
        raise PrecisionError(f"A {host.dtype} array of shape {host.shape} was made; see R10.")
    result = object.__new__(ndarray)
    result._host = host
    return result


def _new(function, *args, **options):
    """The device array that one kernel computes, in new memory."""
    return _wrap(_device.new(function, *args, **options))


def _view(function, source, *args):
    """A view of device memory, which needs no kernel; a copy, by one, where none is possible."""
    host = function(source, *args)
    if host.size == 0 or _np.may_share_memory(host, source):
        return _wrap(host)
    return _new(function, source, *args)


def _argument(value):
    """The argument for NumPy: the memory of a device array; a host array raises (R2)."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, _np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_argument(item) for item in value)
    return value


def _operand(value):
    """An argument of arithmetic: a device array or a number."""
    if isinstance(value, (ndarray, bool, int, float, complex, _np.generic)):
        return _argument(value)
    raise TypeError(f"Unsupported type {type(value)}")


def _index(index):
    """An index without host arrays (R2) and without masks (R5)."""
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    if isinstance(index, (list, _np.ndarray)):
        raise TypeError("A host array or list as an index would be uploaded silently; see R2.")
    if isinstance(index, (bool, _np.bool_)) or getattr(index, "dtype", None) == _np.bool_:
        _device.synchronize("Boolean indexing")
    return _argument(index)


def _arrays_in(index):
    """The number of index arrays in an index."""
    parts = index if isinstance(index, tuple) else (index,)
    return builtins.sum(isinstance(part, _np.ndarray) for part in parts)


def _gathers(arrays):
    """Kernels of an index with this many index arrays: CuPy first combines several to one."""
    return arrays + 2 if arrays > 1 else 1


# ---- the array


class ndarray:
    """An array that simulates one on a GPU."""

    __slots__ = ("_host",)
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float):
        self._host = empty(shape, dtype)._host

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: _wrap(self._host.T))

    def __len__(self):
        return len(self._host)

    # conversions to NumPy raise (R1)
    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        hosts = [x for x in inputs if isinstance(x, _np.ndarray)]
        raise TypeError(
            f"Unsupported type {type(hosts[0])}"
            if hosts
            else f"np.{ufunc.__name__} or a NumPy scalar met a device array: use xp and numbers."
        )

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"np.{function.__name__} got a device array: use xp.{function.__name__}.")

    def get(self):
        return asnumpy(self)

    # reading values (R4)
    def _read(self, what):
        _device.synchronize(what)
        return self._host

    def __bool__(self):
        return bool(self._read("bool()"))

    def __int__(self):
        return int(self._read("int()"))

    def __float__(self):
        return float(self._read("float()"))

    def __complex__(self):
        return complex(self._read("complex()"))

    def __format__(self, spec):
        return format(self._read("format()")[()], spec)

    def __repr__(self):
        return repr(self._read("repr()"))

    def __str__(self):
        return str(self._read("str()"))

    def __contains__(self, value):
        return value in self._read("`in`")

    def item(self):
        return self._read("item()").item()

    def tolist(self):
        return self._read("tolist()").tolist()

    def nonzero(self):
        return tuple(_wrap(index) for index in self._read("nonzero()").nonzero())

    def __iter__(self):
        if self.ndim < 2:
            _device.synchronize("Walking along a vector")
        return (self[i] for i in range(len(self)))

    # selecting and assigning
    def __getitem__(self, index):
        index = _index(index)
        arrays = _arrays_in(index)
        if not arrays:
            return _wrap(self._host[index])
        return _wrap(_device.new(self._host.__getitem__, index, launches=_gathers(arrays)))

    def __setitem__(self, index, value):
        where = _index(index)
        arrays = _arrays_in(where)
        if arrays:  # R7
            hits = _np.zeros(self.shape, int)
            _np.add.at(hits, where, 1)
            if (hits > 1).any():
                raise ValueError("Assigning twice to one place has no defined result on a GPU.")
        host, value = self._host, _operand(value)
        _device.write(lambda: host.__setitem__(where, value), host, launches=_gathers(arrays))

    # shapes and copies
    def reshape(self, *shape):
        return _view(lambda x: x.reshape(*shape), self._host)

    def transpose(self, *axes):
        return _wrap(self._host.transpose(*axes))

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return _new(self._host.astype, dtype)

    def copy(self):
        return _new(self._host.copy)

    def flatten(self):
        return _new(self._host.flatten)

    def fill(self, value):
        host, value = self._host, _operand(value)
        _device.write(lambda: host.fill(value), host)


def _names(text):
    return text.split()


# ---- elementwise functions: as in CuPy, with out= and dtype=, without where=


class ufunc:
    """NumPy's ufunc of the same name, on device arrays and numbers."""

    def __init__(self, name):
        self._numpy, self.__name__ = getattr(_np, name), name

    def __call__(self, *args, out=None, dtype=None):
        values = [_operand(arg) for arg in args]
        if out is None:
            return _new(self._numpy, *values, dtype=dtype)
        target = _into(out)
        _device.write(lambda: self._numpy(*values, out=target, dtype=dtype), target)
        return out


def _into(out):
    if not isinstance(out, ndarray):
        raise TypeError("Output arguments type must be cupy.ndarray")
    return out._host


class _Add(ufunc):
    def at(self, a, indices, b):
        """a[indices] += b, where repeated indices accumulate."""
        target, where, value = _into(a), _index(indices), _operand(b)
        launches = _gathers(_arrays_in(where))
        _device.write(lambda: _np.add.at(target, where, value), target, launches=launches)


add = _Add("add")
for _name in _names("""
abs absolute arccos arcsin arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil cos cosh
divide equal exp exp2 expm1 floor floor_divide fmax fmin greater greater_equal hypot invert isfinite
isinf isnan less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or
logical_xor maximum minimum multiply negative not_equal power reciprocal remainder rint sign
signbit sin sinh sqrt square subtract tan tanh true_divide
"""):
    globals()[_name] = ufunc(_name)


class _Products(ufunc):
    """matmul, by cuBLAS."""

    def __call__(self, *args, **options):
        counts.products += 1
        return super().__call__(*args, **options)


matmul = _Products("matmul")


def _binary(function):
    def operator(self, other):
        # objects such as Tensor set __array_ufunc__ = None: then their reflected operator runs
        if not isinstance(other, ndarray) and getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        return function(self, other)

    return operator


def _reflected(function):
    return lambda self, other: function(other, self)


def _in_place(function):
    return lambda self, other: function(self, other, out=self)


def _unary(function):
    return lambda self: function(self)


for _name, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "matmul": "matmul",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_name}__", _binary(globals()[_function]))
    setattr(ndarray, f"__r{_name}__", _reflected(globals()[_function]))
    if _name != "matmul":  # CuPy has no __imatmul__
        setattr(ndarray, f"__i{_name}__", _in_place(globals()[_function]))
for _name, _function in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_name}__", _binary(globals()[_function]))
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", _unary(globals()[_function]))


# ---- everything else: only names and parameters that CuPy has (R6)

SIGNATURES = {
    # reductions; METHODS are also methods of the array
    "sum": "a axis dtype out keepdims",
    "prod": "a axis dtype out keepdims",
    "mean": "a axis dtype out keepdims",
    "std": "a axis dtype out ddof keepdims",
    "var": "a axis dtype out ddof keepdims",
    "max": "a axis out keepdims",
    "min": "a axis out keepdims",
    "any": "a axis out keepdims",
    "all": "a axis out keepdims",
    "argmax": "a axis out keepdims",
    "argmin": "a axis out keepdims",
    "count_nonzero": "a axis",
    "array_equal": "a1 a2 equal_nan",
    "cumsum": "a axis dtype out",
    "cumprod": "a axis dtype out",
    # selecting, joining, reordering
    "clip": "a a_min a_max out",
    "where": "condition x y",
    "take": "a indices axis out",
    "take_along_axis": "a indices axis",
    "concatenate": "tup axis out",
    "stack": "tup axis out",
    "expand_dims": "a axis",
    "squeeze": "a axis",
    "broadcast_to": "array shape",
    "moveaxis": "a source destination",
    "swapaxes": "a axis1 axis2",
    "transpose": "a axes",
    "reshape": "a newshape",
    "ravel": "a",
    "flip": "a axis",
    "roll": "a shift axis",
    "repeat": "a repeats axis",
    "tile": "A reps",
    "sort": "a axis",
    "argsort": "a axis",
    "diagonal": "a offset axis1 axis2",
    "tril": "m k",
    "triu": "m k",
    "ascontiguousarray": "a dtype",
    # products
    "dot": "a b out",
    "outer": "a b out",
    "tensordot": "a b axes",
    "einsum": "subscripts *",
    # new arrays; empty and empty_like are below
    "zeros": "shape dtype",
    "ones": "shape dtype",
    "full": "shape fill_value dtype",
    "zeros_like": "a dtype",
    "ones_like": "a dtype",
    "full_like": "a fill_value dtype",
    "arange": "start stop step dtype",
    "linspace": "start stop num endpoint retstep dtype axis",
    "eye": "N M k dtype",
}
METHODS = _names("""
sum prod mean std var max min any all argmax argmin cumsum cumprod clip take dot squeeze swapaxes
ravel repeat diagonal
""")


VIEWS = _names("""
expand_dims squeeze broadcast_to moveaxis swapaxes transpose reshape ravel flip diagonal
ascontiguousarray
""")  # they copy only where they must
PRODUCTS = _names("dot tensordot einsum")  # by cuBLAS
# kernels of a call, where CuPy needs several; 0: one per joined array
LAUNCHES = {"concatenate": 0, "stack": 0, "array_equal": 2, "var": 2, "std": 3, "eye": 2}


def _offer(name, signature):
    """NumPy's function on device arrays, without parameters that CuPy lacks."""
    numpy_function, parameters = getattr(_np, name), _names(signature)
    launches = LAUNCHES.get(name, 1)

    def function(*args, **options):
        excess = len(args) > len(parameters) and "*" not in parameters
        unknown = set(options) - set(parameters)
        if excess or unknown:
            raise TypeError(f"Wrong arguments {unknown or args} for cupy.{name}({signature})")
        if name == "where" and len(args) == 1:
            _device.synchronize("where() of a condition alone")
        counts.products += name in PRODUCTS
        out = options.pop("out", None)
        arguments, options = [*map(_argument, args)], _arguments(options)
        n = launches if launches else len(arguments[0])
        if out is not None:
            target = _into(out)
            _device.write(
                lambda: numpy_function(*arguments, out=target, **options), target, launches=n
            )
            return out
        if name in VIEWS:
            return _view(lambda _: numpy_function(*arguments, **options), arguments[0])
        return _wrap(_device.new(numpy_function, *arguments, launches=n, **options))

    function.__name__ = function.__qualname__ = name
    return function


def _arguments(options):
    return {name: _argument(value) for name, value in options.items()}


for _name, _signature in SIGNATURES.items():
    globals()[_name] = _offer(_name, _signature)
for _name in METHODS:
    setattr(ndarray, _name, globals()[_name])


def empty(shape, dtype=float):
    return _wrap(_device.empty(shape, dtype))


def empty_like(prototype, dtype=None):
    return empty(prototype.shape, dtype or prototype.dtype)


def _data_dependent(name):
    def function(a):
        _device.synchronize(f"{name}()")
        return _wrap(getattr(_np, name)(_argument(a)))

    return function


nonzero = ndarray.nonzero
flatnonzero, argwhere, unique = map(_data_dependent, ("flatnonzero", "argwhere", "unique"))


# ---- CUDA sources

from .raw import RawModule  # noqa: E402, F401
