"""Validation of single settings, before the first env step."""

import re

import gymnasium
import numpy as np
import pytest
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.small_agents import (
    BUDGET,
    CASES,
    RandomEnv,
    parameters,
    small_agent,
)

import npr
from npr import ConfigError
from npr.settings.setting import whole


def cartpole():
    return gymnasium.make("CartPole-v1")


class Untouched(gymnasium.Wrapper):
    """An environment that fails the test if it is reset or stepped."""

    def reset(self, **_):
        pytest.fail("the environment was reset")

    def step(self, _):
        pytest.fail("the environment was stepped")


nan, inf = float("nan"), float("inf")
BAD = {
    # wrong type
    ("DQN", "batch_size"): ["64", 2.5, True, None, [64], nan, inf, 0, -1],
    ("DQN", "gamma"): [True, "0.9", None, nan, inf, 1.5, -0.1],
    ("DQN", "double"): ["yes", 1, None],
    ("DQN", "activation"): [3, None, "selu", "Tanh", "__class__"],
    ("PPO", "normalize_advantage"): [1, "no"],
    # out of range
    ("DQN", "buffer_size"): [0, 1e300],
    ("DQN", "train_freq"): [0, -1],
    ("DQN", "gradient_steps"): [-2, 0.5],
    ("DQN", "learning_starts"): [-1, inf],
    ("DQN", "target_update_interval"): [0],
    ("DQN", "exploration_initial_eps"): [-0.1, 1.1, nan],
    ("DQN", "exploration_final_eps"): [-0.1, 1.1, nan],
    ("DQN", "exploration_fraction"): [-0.1, 1.1, nan],
    ("DQN", "max_grad_norm"): [0, -1, nan],
    ("DQN", "n_envs"): [0, 1.5],
    ("DQN", "max_episode_steps"): [0, 2.5, "10"],
    ("PPO", "gae_lambda"): [-0.1, 1.1, nan],
    ("PPO", "n_steps"): [0, None],
    ("PPO", "n_epochs"): [0],
    ("PPO", "clip_range"): [-0.2, nan, "wide", "linear:-0.2"],
    ("PPO", "vf_coef"): [nan, inf],
    ("SAC", "tau"): [-0.1, 1.5, 0.9, 0.995, nan, True],
    # a number, or a schedule
    ("SAC", "learning_rate"): [
        10.5, 1e30, "linear:11", "linear:0:1e30", [1e30, 0],
        -1, nan, inf, True, None, "fast", "linear", "linear:", "linear:x", "linear:1:2:3",
        "linear:nan", "linear:inf", "linear:-1e-3", "linear:1e-3:-1", "cosine:1", "1e-3:0",
        [], [1, 2, 3], ["a", "b"], [nan, 0], [0, inf], [-1e-3, 0], [True, 0], [None, 0], {"a": 1},
    ],
    # a number or one of a few strings
    ("SAC", "ent_coef"): [-1, nan, inf, True, None, "always", "auto_", "auto_0", "auto_-1",
                          "auto_x", "auto_nan", "auto_inf", "automatic"],
    ("SAC", "target_entropy"): ["low", nan, inf, True, None],
    ("PPO", "ent_coef"): [-1, nan, inf, True, "auto"],
    ("PPO", "target_kl"): [0, -1, nan, "auto"],
    ("PPO", "clip_range_vf"): [-0.1, inf, True, "linear:-1"],
    ("PPO", "joint_clip"): [1, None],
    ("PPO", "vf_share_layers"): [1],
    ("PPO", "log_std_init"): [1e6, -1e6, nan, inf],
    ("REINFORCE", "n_episodes"): [0, 1.5],
    ("REINFORCE", "vf_epochs"): [-1],
    ("REINFORCE", "ent_coef"): [-1],
    ("REINFORCE", "baseline"): [1],
    ("QActorCritic", "baseline_actions"): [0],
    ("A2C", "use_rms_prop"): [1, "yes"],
    ("A2C", "ent_coef"): [-1],
    ("PPOKL", "kl_coef"): [0, 1e6, nan],
    ("PPOKL", "target_kl"): [0, -1],
    ("PPOKL", "kl_tol"): [1, 0.5],
    ("PPOKL", "kl_scale"): [1],
    ("DDPG", "action_noise"): ["pink", None],
    ("DDPG", "tau"): [0.995],
    ("PERDQN", "per_normalization"): ["sum"],
    ("PERDQN", "per_alpha"): [-0.1, 1.1],
    ("SoftQ", "n_particles"): [0, 2],
    ("SoftQ", "value_n_particles"): [0],
    ("SoftQ", "kernel_update_ratio"): [0, 1.5],
    ("SoftQ", "ent_coef"): [0, -1],
    ("SACS", "ent_coef"): [-1, "auto"],
    ("SACS", "tau"): [0.995],
    ("SAC", "action_noise"): ["pink", 0.1],
    ("SAC", "exploration_noise"): [-0.1, nan],
    # layer widths
    ("SAC", "net_arch"): [
        [0], [-4], [2.5], ["64"], [True], [None], 64, "64", None, {"pi": [8]}, {"qf": [8]},
        {"pi": 8, "qf": [8]}, {"pi": [8], "qf": [0]}, {"pi": [8], "qf": [8], "vf": [8]}, {},
    ],
    # incompatible with another setting
    ("PPO", "batch_size"): [1],
}  # fmt: skip


