"""`npr report`: a page about a run, in one HTML file."""

import argparse
from pathlib import Path

from npr.cli import agent_files
from npr.system import streams

HELP = "write a page with the results of a run and the trained agent at work, as one HTML file"

_EPILOG = """\
The page needs no server and no network. In the classic control environments and the grid worlds of
Gymnasium the agent acts on it, and arrow keys take over."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr report`."""
    parser.epilog = _EPILOG
    agent_files.source_arguments(parser, episodes=100, least=0)
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="page to write, *.html; default: report.html in the run folder, or the name of the "
        "agent's file with .html",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from npr import report
    from npr.runs.typed import import_modules

    path, env = Path(args.file), None
    if args.env or args.env_kwargs or args.wrapper:
        agent, _ = agent_files.load(args)
        env = agent_files.env_of(args, agent)
    import_modules(args.imports)
    agent_files.check_env(args)
    default = path / "report.html" if path.is_dir() else path.with_suffix(".html")
    target = Path(args.output or default)
    report.write(path, target, which=args.which, env=env, episodes=args.episodes, seed=args.seed)
    streams.show(f"written to {target}")
    return 0
