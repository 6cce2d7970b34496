"""SIGINT and SIGTERM at any moment of a run: it is saved and resumes bit for bit."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import TESTS
from support.proof_size import n_trials
from support.small_agents import assert_same_parameters, small_agent
from support.toy_envs import CountingEnv

import npr
from npr.training.interrupts import Interrupts

# ---- signals from another process

# runs of about a second, without Numba because of its import time
RUNS = {
    "QLearning": ("QLearning", {"n_envs": 1}, 20_000),
    "DQN": ("DQN", {"n_envs": 1}, 4_000),
    "PPO": ("PPO", {"n_envs": 4}, 6_000),
    "SAC": ("SAC", {"n_envs": 1}, 1_500),
}
_PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from support.small_agents import small_agent

def ready(agent):
    if agent.num_timesteps <= agent.n_envs:
        workers = getattr(getattr(agent.envs, "env", None), "processes", [])
        print("ready", *(worker.pid for worker in workers), flush=True)

small_agent({case!r}, **{settings!r}).learn({steps}, callback=ready, save_path="run.npz")
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
        "if agent.num_timesteps < agent.end: agent.learn()\n"  # else it had finished
        "agent.save('end.npz')"
    )
    subprocess.run(
        [sys.executable, "-c", text], check=True,
        env={**os.environ, "NPR_NUMBA": "0", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


_UNINTERRUPTED = {}


def uninterrupted(run):
    """(the file, the seconds from the first step) of a run that is not stopped."""
    if run not in _UNINTERRUPTED:
        child = start(program(run))
        assert child.stdout.readline() == "ready\n"
        began = time.perf_counter()
        assert child.wait() == 0, child.stderr.read()
        _UNINTERRUPTED[run] = Path("run.npz").read_bytes(), time.perf_counter() - began
        os.remove("run.npz")
    return _UNINTERRUPTED[run]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=["SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize(
    "run",
    [*(pytest.param(run, marks=pytest.mark.slow) for run in ("QLearning", "DQN")), "PPO", "SAC"],
)
def test_a_run_stopped_at_any_moment_is_saved_and_resumes_exactly(run, number):
    """A moment of a run on-policy and of one off-policy by default; of other algorithms and for
    SIGTERM with the slow tests, 25 of each under `make prove`."""
    file, seconds = uninterrupted(run)
    stopped, rng = 0, random.Random(f"{run}{number}")
    while stopped < n_trials(1, 25):
        child = start(program(run))
        assert child.stdout.readline() == "ready\n"
        began = time.perf_counter()
        try:
            child.wait(timeout=rng.random() * seconds)
            seconds = min(seconds, time.perf_counter() - began)  # faster than the first run
        except subprocess.TimeoutExpired:
            child.send_signal(number)
        code, stderr = child.wait(timeout=30), child.stderr.read()
        if child.stdout.read() == "done\n":  # it had already ended
            assert Path("run.npz").read_bytes() == file
            os.remove("run.npz")
            continue
        # the program ends itself by SIGINT, which a shell reports as 130
        assert code == (-signal.SIGINT if number == signal.SIGINT else 143), stderr
        assert re.search(
            r"npr: At step [\d,]+ of [\d,]+ the agent was saved: npr\.load\('run\.npz'", stderr
        )
        resume_in_child()
        assert Path("end.npz").read_bytes() == file
        assert sorted(os.listdir()) == ["end.npz", "run.npz"]
        stopped += 1


@pytest.mark.parametrize("trial", range(n_trials(2, 20)))
def test_a_stopped_run_with_workers_leaves_no_process(trial):
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


def test_the_exit_codes_in_a_shell_are_130_and_143():
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


# ---- signals in this process


def raise_signal_at(step, number, times=1):
    def callback(agent):
        if agent.num_timesteps == step:
            for _ in range(times):
                signal.raise_signal(number)

    return callback


def test_a_caught_interrupt_keeps_the_agent_in_a_session(tmp_path, capfd):
    """As in a notebook: the interrupt is caught, and learn() continues."""
    agent, uninterrupted = small_agent("DQN"), small_agent("DQN").learn(100)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(100, callback=raise_signal_at(57, signal.SIGINT))
    assert agent.num_timesteps == 57
    stderr = capfd.readouterr().err
    assert "npr: stopping after this update; press again to stop immediately." in stderr
    (name,) = os.listdir()
    assert re.fullmatch(rf"DQN-CartPole-v1-interrupted-{os.getpid()}\.npz", name)
    assert f"At step 57 of 100 the agent was saved: npr.load('{name}').learn() continues" in stderr
    assert agent.learn().num_timesteps == 100
    loaded = npr.load(name).learn()
    for one in (agent, loaded):
        assert_same_parameters(one, uninterrupted)


def test_sigterm_ends_the_program_with_143(capfd):
    with pytest.raises(SystemExit) as caught:
        small_agent("PPO").learn(100, callback=raise_signal_at(57, signal.SIGTERM))
    assert caught.value.code == 143


@pytest.mark.parametrize(
    "number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_second_signal_stops_immediately_without_saving(number, error):
    with pytest.raises(error):
        small_agent("DQN").learn(100, callback=raise_signal_at(57, number, times=2))
    assert os.listdir() == []


def test_signal_handlers_are_restored():
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before, inside = handlers(), []
    small_agent("DQN").learn(10, callback=lambda agent: inside.append(handlers()))
    assert inside[0] != before
    assert handlers() == before
    for ending in (raise_signal_at(5, signal.SIGINT), lambda agent: 1 / 0):
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            small_agent("DQN").learn(10, callback=ending)
        assert handlers() == before


def test_a_handler_of_the_program_is_kept():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    try:
        agent = small_agent("DQN").learn(10, callback=raise_signal_at(5, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["mine"]
    assert agent.num_timesteps == 10


def test_learning_in_a_thread_does_not_change_handlers():
    agent, failed = small_agent("DQN"), []

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
def test_a_signal_at_the_end_of_a_run_saves_the_finished_run(case, moment, capfd, monkeypatch):
    agent, finished = small_agent(case), small_agent(case).learn(40)
    given = {}

    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    if moment == "the last step":
        given["callback"] = raise_signal_at(40, signal.SIGINT)
    elif moment == "after it":
        monkeypatch.setattr("npr.training.run.Run.check_policy", interrupt)
    else:
        save = agent.save
        agent.save = lambda path: (interrupt(), save(path))
        given["save_path"] = "a.npz"
    with pytest.raises(KeyboardInterrupt):
        agent.learn(40, **given)
    (name,) = os.listdir()
    assert f"npr.load('{name}')." in capfd.readouterr().err
    assert_same_parameters(npr.load(name), finished)


def test_nothing_is_saved_before_the_first_update(capfd):
    with pytest.raises(KeyboardInterrupt):
        small_agent("DQN").learn(10, callback=raise_signal_at(1, signal.SIGINT))
    assert os.listdir() == []
    assert "Nothing was saved, since nothing was learned yet" in capfd.readouterr().err


def test_environments_of_the_user_are_not_closed():
    env = CountingEnv()
    env.close = lambda: pytest.fail("it was closed")
    with pytest.raises(KeyboardInterrupt):
        small_agent("DQN", env=env).learn(10, callback=raise_signal_at(5, signal.SIGINT))


def test_the_context_records_the_first_signal():
    with Interrupts() as interrupts:
        assert interrupts.requested is None
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.requested, interrupts.repeated) == (signal.SIGTERM, False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.repeated


def test_a_second_signal_is_ignored_in_a_process_that_another_one_stops(monkeypatch):
    """Also after the run, while it is saved."""
    monkeypatch.setattr(Interrupts, "repeats", False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert (interrupts.requested, interrupts.repeated) == (signal.SIGTERM, False)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_handlers_are_restored_in_such_a_process_if_there_was_no_signal(monkeypatch):
    monkeypatch.setattr(Interrupts, "repeats", False)
    with Interrupts():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
