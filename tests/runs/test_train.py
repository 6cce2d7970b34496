"""One run in its folder, stopped and resumed."""

import os
import signal
import sys
import time

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES
from support.small_runs import config_of, digest, monitor, progress, stop_at, table_run

import npr
from npr.errors import ConfigError, ConfigWarning, EnvCrashedError, SpaceError
from npr.runs import RunConfig, read_config, resume, run_all, train
from npr.runs.config import from_plain, write_json
from npr.runs.folder import fcntl
from npr.system import blas


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(table_run(eval_freq=100, eval_episodes=2, save_freq=60), folder, command=["npr", "x"])
    return folder


def test_the_folder_has_the_files_of_a_run(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "best.npz", "checkpoints", "config.json", "console.log", "evaluations.npz", "final.npz",
        "monitor.csv", "progress.csv", "progress.jsonl",
    ]  # fmt: skip
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == [
        "latest.npz", "rl_model_180_steps.npz", "rl_model_240_steps.npz", "rl_model_300_steps.npz",
    ]  # fmt: skip
    with np.load(finished / "evaluations.npz") as held:
        assert held["timesteps"].tolist() == [100, 200, 300]
        assert held["results"].shape == held["ep_lengths"].shape == (3, 2)


def test_the_final_file_is_the_agent_that_learn_would_make(finished, tmp_path):
    settings = table_run().settings
    npr.QLearning("CliffWalking-v1", seed=0, **settings).learn(300).save(tmp_path / "own.npz")
    assert digest(finished / "final.npz") == digest(tmp_path / "own.npz")


def test_the_configuration_has_every_value_as_trained(finished):
    config = config_of(finished)
    agent = npr.load(finished / "final.npz")
    assert config["settings"] == {k: getattr(agent, k) for k in agent.settings if k != "env_kwargs"}
    assert config["settings"]["learning_rate"] == 0.5  # of the preset
    assert (config["eval_freq"], config["save_freq"], config["total_timesteps"]) == (100, 60, 300)
    assert config["preset"]["total_timesteps"] == 20_000
    assert config["versions"]["numpy"] == np.__version__
    assert (config["command"], config["npr"]) == (["npr", "x"], npr.__version__)
    assert config["started"].startswith("20") and "git" in config


def test_a_run_of_the_recorded_configuration_is_the_same(finished, tmp_path):
    (config,) = from_plain(read_config(finished))
    train(config, tmp_path / "again")
    assert digest(tmp_path / "again" / "final.npz") == digest(finished / "final.npz")
    assert config_of(tmp_path / "again")["settings"] == config_of(finished)["settings"]


def test_there_are_ten_evaluations_and_checkpoints_if_not_given(tmp_path):
    train(table_run(total_timesteps=400, eval_freq=None, eval_episodes=1), tmp_path / "run")
    config = config_of(tmp_path / "run")
    assert (config["eval_freq"], config["save_freq"]) == (40, 40)


def test_no_checkpoints_and_evaluations_but_the_last(tmp_path):
    train(table_run(save_freq=0), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["latest.npz"]
    assert not (tmp_path / "run" / "evaluations.npz").exists()


def test_a_run_never_writes_into_an_existing_folder(tmp_path):
    (tmp_path / "run").mkdir()
    train(table_run(), tmp_path / "run")
    assert not [*(tmp_path / "run").iterdir()]
    assert (tmp_path / "run_2" / "final.npz").exists()


@pytest.mark.parametrize(
    "config, error, message",
    [
        (RunConfig("ddpg", "CartPole-v1"), SpaceError, "needs a Box action space"),
        (RunConfig("sac", "Pendulum-v7"), ConfigError, "version `v7`.*--import PACKAGE"),
        (table_run(wrappers=["no_module:A"]), ConfigError, "--wrapper no_module:A: importing"),
        (table_run(wrappers=["math:tan2"]), ConfigError, "math has no class 'tan2'"),
        (table_run(wrappers=["math"]), ConfigError, "not of the form module:Class"),
        (table_run(imports=["no_module"]), ConfigError, "--import no_module: importing"),
    ],
)
def test_an_agent_that_cannot_be_made_leaves_no_folder(config, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train(config, tmp_path / "run")
    assert not [*tmp_path.iterdir()]


FAILING = """
import gymnasium

class Making(gymnasium.Wrapper):
    def __init__(self, env):
        raise KeyError("making")

class Resetting(gymnasium.Wrapper):
    def reset(self, **given):
        raise KeyError("resetting")
"""


def test_an_environment_that_fails_before_the_first_step_leaves_no_folder(tmp_path, monkeypatch):
    (tmp_path / "failing_first.py").write_text(FAILING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("Making", "Resetting"):
        with pytest.raises((KeyError, EnvCrashedError), match=name.lower()):
            train(table_run(wrappers=[f"failing_first:{name}"]), tmp_path / "out" / "run")
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        train(table_run(env_kwargs={"foo": 1}), tmp_path / "out" / "run")
    assert not [*(tmp_path / "out").iterdir()]


def test_the_last_line_has_the_result_and_the_folder(tmp_path, capsys):
    config = table_run(settings={"verbose": 1}, eval_freq=100, eval_episodes=1)
    train(config, tmp_path / "run")
    line = capsys.readouterr().err.splitlines()[-1]
    returns = [float(row.split(",")[0]) for row in monitor(tmp_path / "run")[1:]]
    with np.load(tmp_path / "run" / "evaluations.npz") as file:
        best = file["results"].mean(1).max()
    assert line == (
        f"npr: return {np.mean(returns):.1f} (last {len(returns)} episodes), best evaluation "
        f"{best:.1f}, written to {tmp_path / 'run'}"
    )
    train(table_run(settings={"verbose": 1}, total_timesteps=5), tmp_path / "short")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"npr: no episode ended, written to {tmp_path / 'short'}"


def test_the_traceback_of_a_run_that_fails_is_in_its_console_log(tmp_path):
    with pytest.raises(ZeroDivisionError):
        train(table_run(), tmp_path / "run", report=stop_at(50, ZeroDivisionError))
    text = (tmp_path / "run" / "console.log").read_text()
    assert "Traceback" in text and "ZeroDivisionError" in text


def test_a_run_has_one_blas_thread_alone_too(tmp_path):
    """So that a wide network, which `learn` gives more, has the same bytes beside other runs."""
    if blas.openblas() is None or blas.threads_set_by_user():
        pytest.skip("the number of threads is not npr's to set")
    threads = []

    def report(agent):
        threads.append(blas.openblas().scipy_openblas_get_num_threads64_())

    wide = {"net_arch": [1024], "n_steps": 8, "n_envs": 1, "verbose": 0}
    config = RunConfig("A2C", "CartPole-v1", wide, total_timesteps=8, eval_freq=0)
    train(config, tmp_path / "run", report=report)
    assert set(threads) == {1}


# ---- resuming

needs_locks = pytest.mark.skipif(fcntl is None, reason="this system has no fcntl")


class Refusing:
    """In place of fcntl, as on a file system without locks."""

    LOCK_EX = LOCK_NB = LOCK_UN = 0

    def flock(handle, operation):
        raise OSError("no locks available")


SMALL = {name: {**CASES[name][2], "verbose": 0} for name in ("DQN", "PPO", "REINFORCE")}


@pytest.fixture(scope="module", params=[*SMALL])
def whole(request, tmp_path_factory):
    """(configuration, folder) of a run that was not stopped."""
    name, env, _ = CASES[request.param]
    config = RunConfig(
        name, env, SMALL[name], total_timesteps=160, eval_freq=30, eval_episodes=2, save_freq=50
    )
    folder = tmp_path_factory.mktemp("runs") / name
    train(config, folder)
    return config, folder


@pytest.mark.parametrize("cuts", [(77,), (1, 60, 150)], ids=str)
def test_a_resumed_run_has_the_bytes_of_one_that_was_not_stopped(whole, cuts, tmp_path):
    config, folder = whole
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config, run, report=stop_at(cuts[0]))
    for cut in cuts[1:]:
        with pytest.raises(KeyboardInterrupt):
            resume(run, report=stop_at(cut))
    resume(run)
    for name in ("final.npz", "best.npz", "evaluations.npz", "checkpoints/latest.npz"):
        assert digest(run / name) == digest(folder / name), name
    assert progress(run) == progress(folder)
    assert monitor(run) == monitor(folder)


def assert_same(folder, other):
    """The files of two runs are the same, up to times."""
    for name in ("final.npz", "best.npz", "evaluations.npz"):
        if (other / name).exists() or (folder / name).exists():
            assert digest(folder / name) == digest(other / name), name
    assert progress(folder) == progress(other)
    assert monitor(folder) == monitor(other)


def test_what_follows_the_checkpoint_of_a_killed_run_is_replaced(tmp_path):
    """As after kill -9: the logs go on to step 130, the last checkpoint is that of step 120."""
    config = table_run(eval_freq=40, eval_episodes=1, save_freq=60)
    train(config, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        train(config, tmp_path / "run", report=stop_at(130, ZeroDivisionError))
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


class Breaking(gymnasium.Wrapper):
    """Raises at a step, once, with Ctrl-C before it or without."""

    at, steps, interrupts = 150, 0, False

    def step(self, action):
        Breaking.steps += 1
        if Breaking.steps == Breaking.at:
            if Breaking.interrupts:
                os.kill(os.getpid(), signal.SIGINT)
            raise KeyError("broken")
        return super().step(action)


@pytest.mark.parametrize(
    "interrupts, error",
    [(False, EnvCrashedError), (True, KeyboardInterrupt)],
    ids=["alone", "as Ctrl-C reached its process too"],
)
def test_a_run_whose_environment_failed_is_resumed_to_the_bit(
    interrupts, error, tmp_path, monkeypatch, capsys
):
    """The random numbers of the action are drawn by then, so that the last checkpoint counts."""
    monkeypatch.setattr(Breaking, "steps", 0)
    monkeypatch.setattr(Breaking, "interrupts", interrupts)
    config = table_run(save_freq=60, wrappers=[f"{__name__}:Breaking"])
    with pytest.raises(error) as caught:
        train(config, tmp_path / "run")
    crash = tmp_path / "run" / "checkpoints" / "crash.npz"
    notes = "".join(getattr(caught.value, "__notes__", []))
    assert f"npr.load({str(crash)!r})" in notes + capsys.readouterr().err
    assert npr.load(crash, env="CliffWalking-v1").num_timesteps == 149
    resume(tmp_path / "run", wrappers=config.wrappers)
    train(config, tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_run_goes_on_from_its_newest_checkpoint_and_keeps_other_files(tmp_path, capsys):
    config = table_run(eval_freq=100, eval_episodes=1, save_freq=100)
    train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", report=stop_at(230))
    run = tmp_path / "run"
    (run / "checkpoints" / "latest.npz").unlink()
    (run / "notes.md").write_text("mine")
    resume(run)
    assert f"{run} goes on at step 200." in capsys.readouterr().err
    assert_same(run, tmp_path / "whole")
    assert (run / "notes.md").read_text() == "mine"


def test_sigterm_stops_a_run_and_says_how_to_resume(tmp_path, capsys):
    def report(agent):
        if agent.num_timesteps == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    config = table_run()
    with pytest.raises(SystemExit) as stop:
        train(config, tmp_path / "run", report=report)
    assert stop.value.code == 143
    assert f"`npr resume {tmp_path / 'run'}` continues this run" in capsys.readouterr().err
    assert npr.load(tmp_path / "run" / "checkpoints" / "latest.npz").num_timesteps == 100
    resume(tmp_path / "run")
    train(config, tmp_path / "whole")
    assert digest(tmp_path / "run" / "final.npz") == digest(tmp_path / "whole" / "final.npz")
    assert "goes on at step 100" in (tmp_path / "run" / "console.log").read_text()


def test_a_run_without_checkpoint_begins_again(tmp_path, capsys):
    config = table_run(eval_freq=100, eval_episodes=1)
    run, whole = tmp_path / "run", tmp_path / "whole"
    train(config, whole, command=["npr"])
    run.mkdir()
    for name in ("config.json", "progress.csv", "monitor.csv", "evaluations.npz", "best.npz"):
        (run / name).write_bytes((whole / name).read_bytes())
    (run / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match="no checkpoint.* without total_timesteps first"):
        resume(run, total_timesteps=10)
    resume(run)
    assert f"{run} has no checkpoint: it begins at step 0." in capsys.readouterr().err
    assert_same(run, whole)
    assert config_of(run)["command"] == ["npr"]
    assert (run / "notes.md").read_text() == "mine"


def test_a_run_that_was_stopped_before_its_final_file_gets_it(finished, tmp_path, capsys):
    train(table_run(), tmp_path / "run")
    (tmp_path / "run" / "final.npz").unlink()
    resume(tmp_path / "run")
    assert digest(tmp_path / "run" / "final.npz") == digest(finished / "final.npz")


def test_a_finished_run_says_so_and_is_not_changed(finished, capsys):
    before = digest(finished / "final.npz"), progress(finished)
    agent = resume(finished)
    assert agent.num_timesteps == 300
    assert f"{finished} is finished: 300 steps." in capsys.readouterr().err
    assert (digest(finished / "final.npz"), progress(finished)) == before


def test_a_finished_run_can_be_extended(tmp_path):
    run = tmp_path / "run"
    train(table_run(total_timesteps=200), run)
    agent = resume(run, total_timesteps=300)
    assert agent.num_timesteps == 300 and config_of(run)["total_timesteps"] == 300
    assert config_of(run)["git"] is None  # the working folder is in no repository
    assert npr.load(run / "final.npz").num_timesteps == 300
    own = npr.QLearning("CliffWalking-v1", seed=0, **table_run().settings).learn(200)
    own.learn(100, reset_num_timesteps=False).save(tmp_path / "own.npz")
    assert digest(run / "final.npz") == digest(tmp_path / "own.npz")
    with pytest.raises(ConfigError, match="has 300 steps; total_timesteps must be more, got 300"):
        resume(run, total_timesteps=300)


def test_an_unfinished_run_is_not_extended(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(table_run(), tmp_path / "run", report=stop_at(50))
    with pytest.raises(ConfigError, match="has 50 of 300 steps. Resume it without total_timesteps"):
        resume(tmp_path / "run", total_timesteps=400)


def test_settings_that_were_edited_are_not_used_silently(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(table_run(), tmp_path / "run", report=stop_at(50))
    config = config_of(tmp_path / "run")
    config["settings"]["learning_rate"] = 0.25
    write_json(tmp_path / "run" / "config.json", config)
    with pytest.warns(ConfigWarning, match="other settings than the checkpoint.*learning_rate=0.5"):
        resume(tmp_path / "run")


def test_only_the_folder_of_a_run_is_resumed(tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder: it has no config.json"):
        resume(tmp_path)
    train(table_run(), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="has no checkpoint to go on from, only final.npz"):
        resume(tmp_path / "run")


def test_a_folder_whose_configuration_describes_several_runs_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"algorithm": "QLearning", "env": "CliffWalking-v1", "seed": [0, 1]}'
    )
    with pytest.raises(ConfigError, match="describes 2 runs, and the folder of a run has one"):
        resume(tmp_path)


@needs_locks
def test_a_run_that_is_being_trained_is_not_resumed(tmp_path):
    run, refused = tmp_path / "run", []

    def report(agent):
        if agent.num_timesteps == 50:
            with pytest.raises(ConfigError, match="run is being trained by another process"):
                resume(run)
            refused.append(agent)

    train(table_run(), run, report=report)
    assert refused and resume(run).num_timesteps == 300  # it is free again


@needs_locks
@pytest.mark.parametrize("module", [None, Refusing])
def test_where_files_cannot_be_locked_runs_are_trained_without(module, tmp_path, monkeypatch):
    monkeypatch.setattr("npr.runs.folder.fcntl", module)
    assert train(table_run(), tmp_path / "run").num_timesteps == 300


def test_a_log_whose_package_is_missing_is_refused_before_the_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for act in (train, lambda config, folder: run_all([config], folder)):
        with pytest.raises(ConfigError, match="'wandb' needs the package wandb"):
            act(table_run(log=["wandb"]), tmp_path / "out")
    assert not [*tmp_path.iterdir()]


# ---- code of the user

MODULE = """
import gymnasium

gymnasium.register("Typed-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=20)

class Halved(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward / 2
"""


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """A module in the working folder; returns its name."""
    name = f"typed_{time.time_ns()}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield name
    gymnasium.registry.pop("Typed-v0", None)


def test_environments_and_wrappers_of_the_user(typed, tmp_path):
    config = RunConfig(
        "dqn", "Typed-v0", SMALL["DQN"], total_timesteps=80, eval_freq=80, eval_episodes=1,
        wrappers=[f"{typed}:Halved"], imports=[typed],
    )  # fmt: skip
    train(config, tmp_path / "whole")
    lengths = [row.split(",") for row in monitor(tmp_path / "whole")[1:]]
    assert lengths and all(float(r) == int(n) / 2 for r, n in lengths)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", report=stop_at(50))
    code = {"wrappers": config.wrappers, "imports": config.imports}
    with pytest.raises(ConfigError, match=f"give --import {typed} again"):
        resume(tmp_path / "run", wrappers=config.wrappers)
    with pytest.raises(ConfigError, match=f"give --wrapper {typed}:Halved again"):
        resume(tmp_path / "run", imports=config.imports)
    more = [*config.wrappers, "gymnasium.wrappers:RecordEpisodeStatistics"]
    with pytest.raises(ConfigError, match=f"made with --wrapper {typed}:Halved, got .*Statistics"):
        resume(tmp_path / "run", wrappers=more, imports=config.imports)
    resume(tmp_path / "run", **code)
    for name in ("final.npz", "evaluations.npz"):
        assert digest(tmp_path / "run" / name) == digest(tmp_path / "whole" / name), name


def test_a_run_goes_on_with_its_wrappers_in_their_order(tmp_path):
    wrappers = [f"gymnasium.wrappers:{name}" for name in ("RecordEpisodeStatistics", "Autoreset")]
    run = tmp_path / "run"
    train(table_run(wrappers=wrappers[:1]), run)
    write_json(run / "config.json", {**config_of(run), "wrappers": wrappers})
    with pytest.raises(ConfigError, match="the same wrappers in the same order"):
        resume(run, wrappers=wrappers[::-1])
    write_json(run / "config.json", {**config_of(run), "wrappers": []})
    with pytest.raises(ConfigError, match="made without --wrapper, got --wrapper gymnasium"):
        resume(run, wrappers=wrappers)


def test_a_wrapped_environment_has_the_preset_of_its_id(tmp_path):
    config = table_run(wrappers=["gymnasium.wrappers:RecordEpisodeStatistics"])
    agent = train(config, tmp_path / "run")
    assert agent.preset and agent.env_id == "CliffWalking-v1"
    assert "RecordEpisodeStatistics" in repr(agent.env)
