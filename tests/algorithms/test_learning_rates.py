"""Learning rates of the parts of an agent: actor_lr, critic_lr and alpha_lr."""

import numpy as np
import pytest
from support.small_agents import BUDGET, CASES, assert_same_parameters, small_agent

import npr
from npr import ConfigError
from npr.settings import ActorCritic

# case -> {setting: the parameters that it moves}, as in the pseudocode of each algorithm
PARTS = {
    "REINFORCE": {"actor_lr": ["theta"], "critic_lr": ["phi"]},
    "QActorCritic": {"actor_lr": ["theta"], "critic_lr": ["w"]},
    "A2C": {"actor_lr": ["theta"], "critic_lr": ["phi"]},
    "PPO": {"actor_lr": ["theta"], "critic_lr": ["phi"]},
    "PPOKL": {"actor_lr": ["theta"], "critic_lr": ["phi"]},
    "DDPG": {"actor_lr": ["phi"], "critic_lr": ["theta"]},
    "TD3": {"actor_lr": ["phi"], "critic_lr": ["theta"]},
    "SoftQ": {"actor_lr": ["phi"], "critic_lr": ["theta"]},
    "SACS": {"actor_lr": ["phi"], "critic_lr": ["theta", "psi"]},
    "SAC": {"actor_lr": ["phi"], "critic_lr": ["theta"], "alpha_lr": ["log_alpha"]},
}
PAIRS = [(case, name) for case, parts in PARTS.items() for name in parts]


def test_every_algorithm_with_an_actor_has_them():
    algorithms = {CASES[case][0] for case in CASES}
    assert {name for name in algorithms if "actor_lr" in getattr(npr, name).settings} == {*PARTS}


@pytest.mark.parametrize("case, name", PAIRS)
def test_a_rate_of_zero_stops_its_part_and_no_other(case, name):
    agent = small_agent(case, **{name: 0.0})
    names = [parameter for parts in PARTS[case].values() for parameter in parts]
    before = {parameter: getattr(agent, parameter).copy() for parameter in names}
    agent.learn(BUDGET)
    still = [k for k, values in before.items() if np.array_equal(values, getattr(agent, k))]
    assert still == PARTS[case][name]


@pytest.mark.parametrize("case", PARTS)
def test_rates_equal_to_learning_rate_change_nothing(case):
    same = dict.fromkeys(PARTS[case], 1e-3)
    one, other = small_agent(case).learn(BUDGET), small_agent(case, **same).learn(BUDGET)
    assert_same_parameters(one, other)


def test_rates_are_schedules_and_may_change_between_runs():
    agent = small_agent("SAC", actor_lr="linear:1e-2:1e-3", critic_lr=[2e-2, 2e-3], alpha_lr=0.5)
    optimizers = agent.adam_phi, agent.adam_theta, agent.adam_alpha
    assert [one.learning_rate for one in optimizers] == [1e-2, 2e-2, 0.5], "before it has learned"
    agent.learn(BUDGET)
    assert [one.learning_rate for one in optimizers] == pytest.approx([1e-3, 2e-3, 0.5])
    agent.actor_lr, agent.alpha_lr = None, 0.25
    agent.learn(BUDGET)
    assert [one.learning_rate for one in optimizers] == pytest.approx([1e-3, 2e-3, 0.25])


def test_a_file_holds_them(tmp_path):
    agent = small_agent("PPO", actor_lr="linear:1e-2", critic_lr=None).learn(BUDGET)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert (loaded.actor_lr, loaded.critic_lr) == ("linear:1e-2", None)
    for one in (agent, loaded):
        one.learn(BUDGET, reset_num_timesteps=False)
    assert_same_parameters(agent, loaded)


@pytest.mark.parametrize(
    "case, given, match",
    [
        ("PPO", {"actor_lr": -1}, r"PPO: actor_lr must be in \[0, 10\], got -1"),
        ("PPO", {"critic_lr": "fast"}, "PPO: critic_lr must be a number, 'linear:first'"),
        ("PPO", {"alpha_lr": 1e-3}, "no setting 'alpha_lr'; did you mean learning_rate"),
        ("DQN", {"actor_lr": 1e-3}, "no setting 'actor_lr'; did you mean learning_rate"),
        ("SAC", {"alpha_lr": 1e-3, "ent_coef": 0.2}, "alpha_lr=0.001 has no effect, since ent_coef="
         "0.2 is a fixed temperature. Leave alpha_lr out, or use ent_coef='auto'"),
        ("SoftQ-n", {"actor_lr": 1e-3}, "SoftQ: actor_lr=0.001 has no effect: Discrete actions"),
        ("REINFORCE", {"critic_lr": 1e-3, "baseline": False},
         "REINFORCE: critic_lr=0.001 has no effect with baseline=False"),
    ],
)  # fmt: skip
def test_rates_that_are_not_valid_or_have_no_effect_are_refused(case, given, match):
    with pytest.raises(ConfigError, match=match):
        small_agent(case, **given)


@pytest.mark.parametrize(
    "body",
    [{}, {"rates": {"adam": "actor_lr"}},
     {"rates": {"a": "actor_lr", "b": "critic_lr", "c": "noise_lr"}}],
)  # fmt: skip
def test_an_algorithm_says_which_optimizers_follow_them(body):
    with pytest.raises(TypeError, match="Own.rates must say which optimizers follow actor_lr and"):
        type("Own", (ActorCritic,), body)


# ---- temperatures


def test_alpha_is_the_current_temperature():
    agent = small_agent("SAC", ent_coef="auto_0.5", alpha_lr=0.1)
    assert type(agent.alpha) is float and agent.alpha == pytest.approx(0.5)
    agent.learn(BUDGET)
    assert agent.alpha == pytest.approx(float(np.exp(agent.log_alpha[0])))
    assert agent.alpha != pytest.approx(0.5)
    assert small_agent("SAC", ent_coef=0).alpha == 0.0
    assert small_agent("SACS", ent_coef=0.3).alpha == 0.3
    assert small_agent("SoftQ", ent_coef=0.7).alpha == 0.7
