"""Files with the native code of kernels: written once, read by later processes.

The folder is NUMBA_CACHE_DIR, or else `__pycache__` of this package, or else the user's cache, the
first one that can be written to. A file's name says which kernel it is for, for which types, on
what it was compiled, with which values and from which source; its first line is the SHA-256 of its
name and the rest.

What is loaded is executed, so files and folder must belong to this user, to root or to the owner of
this package, and nobody else may write them. Groups may write to the folder, not to the files. A
file that an untrusted user moves to another name is damaged. As files hold results of compiling,
PYTHONDONTWRITEBYTECODE and sys.pycache_prefix do not apply to them.
"""

import contextlib
import functools
import hashlib
import inspect
import json
import os
import platform
import re
import stat
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from npr.backend import installed
from npr.files.atomic import replacement

HERE = Path(__file__).resolve().parent
_OWN = [str(HERE / name) for name in ("abi.py", "emit.py", "native.py", "object_files.py")]

SUFFIX = ".npr"
OPEN = (
    "other users of this machine may write there, and its content is executed. Set NUMBA_CACHE_DIR "
    "to a private folder"
)


class UnusableFolder(OSError):
    """There is no folder for object files, or it is open to others."""


def candidates() -> Iterator[Path]:
    """The folders, in the order of preference."""
    label = f"npr_{_digest(str(HERE).encode())}"  # of this copy of npr
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"]) / label
    yield HERE / "__pycache__"
    home = Path.home()
    own = {
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"),
        "darwin": home / "Library" / "Caches",
    }
    others = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    yield own.get(sys.platform, others) / label


def folder() -> Path:
    """The folder of object files, which exists afterwards. Raises UnusableFolder."""
    for path in candidates():
        try:
            _make(path)
        except OSError:
            continue
        if os.access(path, os.R_OK | os.W_OK | os.X_OK):
            if open_to_others(path):
                raise UnusableFolder(f"{path} is not used: {OPEN}")
            return path
    raise UnusableFolder("no folder can be written to; set NUMBA_CACHE_DIR to one")


def _make(path: Path) -> None:
    """Make a folder, and those above it, that others cannot write to, whatever the umask."""
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)


def open_to_others(folder: str | Path) -> bool:
    """Whether users that are not trusted may write files to a cache, or replace its folder.

    A parent folder like /tmp is safe: only the owner of a file may move it there.
    """
    if os.name != "posix":  # on other systems the mode does not describe other users
        return False
    here, above = Path(folder).stat(), Path(folder).parent.stat()
    sticky = above.st_mode & stat.S_ISVTX and above.st_uid in _trusted()
    return bool(
        here.st_uid not in _trusted()
        or here.st_mode & stat.S_IWOTH
        or (above.st_mode & stat.S_IWOTH and not sticky)
    )


def _trusted() -> set[int]:
    """Users whose code this process runs anyway."""
    return {os.geteuid(), 0, HERE.stat().st_uid}


def path_for(
    name: str,
    kinds: Sequence[str],
    functions: Iterable[Callable[..., Any]],
    generators: Iterable[Callable[..., Any]] = (),
) -> Path:
    """The file of a kernel's code for these kinds of arguments.

    name        of the kernel
    functions   that the code was compiled from: their bytecode, closures and globals count
    generators  functions whose source file alone counts
    Raises UnusableFolder, OSError if a function is not from a file, and TypeError if one uses a
    value that has no text which stays the same in other processes.
    """
    functions = [inspect.unwrap(function) for function in functions]
    others = [inspect.unwrap(function).__code__ for function in generators]
    files = {code.co_filename for code in [*(f.__code__ for f in functions), *others]}
    program = _Program(functions)
    parts = [
        _label(name),
        _digest(" ".join(kinds).encode()),
        _machine(),
        _digest("\n".join(program.values).encode()),
        _digest("\n".join([*map(_source, sorted({*files, *_OWN})), *program.code]).encode()),
    ]
    return folder() / (".".join(parts) + SUFFIX)


