"""Errors in the middle of a run save the agent; saving during a run survives full disks."""

import errno
import os
import random
import re
import signal
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from support.proof_size import n_trials, pairs
from support.small_agents import (
    CASES,
    TABLES,
    assert_same_parameters,
    parameters,
    small_agent,
    trained,
)
from support.toy_envs import CountingEnv, NonFiniteEnv

import npr
from npr import CheckpointWarning, ConfigError, EnvContractError, EnvCrashedError, NumericsError

# ---- errors during a run


class RaisesInStep(CountingEnv):
    """Raises in step number n, counted over all episodes."""

    def __init__(self, n):
        super().__init__(plan=((7, "truncated"),))
        self.left = n

    def step(self, action):
        self.left -= 1
        if not self.left:
            raise OSError("the robot is gone")
        return super().step(action)


@pytest.mark.parametrize("trial", range(n_trials(8, 50)))
def test_an_environment_that_raises_loses_no_parameters(trial):
    case = ("DQN-n", "PERDQN", "PPO", "REINFORCE", "SAC-Discrete")[trial % 5]
    n = random.Random(trial).randrange(3, 190)
    agent = small_agent(case, env=RaisesInStep(n))
    with pytest.raises(EnvCrashedError, match="env 0 raised OSError: the robot is gone") as caught:
        agent.learn(200)
    assert agent.num_timesteps == n - 1
    (name,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(name, env=RaisesInStep(10**6))
    assert_same_parameters(agent, loaded)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", npr.ResumeWarning
        )  # the episode of the error is not resumed anyway
        assert loaded.learn().num_timesteps == 200


def test_a_worker_that_dies_loses_no_parameters():
    agent = small_agent("DQN", env="CartPole-v1", n_envs=2, env_timeout=30)

    def kill(agent):
        if agent.num_timesteps == 100:
            os.kill(agent.envs.env.processes[1].pid, signal.SIGKILL)

    with pytest.raises(EnvCrashedError, match=r"env worker 1 \(pid \d+\) died with signal 9"):
        agent.learn(200, callback=kill, save_path="a.npz")
    loaded = npr.load("a.npz")
    assert_same_parameters(agent, loaded)
    assert loaded.learn().num_timesteps == 200
    loaded.close()


every_case = pytest.mark.parametrize("case", CASES)


def after_error(case, error, path=None, **patches):
    """An agent after an error, the note about its file, and the agent loaded from it."""
    agent = small_agent(case)
    for name, patch in patches.items():
        setattr(agent, name, patch(agent))
    with pytest.raises(error) as caught:
        agent.learn(200, save_path=path)
    (note,) = caught.value.__notes__
    (name,) = re.findall(r"the agent was saved: npr\.load\('(.*)'\)", note)
    return agent, note, npr.load(name)


def failing(step, fail):
    """A policy that calls fail(action) at action number `step`."""

    def patch(agent):
        explore, count = agent.explore, [0]

        def other(s):
            count[0] += 1
            a = explore(s)
            return fail(a) if count[0] == step else a

        return other

    return patch


def raise_error(_):
    raise NumericsError("for a test")


@every_case
def test_an_error_saves_the_agent_and_its_file_resumes(case):
    agent, note, loaded = after_error(case, NumericsError, explore=failing(70, raise_error))
    assert note.startswith("At step 69 of 200 the agent was saved")
    assert_same_parameters(agent, loaded)
    assert all(np.isfinite(array).all() for array in parameters(loaded).values())
    with warnings.catch_warnings():
        warnings.simplefilter("error", npr.ResumeWarning)
        assert loaded.learn().num_timesteps == 200


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][1] == "Pendulum-v1"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_action_saves_the_agent(case, bad):
    agent, _, loaded = after_error(case, NumericsError, explore=failing(70, lambda a: a * 0 + bad))
    assert_same_parameters(agent, loaded)
    if hasattr(loaded, "buffer"):
        assert all(np.isfinite(column).all() for column in loaded.buffer.state().values())


class LateNonFiniteEnv(NonFiniteEnv):
    """Valid for thirty episodes. With a Box: actions above 0 mean 1, others 0."""

    def __init__(self, fault, bad, box):
        super().__init__(fault, bad)
        self.where[1], self.box = -30, box
        if box:
            self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action):
        return super().step(int(action[0] > 0) if self.box else action)


