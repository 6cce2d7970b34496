"""DDPG and TD3: targets by hand, gradients, delayed updates, a bandit."""

import numpy as np
import pytest
from support.agent_factories import ddpg
from support.oracles import F, check_every_gradient, random_batch, rows
from support.toy_envs import Bandit

import npr
from npr.autodiff import value_and_grad


def test_the_deterministic_policy_gradient_by_hand():
    """mu = w s with w = .5, s = 1, Q = -(a - 2)^2: dJ/dw = 3, and one step of .1 leads to .8."""

    def minus_J(w):
        return ((w * 1.0 - 2.0) ** 2).mean()

    w = np.array([0.5])
    _, g = value_and_grad(minus_J)(w)
    npr.optim.SGD(w, 0.1).step(w, g)
    assert -g[0] == pytest.approx(3) and w[0] == pytest.approx(0.8)


@pytest.mark.parametrize(("terminated", "y"), [(0, -1.304), (1, 1.0)])
def test_ddpg_target_by_hand(terminated, y):
    """Q = -(2 a - 2)^2 at the target's action .2, r = 1, gamma = .9."""
    agent = ddpg(learning_rate=0.0)
    agent.theta[:] = 0
    agent.mu = lambda phi, s: np.full((1, 1), 0.2, F)
    Q = agent.Q
    agent.Q = lambda theta, s, a: (
        -((2 * a[:, 0] - 2) ** 2)[None] if theta is agent.theta_bar else Q(theta, s, a)
    )
    s, a, zero = np.zeros((1, 3), F), np.zeros((1, 1), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.9, zero, delayed=True)
    assert loss["critic_loss"] == pytest.approx(y**2 if terminated else (1 - 0.9 * 2.56) ** 2)
    assert terminated or pytest.approx(y) == 1 - 0.9 * 2.56


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
def test_ddpg_takes_the_gradients_of_its_losses(monkeypatch, algorithm):
    checked = check_every_gradient(monkeypatch, "ddpg")
    rng = np.random.default_rng(1)
    agent = ddpg(algorithm=algorithm, batch_size=7)
    theta, phi = agent.theta.copy(), agent.phi.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*random_batch(rng, s=3, a=1), 0.99, agent.target_noise())
    assert len(checked) == 2
    assert np.array_equal(agent.theta, theta) and not np.array_equal(agent.phi, phi)


def test_td3_updates_actor_and_targets_every_second_time():
    agent = ddpg(algorithm="TD3", batch_size=4, learning_starts=4)
    seen, update = [], agent.update
    agent.update = lambda *batch: seen.append(update(*batch)) or seen[-1]
    agent.learn(12)
    assert ["actor_loss" in metrics for metrics in seen] == [True, False] * 4 + [True]


def test_ddpg_finds_the_best_action_of_a_bandit():
    agent = ddpg(
        Bandit, net_arch=[32, 32], batch_size=64, learning_rate="linear:3e-3:1e-4",
        learning_starts=500,
    ).learn(2_500)  # fmt: skip
    assert agent.act(np.zeros(1, F))[0] == pytest.approx(0.3, abs=0.05)
