"""REINFORCE, A2C, PPO, PPO-KL and Q actor-critic against the same updates in scalar loops."""

import math

import numpy as np
import pytest
from support.scalar_reference import (
    HEADS,
    NO_CLIP,
    RATE,
    RecordedUpdate,
    Reference,
    assert_close,
    both_kinds,
    exp,
    gradient,
    lists,
    log_softmax,
    make,
    mean,
    network,
    square,
)

# ---- policy gradients

V = network(2, 3, 1)


def policy_data(kind, seed=2):
    """Six states, actions, advantages of both signs, returns."""
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((6, 2))
    a = rng.integers(3, size=6) if kind == "discrete" else rng.normal(0, 1.5, (6, 2))
    return s, a, np.array([1.5, -1.2, 0.8, -0.6, 0.5, -1.3]), 2 * rng.standard_normal(6)


def normalized(A):
    middle = mean(A)
    deviation = math.sqrt(sum(square(x - middle) for x in A) / (len(A) - 1))
    return [(x - middle) / (deviation + 1e-8) for x in A]


def policy_loss(head, s, a, A, ent_coef):
    """-mean A log pi(a|s) - ent_coef mean H(pi(.|s)), of theta."""

    def loss(theta):
        outs = [head.actor(theta, x) for x in s]
        L = mean(w * head.log_prob(out, i) for out, i, w in zip(outs, a, A))
        return -L - ent_coef * mean(head.entropy(out) for out in outs)

    return loss


def value_loss(s, targets, coefficient=1.0):
    def loss(phi):
        return coefficient * mean(square(V(phi, x)[0] - y) for x, y in zip(s, targets))

    return loss


@both_kinds
@pytest.mark.parametrize("baseline", [True, False])
def test_reinforce(monkeypatch, kind, baseline):
    """Two episodes of three steps, weighted by gamma^t; without a baseline advantages are not
    normalized and the gradient is clipped."""
    max_norm = NO_CLIP if baseline else 0.05
    agent = make("REINFORCE", kind, ent_coef=0.3, baseline=baseline, vf_epochs=2,
                 normalize_advantage=baseline, max_grad_norm=max_norm)  # fmt: skip
    caught = RecordedUpdate(monkeypatch, agent, "theta", "phi")
    reference = Reference(agent, "theta", "phi")
    s, a, _, G = policy_data(kind)
    weight = 0.9 ** np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    agent.update(s, a, G, weight)

    s, a, G, weight = lists(s, a, G, weight)
    A = G
    if baseline:
        A = normalized([g - V(reference.phi, x)[0] for g, x in zip(G, s)])
    A = [w * x for w, x in zip(weight, A)]
    reference.descend("theta", policy_loss(HEADS[kind], s, a, A, 0.3), max_norm)
    for _ in range(2 if baseline else 0):
        reference.descend("phi", value_loss(s, G), max_norm)
    reference.agrees(caught)


@both_kinds
@pytest.mark.parametrize(("normalize", "max_norm"), [(False, NO_CLIP), (True, 0.05)])
def test_a2c(monkeypatch, kind, normalize, max_norm):
    agent = make("A2C", kind, ent_coef=0.3, vf_coef=0.4, normalize_advantage=normalize,
                 max_grad_norm=max_norm)  # fmt: skip
    caught = RecordedUpdate(monkeypatch, agent, "theta", "phi")
    reference = Reference(agent, "theta", "phi")
    data = policy_data(kind)
    agent.update(*data)

    s, a, A, R = lists(*data)
    reference.descend("phi", value_loss(s, R, 0.4), max_norm)
    A = normalized(A) if normalize else A
    reference.descend("theta", policy_loss(HEADS[kind], s, a, A, 0.3), max_norm)
    reference.agrees(caught)


def clipped_loss(head, s, a, A, logp_old, epsilon, ent_coef):
    def loss(theta):
        total = 0.0
        for x, i, advantage, old in zip(s, a, A, logp_old):
            out = head.actor(theta, x)
            ratio = exp(head.log_prob(out, i) - old)
            held = min(max(ratio, 1 - epsilon), 1 + epsilon)
            total = total + min(ratio * advantage, held * advantage)
            total = total + ent_coef * head.entropy(out)
        return -total / len(A)

    return loss


