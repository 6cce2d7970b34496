"""progress.csv: a row of values per line, with the keys as header."""

import csv
import io
import os
from collections.abc import Iterable
from typing import Any

from npr.errors import ConfigError
from npr.files.run_folder import PROGRESS
from npr.loggers.lines import LineFile
from npr.loggers.output import STEP, Output, Values


class CSVFile(Output):
    """progress.csv, as Stable-Baselines3 writes it: a column per key, in the order they came.

    folder   of progress.csv

    A key that is new gets a column whose cells are empty before. A text, such as "no episode
    finished yet", is an empty cell; numbers that are not finite are nan, inf and -inf. A run that
    continues keeps the rows up to its step byte for byte and drops those that follow.
    """

    def __init__(self, folder: str = "") -> None:
        self.path = os.path.join(folder, PROGRESS)
        self._file = LineFile(self.path)
        self._keys: dict[str, None] = {}

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Open the file."""
        self._keys = {}
        if step:
            self._file.resume(lambda lines: self._kept(lines, step))
        else:
            self._file.create()

    def write(self, values: Values, step: int) -> None:
        """Write a row."""
        if not values.keys() <= self._keys.keys():
            self._add_columns(values)
        cells = [values.get(key, "") for key in self._keys]
        self._file.append(",".join(["" if type(x) is str else str(x) for x in cells]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add_columns(self, values: Values) -> None:
        old = len(self._keys)
        self._keys |= dict.fromkeys(values)
        if not self._file.size:
            self._file.append(header(self._keys))
            return
        commas = "," * (len(self._keys) - old)
        rows = (line[:-1] + commas + "\n" for line in self._file.lines()[1:])
        self._file.replace([header(self._keys), *rows])

    def _kept(self, lines: list[str], step: int) -> list[str]:
        """The header and the rows up to a step."""
        if not lines:
            return []
        keys = next(csv.reader(lines[:1]))
        if STEP not in keys:
            raise ConfigError(
                f"{self.path} has no column {STEP}, so a run cannot continue it. Rename it, or "
                "choose another folder for the logs."
            )
        self._keys = dict.fromkeys(keys)
        column, n = keys.index(STEP), 1
        for row in csv.reader(lines[1:]):
            if len(row) != len(keys) or not up_to(row[column], step):
                break
            n += 1
        return lines[:n]


def header(keys: Iterable[str]) -> str:
    """The first line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(keys)
    return text.getvalue()


def up_to(cell: str, step: int) -> bool:
    """Whether a cell holds a number of steps up to this one."""
    try:
        return float(cell) <= step
    except ValueError:
        return False
