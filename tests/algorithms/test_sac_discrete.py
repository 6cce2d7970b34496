"""SAC with Discrete actions: targets and losses by hand, the temperature, a bandit."""

import gymnasium.spaces as gs
import numpy as np
import pytest
from support.agent_factories import discrete_sac
from support.oracles import F, check_every_gradient, random_batch, rows
from support.small_agents import RandomEnv

import npr


@pytest.mark.parametrize("terminated", [0, 1])
def test_discrete_sac_target_by_hand(terminated):
    """pi = (.25, .75), critics (1, 3) and (2, 2): min (1, 2), E min = 1.75, H = .562335,
    alpha = .2: y = 1 + .99 (1.75 + .2 x .562335)."""
    agent = discrete_sac(net_arch=[], ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.theta_bar, agent.phi):
        vector[:] = 0
    agent.theta_bar[0, -2:], agent.theta_bar[1, -2:] = (1, 3), (2, 2)
    agent.phi[-1] = np.log(3)
    s = np.zeros((1, 4), F)
    y = 1 + (1 - terminated) * 0.99 * (1.75 + 0.2 * 0.562335)
    loss = agent.update(s, np.array([0]), rows(1), s, rows(terminated), 0.99, None, None)
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-5)  # both critics are zero


def test_discrete_sac_takes_the_gradients_of_its_losses(monkeypatch):
    checked = check_every_gradient(monkeypatch, "sac")
    agent, rng = discrete_sac(), np.random.default_rng(1)
    agent.update(*random_batch(rng), 0.99, None, None)
    assert len(checked) == 2


class Arms(RandomEnv):
    """One step; the rewards of three arms are 0, .5 and 1."""

    def __init__(self):
        super().__init__(gs.Box(-1, 1, (1,), F), gs.Discrete(3), length=1)

    def step(self, action):
        return np.zeros(1, F), float(action / 2), True, False, {}


def trained_arms(**settings):
    agent = discrete_sac(
        Arms, net_arch=[16], batch_size=64, learning_rate="linear:0.01:0.001",
        learning_starts=200, **settings,
    ).learn(2_500)  # fmt: skip
    return agent, np.exp(agent.pi(agent.phi, np.zeros((1, 1), F)).logp)[0]


def test_discrete_sac_with_a_fixed_temperature_learns_the_softmax():
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()  # rewards divided by alpha = .5
    assert trained_arms(ent_coef=0.5)[1] == pytest.approx(expected, abs=0.03)


def test_discrete_sac_learns_the_temperature_of_its_target_entropy():
    """By bisection: the alpha at which softmax(r / alpha) has the entropy .6 log 3."""
    low, high = 0.01, 10.0
    for _ in range(60):
        alpha = np.sqrt(low * high)
        p = np.exp(np.array([0, 0.5, 1]) / alpha)
        p /= p.sum()
        low, high = (alpha, high) if -(p * np.log(p)).sum() < 0.6 * np.log(3) else (low, alpha)
    agent, learned = trained_arms()
    assert np.exp(agent.log_alpha[0]) == pytest.approx(alpha, rel=0.2)
    assert learned == pytest.approx(p, abs=0.05)


@pytest.mark.parametrize("wrong", [{"target_entropy": 0.7}, {"action_noise": "ou"}])
def test_settings_for_box_actions_are_refused(wrong):
    with pytest.raises(npr.ConfigError, match="SAC: .* do not suit 2 Discrete actions"):
        discrete_sac(**wrong)
