"""`npr train`: trains a run, or a grid of runs, in folders."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from npr.cli import flags
from npr.errors import ConfigError, NprError
from npr.files.run_folder import CONSOLE
from npr.system import streams

HELP = "train an agent, a grid of settings or several seeds, in run folders"

_EPILOG = """\
Every setting of the algorithm is a flag; `npr train sac --help` shows those of SAC. Several values
make a grid: --learning-rate 1e-3 3e-4 --seed 0 1 2 are six runs, in parallel processes, or with
--engine ray as tasks of a Ray cluster. Give the algorithm and the environment first."""

_NUMBERS = {  # field of the configuration -> help of its flag
    "total_timesteps": "env steps; default: the preset's budget",
    "eval_freq": "env steps between evaluations; 0: none; default: 10 evaluations per run",
    "eval_episodes": "episodes per evaluation; default: 10",
    "save_freq": "env steps between checkpoints; 0: at the end only; default: 10 checkpoints per "
                 "run",
    "keep": "numbered checkpoints that are kept; default: 3",
    "log_interval": "rollouts or episodes between rows of the logs; default: about 100 rows per "
                    "run",
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments, and those of the algorithm that the words or the configuration name."""
    parser.usage, parser.epilog = "npr train ALGORITHM ENV [--FLAG VALUE ...]", _EPILOG
    parser.add_argument(
        "algorithm", nargs="?", help="name, e.g. sac, per-dqn; `npr list` shows all"
    )
    parser.add_argument("env_id", metavar="env", nargs="?", help="id of an environment")
    parser.add_argument("--env", "--env-id", dest="env", metavar="ID", help="the same as a flag")
    parser.add_argument(
        "--env-kwargs", nargs="+", action="extend", metavar="NAME=VALUE",
        help="arguments of gymnasium.make",
    )  # fmt: skip
    parser.add_argument(
        "--wrapper", nargs="+", action="extend", metavar="MODULE:CLASS",
        help="wrappers around the environment, the innermost first",
    )  # fmt: skip
    parser.add_argument(
        "--import", nargs="+", action="extend", dest="imports", metavar="MODULE",
        help="modules that register environments or algorithms",
    )  # fmt: skip
    parser.add_argument(
        "--seed", nargs="+", action="extend", type=_seed, metavar="N",
        help="seeds; default: 0",
    )  # fmt: skip
    for name, text in _NUMBERS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=flags.whole, metavar="N", help=text)
    parser.add_argument(
        "--log", nargs="+", action="extend", metavar="NAME",
        help="outputs besides monitor.csv; default: csv jsonl",
    )  # fmt: skip
    parser.add_argument("--out", default="runs", metavar="FOLDER", help="default: runs")
    parser.add_argument(
        "--config", metavar="FILE", help="TOML or JSON, or a run's config.json; flags override it"
    )
    parser.add_argument(
        "--jobs", type=flags.count, metavar="N",
        help="runs of a grid at a time; default: one per core, or as Ray has CPUs",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=["processes", "ray"], default="processes",
        help="ray: the runs are tasks of Ray, on the cluster at RAY_ADDRESS or this computer; a "
        "single run with --n-workers stays here, and its workers are actors of Ray; default: "
        "processes",
    )  # fmt: skip
    parser.add_argument(
        "--index", type=flags.whole, metavar="N", help="train only this point of the grid, from 0"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the points of the grid")
    add_settings(parser, words, beginning(words))


def _seed(word: str) -> int:
    """A seed, for argparse."""
    try:
        return flags.whole(word)
    except argparse.ArgumentTypeError as error:
        if re.fullmatch(r"\d+([,:-]\d+)+,?", word):
            raise argparse.ArgumentTypeError(
                f"{error}; separate several by spaces: --seed 0 1 2"
            ) from None
        raise


def add_settings(
    parser: argparse.ArgumentParser, words: Sequence[str], data: dict[str, Any]
) -> None:
    """Add the flags of the algorithm that `data` names, if it names one. The parsed words have
    `data`, its class `kind` (None: there is none) and `words`. Raises ConfigError.
    """
    from npr.runs.config import algorithm

    kind = None if data.get("algorithm") is None else algorithm(data["algorithm"])
    if kind is not None:
        flags.add_settings(parser, kind)
    parser.set_defaults(data=data, kind=kind, words=[*words])


def beginning(words: Sequence[str], *, with_file: bool = True) -> dict[str, Any]:
    """The configuration file, with the algorithm of the words if they have one.

    with_file   whether --config is a flag

    The modules of --import are imported: they may register algorithms. Raises ConfigError.
    """
    from npr.runs import config
    from npr.runs.typed import import_modules

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--import", nargs="+", action="extend", dest="imports", default=[])
    first.add_argument("--wrapper", nargs="+", action="extend", default=[])
    if with_file:
        first.add_argument("--config")
    try:
        given, rest = first.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}.") from None
    import_modules(given.imports)
    data: dict[str, Any] = {}
    if with_file and given.config:
        data = config.read_config(given.config, given.wrapper, given.imports)
    if words and not words[0].startswith("-"):
        return {**data, "algorithm": words[0]}
    if not data.get("algorithm"):
        names = [word for word in rest if not word.startswith("-") and config.is_algorithm(word)]
        data |= {"algorithm": names[0]} if names else {}
    return data


