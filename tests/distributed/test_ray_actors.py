"""Actors of Ray: those that die or hang, nodes that are lost, and drivers that are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from support import ROOT

import npr
from npr.distributed import ray_actors
from npr.errors import ConfigError
from npr.system import ray_session

LOST = """The actor died unexpectedly before finishing this task.
\tclass_name: RemoteActor
\tip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""


def test_the_reason_is_a_line():
    reason = "its worker process has died (node 10.0.0.7)"
    assert ray_actors._reason(Exception(LOST)) == reason
    assert ray_actors._reason(Exception("Gone.\nmore")) == "Gone"
    assert ray_actors._reason(KeyError()) == "KeyError"


def test_an_error_in_an_actor_is_raised_as_it_is_or_explained():
    class RayError(Exception):
        cause = None

    own = RayError()
    own.cause = KeyError("broken")
    assert ray_actors._cause(own, RayError) is own.cause
    missing = RayError("task\nModuleNotFoundError: No module named 'a.b'\n")
    error = ray_actors._cause(missing, RayError)
    assert isinstance(error, ConfigError) and "cannot import 'a.b'" in str(error)
    assert "an actor raised RayError: odd" in str(ray_actors._cause(RayError("odd"), RayError))


def test_a_missing_ray_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    agent = npr.PPO("CartPole-v1", n_workers=2, engine="ray", verbose=0)
    with pytest.raises(ConfigError, match=r"needs Ray: pip install 'npr-rl\[ray\]'"):
        agent.learn(10)


@pytest.fixture
def ray(monkeypatch):
    """A Ray that counts what is begun and ended."""
    fake = types.SimpleNamespace(begun=0, is_initialized=lambda: fake.begun > 0)
    fake.init = lambda *_, **__: setattr(fake, "begun", fake.begun + 1)
    fake.shutdown = lambda: setattr(fake, "begun", 0)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session, "_sessions", [])
    return fake


def test_the_last_session_ends_what_the_first_has_begun(ray):
    first, second = ray_session.session(), ray_session.session()
    with first:
        second.__enter__()
        assert ray.begun == 1
    assert ray.begun == 1  # the second one uses it
    second.__exit__(None, None, None)
    assert ray.begun == 0


def test_a_session_leaves_the_ray_of_the_program(ray):
    ray.init()
    with ray_session.session():
        pass
    ray_session.release(ray_session.acquire())
    assert ray.begun == 1


def test_a_session_keeps_the_handler_of_sigterm(ray):
    def handler(*_):
        """Of Ray."""

    handler.__module__ = "ray._private.worker"
    before = signal.getsignal(signal.SIGTERM)
    ray.init = lambda *_, **__: signal.signal(signal.SIGTERM, handler)
    with ray_session.session():
        assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGTERM, handler)
    try:
        with ray_session.keeping_sigterm(default=True):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_actors_have_the_variables_of_npr(monkeypatch):
    monkeypatch.setenv("NPR_DTYPE", "float64")
    found = ray_session.environment(NPR_BACKEND="numpy")["runtime_env"]["env_vars"]
    assert found["NPR_DTYPE"] == "float64" and found["NPR_BACKEND"] == "numpy"


# ---- slow: a real one


class Hanging(gymnasium.Wrapper):
    """Hangs in the 100th step, once: then the file `mark` exists."""

    def __init__(self, env, mark):
        super().__init__(env)
        self.mark, self.steps = Path(mark), 0

    def step(self, action):
        self.steps += 1
        if self.steps == 100 and not self.mark.exists():
            self.mark.touch()
            time.sleep(1000)
        return super().step(action)


def hanging(mark):
    return Hanging(gymnasium.make("CartPole-v1"), mark)


@pytest.fixture
def local():
    pytest.importorskip("ray")
    from support import ray_sessions

    with ray_sessions.local() as ray:
        yield ray


