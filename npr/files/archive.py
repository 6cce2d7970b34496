"""npr's file format: an uncompressed zip of `.npy` arrays and one strict JSON manifest.

NumPy alone can open it, and nothing in it can run code: names are looked up, never imported, and
arrays hold plain numbers. A content is framed in one way only, so that a reader compares instead
of interpreting: what npr would not have written is refused, to the last bit, and every size is
checked against the file before anything is allocated.

A file is either the old one or the new one, whole: it is written under a temporary name, brought
to the disk, and renamed.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import math
import os
import re
import reprlib
import struct
import time
import zlib

import numpy as np

from npr.errors import CheckpointError
from npr.files.generators import generator_state
from npr.version import __version__

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMAT = 2
MANIFEST = "manifest.json"
_DTYPES = ("<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1")
_MEMBER = re.compile(r"[a-z]+/[A-Za-z_]\w*(\.[A-Za-z_]\w*)?\.npy", re.ASCII)
_MEMBER_LIMIT = 10_000
_MANIFEST_LIMIT = 1 << 20
_DEPTH_LIMIT = 24  # a space nested eight deep, with a list in it, takes 18
_DIGITS_LIMIT = 1000  # of a whole number: Python takes ever longer to read them


# ---- writing


def write_archive(path, manifest: dict, arrays: dict) -> None:
    """Write arrays (name -> host array) and a manifest of plain data to one file, atomically.

    Raises CheckpointError for what a file cannot hold, and OSError where the disk does not take
    it. In both cases, as after a kill, a file that was there before is still there as it was.
    """
    path = os.fspath(path)
    members = {f"{name}.npy": _encode(name, array) for name, array in arrays.items()}
    hashes = {name: _sha256(parts) for name, parts in members.items()}
    head = {"format": FORMAT, "npr": __version__, **manifest, "sha256": hashes}
    text = json.dumps(head, indent=1, allow_nan=False).encode()
    _decode(path, text)  # what could not be read is not written
    directory = []
    with _replacement(path) as file:
        for name, parts in {MANIFEST: (text,), **members}.items():
            member = name.encode(), sum(map(len, parts)), _crc32(parts)
            directory.append(member)
            file.write(_local_header(*member))
            for part in parts:
                file.write(part)
        file.write(_directory(directory))


def _encode(name, array):
    """The two parts of a `.npy` file: its header, and its numbers as bytes."""
    array = np.asarray(array, order="C")
    if array.dtype.str not in _DTYPES:
        raise CheckpointError(f"{name} has dtype {array.dtype}, which npr's files do not hold.")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue(), array.reshape(-1).view(np.uint8)


def _sha256(parts):
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def _crc32(parts):
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


@contextlib.contextmanager
def _replacement(path):
    """A file to be written, which takes the place of `path` once it is whole and on the disk."""
    folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
    prefix = f".{name[:60]}."
    _sweep(folder, prefix)
    file = _temporary(os.path.join(folder, prefix))
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # Windows does not rename what is open
        _replace(file.name, path)
        _sync(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()  # which tries again to write what could not be written
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file.name)
        raise
    file.close()


def _temporary(prefix):
    """A new file, locked for as long as it is open, so that no other writer sweeps it away."""
    while True:
        file = open(f"{prefix}{os.urandom(8).hex()}.tmp", "xb")  # noqa: SIM115
        if fcntl is None:
            return file
        with contextlib.suppress(OSError):  # a file system without locks is never swept
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # it was swept between these two lines


def _sweep(folder, prefix):
    """Remove what writers of this name left behind when they were killed."""
    with contextlib.suppress(PermissionError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_if_dead(os.path.join(folder, name))


def _remove_if_dead(path):
    if fcntl is None:
        os.unlink(path)  # Windows refuses this while the writer has it open
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


_BUSY = (5, 32, 33)  # Windows: access denied, sharing violation, lock violation


def _replace(source, target):
    """os.replace, with patience on Windows, where a virus scanner may hold either file."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.75, 1.0, None):
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if pause is None or getattr(error, "winerror", None) not in _BUSY:
                raise
        time.sleep(pause)


def _sync(folder):
    """Bring the new name to the disk, where folders can be synchronised."""
    if fcntl is None:
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


# ---- the framing, as Python's zipfile writes it: no clock, no comments, no flags

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s2B5H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DATE = 1 << 5 | 1  # 1 January 1980
_MODE = 0o600 << 16
_SYSTEMS = (3, 0)  # Unix, which is what npr writes, and Windows, which Python once put there
_ZIP64 = (1 << 31) - 1  # sizes and offsets above this stand in extra fields
_ELSEWHERE = 0xFFFFFFFF


def _large(size):
    return size * 1.05 > _ZIP64


