"""A2C: gradients of its losses."""

import numpy as np
import pytest
from support.agent_factories import on_policy_agent
from support.oracles import check_every_gradient, random_batch


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_a2c_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = check_every_gradient(monkeypatch, "a2c")
    agent, rng = on_policy_agent("A2C", env, ent_coef=0.1), np.random.default_rng(1)
    s, a, A, R, _ = random_batch(rng, s=agent.observations.size, a=a)
    agent.update(s, a, A, R[:, 0])
    assert len(checked) == 2
