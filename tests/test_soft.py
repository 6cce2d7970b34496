"""SoftQ with its sampler, SAC-S and SAC for Discrete actions, against quadrature, dynamic
programming and numbers worked out by hand."""

import gymnasium.spaces as gs
import numpy as np
import pytest
from oracles import F, best_tanh_gaussian, every_loss_checked, rows, small, u_of_log_prob
from tiny import Spaces
from toy_envs import M2, Bandit, ConstantBox, ConstantReward

import npr
from npr.autodiff import grad
from npr.kernels import svgd_direction


def agent_of(name, env, **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 16, **settings}
    return getattr(npr, name)(env, seed=0, verbose=0, **given)


# ---- the soft value


def box_agent(alpha, Q, D=1, **settings):
    """A SoftQ agent whose critic is a function of the action alone, (..., D) -> (...)."""
    space = gs.Box(-1, 1, (D,), F)
    agent = agent_of("SoftQ", lambda: Spaces(gs.Box(-1, 1, (1,), F), space), ent_coef=alpha,
                     **settings)  # fmt: skip
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
    """alpha log of the integral of exp(Q / alpha) over [-1, 1], log-volume and all."""
    agent = box_agent(alpha, parabola(m, k))
    v = agent.V(agent.theta, np.zeros((3, 1)), midpoints(n))
    assert v == pytest.approx([value] * 3, abs=1e-6)


def test_the_volume_of_the_box_grows_with_its_dimensions():
    """Q = 0: V = alpha log 2^D."""
    agent = box_agent(0.5, lambda a: 0 * a[..., 0], D=3)
    assert agent.V(agent.theta, np.zeros((1, 1)), np.zeros((4, 3))) == pytest.approx(
        0.5 * 3 * np.log(2)
    )


def choice_agent(Q, alpha):
    agent = agent_of("SoftQ", lambda: Spaces(gs.Box(-1, 1, (1,), F), gs.Discrete(len(Q))),
                     ent_coef=alpha, net_arch=[])  # fmt: skip
    agent.theta[:] = 0
    agent.theta[-len(Q) :] = Q
    agent.theta_bar[:] = agent.theta
    return agent


@pytest.mark.parametrize(("alpha", "value"), [(1.0, 3.407606), (0.5, 3.071466)])
def test_soft_value_of_choices_by_hand(alpha, value):
    agent = choice_agent([1, 2, 3], alpha)
    s = np.zeros((1, 1), F)
    V = agent.V(agent.theta, s, None)
    assert V[0] == pytest.approx(value, abs=1e-6)
    p = np.exp((np.array([1, 2, 3]) - V) / alpha)  # what the policy must be: V = E Q + alpha H
    assert p.sum() == pytest.approx(1) and (p * ([1, 2, 3] - alpha * np.log(p))).sum() == (
        pytest.approx(value, abs=1e-6)
    )


def test_choices_are_drawn_from_the_softmax_of_q_over_alpha():
    """alpha = .5: (.015876, .117310, .866813), by the agent and by the policy it leaves behind."""
    agent = choice_agent([1, 2, 3], 0.5)
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
    assert np.abs(target - M2.Q_STAR).max() > 0.5
    agent = agent_of(
        "SoftQ", M2, net_arch=[], gamma=0.9, max_episode_steps=20, ent_coef=alpha,
        learning_rate="linear:0.1:0.001", batch_size=64, learning_starts=6_000,
        target_update_interval=30,
    )  # fmt: skip
    agent.learn(10_000)  # 6,000 of them at random
    q = agent.Q(agent.theta, np.eye(2, dtype=F))
    assert np.abs(q - target).max() < 0.01 * np.abs(target).max()


@pytest.mark.parametrize(("terminated", "y"), [(0, 1 + 0.9 * 3.407606), (1, 1.0)])
def test_soft_q_target_by_hand(terminated, y):
    agent = choice_agent([1, 2, 3], 1.0)
    loss = agent.update(np.zeros((1, 1), F), np.array([1]), rows(1), np.zeros((1, 1), F),
                        rows(terminated), 0.9, None, None)  # fmt: skip
    assert loss["critic_loss"] == pytest.approx(0.5 * (y - 2) ** 2, rel=1e-5)


