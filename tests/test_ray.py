"""A real Ray on this computer: what it trains is what this process trains."""

import hashlib
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ray_sessions
from support.small_runs import config_of, digest, monitor, progress, table_run

import npr
from npr.runs import RunConfig, run_all, train
from npr.tune import tune

pytest.importorskip("ray")

BREAKING = """
import gymnasium

class Breaking(gymnasium.Wrapper):
    def step(self, action):
        raise KeyError("broken")
"""
SEARCH = {
    "trials": 3, "total_timesteps": 60, "seeds": 2, "eval_freq": 20, "eval_episodes": 1, "top": 1,
    "space": {"gamma": ("float", 0.0, 1.0)}, "seed": 0, "max_episode_steps": 5,
}  # fmt: skip


def console(folder):
    """The lines of console.log, those about progress aside, which come when time has passed."""
    lines = (folder / "console.log").read_text().splitlines()
    return [line.replace(str(folder), "FOLDER") for line in lines if "steps/s" not in line]


def same_files(one, other):
    """Whether two runs have written the same, times aside."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert monitor(one) == monitor(other) and progress(one) == progress(other)
    assert console(one) == console(other)
    configs = [config_of(folder) for folder in (one, other)]
    for config in configs:
        del config["started"]
    assert configs[0] == configs[1]
    assert digest(one / "final.npz") == digest(other / "final.npz")


ON_POLICY = {  # algorithm -> settings that make it small
    "PPO": {"n_steps": 32, "batch_size": 32},
    "A2C": {"n_steps": 8},
    "REINFORCE": {"n_episodes": 8},
    "PPOKL": {"n_steps": 32, "batch_size": 32},
    "QActorCritic": {"n_steps": 8},
}


def parameters(agent):
    *_, theta = agent.acts_by()
    return hashlib.sha256(np.asarray(theta).tobytes()).hexdigest()


def learned(algorithm, steps=600, env="CartPole-v1", **settings):
    """The agent after `steps`, closed."""
    given = {"n_envs": 4, "seed": 0, "net_arch": [8], "verbose": 0, **settings}
    agent = getattr(npr, algorithm)(env, **given)
    agent.learn(steps)
    agent.close()
    return agent


def on_policy(algorithm):
    """Check that actors of Ray give the bytes of this process."""
    alone = learned(algorithm, **ON_POLICY[algorithm])
    other = learned(algorithm, **ON_POLICY[algorithm], n_workers=2, engine="ray")
    assert parameters(other) == parameters(alone)
    assert other.num_timesteps == alone.num_timesteps and other.n_updates == alone.n_updates > 0


def test_runs_and_actors_of_ray_are_those_of_this_process(tmp_path, monkeypatch, capfd):
    """One session for all: a run that ends and one that fails, and the actors of an agent."""
    (tmp_path / "breaking_on_ray.py").write_text(BREAKING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    good = table_run(settings={"verbose": 1})
    points = [good, table_run(wrappers=["breaking_on_ray:Breaking"])]
    train(good, "local")
    capfd.readouterr()
    handler = signal.getsignal(signal.SIGTERM)
    with ray_sessions.local() as ray:
        theirs = signal.getsignal(signal.SIGTERM)
        outcomes = run_all(points, "out", engine="ray")
        assert signal.getsignal(signal.SIGTERM) is theirs  # that of Ray, which this program began
        shown = capfd.readouterr().err
        on_policy("PPO")
        assert ray.is_initialized()
    signal.signal(signal.SIGTERM, handler)

    assert [one.state for one in outcomes] == ["finished", "failed"]
    assert "env 0 raised KeyError: 'broken'" in outcomes[1].error
    assert "Traceback" in (outcomes[1].folder / "console.log").read_text()
    same_files(outcomes[0].folder, Path("local"))
    assert "300/300  100%" in shown
    assert shown.splitlines()[-1].startswith("2 of 2 runs ended   50%  1 failed")
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]


# ---- slow


@pytest.fixture(scope="module")
def session():
    with ray_sessions.local() as ray:
        yield ray


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [*ON_POLICY][1:])
def test_actors_give_the_bytes_of_one_process(algorithm, session):
    on_policy(algorithm)


@pytest.mark.slow
def test_a_search_is_that_of_this_process(session):
    pytest.importorskip("optuna")
    found = tune("QLearning", "CliffWalking-v1", engine="ray", jobs=1, **SEARCH)
    assert found == tune("QLearning", "CliffWalking-v1", **SEARCH)
    several = tune("QLearning", "CliffWalking-v1", engine="ray", **SEARCH)
    assert several.counts["complete"] + several.counts["pruned"] == 3


@pytest.mark.slow
def test_the_workers_of_a_run_are_processes_on_its_node(session):
    """A run with workers needs a CPU for each: two here."""
    settings = {"n_envs": 2, "n_steps": 16, "batch_size": 16, "net_arch": [8], "verbose": 0}
    config = RunConfig(
        "PPO", "CartPole-v1", {**settings, "n_workers": 1}, total_timesteps=200, eval_freq=0
    )
    (outcome,) = run_all([config], "out", engine="ray")
    train(config, "local")
    assert outcome.state == "finished"
    assert digest(outcome.folder / "final.npz") == digest(Path("local", "final.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["DQN", "PERDQN", "SoftQ", "DDPG", "TD3", "SAC", "SACS"])
def test_agents_with_a_buffer_keep_their_updates_per_step(algorithm, session):
    env = "CartPole-v1" if algorithm in ("DQN", "PERDQN") else "Pendulum-v1"
    small = {
        "env": env, "net_arch": [8], "max_lag": 64, "learning_starts": 100, "train_freq": 1,
        "gradient_steps": 1, "buffer_size": 1000,
    }  # fmt: skip
    agent = learned(algorithm, n_workers=2, engine="ray", **small)
    alone = learned(algorithm, **small)
    assert agent.num_timesteps == alone.num_timesteps == 600
    assert agent.n_updates == alone.n_updates > 0
    assert np.isfinite(agent.acts_by()[-1]).all()
