"""SAC with Box actions: targets and losses by hand, the temperature, a bandit."""

import numpy as np
import pytest
from support.agent_factories import sac
from support.oracles import (
    F,
    best_tanh_gaussian,
    check_every_gradient,
    random_batch,
    rows,
    u_of_log_prob,
)
from support.toy_envs import Bandit

from npr.autodiff import min as ad_min
from npr.autodiff import stack as ad_stack
from npr.autodiff import value_and_grad
from npr.heads import TanhGaussian


@pytest.mark.parametrize(("terminated", "y"), [(0, 2.6236), (1, 1.0)])
def test_sac_target_by_hand(terminated, y):
    """Critics with the values 2 and 1.5 everywhere, log pi = -.7: y = 1 + .99 (1.5 + .2 x .7)."""
    agent = sac(ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.theta_bar, agent.phi):
        vector[:] = 0
    agent.theta_bar[:, -1] = 2, 1.5
    noise2 = np.array([[u_of_log_prob(-0.7)]], F)
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.99, np.zeros((1, 1), F), noise2)
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-4)  # both critics are zero


def test_sac_actor_loss_by_hand():
    """Q = -2 (a - .3)^2, alpha = .2, mean 0, log std 0, noise 1."""

    def J(out):
        a, logp = TanhGaussian(out).sample(np.ones((1, 1)))
        q = ad_min(ad_stack([-2 * (a[:, 0] - 0.3) ** 2] * 2), axis=0)
        return (0.2 * logp - q).mean()

    loss, g = value_and_grad(J)(np.zeros((1, 2)))
    assert loss == pytest.approx(0.315863, abs=1e-6)
    assert g[0] == pytest.approx([1.080068, 0.880068], abs=1e-6)


def test_sac_takes_the_gradients_of_its_losses(monkeypatch):
    checked = check_every_gradient(monkeypatch, "sac")
    rng = np.random.default_rng(1)
    agent = sac(batch_size=7)
    noise = rng.standard_normal((2, 7, 1)).astype(F)
    theta = agent.theta.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*random_batch(rng, s=3, a=1), 0.99, *noise)
    assert len(checked) == 2
    assert np.array_equal(agent.theta, theta)


@pytest.mark.parametrize(("log_prob", "falls"), [(-1, True), (3, False)])
def test_the_temperature_of_sac_follows_the_target_entropy(log_prob, falls):
    """H_bar = -1: at log pi = -1 the entropy is above the target, at 3 it is below."""
    agent = sac(learning_rate=1e-2)
    agent.phi[:] = 0
    s, a, zero = np.zeros((1, 3), F), np.zeros((1, 1), F), np.zeros((1, 1), F)
    if falls:
        noise = np.array([[u_of_log_prob(log_prob)]], F)
    else:
        agent.phi[-1] = -6  # log std: a density of e^5
        noise = zero
    agent.update(s, a, rows(0), s, rows(1), 0.99, noise, zero)
    assert (agent.log_alpha[0] < 0) == falls


def temperature_of_entropy(target):
    """The alpha whose optimal policy has that entropy, which increases with alpha; by bisection."""
    low, high = 0.01, 3.0
    for _ in range(10):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if best_tanh_gaussian(middle)[1] < target else (low, middle)
    return middle


def trained_bandit(**settings):
    agent = sac(
        Bandit, net_arch=[16, 16], batch_size=64, learning_rate="linear:5e-3:5e-4",
        learning_starts=200, **settings,
    ).learn(4_000)  # fmt: skip
    noise = np.random.default_rng(0).standard_normal((4_000, 1)).astype(F)
    a, logp = agent.pi(agent.phi, np.zeros((4_000, 1), F)).sample(noise)
    return agent, a.mean(), -logp.mean()


def test_sac_with_a_fixed_temperature_learns_the_best_policy():
    mean, entropy = best_tanh_gaussian(0.5)
    _, got_mean, got_entropy = trained_bandit(ent_coef=0.5)
    assert got_mean == pytest.approx(mean, abs=0.05)
    assert got_entropy == pytest.approx(entropy, abs=0.1)


def test_sac_learns_the_temperature_of_its_target_entropy():
    alpha = temperature_of_entropy(-1.0)
    agent, _, entropy = trained_bandit()
    assert entropy == pytest.approx(-1.0, abs=0.15)
    assert np.exp(agent.log_alpha[0]) == pytest.approx(alpha, rel=0.3)
