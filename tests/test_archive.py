"""The file format itself: one framing, formats old and new, and writing that loses nothing.

Whatever happens to a writer, a kill between any two of its system calls included, the file is
afterwards what it was or what it was to become, and the next writer clears up.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import tracemalloc
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from proofs import many

import npr
from npr import CheckpointError
from npr.files import archive
from npr.files.archive import read_archive, write_archive

GOLDEN = Path(__file__).parent / "golden"
OLD = {"value": "old"}, {"params/x": np.arange(6.0).reshape(2, 3), "params/n": np.array(7)}
NEW = {"value": "new"}, {"params/x": np.ones((4, 2), np.float32), "params/e": np.zeros((0, 4))}

posix = pytest.mark.skipif(os.name != "posix", reason="needs the system calls of POSIX")


def same(content, held):
    """Whether what read_archive gave holds what was given to write_archive."""
    manifest, arrays = content
    return manifest["value"] == held[0]["value"] and {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in held[1].items()}


@pytest.fixture
def path(tmp_path):
    """A file that holds OLD, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_archive(folder / "a.npz", *OLD)
    return folder / "a.npz"


def assert_old_and_alone(path, others=()):
    assert sorted(os.listdir(path.parent)) == sorted([path.name, *others])
    assert same(read_archive(path), OLD)


# ---- one framing


def test_what_is_read_is_what_was_written(path):
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


@pytest.mark.parametrize("limit", [(1 << 31) - 1, 3000, 1000, 300, 10])
def test_the_framing_is_that_of_python_s_zipfile(limit, path, monkeypatch):
    """To the byte, also above 2 GiB, where sizes and offsets need 64 bits: from there on is set
    to a few bytes here, for both."""
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


def test_a_file_from_windows_is_one_too(path):
    """Python's zipfile wrote the system into each entry of the directory, nothing else."""
    data, place = bytearray(path.read_bytes()), 0
    while (place := data.find(b"PK\1\2", place + 1)) > 0:
        assert data[place + 5] == 3
        data[place + 5] = 0
    path.write_bytes(data)
    assert same(read_archive(path), OLD)
    data[data.find(b"PK\1\2") + 5] = 3  # one of one system, one of another: nobody wrote that
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="directory of its members"):
        read_archive(path)


