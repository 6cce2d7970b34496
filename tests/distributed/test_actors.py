"""Actors in processes: the same bytes as one process, and what happens to lost ones."""

import contextlib
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from support.agent_files import without_workers
from support.processes import environment, run
from support.proof_size import n_trials
from support.small_agents import CASES, small_agent
from support.toy_envs import CountingEnv

import npr
from npr.distributed import actors as module
from npr.distributed import collected
from npr.distributed.processes import Processes
from npr.errors import ConfigError, ConfigWarning, EnvContractError, EnvCrashedError, ResumeWarning
from npr.settings import Replay

REPLAY = [c for c, (name, *_) in CASES.items() if issubclass(getattr(npr, name), Replay)]
LINUX = sys.platform == "linux"
SYNCHRONOUS = {  # case -> settings
    "PPO": {"n_envs": 3, "normalize_obs": True, "normalize_reward": True},
    "PPO-Box": {"n_envs": 2, "net_arch": [64, 64]},
    "PPOKL": {"n_envs": 2},
    "A2C": {"n_envs": 5},
    "REINFORCE": {"n_envs": 3, "n_episodes": 5},
    "QActorCritic": {"n_envs": 2},
}


def few(cases, usual):
    """Cases for a test, of which all but the usual ones are slow."""
    return [case if case in usual else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def pids(agent):
    """The processes of an agent's actors; none before they start."""
    actors = getattr(agent.envs, "_actors", None)
    return [] if actors is None else [pid for pid in actors._engine.pids() if pid is not None]


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def learned(case, path, n_workers, **settings):
    """What an agent's files hold in the middle of a rollout, at its end, and after another run;
    and the rows of its log."""
    files, rows = [], []
    agent = small_agent(case, seed=4, n_workers=n_workers, **settings)

    def save_once(agent):
        if not files and agent.num_timesteps >= 50:
            files.append(without_workers(agent, path))

    agent.learn(130, callback=save_once)
    files.append(without_workers(agent, path))
    agent.learn(70, reset_num_timesteps=False)
    files.append(without_workers(agent, path))
    rows += agent.logger.episodes if hasattr(agent.logger, "episodes") else []
    agent.close()
    return files, rows


@pytest.mark.parametrize("case", few(SYNCHRONOUS, ["PPO", "REINFORCE"]))
def test_files_are_those_of_one_process_for_any_number_of_workers(case, tmp_path):
    settings = SYNCHRONOUS[case]
    expected = learned(case, tmp_path / "a.npz", 0, **settings)
    for n_workers in (1, 2):
        found = learned(case, tmp_path / "a.npz", n_workers, **settings)
        for one, other in zip(found[0], expected[0]):
            assert one[0] == other[0]
            assert {k for k in other[1] if one[1].get(k) != other[1][k]} == set()


def test_a_file_continues_with_any_number_of_workers(tmp_path):
    path = tmp_path / "a.npz"
    small_agent("PPO", n_envs=4, n_workers=2).learn(150, save_path=path)
    found = []
    for n_workers in (0, 3):
        agent = npr.load(path, n_workers=n_workers)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResumeWarning)
            agent.learn(100, reset_num_timesteps=False)
        found.append(without_workers(agent, tmp_path / "b.npz"))
        agent.close()
    assert found[0] == found[1]


@pytest.mark.slow
def test_steps_collected_with_another_policy_are_collected_again(tmp_path):
    """The callback stops in the middle of a block; then the policy changes."""
    found = []
    for n_workers in (0, 2):
        agent = small_agent("PPO", n_envs=4, n_workers=n_workers)
        agent.learn(1_000, callback=lambda agent: agent.num_timesteps < 100)
        agent.theta *= 0.5
        agent.learn(100, reset_num_timesteps=False)
        found.append(without_workers(agent, tmp_path / "a.npz"))
        agent.close()
    assert found[0] == found[1]


def test_a_run_that_is_interrupted_while_it_waits_goes_on(tmp_path, monkeypatch):
    """Answers of some actors were received then, in any phase of a block."""
    case, settings = "REINFORCE", SYNCHRONOUS["REINFORCE"]
    agent = small_agent(case, seed=4, **settings).learn(150)
    expected = without_workers(agent, tmp_path / "a.npz")
    calls, interrupted, receive = 0, 0, Processes.receive

    def interrupt(self, i, stop):
        nonlocal calls, interrupted
        if stop is not module.wait:
            calls += 1
            if calls in (2, 5, 6, 11, 15):  # not all third ones, which might be the same step
                interrupted += 1
                raise KeyboardInterrupt
        return receive(self, i, stop)

    monkeypatch.setattr(Processes, "receive", interrupt)
    agent = small_agent(case, seed=4, n_workers=2, **settings)
    for _ in range(6):
        with contextlib.suppress(KeyboardInterrupt):
            agent.learn(150 - agent.num_timesteps, reset_num_timesteps=False)
    assert interrupted >= 3 and agent.num_timesteps == 150
    assert without_workers(agent, tmp_path / "a.npz") == expected
    agent.close()


