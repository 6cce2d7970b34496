"""npr export: the same files as agent.export writes, and its messages."""

import re

import pytest

import npr as library

SUFFIXES = [".h", ".py", ".js", ".onnx", ".npz", ".safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_is_that_of_export(suffix, agents, npr, tmp_path):
    path, own = tmp_path / f"policy{suffix}", tmp_path / f"own{suffix}"
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


@pytest.mark.parametrize(
    "words, message",
    [
        (["-o", "policy.txt"], r"must end with \.h"),
        (["-o", "policy"], r"must end with \.h"),
        (["-o", "policy.py", "policy.txt"], r"'policy.txt' must end with \.h"),
        ([], "-o/--output"),
        (["-o", "policy.js", "--dtype", "int8"], "dtype"),
        (["-o", "policy.h", "--dtype", "int4"], "int4"),
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


def test_a_folder_as_the_output_is_wrong_usage(agents, npr, tmp_path):
    (tmp_path / "folder.h").mkdir()
    words = ["-o", tmp_path / "folder.h", "--episodes", 0]
    status, _, err = npr("export", agents / "sac.npz", *words)
    assert status == 2 and f"{tmp_path / 'folder.h'}: Is a folder" in err


def test_a_missing_file_is_wrong_usage(npr):
    status, _, err = npr("export", "missing.npz", "-o", "policy.h")
    assert status == 2 and "missing.npz" in err
