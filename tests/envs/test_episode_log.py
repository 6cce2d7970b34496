"""The log of an episode: bounded, not affected by the environment, for any kind of generator."""

import random
import tracemalloc

import gymnasium
import numpy as np
import pytest
from support.small_agents import small_agent

import npr
from npr import ResumeWarning
from npr.envs import env_list, episode_log


class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-10, 10, (1,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        return self._observe(), 0.0, False, False, {}

    def _observe(self):
        return np.array([self.np_random.uniform(-1, 1)], np.float32)


def log_of(actions):
    log = episode_log.EpisodeLog(Endless())
    log.begin(0)
    for action in actions:
        log.add(action)
    return log


def test_an_endless_episode_needs_no_more_memory_than_the_longest_that_is_kept():
    row = np.zeros((1, 1), np.float32)
    log = log_of([])
    tracemalloc.start()
    sizes = []
    for _ in range(4):
        for _ in range(episode_log.MAX_ACTIONS):
            log.add(row[0])
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[0] < 8 * episode_log.MAX_ACTIONS
    assert max(sizes[1:]) < 1_000
    assert len(log) == 0


@pytest.mark.parametrize("case", ["SAC", "DQN"])
@pytest.mark.parametrize("more", [0, 1])
def test_an_episode_is_resumed_up_to_the_limit_and_not_beyond(monkeypatch, tmp_path, case, more):
    for module in (episode_log, env_list):
        monkeypatch.setattr(module, "MAX_ACTIONS", 30)
    ids = {"SAC": "Pendulum-v1", "DQN": "MountainCar-v0"}
    agent = small_agent(case, env=ids[case], max_episode_steps=200)
    agent.learn(30 + more)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    if more:
        with pytest.warns(ResumeWarning, match="the episode of env 0 is longer than 30 steps"):
            loaded.learn(5, reset_num_timesteps=False)
        assert loaded.envs.lengths == [5]
    else:
        loaded.learn(5, reset_num_timesteps=False)
        assert loaded.envs.lengths == [35]
    agent.learn(180)  # the next episode is logged again
    assert len(agent.envs.logs[0]) > 0


@pytest.mark.parametrize("space", ["Box", "Discrete", "MultiBinary"])
def test_an_environment_may_change_its_action_in_place(space, tmp_path):
    spaces = gymnasium.spaces

    class Changing(Endless):
        action_space = {
            "Box": spaces.Box(-2, 2, (2,)),
            "Discrete": spaces.Discrete(3),
            "MultiBinary": spaces.MultiBinary(3),
        }[space]
        seen = []

        def step(self, action):
            self.seen.append(np.array(action))
            if isinstance(action, np.ndarray):
                action[:] = 0
            return super().step(action)

    agent = npr.PPO(Changing(), n_steps=8, verbose=0, seed=0, net_arch=[4])
    agent.learn(20)
    (log,) = agent.envs.logs
    np.testing.assert_array_equal(log.actions(), np.array(Changing.seen))
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz", env=Changing())
    loaded.learn(8, reset_num_timesteps=False)
    assert loaded.envs.lengths == [28]


@pytest.mark.parametrize("kind", [np.random.RandomState, random.Random, lambda seed: object()])
def test_generators_of_old_environments(kind, tmp_path):
    class Old(Endless):
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, seed=None, options=None):
            if seed is not None:
                self.np_random = kind(seed)
            self.t = 0
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.t += 1
            return np.zeros(1, np.float32), 1.0, self.t >= 5, False, {}

    agent = small_agent("PPO", env=Old)
    agent.learn(33)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz", env=Old)
    with pytest.warns(ResumeWarning, match="cannot continue its episodes"):
        loaded.learn(16)
