"""PPO: the clipped objective by hand, gradients, ratios, advantages."""

import numpy as np
import pytest
from support.agent_factories import ppo
from support.oracles import F, check_every_gradient, random_batch, rows
from support.scalar_reference import RATE, RecordedUpdate, both_kinds, make
from support.small_agents import run_of

import npr
from npr.autodiff import clip, concatenate, exp, minimum, value_and_grad


@pytest.mark.parametrize(
    ("ratio", "A", "objective", "derivative"),
    [(1.5, 1, 1.2, 0), (1.5, -1, -1.5, -1.5), (0.5, 1, 0.5, 0.5), (0.5, -1, -0.8, 0),
     (1.1, 1, 1.1, 1.1)],
)  # fmt: skip
def test_clipped_objective_by_hand(ratio, A, objective, derivative):
    def L(logp):
        r = exp(logp)
        return minimum(r * A, clip(r, 0.8, 1.2) * A).sum()

    value, g = value_and_grad(L)(np.log(np.array([ratio])))
    assert value == pytest.approx(objective) and g[0] == pytest.approx(derivative)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_ppo_takes_the_gradients_of_its_losses(monkeypatch, env):
    checked = check_every_gradient(monkeypatch, "ppo")
    agent, rng = ppo(env, ent_coef=0.1), np.random.default_rng(1)
    box = env == "Pendulum-v1"
    s, a, A, _, _ = random_batch(rng, s=agent.observations.size, a=1 if box else None)
    logp = agent.pi(agent.theta, s).log_prob(a) + rng.normal(0, 0.1, len(A)).astype(F)
    agent.update(s, a, A, A + 1, logp, 0.2)
    assert len(checked) == 2


def test_first_minibatch_of_a_rollout_has_ratio_one():
    agent = ppo(n_epochs=1, batch_size=16)
    seen, update = [], agent.update
    agent.update = lambda *batch: seen.append(update(*batch)) or seen[-1]
    agent.learn(16)
    assert len(seen) == 1
    assert np.abs(seen[0]["approx_kl"]).max() < 1e-6 and not seen[0]["clip_fraction"].any()


def test_approx_kl_is_the_k3_estimate():
    agent = ppo()
    s = np.zeros((4, 4), F)
    a = np.zeros(4, int)
    logp = agent.pi(agent.theta, s).log_prob(a) - np.log(F(1.5))
    metrics = agent.update(s, a, rows(1, 2, 3, 4), rows(0, 0, 0, 0), logp, 0.2)
    np.testing.assert_allclose(metrics["approx_kl"], 0.094535, atol=1e-5)
    run_of(agent).updated(metrics)
    logged = agent.logger.snapshot()  # the means
    assert logged["train/approx_kl"] == pytest.approx(0.094535, abs=1e-5)
    assert logged["train/clip_fraction"] == 1


def test_clipping_limits_the_update_of_a_two_armed_bandit():
    """pi_old = (1/2, 1/2) and A = (1, -1). With p the new probability of arm 0, the ratios are 2p
    and 2(1 - p); the gradient of arm 0 is zero for 2p >= 1.2, that of arm 1 for 2(1 - p) <= 0.8:
    both stop at p = 0.6. Without clipping p would converge to 1."""
    agent = ppo(net_arch=[], normalize_advantage=False, learning_rate=1e-3)
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    for _ in range(2_000):
        agent.update(s, a, rows(1, -1), rows(0, 0), np.log(rows(0.5, 0.5)), 0.2)
    p = np.exp(agent.pi(agent.theta, s[:1]).log_prob(np.array([0])))[0]
    assert 0.599 < p < 0.61


def test_advantages_are_normalized_with_the_unbiased_standard_deviation():
    agent = ppo(learning_rate=0.0)
    s, a = np.zeros((4, 4), F), np.zeros(4, int)
    logp = agent.pi(agent.theta, s).log_prob(a)
    # at ratio e^d the unclipped surrogate is e^d A, which gives the normalized A
    for i, expected in enumerate([-1.161895, -0.387298, 0.387298, 1.161895]):
        moved = logp.copy()
        moved[i] -= 0.1
        loss = agent.update(s, a, rows(1, 2, 3, 4), rows(0, 0, 0, 0), moved, 0.2)
        assert -4 * loss["policy_gradient_loss"] / (np.exp(0.1) - 1) == pytest.approx(
            expected, 1e-3
        )


# ---- options


def kl_of_updates(steps=16, **settings):
    """The agent after so many steps, and for each update its approximate KL and theta after it."""
    agent = ppo(n_epochs=6, learning_rate=1e-2, **settings)
    seen, update = [], agent.update

    def recorded(*batch):
        metrics = update(*batch)
        seen.append((metrics["approx_kl"].mean(), agent.theta.copy()))
        return metrics

    agent.update = recorded
    agent.learn(steps)
    return agent, seen


def test_target_kl_ends_the_epochs_after_the_first_minibatch_beyond_it():
    """The updates until then are those of a run without it, to the bit."""
    _, free = kl_of_updates()
    kl = [x for x, _ in free]
    target = float(max(kl[:6]) / 1.5) * 0.999
    first = next(i for i, x in enumerate(kl) if x > 1.5 * target)
    agent, seen = kl_of_updates(target_kl=target)
    assert 0 < first < len(free) - 1 and len(seen) == agent.n_updates == first + 1
    np.testing.assert_array_equal(agent.theta, free[first][1])


