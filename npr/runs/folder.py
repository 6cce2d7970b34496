"""The folder of a run: its name."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from npr.runs.config import RunConfig

_LONGEST = 150  # characters of a name, before the seed; systems allow 255


def name_of(config: RunConfig, first: Iterable[str] = ()) -> str:
    """The name of a run's folder: algorithm, environment, settings and seed.

    first   settings that come first and are always named, those that differ within a grid. Others
            are named if the preset and the defaults have another value
    """
    usual = {**config.kind.defaults(), **config.preset}
    given = {name: config.settings[name] for name in first if name in config.settings}
    others = {k: v for k, v in config.settings.items() if k != "verbose" and v != usual[k]}
    given |= {k: v for k, v in others.items() if k not in given}
    parts = [config.algorithm, config.env, *(f"{k}={_short(v)}" for k, v in given.items())]
    stem = re.sub(r"[^\w.=-]+", "-", "_".join(parts))
    return f"{stem[:_LONGEST]}_seed{config.seed}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(f"{k}-{_short(v)}" for k, v in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def make(out: Path, name: str) -> Path:
    """Make a new folder `name` in `out`, or name_2, name_3 ... if that exists."""
    out.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = out / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another process may make the same ones
            number += 1
