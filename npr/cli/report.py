"""`npr report`: a page about a run, in one HTML file."""

import argparse
from pathlib import Path

from npr.cli import flags
from npr.runs.folder import WHICH
from npr.system import streams

HELP = "write a page with the results of a run and the trained agent at work, as one HTML file"

_EPILOG = """\
The page needs no server and no network. In the classic control environments and the grid worlds of
Gymnasium the agent acts on it, and arrow keys take over."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr report`."""
    parser.epilog = _EPILOG
    parser.add_argument("run", metavar="RUN", help="run folder, or file of an agent")
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="page to write, *.html; default: report.html in the run folder, or the name of the "
        "agent's file with .html",
    )  # fmt: skip
    parser.add_argument(
        "--which", choices=WHICH,
        help="the agent in a run folder: the one with the best evaluation, the one at the end, or "
        "the latest checkpoint; default: the first that exists",
    )  # fmt: skip
    parser.add_argument(
        "--episodes", type=flags.whole, default=100, metavar="N",
        help="of the evaluation; 0: none; default: 100",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the evaluation; default: 0"
    )
    parser.add_argument(
        "--import", nargs="+", action="extend", default=[], dest="imports", metavar="MODULE",
        help="modules that register environments or algorithms",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from npr import report
    from npr.runs.typed import import_modules

    import_modules(args.imports)
    path = Path(args.run)
    default = path / "report.html" if path.is_dir() else path.with_suffix(".html")
    target = Path(args.output or default)
    report.write(path, target, which=args.which, episodes=args.episodes, seed=args.seed)
    streams.show(f"written to {target}")
    return 0
