"""Settings at their edges and in each other's company: learnt with, warned of, or refused.

Settings that are wrong by themselves are in test_api.py.
"""

import warnings

import gymnasium
import numpy as np
import pytest
from support.small_agents import BUDGET, CASES, assert_same_parameters, parameters, small_agent

import npr
from npr import ConfigError, NumericsError
from npr.errors import ConfigWarning
from npr.optim import Adam

every_case = pytest.mark.parametrize("case", CASES)


def known(case):
    return getattr(npr, CASES[case][0]).settings


def pairs(*names):
    """(case, setting) for every case that has the setting."""
    return [(case, name) for case in CASES for name in names if name in known(case)]


def learnt_calmly(agent, budget=BUDGET):
    """The agent after a run without a ConfigWarning, its parameters finite."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConfigWarning)
        agent.learn(budget)
    assert agent.num_timesteps == budget
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    return agent


# ---- edges


SHARES = (
    "gamma", "gae_lambda", "tau", "per_alpha", "per_beta", "exploration_final_eps", "learning_rate",
)  # fmt: skip


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("case, share", pairs(*SHARES))
def test_shares_of_nought_and_one_are_learnt_with(case, share, value):
    agent = learnt_calmly(small_agent(case, **{share: value}))
    assert agent.n_updates > 0 or agent.table


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of overflows
@every_case
def test_the_largest_learning_rate_is_learnt_with_or_found_out(case):
    try:
        learnt_calmly(small_agent(case, learning_rate=10))
    except NumericsError as error:
        assert "Lower learning_rate" in str(error)


@every_case
def test_episodes_of_a_single_step_are_learnt_from(case):
    agent = learnt_calmly(small_agent(case, max_episode_steps=1))
    assert agent.logger.episode_count == BUDGET
    assert {length for _, length in agent.logger.episodes} == {1}


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("case, n", pairs("n_step_return"))
def test_returns_over_more_steps_than_an_episode_has_are_cut_at_its_end(case, n, length):
    agent = learnt_calmly(small_agent(case, n_step_return=50, max_episode_steps=length))
    assert agent.n_updates > 0


@pytest.mark.parametrize("starts", [0, 1, 2, 15])
@pytest.mark.parametrize("case, _", pairs("learning_starts"))
def test_a_batch_may_be_larger_than_what_is_stored(case, _, starts):
    """It is drawn with replacement, as in Stable-Baselines3."""
    agent = learnt_calmly(small_agent(case, learning_starts=starts, train_freq=1, batch_size=16))
    assert agent.n_updates == BUDGET - max(starts, 1) + 1


@pytest.mark.filterwarnings("ignore:REINFORCE learnt nothing")
@pytest.mark.parametrize("total", [0, 1])
@every_case
def test_a_budget_of_no_step_or_one_is_a_run(case, total):
    agent = small_agent(case)
    if total and "learning_starts" in known(case):
        with pytest.warns(ConfigWarning, match="no update will run"):
            agent.learn(total)
    else:
        learnt_calmly(agent, total)
    assert agent.num_timesteps == total


# ---- a run that ends before its first update


@pytest.mark.parametrize("case, _", pairs("learning_starts"))
def test_a_run_without_an_update_is_warned_of(case, _):
    told = (
        "learning_starts=1,000 and train_freq=2 leave none to steps 1 to 96. Lower them, or raise"
    )
    with pytest.warns(ConfigWarning, match=f"^{CASES[case][0]}: no update will run: {told}") as all:
        agent = small_agent(case, learning_starts=1000).learn(BUDGET)
    assert agent.n_updates == 0
    assert [warning.filename for warning in all] == [__file__], "it points at the user's own line"


ROUNDS = [
    (0, 1, 0), (39, 1, 0), (40, 1, 0), (41, 1, 0), (43, 1, 0), (44, 1, 0), (0, 40, 0), (0, 41, 0),
    (30, 25, 0), (0, 7, 40), (0, 50, 40), (85, 1, 40), (0, 100, 70),
]  # fmt: skip


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("starts, freq, before", ROUNDS)
def test_it_is_warned_of_where_no_update_runs_and_nowhere_else(n_envs, starts, freq, before):
    agent = small_agent("DQN", learning_starts=starts, train_freq=freq, n_envs=n_envs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(before)
        updates = agent.n_updates
        caught.clear()
        agent.learn(40, reset_num_timesteps=False)
    warned = [w for w in caught if w.category is ConfigWarning]
    if n_envs == 1:
        assert len(warned) == (agent.n_updates == updates)
    else:  # of many at once the last may overshoot: then nothing is said
        assert not warned or agent.n_updates == updates


# ---- together

TOGETHER = [
    ("DQN", {"buffer_size": 2, "n_envs": 3},
     "DQN: buffer_size must be at least n_envs, .* got buffer_size=2 and n_envs=3"),
    ("SAC", {"buffer_size": 1, "n_envs": 2}, "got buffer_size=1 and n_envs=2"),
    ("PPO", {"batch_size": 1}, "batch_size=1 has no standard deviation .*; use batch_size >= 2"),
    ("PPOKL", {"batch_size": 1}, "batch_size=1 has no .* use .* normalize_advantage=False"),
    ("A2C", {"n_steps": 1, "normalize_advantage": True}, "use n_steps >= 2 or normalize_advantage"),
    ("SoftQ", {"n_particles": 4, "kernel_update_ratio": 0.1},
     "leave 0 particles to move and 4 that stay; at least 1 and 2 are needed"),
    ("SoftQ", {"n_particles": 4, "kernel_update_ratio": 1.0}, "4 particles to move and 0 that"),
    ("SAC-Discrete", {"target_entropy": 5.0}, "target_entropy=5.0 do not suit 2 Discrete actions"),
    ("SAC-Discrete", {"action_noise": "ou"}, "action_noise='ou' .* do not suit 2 Discrete actions"),
    ("DQN", {"net_arch": {"pi": [8], "qf": [8]}}, "net_arch must be .* for qf; got {'pi'"),
    ("PPO", {"net_arch": {"pi": [8]}}, "net_arch must be .* for pi and vf; got {'pi'"),
]  # fmt: skip


class Untouched(gymnasium.Wrapper):
    def reset(self, **_):
        pytest.fail("the environment was reset")


@pytest.mark.parametrize("case, given, match", TOGETHER)
def test_settings_that_do_not_fit_each_other_are_refused_before_the_first_step(case, given, match):
    with pytest.raises(ConfigError, match=match):
        small_agent(case, env=lambda: Untouched(gymnasium.make(CASES[case][1])), **given)


def test_a_vector_environment_must_fit_into_the_replay():
    envs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="got buffer_size=2 and n_envs=3"):
        small_agent("DQN", env=envs, buffer_size=2)


@pytest.mark.parametrize(
    "case, given",
    [
        ("DQN", {"buffer_size": 8, "batch_size": 16}),  # drawn with replacement
        ("DQN", {"buffer_size": 1}),
        ("DQN", {"buffer_size": 3, "n_envs": 3}),
        ("SAC", {"buffer_size": 16, "learning_starts": 32}),  # the newest are kept
        ("DQN-n", {"buffer_size": 2, "n_step_return": 5}),
        ("SoftQ-n", {"buffer_size": 1, "n_step_return": 5}),
        ("PERDQN", {"buffer_size": 1, "n_step_return": 5}),
        ("DQN", {"target_update_interval": 10**9}),
        ("DQN", {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.9}),
        ("DQN", {"exploration_fraction": 0}),
        ("DQN", {"train_freq": 7, "gradient_steps": -1}),
        ("DQN", {"gradient_steps": 0}),
        ("PPO", {"batch_size": 1000, "n_steps": 16}),  # one minibatch
        ("PPO", {"batch_size": 7, "n_steps": 16}),  # which does not divide them
        ("PPO", {"n_steps": 1000}),  # more than the budget
        ("PPOKL", {"batch_size": 1000, "n_steps": 16}),
        ("A2C", {"n_steps": 1, "normalize_advantage": False}),
        ("REINFORCE", {"n_episodes": 1, "max_episode_steps": 1}),
    ],
)
def test_what_is_odd_but_has_a_meaning_is_learnt_with(case, given):
    learnt_calmly(small_agent(case, **given))


# ---- counters


@pytest.mark.parametrize("start", [2**31 - 5, 2**53 - 5])
@every_case
def test_long_counters_are_exact(case, start):
    """A thousand steps around them are those of a young agent, bit for bit."""
    steady = {"per_beta": 1.0} if "per_beta" in known(case) else {}
    agents, done = [], []
    for steps in (start, 10_000 + start % 20):  # 20: all that is done now and then is done alike
        agent = small_agent(case, **steady)
        agent.counters.num_timesteps = agent.counters.n_updates = steps
        agent.logger.episode_count = steps
        agent.envs.steps = agent.envs._next_episode = steps
        for part in vars(agent).values():
            if isinstance(part, Adam):
                part.t = 100 * steps  # so many that the moments hold no trace of the first
        agents.append(agent.learn(1000, reset_num_timesteps=False))
        assert agent.num_timesteps == agent.end == agent.envs.steps == steps + 1000
        assert type(agent.num_timesteps) is type(agent.n_updates) is int
        counts = (agent.n_updates, agent.logger.episode_count, agent.envs._next_episode)
        done.append([count - steps for count in counts])
    assert done[0] == done[1]
    assert done[0][0] > 0 or agent.table
    assert_same_parameters(*agents)
