"""`predict` and `act`: shapes, batches, sampling and invalid observations."""

import gymnasium
import numpy as np
import pytest
from support.small_agents import (
    CASES,
    RandomEnv,
    observations,
    small_agent,
    trained,
)

import npr
from npr import EnvContractError

every_case = pytest.mark.parametrize("case", CASES)


def cartpole():
    return gymnasium.make("CartPole-v1")


@every_case
def test_predict_returns_an_action_and_none(case):
    agent = trained(case)
    space = agent.envs.action_space
    for obs in observations(agent, 5):
        action, state = agent.predict(obs)
        assert state is None
        assert space.contains(action)
        assert space.contains(agent.act(obs))


@every_case
def test_predict_takes_batches(case):
    agent = trained(case)
    obs = observations(agent, 7)
    actions, state = agent.predict(obs, deterministic=True)
    assert state is None
    assert actions.shape == (7, *agent.envs.action_space.shape)
    one_by_one = np.array([agent.act(one) for one in obs])
    np.testing.assert_allclose(actions, one_by_one, rtol=1e-5, atol=1e-6)
    assert agent.predict(obs[:1])[0].shape == (1, *agent.envs.action_space.shape)


@every_case
def test_predict_samples_and_act_does_not(case):
    agent = trained(case)
    obs = observations(agent, 200)
    best = agent.act(obs)
    np.testing.assert_array_equal(agent.act(obs), best)
    np.testing.assert_array_equal(agent.predict(obs, deterministic=True)[0], best)
    if CASES[case][0] in ("DDPG", "TD3"):
        return  # their policy is deterministic and without exploration noise
    assert (agent.predict(obs)[0] != best).any()
    assert (agent.predict(obs)[0] != agent.predict(obs)[0]).any()
    assert (agent.act(obs, deterministic=False) != best).any()


def test_an_observation_may_be_a_list():
    agent = small_agent("SAC")
    one = [0.1, -0.2, 0.3]
    np.testing.assert_array_equal(agent.act(one), agent.act(np.array(one)))
    np.testing.assert_array_equal(agent.act([one, one]), agent.act(np.array([one, one])))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (5, 4), (2, 2, 3), (1, 1, 3)])
def test_an_observation_of_the_wrong_shape_is_refused(shape):
    agent = small_agent("SAC")
    with pytest.raises(EnvContractError, match=r"observation of shape .*, the space says \(3,\)"):
        agent.act(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("normalize_obs", [False, True])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_an_observation_that_is_not_finite_is_refused(normalize_obs, value, tmp_path):
    agent = small_agent("SAC", normalize_obs=normalize_obs)
    agent.save(tmp_path / "a.npz")
    one, batch = np.zeros(3), np.zeros((4, 3))
    one[1] = batch[2, 1] = value
    for acts in (agent.act, agent.predict, npr.infer.load(tmp_path / "a.npz")):
        with pytest.raises(EnvContractError, match=r"not finite: number 1 of 3 is -?(nan|inf)\. "):
            acts(one)
        with pytest.raises(EnvContractError, match=r"is -?(nan|inf), the first in row 2 of the"):
            acts(batch)
        with pytest.raises(EnvContractError, match="number 1 of 3"):
            acts(one.tolist())
    for large in (1e30, -1e30):
        agent.act(np.full(3, large))


def test_a_part_of_an_observation_that_is_not_finite_is_refused():
    space = gymnasium.spaces.Dict(
        {"x": gymnasium.spaces.Box(-1, 1, (2,)), "i": gymnasium.spaces.Discrete(3)}
    )
    agent = small_agent("DQN", env=RandomEnv(space, gymnasium.spaces.Discrete(2)))
    agent.act({"x": np.zeros(2), "i": 1})
    with pytest.raises(EnvContractError, match="number 4 of 5 is nan"):
        agent.act({"x": np.array([0.0, np.nan]), "i": 1})


@pytest.mark.parametrize("index", [-1, 48, 10**9])
def test_an_index_out_of_range_is_refused(index):
    agent = small_agent("QLearning")
    for obs in (index, np.array([0, index])):
        with pytest.raises(EnvContractError, match=r"outside Discrete\(48"):
            agent.act(obs)


def test_evaluation_code_for_stable_baselines3_runs():
    """The loop of its documentation, and that of its evaluate_policy with a vector environment."""
    model = small_agent("PPO")
    env = cartpole()
    obs, _ = env.reset(seed=0)
    for _ in range(30):
        action, _states = model.predict(obs, deterministic=True)
        obs, _reward, terminated, truncated, _info = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()

    envs = gymnasium.vector.SyncVectorEnv([cartpole] * 3)
    obs, _ = envs.reset(seed=0)
    states, episode_starts = None, np.ones(3, bool)
    for _ in range(30):
        actions, states = model.predict(
            obs, state=states, episode_start=episode_starts, deterministic=False
        )
        obs, _rewards, terminated, truncated, _infos = envs.step(actions)
        episode_starts = terminated | truncated
    assert states is None
