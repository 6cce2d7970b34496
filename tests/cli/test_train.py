"""npr train: flags, configuration files, grids and exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.small_runs import config_of, digest

import npr
from npr.algorithms.base import REGISTRY
from npr.cli import flags, main, train
from npr.errors import ConfigError
from npr.runs import Outcome, read_config
from npr.runs.config import from_plain, write_json

NAMES = sorted(name for name, kind in REGISTRY.items() if kind.__module__.startswith("npr."))
TABLE = ["q-learning", "CliffWalking-v1", "--total-timesteps", "300", "--eval-freq", "0"]


def parsed(*words):
    """The configuration that words stand for."""
    return train.configured(npr.cli._parsed("train", ["train", *words]))


def runs_of(*words):
    return from_plain(parsed(*words))


def error_of(capsys, *words):
    """The last line of the message about wrong usage, without the name of the command."""
    assert main(["train", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1].removeprefix("npr train: ")


# ---- flags


def values_of(kind, setting):
    """Valid values of a setting, the default first."""
    by_network = {name: [8, 4] for name in kind.networks}
    candidates = [
        setting.default, *setting.choices, True, False, None, 1, 2, 0.25, -1, 1e5, -2.5,
        "linear:1e-3", "linear:1e-3:1e-4", [0.25, 0.125], [8], [16, 8], [], by_network, "auto_0.5",
    ]  # fmt: skip
    found = []
    for value in candidates:
        try:
            value = setting.checked(kind.__name__, value, kind.networks)
        except ConfigError:
            continue
        if not any(value == other and type(value) is type(other) for other in found):
            found.append(value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_of_every_algorithm_round_trips_through_the_configuration(name, tmp_path):
    kind = REGISTRY[name]
    values = {
        k: values_of(kind, one) for k, one in kind.settings.items() if k not in flags._OWN_FLAGS
    }
    assert all(values.values())
    for i in range(max(map(len, values.values()))):
        settings = {k: held[i % len(held)] for k, held in values.items()}
        words = [f"--{k.replace('_', '-')}={flags.text(value)}" for k, value in settings.items()]
        (config,) = runs_of(name, "Some-v0", *words)
        assert config.settings == settings
        write_json(tmp_path / "config.json", config.plain())
        assert from_plain(read_config(tmp_path)) == [config]
        assert runs_of("--config", str(tmp_path)) == [config]


def value_of(name, *words):
    return parsed("sac", "Pendulum-v1", *words)["settings"].get(name)


def test_values_are_read_by_their_types():
    assert value_of("buffer_size", "--buffer-size", "1e5") == 100_000
    assert value_of("learning_rate", "--learning-rate", "linear:3e-4") == "linear:3e-4"
    assert value_of("learning_rate", "--learning-rate", "[3e-4, 1e-5]") == [3e-4, 1e-5]
    assert value_of("net_arch", "--net-arch", "64,32") == [64, 32]
    assert value_of("net_arch", "--net-arch", "64,") == value_of("net_arch", "--net-arch", "64")
    arch = '{"pi": [64], "qf": [64, 64]}'
    assert value_of("net_arch", "--net-arch", arch) == {"pi": [64], "qf": [64, 64]}
    assert value_of("gradient_steps", "--gradient-steps", "-1") == -1
    assert value_of("max_episode_steps", "--max-episode-steps", "None") is None
    assert value_of("n_envs", "--num-envs", "3") == 3
    assert value_of("normalize_obs", "--normalize-obs") is True
    assert value_of("normalize_obs", "--no-normalize-obs") is False
    assert value_of("normalize_obs", "--normalize-obs", "off") is False
    assert value_of("normalize_obs") is None


def test_several_values_make_a_grid():
    points = runs_of(
        "sac", "Pendulum-v1", "--normalize-obs", "true", "false", "--seed", "3", "4",
        "--tau", "0.1", "0.2", "--gamma", "0.9",
    )  # fmt: skip
    order = [(p.settings["normalize_obs"], p.settings["tau"], p.seed) for p in points]
    assert order[:3] == [(True, 0.1, 3), (True, 0.1, 4), (True, 0.2, 3)] and len(points) == 8
    assert {p.settings["gamma"] for p in points} == {0.9}


def test_a_repeated_flag_adds_values():
    points = runs_of("sac", "Pendulum-v1", "--seed", "3", "--seed", "4", "--tau", "1", "--tau", "0")
    assert [(p.settings["tau"], p.seed) for p in points] == [(1, 3), (1, 4), (0, 3), (0, 4)]


def test_the_environment_by_a_flag_and_its_arguments():
    for flag in ("--env", "--env-id"):
        (config,) = runs_of("q-learning", flag, "FrozenLake-v1", "--env-kwargs", "map_name=8x8",
                            "is_slippery=false", "size=[1, 2]")  # fmt: skip
        assert config.env == "FrozenLake-v1"
        assert config.env_kwargs == {"map_name": "8x8", "is_slippery": False, "size": [1, 2]}


def test_the_module_in_an_id_is_an_import():
    (config,) = runs_of("sac", "json:Pendulum-v1")
    assert (config.env, config.imports) == ("Pendulum-v1", ["json"])


def test_flags_without_a_value_and_with_no_are_values_too():
    words = ["--normalize-obs", "--no-normalize-obs"]
    points = runs_of("sac", "Pendulum-v1", *words)
    assert [p.settings["normalize_obs"] for p in points] == [True, False]


def test_a_grid_is_in_the_order_of_the_words():
    for words in (["--tau", "0.1", "0.2", "--gamma", "0", "1"],
                  ["--gamma", "0", "1", "--tau", "0.1", "0.2"]):  # fmt: skip
        assert list(parsed("sac", "Pendulum-v1", *words)["grid"]) == [words[0][2:], words[3][2:]]


def test_the_names_may_follow_flags_with_one_value():
    (config,) = runs_of("--total-timesteps", "1e3", "sac", "--keep", "2", "Pendulum-v1")
    assert (config.algorithm, config.env, config.total_timesteps) == ("SAC", "Pendulum-v1", 1000)


@pytest.mark.parametrize(
    "words, message",
    [
        (["sac", "Pendulum-v1", "--learnig-rate", "1"], "no --learnig-rate; did you mean --learn"),
        (["sac", "Pendulum-v1", "--lr", "1"], "no --lr; did you mean --learning-rate?"),
        (["sac", "Pendulum-v1", "--use_sde"], "no --use-sde: npr has no state-dependent"),
        (["sac", "Pendulum-v1", "--xyzzy"], "no --xyzzy; --help shows all flags"),
        (["sac", "Pendulum-v1", "--learning", "1"], "did you mean --learning-"),
        (["--tau", "1"], "no --tau; --help shows all flags. Name an algorithm first"),
        (["sacc", "Pendulum-v1"], "no algorithm 'sacc'; did you mean SAC?"),
        (["sac"], "A run needs env"),
        (["--seed", "0"], "A run needs algorithm"),
        (["--out", "dqn", "sac", "Pendulum-v1"], "Give the algorithm and the environment first"),
        (["sac", "Pendulum-v1", "--env", "A"], "given twice: Pendulum-v1 and --env A"),
        (["sac", "Pendulum-v1", "B"], "'B' is one argument too many"),
        (["sac", "Pendulum-v7"], "version `v7` for environment `Pendulum` doesn't exist"),
        (["ppo", "CartPole"], "id: CartPole. Did you mean CartPole-v1? If a package registers it"),
        (["sac", "Pendulum-v1", "--tau", "0.7"], "--tau: SAC: tau must be in [0, 0.5] or 1"),
        (["sac", "Pendulum-v1", "--tau", "a"], "--tau: SAC: tau must be float, got 'a'"),
        (["sac", "Pendulum-v1", "--tau", "0.1,0.2"], "Separate several values by spaces: 0.1 0.2."),
        (["sac", "Pendulum-v1", "--net-arch", "[8"], "--net-arch: '[8' is not valid JSON"),
        (["sac", "Pendulum-v1", "--activation", "rel"], "must be 'relu' or 'tanh'"),
        (["sac", "Pendulum-v1", "--normalize-obs", "maybe"], "normalize_obs must be bool"),
        (["sac", "Pendulum-v1", "--seed", "0", "0"], "'seed': 0} is given twice"),
        (["sac", "Pendulum-v1", "--seed", "x"], "--seed: 'x' is not a whole number"),
        (["sac", "Pendulum-v1", "--seed", "0-3"], "whole number; separate several by spaces: --s"),
        (["sac", "Pendulum-v1", "--seed", "0,1"], "whole number; separate several by spaces: --s"),
        (["sac", "Pendulum-v1", "--total-timesteps", "1.5"], "'1.5' is not a whole number"),
        (["sac", "Pendulum-v1", "--keep", "0"], "keep must be a whole number of at least 1"),
        (["sac", "Pendulum-v1", "--index", "1"], "--index 1 is not a point of this grid"),
        (["sac", "Pendulum-v1", "--env-kwargs", "g"], "'g' must be name=value"),
        (["sac", "Pendulum-v1", "--env-kwargs", "g=1", "g=2"], "'g' is given twice"),
        (["sac", "Pendulum-v1", "--import", "no_such"], "--import no_such: importing"),
        (["sac", "Pendulum-v1", "--wrapper", "math:x"], "the module math has no class 'x'"),
        (["--config", "none.toml"], "none.toml"),
        (["ddpg", "CartPole-v1"], "DDPG needs a Box action space"),
        (["ddpg", "CartPole-v1", "--seed", "0", "1"], "DDPG needs a Box action space"),
        (["sac", "Pendulum-v1", "--jobs", "0"], "--jobs: '0' is not above 0"),
    ],
)
def test_wrong_usage_is_one_sentence_and_writes_nothing(words, message, capsys):
    assert message in error_of(capsys, *words)
    assert not os.path.exists("runs") or not os.listdir("runs")


def test_help_shows_the_settings_of_the_algorithm_in_groups(capsys):
    assert main(["train", "sac", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for title in ("networks:", "settings of SAC:", "replay buffer and updates:"):
        assert title in text
    assert "--tau X" in text and "in [0, 0.5] or 1; default 0.005" in text
    assert "--activation relu|tanh|elu|identity" in text and "--num-envs" in text
    assert main(["train", "--help"]) == 0
    assert "--tau" not in capsys.readouterr().out


# ---- configuration files


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("""
        algorithm = "sac"
        env = "Pendulum-v1"
        seed = [0, 1]
        keep = 5
        [settings]
        gamma = 0.9
        [grid]
        tau = [0.1, 0.2]
        """)
    return str(path)


def test_flags_replace_what_is_in_the_file(file):
    points = runs_of("--config", file, "--tau", "0.3", "--gamma", "0.8", "0.7", "--seed", "5")
    assert [(p.settings, p.seed, p.keep) for p in points] == [
        ({"gamma": 0.8, "tau": 0.3}, 5, 5), ({"gamma": 0.7, "tau": 0.3}, 5, 5),
    ]  # fmt: skip
    assert len(runs_of("--config", file)) == 4
    assert {p.env for p in runs_of("sac", "MyEnv-v0", "--config", file)} == {"MyEnv-v0"}


def test_a_file_does_not_decide_which_code_is_imported(file, capsys):
    with open(file) as held:
        text = held.read()
    with open(file, "w") as changed:
        changed.write(f'imports = ["antigravity"]\n{text}')
    assert "give --import antigravity again" in error_of(capsys, "--config", file)
    assert "antigravity" not in sys.modules


# ---- training


def test_a_dry_run_prints_the_points(capsys):
    assert main(["train", *TABLE, "--gamma", "0.9", "0.8", "--seed", "0", "1", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1  QLearning_CliffWalking-v1_gamma=0.9_seed1  300 steps" and len(lines) == 4
    assert not os.path.exists("runs")


def test_one_point_of_a_grid_has_its_name_and_bytes(tmp_path):
    words = [*TABLE, "--verbose", "0", "--gamma", "0.9", "0.8"]
    assert main(["train", *words, "--index", "1", "--out", "a"]) == 0
    assert main(["train", *TABLE, "--verbose", "0", "--gamma", "0.8", "--out", "b"]) == 0
    (one,), (other,) = (list((tmp_path / name).iterdir()) for name in "ab")
    assert one.name == other.name == "QLearning_CliffWalking-v1_gamma=0.8_seed0"
    own = npr.QLearning("CliffWalking-v1", seed=0, gamma=0.8, verbose=0).learn(300)
    own.save(tmp_path / "own.npz")
    assert digest(one / "final.npz") == digest(tmp_path / "own.npz")
    assert config_of(one)["command"] == ["npr", "train", *words, "--index", "1", "--out", "a"]


def npr_train(*words):
    return subprocess.run(
        [sys.executable, "-m", "npr", "train", *words], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100,
    )  # fmt: skip


def test_a_grid_from_the_shell(tmp_path):
    done = npr_train(*TABLE, "--seed", "0", "1")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs ended  100%" in done.stderr
    for i in range(2):
        assert (tmp_path / "runs" / f"QLearning_CliffWalking-v1_seed{i}" / "final.npz").exists()


BREAKING = """
import gymnasium

