"""The short path of one environment against the path of several, on steps of every kind."""

import functools
import warnings

import numpy as np
import pytest
from support.faults import (
    raises,
    with_info,
    with_observation,
    with_reward,
    with_terminated,
    with_truncated,
)
from support.recorders import Recorder
from support.toy_envs import CountingEnv, FaultyEnv, TwoStates

import npr
from npr.envs import env_list

STEPS = {
    "none": None,
    "an int as the reward": with_reward(-1),
    "a float of NumPy": with_reward(np.float64(0.1)),
    "a float32": with_reward(np.float32(0.1)),
    "an array of one": with_reward(np.array([0.5])),
    "a reward that is not finite": with_reward(np.nan),
    "a reward too large for float32": with_reward(1e300),
    "an integer too large for a float": with_reward(10**400),
    "a large reward": with_reward(-2e6),
    "a text as the reward": with_reward("1"),
    "NaN": with_observation(np.full(3, np.nan, np.float32)),
    "another shape": with_observation(np.zeros(2, np.float32)),
    "an end of NumPy": with_terminated(np.True_),
    "an int as the end": with_terminated(1),
    "a time limit": with_truncated(True),
    "a success": {**with_info({"is_success": True}), "at": 3},
    "no info": with_info(None),
    "four values": {"step": lambda *result: result[:4]},
    "an exception": raises(ValueError("boom")),
}  # fmt: skip


def course(make, **settings):
    """What a Recorder sees in 20 steps, or its error; its statistics and warnings."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        agent = Recorder(make, seed=0, verbose=0, **settings)
        try:
            agent.learn(20)
            error = None
        except npr.NprError as raised:
            error = f"{type(raised).__name__}: {raised}"
    envs = agent.envs
    state = {key: value.tolist() for key, value in envs.state().items()}
    return {
        "rows": agent.rows, "error": error, "state": state, "dropped": envs.dropped,
        "returns": envs.returns, "episodes": list(agent.logger.episodes),
        "successes": [str(x) for x in agent.logger.successes],
        "warnings": [str(one.message) for one in warned],
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{}, {"nan_obs": "terminate", "on_env_error": "reset"}], ids=["raise", "tolerate"]
)
@pytest.mark.parametrize("name", STEPS)
def test_the_short_path_is_the_long_one(name, settings, monkeypatch):
    fault = STEPS[name]
    fault = {"step": fault} if callable(fault) else fault or {}
    make = functools.partial(FaultyEnv, **fault)
    short = course(make, **settings)
    monkeypatch.setattr(env_list, "LARGE_REWARD", -1.0)  # no step is usual
    assert course(make, **settings) == short
    assert short["error"] or len(short["rows"]) == 20


def test_a_table_learns_the_same_on_both_paths(monkeypatch):
    tables = []
    for limit in (env_list.LARGE_REWARD, -1.0):
        monkeypatch.setattr(env_list, "LARGE_REWARD", limit)
        tables.append(npr.QLearning(TwoStates, seed=0, verbose=0, max_episode_steps=7).learn(200).Q)
    assert tables[0].any() and np.array_equal(*tables)


def test_discrete_actions_are_logged_as_they_are_replayed():
    agent = Recorder(CountingEnv, seed=0, verbose=0).learn(2)
    actions = agent.envs.logs[0].actions()
    assert actions.dtype == np.int64 and actions.tolist() == [a for _, a, *_ in agent.rows[-2:]]
