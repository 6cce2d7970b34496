"""Dual numbers, and Q-learning and Sarsa against scalar loops."""

import math

import numpy as np
import pytest
from support.scalar_reference import assert_close, exp, gradient, log, square, tanh
from support.toy_envs import TwoStates

import npr


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: 2 - x, -1),
        (lambda x: 1 + x * x * x, 3 * 0.49),
        (lambda x: 3 / x, -3 / 0.49),
        (lambda x: x / (1 + x), 1 / 1.7**2),
        (lambda x: exp(2 * x), 2 * math.exp(1.4)),
        (lambda x: log(x) - x, 1 / 0.7 - 1),
        (lambda x: tanh(x), 1 / math.cosh(0.7) ** 2),
        (lambda x: max(x, 0.5) + min(x, 0.5), 1),
        (lambda x: 4.0, 0),
    ],
    ids=["minus", "times", "over", "ratio", "exp", "log", "tanh", "max, min", "constant"],
)
def test_dual_numbers(f, slope):
    value, g = gradient(lambda x: f(x[0]), [0.7])
    assert value == f(0.7) and g[0] == pytest.approx(slope, rel=1e-14)


# ---- tables


def table_step(Q, s, a, y, rate):
    """One step of gradient descent on 1/2 (y - Q[s][a])^2 in the table."""
    _, g = gradient(lambda Q: square(y - Q[s][a]) / 2, Q)
    return (np.array(Q) - rate * g).tolist()


WALK = [(0, 1, 1.0, 1, 0), (1, 0, 2.0, 0, 0), (0, 0, -0.5, 0, 0), (0, 1, 1.0, 1, 0),
        (1, 1, 3.0, 0, 1), (1, 0, 2.0, 0, 1)]  # fmt: skip


def test_q_learning():
    agent = npr.QLearning(TwoStates, seed=0, verbose=0, learning_rate=0.3, gamma=0.9)
    agent.Q[:] = [[0.5, -1.0], [2.0, 1.5]]
    Q = agent.Q.tolist()
    for s, a, r, s2, terminated in WALK:
        agent.update(s, a, r, s2, terminated, gamma=0.9, episode=0)
        y = r if terminated else r + 0.9 * max(Q[s2])
        Q = table_step(Q, s, a, y, 0.3)
        assert_close(agent.Q, np.array(Q))


@pytest.mark.parametrize("expected", [False, True])
def test_sarsa(expected):
    """Expected Sarsa: with probability .4 a uniform action, else the better one."""
    agent = npr.Sarsa(
        TwoStates, seed=0, verbose=0, learning_rate=0.3, gamma=0.9, expected=expected,
        exploration_initial_eps=0.4, exploration_final_eps=0.4,
    )  # fmt: skip
    agent.Q[:] = [[0.5, -1.0], [2.0, 1.5]]
    Q = agent.Q.tolist()
    for (s, a, r, s2, terminated), a2 in zip(WALK, [0, 1, 1, 0, 0, 1]):
        agent.update(s, a, r, s2, a2, terminated, gamma=0.9, episode=0)
        chances = [0.8 if q == max(Q[s2]) else 0.2 for q in Q[s2]]
        value = sum(p * q for p, q in zip(chances, Q[s2])) if expected else Q[s2][a2]
        y = r if terminated else r + 0.9 * value
        Q = table_step(Q, s, a, y, 0.3)
        assert_close(agent.Q, np.array(Q))
