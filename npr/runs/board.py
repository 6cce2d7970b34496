"""What several runs show: a line for each that is running, and one for all of them."""

import shutil
import sys
import time
from typing import Any

from npr.system import streams
from npr.training.progress import INTERVAL, PLAIN_INTERVAL, duration

_TITLE = 24  # characters of a title that stay before the steps are left out


class Board:
    """The progress of several runs on the standard error stream.

    On a terminal a block of lines is rewritten in place, and the last line of a run that has ended
    stays above it; otherwise each run has a line every ten seconds.
    """

    def __init__(self, total: int, stream: Any = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = streams.is_terminal(self.stream)
        self.total, self.began = total, time.perf_counter()
        self.titles: dict[int, str] = {}  # of the runs that are running
        self.started: dict[int, float] = {}
        self.reports: dict[int, tuple[int, int, float | None]] = {}
        self.first: dict[int, tuple[float, int]] = {}  # time and step of the first report
        self.last: dict[int, float] = {}  # time of the last report
        self.note = ""  # at the end of the line for all runs
        self.done: dict[int, str] = {}  # number -> state, of those that have ended
        self._height = 0  # lines of the block above the cursor
        self._due = self.began + (INTERVAL if self.live else PLAIN_INTERVAL)

    def begin(self, number: int, title: str) -> None:
        """A run starts."""
        self.titles[number], self.started[number] = title, time.perf_counter()

    def report(self, number: int, step: int, end: int, mean_return: float | None) -> None:
        """A run is at a step."""
        self.reports[number] = step, end, mean_return
        self.last[number] = time.perf_counter()
        self.first.setdefault(number, (self.last[number], step))

    def end(self, number: int, state: str) -> None:
        """A run has ended."""
        self.done[number] = state
        seconds = time.perf_counter() - self.started[number]
        result = f"{state} in {duration(seconds)}"
        line = self.titles[number] + _joined(self._parts(number) | {"result": result})
        del self.titles[number]
        self.say(line)

    def say(self, line: str) -> None:
        """Write a line above the block."""
        self._clear()
        streams.write(self.stream, line + "\n")
        if self.live:
            self._draw()

    def interrupted(self) -> None:
        """A signal has come, and npr.training.interrupts has written a line about it."""
        self.note = "stopping; Ctrl-C stops immediately"
        if self._height:
            self._height += 2

    def update(self) -> None:
        """Show the lines, if they are due."""
        now = time.perf_counter()
        if now < self._due:
            return
        self._due = now + (INTERVAL if self.live else PLAIN_INTERVAL)
        self._clear()
        self._draw()

    def close(self) -> None:
        """Show the line for all runs a last time."""
        self.note = ""
        self._clear()
        streams.write(self.stream, self._summary() + "\n")

    def _draw(self) -> None:
        lines = [self._line(number) for number in self.titles]
        if self.live:  # no more than the terminal shows: only then can they be rewritten
            lines = lines[: shutil.get_terminal_size().lines - 2]
        lines.append(self._summary())
        if self.live:
            self._height = len(lines)
        streams.write(self.stream, "".join(f"{line}\n" for line in lines))

    def _clear(self) -> None:
        if self._height:
            streams.write(self.stream, f"\x1b[{self._height}A\x1b[J")
            self._height = 0

    def _line(self, number: int) -> str:
        """The line of a run; in a row of the terminal, some parts and the middle of the title are
        left out."""
        title, parts = self.titles[number], self._parts(number)
        if not self.live:
            return title + _joined(parts)
        limit = streams.columns(self.stream) - 1
        for name, least in (("speed", len(title)), ("percent", len(title)), ("steps", _TITLE)):
            if limit - len(_joined(parts)) < least:
                parts.pop(name, None)
        rest = _joined(parts)
        return (_shortened(title, limit - len(rest)) + rest)[:limit]

    def _parts(self, number: int) -> dict[str, str]:
        if number not in self.reports:
            return {} if number in self.done else {"state": "starting"}
        step, end, mean_return = self.reports[number]
        then, first = self.first[number]
        seconds = self.last[number] - then
        speed = f"{(step - first) / seconds:,.0f} steps/s" if step > first and seconds else ""
        reward = "no episode yet" if mean_return is None else f"return {mean_return:.1f}"
        fraction = step / end if end else 1.0
        return {
            "steps": f"{step:,}/{end:,}",
            "percent": f"{fraction:4.0%}",
            "return": reward,
            "speed": speed,
        }

    def _summary(self) -> str:
        n, states = len(self.done), [*self.done.values()]
        bad = [f"{states.count(s)} {s}" for s in ("failed", "stopped") if s in states]
        fractions = {i: step / end if end else 1.0 for i, (step, end, _) in self.reports.items()}
        fractions |= {i: 1.0 for i, state in self.done.items() if state == "finished"}
        percent = f"{sum(fractions.values()) / max(self.total, 1):4.0%}"
        seconds = duration(time.perf_counter() - self.began)
        parts = [f"{n} of {self.total} runs ended", percent, *bad, seconds, self.note]
        return "  ".join(part for part in parts if part)


def _joined(parts: dict[str, str]) -> str:
    """What follows the title."""
    return "".join(f"  {part}" for part in parts.values() if part)


def _shortened(title: str, longest: int) -> str:
    """The title without what follows its first part, up to where the rest fits; "" if none does."""
    first, *parts = title.split("_")
    ends = (f"{first}..._{'_'.join(parts[i:])}" for i in range(1, len(parts)))
    return next((one for one in (title, *ends) if len(one) <= longest), "")
