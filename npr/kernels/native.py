"""Native code of kernels. Numba compiles a loop once; later processes load the object code with
llvmlite alone, since importing and starting Numba takes longer than a short run.

The code of a loop for one tuple of argument types is a C function `int64 op(const int64 *words)`
with a word per argument: of an array the address of its PyArrayObject, id(array), of an integer its
value, of a float the bits of a double. It returns one of:

0  done
1  the loop raised an exception
2  an array is not of the type that the code is for, or it is read-only and written to

The code needs neither Numba's runtime nor Python, so that it may run without the GIL.
"""

import ctypes
import functools
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from npr.backend import MISSING, installed
from npr.kernels import object_files

DONE, RAISED, OTHER_TYPES = range(3)
ARRAYS = "?bBhHiIlLqQfd"  # codes of NumPy for the types of numbers in arrays
_SCALARS = {
    bool: "?",
    int: np.dtype(np.int64).char,
    float: "d",
    # a word cannot hold every uint64
    **{np.dtype(code).type: code for code in "bBhHiIlqfd" if np.dtype(code) != np.uint64},
}
# offsets in a PyArrayObject and in a PyArray_Descr, the same in all versions of NumPy
_HEAD = object.__basicsize__
DATA, NDIM, SHAPE, STRIDES, DESCR, FLAGS = (_HEAD + i for i in (0, 8, 16, 24, 40, 48))
BYTE_ORDER, TYPE_NUMBER = _HEAD + 10, _HEAD + 12


class Loop(Protocol):
    """What of a Kernel is compiled, see npr.kernels.jit."""

    loop: Callable[..., Any]
    calls: Sequence[Callable[..., Any]]
    sums: Sequence[Callable[..., Any]]
    library: Any


class Native:
    """Native code for one tuple of argument types.

    address  of the C function
    format   of its words, as in the module struct: Q an array, q an integer, d a float
    """

    def __init__(self, address: int, kinds: Sequence[str]) -> None:
        self.address = address
        self.format = "".join("Q" if len(k) > 1 else "d" if k in "fd" else "q" for k in kinds)
        self.function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)(address)
        self.pack = struct.Struct(self.format).pack

    def __call__(self, *args: Any) -> int:
        """Run the code on arguments of these types."""
        return self.function(self.words(args))

    def words(self, args: Sequence[Any]) -> bytes:
        """The words of arguments of these types."""
        return self.pack(*[id(x) if type(x) is np.ndarray else x for x in args])


def kinds_of(args: Sequence[Any]) -> tuple[str, ...] | None:
    """The types of arguments, as text; None if native code cannot take them.

    "f2C" is a C-contiguous float32 array with two axes, "f2A" one with any strides, "f" a number.
    """
    kinds = []
    for x in args:
        if type(x) is np.ndarray:
            code = x.dtype.char
            if code not in ARRAYS or not x.dtype.isnative or not x.flags.aligned:
                return None
            kinds.append(f"{code}{x.ndim}{'C' if x.flags.c_contiguous else 'A'}")
        elif type(x) in _SCALARS:
            kinds.append(_SCALARS[type(x)])
        else:
            return None
    return tuple(kinds)


_lock = threading.RLock()


def usable() -> bool:
    """Whether object code can be loaded, and compiled where there is no file of it."""
    return installed("numba") != MISSING and _binding() is not None


def native(kernel: Loop, kinds: Sequence[str]) -> Native | None:
    """The code of a loop for arguments of these kinds; None, and one warning, if there is none."""
    with _lock:
        binding = _binding()
        if binding is None:
            return None
        if kernel.library is not None:
            symbols = kernel.library.symbols()
            if symbols is None:
                return None
            for name, address in symbols.items():
                binding.add_symbol(name, address)
        name = f"{kernel.loop.__module__}.{kernel.loop.__qualname__}"
        code = _from_file(kernel, name, kinds)
        if code is None:
            return None
        try:
            return Native(_load(binding, *code), kinds)
        except Exception as error:
            warn_once(
                "load", f"Native code cannot be loaded ({error}); running on NumPy alone, slower."
            )
            return None


