"""One call of learn(): transitions with their episodes, and statistics of valid rows."""

import numpy as np
import pytest
from support.small_agents import run_of, small_agent

from npr.training.counters import Counters
from npr.training.logger import explained_variance
from npr.training.run import Transition


def test_a_transition_is_named_and_numbers_its_episodes():
    agent = small_agent("DQN", n_envs=2)
    run = run_of(agent)
    agent.counters.begin(6, 0, reset=True)
    with run.interrupts:
        transitions = list(run.interact(lambda s: np.zeros(len(s), np.int64)))
    assert len(transitions) == 3 and all(type(one) is Transition for one in transitions)
    assert transitions[0].s.shape == transitions[0].s2.shape == (2, 4)
    assert np.array_equal(transitions[0].episode, agent.envs.episode)
    assert len({*transitions[0].episode.tolist()}) == 2
    assert np.array_equal(transitions[1].s, transitions[0].s2)
    assert agent.num_timesteps == 6 and run.last_steps == 2


def test_explained_variance_counts_valid_rows_only():
    v, R = np.array([[1.0, 9.0], [2.0, -7.0], [4.0, 3.0]]), np.array([[1.5, 0.0], [2, 50], [5, 3]])
    rows = np.array([0, 2, 4])  # the first environment
    expected = 1 - np.var([0.5, 0.0, 1.0]) / np.var([1.5, 2.0, 5.0])
    assert explained_variance(v, R, rows) == pytest.approx(expected)


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("total", [None, 50])
def test_a_run_begins_where_it_should(total, reset, unfinished):
    counters = Counters(num_timesteps=30, end=100, n_updates=7, unfinished=unfinished)
    budget = counters.begin(total, 1_000, reset)
    start = 0 if reset and not unfinished else 30
    assert budget == (total or (70 if unfinished else 1_000))
    assert (counters.num_timesteps, counters.end) == (start, start + budget)
    assert counters.n_updates == 7 and not counters.unfinished
    assert counters.progress == start / counters.end
