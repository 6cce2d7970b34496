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
R13  results of elementwise operations, reductions and gathers are C-contiguous, as in CuPy, where
     NumPy keeps the order of transposed operands
R14  copies from and to pinned memory run until an event or a stream was waited for: memory that is
     changed before raises, memory that is read before is NaN
R15  uploads, downloads, waits, launches and calls of cuBLAS are counted, in `counts`
R16  a stream that captures executes nothing: transfers, waits and cuBLAS raise, results are NaN
     until the graph is launched, and memory keeps its content until then
R17  a graph raises if its memory may belong to others when it is launched

R14, R16 and R17 are in cuda.py, which is cupy.cuda; the work itself is in _device.py. There is no
`random`: npr draws on the host. `largest_array` limits the bytes of new arrays, to test what
happens without memory.

It detects: mixed host and device arrays, hidden transfers and synchronizations, names and
parameters that CuPy lacks, unintended float64, use of uninitialized memory, results that depend on
NumPy's memory layout, pinned memory that is reused too early, operations that a graph cannot hold,
graphs whose memory was freed, transfers and launches per update.
Kernels of CUDA sources run too, see raw.py, which detects wrong arguments, writes out of bounds,
threads that miss a barrier, and results that depend on the order of threads.
It does not detect: races that no order of threads shows, GPU rounding (FMA, TF32, other sums),
CuPy's wrap-around of indices out of range (R8: NumPy raises IndexError instead), missing order
between streams, driver errors, speed. No GPU code runs here.
"""

import builtins
import os

import numpy as _np

from . import _device, _launches, cuda
from ._device import (  # noqa: F401
    GraphError,
    PrecisionError,
    StagingError,
    SynchronizationError,
    allow_sync,
    counts,
    host_of,
)
from .raw import RawModule  # noqa: F401

__version__ = "14.2.0"  # the CuPy whose names and parameters are offered

_TOO_WIDE = (_np.float64, _np.complex128) if os.environ.get("NPR_DTYPE") != "float64" else ()

float32, float64, int32, int64, bool_ = _np.float32, _np.float64, _np.int32, _np.int64, _np.bool_
dtype, newaxis, pi, inf, nan = _np.dtype, None, _np.pi, _np.inf, _np.nan


def is_available():
    """Whether there is a GPU: always True here."""
    return True


# ---- transfers


def asarray(a, dtype=None, order=None, *, blocking=False):
    """A device array; a host array is uploaded and counted."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    source = _np.asarray(a, dtype, order="C")
    cuda.upload(source)
    return _wrap(_np.array(source))


def array(a, dtype=None):
    """A new device array."""
    return a.astype(dtype or a.dtype) if isinstance(a, ndarray) else asarray(a, dtype)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """A host array; a device array is downloaded and counted."""
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    if out is None:
        return _np.asarray(a)
    _np.copyto(out, a)
    return out


def _wrap(value):
    """The device array of a NumPy result; scalars become 0-d arrays (R3), float64 raises (R10)."""
    host = _np.asarray(value)
    if host.dtype in _TOO_WIDE:
        raise PrecisionError(f"A {host.dtype} array of shape {host.shape} was made; see R10.")
    if largest_array is not None and host.nbytes > largest_array:
        raise cuda.OutOfMemoryError(host.nbytes, 0)
    result = object.__new__(ndarray)
    result._host, result._base = host, None
    result._memory = _device.allocated(result)
    return result


def _new(function, *args, **options):
    """The device array that a kernel computes, in new memory."""
    return _wrap(_device.new(function, *args, **options))


def _part(source, host):
    """The device array of a view of another one's memory."""
    result = object.__new__(ndarray)
    result._host, result._memory = host, None
    result._base = source if source._base is None else source._base
    return result


def _view(source, function, *args, **options):
    """The result of a function of one array: a view, or where none is possible a copy by one
    kernel.
    """
    host = function(source._host, *args, **options)
    if host.size == 0 or _np.may_share_memory(host, source._host):
        return _part(source, host)
    return _new(function, host_of(source), *args, **options)


def _argument(value):
    """The argument for NumPy: the memory of a device array; a host array raises (R2)."""
    if isinstance(value, ndarray):
        return host_of(value)
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
        _device.read("Boolean indexing")
    return _argument(index)


def _arrays_in(index):
    """The number of index arrays in an index."""
    parts = index if isinstance(index, tuple) else (index,)
    return builtins.sum(isinstance(part, _np.ndarray) for part in parts)


# ---- the array


