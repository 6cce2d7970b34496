"""`npr doctor`: what this machine runs on."""

import argparse
import os
import platform
import re
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

import numpy as np

from npr import backend, capture
from npr.capture import compiling
from npr.cli import doctor_gpu, doctor_throughput, flags
from npr.errors import ConfigError
from npr.kernels import blas as kernel_blas
from npr.kernels import jit, object_files
from npr.runs import config
from npr.system import blas, memory, second_thread, streams
from npr.version import __version__

HELP = "report what this machine runs on: versions, backend, kernels, threads, memory"


def doctor() -> list[tuple[str, str]]:
    """(topic, result) for versions, extras, backend, kernels, threads and memory."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [
        ("npr", f"{__version__} on Python {platform.python_version()}, {system}"),
        ("packages", packages()),
        ("extras", extras()),
        ("backend", f"{backend.BACKEND}, {backend.FLOAT}"),
        ("kernels", kernels()),
        ("networks", networks()),
        ("threads", threads()),
        ("memory", replay_memory()),
    ]


PACKAGES = ("numpy", "numba", "gymnasium", "cupy-cuda12x", "cupy-cuda13x")


EXTRAS = {  # of npr-rl -> its packages
    "plot": ["matplotlib"],
    "progress": ["tqdm"],
    "tensorboard": ["tensorboard"],
    "wandb": ["wandb"],
    "mlflow": ["mlflow"],
    "tune": ["optuna"],
    "ray": ["ray"],
    "envpool": ["envpool"],
    "onnx": ["onnx"],
    "safetensors": ["safetensors"],
    "minari": ["minari", "h5py"],
    "completion": ["argcomplete"],
    "video": ["pillow", "imageio-ffmpeg"],
}


def versions(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {backend.installed(name)}" for name in names)


def packages() -> str:
    text = versions(PACKAGES)
    limit = numpy_limit()
    if limit and tuple(map(int, re.findall(r"\d+", np.__version__)[:2])) >= limit:
        below = ".".join(map(str, limit))
        text += f"; this Numba needs numpy < {below}: reinstall one of them"
    return text


def extras() -> str:
    return "; ".join(f"[{extra}] {versions(names)}" for extra, names in EXTRAS.items())


def numpy_limit() -> tuple[int, ...] | None:
    """The first NumPy that is too new for the installed Numba, as (2, 6); None if unlimited."""
    try:
        needs = requires("numba") or []
    except PackageNotFoundError:
        return None
    limits = (re.match(r"numpy\b[^;]*<(\d+)\.(\d+)", need) for need in needs)
    return next((tuple(map(int, found.groups())) for found in limits if found), None)


def kernels() -> str:
    if not jit.available():
        off = f"NPR_NUMBA={os.environ.get('NPR_NUMBA')}"
        why = "Numba or llvmlite cannot be used" if backend.NUMBA else off
        return f"reference implementations in NumPy: {why}"
    try:
        folder = object_files.folder()
    except object_files.UnusableFolder as error:
        return f"compiled by Numba in every process: {error}"
    count = len(list(folder.glob(f"*{object_files.SUFFIX}")))
    return f"compiled by Numba, object code in {folder} ({count} files)"


def networks() -> str:
    if backend.ON_HOST and jit.available() and kernel_blas.symbols():
        return "one kernel call per pass, with NumPy's OpenBLAS"
    return "layer by layer"


def threads() -> str:
    variable, library = blas.threads_set_by_user(), blas.openblas()
    if variable:
        return f"set by {variable}"
    if library is None:
        return "not limited: NumPy's BLAS is not the OpenBLAS of its wheels"
    threads = library.scipy_openblas_get_num_threads64_()
    used = ", ".join(f"{min(blas.threads_for(n), threads)} at width {n}" for n in (64, 256, 1024))
    text = f"{threads} of OpenBLAS; learning uses {used}; OPENBLAS_NUM_THREADS overrides this"
    if threads < 2:
        return text
    factor = second_thread.gain(256, 256)
    if factor is None:
        return f"{text}; a second one cannot be measured now"
    return f"{text}; a second one makes products of width 256 {factor:.2f} times as fast"


def replay_memory() -> str:
    free, limit = memory.available(), memory.container()
    if free is None:
        return "this system does not report how much is available"
    show = memory.format_bytes
    text = f"{show(int(memory.SHARE * free))} of {show(free)} for a replay buffer"
    return text if limit is None else f"{text}; the container's limit leaves {show(limit)}"


def wrong_products(matmul: Callable[..., Any] = np.matmul) -> list[tuple[str, float]]:
    """The matrix products that this NumPy computes wrongly: [(which, largest error)].

    matmul   the function to test. Compared with sums computed without BLAS, in float64.

    NumPy computes A @ A.T with another BLAS routine than other products. Releases with a wrong
    result exist (300 x 672 floats).
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
    errors = "; ".join(f"{name} is off by {error:.2g}" for name, error in wrong)
    return (
        f"WRONG: {errors}. NumPy {np.__version__} computes wrong products on this machine, so that "
        "training is wrong too: install another NumPy (an older one, or conda-forge's)"
    )


