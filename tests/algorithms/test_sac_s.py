"""SAC-S: targets by hand, gradients, a bandit with a known optimum."""

import numpy as np
import pytest
from support.agent_factories import sacs
from support.oracles import (
    F,
    best_tanh_gaussian,
    check_every_gradient,
    random_batch,
    rows,
    u_of_log_prob,
)
from support.toy_envs import Bandit


def test_the_target_of_the_value_network_by_hand():
    """Critic values 2 and 1.5, log pi = -.7, alpha = .2: y = 1.5 + .14, no reward or discount."""
    agent = sacs(ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.phi, agent.psi, agent.psi_bar):
        vector[:] = 0
    agent.theta[:, -1] = 2, 1.5
    noise = np.array([[u_of_log_prob(-0.7)]], F)
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(0), 0.99, noise)
    assert loss["value_loss"] == pytest.approx(0.5 * 1.64**2, rel=1e-4)


@pytest.mark.parametrize(("terminated", "y"), [(0, 2.98), (1, 1.0)])
def test_the_target_of_the_critics_by_hand(terminated, y):
    """V_bar = 2, r = 1: both critics are zero, and their losses are summed."""
    agent = sacs(learning_rate=0.0)
    for vector in (agent.theta, agent.phi, agent.psi, agent.psi_bar):
        vector[:] = 0
    agent.psi_bar[-1] = 2
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.99, np.zeros((1, 1), F))
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-5)


def test_sac_s_takes_the_gradients_of_its_losses(monkeypatch):
    checked = check_every_gradient(monkeypatch, "sac_s")
    agent, rng = sacs(batch_size=7, tau=0.25), np.random.default_rng(1)
    theta, psi_bar = agent.theta.copy(), agent.psi_bar.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*random_batch(rng, s=3, a=1), 0.99, agent.noise())
    assert len(checked) == 3
    assert np.array_equal(agent.theta, theta)
    assert agent.psi_bar == pytest.approx(0.25 * agent.psi + 0.75 * psi_bar)


def test_sac_s_learns_the_best_policy_of_a_bandit_and_its_value():
    mean, entropy = best_tanh_gaussian(0.5)
    agent = sacs(
        Bandit, net_arch=[16, 16], batch_size=64, learning_rate="linear:5e-3:5e-4",
        learning_starts=200, ent_coef=0.5,
    ).learn(4_000)  # fmt: skip
    noise = np.random.default_rng(0).standard_normal((4_000, 1)).astype(F)
    a, logp = agent.pi(agent.phi, np.zeros((4_000, 1), F)).sample(noise)
    assert a.mean() == pytest.approx(mean, abs=0.05)
    assert -logp.mean() == pytest.approx(entropy, abs=0.1)
    value = (-4 * (a[:, 0] - 0.3) ** 2 - 0.5 * logp).mean()
    assert agent.V(agent.psi, np.zeros((1, 1), F))[0] == pytest.approx(value, abs=0.1)
