"""DQN: targets by hand, gradients, n-step returns, a linear case with a known optimum."""

import numpy as np
import pytest
from support.agent_factories import dqn
from support.oracles import F, check_every_gradient, random_batch, rows
from support.toy_envs import TwoStates

from npr.buffers import ReplayBuffer


@pytest.mark.parametrize(
    ("double", "terminated", "y"), [(False, 0, 2.8), (True, 0, 2.35), (False, 1, 1), (True, 1, 1)]
)
def test_dqn_target_by_hand(double, terminated, y):
    agent = dqn(double=double)
    values = {"theta": rows(1, 3), "theta_bar": rows(2, 1.5)}
    agent.Q = lambda theta, s: values["theta" if theta is agent.theta else "theta_bar"][None]
    got = agent.target(rows(1), np.zeros((1, 4), F), rows(terminated), 0.9)
    assert got == pytest.approx(y)


def test_dqn_takes_the_gradient_of_its_loss(monkeypatch):
    checked = check_every_gradient(monkeypatch, "dqn")
    agent, rng = dqn(), np.random.default_rng(1)
    before = agent.theta.copy()
    agent.update(*random_batch(rng), 0.99)
    assert len(checked) == 1 and not np.array_equal(agent.theta, before)


@pytest.mark.parametrize(
    ("ended", "r", "power"),
    [(None, 1 + 0.9 * 2 + 0.81 * 3, 0.729), (2, 1 + 0.9 * 2, 0.81), (1, 1.0, 0.9)],
)
def test_n_step_return_by_hand(ended, r, power):
    """r = 1, 2, 3 in one episode, or one that ends after `ended` steps."""
    buffer = ReplayBuffer(10, 1, gamma=0.9, n_step=3)
    episode = 0
    for t in range(4):
        s, s2 = np.full((1, 1), t, F), np.full((1, 1), t + 0.5, F)
        buffer.add(s, np.zeros(1, int), rows(t + 1), s2, rows(t + 1 == ended), np.array([episode]))
        episode += t + 1 == ended
    s, a, got, s2, terminated, gamma = buffer.sample(200, np.random.default_rng(0))
    first = s[:, 0] == 0
    assert got[first] == pytest.approx(r) and gamma[first] == pytest.approx(power)
    steps = ended or 3
    assert (s2[first] == steps - 0.5).all()  # the true observation after the last step
    assert (terminated[first] == (ended is not None)).all()


def test_linear_dqn_reaches_the_optimum_of_dynamic_programming():
    """One-hot states and no hidden layer are a table. Episodes are truncated at 20 steps, so that a
    truncation treated as a termination would be detected."""
    agent = dqn(
        TwoStates, net_arch=[], gamma=0.9, max_episode_steps=20, learning_rate="linear:0.05:0.001",
        batch_size=32, buffer_size=5_000, learning_starts=200, train_freq=1,
        exploration_final_eps=1.0, target_update_interval=50, max_grad_norm=1e6,
    )  # fmt: skip
    agent.learn(6_000)
    assert np.abs(agent.Q(agent.theta, np.eye(2, dtype=F)) - TwoStates.Q_STAR).max() < 1e-2
