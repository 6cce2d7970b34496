"""Settings at the limits of their ranges and in combination: valid, with a warning, or refused.

Invalid values of single settings are in test_validation.py.
"""

import warnings

import gymnasium
import numpy as np
import pytest
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.small_agents import (
    BUDGET,
    CASES,
    RandomEnv,
    assert_same_parameters,
    parameters,
    small_agent,
)

import npr
from npr import ConfigError, NumericsError
from npr.errors import ConfigWarning
from npr.optim import Adam

every_case = pytest.mark.parametrize("case", CASES)


def settings_of(case):
    return getattr(npr, CASES[case][0]).settings


def pairs(*names):
    """(case, setting) for every case that has the setting."""
    return [(case, name) for case in CASES for name in names if name in settings_of(case)]


def learn_without_warning(agent, budget=BUDGET):
    """The agent after a run without a ConfigWarning and with finite parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConfigWarning)
        warnings.filterwarnings("ignore", r"\w+: batch_size=.* is more than")  # tested below
        agent.learn(budget)
    assert agent.num_timesteps == budget
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    return agent


# ---- limits of ranges


FRACTIONS = (
    "gamma", "gae_lambda", "tau", "per_alpha", "per_beta", "exploration_final_eps", "learning_rate",
)  # fmt: skip


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("case, fraction", pairs(*FRACTIONS))
def test_fractions_may_be_zero_or_one(case, fraction, value):
    agent = learn_without_warning(small_agent(case, **{fraction: value}))
    assert agent.n_updates > 0 or agent.table


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of overflows
@every_case
def test_the_largest_learning_rate_stays_finite_or_raises(case):
    try:
        learn_without_warning(small_agent(case, learning_rate=10))
    except NumericsError as error:
        assert "Lower learning_rate" in str(error)


@every_case
def test_episodes_may_have_one_step(case):
    agent = learn_without_warning(small_agent(case, max_episode_steps=1))
    assert agent.logger.episode_count == BUDGET
    assert {length for _, length in agent.logger.episodes} == {1}


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("case, n", pairs("n_step_return"))
def test_n_step_returns_end_with_the_episode(case, n, length):
    agent = learn_without_warning(small_agent(case, n_step_return=50, max_episode_steps=length))
    assert agent.Q.any() if agent.table else agent.n_updates > 0


@pytest.mark.parametrize("starts", [0, 1, 2, 15])
@pytest.mark.parametrize("case, _", pairs("learning_starts"))
def test_a_batch_may_be_larger_than_the_stored_transitions(case, _, starts):
    """Batches are drawn with replacement, as in Stable-Baselines3."""
    agent = learn_without_warning(
        small_agent(case, learning_starts=starts, train_freq=1, batch_size=16)
    )
    assert agent.n_updates == BUDGET - max(starts, 1) + 1


@pytest.mark.parametrize("total", [0, 1])
@every_case
def test_a_budget_may_be_zero_or_one(case, total):
    agent = small_agent(case)
    if total and not agent.table:
        with pytest.warns(ConfigWarning, match="no update (will run|was made)"):
            agent.learn(total)
    else:
        learn_without_warning(agent, total)
    assert agent.num_timesteps == total


# ---- a run that ends before its first update


@pytest.mark.parametrize("case, _", pairs("learning_starts"))
def test_a_run_without_an_update_causes_a_warning(case, _):
    reason = (
        "learning_starts=1,000 and train_freq=2 leave none to steps 1 to 96. Lower them, or raise"
    )
    with pytest.warns(
        ConfigWarning, match=f"^{CASES[case][0]}: no update will run: {reason}"
    ) as all:
        agent = small_agent(case, learning_starts=1000).learn(BUDGET)
    assert agent.n_updates == 0
    assert [warning.filename for warning in all] == [__file__], "it points at the user's own line"


ROUNDS = [
    (0, 1, 0), (39, 1, 0), (40, 1, 0), (41, 1, 0), (43, 1, 0), (44, 1, 0), (0, 40, 0), (0, 41, 0),
    (30, 25, 0), (0, 7, 40), (0, 50, 40), (85, 1, 40), (0, 100, 70),
]  # fmt: skip


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("starts, freq, before", ROUNDS)
def test_the_warning_is_exact(n_envs, starts, freq, before):
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
    else:  # several environments may overshoot the budget, then there is no warning
        assert not warned or agent.n_updates == updates


# ---- combinations

INVALID = [
    ("DQN", {"buffer_size": 2, "n_envs": 3},
     "DQN: buffer_size must be at least n_envs, .* got buffer_size=2 and n_envs=3"),
    ("SAC", {"buffer_size": 1, "n_envs": 2}, "got buffer_size=1 and n_envs=2"),
    ("PPO", {"batch_size": 1}, "batch_size=1 has no standard deviation .*; use batch_size >= 2"),
    ("PPOKL", {"batch_size": 1}, "batch_size=1 has no .* use .* normalize_advantage=False"),
    ("A2C", {"n_steps": 1, "normalize_advantage": True}, "use n_steps >= 2 or normalize_advantage"),
    ("SoftQ", {"n_particles": 4, "kernel_update_ratio": 0.1},
     "give 0 updated and 4 fixed particles; at least 1 and 2 are needed"),
    ("SoftQ", {"n_particles": 4, "kernel_update_ratio": 1.0}, "4 updated and 0 fixed particles"),
    ("SAC-Discrete", {"target_entropy": 5.0}, "target_entropy=5.0 do not suit 2 Discrete actions"),
    ("SAC-Discrete", {"action_noise": "ou"}, "action_noise='ou' .* do not suit 2 Discrete actions"),
    ("DQN", {"net_arch": {"pi": [8], "qf": [8]}}, "net_arch must be .* for qf; got {'pi'"),
    ("PPO", {"net_arch": {"pi": [8]}}, "net_arch must be .* for pi and vf; got {'pi'"),
]  # fmt: skip


class Untouched(gymnasium.Wrapper):
    def reset(self, **_):
        pytest.fail("the environment was reset")


@pytest.mark.parametrize("case, given, match", INVALID)
def test_incompatible_settings_are_refused_before_the_first_step(case, given, match):
    with pytest.raises(ConfigError, match=match):
        small_agent(case, env=lambda: Untouched(gymnasium.make(CASES[case][1])), **given)


def test_a_vector_env_must_fit_into_the_replay():
    envs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="got buffer_size=2 and n_envs=3"):
        small_agent("DQN", env=envs, buffer_size=2)


@pytest.mark.parametrize(
    "case, given",
    [
        ("DQN", {"buffer_size": 8, "batch_size": 16}),  # drawn with replacement
        ("DQN", {"buffer_size": 1}),
        ("DQN", {"buffer_size": 3, "n_envs": 3}),
        ("SAC", {"buffer_size": 16, "learning_starts": 32}),  # the newest are stored
        ("DQN-n", {"buffer_size": 2, "n_step_return": 5}),
        ("SoftQ-n", {"buffer_size": 1, "n_step_return": 5}),
        ("PERDQN", {"buffer_size": 1, "n_step_return": 5}),
        ("DQN", {"target_update_interval": 10**9}),
        ("DQN", {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.9}),
        ("DQN", {"exploration_fraction": 0}),
        ("DQN", {"train_freq": 7, "gradient_steps": -1}),
        ("DQN", {"gradient_steps": 0}),
        ("PPO", {"batch_size": 1000, "n_steps": 16}),  # one minibatch
        ("PPO", {"batch_size": 7, "n_steps": 16}),  # not a divisor
        ("PPOKL", {"batch_size": 1000, "n_steps": 16}),
        ("A2C", {"n_steps": 1, "normalize_advantage": False}),
        ("REINFORCE", {"n_episodes": 1, "max_episode_steps": 1}),
    ],
)
def test_unusual_combinations_are_valid(case, given):
    learn_without_warning(small_agent(case, **given))


# ---- counters


@pytest.mark.parametrize("start", [2**31 - 5, 2**53 - 5])
@every_case
def test_long_counters_are_exact(case, start):
    """A thousand steps around a large counter equal those of a new agent bit for bit."""
    steady = {"per_beta": 1.0} if "per_beta" in settings_of(case) else {}
    agents, done = [], []
    for steps in (start, 10_000 + start % 20):  # 20: a common multiple of all intervals
        agent = small_agent(case, **steady)
        agent.counters.num_timesteps = agent.counters.n_updates = steps
        agent.logger.episode_count = steps
        agent.envs.steps = agent.envs._next_episode = steps
        for part in vars(agent).values():
            if isinstance(part, Adam):
                part.counts[0] = 100 * steps  # so large that the bias correction is one
        agents.append(agent.learn(1000, reset_num_timesteps=False))
        assert agent.num_timesteps == agent.end == agent.envs.steps == steps + 1000
        assert type(agent.num_timesteps) is type(agent.n_updates) is int
        counts = (agent.n_updates, agent.logger.episode_count, agent.envs._next_episode)
        done.append([count - steps for count in counts])
    assert done[0] == done[1]
    assert done[0][0] > 0 or agent.table
    assert_same_parameters(*agents)


# ---- valid, but probably not intended


class Endless(RandomEnv):
    """Its episodes have no end."""

    def __init__(self):
        super().__init__(OBSERVATIONS["Box"], ACTIONS["Discrete"])

    def step(self, action):
        return *super().step(action)[:2], False, False, {}


def advice_to(agent):
    """The ConfigWarnings of two runs, without that of an idle run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(40)
        agent.learn(40)
    texts = [str(one.message) for one in caught if one.category is ConfigWarning]
    assert all(one.filename == __file__ for one in caught if one.category is ConfigWarning)
    return [text for text in texts if "no update" not in text]


