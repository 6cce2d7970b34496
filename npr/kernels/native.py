"""Native code of kernels. Numba compiles a loop once; later processes load the object code with
llvmlite alone, since importing and starting Numba takes longer than a short run.
"""

import ctypes
import functools
import os
import struct
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npr.backend import MISSING, installed
from npr.kernels import abi, object_files
from npr.kernels.abi import Loop

ARRAYS = "?bBhHiIlLqQfd"  # codes of NumPy for the types of numbers in arrays
_SCALARS: dict[type, str] = {
    bool: "?",
    int: np.dtype(np.int64).char,
    float: "d",
    # a word cannot hold every uint64
    **{np.dtype(code).type: code for code in "bBhHiIlqfd" if np.dtype(code) != np.uint64},
}


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
        return int(self.function(self.words(args)))

    def words(self, args: Sequence[Any]) -> bytes:
        """The words of arguments of these types."""
        words: bytes = self.pack(*[id(x) if type(x) is np.ndarray else x for x in args])
        return words


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
        elif type(x) in _SCALARS and not (type(x) is int and x.bit_length() > 63):
            kinds.append(_SCALARS[type(x)])
        else:
            return None
    return tuple(kinds)


_lock = threading.RLock()
_failures: dict[tuple[Any, tuple[str, ...]], str] = {}  # of a loop and kinds: why there is no code


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
        code = _from_file(kernel, kinds)
        if code is None:
            return None
        try:
            return Native(_load(binding, *code), kinds)
        except Exception as error:
            _failures[kernel.loop, tuple(kinds)] = f"its code cannot be loaded ({error})"
            warn_once(
                "load", f"Native code cannot be loaded ({error}); running on NumPy alone, slower."
            )
            return None


def why_not(kernel: Loop, kinds: Sequence[str]) -> str:
    """Why `native` gave nothing."""
    if not usable():
        return "Numba cannot be used"
    if kernel.library is not None and kernel.library.symbols() is None:
        return f"there is no {kernel.library.name}"
    return _failures.get((kernel.loop, tuple(kinds)), "it was not tried")


def has_file(kernel: Loop, kinds: Sequence[str]) -> bool:
    """Whether there is a file with this code."""
    try:
        return object_files.exists(_path(kernel, kinds))
    except Exception:  # of a system without a folder for files, too
        return False


def _path(kernel: Loop, kinds: Sequence[str]) -> Path:
    """The file with the code of a loop; raises OSError and others if there can be none."""
    generators = [] if kernel.library is None else [kernel.library.symbols]
    name = f"{kernel.loop.__module__}.{kernel.loop.__qualname__}"
    functions = [kernel.loop, *kernel.calls, *kernel.sums]
    return object_files.path_for(name, kinds, functions, generators)


def _from_file(kernel: Loop, kinds: Sequence[str]) -> tuple[bytes, list[str]] | None:
    """The object code and the symbols that it needs, from a file or compiled now."""
    path = None
    try:
        path = _path(kernel, kinds)
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
        why = f"for {' '.join(kinds)} ({type(error).__name__}: {first})"
        _failures[kernel.loop, tuple(kinds)] = f"Numba cannot compile it {why}"
        warn_once(
            "compile",
            f"Numba cannot compile {kernel.loop.__qualname__} {why}; "
            "running on NumPy alone, slower.",
        )
        return None


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
    return int(engine.get_function_address(abi.ENTRY))


def _new_engine(binding: Any) -> Any:
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(jit=True, codemodel="jitdefault", reloc="default")
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


@functools.cache
def _binding() -> Any:
    """llvmlite.binding, ready to load code; None, after one warning, if it cannot be used."""
    try:
        abi.check_layout()
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        _new_engine(binding)  # which makes the symbols of this process known
    except Exception as error:
        _warn_about_numba(error)
        return None
    return binding


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


_PACKAGE = str(object_files.HERE.parent) + os.sep
_warned: set[str] = set()


def warn_once(topic: str, text: str) -> None:
    """Warn, for the line outside of npr that led here."""
    if topic in _warned:
        return
    _warned.add(topic)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level)
