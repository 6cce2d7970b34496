"""Environments in worker processes that are killed, raise or hang; no process is left over."""

import functools
import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from support import TESTS
from support.proof_size import n_trials
from support.recorders import Recorder, rows_by_env
from support.small_agents import small_agent
from support.toy_envs import PLANS, CountingEnv, FaultyEnv, counting_action, single_env_rows

import npr
from npr.envs import workers
from npr.envs.gymnasium_internals import AsyncInternals
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

LIMIT = 5.0  # promised seconds until the error is raised


class UnpicklableError(Exception):
    """Cannot be unpickled in another process."""

    def __init__(self, one, two):
        super().__init__("it")


def failure(how):
    """The second step of env 1 of two."""

    def fault(*result):
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(0)
        if how == "hanging":
            time.sleep(1_000)
        if how == "unpicklable":
            raise UnpicklableError(1, 2)
        raise ValueError("boom")

    return fault


FAILURES = {
    "killed": r"env worker 1 \(pid \d+\) died with signal 9 \(often out of memory\), at step 2",
    "exit": r"env worker 1 \(pid \d+\) ended with exit code 0, at step 2",
    "raising": r"env 1 raised ValueError: boom, at step 2, 2 steps into its episode; its last",
    "unpicklable": "env 1 raised an error that cannot be sent from its process, at step 2",
    "hanging": r"env 1 did not answer for 0\.5 s, at step 2",
}


def makers(how):
    return [CountingEnv, functools.partial(FaultyEnv, step=failure(how))]


def pids(agent):
    return [process.pid for process in agent.envs.env.unwrapped.processes]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_all_ended(processes):
    left = [pid for pid in processes if alive(pid)]
    assert not left, f"orphans: {left}"


@pytest.mark.parametrize("trial", range(n_trials(5, 100)))
@pytest.mark.parametrize("how", ["killed", "raising", "hanging"])
def test_a_failing_worker_is_reported_in_time_and_all_end(how, trial):
    mode = [*AutoresetMode][trial % 3]
    env = AsyncVectorEnv(makers(how), shared_memory=bool(trial % 2), autoreset_mode=mode)
    agent = Recorder(env, seed=0, verbose=0, env_timeout=0.5 if how == "hanging" else None)
    mine, began = pids(agent), time.monotonic()
    with pytest.raises(EnvCrashedError, match=f"^{FAILURES[how]}.*Fix the environment"):
        agent.learn(60)
    assert time.monotonic() - began < LIMIT
    assert_all_ended(mine)
    agent.close()
    assert [row[0][1:] for row in agent.rows] == [(0, 0)] * 2, "nothing of the step is stored"


@pytest.mark.parametrize("trial", range(n_trials(5, 100)))
def test_a_worker_killed_at_any_moment_is_reported(trial):
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
    assert_all_ended(mine)
    for s, _, _, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
    agent.rows.clear()
    agent.learn(20)  # in new processes
    assert len(agent.rows) == 20 and not set(mine) & set(pids(agent))
    mine = pids(agent)
    agent.close()
    assert_all_ended(mine)


@pytest.mark.parametrize("how", ["exit", "unpicklable"])
def test_exits_and_unpicklable_errors_of_a_worker_are_reported(how):
    agent = Recorder(AsyncVectorEnv(makers(how)), seed=0, verbose=0)
    mine = pids(agent)
    with pytest.raises(EnvCrashedError, match=f"^{FAILURES[how]}"):
        agent.learn(60)
    assert_all_ended(mine)
    with pytest.raises(EnvCrashedError, match="is closed, and npr cannot make another. Save the"):
        agent.learn(60)


def test_a_dead_worker_with_an_open_pipe_is_reported_in_time():
    """A process that the environment started keeps the pipe open: there is no end of file."""

    def fault(*result):
        if os.fork() == 0:
            time.sleep(2 * LIMIT)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    envs = [CountingEnv, functools.partial(FaultyEnv, step=fault)]
    agent, began = Recorder(AsyncVectorEnv(envs), seed=0, verbose=0), time.monotonic()
    with pytest.raises(EnvCrashedError, match=FAILURES["killed"]):
        agent.learn(60)
    assert time.monotonic() - began < LIMIT


def test_the_cause_has_the_traceback_of_the_worker():
    agent = Recorder(AsyncVectorEnv(makers("raising")), seed=0, verbose=0)
    with pytest.raises(EnvCrashedError) as caught:
        agent.learn(60)
    cause = caught.value.__cause__
    assert type(cause) is ValueError and "in fault" in cause.__notes__[0]


def test_a_wrapped_vector_env_is_monitored():
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    agent = Recorder(RecordEpisodeStatistics(AsyncVectorEnv(makers("killed"))), verbose=0)
    mine = pids(agent)
    with pytest.raises(EnvCrashedError, match=FAILURES["killed"]):
        agent.learn(60)
    assert_all_ended(mine)


