"""What a run prints, also in a file."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from npr.system import streams


class _Tee:
    """A stream that also writes to a file, there without lines that were overwritten.

    What it does not define is the stream's: encoding, buffer, fileno.
    """

    def __init__(self, stream: Any, file: TextIO) -> None:
        self.stream, self.file, self.line = stream, file, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        streams.write(self.stream, text)
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            streams.write(self.file, f"{_shown(line)}\n")
        self.line = _shown(self.line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is buffered."""

    def finish(self) -> None:
        """Write the last line, which has no end, to the file."""
        if self.line.strip():
            streams.write(self.file, f"{self.line}\n")

    def isatty(self) -> bool:
        return streams.is_terminal(self.stream)


def _shown(line: str) -> str:
    """What a terminal shows of a line: the text after the last carriage return."""
    return line.rpartition("\r")[2]


@contextlib.contextmanager
def copied_to(path: Path) -> Iterator[TextIO]:
    """Within it, what is written to sys.stdout and sys.stderr is appended to a file too.

    Yields the file, for text that is not shown. A full disk costs the copy only.
    """
    file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    before = sys.stdout, sys.stderr
    out: Any = _Tee(sys.stdout, file)
    err: Any = _Tee(sys.stderr, file)
    sys.stdout, sys.stderr = out, err
    try:
        yield file
    finally:
        sys.stdout, sys.stderr = before
        out.finish()
        err.finish()
        with contextlib.suppress(OSError):  # it flushes again
            file.close()


def send_to(path: Path) -> None:
    """Append everything that this process prints to a file, also what C code prints."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(handle, number)
    os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # there is none
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


@contextlib.contextmanager
def sent_to(path: Path) -> Iterator[None]:
    """Within it, everything that this process prints is appended to a file; see `send_to`."""
    before = [os.dup(number) for number in (1, 2)]
    try:
        send_to(path)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, handle in zip((1, 2), before):
            os.dup2(handle, number)
            os.close(handle)