SMALL = {"n_envs": 4, "n_steps": 32, "batch_size": 32, "net_arch": [8], "verbose": 0, "seed": 0}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_actor_that_dies_or_hangs_is_replaced(number, local):
    agent = npr.PPO("CartPole-v1", n_workers=2, engine="ray", env_timeout=3, **SMALL)
    calls = []

    def strike(agent):
        calls.append(agent.num_timesteps)
        if len(calls) == 100:
            os.kill(agent.envs.actors._engine.pids()[1], number)

    with pytest.warns(RuntimeWarning, match=r"actor 1 \(2 of 4 environments\) was lost: it"):
        agent.learn(2_000, callback=strike)
    assert agent.envs.actors.restarts == 1 and agent.num_timesteps >= 2_000
    agent.close()


@pytest.mark.slow
def test_an_environment_that_hangs_is_replaced(local, tmp_path):
    agent = npr.PPO(
        hanging, env_kwargs={"mark": str(tmp_path / "hung")}, n_workers=2, engine="ray",
        env_timeout=3, **SMALL,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="was lost: it did not step for 3 s"):
        agent.learn(2_000)
    assert agent.envs.actors.restarts == 1
    agent.close()


@pytest.mark.slow
def test_an_error_of_the_environment_is_raised_as_it_is(local):
    def broken():
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        npr.PPO(broken, n_workers=2, engine="ray", **SMALL).learn(10)


def lose(cluster, node, agent_steps, at):
    """A thread that removes a node when so many steps are taken."""

    def work():
        while agent_steps() < at:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_lost_node_is_survived(algorithm):
    """All CPUs that are left are taken; the actors of the lost node are started nevertheless."""
    pytest.importorskip("ray")
    from support import ray_sessions

    with ray_sessions.cluster(0, 2, 2) as (cluster, nodes):
        agent = getattr(npr, algorithm)(
            "CartPole-v1", seed=0, n_envs=8, n_workers=4, engine="ray", verbose=0
        )
        steps = 40_000 if algorithm == "PPO" else 8_000
        thread = lose(cluster, nodes[2], lambda: agent.num_timesteps, steps // 2)
        with pytest.warns(RuntimeWarning, match="its node has died|was lost"):
            agent.learn(steps)
        thread.join()
        assert agent.envs.actors.restarts >= 2
        assert agent.num_timesteps >= steps
        agent.close()
    if algorithm == "PPO":
        assert agent.evaluate(episodes=10).mean > 150


@pytest.mark.slow
def test_a_driver_that_was_killed_is_resumed():
    """With the parameters of a run that was not stopped, and without actors."""
    pytest.importorskip("ray")
    words = [
        "ppo", "CartPole-v1", "--total-timesteps", "20000", "--save-freq", "2000", "--eval-freq",
        "0", "--n-envs", "8",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    npr_command = [sys.executable, "-m", "npr"]
    process = subprocess.Popen(
        [*npr_command, "train", *words, "--n-workers", "2", "--engine", "ray"], env=env,
        start_new_session=True,
    )  # fmt: skip
    checkpoints = Path("runs")
    deadline = time.monotonic() + 120
    while not [*checkpoints.glob("*/checkpoints/latest.npz")]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    (folder,) = checkpoints.glob("*")
    assert not (folder / "final.npz").exists()
    assert (
        subprocess.run([*npr_command, "resume", str(folder)], env=env, timeout=300).returncode == 0
    )
    agent = npr.load(folder / "final.npz")
    assert (agent.n_workers, agent.engine) == (2, "ray")
    assert (
        subprocess.run([*npr_command, "train", *words, "--out", "alone"], env=env).returncode == 0
    )
    (other,) = Path("alone").glob("*")
    alone = npr.load(other / "final.npz")
    assert agent.num_timesteps == alone.num_timesteps
    assert np.array_equal(agent.acts_by()[-1], alone.acts_by()[-1])