class Breaking(gymnasium.Wrapper):
    def step(self, action):
        raise KeyError("broken")
"""


@pytest.mark.parametrize("seeds", [["1"], ["1", "2"]], ids=["alone", "in a grid"])
def test_a_failed_run_is_one_sentence_with_status_1(seeds, tmp_path, monkeypatch, capsys):
    (tmp_path / "breaking.py").write_text(BREAKING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "breaking", raising=False)
    assert main(["train", *TABLE, "--wrapper", "breaking:Breaking", "--seed", *seeds]) == 1
    _, err = capsys.readouterr()
    assert err.count("env 0 raised KeyError: 'broken'") == len(seeds)
    assert "Traceback" not in err
    folders = [*(tmp_path / "runs").iterdir()]
    assert len(folders) == (2 if len(seeds) > 1 else 0), "a run alone leaves none without a step"
    for folder in folders:
        assert "Traceback" in (folder / "console.log").read_text()


def test_an_error_of_usage_in_the_middle_of_a_run_has_status_1(tmp_path, monkeypatch, capsys):
    def evaluate(*args, **kwargs):
        raise ConfigError("The level is not there.")

    monkeypatch.setattr(npr.QLearning, "evaluate", evaluate)
    words = [*TABLE[:-1], "100", "--save-freq", "60"]
    assert main(["train", *words]) == 1
    assert capsys.readouterr().err.count("npr train: The level is not there.") == 1
    assert main(["resume", *map(str, (tmp_path / "runs").iterdir())]) == 1
    capsys.readouterr()
    assert main(["train", *words, "--debug"]) == 1
    assert "npr.errors.NprError: The level is not there" in capsys.readouterr().err


def test_skipped_runs_are_named(capsys):
    outcomes = [Outcome(Path("a"), "finished"), Outcome(Path("b"), "skipped", "b is in use.")]
    assert train.report(outcomes) == 0
    assert capsys.readouterr().err == "npr: skipped: b is in use.\n"


def test_the_configuration_of_a_run_is_json(tmp_path):
    assert main(["train", *TABLE, "--verbose", "0"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "config.json").read_text())["algorithm"] == "QLearning"


# ---- Ray


@pytest.mark.parametrize(
    "words, engine",
    [
        (["--seed", "0", "1", "--engine", "ray"], "ray"),
        (["--engine", "ray"], "ray"),
        (["--seed", "0", "1", "--index", "1", "--engine", "ray"], "ray"),
        (["--seed", "0", "1"], None),
    ],
)
def test_the_engine_trains_the_runs(words, engine, monkeypatch):
    called = []

    def run_all(points, out, jobs, command, engine=None):
        called.append(engine)
        return [Outcome(Path(out), "finished") for _ in points]

    monkeypatch.setattr("npr.runs.run_all", run_all)
    assert main(["train", *TABLE, *words]) == 0
    assert called == [engine] and not Path("runs").exists()


def test_the_engine_is_that_of_the_workers_of_a_single_run(monkeypatch):
    trained = []
    monkeypatch.setattr("npr.runs.train", lambda config, *_, **__: trained.append(config.settings))
    words = ["ppo", "CartPole-v1", "--n-workers", "2", "--engine"]
    assert main(["train", *words, "ray"]) == main(["train", *words, "processes"]) == 0
    assert trained == [{"n_workers": 2, "engine": "ray"}, {"n_workers": 2}]
    monkeypatch.setattr("npr.runs.run_all", lambda points, *_: trained.extend(points) or [])
    assert main(["train", *words, "ray", "--seed", "0", "1"]) == 0
    assert [one.settings for one in trained[2:]] == [{"n_workers": 2}] * 2


def test_an_unknown_engine_is_refused(capsys):
    assert "invalid choice: 'dask'" in error_of(capsys, *TABLE, "--engine", "dask")


def test_runs_are_resumed_by_the_engine(monkeypatch):
    called = []
    monkeypatch.setattr("npr.runs.resume_all", lambda *given, **_: called.append(given) or [])
    assert main(["resume", "one", "--engine", "ray", "--jobs", "3"]) == 0
    assert called == [(["one"], 3, "ray")]
