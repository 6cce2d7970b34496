"""The settings `nan_obs="terminate"` and `on_env_error="reset"`."""

import functools
import warnings

import numpy as np
import pytest
from support.faults import raises, seen
from support.recorders import Recorder, RolloutRecorder, behind_the_door, by_env
from support.toy_envs import CountingEnv, Faulty, Hostile

import npr
from npr.envs.batched import CRASHES
from npr.errors import ConfigError, EnvContractError, EnvCrashedError

# ---- nan_obs="terminate"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_number_that_is_not_finite_ends_its_episode_where_that_is_asked_for(kind, fault, bad):
    env, n_envs = behind_the_door(kind, [CountingEnv, lambda: Faulty(fault, bad, number=1)])
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    if fault == "reset":  # tried again, no episode was open
        agent.learn(60)
    else:
        with pytest.warns(RuntimeWarning, match=r"^env 1 .* dropped and the environment reset"):
            agent.learn(60)
    assert agent.envs.dropped == (fault != "reset")
    assert len(agent.rows) == agent.num_timesteps >= 60
    rows = by_env(agent.rows)
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5}[fault]
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1) and np.isfinite(r)
    episodes = [s[1] for s, *_ in rows[1]]
    assert episodes.count(0) == step - 1, "the step itself is dropped"
    assert episodes.count(1) == (0 if fault == "reset" else 4) and episodes.count(2) == 4
    assert len(rows[0]) >= 29, "the other environment goes on"
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}), "its episode has another number"
    whole = len([s for s, *_, s2, end in rows[1] if end])
    lengths = [length for _, length in agent.logger.episodes]
    assert lengths.count(4) == whole and set(lengths) == {3, 4}, "no statistics of what was dropped"


def test_one_warning_stands_for_all_that_follow_and_they_are_counted():
    env = functools.partial(Hostile, always=True, **seen(np.full(3, np.nan)))
    agent = Recorder(env, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning, match="counted in envs.dropped") as warned:
        agent.learn(1)
        agent.envs.step(np.zeros(1, int))
        for _ in range(4):
            assert agent.envs.step(np.zeros(1, int))[4].tolist() == [False]
    assert len(warned) == 1 and agent.envs.dropped == 5


def test_a_dropped_step_is_a_row_that_is_not_valid():
    makers = [CountingEnv, lambda: Faulty("step", number=1)]
    env, n_envs = behind_the_door("list", makers)
    agent = RolloutRecorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning):
        agent.learn(40)
    D = agent.rows[0]
    assert np.argwhere(~D.valid).tolist() == [[1, 1]]
    assert D.r[1, 1] == 0 and np.isfinite(D.s2).all()


@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_reset_that_never_gets_finite_is_refused_after_three_more(kind):
    made = []

    def make():
        bad = np.array([1, 0, np.nan], np.float32)
        made.append(Hostile(reset=lambda o, info: (bad, info), at=1, always=True))
        return made[-1]

    agent = Recorder(behind_the_door(kind, [make])[0], seed=0, verbose=0, nan_obs="terminate")
    with pytest.raises(EnvContractError, match=r"env 0 .*index 2 = nan\) at step 0, 0 steps.*Fix"):
        agent.learn(5)
    assert made[-1].resets == 4


@pytest.mark.parametrize("kind", ["sync-next", "sync-same"])
def test_an_environment_that_resets_itself_cannot_be_cut_short(kind):
    env, _ = behind_the_door(kind, [CountingEnv])
    with pytest.raises(ConfigError, match="nan_obs='terminate' needs environments that npr resets"):
        npr.DQN(env, nan_obs="terminate")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"nan_obs": "ignore"}, "nan_obs must be 'raise' or 'terminate', got 'ignore'"),
        ({"on_env_error": "terminate"}, "on_env_error must be 'raise' or 'reset', got 'termin"),
        ({"env_timeout": 0}, "env_timeout must be above 0"),
        ({"env_timeout": "5"}, "env_timeout must be float or None"),
    ],
)
def test_a_rule_that_is_not_known_is_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        npr.DQN("CartPole-v1", **settings)


# ---- on_env_error="reset"


def test_an_environment_that_raises_is_reset_where_that_is_asked_for():
    makers = [CountingEnv, functools.partial(Hostile, step=raises(ValueError("boom")), at=5)]
    env, n_envs = behind_the_door("list", makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, on_env_error="reset")
    with pytest.warns(RuntimeWarning, match=r"^env 1 raised ValueError: boom, at step 5.*dropped"):
        agent.learn(40)
    assert agent.envs.dropped == 1 and len(agent.rows) == agent.num_timesteps
    rows = [row[0][1:] for row in by_env(agent.rows)[1]]
    assert rows[:7] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert {length for _, length in agent.logger.episodes} == {3}


@pytest.mark.parametrize("call", ["step", "reset"])
def test_more_than_ten_crashes_within_an_hour_are_refused_after_all(call):
    fault = {call: raises(ValueError("boom")), "at": 3, "always": True}
    agent = Recorder(functools.partial(Hostile, **fault), verbose=0, on_env_error="reset")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(EnvCrashedError, match="lets 10 crashes within an hour pass, and this"):
            agent.learn(100)
    assert len(warned) == CRASHES


def test_crashes_that_lie_an_hour_apart_are_no_reason_to_stop(monkeypatch):
    hours = iter(range(1_000))
    monkeypatch.setattr("npr.envs.batched.time.monotonic", lambda: 400.0 * next(hours))
    fault = functools.partial(Hostile, step=raises(ValueError("boom")), at=3, always=True)
    agent = Recorder(fault, verbose=0, on_env_error="reset")
    agent.envs.reset()
    with pytest.warns(RuntimeWarning):
        for _ in range(30):
            agent.envs.step(np.zeros(1, int))
    assert agent.envs.dropped == 28


def test_a_vector_environment_of_the_user_s_cannot_be_replaced():
    with pytest.raises(ConfigError, match="on_env_error='reset' needs environments that npr makes"):
        npr.DQN(behind_the_door("sync-disabled", [CountingEnv])[0], on_env_error="reset")
