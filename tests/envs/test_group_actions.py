"""Actions that are a Dict or Tuple: one row of numbers for the agent."""

import json

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector.utils import batch_space, iterate
from support.recorders import SYNC_KINDS, env_and_count
from support.toy_envs import ActionRecorder, Aim

from npr.backend import FLOAT
from npr.envs.contract import action_spec
from npr.envs.make import open_envs
from npr.envs.spaces import actions_from_spec
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

NESTED = spaces.Dict(
    gear=spaces.Discrete(4, start=-1),
    wheel=spaces.Box(np.array([-2, 0], np.float32), np.array([1, 3], np.float32)),
    more=spaces.Tuple(
        [
            spaces.MultiBinary((2, 2)),
            spaces.Dict(x=spaces.Box(-1, 1, (), np.float64), n=spaces.MultiDiscrete([2, 3])),
        ]
    ),
)
SPACES = {
    "Dict": NESTED,
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (1, 2))]),
    "one part": spaces.Dict(a=spaces.Discrete(3)),
}
every_space = pytest.mark.parametrize("name", SPACES)


def plain(action):
    """An action as dicts, lists and Python's numbers."""
    if isinstance(action, dict):
        return {key: plain(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return [plain(part) for part in action]
    return np.asarray(action).tolist()


def actions_of(space):
    return actions_from_spec(json.loads(json.dumps(action_spec(space))))


@every_space
def test_actions_are_in_the_space_alone_and_in_a_batch(name):
    space = SPACES[name]
    actions = actions_of(space)
    rows = actions.uniform(np.random.default_rng(0), 50)
    assert rows.shape == (50, *actions.columns()[0]) and rows.dtype == FLOAT
    assert actions.contains(rows)
    one_by_one = [actions.to_env(row) for row in rows]
    assert all(map(space.contains, one_by_one))
    batch = actions.to_env_batch(rows)
    for one, of_batch, listed in zip(
        one_by_one, iterate(batch_space(space, 50), batch), actions.to_envs(rows)
    ):
        assert space.contains(of_batch) and plain(one) == plain(of_batch)
        assert data_equivalence(one, listed, exact=True)
    seen = {str(one) for one in one_by_one}
    assert len(seen) > 2


def test_a_row_has_the_parts_in_order():
    actions = actions_of(NESTED)
    assert repr(actions) == (
        "Dict(gear=Discrete(4, start=-1), wheel=Box(2), more=Tuple(MultiBinary(2, 2), "
        "Dict(x=Box(), n=MultiDiscrete([2, 3]))))"
    )
    row = np.array([3, -1, 1, 1, 0, 0, 1, 0.5, 1, 2], FLOAT)
    made = actions.to_env(row)
    assert made["gear"] == 2 and type(made["gear"]) is int
    assert made["more"][0].tolist() == [[1, 0], [0, 1]] and made["more"][0].dtype == np.int8
    assert made["more"][1]["n"].tolist() == [1, 2] and made["more"][1]["x"] == 0.5
    assert made["wheel"].tolist() == [-2, 3]
    encoded = actions.encode(row[None])
    assert encoded.shape == (1, actions.size) == (1, 4 + 2 + 4 + 1 + 5)
    assert encoded[0].tolist() == [0, 0, 0, 1, -1, 1, 1, 0, 0, 1, 0.5, 0, 1, 0, 0, 1]
    assert actions.join(actions.split(row[None])).tobytes() == row.tobytes()


@pytest.mark.parametrize(
    ("column", "value"), [(0, 4), (0, -1), (0, 0.5), (4, 2), (9, 3), (7, np.nan)]
)
def test_a_row_that_is_no_action_is_noticed(column, value):
    row = np.array([[3, -1, 1, 1, 0, 0, 1, 0.5, 1, 2]], FLOAT)
    assert actions_of(NESTED).contains(row)
    row[0, column] = value
    assert not actions_of(NESTED).contains(row)


@every_space
def test_the_agents_action_is_found_again(name):
    actions = actions_of(SPACES[name])
    rows = actions.uniform(np.random.default_rng(0), 30)
    for found in (
        actions.from_env_batch(actions.to_env_batch(rows)),
        actions.from_env_batch(actions.to_envs(rows)),
        np.array([actions.from_env(actions.to_env(row)) for row in rows]),
    ):
        assert found.dtype == FLOAT
        np.testing.assert_allclose(found, rows, atol=1e-6)
        for (part, x), (_, y) in zip(actions.leaves(found), actions.leaves(rows)):
            assert part.kind == "box" or x.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"gear": 3}, "Discrete"),
        ({"wheel": np.array([1.5, 0])}, "Box"),
        ({"other": 1}, "must be a dict with the parts"),
        ({"more": []}, "must be a tuple with the parts"),
    ],
)
def test_an_action_outside_of_the_space_has_no_row(change, match):
    actions = actions_of(NESTED)
    action = actions.to_env(actions.uniform(np.random.default_rng(0), 1)[0])
    actions.from_env(action)
    with pytest.raises(ConfigError, match=match):
        actions.from_env({**action, **change})
    with pytest.raises(ConfigError, match="must be a dict"):
        actions.from_env([0, 1])


def test_a_batch_with_parts_of_other_lengths_has_no_rows():
    actions = actions_of(SPACES["Tuple"])
    with pytest.raises(ConfigError, match=r"the same number of actions; got \[2, 3\]"):
        actions.from_env_batch((np.zeros(2, int), np.zeros((3, 1, 2), np.float32)))


