"""`npr export`: a trained policy for use without npr."""

import argparse

from npr.cli import agent_files
from npr.runs.folder import agent_file
from npr.system import streams

_LIMITS = ("max_error", "max_return_loss")

HELP = "write a trained policy as C, Python, JavaScript, ONNX or a file without the agent"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr export`."""
    agent_files.source_arguments(parser, episodes=20, least=0)
    parser.add_argument(
        "-o", "--output", nargs="+", required=True, metavar="FILE",
        help="files to write: *.h C99, *.py Python, *.js JavaScript, *.onnx, *.npz for npr.infer, "
        "*.safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=["float32", "int8", "q15"], default="float32",
        help="numbers of a .h: int8 and q15 are integers, for parts without an FPU",
    )  # fmt: skip
    parser.add_argument(
        "--stochastic", action="store_true",
        help="also write a function that samples actions, from noise that its caller gives",
    )  # fmt: skip
    parser.add_argument(
        "--no-libm", action="store_false", dest="libm", help="a .h that needs no <math.h>"
    )
    parser.add_argument("--name", default="policy", help="prefix of the names in a .h")
    parser.add_argument(
        "--max-error", type=float, default=0.05, metavar="X",
        help="refuse integers whose mean error is above this part of the actions' range, or which "
        "choose another action in more than this part of the observations; default: 0.05",
    )  # fmt: skip
    parser.add_argument(
        "--max-return-loss", type=float, default=0.1, metavar="X",
        help="refuse integers whose mean return is lower by more than this part; default: 0.1",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the files, and print what they hold."""
    from npr.export import export, form_of
    from npr.runs.typed import import_modules

    for path in args.output:  # before the first is written
        form_of(path)
    import_modules(args.imports)
    source, env = agent_file(args.file, args.which), None
    if args.env or args.env_kwargs or args.wrapper:
        agent, _ = agent_files.load(args)
        env = agent_files.env_of(args, agent)
    of_header = {
        name: getattr(args, name) for name in ("dtype", "libm", "name", *_LIMITS)
    }  # those that other forms refuse
    headers = [path for path in args.output if path.lower().endswith(".h")]
    for path in args.output:
        own = of_header if path in headers or not headers else {}
        with agent_files.known_envs(args):
            result = export(
                source, path, stochastic=args.stochastic, env=env, episodes=args.episodes,
                seed=args.seed, **own,
            )  # fmt: skip
        streams.show(repr(result))
    return 0
