"""Settings after construction: checked as in the constructor, in effect, or refused."""

import sys
import textwrap
import types
from typing import Literal

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES, small_agent

import npr
from npr import ConfigError
from npr.noise import NOISES
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


class Wide(Settings):
    count: Literal[1, 2, 4] = setting(1, "a count")
    level: float | Literal["auto"] = setting("auto", "a level", within="[0, 1)")
    switch: bool | Literal["auto"] = setting("auto", "a switch")


@pytest.mark.parametrize(
    "name, good, bad, match",
    [
        ("count", 4, 3, "count must be 1 or 2 or 4, got 3"),
        ("level", 0.5, "high", "level must be float or 'auto', got 'high'"),
        ("level", 0, 1.0, r"level must be in \[0, 1\), got 1.0"),
        ("switch", True, "on", "switch must be bool or 'auto', got 'on'"),
    ],
)
def test_literals_may_stand_beside_other_types(name, good, bad, match):
    wide = Wide()
    setattr(wide, name, good)
    assert getattr(wide, name) == good
    with pytest.raises(ConfigError, match=match):
        setattr(wide, name, bad)


@pytest.mark.parametrize("notation", ["[0,1]", "0 to 1", "[0, 1", "(0, x)"])
def test_a_range_that_cannot_be_read_is_refused_where_it_is_declared(notation):
    with pytest.raises(ValueError):

        class Unreadable(Settings):
            x: float = setting(0.5, "x", within=notation)


def test_annotations_may_be_strings(monkeypatch):
    source = """\
        from __future__ import annotations
        from typing import Literal
        from npr.settings import Settings, setting

        class Strings(Settings):
            rate: float = setting(0.5, "a rate", within="[0, 1]")
            mode: Literal["a", "b"] = setting("a", "a mode")
    """
    module = types.ModuleType("strings")
    monkeypatch.setitem(sys.modules, "strings", module)
    exec(textwrap.dedent(source), vars(module))
    strings = module.Strings()
    strings.rate, strings.mode = 1, "b"
    assert type(strings.rate) is float
    with pytest.raises(ConfigError, match="mode must be 'a' or 'b'"):
        strings.mode = "c"


def test_a_group_may_give_a_default_and_the_value_is_still_checked():
    class Halved(Settings):
        rate: float = 0.25

    class Both(Halved, Group):
        pass

    assert Both.defaults()["rate"] == 0.25
    with pytest.raises(ConfigError, match="rate must be in"):
        Both().rate = 77


def test_a_subclass_may_widen_the_type_of_a_setting():
    class Widened(Group):
        mode: Literal["a", "b", "c"] | None = "c"

    assert Widened.settings["mode"].choices == ("a", "b", "c")
    Widened().mode = "c"


def test_mistakes_in_a_class_are_found_where_it_is_defined():
    with pytest.raises(TypeError, match="Bare.x is a setting and needs an annotation"):

        class Bare(Settings):
            x = setting(0.5, "x")

    with pytest.raises(ConfigError, match=r"Beyond: rate must be in \[0, 1\] or 2; a hint, got 7"):

        class Beyond(Group):
            rate: float = 7.0

    with pytest.raises(ConfigError, match="Named: rate must be float, got <function"):

        class Named(Group):
            def rate(self):
                return 1


def test_a_schedule_of_texts_is_refused():
    with pytest.raises(ConfigError, match="must be a number, 'linear:first'"):
        small_agent("DQN", learning_rate=["1e-3", "1e-4"])


@pytest.mark.parametrize("algorithm, name", [("DDPG", "action_noise"), ("SAC", "action_noise")])
def test_the_words_of_a_literal_are_those_of_its_table(algorithm, name):
    assert getattr(npr, algorithm).settings[name].choices == tuple(NOISES)


