"""`learn`: budgets, callbacks and continuing a run."""

import numpy as np
import pytest
from support.small_agents import (
    CASES,
    assert_same_parameters,
    parameters,
    small_agent,
    trained,
)

import npr
from npr import ConfigError

every_case = pytest.mark.parametrize("case", CASES)


# ---- learn


@every_case
def test_learn_returns_the_agent_after_the_budget(case):
    agent = small_agent(case)
    assert agent.learn(37) is agent
    assert agent.num_timesteps == 37


@every_case
def test_learn_with_a_budget_of_zero_changes_nothing(case):
    agent = small_agent(case).learn(0)
    assert agent.num_timesteps == 0
    assert_same_parameters(agent, small_agent(case))


@every_case
def test_learn_changes_the_parameters_and_keeps_them_finite(case):
    before, after = parameters(small_agent(case)), parameters(trained(case))
    assert all(np.isfinite(array).all() for array in after.values())
    moved = {name for name, array in after.items() if (array != before[name]).any()}
    assert moved == set(after)


@pytest.mark.parametrize("budget", [1e2, 100, np.int64(100), np.float32(100)])
def test_a_budget_may_be_any_whole_number(budget):
    agent = small_agent("QLearning").learn(budget)
    assert agent.num_timesteps == 100
    assert type(agent.num_timesteps) is int


@pytest.mark.parametrize(
    "budget, match",
    [
        (-1, "total_timesteps must not be negative, got -1"),
        (0.5, "total_timesteps must be a whole number of env steps, or None .* got 0.5"),
        (float("nan"), "must be a whole number .* got nan"),
        (float("inf"), "must be a whole number .* got inf"),
        ("100", "must be a whole number .* got '100'"),
        (True, "must be a whole number .* got True"),
        ([100], "must be a whole number"),
    ],
)
def test_an_invalid_budget_is_refused(budget, match):
    with pytest.raises(ConfigError, match=match):
        small_agent("QLearning").learn(budget)


@every_case
def test_the_callback_is_called_after_every_step(case):
    agent, seen = small_agent(case), []

    def callback(given):
        assert given is agent
        seen.append(given.num_timesteps)

    agent.learn(25, callback)
    assert seen == list(range(1, 26))


@pytest.mark.filterwarnings("ignore:REINFORCE learned nothing")
@pytest.mark.parametrize("no", [False, np.bool_(False)], ids=["False", "NumPy's False"])
@every_case
def test_the_callback_stops_with_false(case, no):
    agent = small_agent(case).learn(
        40, callback=lambda agent: no if agent.num_timesteps == 7 else None
    )
    assert agent.num_timesteps == 7
    assert (
        agent.learn(10, reset_num_timesteps=False).num_timesteps == 17
    )  # the callback is not kept


@pytest.mark.parametrize("yes", [None, True, np.bool_(True), 0, "", 0.0])
def test_the_callback_continues_with_anything_else(yes):
    assert small_agent("QLearning").learn(9, callback=lambda _: yes).num_timesteps == 9


def test_an_error_of_a_callback_is_raised_and_learning_can_continue():
    def callback(agent):
        if agent.num_timesteps == 7:
            raise KeyError("mine")

    agent = small_agent("DQN")
    with pytest.raises(KeyError, match="mine"):
        agent.learn(40, callback)
    assert agent.learn(40, reset_num_timesteps=False).num_timesteps == 47


@every_case
def test_two_runs_equal_one_run_of_the_total_budget(case):
    """With a constant learning rate and exploration, so that nothing depends on the budget."""
    steady = {"exploration_initial_eps": 0.3, "exploration_final_eps": 0.3}
    if CASES[case][0] == "REINFORCE":
        pytest.skip("incomplete episodes are not learned from")
    steady = steady if "exploration_fraction" in getattr(npr, CASES[case][0]).settings else {}
    once = small_agent(case, **steady).learn(64)
    twice = small_agent(case, **steady).learn(32).learn(32, reset_num_timesteps=False)
    assert twice.num_timesteps == 64
    assert_same_parameters(once, twice)


def test_reset_num_timesteps_resets_the_counter_and_the_schedules():
    agent = small_agent("QLearning", exploration_fraction=1.0).learn(40)
    assert (agent.num_timesteps, agent.progress) == (40, 1.0)
    assert agent.epsilon == pytest.approx(agent.exploration_final_eps)
    agent.learn(60, reset_num_timesteps=False)
    assert agent.num_timesteps == 100
    first = []
    agent.learn(10, callback=lambda agent: first.append((agent.num_timesteps, agent.epsilon)))
    assert agent.num_timesteps == 10
    assert first[0] == (1, pytest.approx(1 - 0.1 * 0.7))
