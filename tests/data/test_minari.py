"""Datasets of Minari as transitions: with the package, and with an object of its interface."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import npr
from npr.errors import ConfigError


def episode(n, first, terminated, observation=lambda x: x):
    """An episode of n steps that counts from `first`."""
    flags = np.zeros((2, n), bool)
    flags[0 if terminated else 1, -1] = True
    return SimpleNamespace(
        observations=observation(np.arange(first, first + n + 1.0)[:, None]),
        actions=np.arange(n) % 2,
        rewards=np.arange(first, first + n, dtype=float),
        terminations=flags[0],
        truncations=flags[1],
    )


class Dataset:
    """The part of minari.MinariDataset that is used."""

    def __init__(self, *episodes):
        self.episodes = episodes

    def iterate_episodes(self, indices=None):
        chosen = range(len(self.episodes)) if indices is None else indices
        return (self.episodes[i] for i in chosen)


def test_observations_of_an_episode_are_those_before_and_after_each_step():
    data = npr.data.minari(Dataset(episode(3, 0, True), episode(2, 10, False)))
    assert data.observations.ravel().tolist() == [0, 1, 2, 10, 11]
    assert data.next_observations.ravel().tolist() == [1, 2, 3, 11, 12]
    assert data.actions.tolist() == [0, 1, 0, 0, 1]
    assert data.rewards.tolist() == [0, 1, 2, 10, 11]
    assert data.terminated.tolist() == [False, False, True, False, False]
    assert data.truncated.tolist() == [False, False, False, False, True]
    assert repr(data) == "Transitions(5)"


def test_only_the_chosen_episodes_are_read():
    data = npr.data.minari(Dataset(episode(3, 0, True), episode(2, 10, False)), episodes=[1])
    assert data.rewards.tolist() == [10, 11]


def test_parts_of_observations_stay_apart():
    def parts(x):
        return {"one": x, "two": (x, -x)}

    data = npr.data.minari(Dataset(episode(2, 0, True, parts), episode(1, 5, True, parts)))
    assert data.observations["one"].ravel().tolist() == [0, 1, 5]
    assert data.next_observations["two"][1].ravel().tolist() == [-1, -2, -6]


def test_a_dataset_without_episodes_is_refused():
    with pytest.raises(ConfigError, match="has no episodes"):
        npr.data.minari(Dataset())


def test_an_id_without_minari_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    with pytest.raises(ConfigError, match=r"npr\.data\.minari\('a/b-v0'\) needs Minari: pip inst"):
        npr.data.minari("a/b-v0")


def test_an_id_that_was_not_downloaded_says_how_to(tmp_path, monkeypatch):
    pytest.importorskip("minari", reason="Minari (npr-rl[minari]) is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no dataset 'a/b-v0' on this.*minari download a/b-v0"):
        npr.data.minari("a/b-v0")


def test_a_dataset_of_minari_fills_a_buffer(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="Minari (npr-rl[minari]) is not installed")
    pytest.importorskip("h5py", reason="h5py (npr-rl[minari]) is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng, sizes = np.random.default_rng(0), (3, 1, 4)
    episodes = [
        minari.data_collector.EpisodeBuffer(
            observations={
                "at": rng.uniform(-9, 9, (n + 1, 1)),
                "kind": rng.integers(2, size=n + 1),
            },
            actions=rng.uniform(-2, 2, (n, 1)).astype(np.float32),
            rewards=rng.normal(size=n),
            terminations=(np.arange(n) == n - 1) & (n != 4),
            truncations=(np.arange(n) == n - 1) & (n == 4),
        )
        for n in sizes
    ]
    with pytest.warns(UserWarning):  # names of authors and others are missing
        made = minari.create_dataset_from_buffers(
            "test/walk-v0", episodes, observation_space=Walk.observation_space,
            action_space=Walk.action_space, data_format="hdf5",
        )  # fmt: skip
    agent = npr.SAC(Walk, seed=0, verbose=0, buffer_size=100, n_step_return=2)
    for given in (made, "test/walk-v0"):
        data = npr.data.minari(given)
        agent.buffer.add_batch(*data)
    assert agent.buffer.size == 2 * sum(sizes)
    row = 0
    for one in 2 * episodes:
        at, kind = one.observations["at"][:, 0].astype(np.float32), one.observations["kind"]
        for t, action in enumerate(one.actions[:, 0]):
            held = {name: column[row].tolist() for name, column in agent.buffer.columns.items()}
            assert held["s"] == [at[t], *np.eye(2)[kind[t]]]
            assert held["s2"] == [at[t + 1], *np.eye(2)[kind[t + 1]]]
            assert held["a"] == [action / 2] and held["r"] == np.float32(one.rewards[t])
            assert held["terminated"] == one.terminations[t]
            assert held["next"] == (row + 1 if t + 1 < len(one.actions) else -1)
            row += 1
    imitated = agent.imitate(data.observations, data.actions, epochs=1)
    assert np.isfinite(imitated.losses).all()


class Walk(gym.Env):
    """Observations of two kinds."""

    observation_space = spaces.Dict(
        {"at": spaces.Box(-9, 9, (1,), np.float64), "kind": spaces.Discrete(2)}
    )
    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"at": np.zeros(1), "kind": np.int64(0)}, {}

    def step(self, action):
        return *self.reset()[:1], 0.0, False, False, {}
