"""The command line: `npr doctor` tells what this machine will run on."""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

import numpy as np

import npr
from npr import backend
from npr.kernels import blas as kernel_blas
from npr.kernels import jit
from npr.system import blas, memory


def doctor() -> list[tuple[str, str]]:
    """(what, finding) about versions, backend, kernels, threads and memory."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [
        ("npr", f"{npr.__version__} on Python {platform.python_version()}, {system}"),
        ("packages", packages()),
        ("backend", f"{backend.BACKEND}, {backend.FLOAT}"),
        ("kernels", kernels()),
        ("networks", networks()),
        ("threads", threads()),
        ("memory", room()),
    ]


PACKAGES = ("numpy", "numba", "gymnasium", "cupy-cuda12x", "cupy-cuda13x")


def packages() -> str:
    told = ", ".join(f"{name} {backend.installed(name)}" for name in PACKAGES)
    limit = numpy_limit()
    if limit and tuple(map(int, re.findall(r"\d+", np.__version__)[:2])) >= limit:
        below = ".".join(map(str, limit))
        told += f"; this Numba needs numpy < {below}: install one of them anew"
    return told


def numpy_limit() -> tuple[int, ...] | None:
    """The first NumPy that is too new for the installed Numba, as (2, 6); None without a limit."""
    try:
        needs = requires("numba") or []
    except PackageNotFoundError:
        return None
    limits = (re.match(r"numpy\b[^;]*<(\d+)\.(\d+)", need) for need in needs)
    return next((tuple(map(int, found.groups())) for found in limits if found), None)


def kernels() -> str:
    if not jit.available():
        return "run on their array twins: NPR_NUMBA=0, or Numba cannot be imported"
    try:
        folder = jit.cache_folder()
    except Exception as error:  # whatever Numba raises where it finds no place
        return f"compiled by Numba in every process ({error}): set NUMBA_CACHE_DIR"
    if jit.open_to_all(folder):
        return f"compiled by Numba in every process, {folder} is not used: {jit.OPEN}"
    return f"compiled by Numba, kept in {folder} ({len(list(folder.glob('*.nbc')))} so far)"


def networks() -> str:
    if backend.ON_HOST and jit.available() and kernel_blas.bind():
        return "one call each way, on NumPy's OpenBLAS"
    return "layer by layer"


def threads() -> str:
    told, library = blas.threads_set_by_user(), blas.openblas()
    if told:
        return f"{told} is set and holds"
    if library is None:
        return "left to NumPy's BLAS, which is no OpenBLAS of its wheels"
    here = library.scipy_openblas_get_num_threads64_()
    used = ", ".join(f"{min(blas.threads_for(n), here)} at width {n}" for n in (64, 256, 1024))
    return f"{here} of OpenBLAS; learning uses {used}; OPENBLAS_NUM_THREADS overrules"


def room() -> str:
    there, limit = memory.available(), memory.container()
    if there is None:
        return "this system does not tell what is available"
    show = memory.format_bytes
    told = f"{show(int(memory.SHARE * there))} of {show(there)} for a replay buffer"
    return told if limit is None else f"{told}; the container's limit leaves {show(limit)}"


def wrong_products(matmul: Callable[..., Any] = np.matmul) -> list[tuple[str, float]]:
    """The matrix products that this NumPy computes wrongly: [(which, largest error)].

    matmul   what is tested. Held against sums without BLAS, in float64.

    NumPy hands A @ A.T to another routine of BLAS than other products, and has been shipped with
    a wrong one: that of 300 x 672 floats.
    """
    rng, wrong = np.random.default_rng(0), []
    for dtype in (np.float32, np.float64):
        A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((300, 672), (672, 130)))
        batch = rng.standard_normal((2, 9, 65, 33)).astype(dtype)
        factors = {
            "A @ A.T": (A, A.T),
            "A @ a copy of A.T": (A, A.T.copy()),
            "A.T @ A": (A[:, :150].T, A[:, :150]),
            "odd strides": (A[::3, ::-2], B[::-2, 1::3]),
            "a batch": (batch[0], batch[1].swapaxes(1, 2)),
            "a matrix and a vector": (A, B[:, :1]),
        }
        for name, (left, right) in factors.items():
            x, y = left.astype(np.float64), right.swapaxes(-1, -2).astype(np.float64)
            exact = np.einsum("...ij,...kj->...ik", x, np.ascontiguousarray(y))
            scale = np.linalg.norm(x, axis=-1)[..., None] * np.linalg.norm(y, axis=-1)[..., None, :]
            error = np.abs(matmul(left, right) - exact)
            if not (error <= 100 * np.finfo(dtype).eps * scale).all():
                wrong.append((f"{name} in {np.dtype(dtype)}", float(error.max())))
    return wrong


def products(wrong: list[tuple[str, float]]) -> str:
    if not wrong:
        return "correct"
    told = "; ".join(f"{name} is off by {error:.2g}" for name, error in wrong)
    return (
        f"WRONG: {told}. NumPy {np.__version__} computes false products on this machine, and what "
        "is learnt with it is false too: install another NumPy (an older one, or conda-forge's)"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status, 1 where the doctor found a fault."""
    parser = argparse.ArgumentParser(prog="npr", description="Reinforcement learning with NumPy.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("doctor", help="what this machine will run on")
    parser.parse_args(arguments)
    wrong = wrong_products()
    for what, finding in [*doctor(), ("products", products(wrong))]:
        print(f"{what:<10} {finding}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