def test_a_list_that_was_changed_in_place_does_not_spoil_the_file(tmp_path):
    arch = {"qf": [8]}
    agent = small_agent("DQN", net_arch=arch)
    arch["qf"].append(4)
    assert agent.net_arch == {"qf": [8]}
    agent.net_arch["qf"].append(7)
    agent.save(tmp_path / "a.npz")
    assert npr.load(tmp_path / "a.npz").net_arch == {"qf": [8]}


@pytest.mark.parametrize("name, value", [("seed", 77), ("env_id", "x"), ("action_kinds", ())])
def test_what_an_agent_was_made_from_cannot_be_changed(name, value):
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match=f"DQN: {name} cannot be changed after construction"):
        setattr(agent, name, value)


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
    agent.note = agent._note = "names that resemble no setting are free"


def test_a_file_never_holds_a_setting_that_it_could_not_be_loaded_with(tmp_path):
    agent = small_agent("PPO")
    with pytest.raises(ConfigError):
        agent.batch_size = 1
    agent.save(tmp_path / "a.npz")
    assert npr.load(tmp_path / "a.npz").batch_size == agent.batch_size


# ---- what a file would not load cannot be saved


def replace(**values):
    return lambda agent: vars(agent).update(values)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda agent: agent.learning_rate.append(3.0), "learning_rate must be a number, 'linear"),
        (lambda agent: agent.learning_rate.clear(), "learning_rate must be a number, 'linear"),
        (lambda agent: agent.learning_rate.insert(0, "x"), "learning_rate must be"),
        (lambda agent: agent.clip_range.__setitem__(0, -1), "clip_range must be at least 0"),
        (replace(batch_size="x"), "batch_size must be int, got 'x'"),
        (replace(batch_size=1), "batch_size=1 has no standard deviation"),
        (replace(ent_coef=float("nan")), "ent_coef must be float, got nan"),
        (
            replace(learning_rate=lambda progress: 1.0),
            "learning_rate must .* a file cannot hold a function",
        ),
        (replace(seed=0.5), "seed must be a whole number"),
    ],
)
def test_invalid_settings_are_not_saved(change, match, tmp_path):
    agent = small_agent("PPO", learning_rate=[1e-3, 0], clip_range=(0.2, 0.1))
    agent.save(tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    change(agent)
    with pytest.raises(ConfigError, match=f"PPO: {match}.* Set it to a valid value; nothing was"):
        agent.save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == before


def test_a_run_continues_if_its_settings_cannot_be_saved(tmp_path):
    agent = small_agent("DQN")

    def spoil(agent):
        vars(agent)["verbose"] = "x" if agent.num_timesteps < 35 else 0

    with pytest.warns(npr.CheckpointWarning, match="step 30: the agent could not be saved .*verb"):
        agent.learn(40, callback=spoil, save_path=tmp_path / "a.npz", save_freq=30)
    assert npr.load(tmp_path / "a.npz").num_timesteps == 40


@pytest.mark.parametrize(
    "values",
    [{"net_arch": [3]}, {"activation": "relu"}, {"gamma": 0.5}, {"normalize_obs": True},
     {"n_envs": 77}],
    ids=str,
)  # fmt: skip
def test_a_file_holds_what_the_agent_was_built_with(values, tmp_path):
    agent = small_agent("PPO")
    built = {name: getattr(agent, name) for name in values}
    vars(agent).update(values)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert {name: getattr(loaded, name) for name in values} == built


def test_numbers_of_numpy_behind_the_checks_are_saved_as_pythons(tmp_path):
    agent = small_agent("DQN")
    vars(agent).update(batch_size=np.int64(9), learning_rate=np.array([0.5, 0.0]))
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert (loaded.batch_size, loaded.learning_rate) == (9, [0.5, 0.0])


def test_arguments_of_an_environment_are_not_converted():
    given = {"shape": (2, 3), "scale": np.float32(0.5)}
    agent = small_agent("DQN", env=lambda **kwargs: gymnasium.make("CartPole-v1"), env_kwargs=given)
    assert agent.env_kwargs == given
    assert type(agent.env_kwargs["shape"]) is tuple
    assert type(agent.env_kwargs["scale"]) is np.float32
