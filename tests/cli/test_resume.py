"""npr resume."""

import os
import subprocess
import sys

import pytest
from support import ROOT
from support.small_runs import digest, stop_at, table_run

import npr
from npr.cli import main
from npr.runs import train


@pytest.fixture
def stopped(tmp_path):
    """The folders of two runs that were stopped, and of the same without a stop."""
    for seed in (0, 1):
        train(table_run(seed=seed), tmp_path / f"whole{seed}")
        with pytest.raises(KeyboardInterrupt):
            train(table_run(seed=seed), tmp_path / f"run{seed}", report=stop_at(100))
    return tmp_path


def same(folder, i):
    return digest(folder / f"run{i}" / "final.npz") == digest(folder / f"whole{i}" / "final.npz")


def test_a_run_is_resumed_and_then_says_that_it_is_finished(stopped, capsys):
    assert main(["resume", "run0"]) == 0
    assert "run0 goes on at step 100" in capsys.readouterr().err
    assert same(stopped, 0)
    assert main(["resume", "run0"]) == 0
    assert "run0 is finished: 300 steps" in capsys.readouterr().err


def test_several_runs_from_the_shell(stopped):
    done = subprocess.run(
        [sys.executable, "-m", "npr", "resume", "run0", "run1"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same(stopped, 0) and same(stopped, 1)


def test_wrong_usage_is_one_sentence(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        train(table_run(), tmp_path / "run", report=stop_at(100))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for words, message in (
        (["none"], "none is not a run folder: there is no such folder"),
        (["run", "none"], "none is not a run folder: there is no such folder"),
        (["run", "file"], "file is not a run folder: it is a file"),
        (["run", "empty"], "empty is not a run folder: it has no config.json"),
        (["."], ". is not a run folder: it holds run folders (1): name one of them"),
        (["run", "run"], "run is given twice"),
        (["run", "--jobs", "0"], "--jobs: '0' is not above 0"),
        (["run", "--total-timesteps", "400"], "Resume it without total_timesteps first"),
        (["run", "--total-timestep", "400"], "did you mean --total-timesteps?"),
    ):
        capsys.readouterr()
        assert main(["resume", *words]) == 2
        assert message in capsys.readouterr().err
    assert not [*(tmp_path / "empty").iterdir()]


def test_finished_runs_need_no_process(tmp_path, capsys, monkeypatch):
    for name in "ab":
        train(table_run(), tmp_path / name)
    monkeypatch.setattr("npr.runs.processes._Child", None)
    assert main(["resume", "a", "b"]) == 0
    err = capsys.readouterr().err
    assert err == "npr: a is finished: 300 steps.\nnpr: b is finished: 300 steps.\n"


def test_a_finished_run_is_extended(tmp_path):
    train(table_run(), tmp_path / "run")
    assert main(["resume", "run", "--total-timesteps", "400"]) == 0
    assert npr.load(tmp_path / "run" / "final.npz").num_timesteps == 400
