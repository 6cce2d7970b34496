"""Files: one file per agent, exact to the bit, and nothing in it can run, fill or fool anything.

The first half is the promise to the user: save, load, go on. The second half is what a file from
a stranger may say of an agent: it is refused with a CheckpointError. What may be wrong with the
file itself stands in test_hostile.py and test_damage.py.
"""

import errno
import hashlib
import json
import os
import sys
import tracemalloc
import zipfile

import gymnasium
import numpy as np
import pytest
from crafted import craft, edited, members_of, name_of, npy, put, refused
from tiny import (
    BUDGET,
    CASES,
    assert_same_parameters,
    next_update,
    observations,
    parameters,
    tiny,
    trained,
)

import npr
from npr import CheckpointError, ConfigError, SpaceError
from npr.files.archive import FORMAT

every_case = pytest.mark.parametrize("case", CASES)


def content(agent, path):
    """The bytes of an agent's file: two agents with the same are the same to the last bit."""
    agent.save(path)
    return path.read_bytes()


def copy_of(agent, path, env=None):
    agent.save(path)
    return npr.load(path, env=env)


@pytest.fixture
def dqn_file(tmp_path):
    """A whole, honest file: a replay that has wrapped, Adam after some steps."""
    path = tmp_path / "agent.npz"
    trained("DQN").save(path)
    npr.load(path), npr.infer.load(path)  # what they import once is imported
    return path


# ---- save, load, go on


@every_case
def test_a_loaded_agent_is_the_saved_one(case, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz")
    assert type(loaded) is type(agent)
    assert repr(loaded) == repr(agent)
    assert (loaded.num_timesteps, loaded.n_updates) == (BUDGET, agent.n_updates)
    assert_same_parameters(agent, loaded)
    first = parameters(tiny(case))
    assert any((first[name] != array).any() for name, array in parameters(loaded).items())
    obs = observations(agent, 20)
    np.testing.assert_array_equal(loaded.act(obs), agent.act(obs))
    # not the deterministic part alone: the generators stand where they stood
    np.testing.assert_array_equal(loaded.predict(obs)[0], agent.predict(obs)[0])


@every_case
def test_the_same_seed_gives_the_same_evaluation(case, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz")
    for deterministic in (True, False):
        mine = agent.evaluate(episodes=3, seed=7, deterministic=deterministic)
        theirs = loaded.evaluate(episodes=3, seed=7, deterministic=deterministic)
        np.testing.assert_array_equal(mine.returns, theirs.returns)
        np.testing.assert_array_equal(mine.lengths, theirs.lengths)


@every_case
def test_the_next_updates_are_those_of_the_agent_that_was_never_saved(case, tmp_path):
    batch = next_update(trained(case))
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz")
    if hasattr(agent, "buffer"):
        drawn = (x.buffer.sample(x.batch_size, x.rng["sample"]) for x in (agent, loaded))
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(*drawn))
    before = parameters(agent)
    for _ in range(3):
        agent.update(*batch)
        loaded.update(*batch)
        assert_same_parameters(agent, loaded)
    assert any((before[name] != array).any() for name, array in parameters(agent).items())
    assert content(agent, tmp_path / "b.npz") == content(loaded, tmp_path / "c.npz")


@every_case
def test_two_agents_of_one_file_go_on_alike(case, tmp_path):
    trained(case).save(tmp_path / "a.npz")
    one, other = (npr.load(tmp_path / "a.npz") for _ in range(2))
    for agent in (one, other):
        agent.learn(BUDGET, reset_num_timesteps=False)
        assert agent.num_timesteps == 2 * BUDGET
    assert_same_parameters(one, other)
    assert content(one, tmp_path / "b.npz") == content(other, tmp_path / "c.npz")


@every_case
def test_two_saves_of_the_same_state_are_equal_to_the_byte(case, tmp_path):
    agent = trained(case)
    first = content(agent, tmp_path / "a.npz")
    assert content(agent, tmp_path / "b.npz") == first
    assert content(npr.load(tmp_path / "a.npz"), tmp_path / "c.npz") == first
    agent.learn(1, reset_num_timesteps=False)
    assert content(agent, tmp_path / "a.npz") != first  # and it is the state that they hold


def test_every_setting_comes_back(tmp_path):
    settings = {
        "net_arch": {"pi": [8], "qf": [4, 4]}, "learning_rate": "linear:1e-3:1e-4",
        "ent_coef": "auto_0.2", "target_entropy": -0.5, "gamma": 0.9, "gradient_steps": -1,
    }  # fmt: skip
    loaded = copy_of(tiny("SAC", **settings), tmp_path / "a.npz")
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert loaded.seed == 0
    assert copy_of(tiny("SAC", seed=None), tmp_path / "a.npz").seed is None


def test_a_replay_that_is_not_full_comes_back_too(tmp_path):
    agent = tiny("DQN", buffer_size=1000).learn(40)
    loaded = copy_of(agent, tmp_path / "a.npz")
    assert (loaded.buffer.size, loaded.buffer.position) == (40, 40)
    assert loaded.buffer.s.tobytes() == agent.buffer.s.tobytes()


def test_a_callback_may_save_in_the_middle_of_learning(tmp_path):
    kept = []

    def callback(agent):
        if agent.num_timesteps == 60:
            agent.save(tmp_path / "a.npz")
            kept.append((agent.epsilon, parameters(agent)))

    tiny("DQN").learn(BUDGET, callback)
    loaded = npr.load(tmp_path / "a.npz")
    [(epsilon, held)] = kept
    assert (loaded.num_timesteps, loaded.epsilon) == (60, epsilon)
    for name, array in parameters(loaded).items():
        np.testing.assert_array_equal(array, held[name])


def test_a_path_may_be_text_or_a_path(dqn_file):
    assert_same_parameters(npr.load(str(dqn_file)), npr.load(dqn_file))


def test_loading_and_predicting_need_no_environment(dqn_file, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("an environment was made")

    monkeypatch.setattr(gymnasium, "make", refuse)
    agent = npr.load(dqn_file)
    action, state = agent.predict(np.zeros(4, np.float32), deterministic=True)
    assert action in (0, 1)
    assert state is None


def test_an_environment_for_going_on_can_be_given(tmp_path):
    agent = trained("DQN", env=lambda: gymnasium.make("CartPole-v1"))
    loaded = copy_of(agent, tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"names no environment .*npr\.load\(path, env=\.\.\.\)"):
        loaded.learn(1)
    loaded = npr.load(tmp_path / "a.npz", env=lambda: gymnasium.make("CartPole-v1"))
    assert loaded.learn(BUDGET, reset_num_timesteps=False).num_timesteps == 2 * BUDGET


@pytest.mark.parametrize(
    "case, other",
    [
        ("DQN", "Acrobot-v1"),  # 6 numbers, not 4
        ("QLearning", "FrozenLake-v1"),  # 16 states, not 48
        ("SAC", lambda: gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), -1, 1)),
    ],
)
def test_another_space_is_refused_and_nothing_is_lost(case, other, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz", env=other)
    with pytest.raises(SpaceError, match="was trained with .*, this environment has"):
        loaded.learn(1)
    assert_same_parameters(agent, loaded)


# ---- the policy alone


@every_case
def test_infer_gives_the_agent_s_action(case, tmp_path):
    agent = trained(case)
    agent.save(tmp_path / "a.npz")
    policy = npr.infer.load(tmp_path / "a.npz")
    obs = observations(agent, 20)
    np.testing.assert_array_equal(policy(obs), agent.act(obs))
    for one in obs:
        action = policy(one)
        np.testing.assert_array_equal(action, agent.act(one))
        assert np.shape(action) == agent.envs.action_space.shape
    one, other = (np.random.default_rng(5) for _ in range(2))
    np.testing.assert_array_equal(policy(obs, False, one), agent.policy(obs, False, other))


# ---- the format


def test_numpy_alone_opens_a_file(dqn_file):
    agent = npr.load(dqn_file)
    with np.load(dqn_file, allow_pickle=False) as file:
        arrays = [name for name in file.files if name != "manifest.json"]
        assert all(file[name].dtype.kind in "fiub" for name in arrays)
        np.testing.assert_array_equal(file["params/theta"], agent.theta)
        manifest = json.loads(file["manifest.json"])
    assert (manifest["format"], manifest["npr"]) == (FORMAT, npr.__version__)
    assert (manifest["algorithm"], manifest["env"]) == ("DQN", "CartPole-v1")
    assert manifest["settings"]["net_arch"] == [8]
    with zipfile.ZipFile(dqn_file) as archive:  # no clock in a file, or no two would be equal
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_file_is_readable_as_its_folder_says(dqn_file):
    umask = os.umask(0)
    os.umask(umask)
    assert dqn_file.stat().st_mode & 0o777 == 0o666 & ~umask


# ---- a write that fails


@pytest.mark.parametrize(
    "what, error",
    [
        ("os.replace", PermissionError("held by another program")),
        ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("os.fsync", KeyboardInterrupt()),
    ],
)
def test_a_failing_write_leaves_the_old_file_and_no_other(what, error, dqn_file, monkeypatch):
    def fail(*_, **__):
        raise error

    agent, old = npr.load(dqn_file), dqn_file.read_bytes()
    agent.theta += 1
    with monkeypatch.context() as patch:
        patch.setattr(what, fail)
        with pytest.raises(type(error)):
            agent.save(dqn_file)
    assert os.listdir(dqn_file.parent) == [dqn_file.name]
    assert dqn_file.read_bytes() == old
    agent.save(dqn_file)  # and the next one works
    assert dqn_file.read_bytes() != old


def test_what_a_file_cannot_hold_is_refused_before_anything_is_written(dqn_file):
    agent, old = npr.load(dqn_file), dqn_file.read_bytes()
    agent.names = np.array(["a", None], dtype=object)
    with pytest.raises(CheckpointError, match="params/names has dtype object"):
        agent.save(dqn_file)
    assert os.listdir(dqn_file.parent) == [dqn_file.name]
    assert dqn_file.read_bytes() == old


def test_a_missing_folder_or_file_is_said_so(dqn_file, tmp_path):
    with pytest.raises(FileNotFoundError):
        npr.load(dqn_file).save(tmp_path / "nowhere" / "a.npz")
    for load in (npr.load, npr.infer.load):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load(tmp_path / "nowhere.npz")


# ---- what is no file of npr's


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 1000, b"PK", b"The agent is in the other file.\n", b"\x80\x04N.", b"\x93NUMPY"],
    ids=["empty", "zeros", "two bytes", "text", "a pickle", "half an array"],
)
def test_what_is_no_npr_file_is_refused(data, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    for load in (npr.load, npr.infer.load):
        with pytest.raises(CheckpointError, match=r"a\.npz is damaged or is not an npr file"):
            load(path)


def test_another_program_s_file_and_a_folder_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", theta=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"not with manifest\.json; it is not an npr file"):
        npr.load(tmp_path / "a.npz")
    with pytest.raises(CheckpointError, match="is not an npr file"):
        npr.load(tmp_path)


# ---- crafted files: whole zips with true checksums, whose content is the attack


def test_a_crafted_copy_of_an_honest_file_loads(dqn_file, tmp_path):
    """What follows is refused for its content, not for the hand that wrote the zip."""
    craft(tmp_path / "copy.npz", members_of(dqn_file))
    assert content(npr.load(tmp_path / "copy.npz"), tmp_path / "b.npz") == dqn_file.read_bytes()


def test_an_array_that_nothing_asks_for_is_refused(dqn_file):
    craft(dqn_file, {**members_of(dqn_file), "params/more.npy": npy(np.zeros(3))})
    refused(dqn_file, r"nothing of the agent is called .*params/more", infer=False)


def test_an_array_that_is_missing_is_refused(dqn_file):
    members = members_of(dqn_file)
    gone = members.pop("params/theta_bar.npy")
    craft(dqn_file, members)
    refused(dqn_file, "params/theta_bar is missing", infer=False)
    # listed in the manifest, and not in the zip
    manifest = json.loads(members["manifest.json"])
    manifest["sha256"]["params/theta_bar.npy"] = hashlib.sha256(gone).hexdigest()
    craft(dqn_file, members, text=json.dumps(manifest).encode())
    refused(dqn_file, r"params/theta_bar\.npy is missing")


def test_an_array_that_is_not_the_one_that_was_written_is_refused(dqn_file):
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
def test_parameters_that_do_not_fit_or_are_not_numbers_are_refused(array, match, dqn_file):
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
        ("s", np.zeros((1, 4), np.float32)),  # one row for all of them
        ("s", np.zeros((64, 1), np.float32)),
        ("s2", np.full((64, 4), np.nan, np.float32)),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(name, array, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), f"buffer/buffer.{name}.npy": npy(array)})
    refused(dqn_file, infer=False)


@pytest.mark.parametrize("row", [64, 10**12, -2])
def test_steps_that_go_on_outside_the_replay_are_refused(row, tmp_path):
    """A compiled loop follows these rows, and does not look where it goes."""
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
def test_the_state_of_a_generator_is_five_words(words, dqn_file):
    craft(dqn_file, {**members_of(dqn_file), "rng/explore.npy": npy(words)})
    refused(dqn_file, "must be five words of a PCG64", infer=False)


# ---- crafted manifests


@pytest.mark.parametrize(
    "edit, match",
    [
        (put("algorithm", "Nope"), "holds an agent of 'Nope'; this npr has .*DQN, "),
        (put("algorithm", "os.system"), "holds an agent of 'os.system'"),
        (put("algorithm", "SAC"), None),
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
        (put("policy", "head", "categorical"), None),  # another policy than the agent's
        (put("policy", "activation", "tanh"), None),
        (put("policy", "epsilon", 0.5), None),
        (put("policy_parameters", "params/theta_bar"), None),
        (put("policy", "actions", {"kind": "discrete", "n": -2, "start": 0}), None),
    ],
    ids=name_of,
)
def test_a_manifest_that_describes_no_whole_agent_is_refused(edit, match, dqn_file):
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
def test_a_manifest_that_describes_no_whole_policy_is_refused_by_both(edit, match, dqn_file):
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
def test_a_small_file_does_not_fill_the_memory(edit, dqn_file):
    """Sizes are compared with the arrays that the file has before anything is allocated."""
    edited(dqn_file, edit)
    tracemalloc.start()
    try:
        refused(dqn_file, infer="net_arch" not in edit.__name__)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6, f"{peak / 1e6:.0f} MB for a file of {dqn_file.stat().st_size / 1e3:.0f} kB"


# ---- names in a file are looked up, never imported


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module on the path that must not be imported: (its name, whether it was)."""
    (tmp_path / "npr_stranger.py").write_text("import gymnasium\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "npr_stranger", lambda: "npr_stranger" in sys.modules
    sys.modules.pop("npr_stranger", None)


@pytest.mark.parametrize("use", [lambda a: a.learn(1), lambda a: a.evaluate(episodes=1)])
def test_an_environment_id_in_a_file_imports_nothing(use, stranger, dqn_file):
    """`gymnasium.make("package:Name-v0")` imports the package: not on a file's word."""
    module, imported = stranger
    edited(dqn_file, put("env", f"{module}:CartPole-v1"))
    agent = npr.load(dqn_file)
    assert agent.act(np.zeros(4, np.float32)) in (0, 1)
    with pytest.raises(ConfigError, match="pass one"):
        use(agent)
    assert not imported()
    use(npr.load(dqn_file, env="CartPole-v1"))
    assert not imported()


@pytest.mark.parametrize("use", [lambda a: a.learn(1), lambda a: a.evaluate(episodes=1)])
def test_the_user_s_own_word_is_another_matter(use, stranger, dqn_file):
    module, imported = stranger
    use(npr.load(dqn_file, env=f"{module}:CartPole-v1"))
    assert imported()
