"""Tables of the logged values, on the console and in a text file."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from npr.loggers.lines import LineFile
from npr.loggers.output import Output, Values
from npr.system import streams


def table(values: Mapping[str, Any]) -> str:
    """The values as a table in groups: those of "rollout/..." stand together. Ends its lines."""
    rows: list[tuple[str, str]] = []
    group = None
    for key in sorted(values, key=lambda key: key.rpartition("/")[::2]):
        head, _, name = key.rpartition("/")
        if head != group and head:
            rows.append((f"{head}/", ""))
        group = head
        rows.append((f"   {name}" if head else name, _text(values[key])))
    left, right = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    line = "-" * (left + right + 7)
    body = "".join(f"| {a:<{left}} | {b:<{right}} |\n" for a, b in rows)
    return f"{line}\n{body}{line}\n"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Console(Output):
    """A table on the standard output.

    stream   None: sys.stdout at the time of writing
    """

    def __init__(self, stream: Any = None) -> None:
        self.stream = stream

    def write(self, values: Values, step: int) -> None:
        """Print a table."""
        streams.write(sys.stdout if self.stream is None else self.stream, table(values))


class ConsoleFile(Output):
    """The tables in log.txt. A run that continues adds to all that is there.

    folder   of log.txt
    """

    def __init__(self, folder: str = "") -> None:
        self.path = os.path.join(folder, "log.txt")
        self._file = LineFile(self.path)

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Write the title."""
        if step:
            self._file.resume(lambda lines: lines)
            self._file.append(f"{title}, continued at step {step:,}\n")
        else:
            self._file.create()
            self._file.append(f"{title}\n")

    def write(self, values: Values, step: int) -> None:
        """Write a table."""
        self._file.append(table(values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