def captured(algorithm: str, env: str) -> list[str]:
    """What of an agent's updates and choices of actions is captured, and why not: one line each.

    The agent is made with its default settings, and learns until 20 updates were made. What plans
    need is compiled before.
    """
    kind = config.algorithm(algorithm)
    if kind.table:
        return [f"nothing: {kind.__name__} learns a table, without arrays"]
    if backend.ON_HOST and backend.CAPTURE and jit.available():
        compiling.compile_all()
    early = {"learning_starts": 100} if "learning_starts" in kind.settings else {}
    agent = kind(env, seed=0, verbose=0, **early)
    try:
        agent.learn(50_000, callback=lambda agent: agent.n_updates < UPDATES)
        found = capture.report(agent)
    finally:
        agent.close()
    if not found:
        return ["nothing: " + why_not_captured()]
    return [
        f"{one.signature}: {one.state}"
        + (f", {one.replays:,} calls replayed" if one.replays else "")
        for one in found
    ]


UPDATES = 20  # of an agent whose captured calls are reported


def why_not_captured() -> str:
    if backend.ON_HOST and not backend.CAPTURE:
        return f"NPR_CAPTURE={os.environ.get('NPR_CAPTURE')}"
    if backend.ON_HOST and not jit.available():
        return kernels()
    return "no update was made"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--capture", nargs=2, metavar=("ALGORITHM", "ENV"),
        help="say which calls of this algorithm are captured and replayed, and why others are not; "
        "for algorithms of your own, npr.capture.report(agent) does",
    )  # fmt: skip
    parser.add_argument(
        "--throughput", metavar="ENV",
        help="measure what a step of training costs with this environment, and advise n_envs, "
        "n_workers and vectorization",
    )  # fmt: skip
    parser.add_argument("--algorithm", help="for --throughput; default: ppo")
    parser.add_argument(
        "--seconds", type=flags.count, metavar="N",
        help="that --throughput may take, about; default: 10",
    )  # fmt: skip
    parser.add_argument("--ray", action="store_true", help="for --throughput: workers on Ray too")


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 if matrix products, or results of a GPU, are wrong."""
    if args.capture:
        for line in captured(*args.capture):
            streams.show(line)
        return 0
    if args.throughput:
        given = args.algorithm or "ppo", args.seconds or 10, args.ray
        doctor_throughput.show(args.throughput, *given, streams.show)
        return 0
    for flag in ("algorithm", "seconds", "ray"):
        if getattr(args, flag):
            raise ConfigError(f"--{flag} is for --throughput ENV, which is missing.")
    wrong, (gpu, gpu_is_right) = wrong_products(), doctor_gpu.topics()
    for topic, result in [*doctor(), *gpu, ("products", products(wrong))]:
        streams.show(f"{topic:<10} {result}")
    return 0 if gpu_is_right and not wrong else 1
