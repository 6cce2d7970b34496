"""Time limits are not terminal states: V = 1 / (1 - 0.9) = 10 although episodes are truncated."""

import numpy as np
import pytest
from support.agent_factories import (
    ddpg,
    discrete_sac,
    dqn,
    off_policy_agent,
    on_policy_agent,
    ppo,
    sac,
)
from support.oracles import F
from support.toy_envs import ConstantBox, ConstantReward, TwoStates

import npr


@pytest.mark.parametrize("name", ["QLearning", "Sarsa"])
def test_time_limits_are_not_terminal_for_tables(name):
    class Table(ConstantReward):
        observation_space = None

        def __init__(self):
            super().__init__(10)
            self.observation_space = TwoStates().observation_space

        def reset(self, **kwargs):
            super().reset(**kwargs)
            return 0, {}

        def step(self, action):
            return 0, *super().step(action)[1:]

    agent = getattr(npr, name)(Table, seed=0, verbose=0, gamma=0.9, learning_rate=0.5)
    agent.learn(2_000)
    assert agent.Q[0] == pytest.approx([10, 10], rel=0.01)


@pytest.mark.parametrize("name", ["DQN", "PERDQN"])
@pytest.mark.parametrize("n_step", [1, 3])
def test_time_limits_are_not_terminal_for_dqn(name, n_step):
    agent = getattr(npr, name)(
        lambda: ConstantReward(10), seed=0, verbose=0, gamma=0.9, net_arch=[], max_grad_norm=1e6,
        learning_rate=0.05, learning_starts=100, train_freq=1, target_update_interval=20,
        n_step_return=n_step, buffer_size=2_000,
    ).learn(2_500)  # fmt: skip
    assert agent.Q(agent.theta, np.ones((1, 1), F)).max() == pytest.approx(10, rel=0.01)


def test_time_limits_are_not_terminal_for_ppo():
    agent = ppo(
        lambda: ConstantReward(10), gamma=0.9, net_arch=[], learning_rate="linear:0.1:0.01",
        n_steps=32, batch_size=32, n_epochs=4, max_grad_norm=1e6,
    ).learn(6_000)  # fmt: skip
    assert agent.V(agent.phi, np.ones((1, 1), F))[0] == pytest.approx(10, rel=0.01)


def test_time_limits_are_not_terminal_for_sac():
    """With a negligible temperature the soft value is the value."""
    agent = sac(
        ConstantBox, gamma=0.9, ent_coef=1e-6, learning_rate=0.02, batch_size=32, tau=0.05,
        learning_starts=50,
    ).learn(1_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q[:, 0] == pytest.approx([10, 10], rel=0.01)


def test_termination_is_terminal_for_dqn():
    """Termination after ten steps: of ten targets nine are 1 + .9 Q and one is 1. The derivative of
    Huber's loss is the error clipped to one, so Q converges where .9 (1 + .9 Q - Q) - .1 = 0, at
    80/9 = 8.889."""
    agent = dqn(
        lambda: ConstantReward(10, both=True), gamma=0.9, net_arch=[], batch_size=256,
        learning_rate="linear:0.1:0.001", learning_starts=1_000, train_freq=1, buffer_size=1_000,
        target_update_interval=20, max_grad_norm=1e6,
    ).learn(5_000)  # fmt: skip
    assert agent.Q(agent.theta, np.ones((1, 1), F)).mean() == pytest.approx(80 / 9, abs=0.15)


def test_termination_is_terminal_for_sac():
    """The mean of targets is Q = 1 + .9 (.9 Q) = 5.263158; the smaller of two critics is slightly
    below. Without the mask it would be 10."""
    agent = sac(
        lambda: ConstantBox(both=True), gamma=0.9, ent_coef=1e-6, batch_size=256, tau=0.05,
        learning_rate="linear:0.02:0.001", learning_starts=50, buffer_size=1_000,
    ).learn(2_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q.mean() == pytest.approx(5.263158, abs=0.5)


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
def test_time_limits_are_not_terminal_for_ddpg(algorithm):
    agent = ddpg(
        ConstantBox, algorithm, gamma=0.9, learning_rate="linear:0.02:0.001", batch_size=32,
        tau=0.05, learning_starts=50,
    ).learn(1_500 if algorithm == "DDPG" else 4_000)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q.ravel() == pytest.approx([10] * len(q), rel=0.01)


@pytest.mark.parametrize("name", ["REINFORCE", "A2C", "PPO", "PPOKL"])
def test_time_limits_are_not_terminal_on_policy(name):
    """V = 1 / (1 - .9) = 10 although episodes are truncated after ten steps."""
    longer = {"PPO": {"n_steps": 32, "batch_size": 32}, "PPOKL": {"n_steps": 32, "batch_size": 32}}
    agent = on_policy_agent(
        name, lambda: ConstantReward(10), gamma=0.9, net_arch=[], learning_rate="linear:0.1:0.01",
        max_grad_norm=1e6, **longer.get(name, {}),
    ).learn(8_000)  # fmt: skip
    assert agent.V(agent.phi, np.ones((1, 1), F))[0] == pytest.approx(10, rel=0.01)


def test_time_limits_are_not_terminal_for_the_q_critic():
    agent = on_policy_agent(
        "QActorCritic", lambda: ConstantReward(10), gamma=0.9, net_arch=[], n_steps=20,
        learning_rate="linear:0.1:0.01", max_grad_norm=1e6, ent_coef=1.0,
    ).learn(4_000)  # fmt: skip
    q = agent.Q(agent.w, np.ones((1, 1), F))[0]
    assert q == pytest.approx([10, 10], rel=0.01)


@pytest.mark.parametrize("name", ["SACS", "SoftQ"])
def test_time_limits_are_not_terminal_soft(name):
    """V = 10 at a negligible temperature; that of SoftQ includes alpha times the log-volume."""
    alpha = {"SACS": 1e-6, "SoftQ": 1e-2}[name]
    agent = off_policy_agent(
        name, ConstantBox, gamma=0.9, ent_coef=alpha, learning_rate="linear:0.02:0.002",
        batch_size=32, tau=0.05, learning_starts=50,
        **({"target_update_interval": 1} if name == "SoftQ" else {}),
    ).learn(2_000)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    expected = 10 if name == "SACS" else 10 + 0.9 * alpha * np.log(2) / 0.1
    assert q == pytest.approx(expected, rel=0.01)


def test_time_limits_are_not_terminal_for_discrete_soft_q():
    """Two equal actions: V = (1 + alpha log 2) / (1 - .9)."""
    agent = off_policy_agent(
        "SoftQ", lambda: ConstantReward(10), gamma=0.9, net_arch=[], ent_coef=1.0,
        learning_rate="linear:0.1:0.01", batch_size=32, learning_starts=50,
        target_update_interval=10,
    ).learn(1_500)  # fmt: skip
    v = agent.V(agent.theta, np.ones((1, 1), F), None)
    assert v == pytest.approx(10 * (1 + np.log(2)), rel=0.01)


def test_time_limits_are_not_terminal_for_discrete_sac():
    agent = discrete_sac(
        lambda: ConstantReward(10), gamma=0.9, ent_coef=1e-6, learning_rate=0.02, batch_size=32,
        tau=0.05, learning_starts=50,
    ).learn(1_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F))
    assert q.ravel() == pytest.approx([10] * 4, rel=0.01)
