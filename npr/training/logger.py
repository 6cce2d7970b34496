"""Logged values of a run, and their console table with Stable-Baselines3's keys."""

import sys
from collections import deque

import numpy as np

from npr.backend import Array, to_host

WINDOW = 100  # episodes behind ep_rew_mean, as everywhere


def explained_variance(v: Array, R: Array, rows: Array) -> Array:
    """1 - Var[R - v] / Var[R] of values v and returns R (T, N) over the valid rows; a scalar.

    rows   indices into the flattened columns, see Rollout.rows
    """
    v, R = v.reshape(-1)[rows], R.reshape(-1)[rows]
    return 1 - (R - v).var() / (R.var() + 1e-8)


class Logger:
    """Collects what a run reports.

    Values may be arrays of the device, of which the mean counts: they are read at `table`.
    """

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
