"""Damaged files: refused with a CheckpointError, or read as exactly what was saved.

Every bit of a file counts, those of its framing too, so that what was damaged is refused even
where the damage would have been harmless.
"""

import io
import json
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
from support.hostile_files import craft, load_watched, members_of, npy
from support.proof_size import many
from support.small_agents import CASES, trained

import npr
from npr import CheckpointError
from npr.files.archive import read_archive

CHUNKS = 8
FILES = ("QLearning", "DQN-n", "PERDQN", "A2C", "PPO-Box", "SAC", "SAC-Discrete", "TD3")
assert set(FILES) <= set(CASES)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The bytes of small files of several algorithms."""
    path, files = tmp_path_factory.mktemp("honest") / "a.npz", []
    for case in FILES:
        trained(case).save(path)
        npr.load(path), npr.infer.load(path)  # what they import once is imported
        files.append(path.read_bytes())
    return files


# ---- what may happen to the bytes of a file: functions of (rng, bytes, the bytes of another file)


def flip(rng, data, other):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return damaged


def change(rng, data, other):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 16))):
        damaged[rng.randrange(len(data))] = rng.randrange(256)
    return damaged


def cut(rng, data, other):
    return data[: rng.randrange(len(data))]


def drop(rng, data, other):
    i, j = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:i] + data[j + 1 :]


def insert(rng, data, other):
    i = rng.randrange(len(data) + 1)
    return data[:i] + rng.choice((b"\0", b"PK", data[:99])) * rng.randint(1, 300) + data[i:]


def splice(rng, data, other):
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def overlay(rng, data, other):
    """A block of another file in the same place, as where a disk mixed up its sectors."""
    size = rng.choice((16, 64, 512, 4096))
    i = rng.randrange(0, len(data), 16)
    return data[:i] + other[i : i + size] + data[i + size :]


def erase(rng, data, other):
    """A block that was never written."""
    size = rng.choice((16, 64, 512, 4096))
    i = rng.randrange(0, len(data), 16)
    return data[:i] + bytes(len(data[i : i + size])) + data[i + size :]


def records(data, signature):
    place = -1
    while (place := data.find(signature, place + 1)) >= 0:
        yield place


def header(rng, data, other):
    """A field of a header of the zip, or of an array, becomes a telling number."""
    signature, size = rng.choice(
        ((b"PK\3\4", 30), (b"PK\1\2", 46), (b"PK\5\6", 22), (b"\x93NUMPY", 80))
    )
    place = rng.choice(list(records(data, signature))) + rng.randrange(size)
    code, bits = rng.choice((("<B", 8), ("<H", 16), ("<I", 32)))
    number = rng.choice((0, 1, 2**bits - 1, 2 ** (bits - 1), len(data) % 2**bits, 48, 57))
    value = struct.pack(code, number)
    return (data[:place] + value + data[place + len(value) :])[: len(data)]


def swap(rng, data, other):
    """Two members change places, their headers with them or not."""
    starts = [*records(data, b"PK\3\4"), data.index(b"PK\1\2")]
    i, j = sorted(rng.sample(range(len(starts) - 1), 2))
    a, b, c, d = starts[i], starts[i + 1], starts[j], starts[j + 1]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


DAMAGES = (flip, change, cut, drop, insert, splice, overlay, erase, header, swap)


def damages(honest, seed, n):
    """n times (bytes of a file, other bytes, the name of what was done)."""
    rng = random.Random(seed)
    while n:
        data, other = rng.sample(honest, 2)
        damage = rng.choice(DAMAGES)
        damaged = damage(rng, data, other)
        if damaged not in (data, other):
            yield data, damaged, damage.__name__
            n -= 1


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_damaged_file_is_refused(chunk, honest, tmp_path):
    """A quarter is loaded as an agent, a quarter as a policy, the other half only read: what
    would be taken there is as good as taken everywhere."""
    path, slowest = tmp_path / "a.npz", 0.0
    readers = npr.load, read_archive, npr.infer.load, read_archive
    for i, (_, damaged, name) in enumerate(damages(honest, chunk, many(10_000, 200_000) // CHUNKS)):
        path.write_bytes(damaged)
        began = time.thread_time()
        found = load_watched(readers[i % 4], path)
        slowest = max(slowest, time.thread_time() - began)
        assert found is None, f"{readers[i % 4].__module__} took a file after {name}, number {i}"
    assert slowest < 1


def test_every_single_bit_of_a_file_counts(honest, tmp_path):
    """All bits of the framing and of the manifest, and a sample of those of the arrays."""
    path, rng = tmp_path / "a.npz", random.Random(0)
    data = honest[FILES.index("QLearning")]
    arrays = data.index(b"PK\3\4", 4) + 300, data.index(b"PK\1\2") - 300
    places = [*range(arrays[0]), *range(arrays[1], len(data))]
    places = rng.sample(places, many(150, len(places))) + rng.sample(range(*arrays), 30)
    for place in places:
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="a.npz"):
                read_archive(path)


def test_a_damaged_file_does_not_fill_the_memory(honest, tmp_path):
    path = tmp_path / "a.npz"
    for _, damaged, name in damages(honest, 99, many(300, 5000)):
        path.write_bytes(damaged)
        tracemalloc.start()
        try:
            assert load_watched(npr.load, path) is None
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < len(damaged) + 64e6, name


# ---- damage under true checksums: what is not caught by them must not break what reads on


NUMBERS = (0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 0.5, -0.0, 1e308, 10**400, True, False)
VALUES = (*NUMBERS, None, "", "x", "0x1", "inf", [], [0], [[]], {}, {"kind": "box"}, "relu", "DQN")


def somewhere(rng, value):
    """A random place in nested plain data, as (container, key)."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.2:
            return value, key
        value = value[key]


def strange(rng, array):
    """An array with other values, of another shape or of another type."""
    kind = rng.randrange(4)
    if kind == 0:
        return array.astype(rng.choice(("f2", "f4", "f8", "i1", "i8", "u8", "?")))
    if kind == 1:
        return array.reshape(rng.choice(((-1,), (1, -1), (-1, 1))))
    if kind == 2:
        return np.concatenate([array.reshape(-1)] * 2)[: rng.randrange(2 * array.size + 1)]
    array = np.array(array)
    whole = (0, 1, 2**62) if array.dtype.kind == "u" else (0, 1, -1, 2**62, -(2**62))
    wild = whole if array.dtype.kind in "iu" else (0, np.nan, np.inf, -1e30)
    with np.errstate(all="ignore"):
        array.reshape(-1)[rng.randrange(max(1, array.size)) :] = rng.choice(wild)
    return array


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("chunk", range(2))
def test_a_strange_content_is_refused_or_loads_and_nothing_else(chunk, honest, tmp_path):
    path, rng, taken, n = tmp_path / "a.npz", random.Random(chunk), 0, many(500, 10_000)
    pristine = []
    for data in honest:
        path.write_bytes(data)
        pristine.append(members_of(path))
    for _ in range(n):
        members = dict(rng.choice(pristine))
        manifest = json.loads(members["manifest.json"])
        if rng.random() < 0.5:
            container, key = somewhere(rng, manifest)
            container[key] = rng.choice(VALUES)
        else:
            name = rng.choice([name for name in members if name != "manifest.json"])
            members[name] = npy(strange(rng, np.load(io.BytesIO(members[name]))))
        craft(path, members, manifest)
        with np.errstate(all="ignore"):
            taken += load_watched(npr.load, path) is not None
            load_watched(npr.infer.load, path)
    assert 0 < taken < n / 2
