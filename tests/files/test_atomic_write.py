"""Writing an archive: failing system calls, kills, full disks, locks."""

import contextlib
import errno
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from support import GOLDEN, TESTS
from support.archive_cases import OLD, assert_old_and_alone, same
from support.proof_size import n_trials

from npr.files import atomic
from npr.files.archive import read_archive, write_archive

NEW = {"value": "new"}, {"params/x": np.ones((4, 2), np.float32), "params/e": np.zeros((0, 4))}

posix = pytest.mark.skipif(os.name != "posix", reason="needs the system calls of POSIX")


# ---- writers that are interrupted

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class Calls:
    """Counts the system calls of a writer; `fail` is called before number `at`, from 1."""

    def __init__(self, at, fail):
        self.at, self.fail, self.n = at, fail, 0

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in ("fsync", "replace"):
            self.patch.setattr(os, name, self.counted(getattr(os, name)))
        self.patch.setattr(atomic, "open", self.open, raising=False)
        return self

    def __exit__(self, *_):
        self.patch.undo()

    def counted(self, call):
        def counting(*args):
            self.n += 1
            if self.n == self.at:
                self.fail()
            return call(*args)

        return counting

    def open(self, name, mode, opener):
        """Count the calls of every file, without a buffer."""
        file = open(name, mode, buffering=0, opener=opener)  # noqa: SIM115
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
def test_a_failing_system_call_leaves_the_old_or_the_new_file(error, path):
    def fail():
        raise error

    n, outcomes = calls_of_a_write(path), ""
    for at in range(1, n + 2):  # with the last one no call fails
        write_archive(path, *OLD)
        with Calls(at, fail), contextlib.suppress(type(error)):
            write_archive(path, *NEW)
        assert os.listdir(path.parent) == [path.name]
        content = read_archive(path)
        outcomes += "o" if same(content, OLD) else "n" if same(content, NEW) else "?"
    # new after os.replace: failures of the folder's fsync, of close, and no failure
    assert outcomes == "o" * (n - 2) + "n" * 3


@posix
def test_a_kill_before_any_system_call_leaves_the_old_or_the_new_file(path):
    """Each time in a new process, whose temporary file the next writer removes."""
    n = calls_of_a_write(path)
    script = KILL_AT.format(tests=str(TESTS), path=str(path), n=n)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    outcomes, left = run.stdout.split()
    assert outcomes == "o" * (n - 2) + "n" * 2
    assert left == "1" * (n - 2) + "0" * 2
    assert os.listdir(path.parent) == [path.name]


KILL_AT = """
import os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
import files.test_atomic_write as t

path = pathlib.Path({path!r})
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
@pytest.mark.parametrize("kills", [n_trials(50, 1000)])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(kills, path):
    """A child writes two contents in turn until it is killed; the file must equal one of them. Nine
    of ten kills are during writes of archives, one during a save of an agent."""
    script = KILL_SOON.format(path=str(path), golden=str(GOLDEN), kills=kills)
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environ
    )
    assert run.returncode == 0, run.stderr
    whole, inside, removed = map(int, run.stdout.split())
    assert whole == removed == kills
    assert inside > kills / 10  # enough kills are during a write


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
written = []
for pair in saves:
    written.append([])
    for save in pair:
        save()
        with open(path, "rb") as file:
            written[-1].append(file.read())
    assert written[-1][0] != written[-1][1]
whole = inside = removed = 0
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
        whole += file.read() in written[kind]
    saves[kind][1]()
    removed += os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
print(whole, inside, removed)
"""


@posix
def test_temporary_files_of_dead_writers_are_removed(path):
    others = [".b.npz.0123.tmp", ".a.npz.txt", "a.npz.tmp"]
    for name in (*others, ".a.npz.0123.tmp"):
        (path.parent / name).write_text("left")
    os.symlink(path, path.parent / ".a.npz.link.tmp")
    with atomic.replacement(path) as living:  # another writer that is not done
        living.write(b"half")
        write_archive(path, *OLD)
        assert_old_and_alone(path, [*others, ".a.npz.link.tmp", os.path.basename(living.name)])
    assert path.read_bytes() == b"half"  # and that can finish