@pytest.mark.parametrize("case, size", pairs("buffer_size"))
def test_a_batch_that_is_larger_than_the_replay_buffer_causes_one_warning(case, size):
    (text,) = advice_to(small_agent(case, buffer_size=20, batch_size=21))
    assert text.startswith(f"{CASES[case][0]}: batch_size=21 is more than buffer_size=20 trans")
    assert not advice_to(small_agent(case, buffer_size=20, batch_size=20))


@pytest.mark.parametrize("case", ["PPO", "PPOKL"])
def test_a_batch_that_is_larger_than_a_rollout_is_printed(case, capsys):
    for batch_size in (16, 17):
        agent = small_agent(case, n_steps=8, n_envs=2, batch_size=batch_size, verbose=1)
        assert not advice_to(agent)
        said = (
            "batch_size=17 is more than the n_steps * n_envs = 16 steps" in capsys.readouterr().out
        )
        assert said == (batch_size == 17)


BOOTSTRAPS = ("DQN", "A2C", "PPO", "PPOKL", "QActorCritic", "SoftQ", "SAC-Discrete")


@pytest.mark.parametrize("case", BOOTSTRAPS)
def test_no_discount_on_an_endless_task_causes_one_warning(case):
    given = {"gamma": 1, "max_episode_steps": None}
    (text,) = advice_to(small_agent(case, env=Endless(), **given))
    assert text.startswith(f"{CASES[case][0]}: gamma=1 on an environment without a time limit")