def _local_header(name, size, crc):
    version, extra, shown = 20, b"", size
    if _large(size):
        version, extra, shown = 45, struct.pack("<2H2Q", 1, 16, size, size), _ELSEWHERE
    fixed = (version, 0, 0, 0, _DATE, crc, shown, shown, len(name), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fixed) + name + extra


def _directory(members, system=_SYSTEMS[0]):
    """What follows the members (name, size, crc): an entry for each, and the end record."""
    entries, position = [], 0
    for name, size, crc in members:
        numbers = [size, size] if size > _ZIP64 else []
        shown = _ELSEWHERE if numbers else size
        offset = position
        if offset > _ZIP64:
            numbers, offset = [*numbers, offset], _ELSEWHERE
        extra = b""
        if numbers:
            extra = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
        version = 45 if extra or _large(size) else 20
        fixed = (version, system, version, 0, 0, 0, _DATE, crc, shown, shown, len(name))
        fixed += (len(extra), 0, 0, 0, _MODE, offset)
        entries.append(_ENTRY.pack(b"PK\1\2", *fixed) + name + extra)
        position += len(_local_header(name, size, crc)) + size
    whole, n = b"".join(entries), len(entries)
    end = b""
    if position > _ZIP64:
        place = (45, 45, 0, 0, n, n, len(whole), position)
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, *place)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, position + len(whole), 1)
    place = (n, n, len(whole), min(position, _ELSEWHERE))
    return whole + end + _END.pack(b"PK\5\6", 0, 0, *place, 0)


# ---- reading