@both_kinds
@pytest.mark.parametrize("normalize", [True, False])
def test_ppo(monkeypatch, kind, normalize):
    """Log ratios beyond both ends of the clip range, each with advantages of both signs."""
    agent = make("PPO", kind, ent_coef=0.3, vf_coef=0.4, clip_range=0.25,
                 normalize_advantage=normalize)  # fmt: skip
    caught = RecordedUpdate(monkeypatch, agent, "theta", "phi")
    reference, head = Reference(agent, "theta", "phi"), HEADS[kind]
    s, a, A, R = policy_data(kind)
    log_ratio = [0.4, 0.5, -0.6, -0.4, 0.1, -0.2]
    logp_old = [
        head.log_prob(head.actor(reference.theta, x), i) - shift
        for x, i, shift in zip(*lists(s, a), log_ratio)
    ]
    agent.update(s, a, A, R, np.array(logp_old), 0.25)

    s, a, A, R = lists(s, a, A, R)
    A = normalized(A) if normalize else A
    assert [x > 0 for x in A] == [True, False, True, False, True, False]
    reference.descend("theta", clipped_loss(head, s, a, A, logp_old, 0.25, 0.3))
    reference.descend("phi", value_loss(s, R, 0.4))
    reference.agrees(caught)


def penalized_loss(head, s, a, A, out_old, weight, ent_coef):
    def loss(theta):
        total = 0.0
        for x, i, advantage, old in zip(s, a, A, out_old):
            out = head.actor(theta, x)
            ratio = exp(head.log_prob(out, i)) / exp(head.log_prob(old, i))
            total = total + ratio * advantage - weight * head.kl(old, out)
            total = total + ent_coef * head.entropy(out)
        return -total / len(A)

    return loss


@both_kinds
@pytest.mark.parametrize("normalize", [True, False])
def test_ppo_kl(monkeypatch, kind, normalize):
    agent = make("PPOKL", kind, ent_coef=0.3, vf_coef=0.4, normalize_advantage=normalize)
    caught = RecordedUpdate(monkeypatch, agent, "theta", "phi")
    reference, head = Reference(agent, "theta", "phi"), HEADS[kind]
    s, a, A, R = policy_data(kind)
    width = 3 if kind == "discrete" else 4
    out_old = np.random.default_rng(3).normal(0, 0.5, (6, width))
    agent.update(s, a, A, R, agent.head(out_old).log_prob(a), out_old, 0.7)

    s, a, A, R, out_old = lists(s, a, A, R, out_old)
    A = normalized(A) if normalize else A
    reference.descend("theta", penalized_loss(head, s, a, A, out_old, 0.7, 0.3))
    reference.descend("phi", value_loss(s, R, 0.4))
    reference.agrees(caught)


def ppo_update(monkeypatch, kind, **settings):
    """An update of PPO from random parameters: (what was recorded, the reference before it, the
    loss of theta, s and R)."""
    agent = make("PPO", kind, ent_coef=0.3, vf_coef=0.4, normalize_advantage=False, **settings)
    caught, head = RecordedUpdate(monkeypatch, agent, "theta", "phi"), HEADS[kind]
    agent.share_layers()
    reference = Reference(agent, "theta", "phi")
    s, a, A, R = policy_data(kind)
    logp_old = [
        head.log_prob(head.actor(reference.theta, x), i) - shift
        for x, i, shift in zip(*lists(s, a), [0.4, 0.5, -0.6, -0.4, 0.1, -0.2])
    ]
    epsilon_vf = agent.now(agent.clip_range_vf)
    agent.update(s, a, A, R, np.array(logp_old), 0.25, epsilon_vf)
    s, a, A, R = lists(s, a, A, R)
    return caught, reference, clipped_loss(head, s, a, A, logp_old, 0.25, 0.3), s, R


