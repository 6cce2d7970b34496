"""The command line: `npr doctor` tells what this machine will run on."""

import argparse
import os
import platform
from pathlib import Path

import npr
from npr import backend
from npr.kernels import jit, mlp
from npr.nn import threads_for


def doctor() -> list:
    """(what, finding) about versions, backend, kernels and threads."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [
        ("npr", f"{npr.__version__} on Python {platform.python_version()}, {system}"),
        ("packages", ", ".join(f"{name} {backend.installed(name)}" for name in PACKAGES)),
        ("backend", f"{backend.BACKEND}, {backend.FLOAT}"),
        ("kernels", kernels()),
        ("networks", networks()),
        ("threads", threads()),
    ]


PACKAGES = ("numpy", "numba", "gymnasium", "cupy-cuda12x", "cupy-cuda13x")


def kernels():
    if not jit.available():
        return "run on their array twins: NPR_NUMBA=0, or Numba cannot be imported"
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(jit.__file__).parent / "__pycache__")
    if os.access(folder if folder.exists() else folder.parent, os.W_OK):
        return f"compiled by Numba, kept in {folder}"
    return (
        f"compiled by Numba; {folder} cannot be written to, so Numba keeps them in a folder of the "
        "user, or compiles in every process: set NUMBA_CACHE_DIR"
    )


def networks():
    if backend.ON_HOST and jit.available() and mlp.find():
        return "one call each way, on NumPy's OpenBLAS"
    return "layer by layer"


def threads():
    told, library = backend.threads_set_by_user(), backend.blas()
    if told:
        return f"{told} is set and holds"
    if library is None:
        return "left to NumPy's BLAS, which is no OpenBLAS of its wheels"
    here = library.scipy_openblas_get_num_threads64_()
    used = ", ".join(f"{min(threads_for(n), here)} at width {n}" for n in (64, 256, 1024))
    return f"{here} of OpenBLAS; learning uses {used}; OPENBLAS_NUM_THREADS overrules"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="npr", description="Reinforcement learning with NumPy.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("doctor", help="what this machine will run on")
    parser.parse_args(arguments)
    for what, finding in doctor():
        print(f"{what:<10} {finding}")


if __name__ == "__main__":
    main()
