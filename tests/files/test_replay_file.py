"""Replay buffers in files of their own."""

import warnings

import numpy as np
import pytest
from support.hostile_files import edited, put
from support.masked_envs import Hand
from support.small_agents import small_agent

import npr
from npr.cli.info import of_file
from npr.errors import CheckpointError, ConfigError
from npr.files.archive import read_archive, write_archive


def filled(case="DQN", n=50, **settings):
    """An agent with n transitions of its environment."""
    agent = small_agent(case, learning_starts=10_000, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", npr.ConfigWarning)
        return agent.learn(n)


def assert_same_buffer(one, other, without=("newest",)):
    mine, theirs = one.buffer.state(), other.buffer.state()
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {*without}:
        assert np.array_equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("n", [50, 100], ids=["a part", "a ring that went around"])
@pytest.mark.parametrize("case", ["DQN", "DQN-n", "PERDQN", "SAC", "SoftQ-n"])
def test_a_buffer_comes_back_as_it_was(case, n, tmp_path):
    agent, path = filled(case, n), tmp_path / "buffer.npz"
    if case == "PERDQN":
        agent.buffer.set_priorities(np.arange(20), np.linspace(0, 3, 20))
    agent.save_replay_buffer(path)
    other = small_agent(case)
    other.load_replay_buffer(path)
    assert_same_buffer(agent, other)
    for one in (agent, other):
        one.rng["sample"] = np.random.default_rng(0)
    draws = [
        [np.array(x) for x in one.buffer.sample(30, one.rng["sample"])] for one in (agent, other)
    ]
    for one, two in zip(*draws):
        assert np.array_equal(one, two)
    before = path.read_bytes()
    other.save_replay_buffer(path)
    assert path.read_bytes() == before


def test_an_agent_learns_on_with_the_transitions_of_another(tmp_path):
    filled("DQN-n", 100).save_replay_buffer(tmp_path / "buffer.npz")
    agent = small_agent("DQN-n", buffer_size=80).learn(20)  # its episodes have the same numbers
    agent.load_replay_buffer(tmp_path / "buffer.npz")
    agent.learn(10, reset_num_timesteps=False)
    assert agent.buffer.size == 74 and agent.buffer.next[63] == -1, "not an episode of the other"
    assert (agent.buffer.next[64:73] > 63).any()


@pytest.mark.parametrize("case", ["DQN-n", "PERDQN"])
def test_a_ring_is_put_in_order_for_another_capacity(case, tmp_path):
    agent, path = filled(case, 100), tmp_path / "buffer.npz"  # of 64, the next row is 36
    if case == "PERDQN":
        agent.buffer.set_priorities(np.arange(64), np.linspace(0, 3, 64))
    agent.save_replay_buffer(path)
    other = small_agent(case, buffer_size=80)
    other.load_replay_buffer(path)
    assert (other.buffer.size, other.buffer.position) == (64, 64)
    order = np.roll(np.arange(64), -36)
    if case == "PERDQN":
        assert np.array_equal(other.buffer.tree[:64], agent.buffer.tree[order])
    else:
        batches = agent.buffer.gather(order), other.buffer.gather(np.arange(64))
        for one, two in zip(*batches):
            assert np.array_equal(one, two)


def test_more_transitions_than_fit_are_refused(tmp_path):
    filled().save_replay_buffer(tmp_path / "buffer.npz")
    agent = small_agent("DQN", buffer_size=49)
    with pytest.raises(CheckpointError, match=r"holds 50 transitions, more than buffer_size=49"):
        agent.load_replay_buffer(tmp_path / "buffer.npz")
    assert not agent.buffer.size
    agent = small_agent("DQN", buffer_size=50)
    agent.load_replay_buffer(tmp_path / "buffer.npz")
    assert (agent.buffer.size, agent.buffer.position) == (50, 0)


def test_moments_are_taken_over_by_an_agent_without(tmp_path):
    norms = {"normalize_obs": True, "normalize_reward": True}
    agent, path = filled("DQN", **norms), tmp_path / "buffer.npz"
    agent.save_replay_buffer(path)
    new, seen, plain = small_agent("DQN", **norms), filled("DQN", 20, **norms), small_agent("DQN")
    for other in (new, seen, plain):
        other.load_replay_buffer(path)
    assert np.array_equal(new.obs_norm.moments.mean, agent.obs_norm.moments.mean)
    assert new.reward_norm.moments.count == 50 and new.reward_norm.returns.tolist() == [0]
    assert seen.obs_norm.moments.count == seen.reward_norm.moments.count == 20
    index = np.arange(50)
    for one, two in zip(agent.buffer.gather(index), new.buffer.gather(index)):
        assert np.array_equal(one, two)


OTHERS = {
    "another algorithm's kind": ("PERDQN", {}, "its replay is 'ReplayBuffer'"),
    "other returns": ("DQN-n", {}, "its n_step_return is 1, the agent's 3"),
    "other observations": ("DQN", {"env": "Acrobot-v1"}, r"its observations is \{.*'shape': \[4\]"),
    "other actions": ("SAC", {}, "its observations is"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_an_agent_that_it_does_not_fit_refuses_it(case, tmp_path):
    name, settings, message = OTHERS[case]
    filled().save_replay_buffer(tmp_path / "buffer.npz")
    agent = filled(name, 5, **settings)
    with pytest.raises(CheckpointError, match=message):
        agent.load_replay_buffer(tmp_path / "buffer.npz")
    assert agent.buffer.size == 5


def test_files_of_agents_and_of_buffers_are_not_mixed_up(tmp_path):
    agent = filled()
    agent.save(tmp_path / "agent.npz")
    agent.save_replay_buffer(tmp_path / "buffer.npz")
    with pytest.raises(CheckpointError, match=r"npr\.load\(path\) reads that of an agent"):
        agent.load_replay_buffer(tmp_path / "agent.npz")
    with pytest.raises(CheckpointError, match=r"use agent\.load_replay_buffer\('.*buffer\.npz'\)"):
        npr.load(tmp_path / "buffer.npz")
    for read in (npr.infer.load, of_file):
        with pytest.raises(CheckpointError, match="holds a replay buffer alone"):
            read(tmp_path / "buffer.npz")
    with pytest.raises(FileNotFoundError):
        agent.load_replay_buffer(tmp_path / "none.npz")


@pytest.mark.parametrize("call", ["save_replay_buffer", "load_replay_buffer"])
def test_an_agent_without_a_buffer_says_so(call, tmp_path):
    with pytest.raises(ConfigError, match=rf"{call}\(\) needs an algorithm with a replay buffer"):
        getattr(small_agent("PPO"), call)(tmp_path / "buffer.npz")
    with pytest.raises(ConfigError, match="path must be the path of a file"):
        getattr(small_agent("DQN"), call)(tmp_path)


def changed(key, change):
    def attack(arrays):
        arrays[key] = change(arrays[key])

    return attack


def with_number(x, value, row=3):
    x = x.copy()
    x[row] = value
    return x


A, N = "buffer/buffer.", "state/obs_norm."
DAMAGE = {
    "an action outside": (changed(A + "a", lambda x: with_number(x, 2)), "outside of the action"),
    "a number": (changed(A + "s", lambda x: with_number(x, np.nan)), "not finite"),
    "a shape": (changed(A + "s2", lambda x: x[:, :-1]), "must be float32"),
    "a type": (changed(A + "r", lambda x: x.astype(np.float64)), "must be float32"),
    "a link": (changed(A + "next", lambda x: with_number(x, 60)), "rows out of range"),
    "a link before": (changed(A + "next", lambda x: with_number(x, -2)), "rows out of range"),
    "a position": (changed(A + "position", lambda x: x + 900), "cannot continue"),
    "a negative position": (changed(A + "position", lambda x: x - 900), "cannot continue"),
    "positions": (changed(A + "position", lambda x: np.zeros(2, np.int64)), "valid replay buffer"),
    "no position": (lambda arrays: arrays.pop(A + "position"), "valid replay buffer"),
    "no rewards": (lambda arrays: arrays.pop(A + "r"), "valid replay buffer"),
    "a column too few": (lambda arrays: arrays.pop(A + "s2"), "s2 is missing"),
    "a column too many": (lambda arrays: arrays.update({A + "x": np.zeros(50)}), "has no array"),
    "another part": (lambda arrays: arrays.update({"state/x.y": np.zeros(1)}), "nothing is known"),
    "an end": (changed(A + "terminated", lambda x: with_number(x, 2)), "other numbers than 0 and"),
    "moments": (changed(N + "squares", lambda x: -x), "must be at least 0"),
    "moments of a size": (changed(N + "mean", lambda x: x[1:]), "must be float64"),
    "no moments": (lambda arrays: arrays.pop(N + "mean"), "mean is missing"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused_and_change_nothing(case, tmp_path):
    attack, message = DAMAGE[case]
    path = tmp_path / "buffer.npz"
    filled("DQN-n", normalize_obs=True).save_replay_buffer(path)
    manifest, arrays = read_archive(path)
    attack(arrays)
    write_archive(path, manifest, arrays)
    agent = small_agent("DQN-n", normalize_obs=True)
    with pytest.raises(CheckpointError, match=message):
        agent.load_replay_buffer(path)
    assert agent.buffer.size == agent.buffer.position == agent.obs_norm.moments.count == 0


def test_priorities_that_are_none_change_nothing(tmp_path):
    path = tmp_path / "buffer.npz"
    filled("PERDQN").save_replay_buffer(path)
    manifest, arrays = read_archive(path)
    arrays[A + "priority"][3] = -1
    write_archive(path, manifest, arrays)
    agent = filled("PERDQN", 20)
    before = agent.buffer.state()
    with pytest.raises(CheckpointError, match="priorities"):
        agent.load_replay_buffer(path)
    for name, array in agent.buffer.state().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("column", ["s", "s2"])
@pytest.mark.parametrize("mask", [[0, 0, 0, 0], [1, 1, 0.5, 1], [-1, 1, 1, 1]])
def test_masks_of_a_file_are_checked(column, mask, tmp_path):
    path, masked = tmp_path / "buffer.npz", {"env": Hand, "action_masks": True}
    filled(**masked).save_replay_buffer(path)
    manifest, arrays = read_archive(path)
    arrays[A + column][3, 4:] = mask
    write_archive(path, manifest, arrays)
    agent = small_agent("DQN", **masked)
    with pytest.raises(CheckpointError, match=f"masks of the replay's column '{column}'"):
        agent.load_replay_buffer(path)
    assert not agent.buffer.size


def test_an_action_of_a_file_that_its_mask_forbids_is_refused(tmp_path):
    path, masked = tmp_path / "buffer.npz", {"env": Hand, "action_masks": True}
    filled(**masked).save_replay_buffer(path)
    manifest, arrays = read_archive(path)
    arrays[A + "s"][3, 4:] = np.arange(4) != arrays[A + "a"][3]
    write_archive(path, manifest, arrays)
    with pytest.raises(CheckpointError, match="action_masks forbid the action in row 3"):
        small_agent("DQN", **masked).load_replay_buffer(path)


@pytest.mark.parametrize(
    "edit",
    [put("n_step_return", [1]), put("more", 1), put("actions", None)],
    ids=["n_step_return", "more", "actions"],
)
def test_a_manifest_that_is_not_one_is_refused(edit, tmp_path):
    path = tmp_path / "buffer.npz"
    filled().save_replay_buffer(path)
    edited(path, edit)
    agent = small_agent("DQN")
    with pytest.raises(CheckpointError):
        agent.load_replay_buffer(path)
    assert not agent.buffer.size