def test_actors_that_cannot_go_back_begin_new_episodes():
    """They are of a vector environment, whose episodes cannot be repeated."""
    agent = small_agent("PPO", n_envs=4, n_workers=2, vectorization="entry_point")
    agent.learn(1_000, callback=lambda agent: agent.num_timesteps < 100)
    agent.theta *= 0.5
    with pytest.warns(ResumeWarning, match="cannot go back.* New episodes begin"):
        agent.learn(100)
    assert agent.num_timesteps == 100
    agent.close()


def test_a_log_has_the_same_rows(tmp_path):
    texts = []
    for n_workers in (0, 2):
        agent = small_agent("PPO", n_envs=4, n_workers=n_workers)
        agent.learn(200, log=["csv", "monitor"], log_dir=tmp_path / str(n_workers))
        agent.close()
        rows = [
            line.rsplit(",", 1)[0]  # without the seconds
            for line in (tmp_path / str(n_workers) / "monitor.csv").read_text().splitlines()[1:]
        ]
        texts.append(rows)
    assert texts[0] == texts[1]
    assert len(texts[0]) > 5


# ---- with a replay buffer


@pytest.mark.parametrize("case", few(["DQN-n", "SAC", "SoftQ"], ["DQN-n"]))
def test_runs_with_a_replay_buffer_repeat_and_keep_their_ratio(case, tmp_path):
    found = []
    for _ in range(2):
        agent = small_agent(case, n_workers=2, max_lag=12, n_envs=2)
        lags = []

        def note(agent, lags=lags):
            lags.append(agent.n_updates - agent.envs._version)

        agent.learn(200, callback=note)
        assert agent.num_timesteps == 200
        # an update every second step from 32 on
        assert agent.n_updates == small_agent(case, n_envs=2).learn(200).n_updates == 85
        assert 0 < max(lags) <= 12
        assert agent.envs.metrics()["policy_lag"] <= 12
        found.append(without_workers(agent, tmp_path / "a.npz"))
        agent.close()
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("case", REPLAY)
def test_every_algorithm_with_a_replay_buffer_has_workers(case):
    agent = small_agent(case, n_workers=2, n_envs=2)
    assert agent.learn(200).num_timesteps == 200
    agent.close()


def test_transitions_are_those_of_the_environment():
    """The observation says where it comes from, so that each stored transition can be checked."""
    agent = small_agent("DQN", env=CountingEnv, n_workers=2, n_envs=3, buffer_size=300)
    agent.learn(290)
    agent.close()
    b, n = agent.buffer, agent.buffer.size
    assert n >= 290
    s, a, r, s2 = b.s[:n], b.a[:n], b.r[:n], b.s2[:n]
    np.testing.assert_array_equal(s2[:, 1], s[:, 1])  # the episode
    np.testing.assert_array_equal(s2[:, 2], s[:, 2] + 1)  # the step
    np.testing.assert_array_equal(r, s2[:, 2] + 0.5 * a)
    np.testing.assert_array_equal(b.terminated[:n], s2[:, 2] == 3)
    by_env = s[:n].reshape(-1, 3, 3)
    for i in range(3):  # every step of every environment, in its order
        where = by_env[:, i, 1:]
        expected = [(e, t) for e in range(len(where)) for t in range(3)][: len(where)]
        np.testing.assert_array_equal(where, expected)


def test_a_setting_that_changes_reaches_the_actors():
    def explore_less(agent):
        agent.exploration_initial_eps = agent.exploration_final_eps = 0.0

    agent = small_agent("DQN", n_workers=2, n_envs=2, learning_starts=1, max_lag=8)
    agent.learn(400, callback=explore_less)
    agent.close()
    b = agent.buffer
    rows = np.arange(b.position - 20, b.position) % b.capacity  # the newest ones
    greedy = agent.Q(agent.theta, b.s[rows]).argmax(axis=1)
    assert (greedy == b.a[rows]).mean() > 0.8  # the network has changed a little since


