"""The file format of npr: an uncompressed zip of `.npy` arrays and one strict JSON manifest.

NumPy alone can open it, and its content cannot run code: names are looked up, never imported, and
arrays contain only numbers. The encoding of the zip is canonical, so the reader compares every
byte of it with what the writer would produce instead of interpreting it, and rejects any
deviation. Sizes are checked against the size of the file before memory is allocated.
"""

import hashlib
import io
import itertools
import json
import math
import os
import re
import reprlib
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from npr.errors import CheckpointError
from npr.files.atomic import replacement
from npr.version import __version__

FORMAT = 3  # of the files that are written; earlier ones are converted by npr.files.migrations
MANIFEST = "manifest.json"
_DTYPES = ("<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1")
_MEMBER = re.compile(r"[a-z]+/[A-Za-z_]\w*(\.[A-Za-z_]\w*)?\.npy", re.ASCII)
_MEMBER_LIMIT = 10_000
_MANIFEST_LIMIT = 1 << 20
_DEPTH_LIMIT = 24  # a space nested eight deep that contains a list takes 18
_DIGITS_LIMIT = 1000  # of an integer: the time that Python takes to read one grows quadratically

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Manifest = dict[str, Any]
Array = np.ndarray[Any, Any]  # on the host
Arrays = dict[str, Array]
Bytes = bytes | memoryview


class Member(NamedTuple):
    """A member of the zip: its name, the offset and length of its data, and their CRC-32."""

    name: str
    begin: int
    length: int
    crc: int


# ---- writing


