"""Settings that change over a run: "linear:3e-4", "linear:3e-4:1e-5" or a pair (first, last)."""

import functools
import math
from typing import Any

from npr.errors import ConfigError

Schedule = float | str | list[float] | tuple[float, float]  # or one number, which is constant


def value_at(schedule: str | list[float] | tuple[float, float], progress: float) -> float:
    """The value of a valid schedule at a fraction of the budget in [0, 1]."""
    first, last = _ends_of_text(schedule) if isinstance(schedule, str) else schedule
    return first + (last - first) * progress


def ends(where: str, schedule: Schedule) -> tuple[float, float]:
    """(first, last) of a schedule that is not a number; `where` names it in the ConfigError."""
    parts: list[Any] = []
    if isinstance(schedule, str):
        if schedule.startswith("linear:"):
            parts = schedule.removeprefix("linear:").split(":")
    elif isinstance(schedule, (list, tuple)) and not any(isinstance(x, str) for x in schedule):
        parts = list(schedule)
    try:
        if len(parts) not in (1, 2):
            raise ValueError
        first, last = (*map(_number, parts), 0.0)[:2]
    except (ValueError, TypeError):
        raise ConfigError(
            f"{where} must be a number, 'linear:first', 'linear:first:last' or a pair, got "
            f"{schedule!r}."
        ) from None
    return first, last


@functools.lru_cache(maxsize=64)
def _ends_of_text(text: str) -> tuple[float, float]:
    """`ends` of a string; cached, since every update needs it."""
    return ends("", text)


def _number(part: Any) -> float:
    if isinstance(part, bool) or not math.isfinite(float(part)):
        raise ValueError
    return float(part)
