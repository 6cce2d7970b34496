"""Files with the native code of kernels: written once, read by later processes.

The folder is NUMBA_CACHE_DIR, or else `__pycache__` of this package, or else the user's cache, the
first one that can be written to. A file's name says which kernel it is for, for which types, on
what it was compiled and from which source; its first line is the SHA-256 of the rest.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npr.backend import installed
from npr.files.atomic import replacement

HERE = Path(__file__).resolve().parent
_OWN = [str(HERE / name) for name in ("abi.py", "emit.py", "native.py", "object_files.py")]

SUFFIX = ".npr"
OPEN = (
    "every user of this machine may write there, and its content is executed. Set NUMBA_CACHE_DIR "
    "to a private folder"
)


class UnusableFolder(OSError):
    """There is no folder for object files, or it is open to all."""


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
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.R_OK | os.W_OK | os.X_OK):
            if open_to_all(path):
                raise UnusableFolder(f"{path} is not used: {OPEN}")
            return path
    raise UnusableFolder("no folder can be written to; set NUMBA_CACHE_DIR to one")


def open_to_all(folder: str | Path) -> bool:
    """Whether any user may write files to a cache, or replace its folder.

    A parent folder like /tmp is safe if this user owns it: only the owner of a file may move it
    there.
    """
    if os.name != "posix":  # on other systems the mode does not describe other users
        return False
    here, above = Path(folder).stat(), Path(folder).parent.stat()
    sticky = above.st_mode & stat.S_ISVTX and above.st_uid == os.getuid()
    return bool(here.st_mode & stat.S_IWOTH or (above.st_mode & stat.S_IWOTH and not sticky))


def path_for(name: str, kinds: Sequence[str], functions: Iterable[Callable[..., Any]]) -> Path:
    """The file of a kernel's code for these kinds of arguments.

    name       of the kernel
    functions  whose source the code was compiled from
    Raises UnusableFolder, and OSError if a function is not from a file.
    """
    sources = {inspect.unwrap(function).__code__.co_filename for function in functions}
    parts = [_label(name), _digest(" ".join(kinds).encode()), _machine(),
             _digest("".join(map(_source, sorted({*sources, *_OWN}))).encode())]  # fmt: skip
    return folder() / (".".join(parts) + SUFFIX)


def read(path: Path) -> tuple[bytes, list[str]] | None:
    """(object code, the symbols that it needs); None if there is no such file.

    Raises ValueError if it is damaged, and OSError if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, _, rest = data.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        raise ValueError(f"{path} is damaged")
    symbols, _, code = rest.partition(b"\n")
    return code, json.loads(symbols)


def write(path: Path, code: bytes, symbols: Sequence[str]) -> None:
    """Write a file, and remove those of the same kernel's earlier source. Raises OSError."""
    rest = json.dumps(symbols).encode() + b"\n" + code
    with replacement(str(path)) as file:
        file.write(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
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
