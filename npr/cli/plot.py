"""`npr plot`: learning curves, comparisons and value maps, as pictures or as text."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from npr.errors import ConfigError
from npr.system import streams

HELP = "draw the learning curves of runs, compare them, or draw the values of a table"

_EPILOG = """\
Runs are grouped by algorithm, environment and the settings that differ; seeds are averaged. Without
-o the result is shown as text."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr plot`."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "runs", nargs="*", metavar="RUNS",
        help="run folders, folders of them, or 'patterns*'; or files of agents with a table",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="picture to write: .png, .svg or .pdf"
    )
    parser.add_argument("--text", action="store_true", help="show text, also with -o")
    parser.add_argument(
        "--x", choices=("steps", "seconds", "episodes"), default="steps", help="default: steps"
    )
    parser.add_argument(
        "--y", default="return", metavar="KEY",
        help="return, length, evaluation, or a column of progress.csv; default: return",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=int, default=10, metavar="N",
        help="episodes in the moving mean of returns and lengths; default: 10",
    )  # fmt: skip
    parser.add_argument(
        "--iqm", action="store_true", help="the interquartile mean over the runs, not the mean"
    )
    parser.add_argument(
        "--interval", type=float, default=0.95, metavar="X",
        help="coverage of the bootstrap interval; 0: none; default: 0.95",
    )  # fmt: skip
    parser.add_argument("--each", action="store_true", help="draw each run too, as a thin line")
    parser.add_argument(
        "--group", nargs="+", action="append", default=[], metavar=("LABEL", "RUNS"),
        help="runs that are one curve with this label, instead of RUNS",
    )  # fmt: skip
    parser.add_argument(
        "--profile", action="store_true", help="the share of runs that end above each return"
    )
    parser.add_argument(
        "--improvement", nargs="*", metavar="RUNS",
        help="the probability that a run of one group ends higher than one of another: of the two "
        "sets of runs A B, or of all groups of RUNS",
    )  # fmt: skip
    parser.add_argument(
        "--last", type=int, default=100, metavar="N",
        help="episodes at the end of a run, for --profile and --improvement; default: 100",
    )  # fmt: skip
    parser.add_argument(
        "--normalize", nargs="+", default=[], metavar="ENV=LOW,HIGH",
        help="the returns that become 0 and 1, to put several environments together",
    )  # fmt: skip
    parser.add_argument("--title", help="default: the environment")


def run(args: argparse.Namespace) -> int:
    """Draw or show what the arguments ask for."""
    if args.profile and args.improvement is not None:
        raise ConfigError("--profile and --improvement are two plots; give one of them.")
    tables = [name for name in args.runs if name.endswith(".npz")]
    if tables and (len(tables) < len(args.runs) or args.group or args.improvement is not None):
        raise ConfigError("Give either run folders, or files of agents with a table.")
    draw, show = _table(args) if tables else _plots(args)
    if args.output is not None and not _has_matplotlib():
        streams.show(show())
        raise ConfigError(
            f"{args.output} was not written: pictures need matplotlib: pip install 'npr-rl[plot]'."
        )
    if args.output is None or args.text:
        streams.show(show())
    if args.output is not None:
        draw()
        streams.show(f"written to {args.output}")
    return 0


def _has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


# ---- runs


def _plots(args: argparse.Namespace) -> tuple[Any, Any]:
    """Two functions: one that draws the runs, and one that describes them in text."""
    from npr import plot
    from npr.plot import text

    runs, interval = _runs(args), args.interval or None
    common: dict[str, Any] = {"y": args.y, "normalize": _normalize(args.normalize) or None}
    drawn: dict[str, Any] = {"title": args.title, "path": args.output}
    shown: dict[str, Any] = {
        "columns": streams.columns(sys.stdout) if streams.is_terminal(sys.stdout) else None
    }
    if args.profile:
        given = {**common, "last": args.last}
        return (
            lambda: plot.profile(runs, interval=interval, **given, **drawn),
            lambda: text.profile_text(runs, **given, **shown),
        )
    if args.improvement is not None:
        given = {**common, "last": args.last, "interval": interval or 0.95}
        return (
            lambda: plot.improvement(runs, **given, **drawn),
            lambda: text.improvement_text(runs, **given, **shown),
        )
    given = {**common, "x": args.x, "smooth": args.smooth, "interval": interval}
    center = "iqm" if args.iqm else "mean"
    return (
        lambda: plot.curves(runs, center=center, each=args.each, **given, **drawn),
        lambda: plot.curves_text(runs, **given, **shown),
    )


def _normalize(words: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The scores that become 0 and 1, of each environment."""
    found: dict[str, tuple[float, float]] = {}
    for word in words:
        env, _, numbers = word.partition("=")
        bare = numbers[1:-1] if numbers[:1] + numbers[-1:] == "[]" else numbers
        try:
            low, high = map(float, bare.split(",") if env else ())
        except ValueError:
            raise ConfigError(
                f"--normalize needs ENV=[LOW,HIGH] or ENV=LOW,HIGH, such as CartPole-v1=0,500; got "
                f"{word!r}."
            ) from None
        if env in found:
            raise ConfigError(f"--normalize has {env!r} twice.")
        found[env] = low, high
    return found


def _runs(args: argparse.Namespace) -> Any:
    """The runs as npr.plot takes them: folders, or label -> folders."""
    sets = args.improvement or []
    if len(sets) not in (0, 2):
        raise ConfigError(f"--improvement compares two sets of runs, got {len(sets)}.")
    if sum(map(bool, (args.runs, args.group, sets))) > 1:
        raise ConfigError("Give the runs once: as RUNS, by --group, or as --improvement A B.")
    if sets:
        return {name: name for name in sets}
    if short := [group for group in args.group if len(group) < 2]:
        raise ConfigError(f"--group needs a label and runs, got {' '.join(short[0])}.")
    if not args.group and not args.runs:
        raise ConfigError("Give run folders: npr plot runs/*")
    return {label: runs for label, *runs in args.group} or args.runs


# ---- tables

_ARROWS = {(0, -1): "<", (0, 1): ">", (-1, 0): "^", (1, 0): "v"}


def _table(args: argparse.Namespace) -> tuple[Any, Any]:
    """Two functions: one that draws the values of tables, and one that shows their actions."""
    from npr import plot
    from npr.plot.tables import all_panels

    def show() -> str:
        found = all_panels(args.runs, args.title)
        return "\n\n".join(f"{panel.title}\n{_actions(panel)}" for panel in found)

    def draw() -> Any:
        return plot.table(args.runs, title=args.title, path=args.output)

    return draw, show


def _actions(panel: Any) -> str:
    """The greedy action of each cell: an arrow, * for one that does not move, or the cell."""
    rows = []
    for i, cells in enumerate(panel.cells):
        marks = []
        for j, cell in enumerate(cells):
            action = panel.greedy(i, j)
            if action is None:
                marks.append(cell)
            elif action < len(panel.actions):
                marks.append(_ARROWS[tuple(panel.actions[action])])
            else:
                marks.append("*")
        rows.append(" ".join(marks))
    if any("*" in row for row in rows):
        rows.append("* is an action that does not move")
    return "\n".join(rows)
