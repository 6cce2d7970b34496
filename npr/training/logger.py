"""Numbers of a run: the console table with Stable-Baselines3's keys, and the progress line."""

import sys
import time
from collections import deque

import numpy as np

from npr.backend import to_host

WINDOW = 100  # episodes behind ep_rew_mean, as everywhere


class Logger:
    """Collects what a run reports.

    Values may be arrays of the device, of which the mean counts: they are read at `table`.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self):
        self.groups: dict[str, dict] = {}
        self.episodes = deque(maxlen=WINDOW)  # (return, length)
        self.episode_count = 0

    def record(self, group: str, metrics: dict) -> None:
        self.groups.setdefault(group, {}).update(metrics)

    def episode(self, episode) -> None:
        self.episodes.append(episode)
        self.episode_count += 1

    def mean_return(self):
        return float(np.mean([r for r, _ in self.episodes])) if self.episodes else None

    def state(self) -> dict:
        """The last episodes; how many there were in all stands among the counters of a file."""
        return {"episodes": np.array(self.episodes, np.float64).reshape(-1, 2)}

    def load(self, state: dict) -> None:
        held = state["episodes"]
        self.episodes = deque(((r, int(n)) for r, n in held.tolist()), maxlen=WINDOW)

    def snapshot(self) -> dict:
        """Every value as a Python number."""
        values = {
            f"{group}/{key}": float(to_host(value).mean()) if hasattr(value, "dtype") else value
            for group, metrics in self.groups.items()
            for key, value in metrics.items()
        }
        if self.episodes:
            values["rollout/ep_rew_mean"] = self.mean_return()
            values["rollout/ep_len_mean"] = float(np.mean([n for _, n in self.episodes]))
        return values

    def table(self, stream=None) -> None:
        """Print the values in groups."""
        values = self.snapshot()
        if not self.episodes:
            values["rollout/ep_rew_mean"] = "no episode finished yet"
        rows, group = [], None
        for key in sorted(values):
            head, name = key.split("/")
            if head != group:
                rows.append((f"{head}/", ""))
                group = head
            rows.append((f"   {name}", _text(values[key])))
        left, right = (max(len(row[i]) for row in rows) for i in (0, 1))
        line = "-" * (left + right + 7)
        body = "\n".join(f"| {a:<{left}} | {b:<{right}} |" for a, b in rows)
        print(f"{line}\n{body}\n{line}", file=stream or sys.stdout, flush=True)


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
