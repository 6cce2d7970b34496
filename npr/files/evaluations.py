"""evaluations.npz: the evaluations during a run, as Stable-Baselines3's EvalCallback writes them.

timesteps    (k,) env steps of the run before each evaluation
results      (k, episodes) returns
ep_lengths   (k, episodes) env steps
successes    (k, episodes) bools; missing if the environment does not report success
"""

import io
import math
import os
import zipfile
import zlib
from typing import IO

import numpy as np

from npr.errors import CheckpointError
from npr.files.archive import Arrays, Path
from npr.files.atomic import replacement

NAMES = ("timesteps", "results", "ep_lengths", "successes")
_LIMIT = 1 << 28  # bytes of an array


def write_evaluations(path: Path, arrays: Arrays) -> None:
    """Write arrays by their names above, atomically. Raises OSError."""
    with replacement(os.fsdecode(path)) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_evaluations(path: Path) -> Arrays:
    """The arrays of a file, without pickle.

    Raises OSError if it cannot be read, and CheckpointError if it is not such a file.
    """
    text = os.fsdecode(path)
    try:
        with zipfile.ZipFile(text) as file:
            held = {
                n: _array(file.open(f"{n}.npy")) for n in NAMES if f"{n}.npy" in file.NameToInfo
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError, RuntimeError,
            SyntaxError) as error:  # fmt: skip
        raise CheckpointError(f"{text} is not a file of evaluations: {error}.") from error
    shapes = {name: held[name].shape for name in NAMES if name in held}
    k = shapes.get("timesteps", ())
    table = shapes.get("results", ())
    missing = {"timesteps", "results", "ep_lengths"} - shapes.keys()
    if (
        missing
        or len(k) != 1
        or len(table) != 2
        or table[:1] != k
        or {*shapes.values()} - {k, table}
    ):
        raise CheckpointError(
            f"{text} is not a file of evaluations: it needs timesteps (k,), results and ep_lengths "
            f"(k, episodes), got {shapes}."
        )
    return held


def _array(member: IO[bytes]) -> np.ndarray:
    """The array of numbers in a member, whose size is checked before memory is allocated."""
    data = member.read(_LIMIT)
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array has version {version} of NumPy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    left = len(data) - file.tell()
    if fortran or dtype.kind not in "fiub" or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"an array claims to be {dtype}{shape} in {left:,} bytes")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape).copy()
