"""Files with valid checksums and an invalid content are refused with a CheckpointError.

Damaged and hostile files are in test_damaged_files.py and test_hostile_files.py."""

import hashlib
import json
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.agent_files import content
from support.hostile_files import craft, edited, members_of, name_of, npy, put, refused
from support.small_agents import (
    trained,
)

import npr
from npr import CheckpointError
from npr.files.archive import FORMAT

# ---- files of other programs


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 1000, b"PK", b"The agent is in the other file.\n", b"\x80\x04N.", b"\x93NUMPY"],
    ids=["empty", "zeros", "two bytes", "text", "a pickle", "half an array"],
)
def test_other_data_are_refused(data, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    for load in (npr.load, npr.infer.load):
        with pytest.raises(CheckpointError, match=r"a\.npz is damaged or is not an npr file"):
            load(path)


def test_a_file_of_numpy_and_a_folder_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", theta=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"not with manifest\.json; it is not an npr file"):
        npr.load(tmp_path / "a.npz")
    with pytest.raises(CheckpointError, match=r"is a folder, and not the file of an agent\.$"):
        npr.load(tmp_path)
    (tmp_path / "seed3.npz").touch()
    with pytest.raises(CheckpointError, match=r"of an ensemble: npr\.ensemble\.load\("):
        npr.load(tmp_path)


@pytest.mark.parametrize(
    "members, match",
    [
        ({"data": b"{}", "policy.pth": b""}, "Stable-Baselines3 writes .*pickle.*Load it there"),
        ({"archive/data.pkl": b"\x80\x02.", "archive/version": b"3"}, "PyTorch writes .* pickle"),
        ({"arr_0.npy": npy(np.zeros(2))}, "numpy.savez writes such files"),
    ],
    ids=["Stable-Baselines3", "PyTorch", "NumPy"],
)
def test_a_zip_of_another_library_is_named(members, match, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    for load in (npr.load, npr.infer.load):
        with pytest.raises(CheckpointError, match=f"a.zip begins with .*{match}"):
            load(path)


@pytest.mark.parametrize(
    "data, match",
    [(b"", "It is empty"), (b"\x80\x02\x8a\nl", "It seems to be pickle, as old .* PyTorch"),
     (b"learning_rate: 3e-4\n", "It is text: 'learning_rate"), (b"\x89HDF\r\n", "HDF5"),
     (b"\x80\x04\0\0\0\0\0\0{", "safetensors: npr.infer.load reads a policy")],
)  # fmt: skip
def test_the_content_of_another_file_is_named(data, match, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=match):
        npr.load(path)


def test_a_missing_suffix_is_suggested(dqn_file):
    with pytest.raises(FileNotFoundError, match=rf"did you mean .*{dqn_file.stem}\.npz"):
        npr.load(dqn_file.with_suffix(""))


# ---- crafted arrays: consistent zips with valid checksums and invalid contents


def test_a_crafted_copy_of_a_valid_file_loads(dqn_file, tmp_path):
    """So the files below are refused for their contents."""
    craft(tmp_path / "copy.npz", members_of(dqn_file))
    assert content(npr.load(tmp_path / "copy.npz"), tmp_path / "b.npz") == dqn_file.read_bytes()


def test_an_unexpected_array_is_refused(dqn_file):
    craft(dqn_file, {**members_of(dqn_file), "params/more.npy": npy(np.zeros(3))})
    refused(dqn_file, r"the agent has nothing for the arrays \['params/more'\]", infer=False)


@pytest.mark.parametrize("key", ["optim/adam.more", "buffer/buffer.more", "state/steps.more"])
def test_an_array_that_a_part_does_not_have_is_refused(key, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), f"{key}.npy": npy(np.zeros(3))})
    refused(dqn_file, f"has no array for {key}", infer=False)


@pytest.mark.parametrize("key", ["optim/adam.m", "buffer/buffer.s2", "state/steps.r", "rng/act"])
def test_an_array_of_a_part_that_is_missing_is_refused(key, dqn_file):
    members = members_of(dqn_file)
    del members[f"{key}.npy"]
    craft(dqn_file, members)
    refused(dqn_file, f"{key} is missing", infer=False)


@pytest.mark.parametrize(
    "array", [np.zeros(7, np.float32), np.zeros(58, np.int64), np.full(58, np.nan, np.float32)]
)
def test_the_state_of_an_optimizer_that_does_not_fit_is_refused(array, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), "optim/adam.v.npy": npy(array)})
    refused(dqn_file, "optim/adam: ", infer=False)


