"""The progress line of a run: rewritten on a terminal, printed now and then elsewhere."""

import sys
import time


class Progress:
    """One line about a run: on a terminal it is rewritten, elsewhere printed now and then."""

    def __init__(self, title, start, total, shown=None, stream=None):
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.shown = shown is not False
        self.title, self.start, self.total = title, start, total
        self.began = time.perf_counter()
        self.due = self.began + 1.0  # nothing is shown of a run shorter than a second
        self.printed = False

    def update(self, step, logger) -> None:
        now = time.perf_counter()
        if now >= self.due and self.shown:
            self.due = now + (0.2 if self.live else 10.0)
            self._print(step, logger, now)

    def _print(self, step, logger, now):
        mean_return = logger.mean_return()
        speed = (step - self.start) / (now - self.began)
        share = step / self.total if self.total else 1.0
        left = max(self.total - step, 0) / speed if speed else float("inf")
        score = "no episode yet" if mean_return is None else f"return {mean_return:.1f}"
        line = (
            f"{self.title}  {step:,}/{self.total:,}  {share:4.0%}  {score}  "
            f"{speed:,.0f} steps/s  {_clock(left)} left"
        )
        if self.live:
            print(f"\r{line:<79}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)
        self.printed = True

    def close(self, step, logger) -> None:
        if self.printed:
            self._print(step, logger, time.perf_counter())
            if self.live:
                print(file=self.stream)


def _clock(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 36_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
