"""Updates keep the type of the parameters, whatever type settings and batches have."""

import numpy as np
import pytest
from support.small_agents import CASES, TABLES, next_update, small_agent

from npr.optim import Optimizer

every_network = pytest.mark.parametrize("case", [case for case in CASES if case not in TABLES])


@pytest.fixture
def steps(monkeypatch):
    """[(type of theta, type of g), ...] of every step of an optimizer."""
    seen = []

    def watched(step):
        def watch(self, theta, g):
            seen.append((theta.dtype, g.dtype))
            return step(self, theta, g)

        return watch

    for optimizer in Optimizer.__subclasses__():
        monkeypatch.setattr(optimizer, "step", watched(optimizer.step))
    return seen


@every_network
def test_float64_batches_and_settings_give_gradients_of_the_parameters_type(case, steps):
    agent = small_agent(case, gamma=np.float64(0.97), learning_rate=np.float64(1e-3))
    for name in ("ent_coef", "vf_coef", "kl_target"):
        value = getattr(agent, name, None)
        if isinstance(value, float) and not agent.settings[name].fixed:
            setattr(agent, name, np.float64(value))
    batch = next_update(agent)
    steps.clear()
    agent.update(*(x.astype(np.float64) if _floats(x) else x for x in batch))
    assert steps and all(theta == g for theta, g in steps)


def _floats(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
