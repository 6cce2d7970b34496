"""Actions: scaling from [-1, 1], shapes, types and bounds."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import example, given
from hypothesis import strategies as st
from support.recorders import SYNC_KINDS, env_and_count
from support.toy_envs import (
    ActionRecorder,
)

from npr.backend import FLOAT
from npr.envs.contract import action_spec
from npr.envs.make import open_envs
from npr.envs.spaces import actions_from_spec
from npr.errors import ConfigError, SpaceError


def box(low, high, shape=None, dtype=np.float32):
    return actions_from_spec(action_spec(spaces.Box(low, high, shape, dtype)))


def to_env_checked(actions, a):
    """The environment's action for a; the batched conversion must agree."""
    one = actions.to_env(np.asarray(a))
    batch = actions.to_env_batch(np.stack([np.asarray(a)] * 2))
    assert batch.shape == (2, *np.shape(one))
    assert batch.dtype == np.asarray(one).dtype
    assert np.array_equal(batch[0], one) and np.array_equal(batch[1], one)
    return one


def test_minus_one_to_one_is_mapped_to_the_bounds():
    actions = box(0, 10, (1,))
    assert [to_env_checked(actions, [a])[0] for a in (-1.0, 0.0, 1.0)] == [0, 5, 10]
    assert [to_env_checked(actions, [a])[0] for a in (-3.0, 3.0)] == [0, 10], "clipped"


