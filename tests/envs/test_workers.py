"""Environments in processes of their own: killed, raising and hanging ones, and none left over."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from support import TESTS
from support.proof_size import many
from support.recorders import Recorder, by_env
from support.small_agents import tiny
from support.toy_envs import PLANS, CountingEnv, Hostile, alone, counting_action

import npr
from npr.envs import workers
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

LIMIT = 5.0  # seconds to a named error: what is promised


class Unsendable(Exception):
    """Cannot be put together again on the other side of a pipe."""

    def __init__(self, one, two):
        super().__init__("it")


def fails(how):
    """What env 1 of two does in its second step."""

    def fault(*result):
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(0)
        if how == "hanging":
            time.sleep(1_000)
        if how == "unsendable":
            raise Unsendable(1, 2)
        raise ValueError("boom")

    return fault


FAILURES = {
    "killed": r"env worker 1 \(pid \d+\) died with signal 9 \(often out of memory\), at step 2",
    "exit": r"env worker 1 \(pid \d+\) ended with exit code 0, at step 2",
    "raising": r"env 1 raised ValueError: boom, at step 2, 2 steps into its episode; its last",
    "unsendable": "env 1 raised an error that cannot be sent from its process, at step 2",
    "hanging": r"env 1 did not answer for 0\.5 s, at step 2",
}


def makers(how):
    return [CountingEnv, functools.partial(Hostile, step=fails(how))]


def pids(agent):
    return [process.pid for process in agent.envs.env.unwrapped.processes]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_none_is_left(processes):
    left = [pid for pid in processes if alive(pid)]
    assert not left, f"orphans: {left}"


@pytest.mark.parametrize("trial", range(many(5, 100)))
@pytest.mark.parametrize("how", ["killed", "raising", "hanging"])
def test_a_worker_that_fails_is_named_in_time_and_none_is_left(how, trial):
    mode = [*AutoresetMode][trial % 3]
    env = AsyncVectorEnv(makers(how), shared_memory=bool(trial % 2), autoreset_mode=mode)
    agent = Recorder(env, seed=0, verbose=0, env_timeout=0.5 if how == "hanging" else None)
    mine, began = pids(agent), time.monotonic()
    with pytest.raises(EnvCrashedError, match=f"^{FAILURES[how]}.*Fix the environment"):
        agent.learn(60)
    assert time.monotonic() - began < LIMIT
    assert_none_is_left(mine)
    agent.close()
    assert [row[0][1:] for row in agent.rows] == [(0, 0)] * 2, "nothing of the step is kept"


@pytest.mark.parametrize("trial", range(many(5, 100)))
def test_a_worker_that_is_killed_at_any_moment_is_named(trial):
    agent = Recorder(CountingEnv, n_envs=2, seed=0, verbose=0, env_timeout=20)
    mine = pids(agent)
    chance = np.random.default_rng(trial)
    timer = threading.Timer(chance.uniform(0, 0.1), os.kill, (mine[trial % 2], signal.SIGKILL))
    timer.start()
    with pytest.raises(
        EnvCrashedError, match=rf"^env worker {trial % 2} \(pid {mine[trial % 2]}\)"
    ):
        agent.learn(10**7)
    timer.join()
    assert_none_is_left(mine)
    for s, _, _, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
    agent.rows.clear()
    agent.learn(20)  # in new processes
    assert len(agent.rows) == 20 and not set(mine) & set(pids(agent))
    mine = pids(agent)
    agent.close()
    assert_none_is_left(mine)


@pytest.mark.parametrize("how", ["exit", "unsendable"])
def test_other_ends_of_a_worker_are_named_too(how):
    agent = Recorder(AsyncVectorEnv(makers(how)), seed=0, verbose=0)
    mine = pids(agent)
    with pytest.raises(EnvCrashedError, match=f"^{FAILURES[how]}"):
        agent.learn(60)
    assert_none_is_left(mine)
    with pytest.raises(EnvCrashedError, match="is closed, and npr cannot make another. Save the"):
        agent.learn(60)


def test_a_worker_whose_pipe_outlives_it_is_named_in_time():
    """A process that the environment started holds the pipe open: no end of it is ever read."""

    def fault(*result):
        if os.fork() == 0:
            time.sleep(2 * LIMIT)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    envs = [CountingEnv, functools.partial(Hostile, step=fault)]
    agent, began = Recorder(AsyncVectorEnv(envs), seed=0, verbose=0), time.monotonic()
    with pytest.raises(EnvCrashedError, match=FAILURES["killed"]):
        agent.learn(60)
    assert time.monotonic() - began < LIMIT


def test_the_cause_comes_with_the_traceback_of_its_process():
    agent = Recorder(AsyncVectorEnv(makers("raising")), seed=0, verbose=0)
    with pytest.raises(EnvCrashedError) as caught:
        agent.learn(60)
    cause = caught.value.__cause__
    assert type(cause) is ValueError and "in fault" in cause.__notes__[0]


def test_a_vector_inside_wrappers_is_watched():
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    agent = Recorder(RecordEpisodeStatistics(AsyncVectorEnv(makers("killed"))), verbose=0)
    mine = pids(agent)
    with pytest.raises(EnvCrashedError, match=FAILURES["killed"]):
        agent.learn(60)
    assert_none_is_left(mine)


def test_environments_in_processes_give_what_each_gives_alone():
    """The same seeds, the same rows and the same checks as in this process."""
    agents = [
        npr.DQN("CartPole-v1", n_envs=2, seed=0, verbose=0, env_timeout=timeout,
                learning_starts=1_000, buffer_size=300).learn(200) for timeout in (None, 20)
    ]  # fmt: skip
    here, there = (agent.buffer.state() for agent in agents)
    assert all(np.array_equal(here[name], there[name]) for name in here)
    mine = pids(agents[1])
    agents[1].close()
    assert_none_is_left(mine)


@pytest.mark.parametrize("fault", [lambda o, r, *x: (o, "3", *x), lambda o, *x: (o[:1], *x)])
def test_the_contract_is_checked_where_the_environment_is(fault):
    agent = Recorder(functools.partial(Hostile, step=fault), n_envs=2, verbose=0, env_timeout=20)
    mine = pids(agent)
    with pytest.raises(EnvContractError, match=r"^env \d, step 2: .*(as the reward|of shape)"):
        agent.learn(10)
    assert_none_is_left(mine)


def test_a_crash_in_a_process_is_let_pass_where_that_is_asked_for():
    env = functools.partial(Hostile, step=fails("killed"), at=8)
    agent = Recorder(env, n_envs=2, seed=0, verbose=0, env_timeout=20, on_env_error="reset")
    first = pids(agent)
    with pytest.warns(RuntimeWarning, match=r"^env worker \d .* died with signal 9.*dropped"):
        agent.learn(40)
    assert len(agent.rows) == agent.num_timesteps == 40 and agent.envs.dropped >= 4
    for s, _, _, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
    second = pids(agent)
    agent.close()
    assert_none_is_left([*first, *second])


def test_a_number_that_is_not_finite_ends_its_episode_in_a_process_too():
    env = functools.partial(Hostile, step=lambda o, r, *x: (o, float("nan"), *x))
    agent = Recorder(env, n_envs=2, seed=0, verbose=0, env_timeout=20, nan_obs="terminate")
    with pytest.warns(RuntimeWarning, match="non-finite reward"):
        agent.learn(30)
    assert agent.envs.dropped == 2
    agent.close()


def test_a_vector_without_shared_memory_does_not_reset_twice():
    """Its workers remember, beyond a reset, that they have to reset themselves."""
    envs = [functools.partial(CountingEnv, i, PLANS[i]) for i in range(3)]
    agent = Recorder(AsyncVectorEnv(envs, shared_memory=False), seed=0, verbose=0)
    for _ in range(8):
        agent.envs.reset()
        agent.learn(5, reset_num_timesteps=False)
    agent.close()
    reference = {
        row[0]: row[:5] for i in range(3) for row in alone(envs[i](), counting_action, 400)
    }
    assert all(row == reference[row[0]] for rows in by_env(agent.rows).values() for row in rows)


# ---- what must not be left behind


def test_an_interrupt_while_answers_are_awaited_costs_no_worker():
    def interrupt():  # the second one stops at once
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    slow = functools.partial(Hostile, step=lambda *result: time.sleep(0.5) or result)
    agent = Recorder(slow, n_envs=2, seed=0, verbose=0, env_timeout=20)
    mine = pids(agent)
    agent.envs.reset()
    timer = threading.Timer(0.2, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        agent.learn(60)
    assert all(map(alive, mine))
    agent.rows.clear()
    agent.learn(30)
    assert len(agent.rows) == 30 and pids(agent) == mine
    agent.close()
    assert_none_is_left(mine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_in_workers_that_is_stopped_is_saved_and_leaves_none(number):
    agent = tiny("DQN", env="CartPole-v1", n_envs=2, env_timeout=20)
    mine = pids(agent)

    def stop(agent):
        if agent.num_timesteps == 50:
            signal.raise_signal(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        agent.learn(200, callback=stop, save_path="a.npz")
    assert_none_is_left(mine)
    loaded = npr.load("a.npz")
    with pytest.warns(npr.ResumeWarning, match="workers"):
        loaded.learn()
    assert loaded.num_timesteps == 200
    loaded.close()


TERMINAL = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from support.recorders import Recorder
from support.toy_envs import CountingEnv
agent = Recorder(CountingEnv, n_envs=2, verbose=0, env_timeout=20)
agent.learn(20)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.killpg(0, signal.SIGINT)
time.sleep(0.2)
agent.learn(20)
print(len(agent.rows), *[process.pid for process in agent.envs.env.processes])
"""