class _Program:
    """What functions compute with, as text.

    code    bytecode, names and constants
    values  of closures, and of the globals and attributes of modules that are named
    """

    def __init__(self, functions: Iterable[Any]) -> None:
        self.code: list[str] = []
        self.values: list[str] = []
        self._seen = set[Any]()
        for function in functions:
            self._function(function)

    def _function(self, function: Any) -> None:
        if function in self._seen:
            return
        self._seen.add(function)
        code = function.__code__
        names = self._code(code)
        cells = function.__closure__ or ()
        found = dict(zip(code.co_freevars, (cell.cell_contents for cell in cells)))
        found |= {x: function.__globals__[x] for x in names if x in function.__globals__}
        for name, value in sorted(found.items()):
            self.values.append(f"{name}={self._value(name, value)}")
            if inspect.ismodule(value):
                held = vars(value)
                self.values += [
                    f"{name}.{x}={self._value(x, held[x])}"
                    for x in names
                    if x in held and not callable(held[x])
                ]

    def _code(self, code: types.CodeType) -> list[str]:
        """Add the code of a function and of those within it; all names in it, sorted."""
        inner = [x for x in code.co_consts if isinstance(x, types.CodeType)]
        constants = [_text("a constant", x) for x in code.co_consts if x not in inner]
        self.code += [code.co_code.hex(), *code.co_names, *code.co_freevars, *constants]
        return sorted({*code.co_names, *(name for one in inner for name in self._code(one))})

    def _value(self, name: str, value: Any) -> str:
        if isinstance(value, types.FunctionType):
            self._function(value)
        if inspect.ismodule(value) or callable(value):
            origin = getattr(value, "__module__", ""), getattr(value, "__name__", "")
            return f"{type(value).__name__} {origin}"
        return _text(name, value)


def _text(name: str, value: Any) -> str:
    """A text that equal values of one type have in all processes. Raises TypeError."""
    match value:
        case tuple():
            return f"({', '.join(_text(name, x) for x in value)})"
        case frozenset():
            return f"{{{', '.join(sorted(_text(name, x) for x in value))}}}"
        case None | bool() | int() | float() | complex() | str() | bytes() | types.EllipsisType():
            return repr(value)
        case np.generic() | np.dtype():
            return f"{type(value).__name__} {value!r}"
    raise TypeError(f"{name} is a {type(value).__name__}")


def read(path: Path) -> tuple[bytes, list[str]] | None:
    """(object code, the symbols that it needs); None if there is no such file.

    Raises ValueError if it is damaged, and OSError if it cannot be read or is not to be trusted.
    """
    try:
        with _opened(path) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    checksum, _, rest = data.partition(b"\n")
    if _checksum(path, rest) != checksum:
        raise ValueError(f"{path} is damaged")
    symbols, _, code = rest.partition(b"\n")
    return code, json.loads(symbols)


def exists(path: Path) -> bool:
    """Whether there is a file that can be read and trusted."""
    try:
        with _opened(path):
            return True
    except OSError:
        return False


def _opened(path: Path) -> BinaryIO:
    """A file that others cannot write, which is asked of the open file. Raises OSError."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no link, no pipe
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | extra))  # noqa: SIM115
    if os.name == "posix":
        found = os.fstat(file.fileno())
        closed = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not (stat.S_ISREG(found.st_mode) and closed and found.st_uid in _trusted()):
            file.close()
            raise PermissionError(f"{path} is not used: other users may have written it")
    return file


def _checksum(path: Path, rest: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\n" + rest).hexdigest().encode()


def write(path: Path, code: bytes, symbols: Sequence[str]) -> None:
    """Write a file, and remove those of the same kernel's earlier source. Raises OSError."""
    rest = json.dumps(symbols).encode() + b"\n" + code
    with replacement(str(path), mode=0o644) as file:
        file.write(_checksum(path, rest) + b"\n" + rest)
    kernel = path.name.rsplit(".", 2)[0]
    for other in path.parent.glob(f"{kernel}.*{SUFFIX}"):
        if other.name != path.name:
            with contextlib.suppress(OSError):  # another process may have removed it
                other.unlink()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _label(name: str) -> str:
    return re.sub(r"\W", "_", name)


@functools.cache
def _source(file: str) -> str:
    """The digest of a source file."""
    return _digest(Path(file).read_bytes())


@functools.cache
def _machine() -> str:
    """The digest of what code depends on beside the source: versions, processor and options."""
    import llvmlite
    from llvmlite import binding

    options = (f"{k}={v}" for k, v in os.environ.items() if k.startswith("NUMBA_"))
    facts = [
        installed("numba"), llvmlite.__version__, np.__version__, sys.version,
        platform.machine(), str(object.__basicsize__), binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        *sorted(one for one in options if not one.startswith("NUMBA_CACHE_DIR=")),
    ]  # fmt: skip
    return _digest("\n".join(facts).encode())