@pytest.mark.parametrize(
    "case, setting, value",
    [(case, setting, value) for (case, setting), values in BAD.items() for value in values],
)
def test_an_invalid_setting_is_refused_before_the_first_step(case, setting, value):
    """The message has the class, the setting, the value and what is needed."""
    env_id = CASES[case][1]
    with pytest.raises(ConfigError) as caught:
        small_agent(case, env=lambda: Untouched(gymnasium.make(env_id)), **{setting: value})
    message = str(caught.value)
    assert message.startswith(f"{case}: ")
    assert setting in message
    shown = {repr(value), repr(float(value)) if isinstance(value, int) else repr(value)}
    assert any(text in message for text in shown), message
    assert re.search(r" must be ['\w]|; use \w+ (>=|=)|are needed\.", message), message


@pytest.mark.parametrize(
    "name, near",
    [
        ("learning_rat", "learning_rate"),
        ("Gamma", "gamma"),
        ("lr", "learning_rate"),
        ("polyak", r"tau \(tau = 1 - polyak\)"),
        ("net_archs", "net_arch"),
        ("learning_start", "learning_starts"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(name, near):
    with pytest.raises(ConfigError, match=f"SAC has no setting '{name}'; did you mean {near}"):
        npr.SAC("Pendulum-v1", **{name: 1})


def test_an_unknown_setting_without_a_near_name_gets_the_list():
    with pytest.raises(ConfigError, match="SAC has no setting 'zzz'; it has .*ent_coef.*gamma"):
        npr.SAC("Pendulum-v1", zzz=1)


def test_settings_are_converted_to_plain_data():
    agent = small_agent(
        "SAC", gamma=1, batch_size=16.0, tau=np.float32(0.5), learning_starts=np.int64(3),
        net_arch=(8, 4), ent_coef=1, max_episode_steps=None,
    )  # fmt: skip
    kept = {"gamma": 1.0, "batch_size": 16, "tau": 0.5, "learning_starts": 3, "net_arch": [8, 4],
            "ent_coef": 1.0, "max_episode_steps": None}  # fmt: skip
    for name, value in kept.items():
        assert getattr(agent, name) == value
        assert type(getattr(agent, name)) is type(value)


NUMPY = {
    "net_arch": [
        ([np.int64(8)], [8]), (np.array([8, 4]), [8, 4]), ((np.int8(8), 4), [8, 4]), ([8.0], [8]),
        ({"pi": np.array([8]), "vf": (np.int32(4),)}, {"pi": [8], "vf": [4]}),
        ({np.str_("pi"): [8], np.str_("vf"): []}, {"pi": [8], "vf": []}), (np.array([]), []),
    ],
    "batch_size": [(np.int64(16), 16), (np.float64(16), 16), (np.array(16), 16)],
    "n_envs": [(np.uint8(2), 2), (np.array(2), 2)],
    "max_episode_steps": [(np.int16(9), 9)],
    "gamma": [(np.float32(0.5), 0.5), (np.array(0.5), 0.5), (np.int64(1), 1.0)],
    "normalize_obs": [(np.True_, True), (np.array(False), False)],
    "activation": [(np.str_("relu"), "relu"), (np.array("relu"), "relu")],
    "learning_rate": [
        (np.str_("linear:1e-3"), "linear:1e-3"), (np.array([0.5, 0.25]), [0.5, 0.25]),
        ((np.float64(0.5), np.int64(0)), [0.5, 0]), (np.float16(0.5), 0.5),
    ],
    "seed": [(np.int64(3), 3), (np.uint8(3), 3), (np.array(3), 3)],
}  # fmt: skip


@pytest.mark.parametrize(
    "name, given, kept", [(name, *pair) for name, pairs in NUMPY.items() for pair in pairs]
)
def test_numbers_of_numpy_are_taken_as_pythons(name, given, kept, tmp_path):
    agent = small_agent("PPO", **{name: given})
    agent.save(tmp_path / "a.npz")
    for held in (getattr(agent, name), getattr(npr.load(tmp_path / "a.npz"), name)):
        assert repr(held) == repr(kept), "equal, and of the same types within"


@pytest.mark.parametrize(
    "name, value",
    [("net_arch", np.array([8, 2.5])), ("net_arch", np.array(8)), ("net_arch", np.array([[8]])),
     ("net_arch", [np.True_]), ("batch_size", np.array([16])), ("batch_size", np.float64(2.5)),
     ("batch_size", np.True_), ("gamma", np.complex64(0.5)), ("activation", np.str_("no")),
     ("seed", np.array([3])), ("seed", np.float64(3))],
)  # fmt: skip
def test_other_values_of_numpy_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"PPO: {name} must be "):
        small_agent("PPO", **{name: value})


def test_arguments_may_be_numbers_of_numpy(tmp_path):
    agent = small_agent("DQN", max_episode_steps=2)
    agent.learn(np.array(300), None, np.False_, np.int8(100), np.True_, tmp_path / "a.npz",
                np.uint8(250))  # fmt: skip
    assert agent.num_timesteps == 300, "small types do not overflow while steps are counted"
    result = agent.evaluate(episodes=np.array(2), seed=np.array(4))
    assert np.array_equal(result.returns, agent.evaluate(episodes=2, seed=4).returns)
    with pytest.raises(ConfigError, match="evaluate: seed must be a whole number"):
        agent.evaluate(seed=-1)


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.array(3), np.float32(3)])
def test_a_whole_number_of_any_type_becomes_an_int(value):
    assert whole("keep", value) == whole("keep", value, 3) == 3
    assert type(whole("keep", value)) is int


