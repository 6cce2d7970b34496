"""`npr tune`."""

import json
import os
import signal
import tempfile
import tomllib

import pytest

import npr
from npr import cli

optuna = pytest.importorskip("optuna")

SMALL = (
    "--total-timesteps 20 --eval-freq 10 --eval-episodes 1 --seeds 1 --trials 2 --top 1 --seed 0 "
    "--max-episode-steps 5 --storage study.log"
)


def tune(words, *more):
    return cli.main(["tune", *words.split(), *SMALL.split(), *more])


def best(path="best.toml"):
    with open(path, "rb") as file:
        return tomllib.load(file)


def trials(name="QLearning CliffWalking-v1"):
    backend = optuna.storages.journal.JournalFileBackend("study.log")
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_a_search_shows_the_best_and_writes_a_configuration(capsys):
    assert tune("qlearning CliffWalking-v1 --exploration-fraction 0.3 --gamma 0.9") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "2 trials: 2 complete, 0 pruned, 0 failed"
    assert lines[1].split() == ["trial", "search", "fresh", "seeds", "settings"]
    assert "learning_rate=" in lines[2] and len(lines) == 4
    assert "gamma" not in lines[2] and "max_episode_steps" not in lines[2], "they were given"
    assert lines[3] == "best.toml has these settings: npr train --config best.toml"
    assert err.splitlines()[0].startswith("trial 0 (1/2)  return ")
    content = best()
    assert content["settings"].pop("learning_rate") > 0
    assert content["settings"].pop("exploration_final_eps") > 0
    assert content == {
        "algorithm": "QLearning",
        "env": "CliffWalking-v1",
        "total_timesteps": 20,
        "settings": {
            "gamma": 0.9, "exploration_fraction": 0.3, "exploration_initial_eps": 0.1,
            "max_episode_steps": 5,
        },
    }  # fmt: skip
    assert list(trials()[0].params) == ["learning_rate", "exploration_final_eps"]


def test_train_takes_the_configuration():
    space = '--space net_arch={"pi":[4],"qf":[4,4]}'
    small = "--learning-starts 5 --buffer-size 50"
    assert tune(f"sac Pendulum-v1 {small} {space} learning_rate=1e-3,linear:1e-2") == 0
    assert best()["settings"]["net_arch"] == {"pi": [4], "qf": [4, 4]}
    assert cli.main(["train", "--config", "best.toml", "--out", "runs"]) == 0
    (folder,) = os.listdir("runs")
    agent = npr.load(f"runs/{folder}/final.npz")
    assert agent.net_arch == {"pi": [4], "qf": [4, 4]} and agent.num_timesteps == 20
    assert agent.learning_rate == best()["settings"]["learning_rate"]


def test_the_space_may_be_a_file_and_words():
    with open("space.toml", "w") as file:
        file.write('learning_rate = ["log", 0.1, 0.5]\ngamma = ["choice", [0.5, 0.6]]\n')
    assert tune("sarsa CliffWalking-v1 --space space.toml gamma=0.7,0.8 --out b.json") == 0
    found = trials("Sarsa CliffWalking-v1")[1]
    assert list(found.params) == ["learning_rate", "gamma"] and found.params["gamma"] in (0.7, 0.8)
    assert os.path.exists("b.json")


