"""Arrays that record what is computed with them.

A `Traced` holds a NumPy array, or a float that may be another one in the next call. NumPy hands its
functions over to it (__array_ufunc__, __array_function__), and a kernel hands its call over too
(__kernel__): what they compute is computed, and entered in a table. Whatever would reveal a number
(bool, float, a mask as an index) or is not known raises NotCapturableError. So a method that was
traced without that error does the same steps for any numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from npr.capture.calls import NotCapturableError
from npr.capture.table import Table
from npr.kernels import table as kernels
from npr.kernels.jit import Kernel

# Python raises an error where these divide floats by zero
_FAILING = (np.divide, np.floor_divide, np.remainder)
_POWERS = {-1: np.reciprocal, 0.5: np.sqrt, 1: np.positive, 2: np.square}  # as of NumPy's arrays


def plain(x: Any) -> Any:
    """The array, or the float, of a Traced; other objects as they are."""
    if type(x) is not Traced:
        return x
    return float(x.array) if x.is_float else x.array


def _is_number(x: Any) -> bool:
    """Whether x stands for a number of Python."""
    return x.is_float if type(x) is Traced else isinstance(x, (int, float))


def _refused(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: Any, **options: Any) -> NoReturn:
        raise NotCapturableError(what)

    return refuse


def _is_basic(index: Any) -> bool:
    """Whether this index gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or type(p) in (int, slice) for p in parts)


# what operators between floats compute, with the bits of Python; powers may have others
_OPERATORS = (
    np.add, np.subtract, np.multiply, np.true_divide, np.floor_divide, np.remainder, np.negative,
    np.positive, np.absolute, np.greater, np.less, np.greater_equal, np.less_equal, np.equal,
    np.not_equal,
)  # fmt: skip


