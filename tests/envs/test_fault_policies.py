"""The settings `nan_obs="terminate"` and `on_env_error="reset"`."""

import functools
import warnings

import numpy as np
import pytest
from support.faults import raises, with_observation
from support.recorders import Recorder, RolloutRecorder, env_and_count, rows_by_env
from support.toy_envs import CountingEnv, FaultyEnv, NonFiniteEnv

import npr
from npr.envs.batched import MAX_CRASHES
from npr.errors import ConfigError, EnvContractError, EnvCrashedError

# ---- nan_obs="terminate"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("fault", NonFiniteEnv.FAULTS)
@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_nan_obs_terminate_ends_the_episode_of_a_non_finite_number(kind, fault, bad):
    env, n_envs = env_and_count(kind, [CountingEnv, lambda: NonFiniteEnv(fault, bad, number=1)])
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    if fault == "reset":  # reset is repeated; no episode was running
        agent.learn(60)
    else:
        with pytest.warns(RuntimeWarning, match=r"^env 1 .* dropped and the environment reset"):
            agent.learn(60)
    assert agent.envs.dropped == (fault != "reset")
    assert len(agent.rows) == agent.num_timesteps >= 60
    rows = rows_by_env(agent.rows)
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5}[fault]
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1) and np.isfinite(r)
    episodes = [s[1] for s, *_ in rows[1]]
    assert episodes.count(0) == step - 1, "the step itself is dropped"
    assert episodes.count(1) == (0 if fault == "reset" else 4) and episodes.count(2) == 4
    assert len(rows[0]) >= 29, "the other environment continues"
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}), "the next episode has another number"
    completed = len([s for s, *_, s2, end in rows[1] if end])
    lengths = [length for _, length in agent.logger.episodes]
    assert lengths.count(4) == completed and set(lengths) == {3, 4}, (
        "no statistics of dropped episodes"
    )


def test_dropped_steps_cause_one_warning_and_are_counted():
    env = functools.partial(FaultyEnv, always=True, **with_observation(np.full(3, np.nan)))
    agent = Recorder(env, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning, match="counted in envs.dropped") as warned:
        agent.learn(1)
        agent.envs.step(np.zeros(1, int))
        for _ in range(4):
            assert agent.envs.step(np.zeros(1, int))[4].tolist() == [False]
    assert len(warned) == 1 and agent.envs.dropped == 5


def test_a_dropped_step_is_an_invalid_row():
    makers = [CountingEnv, lambda: NonFiniteEnv("step", number=1)]
    env, n_envs = env_and_count("list", makers)
    agent = RolloutRecorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning):
        agent.learn(40)
    D = agent.rows[0]
    assert np.argwhere(~D.valid).tolist() == [[1, 1]]
    assert D.r[1, 1] == 0 and np.isfinite(D.s2).all()


@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_reset_that_stays_non_finite_fails_after_three_retries(kind):
    made = []

    def make():
        bad = np.array([1, 0, np.nan], np.float32)
        made.append(FaultyEnv(reset=lambda o, info: (bad, info), at=1, always=True))
        return made[-1]

    agent = Recorder(env_and_count(kind, [make])[0], seed=0, verbose=0, nan_obs="terminate")
    with pytest.raises(EnvContractError, match=r"env 0 .*index 2 = nan\) at step 0, 0 steps.*Fix"):
        agent.learn(5)
    assert made[-1].resets == 4


@pytest.mark.parametrize("kind", ["sync-next", "sync-same"])
def test_nan_obs_terminate_needs_environments_without_autoreset(kind):
    env, _ = env_and_count(kind, [CountingEnv])
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
def test_an_unknown_fault_policy_is_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        npr.DQN("CartPole-v1", **settings)


# ---- on_env_error="reset"


def test_on_env_error_reset_resets_an_environment_that_raises():
    makers = [CountingEnv, functools.partial(FaultyEnv, step=raises(ValueError("boom")), at=5)]
    env, n_envs = env_and_count("list", makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, on_env_error="reset")
    with pytest.warns(RuntimeWarning, match=r"^env 1 raised ValueError: boom, at step 5.*dropped"):
        agent.learn(40)
    assert agent.envs.dropped == 1 and len(agent.rows) == agent.num_timesteps
    rows = [row[0][1:] for row in rows_by_env(agent.rows)[1]]
    assert rows[:7] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert {length for _, length in agent.logger.episodes} == {3}


@pytest.mark.parametrize("call", ["step", "reset"])
def test_more_than_ten_crashes_within_an_hour_stop_the_run(call):
    fault = {call: raises(ValueError("boom")), "at": 3, "always": True}
    agent = Recorder(functools.partial(FaultyEnv, **fault), verbose=0, on_env_error="reset")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(EnvCrashedError, match="tolerates 10 crashes within an hour, and this"):
            agent.learn(100)
    assert len(warned) == MAX_CRASHES


def test_crashes_more_than_an_hour_apart_do_not_stop_the_run(monkeypatch):
    hours = iter(range(1_000))
    monkeypatch.setattr("npr.envs.batched.time.monotonic", lambda: 400.0 * next(hours))
    fault = functools.partial(FaultyEnv, step=raises(ValueError("boom")), at=3, always=True)
    agent = Recorder(fault, verbose=0, on_env_error="reset")
    agent.envs.reset()
    with pytest.warns(RuntimeWarning):
        for _ in range(30):
            agent.envs.step(np.zeros(1, int))
    assert agent.envs.dropped == 28


def test_on_env_error_reset_needs_environments_that_npr_makes():
    with pytest.raises(ConfigError, match="on_env_error='reset' needs environments that npr makes"):
        npr.DQN(env_and_count("sync-disabled", [CountingEnv])[0], on_env_error="reset")
