"""Names of run folders, the commit, and the copy of what is printed."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from npr.runs import RunConfig, git, grid
from npr.runs.console import copied_to
from npr.runs.folder import make, name_of


def test_a_name_has_what_differs_from_the_preset():
    config = RunConfig("QLearning", "CliffWalking-v1", {"gamma": 1.0, "learning_rate": 0.1}, seed=4)
    assert name_of(config) == "QLearning_CliffWalking-v1_learning_rate=0.1_seed4"


def test_a_name_has_what_differs_in_the_grid_first_even_if_it_is_the_default():
    points = grid(RunConfig("SAC", "Pendulum-v1", {"gamma": 0.9}), tau=[0.005, 0.01])
    assert [name_of(p, ["tau"]) for p in points] == [
        "SAC_Pendulum-v1_tau=0.005_gamma=0.9_seed0", "SAC_Pendulum-v1_tau=0.01_gamma=0.9_seed0",
    ]  # fmt: skip


def test_a_name_is_short_and_has_no_special_characters():
    settings = {"net_arch": {"pi": [64, 64], "qf": [32]}, "learning_rate": "linear:1e-3:0"}
    config = RunConfig("SAC", "a/b:Env v1", settings)
    rate, arch = "learning_rate=linear-1e-3-0", "net_arch=pi-64-64-qf-32"
    assert name_of(config) == f"SAC_a-b-Env-v1_{arch}_{rate}_seed0"
    long = RunConfig("SAC", "Pendulum-v1", {"net_arch": [64] * 100}, seed=12)
    assert len(name_of(long)) < 200 and name_of(long).endswith("_seed12")


def test_a_name_has_the_wrappers_and_arguments_of_the_environment():
    lake = RunConfig(
        "QLearning", "FrozenLake-v1", {"gamma": 0.5}, wrappers=["my.wrappers:Scale"],
        env_kwargs={"map_name": "8x8", "is_slippery": False},
    )  # fmt: skip
    expected = "QLearning_FrozenLake-v1_Scale_map_name=8x8_is_slippery=False_gamma=0.5_seed0"
    assert name_of(lake) == expected


def test_an_existing_folder_is_never_used(tmp_path):
    made = [make(tmp_path / "out", "a") for _ in range(3)]
    assert [path.name for path in made] == ["a", "a_2", "a_3"]


# ---- the commit


def run_git(*words):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True,
        capture_output=True,
    )  # fmt: skip


def commit_of(folder):
    found = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True)
    return found.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "repository"
    run_git("init", path)
    run_git("-C", path, "commit", "--allow-empty", "-m", "first")
    (path / "inner").mkdir()
    return path


def test_the_commit_is_that_of_the_branch_from_any_folder_inside(repository):
    assert git.head(repository / "inner") == commit_of(repository)


def test_the_commit_is_found_in_packed_references(repository):
    run_git("-C", repository, "pack-refs", "--all")
    assert git.head(repository) == commit_of(repository)


def test_the_commit_is_found_if_no_branch_is_checked_out(repository):
    run_git("-C", repository, "checkout", "--detach")
    assert git.head(repository) == commit_of(repository)


def test_the_commit_is_found_in_a_worktree(repository, tmp_path):
    run_git("-C", repository, "worktree", "add", tmp_path / "other")
    run_git("-C", tmp_path / "other", "commit", "--allow-empty", "-m", "second")
    assert git.head(tmp_path / "other") == commit_of(tmp_path / "other")
    assert git.head(repository) != git.head(tmp_path / "other")


def test_there_is_no_commit_outside_of_a_repository_or_before_the_first(tmp_path):
    assert git.head(tmp_path) is None
    run_git("init", tmp_path / "empty")
    assert git.head(tmp_path / "empty") is None
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert git.head(tmp_path) is None
    (tmp_path / ".git").write_bytes(b"\xff")
    assert git.head(tmp_path) is None


# ---- the console


def test_what_is_printed_is_copied(tmp_path, capsys):
    with copied_to(tmp_path / "log") as log:
        print("shown")
        sys.stderr.write("\r 10%\r 20%")
        sys.stderr.write("\r 30%\n")
        log.write("only here\n")
        sys.stdout.write("no end")
    out, err = capsys.readouterr()
    assert out == "shown\nno end" and err.startswith("\r 10%\r 20%\r 30%\n")
    text = (tmp_path / "log").read_text()
    assert text.startswith("shown\n 30%\n") and text.endswith("only here\nno end\n")


def test_the_copy_is_appended_and_the_streams_are_restored(tmp_path):
    before = sys.stdout, sys.stderr
    for _ in range(2):
        with pytest.raises(KeyError), copied_to(tmp_path / "log"):
            print("once")
            raise KeyError
    assert (sys.stdout, sys.stderr) == before
    assert (tmp_path / "log").read_text() == "once\nonce\n"


def test_the_copy_has_the_attributes_of_the_stream(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    with copied_to(tmp_path / "log"):
        assert (sys.stdout.encoding, sys.stdout.errors) == ("latin-1", "strict")
        assert sys.stdout.buffer is stream.buffer and not sys.stdout.closed
        sys.stdout.writelines(["a\n", "b\n"])
        assert not hasattr(sys.stdout, "xyzzy")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    assert stream.buffer.getvalue() == b"a\nb\n"


def test_a_program_without_streams_has_the_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with copied_to(tmp_path / "log"):
        print("kept")
    assert (tmp_path / "log").read_text() == "kept\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_costs_the_copy_only(capsys):
    with copied_to(Path("/dev/full")):
        print("shown")
    assert capsys.readouterr().out == "shown\n"