def test_ctrl_c_in_the_terminal_leaves_the_workers_alone_and_an_exit_takes_them_along():
    run = subprocess.run(
        [sys.executable, "-c", TERMINAL, str(TESTS)], capture_output=True, text=True,
        start_new_session=True,
    )  # fmt: skip
    rows, *processes = map(int, run.stdout.split())
    assert rows == 40 and len(processes) == 2, run.stderr
    assert_none_is_left(processes)


@pytest.fixture
def opened(monkeypatch):
    """The worker processes that were started."""
    found, start = [], workers.open_workers

    def noted(*args):
        env = start(*args)
        found.extend(process.pid for process in env.processes)
        return env

    monkeypatch.setattr(workers, "open_workers", noted)
    return found


def test_a_refusal_after_the_workers_were_started_leaves_none(opened):
    with pytest.raises(SpaceError, match="SACS needs a Box action space") as caught:
        npr.SACS(CountingEnv, env_timeout=20)
    assert opened and caught.tb, "who keeps the error keeps the environments from being collected"
    assert_none_is_left(opened)


def test_an_environment_that_does_not_close_is_ended(monkeypatch):
    home = os.getpid()
    monkeypatch.setattr(CountingEnv, "close", lambda env: os.getpid() == home or time.sleep(1_000))
    agent = Recorder(CountingEnv, n_envs=2, verbose=0, env_timeout=20).learn(10)
    mine, began = pids(agent), time.monotonic()
    agent.close()
    assert time.monotonic() - began < workers.GRACE + LIMIT
    assert_none_is_left(mine)


def test_a_worker_whose_environment_cannot_be_made_is_named():
    home = os.getpid()

    def make():
        if os.getpid() != home:
            os._exit(7)
        return CountingEnv()

    with pytest.raises(EnvCrashedError, match=r"^env worker 0 \(pid \d+\) ended with exit code 7"):
        npr.DQN(make, n_envs=2, env_timeout=20)


@pytest.mark.parametrize("what", ["an Env", "a list of Gymnasium's"])
def test_what_cannot_run_in_a_process_is_refused(what):
    from gymnasium.vector import SyncVectorEnv

    env = CountingEnv() if what == "an Env" else SyncVectorEnv([CountingEnv])
    with pytest.raises(ConfigError, match="env_timeout=5 needs .* id"):
        npr.DQN(env, env_timeout=5)
