"""Progress of an agent, as saved in its file."""

from dataclasses import dataclass
from typing import Any

from npr.errors import ConfigError
from npr.settings.setting import is_whole


@dataclass(slots=True)
class Counters:
    """Counts of one agent.

    num_timesteps  env steps so far
    end            env steps at which the run ends
    n_updates      updates so far
    unfinished     whether the run was interrupted or saved before its end; learn() continues it
    """

    num_timesteps: int = 0
    end: int = 0
    n_updates: int = 0
    unfinished: bool = False

    @property
    def progress(self) -> float:
        """The fraction of the budget that is used, from 0 to 1."""
        if self.num_timesteps >= self.end:
            return 1.0 if self.end else 0.0
        return self.num_timesteps / self.end

    @property
    def clock(self) -> "Counters":
        """What the budget, intervals and rows of the log of a run are counted in: env steps."""
        return self

    def updated(self) -> None:
        """Count an update."""
        self.n_updates += 1

    def next_run(self, total_timesteps: Any, default: int, reset: bool) -> "Counters":
        """The counters at the start of a run; ConfigError if its budget is not a number of steps.

        total_timesteps  None: the rest of an unfinished run, else `default`
        reset            count from zero, unless a run is unfinished
        """
        if total_timesteps is None:
            budget = self.end - self.num_timesteps if self.unfinished else default
        elif not is_whole(total_timesteps):
            raise ConfigError(
                f"total_timesteps must be a whole number of env steps, or None for the preset's "
                f"budget; got {total_timesteps!r}."
            )
        elif total_timesteps < 0:
            raise ConfigError(f"total_timesteps must not be negative, got {total_timesteps!r}.")
        else:
            budget = int(total_timesteps)
        start = 0 if reset and not self.unfinished else self.num_timesteps
        return Counters(start, start + budget, self.n_updates)
