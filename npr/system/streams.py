"""Text for the standard streams, which a program may have closed, replaced or never had.

Output must not end a run: a stream that is None (pythonw, services), that lacks methods, is closed,
or cannot encode a character costs its text only.
"""

import contextlib
import os
import shutil
import sys
from typing import Any


def write(stream: Any, text: str) -> None:
    """Write text to a stream, if that is possible. Raises nothing but what a signal raises.

    Characters outside of the stream's encoding are escaped.
    """
    with contextlib.suppress(Exception):
        _write(stream, text)


def show(text: str) -> None:
    """Write the result of a command and a line feed to standard output, its lines `printable`.

    Raises OSError if it cannot be written; BrokenPipeError: its reader has stopped reading.
    """
    if sys.stdout is not None:
        _write(sys.stdout, f"{lines(text)}\n")


def printable(text: str) -> str:
    """The text without what controls a terminal, which a file may contain; line feeds too."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def lines(text: str) -> str:
    """A text of several lines, each `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # nothing was written
        stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal, on which a line can be overwritten."""
    try:
        return bool(stream.isatty())
    except Exception:
        return False


def columns(stream: Any) -> int:
    """The width of a terminal; that in COLUMNS, else 80, if it does not tell."""
    width = 0
    with contextlib.suppress(Exception):
        width = os.get_terminal_size(stream.fileno()).columns
    return width or shutil.get_terminal_size().columns
