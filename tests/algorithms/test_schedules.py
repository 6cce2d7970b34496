"""Schedules of the learning rate and of exploration."""

import numpy as np
import pytest
from support.small_agents import (
    BUDGET,
    small_agent,
)


@pytest.mark.parametrize(
    "setting, first, last",
    [
        ("linear:1e-3", 1e-3, 0.0),
        ("linear:1e-3:1e-4", 1e-3, 1e-4),
        ([1e-3, 1e-4], 1e-3, 1e-4),
        ((1e-4, 1e-3), 1e-4, 1e-3),
        (2e-3, 2e-3, 2e-3),
        (1, 1.0, 1.0),
    ],
)
def test_a_schedule_runs_over_the_budget(setting, first, last):
    agent, seen = small_agent("QLearning", learning_rate=setting), []
    agent.learn(50, callback=lambda agent: seen.append(agent.now(agent.learning_rate)))
    np.testing.assert_allclose(seen, first + (last - first) * np.arange(1, 51) / 50)


@pytest.mark.parametrize("case", ["DQN", "PPO", "SAC"])
def test_the_optimizers_follow_the_schedule(case):
    agent = small_agent(case, learning_rate="linear:1e-3:2e-4").learn(BUDGET)
    adams = [part for name, part in vars(agent).items() if name.startswith("adam")]
    assert adams
    assert [adam.learning_rate for adam in adams] == [pytest.approx(2e-4)] * len(adams)


def test_a_schedule_that_ends_at_zero_stops_learning():
    agent = small_agent("QLearning", learning_rate=[0, 0]).learn(50)
    assert not agent.Q.any()


def test_exploration_decreases_over_its_fraction_of_the_budget():
    agent = small_agent(
        "DQN", exploration_initial_eps=0.9, exploration_final_eps=0.1, exploration_fraction=0.5
    )
    seen = {}
    agent.learn(40, callback=lambda agent: seen.update({agent.num_timesteps: agent.epsilon}))
    expected = [0.9 - 0.8 * min(1, t / 20) for t in range(1, 41)]
    np.testing.assert_allclose(list(seen.values()), expected)
