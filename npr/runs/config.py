"""What a run is, as plain data in config.json: an algorithm, an environment, settings, a seed."""

import copy
import dataclasses
import difflib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from npr import own_network, presets
from npr.algorithms.base import REGISTRY, Algorithm
from npr.errors import ConfigError
from npr.files.atomic import replacement
from npr.files.run_folder import CONFIG
from npr.loggers import configure
from npr.settings import sb3
from npr.settings.setting import check_names, checked_seed, whole
from npr.training.run import DEFAULT_BUDGET

FORMAT = 1
N_EVALUATIONS, N_CHECKPOINTS = 10, 10  # per run, if eval_freq and save_freq are not given
RECORDED = ("preset", "npr", "versions", "git", "command", "started")  # written, never read
_LARGEST = 1 << 20  # bytes of a configuration file
_OPTIONAL = ("total_timesteps", "eval_freq", "save_freq", "log_interval")
_NUMBERS = {  # field -> the smallest value
    "total_timesteps": 1, "eval_freq": 0, "eval_episodes": 1, "save_freq": 0, "keep": 1,
    "log_interval": 1,
}  # fmt: skip
# settings of the constructor that are fields of their own
_FIELDS_OF_ENV = ("env_kwargs",)


@dataclasses.dataclass
class RunConfig:
    """One run. `checked()` has the values in their types; a ConfigError names an invalid one.

    algorithm        name of a class, in any case, dashes and underscores ignored: "per-dqn"
    env              id of an environment
    settings         arguments of the constructor that differ from the preset and the defaults
    total_timesteps  None: the preset's budget
    env_kwargs       arguments of gymnasium.make
    wrappers         "module:Class" of wrappers around each environment, the innermost first
    imports          modules that register environments or algorithms
    eval_freq        env steps between evaluations; None: 10 per run, 0: no evaluations
    eval_episodes    episodes per evaluation
    save_freq        env steps between checkpoints; None: 10 per run, 0: at the end only
    keep             numbered checkpoints that are kept
    log              outputs besides monitor.csv, see npr.loggers
    log_interval     as for `learn`; None: about 100 rows per run
    """

    algorithm: str
    env: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    total_timesteps: int | None = None
    env_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    wrappers: list[str] = dataclasses.field(default_factory=list)
    imports: list[str] = dataclasses.field(default_factory=list)
    eval_freq: int | None = None
    eval_episodes: int = 10
    save_freq: int | None = None
    keep: int = 3
    log: list[str] = dataclasses.field(default_factory=lambda: ["csv", "jsonl"])
    log_interval: int | None = None

    @property
    def kind(self) -> type[Algorithm]:
        """The class of the algorithm."""
        return algorithm(self.algorithm)

    @property
    def preset(self) -> dict[str, Any]:
        """The preset of this algorithm for this environment; empty if there is none."""
        return presets.find(self.algorithm, self.env)

    @property
    def budget(self) -> int:
        """Env steps of the run."""
        if self.total_timesteps is not None:
            return self.total_timesteps
        return int(self.preset.get("total_timesteps", DEFAULT_BUDGET))

    def checked(self) -> "RunConfig":
        """The same run with every value in its type. Raises ConfigError."""
        kind = self.kind
        owner = kind.__name__
        check_names(owner, self.settings, [k for k in kind.settings if k not in _FIELDS_OF_ENV])
        settings = {
            name: kind.settings[name].checked(owner, value, kind.networks)
            for name, value in self.settings.items()
        }
        if own_network.plain(settings) != settings:
            raise ConfigError(
                "A run is described by a file, which cannot hold a network of your own code: give "
                "hidden widths in net_arch, or call learn() on an agent with it."
            )
        if not isinstance(self.env, str) or not self.env:
            raise ConfigError(f"env must be the id of an environment, got {self.env!r}.")
        if not isinstance(self.env_kwargs, dict):
            raise ConfigError(f"env_kwargs must be a dict, got {self.env_kwargs!r}.")
        seed = checked_seed(owner, self.seed)
        if seed is None:
            raise ConfigError("A run needs a seed, a whole number >= 0, got None.")
        numbers: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        for name, value in numbers.items():
            if value is not None or name not in _OPTIONAL:
                numbers[name] = whole(name, value, _NUMBERS[name])
        texts: dict[str, Any] = {
            name: _texts(name, getattr(self, name)) for name in ("wrappers", "imports", "log")
        }
        configure(None, texts["log"])  # names the nearest output of an unknown one
        return dataclasses.replace(
            self, algorithm=owner, settings=settings, seed=seed, **numbers, **texts
        )

    def plain(self) -> dict[str, Any]:
        """The run as plain data, in the order of config.json."""
        order = ("algorithm", "env", "env_kwargs", "wrappers", "imports", "seed")
        rest = (f.name for f in dataclasses.fields(self) if f.name not in order)
        return {"format": FORMAT} | {
            name: copy.deepcopy(getattr(self, name)) for name in (*order, *rest)
        }


def algorithm(name: Any) -> type[Algorithm]:
    """The class of an algorithm by its name, in any case, with or without dashes.

    Raises ConfigError for an unknown one, with the nearest name.
    """
    import npr.algorithms  # noqa: F401  (fills the registry)

    known = {_letters(one): one for one in REGISTRY}
    key = _letters(name) if isinstance(name, str) else ""
    if key not in known:
        if name in sb3.CLASSES:
            raise ConfigError(f"There is no algorithm {name!r}; {sb3.CLASSES[name]}.")
        close = difflib.get_close_matches(key, known, 1)
        advice = f"did you mean {known[close[0]]}?" if close else f"npr has {', '.join(REGISTRY)}."
        own = "" if close else " One of your own is in a module that is imported: --import MODULE."
        raise ConfigError(f"There is no algorithm {name!r}; {advice}{own}")
    return REGISTRY[known[key]]