largest_array = None  # bytes; new arrays that are larger raise OutOfMemoryError


class ndarray:
    """An array that simulates one on a GPU."""

    __slots__ = ("__weakref__", "_base", "_host", "_memory")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None):
        self._base, self._memory = None, memptr
        if memptr is None:
            other = empty(shape, dtype)
            self._host, self._memory = other._host, other._memory
        else:
            self._host = _np.ndarray(shape, dtype, memptr.mem._bytes(), memptr._offset)

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    strides = property(lambda self: self._host.strides)
    base = property(lambda self: self._base)
    device = property(lambda self: cuda.Device(0))
    T = property(lambda self: _part(self, self._host.T))

    @property
    def data(self):
        """The address of the first entry; it keeps the memory."""
        owner = self if self._base is None else self._base
        pointer = owner._memory
        memory = cuda.Memory(owner.nbytes, holder=owner) if pointer is None else pointer.mem
        return cuda.MemoryPointer(memory, cuda.address(self._host) - memory.ptr)

    def _holder(self):
        """What must live on, so that the memory is not freed."""
        owner = self if self._base is None else self._base
        return owner if owner._memory is None else owner._memory.mem._holder

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

    def get(self, stream=None, order="C", out=None, blocking=True):
        """The array on the host; see R14 for a copy that does not block."""
        if out is None:
            out = _np.empty(self.shape, self.dtype)
        elif not isinstance(out, _np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        elif (out.dtype, out.shape) != (self.dtype, self.shape):
            raise TypeError(f"{self.dtype}{self.shape} is not {out.dtype}{out.shape}")
        elif not out.flags.c_contiguous:
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        cuda.download(self._host, out, stream, blocking)
        return out

    def set(self, arr, stream=None):
        """Copy a host array here; see R14 for pinned memory."""
        if not isinstance(arr, _np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (arr.dtype, arr.shape) != (self.dtype, self.shape):
            raise TypeError(f"{arr.dtype}{arr.shape} cannot be set to {self.dtype}{self.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        arr = _np.ascontiguousarray(arr)
        cuda.upload(arr, stream)
        _np.copyto(self._host, arr)

    # reading values (R4)
    def _read(self, what):
        _device.read(what)
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
            _device.read("Walking along a vector")
        return (self[i] for i in range(len(self)))

    # selecting and assigning
    def __getitem__(self, index):
        index = _index(index)
        arrays = _arrays_in(index)
        if arrays:
            return _new(host_of(self).__getitem__, index, launches=_launches.gathers(arrays))
        part = self._host[index]
        if not isinstance(part, _np.ndarray):  # an entry; CuPy has a view of it, too
            part = self._host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return _part(self, part)

    def __setitem__(self, index, value):
        where = _index(index)
        arrays = _arrays_in(where)
        if arrays:  # R7
            hits = _np.zeros(self.shape, int)
            _np.add.at(hits, where, 1)
            if (hits > 1).any():
                raise ValueError("Assigning twice to one place has no defined result on a GPU.")
        host, value = host_of(self), _operand(value)
        _device.write(
            lambda: host.__setitem__(where, value), host, launches=_launches.gathers(arrays)
        )

    # shapes and copies
    def reshape(self, *shape):
        return _view(self, _np.ndarray.reshape, *shape)

    def transpose(self, *axes):
        return _part(self, self._host.transpose(*axes))

    def view(self, dtype=None):
        return _part(self, self._host.view() if dtype is None else self._host.view(dtype))

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return _new(host_of(self).astype, dtype)

    def copy(self):
        return _new(host_of(self).copy)

    def flatten(self):
        return _new(host_of(self).flatten)

    def fill(self, value):
        host, value = host_of(self), _operand(value)
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


class ElementwiseKernel:
    """An expression in C for each element, such as "y = g == 0 ? T(0) : g * x".

    All arrays have one type T, and numbers become T. It is evaluated by NumPy: it may have numbers,
    names, comparisons, arithmetic, T(...) and one `?`.
    """

    def __init__(self, in_params, out_params, operation, name="kernel"):
        (kind, result), names = out_params.split(), [part.split() for part in in_params.split(",")]
        target, expression = operation.split(" = ")
        if {kind, *(kind for kind, _ in names)} != {"T"} or target != result:
            raise ValueError(f"{in_params} -> {out_params}: {operation} is not simulated")
        self.__name__, self._names = name, [name for _, name in names]
        condition, _, choices = expression.partition(" ? ")
        if choices:
            expression = f"where({condition}, {', '.join(choices.split(' : '))})"
        self._code = compile(expression, name, "eval")

    def __call__(self, *args):
        kinds = {x.dtype for x in args if isinstance(x, ndarray)}
        if len(kinds) != 1 or len(args) != len(self._names):
            raise TypeError(f"{self.__name__}({', '.join(self._names)}) got arrays of {kinds}")
        T = kinds.pop().type
        values = [x if isinstance(x, _np.ndarray) else T(x) for x in map(_operand, args)]
        names = {"T": T, "where": _np.where, **dict(zip(self._names, values, strict=True))}

        def evaluate():
            with _np.errstate(all="ignore"):
                return eval(self._code, {}, names)

        return _new(evaluate)


def _into(out):
    if not isinstance(out, ndarray):
        raise TypeError("Output arguments type must be cupy.ndarray")
    return host_of(out)


class _Add(ufunc):
    def at(self, a, indices, b):
        """a[indices] += b, where repeated indices accumulate."""
        target, where, value = _into(a), _index(indices), _operand(b)
        launches = _launches.gathers(_arrays_in(where))
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
    "xor": "bitwise_xor",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_name}__", _binary(globals()[_function]))
    setattr(ndarray, f"__r{_name}__", _reflected(globals()[_function]))
    setattr(ndarray, f"__i{_name}__", _in_place(globals()[_function]))
for _name, _function in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_name}__", _binary(globals()[_function]))
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", _unary(globals()[_function]))


class _Matmul(ufunc):
    def __call__(self, a, b, out=None):
        hosts = _argument(a), _argument(b)
        launches = _launches.matmul(*hosts)
        if out is None:
            return _new(_np.matmul, *hosts, launches=launches)
        target = _into(out)
        _device.write(lambda: _np.matmul(*hosts, out=target), target, launches=launches)
        return out


matmul = _Matmul("matmul")
ndarray.__matmul__, ndarray.__rmatmul__ = _binary(matmul), _reflected(matmul)
# CuPy has no __imatmul__


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


def _checked(name, signature):
    """A function that raises unless CuPy's function of this name has these parameters."""
    parameters = _names(signature)

    def check(args, options):
        excess = len(args) > len(parameters) and "*" not in parameters
        unknown = options.keys() - parameters
        if excess or unknown:
            raise TypeError(f"Wrong arguments {unknown or args} for cupy.{name}({signature})")

    return check


def _offer(name, signature):
    """NumPy's function on device arrays, without parameters that CuPy lacks."""
    numpy_function, check = getattr(_np, name), _checked(name, signature)
    kernels = _launches.of(name)

    def function(*args, out=None, **options):
        check(args, options if out is None else {**options, "out": out})
        launches = kernels(*args, **options)
        if out is not None:
            target = _into(out)
            args, options = [*map(_argument, args)], _arguments(options)
            _device.write(
                lambda: numpy_function(*args, out=target, **options), target, launches=launches
            )
            return out
        args, options = [*map(_argument, args)], _arguments(options)
        return _new(numpy_function, *args, launches=launches, **options)

    def view(*args, **options):
        check(args, options)
        source, *rest = args
        _argument(source)
        return _view(source, numpy_function, *rest, **options)

    function = view if name in VIEWS else function
    function.__name__ = function.__qualname__ = name
    return function


def _arguments(options):
    return {name: _argument(value) for name, value in options.items()}


for _name, _signature in SIGNATURES.items():
    globals()[_name] = _offer(_name, _signature)
for _name in METHODS:
    setattr(ndarray, _name, globals()[_name])


def empty(shape, dtype=float):
    """New memory: NaN, or the smallest integer, so that reading it is detected (R9)."""
    return _wrap(_device.empty(shape, dtype))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    if order != "C" and not prototype.flags.c_contiguous:
        raise ValueError("CuPy's new array would have the order of the other one")
    return empty(prototype.shape if shape is None else shape, dtype or prototype.dtype)


def copyto(dst, src):
    """Copy the entries of an array, or a number, to another array."""
    target, source = _into(dst), _operand(src)
    _device.write(lambda: _np.copyto(target, source), target)


def _data_dependent(name):
    def function(a):
        _device.read(f"{name}()")
        return _wrap(getattr(_np, name)(_argument(a)))

    return function


nonzero = ndarray.nonzero
flatnonzero, argwhere, unique = map(_data_dependent, ("flatnonzero", "argwhere", "unique"))


def get_default_memory_pool():
    return cuda._pool


def get_default_pinned_memory_pool():
    return cuda._pinned_pool
