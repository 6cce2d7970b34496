"""Soft Q-learning: soft values, targets and the sampler, by quadrature and by hand."""

import gymnasium.spaces as gs
import numpy as np
import pytest
from support.agent_factories import off_policy_agent
from support.oracles import F, check_every_gradient, random_batch, rows
from support.small_agents import RandomEnv
from support.toy_envs import TwoStates

import npr
from npr.autodiff import grad
from npr.kernels import svgd_direction

# ---- the soft value


def box_agent(alpha, Q, D=1, **settings):
    """A SoftQ agent whose critic is a function of the action alone, (..., D) -> (...)."""
    space = gs.Box(-1, 1, (D,), F)

    def env():
        return RandomEnv(gs.Box(-1, 1, (1,), F), space)

    agent = off_policy_agent("SoftQ", env, ent_coef=alpha, **settings)
    agent.Q = lambda theta, s, a: Q(a)
    return agent


def parabola(m, k):
    return lambda a: -0.5 * k * (a[..., 0] - m) ** 2


def midpoints(n):
    return ((2 * np.arange(n) + 1) / n - 1)[:, None]


@pytest.mark.parametrize(
    ("alpha", "m", "k", "n", "value"),
    [(1.0, 0.0, 2.0, 100_000, 0.401222), (0.2, 0.3, 8.0, 100_000, -0.185101),
     (1.0, 0.3, 8.0, 16, -0.144450)],
)  # fmt: skip
def test_soft_value_of_a_box_by_quadrature(alpha, m, k, n, value):
    """alpha log of the integral of exp(Q / alpha) over [-1, 1]."""
    agent = box_agent(alpha, parabola(m, k))
    v = agent.V(agent.theta, np.zeros((3, 1)), midpoints(n))
    assert v == pytest.approx([value] * 3, abs=1e-6)


def test_the_volume_of_the_box_grows_with_its_dimensions():
    """Q = 0: V = alpha log 2^D."""
    agent = box_agent(0.5, lambda a: 0 * a[..., 0], D=3)
    assert agent.V(agent.theta, np.zeros((1, 1)), np.zeros((4, 3))) == pytest.approx(
        0.5 * 3 * np.log(2)
    )


def discrete_agent(Q, alpha):
    def env():
        return RandomEnv(gs.Box(-1, 1, (1,), F), gs.Discrete(len(Q)))

    agent = off_policy_agent("SoftQ", env, ent_coef=alpha, net_arch=[])
    agent.theta[:] = 0
    agent.theta[-len(Q) :] = Q
    agent.theta_bar[:] = agent.theta
    return agent


@pytest.mark.parametrize(("alpha", "value"), [(1.0, 3.407606), (0.5, 3.071466)])
def test_soft_value_of_discrete_actions_by_hand(alpha, value):
    agent = discrete_agent([1, 2, 3], alpha)
    s = np.zeros((1, 1), F)
    V = agent.V(agent.theta, s, None)
    assert V[0] == pytest.approx(value, abs=1e-6)
    p = np.exp((np.array([1, 2, 3]) - V) / alpha)  # the policy, for which V = E Q + alpha H
    assert p.sum() == pytest.approx(1) and (p * ([1, 2, 3] - alpha * np.log(p))).sum() == (
        pytest.approx(value, abs=1e-6)
    )


def test_discrete_actions_are_drawn_from_the_softmax():
    """alpha = .5: (.015876, .117310, .866813), for the agent and for its policy."""
    agent = discrete_agent([1, 2, 3], 0.5)
    agent.learning_starts = 0
    expected = [0.015876, 0.117310, 0.866813]
    s = np.zeros((20_000, 1), F)
    for drawn in (agent.explore(s), agent.policy(s, deterministic=False)):
        assert np.bincount(drawn) / len(s) == pytest.approx(expected, abs=0.01)
    assert agent.act(s[0]) == 2


def soft_optimum(alpha, gamma=0.9):
    Q = np.zeros((2, 2))
    for _ in range(2_000):
        v = alpha * np.log(np.exp(Q / alpha).sum(axis=1))
        Q = np.array([[gamma * v[0], 1 + gamma * v[1]], [2 + gamma * v[0], 3.0]])
    return Q


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_linear_soft_q_reaches_the_soft_optimum_of_dynamic_programming(alpha):
    target = soft_optimum(alpha)
    assert np.abs(target - TwoStates.Q_STAR).max() > 0.5
    agent = off_policy_agent(
        "SoftQ", TwoStates, net_arch=[], gamma=0.9, max_episode_steps=20, ent_coef=alpha,
        learning_rate="linear:0.1:0.001", batch_size=64, learning_starts=6_000,
        target_update_interval=30,
    )  # fmt: skip
    agent.learn(10_000)  # 6,000 of them with random actions
    q = agent.Q(agent.theta, np.eye(2, dtype=F))
    assert np.abs(q - target).max() < 0.01 * np.abs(target).max()


@pytest.mark.parametrize(("terminated", "y"), [(0, 1 + 0.9 * 3.407606), (1, 1.0)])
def test_soft_q_target_by_hand(terminated, y):
    agent = discrete_agent([1, 2, 3], 1.0)
    loss = agent.update(np.zeros((1, 1), F), np.array([1]), rows(1), np.zeros((1, 1), F),
                        rows(terminated), 0.9, None, None)  # fmt: skip
    assert loss["critic_loss"] == pytest.approx(0.5 * (y - 2) ** 2, rel=1e-5)


# ---- the sampler