def is_algorithm(name: str) -> bool:
    """Whether this is the name of an algorithm."""
    import npr.algorithms  # noqa: F401

    return _letters(name) in map(_letters, REGISTRY)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{name} must be a list of texts, got {value!r}.")
    return [*value]


# ---- several runs


def grid(config: RunConfig, **lists: Iterable[Any]) -> list[RunConfig]:
    """Every combination of the values in `lists`, by the name of a setting, or of `seed`.

    The last name changes fastest, and seeds change faster than settings.

        grid(RunConfig("SAC", "Pendulum-v1"), learning_rate=[1e-3, 3e-4], seed=range(3))

    Raises ConfigError for an invalid value, and for one that is given twice.
    """
    values = {name: [*held] for name, held in lists.items()}
    for name, held in values.items():
        if not held:
            raise ConfigError(f"{name} has no values: a grid needs at least one.")
    seeds = values.pop("seed", [config.seed])
    points = [
        dataclasses.replace(
            config, settings={**config.settings, **dict(zip(values, chosen))}, seed=seed
        ).checked()
        for chosen in itertools.product(*values.values())
        for seed in seeds
    ]
    for i, point in enumerate(points):
        if point in points[:i]:
            same = {name: point.settings[name] for name in values} | {"seed": point.seed}
            raise ConfigError(
                f"{same} is given twice: several values of a flag make a grid of runs. A list is "
                "one value with commas and without spaces: 64,64."
            )
    return points


def varied(configs: Iterable[RunConfig]) -> list[str]:
    """The names of the settings that differ between runs, in the order in which they are given."""
    configs = [*configs]
    names = dict.fromkeys(name for one in configs for name in one.settings)
    first = configs[0]
    return [
        name
        for name in names
        if any(one.settings.get(name) != first.settings.get(name) for one in configs)
    ]


# ---- files


def read_config(
    path: str | os.PathLike[str], wrappers: Iterable[str] = (), imports: Iterable[str] = ()
) -> dict[str, Any]:
    """The content of a configuration file, .toml or .json, or of a run's config.json.

    wrappers, imports   the code that the user names. A file may name the same, for the record; what
                        it names is not imported for that

    {"algorithm", "env", ..., "settings": {name: value}, "grid": {name: values}}, as in the file.
    Raises ConfigError for content that is not of a run.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    try:
        if len(content) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST:,} bytes")
        text = content.decode()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:  # also those of both parsers
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise ConfigError(f"{path} is not a valid {kind} file: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a table of keys such as algorithm, got {data!r:.60}.")
    fields = [one.name for one in dataclasses.fields(RunConfig)]
    known = ["format", *fields, "grid", *RECORDED]
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            advice = f"did you mean {close[0]}?" if close else f"it may have {', '.join(known)}."
            raise ConfigError(
                f"{path} has an unknown key {key!r}; {advice} Settings of the algorithm go under "
                "[settings]."
            )
    if data.get("format", FORMAT) != FORMAT:
        raise ConfigError(f"{path} has format {data['format']!r}, this npr reads {FORMAT}.")
    for key in ("settings", "grid", "env_kwargs"):
        if not isinstance(data.get(key, {}), dict):
            raise ConfigError(f"{path}: {key} must be a table, got {data[key]!r:.60}.")
    if ":" in str(data.get("env", "")):
        raise ConfigError(
            f"{path}: the environment {data['env']!r} would import a module that a file names. "
            "Write its id alone, and give the module with --import."
        )
    data = {key: value for key, value in data.items() if key not in ("format", *RECORDED)}
    for key, flag, typed in (
        ("wrappers", "wrapper", [*wrappers]),
        ("imports", "import", [*imports]),
    ):
        held = _texts(f"{path}: {key}", data.get(key, []))
        if any(one not in typed for one in held):
            raise ConfigError(
                f"{path} was made with --{flag} {' '.join(held)}. Code that only a file names is "
                f"not imported: give --{flag} {' '.join(held)} again."
            )
        if typed:
            data[key] = typed
    return data


def from_plain(data: Mapping[str, Any]) -> list[RunConfig]:
    """The runs that plain data describes: `seed` and the values under `grid` may be lists.

    data   as from `read_config`

    Raises ConfigError for invalid values, and if algorithm or env is missing.
    """
    fields = {key: copy.deepcopy(value) for key, value in data.items() if key != "grid"}
    for name in ("algorithm", "env"):
        if not fields.get(name):
            raise ConfigError(f"A run needs {name}: npr train sac Pendulum-v1, or a --config file.")
    lists = {name: _values(name, held) for name, held in data.get("grid", {}).items()}
    if both := sorted(set(lists) & set(fields.get("settings", {}))):
        raise ConfigError(f"{both[0]} is under both settings and grid; remove one.")
    if isinstance(fields.get("seed"), list):
        if "seed" in lists:
            raise ConfigError("seed is given twice, by itself and under grid; remove one.")
        lists["seed"] = _values("seed", fields.pop("seed"))
    return grid(RunConfig(**fields), **lists)


def _values(name: str, held: Any) -> list[Any]:
    if not isinstance(held, list):
        raise ConfigError(f"grid: {name} must be a list of values, got {held!r}.")
    return held


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    with replacement(str(path)) as file:
        file.write((json.dumps(data, indent=2) + "\n").encode())