@posix
def test_a_writer_whose_file_is_removed_before_it_is_locked_retries(path, monkeypatch):
    flock, removed = atomic.fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append(file.name)
            os.unlink(file.name)
        return flock(file, how)

    monkeypatch.setattr(atomic.fcntl, "flock", late)
    write_archive(path, *NEW)
    assert removed
    assert same(read_archive(path), NEW)
    assert os.listdir(path.parent) == [path.name]


@posix
@pytest.mark.parametrize("kept", [0, 100, 600, 1300])
def test_a_full_disk_leaves_the_old_file(kept, path):
    """A limit on the size of files simulates a full disk: `kept` bytes can be written, and the
    content has 1,800 or more."""
    script = FULL.format(tests=str(TESTS), path=str(path), kept=kept)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout == f"{errno.EFBIG}\n", run.stderr
    assert_old_and_alone(path)


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
import files.test_atomic_write as t

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({kept}, {kept}))
try:
    t.write_archive({path!r}, {{"value": "new"}}, {{"params/x": t.np.zeros(100)}})
except OSError as error:
    print(error.errno)
"""


def test_missing_and_read_only_folders_raise(path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        write_archive(path.parent / "nowhere" / "a.npz", *NEW)

    def refuse(name, mode, opener):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    with monkeypatch.context() as patch:  # simulated, as tests may run as root
        patch.setattr(atomic, "open", refuse, raising=False)
        with pytest.raises(PermissionError):
            write_archive(path, *NEW)
    assert_old_and_alone(path)


def test_a_folder_at_the_path_raises(path):
    (path.parent / "b.npz").mkdir()
    with pytest.raises(OSError, match=r"b\.npz"):
        write_archive(path.parent / "b.npz", *NEW)
    assert_old_and_alone(path, ["b.npz"])


@posix
def test_a_link_is_replaced_but_not_its_target(path):
    link = path.parent / "b.npz"
    os.symlink(path, link)
    write_archive(link, *NEW)
    assert not link.is_symlink()
    assert same(read_archive(link), NEW)
    assert_old_and_alone(path, ["b.npz"])


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_of_the_umask(umask, path):
    former = os.umask(umask)
    try:
        write_archive(path.parent / "b.npz", *NEW)
        assert os.umask(umask) == umask
    finally:
        os.umask(former)
    assert (path.parent / "b.npz").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_name_may_have_the_maximal_length(path):
    for name in ("x" * 251 + ".npz", "\u4e2d" * 80 + ".npz"):
        write_archive(path.parent / name, *OLD)
        (path.parent / name).unlink()


def test_a_path_may_be_bytes_or_relative(path, monkeypatch):
    write_archive(os.fsencode(path), *NEW)
    assert same(read_archive(os.fsencode(path)), NEW)
    monkeypatch.chdir(path.parent)
    write_archive("a.npz", *OLD)
    assert_old_and_alone(path)


# ---- Windows, where another program may lock a file for a moment


class WindowsError_(PermissionError):
    def __init__(self, code):
        super().__init__(errno.EACCES, "written by another program")
        self.winerror = code


@pytest.fixture
def windows(monkeypatch):
    """os.replace fails with codes[0], codes[1], ...; calls of sleep are recorded."""
    monkeypatch.setattr(atomic, "fcntl", None)
    state = types.SimpleNamespace(codes=[], pauses=[])
    replace = os.replace

    def failing(source, target):
        if state.codes:
            raise WindowsError_(state.codes.pop(0))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    monkeypatch.setattr(atomic.time, "sleep", state.pauses.append)
    return state


def test_writing_waits_for_a_file_that_is_locked_shortly(windows, path):
    windows.codes = [5, 32, 33, 5]
    write_archive(path, *NEW)
    assert same(read_archive(path), NEW)
    assert len(windows.pauses) == 4
    assert windows.pauses == sorted(windows.pauses)


@pytest.mark.parametrize("codes, pauses", [([32] * 99, 6), ([5, 112], 1), ([None], 0)])
def test_a_file_that_stays_locked_raises(codes, pauses, windows, path):
    windows.codes = codes
    with pytest.raises(PermissionError, match="written by another program"):
        write_archive(path, *NEW)
    assert len(windows.pauses) == pauses
    assert sum(windows.pauses) <= 2.5 + 1e-9
    assert_old_and_alone(path)


def test_without_file_locks_removable_temporary_files_are_removed(windows, path, monkeypatch):
    """Windows refuses to remove open files."""
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
