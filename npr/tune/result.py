"""The result of a search, and the file that `npr train --config` takes."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

from npr.errors import ConfigError
from npr.files.atomic import replacement
from npr.tune import toml


@dataclass(frozen=True)
class Candidate:
    """A trial that was trained again with fresh seeds.

    trial      its number
    value      its objective in the search
    fresh      final mean return of each fresh seed; -inf where training failed
    median     of `fresh`, by which the winner is chosen; `value` if there are none
    settings   those it was given: drawn from the space, and fixed
    """

    trial: int
    value: float
    fresh: list[float]
    median: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class TuneResult:
    """What a search has found.

    algorithm, env, total_timesteps   what was trained; env is None for a function
    settings      of the winner: those it was given and those of the preset, env_kwargs apart
    env_kwargs    arguments of gymnasium.make
    trial         number of the winning trial
    value         median over the fresh seeds of the winner's final mean return; if finished is
                  False, the median over the seeds of the search
    candidates    the best trials by the search, best by fresh seeds first
    counts        number of trials "complete", "pruned" and "failed"
    finished      False if other processes still run trials: the last one trains the best again
    """

    algorithm: str
    env: str | None
    total_timesteps: int
    settings: dict[str, Any]
    env_kwargs: dict[str, Any]
    trial: int
    value: float
    candidates: list[Candidate] = field(repr=False)
    counts: dict[str, int]
    finished: bool

    def config(self) -> dict[str, Any]:
        """The content of the file."""
        config: dict[str, Any] = {"algorithm": self.algorithm, "env": self.env}
        if self.env is not None and ":" in self.env:  # Gymnasium imports the module
            module, _, name = self.env.partition(":")
            config |= {"env": name, "imports": [module]}
        config |= {"total_timesteps": self.total_timesteps, "settings": self.settings}
        return config | ({"env_kwargs": self.env_kwargs} if self.env_kwargs else {})

    def save(self, path: "str | os.PathLike[str]", **others: Any) -> None:
        """Write the winner's settings to a file that `npr train --config` takes: TOML or, if its
        name ends with .json, JSON.

        others   further keys of the file: env, wrappers, imports

        Raises ConfigError for another suffix, and for what the format cannot hold: the environment
        is a function, or a setting is None and the format is TOML.
        """
        suffix, config = check_suffix(path), self.config() | others
        if config["env"] is None:
            raise ConfigError(
                "A file holds the id of an environment, and this one was made by a function: "
                "register it with Gymnasium, or use the settings: result.settings."
            )
        if suffix == ".json":
            text = json.dumps(config, indent=2) + "\n"
        else:
            held = self.settings | self.env_kwargs
            missing = [name for name, one in held.items() if one is None]
            if missing:
                raise ConfigError(
                    f"TOML has no null, and the winner has {' and '.join(missing)} = None: save to "
                    "a .json file."
                )
            text = toml.dumps(config, self._comment())
        with replacement(os.fspath(path)) as file:
            file.write(text.encode())

    def _comment(self) -> str:
        n = sum(self.counts.values())
        found = f"npr tune: trial {self.trial}, best of {n}, final mean return {self.value:.6g}"
        seeds = len(self.candidates[0].fresh) if self.candidates else 0
        return f"{found} (median over {seeds} fresh seeds)" if seeds else f"{found} in the search"


def check_suffix(path: "str | os.PathLike[str]") -> str:
    """The suffix of the file to write; ConfigError if it is neither .toml nor .json."""
    suffix = os.path.splitext(path)[1]
    if suffix not in (".toml", ".json"):
        raise ConfigError(
            f"Settings are written to a .toml or .json file, got {os.fspath(path)!r}."
        )
    return suffix
