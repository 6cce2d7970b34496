"""Presets: lookup, overriding, budgets, and how settings are printed."""

import gymnasium
import pytest

import npr
from npr import presets
from npr.algorithms.base import REGISTRY
from npr.training.run import DEFAULT_BUDGET


def cartpole():
    return gymnasium.make("CartPole-v1")


@pytest.fixture
def preset(monkeypatch):
    """A single preset in place of those of the library."""
    table = {"SAC": {"Pendulum-v1": {"total_timesteps": 30, "net_arch": [7], "gamma": 0.9}}}
    monkeypatch.setattr(presets, "PRESETS", table)


def test_a_preset_is_found_by_id_and_by_name(preset):
    found = presets.find("SAC", "Pendulum-v1")
    assert found["net_arch"] == [7]
    assert presets.find("SAC", "Pendulum-v7") is found
    assert presets.find("SAC", "Pendulum") is found
    for name, env in [("DQN", "Pendulum-v1"), ("SAC", "Pend-v1"), ("SAC", None), ("SAC", "")]:
        assert presets.find(name, env) == {}


def test_arguments_override_a_preset(preset):
    agent = npr.SAC("Pendulum-v1", verbose=0)
    assert (agent.net_arch, agent.gamma, agent.tau) == ([7], 0.9, 0.005)
    assert agent.learn().num_timesteps == 30
    agent = npr.SAC("Pendulum-v1", verbose=0, gamma=0.8)
    assert (agent.net_arch, agent.gamma) == ([7], 0.8)
    assert agent.learn(20).num_timesteps == 20
    assert npr.SAC(gymnasium.make("Pendulum-v1")).gamma == 0.9  # an Env has an id too
    assert npr.SAC(lambda: gymnasium.make("Pendulum-v1")).gamma == 0.99  # a function has none


def test_without_a_preset_there_is_a_default_budget(preset):
    agent = npr.DQN("CartPole-v1", verbose=0)
    ends = []
    agent.learn(callback=lambda agent: ends.append(agent.end) or False)
    assert ends == [DEFAULT_BUDGET]


def test_settings_are_printed_once(preset, capsys):
    agent = npr.SAC("Pendulum-v1", tau=0.01)
    agent.learn().learn(5)
    out, _ = capsys.readouterr()
    assert out == "SAC on Pendulum-v1, 30 steps: net_arch=[7], tau=0.01, gamma=0.9\n"
    npr.DQN(cartpole, learning_starts=9).learn(5)
    assert capsys.readouterr().out == "DQN on cartpole, 5 steps: learning_starts=9\n"
    npr.SAC("Pendulum-v1", verbose=0).learn(5, progress_bar=False)
    assert capsys.readouterr() == ("", "")


def test_repr_shows_settings_that_differ_from_the_defaults(preset):
    assert repr(npr.DQN("CartPole-v1", seed=1)) == "DQN('CartPole-v1', default settings)"
    assert repr(npr.SAC("Pendulum-v1", ent_coef=0.1)) == (
        "SAC('Pendulum-v1', net_arch=[7], ent_coef=0.1, gamma=0.9)"
    )
    assert repr(npr.DQN(cartpole)) == "DQN(None, default settings)"


@pytest.mark.parametrize(
    "name, env",
    [
        ("QLearning", "CliffWalking-v1"), ("QLearning", "FrozenLake-v1"), ("QLearning", "Taxi"),
        ("DQN", "CartPole-v1"), ("DQN", "Acrobot-v1"),
        ("PPO", "CartPole-v1"), ("PPO", "Acrobot-v1"), ("PPO", "Pendulum-v1"),
        ("SAC", "Pendulum-v1"),
    ],
)  # fmt: skip
def test_these_environments_have_presets_with_a_budget(name, env):
    assert presets.find(name, env)["total_timesteps"] > 0


def test_every_preset_is_valid_for_its_algorithm():
    for name, table in presets.PRESETS.items():
        for env_id, preset in table.items():
            settings = {k: v for k, v in preset.items() if k != "total_timesteps"}
            assert settings.keys() <= REGISTRY[name].settings.keys(), (name, env_id)
            if env_id in gymnasium.registry and env_id not in presets.LONG:
                agent = REGISTRY[name](env_id, verbose=0)
                assert {k: getattr(agent, k) for k in settings} == settings