def test_a_missing_array_is_refused(dqn_file):
    members = members_of(dqn_file)
    gone = members.pop("params/theta_bar.npy")
    craft(dqn_file, members)
    refused(dqn_file, "params/theta_bar is missing", infer=False)
    # listed in the manifest but not in the zip
    manifest = json.loads(members["manifest.json"])
    manifest["sha256"]["params/theta_bar.npy"] = hashlib.sha256(gone).hexdigest()
    craft(dqn_file, members, text=json.dumps(manifest).encode())
    refused(dqn_file, r"params/theta_bar\.npy is missing")


def test_an_array_with_another_checksum_is_refused(dqn_file):
    members = members_of(dqn_file)
    members["params/theta.npy"] = npy(npr.load(dqn_file).theta + 1)
    craft(dqn_file, members, text=members["manifest.json"])
    refused(dqn_file, r"params/theta\.npy does not match its checksum")


@pytest.mark.parametrize(
    "array, match",
    [
        (np.zeros(7, np.float32), "the agent needs|parameters"),
        (np.full(58, np.nan, np.float32), "not finite"),
        (np.full(58, np.inf, np.float32), "not finite"),
        (np.zeros((58, 1), np.float32), "the agent needs|parameters"),
    ],
)
def test_parameters_with_wrong_shape_dtype_or_values_are_refused(array, match, dqn_file):
    assert npr.load(dqn_file).theta.shape == (58,)
    craft(dqn_file, {**members_of(dqn_file), "params/theta.npy": npy(array)})
    refused(dqn_file, match)


def test_parameters_of_another_precision_are_refused(dqn_file):
    theta = npr.load(dqn_file).theta
    other = theta.astype("f8" if theta.dtype == "f4" else "f4")
    craft(dqn_file, {**members_of(dqn_file), "params/theta.npy": npy(other)})
    refused(dqn_file, r"params/theta is float\d\d.*the agent needs float\d\d", infer=False)


@pytest.mark.parametrize(
    "name, array",
    [
        ("position", np.array(10**6)),
        ("position", np.array(-1)),
        ("position", np.array([1, 2])),
        ("r", np.zeros(1000, np.float32)),  # over buffer_size
        ("r", np.zeros(3, np.float32)),  # fewer than the others, and position beyond them
        ("s", np.zeros((1, 4), np.float32)),  # a single row
        ("s", np.zeros((64, 1), np.float32)),
        ("s2", np.full((64, 4), np.nan, np.float32)),
    ],
)
def test_an_inconsistent_replay_is_refused(name, array, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), f"buffer/buffer.{name}.npy": npy(array)})
    refused(dqn_file, infer=False)


@pytest.mark.parametrize("row", [64, 10**12, -2])
def test_row_numbers_outside_the_replay_are_refused(row, tmp_path):
    """A compiled loop follows these row numbers without bounds checks."""
    path = tmp_path / "agent.npz"
    trained("DQN-n").save(path)
    npr.load(path)
    craft(path, {**members_of(path), "buffer/buffer.next.npy": npy(np.full(64, row))})
    refused(path, infer=False)


@pytest.mark.parametrize(
    "words",
    [np.zeros(4, np.uint64), np.zeros(5, np.int64), np.full(5, 2**63, np.uint64)],
    ids=["too few", "signed", "half a word too long"],
)
def test_an_invalid_generator_state_is_refused(words, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), "rng/explore.npy": npy(words)})
    refused(dqn_file, "must be five words of a PCG64", infer=False)


# ---- crafted manifests


