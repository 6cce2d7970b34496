"""`npr tune`: searches for settings, and writes the best as a configuration for `npr train`."""

import argparse
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from npr.cli import flags
from npr.cli.train import add_settings, beginning, check_first
from npr.errors import ConfigError
from npr.system import streams

if TYPE_CHECKING:
    from npr.tune import TuneResult

HELP = "search for good settings"

_EPILOG = """\
A flag of a setting fixes it: --n-envs 4; `npr tune sac --help` shows those of SAC. The same command
on several machines shares the study in --storage, and goes on with it after Ctrl-C; without
--storage Ctrl-C writes the best trial so far. Needs Optuna: pip install 'npr-rl[tune]'."""


def arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments, and those of the algorithm that the words name."""
    parser.usage, parser.epilog = "npr tune ALGORITHM ENV [--FLAG VALUE ...]", _EPILOG
    add = parser.add_argument
    add("algorithm", help="name, e.g. sac, per-dqn; `npr list` shows all")
    add("env", help="id of an environment")
    add("--trials", type=flags.whole, default=50, metavar="N",
        help="of the study in all; default: 50")  # fmt: skip
    add("--jobs", type=flags.whole, metavar="N",
        help="trials at a time; default: 1, or with Ray as many as it has CPUs")  # fmt: skip
    add("--engine", choices=["processes", "ray"], default="processes",
        help="ray: the trials are tasks of Ray, on the cluster at RAY_ADDRESS or this computer; "
        "default: processes")  # fmt: skip
    add("--storage", metavar="FILE", help="journal file that keeps the study; default: none")
    add("--study", metavar="NAME", help="name in the storage; default: algorithm and environment")
    add("--seeds", type=flags.whole, default=3, metavar="N",
        help="agents per trial; the objective is the median over them; default: 3")  # fmt: skip
    add("--total-timesteps", type=flags.whole, metavar="N",
        help="env steps of each agent; default: the preset's budget")  # fmt: skip
    add("--eval-freq", type=flags.whole, metavar="N",
        help="env steps between evaluations; default: a tenth of the budget")  # fmt: skip
    add("--eval-episodes", type=flags.whole, default=10, metavar="N",
        help="episodes per evaluation; default: 10")  # fmt: skip
    add("--last", type=flags.whole, default=1, metavar="N",
        help="an agent's score is the mean of so many last evaluations; default: 1")  # fmt: skip
    add("--top", type=flags.whole, default=3, metavar="N",
        help="so many of the best trials are trained again with fresh seeds, which choose the "
        "winner; 0: none; default: 3")  # fmt: skip
    add("--space", nargs="+", action="extend", default=[], metavar="NAME=LOW:HIGH",
        help="range of a setting, e.g. learning_rate=1e-5:1e-2:log, or choices, gamma=0.9,0.99; or "
        'a TOML file with the whole space, of lines such as tau = ["log", 1e-3, 0.1]')  # fmt: skip
    add("--sampler", choices=["tpe", "random"], default="tpe", help="default: tpe")
    add("--pruner", choices=["median", "none"], default="median", help="default: median")
    add("--timeout", type=float, metavar="SECONDS", help="after which no trial starts")
    add("--seed", type=flags.whole, metavar="N",
        help="of the sampler; not for several machines. Agents have seeds 0, 1, ...")  # fmt: skip
    add("--out", default="best.toml", metavar="FILE",
        help="configuration for npr train, .toml or .json; default: best.toml")  # fmt: skip
    add("--env-kwargs", nargs="+", metavar="NAME=VALUE", help="arguments of gymnasium.make")
    add("--wrapper", nargs="+", action="extend", default=[], metavar="MODULE:CLASS",
        help="wrappers around the environment, the innermost first")  # fmt: skip
    add("--import", nargs="+", action="extend", dest="imports", default=[], metavar="MODULE",
        help="modules that register environments or algorithms")  # fmt: skip
    add_settings(parser, words, beginning(words, with_file=False))


def run(args: argparse.Namespace) -> int:
    """Search; the result is a table on the standard output, and the file."""
    from npr.runs.config import RunConfig
    from npr.runs.train import source
    from npr.runs.typed import WrappedEnv, import_modules
    from npr.tune import tune
    from npr.tune.result import check_suffix

    check_first(args)
    check_suffix(args.out)
    _check_writable(args.out)
    module, _, name = args.env.rpartition(":")  # Gymnasium's notation
    imports = [*args.imports, *([module] if module else [])]
    import_modules(imports)
    env = source(RunConfig(args.kind.__name__, name, wrappers=args.wrapper, imports=imports))
    if imports and not args.wrapper:
        env = WrappedEnv(name, [], imports)  # imports the modules in the other processes too
    space, fixed = _space(args), _fixed(args)
    others = {"wrappers": args.wrapper, "imports": imports}
    found = {"env": name, **{key: one for key, one in others.items() if one}}
    again = "".join(f" --{flag} {' '.join(words)}" for flag, words in
                    (("wrapper", args.wrapper), ("import", imports)) if words)  # fmt: skip

    def save(result: "TuneResult", what: str) -> None:
        out = _save(result, args.out, found)
        streams.write(sys.stdout, f"{out} has {what}: npr train --config {out}{again}\n")

    def stopped(result: "TuneResult") -> None:
        save(result, "the settings of the best trial so far")

    result = tune(
        args.kind, env, trials=args.trials, total_timesteps=args.total_timesteps, seeds=args.seeds,
        eval_freq=args.eval_freq, eval_episodes=args.eval_episodes, last=args.last, top=args.top,
        jobs=args.jobs, engine=args.engine, storage=args.storage, study=args.study, space=space,
        sampler=args.sampler, pruner=args.pruner, timeout=args.timeout, seed=args.seed,
        on_stop=stopped if args.storage is None else None, **fixed,
    )  # fmt: skip
    streams.write(sys.stdout, table(result, fixed))
    if result.finished:
        save(result, "these settings")
    return 0


def _check_writable(path: str) -> None:
    """Raise ConfigError if the file could not be written after the search."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ConfigError(f"--out {path}: there is no folder {folder!r}; create it first.")
    if os.path.isdir(path):
        raise ConfigError(f"--out {path}: it is a folder; give the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"--out {path}: no file can be written in {folder!r} ({error.strerror}); choose "
            "another."
        ) from None


