"""iterate(): a run of learn() that pauses after every step."""

import contextlib
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.local_actors import LocalEngine
from support.small_agents import CASES, assert_same_parameters, small_agent

import npr
from npr import ConfigError, ConfigWarning
from npr.distributed import actors

STEPS = 96


def contents(path):
    with np.load(path) as file:
        return {
            name: file[name].tobytes()
            for name in file.files
            if name.startswith(("params/", "optim/", "buffer/", "state/", "rng/"))
        }


@pytest.mark.parametrize(
    ("case", "n_envs"),
    [
        *((case, 1) for case in CASES),
        *((case, 2) for case in ("Sarsa", "DQN-n", "PPO", "REINFORCE")),
    ],
)
def test_a_run_in_steps_is_one_of_learn(case, n_envs):
    learned, agent = (small_agent(case, n_envs=n_envs, normalize_reward=True) for _ in range(2))
    learned.learn(STEPS, save_path="learned.npz")
    counts = []
    for step in agent.iterate(STEPS, save_path="agent.npz"):
        counts.append((step.num_timesteps, step.n_updates))
    assert counts[-1] == (learned.num_timesteps, learned.n_updates)
    assert [count for count, _ in counts] == list(range(n_envs, STEPS + 1, n_envs))
    assert contents("agent.npz") == contents("learned.npz")
    assert agent.envs.s.tobytes() == learned.envs.s.tobytes()


def test_workers_give_the_same_steps(monkeypatch):
    monkeypatch.setattr(actors, "_new_engine", lambda name, *args: LocalEngine(*args))
    learned, agent = (small_agent("PPO", n_envs=2, n_workers=1) for _ in range(2))
    with contextlib.closing(learned), contextlib.closing(agent):
        learned.learn(STEPS)
        assert len([*agent.iterate(STEPS)]) == STEPS // 2
        assert_same_parameters(agent, learned)


def test_a_step_says_what_happened():
    agent = small_agent("DQN", n_envs=2)
    before = None
    updates = ended = 0
    for step in agent.iterate(STEPS):
        assert step.observations.shape == step.next_observations.shape == (2, 4)
        assert step.actions.shape == step.rewards.shape == step.valid.shape == (2,)
        if before is not None:
            going = ~(before.terminated | before.truncated)
            assert np.array_equal(step.observations[going], before.next_observations[going])
            assert ("loss" in step.metrics) == (step.n_updates > before.n_updates)
            assert step.metrics or not step.metrics
        assert len(step.episodes) == (step.terminated | step.truncated).sum()
        updates, ended, before = step.n_updates, ended + len(step.episodes), step
    assert updates == agent.n_updates > 0 and ended == agent.logger.episode_count > 0


@pytest.mark.parametrize("leave", ["break", "close", "error"])
def test_leaving_the_loop_ends_the_run_as_a_callback_does(leave):
    learned, agent = small_agent("PPO"), small_agent("PPO")
    learned.learn(STEPS, callback=lambda agent: agent.num_timesteps < 40, save_path="learned.npz")

    def loop(steps):
        for step in steps:
            if step.num_timesteps == 40 and leave == "break":
                break
            if step.num_timesteps == 40 and leave == "error":
                raise ZeroDivisionError
            if step.num_timesteps == 40:
                steps.close()

    with contextlib.suppress(ZeroDivisionError):
        loop(agent.iterate(STEPS, save_path="agent.npz"))
    assert contents("agent.npz") == contents("learned.npz")
    assert agent.end == STEPS and not agent._learning
    agent.learn(10)
    assert agent.num_timesteps == 10


def test_the_agent_is_saved_evaluated_and_changed_between_steps():
    learned, agent = small_agent("DQN"), small_agent("DQN")

    def change(agent):
        if agent.num_timesteps == 50:
            agent.batch_size = 4
            agent.save("middle.npz")

    learned.learn(STEPS, callback=change)
    for step in agent.iterate(STEPS):
        change(agent)
        if step.num_timesteps == 60:
            agent.evaluate(episodes=1, seed=0)
    assert_same_parameters(agent, learned)
    loaded = npr.load("middle.npz")
    assert [step.num_timesteps for step in loaded.iterate()] == list(range(51, STEPS + 1))
    assert_same_parameters(loaded, learned)


def test_the_arguments_are_those_of_learn():
    agent = small_agent("A2C")
    calls = []
    steps = agent.iterate(
        40, callback=lambda agent: calls.append(agent.num_timesteps) or len(calls) < 30, log="csv"
    )
    assert agent.num_timesteps == 0 and not agent._learning, "it begins with the first step"
    assert [step.num_timesteps for step in steps] == calls == list(range(1, 31))
    assert Path("progress.csv").read_text().count("\n") > 2
    with pytest.raises(ConfigError, match="must be a whole number of env steps"):
        next(agent.iterate("1000"))
    assert list(agent.iterate(0)) == []


def test_one_run_at_a_time():
    agent = small_agent("DQN")
    steps = agent.iterate(10)
    next(steps)
    for call in (agent.learn, lambda: next(agent.iterate()), agent.begin_run):
        with pytest.raises(ConfigError, match="was called on an agent that is learning"):
            call()
    assert len([*steps]) == 9
    agent.learn(1)


def test_a_run_that_is_too_short_for_an_update_says_so_once():
    agent = small_agent("PPO")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(agent.iterate(15))
        assert [one.category for one in caught] == [ConfigWarning]
        assert "no update was made, since one needs 16 steps" in str(caught[0].message)
        list(agent.iterate(20))
    assert len(caught) == 1, "four steps were left over"


def test_ctrl_c_stops_in_the_next_step():
    agent = small_agent("DQN")
    steps = agent.iterate(STEPS, save_path="agent.npz")
    next(steps)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    assert agent.num_timesteps == 2 and not agent._learning
    assert npr.load("agent.npz").num_timesteps == 2


def test_an_error_of_the_algorithm_comes_from_the_iterator():
    class Fails(npr.DQN):
        def update(self, *batch):
            raise ValueError("no update")

    agent = Fails("CartPole-v1", verbose=0, learning_starts=2, train_freq=1)
    steps = agent.iterate(STEPS, save_path="agent.npz")
    next(steps)
    with pytest.raises(ValueError, match="no update") as caught:
        next(steps)
    assert "saved" in caught.value.__notes__[0]
    assert list(steps) == [] and not agent._learning
