"""`choose` is a pure function: `explore` is it, of random numbers from the agent's generator."""

import copy

import numpy as np
import pytest
from support.small_agents import CASES, TABLES, observations, parameters, small_agent

import npr
from npr.backend import ON_HOST, to_device, to_host

NETWORKS = [case for case in CASES if case not in TABLES]


def state_of(agent):
    held = [x.tobytes() for x in parameters(agent).values()]
    return held, {name: rng.bit_generator.state for name, rng in agent.rng.items()}


def noise_of(agent, rng, n):
    """The random numbers that `explore` draws first, and the further arguments of `choose`."""
    if hasattr(agent, "epsilon"):
        return rng.random((2, n)), [agent.epsilon]
    head, *_ = agent.acts_by()
    return head.noise(rng, (n,)), []


@pytest.mark.parametrize("case", NETWORKS)
def test_explore_is_choose_with_the_noise_of_the_generator(case):
    agent = small_agent(case)
    agent.counters.num_timesteps = 10**6  # after learning_starts
    s, rng = observations(agent, 5), copy.deepcopy(agent.rng["explore"])
    if case in ("DDPG", "TD3"):
        agent.disturbance = None
    explored = agent.explore(s)
    noise, others = noise_of(agent, rng, 5)
    assert rng.bit_generator.state == agent.rng["explore"].bit_generator.state
    before = state_of(agent)
    chosen = to_host(agent.choose(to_device(s), to_device(noise), *others))
    np.testing.assert_array_equal(chosen, explored)
    assert state_of(agent) == before, "it draws nothing and changes nothing"
    shape, dtype = agent.actions.columns()
    assert explored.shape == (5, *shape) and explored.dtype == dtype
    assert agent.actions.contains(explored)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("case", ["DQN", "PERDQN"])
def test_epsilon_greedy_is_its_definition(case, epsilon):
    agent = small_agent(case)
    s, noise = observations(agent, 40), np.random.default_rng(1).random((2, 40))
    q = to_host(agent.Q(agent.theta, to_device(s)))
    expected = [
        int(choice * agent.actions.size) if chance < epsilon else int(row.argmax())
        for chance, choice, row in zip(*noise, q)
    ]
    a = to_host(agent.choose(to_device(s), to_device(noise), epsilon))
    assert a.tolist() == expected


@pytest.mark.parametrize("case", ["SAC", "SACS", "DDPG", "SoftQ"])
def test_actions_are_uniform_until_learning_starts(case):
    agent = small_agent(case, learning_starts=10)
    rng = copy.deepcopy(agent.rng["explore"])
    for t in (0, 9):
        agent.counters.num_timesteps = t
        a = agent.explore(observations(agent, 3))
        np.testing.assert_array_equal(a, agent.actions.uniform(rng, 3))
    agent.counters.num_timesteps = 10
    later = agent.explore(observations(agent, 3))
    assert not np.array_equal(later, agent.actions.uniform(rng, 3))


@pytest.mark.skipif(not ON_HOST, reason="noise is uploaded")
def test_noise_of_updates_is_that_of_the_generator_in_the_same_memory():
    agent = small_agent("SACS")
    rng = copy.deepcopy(agent.rng["noise"])
    first = agent.normal(4, 3)
    np.testing.assert_array_equal(first, rng.standard_normal((4, 3), first.dtype))
    assert agent.normal(4, 3) is first
    np.testing.assert_array_equal(first, rng.standard_normal((4, 3), first.dtype))
    assert agent.normal(2, 3).shape == (2, 3)
    assert copy.deepcopy(agent).normal(2, 3) is not agent.normal(2, 3)


def test_an_algorithm_without_choose_says_what_it_needs():
    class WithoutChoose(npr.SAC):
        choose = npr.settings.Replay.choose

    agent = WithoutChoose("Pendulum-v1", seed=0, verbose=0, learning_starts=1, batch_size=4)
    with pytest.raises(NotImplementedError, match=r"WithoutChoose needs a method choose\(s, noise"):
        agent.learn(5)
