"""The file with the settings that a search has found."""

import json
import tomllib

import numpy as np
import pytest

from npr import ConfigError
from npr.tune import Candidate, TuneResult, toml

VALUES = {
    "algorithm": "SAC",
    "on": True,
    "whole": 3,
    "negative": -0.5,
    "small": 1e-05,
    "large": 1e300,
    "text": 'a "quoted"\\ text\nwith ünïcode \U0001f600, \x7f and \t',
    "list": [1, 2.5, "a", [True], []],
    "settings": {
        "learning_rate": "linear:3e-4",
        "net_arch": {"pi": [64], "qf": [64, 64]},
        "key with blanks": {"and.dots": {"deep": [1]}},
    },
    "empty": {},
}


def test_toml_reads_back_what_was_written():
    assert tomllib.loads(toml.dumps(VALUES, "two\nlines")) == VALUES


def test_values_after_a_table_stay_at_the_top():
    text = toml.dumps({"settings": {"gamma": 0.9}, "env": "CartPole-v1"}, "why")
    assert text == '# why\nenv = "CartPole-v1"\n\n[settings]\ngamma = 0.9\n'


def test_infinities_and_numpy_values_are_written():
    text = toml.dumps({"a": float("inf"), "b": np.float32(0.5), "c": np.arange(3), "d": (1, 2)})
    assert tomllib.loads(text) == {"a": float("inf"), "b": 0.5, "c": [0, 1, 2], "d": [1, 2]}


def test_none_is_left_out():
    assert toml.dumps({"a": None, "b": {"c": None, "d": 1}}) == "[b]\nd = 1\n"


@pytest.mark.parametrize("value", [[None], object()])
def test_what_toml_cannot_hold_is_refused(value):
    with pytest.raises(ConfigError, match="TOML has bool, numbers, texts, lists and dicts, got"):
        toml.dumps({"a": value})


def result(**changed):
    candidate = Candidate(4, -120.0, [-150.0, -140.0, -145.0], -145.0, {"gamma": 0.9})
    values = {
        "algorithm": "SAC", "env": "Pendulum-v1", "total_timesteps": 5000,
        "settings": {"gamma": 0.9, "net_arch": {"pi": [8], "qf": [16]}}, "env_kwargs": {},
        "trial": 4, "value": -145.0, "candidates": [candidate],
        "counts": {"complete": 5, "pruned": 3, "failed": 2}, "finished": True,
    }  # fmt: skip
    return TuneResult(**{**values, **changed})


CONTENT = {
    "algorithm": "SAC",
    "env": "Pendulum-v1",
    "total_timesteps": 5000,
    "settings": {"gamma": 0.9, "net_arch": {"pi": [8], "qf": [16]}},
}


def test_a_result_is_saved_as_toml():
    result().save("best.toml")
    with open("best.toml", "rb") as file:
        assert tomllib.load(file) == CONTENT
    with open("best.toml") as file:
        assert file.readline() == (
            "# npr tune: trial 4, best of 10, final mean return -145 (median over 3 fresh seeds)\n"
        )
    result(candidates=[], env_kwargs={"g": 9.8}).save("best.toml")
    with open("best.toml", "rb") as file:
        assert tomllib.load(file) == CONTENT | {"env_kwargs": {"g": 9.8}}


def test_a_result_with_none_is_saved_as_json():
    other = result(settings={"action_noise": None})
    with pytest.raises(ConfigError, match=r"no null, and the winner has action_noise = None: save"):
        other.save("best.toml")
    with pytest.raises(ConfigError, match=r"the winner has map_name = None: save"):
        result(env_kwargs={"map_name": None}).save("best.toml")
    other.save("best.json")
    with open("best.json") as file:
        assert json.load(file) == CONTENT | {"settings": {"action_noise": None}}


def test_what_cannot_be_saved_is_refused():
    with pytest.raises(ConfigError, match="to a .toml or .json file, got 'best.yml'"):
        result().save("best.yml")
    with pytest.raises(ConfigError, match="this one was made by a function: register it"):
        result(env=None).save("best.toml")