@pytest.mark.parametrize(
    "case, fault, bad",
    pairs([c for c in CASES if c not in TABLES], NonFiniteEnv.FAULTS, [np.nan, np.inf, -np.inf]),
)
def test_a_contract_violation_saves_the_agent(case, fault, bad):
    box = CASES[case][1] == "Pendulum-v1"
    normalize = fault in ("step", "reward")
    given = {"normalize_obs": normalize, "normalize_reward": normalize}
    agent = small_agent(case, env=LateNonFiniteEnv(fault, bad, box), **given)
    with pytest.raises(EnvContractError) as caught:
        agent.learn(200)
    (name,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(name, env=LateNonFiniteEnv(None, 0, box))
    assert_same_parameters(agent, loaded)
    assert agent.num_timesteps > 100
    if normalize:
        assert 90 < loaded.obs_norm.moments.count <= agent.num_timesteps
        for array in [*loaded.obs_norm.state().values(), *loaded.reward_norm.state().values()]:
            assert np.isfinite(array).all()
    for array in [*parameters(loaded).values(), *loaded.steps.columns().values()]:
        assert np.isfinite(array).all()
    if hasattr(loaded, "buffer"):
        assert all(np.isfinite(column).all() for column in loaded.buffer.state().values())
    assert loaded.learn().num_timesteps == 200


def test_an_error_saves_to_the_save_path_only():
    _, note, _ = after_error(
        "DQN", NumericsError, path="mine.npz", explore=failing(70, raise_error)
    )
    assert "npr.load('mine.npz')" in note
    assert os.listdir() == ["mine.npz"]


def test_a_second_error_writes_a_second_file():
    for _ in range(2):
        after_error("DQN", NumericsError, explore=failing(70, raise_error))
    assert len(os.listdir()) == 2


def test_a_failing_save_is_added_to_the_error_as_a_note():
    agent = small_agent("DQN")

    def diverge(_):
        agent.theta_bar[0] = np.nan
        raise NumericsError("for a test")

    agent.explore = failing(70, diverge)(agent)
    with pytest.raises(NumericsError, match="for a test") as caught:
        agent.learn(200)
    assert "the agent could not be saved" in caught.value.__notes__[0]
    assert "params/theta_bar contains NaN or infinite values" in caught.value.__notes__[0]


def test_a_crash_saves_an_agent_without_the_state_that_a_file_would_lose():
    """Better than no file; the note names what is missing."""
    agent = small_agent("DQN")

    def forget(_):
        vars(agent).update(history=[1.0], more=np.ones(3))
        raise NumericsError("for a test")

    agent.explore = failing(70, forget)(agent)
    with pytest.raises(NumericsError, match="for a test") as caught:
        agent.learn(200)
    (note,) = caught.value.__notes__
    assert "the agent was saved, without its history, more: npr.load(" in note
    (name,) = os.listdir()
    del vars(agent)["more"]
    assert_same_parameters(agent, npr.load(name))
    assert npr.load(name).num_timesteps == 69


class Pruned(BaseException):
    """Not an Exception, as SystemExit is not."""


@pytest.mark.parametrize("error", [ZeroDivisionError("by me"), Pruned(), SystemExit(3)])
@pytest.mark.parametrize("case", ["DQN-n", "PPO", "QLearning"])
def test_an_error_of_a_callback_saves_to_the_save_path(error, case):
    def fail(agent):
        if agent.num_timesteps == 70:
            raise error

    agent = small_agent(case)
    with pytest.raises(type(error)) as caught:
        agent.learn(100, callback=fail, save_path="a.npz")
    assert caught.value is error
    assert "At step 70 of 100 the agent was saved: npr.load('a.npz')" in error.__notes__.pop()
    loaded = npr.load("a.npz")
    assert_same_parameters(agent, loaded)
    assert loaded.learn().num_timesteps == 100


def test_an_error_of_a_callback_saves_nothing_without_a_save_path():
    """Programs that search for settings raise one to end a trial."""
    with pytest.raises(ZeroDivisionError) as caught:
        small_agent("DQN").learn(100, callback=lambda agent: 1 / (agent.num_timesteps - 70))
    assert os.listdir() == []
    assert not hasattr(caught.value, "__notes__")


def test_an_error_of_the_algorithm_saves_to_the_save_path():
    agent = small_agent("DQN")
    agent.update = lambda *batch: 1 / 0
    with pytest.raises(ZeroDivisionError) as caught:
        agent.learn(100, save_path="a.npz")
    assert "the agent was saved: npr.load('a.npz')" in caught.value.__notes__[0]
    assert_same_parameters(agent, npr.load("a.npz"))


# ---- saving during a run


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["os.replace", "os.fsync", "os.open"])
def test_a_full_disk_leaves_the_old_file_and_training_continues(what, monkeypatch):
    agent = small_agent("DQN").learn(40, save_path="a.npz")
    old = Path("a.npz").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(what, no_space)
        with pytest.warns(CheckpointWarning) as caught:
            agent.learn(
                40,
                save_path="a.npz",
                save_freq=15,
                callback=lambda agent: None if agent.num_timesteps < 38 else patch.undo(),
            )
    assert agent.num_timesteps == 40
    texts = [str(one.message) for one in caught if one.category is CheckpointWarning]
    assert len(texts) == 2
    assert texts[0].startswith("a.npz, step 15: the agent could not be saved ([Errno 28] No space")
    assert os.listdir() == ["a.npz"]
    assert Path("a.npz").read_bytes() != old, "the last save succeeded"


def test_a_failure_of_the_last_save_raises(monkeypatch):
    agent = small_agent("DQN").learn(40, save_path="a.npz")
    old = Path("a.npz").read_bytes()
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        agent.learn(40, save_path="a.npz")
    assert agent.num_timesteps == 40
    assert Path("a.npz").read_bytes() == old


def test_a_removed_folder_causes_a_warning():
    os.mkdir("runs")

    def remove(agent):
        if agent.num_timesteps == 20:
            os.remove("runs/a.npz")
            os.rmdir("runs")
        if agent.num_timesteps == 40:
            os.mkdir("runs")

    with pytest.warns(CheckpointWarning, match="No such file or directory"):
        agent = small_agent("DQN").learn(45, callback=remove, save_path="runs/a.npz", save_freq=15)
    assert npr.load("runs/a.npz").num_timesteps == agent.num_timesteps == 45


@pytest.mark.parametrize(
    "given, match",
    [
        ({"save_path": "nowhere/a.npz"}, "there is no folder .*nowhere.*; create it first"),
        ({"save_path": "."}, "must be the path of a file, .* got '.', which is a folder"),
        ({"save_path": 7}, "save_path must be the path of a file, e.g. 'agent.npz', got 7"),
        ({"save_path": ""}, "save_path must be the path of a file, .* got ''"),
        ({"save_freq": 10}, "with a save_path to write to; got save_freq=10, save_path=None"),
        *(({"save_freq": bad, "save_path": "a.npz"}, "save_freq must be a whole number")
          for bad in (0, -1, 2.5, "10", True, float("nan"))),
    ],
)  # fmt: skip
def test_an_invalid_save_path_is_refused_before_the_first_step(given, match):
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match=match):
        agent.learn(10, **given)
    assert agent.envs.s is None


def test_a_finished_run_is_saved_to_the_save_path():
    agent = small_agent("DQN").learn(96, save_path="a.npz")
    assert os.listdir() == ["a.npz"]
    assert_same_parameters(npr.load("a.npz"), agent)
    trained("DQN")
    assert os.listdir() == ["a.npz"], "nothing is saved without a save_path"


@pytest.mark.parametrize(
    "path, match",
    [(".", "path must be the path of a file, .* got '.', which is a folder"),
     ("", "path must be the path of a file, .* got ''"), (None, "got None"), (7, "got 7")],
)  # fmt: skip
def test_an_invalid_path_of_a_file_is_refused(path, match):
    with pytest.raises(ConfigError, match=match):
        small_agent("DQN").save(path)
    assert os.listdir() == []


def test_a_missing_folder_is_named():
    with pytest.raises(FileNotFoundError, match="create the folder first: .*nowhere'"):
        small_agent("DQN").save("nowhere/a.npz")


@pytest.mark.parametrize("path", ["plain", "dotted.v2", "agent.zip", b"bytes", Path("a.npz")])
def test_a_file_has_the_name_that_was_given(path):
    agent = small_agent("DQN")
    agent.save(path)
    assert os.listdir() == [os.fsdecode(path)]
    assert_same_parameters(npr.load(path), agent)