@both_kinds
def test_ppo_with_a_clipped_value_loss(monkeypatch, kind):
    """The advantages are R - v_old. The values are beyond both ends of the range, and within."""
    epsilon = 2.1
    caught, reference, policy_part, s, R = ppo_update(monkeypatch, kind, clip_range_vf=epsilon)
    _, _, A, _ = policy_data(kind)
    old = [y - advantage for y, advantage in zip(R, A.tolist())]
    moved = [V(reference.phi, x)[0] - v for x, v in zip(s, old)]
    assert min(moved) < -epsilon and max(moved) > epsilon and min(map(abs, moved)) < epsilon

    def value_part(phi):
        total = 0.0
        for x, y, v in zip(s, R, old):
            value = V(phi, x)[0]
            held = min(max(value, v - epsilon), v + epsilon)
            total = total + max(square(value - y), square(held - y))
        return 0.4 * total / len(s)

    reference.descend("theta", policy_part)
    reference.descend("phi", value_part)
    reference.agrees(caught)


@both_kinds
def test_ppo_with_one_norm_of_both_gradients(monkeypatch, kind):
    caught, reference, policy_part, s, R = ppo_update(
        monkeypatch, kind, joint_clip=True, max_grad_norm=0.3
    )
    parts = ("theta", policy_part), ("phi", value_loss(s, R, 0.4))
    gradients = [gradient(loss, getattr(reference, name))[1] for name, loss in parts]
    norm = math.sqrt(sum(square(x) for g in gradients for x in g.tolist()))
    assert norm > 0.3
    for (name, _), g, got in zip(parts, gradients, caught.gradients):
        g *= 0.3 / (norm + 1e-6)
        assert_close(got, g)
        expected = np.array(getattr(reference, name)) - RATE * g
        assert_close(getattr(caught.agent, name), expected)


@both_kinds
@pytest.mark.parametrize("max_norm", [NO_CLIP, 0.3])
def test_ppo_with_shared_layers(monkeypatch, kind, max_norm):
    """One vector of the actor and the output layer of the critic, one loss, one norm."""
    caught, reference, policy_part, s, R = ppo_update(
        monkeypatch, kind, vf_share_layers=True, max_grad_norm=max_norm
    )
    n, hidden = len(reference.theta), (2 + 1) * 3
    assert reference.phi[:hidden] == reference.theta[:hidden]
    value_part = value_loss(s, R, 0.4)

    def loss(w):
        return policy_part(w[:n]) + value_part(w[:hidden] + w[n:])

    w = reference.theta + reference.phi[hidden:]
    value, g = gradient(loss, w)
    norm = math.sqrt(sum(square(x) for x in g.tolist()))
    g *= min(1.0, max_norm / (norm + 1e-6))
    assert norm > 0.3 and sum(caught.losses) == pytest.approx(value, rel=1e-9)
    after, theta, phi = np.array(w) - RATE * g, caught.agent.theta, caught.agent.phi
    assert_close(theta, after[:n])
    assert_close(phi, np.concatenate([after[:hidden], after[n:]]))


@both_kinds
@pytest.mark.parametrize(
    "options", [{"clip_range_vf": 0.3}, {"joint_clip": True}, {"vf_share_layers": True}]
)
def test_an_update_of_ppo_kl_equals_one_of_ppo_with_every_option(kind, options):
    """Without a clip range and with a weight of zero both have the same loss."""
    given = {"learning_rate": 3e-3, "max_grad_norm": 0.5, **options}
    ppo, ppo_kl = (make(name, kind, **given) for name in ("PPO", "PPOKL"))
    s, a, A, R = policy_data(kind)
    s, A, R = (x.astype(ppo.theta.dtype) for x in (s, A, R))
    a = a if kind == "discrete" else a.astype(s.dtype)
    out = ppo.actor(ppo.theta, s)
    epsilon_vf, logp = ppo.now(ppo.clip_range_vf), ppo.head(out).log_prob(a)
    for _ in range(3):
        ppo.update(s, a, A, R, logp, 1e6, epsilon_vf)
        ppo_kl.update(s, a, A, R, logp, out, 0.0, epsilon_vf)
    np.testing.assert_allclose(ppo.theta, ppo_kl.theta, atol=1e-6)
    np.testing.assert_allclose(ppo.phi, ppo_kl.phi, atol=1e-6)


