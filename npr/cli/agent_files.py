"""The agent in a file or in a run folder, and the environment that it acts in."""

import argparse
import contextlib
import functools
import json
from pathlib import Path
from typing import Any

from npr.cli import flags
from npr.errors import CheckpointError, ConfigError
from npr.files import archive
from npr.files.run_folder import CONFIG
from npr.runs.folder import WHICH, agent_file

_LARGEST_CONFIG = 1 << 20  # bytes that are read
_REGISTERS = "If a module registers it, name the module: --import MODULE."


def arguments(parser: argparse.ArgumentParser, episodes: int) -> None:
    """Add the arguments that `npr eval` and `npr play` share.

    episodes   the default number
    """
    source_arguments(parser, episodes)
    parser.add_argument("--stochastic", action="store_true", help="sample actions, as in training")
    parser.add_argument(
        "--episode-limit", type=flags.count, metavar="N",
        help="steps after which an episode is cut; default: 10000",
    )  # fmt: skip


def source_arguments(parser: argparse.ArgumentParser, episodes: int, least: int = 1) -> None:
    """Add the arguments of an agent's file, and of the environment that it acts in.

    episodes   the default number, of which at least so many must be given
    """
    parser.add_argument("file", metavar="FILE", help="file of an agent, or a run folder")
    parser.add_argument(
        "--which", choices=WHICH,
        help="the agent in a run folder: the one with the best evaluation, the one at the end, or "
        "the latest checkpoint; default: the first that exists",
    )  # fmt: skip
    parser.add_argument(
        "--episodes", type=flags.count if least else flags.whole, default=episodes,
        metavar="N", help=f"default: {episodes}",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="same seed, same episodes; default: 0"
    )
    parser.add_argument(
        "--env", metavar="ID", help="another environment with the same spaces; default: the agent's"
    )
    parser.add_argument(
        "--env-kwargs", nargs="+", default=[], metavar="NAME=VALUE",
        help="arguments of gymnasium.make",
    )  # fmt: skip
    parser.add_argument(
        "--wrapper", nargs="+", action="extend", default=[], metavar="MODULE:CLASS",
        help="wrappers around the environment, the innermost first",
    )  # fmt: skip
    parser.add_argument(
        "--import", nargs="+", action="extend", default=[], dest="imports", metavar="MODULE",
        help="modules that register environments or algorithms",
    )  # fmt: skip


def load(args: argparse.Namespace) -> tuple[Any, Path]:
    """The agent that the arguments name, and its file."""
    import npr
    from npr.runs.typed import import_modules

    import_modules(args.imports)
    path = agent_file(args.file, args.which)
    return npr.load(path), path


def env_of(args: argparse.Namespace, agent: Any, render_mode: str | None = None) -> Any:
    """The environment that the arguments name, an id or a function; None: one like the agent's.

    agent   is not needed with --env

    Raises ConfigError if the agent's own is not known or not registered.
    """
    from npr.runs.typed import WrappedEnv, check_registered

    given = args.env or args.env_kwargs or args.wrapper
    if not given and agent.env is not None:
        own = agent.env if isinstance(agent.env, str) else getattr(agent.env, "id", None)
        if isinstance(own, str):
            check_registered(own, _advice(args, "import", "imports", _REGISTERS))
        return None
    name = args.env or agent.env_id
    if not given or name is None:
        reason = agent.env_description.get("unknown", "it has no id")
        raise ConfigError(
            f"The file does not hold how its environment ({agent.env_id}) is made: {reason}. Give "
            "it with --env, --env-kwargs, --wrapper and --import, as in the training."
            f" {_advice(args, 'wrapper', 'wrappers')}".rstrip()
        )
    if args.env and not (args.env_kwargs or args.wrapper):
        return args.env
    kwargs = flags.pairs(args.env_kwargs)
    if not args.env:
        own = getattr(agent.env, "kwargs", None) or agent.env_kwargs or {}
        kwargs = {**own, **kwargs}
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    if not args.env:
        check_registered(name, _advice(args, "import", "imports", _REGISTERS))
    return functools.partial(WrappedEnv(name, args.wrapper, args.imports), **kwargs)


def check_env(args: argparse.Namespace) -> None:
    """Raise ConfigError if episodes are wanted, and the environment that the agent's file describes
    is not registered."""
    from npr.runs.typed import check_registered

    if not args.episodes or args.env or args.env_kwargs or args.wrapper:
        return  # env_of checks them
    own = None
    # damaged files and others are refused where they are read; without Gymnasium nothing is played
    with contextlib.suppress(CheckpointError, ConfigError, OSError, ModuleNotFoundError):
        manifest, _ = archive.read_headers(agent_file(args.file, args.which))
        described = manifest.get("env_description")
        own = described.get("id") if isinstance(described, dict) else None
        import gymnasium  # noqa: F401
    if isinstance(own, str):
        check_registered(own, _advice(args, "import", "imports", _REGISTERS))


def _advice(args: argparse.Namespace, flag: str, key: str, default: str = "") -> str:
    """A sentence about a flag of the training, if the agent is in a run folder that has it."""
    path = agent_file(args.file, args.which).absolute()
    values: Any = None
    for folder in path.parents[:2]:  # a checkpoint is one level below
        with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
            with open(folder / CONFIG, "rb") as file:
                values = json.loads(file.read(_LARGEST_CONFIG))[key]
            break
    texts = isinstance(values, list) and all(isinstance(one, str) for one in values)
    if texts and values and " ".join(values).isprintable():
        return f"It was trained with --{flag} {' '.join(values)}."
    return default


def heading(agent: Any, path: Path) -> str:
    """One line about an agent: what it is, what it has learned, and its file."""
    steps = f"{agent.num_timesteps:,} of {agent.end:,} steps"
    if agent.num_timesteps >= agent.end:
        steps = f"{agent.num_timesteps:,} steps"
    name = agent.env_id or "an environment without an id"
    return f"{type(agent).__name__} of {path}, trained on {name} for {steps}"


def limit(args: argparse.Namespace) -> int:
    """Steps after which an episode is cut."""
    from npr.training.evaluation import EPISODE_LIMIT

    return int(args.episode_limit or EPISODE_LIMIT)