def test_every_dimension_is_scaled_separately():
    actions = box(np.array([-2, 0], np.float32), np.array([0.5, 10], np.float32))
    assert to_env_checked(actions, [0.0, 0.5]).tolist() == [-0.75, 7.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_have_the_shape_and_dtype_of_the_space(dtype):
    actions = box(0, 10, (2, 3), dtype)
    assert actions.size == 6
    one = to_env_checked(actions, np.linspace(-1, 1, 6, dtype=np.float32))
    assert one.shape == (2, 3) and one.dtype == dtype
    np.testing.assert_allclose(one, [[0, 2, 4], [6, 8, 10]], rtol=1e-6)


def test_a_dimension_with_equal_bounds_is_constant():
    actions = box(np.array([3, 0], np.float32), np.array([3, 1], np.float32))
    for a in (-1.0, 0.2, 1.0, 5.0):
        assert to_env_checked(actions, [a, -1.0]).tolist() == [3, 0]


def test_an_unbounded_dimension_is_not_scaled():
    actions = box(np.array([-np.inf, 0], np.float32), np.array([np.inf, 10], np.float32))
    assert not actions.bounded and box(0, 1, (2,)).bounded
    assert to_env_checked(actions, [123.0, 3.0]).tolist() == [123, 10]


def test_huge_bounds_do_not_overflow():
    limit = np.finfo(np.float32).max
    actions = box(-limit, limit, (1,))
    assert [to_env_checked(actions, [a])[0] for a in (-1.0, 0.0, 1.0)] == [-limit, 0, limit]


def test_discrete_actions_are_offset_by_the_start_of_the_space():
    actions = actions_from_spec(action_spec(spaces.Discrete(3, start=-1)))
    assert [to_env_checked(actions, a) for a in (0, 1, 2)] == [-1, 0, 1]
    assert actions.n == 3


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite, st.floats(-2, 2, width=32))
@example(low=-1e6, high=1e-6, a=1.0)
def test_a_scaled_action_is_in_the_space(low, high, a):
    low, high = sorted((low, high))
    for dtype in (np.float32, np.float64):
        space = spaces.Box(low, high, (1,), dtype)
        assert space.contains(to_env_checked(actions_from_spec(action_spec(space)), [a]))


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 10, (1,), np.float32),
        spaces.Box(-1, 3, (2, 3), np.float64),
        spaces.Discrete(3, start=-1),
    ],
    ids=str,
)
def test_environments_get_actions_in_their_space(kind, space):
    recorders = [ActionRecorder(space), ActionRecorder(space)]
    makers = [lambda env=env: env for env in recorders]
    env, n_envs = env_and_count(kind, makers)
    envs = open_envs(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    rng = np.random.default_rng(0)
    for _ in range(6):
        if envs.actions.kind == "discrete":
            envs.step(rng.integers(3, size=2))
        else:
            envs.step(rng.uniform(-2, 2, (2, envs.actions.size)).astype(FLOAT))
    for recorder in recorders:
        assert len(recorder.taken) >= 3
        assert all(space.contains(action) for action in recorder.taken)
        assert len({str(action) for action in recorder.taken}) > 1


@pytest.mark.parametrize("n", [1, 2, 9, 400])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_of_any_size_are_scaled_as_single_actions_to_the_bit(n, dtype):
    space = spaces.Box(
        np.array([-2, -np.inf, 0.1], dtype), np.array([1, 3, 0.7], dtype), dtype=dtype
    )
    actions = actions_from_spec(action_spec(space))
    a = (3 * np.random.default_rng(n).standard_normal((n, 3))).astype(FLOAT)
    before = a.copy()
    expected = np.array([actions.to_env(one) for one in a])
    for batch in (actions.to_env_batch(a), actions.to_envs(a), actions.to_envs(a)):
        assert batch.dtype == dtype and batch.tobytes() == expected.tobytes()
    assert a.tobytes() == before.tobytes()


def test_a_step_with_an_action_space_of_another_kind_is_refused():
    envs = open_envs(ActionRecorder(spaces.Text(4)), 1, np.random.SeedSequence(0))
    envs.reset()
    with pytest.raises(SpaceError, match=r"action space of kind discrete or .*, got Text"):
        envs.step(np.zeros(1, int))


# ---- from the environment's actions to the agent's

SPACES = [
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[0, -1], [5, 0]]),
    spaces.MultiBinary((2, 2)),
    spaces.Box(np.array([-2, 0.1], np.float32), np.array([0.5, 0.7], np.float32)),
    spaces.Box(-1, 3, (2, 3), np.float64),
    spaces.Box(np.array([3, -np.inf, 0], np.float32), np.array([3, np.inf, np.inf], np.float32)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_of_the_environment_are_converted_back(space):
    actions = actions_from_spec(action_spec(space))
    space.seed(0)
    given = [space.sample() for _ in range(50)]
    a = actions.from_env_batch(np.stack(given))
    shape, dtype = actions.columns()
    assert a.shape == (50, *shape) and a.dtype == dtype and actions.contains(a)
    for one, own in zip(given, a):
        single = actions.from_env(one)
        assert np.shape(single) == shape and np.array_equal(single, own)
        assert np.array_equal(actions.from_env(np.asarray(one).tolist()), own)
        np.testing.assert_allclose(actions.to_env(own), one, rtol=1e-6, atol=1e-6)
    finite = actions.uniform(np.random.default_rng(0), 50)
    back = actions.from_env_batch(actions.to_env_batch(finite))
    if space.shape == (3,):  # the first number is constant, the last at least 0
        finite = finite * [0, 1, 1] * (finite >= [-2, -2, 0])
    np.testing.assert_allclose(back, finite, atol=1e-6)
    assert actions.from_env_batch(np.stack(given)[:0]).shape == (0, *shape)


@given(finite, finite, st.floats(0, 1, width=32))
def test_every_action_within_the_bounds_is_one_from_minus_one_to_one(low, high, share):
    low, high = sorted((low, high))
    for dtype in (np.float32, np.float64):
        one = np.clip(np.full(1, low + share * (high - low), dtype), low, high)
        a = box(low, high, (1,), dtype).from_env(one)
        assert -1 <= a[0] <= 1


@pytest.mark.parametrize(
    ("space", "outside"),
    [
        (spaces.Discrete(3, start=-1), 2),
        (spaces.Discrete(3), -1),
        (spaces.MultiDiscrete([2, 3]), [1, 3]),
        (spaces.MultiBinary(2), [0, 2]),
        (spaces.Box(-1, 1, (2,)), [0.0, 1.0001]),
        (spaces.Box(-1, 1, (2,)), [np.nan, 0.0]),
        (spaces.Box(-np.inf, np.inf, (1,)), [np.inf]),
    ],
    ids=str,
)
def test_actions_outside_of_the_space_are_refused(space, outside):
    actions = actions_from_spec(action_spec(space))
    remedy = "finite, and clipped or scaled" if isinstance(space, spaces.Box) else ""
    with pytest.raises(ConfigError, match=rf"The action .* is outside \w+\(.*{remedy}"):
        actions.from_env(outside)
    batch = np.stack([np.asarray(space.sample()), np.asarray(outside)])
    with pytest.raises(ConfigError, match=r"is outside \w+\(.*, in row 1 of 2"):
        actions.from_env_batch(batch)


@pytest.mark.parametrize(
    ("space", "wrong"),
    [
        (spaces.Discrete(3), 1.0),
        (spaces.Discrete(3), [1]),
        (spaces.Discrete(3), None),
        (spaces.MultiDiscrete([2, 3]), [1, 1, 1]),
        (spaces.MultiBinary(2), "ab"),
        (spaces.Box(-1, 1, (2,)), [0.0]),
        (spaces.Box(-1, 1, (2,)), [[0.0], [0.0, 1.0]]),
    ],
    ids=str,
)
def test_actions_of_another_shape_or_type_are_refused(space, wrong):
    actions = actions_from_spec(action_spec(space))
    with pytest.raises(ConfigError, match=r"An action of \w+\(.* must be (whole )?numbers of"):
        actions.from_env(wrong)
    with pytest.raises(ConfigError, match=r"An action of \w+\(.* must be (whole )?numbers of"):
        actions.from_env_batch([wrong])
