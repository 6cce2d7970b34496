"""Masks of actions at the end of rows of observations, from environments of every kind."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from support.masked_envs import Blocked, Forgetful, Hand, K

from npr.envs.batched import ErrorPolicy
from npr.envs.make import open_envs
from npr.envs.spaces import actions_from_spec
from npr.errors import EnvContractError, EnvCrashedError, SpaceError

KINDS = ("discrete", "multidiscrete", "multibinary")
HOWS = ("info", "method")


def opened(env, n=1, **options):
    return open_envs(env, n, np.random.SeedSequence(0), action_masks=True, **options)


def steps_of(envs, n=60):
    """(s, masks, a, record) of n steps with random actions that the masks allow."""
    rng = np.random.default_rng(1)
    rows = []
    envs.reset()
    for _ in range(n):
        s = envs.s
        masks = s[:, envs.observations.size :]
        a = envs.actions.uniform(rng, envs.n, masks)
        rows.append((s, masks, a, envs.step(a)))
    envs.close()
    return rows


def expected_mask(kind, held):
    """The mask that a Hand gives, from its observation."""
    if kind == "discrete":
        return held
    if kind == "multidiscrete":
        return np.concatenate([held, [1, 0, 1]])
    return np.stack([np.ones(K), held], axis=-1).ravel()


def check(kind, rows):
    """The mask is that of the observation beside it, in s and s2; all ones where all is over."""
    over = 0
    for s, masks, _, (s2, _, terminated, _, valid) in rows:
        for row, mask in zip(s[:, :K], masks):
            if row.any():  # else the environment only resets itself, whatever the action
                np.testing.assert_array_equal(mask, expected_mask(kind, row))
        for i in np.flatnonzero(valid):
            expected = np.ones(s2.shape[1] - K)
            if not terminated[i]:
                expected = expected_mask(kind, s2[i, :K])
            np.testing.assert_array_equal(s2[i, K:], expected)
            over += terminated[i]
    assert over > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", HOWS)
def test_rows_end_with_the_mask_of_their_observation(kind, how):
    check(kind, steps_of(opened(functools.partial(Hand, kind, how), 2)))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("how", HOWS)
def test_vector_environments_in_every_mode(mode, how):
    envs = [functools.partial(Hand, "discrete", how)] * 3
    if how == "method" and mode == AutoresetMode.SAME_STEP:
        env = SyncVectorEnv([functools.partial(Hand, limit=2, how=how)] * 3, autoreset_mode=mode)
        # that of what was before the reset
        with pytest.raises(EnvContractError, match="env 0, step 2.* no longer has .* SAME_STEP"):
            steps_of(opened(env))
        return
    check("discrete", steps_of(opened(SyncVectorEnv(envs, autoreset_mode=mode))))


def test_a_vector_environment_of_processes():
    check("discrete", steps_of(opened(AsyncVectorEnv([functools.partial(Hand, "discrete")] * 2))))


@pytest.mark.parametrize("how", HOWS)
def test_worker_processes_send_masks(how):
    make = functools.partial(Hand, "discrete", how)
    check("discrete", steps_of(opened(make, 2, vectorization="async")))


def test_taxi_of_gymnasium():
    for s, masks, _, _ in steps_of(opened("Taxi-v4"), 30):
        assert s.shape == (1, 506)
        assert 0 < masks.sum() < 6


def test_a_mask_that_is_missing_or_allows_nothing_is_an_error():
    with pytest.raises(EnvContractError, match=r"env 0, step 3.*info\[.action_mask.\]"):
        steps_of(opened(Forgetful))
    with pytest.raises(EnvContractError, match="env 0, step 1: A mask allows no action"):
        steps_of(opened(Blocked))
    with pytest.raises(EnvContractError, match="needs the actions that are allowed next"):
        opened("CartPole-v1").reset()
    with pytest.raises(SpaceError, match="needs Discrete, MultiDiscrete or MultiBinary"):
        opened("Pendulum-v1")


ACTIONS = {
    "discrete": actions_from_spec({"kind": "discrete", "n": 3, "start": 0}),
    "multidiscrete": actions_from_spec({"kind": "multidiscrete", "nvec": [2, 3], "start": [0, 0]}),
    "multibinary": actions_from_spec({"kind": "multibinary", "shape": [2]}),
}


@pytest.mark.parametrize(
    ("kind", "mask"),
    [
        ("discrete", [0, 0, 0]),
        ("discrete", [1, 1]),
        ("discrete", "abc"),
        ("discrete", [[1], [1, 0]]),
        ("multidiscrete", [0, 0, 1, 1, 1]),
        ("multidiscrete", [1, 1, 0, 0, 0]),
        ("multibinary", [1, 1, 0, 0]),
        ("multibinary", [1, 1]),
    ],
)
def test_masks_that_do_not_fit(kind, mask):
    actions = ACTIONS[kind]
    with pytest.raises(EnvContractError, match="mask"):
        actions.write_mask(mask, np.empty(actions.mask_size))


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_actions_are_uniform_among_those_allowed(kind):
    actions, rng = ACTIONS[kind], np.random.default_rng(0)
    mask = {"discrete": [1, 0, 1], "multidiscrete": [0, 1, 1, 0, 1], "multibinary": [1, 1, 0, 1]}
    n = 20_000
    a = actions.uniform(rng, n, np.tile(np.array(mask[kind], float), (n, 1))).reshape(n, -1)
    assert actions.contains(a)
    found, counts = np.unique(a, axis=0, return_counts=True)
    allowed = {
        "discrete": [[0], [2]], "multidiscrete": [[1, 0], [1, 2]], "multibinary": [[0, 1], [1, 1]]
    }  # fmt: skip
    assert found.tolist() == allowed[kind]
    assert abs(counts / n - 0.5).max() < 4 * 0.5 / np.sqrt(n)


def test_an_environment_that_has_masks_is_known_without_using_them():
    envs = open_envs(Hand, 1, np.random.SeedSequence(0))
    assert not envs.offers_masks
    envs.reset()
    assert envs.offers_masks
    assert envs.s.shape == (1, K)
    plain = open_envs("CartPole-v1", 1, np.random.SeedSequence(0))
    plain.reset()
    assert not plain.offers_masks


class Asking(Hand):
    """A Hand whose action_masks() raises from step `after` of an episode on."""

    def __init__(self, after):
        super().__init__(how=None)
        self.after = after

    def action_masks(self):
        if self.t >= self.after:
            raise RuntimeError("no hand")
        return self.mask()


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_without_masks_the_method_is_not_called(engine):
    make = functools.partial(Asking, 0)
    envs = open_envs(make, 1, np.random.SeedSequence(0), vectorization=engine)
    envs.reset()
    assert envs.offers_masks
    envs.close()


@pytest.mark.parametrize("after", [0, 2])
def test_a_method_that_raises_is_a_crash_of_its_environment(after):
    make = functools.partial(Asking, after)
    with pytest.raises(EnvCrashedError, match="env 0 raised RuntimeError: no hand"):
        steps_of(opened(make))
    with pytest.raises(EnvContractError, match=r"env 0, step .* action_masks\(\) raised Runtime"):
        steps_of(opened(SyncVectorEnv([make])))
    policy = ErrorPolicy(on_env_error="reset")
    tolerant = opened(make, error_policy=policy)
    with pytest.warns(RuntimeWarning, match="no hand"), pytest.raises(EnvCrashedError):
        steps_of(tolerant, 100)
    assert tolerant.dropped == (10 if after else 0)


class Other(Hand):
    """A Hand whose action_masks is something else."""

    def __init__(self, action_masks):
        super().__init__(how="")
        self.action_masks = action_masks


def test_the_masks_of_an_environment_may_be_an_attribute():
    envs = opened(lambda: Other(np.array([1, 0, 0, 1])))
    np.testing.assert_array_equal(envs.reset()[0, K:], [1, 0, 0, 1])


def test_gymnasium_still_has_masks_in_taxi():
    _, info = gym.make("Taxi-v4").reset(seed=0)
    assert info["action_mask"].shape == (6,)


@pytest.mark.parametrize("mask", [[0, -np.inf, 0, 0], [1, np.nan, 0, 0], [1, -1, 0, 0], [0.5] * 4])
def test_a_mask_of_other_numbers_than_zeros_and_ones_is_refused(mask):
    """What is added to logits has 0 where an action is allowed: the opposite."""
    actions = actions_from_spec({"kind": "discrete", "n": 4, "start": 0})
    with pytest.raises(EnvContractError, match="1 for what is allowed and 0 for the rest"):
        actions.write_mask(mask, np.empty(4, np.float32))
