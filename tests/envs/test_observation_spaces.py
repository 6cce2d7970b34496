"""Observations: rows as Gymnasium's `flatten` gives them."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from support.recorders import SYNC_KINDS, env_and_count
from support.toy_envs import (
    Fixed,
)

from npr.backend import FLOAT
from npr.envs.contract import observation_spec
from npr.envs.make import open_envs
from npr.envs.spaces import observations_from_spec

SPACES = [
    spaces.Box(-1, 1, (3,), np.float32),
    spaces.Box(-1, 1, (2, 3, 2), np.float64),
    spaces.Box(0, 255, (4, 4), np.uint8),
    spaces.Box(-1, 1, (), np.float32),
    spaces.Discrete(4),
    spaces.Discrete(4, start=-2),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([3, 2], start=[5, -1]),
    spaces.MultiDiscrete([[3, 2], [2, 4]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Dict({"b": spaces.Discrete(3, start=1), "a": spaces.Box(-1, 1, (2, 2))}),
    spaces.Tuple((spaces.Box(-1, 1, ()), spaces.Discrete(2), spaces.MultiBinary(3))),
    spaces.Dict({"x": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (2,)))),
                 "y": spaces.MultiDiscrete([2, 2])}),
]  # fmt: skip


def row_of(space, one):
    """Gymnasium's flatten, the reference."""
    return spaces.flatten(space, one).astype(FLOAT)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rows_equal_gymnasiums_flatten(space):
    observations = observations_from_spec(observation_spec(space))
    space.seed(0)
    for _ in range(5):
        one = space.sample()
        row = np.full(observations.size, np.nan, FLOAT)
        observations.row(one, row)
        np.testing.assert_array_equal(row, row_of(space, one))
        assert not observations.batched(one)
        assert np.array_equal(observations.encode(one), [row])


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_batch_is_encoded_row_by_row(space):
    """The batch of a vector environment has one leading axis in every leaf."""
    observations = observations_from_spec(observation_spec(space))
    space.seed(1)
    ones = [space.sample() for _ in range(5)]
    envs = SyncVectorEnv([lambda one=one: Fixed(space, one) for one in ones])
    batch, _ = envs.reset()
    rows = observations.encode(batch)
    assert observations.batched(batch)
    assert rows.dtype == FLOAT and rows.shape == (5, observations.size)
    np.testing.assert_array_equal(rows, [row_of(space, one) for one in ones])


def test_images_are_scaled_to_one():
    space = spaces.Box(0, 255, (2, 1, 3), np.uint8)
    observations = observations_from_spec(observation_spec(space, scale_images=True))
    assert observations.images and observations.spec == {"kind": "image", "shape": [2, 1, 3]}
    one = np.arange(0, 256, 51, dtype=np.uint8).reshape(2, 1, 3)
    expected, row = np.array([0, 0.2, 0.4, 0.6, 0.8, 1], FLOAT), np.empty(6, FLOAT)
    observations.row(one, row)
    for got in (row, observations.encode(one)[0], observations.encode(one.tolist())[0],
                observations.encode(np.stack([one, one]))[1],
                observations.encode([one.tolist(), one.tolist()])[1]):  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert one.max() == 255, "the observation itself is not changed"
    inside = spaces.Dict(a=spaces.Dict(b=space), c=spaces.Box(-1, 1))
    assert observations_from_spec(observation_spec(inside, scale_images=True)).images
    for one in (space, inside):
        assert not observations_from_spec(observation_spec(one)).images


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (2, 3), np.uint8),
        spaces.Box(0, 255, (2, 3, 1, 1), np.uint8),
        spaces.Box(0, 255, (12,), np.uint8),
        spaces.Box(0, 1, (2, 2, 3), np.float32),
        spaces.Box(0, 255, (2, 2, 3), np.int16),
    ],
    ids=str,
)
def test_other_boxes_are_no_images(space):
    observations = observations_from_spec(observation_spec(space, scale_images=True))
    assert not observations.images
    one = space.sample()
    np.testing.assert_array_equal(observations.encode(one), [row_of(space, one)])


def test_encoding_copies():
    observations = observations_from_spec(observation_spec(spaces.Box(-1, 1, (2,), np.float32)))
    batch = np.zeros((3, 2), np.float32)
    rows = observations.encode(batch)
    batch[:] = 7
    assert not rows.any()


def test_a_box_observation_may_be_a_list_or_a_number():
    vector = observations_from_spec(observation_spec(spaces.Box(-1, 1, (2,))))
    assert vector.encode([0.5, 1.0]).tolist() == [[0.5, 1.0]]
    assert vector.encode([[0.5, 1.0], [0.0, 0.25]]).tolist() == [[0.5, 1.0], [0.0, 0.25]]
    scalar = observations_from_spec(observation_spec(spaces.Box(-1, 1, ())))
    assert scalar.encode(0.5).tolist() == [[0.5]]
    assert scalar.encode([0.5, 0.25]).tolist() == [[0.5], [0.25]]


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_vector_envs_encode_observations_of_every_space(kind, space):
    """Including the last observation of an episode, which SAME_STEP returns in info."""
    space.seed(2)
    ones = [space.sample() for _ in range(2)]
    env, n_envs = env_and_count(kind, [lambda one=one: Fixed(space, one) for one in ones])
    envs = open_envs(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    expected = [row_of(space, one) for one in ones]
    for _ in range(4):
        np.testing.assert_array_equal(envs.s, expected)
        np.testing.assert_array_equal(envs.step(np.zeros(2, int))[0], expected)
