"""The archive format: the container, and older and newer format versions."""

import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from support import GOLDEN
from support.archive_cases import OLD, assert_old_and_alone, same

import npr
from npr import CheckpointError
from npr.files import archive
from npr.files.archive import read_archive, read_headers, write_archive

posix = pytest.mark.skipif(os.name != "posix", reason="needs the system calls of POSIX")


# ---- container


def test_archives_round_trip(path):
    codes = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    shapes = ((), (0,), (3,), (0, 4), (4, 0), (2, 3), (2, 1, 3), (1,) * 32)
    arrays = {
        f"params/{code.replace('?', 'b')}_{i}": np.ones(shape, code)
        for code in codes
        for i, shape in enumerate(shapes)
    }
    arrays["params/columns"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    arrays["params/steps"] = np.arange(12.0)[::3]
    write_archive(path, {"value": 1}, arrays)
    manifest, held = read_archive(path)
    assert manifest == {"format": archive.FORMAT, "npr": npr.__version__, "value": 1}
    assert same((manifest, held), ({"value": 1}, arrays))
    assert all(array.flags.c_contiguous and array.flags.writeable for array in held.values())


def test_headers_are_read_without_the_numbers(path):
    arrays = {"params/x": np.zeros((3, 4), np.float32), "params/large": np.ones(1 << 20)}
    write_archive(path, {"value": 1}, arrays)
    tracemalloc.start()
    manifest, headers = read_headers(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert manifest == read_archive(path)[0] and peak < 1 << 20
    assert headers == {
        "params/x": (np.dtype(np.float32), (3, 4), 48),
        "params/large": (np.dtype(np.float64), (1 << 20,), 8 << 20),
    }


@pytest.mark.parametrize("limit", [(1 << 31) - 1, 3000, 1000, 300, 10])
def test_archives_equal_those_of_zipfile(limit, path, monkeypatch):
    """Byte for byte, also above 2 GiB, where sizes and offsets need 64 bits; here that limit is
    lowered to a few bytes in both."""
    monkeypatch.setattr(archive, "_ZIP64", limit)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    sizes = (0, 20, 30, 110, 119, 120, 900)
    arrays = {f"params/x{n}": np.zeros(n) for n in sizes}
    write_archive(path, {}, arrays)
    other = path.with_suffix(".zip")
    with zipfile.ZipFile(path) as mine, zipfile.ZipFile(other, "w") as theirs:
        assert mine.testzip() is None
        for info in mine.infolist():
            theirs.writestr(zipfile.ZipInfo(info.filename), mine.read(info))
    assert path.read_bytes() == other.read_bytes()
    assert read_archive(path)[1].keys() == arrays.keys()


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_a_file_of_an_old_format_loads(golden):
    agent = npr.load(golden)
    assert type(agent).__name__ == golden.stem.split("-")[1]
    assert npr.infer.load(golden).theta.tobytes() == agent.policy.theta.tobytes()


def test_a_file_written_on_windows_is_read(path):
    """zipfile writes the system into each entry of the central directory."""
    data, place = bytearray(path.read_bytes()), 0
    while (place := data.find(b"PK\1\2", place + 1)) > 0:
        assert data[place + 5] == 3
        data[place + 5] = 0
    path.write_bytes(data)
    assert same(read_archive(path), OLD)
    data[data.find(b"PK\1\2") + 5] = 3  # mixed systems are invalid
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="directory of its members"):
        read_archive(path)


def test_reading_makes_no_copies_of_arrays(path):
    write_archive(path, {}, {"params/x": np.ones(1_000_000), "params/y": np.ones(1_000_000)})
    tracemalloc.start()
    try:
        read_archive(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size + 1e6


@pytest.mark.parametrize(
    "manifest, message",
    [
        ({"a": {1: 0, "1": 0}}, "occurs twice"),
        ({"a": "x" * (1 << 20)}, "over 1 MiB"),
        ({"a": 10**2000}, "digits"),
        ({"a": json.loads("[" * 30 + "]" * 30)}, "nested more than"),
    ],
)
def test_an_unreadable_manifest_is_not_written(manifest, message, path):
    with pytest.raises(CheckpointError, match=message):
        write_archive(path, manifest, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_archive(path, {"a": np.nan}, {})
    assert_old_and_alone(path)


def test_a_space_of_the_maximal_depth_is_written_and_read(path):
    spec = {"kind": "multidiscrete", "nvec": [[2, 3]], "start": [[0, 0]]}
    for _ in range(7):
        spec = {"kind": "group", "keys": ["x"], "parts": [spec]}
    npr.envs.spaces.observations_from_spec(spec)
    write_archive(path, {"policy": {"observations": spec}}, {})
    assert read_archive(path)[0]["policy"]["observations"] == spec


# ---- format versions


@pytest.mark.parametrize(
    "author, named", [("0.9", "npr 0.9"), (None, "a newer npr"), ("x" * 99, "a newer npr")]
)
def test_a_newer_format_is_refused_with_the_required_version(author, named, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(archive, "FORMAT", archive.FORMAT + 3)
        write_archive(path, {"npr": author}, {})
    with pytest.raises(CheckpointError) as raised:
        read_archive(path)
    assert str(raised.value) == (
        f"{path} was written by {named} (format {archive.FORMAT + 3}); this is npr "
        f"{npr.__version__}, which reads up to format {archive.FORMAT}. pip install -U npr-rl"
    )