def _from_file(kernel: Loop, name: str, kinds: Sequence[str]) -> tuple[bytes, list[str]] | None:
    """The object code and the symbols that it needs, from a file or compiled now."""
    path = None
    try:
        functions = [kernel.loop, *kernel.calls, *kernel.sums]
        if kernel.library is not None:
            functions.append(kernel.library.symbols)
        path = object_files.path_for(name, kinds, functions)
        found = object_files.read(path)
        if found is not None:
            return found
    except Exception as error:  # whatever a damaged file or a broken system raises
        _warn_about_files(error)
    code = _compile(kernel, kinds)
    if code is not None and path is not None:
        try:
            object_files.write(path, *code)
        except OSError as error:
            _warn_about_files(error)
    return code


def _compile(kernel: Loop, kinds: Sequence[str]) -> tuple[bytes, list[str]] | None:
    if numba() is None:
        return None
    from npr.kernels import emit

    try:
        return emit.object_code(kernel, kinds)
    except Exception as error:  # types that the loop is not for, or another version of Numba
        first, *_ = str(error).splitlines() or [""]
        warn_once(
            "compile",
            f"Numba cannot compile {kernel.loop.__qualname__} for {' '.join(kinds)} "
            f"({type(error).__name__}: {first}); running on NumPy alone, slower.",
        )
        return None


ENTRY = "npr_op"  # the symbol of the C function
_engines: list[Any] = []  # they own the code


def _load(binding: Any, code: bytes, symbols: Sequence[str]) -> int:
    """The address of the C function in object code."""
    missing = [name for name in symbols if binding.address_of_symbol(name) is None]
    if missing:  # LLVM would end the process
        raise RuntimeError(f"there is no {', '.join(missing)}")
    engine = _new_engine(binding)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(ENTRY))


def _new_engine(binding: Any) -> Any:
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(jit=True, codemodel="jitdefault", reloc="default")
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


@functools.cache
def _binding() -> Any:
    """llvmlite.binding, ready to load code; None, after one warning, if it cannot be used."""
    try:
        _check_layout()
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        _new_engine(binding)  # which makes the symbols of this process known
    except Exception as error:
        _warn_about_numba(error)
        return None
    return binding


def _check_layout() -> None:
    """Raise RuntimeError if objects are not laid out as native code expects them."""
    if sys.implementation.name != "cpython" or struct.calcsize("P") != 8:
        raise RuntimeError("kernels are compiled for CPython with 64 bits alone")
    x = np.zeros((3, 5, 7), np.int16)[:, ::2]
    word, number = ctypes.c_int64.from_address, ctypes.c_int32.from_address
    shape, strides = word(id(x) + SHAPE).value, word(id(x) + STRIDES).value
    descr = word(id(x) + DESCR).value
    found = (
        word(id(x) + DATA).value, number(id(x) + NDIM).value,
        [word(shape + 8 * i).value for i in range(3)],
        [word(strides + 8 * i).value for i in range(3)],
        descr, number(descr + TYPE_NUMBER).value,
        ctypes.c_char.from_address(descr + BYTE_ORDER).value, number(id(x) + FLAGS).value,
    )  # fmt: skip
    expected = (
        x.ctypes.data, 3, [3, 3, 7], list(x.strides), id(x.dtype), x.dtype.num, b"=", x.flags.num,
    )  # fmt: skip
    if found != expected:
        raise RuntimeError(f"arrays of NumPy {np.__version__} are not laid out as expected")


@functools.cache
def numba() -> Any:
    """The numba module; None, after one warning, if it cannot be imported."""
    try:
        import numba
    except Exception as error:  # not installed, NumPy too new, llvmlite broken
        _warn_about_numba(error)
        return None
    return numba


def _warn_about_numba(error: Exception) -> None:
    warn_once(
        "import",
        f"Numba cannot be used ({error}); running on NumPy alone, slower. "
        "Install a matching numba, or set NPR_NUMBA=0 to silence this.",
    )


def _warn_about_files(error: Exception) -> None:
    warn_once("cache", f"Compiled kernels cannot be cached ({error}); compiling again.")


_warned: set[str] = set()


def warn_once(topic: str, text: str) -> None:
    if topic not in _warned:
        _warned.add(topic)
        warnings.warn(text, RuntimeWarning, stacklevel=6)
