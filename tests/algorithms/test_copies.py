"""Copies of agents by copy.deepcopy and pickle learn as the agent itself would."""

import copy
import multiprocessing
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.proof_size import half
from support.small_agents import CASES, assert_same_parameters, observations, small_agent

from npr import ConfigError

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda agent: pickle.loads(pickle.dumps(agent))}
every_copy = pytest.mark.parametrize("way", COPIES)


@pytest.mark.parametrize("case, steps, way", half(CASES, [0, 70], COPIES))
def test_a_copy_learns_on_to_the_bit(case, steps, way):
    agent = small_agent(case, n_envs=2)
    if steps:
        agent.learn(steps)
    agent.act(observations(agent, 1)[0])  # a policy that was used is not copied along
    other = COPIES[way](agent)
    for one in (agent, other):
        one.learn(100, reset_num_timesteps=False)
    assert_same_parameters(agent, other)
    rows = observations(agent, 5)
    assert np.array_equal(agent.predict(rows)[0], other.predict(rows)[0])


@every_copy
def test_a_copy_shares_no_memory(way):
    agent = small_agent("DQN").learn(60)
    other = COPIES[way](agent)
    before = {name: array.copy() for name, array in vars(agent).items() if name == "theta"}
    other.learn(100)
    assert np.array_equal(agent.theta, before["theta"])
    assert not np.array_equal(agent.theta, other.theta)
    assert other.adam.theta is other.theta, "the optimizer moves the copy's own parameters"


def test_an_agent_with_an_environment_object_copies_it_too():
    agent = small_agent("DQN", env=gymnasium.make("CartPole-v1")).learn(60)
    other = copy.deepcopy(agent)
    assert other.env is not agent.env
    other.learn(60)


class Unregistered(CartPoleEnv):
    """No file or copy can describe it."""


SOURCES = {
    "id": lambda: "CartPole-v1",
    "Env": lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True),
    "custom Env": Unregistered,
    "class": lambda: Unregistered,
    "lambda": lambda: lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True),
    "sync": lambda: gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"),
    "async": lambda: gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="async"),
}


@every_copy
@pytest.mark.parametrize("steps", [0, 64])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("ignore::npr.ResumeWarning")
def test_a_copy_has_its_own_environment(source, steps, way):
    env = SOURCES[source]()
    agent = small_agent("PPO", env=env, max_episode_steps=None)
    if steps:
        agent.learn(steps)
    other = COPIES[way](agent)
    again = COPIES[way](other)  # before it has opened its environments
    for copied in (other, again):
        copied.learn(32, reset_num_timesteps=False)
        assert copied.num_timesteps - agent.num_timesteps in (32, 33)
        assert copied.envs is not agent.envs
        assert copied.env is not env or callable(env) or isinstance(env, str)
    if source in ("Env", "lambda"):
        assert other.evaluate(episodes=2).returns.tolist() == [-1, -1]
    if source in ("Env", "custom Env"):
        agent.learn(32, reset_num_timesteps=False)
        assert_same_parameters(agent, other)
    if source in ("sync", "async"):
        env.close()


def test_a_function_without_a_name_is_not_pickled():
    agent = small_agent("DQN", env=lambda: Unregistered()).learn(60)
    shared = copy.deepcopy(agent)
    assert shared.env is agent.env
    pickled = pickle.loads(pickle.dumps(agent))
    with pytest.raises(ConfigError, match=r"Pass one: .*set_env"):
        pickled.learn(60)
    pickled.set_env(Unregistered)
    assert_same_parameters(shared.learn(60), agent.learn(60))
    pickled.learn(60)


def test_what_belongs_to_one_run_is_gone_after_it():
    agent = small_agent("DQN")
    names = set(vars(agent))
    agent.learn(60, callback=lambda agent: True, log_interval=1_000, progress_bar=False)
    assert set(vars(agent)) == names


def test_a_rebound_parameter_vector_cannot_leave_predict_stale():
    agent = small_agent("DQN", exploration_final_eps=0.0)
    rows = observations(agent, 50)
    agent.predict(rows)
    agent.theta = -agent.theta
    expected = agent.Q(agent.theta, rows).argmax(axis=-1)
    assert np.array_equal(agent.predict(rows)[0], expected)


@every_copy
@pytest.mark.parametrize("case", ["DQN", "PERDQN", "SAC", "QLearning"])
def test_parts_of_an_agent_are_copied_by_themselves(case, way):
    agent = small_agent(case).learn(80)
    policy = COPIES[way](agent.policy)
    rows = observations(agent, 5)
    assert np.array_equal(policy(rows), agent.policy(rows))
    assert not np.shares_memory(policy.theta, agent.policy.theta)
    if case == "QLearning":
        return
    buffer = COPIES[way](agent.buffer)
    draws = [one.sample(8, np.random.default_rng(0)) for one in (buffer, agent.buffer)]
    for mine, theirs in zip(*draws):
        np.testing.assert_array_equal(mine, theirs)


def answer_of(agent, rows):
    return agent.predict(rows, deterministic=True)[0]


def test_an_agent_is_an_argument_of_a_process():
    agent = small_agent("DQN").learn(60)
    rows = observations(agent, 5)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (theirs,) = pool.starmap(answer_of, [(agent, rows)])
    np.testing.assert_array_equal(theirs, answer_of(agent, rows))
