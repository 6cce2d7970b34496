"""`npr resume`: continues runs that were stopped."""

import argparse

from npr.cli import flags
from npr.cli.train import alone, report
from npr.errors import ConfigError

HELP = "continue runs that were stopped, from their latest checkpoint, to the bit"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--total-timesteps", type=flags.whole, metavar="N",
        help="env steps of the whole run, to extend one that is finished",
    )  # fmt: skip
    parser.add_argument(
        "--wrapper", nargs="+", action="extend", default=[], metavar="MODULE:CLASS",
        help="wrappers of the run, which must be given again",
    )  # fmt: skip
    parser.add_argument(
        "--import", nargs="+", action="extend", dest="imports", default=[], metavar="MODULE",
        help="modules of the run, which must be given again",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=flags.count, metavar="N",
        help="runs at a time; default: one per core, or as Ray has CPUs",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=["processes", "ray"], default="processes",
        help="ray: the runs are tasks of Ray; default: processes",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Resume; 1 if a run failed."""
    from npr import runs

    options = {
        "total_timesteps": args.total_timesteps,
        "wrappers": args.wrapper,
        "imports": args.imports,
    }
    for one in args.runs:
        if args.runs.count(one) > 1:
            raise ConfigError(f"{one} is given twice: two processes would write the same files.")
    if len(args.runs) == 1 and args.engine == "processes":
        return alone(runs.resume, args.runs[0], **options)
    return report(runs.resume_all(args.runs, args.jobs, args.engine, **options))