def test_the_environment_of_the_user_keeps_its_class_and_is_freed_with_its_last_reference():
    env = AsyncVectorEnv([CountingEnv, CountingEnv])
    agent = Recorder(env, seed=0, verbose=0).learn(10)
    assert type(env) is AsyncVectorEnv
    mine = pids(agent)
    del agent, env
    gc.collect()
    assert_all_ended(mine)


def test_a_second_agent_with_the_same_vector_environment_sets_the_timeout():
    env = AsyncVectorEnv([CountingEnv, CountingEnv])
    Recorder(env, seed=0, verbose=0)
    pool = workers.pool_of(env)
    agent = Recorder(env, seed=0, verbose=0, env_timeout=7)
    assert workers.pool_of(env) is pool and pool.timeout == 7
    assert len(agent.learn(10).rows) == 10
    agent.close()


@pytest.mark.parametrize("received", [0, 1])
def test_answers_of_a_call_that_broke_off_are_dropped(received):
    """Only worker 0 got a command, or only its answer was received."""
    env = AsyncVectorEnv([CountingEnv, functools.partial(CountingEnv, 1)])
    agent = Recorder(env, seed=0, verbose=0)
    agent.envs.reset()
    if received:
        env.step_async(np.zeros(2, int))
        env.parent_pipes[0].recv()
    else:
        env.parent_pipes[0].send(("step", 0))
    assert agent.envs.reset().tolist() == [[0, 1, 0], [1, 1, 0]]
    assert len(agent.learn(10).rows) == 10
    agent.close()


@pytest.mark.filterwarnings("ignore:.*Calling `close` while waiting")
def test_an_answer_is_not_awaited_twice():
    """A call was interrupted between the answers of two workers, then the user closes."""
    env = AsyncVectorEnv([CountingEnv, CountingEnv])
    mine = pids(Recorder(env, seed=0, verbose=0).learn(10))
    env.step_async(np.zeros(2, int))
    env.parent_pipes[0].recv()
    with pytest.raises(EnvCrashedError, match="env 0: its answer was received by another call"):
        env.close()
    assert_all_ended(mine)


def test_a_call_that_was_pending_before_the_workers_were_watched_is_dropped():
    env = AsyncVectorEnv([CountingEnv, CountingEnv])
    env.reset_async()
    agent = Recorder(env, seed=0, verbose=0)
    assert agent.envs.reset().tolist() == [[0, 1, 0], [0, 1, 0]]
    agent.close()


def test_gymnasium_has_the_attributes_that_npr_relies_on():
    """Where this fails, a new version of Gymnasium needs a look at npr.envs.gymnasium_internals."""
    asynchronous, synchronous = AsyncVectorEnv([CountingEnv]), SyncVectorEnv([CountingEnv])
    for name in AsyncInternals.__annotations__:
        assert hasattr(asynchronous, name), name
    assert asynchronous._state.value == "default"
    assert callable(asynchronous._check_spaces) and callable(synchronous._add_info)
    assert len(synchronous._env_obs) == len(synchronous.env_fns) == 1
    asynchronous.close()


def test_workers_yield_the_transitions_of_the_main_process():
    """The same seeds, transitions and checks."""
    agents = [
        npr.DQN("CartPole-v1", n_envs=2, seed=0, verbose=0, env_timeout=timeout,
                learning_starts=1_000, buffer_size=300).learn(200) for timeout in (None, 20)
    ]  # fmt: skip
    here, there = (agent.buffer.state() for agent in agents)
    assert all(np.array_equal(here[name], there[name]) for name in here)
    mine = pids(agents[1])
    agents[1].close()
    assert_all_ended(mine)


@pytest.mark.parametrize("fault", [lambda o, r, *x: (o, "3", *x), lambda o, *x: (o[:1], *x)])
def test_the_contract_is_checked_in_the_worker(fault):
    agent = Recorder(functools.partial(FaultyEnv, step=fault), n_envs=2, verbose=0, env_timeout=20)
    mine = pids(agent)
    with pytest.raises(EnvContractError, match=r"^env \d, step 2: .*(as the reward|of shape)"):
        agent.learn(10)
    assert_all_ended(mine)


def test_on_env_error_reset_restarts_a_dead_worker():
    env = functools.partial(FaultyEnv, step=failure("killed"), at=8)
    agent = Recorder(env, n_envs=2, seed=0, verbose=0, env_timeout=20, on_env_error="reset")
    first = pids(agent)
    with pytest.warns(RuntimeWarning, match=r"^env worker \d .* died with signal 9.*dropped"):
        agent.learn(40)
    assert len(agent.rows) == agent.num_timesteps == 40 and agent.envs.dropped >= 4
    for s, _, _, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
    second = pids(agent)
    agent.close()
    assert_all_ended([*first, *second])


def test_nan_obs_terminate_works_in_workers():
    env = functools.partial(FaultyEnv, step=lambda o, r, *x: (o, float("nan"), *x))
    agent = Recorder(env, n_envs=2, seed=0, verbose=0, env_timeout=20, nan_obs="terminate")
    with pytest.warns(RuntimeWarning, match="non-finite reward"):
        agent.learn(30)
    assert agent.envs.dropped == 2
    agent.close()