def test_target_kl_holds_for_each_rollout():
    target = 2e-3
    agent, seen = kl_of_updates(96, target_kl=target)
    rollouts, left = 0, 0
    for kl, _ in seen:
        left = left or 12  # updates of six epochs
        left = 0 if kl > 1.5 * target else left - 1
        rollouts += left == 0
    assert rollouts == 6 and left == 0
    assert 6 < agent.n_updates < 72


def test_a_target_kl_that_is_never_reached_changes_no_bit():
    a, b = (ppo(target_kl=target).learn(64) for target in (None, 1e6))
    np.testing.assert_array_equal(a.theta, b.theta)
    np.testing.assert_array_equal(a.phi, b.phi)


@pytest.mark.parametrize("algorithm", [npr.PPO, npr.PPOKL])
def test_shared_layers_are_equal_after_learning_and_loading(tmp_path, algorithm):
    given = {"net_arch": [8, 5], "n_envs": 1, "n_steps": 16, "batch_size": 8, "verbose": 0}
    agent = algorithm("Pendulum-v1", seed=0, vf_share_layers=True, **given)
    n = (3 + 1) * 8 + (8 + 1) * 5
    first = agent.theta[:n].copy()
    np.testing.assert_array_equal(first, agent.phi[:n])
    agent.learn(32)
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    for one in (agent, loaded):
        one.learn(32, reset_num_timesteps=False)
        np.testing.assert_array_equal(one.theta[:n], one.phi[:n])
    assert np.abs(first - agent.theta[:n]).max() > 1e-4
    np.testing.assert_array_equal(agent.theta, loaded.theta)
    np.testing.assert_array_equal(agent.phi, loaded.phi)


@both_kinds
@pytest.mark.parametrize("widths", [[], [4, 3]])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_step_with_shared_layers_is_one_of_one_vector(monkeypatch, kind, widths, layer_norm):
    """w holds theta, then the critic's output layer. Its critic takes the layers, and the gains,
    which follow all layers, from theta."""
    agent = make("PPO", kind, net_arch=widths, layer_norm=layer_norm, vf_share_layers=True,
                 normalize_advantage=False, max_grad_norm=0.05, vf_coef=0.4)  # fmt: skip
    RecordedUpdate(monkeypatch, agent, "theta", "phi")
    agent.share_layers()
    sizes, n = agent.actor.sizes, agent.theta.size
    output = (sizes[-2] + 1) * sizes[-1]
    hidden = sum((i + 1) * j for i, j in zip(sizes, sizes[1:])) - output
    gains = sum(widths) if layer_norm else 0

    def phi_of(w):
        first = hidden + output
        return concatenate([w[:hidden], w[n:], w[first : first + gains]])

    rng = np.random.default_rng(2)
    s, a, A, _, _ = random_batch(rng, s=2, a=None if kind == "discrete" else 2)
    R, logp = rng.standard_normal((2, len(A)))

    def loss(w):
        ratio = exp(agent.pi(w[:n], s).log_prob(a) - logp)
        L = minimum(ratio * A, clip(ratio, 0.8, 1.2) * A).mean()
        return 0.4 * ((agent.V(phi_of(w), s) - R) ** 2).mean() - L

    own = agent.phi[hidden : hidden + sizes[-2] + 1]
    w = np.concatenate([agent.theta, own])
    np.testing.assert_array_equal(agent.phi, phi_of(w))
    _, g = value_and_grad(loss)(w)
    assert np.linalg.norm(g) > 0.05
    w -= RATE * g * 0.05 / (np.linalg.norm(g) + 1e-6)
    agent.update(s, a, A, R, logp, 0.2)
    np.testing.assert_allclose(agent.theta, w[:n], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(agent.phi, phi_of(w), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "different",
    [{"net_arch": {"pi": [8], "vf": [8, 8]}}, {"activation": {"pi": "tanh", "vf": "relu"}}],
)
def test_shared_layers_must_be_equal(different):
    equal = {"net_arch": {"pi": [8], "vf": [8]}, "activation": {"pi": ["relu"], "vf": "relu"}}
    assert ppo(**equal, vf_share_layers=True).theta.shape == (4 * 8 + 8 + 8 * 2 + 2,)
    with pytest.raises(npr.ConfigError, match="equal hidden layers of pi and vf, got net_arch="):
        ppo(**{**equal, **different}, vf_share_layers=True)


def test_the_clip_range_of_values_may_be_a_schedule_or_none():
    agent = ppo(clip_range_vf="linear:0.4:0.2")
    seen, update = [], agent.update
    agent.update = lambda *batch: seen.append(batch[-1]) or update(*batch)
    agent.learn(32)
    assert seen[0] == pytest.approx(0.3) and seen[-1] == 0.2
    agent.clip_range_vf = None
    agent.learn(16)
    assert seen[-1] is None
    with pytest.raises(npr.ConfigError, match=r"clip_range_vf must be at least 0"):
        ppo(clip_range_vf=-0.2)
