"""Which attributes of an agent a file holds, and the detection of state that it would lose."""

import collections
import copy
import enum
import fractions
import functools
import types

import numpy as np
import pytest
from support.small_agents import CASES, small_agent, trained

import npr
from npr import CheckpointError
from npr.files.parts import Snapshot, arrays_of, parts


class Counter:
    """A part: an object that knows its own state."""

    group = "state"

    def __init__(self, value=0):
        self.value = value

    def state(self):
        return {"value": np.array(self.value)}

    def load(self, state):
        self.value = int(state["value"])


class Plain:
    """An object without state() and load()."""

    def __init__(self, **values):
        vars(self).update(values)


class Slotted:
    __slots__ = ("_cache", "value")

    def __init__(self, value):
        self.value, self._cache = value, 0


class Color(enum.Enum):
    RED, BLUE = 1, 2


# ---- parts


def test_parts_are_arrays_and_objects_with_state_and_load():
    agent = Plain(
        theta=np.ones(3), counter=Counter(5), gamma=0.9, net=Plain(size=3), _cache=np.ones(2),
        plain=types.SimpleNamespace(group="state"), kind=Counter,
    )  # fmt: skip
    assert list(parts(agent)) == ["counter", "theta"]
    keys = [key for name, part in parts(agent).items() for key in arrays_of(name, part)]
    assert keys == ["state/counter.value", "params/theta"]


@pytest.mark.parametrize("case", CASES)
def test_every_array_in_a_file_belongs_to_a_part(case, tmp_path):
    agent, path = trained(case), tmp_path / "a.npz"
    agent.save(path)
    _, arrays = npr.files.checkpoint.read(path)
    held = [key for name, part in parts(agent).items() for key in arrays_of(name, part)]
    others = [key for key in arrays if key.startswith(("rng/", "state/envs."))]
    assert sorted(arrays) == sorted(held + others)


# ---- state that a file would lose


def noted(**attributes):
    agent = Plain(**attributes)
    agent.snapshot = Snapshot(agent, known=("known", "rng"))
    return agent


CHANGES = {
    "a number": (1.0, 2.0),
    "a type": (1, 1.0),
    "a NumPy scalar": (np.float32(1), np.float32(2)),
    "a text": ("a", "b"),
    "None": (None, 0),
    "a fraction": (fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    "an enum": (Color.RED, Color.BLUE),
    "a list": ([1, 2], [1, 3]),
    "a nested list": ([[1], [2]], [[1, 2], []]),
    "a tuple": ((1, 2), (1,)),
    "a deque": (collections.deque([1]), collections.deque([1, 2])),
    "a set": ({1, 2}, {1, 3}),
    "a dict": ({"a": 1}, {"a": 2}),
    "a key": ({"a": 1}, {"b": 1}),
    "a list of arrays": ([np.zeros(3)], [np.ones(3)]),
    "a shape": ([np.zeros((2, 3))], [np.zeros((3, 2))]),
    "objects in an array": ([np.array([1, None])], [np.array([2, None])]),
    "an object": (Plain(x=1), Plain(x=2)),
    "an object in an object": (Plain(x=Plain(y=[1])), Plain(x=Plain(y=[2]))),
    "an object with slots": (Slotted(1), Slotted(2)),
    "a list of parts": ([Counter(1)], [Counter(2)]),
    "a generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "a plain value that becomes an array": (None, np.zeros(3)),
    "an array that becomes a plain value": (np.zeros(3), None),
}


@pytest.mark.parametrize("before, after", CHANGES.values(), ids=CHANGES)
def test_a_changed_attribute_is_noticed(before, after):
    agent = noted(x=before, y=1)
    assert agent.snapshot.changed(agent) == []
    agent.x = copy.deepcopy(before)
    assert agent.snapshot.changed(agent) == []
    agent.x = after
    assert agent.snapshot.changed(agent) == ["x"]


def test_a_change_in_place_is_noticed():
    agent = noted(history=[1], by_name={"a": set()}, rng_of_its_own=np.random.default_rng(0))
    agent.history.append(2)
    agent.by_name["a"].add(3)
    agent.rng_of_its_own.random()
    assert agent.snapshot.changed(agent) == ["by_name", "history", "rng_of_its_own"]


def test_any_added_attribute_is_noticed():
    """A file with a part that a new agent lacks could not be loaded."""
    agent = noted(theta=np.zeros(3))
    agent.count, agent.phi, agent.counter = 0, np.zeros(3), Counter()
    assert sorted(agent.snapshot.added(agent)) == ["count", "counter", "phi"]
    assert agent.snapshot.changed(agent) == []


def test_parts_known_and_derived_attributes_may_change():
    agent = noted(theta=np.zeros(3), counter=Counter(), known=[1], _cache={}, net=Slotted(1))
    agent.theta[:], agent.counter.value, agent.known = 1, 7, [2]
    agent._cache["a"], agent._more, agent.net._cache = 1, [2], 3
    agent.theta = np.ones(3)
    assert agent.snapshot.changed(agent) == []


def test_functions_are_not_state():
    agent = noted(f=len)
    agent.f, agent.update, agent.g = print, functools.partial(print, 1), lambda: agent
    agent.cached = functools.cache(lambda x: x)
    assert agent.snapshot.changed(agent) == []


def test_attributes_that_are_saved_elsewhere_are_not_inspected():
    """An object may refer to the agent itself, to its parts, and to its generators."""
    rng = {"explore": np.random.default_rng(0)}
    agent = Plain(theta=np.zeros(3), counter=Counter(), rng=rng)
    agent.explorer = Plain(agent=agent, theta=agent.theta, rng=rng["explore"], n=agent.counter)
    agent.explorer.me = agent.explorer
    agent.snapshot = Snapshot(agent, known=("rng",))
    agent.theta[:], agent.counter.value = 1, 7
    rng["explore"].random()
    assert agent.snapshot.changed(agent) == []
    other = copy.deepcopy(agent)
    assert other.snapshot.changed(other) == []
    other.explorer.sigma = 0.1
    assert other.snapshot.changed(other) == ["explorer"]
    assert agent.snapshot.changed(agent) == []


@pytest.mark.parametrize("case", CASES)
def test_no_algorithm_has_state_that_its_file_would_lose(case, tmp_path):
    agent = trained(case)
    assert agent.snapshot.changed(agent) == []
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert loaded.snapshot.changed(loaded) == []


@pytest.mark.parametrize(
    "case, settings",
    [
        ("DQN", {"learning_rate": "linear:1e-3"}),
        ("PPO", {"learning_rate": "linear:1e-3", "clip_range": "linear:0.2"}),
        ("DDPG", {"action_noise": "ou", "normalize_obs": True, "normalize_reward": True}),
        ("SAC", {"ent_coef": "auto_0.2", "action_noise": "normal", "n_envs": 2}),
    ],
)
def test_schedules_noise_and_normalization_lose_no_state(case, settings):
    agent = trained(case, **settings)
    assert agent.snapshot.changed(agent) == []


def test_an_agent_with_state_that_a_file_would_lose_is_not_saved(tmp_path):
    path = tmp_path / "a.npz"
    agent = small_agent("DQN")
    agent.save(path)
    old = path.read_bytes()
    agent.theta[:], agent.net.note = 0, [1.0]
    with pytest.raises(CheckpointError, match=r"would not restore DQN\.net.*underscore"):
        agent.save(path)
    assert path.read_bytes() == old
    del agent.net.note
    agent.save(path)
    assert path.read_bytes() != old