@pytest.mark.parametrize(
    "env, given",
    [
        (Endless, {"gamma": 0.999}),
        (Endless, {"max_episode_steps": 9}),
        (lambda: gymnasium.wrappers.TimeLimit(Endless(), 9), {}),
        (lambda: gymnasium.wrappers.NormalizeReward(
            gymnasium.wrappers.TimeLimit(Endless(), 9)), {}),
        ("CartPole-v1", {}),
        (gymnasium.make_vec("CartPole-v1", 2), {}),
        (gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2), {}),
    ],
)  # fmt: skip
def test_no_discount_is_not_warned_of_with_a_time_limit(env, given):
    assert not advice_to(small_agent("A2C", env=env, **{"gamma": 1, "max_episode_steps": None,
                                                         **given}))  # fmt: skip


def test_vector_environments_without_a_time_limit_are_noticed():
    env = gymnasium.vector.SyncVectorEnv([Endless] * 2)
    assert len(advice_to(small_agent("A2C", env=env, gamma=1, max_episode_steps=None))) == 1


def test_traces_of_no_effect_cause_one_warning():
    agent = small_agent("Sarsa", traces="replacing")
    (text,) = advice_to(agent)
    assert text == "Sarsa: traces='replacing' has no effect without trace_decay. Set that too."
    assert not advice_to(small_agent("Sarsa", traces="replacing", trace_decay=0.5))


@pytest.mark.parametrize("algorithm", ["QLearning", "Sarsa"])
def test_tables_and_presets_without_discount_are_not_warned_of(algorithm):
    agent = getattr(npr, algorithm)("CliffWalking-v1", verbose=0)
    assert agent.gamma == 1 and not advice_to(agent)
