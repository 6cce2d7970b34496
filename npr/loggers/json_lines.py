"""progress.jsonl: a row of values per line, as a JSON object."""

import json
import math
import os
from typing import Any

from npr.errors import ConfigError
from npr.files.run_folder import PROGRESS_LINES
from npr.loggers.lines import LineFile
from npr.loggers.output import STEP, Output, Values


def _number(value: Any) -> Any:
    """A NumPy number as Python's, which is all that json writes."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a logged value must be a number or a text, got {value!r}")


_JSON = json.JSONEncoder(allow_nan=False, default=_number)


class JSONLines(Output):
    """progress.jsonl: an object {"rollout/ep_rew_mean": -150.0, ...} per line.

    folder   of progress.jsonl

    Texts, such as "no episode finished yet", are left out. Numbers that are not finite are null,
    since JSON has no others. A run that continues keeps the lines up to its step byte for byte and
    drops those that follow.
    """

    def __init__(self, folder: str = "") -> None:
        self.path = os.path.join(folder, PROGRESS_LINES)
        self._file = LineFile(self.path)

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Open the file."""
        if step:
            self._file.resume(lambda lines: self._kept(lines, step))
        else:
            self._file.create()

    def write(self, values: Values, step: int) -> None:
        """Write a line."""
        numbers: dict[str, Any] = {
            key: value for key, value in values.items() if type(value) is not str
        }
        try:
            text = _JSON.encode(numbers)
        except ValueError:  # a number that is not finite
            text = _JSON.encode({k: v if math.isfinite(v) else None for k, v in numbers.items()})
        self._file.append(text + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _kept(self, lines: list[str], step: int) -> list[str]:
        n = 0
        for line in lines:
            at = _step(line)
            if at is None and not n:
                raise ConfigError(
                    f"{self.path} does not begin with an object with {STEP}, so a run cannot "
                    "continue it. Rename it, or choose another folder for the logs."
                )
            if at is None or at > step:
                break
            n += 1
        return lines[:n]


def _step(line: str) -> float | None:
    """The env steps of a line; None if it has none."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    at = values.get(STEP) if isinstance(values, dict) else None
    return at if isinstance(at, (int, float)) else None
