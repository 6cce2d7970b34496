"""A corpus of hostile files: every one is refused, and no code runs, is imported or is written.

Each case changes a valid file in one way and keeps the rest consistent, checksums included. The
audit hook of hostile_files.py records events while it is loaded as an agent and as a policy.
"""

import io
import os
import pickle
import socket
import stat
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.hostile_files import craft, edited, load_watched, members_of, npy, put, refused
from support.small_agents import trained

import npr
from npr.files.archive import FORMAT

CASES = {}  # name -> (function that changes a valid file, message, whether infer refuses it)


def case(name, attack, match=None, infer=True):
    assert name not in CASES
    CASES[name] = attack, match, infer


# ---- pickles, and arrays that are not plain numbers in C order


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


def array(data):
    return lambda path: craft(path, {**members_of(path), "params/theta.npy": data})


def header(shape, descr="'<f4'", version=1, order="False", data=b"\0" * 16, more=""):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"
    text = text.ljust(117) + "\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data


case("a pickle", lambda path: path.write_bytes(pickle.dumps(Bomb())), "not an npr file")
case("a pickle for an array", array(pickle.dumps(Bomb())), "must be a .npy array")
case("objects", array(npy(np.array([Bomb()], object), True)), r"must be .* '\|O'")
for dtype in ("|O", "|S4", "<U1", "|V4", "<M8[s]", "<m8[s]", ">f4", "<c8", "<f16", "=f4", "f4",
              "float32", "<f4,<f4", ""):  # fmt: skip
    case(f"dtype {dtype}", array(header("(4,)", repr(dtype))), "of a dtype among")
case("a structured dtype", array(header("(2,)", "[('a', '<f4'), ('b', '<f4')]")), "a dtype among")
case("a nested dtype", array(header("(2,)", "('<f4', (2,))")), "of a dtype among")
case("Fortran order", array(header("(2, 2)", order="True")), "in C order")
case("code for an order", array(header("(4,)", order="print()")), "in C order")
case("code for a dtype", array(header("(4,)", "__import__('os').getcwd()")), "must be a .npy")
case("code for a shape", array(header("__import__('os').getcwd()")), "must be a .npy")
case("code after the header", array(header("(4,)", more="**print()")), "must be a .npy")
case(".npy version 2", array(header("(4,)", version=2)), "of version 1.0")
case(".npy version 3", array(header("(4,)", version=3)), "of version 1.0")
case("a key more", array(header("(4,)", more="'evil': 1, ")), "must be a .npy")
case("a key twice", array(header("(4,)", more="'shape': (4,), ")), "must be a .npy")
for shape in ("(2**40,)", "(-2, -2)", "(4.0,)", "(4e0,)", "(True, 4)", "(04,)", "(0_4,)", "(0x4,)",
              "(4)", "[4]", "(4,", "(2,2)", "('4',)", "(None,)", f"({10**30},)",
              f"({'9' * 50_000},)", "(" + "1, " * 20_000 + ")"):  # fmt: skip
    case(f"shape {shape[:20]}", array(header(shape)), "must be a .npy")
case("2^40 numbers", array(header(f"({2**40},)")), "claims shape")
case("a product over 2^64", array(header(f"({2**62}, 4)")), "claims shape")
case("a product that wraps to 4", array(header(f"({2**32 + 1}, {2**32 * 4 - 4})")), "claims shape")
case("no numbers by 2^62", array(header(f"(0, {2**62}, 8)", data=b"")), "does not fit into memory")
case("65 axes", array(header(str((1,) * 65), data=b"\0" * 4)), "does not fit into memory")
case("fewer numbers than claimed", array(header("(5,)")), "claims shape")
case("more numbers than claimed", array(header("(3,)")), "claims shape")
case("a truncated header", array(header("(4,)")[:40]), "must be a .npy")
case("a header beyond the member", array(b"\x93NUMPY\1\0\xff\xff{"), "must be a .npy")
case("an empty array", array(b""), "must be a .npy")
case("a truth value of 7", array(header("(1,)", "'|b1'", data=b"\7")), "other than 0 and 1")

# ---- zips that npr does not write


def member(name, data=b"", match="does not belong here"):
    case(f"member {name!r}", lambda path: craft(path, {**members_of(path), name: data}), match)