@pytest.mark.parametrize(
    "edit, match",
    [
        (put("algorithm", "Nope"), "contains an agent of 'Nope'; this npr has .*DQN, .*--import"),
        (put("algorithm", "os.system"), "contains an agent of 'os.system'"),
        (put("algorithm", "SAC"), None),
        (put("extra", 1), r"unknown manifest keys \['extra'\]"),
        (put("algorithm", ["DQN"]), None),
        (put("settings", "gamma", "0.9"), "gamma must be float"),
        (put("settings", "gamma", 7), "gamma must be in"),
        (put("settings", "__class__", 1), "no setting '__class__'"),
        (put("settings", "net_arch", [2**40]), None),
        (put("settings", "net_arch", [2**80]), None),
        (put("settings", "buffer_size", 10**16), None),
        (put("settings", "activation", "eval"), "activation"),
        (put("settings", 7), None),
        (put("seed", -1), "seed"),
        (put("seed", "0"), "seed"),
        (put("env", 7), None),
        (put("env", ["CartPole-v1"]), None),
        (put("counters", {}), None),
        (put("counters", "num_timesteps", "many"), None),
        (put("counters", "num_timesteps", -1), None),
        (put("counters", "num_timesteps", 0.5), None),
        (put("counters", "n_updates", None), None),
        (put("counters", "optimisers", "adam", -3), None),
        (put("counters", "optimisers", {}), None),
        (put("policy", "actions", {"kind": "discrete", "n": 3, "start": 0}), None),
        (put("policy", "head", "categorical"), None),  # does not match the agent
        (put("policy", "activation", "tanh"), None),
        (put("policy", "epsilon", 0.5), None),
        (put("policy_parameters", "params/theta_bar"), None),
        (put("policy", "actions", {"kind": "discrete", "n": -2, "start": 0}), None),
    ],
    ids=name_of,
)
def test_a_manifest_without_a_valid_agent_is_refused(edit, match, dqn_file):
    edited(dqn_file, edit)
    refused(dqn_file, match, infer=False)


@pytest.mark.parametrize(
    "edit, match",
    [
        (put("format", FORMAT + 1), "which reads up to format"),
        (put("format", None), "has format None"),
        (put("format", "1"), "has format '1'"),
        (put("policy", {}), None),
        (put("policy", []), None),
        (put("policy", None), None),
        (put("policy", "head", "pickle"), "pickle"),
        (put("policy", "activation", "exec"), None),
        (put("policy", "sizes", [4, 8]), None),
        (put("policy", "sizes", []), None),
        (put("policy", "sizes", ["4", "8", "2"]), None),
        (put("policy", "sizes", [4, -8, 2]), None),
        (put("policy", "sizes", [2**40, 2**40, 2]), None),
        (put("policy", "observations", {"kind": "os"}), None),
        (put("policy", "observations", {"kind": "box", "shape": [5]}), None),
        (put("policy", "observations", {"kind": "box", "shape": [2**40]}), None),
        (put("policy", "observations", {"kind": "box", "shape": [2**70]}), None),
        (put("policy", "observations", {"kind": "box", "shape": "abc"}), None),
        (put("policy_parameters", "params/nothing"), None),
        (put("policy_parameters", ["params/theta"]), None),
    ],
    ids=name_of,
)
def test_a_manifest_without_a_valid_policy_is_refused(edit, match, dqn_file):
    edited(dqn_file, edit)
    refused(dqn_file, match)


@pytest.mark.parametrize(
    "edit",
    [
        put("settings", "net_arch", [3000, 3000]),
        put("policy", "observations", "shape", [1_000_000]),
        put("policy", "sizes", [3000, 3000, 2]),
    ],
    ids=name_of,
)
def test_a_small_file_needs_little_memory(edit, dqn_file):
    """Sizes are compared with the arrays in the file before memory is allocated."""
    edited(dqn_file, edit)
    tracemalloc.start()
    try:
        refused(dqn_file, infer="net_arch" not in edit.__name__)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6, f"{peak / 1e6:.0f} MB for a file of {dqn_file.stat().st_size / 1e3:.0f} kB"


# ---- names in a file are not imported


@pytest.fixture
def foreign_module(tmp_path, monkeypatch):
    """A module that must not be imported: (its name, a function that says whether it was)."""
    (tmp_path / "npr_stranger.py").write_text("import gymnasium\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "npr_stranger", lambda: "npr_stranger" in sys.modules
    sys.modules.pop("npr_stranger", None)


@pytest.mark.parametrize("use", [lambda a: a.learn(1), lambda a: a.evaluate(episodes=1)])
def test_an_environment_id_in_a_file_is_not_imported(use, foreign_module, dqn_file):
    """`gymnasium.make("package:Name-v0")` imports the package; ids from a file must not."""
    module, imported = foreign_module
    edited(dqn_file, put("env", f"{module}:CartPole-v1"))
    use(npr.load(dqn_file))  # this id is for messages only
    assert not imported()
    edited(dqn_file, put("env_description", "id", f"{module}:CartPole-v1"))
    with pytest.raises(CheckpointError, match="would import a package"):
        npr.load(dqn_file)
    assert not imported()


@pytest.mark.parametrize("use", [lambda a: a.learn(1), lambda a: a.evaluate(episodes=1)])
def test_an_environment_id_of_the_user_is_imported(use, foreign_module, dqn_file):
    module, imported = foreign_module
    use(npr.load(dqn_file, env=f"{module}:CartPole-v1"))
    assert imported()
