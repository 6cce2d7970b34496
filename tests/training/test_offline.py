"""learn_offline: the updates of a run from a buffer that does not change, without environments."""

import warnings

import numpy as np
import pytest
from support.small_agents import CASES, TABLES, small_agent
from support.toy_envs import TwoStates

import npr
from npr.errors import ConfigError, ConfigWarning
from npr.files.parts import arrays_of, parts
from npr.settings import Replay

OFF_POLICY = [case for case, (name, *_) in CASES.items() if issubclass(getattr(npr, name), Replay)]


def filled(case, **settings):
    """An agent whose buffer has transitions of its environment, and which made no update."""
    agent = small_agent(case, **{"train_freq": 1, "learning_starts": 40, **settings})
    with pytest.warns(ConfigWarning, match="no update will run"):
        agent.learn(39)
    return agent


def offline(agent, updates=20, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        return agent.learn_offline(updates, **options)


def learned(agent):
    """What updates change, by name."""
    return {
        key: np.array(array)
        for name, part in parts(agent).items()
        if name not in ("steps", "logger", "disturbance")
        for key, array in arrays_of(name, part).items()
    }


@pytest.mark.parametrize("case", OFF_POLICY)
def test_updates_are_those_of_a_run_that_stores_nothing_to_the_bit(case):
    schedule = {"learning_rate": "linear:1e-3", "target_update_interval": 7}
    given = {k: v for k, v in schedule.items() if k in getattr(npr, CASES[case][0]).settings}
    one, other = filled(case, **given), filled(case, **given)
    one.learning_starts = 0
    one.buffer.add = lambda *transitions: None
    one.learn(20)  # which counts from zero
    steps = other.num_timesteps
    offline(other)
    assert one.n_updates == other.n_updates == 20 and other.num_timesteps == steps
    mine, theirs = learned(one), learned(other)
    assert mine.keys() == theirs.keys()
    for key, array in mine.items():
        assert np.array_equal(array, theirs[key]), key
    for purpose in ("sample", "noise"):
        assert one.rng[purpose].bit_generator.state == other.rng[purpose].bit_generator.state


def test_no_environment_is_stepped_and_none_is_needed(tmp_path):
    agent = filled("SAC")
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    offline(agent), offline(loaded)
    assert loaded.envs is None and agent.envs.steps == 39
    assert np.array_equal(agent.phi, loaded.phi)


def test_a_run_goes_on_as_if_its_updates_had_been_in_between(tmp_path):
    agent = filled("DQN-n", normalize_obs=True, normalize_reward=True)
    offline(agent)
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    for one in (agent, loaded):
        one.learn(30, reset_num_timesteps=False)
        assert one.num_timesteps == 69 and one.logger.episode_count
    for key, array in learned(agent).items():
        assert np.array_equal(array, learned(loaded)[key]), key


def test_callbacks_logs_and_files_go_by_updates(tmp_path):
    agent, seen = filled("SAC"), []

    def callback(agent):
        seen.append((agent.n_updates, agent.num_timesteps, agent.progress))

    evaluations = npr.callbacks.EvalCallback(eval_freq=10, n_eval_episodes=1, verbose=0)
    offline(
        agent, 25, callback=[callback, evaluations], log="csv", log_dir=tmp_path, log_interval=10,
        save_path=tmp_path / "agent.npz", save_freq=10,
    )  # fmt: skip
    assert seen == [(i, 39, i / 25) for i in range(1, 26)]
    assert evaluations.evaluations_timesteps == [10, 20]
    rows = (tmp_path / "progress.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/n_updates")
    counts = [row.split(",")[column] for row in rows[1:]]
    assert [count for count in counts if count] == ["10", "20"]  # evaluations have own rows
    loaded = npr.load(tmp_path / "agent.npz")
    assert (loaded.n_updates, loaded.num_timesteps, loaded.end) == (25, 39, 39)


def test_a_file_of_the_middle_has_the_counts_of_the_agent(tmp_path):
    agent = filled("DQN")
    offline(agent, 5, callback=lambda agent: agent.save(tmp_path / "agent.npz"))
    loaded = npr.load(tmp_path / "agent.npz")
    assert (loaded.n_updates, loaded.num_timesteps, loaded.end) == (5, 39, 39)


def test_the_next_action_is_not_one_of_earlier_parameters():
    agent = filled("DQN")
    agent._acting = "parameters on a device that the next steps would be chosen by"
    offline(agent, 1)
    assert agent.acting_parameters() is None


def test_a_callback_stops_it():
    agent = filled("DQN")
    offline(agent, 25, callback=lambda agent: agent.n_updates < 5)
    assert agent.n_updates == 5
    agent.learn(5, reset_num_timesteps=False)


def test_an_error_leaves_the_counts_of_env_steps():
    agent = filled("DQN")

    def fail(agent):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        offline(agent, 25, callback=fail)
    assert (agent.n_updates, agent.num_timesteps, agent.progress) == (1, 39, 1.0)
    offline(agent, 1)


def test_its_risk_is_said_once():
    agent = filled("DQN")
    with pytest.warns(ConfigWarning, match=r"extrapolation error") as caught:
        agent.learn_offline(1)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.learn_offline(1)


def test_a_priority_changes_with_an_update():
    agent = filled("PERDQN")
    before = agent.buffer.tree[:39].copy()
    offline(agent, 5)
    assert not np.array_equal(agent.buffer.tree[:39], before)


@pytest.mark.parametrize("updates", [-1, 1.5, None, True])
def test_a_number_of_updates_is_needed(updates):
    with pytest.raises(ConfigError, match="updates must be a whole number"):
        offline(filled("DQN"), updates)


@pytest.mark.parametrize("case", ["PPO", *TABLES])
def test_an_algorithm_without_a_buffer_says_so(case):
    with pytest.raises(ConfigError, match=r"learn_offline\(\) needs an algorithm with a replay"):
        small_agent(case).learn_offline(1)


def test_an_empty_buffer_says_how_to_fill_it():
    with pytest.raises(ConfigError, match="add_batch"):
        small_agent("DQN").learn_offline(1)


@pytest.mark.parametrize("which", ["obs", "reward"])
def test_normalization_needs_statistics(which):
    agent = small_agent("DQN", **{f"normalize_{which}": True})
    agent.buffer.add(np.zeros((2, 4)), np.zeros(2, int), np.zeros(2), np.zeros((2, 4)), np.ones(2))
    with pytest.raises(ConfigError, match=f"normalize_{which}=True has no statistics"):
        offline(agent, 1)


def test_it_is_refused_while_the_agent_learns():
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match="is learning"):
        agent.learn(60, callback=lambda agent: agent.learn_offline(1))


def test_exact_values_are_found_from_each_transition_once():
    agent = npr.DQN(
        TwoStates, seed=0, verbose=0, gamma=0.9, net_arch=[], learning_rate="linear:0.1",
        batch_size=16, target_update_interval=10,
    )  # fmt: skip
    s, a = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    agent.buffer.add_batch(s, a, [0, 1, 2, 3], [0, 1, 0, 1], a + s == 2)
    offline(agent, 1_000)
    np.testing.assert_allclose(agent.Q(agent.theta, np.eye(2)), TwoStates.Q_STAR, atol=0.05)
