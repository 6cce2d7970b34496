"""The search spaces, and what is drawn from them."""

import math

import pytest

import npr
from npr import ConfigError
from npr.algorithms.base import REGISTRY, Algorithm
from npr.tune import SPACES, spaces

optuna = pytest.importorskip("optuna")


def bounds_of(trial_of):
    """An Optuna trial that draws one end of every dimension."""

    class End:
        def suggest_categorical(self, name, choices):
            return choices[trial_of]

        def suggest_int(self, name, low, high):
            return (low, high)[trial_of]

        def suggest_float(self, name, low, high, log):
            return (low, high)[trial_of]

    return End()


def settings_of(name):
    """Both ends of a space and some samples, as settings."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    trials = [bounds_of(0), bounds_of(-1), *(study.ask() for _ in range(20))]
    return [spaces.suggest(trial, SPACES[name]) for trial in trials]


def test_every_algorithm_has_a_space():
    assert sorted(SPACES) == sorted(name for name in npr.__all__ if name in REGISTRY)


@pytest.mark.parametrize("name", SPACES)
def test_all_of_a_space_are_valid_settings(name):
    cls = getattr(npr, name)
    for settings in settings_of(name):
        assert settings.keys() == SPACES[name].keys()
        for key, value in settings.items():
            assert cls.settings[key].checked(name, value, cls.networks) == value
    assert spaces.checked(cls, SPACES[name]) == SPACES[name]


@pytest.mark.parametrize("name", SPACES)
def test_agents_can_be_built_at_both_ends_of_a_space(name):
    cls = getattr(npr, name)
    env = "CliffWalking-v1" if cls.table else "Pendulum-v1"
    env = "CartPole-v1" if name in ("DQN", "PERDQN") else env
    for settings in settings_of(name)[:2]:
        small = {"buffer_size": 1_000} if "buffer_size" in cls.settings else {}
        cls(env, seed=0, verbose=0, **small, **settings).close()


@pytest.mark.parametrize(
    "dimension, drawn",
    [
        (("float", 0.0, 0.5), [0.0, 0.5]),
        (("log", 1e-4, 1e-2), [1e-4, 1e-2]),
        (("linear", 1e-4, 1e-2), ["linear:0.0001", "linear:0.01"]),
        (("complement", 0.01, 0.1), [0.99, 0.9]),
        (("choice", [0.2, "linear:0.1"]), [0.2, "linear:0.1"]),
    ],
)
def test_the_ends_of_a_dimension(dimension, drawn):
    space = spaces.checked(npr.PPO, {"learning_rate": dimension})
    ends = [spaces.suggest(bounds_of(end), space)["learning_rate"] for end in (0, -1)]
    assert ends == drawn


def test_whole_numbers_and_powers_of_two():
    space = spaces.checked(npr.PPO, {"n_epochs": ("int", 1, 3), "n_steps": ("power", 8, 64)})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = [spaces.suggest(study.ask(), space) for _ in range(60)]
    assert {one["n_epochs"] for one in drawn} == {1, 2, 3}
    assert {one["n_steps"] for one in drawn} == {8, 16, 32, 64}


def test_a_complement_is_log_uniform_near_one():
    """Half of the samples of 1 - [1e-4, 1e-2] are above 1 - 1e-3, the middle of the logarithms."""
    space = {"gamma": ("complement", 1e-4, 1e-2)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = [spaces.suggest(study.ask(), space)["gamma"] for _ in range(400)]
    assert 140 < sum(one > 1 - 1e-3 for one in drawn) < 260
    assert min(drawn) >= 0.99 and max(drawn) <= 0.9999


def test_choices_of_lists_and_dicts_come_back_as_they_were():
    arch = [[64], {"pi": [8], "qf": [16, 16]}]
    space = spaces.checked(npr.SAC, {"net_arch": ("choice", arch), "ent_coef": ("choice", [0.1])})
    for end in (0, -1):
        assert spaces.suggest(bounds_of(end), space)["net_arch"] == arch[end]


def test_a_class_without_a_space_has_that_of_its_base(monkeypatch):
    monkeypatch.setattr("npr.algorithms.base.REGISTRY", dict(REGISTRY))
    assert spaces.space_of(type("Mine", (npr.TD3,), {})) == SPACES["TD3"]
    assert spaces.space_of(Algorithm) == {}


@pytest.mark.parametrize(
    "space, message",
    [
        ({"gama": ("log", 0.1, 1.0)}, r"SAC has no setting 'gama'; did you mean gamma"),
        ({"tau": 0.1}, r"SAC: tau must be \(\"log\", low, high\) .* got 0.1"),
        ({"tau": ("uniform", 0.1, 0.2)}, "with a kind of float, log, linear, .* got"),
        ({"tau": ("log", 0.1)}, "needs two numbers, low < high"),
        ({"tau": ("log", 0.2, 0.1)}, "needs two numbers, low < high"),
        ({"tau": ("log", 0.1, math.inf)}, "needs two numbers, low < high"),
        ({"tau": ("log", 0.0, 0.1)}, "lower end of 'log' must be above 0"),
        ({"batch_size": ("int", 1.5, 8)}, "ends of 'int' must be whole numbers"),
        ({"batch_size": ("power", 8, 20)}, "ends of 'power' must be powers of two"),
        ({"batch_size": ("choice", [])}, r"must be \(\"choice\", \[a, b, ...\]\)"),
        ({"tau": ("float", 0.1, 0.9)}, r"SAC: tau must be in \[0, 0.5\] or 1.* got 0.9"),
        ({"activation": ("choice", ["relu", "gelu"])}, "activation must be .* got 'gelu'"),
    ],
)
def test_an_invalid_space_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        spaces.checked(npr.SAC, space)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("learning_rate=1e-5:1e-3", ("learning_rate", ("log", 1e-5, 1e-3))),
        ("learning-rate=1e-5:1e-3:linear", ("learning_rate", ("linear", 1e-5, 1e-3))),
        ("batch_size=8:64", ("batch_size", ("power", 8, 64))),
        ("batch_size=8:60:int", ("batch_size", ("int", 8, 60))),
        ("train_freq=1:9", ("train_freq", ("int", 1, 9))),
        ("target_entropy=-3:-1", ("target_entropy", ("float", -3, -1))),
        ("gamma=0.9,0.99,1", ("gamma", ("choice", [0.9, 0.99, 1]))),
        ("activation=relu, tanh", ("activation", ("choice", ["relu", "tanh"]))),
        ('net_arch={"pi": [8], "qf": [4]}', ("net_arch", ("choice", [{"pi": [8], "qf": [4]}]))),
        ("net_arch=[8],[16,16]", ("net_arch", ("choice", [[8], [16, 16]]))),
        ("normalize_obs=True,false", ("normalize_obs", ("choice", [True, False]))),
        ("learning_rate=linear:1e-3,3e-4", ("learning_rate", ("choice", ["linear:1e-3", 3e-4]))),
    ],
)
def test_a_dimension_as_text(text, expected):
    assert spaces.parse(npr.SAC, text) == expected


@pytest.mark.parametrize("text", ["tau", "tau=", "tau=a:b", "tau=1:2:log:3", "tau=0.1:0.2:choice"])
def test_a_text_that_is_no_dimension_is_refused(text):
    with pytest.raises(ConfigError, match="is none of name=low:high, name=low:high:kind and name="):
        spaces.parse(npr.SAC, text)


# ---- the settings of the preset


@pytest.mark.parametrize(
    "dimension, value, number",
    [
        (("float", 0.0, 0.5), 0.25, 0.25),
        (("log", 1e-4, 1e-2), 1e-3, 1e-3),
        (("log", 1e-4, 1e-2), 0.1, None),
        (("log", 1e-4, 1e-2), "linear:1e-3", None),
        (("linear", 1e-4, 1e-2), "linear:1e-3", 1e-3),
        (("linear", 1e-4, 1e-2), [1e-3, 0.0], 1e-3),
        (("linear", 1e-4, 1e-2), "linear:1e-3:1e-4", None),
        (("linear", 1e-4, 1e-2), 1e-3, None),
        (("complement", 0.01, 0.5), 0.75, 0.25),
        (("complement", 0.01, 0.5), 1.0, None),
        (("int", 1, 4), 3, 3),
        (("power", 8, 64), 16, 4),
        (("power", 8, 64), 24, None),
        (("power", 8, 64), 4, None),
        (("power", 8, 64), -1, None),
        (("choice", [[8], [16]]), [16], "[16]"),
        (("choice", [0.1, 0.2]), 0.3, None),
        (("choice", ["auto", None]), None, None),
    ],
)
def test_what_is_drawn_for_a_value(dimension, value, number):
    drawn = spaces.located({"x": dimension}, {"x": value})
    assert drawn == ({} if number is None and value is not None else {"x": number})


@pytest.mark.parametrize("name", SPACES)
def test_settings_that_were_drawn_are_found_again(name):
    for settings in settings_of(name)[:8]:
        fixed = optuna.trial.FixedTrial(spaces.located(SPACES[name], settings))
        again = spaces.suggest(fixed, SPACES[name])
        for key, value in settings.items():
            assert again[key] == (pytest.approx(value) if type(value) is float else value)