# ---- the sampler


ENERGIES = {
    "flat": lambda a: 0 * a[..., 0],
    "round": lambda a: -(a[..., 0] ** 2),
    "narrow": lambda a: -4 * (a[..., 0] - 0.3) ** 2,
}
# the deviations of densities ~ exp(Q) are .577, .504, .332
DEVIATIONS = {
    "u": {"flat": 0.571, "round": 0.494, "narrow": 0.321},
    "a": {"flat": 0.707, "round": 0.565, "narrow": 0.337},
    "legacy": {"flat": 0.448, "round": 0.402, "narrow": 0.289},
}


@pytest.mark.parametrize("space", DEVIATIONS)
@pytest.mark.parametrize("energy", ENERGIES)
def test_particles_come_to_rest_with_the_deviation_of_their_space(space, energy):
    """Before tanh, with its slope, they have that of exp(Q); in the other spaces another one."""
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
    """Actions (n, D) from a sampler that has learnt exp(Q / alpha)."""
    agent = box_agent(
        alpha, Q, D, net_arch=[32, 32], n_particles=32, learning_rate=3e-3, **settings
    )
    s, rng = np.zeros((8, 1), F), np.random.default_rng(0)
    for step in range(steps):
        agent.adam_phi.learning_rate = 3e-3 * (1 - step / steps)
        agent.move_particles(s, rng.standard_normal((8, 32, D), np.float32))
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


def test_the_sampler_climbs_along_the_direction_and_leaves_the_critic_alone():
    agent = agent_of("SoftQ", "Pendulum-v1", n_particles=6)
    rng = np.random.default_rng(0)
    s, xi = rng.standard_normal((4, 3)).astype(F), rng.standard_normal((4, 6, 1)).astype(F)
    theta, seen = agent.theta.copy(), []
    agent.adam_phi.step = lambda phi, g: seen.append(g.copy())
    agent.move_particles(s, xi)
    many = np.repeat(s[:, None], 3, axis=1)
    fixed, x = agent.f(agent.phi, many, xi[:, 3:]), agent.f(agent.phi, many, xi[:, :3])
    score = grad(lambda x: agent.log_p(s, x).sum())(fixed)
    Delta = svgd_direction(fixed, x, score)
    expected = grad(lambda phi: -(Delta * agent.f(phi, many, xi[:, :3])).sum() / 12)(agent.phi)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4, atol=1e-6)
    assert np.array_equal(agent.theta, theta)


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_soft_q_takes_the_gradient_of_its_loss(monkeypatch, env, a):
    checked = every_loss_checked(monkeypatch, "soft_q")
    agent, rng = agent_of("SoftQ", env, batch_size=7), np.random.default_rng(1)
    agent.update(*small(rng, s=agent.observations.size, a=a), 0.99, *agent.noise())
    assert len(checked) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_particles": 2}, "1 particles to move and 1 that stay; at least 1 and 2"),
        ({"kernel_update_ratio": 0.01}, "0 particles to move and 16 that stay"),
        ({"svgd_space": "v"}, "svgd_space must be 'u' or 'a' or 'legacy', got 'v'"),
        ({"ent_coef": 0}, "ent_coef must be at least 1e-6"),
    ],
)
def test_settings_without_a_sampler_are_refused(wrong, message):
    with pytest.raises(npr.ConfigError, match=f"SoftQ: .*{message}"):
        agent_of("SoftQ", "Pendulum-v1", **wrong)


# ---- SAC-S


def sacs(env="Pendulum-v1", **settings):
    return agent_of("SACS", env, **{"batch_size": 1, **settings})


def test_the_target_of_the_value_network_by_hand():
    """Critics that say 2 and 1.5, log pi = -.7, alpha = .2: 1.5 + .14, no reward, no discount."""
    agent = sacs(ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.phi, agent.psi, agent.psi_bar):
        vector[:] = 0
    agent.theta[:, -1] = 2, 1.5
    noise = np.array([[u_of_log_prob(-0.7)]], F)
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(0), 0.99, noise)
    assert loss["value_loss"] == pytest.approx(0.5 * 1.64**2, rel=1e-4)