@both_kinds
@pytest.mark.parametrize("joint_clip", [False, True])
def test_an_unclipped_update_of_ppo_equals_one_of_a2c(kind, joint_clip):
    """One epoch of one minibatch of the current policy, so all ratios are one. Three
    consecutive batches with Adam in float32."""
    given = {"learning_rate": 3e-3, "normalize_advantage": False, "ent_coef": 0.1,
             "max_grad_norm": 0.5, "joint_clip": joint_clip}  # fmt: skip
    a2c = make("A2C", kind, use_rms_prop=False, **given)
    ppo = make("PPO", kind, n_epochs=1, clip_range=1e6, **given)
    assert np.array_equal(a2c.theta, ppo.theta) and np.array_equal(a2c.phi, ppo.phi)
    first = a2c.theta.copy(), a2c.phi.copy()
    for seed in range(3):
        s, a, A, R = policy_data(kind, seed)
        s, A, R = (x.astype(a2c.theta.dtype) for x in (s, A, R))
        a = a if kind == "discrete" else a.astype(s.dtype)
        a2c.update(s, a, A, R)
        ppo.update(s, a, A, R, ppo.pi(ppo.theta, s).log_prob(a), 0.2)
    for got, expected, before in zip((ppo.theta, ppo.phi), (a2c.theta, a2c.phi), first):
        assert np.abs(got - expected).max() < 1e-6
        assert np.abs(expected - before).max() > 1e-3


# ---- Q actor-critic


def q_actor_critic_values(kind):
    """Q(w, s, a) as a function of one state and action."""
    net = network(2, 3, 3) if kind == "discrete" else network(4, 3, 1)
    if kind == "discrete":
        return lambda w, s, a: net(w, s)[a]
    return lambda w, s, a: net(w, s, a)[0]


def critic_loss(Q, s, a, y, valid):
    def loss(w):
        return mean(square(z - Q(w, x, i)) / 2 for x, i, z, v in zip(s, a, y, valid) if v)

    return loss


@both_kinds
@pytest.mark.parametrize("baseline", [True, False])
def test_q_actor_critic(monkeypatch, kind, baseline):
    """Three steps of two environments; one of them has an autoreset step."""
    agent = make("QActorCritic", kind, ent_coef=0.3, gamma=0.9, baseline=baseline,
                 max_grad_norm=NO_CLIP if baseline else 0.2)  # fmt: skip
    caught = RecordedUpdate(monkeypatch, agent, "theta", "w")
    reference, head, Q = Reference(agent, "theta", "w"), HEADS[kind], q_actor_critic_values(kind)
    rng = np.random.default_rng(5)
    s, s2 = rng.standard_normal((2, 3, 2, 2))
    if kind == "discrete":
        a, a2, noises = *rng.integers(3, size=(2, 3, 2)), []
    else:
        a, a2, *noises = rng.normal(0, 1.2, (5, 3, 2, 2))  # three sampled actions for the baseline
    r, terminated = 2 * rng.standard_normal((3, 2)), np.array([[0.0, 1.0], [0, 1], [1, 0]])
    valid = np.array([[True, True], [True, False], [True, True]])
    agent.update(s, a, r, s2, a2, terminated, valid, noises)

    max_norm = agent.max_grad_norm
    s, a, r, s2, a2, terminated, valid, *noises = lists(s, a, r, s2, a2, terminated, valid, *noises)
    for t in (2, 1, 0):
        y = [
            reward if ended else reward + 0.9 * Q(reference.w, x, i)
            for reward, ended, x, i in zip(r[t], terminated[t], s2[t], a2[t])
        ]
        reference.descend("w", critic_loss(Q, s[t], a[t], y, valid[t]), max_norm)

    states, actions, weights = [], [], []
    for t in range(3):
        for n in np.flatnonzero(valid[t]):
            out = head.actor(reference.theta, s[t][n])
            value = Q(reference.w, s[t][n], a[t][n])
            if baseline and kind == "discrete":
                p = [exp(x) for x in log_softmax(out)]
                value -= sum(p[i] * Q(reference.w, s[t][n], i) for i in range(3))
            elif baseline:
                drawn = [head.sample(out, noise[t][n]) for noise in noises]
                value -= mean(Q(reference.w, s[t][n], x) for x in drawn)
            states.append(s[t][n])
            actions.append(a[t][n])
            weights.append(value)
    reference.descend("theta", policy_loss(head, states, actions, weights, 0.3), max_norm)
    reference.agrees(caught)
