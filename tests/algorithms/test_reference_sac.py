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


def soft_value(phi, theta, s, noise, alpha, over=min):
    """(min Q - alpha log pi, log pi) at one action from the noise."""
    a, logp = squashed(actor(phi, s), noise)
    return over(critic_values(theta, s, a)) - alpha * logp, logp


def covers_its_branches(phi, theta, s, noise):
    """Whether some log standard deviations are clipped, and either critic is the smaller one."""
    outs = [actor(phi, x) for x in s]
    q = [critic_values(theta, x, squashed(out, e)[0]) for x, out, e in zip(s, outs, noise)]
    first = (row[0] == min(row) for row in q)
    return covers_both(x > 2 for out in outs for x in out[2:]) and covers_both(first)


SOME = [3, 1]  # the critics of a target, of four
redq_cases = pytest.mark.parametrize("redq", [False, True])


def settings_of(redq):
    return {"n_critics": 4, "n_target_critics": 2} if redq else {}


def asked(theta, redq):
    """The critics of a target."""
    return [theta[i] for i in SOME] if redq else theta


def raise_log_std(agent):
    """Raise one log standard deviation towards its upper limit 2."""
    agent.phi[-1] = 1.8


@redq_cases
def test_sac_s(monkeypatch, redq):
    agent = make("SACS", "box", activation="elu", ent_coef=0.3, tau=0.2, **settings_of(redq))
    names = "psi", "psi_bar", "theta", "phi"
    caught = RecordedUpdate(monkeypatch, agent, *names, seed=2 if redq else 6)
    raise_log_std(agent)
    reference, value = Reference(agent, *names), network(2, 3, 1, activation=elu)
    data, noise = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((6, 2))
    agent.update(*data, noise, *([np.array(SOME)] if redq else []))

    s, a, r, s2, terminated, gamma, noise = lists(*data, noise)
    critics = asked(reference.theta, redq)
    assert covers_its_branches(reference.phi, critics, s, noise)
    v = [soft_value(reference.phi, critics, x, e, 0.3)[0] for x, e in zip(s, noise)]
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
        lambda phi: (
            -mean(
                soft_value(phi, reference.theta, x, e, 0.3, mean if redq else min)[0]
                for x, e in zip(s, noise)
            )
        ),
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


@redq_cases
@sac_cases
def test_sac_with_box_actions(monkeypatch, ent_coef, redq):
    agent = make("SAC", "box", activation="elu", ent_coef=ent_coef, tau=0.2, **settings_of(redq))
    caught = RecordedUpdate(monkeypatch, agent, *SAC_NAMES)
    raise_log_std(agent)
    reference = Reference(agent, *SAC_NAMES)
    data, noises = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((2, 6, 2))
    agent.update(*data, *noises, *([np.array(SOME)] if redq else []))

    noise, noise2 = lists(*noises)
    s = data[0].tolist()
    assert covers_its_branches(reference.phi, asked(reference.theta, redq), s, noise)

    def soft(phi, theta, s, alpha, i, after):
        if after:
            return soft_value(phi, asked(theta, redq), s, noise2[i], alpha)
        return soft_value(phi, theta, s, noise[i], alpha, mean if redq else min)

    loss = functools.partial(squared_critic_loss, coefficient=0.5)
    sac_step(reference, data, soft, loss, -2.0 if ent_coef == "auto" else None)
    reference.agrees(caught)


@redq_cases
@sac_cases
def test_sac_with_discrete_actions(monkeypatch, ent_coef, redq):
    agent = make(
        "SAC", "discrete", activation="elu", ent_coef=ent_coef, tau=0.2, **settings_of(redq)
    )
    caught = RecordedUpdate(monkeypatch, agent, *SAC_NAMES)
    reference, net = Reference(agent, *SAC_NAMES), network(2, 3, 3, activation=elu)
    data = transitions("discrete")
    agent.update(*data, None, None, *([np.array(SOME)] if redq else []))

    def soft(phi, theta, s, alpha, i, after):
        """Means over all actions instead of samples."""
        critics = asked(theta, redq and after)
        logp, qs = log_softmax(net(phi, s)), [net(row, s) for row in critics]
        over = mean if redq and not after else min
        V = sum(exp(x) * (over(q) - alpha * x) for x, q in zip(logp, zip(*qs)))
        return V, sum(exp(x) * x for x in logp)

    def loss_of(s, a, y):
        def loss(theta):
            return mean(
                sum(square(net(row, x)[i] - z) / 2 for row in theta) for x, i, z in zip(s, a, y)
            )

        return loss

    critics = asked(reference.theta, redq)
    q = [q for s in data[0].tolist() for q in zip(*(net(w, s) for w in critics))]
    assert covers_both(row[0] == min(row) for row in q)
    H_bar = 0.6 * math.log(3) if ent_coef == "auto" else None
    sac_step(reference, data, soft, loss_of, H_bar)
    reference.agrees(caught)
