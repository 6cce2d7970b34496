"""Observations and rewards that are not finite are named and not stored."""

import functools

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorders import SYNC_KINDS, Recorder, behind_the_door, dqn, stepped
from support.toy_envs import (
    CountingEnv,
    Faulty,
    Fixed,
    Interrupted,
)

from npr.errors import EnvContractError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_number_that_is_not_finite_is_named_and_not_stored(kind, fault, bad):
    """Env 1 of two is faulty: at its 2nd step, its 4th, or the reset that follows the 4th."""
    env, n_envs = behind_the_door(kind, [CountingEnv, lambda: Faulty(fault, bad, number=1)])
    agent = dqn(env, n_envs)
    what = r"reward \(" if fault == "reward" else r"observation \(index 2 = "
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5 if kind == "sync-next" else 4}[fault]
    into = {"step": 2, "reward": 2, "final": 4, "reset": 0}[fault]
    action = "; its last action was [01]" if into else ""
    large = "" if np.isnan(bad) else " It may be a number too large for float32."
    other = ", or pass nan_obs='terminate'" if kind in ("list", "sync-disabled") else ""
    with pytest.raises(
        EnvContractError,
        match=rf"^env 1 returned a non-finite {what}{bad}\) at step {step}, {into} steps into its "
        rf"episode{action}\.{large} Nothing of it was stored. Fix the environment{other}\.",
    ):
        agent.learn(100)
    D = agent.buffer
    assert D.size == 2 * (step - 1) - (kind == "sync-next" and step == 5)
    for column in D.state().values():
        assert np.isfinite(column).all()


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_the_first_observation_is_checked_too(kind):
    space = spaces.Box(-1, 1, (2,), np.float32)
    bad = np.array([0, np.nan], np.float32)
    env, n_envs = behind_the_door(kind, [lambda: Fixed(space, bad)])
    agent = dqn(env, n_envs)
    with pytest.raises(EnvContractError, match=r"env 0 .* observation \(index 1 = nan\) at step 0"):
        agent.learn(10)
    assert agent.buffer.size == 0


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize(
    ("breaks", "error"),
    [
        pytest.param(Interrupted, KeyboardInterrupt, id="Ctrl-C"),
        *(
            pytest.param(functools.partial(Faulty, fault), EnvContractError, id=f"bad {fault}")
            for fault in Faulty.FAULTS
        ),
    ],
)
def test_after_a_step_that_broke_off_learning_goes_on_with_whole_transitions(kind, breaks, error):
    """Some environments have made the step and some not; none of it may become a row."""
    makers = [CountingEnv, lambda: breaks(number=1), lambda: CountingEnv(2)]
    env, n_envs = behind_the_door(kind, makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0)
    with pytest.raises(error):
        agent.learn(30)
    agent.learn(30)
    assert len(agent.rows) >= 30
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
        assert np.isfinite(r)
    episodes = {}
    for s, _, r, _, _ in agent.rows:
        episodes.setdefault(s[:2], []).append(r)
    whole = [3, 3 if breaks is Interrupted else 4, 3]  # steps in an episode of each environment
    expected = [(sum(r), len(r)) for (i, _), r in episodes.items() if len(r) == whole[int(i)]]
    assert sorted(agent.logger.episodes) == sorted(expected), "statistics start anew as well"


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_finite_numbers_are_never_taken_for_infinite(seed):
    """The check is one dot product with zeros; huge numbers must not trip it."""
    rng = np.random.default_rng(seed)
    huge = (rng.choice([-1, 1], 3) * np.finfo(np.float32).max).astype(np.float32)
    space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    assert np.array_equal(stepped(Fixed(space, huge))[0], [huge])
