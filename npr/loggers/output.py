"""An output of logged values, and all outputs of a run."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from npr.errors import ConfigError, ConfigWarning, LogWarning, describe_error

STEP = "time/total_timesteps"  # the key by which rows are found again when a run continues
Values = dict[str, float | int | str]


class Output:
    """A destination of the logged values of a run. Derive from it to write your own.

    A run calls `open`, then `write` and `episode` as often as there is something, then `close`. An
    exception that one of them raises turns the output off; training continues.
    """

    path: str = ""  # the file that it writes, if it is one

    def held(self) -> list[str]:
        """Files with contents of an earlier run, which a new run replaces."""
        return [self.path] if os.path.isfile(self.path) and os.path.getsize(self.path) else []

    def check(self) -> None:
        """Raise ConfigError if the output needs a package that is missing."""

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """A run begins, or continues.

        title     for people: "SAC Pendulum-v1"
        settings  of the run, as plain data: algorithm, env, seed, and all settings
        step      env steps so far; 0: a new run. If it is above 0, an output keeps what it has of
                  the run up to that step, and drops what follows: it is of a run that was cut off
                  after its last checkpoint
        episodes  that have ended so far
        """

    def write(self, values: Values, step: int) -> None:
        """Write the values {"rollout/ep_rew_mean": -150.0, ...} at env step `step`.

        A value may be a text, such as "no episode finished yet".
        """

    def episode(self, r: float, l: int, t: float, success: bool | None) -> None:
        """An episode ended.

        r        return
        l        length, in env steps
        t        seconds since the run began, or since it continues
        success  info["is_success"] at its end; None if there was none
        """

    def close(self) -> None:
        """The run has ended, or the output is turned off; may be called again."""


class Outputs:
    """The outputs of a run. An output that fails is turned off with a LogWarning.

    outputs   Output objects; configure() makes them by name
    """

    def __init__(self, outputs: Iterable[Output] = ()) -> None:
        self.outputs = list(outputs)
        self._open: list[Output] = []

    def __bool__(self) -> bool:
        return bool(self.outputs)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(type(output).__name__ for output in self.outputs)})"

    def open(self, title: str, settings: dict[str, Any], step: int = 0, episodes: int = 0) -> None:
        """A run begins or continues, see Output.open. Outputs that had failed are tried again.

        Raises ConfigError if a package is missing, a folder cannot be made, or a file that the run
        would continue is not of a run of npr.
        """
        self.close()
        for output in self.outputs:  # before one of them replaces a file
            output.check()
        self._open = list(self.outputs)
        if not step:
            self._warn_of_replaced()
        try:
            self._all(lambda output: output.open(title, settings, step, episodes), ConfigError)
        except ConfigError:
            self.close()
            raise

    def write(self, values: Values, step: int) -> None:
        """Write a row, see Output.write; its time/total_timesteps is `step` if it has none."""
        if STEP not in values:
            values = {**values, STEP: step}
        self._all(lambda output: output.write(values, step))

    def episode(self, r: float, l: int, t: float, success: bool | None = None) -> None:
        """An episode ended, see Output.episode."""
        if any(type(output).episode is not Output.episode for output in self._open):
            self._all(lambda output: output.episode(r, l, t, success))

    def close(self) -> None:
        """Close all outputs."""
        self._all(lambda output: output.close())
        self._open = []

    def _all(self, call: Callable[[Output], None], *raised: type[Exception]) -> None:
        """Call each output; those that fail are turned off, but for exceptions to be raised."""
        for output in tuple(self._open):
            try:
                call(output)
            except Exception as error:
                if isinstance(error, raised):
                    raise
                self._turn_off(output, error)

    def _turn_off(self, output: Output, error: Exception) -> None:
        self._open.remove(output)
        with contextlib.suppress(Exception):  # often the same error again
            output.close()
        name = output.path or type(output).__name__
        warnings.warn(
            f"Logging to {name} is off for the rest of this run, after {describe_error(error)}. "
            "What was written before remains, and training continues.",
            LogWarning,
            stacklevel=4,
        )

    def _warn_of_replaced(self) -> None:
        if held := [path for output in self.outputs for path in output.held()]:
            warnings.warn(
                f"A new run replaces what is logged in {', '.join(held)}. Give each run its own "
                "folder to keep the logs of all.",
                ConfigWarning,
                stacklevel=4,
            )


def setting_rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Name and value of each setting as text; those of an inner dict are named "outer.inner"."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += setting_rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows
