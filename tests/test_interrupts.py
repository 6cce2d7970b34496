"""Ctrl-C and SIGTERM at any moment, errors in the middle of a run, and disks that are full: what
was learnt is in a file, and goes on from there to the bit."""

import errno
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from proofs import many
from tiny import CASES, assert_same_parameters, parameters, tiny, trained
from toy_envs import CountingEnv, Faulty

import npr
from npr import CheckpointWarning, ConfigError, EnvContractError, EnvCrashedError, NumericsError
from npr.training.interrupts import Interrupts

TESTS = Path(__file__).parent

# ---- signals, from outside

# runs of about a second without Numba, whose loading would be most of the time
RUNS = {
    "QLearning": ("QLearning", {"n_envs": 1}, 20_000),
    "DQN": ("DQN", {"n_envs": 1}, 4_000),
    "PPO": ("PPO", {"n_envs": 4}, 6_000),
    "SAC": ("SAC", {"n_envs": 1}, 1_500),
}
_PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from tiny import tiny

def ready(agent):
    if agent.num_timesteps <= agent.n_envs:
        workers = getattr(getattr(agent.envs, "env", None), "processes", [])
        print("ready", *(worker.pid for worker in workers), flush=True)

tiny({case!r}, **{settings!r}).learn({steps}, callback=ready, save_path="run.npz")
print("done", flush=True)
"""


def program(run):
    case, settings, steps = RUNS[run]
    return _PROGRAM.format(tests=str(TESTS), case=case, settings=settings, steps=steps)


def start(text):
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NPR_NUMBA": "0", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def resume_in_child():
    text = (
        "import npr; agent = npr.load('run.npz')\n"
        "if agent.num_timesteps < agent.end: agent.learn()\n"  # else it came after the last step
        "agent.save('end.npz')"
    )
    subprocess.run(
        [sys.executable, "-c", text], check=True,
        env={**os.environ, "NPR_NUMBA": "0", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


_WHOLE = {}


def whole(run):
    """(the file, the seconds from the first step on) of a run that nobody stopped."""
    if run not in _WHOLE:
        child = start(program(run))
        assert child.stdout.readline() == "ready\n"
        began = time.perf_counter()
        assert child.wait() == 0, child.stderr.read()
        _WHOLE[run] = Path("run.npz").read_bytes(), time.perf_counter() - began
        os.remove("run.npz")
    return _WHOLE[run]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("run, trials", [("QLearning", (1, 25)), ("DQN", (2, 25)),
                                         ("PPO", (1, 25)), ("SAC", (1, 25))])  # fmt: skip
def test_a_run_that_is_stopped_at_any_moment_is_saved_and_resumed_to_the_bit(run, trials, number):
    """10 moments in CI, 200 under make prove, spread over the whole of a run."""
    file, seconds = whole(run)
    stopped, rng = 0, random.Random(f"{run}{number}")
    while stopped < many(*trials):
        child = start(program(run))
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.random() * seconds)
        child.send_signal(number)
        code, said = child.wait(timeout=30), child.stderr.read()
        if child.stdout.read() == "done\n":  # it had ended already
            assert Path("run.npz").read_bytes() == file
            os.remove("run.npz")
            continue
        # a shell sees 130 where a program ended itself by SIGINT, as it should
        assert code == (-signal.SIGINT if number == signal.SIGINT else 143), said
        assert re.search(
            r"npr: At step [\d,]+ of [\d,]+ the agent was saved: npr\.load\('run\.npz'", said
        )
        resume_in_child()
        assert Path("end.npz").read_bytes() == file
        assert sorted(os.listdir()) == ["end.npz", "run.npz"]
        stopped += 1


@pytest.mark.parametrize("trial", range(many(2, 20)))
def test_a_run_in_workers_that_is_stopped_at_any_moment_leaves_no_process(trial):
    number = (signal.SIGINT, signal.SIGTERM)[trial % 2]
    text = _PROGRAM.format(
        tests=str(TESTS), case="DQN", settings={"n_envs": 2, "env_timeout": 30}, steps=10**6
    )
    child = start(text)
    word, *workers = child.stdout.readline().split()
    assert (word, len(workers)) == ("ready", 2)
    time.sleep(random.Random(trial).random())
    child.send_signal(number)
    child.wait(timeout=30)
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    loaded = npr.load("run.npz")
    assert 0 < loaded.num_timesteps < 10**6


def test_a_shell_sees_130_and_143():
    for number, code in ((2, 130), (15, 143)):
        text = (
            "import os, npr\n"
            "def kill(agent):\n"
            f"    if agent.num_timesteps == 50: os.kill(os.getpid(), {number})\n"
            "npr.QLearning('CliffWalking-v1', verbose=0).learn(10**6, callback=kill)"
        )
        line = f'{sys.executable} -c "$PROGRAM"; echo $?'
        result = subprocess.run(
            ["bash", "-c", line], env={**os.environ, "PROGRAM": text, "NPR_NUMBA": "0"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.stdout.split()[-1] == str(code), result.stderr


# ---- signals, from inside


def raise_signal_at(step, number, times=1):
    def callback(agent):
        if agent.num_timesteps == step:
            for _ in range(times):
                signal.raise_signal(number)

    return callback


def test_ctrl_c_in_a_session_keeps_the_agent_and_its_place(tmp_path, capfd):
    """As in a notebook: the interrupt is caught, and learn() goes on."""
    agent, never = tiny("DQN"), tiny("DQN").learn(100)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(100, callback=raise_signal_at(57, signal.SIGINT))
    assert agent.num_timesteps == 57
    said = capfd.readouterr().err
    assert "npr: stopping after this update; once more stops at once." in said
    (name,) = os.listdir()
    assert re.fullmatch(rf"DQN-CartPole-v1-interrupted-{os.getpid()}\.npz", name)
    assert f"At step 57 of 100 the agent was saved: npr.load('{name}').learn() goes on" in said
    assert agent.learn().num_timesteps == 100
    loaded = npr.load(name).learn()
    for one in (agent, loaded):
        assert_same_parameters(one, never)


def test_sigterm_ends_the_program_with_143(capfd):
    with pytest.raises(SystemExit) as caught:
        tiny("PPO").learn(100, callback=raise_signal_at(57, signal.SIGTERM))
    assert caught.value.code == 143


@pytest.mark.parametrize(
    "number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_twice_means_now_and_nothing_is_saved(number, error):
    with pytest.raises(error):
        tiny("DQN").learn(100, callback=raise_signal_at(57, number, times=2))
    assert os.listdir() == []


def test_handlers_are_those_from_before_however_learning_ends():
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before, inside = handlers(), []
    tiny("DQN").learn(10, callback=lambda agent: inside.append(handlers()))
    assert inside[0] != before
    assert handlers() == before
    for ending in (raise_signal_at(5, signal.SIGINT), lambda agent: 1 / 0):
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            tiny("DQN").learn(10, callback=ending)
        assert handlers() == before


def test_a_program_s_own_handler_stays():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    try:
        agent = tiny("DQN").learn(10, callback=raise_signal_at(5, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["mine"]
    assert agent.num_timesteps == 10


def test_learning_in_a_thread_leaves_signals_alone():
    agent, failed = tiny("DQN"), []

    def work():
        try:
            agent.learn(20)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    assert agent.num_timesteps == 20


@pytest.mark.parametrize("case", ["DQN", "PPO", "REINFORCE"])
@pytest.mark.parametrize("moment", ["the last step", "after it", "while it is saved"])
def test_a_signal_at_the_very_end_finds_the_run_whole(case, moment, capfd):
    agent, whole = tiny(case), tiny(case).learn(40)
    given = {}

    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    if moment == "the last step":
        given["callback"] = raise_signal_at(40, signal.SIGINT)
    elif moment == "after it":
        agent._check_policy = interrupt
    else:
        save = agent.save
        agent.save = lambda path: (interrupt(), save(path))
        given["save_path"] = "a.npz"
    with pytest.raises(KeyboardInterrupt):
        agent.learn(40, **given)
    (name,) = os.listdir()
    assert f"npr.load('{name}') is at the end." in capfd.readouterr().err
    assert_same_parameters(npr.load(name), whole)


def test_nothing_is_written_where_nothing_was_learnt(capfd):
    with pytest.raises(KeyboardInterrupt):
        tiny("DQN").learn(10, callback=raise_signal_at(1, signal.SIGINT))
    assert os.listdir() == []
    assert "Nothing was learnt yet, and so nothing saved" in capfd.readouterr().err


def test_environments_that_were_given_are_not_closed():
    env = CountingEnv()
    env.close = lambda: pytest.fail("it was closed")
    with pytest.raises(KeyboardInterrupt):
        tiny("DQN", env=env).learn(10, callback=raise_signal_at(5, signal.SIGINT))


def test_the_context_notes_the_first_signal_only():
    with Interrupts() as interrupts:
        assert interrupts.asked is None
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.asked, interrupts.now) == (signal.SIGTERM, False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.now


# ---- errors in the middle of a run


class Raising(CountingEnv):
    """Raises in its n-th step, counted over all episodes."""

    def __init__(self, n):
        super().__init__(plan=((7, "truncated"),))
        self.left = n

    def step(self, action):
        self.left -= 1
        if not self.left:
            raise OSError("the robot is gone")
        return super().step(action)


@pytest.mark.parametrize("trial", range(many(8, 50)))
def test_an_environment_that_raises_at_any_step_costs_no_learning(trial):
    case = ("DQN-n", "PERDQN", "PPO", "REINFORCE", "SAC-Discrete")[trial % 5]
    n = random.Random(trial).randrange(3, 190)
    agent = tiny(case, env=Raising(n))
    with pytest.raises(EnvCrashedError, match="env 0 raised OSError: the robot is gone") as caught:
        agent.learn(200)
    assert agent.num_timesteps == n - 1
    (name,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(name, env=Raising(10**6))
    assert_same_parameters(agent, loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("error", npr.ResumeWarning)  # the next step begins anew in any case
        assert loaded.learn().num_timesteps == 200


def test_a_worker_that_dies_costs_no_learning():
    agent = tiny("DQN", env="CartPole-v1", n_envs=2, env_timeout=30)

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


def crashed(case, error, path=None, **patches):
    """An agent that broke off, the note about its file, and the agent in that file."""
    agent = tiny(case)
    for name, patch in patches.items():
        setattr(agent, name, patch(agent))
    with pytest.raises(error) as caught:
        agent.learn(200, save_path=path)
    (note,) = caught.value.__notes__
    (name,) = re.findall(r"the agent was saved: npr\.load\('(.*)'\)", note)
    return agent, note, npr.load(name)


def failing(step, fail):
    """A policy that does something else than act at its `step`-th action."""

    def patch(agent):
        explore, count = agent.explore, [0]

        def other(s):
            count[0] += 1
            a = explore(s)
            return fail(a) if count[0] == step else a

        return other

    return patch


def refuse(_):
    raise NumericsError("for a test")


@every_case
def test_an_error_saves_the_agent_and_its_file_goes_on(case):
    agent, note, loaded = crashed(case, NumericsError, explore=failing(70, refuse))
    assert note.startswith("At step 69 of 200 the agent was saved")
    assert_same_parameters(agent, loaded)
    assert all(np.isfinite(array).all() for array in parameters(loaded).values())
    with warnings.catch_warnings():
        warnings.simplefilter("error", npr.ResumeWarning)
        assert loaded.learn().num_timesteps == 200


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][1] == "Pendulum-v1"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_saves_the_agent(case, bad):
    agent, _, loaded = crashed(case, NumericsError, explore=failing(70, lambda a: a * 0 + bad))
    assert_same_parameters(agent, loaded)
    if hasattr(loaded, "buffer"):
        assert all(np.isfinite(column).all() for column in loaded.buffer.state().values())


class Late(Faulty):
    """Behaves for thirty episodes first. With a box: an action above 0 is 1, others are 0."""

    def __init__(self, fault, bad, box):
        super().__init__(fault, bad)
        self.where[1], self.box = -30, box
        if box:
            self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action):
        return super().step(int(action[0] > 0) if self.box else action)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("QLearning", "Sarsa")])
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_environment_that_breaks_its_contract_saves_the_agent(case, fault, bad):
    box = CASES[case][1] == "Pendulum-v1"
    normalize = fault in ("step", "reward")
    given = {"normalize_obs": normalize, "normalize_reward": normalize}
    agent = tiny(case, env=Late(fault, bad, box), **given)
    with pytest.raises(EnvContractError) as caught:
        agent.learn(200)
    (name,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(name, env=Late(None, 0, box))
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


def test_the_file_is_the_one_that_was_asked_for_and_no_other_is_written():
    _, note, _ = crashed("DQN", NumericsError, path="mine.npz", explore=failing(70, refuse))
    assert "npr.load('mine.npz')" in note
    assert os.listdir() == ["mine.npz"]


def test_a_second_error_gets_a_second_file():
    for _ in range(2):
        crashed("DQN", NumericsError, explore=failing(70, refuse))
    assert len(os.listdir()) == 2


def test_an_agent_that_cannot_be_saved_says_why_and_keeps_its_error():
    agent = tiny("DQN")
    agent.explore = failing(70, refuse)(agent)
    agent.more = np.array([np.nan])
    with pytest.raises(NumericsError, match="for a test") as caught:
        agent.learn(200)
    assert "the agent could not be saved" in caught.value.__notes__[0]
    assert "params/more holds numbers that are not finite" in caught.value.__notes__[0]


def test_an_error_of_the_user_s_callback_writes_nothing():
    with pytest.raises(ZeroDivisionError):
        tiny("DQN").learn(100, callback=lambda agent: 1 / (agent.num_timesteps - 70))
    assert os.listdir() == []


# ---- saving on the way


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["os.replace", "os.fsync", "os.open"])
def test_a_full_disk_leaves_the_old_file_and_training_goes_on(what, monkeypatch):
    agent = tiny("DQN").learn(40, save_path="a.npz")
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
    assert "could not be saved to a.npz at step 15 ([Errno 28] No space left" in texts[0]
    assert os.listdir() == ["a.npz"]
    assert Path("a.npz").read_bytes() != old, "the last one was written again"


def test_the_last_save_of_a_run_is_not_passed_over(monkeypatch):
    agent = tiny("DQN").learn(40, save_path="a.npz")
    old = Path("a.npz").read_bytes()
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        agent.learn(40, save_path="a.npz")
    assert agent.num_timesteps == 40
    assert Path("a.npz").read_bytes() == old


def test_a_folder_that_vanishes_costs_a_warning():
    os.mkdir("runs")

    def vanish(agent):
        if agent.num_timesteps == 20:
            os.remove("runs/a.npz")
            os.rmdir("runs")
        if agent.num_timesteps == 40:
            os.mkdir("runs")

    with pytest.warns(CheckpointWarning, match="No such file or directory"):
        agent = tiny("DQN").learn(45, callback=vanish, save_path="runs/a.npz", save_freq=15)
    assert npr.load("runs/a.npz").num_timesteps == agent.num_timesteps == 45


@pytest.mark.parametrize(
    "given, match",
    [
        ({"save_path": "nowhere/a.npz"}, "there is no folder .*nowhere.*; make it first"),
        ({"save_path": "."}, "save_path must be the path of a file, got '.'"),
        ({"save_path": 7}, "save_path must be the path of a file, got 7"),
        ({"save_freq": 10}, "with a save_path to write to; got save_freq=10, save_path=None"),
        *(({"save_freq": bad, "save_path": "a.npz"}, "save_freq must be a whole number")
          for bad in (0, -1, 2.5, "10", True, float("nan"))),
    ],
)  # fmt: skip
def test_a_path_that_cannot_be_written_is_refused_before_the_first_step(given, match):
    agent = tiny("DQN")
    with pytest.raises(ConfigError, match=match):
        agent.learn(10, **given)
    assert agent.envs.s is None


def test_a_finished_run_is_saved_where_it_was_asked_for():
    agent = tiny("DQN").learn(96, save_path="a.npz")
    assert os.listdir() == ["a.npz"]
    assert_same_parameters(npr.load("a.npz"), agent)
    trained("DQN")
    assert os.listdir() == ["a.npz"], "nothing is written that nobody asked for"
