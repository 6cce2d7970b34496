"""Settings after construction: checked as in the constructor, in effect, or refused."""

from typing import Literal

import numpy as np
import pytest
from support.small_agents import CASES, small_agent

import npr
from npr import ConfigError
from npr.settings import Settings, setting


class Group(Settings):
    rate: float = setting(0.5, "a rate", within="[0, 1] or 2", hint="; a hint")
    mode: Literal["a", "b"] | None = setting(None, "a mode")
    size: int = setting(4, "a size", within="(1, inf)", fixed=True)


class Sized(Group):
    size: int = 8
    extra: int = setting(1, "its own")


def test_a_plain_value_is_a_new_default_with_the_same_meaning():
    assert Sized.defaults() == {"extra": 1, "size": 8, "rate": 0.5, "mode": None}
    assert list(Sized.settings) == ["size", "extra", "rate", "mode"], "its own ones come first"
    assert Sized.settings["size"].doc == "a size" and Group.settings["size"].default == 4
    assert Sized.settings["size"].__doc__ == "a size (above 1; default 8)"


@pytest.mark.parametrize(
    "name, value, match",
    [
        ("rate", 1.5, r"Group: rate must be in \[0, 1\] or 2; a hint, got 1.5"),
        ("rate", "fast", "Group: rate must be float, got 'fast'"),
        ("rate", float("nan"), "Group: rate must be float, got nan"),
        ("mode", "c", "Group: mode must be 'a' or 'b', got 'c'"),
        ("size", 1, "Group: size must be above 1, got 1"),
        ("size", 2.5, "Group: size must be int, got 2.5"),
    ],
)
def test_every_assignment_is_checked(name, value, match):
    group = Group()
    with pytest.raises(ConfigError, match=match):
        setattr(group, name, value)
    assert name not in vars(group)


@pytest.mark.parametrize("value", [0, 1, 2, np.float32(0.25)])
def test_values_within_a_range_are_taken_with_their_type(value):
    group = Group()
    group.rate = value
    assert group.rate == value and type(group.rate) is float


def test_an_annotation_without_a_setting_is_no_argument():
    class Plain(Group):
        note: str = "not a setting"

    assert "note" not in Plain.settings


@pytest.mark.parametrize("case", CASES)
def test_every_setting_says_what_it_means(case):
    algorithm = type(small_agent(case))
    for name, one in algorithm.settings.items():
        assert one.doc and f"{name} : " in algorithm.__doc__ and one.__doc__ in algorithm.__doc__
        assert f"default {one.default!r}" in one.__doc__


def test_a_setting_that_acts_later_acts():
    agent = small_agent("DQN", tau=1.0)
    agent.learning_rate, agent.batch_size, agent.exploration_final_eps = 0.5, 3, 1.0
    seen, update = [], agent.update
    agent.update = lambda *batch: seen.append(len(batch[0])) or update(*batch)
    agent.learn(60)
    assert set(seen) == {3} and agent.adam.learning_rate == 0.5
    observations = np.zeros((600, 4), np.float32)
    assert np.ptp(agent.predict(observations)[0]) == 1, "every action is random now"


FIXED = [
    ("DQN", "gamma", 0.5), ("DQN", "n_step_return", 3), ("DQN", "dueling", True),
    ("DQN", "net_arch", [4]), ("PERDQN", "per_alpha", 0.1), ("SAC", "ent_coef", 0.02),
    ("DDPG", "exploration_noise", 0.0), ("PPO", "log_std_init", 1.0), ("PPO", "n_envs", 4),
    ("A2C", "use_rms_prop", False), ("QLearning", "max_episode_steps", 5),
]  # fmt: skip


@pytest.mark.parametrize("case, name, value", FIXED)
def test_a_setting_that_can_no_longer_act_is_refused(case, name, value):
    agent = small_agent(case)
    before = getattr(agent, name)
    setattr(agent, name, before)  # no change
    with pytest.raises(ConfigError, match=rf"{case}: {name} takes effect when the agent is built"):
        setattr(agent, name, value)
    assert getattr(agent, name) == before


def test_settings_that_do_not_fit_each_other_are_refused_and_nothing_changes():
    agent = small_agent("SoftQ", n_particles=16)
    with pytest.raises(ConfigError, match="give 1 updated and 1 fixed particles"):
        agent.n_particles = 2
    assert agent.n_particles == 16


def test_a_misspelled_attribute_is_refused_with_the_nearest_setting():
    agent = small_agent("SAC")
    with pytest.raises(ConfigError, match="SAC has no attribute 'lerning_rate'; did you mean lear"):
        agent.lerning_rate = 1.0
    with pytest.raises(ConfigError, match="made in build"):
        agent.history = []
    agent._note = "private names are free"


def test_a_file_never_holds_a_setting_that_it_could_not_be_loaded_with(tmp_path):
    agent = small_agent("PPO")
    with pytest.raises(ConfigError):
        agent.batch_size = 1
    agent.save(tmp_path / "a.npz")
    assert npr.load(tmp_path / "a.npz").batch_size == agent.batch_size
