"""Logged values of a run, and a console table with the keys of Stable-Baselines3."""

import sys
from collections import deque
from typing import Any

import numpy as np

from npr.backend import Array, to_host
from npr.system import streams

WINDOW = 100  # episodes in ep_rew_mean, as in Stable-Baselines3


def explained_variance(v: Array, R: Array, rows: Array) -> Array:
    """1 - Var[R - v] / Var[R] of values v and returns R (T, N) over the valid rows; a scalar.

    rows   indices into the flattened columns, see Rollout.rows
    """
    v, R = v.reshape(-1)[rows], R.reshape(-1)[rows]
    return 1 - (R - v).var() / (R.var() + 1e-8)


class Logger:
    """Collects the logged values of a run.

    Values may be arrays on the device: their mean is read when a table or snapshot is made.
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Any]] = {}
        self.episodes: deque[tuple[float, int]] = deque(maxlen=WINDOW)  # (return, length)
        self.episode_count = 0

    def __repr__(self) -> str:
        mean = self.mean_return()
        return f"Logger({self.episode_count:,} episodes, mean return {mean})"

    def record(self, group: str, metrics: dict[str, Any]) -> None:
        """Keep the latest value of each metric."""
        self.groups.setdefault(group, {}).update(metrics)

    def episode(self, episode: tuple[float, int]) -> None:
        """Add an episode (return, length)."""
        self.episodes.append(episode)
        self.episode_count += 1

    def mean_return(self) -> float | None:
        """Mean return of the last episodes; None before the first has ended."""
        return float(np.mean([r for r, _ in self.episodes])) if self.episodes else None

    def state(self) -> dict[str, np.ndarray]:
        """The last episodes. Their total is a counter in the manifest of a file."""
        return {"episodes": np.array(self.episodes, np.float64).reshape(-1, 2)}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Restore a state."""
        held = state["episodes"]
        self.episodes = deque(((r, int(n)) for r, n in held.tolist()), maxlen=WINDOW)

    def snapshot(self) -> dict[str, Any]:
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

    def table(self, stream: Any = None) -> None:
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
        streams.write(sys.stdout if stream is None else stream, f"{line}\n{body}\n{line}\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
