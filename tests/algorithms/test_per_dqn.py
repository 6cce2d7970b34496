"""PER-DQN: weights of the loss, priorities, gradients."""

import numpy as np
import pytest
from support.agent_factories import per_dqn
from support.oracles import F, check_every_gradient, random_batch, rows

import npr


def test_importance_weights_multiply_the_losses():
    """y = 3, 1, Q = 2, 3, w = 1, .5: the derivative of Huber's loss is the error clipped to one, so
    the gradients in Q are -1 and .5, divided by the batch size two."""
    agent = per_dqn(net_arch=[], double=False)
    seen = {}
    agent.adam.step = lambda theta, g: seen.update(g=g.copy())
    agent.theta[:] = 0
    agent.theta[-2:] = 2, 3  # the biases are the action values
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    metrics = agent.update(s, a, rows(3, 1), s, rows(1, 1), 0.99, rows(1, 0.5))
    assert metrics["delta"] == pytest.approx([1, -2])
    assert seen["g"][-2:] == pytest.approx([-0.5, 0.25])
    assert metrics["loss"] == pytest.approx((0.5 + 0.5 * 1.5) / 2)


def test_priorities_are_updated_with_the_td_errors():
    agent = per_dqn(learning_starts=20, batch_size=8, per_alpha=1.0).learn(60)
    tree = agent.buffer.tree
    assert len(set(tree[:60].tolist())) > 10
    assert (tree[:60] > 0).all() and (tree[60:] == 0).all()


def test_per_dqn_takes_the_gradient_of_its_loss(monkeypatch):
    checked = check_every_gradient(monkeypatch, "per_dqn")
    agent, rng = per_dqn(), np.random.default_rng(1)
    agent.update(*random_batch(rng), 0.99, rng.random(7).astype(F))
    assert len(checked) == 1


def test_an_unknown_normalization_is_refused():
    with pytest.raises(npr.ConfigError, match="PERDQN: per_normalization must be 'batch' or"):
        per_dqn(per_normalization="sum")
