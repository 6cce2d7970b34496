"""The progress line of a run: rewritten on a terminal, printed at intervals otherwise."""

import sys
import time
from typing import TextIO

from npr.training.logger import Logger

DELAY = 1.0  # seconds: shorter runs show nothing
INTERVAL, PLAIN_INTERVAL = 0.2, 10.0  # seconds between two lines, on a terminal and otherwise


class Progress:
    """One line about a run, on the standard error stream.

    title         text at the start of the line
    start, total  env steps at the start of the run and at its end
    shown         False: nothing is shown
    """

    def __init__(
        self, title: str, start: int, total: int, shown: bool = True, stream: TextIO | None = None
    ) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.shown = shown
        self.title, self.start, self.total = title, start, total
        self.began = time.perf_counter()
        self.due = self.began + DELAY
        self.printed = False

    def update(self, step: int, logger: Logger) -> None:
        """Show the line, if it is due."""
        now = time.perf_counter()
        if now >= self.due and self.shown:
            self.due = now + (INTERVAL if self.live else PLAIN_INTERVAL)
            self._print(step, logger, now)

    def _print(self, step: int, logger: Logger, now: float) -> None:
        mean_return = logger.mean_return()
        speed = (step - self.start) / (now - self.began)
        fraction = step / self.total if self.total else 1.0
        left = max(self.total - step, 0) / speed if speed else float("inf")
        score = "no episode yet" if mean_return is None else f"return {mean_return:.1f}"
        line = (
            f"{self.title}  {step:,}/{self.total:,}  {fraction:4.0%}  {score}  "
            f"{speed:,.0f} steps/s  {_duration(left)} left"
        )
        if self.live:
            print(f"\r{line:<79}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)
        self.printed = True

    def close(self, step: int, logger: Logger) -> None:
        """Show the last line of a run that was shown."""
        if self.printed:
            self._print(step, logger, time.perf_counter())
            if self.live:
                print(file=self.stream)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 36_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
