"""Numba as it is found in the world: missing, too old for NumPy, without a cache, with one that is
damaged, shared by many processes that begin at once, or open to everybody.

Each time in processes of their own, which learn a little: all must, with one warning at most, and
to the same bits wherever the same code runs. What is said of a single kernel is in
test_kernels.py.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, TESTS
from support.proof_size import many

from npr.kernels import jit
from npr.kernels.jit import Kernel, open_to_all

LEARN = """
import sys, warnings
{first}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from support.small_agents import digest, trained
    print(digest(trained("SAC")))
for warning in caught:
    print(warning.category.__name__, warning.message)
"""


def begin(first="", folder=None, **environment):
    """A process that learns; `folder` is where Numba keeps its kernels, `first` is run before."""
    path = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "NPR_NUMBA": "1", **environment}
    if folder is not None:
        environment["NUMBA_CACHE_DIR"] = str(folder)
    return subprocess.Popen(
        [sys.executable, "-c", LEARN.format(first=first)], env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process):
    """(what it learnt, its warnings)"""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    learnt, *warned = out.splitlines()
    return learnt, warned


@pytest.fixture(scope="module")
def plain():
    """What is learnt without Numba."""
    learnt, warned = end(begin(NPR_NUMBA="0"))
    assert warned == []
    return learnt


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """(what is learnt with Numba, the folder of its kernels)"""
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("kept")
    learnt, warned = end(begin(folder=folder))
    assert warned == []
    assert end(begin(folder=folder)) == (learnt, []), "kernels from the cache learn the same"
    return learnt, folder


def test_where_numba_is_missing_all_learn_as_without_it(plain):
    learnt, [warning] = end(begin(first="sys.modules['numba'] = None"))
    assert learnt == plain
    assert warning.startswith("RuntimeWarning Numba cannot be used (")
    assert "Install a matching numba, or set NPR_NUMBA=0" in warning


def test_where_numpy_is_too_new_for_numba_all_learn_as_without_it(plain, tmp_path):
    (tmp_path / "numba.py").write_text(
        "raise ImportError('Numba needs NumPy 2.5 or less. Got NumPy 2.6.')"
    )
    learnt, [warning] = end(begin(first=f"sys.path.insert(0, {str(tmp_path)!r})"))
    assert learnt == plain
    assert "Numba needs NumPy 2.5 or less. Got NumPy 2.6." in warning


READ_ONLY = """
import errno, types
import numba.core.caching as caching
def refuse(**_):
    raise OSError(errno.EROFS, "Read-only file system")
caching.tempfile = types.SimpleNamespace(TemporaryFile=refuse)  # by which Numba tries a folder
"""


def test_where_no_folder_can_be_written_kernels_are_compiled_anew(kept, tmp_path):
    learnt, [warning] = end(begin(first=READ_ONLY, folder=tmp_path))
    assert learnt == kept[0]
    assert warning.startswith("RuntimeWarning Numba's cache cannot be used (")


def test_where_the_cache_is_no_folder_numba_finds_another_one(kept, tmp_path):
    (tmp_path / "file").touch()
    assert end(begin(folder=tmp_path / "file", XDG_CACHE_HOME=str(tmp_path))) == (kept[0], [])


DAMAGES = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "garbage": lambda data: bytes(range(256)),
    "zeros": lambda data: bytes(len(data)),
    "as large as memory": lambda data: b"\x8e" + (2**62).to_bytes(8, "little") + data,
}


@pytest.mark.parametrize("kind", ["nbi", "nbc"], ids=["index", "data"])
@pytest.mark.parametrize("first", range(many(1, len(DAMAGES))))
def test_where_the_cache_is_damaged_kernels_are_compiled_anew_and_kept_again(
    kept, first, kind, tmp_path
):
    """Each kernel's file in another way."""
    learnt, folder = kept
    files = sorted(folder.rglob("*.nb?"))
    assert len(files) > len(DAMAGES)
    damages, damaged = list(DAMAGES.values()), 0
    for file in files:
        copy = tmp_path / file.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        data = file.read_bytes()
        if file.suffix == f".{kind}":
            data = damages[(first + damaged) % len(damages)](data)
            damaged += 1
        copy.write_bytes(data)
    assert damaged >= len(DAMAGES)
    again, [warning] = end(begin(folder=tmp_path))
    assert again == learnt
    assert warning.startswith("RuntimeWarning Numba's cache cannot be used (")
    assert end(begin(folder=tmp_path))[0] == learnt
    assert end(begin(folder=tmp_path)) == (learnt, []), "the cache was not mended"


def test_processes_that_begin_at_once_share_an_empty_cache(kept, tmp_path):
    processes = [begin(folder=tmp_path, OPENBLAS_NUM_THREADS="1") for _ in range(many(6, 16))]
    for process in processes:
        assert end(process) == (kept[0], [])
    assert end(begin(folder=tmp_path)) == (kept[0], []), "they left a sound cache behind"


# ---- a cache is run: it must be nobody else's

posix = pytest.mark.skipif(os.name != "posix", reason="modes tell nothing about others here")


@posix
def test_where_everybody_may_write_the_cache_is_not_used(kept, tmp_path):
    tmp_path.chmod(0o777)
    learnt, [warning] = end(begin(folder=tmp_path))
    assert learnt == kept[0]
    assert "every user of this machine may write there" in warning
    assert "Set NUMBA_CACHE_DIR to a folder of your own" in warning
    assert not list(tmp_path.rglob("*.nb?"))


@posix
@pytest.mark.parametrize(
    "above, here, everybody",
    [
        (0o755, 0o755, False),
        (0o775, 0o775, False),  # a group is chosen
        (0o755, 0o777, True),
        (0o755, 0o1777, True),  # what is not there yet may be put there
        (0o777, 0o755, True),  # and may be moved away
        (0o1777, 0o755, False),
    ],
)
def test_a_folder_is_open_where_others_may_put_or_move_files(tmp_path, above, here, everybody):
    folder = tmp_path / "above" / "here"
    folder.mkdir(parents=True)
    folder.chmod(here)
    folder.parent.chmod(above)
    assert open_to_all(folder) == everybody


@posix
def test_in_a_folder_like_tmp_that_is_another_s_anyone_may_have_been_first(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert open_to_all(folder)


def test_where_modes_mean_nothing_no_folder_is_open(monkeypatch):
    class Here:  # not the real one: pathlib asks it too
        name = "nt"

    monkeypatch.setattr(jit, "os", Here)
    assert not open_to_all("/nowhere")


# ---- errors that are the kernel's own


def test_memory_that_runs_out_in_a_kernel_is_said_so(monkeypatch):
    """Damaged caches raise MemoryError too; without a cache it is what it says."""

    def take(x):
        raise MemoryError("no room")

    monkeypatch.setattr(jit, "_warned", set())
    kernel = Kernel(take, take)
    kernel._run, kernel._cached, kernel._compile = take, True, lambda cache: take
    with (
        pytest.warns(RuntimeWarning, match="cache cannot be used"),
        pytest.raises(MemoryError, match="no room"),
    ):
        kernel(np.ones(1))
