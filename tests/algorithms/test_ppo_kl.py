"""PPO with a KL penalty: gradients, the adaptive coefficient, early stopping."""

import math

import numpy as np
import pytest
from support.agent_factories import bandit_policy, on_policy_agent
from support.oracles import F, check_every_gradient, random_batch, rows

import npr
from npr.autodiff import stop_gradient
from npr.heads import Categorical


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_ppo_kl_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = check_every_gradient(monkeypatch, "ppo_kl")
    agent, rng = on_policy_agent("PPOKL", env, ent_coef=0.1), np.random.default_rng(1)
    s, a, A, R, _ = random_batch(rng, s=agent.observations.size, a=a)
    out_old = agent.actor(agent.theta, s)
    out_old = out_old + rng.normal(0, 0.3, out_old.shape).astype(F)
    agent.update(s, a, A, R[:, 0], agent.head(out_old).log_prob(a), out_old, 0.7)
    assert len(checked) == 2


@pytest.mark.parametrize(
    ("d", "factor"), [(0.0151, 2), (0.0149, 1), (0.01, 1), (0.0067, 1), (0.0066, 0.5)]
)
def test_the_coefficient_is_adapted_to_the_divergence(d, factor):
    agent = on_policy_agent("PPOKL", target_kl=0.01, kl_coef=0.3)
    agent.adapt(d)
    assert agent.kl_weight[0] == pytest.approx(0.3 * factor)


def test_the_coefficient_stays_in_its_range():
    agent = on_policy_agent("PPOKL")
    for d, end in ((1.0, 100), (0.0, 1e-4)):
        for _ in range(30):
            agent.adapt(d)
        assert agent.kl_weight[0] == end


def test_the_coefficient_is_adapted_once_per_rollout(tmp_path):
    agent = on_policy_agent(
        "PPOKL", n_epochs=5, target_kl=1e3
    )  # never reached: halved after each rollout
    agent.learn(24)
    assert agent.kl_weight[0] == 1 / 8
    agent.save(tmp_path / "agent.npz")
    assert npr.load(tmp_path / "agent.npz").kl_weight[0] == 1 / 8


def test_epochs_stop_if_the_divergence_is_too_large():
    agent = on_policy_agent("PPOKL", n_epochs=50, target_kl=1e-9, learning_rate=0.01, batch_size=8)
    agent.learn(8)
    assert agent.n_updates == 1


def test_the_divergence_is_zero_at_the_start_of_a_rollout():
    agent = on_policy_agent("PPOKL")
    s = np.random.default_rng(0).standard_normal((5, 4)).astype(F)
    assert agent.divergence(s, agent.actor(agent.theta, s)) == pytest.approx(0, abs=1e-7)


def test_the_penalty_is_the_forward_kl_on_a_two_armed_bandit():
    """pi_old = (1/2, 1/2), A = (1, -1), lambda = 1. With p the new probability of arm 0, the mean
    of ratio times A is 2p - 1 and KL(old || new) = -1/2 log(4 p (1 - p)); the derivative of their
    difference is zero where (2p - 1) / (p - p^2) = 4: p = (1 + sqrt 5) / 4 = .809. KL(new || old)
    would stop at 1 / (1 + e^-2) = .881."""
    agent = bandit_policy("PPOKL", learning_rate="linear:0.02")
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    logp_old, out_old = np.log(rows(0.5, 0.5)), np.zeros((2, 2), F)
    for _ in range(600):
        agent.update(s, a, rows(1, -1), rows(0, 0), logp_old, out_old, 1.0)
    p = np.exp(Categorical(stop_gradient(agent.actor(agent.theta, s[:1]))).logp[0, 0])
    assert p == pytest.approx((1 + math.sqrt(5)) / 4, abs=0.005)