def read_archive(path) -> tuple[dict, dict]:
    """The manifest and the arrays of a file, in the present format.

    Raises FileNotFoundError if there is none, and CheckpointError if anything about it is not
    right: what it says is the file, the member and the reason.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} is damaged or is not an npr file ({error}).") from error


def _read(path, file):
    (_, *place), *members = _members(path, file)
    manifest = _decode(path, _read_manifest(path, file, *place))
    _check_format(path, manifest)
    hashes = manifest.pop("sha256", None)
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{path}: the manifest is not npr's; it holds no checksums.")
    names = [name for name, *_ in members]
    if list(hashes) != names:
        missing = ", ".join(sorted(set(hashes) - set(names))) or "nothing"
        raise CheckpointError(
            f"{path}: {missing[:200]} is missing; the manifest lists {len(hashes)} arrays, the "
            f"file holds {len(names)}, and both must name the same ones in one order."
        )
    arrays = {
        name.removesuffix(".npy"): _read_array(path, file, name, *place, hashes[name])
        for name, *place in members
    }
    return _migrated(path, manifest, arrays)


def _members(path, file):
    """[(name, where its bytes begin, how many they are, their CRC)], the manifest first.

    They lie end to end from the first byte of the file, and after the last one comes their
    directory and nothing else; all of it is compared with what npr would have written.
    """
    size = os.fstat(file.fileno()).st_size
    members = {}
    position = 0
    while len(start := file.read(_LOCAL.size)) == _LOCAL.size and start.startswith(b"PK\3\4"):
        *_, method, _, _, crc, _, length, name_length, extra_length = _LOCAL.unpack(start)
        raw, extra = file.read(name_length), file.read(extra_length)
        name = raw.decode("ascii", "backslashreplace")
        if not members and name != MANIFEST:
            raise CheckpointError(
                f"{path} begins with {name[:80]!r} and not with {MANIFEST}; it is not an npr file."
            )
        if name in members or len(members) == _MEMBER_LIMIT:
            raise CheckpointError(f"{path} has too many members, or one name twice.")
        if members and not _MEMBER.fullmatch(name):
            raise CheckpointError(f"{path}: the member {name[:80]!r} does not belong here.")
        if method:
            raise CheckpointError(f"{path}: {name} is compressed; npr's files are not.")
        if extra:
            length = int.from_bytes(extra[4:12], "little")
        if start + raw + extra != _local_header(raw, length, crc):
            raise CheckpointError(f"{path}: the header of {name} is not one that npr writes.")
        begin = position + len(start + raw + extra)
        position = begin + length
        if position > size:
            raise CheckpointError(f"{path}: {name} claims more bytes than the file has.")
        members[name] = begin, length, crc
        file.seek(position)
    if not members:
        raise CheckpointError(f"{path} is damaged or is not an npr file: it begins otherwise.")
    listed = [(name.encode(), length, crc) for name, (_, length, crc) in members.items()]
    directories = [_directory(listed, system) for system in _SYSTEMS]
    file.seek(position)
    if size - position != len(directories[0]) or file.read() not in directories:
        raise CheckpointError(
            f"{path} is damaged: after {name}, its last member, stands something else than the "
            "directory of its members."
        )
    return [(name, *place) for name, place in members.items()]


def _read_manifest(path, file, begin, length, crc):
    if length > _MANIFEST_LIMIT:
        raise CheckpointError(f"{path}: the manifest has {length} bytes, over 1 MiB.")
    file.seek(begin)
    data = file.read(length)
    if zlib.crc32(data) != crc:
        raise CheckpointError(f"{path}: {MANIFEST} does not match its checksum.")
    return data


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def _decode(path, data):
    """The manifest in some bytes of strict JSON."""
    brackets = re.findall(rb"[][{}]", _TEXT.sub(b"", data))
    depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    try:
        if len(data) > _MANIFEST_LIMIT:
            raise ValueError(f"it has {len(data)} bytes, over 1 MiB")
        if max(depths, default=0) > _DEPTH_LIMIT:
            raise ValueError(f"it is nested more than {_DEPTH_LIMIT} deep")
        manifest = json.loads(
            data.decode("ascii"),
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_short,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: the manifest is not strict JSON: {error}.") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{path}: the manifest is not npr's, but {reprlib.repr(manifest)}.")
    return manifest


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = reprlib.repr([key for key, _ in pairs])
        raise ValueError(f"of the keys {keys} one is there twice")
    return found


def _finite(text):
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a number that a manifest may hold")
    return number


def _short(text):
    if len(text) > _DIGITS_LIMIT:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


_VERSION = re.compile(r"[\w.+-]{1,32}", re.ASCII)


def _check_format(path, manifest):
    version, author = manifest.get("format"), manifest.get("npr")
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"{path} has format {reprlib.repr(version)}; formats are whole numbers from 1, and "
            f"this is npr {__version__}, which reads up to format {FORMAT}."
        )
    if version > FORMAT:
        known = isinstance(author, str) and _VERSION.fullmatch(author)
        author = f"npr {author}" if known else "a newer npr"
        raise CheckpointError(
            f"{path} was written by {author} (format {reprlib.repr(version)}); this is npr "
            f"{__version__}, which reads up to format {FORMAT}. pip install -U npr-rl"
        )


_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^']*)', 'fortran_order': False, "
    rb"'shape': (\((?:\d{1,19}(?:, \d{1,19})*,?)?\)), \} *\n",
    re.DOTALL,
)


def _read_array(path, file, name, begin, length, crc, digest):
    file.seek(begin)
    header = file.read(min(10, length))
    header += file.read(min(int.from_bytes(header[8:10], "little"), length - len(header)))
    found = _NPY.fullmatch(header)
    code = found[1].decode("ascii", "backslashreplace") if found else None
    shape = tuple(int(n) for n in re.findall(rb"\d+", found[2])) if found else ()
    if code not in _DTYPES or str(shape).encode() != found[2]:
        raise CheckpointError(
            f"{path}: {name} must be a .npy array of version 1.0, of a dtype among "
            f"{', '.join(_DTYPES)}, in C order; it begins with {header[:90]!r}."
        )
    dtype = np.dtype(code)
    if math.prod(shape) * dtype.itemsize != length - len(header):
        raise CheckpointError(
            f"{path}: {name} claims shape {reprlib.repr(shape)}, its data has another size."
        )
    try:
        array = np.empty(shape, dtype)
    except (ValueError, MemoryError) as error:
        raise CheckpointError(f"{path}: {name} does not fit into memory ({error}).") from error
    data = array.reshape(-1).view(np.uint8)
    if file.readinto(data) != len(data):
        raise CheckpointError(f"{path} became shorter while {name} was read.")
    parts = header, data
    if _crc32(parts) != crc or _sha256(parts) != digest:
        raise CheckpointError(f"{path}: {name} does not match its checksum.")
    if dtype.kind == "b" and data.max(initial=0) > 1:
        raise CheckpointError(f"{path}: {name} holds truth values other than 0 and 1.")
    return array


def _migrated(path, manifest, arrays):
    for version in range(manifest["format"], FORMAT):
        try:
            manifest, arrays = MIGRATIONS[version](manifest, arrays)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"{path} has format {version} and not all that belongs to it: {error!r}."
            ) from error
    return {**manifest, "format": FORMAT}, arrays


# ---- older formats


def _from_format_1(manifest, arrays):
    """Format 1 held an agent without its episodes, and the generators as texts."""
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
    manifest["counters"]["skipped"] = {
        key.removeprefix("optim/").partition(".")[0]: [0, 0] for key in arrays if "optim/" in key
    }
    manifest["settings"].update(normalize_obs=False, normalize_reward=False)
    manifest["policy"]["normalize"] = False
    manifest["without_episode"] = True
    if "buffer/buffer.next" in arrays:
        arrays["buffer/buffer.newest"] = np.empty((0, 2), np.int64)
    return manifest, arrays


# format -> function(manifest, arrays), which gives the manifest and the arrays of the next format
MIGRATIONS = {1: _from_format_1}