def check_first(args: argparse.Namespace) -> None:
    """Raise ConfigError if argparse takes another word for the algorithm: its flags are missing."""
    if args.algorithm is not None and args.algorithm != args.data.get("algorithm"):
        raise ConfigError(
            f"Give the algorithm and the environment first: npr {args.command} sac Pendulum-v1 ..."
        )


def configured(args: argparse.Namespace) -> dict[str, Any]:
    """The configuration of the parsed words, as from `npr.runs.read_config`: the file's values,
    replaced by those of flags. Raises ConfigError."""
    data = {key: value for key, value in args.data.items() if key not in ("settings", "grid")}
    settings, grid = dict(args.data.get("settings", {})), dict(args.data.get("grid", {}))
    if args.env is not None and args.env_id is not None:
        raise ConfigError(f"The environment is given twice: {args.env_id} and --env {args.env}.")
    env, imports = args.env or args.env_id, [*(args.imports or [])]
    if env and ":" in env:  # Gymnasium's notation for a module that registers the environment
        module, _, env = env.partition(":")
        imports.append(module)
    lists = {"wrappers": args.wrapper, "imports": imports or None, "log": args.log, "env": env}
    if args.env_kwargs:
        lists["env_kwargs"] = flags.pairs(args.env_kwargs)
    lists |= {name: getattr(args, name) for name in _NUMBERS}
    data |= {name: value for name, value in lists.items() if value is not None}
    if args.seed is not None:
        data["seed"] = args.seed
        grid.pop("seed", None)
    for name, values in flags.given(args, args.kind).items() if args.kind else ():
        settings.pop(name, None)
        grid.pop(name, None)
        if len(values) == 1:
            settings[name] = values[0]
        else:
            grid[name] = values
    return {**data, "settings": settings, "grid": grid}


def run(args: argparse.Namespace) -> int:
    """Train; 1 if a run failed."""
    from npr import runs
    from npr.runs import config, folder
    from npr.runs.train import source
    from npr.runs.typed import import_modules

    check_first(args)
    data = configured(args)
    import_modules(data.get("imports", []))
    points = config.from_plain(data)
    source(points[0])  # an unknown environment or wrapper: before anything is written
    first = config.varied(points)
    named = [folder.name_of(point, first) for point in points]
    if args.index is not None:
        if not 0 <= args.index < len(points):
            raise ConfigError(
                f"--index {args.index} is not a point of this grid, which has 0 to "
                f"{len(points) - 1}."
            )
        points, named = [points[args.index]], [named[args.index]]
    if args.dry_run:
        text = "".join(
            f"{i if args.index is None else args.index}  {name}  {point.budget:,} steps\n"
            for i, (name, point) in enumerate(zip(named, points))
        )
        streams.write(sys.stdout, text)
        return 0
    command = ["npr", "train", *args.words]
    if len(points) == 1 and args.engine == "ray" and points[0].settings.get("n_workers"):
        points[0].settings["engine"] = args.engine  # of its workers
    elif args.engine == "ray":
        return report(runs.run_all(points, args.out, args.jobs, command, args.engine))
    if len(points) == 1:
        return alone(runs.train, points[0], Path(args.out) / named[0], command=command)
    return report(runs.run_all(points, args.out, args.jobs, command))


def alone(train: Callable[..., Any], *args: Any, **options: Any) -> int:
    """Train one run in this process: train(*args, report=..., **options); the exit status.

    An error after the first step is raised as an NprError, which has status 1: it is not about what
    was typed.
    """
    from npr.cli import _is_usage, _sentence

    begun = False

    def note(agent: Any) -> None:
        nonlocal begun
        begun = True

    try:
        train(*args, report=note, **options)
    except Exception as error:
        if begun and _is_usage(error):
            raise NprError(_sentence(error)) from error
        raise
    return 0


def report(outcomes: Sequence[Any]) -> int:
    """Print a sentence for each run that failed or was skipped; the exit status."""
    for one in outcomes:
        if one.state == "skipped":
            streams.write(sys.stderr, f"npr: skipped: {one.error}\n")
    failed = [one for one in outcomes if one.state == "failed"]
    for one in failed:
        reason = one.error.splitlines()[0] if one.error else "it failed"
        streams.write(sys.stderr, f"npr: {one.folder} failed: {reason} ({one.folder / CONSOLE})\n")
    return 1 if failed else 0
