"""Atomic replacement of a file: after a crash it has either the old or the new content.

The new content is written to a temporary file in the same folder, flushed to disk, and renamed.
"""

import contextlib
import errno
import io
import os
import time
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacement(path: str, mode: int | None = None) -> Iterator[io.BufferedWriter]:
    """A new file to write to. It replaces `path` when the block ends without an exception.

    mode   of the file, whatever the umask; by default the umask decides
    """
    check_folder(path)
    folder, name = os.path.split(os.path.abspath(path))
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "Is a folder; name a file in it", path)
    prefix = f".{name[:60]}."
    _remove_leftovers(folder, prefix)
    file = _temporary(os.path.join(folder, prefix), 0o666 if mode is None else mode)
    try:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # Windows does not rename an open file
        _replace(file.name, path)
        _sync(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()  # flushes again, and may fail again
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file.name)
        raise
    file.close()


def check_folder(path: str) -> None:
    """Raise FileNotFoundError if there is no folder for a file at this path."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        text = "No such file or directory; create the folder first"
        raise FileNotFoundError(errno.ENOENT, text, folder)


def _temporary(prefix: str, mode: int) -> io.BufferedWriter:
    """A new file. It is locked while it is open, so that no other writer removes it."""

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    while True:
        file = open(f"{prefix}{os.urandom(8).hex()}.tmp", "xb", opener=opened)  # noqa: SIM115
        if fcntl is None:
            return file
        with contextlib.suppress(OSError):  # without locks nothing is removed as a leftover
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another writer removed it before the lock was taken


def _remove_leftovers(folder: str, prefix: str) -> None:
    """Remove temporary files of writers that were killed."""
    with contextlib.suppress(PermissionError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_if_unlocked(os.path.join(folder, name))


def _remove_if_unlocked(path: str) -> None:
    if fcntl is None:
        os.unlink(path)  # Windows refuses this while a writer has the file open
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


_BUSY = (5, 32, 33)  # Windows error codes: access denied, sharing violation, lock violation
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.75, 1.0)  # seconds between attempts


def _replace(source: str, target: str) -> None:
    """os.replace with retries on Windows, where another program may briefly hold either file."""
    for pause in (*_PAUSES, None):
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if pause is None or getattr(error, "winerror", None) not in _BUSY:
                raise
        time.sleep(pause)


def _sync(folder: str) -> None:
    """Flush the renaming to disk, on systems that can synchronize folders."""
    if fcntl is None:
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that is writable but not readable
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)
