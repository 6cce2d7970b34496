"""npr export: the same files as agent.export writes, and its messages."""

import re
import shutil

import pytest
from support.hostile_files import edited, put

import npr as library

SUFFIXES = [".h", ".py", ".js", ".onnx", ".npz", ".safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_is_that_of_export(suffix, agents, npr, tmp_path):
    (tmp_path / "own").mkdir()
    path, own = tmp_path / f"policy{suffix}", tmp_path / "own" / f"policy{suffix}"
    status, out, err = npr("export", agents / "sac.npz", "-o", path, "--episodes", 2)
    library.load(agents / "sac.npz").export(own, episodes=2)
    assert (status, err) == (0, "")
    assert path.read_bytes() == own.read_bytes()
    assert str(path) in out and "SAC on Pendulum-v1, 96 steps" in out and "return -" in out


def test_several_files_are_written(agents, npr, tmp_path):
    paths = [tmp_path / "a.h", tmp_path / "a.js"]
    words = ["--name", "lake", "--episodes", 1]
    status, out, err = npr("export", agents / "lake.npz", "-o", *paths, *words)
    assert (status, err) == (0, "") and all(path.exists() for path in paths)
    assert "lake_act" in paths[0].read_text()


def test_episodes_are_played_once_for_several_files(agents, npr, tmp_path, monkeypatch):
    played = []
    play = library.export.play
    monkeypatch.setattr(
        library.export, "play", lambda *args: (played.append(args[0]), play(*args))[1]
    )
    paths = [tmp_path / name for name in ("a.h", "a.js", "a.py")]
    assert npr("export", agents / "sac.npz", "-o", *paths, "--episodes", 1)[0] == 0
    assert len(played) == 1


def test_no_file_is_written_if_one_cannot_be(agents, npr, tmp_path):
    status, out, err = npr("export", agents / "sac.npz", "-o", tmp_path / "a.h", "a.txt")
    assert status == 2 and out == "" and "a.txt" in err and list(tmp_path.iterdir()) == []


def test_a_policy_without_its_agent_can_be_exported_again(agents, npr, tmp_path):
    alone, header = tmp_path / "policy.npz", tmp_path / "policy.h"
    assert npr("export", agents / "sac.npz", "-o", alone, "--episodes", 0)[0] == 0
    status, out, err = npr("export", alone, "-o", header)
    assert (status, err) == (0, "") and "SAC on Pendulum-v1" in out and "not measured" in out


def test_another_environment_measures_the_return(agents, npr, tmp_path):
    words = ["export", agents / "sac.npz", "-o", tmp_path / "a.py", "--episodes", 1]
    own, same, other = (
        npr(*words, *more) for more in ([], ["--env", "Pendulum-v1"], ["--env-kwargs", "g=1.0"])
    )
    assert own == same and other[0] == 0 and other[1] != own[1]


def test_a_policy_without_its_agent_is_measured_where_the_environment_is_named(
    agents, npr, tmp_path
):
    alone, words = tmp_path / "policy.npz", ["--episodes", 1, "--env", "Pendulum-v1"]
    assert npr("export", agents / "sac.npz", "-o", alone, "--episodes", 0)[0] == 0
    status, out, err = npr("export", alone, "-o", tmp_path / "a.py", *words)
    assert (status, err) == (0, "") and "1 episode)" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["-o", "policy.txt"], r"must end with \.h"),
        (["-o", "policy"], r"must end with \.h"),
        (["-o", "policy.py", "policy.txt"], r"'policy.txt' must end with \.h"),
        ([], "-o/--output"),
        (["-o", "policy.js", "--dtype", "int8"], "dtype"),
        (["-o", "policy.h", "--dtype", "int4"], "int4"),
        (["-o", "policy.js", "--no-libm"], "libm=False is for C headers"),
        (["-o", "policy.h", "--name", "a-b"], "a-b"),
        (["-o", "policy.js", "policy.py", "--name", "a"], "name='a' is for C headers"),
        (["-o", "missing/policy.h"], "create the folder"),
        (["-o", "policy.h", "--episodes", "-1"], "episodes"),
    ],
)
def test_wrong_usage_is_one_sentence(words, message, agents, npr, tmp_path):
    status, out, err = npr("export", agents / "sac.npz", *words)
    assert status == 2 and re.search(message, err) and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export", "eval"])
def test_names_in_a_file_do_not_control_the_terminal(command, agents, npr, tmp_path):
    file = shutil.copy(agents / "sac.npz", tmp_path / "evil.npz")
    edited(file, put("env", "\x1b]0;evil\x07\u202e"))
    words = ["-o", tmp_path / "p.h"] if command == "export" else []
    status, out, err = npr(command, file, "--episodes", 1, *words)
    assert status == 0 and r"\x1b]0;evil\x07\u202e" in out
    assert all(line.isprintable() for line in (out + err).split("\n"))


@pytest.mark.parametrize("command", ["export", "report"])
def test_an_environment_that_is_not_registered_needs_its_module(command, agents, npr, tmp_path):
    file = shutil.copy(agents / "sac.npz", tmp_path / "other.npz")
    path = tmp_path / ("p.h" if command == "export" else "page.html")
    edited(file, put("env_description", "id", "Elsewhere-v1"))
    status, out, err = npr(command, file, "-o", path)
    assert (status, out) == (2, "") and not path.exists()
    assert "Environment `Elsewhere` doesn't exist" in err and "--import MODULE" in err
    assert npr(command, file, "-o", path, "--episodes", 0)[0] == 0 and path.exists()


def test_in_python_an_environment_that_is_not_registered_is_said(agents, tmp_path):
    file = shutil.copy(agents / "sac.npz", tmp_path / "other.npz")
    edited(file, put("env_description", "id", "Elsewhere-v1"))
    result = library.export(file, tmp_path / "p.h")
    assert "return not measured: Environment `Elsewhere` doesn't exist" in repr(result)
    assert "Import the module that registers it, or pass env=." in repr(result)
    library.report.write(file, tmp_path / "page.html")
    assert "The agent could not be evaluated" in (tmp_path / "page.html").read_text()


def test_a_folder_as_the_output_is_wrong_usage(agents, npr, tmp_path):
    (tmp_path / "folder.h").mkdir()
    words = ["-o", tmp_path / "folder.h", "--episodes", 0]
    status, _, err = npr("export", agents / "sac.npz", *words)
    assert status == 2 and "folder.h', which is a folder" in err


def test_a_missing_file_is_wrong_usage(npr):
    status, _, err = npr("export", "missing.npz", "-o", "policy.h")
    assert status == 2 and "missing.npz" in err
