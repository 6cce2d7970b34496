"""`npr export`: a trained policy for use without npr."""

import argparse

from npr.cli import agent_files
from npr.runs.folder import agent_file
from npr.system import streams

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
    from npr.export import check, model_of, write
    from npr.runs.typed import import_modules

    of_header = {"libm": args.libm, "name": args.name}
    headers = [path for path in args.output if path.lower().endswith(".h")]
    files = []
    for path in args.output:  # beside a header, other files take no options of it
        own = path in headers or not headers
        dtype, options = (args.dtype, of_header) if own else ("float32", {})
        check(path, dtype=dtype, **options)
        files.append((path, dtype, options))
    import_modules(args.imports)
    source, env = agent_file(args.file, args.which), None
    if args.env or args.env_kwargs or args.wrapper:
        agent = None if args.env else agent_files.load(args)[0]  # the file of a policy has none
        env = agent_files.env_of(args, agent)
    agent_files.check_env(args)
    models = {
        dtype: model_of(
            source, env=env, episodes=args.episodes, seed=args.seed, dtype=dtype,
            max_error=args.max_error, max_return_loss=args.max_return_loss,
        )
        for dtype in dict.fromkeys(dtype for _, dtype, _ in files)
    }  # fmt: skip
    for path, dtype, options in files:
        result = write(models[dtype], path, stochastic=args.stochastic, **options)
        streams.show(repr(result))
    return 0
