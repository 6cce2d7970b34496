"""Copies of agents by copy.deepcopy and pickle learn as the agent itself would."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES, assert_same_parameters, observations, small_agent

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda agent: pickle.loads(pickle.dumps(agent))}
every_copy = pytest.mark.parametrize("way", COPIES)


@every_copy
@pytest.mark.parametrize("steps", [0, 70])
@pytest.mark.parametrize("case", CASES)
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
