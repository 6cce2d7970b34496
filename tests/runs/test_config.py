"""What a run is: names, checks, grids and files."""

import json

import numpy as np
import pytest

from npr.errors import ConfigError
from npr.runs import RunConfig, grid, read_config
from npr.runs.config import algorithm, from_plain, varied


@pytest.mark.parametrize(
    "name, expected",
    [("sac", "SAC"), ("per-dqn", "PERDQN"), ("Q-Learning", "QLearning"), ("ppo_kl", "PPOKL"),
     ("sac-s", "SACS"), ("q_actor_critic", "QActorCritic")],
)  # fmt: skip
def test_an_algorithm_is_found_in_any_case_with_or_without_dashes(name, expected):
    assert algorithm(name).__name__ == expected


@pytest.mark.parametrize(
    "name, message",
    [("dqm", "'dqm'; did you mean DQN"), ("xyzzy", "npr has "), (None, "no algorithm None")],
)
def test_an_unknown_algorithm_names_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        algorithm(name)


def test_values_are_converted_to_their_types():
    config = RunConfig(
        "dqn", "CartPole-v1", {"buffer_size": 1e4, "learning_rate": (1e-3, 0)},
        seed=np.int64(2), total_timesteps=1e3,
    ).checked()  # fmt: skip
    assert config.algorithm == "DQN"
    assert (config.seed, config.total_timesteps, config.settings["buffer_size"]) == (2, 1000, 10000)
    assert type(config.settings["buffer_size"]) is int and type(config.seed) is int
    assert config.settings["learning_rate"] == [1e-3, 0]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"settings": {"tau": 0.7}}, "DQN: tau must be"),
        ({"settings": {"learning_rat": 0.7}}, "did you mean learning_rate"),
        ({"settings": {"env_kwargs": {}}}, "has no setting 'env_kwargs'"),
        ({"seed": None}, "A run needs a seed"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"env": 3}, "env must be the id"),
        ({"env_kwargs": []}, "env_kwargs must be a dict"),
        ({"total_timesteps": 0}, "total_timesteps must be a whole number of at least 1, got 0"),
        ({"eval_freq": 2.5}, "eval_freq must be a whole number"),
        ({"keep": None}, "keep must be a whole number"),
        ({"log": "csv"}, "log must be a list of texts, got 'csv'"),
        ({"log": ["csw"]}, "no log output 'csw'; did you mean 'csv'"),
    ],
)
def test_invalid_values_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"algorithm": "dqn", "env": "CartPole-v1", **fields}).checked()


def test_the_budget_is_that_of_the_preset_unless_it_is_given():
    assert RunConfig("QLearning", "CliffWalking-v1").budget == 20_000
    assert RunConfig("QLearning", "CliffWalking-v1", total_timesteps=7).budget == 7
    assert RunConfig("QLearning", "Unheard-v0").budget == 100_000


# ---- grids

BASE = RunConfig("sac", "Pendulum-v1")


def test_seeds_change_fastest_in_a_grid_and_then_the_last_setting():
    points = grid(BASE, seed=[5, 6], tau=[0.1, 0.2], learning_rate=[1e-3, 3e-4])
    order = [(p.settings["tau"], p.settings["learning_rate"], p.seed) for p in points]
    assert order == [
        (0.1, 1e-3, 5), (0.1, 1e-3, 6), (0.1, 3e-4, 5), (0.1, 3e-4, 6),
        (0.2, 1e-3, 5), (0.2, 1e-3, 6), (0.2, 3e-4, 5), (0.2, 3e-4, 6),
    ]  # fmt: skip


def test_a_grid_of_nothing_is_one_run():
    assert grid(BASE) == [BASE.checked()]


def test_a_value_given_twice_is_refused():
    with pytest.raises(ConfigError, match=r"'net_arch': \[64\].*twice.*64,64"):
        grid(BASE, net_arch=[[64], [64]])
    with pytest.raises(ConfigError, match="'seed': 3} is given twice"):
        grid(BASE, seed=[3, 4, 3])


def test_a_grid_without_values_is_refused():
    with pytest.raises(ConfigError, match="tau has no values"):
        grid(BASE, tau=[])


def test_the_settings_that_differ_are_found():
    points = grid(BASE, tau=[0.1], learning_rate=[1e-3, 3e-4], seed=[0, 1])
    assert varied(points) == ["learning_rate"]


# ---- files


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_toml_with_settings_and_a_grid(tmp_path):
    path = written(tmp_path, "run.toml", """
        algorithm = "sac"
        env = "Pendulum-v1"
        seed = [0, 1]
        total_timesteps = 20_000
        [settings]
        net_arch = {pi = [64], qf = [32]}
        [grid]
        learning_rate = ["linear:1e-3", 3e-4]
        """)  # fmt: skip
    points = from_plain(read_config(path))
    assert [p.settings["learning_rate"] for p in points] == ["linear:1e-3"] * 2 + [3e-4] * 2
    assert [p.seed for p in points] == [0, 1, 0, 1]
    assert points[0].settings["net_arch"] == {"pi": [64], "qf": [32]}
    assert points[0].total_timesteps == 20_000


def test_json_is_the_same_and_a_folder_stands_for_its_config(tmp_path):
    config = RunConfig("sac", "Pendulum-v1", {"tau": 0.1}, seed=3).checked()
    recorded = {**config.plain(), "npr": "0.1", "git": None, "command": [], "started": "now"}
    written(tmp_path, "config.json", json.dumps(recorded))
    assert from_plain(read_config(tmp_path)) == [config]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.toml", "algorithm =", "not a valid TOML file"),
        ("a.json", "{", "not a valid JSON file"),
        ("a.json", "[" * 100_000, "not a valid JSON file"),
        ("a.json", '"\xff"', "must hold a table"),
        ("a.json", " " * (1 << 20) + "{}", "more than 1,048,576 bytes"),
        ("a.json", '{"algoritm": "sac"}', "'algoritm'; did you mean algorithm"),
        ("a.json", '{"learning_rate": 1}', r"go under \[settings\]"),
        ("a.json", '{"format": 2}', "has format 2, this npr reads 1"),
        ("a.json", '{"grid": []}', "grid must be a table"),
        ("a.json", '{"env": "os:Env-v0"}', "would import a module"),
    ],
)
def test_files_that_are_no_configuration_are_refused(name, text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_config(written(tmp_path, name, text))


@pytest.mark.parametrize("key, flag", [("wrappers", "wrapper"), ("imports", "import")])
def test_a_file_does_not_decide_what_is_imported(key, flag, tmp_path):
    path = written(tmp_path, "a.json", json.dumps({key: ["antigravity:X"]}))
    with pytest.raises(ConfigError, match=f"give --{flag} antigravity:X again"):
        read_config(path)
    typed = {key: ["antigravity:X", "other:Y"]}
    assert read_config(path, **typed) == typed


@pytest.mark.parametrize(
    "data, message",
    [
        ({"env": "Pendulum-v1"}, "needs algorithm"),
        ({"algorithm": "sac"}, "needs env"),
        ({"settings": {"tau": 0.1}, "grid": {"tau": [0.1]}}, "tau is under both"),
        ({"seed": [0], "grid": {"seed": [1]}}, "seed is given twice"),
        ({"grid": {"tau": 0.1}}, "tau must be a list of values"),
    ],
)
def test_configurations_that_describe_no_runs_are_refused(data, message):
    known = {} if message.startswith("needs") else {"algorithm": "sac", "env": "Pendulum-v1"}
    with pytest.raises(ConfigError, match=message):
        from_plain({**known, **data})
