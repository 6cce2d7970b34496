"""Conditions of Numba: missing, too old for NumPy, and a cache that is missing, damaged, shared by
processes that start at once, or writable by everybody.

Each condition runs in new processes, which must learn with one warning at most, and to the same
bits wherever the same code runs.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, TESTS
from support.proof_size import n_trials

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
    """Start a process that learns; `folder` is the cache of Numba, `first` is run before."""
    path = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "NPR_NUMBA": "1", **environment}
    if folder is not None:
        environment["NUMBA_CACHE_DIR"] = str(folder)
    return subprocess.Popen(
        [sys.executable, "-c", LEARN.format(first=first)], env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process):
    """(hash of the learned parameters, warnings)"""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    learned, *warned = out.splitlines()
    return learned, warned


@pytest.fixture(scope="module")
def plain():
    """The hash of parameters learned without Numba."""
    learned, warned = end(begin(NPR_NUMBA="0"))
    assert warned == []
    return learned


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """(hash of parameters learned with Numba, the folder of the cache)"""
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("cache")
    learned, warned = end(begin(folder=folder))
    assert warned == []
    assert end(begin(folder=folder)) == (learned, []), "kernels from the cache learn the same"
    return learned, folder


def test_a_missing_numba_equals_npr_numba_0(plain):
    learned, [warning] = end(begin(first="sys.modules['numba'] = None"))
    assert learned == plain
    assert warning.startswith("RuntimeWarning Numba cannot be used (")
    assert "Install a matching numba, or set NPR_NUMBA=0" in warning


def test_a_numpy_too_new_for_numba_equals_npr_numba_0(plain, tmp_path):
    (tmp_path / "numba.py").write_text(
        "raise ImportError('Numba needs NumPy 2.5 or less. Got NumPy 2.6.')"
    )
    learned, [warning] = end(begin(first=f"sys.path.insert(0, {str(tmp_path)!r})"))
    assert learned == plain
    assert "Numba needs NumPy 2.5 or less. Got NumPy 2.6." in warning


READ_ONLY = """
import errno, types
import numba.core.caching as caching
def refuse(**_):
    raise OSError(errno.EROFS, "Read-only file system")
caching.tempfile = types.SimpleNamespace(TemporaryFile=refuse)  # used by Numba to test a folder
"""


def test_kernels_are_compiled_if_no_folder_is_writable(cached, tmp_path):
    learned, [warning] = end(begin(first=READ_ONLY, folder=tmp_path))
    assert learned == cached[0]
    assert warning.startswith("RuntimeWarning Numba's cache cannot be used (")


def test_another_folder_is_used_if_the_cache_is_no_folder(cached, tmp_path):
    (tmp_path / "file").touch()
    assert end(begin(folder=tmp_path / "file", XDG_CACHE_HOME=str(tmp_path))) == (cached[0], [])


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "garbage": lambda data: bytes(range(256)),
    "zeros": lambda data: bytes(len(data)),
    "as large as memory": lambda data: b"\x8e" + (2**62).to_bytes(8, "little") + data,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nbi", "nbc"], ids=["index", "data"])
@pytest.mark.parametrize("first", range(n_trials(1, len(DAMAGES))))
def test_a_damaged_cache_is_compiled_and_cached_again(cached, first, kind, tmp_path):
    """A different damage for each kernel."""
    learned, folder = cached
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
    assert again == learned
    assert warning.startswith("RuntimeWarning Numba's cache cannot be used (")
    assert end(begin(folder=tmp_path))[0] == learned
    assert end(begin(folder=tmp_path)) == (learned, []), "the cache was not repaired"


@pytest.mark.slow
def test_processes_that_start_at_once_share_an_empty_cache(cached, tmp_path):
    processes = [begin(folder=tmp_path, OPENBLAS_NUM_THREADS="1") for _ in range(n_trials(6, 16))]
    for process in processes:
        assert end(process) == (cached[0], [])
    assert end(begin(folder=tmp_path)) == (cached[0], []), "the shared cache is valid"


# ---- a cache contains code: others must not be able to write it

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are not informative here")


@pytest.mark.slow
@posix
def test_a_cache_that_everybody_may_write_is_not_used(cached, tmp_path):
    tmp_path.chmod(0o777)
    learned, [warning] = end(begin(folder=tmp_path))
    assert learned == cached[0]
    assert "every user of this machine may write there" in warning
    assert "Set NUMBA_CACHE_DIR to a private folder" in warning
    assert not list(tmp_path.rglob("*.nb?"))


@posix
@pytest.mark.parametrize(
    "above, here, everybody",
    [
        (0o755, 0o755, False),
        (0o775, 0o775, False),  # groups are trusted
        (0o755, 0o777, True),
        (0o755, 0o1777, True),  # others may create the folder
        (0o777, 0o755, True),  # others may rename the folder
        (0o1777, 0o755, False),
    ],
)
def test_a_folder_is_open_if_others_may_create_or_rename_files(tmp_path, above, here, everybody):
    folder = tmp_path / "above" / "here"
    folder.mkdir(parents=True)
    folder.chmod(here)
    folder.parent.chmod(above)
    assert open_to_all(folder) == everybody


@posix
def test_a_folder_of_another_user_in_tmp_is_open(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert open_to_all(folder)


def test_no_folder_is_open_without_posix_file_modes(monkeypatch):
    class Here:  # a substitute, as pathlib uses os too
        name = "nt"

    monkeypatch.setattr(jit, "os", Here)
    assert not open_to_all("/nowhere")


# ---- errors of the kernel itself


def test_a_memory_error_of_a_kernel_is_raised(monkeypatch):
    """Damaged caches raise MemoryError too; without a cache it is a real one."""

    def take(x):
        raise MemoryError("out of memory")

    monkeypatch.setattr(jit, "_warned", set())
    kernel = Kernel(take, take)
    kernel._run, kernel._cached, kernel._compile = take, True, lambda cache: take
    with (
        pytest.warns(RuntimeWarning, match="cache cannot be used"),
        pytest.raises(MemoryError, match="out of memory"),
    ):
        kernel(np.ones(1))
