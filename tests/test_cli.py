"""The command line, as the shell calls it."""

import os
import subprocess
import sys

import pytest

from npr import cli


def npr(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "npr.cli", *words], capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_doctor_tells_versions_backend_kernels_networks_and_threads(capsys):
    cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "npr", "packages", "backend", "kernels", "networks", "threads",
    ]  # fmt: skip
    assert "numpy, float" in lines[2]


def test_doctor_sees_what_the_user_has_set():
    out = npr("doctor", NPR_NUMBA="0", NPR_DTYPE="float64", OMP_NUM_THREADS="3").stdout
    assert "NPR_NUMBA=0" in out and "numpy, float64" in out and "layer by layer" in out
    assert "OMP_NUM_THREADS=3 is set and holds" in out


def test_doctor_sees_a_cache_that_cannot_be_written(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(cli.jit, "available", lambda: True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written to" in cli.kernels() and "NUMBA_CACHE_DIR" in cli.kernels()


@pytest.mark.parametrize("words", [(), ("heal",)])
def test_an_unknown_command_is_refused(words):
    done = npr(*words)
    assert done.returncode == 2 and "usage: npr" in done.stderr