@pytest.mark.parametrize("kind", SYNC_KINDS)
@every_space
def test_environments_get_actions_in_their_space(kind, name):
    space = SPACES[name]
    recorders = [ActionRecorder(space), ActionRecorder(space)]
    env, n_envs = env_and_count(kind, [lambda env=env: env for env in recorders])
    envs = open_envs(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    rng = np.random.default_rng(0)
    for _ in range(8):
        envs.step(envs.actions.uniform(rng, 2))
    for recorder in recorders:
        assert len(recorder.taken) >= 3
        assert all(space.contains(action) for action in recorder.taken)
        assert len({str(action) for action in recorder.taken}) > 1


class Crashing(Aim):
    def step(self, action):
        raise RuntimeError("broken")


@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_crash_names_the_action(kind):
    env, n_envs = env_and_count(kind, [Crashing, Crashing])
    envs = open_envs(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    row = np.array([1, 0.5, 1, 0, 2, 1], FLOAT)
    with pytest.raises(EnvCrashedError, match=r"last action was \{'lever': 2, 'place'.*'idle'"):
        envs.step(np.stack([row, row]))


# ---- what is refused

NUMBER = {"kind": "discrete", "n": 2, "start": 0}


@pytest.mark.parametrize(
    ("keys", "parts", "match"),
    [
        ([], [], "A Dict of actions needs strings as keys, a Tuple 0, 1, "),
        ([1, 0], [NUMBER, NUMBER], "A Dict of actions needs strings"),
        (["a", 1], [NUMBER, NUMBER], "A Dict of actions needs strings"),
        (["a", "a"], [NUMBER, NUMBER], "needs a key for each"),
        (["a"], [NUMBER, NUMBER], "needs a key for each"),
        (["a"], [{**NUMBER, "n": (1 << 24) + 1}], r"more than 2\^24 choices"),
        (["a"], [{"kind": "text"}], "Action kind 'text' is not known"),
    ],
)
def test_a_description_that_is_not_valid_is_refused(keys, parts, match):
    with pytest.raises(ConfigError, match=match):
        actions_from_spec({"kind": "group", "keys": keys, "parts": parts})


def test_deep_nesting_is_refused():
    spec = NUMBER
    for _ in range(7):
        spec = {"kind": "group", "keys": ["a"], "parts": [spec]}
    assert actions_from_spec(spec).width == 1
    with pytest.raises(ConfigError, match="more than eight deep"):
        actions_from_spec({"kind": "group", "keys": ["a"], "parts": [spec]})


# ---- masks


class Masked(Aim):
    """Says the lever that is right as the mask, by info or by a method; or another mask."""

    mask = None

    def _said(self):
        # the lever, then two bits and indices of three and two
        right = [1, 0] if self.lever == 1 else [0, 1]
        return np.array(right + [1] * 4 + [1] * 5) if self.mask is None else self.mask

    def reset(self, **given):
        observation, _ = super().reset(**given)
        return observation, {"action_mask": self._said()}

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {"action_mask": self._said()}


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_rows_end_with_the_masks_of_the_parts(kind):
    env, n_envs = env_and_count(kind, [Masked, Masked])
    envs = open_envs(env, n_envs, np.random.SeedSequence(0), action_masks=True)
    rng, s = np.random.default_rng(0), envs.reset()
    assert envs.actions.mask_size == 11 and s.shape == (2, 13)
    for _ in range(12):
        assert (s[:, 4:] == 1).all()
        assert (s[:, 2:4] == np.stack([s[:, 0] == -1, s[:, 0] == 1], axis=1)).all()
        envs.step(envs.actions.uniform(rng, 2, s[:, 2:]))
        s = envs.s


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (np.ones(10), r"Dict\(.* needs 11 numbers or bools, the masks of its parts one after"),
        ([1] * 9 + [0, 0], "allows no action in its numbers 9-10"),
        ([0, 0] + [1] * 9, "allows no action in its numbers 0-1"),
        ([1] * 6 + [0, 0, 0] + [1] * 2, "allows no action in its numbers 6-8"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, match, monkeypatch):
    monkeypatch.setattr(Masked, "mask", mask)
    envs = open_envs(Masked, 1, np.random.SeedSequence(0), action_masks=True)
    with pytest.raises(EnvContractError, match=match):
        envs.reset()


def test_masks_need_a_part_with_choices():
    class Numbers(ActionRecorder):
        def __init__(self):
            super().__init__(spaces.Dict(a=spaces.Box(-1, 1, (2,))))

    with pytest.raises(SpaceError, match="action_masks=True needs Discrete"):
        open_envs(Numbers, 1, np.random.SeedSequence(0), action_masks=True)


def test_asynchronous_environments_get_the_same_actions():
    one, other = (
        open_envs(Aim, 2, np.random.SeedSequence(0), vectorization=how) for how in ("sync", "async")
    )
    rng = np.random.default_rng(0)
    try:
        assert one.reset().tobytes() == other.reset().tobytes()
        for _ in range(11):
            a = one.actions.uniform(rng, 2)
            for mine, theirs in zip(one.step(a), other.step(a)):
                assert mine.tobytes() == theirs.tobytes()
    finally:
        other.close()
