"""Non-finite observations and rewards are reported and not stored."""

import functools

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorders import SYNC_KINDS, Recorder, dqn, env_and_count, first_step
from support.toy_envs import (
    CountingEnv,
    Fixed,
    InterruptedEnv,
    NonFiniteEnv,
)

from npr.errors import EnvContractError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fault", NonFiniteEnv.FAULTS)
@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_non_finite_number_is_reported_and_not_stored(kind, fault, bad):
    """Env 1 of two is faulty: at its 2nd step, its 4th, or the reset after the 4th."""
    env, n_envs = env_and_count(kind, [CountingEnv, lambda: NonFiniteEnv(fault, bad, number=1)])
    agent = dqn(env, n_envs)
    what = r"reward \(" if fault == "reward" else r"observation \(index 2 = "
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5 if kind == "sync-next" else 4}[fault]
    into = {"step": 2, "reward": 2, "final": 4, "reset": 0}[fault]
    action = "; its last action was [01]" if into else ""
    large = "" if np.isnan(bad) else " It may be too large for float32."
    other = ", or pass nan_obs='terminate'" if kind in ("list", "sync-disabled") else ""
    with pytest.raises(
        EnvContractError,
        match=rf"^env 1 returned a non-finite {what}{bad}\) at step {step}, {into} steps into its "
        rf"episode{action}\.{large} The step was not stored. Fix the environment{other}\.",
    ):
        agent.learn(100)
    D = agent.buffer
    assert D.size == 2 * (step - 1) - (kind == "sync-next" and step == 5)
    for column in D.state().values():
        assert np.isfinite(column).all()


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_the_first_observation_is_checked(kind):
    space = spaces.Box(-1, 1, (2,), np.float32)
    bad = np.array([0, np.nan], np.float32)
    env, n_envs = env_and_count(kind, [lambda: Fixed(space, bad)])
    agent = dqn(env, n_envs)
    with pytest.raises(EnvContractError, match=r"env 0 .* observation \(index 1 = nan\) at step 0"):
        agent.learn(10)
    assert agent.buffer.size == 0


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize(
    ("breaks", "error"),
    [
        pytest.param(InterruptedEnv, KeyboardInterrupt, id="Ctrl-C"),
        *(
            pytest.param(
                functools.partial(NonFiniteEnv, fault), EnvContractError, id=f"bad {fault}"
            )
            for fault in NonFiniteEnv.FAULTS
        ),
    ],
)
def test_learning_continues_with_valid_transitions_after_an_aborted_step(kind, breaks, error):
    """Some environments have made the step and some have not; nothing of it may be stored."""
    makers = [CountingEnv, lambda: breaks(number=1), lambda: CountingEnv(2)]
    env, n_envs = env_and_count(kind, makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0)
    with pytest.raises(error):
        agent.learn(30)
    agent.learn(30, reset_num_timesteps=False)
    assert len(agent.rows) >= 30
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
        assert np.isfinite(r)
    episodes = {}
    for s, _, r, _, _ in agent.rows:
        episodes.setdefault(s[:2], []).append(r)
    lengths = [
        3,
        3 if breaks is InterruptedEnv else 4,
        3,
    ]  # lengths of the episodes of each environment
    expected = [(sum(r), len(r)) for (i, _), r in episodes.items() if len(r) == lengths[int(i)]]
    assert sorted(agent.logger.episodes) == sorted(expected), "statistics restart too"


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_huge_finite_numbers_pass_the_check(seed):
    """The check is a dot product with zeros, in which huge numbers must not overflow."""
    rng = np.random.default_rng(seed)
    huge = (rng.choice([-1, 1], 3) * np.finfo(np.float32).max).astype(np.float32)
    space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    assert np.array_equal(first_step(Fixed(space, huge))[0], [huge])
