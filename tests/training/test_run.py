"""One call of learn(): transitions with their episodes, and statistics of valid rows."""

import functools

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.small_agents import assert_same_parameters, run_of, small_agent

import npr
from npr import CheckpointError, CheckpointWarning, ConfigError
from npr.algorithms.base import REGISTRY
from npr.optim import Adam
from npr.training.counters import Counters
from npr.training.logger import explained_variance
from npr.training.run import Transition


def test_a_transition_is_named_and_numbers_its_episodes():
    agent = small_agent("DQN", n_envs=2)
    run = run_of(agent)
    agent.counters.end = 6
    with run.interrupts:
        transitions = list(run.interact(lambda s: np.zeros(len(s), np.int64)))
    assert len(transitions) == 3 and all(type(one) is Transition for one in transitions)
    assert transitions[0].s.shape == transitions[0].s2.shape == (2, 4)
    assert np.array_equal(transitions[0].episode, agent.envs.episode)
    assert len({*transitions[0].episode.tolist()}) == 2
    assert np.array_equal(transitions[1].s, transitions[0].s2)
    assert agent.num_timesteps == 6 and run.last_steps == 2


@pytest.mark.parametrize("n_envs", [1, 3])
def test_transitions_are_the_rows_of_interact_as_python_numbers(n_envs):
    rows = []
    for one_by_one in (False, True):
        agent = small_agent("QLearning", n_envs=n_envs, normalize_reward=True)
        run = run_of(agent)
        agent.counters.end = 30
        with run.interrupts:
            if one_by_one:
                rows.append(list(run.transitions(agent.explore)))
            else:
                steps = run.interact(agent.explore)
                rows.append(
                    [tuple(x[i].item() for x in step) for step in steps for i in range(n_envs)]
                )
    assert rows[0] == rows[1] and len(rows[1]) == 30
    assert {tuple(map(type, row)) for row in rows[1]} == {(int, int, float, int, bool, int)}


class ReturnsColumns(npr.PPO):
    """Actions (N, 1) where (N,) are expected."""

    def explore(self, s):
        return super().explore(s)[:, None]


@pytest.mark.parametrize("n_envs", [1, 2])
def test_actions_of_another_shape_are_refused_before_the_environments_see_them(n_envs):
    agent = ReturnsColumns("CartPole-v1", seed=0, verbose=0, n_envs=n_envs)
    message = rf"ReturnsColumns.explore .* \({n_envs},\), .* got \({n_envs}, 1\)"
    with pytest.raises(ConfigError, match=message):
        agent.learn(100)
    assert agent.num_timesteps == 0


def test_explained_variance_counts_valid_rows_only():
    v, R = np.array([[1.0, 9.0], [2.0, -7.0], [4.0, 3.0]]), np.array([[1.5, 0.0], [2, 50], [5, 3]])
    rows = np.array([0, 2, 4])  # the first environment
    expected = 1 - np.var([0.5, 0.0, 1.0]) / np.var([1.5, 2.0, 5.0])
    assert explained_variance(v, R, rows) == pytest.approx(expected)


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("total", [None, 50])
def test_a_run_begins_where_it_should(total, reset, unfinished):
    counters = Counters(num_timesteps=30, end=100, n_updates=7, unfinished=unfinished)
    run = counters.next_run(total, 1_000, reset)
    start = 0 if reset and not unfinished else 30
    budget = total or (70 if unfinished else 1_000)
    assert run == Counters(start, start + budget, n_updates=7, unfinished=False)
    assert run.progress == start / run.end
    assert counters == Counters(30, 100, 7, unfinished), "unchanged until the run begins"


def test_a_run_within_a_run_is_refused():
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match="an agent that is learning"):
        agent.learn(60, callback=lambda agent: agent.learn(5))
    agent.learn(60)
    assert agent.num_timesteps == 60


class Callable:
    def __call__(self, agent):
        pass


class Foreign:
    """Like a callback of Stable-Baselines3, which has no __call__."""

    __module__ = "stable_baselines3.common.callbacks"

    def on_step(self):
        pass


async def waiting(agent):
    pass


def yielding(agent):
    yield


