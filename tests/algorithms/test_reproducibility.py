"""Equal seeds give equal files, and a loaded agent continues."""

import numpy as np
import pytest
from support.agent_factories import off_policy_agent, on_policy_agent
from support.oracles import F

import npr


@pytest.mark.parametrize(
    ("algorithm", "env", "settings"),
    [
        ("Sarsa", "CliffWalking-v1", {"max_episode_steps": 30}),
        ("PERDQN", "CartPole-v1", {"net_arch": [8], "learning_starts": 20, "n_step_return": 2}),
        ("DDPG", "Pendulum-v1", {"net_arch": [8], "learning_starts": 20, "batch_size": 8}),
        ("TD3", "Pendulum-v1", {"net_arch": [8], "learning_starts": 20, "action_noise": "ou",
                                "batch_size": 8, "n_envs": 2}),
    ],
)  # fmt: skip
def test_equal_seeds_give_equal_files(tmp_path, algorithm, env, settings):
    if algorithm != "Sarsa":
        settings = {**settings, "buffer_size": 100}
    paths = [tmp_path / name for name in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        agent = getattr(npr, algorithm)(env, seed=3, verbose=0, **settings).learn(80)
        agent.save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    s = 7 if algorithm == "Sarsa" else np.zeros(agent.observations.shape, F)
    assert np.array_equal(loaded.act(s), agent.act(s))
    assert np.array_equal(npr.infer.load(paths[0])(s), agent.act(s))
    assert loaded.learn(40, reset_num_timesteps=False).num_timesteps == 120


ON_POLICY = ("REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL")

every_algorithm = pytest.mark.parametrize("name", ON_POLICY)


@every_algorithm
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_equal_seeds_give_equal_files_on_policy(tmp_path, name, env):
    paths = [tmp_path / f for f in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        on_policy_agent(name, env, max_episode_steps=20, n_envs=2).learn(120).save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    assert loaded.learn(60, reset_num_timesteps=False).num_timesteps == 180


@pytest.mark.parametrize(
    ("name", "env"),
    [("SoftQ", "Pendulum-v1"), ("SoftQ", "CartPole-v1"), ("SACS", "Pendulum-v1"),
     ("SAC", "CartPole-v1")],
)  # fmt: skip
def test_equal_seeds_give_equal_files_soft(tmp_path, name, env):
    settings = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "n_envs": 2}
    paths = [tmp_path / f for f in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        agent = off_policy_agent(name, env, **settings).learn(60)
        agent.save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    s = np.linspace(-1, 1, 5 * agent.observations.size, dtype=F).reshape(5, -1)
    carried = npr.infer.load(paths[0])
    for deterministic in (True, False):
        one, two, three = (
            p(s, deterministic, np.random.default_rng(0)) for p in (agent.policy, loaded.policy,
                                                                  carried)
        )  # fmt: skip
        assert np.array_equal(one, two) and np.array_equal(one, three)
    assert loaded.learn(40, reset_num_timesteps=False).num_timesteps == 100
