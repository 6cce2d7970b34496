"""Sarsa and expected Sarsa: steps by hand and the best epsilon-greedy policy."""

import numpy as np
import pytest
from support.agent_factories import sarsa
from support.toy_envs import TwoStates


@pytest.mark.parametrize(("expected", "value"), [(False, 1.27), (True, 1.441)])
def test_sarsa_steps_by_hand(expected, value):
    """a2 = 0: the target is 1 + .9 x 3; the mean over an epsilon of .1: 1 + .9 x 4.9."""
    agent = sarsa(
        learning_rate=0.1, gamma=0.9, expected=expected, exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
    )  # fmt: skip
    agent.Q[:] = [[1, 2], [3, 5]]
    agent.update(0, 0, 1.0, 1, 0, False, gamma=0.9, episode=0)
    assert agent.Q[0, 0] == pytest.approx(value)


def soft_optimum(epsilon, gamma=0.9):
    """The action values of the best epsilon-greedy policy in TwoStates, by dynamic programming."""
    Q = np.zeros((2, 2))
    for _ in range(1_000):
        v = (1 - epsilon) * Q.max(axis=1) + epsilon * Q.mean(axis=1)
        Q = np.array([[gamma * v[0], 1 + gamma * v[1]], [2 + gamma * v[0], 3.0]])
    return Q


@pytest.mark.parametrize("expected", [False, True])
def test_sarsa_converges_to_the_best_epsilon_greedy_policy(expected):
    target = soft_optimum(0.3)
    assert np.abs(target - TwoStates.Q_STAR).max() > 1
    agent = sarsa(
        gamma=0.9, learning_rate="linear:0.2:0.002", expected=expected, max_episode_steps=20,
        exploration_initial_eps=0.3, exploration_final_eps=0.3,
    ).learn(20_000)  # fmt: skip
    assert np.abs(agent.Q - target).max() < (0.02 if expected else 0.3)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsa_takes_the_action_of_its_update(n_envs):
    agent = sarsa(n_envs=n_envs, exploration_final_eps=1.0)
    learned, taken = {}, []
    original = agent.update

    def update(s, a, r, s2, a2, terminated, *rest):
        learned.setdefault("rows", []).append((int(s2), int(a2), bool(terminated)))
        taken.append((int(s), int(a)))
        original(s, a, r, s2, a2, terminated, *rest)

    agent.update = update
    agent.learn(60 * n_envs)
    for i in range(n_envs):  # one environment after the other
        rows, actions = learned["rows"][i::n_envs], taken[i::n_envs]
        for (s2, a2, ended), (s, a) in zip(rows, actions[1:]):
            assert ended or (s, a) == (s2, a2)
