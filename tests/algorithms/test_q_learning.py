"""Q-learning: steps by hand, the optimum of dynamic programming, exploration."""

import copy

import numpy as np
import pytest
from support.agent_factories import q_learning
from support.toy_envs import TwoStates

from npr import NumericsError


@pytest.mark.parametrize(("terminated", "expected"), [(False, 1.45), (True, 1.0)])
def test_q_learning_steps_by_hand(terminated, expected):
    agent = q_learning(learning_rate=0.1, gamma=0.9)
    agent.Q[:] = [[1, 2], [3, 5]]
    agent.update(0, 0, 1.0, 1, terminated, gamma=0.9, episode=0)
    assert agent.Q[0, 0] == pytest.approx(expected)
    assert agent.Q.tolist()[1] == [3, 5]


def test_q_learning_reaches_the_optimum_of_dynamic_programming():
    agent = q_learning(
        gamma=0.9, learning_rate=0.2, exploration_final_eps=1.0, max_episode_steps=20
    ).learn(6_000)
    assert np.abs(agent.Q - TwoStates.Q_STAR).max() < 1e-2


def test_epsilon_greedy_breaks_ties_at_random():
    agent = q_learning(exploration_initial_eps=0.2)
    draws = [agent.epsilon_greedy(np.array([0.0, 1.0, 1.0])) for _ in range(6_000)]
    frequencies = np.bincount(draws, minlength=3) / len(draws)
    assert np.abs(frequencies - [0.2 / 3, 0.4 + 0.2 / 3, 0.4 + 0.2 / 3]).max() < 0.02


def test_epsilon_greedy_draws_as_often_as_its_definition_in_numpy():
    agent = q_learning(exploration_initial_eps=0.3)
    rng = copy.deepcopy(agent.rng["explore"])
    for K in (1, 2, 3, 40) * 50:
        q = rng.integers(-2, 2, K) / 4  # many ties
        agent.rng["explore"] = copy.deepcopy(rng)
        if rng.random() < agent.epsilon:
            expected = int(rng.random() * K)
        else:
            best = np.flatnonzero(q == q.max())
            expected = best[int(rng.random() * len(best))]
        assert agent.epsilon_greedy(q) == expected
        assert agent.rng["explore"].bit_generator.state == rng.bit_generator.state


@pytest.mark.parametrize("q", [[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan]])
def test_a_value_that_is_not_a_number_is_an_error(q):
    agent = q_learning(exploration_initial_eps=0.0, exploration_final_eps=0.0)
    with pytest.raises(NumericsError, match=r"action values \[.*nan.*diverged.*learning_rate"):
        agent.epsilon_greedy(np.array(q))


def test_epsilon_decreases_linearly_over_its_fraction_of_the_budget():
    agent = q_learning(exploration_fraction=0.5, exploration_final_eps=0.1)
    agent.counters.end = 100
    seen = []
    for agent.counters.num_timesteps in (0, 25, 50, 100):
        seen.append(agent.epsilon)
    assert seen == pytest.approx([1.0, 0.55, 0.1, 0.1])
