"""Damaged files are refused with a CheckpointError.

Every bit of a file is checked, those of the zip structure too, so that a damaged file is refused
even if the damage would have had no effect.
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
from support.proof_size import n_trials
from support.small_agents import CASES, trained

import npr
from npr import CheckpointError
from npr.files.archive import read_archive

CHUNKS = 8
FILES = ("QLearning", "DQN-n", "PERDQN", "A2C", "PPO-Box", "SAC", "SAC-Discrete", "TD3")
assert set(FILES) <= set(CASES)


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    """The bytes of small files of several algorithms."""
    path, files = tmp_path_factory.mktemp("valid") / "a.npz", []
    for case in FILES:
        trained(case).save(path)
        npr.load(path), npr.infer.load(path)  # imports of the first call are done
        files.append(path.read_bytes())
    return files


# ---- kinds of damage: functions of (rng, bytes of the file, bytes of another file)


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
    """A block of another file in the same place, as after swapped sectors."""
    size = rng.choice((16, 64, 512, 4096))
    i = rng.randrange(0, len(data), 16)
    return data[:i] + other[i : i + size] + data[i + size :]


def erase(rng, data, other):
    """A block of zeros, as if it was never written."""
    size = rng.choice((16, 64, 512, 4096))
    i = rng.randrange(0, len(data), 16)
    return data[:i] + bytes(len(data[i : i + size])) + data[i + size :]


def records(data, signature):
    place = -1
    while (place := data.find(signature, place + 1)) >= 0:
        yield place


def header(rng, data, other):
    """A field of a header of the zip or of an array becomes an extreme number."""
    signature, size = rng.choice(
        ((b"PK\3\4", 30), (b"PK\1\2", 46), (b"PK\5\6", 22), (b"\x93NUMPY", 80))
    )
    place = rng.choice(list(records(data, signature))) + rng.randrange(size)
    code, bits = rng.choice((("<B", 8), ("<H", 16), ("<I", 32)))
    number = rng.choice((0, 1, 2**bits - 1, 2 ** (bits - 1), len(data) % 2**bits, 48, 57))
    value = struct.pack(code, number)
    return (data[:place] + value + data[place + len(value) :])[: len(data)]


def swap(rng, data, other):
    """Two members are swapped, without the central directory."""
    starts = [*records(data, b"PK\3\4"), data.index(b"PK\1\2")]
    i, j = sorted(rng.sample(range(len(starts) - 1), 2))
    a, b, c, d = starts[i], starts[i + 1], starts[j], starts[j + 1]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


DAMAGES = (flip, change, cut, drop, insert, splice, overlay, erase, header, swap)


def damages(valid_files, seed, n):
    """n times (bytes of a file, damaged bytes, name of the damage)."""
    rng = random.Random(seed)
    while n:
        data, other = rng.sample(valid_files, 2)
        damage = rng.choice(DAMAGES)
        damaged = damage(rng, data, other)
        if damaged not in (data, other):
            yield data, damaged, damage.__name__
            n -= 1


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_damaged_file_is_refused(chunk, valid_files, tmp_path):
    """A quarter is loaded as an agent, a quarter as a policy, and half is read as an archive, which
    the other two do first."""
    path, slowest = tmp_path / "a.npz", 0.0
    readers = npr.load, read_archive, npr.infer.load, read_archive
    for i, (_, damaged, name) in enumerate(
        damages(valid_files, chunk, n_trials(4_000, 200_000) // CHUNKS)
    ):
        path.write_bytes(damaged)
        began = time.thread_time()
        found = load_watched(readers[i % 4], path)
        slowest = max(slowest, time.thread_time() - began)
        assert found is None, (
            f"{readers[i % 4].__module__} accepted a file after {name}, number {i}"
        )
    assert slowest < 1


def test_every_single_bit_of_a_file_is_checked(valid_files, tmp_path):
    """All bits of the zip structure and the manifest, and a sample of those of the arrays."""
    path, rng = tmp_path / "a.npz", random.Random(0)
    data = valid_files[FILES.index("QLearning")]
    arrays = data.index(b"PK\3\4", 4) + 300, data.index(b"PK\1\2") - 300
    places = [*range(arrays[0]), *range(arrays[1], len(data))]
    places = rng.sample(places, n_trials(150, len(places))) + rng.sample(range(*arrays), 30)
    for place in places:
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="a.npz"):
                read_archive(path)


def test_a_damaged_file_needs_little_memory(valid_files, tmp_path):
    path = tmp_path / "a.npz"
    for _, damaged, name in damages(valid_files, 99, n_trials(300, 5000)):
        path.write_bytes(damaged)
        tracemalloc.start()
        try:
            assert load_watched(npr.load, path) is None
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < len(damaged) + 64e6, name


# ---- random contents with valid checksums


NUMBERS = (0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 0.5, -0.0, 1e308, 10**400, True, False)
VALUES = (*NUMBERS, None, "", "x", "0x1", "inf", [], [0], [[]], {}, {"kind": "box"}, "relu", "DQN")


def random_place(rng, value):
    """A random place in nested plain data, as (container, key)."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.2:
            return value, key
        value = value[key]


def random_array(rng, array):
    """An array with other values, of another shape or of another type."""
    kind = rng.randrange(4)
    if kind == 0:
        return array.astype(rng.choice(("f2", "f4", "f8", "i1", "i8", "u8", "?")))
    if kind == 1:
        return array.reshape(rng.choice(((-1,), (1, -1), (-1, 1))))
    if kind == 2:
        return np.concatenate([array.reshape(-1)] * 2)[: rng.randrange(2 * array.size + 1)]
    array = np.array(array)
    integers = (0, 1, -1, 2**62, -(2**62))
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        integers = [n for n in integers if limits.min <= n <= limits.max]
    extremes = integers if array.dtype.kind in "iu" else (0, np.nan, np.inf, -1e30)
    with np.errstate(all="ignore"):
        array.reshape(-1)[rng.randrange(max(1, array.size)) :] = rng.choice(extremes)
    return array


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("chunk", range(2))
def test_random_contents_load_or_are_refused(chunk, valid_files, tmp_path):
    path, rng, loaded, n = tmp_path / "a.npz", random.Random(chunk), 0, n_trials(250, 10_000)
    members_of_valid = []
    for data in valid_files:
        path.write_bytes(data)
        members_of_valid.append(members_of(path))
    for _ in range(n):
        members = dict(rng.choice(members_of_valid))
        manifest = json.loads(members["manifest.json"])
        if rng.random() < 0.5:
            container, key = random_place(rng, manifest)
            container[key] = rng.choice(VALUES)
        else:
            name = rng.choice([name for name in members if name != "manifest.json"])
            members[name] = npy(random_array(rng, np.load(io.BytesIO(members[name]))))
        craft(path, members, manifest)
        with np.errstate(all="ignore"):
            loaded += load_watched(npr.load, path) is not None
            load_watched(npr.infer.load, path)
    assert 0 < loaded < n / 2
