"""Q actor-critic: critic and actor steps by hand."""

import copy
import math

import gymnasium.spaces as gs
import numpy as np
import pytest
from support.agent_factories import gradients, on_policy_agent
from support.oracles import F, check_every_gradient, rows
from support.small_agents import RandomEnv
from support.toy_envs import CountingEnv

import npr

SPACES = {
    "Discrete": gs.Discrete(3, start=-1),
    "Box": gs.Box(np.array([-2, 0], F), np.array([1, 5], F)),
    "MultiDiscrete": gs.MultiDiscrete([3, 1, 4]),
    "MultiDiscrete in a square": gs.MultiDiscrete([[2, 3], [4, 2]]),
    "MultiBinary": gs.MultiBinary(3),
    "MultiBinary in a square": gs.MultiBinary((2, 2)),
}


# ---- Q actor-critic


def set_q_values(agent, values):
    """Set the biases of a linear critic: the same values in all states."""
    agent.w[:], agent.w[-2:] = 0, values


def q_batch(*steps):
    """Columns (T, 1, ...) of steps (a, r, a2, terminated) of CartPole."""
    a, r, a2, terminated = zip(*steps)
    T = len(steps)
    zeros, valid = np.zeros((T, 1, 4), F), np.ones((T, 1), bool)
    column = [np.array(x)[:, None] for x in (a, r, a2, terminated)]
    return zeros, column[0], rows(*r)[:, None], zeros, column[2], rows(*terminated)[:, None], valid


@pytest.mark.parametrize(("terminated", "delta"), [(0, 1.8), (1, 0.0)])
def test_the_critic_is_updated_with_the_td_error_of_sarsa(terminated, delta):
    """Q(s, a) = 1, Q(s2, a2) = 2, r = 1, gamma = .9: delta = 1.8, and Q is 1.18 after a step of
    .1; at a termination the target is the reward."""
    agent = on_policy_agent("QActorCritic", net_arch=[], gamma=0.9, max_grad_norm=1e6)
    set_q_values(agent, (1, 2))
    caught = gradients(agent, "adam_w", "adam_theta")
    agent.update(*q_batch((0, 1.0, 1, terminated)), [])
    assert -caught["adam_w"][0][-2:] == pytest.approx([delta, 0], abs=1e-6)
    assert 1 - 0.1 * caught["adam_w"][0][-2] == pytest.approx(1 + 0.1 * delta)


def test_steps_are_updated_from_the_last_to_the_first():
    """Backwards: the second step raises Q(., 1) before the first one bootstraps from it."""
    agent = on_policy_agent("QActorCritic", net_arch=[], gamma=1.0, max_grad_norm=1e6)
    set_q_values(agent, (0, 0))
    agent.adam_w = npr.optim.SGD(agent.w, learning_rate=1.0)
    gradients(agent, "adam_theta")
    agent.update(*q_batch((0, 0.0, 1, 0), (1, 3.0, 0, 1)), [])
    assert agent.w[-2:] == pytest.approx([3, 3])


@pytest.mark.parametrize(("baseline", "weights"), [(True, [-1.5, 0.5]), (False, [1, 3])])
def test_the_actor_is_weighted_by_q_minus_its_mean(baseline, weights):
    """Q = (1, 3), pi = (.25, .75): the advantages are -1.5 and .5, whose mean under pi is 0; the
    entropy of pi is .562335."""
    agent = on_policy_agent("QActorCritic", net_arch=[], baseline=baseline, learning_rate=0.0)
    set_q_values(agent, (1, 3))
    agent.theta[:], agent.theta[-1] = 0, math.log(3)
    seen = gradients(agent, "adam_theta")["adam_theta"]
    for a in (0, 1):
        metrics = agent.update(*q_batch((a, 0.0, 0, 0)), [])
        assert metrics["policy_gradient_loss"] == pytest.approx(
            -weights[a] * math.log([0.25, 0.75][a]), rel=1e-5
        )
    assert metrics["entropy_loss"] == pytest.approx(-0.562335, abs=1e-6)
    assert len(seen) == 2


def test_the_next_action_is_the_action_taken():
    plan = ((3, "terminated"), (2, "truncated"))
    agent = on_policy_agent("QActorCritic", lambda: CountingEnv(0, plan), n_steps=12)
    seen = []
    agent.update = lambda *data: seen.append(copy.deepcopy(data)) or {}
    agent.learn(24)
    for s, a, _, s2, a2, _, _, _ in seen:
        follows = np.flatnonzero((s[1:, 0] == s2[:-1, 0]).all(axis=-1))
        assert len(follows) > 4 and np.array_equal(a2[follows], a[follows + 1])


@pytest.mark.parametrize("kind", ["Discrete", "Box", "MultiDiscrete", "MultiBinary"])
def test_q_actor_critic_takes_the_gradients_of_its_losses(monkeypatch, kind):
    checked = check_every_gradient(monkeypatch, "q_actor_critic")
    agent = on_policy_agent(
        "QActorCritic", lambda: RandomEnv(gs.Box(-1, 1, (2,), F), SPACES[kind]), n_envs=3, n_steps=4
    )
    agent.learn(12)
    assert len(checked) == 5