@pytest.mark.parametrize("value", [2, 3.5, True, "3", None, float("nan"), float("inf"), [3]])
def test_other_values_are_no_whole_numbers(value):
    message = f"keep must be a whole number of at least 3, got {value!r}."
    with pytest.raises(ConfigError, match=re.escape(message)):
        whole("keep", value, 3)


def test_a_list_of_the_user_is_copied():
    arch = [8]
    one, other = small_agent("DQN", net_arch=arch), small_agent("DQN", net_arch=arch)
    arch.append(4)
    one.net_arch.append(5)
    assert other.net_arch == [8]
    assert npr.DQN.defaults()["net_arch"] == [64, 64]


@pytest.mark.parametrize("case, parts", [("DQN", ["qf"]), ("PPO", ["pi", "vf"]),
                                         ("SAC", ["pi", "qf"])])  # fmt: skip
def test_widths_may_be_given_per_network(case, parts):
    widths = {part: [3 + i, 5] for i, part in enumerate(parts)}
    agent = small_agent(case, net_arch=widths)
    networks = {"DQN": ["net"], "PPO": ["actor", "critic"], "SAC": ["actor", "Q"]}[case]
    assert [getattr(agent, name).sizes[1:-1] for name in networks] == list(widths.values())
    assert small_agent(case, net_arch=[]).learn(BUDGET).n_updates > 0  # linear networks


@pytest.mark.parametrize(
    "setting, value, check",
    [
        ("ent_coef", 0.3, lambda first, last: first == last == pytest.approx(0.3)),
        ("ent_coef", 0, lambda first, last: first == last < 1e-20),
        ("ent_coef", "auto", lambda first, last: first == 1 != last),
        ("ent_coef", "auto_0.2", lambda first, last: first == pytest.approx(0.2) != last),
    ],
)
def test_the_temperature_of_sac_is_fixed_or_learned(setting, value, check):
    agent = small_agent("SAC", **{setting: value})
    first = float(np.exp(agent.log_alpha[0]))
    last = float(np.exp(agent.learn(BUDGET).log_alpha[0]))
    assert check(first, last)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(
    "env",
    [
        lambda: "CartPole-v1",
        cartpole,
        lambda: gymnasium.vector.SyncVectorEnv(
            [lambda n=n: RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box"], length=n) for n in (4, 7)]
        ),
    ],
    ids=["id", "env", "vector"],
)
def test_the_smallest_rollouts_of_ppo_stay_finite_or_are_refused(steps, env):
    """A single step has no standard deviation for the normalization of advantages. In a vector it
    may be the only valid one, while the other environment resets."""
    try:
        agent = small_agent("PPO", env=env(), n_steps=steps, max_episode_steps=None)
    except ConfigError as error:
        assert "n_steps" in str(error)
        assert steps == 1
        return
    agent.learn(60)
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    assert agent.n_updates > 0
