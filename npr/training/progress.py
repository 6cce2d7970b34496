"""The progress of a run: a line that is rewritten on a terminal and printed at intervals
elsewhere, or a bar of tqdm in a notebook.
"""

import sys
import time
from typing import Any

from npr.system import streams
from npr.training.counters import Counters
from npr.training.logger import Logger

DELAY = 1.0  # seconds: shorter runs show nothing
INTERVAL, PLAIN_INTERVAL = 0.2, 10.0  # seconds between two lines, on a terminal and otherwise
# parts of a line that are left out, one after the other, where it is wider than the terminal
_EXPENDABLE = ("speed", "percent", "title", "steps")


def progress_of(
    title: str, counters: Counters, logger: Logger, shown: bool
) -> "Progress | NotebookBar":
    """The progress of a run, as it is shown best here."""
    if shown and _in_notebook():
        try:
            from tqdm.auto import tqdm
        except ImportError:  # npr-rl[progress]; the line needs nothing
            pass
        else:
            return NotebookBar(title, counters, logger, tqdm)
    return Progress(title, counters, logger, shown)


class Progress:
    """One line about a run, on the standard error stream.

    title     text at the start of the line
    counters  of the run; at their values now it starts
    logger    knows the mean return
    shown     False: nothing is shown

    The remaining time is estimated from what follows the first update, which compiles the kernels,
    and shown once there was another one.
    """

    def __init__(
        self, title: str, counters: Counters, logger: Logger, shown: bool = True, stream: Any = None
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = shown and streams.is_terminal(self.stream)
        self.title, self.counters, self.logger = title, counters, logger
        self.began = time.perf_counter()
        self.start, self.n_updates = counters.num_timesteps, counters.n_updates
        self.compiled: tuple[float, int, int] | None = None  # time, step and updates by then
        self.printed = False
        self._width = 0  # characters of the line that the cursor stands in
        self._due = self.began + DELAY  # time of the next line
        self._look = self._due if shown else float("inf")  # time of the next look at the counters

    def update(self) -> None:
        """Show the line, if it is due."""
        now = time.perf_counter()
        if now >= self._look:
            if self.compiled is None and self.counters.n_updates > self.n_updates:
                self.compiled = now, self.counters.num_timesteps, self.counters.n_updates
            if now >= self._due:
                self._due = now + (INTERVAL if self.live else PLAIN_INTERVAL)
                self._print(now, self._remaining(now))
            self._look = min(now + INTERVAL, self._due)

    def clear(self) -> None:
        """Empty the line on a terminal, so that other text can be written there."""
        if self._width:
            streams.write(self.stream, "\r" + " " * self._width + "\r")
            self._width = 0

    def close(self) -> None:
        """Show the last line of a run that was shown."""
        if self.printed:
            now = time.perf_counter()
            self._print(now, f"in {duration(now - self.began)}")
            if self.live:
                streams.write(self.stream, "\n")
                self._width = 0

    def _remaining(self, now: float) -> str | None:
        """The estimate of the remaining time."""
        if self.compiled is None:
            return None
        then, step, n_updates = self.compiled
        done = self.counters.num_timesteps - step
        if self.counters.n_updates == n_updates or not done:
            return None
        left = max(self.counters.end - self.counters.num_timesteps, 0)
        return f"{duration(left * (now - then) / done)} left"

    def _print(self, now: float, last: str | None) -> None:
        counters, mean_return = self.counters, self.logger.mean_return()
        step, end = counters.num_timesteps, counters.end
        parts = {
            "title": self.title,
            "steps": f"{step:,}/{end:,}",
            "percent": f"{step / end if end else 1.0:4.0%}",
            "return": "no episode yet" if mean_return is None else f"return {mean_return:.1f}",
            "speed": f"{(step - self.start) / max(now - self.began, 1e-9):,.0f} steps/s",
            "time": last,
        }
        if self.live:
            self._overwrite(parts)
        else:
            streams.write(self.stream, _joined(parts) + "\n")
        self.printed = True

    def _overwrite(self, parts: dict[str, str | None]) -> None:
        """Write the line over the one before it, in one row of the terminal."""
        limit = streams.columns(self.stream) - 1  # the last column would begin a new row
        line = _joined(parts)
        for name in _EXPENDABLE:
            if len(line) > limit:
                parts[name] = None
                line = _joined(parts)
        line = line[:limit]
        streams.write(self.stream, "\r" + line.ljust(min(self._width, limit)))
        self._width = len(line)


class NotebookBar:
    """A bar of tqdm, with the mean return.

    tqdm   its class; the other arguments are those of Progress
    """

    def __init__(self, title: str, counters: Counters, logger: Logger, tqdm: Any) -> None:
        self.counters, self.logger, self.start = counters, logger, counters.num_timesteps
        self.bar = tqdm(total=counters.end - self.start, desc=title, unit=" steps")
        self._due = 0.0

    def update(self) -> None:
        """Show the current step, if some time has passed."""
        now = time.perf_counter()
        if now >= self._due:
            self._due = now + INTERVAL
            self._show()

    def _show(self) -> None:
        mean_return = self.logger.mean_return()
        if mean_return is not None:
            self.bar.set_postfix_str(f"return {mean_return:.1f}", refresh=False)
        self.bar.update(self.counters.num_timesteps - self.start - self.bar.n)

    def clear(self) -> None:
        """Other text does not disturb a bar in a notebook."""

    def close(self) -> None:
        """Show the last step."""
        self._show()
        self.bar.close()


def _in_notebook() -> bool:
    """Whether this is a notebook: IPython with a kernel, as in Jupyter and Colab."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def _joined(parts: dict[str, str | None]) -> str:
    return "  ".join(part for part in parts.values() if part)


def duration(seconds: float) -> str:
    """A time as text: "90 s", "12 min" or "3 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 36_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
