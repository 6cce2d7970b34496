"""DDPG and TD3 against the same update in scalar loops."""

import numpy as np
import pytest
from support.scalar_reference import (
    RecordedUpdate,
    Reference,
    covers_both,
    critic_values,
    lists,
    make,
    mean,
    mu,
    squared_critic_loss,
    transitions,
)


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3", "REDQ"])
@pytest.mark.parametrize("delayed", [False, True])
def test_ddpg_and_td3(monkeypatch, algorithm, delayed):
    """Some target actions are clipped; a delayed update does not change actor and targets.

    REDQ is TD3 with four critics, of which the target asks two.
    """
    redq, some = algorithm == "REDQ", None
    given = {"n_critics": 4, "n_target_critics": 2} if redq else {}
    algorithm = "TD3" if redq else algorithm
    agent = make(algorithm, "box", activation="elu", tau=0.2, **given)
    names = "theta", "theta_bar", "phi", "phi_bar"
    caught, reference = RecordedUpdate(monkeypatch, agent, *names), Reference(agent, *names)
    data = transitions("box")
    noise = np.zeros((6, 2))
    if algorithm == "TD3":
        noise = np.clip(np.random.default_rng(6).standard_normal((6, 2)), -0.5, 0.5)
    if redq:
        some = np.array([3, 0])
    agent.update(*data, noise, delayed, some)

    s, a, r, s2, terminated, gamma, noise = lists(*data, noise)
    y, first, clipped = [], [], []
    for i in range(6):
        raw = [m + e for m, e in zip(mu(reference.phi_bar, s2[i]), noise[i])]
        a2 = [min(max(x, -1.0), 1.0) for x in raw]
        q = critic_values(reference.theta_bar, s2[i], a2)
        q = q if some is None else [q[3], q[0]]
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * min(q))
        first.append(q[0] == min(q))
        clipped += [x != z for x, z in zip(raw, a2)]
    assert algorithm == "DDPG" or (covers_both(first) and covers_both(clipped))
    reference.descend("theta", squared_critic_loss(s, a, y, 1.0))

    def minus_J(phi):
        q = [critic_values(reference.theta, x, mu(phi, x)) for x in s]
        return -mean(mean(row) if redq else row[0] for row in q)

    if not delayed:
        reference.descend("phi", minus_J)
        reference.follow("theta_bar", "theta", 0.2)
        reference.follow("phi_bar", "phi", 0.2)
    reference.agrees(caught)
