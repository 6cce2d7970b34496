"""SAC-S and SAC against the same updates in scalar loops."""

import functools
import math

import numpy as np
import pytest
from support.scalar_reference import (
    RecordedUpdate,
    Reference,
    covers_both,
    critic_values,
    elu,
    exp,
    lists,
    log_softmax,
    make,
    mean,
    network,
    square,
    squared_critic_loss,
    squashed,
    transitions,
)

actor = network(2, 3, 4, activation=elu)  # two means and two log standard deviations


def soft_value(phi, theta, s, noise, alpha):
    """(min Q - alpha log pi, log pi) at one action from the noise."""
    a, logp = squashed(actor(phi, s), noise)
    return min(critic_values(theta, s, a)) - alpha * logp, logp


def covers_its_branches(phi, theta, s, noise):
    """Whether some log standard deviations are clipped, and either critic is the smaller one."""
    outs = [actor(phi, x) for x in s]
    q = [critic_values(theta, x, squashed(out, e)[0]) for x, out, e in zip(s, outs, noise)]
    return covers_both(x > 2 for out in outs for x in out[2:]) and covers_both(x < z for x, z in q)


def raise_log_std(agent):
    """Raise one log standard deviation towards its upper limit 2."""
    agent.phi[-1] = 1.8


def test_sac_s(monkeypatch):
    agent = make("SACS", "box", activation="elu", ent_coef=0.3, tau=0.2)
    names = "psi", "psi_bar", "theta", "phi"
    caught = RecordedUpdate(monkeypatch, agent, *names)
    raise_log_std(agent)
    reference, value = Reference(agent, *names), network(2, 3, 1, activation=elu)
    data, noise = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((6, 2))
    agent.update(*data, noise)

    s, a, r, s2, terminated, gamma, noise = lists(*data, noise)
    assert covers_its_branches(reference.phi, reference.theta, s, noise)
    v = [soft_value(reference.phi, reference.theta, x, e, 0.3)[0] for x, e in zip(s, noise)]
    reference.descend(
        "psi", lambda psi: mean(square(value(psi, x)[0] - z) / 2 for x, z in zip(s, v))
    )
    y = [
        r[i] if terminated[i] else r[i] + gamma[i] * value(reference.psi_bar, s2[i])[0]
        for i in range(6)
    ]
    reference.descend("theta", squared_critic_loss(s, a, y, 0.5))
    reference.descend(
        "phi",
        lambda phi: -mean(soft_value(phi, reference.theta, x, e, 0.3)[0] for x, e in zip(s, noise)),
    )
    reference.follow("psi_bar", "psi", 0.2)
    reference.agrees(caught)


def sac_step(reference, data, soft, critic_loss, H_bar):
    """A SAC update from soft(phi, theta, s, sample) = (V, mean log pi) and the loss of the critics.

    H_bar is None for a fixed temperature.
    """
    s, a, r, s2, terminated, gamma = lists(*data)
    alpha = math.exp(reference.log_alpha[0])
    y = []
    for i in range(6):
        v, _ = soft(reference.phi, reference.theta_bar, s2[i], alpha, i, True)
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * v)
    reference.descend("theta", critic_loss(s, a, y))
    theta, phi = reference.theta, reference.phi
    reference.descend(
        "phi", lambda phi: -mean(soft(phi, theta, s[i], alpha, i, False)[0] for i in range(6))
    )
    if H_bar is not None:
        logp = mean(soft(phi, theta, s[i], alpha, i, False)[1] for i in range(6))
        reference.descend("log_alpha", lambda x: -x[0] * (logp + H_bar), shown=False)
    reference.follow("theta_bar", "theta", 0.2)


sac_cases = pytest.mark.parametrize("ent_coef", ["auto", 0.3])
SAC_NAMES = "theta", "theta_bar", "phi", "log_alpha"


@sac_cases
def test_sac_with_box_actions(monkeypatch, ent_coef):
    agent = make("SAC", "box", activation="elu", ent_coef=ent_coef, tau=0.2)
    caught = RecordedUpdate(monkeypatch, agent, *SAC_NAMES)
    raise_log_std(agent)
    reference = Reference(agent, *SAC_NAMES)
    data, noises = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((2, 6, 2))
    agent.update(*data, *noises)

    noise, noise2 = lists(*noises)
    s = data[0].tolist()
    assert covers_its_branches(reference.phi, reference.theta, s, noise)

    def soft(phi, theta, s, alpha, i, after):
        return soft_value(phi, theta, s, (noise2 if after else noise)[i], alpha)

    loss = functools.partial(squared_critic_loss, coefficient=0.5)
    sac_step(reference, data, soft, loss, -2.0 if ent_coef == "auto" else None)
    reference.agrees(caught)


@sac_cases
def test_sac_with_discrete_actions(monkeypatch, ent_coef):
    agent = make("SAC", "discrete", activation="elu", ent_coef=ent_coef, tau=0.2)
    caught = RecordedUpdate(monkeypatch, agent, *SAC_NAMES)
    reference, net = Reference(agent, *SAC_NAMES), network(2, 3, 3, activation=elu)
    data = transitions("discrete")
    agent.update(*data, None, None)

    def soft(phi, theta, s, alpha, i, after):
        """Means over all actions instead of samples."""
        logp, qs = log_softmax(net(phi, s)), [net(row, s) for row in theta]
        V = sum(exp(x) * (min(q) - alpha * x) for x, q in zip(logp, zip(*qs)))
        return V, sum(exp(x) * x for x in logp)

    def loss_of(s, a, y):
        def loss(theta):
            return mean(
                sum(square(net(row, x)[i] - z) / 2 for row in theta) for x, i, z in zip(s, a, y)
            )

        return loss

    smaller = [
        x < z for s in data[0].tolist() for x, z in zip(*(net(w, s) for w in reference.theta))
    ]
    assert covers_both(smaller)
    H_bar = 0.6 * math.log(3) if ent_coef == "auto" else None
    sac_step(reference, data, soft, loss_of, H_bar)
    reference.agrees(caught)