ENERGIES = {
    "flat": lambda a: 0 * a[..., 0],
    "round": lambda a: -(a[..., 0] ** 2),
    "narrow": lambda a: -4 * (a[..., 0] - 0.3) ** 2,
}
# the standard deviations of densities ~ exp(Q) are .577, .504, .332
DEVIATIONS = {
    "u": {"flat": 0.571, "round": 0.494, "narrow": 0.321},
    "a": {"flat": 0.707, "round": 0.565, "narrow": 0.337},
    "legacy": {"flat": 0.448, "round": 0.402, "narrow": 0.289},
}


@pytest.mark.parametrize("space", DEVIATIONS)
@pytest.mark.parametrize("energy", ENERGIES)
def test_particles_converge_to_the_density_of_their_space(space, energy):
    """The space u accounts for the derivative of tanh and gives exp(Q); the others differ."""
    agent = box_agent(1.0, ENERGIES[energy], svgd_space=space)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 60, 1))
    s = np.zeros((1, 1))
    for step in range(1_500):
        score = grad(lambda x: agent.log_p(s, x).sum())(x)
        x = x + 0.1 * (1 - step / 1_500) * svgd_direction(x, x, score)
        if space != "u":
            x = np.clip(x, -1 + 1e-6, 1 - 1e-6)
    a = np.tanh(x) if space == "u" else x
    assert a.std() == pytest.approx(DEVIATIONS[space][energy], abs=0.03)


def trained_sampler(Q, D, steps, alpha=1.0, n=2_000, **settings):
    """Actions (n, D) of a sampler trained on exp(Q / alpha)."""
    agent = box_agent(
        alpha, Q, D, net_arch=[32, 32], n_particles=32, learning_rate=3e-3, **settings
    )
    s, rng = np.zeros((8, 1), F), np.random.default_rng(0)
    for step in range(steps):
        agent.adam_phi.learning_rate = 3e-3 * (1 - step / steps)
        agent.update_sampler(s, rng.standard_normal((8, 32, D), np.float32))
    agent.learning_starts = 0
    return agent.explore(np.zeros((n, 1), F))


def test_the_sampler_learns_the_density():
    a = trained_sampler(ENERGIES["narrow"], 1, 600)
    assert a.mean() == pytest.approx(0.28, abs=0.05) and a.std() == pytest.approx(0.321, abs=0.04)


def test_the_sampler_covers_four_goals():
    """Log of four bumps at (+-.6, 0) and (0, +-.6)."""
    goals = np.array([[0.6, 0], [-0.6, 0], [0, 0.6], [0, -0.6]], F)

    def Q(a):
        near = -10 * ((a[..., None, :] - goals) ** 2).sum(axis=-1)
        return npr.autodiff.logsumexp(near, axis=-1)

    a = trained_sampler(Q, 2, 800)
    nearest = ((a[:, None] - goals) ** 2).sum(axis=-1).argmin(axis=1)
    assert np.bincount(nearest, minlength=4).min() > 0.1 * len(a)


@pytest.mark.parametrize("space", ["u", "a", "legacy"])
def test_the_score_is_the_gradient_of_the_log_density_in_its_space(space):
    """u: (1 - a^2) dQ/da / alpha - 2 a; a: dQ/da / alpha; legacy: that - 2 a / (1 - a^2)."""
    agent, x = box_agent(0.5, parabola(0.3, 8), svgd_space=space), np.array([[[0.4], [-0.7]]])
    a = np.tanh(x) if space == "u" else x
    slope = -8 * (a - 0.3) / 0.5
    expected = {
        "u": (1 - a**2) * slope - 2 * a, "a": slope, "legacy": slope - 2 * a / (1 - a**2)
    }  # fmt: skip
    got = grad(lambda x: agent.log_p(np.zeros((1, 1)), x).sum())(x)
    assert got == pytest.approx(expected[space], rel=1e-4)


def test_the_sampler_follows_the_svgd_direction():
    agent = off_policy_agent("SoftQ", "Pendulum-v1", n_particles=6)
    rng = np.random.default_rng(0)
    s, xi = rng.standard_normal((4, 3)).astype(F), rng.standard_normal((4, 6, 1)).astype(F)
    theta, seen = agent.theta.copy(), []
    agent.adam_phi.step = lambda phi, g: seen.append(g.copy())
    agent.update_sampler(s, xi)
    many = np.repeat(s[:, None], 3, axis=1)
    fixed, x = agent.f(agent.phi, many, xi[:, 3:]), agent.f(agent.phi, many, xi[:, :3])
    score = grad(lambda x: agent.log_p(s, x).sum())(fixed)
    Delta = svgd_direction(fixed, x, score)
    expected = grad(lambda phi: -(Delta * agent.f(phi, many, xi[:, :3])).sum() / 12)(agent.phi)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(agent.theta, theta)


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_soft_q_takes_the_gradient_of_its_loss(monkeypatch, env, a):
    checked = check_every_gradient(monkeypatch, "soft_q")
    agent, rng = off_policy_agent("SoftQ", env, batch_size=7), np.random.default_rng(1)
    agent.update(*random_batch(rng, s=agent.observations.size, a=a), 0.99, *agent.noise())
    assert len(checked) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_particles": 2}, "1 updated and 1 fixed particles; at least 1 and 2"),
        ({"kernel_update_ratio": 0.01}, "0 updated and 16 fixed particles"),
        ({"svgd_space": "v"}, "svgd_space must be 'u' or 'a' or 'legacy', got 'v'"),
        ({"ent_coef": 0}, "ent_coef must be at least 1e-6"),
    ],
)
def test_settings_of_the_sampler_are_checked(wrong, message):
    with pytest.raises(npr.ConfigError, match=f"SoftQ: .*{message}"):
        off_policy_agent("SoftQ", "Pendulum-v1", **wrong)
