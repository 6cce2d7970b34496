"""REINFORCE: steps and returns by hand, an unbiased gradient."""

import numpy as np
import pytest
from support.agent_factories import bandit_policy, gradients, on_policy_agent
from support.oracles import F, check_every_gradient, random_batch, rows
from support.toy_envs import CountingEnv


def test_one_step_of_a_softmax_bandit_by_hand():
    """theta = (0, 0), arm 0, G = 1, step .1: theta = (.05, -.05)."""
    agent = bandit_policy(baseline=False)
    caught = gradients(agent, "adam_theta")
    agent.update(np.zeros((1, 4), F), np.array([0]), rows(1), rows(1))
    assert -0.1 * caught["adam_theta"][0][-2:] == pytest.approx([0.05, -0.05])


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_the_gradient_is_unbiased_with_a_constant_baseline(constant):
    """Rewards (1, 0) and equal probabilities: the expected gradient is (.25, -.25)."""
    agent = bandit_policy(baseline=constant > 0)
    agent.phi[:], agent.phi[-1] = 0, constant
    caught = gradients(agent, "adam_theta", "adam_phi")
    a = np.random.default_rng(0).integers(2, size=100_000)
    agent.update(np.zeros((len(a), 4), F), a, (a == 0).astype(F), np.ones(len(a), F))
    assert -caught["adam_theta"][0][-2:] == pytest.approx([0.25, -0.25], abs=0.01)


@pytest.mark.parametrize(
    ("discount_state", "weighted"), [(False, [2.75, 3.5, 3]), (True, [2.75, 1.75, 0.75])]
)
def test_returns_of_an_episode_by_hand(discount_state, weighted):
    """gamma = .5 and the rewards 1, 2, 3 of CountingEnv."""
    agent = on_policy_agent(
        "REINFORCE", lambda: CountingEnv(0, ((3, "terminated"),)), n_episodes=1, gamma=0.5,
        baseline=False, discount_state=discount_state,
    )  # fmt: skip
    agent.explore = lambda s: np.zeros(len(s), np.int64)
    seen = []
    agent.update = lambda s, a, G, weight: seen.append(weight * G) or {}
    agent.learn(3)
    assert seen[0] == pytest.approx(weighted)


def test_returns_bootstrap_at_a_truncation():
    """The same episode, truncated, with V = 4: 3.25, 4.5, 5."""
    agent = on_policy_agent(
        "REINFORCE", lambda: CountingEnv(0, ((3, "truncated"),)), n_episodes=1, gamma=0.5
    )
    agent.explore = lambda s: np.zeros(len(s), np.int64)
    agent.phi[:], agent.phi[-1] = 0, 4
    seen = []
    agent.update = lambda s, a, G, weight: seen.append(G) or {}
    agent.learn(3)
    assert seen[0] == pytest.approx([3.25, 4.5, 5])


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_reinforce_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = check_every_gradient(monkeypatch, "reinforce")
    agent, rng = (
        on_policy_agent("REINFORCE", env, ent_coef=0.1, vf_epochs=2),
        np.random.default_rng(1),
    )
    s, a, G, _, _ = random_batch(rng, s=agent.observations.size, a=a)
    agent.update(s, a, G, rng.random(7).astype(F))
    assert len(checked) == 3
