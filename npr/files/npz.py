"""Reading of `.npz` files of numpy.savez, such as the evaluations.npz of Stable-Baselines3.

Numbers only: nothing in such a file can run code, and no more memory is allocated than the file's
members have bytes.
"""

import io
import math
import zipfile
import zlib

import numpy as np

from npr.errors import CheckpointError
from npr.files.archive import Arrays, Path

_LIMIT = 1 << 28  # bytes of one array
_MEMBERS = 100


def read_npz(path: Path) -> Arrays:
    """The arrays in a file of numpy.savez or numpy.savez_compressed, by name.

    Raises FileNotFoundError if there is no file, and CheckpointError, which names the file and the
    reason, if it is not such a file or contains anything but numbers.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if len(members) > _MEMBERS:
                    raise ValueError(f"it has {len(members)} members, over {_MEMBERS}")
                return {
                    member.filename.removesuffix(".npy"): _array(member, archive)
                    for member in members
                }
        except (
            zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, OSError,
            NotImplementedError, RuntimeError, SyntaxError, zlib.error,
        ) as error:  # fmt: skip
            raise CheckpointError(
                f"{path!s} is damaged or is not a file of numpy.savez: {error}."
            ) from error


def _array(member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> np.ndarray:
    if member.file_size > _LIMIT:
        raise ValueError(f"{member.filename} has {member.file_size} bytes, over {_LIMIT}")
    with archive.open(member) as stream:
        data = io.BytesIO(stream.read(_LIMIT + 1))
    version = np.lib.format.read_magic(data)
    read_header = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        read_header = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(data)
    if dtype.kind not in "biuf":
        raise ValueError(f"{member.filename} has dtype {dtype}; only numbers are read")
    numbers = data.read()
    if len(numbers) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} has {len(numbers)} bytes for shape {shape}")
    array = np.frombuffer(numbers, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
