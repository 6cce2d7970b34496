"""Text files that grow line by line, and that a later run can continue."""

import contextlib
import io
import os
from collections.abc import Callable, Iterable

from npr.errors import ConfigError
from npr.files.atomic import replacement


class LineFile:
    """A text file of whole lines. Each line is written at once, without a buffer.

    A line that does not fit on a full disk is taken back, so that the file ends with a whole line.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: io.FileIO | None = None
        self._end = 0  # bytes of whole lines

    def create(self) -> None:
        """Open a new file, with its folder. A file of this name is replaced."""
        self.close()
        make_folder(self.path)
        self._open("wb")

    def resume(self, kept: Callable[[list[str]], list[str]]) -> None:
        """Open the file at the end of the lines to keep; create it if there is none.

        kept   the first lines, from the list of all whole lines
        """
        self.close()
        make_folder(self.path)
        with contextlib.suppress(FileNotFoundError):
            before = self.lines()
            keep = kept(before)
            size = sum(len(line.encode()) for line in keep)
            if size < os.path.getsize(self.path):
                self.replace(keep)
        if self._file is None:
            self._open("ab")

    def lines(self) -> list[str]:
        """The whole lines of the file, with their ends."""
        with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return [line for line in file if line.endswith("\n")]

    def replace(self, lines: Iterable[str]) -> None:
        """Replace the whole file, which an error leaves as it is."""
        self.close()  # Windows does not replace an open file
        with replacement(self.path) as file:
            file.writelines(line.encode("utf-8", "surrogateescape") for line in lines)
        self._open("ab")

    def append(self, line: str) -> None:
        """Write a line, given with its end. Raises OSError, and then nothing was written."""
        if self._file is None:
            raise ConfigError(f"{self.path} is not open: a run opens its outputs when it begins.")
        data = line.encode("utf-8", "surrogateescape")
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end += len(data)

    @property
    def size(self) -> int:
        """Bytes of the file, all of whole lines."""
        return self._end

    def close(self) -> None:
        """Close the file, if it is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self, mode: str) -> None:
        self._file = io.FileIO(self.path, mode)
        self._end = os.fstat(self._file.fileno()).st_size


def make_folder(path: str) -> None:
    """Make the folder of a file. Raises ConfigError if that is not possible."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} for {os.path.basename(path)} cannot be made ({error}). Choose "
            "another folder for the logs."
        ) from None
