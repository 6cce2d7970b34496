"""Conditions of Numba: missing, too old for NumPy, and a cache that is missing, damaged, shared by
processes that start at once, or writable by everybody.

Each condition runs in new processes, which must learn with one warning at most, and to the same
bits wherever the same code runs.
"""

import os
import shutil
import subprocess
import sys

import pytest
from support import ROOT, TESTS
from support.proof_size import n_trials

from npr.kernels import object_files
from npr.kernels.object_files import open_to_others

pytestmark = pytest.mark.slow  # they compile every kernel anew

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
    """Start a process that learns; `folder` is that of object code, `first` is run before."""
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


def test_a_missing_numba_equals_npr_numba_0(plain, tmp_path):
    learned, [warning] = end(begin(first="sys.modules['numba'] = None", folder=tmp_path))
    assert learned == plain
    assert warning.startswith("RuntimeWarning Numba cannot be used (")
    assert "Install a matching numba, or set NPR_NUMBA=0" in warning


def test_a_numpy_too_new_for_numba_equals_npr_numba_0(plain, tmp_path):
    (tmp_path / "numba.py").write_text(
        "raise ImportError('Numba needs NumPy 2.5 or less. Got NumPy 2.6.')"
    )
    first = f"sys.path.insert(0, {str(tmp_path)!r})"
    learned, [warning] = end(begin(first=first, folder=tmp_path / "cache"))
    assert learned == plain
    assert "Numba needs NumPy 2.5 or less. Got NumPy 2.6." in warning


READ_ONLY = "import os; os.access = lambda *_, **options: False"


def test_kernels_are_compiled_if_no_folder_is_writable(cached, tmp_path):
    learned, [warning] = end(begin(first=READ_ONLY, folder=tmp_path))
    assert learned == cached[0]
    assert warning.startswith("RuntimeWarning Compiled kernels cannot be cached (no folder")
    assert not list(tmp_path.rglob("*.npr"))


def test_another_folder_is_used_if_the_cache_is_no_folder(cached, tmp_path):
    (tmp_path / "file").touch()
    assert end(begin(folder=tmp_path / "file", XDG_CACHE_HOME=str(tmp_path))) == (cached[0], [])


@pytest.mark.slow
def test_damaged_files_are_compiled_and_written_again(cached, tmp_path):
    learned, folder = cached
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.npr"):
        file.write_bytes(file.read_bytes()[:-1])
    again, [warning] = end(begin(folder=tmp_path))
    assert again == learned
    assert warning.startswith("RuntimeWarning Compiled kernels cannot be cached (")
    assert end(begin(folder=tmp_path)) == (learned, []), "the files were not repaired"


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
    assert "other users of this machine may write there" in warning
    assert "Set NUMBA_CACHE_DIR to a private folder" in warning
    assert not list(tmp_path.rglob("*.npr"))


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
    assert open_to_others(folder) == everybody


@posix
def test_a_folder_of_another_user_in_tmp_is_open(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(object_files, "_trusted", lambda: {tmp_path.stat().st_uid + 1})
    assert open_to_others(folder)


def test_no_folder_is_open_without_posix_file_modes(monkeypatch):
    class Here:  # a substitute, as pathlib uses os too
        name = "nt"

    monkeypatch.setattr(object_files, "os", Here)
    assert not open_to_others("/nowhere")
