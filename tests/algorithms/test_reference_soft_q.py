"""Soft Q-learning and its sampler against the same update in scalar loops."""

import math

import numpy as np
import pytest
from support.scalar_reference import (
    RecordedUpdate,
    Reference,
    critic,
    elu,
    exp,
    gradient,
    lists,
    log,
    log_slope,
    make,
    mean,
    network,
    square,
    tanh,
    transitions,
)


def test_soft_q_with_discrete_actions(monkeypatch):
    agent = make("SoftQ", "discrete", activation="elu", ent_coef=0.4)
    caught = RecordedUpdate(monkeypatch, agent, "theta", "theta_bar")
    reference, Q = Reference(agent, "theta", "theta_bar"), network(2, 3, 3, activation=elu)
    data = transitions("discrete")
    agent.update(*data, None, None)

    s, a, r, s2, terminated, gamma = lists(*data)
    y = []
    for i in range(6):
        v = 0.4 * log(sum(exp(q / 0.4) for q in Q(reference.theta_bar, s2[i])))
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * v)
    reference.descend(
        "theta", lambda theta: mean(square(z - Q(theta, x)[i]) / 2 for x, i, z in zip(s, a, y))
    )
    reference.agrees(caught)


def squared_distance(x, y):
    return sum(square(p - q) for p, q in zip(x, y))


def bandwidth(fixed, updated):
    """The lower median of squared distances over the log of the number of fixed particles."""
    distances = sorted(squared_distance(x, y) for x in fixed for y in updated)
    return max(distances[(len(distances) - 1) // 2] / math.log(len(fixed)), 1e-3)


def log_p(theta, s, x, alpha, space):
    """The log density that particles follow at s, up to a constant."""
    a = [tanh(u) for u in x] if space == "u" else x
    energy = critic(theta, s, a)[0] / alpha
    if space == "u":
        return energy + sum(log_slope(u) for u in x)
    if space == "legacy":
        return energy + sum(log(1 - square(u) + 1e-6) for u in x)
    return energy


def svgd_directions(theta, s, fixed, updated, alpha, space):
    """Delta_i of every updated particle, and the bandwidth."""
    h = bandwidth(fixed, updated)
    directions = []
    for x in updated:
        terms = []
        for z in fixed:
            _, score = gradient(lambda z: log_p(theta, s, z, alpha, space), z)
            k, slope = gradient(lambda z, x=x: exp(-squared_distance(z, x) / h), z)
            terms.append([k * p + q for p, q in zip(score.tolist(), slope.tolist())])
        directions.append([mean(term[d] for term in terms) for d in range(2)])
    return directions, h


@pytest.mark.parametrize("space", ["u", "legacy", "a"])
def test_soft_q_with_box_actions(monkeypatch, space):
    """Two of five particles are updated, after the step of the critics."""
    agent = make("SoftQ", "box", activation="elu", ent_coef=0.4, svgd_space=space, n_particles=5,
                 kernel_update_ratio=0.4, value_n_particles=4)  # fmt: skip
    names = "theta", "theta_bar", "phi"
    caught, reference = RecordedUpdate(monkeypatch, agent, *names), Reference(agent, *names)
    data, rng = transitions("box"), np.random.default_rng(7)
    a2, xi = rng.uniform(-1, 1, (4, 2)), rng.standard_normal((6, 5, 2))
    metrics = agent.update(*data, a2, xi)

    s, a, r, s2, terminated, gamma, a2, xi = lists(*data, a2, xi)
    y = []
    for i in range(6):
        density = 1 / 4  # the density of uniform actions in a square of side 2
        weights = [exp(critic(reference.theta_bar, s2[i], x)[0] / 0.4) / density for x in a2]
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * 0.4 * log(mean(weights)))
    reference.descend(
        "theta",
        lambda theta: mean(square(z - critic(theta, x, i)[0]) / 2 for x, i, z in zip(s, a, y)),
    )

    f = network(4, 3, 2, activation=elu, out=tanh if space != "u" else lambda u: u)
    Delta, h = [], []
    for i in range(6):
        particles = [f(reference.phi, s[i], e) for e in xi[i]]
        found = svgd_directions(reference.theta, s[i], particles[2:], particles[:2], 0.4, space)
        Delta.append(found[0])
        h.append(found[1])

    def minus_climb(phi):
        """Its gradient is -Delta through the updated particles."""
        return -mean(
            sum(p * u for p, u in zip(Delta[i][j], f(phi, s[i], xi[i][j])))
            for i in range(6)
            for j in range(2)
        )

    reference.descend("phi", minus_climb, shown=False)
    reference.agrees(caught)
    assert metrics["svgd_kernel_bandwidth"] == pytest.approx(mean(h), rel=1e-9)