def test_reading_takes_the_memory_of_the_arrays_and_no_copies(path):
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
        ({"a": {1: 0, "1": 0}}, "one is there twice"),
        ({"a": "x" * (1 << 20)}, "over 1 MiB"),
        ({"a": 10**2000}, "digits"),
        ({"a": json.loads("[" * 30 + "]" * 30)}, "nested more than"),
    ],
)
def test_a_manifest_that_could_not_be_read_is_not_written(manifest, message, path):
    with pytest.raises(CheckpointError, match=message):
        write_archive(path, manifest, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_archive(path, {"a": np.nan}, {})
    assert_old_and_alone(path)


def test_a_space_nested_as_deep_as_spaces_may_be_passes(path):
    spec = {"kind": "multidiscrete", "nvec": [[2, 3]], "start": [[0, 0]]}
    for _ in range(7):
        spec = {"kind": "group", "keys": ["x"], "parts": [spec]}
    npr.policy.Observations(spec)
    write_archive(path, {"policy": {"observations": spec}}, {})
    assert read_archive(path)[0]["policy"]["observations"] == spec


# ---- formats


def test_an_older_format_is_brought_up_step_by_step(path, monkeypatch):
    def second(manifest, arrays):
        return {**manifest, "steps": [2]}, {"params/y": arrays["params/x"]}

    def third(manifest, arrays):
        return {**manifest, "steps": [*manifest["steps"], 3]}, {"params/z": arrays["params/y"]}

    first = archive.FORMAT
    monkeypatch.setattr(archive, "FORMAT", first + 2)
    monkeypatch.setattr(archive, "MIGRATIONS", {first: second, first + 1: third})
    manifest, arrays = read_archive(path)
    assert (manifest["format"], manifest["steps"]) == (first + 2, [2, 3])
    np.testing.assert_array_equal(arrays.pop("params/z"), OLD[1]["params/x"])
    assert not arrays
    write_archive(path, *NEW)
    monkeypatch.setattr(archive, "MIGRATIONS", {})
    assert same(read_archive(path), NEW)  # a file of the present format needs none of them


def test_an_older_file_that_lacks_what_a_migration_needs_is_refused(path, monkeypatch):
    first = archive.FORMAT
    monkeypatch.setattr(archive, "FORMAT", first + 1)
    monkeypatch.setattr(archive, "MIGRATIONS", {first: lambda m, a: (m["nothing"], a)})
    with pytest.raises(CheckpointError, match=rf"a\.npz has format {first} and not .*'nothing'"):
        read_archive(path)


@pytest.mark.parametrize(
    "author, said", [("0.9", "npr 0.9"), (None, "a newer npr"), ("x" * 99, "a newer npr")]
)
def test_a_newer_format_names_its_author_and_the_remedy(author, said, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(archive, "FORMAT", archive.FORMAT + 3)
        write_archive(path, {"npr": author}, {})
    with pytest.raises(CheckpointError) as raised:
        read_archive(path)
    assert str(raised.value) == (
        f"{path} was written by {said} (format {archive.FORMAT + 3}); this is npr "
        f"{npr.__version__}, which reads up to format {archive.FORMAT}. pip install -U npr-rl"
    )


# ---- a writer to which something happens

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class Calls:
    """The system calls of a writer, numbered from 1; `strike` is called before number `at`."""

    def __init__(self, at, strike):
        self.at, self.strike, self.n = at, strike, 0

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in ("fsync", "replace"):
            self.patch.setattr(os, name, self.counted(getattr(os, name)))
        self.patch.setattr(archive, "open", self.open, raising=False)
        return self

    def __exit__(self, *_):
        self.patch.undo()

    def counted(self, call):
        def counting(*args):
            self.n += 1
            if self.n == self.at:
                self.strike()
            return call(*args)

        return counting

    def open(self, name, mode):
        """The calls of every file, one write for each piece, as if there were no buffer."""
        file = open(name, mode, buffering=0)  # noqa: SIM115
        calls = {
            "write": self.counted(file.write),
            "flush": self.counted(file.flush),
            "close": self.counted(file.close),
        }
        return types.SimpleNamespace(name=name, fileno=file.fileno, **calls)


def calls_of_a_write(path):
    with Calls(0, None) as calls:
        write_archive(path, *OLD)
    assert (
        calls.n == 2 + 2 * 3 + 1 + 5
    )  # manifest, arrays, directory; flush sync replace sync close
    return calls.n


@posix
@pytest.mark.parametrize("error", [NO_SPACE, KeyboardInterrupt()], ids=["no space", "Ctrl-C"])
def test_a_failing_system_call_leaves_the_old_file_or_the_new_one_and_no_other(error, path):
    def strike():
        raise error

    n, outcomes = calls_of_a_write(path), ""
    for at in range(1, n + 2):  # none is struck in the end
        write_archive(path, *OLD)
        with Calls(at, strike), contextlib.suppress(type(error)):
            write_archive(path, *NEW)
        assert os.listdir(path.parent) == [path.name]
        content = read_archive(path)
        outcomes += "o" if same(content, OLD) else "n" if same(content, NEW) else "?"
    # new from the renaming on: where the folder's sync, the closing and nothing was struck
    assert outcomes == "o" * (n - 2) + "n" * 3


@posix
def test_a_kill_before_any_system_call_leaves_the_old_file_or_the_new_one(path):
    """In a process of its own each time; what it leaves behind the next writer clears away."""
    n = calls_of_a_write(path)
    script = KILL_AT.format(tests=str(Path(__file__).parent), path=str(path), n=n)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    outcomes, left = run.stdout.split()
    assert outcomes == "o" * (n - 2) + "n" * 2
    assert left == "1" * (n - 2) + "0" * 2
    assert os.listdir(path.parent) == [path.name]


KILL_AT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_archive as t

path = t.Path({path!r})
outcomes = left = ""
for at in range(1, {n} + 1):
    t.write_archive(path, *t.OLD)
    child = os.fork()
    if not child:
        with t.Calls(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            t.write_archive(path, *t.NEW)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left += str(len(os.listdir(path.parent)) - 1)
    content = t.read_archive(path)
    outcomes += "o" if t.same(content, t.OLD) else "n" if t.same(content, t.NEW) else "?"
    t.write_archive(path, *t.OLD)
    assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
print(outcomes, left)
"""


@posix
@pytest.mark.parametrize("kills", [many(50, 1000)])
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(kills, path):
    """A child saves two contents in turn until it is killed; then the file is one of the two, to
    the byte. Of ten kills, nine meet bare archives and one a whole agent."""
    script = KILL_SOON.format(path=str(path), golden=str(GOLDEN), kills=kills)
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environ
    )
    assert run.returncode == 0, run.stderr
    whole, inside, swept = map(int, run.stdout.split())
    assert whole == swept == kills
    assert inside > kills / 10  # the proof meets what it is about: writers in the middle


KILL_SOON = """
import glob, itertools, os, random, signal, time
import numpy as np
import npr
from npr.files.archive import read_archive, write_archive

path, rng = {path!r}, random.Random(0)
rows = np.random.default_rng(0).standard_normal((2, 50_000))
contents = [dict(manifest=dict(value=i), arrays={{"params/x": rows[i]}}) for i in range(2)]
agents = [npr.load(one) for one in sorted(glob.glob({golden!r} + "/*SAC*.npz"))[:2]]
saves = [
    [lambda content=content: write_archive(path, **content) for content in contents],
    [lambda agent=agent: agent.save(path) for agent in agents],
]
held = []
for pair in saves:
    held.append([])
    for save in pair:
        save()
        with open(path, "rb") as file:
            held[-1].append(file.read())
    assert held[-1][0] != held[-1][1]
whole = inside = swept = 0
for kill in range({kills}):
    kind = int(kill % 10 == 9)
    saves[kind][0]()
    child = os.fork()
    if not child:
        for save in itertools.cycle(saves[kind]):
            save()
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    inside += len(os.listdir(os.path.dirname(path))) > 1
    npr.load(path) if kind else read_archive(path)
    with open(path, "rb") as file:
        whole += file.read() in held[kind]
    saves[kind][1]()
    swept += os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
print(whole, inside, swept)
"""


@posix
def test_only_the_leftovers_of_dead_writers_of_the_same_file_are_removed(path):
    others = [".b.npz.0123.tmp", ".a.npz.txt", "a.npz.tmp"]
    for name in (*others, ".a.npz.0123.tmp"):
        (path.parent / name).write_text("left")
    os.symlink(path, path.parent / ".a.npz.link.tmp")
    with archive._replacement(path) as living:  # another writer, in the middle
        living.write(b"half")
        write_archive(path, *OLD)
        assert_old_and_alone(path, [*others, ".a.npz.link.tmp", os.path.basename(living.name)])
    assert path.read_bytes() == b"half"  # and it could end what it began


@posix
def test_a_writer_that_is_swept_before_it_holds_its_lock_begins_again(path, monkeypatch):
    flock, swept = archive.fcntl.flock, []

    def late(file, how):
        if not swept:
            swept.append(file.name)
            os.unlink(file.name)
        return flock(file, how)

    monkeypatch.setattr(archive.fcntl, "flock", late)
    write_archive(path, *NEW)
    assert swept
    assert same(read_archive(path), NEW)
    assert os.listdir(path.parent) == [path.name]


@posix
@pytest.mark.parametrize("kept", [0, 100, 600, 1300])
def test_a_disk_that_is_full_leaves_the_old_file(kept, path):
    """The limit on the size of a file stands in for the disk: `kept` bytes of it can be written,
    of a content of 1,800 or more."""
    script = FULL.format(tests=str(Path(__file__).parent), path=str(path), kept=kept)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout == f"{errno.EFBIG}\n", run.stderr
    assert_old_and_alone(path)


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
import test_archive as t

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({kept}, {kept}))
try:
    t.write_archive({path!r}, {{"value": "new"}}, {{"params/x": t.np.zeros(100)}})
except OSError as error:
    print(error.errno)
"""


def test_a_folder_that_vanished_or_may_not_be_written_is_said_so(path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        write_archive(path.parent / "nowhere" / "a.npz", *NEW)

    def refuse(name, mode):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    with monkeypatch.context() as patch:  # the tests may run as root, to whom all is permitted
        patch.setattr(archive, "open", refuse, raising=False)
        with pytest.raises(PermissionError):
            write_archive(path, *NEW)
    assert_old_and_alone(path)


def test_a_folder_in_the_way_is_said_so(path):
    (path.parent / "b.npz").mkdir()
    with pytest.raises(OSError, match=r"b\.npz"):
        write_archive(path.parent / "b.npz", *NEW)
    assert_old_and_alone(path, ["b.npz"])


@posix
def test_a_link_is_replaced_and_what_it_points_to_is_not(path):
    link = path.parent / "b.npz"
    os.symlink(path, link)
    write_archive(link, *NEW)
    assert not link.is_symlink()
    assert same(read_archive(link), NEW)
    assert_old_and_alone(path, ["b.npz"])


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_that_the_umask_leaves(umask, path):
    former = os.umask(umask)
    try:
        write_archive(path.parent / "b.npz", *NEW)
        assert os.umask(umask) == umask
    finally:
        os.umask(former)
    assert (path.parent / "b.npz").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_name_may_be_as_long_as_names_may_be(path):
    for name in ("x" * 251 + ".npz", "\u4e2d" * 80 + ".npz"):
        write_archive(path.parent / name, *OLD)
        (path.parent / name).unlink()


def test_a_path_may_be_bytes_or_stand_in_the_working_folder(path, monkeypatch):
    write_archive(os.fsencode(path), *NEW)
    assert same(read_archive(os.fsencode(path)), NEW)
    monkeypatch.chdir(path.parent)
    write_archive("a.npz", *OLD)
    assert_old_and_alone(path)


# ---- Windows, where another program may hold a file for a moment


class WindowsError_(PermissionError):
    def __init__(self, code):
        super().__init__(errno.EACCES, "held by another program")
        self.winerror = code


@pytest.fixture
def windows(monkeypatch):
    """os.replace fails with codes[0], codes[1], ...; pauses are noted, not made."""
    monkeypatch.setattr(archive, "fcntl", None)
    state = types.SimpleNamespace(codes=[], pauses=[])
    replace = os.replace

    def failing(source, target):
        if state.codes:
            raise WindowsError_(state.codes.pop(0))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    monkeypatch.setattr(archive.time, "sleep", state.pauses.append)
    return state


def test_a_file_held_for_a_moment_is_waited_for(windows, path):
    windows.codes = [5, 32, 33, 5]
    write_archive(path, *NEW)
    assert same(read_archive(path), NEW)
    assert len(windows.pauses) == 4
    assert windows.pauses == sorted(windows.pauses)


@pytest.mark.parametrize("codes, pauses", [([32] * 99, 6), ([5, 112], 1), ([None], 0)])
def test_a_file_held_for_long_is_an_error_like_any_other(codes, pauses, windows, path):
    windows.codes = codes
    with pytest.raises(PermissionError, match="held by another program"):
        write_archive(path, *NEW)
    assert len(windows.pauses) == pauses
    assert sum(windows.pauses) <= 2.5 + 1e-9
    assert_old_and_alone(path)


def test_without_locks_what_can_be_removed_is_dead(windows, path, monkeypatch):
    """Windows refuses to remove what is open."""
    (path.parent / ".a.npz.dead.tmp").write_text("left")
    (path.parent / ".a.npz.open.tmp").write_text("half")
    unlink = os.unlink

    def refusing(name):
        if name.endswith("open.tmp"):
            raise WindowsError_(32)
        unlink(name)

    monkeypatch.setattr(os, "unlink", refusing)
    write_archive(path, *OLD)
    assert_old_and_alone(path, [".a.npz.open.tmp"])