for name in ("../evil.npy", "/tmp/evil.npy", "params/../../evil.npy", "..\\evil.npy",
             "params\\evil.npy", "C:\\evil.npy", "C:evil.npy", "./params/theta.npy",
             "params//theta.npy", "params/th\u00e9ta.npy", "params/a b.npy", "params/theta.npy ",
             "PARAMS/theta.npy", ".npy", "params/", "params/.npy", "params/..npy", "setup.py",
             "params/theta.pkl", "params/theta.npy.exe", "x" * 60_000,
             "MANIFEST.JSON"):  # fmt: skip
    member(name, npy(np.zeros(3)))


def packed(**options):
    return lambda path: craft(path, members_of(path), **options)


def changed(**attributes):
    """Every member with another attribute of its ZipInfo."""

    def change(info):
        for name, value in attributes.items():
            setattr(info, name, value)

    return packed(change=change)


def bomb(path):
    """16 MB of zeros in a few kB."""
    members = {**members_of(path), "params/theta.npy": npy(np.zeros(2_000_000))}
    craft(path, members, compression=zipfile.ZIP_DEFLATED)


case("deflated", packed(compression=zipfile.ZIP_DEFLATED), "is compressed")
case("bzip2", packed(compression=zipfile.ZIP_BZIP2), "is compressed")
case("lzma", packed(compression=zipfile.ZIP_LZMA), "is compressed")
case("a zip bomb", bomb, "is compressed")
case("the manifest twice", packed(twice=["manifest.json"]), "one name twice")
case("an array twice", packed(twice=["params/theta.npy"]), "one name twice")
case("a link", changed(external_attr=(stat.S_IFLNK | 0o777) << 16), "directory")
case("a program", changed(external_attr=0o755 << 16), "directory")
case("a folder", changed(external_attr=0x10), "directory")
case("another date", changed(date_time=(2026, 1, 1, 0, 0, 0)), "header of manifest.json")
case("a comment on a member", changed(comment=b"evil"), "directory")
case("an extra field", changed(extra=b"\xfe\xca\4\0evil"), "header of manifest.json")
case("another system", changed(create_system=7), "directory")
case("another version", changed(create_version=45, extract_version=45), "header of manifest.json")
case("internal attributes", changed(internal_attr=1), "directory")


def other_order(path):
    members = members_of(path)
    craft(path, dict(reversed(members.items())))


def no_manifest(path):
    members = members_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("params/theta.npy"), members["params/theta.npy"])


def crowd(path):
    craft(path, {**members_of(path), **{f"params/x{i}.npy": b"" for i in range(10_001)}})