class Traced(NDArrayOperatorsMixin):
    """An array of a traced call.

    array     the array; of a float a 0-d array of float64
    is_float  whether it is a Python float: then the other operand decides about the type
    """

    __slots__ = ("array", "is_float", "table")

    def __init__(self, array: np.ndarray, table: Table, is_float: bool = False) -> None:
        self.array, self.table, self.is_float = array, table, is_float

    def _new(self, data: np.ndarray) -> "Traced":
        return Traced(data, self.table)

    def __repr__(self) -> str:
        return f"Traced({self.array.dtype}{self.array.shape})"

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    dtype = property(lambda self: self.array.dtype)
    itemsize = property(lambda self: self.array.itemsize)
    strides = property(lambda self: self.array.strides)
    flags = property(lambda self: self.array.flags)
    T = property(lambda self: self._new(self.array.T))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator["Traced"]:
        return (self[i] for i in range(len(self.array)))

    __bool__ = _refused("it branches on the values of an array or number")
    __float__ = __int__ = __index__ = __complex__ = _refused("it converts an array to a number")
    __array__ = __buffer__ = __contains__ = item = tolist = tobytes = _refused(
        "it hands an array to code that is not captured"
    )
    __str__ = __format__ = _refused("it makes a text of an array")
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> NoReturn:
        raise NotCapturableError(f"it uses .{name} of an array")

    # ---- what NumPy and kernels hand over

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        if method == "reduce" and out is None and not {*options} - {"axis", "keepdims", "dtype"}:
            return self._reduce(ufunc, **options)
        if method != "__call__" or options or ufunc.nout != 1 or ufunc.signature is not None:
            name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            raise NotCapturableError(f"it calls np.{name}")
        if out is not None and type(out[0]) is not Traced:
            raise NotCapturableError("it writes to an array that is no argument or attribute")
        values = [plain(x) for x in inputs]
        if all(map(_is_number, inputs)) and ufunc not in _OPERATORS:
            raise NotCapturableError(f"it calls np.{ufunc.__name__} of floats")  # gives a float64
        if ufunc in _FAILING and all(map(_is_number, inputs)) and not isinstance(values[1], int):
            raise NotCapturableError(f"it calls np.{ufunc.__name__} of floats, which may raise")
        types = tuple(type(x) if type(x) in (int, float) else np.asarray(x).dtype for x in values)
        resolved = ufunc.resolve_dtypes((*types, None if out is None else out[0].dtype))
        y = np.asarray(ufunc(*values, **({} if out is None else {"out": out[0].array})))
        if y.dtype != resolved[-1]:
            raise NotCapturableError(f"np.{ufunc.__name__} writes to another type")
        operands = [self._operand(x, dtype) for x, dtype in zip(inputs, resolved)]
        if out is not None:
            for x in operands:
                same = x.shape == y.shape and x.strides == y.strides
                apart = not (same and x.ctypes.data == y.ctypes.data)
                if apart and np.shares_memory(x, y):
                    raise NotCapturableError(
                        f"np.{ufunc.__name__} reads and writes overlapping views"
                    )
        self.table.ufunc(ufunc, operands, y)
        if out is not None:
            return out[0]
        is_float = y.dtype == np.float64 and all(map(_is_number, inputs))
        return Traced(y, self.table, is_float)

    def __pow__(self, p: Any) -> Any:
        # of a number from an array NumPy computes the power itself
        special = self.ndim and type(p) in (int, float)
        ufunc = _POWERS.get(p) if special else None
        return np.power(self, p) if ufunc is None else ufunc(self)

    def _operand(self, x: Any, dtype: np.dtype[Any]) -> np.ndarray:
        """An operand as an array of this type."""
        array: np.ndarray = x.array if type(x) is Traced else np.asarray(x)
        if array.dtype == dtype:
            return array
        if type(x) is Traced or isinstance(x, np.ndarray):
            return self.table.cast(array, dtype)
        return array.astype(dtype)  # a number in the code

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        rule = RULES.get(function)
        if rule is None:
            raise NotCapturableError(f"it calls np.{function.__name__}")
        try:
            return rule(*args, **options)
        except TypeError as error:  # an option that the rule does not know
            raise NotCapturableError(f"it calls np.{function.__name__}: {error}") from error

    def __kernel__(self, kernel: Kernel, args: Sequence[Any]) -> None:
        values = [plain(x) for x in args]
        untraced = [(x, x.copy()) for x in args if isinstance(x, np.ndarray)]
        kernel(*values)
        for x, before in untraced:
            if x.tobytes() != before.tobytes():
                x[...] = before
                raise NotCapturableError(
                    f"{kernel.__name__} writes to an array that is no argument or attribute"
                )
        numbers = [(k, x.array) for k, x in enumerate(args) if type(x) is Traced and x.is_float]
        self.table.kernel(kernel, *values, numbers=numbers)

    # ---- views

    def _view(self, data: np.ndarray) -> "Traced":
        if data.size and not np.may_share_memory(data, self.array):
            raise NotCapturableError("it needs a copy where a view was expected")
        return self._new(data)

    def reshape(self, *shape: Any) -> "Traced":
        data = self.array.reshape(*shape)
        if data.size and not np.may_share_memory(data, self.array):
            return self.copy().reshape(*shape)
        return self._new(data)

    def ravel(self) -> "Traced":
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> "Traced":
        return self._view(self.array.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> "Traced":
        return self._view(self.array.swapaxes(a, b))

    def squeeze(self, axis: Any = None) -> "Traced":
        return self._view(self.array.squeeze(axis))

    def __getitem__(self, index: Any) -> "Traced":
        if not _is_basic(index):
            raise NotCapturableError("it indexes an array by an array")
        parts = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)  # a view of a single number, too
        return self._view(self.array[parts])

    def __setitem__(self, index: Any, value: Any) -> None:
        into = self[index]
        if type(value) is not Traced and not isinstance(value, np.ndarray):
            value = np.asarray(value, self.dtype)
        source = plain(value)
        if np.may_share_memory(into.array, source):
            value = self._new(np.array(source))
            self.table.copy(value.array, source)
        into._fill(value)

    def _fill(self, value: Any) -> None:
        """Copy an array or number, which is broadcast, into this one."""
        self.array[...] = plain(value)
        self.table.copy(self.array, value.array if type(value) is Traced else value)

    # ---- values

    def copy(self, order: str = "C") -> "Traced":
        y = np.array(self.array, order="C")
        self.table.copy(y, self.array)
        return self._new(y)

    def astype(self, dtype: Any, order: Any = "K", copy: bool = True) -> "Traced":
        y = self.array.astype(dtype, order=order, copy=copy)
        if y is self.array:
            return self
        self.table.copy(y, self.array)
        return self._new(y)

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> "Traced":
        return self._reduce(np.add, axis, dtype, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "Traced":
        return self._reduce(np.maximum, axis, None, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> "Traced":
        return self._reduce(np.minimum, axis, None, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        if self.dtype.kind != "f":
            raise NotCapturableError(f"it takes the mean of {self.dtype}")
        total = self.sum(axis, keepdims=keepdims)
        return total / (self.size // (total.size or 1))

    def _reduce(
        self, ufunc: np.ufunc, axis: Any = 0, dtype: Any = None, keepdims: bool = False
    ) -> "Traced":
        x = self.array
        y = np.asarray(ufunc.reduce(x, axis=axis, dtype=dtype, keepdims=True))
        if x.dtype != y.dtype:
            if x.size > np.getbufsize():  # NumPy casts and adds up one part after the other
                raise NotCapturableError(f"it adds up many numbers in {y.dtype}")
            x = self.table.cast(x, y.dtype)
        if axis is None:
            axis = range(x.ndim)
        axes = [a % x.ndim for a in (axis if isinstance(axis, (tuple, range)) else (axis,))]
        if len(axes) > 1 and not x.flags.c_contiguous:
            raise NotCapturableError("it reduces an array that is not contiguous over many axes")
        self.table.reduce(ufunc, x, y, axes)
        return self._new(y if keepdims else y.squeeze(tuple(axes)))

    def argmax(self, axis: Any = None) -> "Traced":
        x, y = self.array, np.asarray(self.array.argmax(axis))
        if x.ndim == 0 or not x.size or axis not in (-1, x.ndim - 1):
            raise NotCapturableError("it calls argmax, not along the last axis")
        rows = self.table.flat(x).reshape(-1, x.shape[-1])
        self.table.kernel(kernels.argmax, rows, y.reshape(-1))
        return self._new(y)


# ---- NumPy's functions


def _table_of(*values: Any) -> Table:
    table: Table = next(x.table for x in values if type(x) is Traced)
    return table


def _where(condition: Any, a: Any, b: Any) -> Traced:
    table = _table_of(condition, a, b)
    y = np.asarray(np.where(plain(condition), plain(a), plain(b)))

    def operand(x: Any, dtype: Any) -> np.ndarray:
        """x in the shape of y, flat; a copy is refreshed by replays if x changes."""
        if type(x) is not Traced and not isinstance(x, np.ndarray):
            return np.full(y.size, x, dtype)
        data: np.ndarray = x.array if type(x) is Traced else x  # type: ignore[assignment]
        if data.shape != y.shape or data.dtype != dtype:
            full = np.empty(y.shape, dtype)
            table.copy(full, data)
            data = full
        return table.flat(data)

    if plain(condition).dtype != bool:
        raise NotCapturableError("it calls np.where with a condition that is not boolean")
    inputs = operand(condition, bool), operand(a, y.dtype), operand(b, y.dtype)
    table.kernel(kernels.select, *inputs, y.reshape(-1))
    return Traced(y, table)


def _joining(join: Callable[..., np.ndarray], new_axis: bool) -> Callable[..., Traced]:
    def rule(arrays: Sequence[Any], axis: int = 0) -> Traced:
        table, values = _table_of(*arrays), [plain(x) for x in arrays]
        y = join(values, axis)
        parts, start = np.moveaxis(y, axis, 0), 0
        for x in values:
            if new_axis:
                table.copy(parts[start], x)
                start += 1
            else:
                stop = start + x.shape[axis]
                table.copy(parts[start:stop], np.moveaxis(x, axis, 0))
                start = stop
        return Traced(y, table)

    return rule


def _filled_like(number: int) -> Callable[..., Traced]:
    def rule(x: Traced, dtype: Any = None, order: Any = "K", shape: Any = None) -> Traced:
        y = _empty_like(x, dtype, order, shape)
        y._fill(np.asarray(number, y.dtype))
        return y

    return rule


def _empty_like(x: Traced, dtype: Any = None, order: Any = "K", shape: Any = None) -> Traced:
    return x._new(np.empty_like(x.array, dtype, order, shape=shape))


def _full_like(
    x: Traced, value: Any, dtype: Any = None, order: Any = "K", shape: Any = None
) -> Traced:
    y = _empty_like(x, dtype, order, shape)
    y[...] = value
    return y


# functions whose Traced arguments are first; others are refused
RULES: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.concatenate: _joining(np.concatenate, False),
    np.stack: _joining(np.stack, True),
    np.empty_like: _empty_like,
    np.zeros_like: _filled_like(0),
    np.ones_like: _filled_like(1),
    np.full_like: _full_like,
    np.copy: lambda x: x.copy(),
    np.sum: lambda x, axis=None, **options: x.sum(axis, **options),
    np.max: lambda x, axis=None, **options: x.max(axis, **options),
    np.min: lambda x, axis=None, **options: x.min(axis, **options),
    np.mean: lambda x, axis=None, **options: x.mean(axis, **options),
    np.argmax: lambda x, axis=None: x.argmax(axis),
    np.clip: lambda x, low, high: np._core.umath.clip(x, low, high),  # type: ignore[attr-defined]
    np.reshape: lambda x, shape: x.reshape(shape),
    np.ravel: lambda x: x.ravel(),
    np.transpose: lambda x, axes=None: x.transpose(axes),
    np.swapaxes: lambda x, a, b: x.swapaxes(a, b),
    np.squeeze: lambda x, axis=None: x.squeeze(axis),
    np.broadcast_to: lambda x, shape: x._view(np.broadcast_to(x.array, shape)),
    np.moveaxis: lambda x, source, target: x._view(np.moveaxis(x.array, source, target)),
    np.expand_dims: lambda x, axis: x._view(np.expand_dims(x.array, axis)),
}