def test_settings_environments_and_wrappers_are_given_by_flags(capsys):
    with open("slippery.py", "w") as file:
        file.write(
            "import gymnasium\n"
            "gymnasium.register('Slippery-v0', 'gymnasium.envs.toy_text:FrozenLakeEnv', "
            "max_episode_steps=9)\n"
        )
    words = "qlearning Slippery-v0 --import slippery --wrapper gymnasium.wrappers:Autoreset"
    assert tune(f"{words} --env-kwargs map_name=8x8", "--trials", "1") == 0
    content = best()
    assert content["wrappers"] == ["gymnasium.wrappers:Autoreset"]
    assert content["imports"] == ["slippery"] and content["env"] == "Slippery-v0"
    assert content["env_kwargs"] == {"map_name": "8x8"}
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("best.toml --wrapper gymnasium.wrappers:Autoreset --import slippery")
    assert tune("qlearning slippery:Slippery-v0 --out other.toml --study two", "--top", "0") == 0
    content = best("other.toml")
    assert content["imports"] == ["slippery"] and "wrappers" not in content


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "the following arguments are required: algorithm, env"),
        ("--study dqn sac Pendulum-v1", "Give the algorithm and the environment first"),
        ("sak Pendulum-v1", "There is no algorithm 'sak'; did you mean SAC?"),
        ("sac Pendulum-v1 --tauu 1", "There is no --tauu; did you mean --tau?"),
        ("sac Pendulum-v1 --tau 0.1 0.2", "--tau fixes a setting, and has 2 values; to search"),
        ("sac Pendulum-v1 --space tau", "No such file"),
        ("sac Pendulum-v1 --space tau x", "--space takes one file with the whole space, got tau x"),
        ("sac Pendulum-v1 --space tau=2:3", "SAC: tau must be in [0, 0.5] or 1"),
        ("sac Pendulum-v1 --out best.yml", "written to a .toml or .json file, got 'best.yml'"),
        ("sac Pendulum-v1 --out no/best.toml", "--out no/best.toml: there is no folder"),
        ("sac Pendulum-v0x", "Environment"),
        ("sac Pendulum-v1 --import no_module", "--import no_module: importing 'no_module'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(words, message, capsys):
    assert cli.main(["tune", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == []


def test_settings_that_toml_cannot_hold_are_written_as_json(capsys):
    words = "qlearning FrozenLake-v1 --max-episode-steps none --verbose 0"
    small = SMALL.replace("--max-episode-steps 5", "").split()
    assert cli.main(["tune", *words.split(), *small]) == 0
    out, err = capsys.readouterr()
    assert err == (
        "best.json is written instead of best.toml: TOML has no null, and the winner has "
        "max_episode_steps = None: save to a .json file.\n"
    )
    assert out.splitlines()[-1] == "best.json has these settings: npr train --config best.json"
    with open("best.json") as file:
        assert json.load(file)["settings"]["max_episode_steps"] is None
    assert cli.main(["train", "--config", "best.json", "--dry-run"]) == 0


def test_a_file_that_cannot_be_written_is_refused_before_the_search(monkeypatch, capsys):
    os.mkdir("best.toml")
    assert tune("qlearning CliffWalking-v1") == 2
    assert "--out best.toml: it is a folder" in capsys.readouterr().err

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert tune("qlearning CliffWalking-v1 --out other.toml") == 2
    assert f"no file can be written in {os.getcwd()!r} (Permission" in capsys.readouterr().err
    assert os.listdir() == ["best.toml"]


def test_if_the_file_cannot_be_written_after_the_search_its_content_is_printed(monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "best.toml")

    monkeypatch.setattr("npr.tune.result.replacement", full)
    assert tune("qlearning CliffWalking-v1") == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["settings"]["max_episode_steps"] == 5
    assert err.endswith("npr tune: best.toml: No space left on device\n")


def test_a_space_file_that_is_not_toml_is_refused(capsys):
    with open("space.toml", "w") as file:
        file.write("tau: [log]")
    assert cli.main(["tune", "sac", "Pendulum-v1", "--space", "space.toml"]) == 2
    assert "space.toml is not a TOML file" in capsys.readouterr().err


def test_a_search_without_a_complete_trial_has_status_1(monkeypatch, capsys):
    def fails(self, *step):
        raise npr.NumericsError("values diverged.")

    monkeypatch.setattr(npr.QLearning, "update", fails)
    assert tune("qlearning CliffWalking-v1") == 1
    assert "npr tune: No trial of QLearning CliffWalking-v1 is complete" in capsys.readouterr().err


def test_ctrl_c_has_status_130(monkeypatch, capsys):
    def interrupt(self, *step):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(npr.QLearning, "update", interrupt)
    assert tune("qlearning CliffWalking-v1") == 130
    assert [one.state.name for one in trials()] == ["FAIL"]


def test_a_search_that_is_not_kept_says_so(capsys):
    words = [word for word in SMALL.split() if word not in ("--storage", "study.log")]
    assert cli.main(["tune", "qlearning", "CliffWalking-v1", *words, "--timeout", "1e-9"]) == 1
    text = "The study is not kept: storage (--storage FILE) keeps it."
    assert text in capsys.readouterr().err
    assert cli.main(["tune", "qlearning", "CliffWalking-v1", *words, "--trials", "0"]) == 2
    err = capsys.readouterr().err
    assert err == "npr tune: trials must be a whole number of at least 1, got 0.\n"


@pytest.mark.parametrize("in_trial", [0, 1, 2])
def test_a_search_that_is_not_kept_writes_the_best_so_far_after_ctrl_c(
    in_trial, monkeypatch, capsys
):
    """Trial 2 is the first that is trained again, with a fresh seed."""
    begun = []
    learn = npr.QLearning.learn

    def interrupted(self, *args, **options):
        if not self.num_timesteps:
            begun.append(self)
        if len(begun) == in_trial + 1:
            signal.raise_signal(signal.SIGINT)
        return learn(self, *args, **options)

    monkeypatch.setattr(npr.QLearning, "learn", interrupted)
    words = [word for word in SMALL.split() if word not in ("--storage", "study.log")]
    assert cli.main(["tune", "qlearning", "CliffWalking-v1", *words]) == 130
    out, err = capsys.readouterr()
    assert f"stopped after {in_trial} trials\n" in err and "goes on" not in err
    if in_trial == 0:
        assert out == "" and os.listdir() == []
    else:
        text = "best.toml has the settings of the best trial so far: npr train --config best.toml\n"
        assert out == text and best()["settings"]["max_episode_steps"] == 5


def test_the_engine_and_the_jobs_are_those_of_the_words(monkeypatch):
    given = []

    def tune_with(*_, jobs, engine, **__):
        given.append((jobs, engine))
        raise npr.ConfigError("enough")

    monkeypatch.setattr("npr.tune.tune", tune_with)
    assert tune("qlearning CliffWalking-v1", "--engine", "ray") == 2
    assert tune("qlearning CliffWalking-v1", "--jobs", "3") == 2
    assert given == [(None, "ray"), (3, "processes")]
