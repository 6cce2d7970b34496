"""A run among several: what is to be trained, what it reports and how it ends."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from npr.errors import NprError, describe_error
from npr.files.run_folder import CONFIG
from npr.runs.config import RunConfig

REPORT_INTERVAL = 0.5  # seconds between two reports of a run
LOOK_INTERVAL = 0.2  # seconds between two looks at signals

Report = tuple[int, int, float | None]  # env step, the last one, mean return


class Outcome(NamedTuple):
    """How a run ended.

    state   "finished", "stopped", "failed", "not started", or "skipped": another process trains it
    error   why it failed or was skipped
    """

    folder: Path
    state: str
    error: str = ""


class Task(NamedTuple):
    """A run to train or to resume.

    folder    of the run; `_prepared` makes that of a new one
    config    None: resume
    options   keyword arguments of `start` or `resume`
    """

    folder: Path
    config: RunConfig | None
    options: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run, as far as they are known before it begins."""
        if self.config is not None:
            return self.config.settings
        held = json.loads((self.folder / CONFIG).read_text()).get("settings", {})
        return held if isinstance(held, dict) else {}


class Running(Protocol):
    """The runs that are in progress, as `_run` knows them. A context, which ends them."""

    limit: int | None  # how many are started at a time; None: all

    def __enter__(self) -> object: ...
    def __exit__(self, *error: object) -> None: ...

    def __len__(self) -> int: ...

    def start(self, number: int, task: Task) -> None:
        """Start a run, whose folder is prepared."""

    def look(self) -> dict[int, Outcome]:
        """Wait a moment for reports, which go to the board. The runs that have ended."""

    def stop(self) -> None:
        """Ask the runs to save and to end."""


def reason(error: Exception) -> str:
    """Why a run failed."""
    return str(error) if isinstance(error, NprError) else describe_error(error)


def reporter(send: Callable[[Report], object]) -> Callable[[Any], None]:
    """A callback that sends a report at intervals, and at the end."""
    due = 0.0

    def report(agent: Any) -> None:
        nonlocal due
        now = time.perf_counter()
        if now >= due or agent.num_timesteps >= agent.end:
            due = now + REPORT_INTERVAL
            send((agent.num_timesteps, agent.end, agent.logger.mean_return()))

    return report