@pytest.mark.parametrize(
    "given, match",
    [
        ({"callback": 3}, "must be a function of one argument, the agent, .* got 3. Write one"),
        ({"callback": [print, 3]}, "or a list of these; got 3. Write one"),
        ({"callback": Foreign()}, "got Foreign, an object of Stable-Baselines3. npr.callbacks has"),
        ({"callback": Foreign}, "got Foreign, an object of Stable"),
        ({"callback": Callable}, "got the class Callable. Pass a function, or an instance"),
        ({"callback": lambda locals_, globals_: 0}, r"got <lambda>\(locals_, globals_\). Write"),
        ({"callback": lambda: 0}, r"got <lambda>\(\). Write"),
        ({"callback": waiting}, "got waiting, whose call would not run it"),
        ({"callback": yielding}, "got yielding, whose call would not run it"),
        ({"progress_bar": 4}, "must be True, False or None, got 4. .* by name.* log_interval=4"),
        ({"log_interval": "a"}, "whole number above 0, .* or None; got 'a'"),
        ({"log_interval": -1}, "log_interval must be"),
        ({"log_interval": True}, "log_interval must be"),
        ({"reset_num_timesteps": 0}, "reset_num_timesteps must be True or False, got 0"),
    ],
)
def test_arguments_of_learn_are_checked_before_the_first_step(given, match):
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match=match):
        agent.learn(60, **given)
    assert agent.num_timesteps == 0


@pytest.mark.parametrize(
    "callback",
    [Callable(), Callable().__call__, functools.partial(max, 3, key=lambda _: 0),
     lambda agent, more=1: None, lambda *_: None, {}.get],
)  # fmt: skip
def test_whatever_can_be_called_with_the_agent_is_a_callback(callback):
    assert small_agent("DQN").learn(20, callback, np.True_, np.int64(5)).num_timesteps == 20


class Unregistered(CartPoleEnv):
    """A file cannot describe it."""


def test_an_unfinished_run_stays_unfinished_if_its_environment_cannot_be_opened(tmp_path):
    agent = small_agent("DQN", env=Unregistered)
    agent.learn(60, callback=lambda agent: agent.num_timesteps < 31)
    agent.counters.unfinished = True
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"Pass one: npr\.load"):
        loaded.learn()
    loaded.set_env("CartPole-v1")
    loaded.learn()
    assert (loaded.num_timesteps, loaded.end) == (60, 60)


def test_a_replaced_optimizer_gets_the_learning_rate():
    agent = small_agent("DQN", learning_rate=1e-3)
    agent.adam = Adam(agent.theta, 0.5)
    agent.learn(60)
    assert agent.adam.learning_rate == 1e-3


class Counting(type(small_agent("DQN"))):
    """State that a file would lose, since it is a plain number."""

    def build(self):
        super().build()
        self.n_seen = 0

    def explore(self, s):
        self.n_seen += 1
        return super().explore(s)


@pytest.fixture
def counting():
    yield Counting("CartPole-v1", verbose=0, buffer_size=64, learning_starts=16, seed=0)
    REGISTRY.pop("Counting", None)


def test_a_run_whose_file_would_lose_state_is_saved_without_it_and_says_so(counting, tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(CheckpointError, match="would not restore Counting.n_seen") as caught:
        counting.learn(60, save_path=path)
    assert "was saved, without its n_seen" in caught.value.__notes__[0]
    assert npr.load(path).num_timesteps == 60


def test_saves_during_a_run_warn_of_lost_state_and_go_on(counting, tmp_path):
    with (
        pytest.warns(CheckpointWarning, match="step 20: the agent was saved without its n_seen"),
        pytest.raises(CheckpointError),
    ):
        counting.learn(30, save_path=tmp_path / "a.npz", save_freq=20)
    assert counting.num_timesteps == 30


def test_names_that_users_add_are_not_saved_and_that_is_said(tmp_path):
    agent = small_agent("DQN").learn(40)
    agent.best, agent.weights = 3, np.ones(2)
    with pytest.warns(CheckpointWarning, match="does not hold best, weights"):
        agent.save(tmp_path / "a.npz")
    assert_same_parameters(npr.load(tmp_path / "a.npz"), npr.load(tmp_path / "a.npz"))