def _save(result: "TuneResult", path: str, others: dict[str, Any]) -> str:
    """Write the file and return its name: with .json if TOML cannot hold the settings."""
    try:
        try:
            result.save(path, **others)
        except ConfigError as error:
            instead = f"{os.path.splitext(path)[0]}.json"
            result.save(instead, **others)
            streams.write(sys.stderr, f"{instead} is written instead of {path}: {error}\n")
            return instead
    except OSError:  # the result of hours is not lost
        streams.write(sys.stdout, f"{json.dumps(result.config() | others)}\n")
        raise
    return path


def _fixed(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that flags fix."""
    fixed: dict[str, Any] = {}
    if args.env_kwargs:
        fixed["env_kwargs"] = flags.pairs(args.env_kwargs)
    for name, values in flags.given(args, args.kind).items():
        if len(values) > 1:
            flag, words = name.replace("_", "-"), ",".join(map(flags.text, values))
            raise ConfigError(
                f"--{flag} fixes a setting, and has {len(values)} values; to search among them use "
                f"--space {name}={words}."
            )
        fixed[name] = values[0]
    return fixed


def _space(args: argparse.Namespace) -> dict[str, Any]:
    """The search space: that of the file or of the algorithm, with the ranges of words."""
    from npr.tune import spaces

    files = [word for word in args.space if "=" not in word]
    if len(files) > 1:
        raise ConfigError(f"--space takes one file with the whole space, got {' '.join(files)}.")
    space: dict[str, Any] = dict(spaces.space_of(args.kind))
    for path in files:
        with open(path, "rb") as file:
            try:
                space = tomllib.load(file)
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} is not a TOML file: {error}.") from None
    return space | dict(spaces.parse(args.kind, word) for word in args.space if "=" in word)


def table(result: "TuneResult", fixed: Container[str] = ()) -> str:
    """The best trials: by the search, by fresh seeds, and their settings but those in `fixed`."""
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    lines = [f"{sum(result.counts.values())} trials: {counts}"]
    lines.append(f"{'trial':>5} {'search':>10} {'fresh seeds':>11}  settings")
    for one in result.candidates:
        fresh = f"{one.median:.6g}" if one.fresh else "-"
        drawn = {name: held for name, held in one.settings.items() if name not in fixed}
        settings = ", ".join(f"{name}={_short(held)}" for name, held in drawn.items())
        lines.append(f"{one.trial:>5} {one.value:>10.6g} {fresh:>11}  {settings}")
    return "\n".join(lines) + "\n"


def _short(held: Any) -> str:
    return f"{held:.4g}" if isinstance(held, float) else flags.text(held)