def test_a_vector_env_without_shared_memory_does_not_reset_twice():
    """Its workers keep their autoreset flag through an explicit reset."""
    envs = [functools.partial(CountingEnv, i, PLANS[i]) for i in range(3)]
    agent = Recorder(AsyncVectorEnv(envs, shared_memory=False), seed=0, verbose=0)
    for _ in range(8):
        agent.envs.reset()
        agent.learn(5, reset_num_timesteps=False)
    agent.close()
    reference = {
        row[0]: row[:5]
        for i in range(3)
        for row in single_env_rows(envs[i](), counting_action, 400)
    }
    assert all(
        row == reference[row[0]] for rows in rows_by_env(agent.rows).values() for row in rows
    )


# ---- no process is left behind


def test_an_interrupt_during_a_step_kills_no_worker():
    def interrupt():  # the second one stops immediately
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    slow = functools.partial(FaultyEnv, step=lambda *result: time.sleep(0.5) or result)
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
    assert_all_ended(mine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_with_workers_is_saved_and_leaves_no_process(number):
    agent = small_agent("DQN", env="CartPole-v1", n_envs=2, env_timeout=20)
    mine = pids(agent)

    def stop(agent):
        if agent.num_timesteps == 50:
            signal.raise_signal(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        agent.learn(200, callback=stop, save_path="a.npz")
    assert_all_ended(mine)
    loaded = npr.load("a.npz")
    with pytest.warns(npr.ResumeWarning, match="worker processes"):
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


def test_workers_ignore_ctrl_c_and_end_with_the_main_process():
    run = subprocess.run(
        [sys.executable, "-c", TERMINAL, str(TESTS)], capture_output=True, text=True,
        start_new_session=True,
    )  # fmt: skip
    rows, *processes = map(int, run.stdout.split())
    assert rows == 40 and len(processes) == 2, run.stderr
    assert_all_ended(processes)


@pytest.fixture
def opened(monkeypatch):
    """The pids of all worker processes that were started."""
    found, start = [], workers.open_workers

    def noted(*args):
        env = start(*args)
        found.extend(process.pid for process in env.processes)
        return env

    monkeypatch.setattr(workers, "open_workers", noted)
    return found


def test_an_error_after_the_workers_started_leaves_no_process(opened):
    with pytest.raises(SpaceError, match="SACS needs a Box action space") as caught:
        npr.SACS(CountingEnv, env_timeout=20)
    assert opened and caught.tb, "the traceback keeps the environments from being collected"
    assert_all_ended(opened)


def test_a_worker_that_hangs_in_close_is_killed(monkeypatch):
    home = os.getpid()
    monkeypatch.setattr(CountingEnv, "close", lambda env: os.getpid() == home or time.sleep(1_000))
    agent = Recorder(CountingEnv, n_envs=2, verbose=0, env_timeout=20).learn(10)
    mine, began = pids(agent), time.monotonic()
    agent.close()
    assert time.monotonic() - began < workers.CLOSE_TIMEOUT + LIMIT
    assert_all_ended(mine)


def test_a_worker_that_exits_while_making_its_environment_is_reported():
    home = os.getpid()

    def make():
        if os.getpid() != home:
            os._exit(7)
        return CountingEnv()

    with pytest.raises(EnvCrashedError, match=r"^env worker \d \(pid \d+\) ended with exit code 7"):
        npr.DQN(make, n_envs=2, env_timeout=20)


@pytest.mark.parametrize("what", ["an Env", "a SyncVectorEnv"])
def test_env_timeout_needs_environments_that_npr_makes(what):
    env = CountingEnv() if what == "an Env" else SyncVectorEnv([CountingEnv])
    with pytest.raises(ConfigError, match="env_timeout=5 needs .* id"):
        npr.DQN(env, env_timeout=5)


SPAWNED = """
import multiprocessing
import sys
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
import npr

class Mine(CartPoleEnv):
    pass

if __name__ == "__main__" or len(sys.argv) > 1:
    if __name__ == "__main__":
        multiprocessing.set_start_method("spawn")
    gymnasium.register("Mine-v0", entry_point=Mine)
    agent = npr.PPO("Mine-v0", n_envs=2, n_steps=8, env_timeout=60, verbose=0)
    print(agent.learn(16).num_timesteps)
    agent.close()
"""


def test_workers_that_are_spawned_know_the_ids_of_the_main_module(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.stdout == "16\n", run.stderr


def test_spawning_without_a_main_guard_is_explained(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    run = subprocess.run([sys.executable, script, "always"], capture_output=True, text=True)
    assert "ended with exit code 1" in run.stderr
    assert "if __name__ == '__main__':" in run.stderr.splitlines()[-1]


def in_a_pool(_):
    try:
        npr.PPO("CartPole-v1", n_envs=2, env_timeout=30, verbose=0)
    except ConfigError as error:
        return str(error)


def test_a_daemonic_process_cannot_have_workers():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        (text,) = pool.map(in_a_pool, [0])
    assert re.search("env_timeout=30 .* daemonic process .*ProcessPoolExecutor", text)