@pytest.mark.parametrize(("terminated", "y"), [(0, 2.98), (1, 1.0)])
def test_the_target_of_the_critics_by_hand(terminated, y):
    """V_bar = 2, r = 1: both critics say zero, and their losses are added up."""
    agent = sacs(learning_rate=0.0)
    for vector in (agent.theta, agent.phi, agent.psi, agent.psi_bar):
        vector[:] = 0
    agent.psi_bar[-1] = 2
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.99, np.zeros((1, 1), F))
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-5)


def test_sac_s_takes_the_gradients_of_its_losses_and_its_target_only_follows(monkeypatch):
    checked = every_loss_checked(monkeypatch, "sac_s")
    agent, rng = sacs(batch_size=7, tau=0.25), np.random.default_rng(1)
    theta, psi_bar = agent.theta.copy(), agent.psi_bar.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*small(rng, s=3, a=1), 0.99, agent.noise())
    assert len(checked) == 3
    assert np.array_equal(agent.theta, theta)
    assert agent.psi_bar == pytest.approx(0.25 * agent.psi + 0.75 * psi_bar)


def test_sac_s_finds_the_best_policy_of_a_bandit_and_its_value():
    mean, entropy = best_tanh_gaussian(0.5)
    agent = sacs(
        Bandit, net_arch=[16, 16], batch_size=64, learning_rate="linear:5e-3:5e-4",
        learning_starts=200, ent_coef=0.5,
    ).learn(4_000)  # fmt: skip
    noise = np.random.default_rng(0).standard_normal((4_000, 1)).astype(F)
    a, logp = agent.pi(agent.phi, np.zeros((4_000, 1), F)).sample(noise)
    assert a.mean() == pytest.approx(mean, abs=0.05)
    assert -logp.mean() == pytest.approx(entropy, abs=0.1)
    value = (-4 * (a[:, 0] - 0.3) ** 2 - 0.5 * logp).mean()
    assert agent.V(agent.psi, np.zeros((1, 1), F))[0] == pytest.approx(value, abs=0.1)


@pytest.mark.parametrize("name", ["SACS", "SoftQ"])
def test_time_outs_are_not_terminal(name):
    """V = 10 at a temperature that counts for nothing; SoftQ's holds alpha times the log-volume."""
    alpha = {"SACS": 1e-6, "SoftQ": 1e-2}[name]
    agent = agent_of(
        name, ConstantBox, gamma=0.9, ent_coef=alpha, learning_rate="linear:0.02:0.002",
        batch_size=32, tau=0.05, learning_starts=50,
        **({"target_update_interval": 1} if name == "SoftQ" else {}),
    ).learn(2_000)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    expected = 10 if name == "SACS" else 10 + 0.9 * alpha * np.log(2) / 0.1
    assert q == pytest.approx(expected, rel=0.01)


def test_time_outs_are_not_terminal_for_soft_q_with_choices():
    """Two equal actions: V = (1 + alpha log 2) / (1 - .9)."""
    agent = agent_of(
        "SoftQ", lambda: ConstantReward(10), gamma=0.9, net_arch=[], ent_coef=1.0,
        learning_rate="linear:0.1:0.01", batch_size=32, learning_starts=50,
        target_update_interval=10,
    ).learn(1_500)  # fmt: skip
    v = agent.V(agent.theta, np.ones((1, 1), F), None)
    assert v == pytest.approx(10 * (1 + np.log(2)), rel=0.01)


# ---- SAC for Discrete actions


def sac(env="CartPole-v1", **settings):
    return agent_of("SAC", env, **settings)