def commented(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"evil"


case("the manifest last", other_order, "not with manifest.json")
case("no manifest", no_manifest, "not with manifest.json")
case("10,001 members", crowd, "too many members")
case("a comment", commented, "directory")


def renamed(old, new):
    """Another name in the header and in the directory, which zipfile would refuse to write."""

    def attack(path):
        data = path.read_bytes()
        assert data.count(old) == 2 + 1  # and once in the manifest
        path.write_bytes(new.join(data.rsplit(old, 2)))

    return attack


case("a NUL in a name", renamed(b"optim/adam.m.npy", b"optim/adam\0m.npy"), "does not belong here")
case("no name", renamed(b"optim/adam.m.npy", b""), "does not belong|header of")

LOCAL, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def stamped(signature, offset, value, which=1):
    """Other bytes in record number `which` of the zip with this signature."""

    def attack(path):
        data, place = bytearray(path.read_bytes()), -1
        for _ in range(which + 1):
            place = data.index(signature, place + 1)
        assert data[place + offset : place + offset + len(value)] != value
        data[place + offset : place + offset + len(value)] = value
        path.write_bytes(data)

    return attack


u16, u32 = struct.Struct("<H").pack, struct.Struct("<I").pack
case("encrypted", stamped(LOCAL, 6, u16(1)), "header of optim/")
case("encrypted, says the directory", stamped(ENTRY, 8, u16(1)), "directory")
case("sizes after the data", stamped(LOCAL, 6, u16(8)), "header of optim/")
case("a name in UTF-8", stamped(LOCAL, 6, u16(0x800)), "header of optim/")
case("another name in the directory", stamped(ENTRY, 46, b"params"), "directory")
case("another name in the header", stamped(LOCAL, 30, b"trick"), "directory")
case("another size in the directory", stamped(ENTRY, 20, u32(64) * 2), "directory")
case("2 GiB in the directory", stamped(ENTRY, 20, u32(2**31) * 2), "directory")
case("2 GiB in the header", stamped(LOCAL, 18, u32(2**31 - 2**28) * 2), "more bytes than the file")
case("two sizes in the header", stamped(LOCAL, 18, u32(64)), "header of|more bytes|damaged")
case("another CRC in the directory", stamped(ENTRY, 16, u32(7)), "directory")
case("another CRC in the header", stamped(LOCAL, 14, u32(7)), "directory")
case("another method in the directory", stamped(ENTRY, 10, u16(8)), "directory")
case("members that overlap", stamped(ENTRY, 42, u32(0)), "directory")
case("a member beyond the end", stamped(ENTRY, 42, u32(2**31)), "directory")
case("64 bits for a small member", stamped(LOCAL, 18, u32(2**32 - 1) * 2), "header|more bytes")
case("64 bits for a small offset", stamped(ENTRY, 42, u32(2**32 - 1)), "directory")
case("64 bits for a small directory", stamped(END, 16, u32(2**32 - 1), 0), "directory")
case("65,535 members", stamped(END, 8, u16(0xFFFF) * 2, 0), "directory")
case("a member less", stamped(END, 8, u16(1) * 2, 0), "directory")
case("another disk", stamped(END, 4, u16(1), 0), "directory")
case("another entry on this disk", stamped(END, 8, u16(1), 0), "directory")


def both(*attacks):
    def attack(path):
        for one in attacks:
            one(path)

    return attack


def arrays_in_another_order(path):
    manifest, *arrays = members_of(path).items()
    craft(path, dict([manifest, *reversed(arrays)]), text=manifest[1])


false_crc = both(stamped(LOCAL, 14, u32(7)), stamped(ENTRY, 16, u32(7)))
case("another CRC in both", false_crc, "does not match its checksum")
case("arrays in another order", arrays_in_another_order, "in the same order")


def surrounded(before=b"", after=b""):
    return lambda path: path.write_bytes(before + path.read_bytes() + after)


def with_a_hole(path):
    data = path.read_bytes()
    place = data.index(LOCAL, 4)
    path.write_bytes(data[:place] + b"#!/bin/sh\n" + data[place:])


def two_zips(path):
    """Some programs read from the start, others from the end."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("evil.txt", b"evil")
    surrounded(after=stream.getvalue())(path)


def sfx(path):
    """A script followed by a zip with correct offsets."""
    members = members_of(path)
    path.write_bytes(b"#!/bin/sh\nrm -rf .\n")
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


case("a script in front", surrounded(before=b"#!/bin/sh\n"), "does not begin like a zip")
case("a script followed by a zip", sfx, "does not begin like a zip")
case("bytes behind", surrounded(after=b"<?php evil() ?>"), "directory")
case("a zero behind", surrounded(after=b"\0"), "directory")
case("16 MB behind", surrounded(after=bytes(1 << 24)), "directory")
case("bytes between two members", with_a_hole, "directory")
case("two zips in one", two_zips, "directory")

# ---- manifests that are not strict JSON


def text(old, new):
    def attack(path):
        members = members_of(path)
        whole = members["manifest.json"]
        assert whole.count(old) == 1
        craft(path, members, text=whole.replace(old, new))

    return attack


def whole(data):
    return lambda path: craft(path, members_of(path), text=data)


STEPS = b'"num_timesteps": 96'
for number, match in {
    "NaN": "NaN is not a valid", "Infinity": "Infinity is not", "-Infinity": "-Infinity is not",
    "1e999": "1e999 is not a valid number", "-1e999": "-1e999 is not", "0x60": "strict JSON",
    "9" * 2000: "a number has 2000 digits", "9" * 500_000: "500000 digits", "096": "strict JSON",
    "+96": "strict JSON", "96.": "strict JSON", "9_6": "strict JSON", "'96'": "strict JSON",
    "True": "strict JSON", "96, // more": "strict JSON",
}.items():  # fmt: skip
    case(
        f"the number {number[:12]} ({len(number)})",
        text(STEPS, STEPS[:-2] + number.encode()),
        match,
    )
case(
    "a key twice in front", text(b'"algorithm"', b'"algorithm": "os", "algorithm"'), "occurs twice"
)
case("a key twice inside", text(STEPS, STEPS + b", " + STEPS), "occurs twice")
case(
    "a checksum twice", text(b'"sha256": {', b'"sha256": {"params/theta.npy": "",'), "occurs twice"
)
case("the checksums twice", text(b'"sha256": {', b'"sha256": {}, "sha256": {'), "occurs twice")
case("100,000 lists", text(b'"DQN"', b"[" * 100_000 + b"]" * 100_000), "nested more than")
case("100,000 objects", text(b'"DQN"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "nested more")
case("30 lists", text(b'"DQN"', b"[" * 30 + b"]" * 30), "nested more than")
case("lists never closed", text(b'"DQN"', b"[" * 100_000), "nested more than")
case("a text never closed", text(b'"DQN"', b'"DQN'), "strict JSON")
GROUP = b'"group", "keys": ["x"], "parts": [{"kind": '
case("spaces 1,500 deep", text(b'"box"', GROUP * 1500 + b'"box"' + b"}]" * 1500), "nested more")
case("spaces 9 deep", text(b'"box"', GROUP * 9 + b'"box"' + b"}]" * 9), "more than eight|deep")
case("no UTF-8", text(b'"DQN"', b'"\xff"'), "strict JSON")
case("UTF-16", whole('{"format": 1}'.encode("utf-16")), "strict JSON")
case("a byte order mark", text(b'{\n "format"', b'\xef\xbb\xbf{"format"'), "strict JSON")
case("a line break in a text", text(b'"DQN"', b'"D\nQN"'), "strict JSON")
case("a comma too many", text(STEPS, STEPS + b","), "strict JSON")
case("more behind the manifest", text(b'{\n "format"', b'{} {"format"'), "strict JSON")
case("a manifest over 1 MiB", text(b'"DQN"', b'"' + b"D" * (1 << 20) + b'"'), "over 1 MiB")
for content in (b" ", b"[]", b"1", b"null", b'"agent"', b"{}", b"\x80\x04N.", b"\0"):
    case(f"the manifest {content!r}", whole(content), "strict JSON|not npr's|has format None")
case("a list for the checksums", text(b'"sha256": {', b'"sha256": [], "other": {'), "no checksums")
case("no checksums", text(b'"sha256"', b'"sha257"'), "no checksums")
case(
    "a number for a checksum", text(b'"sha256": {', b'"sha256": {"params/x.npy": 7,'), "is missing"
)

# ---- manifests with invalid requests


def edit(*keys, match=None, infer=True):
    case(
        f"{'.'.join(keys[:-1])} = {keys[-1]!r}"[:70], lambda p: edited(p, put(*keys)), match, infer
    )


for version in (0, -1, 1.0, True, None, "1", [1], {}):
    edit("format", version, match="formats are whole numbers from 1")
edit("format", FORMAT + 1, match="pip install -U npr-rl")
edit("format", 10**900, match="pip install -U npr-rl")
for name in ("os.system", "__import__", "builtins.eval", "npr.algorithms.dqn.DQN", "Algorithm",
             "npr", "", "dqn", "../DQN"):  # fmt: skip
    edit("algorithm", name, match="contains an agent of", infer=False)
for value in (None, 7, ["DQN"], {"DQN": 1}):
    edit("algorithm", value, infer=False)
for value in (7, ["CartPole-v1"], {"id": "CartPole-v1"}, True):
    edit("env", value, infer=False)
for key, values in {
    "id": (7, None, "os:CartPole-v1", ["CartPole-v1"]),
    "kwargs": (
        7, [], {"x": "os:system"}, {"x": "/etc/passwd"}, {"x": ["a", {"y": "..\\evil"}]},
        {"__class__": 1}, {"__reduce__": []}, {"x": {"__array__": [1], "dtype": "object"}},
        {"x": {"__array__": [1], "dtype": "O8,f8"}}, {"x": {"__float__": []}},
    ),
    "wrappers": (7, "x", [["RecordVideo", {}]], [["os", {}]], [["TimeLimit"]], [["vector", {}]]),
    "vector": (
        7, {"mode": "evil", "autoreset_mode": None}, {"mode": "sync"},
        {"mode": "sync", "autoreset_mode": "evil"},
    ),
    "__class__": (1,),
}.items():  # fmt: skip
    for value in values:
        edit("env_description", key, value, infer=False)
for name, value in {
    "gamma": "0.9", "learning_rate": "eval:1:2", "net_arch": "os", "batch_size": 1e300,
    "buffer_size": 2**62, "train_freq": -1, "verbose": [], "activation": "exec", "__dict__": {},
    "__class__": "Bomb", "update": 1, "double": 7, "n_step_return": 2**40, "max_grad_norm": "inf",
}.items():  # fmt: skip
    edit("settings", name, value, infer=False)
for widths in ([2**31] * 4, [2**62], [10**6] * 2, [-8], [8.0], ["8"], [[8]], {"pi": [8]},
               list(range(1, 9000))):  # fmt: skip
    edit("settings", "net_arch", widths, infer=False)
for name, value in {
    "head": "__class__", "activation": "__import__", "sizes": [2**40] * 3, "free": -1,
    "epsilon": "all", "temperature": 0, "evil": 1, "observations": None,
    "actions": {"kind": "box", "low": [0], "high": [1]},
}.items():  # fmt: skip
    edit("policy", name, value, infer=name != "epsilon")
edit("policy_parameters", "__class__")
edit("policy_parameters", "buffer/buffer.s")
edit("counters", "num_timesteps", "__import__('os')", infer=False)
edit("counters", "end", 2**70, infer=False)


@pytest.fixture(scope="module")
def valid_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("valid_file") / "agent.npz"
    trained("DQN").save(path)
    npr.load(path), npr.infer.load(path)  # what they import once is imported
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_without_running_code(name, valid_file, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(valid_file)
    attack, match, infer = CASES[name]
    attack(path)
    around = sorted(os.listdir())
    began = time.thread_time()
    refused(path, match, infer)
    assert time.thread_time() - began < 4  # four loads
    tracemalloc.start()
    try:
        assert load_watched(npr.load, path) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size + 64e6
    assert sorted(os.listdir()) == around


def test_the_corpus_is_large():
    assert len(CASES) >= 200


def test_the_valid_file_is_loaded(valid_file, tmp_path):
    """With the same audit hook, so the files above are refused for their changes."""
    path = tmp_path / "a.npz"
    path.write_bytes(valid_file)
    assert load_watched(npr.load, path).num_timesteps == 96
    assert load_watched(npr.infer.load, path) is not None
    packed()(path)
    assert load_watched(npr.load, path).num_timesteps == 96


@pytest.mark.parametrize(
    "env", ["npr_evil:CartPole-v1", "../evil", "evil", "os:system", "a" * 9999]
)
def test_the_name_of_an_environment_is_not_imported(env, valid_file, tmp_path):
    """An agent may have an unknown environment: its name is kept, and nothing is imported."""
    path = tmp_path / "a.npz"
    path.write_bytes(valid_file)
    edited(path, put("env", env))
    assert load_watched(npr.load, path).env_id == env
    assert load_watched(npr.infer.load, path) is not None


ACTS = {
    "exec": ("exec", lambda path: exec("1")),
    "compile": ("compile", lambda path: compile("1", "", "eval")),
    "import": ("import", lambda path: __import__("this_module_does_not_exist")),
    "open": ("open", lambda path: path.write_text("x")),
    "os.open": ("open", lambda path: os.close(os.open(path, os.O_CREAT))),
    "os.mkdir": ("os.mkdir", lambda path: os.mkdir(path)),
    "os.system": ("os.system", lambda path: os.system("true")),
    "pickle": ("pickle.find_class", lambda path: pickle.loads(pickle.dumps(Bomb()))),
    "socket": ("socket", lambda path: socket.socket().close()),
    "NumPy's reader": ("compile", lambda path: np.load(io.BytesIO(npy(np.zeros(3))))),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_audit_hook_records_events(act, tmp_path):
    event, load = ACTS[act]
    with pytest.raises(AssertionError, match=event):
        load_watched(load, tmp_path / "x")
