"""monitor.csv: a line per episode, as Stable-Baselines3's Monitor writes it."""

import csv
import json
import os
import time
from typing import Any

from npr.errors import ConfigError
from npr.files.run_folder import MONITOR
from npr.loggers.lines import LineFile
from npr.loggers.output import Output

_COLUMNS = "r,l,t\n"
_SUCCESS = "r,l,t,is_success\n"


class Monitor(Output):
    """monitor.csv: return r, length l and time t of each episode, in the order they ended.

    folder   of monitor.csv

    Its first line is a comment, a JSON object with t_start, the time of the start of the run in
    seconds since 1970, env_id, and episodes_before, the episodes of the run that are not in the
    file. t is in seconds since t_start; a run that continues goes on from the last t. There is a
    column is_success if the environment says info["is_success"] at the end of an episode.
    Stable-Baselines3's `load_results` reads the file.
    """

    def __init__(self, folder: str = "") -> None:
        self.path = os.path.join(folder, MONITOR)
        self._file = LineFile(self.path)
        self._before = 0.0  # seconds of earlier parts of the run
        self._successes = False  # whether there is a column of them

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Write the header, or read it."""
        self._before, self._successes, found = 0.0, False, False
        if step:
            self._file.resume(lambda lines: self._kept(lines, episodes))
            found = self._file.size > 0
        else:
            self._file.create()
        if not found:
            about = {
                "t_start": time.time(),
                "env_id": str(settings.get("env", title)),
                "episodes_before": episodes,
            }
            self._file.append(f"#{json.dumps(about)}\n{_COLUMNS}")

    def episode(self, r: float, l: int, t: float, success: bool | None) -> None:
        """Write a line."""
        if success is not None and not self._successes:
            self._add_successes()
        row = f"{round(float(r), 6)},{l},{round(self._before + t, 6)}"
        if self._successes:
            row += "," if success is None else f",{bool(success)}"
        self._file.append(row + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add_successes(self) -> None:
        about, _, *rows = self._file.lines()
        self._file.replace([about, _SUCCESS, *(row[:-1] + ",\n" for row in rows)])
        self._successes = True

    def _kept(self, lines: list[str], episodes: int) -> list[str]:
        """The header and the lines of the first episodes."""
        if not lines:
            return []
        before = _episodes_before(lines[0])
        if before is None or lines[1:2] not in ([_COLUMNS], [_SUCCESS]):
            raise ConfigError(
                f"{self.path} is no log of episodes of npr, so a run cannot continue it. Rename "
                "it, or choose another folder for the logs."
            )
        self._successes = lines[1] == _SUCCESS
        keep = lines[: 2 + max(0, episodes - before)]
        if len(keep) > 2:
            self._before = float(next(csv.reader(keep[-1:]))[2])
        return keep


def _episodes_before(line: str) -> int | None:
    """What the first line of a file says; None if it is no such line."""
    try:
        about = json.loads(line.removeprefix("#"))
        return int(about.get("episodes_before", 0))
    except (ValueError, AttributeError, TypeError):
        return None