def write_archive(path: Path, manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write arrays (by name, on the host) and a manifest of plain data to one file, atomically.

    Raises CheckpointError for content that a file cannot contain, and OSError if the disk is full
    or not writable. An existing file is then unchanged, also if the process is killed.
    """
    path = os.fsdecode(path)
    pieces = _pieces(path, manifest, arrays)
    with replacement(path) as file:
        for piece in pieces:
            file.write(piece)


def archive_bytes(manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """What `write_archive` writes to a file."""
    return b"".join(_pieces("The file", manifest, arrays))


def _pieces(path: str, manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[Bytes]:
    """The bytes of a file, in pieces that share memory with the arrays."""
    members = {f"{name}.npy": _encode(name, array) for name, array in arrays.items()}
    hashes = {name: _sha256(pieces) for name, pieces in members.items()}
    head = {"format": FORMAT, "npr": __version__, **manifest, "sha256": hashes}
    text = json.dumps(head, indent=1, allow_nan=False).encode()
    decode_json(path, text)  # a manifest that cannot be read is not written
    directory: list[Entry] = []
    written: list[Bytes] = []
    for name, pieces in {MANIFEST: (text,), **members}.items():
        entry = name.encode(), sum(map(len, pieces)), _crc32(pieces)
        directory.append(entry)
        written += [_local_header(*entry), *pieces]
    return [*written, _directory(directory)]


def _encode(name: str, array: Array) -> tuple[Bytes, ...]:
    """A `.npy` file in two pieces: its header and its data."""
    array = np.asarray(array, order="C")
    if array.dtype.str not in _DTYPES:
        raise CheckpointError(f"{name} has dtype {array.dtype}, which npr's files do not support.")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue(), array.reshape(-1).view(np.uint8).data


def _sha256(pieces: Iterable[Bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _crc32(pieces: Iterable[Bytes]) -> int:
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


# ---- the zip's headers, as Python's zipfile writes them: constant date, no comments, no flags

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s2B5H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DATE = 1 << 5 | 1  # 1 January 1980
_MODE = 0o600 << 16
_SYSTEMS = (3, 0)  # Unix, which npr always writes, and Windows, in older files written there
_ZIP64 = (1 << 31) - 1  # larger sizes and offsets are in extra fields of 64 bits
_IN_EXTRA = 0xFFFFFFFF

Entry = tuple[bytes, int, int]  # name, length and CRC-32 of a member


def _large(size: int) -> bool:
    return size * 1.05 > _ZIP64


def _local_header(name: bytes, size: int, crc: int) -> bytes:
    version, extra, shown = 20, b"", size
    if _large(size):
        version, extra, shown = 45, struct.pack("<2H2Q", 1, 16, size, size), _IN_EXTRA
    fixed = (version, 0, 0, 0, _DATE, crc, shown, shown, len(name), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fixed) + name + extra


def _directory(members: Iterable[Entry], system: int = _SYSTEMS[0]) -> bytes:
    """The central directory of these members, in the order of their data, and the end records."""
    entries, position = [], 0
    for name, size, crc in members:
        entries.append(_directory_entry(name, size, crc, position, system))
        position += len(_local_header(name, size, crc)) + size
    directory, n = b"".join(entries), len(entries)
    end = b""
    if position > _ZIP64:
        extended = (45, 45, 0, 0, n, n, len(directory), position)
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, *extended)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, position + len(directory), 1)
    place = (n, n, len(directory), min(position, _IN_EXTRA))
    return directory + end + _END.pack(b"PK\5\6", 0, 0, *place, 0)


def _directory_entry(name: bytes, size: int, crc: int, offset: int, system: int) -> bytes:
    numbers = [size, size] if size > _ZIP64 else []
    shown = _IN_EXTRA if numbers else size
    if offset > _ZIP64:
        numbers, offset = [*numbers, offset], _IN_EXTRA
    extra = b""
    if numbers:
        extra = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
    version = 45 if extra or _large(size) else 20
    lengths = len(name), len(extra), 0
    fixed = (version, system, version, 0, 0, 0, _DATE, crc, shown, shown, *lengths)
    return _ENTRY.pack(b"PK\1\2", *fixed, 0, 0, _MODE, offset) + name + extra


# ---- reading


def read_archive(path: Path) -> tuple[Manifest, Arrays]:
    """The manifest and the arrays of a file, in the file's own format.

    Raises FileNotFoundError if there is no file, and CheckpointError, which names the file, the
    member and the reason, if anything in it is invalid.
    """
    manifest, arrays = _opened(path, _read_array)
    return manifest, arrays


class Header(NamedTuple):
    """What an array in a file is, without its numbers."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bytes: int


def read_headers(path: Path) -> tuple[Manifest, dict[str, Header]]:
    """The manifest of a file in the file's own format, and what its arrays are.

    Their numbers are neither read nor compared with their checksums, so this takes milliseconds for
    a file of any size. Raises as `read_archive` does.
    """
    manifest, headers = _opened(path, _read_header)
    return manifest, headers


def _opened(path: Path, read: Callable[..., Any]) -> tuple[Manifest, dict[str, Any]]:
    """The manifest of a file, and what `read` makes of each of its arrays."""
    path = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            return _read(path, file, read)
    except IsADirectoryError:
        inside = [name for name in ("best.npz", "final.npz") if os.path.exists(f"{path}/{name}")]
        hint = f" Load {os.path.join(path, inside[0])}." if inside else ""
        if not inside and any(re.fullmatch(r"seed\d+\.npz", name) for name in os.listdir(path)):
            hint = f" It is that of an ensemble: npr.ensemble.load({path!r})."
        raise CheckpointError(f"{path} is a folder, and not the file of an agent.{hint}") from None
    except FileNotFoundError as error:
        if not os.path.exists(f"{path}.npz"):
            raise
        text = f"There is no such file; did you mean {path}.npz?"
        raise FileNotFoundError(error.errno, text, path) from None
    except OSError as error:
        raise CheckpointError(f"{path} is damaged or is not an npr file ({error}).") from error


def _read(
    path: str, file: io.BufferedReader, read: Callable[..., Any]
) -> tuple[Manifest, dict[str, Any]]:
    first, *members = _members(path, file)
    manifest = decode_json(path, _read_manifest(path, file, first))
    _check_format(path, manifest)
    hashes = manifest.pop("sha256", None)
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{path}: the manifest is not npr's; it has no checksums.")
    names = [member.name for member in members]
    if list(hashes) != names:
        missing = ", ".join(sorted(set(hashes) - set(names))) or "nothing"
        raise CheckpointError(
            f"{path}: {missing[:200]} is missing; the manifest lists {len(hashes)} arrays, the "
            f"file has {len(names)}, and both must have the same names in the same order."
        )
    arrays = {
        member.name.removesuffix(".npy"): read(path, file, member, hashes[member.name])
        for member in members
    }
    return manifest, arrays


def _members(path: str, file: io.BufferedReader) -> list[Member]:
    """The members of the zip, the manifest first.

    They are contiguous from the first byte of the file, and only their directory follows. All
    headers are compared with those that npr writes.
    """
    size = os.fstat(file.fileno()).st_size
    members: dict[str, Member] = {}
    position = 0
    while len(start := file.read(_LOCAL.size)) == _LOCAL.size and start.startswith(b"PK\3\4"):
        *_, method, _, _, crc, _, length, name_length, extra_length = _LOCAL.unpack(start)
        raw, extra = file.read(name_length), file.read(extra_length)
        name = raw.decode("ascii", "backslashreplace")
        _check_name(path, name, members)
        if method:
            raise CheckpointError(f"{path}: {name} is compressed; npr's files are not.")
        if extra:
            length = int.from_bytes(extra[4:12], "little")
        header = start + raw + extra
        if header != _local_header(raw, length, crc):
            raise CheckpointError(f"{path}: the header of {name} is not one that npr writes.")
        members[name] = Member(name, position + len(header), length, crc)
        position += len(header) + length
        if position > size:
            raise CheckpointError(f"{path}: {name} claims more bytes than the file has.")
        file.seek(position)
    if not members:
        raise CheckpointError(
            f"{path} is damaged or is not an npr file: it does not begin like a zip file."
            f"{_content(start)}"
        )
    found = list(members.values())
    _check_directory(path, file, found, size)
    return found


def _check_name(path: str, name: str, members: Mapping[str, Member]) -> None:
    """Check the name of a new member, given the previous ones."""
    if not members and name != MANIFEST:
        raise CheckpointError(
            f"{path} begins with {name[:80]!r} and not with {MANIFEST}; it is not an npr file."
            f"{_origin(name)}"
        )
    if name in members or len(members) == _MEMBER_LIMIT:
        raise CheckpointError(f"{path} has too many members, or one name twice.")
    if members and not _MEMBER.fullmatch(name):
        raise CheckpointError(f"{path}: the member {name[:80]!r} does not belong here.")


_PICKLE = "npr does not read pickle, which can run code"


def _origin(name: str) -> str:
    """A sentence about a zip file whose first member has this name, if it is a known one."""
    if name == "data":
        return (
            f" Stable-Baselines3 writes such files, and they contain pickle: {_PICKLE}. Load it "
            "there, or train again with npr."
        )
    if name.endswith(("/data.pkl", "/.format_version")):
        return f" PyTorch writes such files, and they contain pickle: {_PICKLE}."
    if name.endswith(".npy"):
        return " numpy.savez writes such files; agent.save(path) writes npr's."
    return ""


def _content(start: bytes) -> str:
    """A sentence about a file that begins with these bytes, if they are known."""
    if not start:
        return " It is empty."
    if re.match(rb".{3}\0{5}\{", start, re.DOTALL):  # the length of a header of JSON
        return " It may be safetensors: npr.infer.load reads a policy in a *.safetensors."
    if start.startswith(b"\x80"):
        return f" It seems to be pickle, as old versions of PyTorch write it: {_PICKLE}."
    if start.startswith(b"\x89HDF"):
        return " It is an HDF5 file, as Keras writes it."
    if re.fullmatch(rb"[\t\n\r -~]+", start):
        return f" It is text: {start.decode()!r}."
    return ""


def _check_directory(path: str, file: io.BufferedReader, members: list[Member], size: int) -> None:
    """Check that the rest of the file is the directory of its members."""
    last = members[-1]
    position = last.begin + last.length
    listed = [(member.name.encode(), member.length, member.crc) for member in members]
    directories = [_directory(listed, system) for system in _SYSTEMS]
    file.seek(position)
    if size - position != len(directories[0]) or file.read() not in directories:
        raise CheckpointError(
            f"{path} is damaged: {last.name}, its last member, is not followed by the directory "
            "of its members."
        )


def _read_manifest(path: str, file: io.BufferedReader, member: Member) -> bytes:
    if member.length > _MANIFEST_LIMIT:
        raise CheckpointError(f"{path}: the manifest has {member.length} bytes, over 1 MiB.")
    file.seek(member.begin)
    data = file.read(member.length)
    if zlib.crc32(data) != member.crc:
        raise CheckpointError(f"{path}: {MANIFEST} does not match its checksum.")
    return data


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def decode_json(path: str, data: bytes) -> Manifest:
    """The manifest of a file in these bytes of strict JSON. Raises CheckpointError."""
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
        raise CheckpointError(f"{path}: the manifest is not npr's; it is {reprlib.repr(manifest)}.")
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = reprlib.repr([key for key, _ in pairs])
        raise ValueError(f"a key occurs twice in {keys}")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a valid number in a manifest")
    return number


def _short(text: str) -> int:
    if len(text) > _DIGITS_LIMIT:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


_VERSION = re.compile(r"[\w.+-]{1,32}", re.ASCII)


def _check_format(path: str, manifest: Manifest) -> None:
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


def _read_header(path: str, file: io.BufferedReader, member: Member, digest: object) -> Header:
    """What the array in a member is."""
    dtype, shape, _ = _array_header(path, file, member)
    return Header(dtype, shape, math.prod(shape) * dtype.itemsize)


def _array_header(
    path: str, file: io.BufferedReader, member: Member
) -> tuple[np.dtype[Any], tuple[int, ...], bytes]:
    """dtype, shape and bytes of the header of an array; the file is then at its data."""
    name, length = member.name, member.length
    file.seek(member.begin)
    header = file.read(min(10, length))
    header += file.read(min(int.from_bytes(header[8:10], "little"), length - len(header)))
    dtype, shape = _parse_array_header(path, name, header)
    if math.prod(shape) * dtype.itemsize != length - len(header):
        raise CheckpointError(
            f"{path}: {name} claims shape {reprlib.repr(shape)}, but its data has another size."
        )
    return dtype, shape, header


def _read_array(path: str, file: io.BufferedReader, member: Member, digest: object) -> Array:
    """The array in a member. Its data is read into the array directly, without a copy."""
    name = member.name
    dtype, shape, header = _array_header(path, file, member)
    try:
        array = np.empty(shape, dtype)
    except (ValueError, MemoryError) as error:
        raise CheckpointError(f"{path}: {name} does not fit into memory ({error}).") from error
    data = array.reshape(-1).view(np.uint8)
    if file.readinto(data.data) != len(data):
        raise CheckpointError(f"{path} was truncated while {name} was read.")
    pieces = header, data.data
    if _crc32(pieces) != member.crc or _sha256(pieces) != digest:
        raise CheckpointError(f"{path}: {name} does not match its checksum.")
    if dtype.kind == "b" and data.max(initial=0) > 1:
        raise CheckpointError(f"{path}: {name} has booleans other than 0 and 1.")
    return array


def _parse_array_header(
    path: str, name: str, header: bytes
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and the shape in the header of a `.npy` file."""
    found = _NPY.fullmatch(header)
    if found:
        code = found[1].decode("ascii", "backslashreplace")
        shape = tuple(int(n) for n in re.findall(rb"\d+", found[2]))
        if code in _DTYPES and str(shape).encode() == found[2]:
            return np.dtype(code), shape
    raise CheckpointError(
        f"{path}: {name} must be a .npy array of version 1.0, of a dtype among "
        f"{', '.join(_DTYPES)}, in C order; it begins with {header[:90]!r}."
    )
