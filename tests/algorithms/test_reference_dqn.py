"""DQN and PER-DQN against the same update in scalar loops."""

import numpy as np
import pytest
from support.scalar_reference import (
    NO_CLIP,
    RecordedUpdate,
    Reference,
    assert_close,
    covers_both,
    elu,
    lists,
    make,
    mean,
    network,
    relu,
    square,
    tanh,
    transitions,
)


def argmax(values):
    return values.index(max(values))


def dqn_values(out, dueling):
    if not dueling:
        return out
    V, A = out[0], out[1:]
    return [V + x - mean(A) for x in A]


def dqn_targets(Q, theta, theta_bar, double, batch):
    y, differ = [], []
    for _, _, r, s2, terminated, gamma in zip(*batch):
        q, q2 = Q(theta, s2), Q(theta_bar, s2)
        differ.append(argmax(q) != argmax(q2))
        best = q2[argmax(q)] if double else max(q2)
        y.append(r if terminated else r + gamma * best)
    assert covers_both(differ)  # else double Q would equal plain Q
    return y


def huber(error):
    size = max(error, -error)
    return square(error) / 2 if size < 1 else size - 0.5


def dqn_loss(Q, batch, y, weights):
    s, a = batch[:2]

    def loss(theta):
        return mean(w * huber(Q(theta, x)[i] - z) for x, i, z, w in zip(s, a, y, weights))

    return loss


dqn_cases = pytest.mark.parametrize(
    ("double", "dueling", "activation", "hidden", "max_norm"),
    [
        (False, False, relu, [3], NO_CLIP),
        (False, False, tanh, [3], 0.05),
        (True, False, elu, [3, 2], NO_CLIP),
        (False, True, tanh, [3], NO_CLIP),
        (True, True, relu, [3], NO_CLIP),
    ],
    ids=["plain", "clipped", "double", "dueling", "double dueling"],
)


def dqn(algorithm, double, dueling, activation, hidden, max_norm):
    """An agent, and its Q in scalar loops."""
    name = "tanh" if activation is tanh else activation.__name__
    agent = make(algorithm, "discrete", double=double, dueling=dueling, activation=name,
                 net_arch=hidden, max_grad_norm=max_norm)  # fmt: skip
    net = network(2, *hidden, 3 + dueling, activation=activation)
    return agent, lambda theta, s: dqn_values(net(theta, s), dueling)


@dqn_cases
def test_dqn(monkeypatch, double, dueling, activation, hidden, max_norm):
    agent, Q = dqn("DQN", double, dueling, activation, hidden, max_norm)
    caught = RecordedUpdate(monkeypatch, agent, "theta", "theta_bar", seed=18)
    reference = Reference(agent, "theta", "theta_bar")
    data = transitions("discrete")
    agent.update(*data)

    batch = lists(*data)
    y = dqn_targets(Q, reference.theta, reference.theta_bar, double, batch)
    errors = [Q(reference.theta, s)[a] - z for s, a, z in zip(*batch[:2], y)]
    assert covers_both(abs(e) > 1 for e in errors)
    reference.descend("theta", dqn_loss(Q, batch, y, [1.0] * 6), max_norm)
    reference.agrees(caught)


@dqn_cases
def test_per_dqn(monkeypatch, double, dueling, activation, hidden, max_norm):
    agent, Q = dqn("PERDQN", double, dueling, activation, hidden, max_norm)
    caught = RecordedUpdate(monkeypatch, agent, "theta", "theta_bar", seed=18)
    reference = Reference(agent, "theta", "theta_bar")
    data, w = transitions("discrete"), np.array([1.0, 0.3, 0.7, 0.2, 0.9, 0.5])
    metrics = agent.update(*data, w)

    batch = lists(*data)
    y = dqn_targets(Q, reference.theta, reference.theta_bar, double, batch)
    errors = [z - Q(reference.theta, s)[a] for s, a, z in zip(*batch[:2], y)]
    assert covers_both(abs(e) > 1 for e in errors)
    assert_close(metrics["delta"], np.array(errors))  # the next priorities
    reference.descend("theta", dqn_loss(Q, batch, y, w.tolist()), max_norm)
    reference.agrees(caught)
