"""`npr list`: algorithms, presets and environments."""

import argparse
import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from npr import presets
from npr.cli import flags
from npr.envs.spaces import ACTION_SPACES
from npr.errors import ConfigError, SpaceError
from npr.runs.config import algorithm
from npr.runs.typed import import_modules
from npr.system import streams

HELP = "list the algorithms and what they support, the presets, or the environments"

_WHATS = ("algorithms", "presets", "envs")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr list`."""
    parser.add_argument(
        "what", nargs="?", type=_what, metavar="LIST", default="algorithms",
        help=f"{', '.join(_WHATS[:-1])} or {_WHATS[-1]}; default: algorithms",
    )  # fmt: skip
    parser.add_argument(
        "algorithm", nargs="?", help="show the values in the presets of this algorithm"
    )
    parser.add_argument(
        "--env", metavar="ID", help="only the algorithms or presets for this environment"
    )
    parser.add_argument(
        "--env-kwargs", nargs="+", default=[], metavar="NAME=VALUE",
        help="arguments of gymnasium.make",
    )  # fmt: skip
    parser.add_argument(
        "--import", nargs="+", action="extend", default=[], dest="imports", metavar="MODULE",
        help="modules that register environments or algorithms",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def _what(word: str) -> str:
    """The list that a word names, for argparse."""
    if word in _WHATS:
        return word
    close = difflib.get_close_matches(word, _WHATS, 1)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(_WHATS)}"
    raise argparse.ArgumentTypeError(f"there is no list {word!r}; {advice}")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    import_modules(args.imports)
    if args.algorithm and args.what != "presets":
        raise ConfigError(
            f"{args.algorithm!r} is one argument too many; for its presets: npr list presets "
            f"{args.algorithm}"
        )
    if args.env and args.what == "envs":
        raise ConfigError("npr list envs lists all; --env is for algorithms and presets.")
    found, text = {
        "algorithms": _algorithms, "presets": _presets, "envs": _envs,
    }[args.what](args)  # fmt: skip
    streams.show(json.dumps(found) if args.json else text)
    return 0


# ---- algorithms


def _algorithms(args: argparse.Namespace) -> tuple[Any, str]:
    found = [_described(kind) for kind in _kinds()]
    if not args.env:
        rows = [("algorithm", "actions", "observations", "")]
        rows += [
            (one["name"], _actions(one), one["observations"], one["description"]) for one in found
        ]
        return found, "\n".join(_table(rows))
    reasons = why_not(args.env, flags.pairs(args.env_kwargs))
    takes, refuses = [], []
    for one in found:
        reason = one["reason"] = reasons[one["name"]]
        one["supports"] = reason is None
        preset = presets.find(one["name"], args.env)
        one["total_timesteps"] = preset.get("total_timesteps")
        budget = f"preset of {preset['total_timesteps']:,} steps" if preset else "no preset"
        if reason is None:
            takes.append((one["name"], budget, one["description"]))
        else:
            refuses.append((one["name"], reason.partition(";")[0]))
    lines = [f"{args.env} is for:", *_table(takes, indent=2)]
    lines += ["not for:", *_table(refuses, indent=2)] if refuses else []
    return found, "\n".join(lines)


def _kinds() -> list[Any]:
    """The classes of all algorithms, those of npr in the order of the pseudocode first."""
    import npr
    import npr.algorithms
    from npr.algorithms.base import REGISTRY

    order = [*npr.__all__]
    return sorted(
        REGISTRY.values(), key=lambda kind: (kind.__name__ not in order, _index(order, kind))
    )


def _index(order: Sequence[str], kind: Any) -> int:
    return order.index(kind.__name__) if kind.__name__ in order else 0


def _described(kind: Any) -> dict[str, Any]:
    first = (kind.__doc__ or "").partition("\n")[0].rstrip(".")
    return {
        "name": kind.__name__,
        "description": first.partition(", for ")[0],
        "actions": [name for one in kind.action_kinds for name in ACTION_SPACES[one]],
        "needs_bounds": kind.needs_bounds,
        "observations": "Discrete" if kind.table else "any",
    }


def _actions(one: dict[str, Any]) -> str:
    if len(one["actions"]) == sum(map(len, ACTION_SPACES.values())):
        return "any"
    bounded = " (bounded)" if one["needs_bounds"] else ""
    return " ".join(f"{name}{bounded if name == 'Box' else ''}" for name in one["actions"])


def why_not(env: str, env_kwargs: dict[str, Any]) -> dict[str, str | None]:
    """Name of each algorithm -> why it does not support an environment; None: it does."""
    import numpy as np

    from npr.algorithms.base import REGISTRY
    from npr.envs.make import open_envs
    from npr.training.space_checks import check_spaces

    found: dict[str, str | None] = {}
    envs = open_envs(env, 1, np.random.SeedSequence(0), env_kwargs=env_kwargs)
    try:
        for kind in _kinds():
            needs = {
                name: getattr(kind, name) for name in ("action_kinds", "needs_bounds", "table")
            }
            agent = type(kind.__name__, (), {**needs, "flatten_images": False})()
            found[kind.__name__] = None
            try:
                check_spaces(agent, envs, REGISTRY)
            except SpaceError as error:
                found[kind.__name__] = str(error).removeprefix(f"{kind.__name__} ")
    finally:
        envs.close()
    return found


# ---- presets and environments


def _presets(args: argparse.Namespace) -> tuple[Any, str]:
    names = list(presets.PRESETS)
    if args.algorithm:
        names = [algorithm(args.algorithm).__name__]
    found = {name: dict(presets.PRESETS.get(name, {})) for name in names}
    if args.env:
        found = {
            name: {args.env: preset} for name in names if (preset := presets.find(name, args.env))
        }
    rows = [
        (name, env, f"{preset['total_timesteps']:,}", _values(preset) if args.algorithm else "")
        for name, held in found.items()
        for env, preset in held.items()
    ]
    if not rows:
        return found, f"There is no preset for {args.env or args.algorithm}: npr uses the defaults."
    rows.insert(0, ("algorithm", "environment", "steps", "settings" if args.algorithm else ""))
    text = "\n".join(_table(rows, right=(2,)))
    return found, text if args.algorithm else f"{text}\n`npr list presets sac` shows the settings."


def _values(preset: dict[str, Any]) -> str:
    given = {k: v for k, v in preset.items() if k != "total_timesteps"}
    return " ".join(f"{k}={flags.text(v).replace(' ', '')}" for k, v in given.items())


def _envs(args: argparse.Namespace) -> tuple[Any, str]:
    import gymnasium

    tuned: dict[str, list[str]] = {}
    for name, held in presets.PRESETS.items():
        for env in held:
            tuned.setdefault(env, []).append(name)
    latest: dict[Any, Any] = {}
    specs: list[Any] = [*gymnasium.registry.values()]
    for spec in specs:
        key = spec.namespace, spec.name
        if key not in latest or (spec.version or 0) > (latest[key].version or 0):
            latest[key] = spec
    ids = sorted({spec.id for spec in latest.values()} | tuned.keys(), key=str.lower)
    found = {
        env: {"registered": env in gymnasium.registry, "presets": tuned.get(env, [])}
        for env in ids
    }  # fmt: skip
    rows = [("environment", "algorithms with a preset")]
    rows += [(env, " ".join(tuned.get(env, []))) for env in ids]
    note = (
        "The latest versions that are registered here; --import MODULE registers others. Some need "
        "packages, which their error names."
    )
    return found, "\n".join([*_table(rows), note])


def _table(rows: Iterable[Sequence[str]], indent: int = 0, right: Sequence[int] = ()) -> list[str]:
    """The rows with aligned columns; those in `right` are aligned to the right."""
    rows = [*rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines
