"""Checkpoints: a loaded agent is the saved one, bit for bit."""

import errno
import json
import os
import zipfile

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.agent_files import content, copy_of
from support.small_agents import (
    BUDGET,
    CASES,
    assert_same_parameters,
    next_update,
    observations,
    parameters,
    small_agent,
    trained,
)

import npr
from npr import CheckpointError, ConfigError, SpaceError
from npr.files.archive import FORMAT

every_case = pytest.mark.parametrize("case", CASES)


# ---- save, load, continue


@every_case
def test_a_loaded_agent_equals_the_saved_one(case, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz")
    assert type(loaded) is type(agent)
    assert repr(loaded) == repr(agent)
    assert (loaded.num_timesteps, loaded.n_updates) == (BUDGET, agent.n_updates)
    assert_same_parameters(agent, loaded)
    first = parameters(small_agent(case))
    assert any((first[name] != array).any() for name, array in parameters(loaded).items())
    obs = observations(agent, 20)
    np.testing.assert_array_equal(loaded.act(obs), agent.act(obs))
    # the states of the generators are restored too
    np.testing.assert_array_equal(loaded.predict(obs)[0], agent.predict(obs)[0])


@every_case
def test_a_loaded_agent_has_the_same_evaluation(case, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz")
    for deterministic in (True, False):
        mine = agent.evaluate(episodes=3, seed=7, deterministic=deterministic)
        theirs = loaded.evaluate(episodes=3, seed=7, deterministic=deterministic)
        np.testing.assert_array_equal(mine.returns, theirs.returns)
        np.testing.assert_array_equal(mine.lengths, theirs.lengths)


@every_case
def test_a_loaded_agent_makes_the_same_updates(case, tmp_path):
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
def test_two_agents_of_one_file_learn_the_same(case, tmp_path):
    trained(case).save(tmp_path / "a.npz")
    one, other = (npr.load(tmp_path / "a.npz") for _ in range(2))
    for agent in (one, other):
        agent.learn(BUDGET, reset_num_timesteps=False)
        assert agent.num_timesteps == 2 * BUDGET
    assert_same_parameters(one, other)
    assert content(one, tmp_path / "b.npz") == content(other, tmp_path / "c.npz")


@every_case
def test_equal_states_give_equal_files(case, tmp_path):
    agent = trained(case)
    first = content(agent, tmp_path / "a.npz")
    assert content(agent, tmp_path / "b.npz") == first
    assert content(npr.load(tmp_path / "a.npz"), tmp_path / "c.npz") == first
    agent.learn(1, reset_num_timesteps=False)
    assert content(agent, tmp_path / "a.npz") != first  # and files depend on the state


def test_every_setting_is_restored(tmp_path):
    settings = {
        "net_arch": {"pi": [8], "qf": [4, 4]}, "learning_rate": "linear:1e-3:1e-4",
        "ent_coef": "auto_0.2", "target_entropy": -0.5, "gamma": 0.9, "gradient_steps": -1,
    }  # fmt: skip
    loaded = copy_of(small_agent("SAC", **settings), tmp_path / "a.npz")
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert loaded.seed == 0
    assert copy_of(small_agent("SAC", seed=None), tmp_path / "a.npz").seed is None


def test_a_partly_filled_replay_is_restored(tmp_path):
    agent = small_agent("DQN", buffer_size=1000).learn(40)
    loaded = copy_of(agent, tmp_path / "a.npz")
    assert (loaded.buffer.size, loaded.buffer.position) == (40, 40)
    assert loaded.buffer.s.tobytes() == agent.buffer.s.tobytes()


def test_a_callback_may_save(tmp_path):
    kept = []

    def callback(agent):
        if agent.num_timesteps == 60:
            agent.save(tmp_path / "a.npz")
            kept.append((agent.epsilon, parameters(agent)))

    small_agent("DQN").learn(BUDGET, callback)
    loaded = npr.load(tmp_path / "a.npz")
    [(epsilon, held)] = kept
    assert (loaded.num_timesteps, loaded.epsilon) == (60, epsilon)
    for name, array in parameters(loaded).items():
        np.testing.assert_array_equal(array, held[name])


def test_a_path_may_be_a_string_or_a_path(dqn_file):
    assert_same_parameters(npr.load(str(dqn_file)), npr.load(dqn_file))


def test_loading_and_predicting_need_no_environment(dqn_file, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("an environment was made")

    monkeypatch.setattr(gymnasium, "make", refuse)
    agent = npr.load(dqn_file)
    action, state = agent.predict(np.zeros(4, np.float32), deterministic=True)
    assert action in (0, 1)
    assert state is None


def test_an_environment_can_be_passed_to_load(tmp_path):
    agent = trained("DQN", env=CartPoleEnv)
    loaded = copy_of(agent, tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"not made by gymnasium\.make.*npr\.load\(path, env="):
        loaded.learn(1)
    loaded = npr.load(tmp_path / "a.npz", env=lambda: gymnasium.make("CartPole-v1"))
    assert loaded.learn(BUDGET, reset_num_timesteps=False).num_timesteps == 2 * BUDGET


@pytest.mark.parametrize(
    "case, other",
    [
        ("DQN", "Acrobot-v1"),  # 6 numbers instead of 4
        ("QLearning", "FrozenLake-v1"),  # 16 states instead of 48
        ("SAC", lambda: gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), -1, 1)),
    ],
)
def test_an_environment_with_other_spaces_is_refused(case, other, tmp_path):
    agent = trained(case)
    loaded = copy_of(agent, tmp_path / "a.npz", env=other)
    with pytest.raises(SpaceError, match="was trained with .*, this environment has"):
        loaded.learn(1)
    assert_same_parameters(agent, loaded)


# ---- infer


@every_case
def test_infer_gives_the_actions_of_the_agent(case, tmp_path):
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


def test_numpy_can_read_a_file(dqn_file):
    agent = npr.load(dqn_file)
    with np.load(dqn_file, allow_pickle=False) as file:
        arrays = [name for name in file.files if name != "manifest.json"]
        assert all(file[name].dtype.kind in "fiub" for name in arrays)
        np.testing.assert_array_equal(file["params/theta"], agent.theta)
        manifest = json.loads(file["manifest.json"])
    assert (manifest["format"], manifest["npr"]) == (FORMAT, npr.__version__)
    assert (manifest["algorithm"], manifest["env"]) == ("DQN", "CartPole-v1")
    assert manifest["settings"]["net_arch"] == [8]
    with zipfile.ZipFile(
        dqn_file
    ) as archive:  # no time stamps, or equal states would give different files
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_file_has_the_permissions_of_the_umask(dqn_file):
    umask = os.umask(0)
    os.umask(umask)
    assert dqn_file.stat().st_mode & 0o777 == 0o666 & ~umask


# ---- failing writes


@pytest.mark.parametrize(
    "what, error",
    [
        ("os.replace", PermissionError("held by another program")),
        ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("os.fsync", KeyboardInterrupt()),
    ],
)
def test_a_failing_write_leaves_the_old_file(what, error, dqn_file, monkeypatch):
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


def test_arrays_of_objects_are_refused_before_writing(dqn_file):
    agent, old = npr.load(dqn_file), dqn_file.read_bytes()
    agent.theta_bar = np.array(["a", None], dtype=object)
    with pytest.raises(CheckpointError, match="params/theta_bar has dtype object"):
        agent.save(dqn_file)
    assert os.listdir(dqn_file.parent) == [dqn_file.name]
    assert dqn_file.read_bytes() == old


def test_missing_folders_and_files_raise(dqn_file, tmp_path):
    with pytest.raises(FileNotFoundError):
        npr.load(dqn_file).save(tmp_path / "nowhere" / "a.npz")
    for load in (npr.load, npr.infer.load):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load(tmp_path / "nowhere.npz")


def test_a_file_holds_the_number_of_environments_that_the_agent_went_on_with(tmp_path):
    path = tmp_path / "a.npz"
    small_agent("PPO", n_envs=2, max_episode_steps=None).learn(40).save(path)
    envs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    agent = npr.load(path, env=envs)
    with pytest.warns(npr.ResumeWarning):
        agent.learn(50, reset_num_timesteps=False)
    agent.save(path)
    assert npr.load(path).n_envs == agent.steps.N == 3
