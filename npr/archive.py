"""npr's file format: an uncompressed zip of `.npy` arrays and one strict JSON manifest.

NumPy alone can open it, and nothing in it can run code: names are looked up, never imported,
arrays hold plain numbers, and every size is checked before anything is allocated. Writing goes
to a temporary name first, so that a file is either the old one or the new one, whole.
"""

import hashlib
import io
import json
import math
import os
import re
import tempfile
import zipfile

import numpy as np

from npr.errors import CheckpointError
from npr.generators import generator_state

FORMAT = 2
MANIFEST = "manifest.json"
_DTYPES = {np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4",
                                       "u8", "b1")}  # fmt: skip
_MEMBER = re.compile(r"[a-z]+/[A-Za-z_]\w*(\.[A-Za-z_]\w*)?\.npy", re.ASCII)
_MANIFEST_LIMIT = 1 << 20
_MEMBER_LIMIT = 10_000


def write_archive(path, manifest: dict, arrays: dict) -> None:
    """Write arrays (name -> host array) and a manifest of plain data to one file, atomically."""
    path = os.fspath(path)
    members = {f"{name}.npy": _to_bytes(name, array) for name, array in arrays.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    head = {"format": FORMAT, **manifest, "sha256": hashes}
    text = json.dumps(head, indent=1, allow_nan=False).encode()
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".npr-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, data in {MANIFEST: text, **members}.items():
                    # one fixed date: the same state gives the same bytes
                    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # a temporary file is its owner's alone
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _to_bytes(name, array):
    array = np.asarray(array, order="C")
    if array.dtype not in _DTYPES:
        raise CheckpointError(f"{name} has dtype {array.dtype}, which npr's files do not hold.")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def read_archive(path) -> tuple[dict, dict]:
    """The manifest and the arrays of a file. Raises CheckpointError if anything is not right."""
    path = os.fspath(path)
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_directory(path, infos, size)
            manifest = _read_manifest(path, archive.read(MANIFEST))
            arrays = {}
            for info in infos:
                if info.filename == MANIFEST:
                    continue
                data = archive.read(info)
                if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(info.filename):
                    raise CheckpointError(f"{path}: {info.filename} does not match its checksum.")
                arrays[info.filename.removesuffix(".npy")] = _from_bytes(path, info.filename, data)
    except FileNotFoundError:
        raise
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or is not an npr file ({type(error).__name__}: {error})."
        ) from error
    missing = set(manifest["sha256"]) - {f"{name}.npy" for name in arrays}
    if missing:
        raise CheckpointError(f"{path}: {', '.join(sorted(missing))} is missing.")
    if manifest["format"] == 1:
        manifest, arrays = _from_format_1(manifest, arrays)
    return manifest, arrays


def _check_directory(path, infos, size):
    names = [info.filename for info in infos]
    if MANIFEST not in names:
        raise CheckpointError(f"{path} has no {MANIFEST}; it is not an npr file.")
    if len(names) > _MEMBER_LIMIT or len(set(names)) != len(names):
        raise CheckpointError(f"{path} has too many members, or one name twice.")
    for info in infos:
        if info.filename != MANIFEST and not _MEMBER.fullmatch(info.filename):
            raise CheckpointError(f"{path}: the member {info.filename!r} does not belong here.")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(f"{path}: {info.filename} is compressed; npr's files are not.")
        if info.filename == MANIFEST and info.file_size > _MANIFEST_LIMIT:
            raise CheckpointError(f"{path}: the manifest has {info.file_size} bytes, over 1 MiB.")
    if sum(info.file_size for info in infos) > size:
        raise CheckpointError(f"{path}: the members claim more bytes than the file has.")


def _read_manifest(path, data):
    def refuse(constant):
        raise CheckpointError(f"{path}: {constant} is not a number that a manifest may hold.")

    def finite(text):
        number = float(text)
        return number if math.isfinite(number) else refuse(text)

    manifest = json.loads(data, parse_constant=refuse, parse_float=finite)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
        raise CheckpointError(f"{path}: the manifest is not npr's.")
    version = manifest.get("format")
    if version not in (1, FORMAT):
        raise CheckpointError(
            f"{path} has format {version!r}, this npr reads {FORMAT}; "
            "install the version of npr that wrote it, or a newer one."
        )
    return manifest


def _from_bytes(path, name, data):
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise CheckpointError(f"{path}: {name} has .npy version {version}, not (1, 0).")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype not in _DTYPES or fortran:
        raise CheckpointError(f"{path}: {name} has dtype {dtype}, which npr's files do not hold.")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise CheckpointError(f"{path}: {name} claims shape {shape}, its data has another size.")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()


def _from_format_1(manifest, arrays):
    """Format 1 held the agent without its episode, and the generators as texts."""
    for purpose, held in manifest.pop("rng").items():
        rng = np.random.default_rng(0)
        rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {name: int(held[name], 16) for name in ("state", "inc")},
            "has_uint32": held["has_uint32"],
            "uinteger": held["uinteger"],
        }
        arrays[f"rng/{purpose}"] = generator_state(rng)
    manifest["made_with"] = {"numpy": manifest.pop("numpy")}
    manifest["settings"].update(normalize_obs=False, normalize_reward=False)
    manifest["policy"]["normalize"] = False
    manifest["without_episode"] = True
    if "buffer/buffer.next" in arrays:
        arrays["buffer/buffer.newest"] = np.empty((0, 2), np.int64)
    return manifest, arrays