@pytest.mark.parametrize("terminated", [0, 1])
def test_discrete_sac_target_by_hand(terminated):
    """pi = (.25, .75), critics (1, 3) and (2, 2): min (1, 2), E min = 1.75, H = .562335,
    alpha = .2: y = 1 + .99 (1.75 + .2 x .562335)."""
    agent = sac(net_arch=[], ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.theta_bar, agent.phi):
        vector[:] = 0
    agent.theta_bar[0, -2:], agent.theta_bar[1, -2:] = (1, 3), (2, 2)
    agent.phi[-1] = np.log(3)
    s = np.zeros((1, 4), F)
    y = 1 + (1 - terminated) * 0.99 * (1.75 + 0.2 * 0.562335)
    loss = agent.update(s, np.array([0]), rows(1), s, rows(terminated), 0.99, None, None)
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-5)  # two critics at zero


def test_discrete_sac_takes_the_gradients_of_its_losses(monkeypatch):
    checked = every_loss_checked(monkeypatch, "sac")
    agent, rng = sac(), np.random.default_rng(1)
    agent.update(*small(rng), 0.99, None, None)
    assert len(checked) == 2


class Arms(Spaces):
    """One step; three arms pay 0, .5 and 1."""

    def __init__(self):
        super().__init__(gs.Box(-1, 1, (1,), F), gs.Discrete(3), length=1)

    def step(self, action):
        return np.zeros(1, F), float(action / 2), True, False, {}


def learnt_arms(**settings):
    agent = sac(
        Arms, net_arch=[16], batch_size=64, learning_rate="linear:0.01:0.001",
        learning_starts=200, **settings,
    ).learn(2_500)  # fmt: skip
    return agent, np.exp(agent.pi(agent.phi, np.zeros((1, 1), F)).logp)[0]


def test_discrete_sac_with_a_fixed_temperature_finds_the_softmax():
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()  # rewards over alpha = .5
    assert learnt_arms(ent_coef=0.5)[1] == pytest.approx(expected, abs=0.03)


def test_discrete_sac_learns_the_temperature_of_its_target_entropy():
    """By bisection: the alpha at which softmax(r / alpha) has the entropy .6 log 3."""
    low, high = 0.01, 10.0
    for _ in range(60):
        alpha = np.sqrt(low * high)
        p = np.exp(np.array([0, 0.5, 1]) / alpha)
        p /= p.sum()
        low, high = (alpha, high) if -(p * np.log(p)).sum() < 0.6 * np.log(3) else (low, alpha)
    agent, learnt = learnt_arms()
    assert np.exp(agent.log_alpha[0]) == pytest.approx(alpha, rel=0.2)
    assert learnt == pytest.approx(p, abs=0.05)


def test_time_outs_are_not_terminal_for_discrete_sac():
    agent = sac(
        lambda: ConstantReward(10), gamma=0.9, ent_coef=1e-6, learning_rate=0.02, batch_size=32,
        tau=0.05, learning_starts=50,
    ).learn(1_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F))
    assert q.ravel() == pytest.approx([10] * 4, rel=0.01)


@pytest.mark.parametrize("wrong", [{"target_entropy": 0.7}, {"action_noise": "ou"}])
def test_what_does_not_suit_choices_is_refused(wrong):
    with pytest.raises(npr.ConfigError, match="SAC: .* do not suit 2 Discrete actions"):
        sac(**wrong)


# ---- files


@pytest.mark.parametrize(
    ("name", "env"),
    [("SoftQ", "Pendulum-v1"), ("SoftQ", "CartPole-v1"), ("SACS", "Pendulum-v1"),
     ("SAC", "CartPole-v1")],
)  # fmt: skip
def test_same_seed_same_bytes_and_a_file_keeps_them(tmp_path, name, env):
    settings = {"learning_starts": 20, "batch_size": 8, "buffer_size": 100, "n_envs": 2}
    paths = [tmp_path / f for f in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        agent = agent_of(name, env, **settings).learn(60)
        agent.save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    s = np.linspace(-1, 1, 5 * agent.observations.size, dtype=F).reshape(5, -1)
    carried = npr.infer.load(paths[0])
    for deterministic in (True, False):
        one, two, three = (
            p(s, deterministic, np.random.default_rng(0)) for p in (agent.policy, loaded.policy,
                                                                  carried)
        )  # fmt: skip
        assert np.array_equal(one, two) and np.array_equal(one, three)
    assert loaded.learn(40, reset_num_timesteps=False).num_timesteps == 100