@pytest.mark.slow
def test_resuming_says_that_the_episodes_begin_anew(tmp_path):
    path = tmp_path / "a.npz"
    agent = small_agent("SAC", n_workers=2, n_envs=2).learn(100, save_path=path)
    agent.close()
    agent = npr.load(path)
    with pytest.warns(ResumeWarning, match="n_workers.* New episodes start"):
        agent.learn(100, reset_num_timesteps=False)
    agent.close()


@pytest.mark.slow
def test_a_run_that_is_stopped_ahead_continues_with_new_episodes():
    agent = small_agent("SAC", n_workers=2, n_envs=2, max_lag=40)
    agent.learn(1_000, callback=lambda agent: agent.num_timesteps < 50)
    agent.learn(100)
    assert agent.num_timesteps == 100
    agent.close()


def test_a_lag_below_two_steps_is_refused():
    with pytest.raises(ConfigError, match="max_lag=7 is less than the 8 updates .* max_lag=8"):
        small_agent("SAC", n_workers=2, n_envs=4, train_freq=1, max_lag=7)
    with pytest.raises(ConfigError, match="max_lag=100 is less than the 500 updates"):
        small_agent("SAC", n_workers=2, n_envs=2, train_freq=500, gradient_steps=-1)


@pytest.mark.parametrize("each", [-1, 0, 1, 3, 64])
@pytest.mark.parametrize("freq", [1, 3, 64, 500])
@pytest.mark.parametrize("n", [1, 5, 32])
def test_no_action_is_older_than_max_lag(each, freq, n):
    """Whenever the rounds of updates are due, counted step by step."""
    agent = SimpleNamespace(n_envs=n, train_freq=freq, gradient_steps=each, max_lag=130)
    try:
        steps = collected._steps_within_lag(agent)
    except ConfigError:
        steps = 0
    each = freq if each < 0 else each
    updates = np.diff(np.arange(0, 4_000 + 128 * n, n) // freq) * each  # after each step
    shown = min(2 * steps, len(updates))
    most = np.convolve(updates, np.ones(shown), "valid").max() if shown else 0
    assert most <= 130
    if steps < collected.MOST_STEPS:  # one step more of a block may be too much
        longer = np.arange(0, 4_000 + 128 * n + 2 * n * (steps + 1), n) // freq * each
        assert (longer[2 * (steps + 1) :] - longer[: -2 * (steps + 1)]).max() > 130


# ---- lost actors


def learn_until_lost(agent, n, lose):
    """Learn, while `lose(pid)` ends actors at n random moments."""
    rng, ended = random.Random(5), threading.Event()

    def lose_some():
        lost = 0
        while lost < n and not ended.wait(rng.uniform(0.02, 0.5)):
            if lost <= agent.envs.metrics()["worker_restarts"]:  # else one is being replaced
                lose(rng.choice(pids(agent)))
                lost += 1

    thread = threading.Thread(target=lose_some, daemon=True)
    agent.learn(40)
    thread.start()
    try:
        agent.learn(10**9, callback=lambda agent: agent.envs._actors.restarts < n)
    finally:
        ended.set()
        thread.join()


def kill(pid):
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("case", few(["PPO", "SAC"], ["SAC"]))
def test_killed_actors_are_replaced_at_any_moment(case):
    n = n_trials(1, 25)
    agent = small_agent(case, n_envs=4, n_workers=2, max_episode_steps=20)
    with pytest.warns(RuntimeWarning, match=r"actor \d \(2 of 4 environments\) was lost: its proc"):
        learn_until_lost(agent, n, kill)
    assert agent.envs.metrics()["worker_restarts"] == n
    assert 2 * (n - 1) <= agent.envs.dropped <= 2 * n  # the last ones may not have been shown
    assert np.isfinite(agent.evaluate(episodes=1, seed=0).mean)
    processes = pids(agent)
    agent.close()
    assert not any(map(exists, processes))


def test_the_steps_of_a_replaced_actor_are_transitions_of_its_environments():
    agent = small_agent("DQN", env=CountingEnv, n_workers=2, n_envs=2, buffer_size=5_000)
    with pytest.warns(RuntimeWarning, match="was lost"):
        learn_until_lost(agent, 1, kill)
    agent.close()
    b, n = agent.buffer, agent.buffer.size
    np.testing.assert_array_equal(b.s2[:n, 1:], b.s[:n, 1:] + [0, 1])
    np.testing.assert_array_equal(b.r[:n], b.s2[:n, 2] + 0.5 * b.a[:n])


def test_a_lost_part_of_a_rollout_is_collected_again():
    """Its first step is not a transition, and cuts the trace before it."""
    agent = small_agent("PPO", env=CountingEnv, n_envs=2, n_workers=2)
    agent.learn(8)  # a quarter of a rollout
    kill(pids(agent)[1])
    steps = []
    with pytest.warns(RuntimeWarning, match="actor 1 .* restarts so far: 1|Restarts so far: 1"):
        agent.learn(
            22,
            reset_num_timesteps=False,
            callback=lambda agent: (
                steps.append(agent.steps[-1][-1].copy()) if agent.steps else None
            ),
        )
    agent.close()
    valid = np.array(steps)
    assert valid[0].tolist() == [True, False]
    assert valid[1:].all()


class HangingEnv(CountingEnv):
    """Its 20th step does not end, where `path` does not exist yet."""

    def __init__(self, path):
        super().__init__()
        self.path, self.count = path, 0

    def step(self, action):
        self.count += 1
        if self.count == 20 and not os.path.exists(self.path):
            open(self.path, "w").close()
            time.sleep(1_000)
        return super().step(action)


def test_an_actor_that_hangs_is_replaced(tmp_path):
    agent = small_agent(
        "PPO", env=HangingEnv, env_kwargs={"path": str(tmp_path / "hung")}, n_workers=1,
        env_timeout=0.5,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match=r"did not step for 0\.5 s. Its episodes were dropped"):
        agent.learn(100)
    assert agent.num_timesteps == 100
    agent.close()


class SlowEnv(CountingEnv):
    def reset(self, **given):
        time.sleep(0.2)
        return super().reset(**given)


def test_the_timeout_is_that_of_one_environment():
    """An actor resets its four in turn."""
    agent = small_agent("PPO", env=SlowEnv, n_envs=4, n_workers=1, env_timeout=0.5)
    agent.learn(8)
    assert agent.envs.metrics()["worker_restarts"] == 0
    agent.close()


class BreakingEnv(CountingEnv):
    """Its fifth step fails."""

    def __init__(self, how="raise"):
        super().__init__()
        self.how, self.count = how, 0

    def step(self, action):
        self.count += 1
        if self.count == 5:
            if self.how == "raise":
                raise ValueError("boom")
            if self.how == "exit":
                os._exit(3)
            return (*super().step(action)[:4], "no dict")
        return super().step(action)


def test_errors_of_an_environment_are_those_of_one_process():
    agent = small_agent("PPO", env=BreakingEnv, n_workers=2, n_envs=2)
    with pytest.raises(EnvCrashedError, match="env 0 raised ValueError: boom, at step 5"):
        agent.learn(100)
    agent.close()
    agent = small_agent("PPO", env=BreakingEnv, env_kwargs={"how": "value"}, n_workers=1)
    with pytest.raises(EnvContractError, match="env 0, step 5"):
        agent.learn(100)
    agent.close()


def test_an_environment_that_raises_is_reset():
    agent = small_agent("PPO", env=BreakingEnv, n_workers=2, n_envs=2, on_env_error="reset")
    with pytest.warns(RuntimeWarning, match="env 0 raised ValueError: boom, at step 5"):
        agent.learn(100)
    assert agent.envs.dropped == 2
    assert agent.envs.metrics()["worker_restarts"] == 0
    agent.close()


def test_an_environment_that_always_ends_its_process_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_FAILURES", 1)
    agent = small_agent("PPO", env=BreakingEnv, env_kwargs={"how": "exit"}, n_workers=1)
    with (
        pytest.warns(RuntimeWarning, match="ended with exit code 3"),
        pytest.raises(EnvCrashedError, match="was lost 2 times in a row"),
    ):
        agent.learn(100)
    agent.close()


# ---- signals

SCRIPT = """
import sys
import npr

if __name__ == "__main__":
    def say(agent):
        if agent.num_timesteps > 600 and not told:
            told.append(True)
            print(*[p for p in agent.envs._actors._engine.pids()], flush=True)
    told = []
    algorithm, env, path = sys.argv[1:]
    getattr(npr, algorithm)(env, seed=0, n_workers=2, verbose=0).learn(
        10**9, callback=say, save_path=path
    )
"""


@pytest.mark.skipif(not LINUX, reason="signals of POSIX")
@pytest.mark.parametrize(
    ("algorithm", "env", "number"),
    [
        ("PPO", "CartPole-v1", signal.SIGINT),
        pytest.param("SAC", "Pendulum-v1", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_leaves_no_process(algorithm, env, number, tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "a.npz"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, algorithm, env, path], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    os.killpg(process.pid, number)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 143), err
    deadline = time.monotonic() + 10
    while any(map(exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(exists, workers))
    agent = npr.load(path)
    assert agent.num_timesteps > 600
    if algorithm == "PPO" and number == signal.SIGINT:  # its actors could still say where they were
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResumeWarning)
            agent.learn(agent.num_timesteps + 200)


@pytest.mark.skipif(not LINUX, reason="signals of POSIX")
def test_actors_end_with_a_killed_learner(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, "PPO", "CartPole-v1", tmp_path / "a.npz"], env=environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    workers = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(map(exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(exists, workers))


def test_a_program_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import npr\nnpr.PPO('CartPole-v1', n_workers=1, verbose=0).learn(100)\n")
    result = run(script)
    assert result.returncode == 1
    assert 'put the call under `if __name__ == "__main__":`' in result.stderr.splitlines()[-2]


def test_a_program_read_from_stdin_has_actors_but_not_its_own_environments(tmp_path):
    code = """
import gymnasium
import npr
from npr.errors import ConfigError

def make():
    return gymnasium.make("CartPole-v1")

agent = npr.PPO("CartPole-v1", n_workers=1, n_envs=1, n_steps=50, verbose=0)
print(agent.learn(50).num_timesteps)
try:
    npr.PPO(make, n_workers=1, verbose=0).learn(50)
except ConfigError as error:
    print(error)
"""
    found = subprocess.run(
        [sys.executable, "-"], input=code, env=environment(), cwd=tmp_path, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    steps, error = found.stdout.splitlines()
    assert steps == "50" and "Put it in a module, or register it and pass its id." in error


# ---- what cannot have actors


def make_normalized():
    return gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: npr.QLearning("CliffWalking-v1", n_workers=2), "n_workers=2 needs an algorithm"),
        (lambda: npr.PPO(CountingEnv(), n_workers=2), "n_workers=2 needs an id or a function"),
        (
            lambda: npr.PPO(gymnasium.make_vec("CartPole-v1", 2), n_workers=2),
            "n_workers=2 needs an id or a function .* got CartPoleVectorEnv",
        ),
        (lambda: npr.PPO("CartPole-v1", n_workers=3, n_envs=2), "n_workers=3 is more than n_envs"),
        (lambda: npr.PPO(make_normalized, n_workers=1), "normalizing wrappers. Use normalize_obs"),
        (lambda: npr.PPO("CartPole-v1", n_workers=-1), "n_workers"),
        (lambda: npr.PPO("CartPole-v1", n_workers=1, engine="mpi"), "engine"),
    ],
)
def test_what_cannot_have_actors_is_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


def test_a_function_without_a_name_is_refused():
    agent = small_agent("PPO", env=lambda: CountingEnv(), n_workers=1)
    with pytest.raises(ConfigError, match="can be sent to another process.* top of a module"):
        agent.learn(100)
    agent.close()


def test_actors_that_cannot_all_start_are_ended(monkeypatch):
    started, start = [], Processes.start

    def fail_second(self, i, setup):
        if i:
            raise ConfigError("no more")
        start(self, i, setup)
        started.extend(self.pids()[:1])

    monkeypatch.setattr(Processes, "start", fail_second)
    agent = small_agent("PPO", n_envs=2, n_workers=2)
    with pytest.raises(ConfigError, match="no more"):
        agent.learn(100)
    assert len(started) == 1
    assert not any(map(exists, started))
    agent.close()


class ClosingEnv(CountingEnv):
    """Makes a file when it is closed."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def close(self):
        open(self.path, "w").close()


def test_the_environments_of_an_agent_that_is_forgotten_are_closed(tmp_path):
    path = tmp_path / "closed"
    agent = small_agent("PPO", env=ClosingEnv, env_kwargs={"path": str(path)}, n_workers=1)
    agent.learn(20)
    assert not path.exists()
    del agent
    gc.collect()
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()
    multiprocessing.active_children()  # which reaps it


def test_an_engine_without_workers_is_pointed_out(tmp_path):
    agent = small_agent("PPO", engine="ray")
    with pytest.warns(ConfigWarning, match="there are none. Pass n_workers too"):
        agent.learn(40)
    small_agent("PPO", n_envs=2, n_workers=2, engine="ray").save(tmp_path / "a.npz")
    assert npr.load(tmp_path / "a.npz").engine == "ray"
    assert npr.load(tmp_path / "a.npz", n_workers=0).engine == "processes"


def test_n_envs_follows_n_workers_unless_it_is_given():
    assert npr.SAC("Pendulum-v1", n_workers=4, verbose=0).n_envs == 4
    assert npr.PPO("CartPole-v1", n_workers=4, verbose=0).n_envs == 8
