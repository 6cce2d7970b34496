"""Each algorithm against numbers worked out by hand, by dynamic programming or by quadrature."""

import numpy as np
import pytest
from oracles import F, best_tanh_gaussian, every_loss_checked, rows, small, u_of_log_prob
from toy_envs import M2, Bandit, ConstantBox, ConstantReward

import npr
from npr.autodiff import clip, exp, minimum, value_and_grad
from npr.autodiff import min as ad_min
from npr.autodiff import stack as ad_stack
from npr.buffers import ReplayBuffer
from npr.heads import TanhGaussian
from npr.noise import OrnsteinUhlenbeck

# ---- Q-learning


def q_learning(env=M2, **settings):
    return npr.QLearning(env, seed=0, verbose=0, **settings)


@pytest.mark.parametrize(("terminated", "expected"), [(False, 1.45), (True, 1.0)])
def test_q_learning_steps_by_hand(terminated, expected):
    agent = q_learning(learning_rate=0.1, gamma=0.9)
    agent.Q[:] = [[1, 2], [3, 5]]
    agent.update(0, 0, 1.0, 1, terminated)
    assert agent.Q[0, 0] == pytest.approx(expected)
    assert agent.Q.tolist()[1] == [3, 5]


def test_q_learning_reaches_the_optimum_of_dynamic_programming():
    agent = q_learning(
        gamma=0.9, learning_rate=0.2, exploration_final_eps=1.0, max_episode_steps=20
    ).learn(6_000)
    assert np.abs(agent.Q - M2.Q_STAR).max() < 1e-2


def test_epsilon_greedy_breaks_ties_at_random_and_draws_from_all_actions():
    agent = q_learning(exploration_initial_eps=0.2)
    draws = [agent.epsilon_greedy(np.array([0.0, 1.0, 1.0])) for _ in range(6_000)]
    share = np.bincount(draws, minlength=3) / len(draws)
    assert np.abs(share - [0.2 / 3, 0.4 + 0.2 / 3, 0.4 + 0.2 / 3]).max() < 0.02


def test_epsilon_falls_in_a_line_over_its_fraction_of_the_budget():
    agent = q_learning(exploration_fraction=0.5, exploration_final_eps=0.1)
    agent.end = 100
    seen = []
    for agent.num_timesteps in (0, 25, 50, 100):
        seen.append(agent.epsilon)
    assert seen == pytest.approx([1.0, 0.55, 0.1, 0.1])


# ---- DQN


def dqn(env="CartPole-v1", **settings):
    return npr.DQN(env, seed=0, verbose=0, **{"net_arch": [8], "buffer_size": 100, **settings})


@pytest.mark.parametrize(
    ("double", "terminated", "y"), [(False, 0, 2.8), (True, 0, 2.35), (False, 1, 1), (True, 1, 1)]
)
def test_dqn_target_by_hand(double, terminated, y):
    agent = dqn(double=double)
    values = {"theta": rows(1, 3), "theta_bar": rows(2, 1.5)}
    agent.Q = lambda theta, s: values["theta" if theta is agent.theta else "theta_bar"][None]
    got = agent.target(rows(1), np.zeros((1, 4), F), rows(terminated), 0.9)
    assert got == pytest.approx(y)


def test_dqn_takes_the_gradient_of_its_loss(monkeypatch):
    checked = every_loss_checked(monkeypatch, "dqn")
    agent, rng = dqn(), np.random.default_rng(1)
    before = agent.theta.copy()
    agent.update(*small(rng), 0.99)
    assert len(checked) == 1 and not np.array_equal(agent.theta, before)


@pytest.mark.parametrize(
    ("ended", "r", "power"),
    [(None, 1 + 0.9 * 2 + 0.81 * 3, 0.729), (2, 1 + 0.9 * 2, 0.81), (1, 1.0, 0.9)],
)
def test_n_step_return_by_hand(ended, r, power):
    """r = 1, 2, 3 in one episode, or one that ends after `ended` steps."""
    buffer = ReplayBuffer(10, 1, gamma=0.9, n_step=3)
    episode = 0
    for t in range(4):
        s, s2 = np.full((1, 1), t, F), np.full((1, 1), t + 0.5, F)
        buffer.add(s, np.zeros(1, int), rows(t + 1), s2, rows(t + 1 == ended), np.array([episode]))
        episode += t + 1 == ended
    s, a, got, s2, terminated, gamma = buffer.sample(200, np.random.default_rng(0))
    first = s[:, 0] == 0
    assert got[first] == pytest.approx(r) and gamma[first] == pytest.approx(power)
    steps = ended or 3
    assert (s2[first] == steps - 0.5).all()  # the true observation after the last of the steps
    assert (terminated[first] == (ended is not None)).all()


def test_linear_dqn_reaches_the_optimum_of_dynamic_programming():
    """One-hot states and no hidden layer are a table. Episodes are cut at 20 steps, so that a
    time-out taken for the end of the world would show."""
    agent = dqn(
        M2, net_arch=[], gamma=0.9, max_episode_steps=20, learning_rate="linear:0.05:0.001",
        batch_size=32, buffer_size=5_000, learning_starts=200, train_freq=1,
        exploration_final_eps=1.0, target_update_interval=50, max_grad_norm=1e6,
    )  # fmt: skip
    agent.learn(6_000)
    assert np.abs(agent.Q(agent.theta, np.eye(2, dtype=F)) - M2.Q_STAR).max() < 1e-2


# ---- PPO


def ppo(env="CartPole-v1", **settings):
    given = {"net_arch": [8], "n_envs": 1, "n_steps": 16, "batch_size": 8, **settings}
    return npr.PPO(env, seed=0, verbose=0, **given)


@pytest.mark.parametrize(
    ("ratio", "A", "objective", "slope"),
    [(1.5, 1, 1.2, 0), (1.5, -1, -1.5, -1.5), (0.5, 1, 0.5, 0.5), (0.5, -1, -0.8, 0),
     (1.1, 1, 1.1, 1.1)],
)  # fmt: skip
def test_clipped_objective_by_hand(ratio, A, objective, slope):
    def L(logp):
        r = exp(logp)
        return minimum(r * A, clip(r, 0.8, 1.2) * A).sum()

    value, g = value_and_grad(L)(np.log(np.array([ratio])))
    assert value == pytest.approx(objective) and g[0] == pytest.approx(slope)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_ppo_takes_the_gradients_of_its_losses(monkeypatch, env):
    checked = every_loss_checked(monkeypatch, "ppo")
    agent, rng = ppo(env, ent_coef=0.1), np.random.default_rng(1)
    box = env == "Pendulum-v1"
    s, a, A, _, _ = small(rng, s=agent.observations.size, a=1 if box else None)
    logp = agent.pi(agent.theta, s).log_prob(a) + rng.normal(0, 0.1, len(A)).astype(F)
    agent.update(s, a, A, A + 1, logp)
    assert len(checked) == 2


def test_first_minibatch_of_a_rollout_has_ratio_one():
    agent = ppo(n_epochs=1, batch_size=16)
    seen = []
    agent.log = seen.append
    agent.learn(16)
    assert len(seen) == 1
    assert np.abs(seen[0]["approx_kl"]).max() < 1e-6 and not seen[0]["clip_fraction"].any()


def test_approx_kl_is_the_k3_estimate():
    agent = ppo()
    s = np.zeros((4, 4), F)
    a = np.zeros(4, int)
    logp = agent.pi(agent.theta, s).log_prob(a) - np.log(F(1.5))
    metrics = agent.update(s, a, rows(1, 2, 3, 4), rows(0, 0, 0, 0), logp)
    np.testing.assert_allclose(metrics["approx_kl"], 0.094535, atol=1e-5)
    agent.log(metrics)
    held = agent.logger.snapshot()  # the means
    assert held["train/approx_kl"] == pytest.approx(0.094535, abs=1e-5)
    assert held["train/clip_fraction"] == 1


def test_clipping_stops_a_two_armed_bandit_at_six_tenths():
    """pi_old = (1/2, 1/2) and A = (1, -1). With p the new chance of arm 0, the ratios are 2p and
    2(1 - p); arm 0 has no slope from 2p = 1.2 on, arm 1 none from 2(1 - p) = 0.8 on: both stop
    at p = 0.6, and without clipping p would go to 1."""
    agent = ppo(net_arch=[], normalize_advantage=False, learning_rate=1e-3)
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    for _ in range(2_000):
        agent.update(s, a, rows(1, -1), rows(0, 0), np.log(rows(0.5, 0.5)))
    p = np.exp(agent.pi(agent.theta, s[:1]).log_prob(np.array([0])))[0]
    assert 0.599 < p < 0.61


def test_advantages_are_normalised_with_the_unbiased_deviation():
    agent = ppo(learning_rate=0.0)
    s, a = np.zeros((4, 4), F), np.zeros(4, int)
    logp = agent.pi(agent.theta, s).log_prob(a)
    # at ratio e^d the surrogate is e^d A where it is not clipped: read the normalised A off it
    for i, expected in enumerate([-1.161895, -0.387298, 0.387298, 1.161895]):
        moved = logp.copy()
        moved[i] -= 0.1
        loss = agent.update(s, a, rows(1, 2, 3, 4), rows(0, 0, 0, 0), moved)
        assert -4 * loss["policy_gradient_loss"] / (np.exp(0.1) - 1) == pytest.approx(
            expected, 1e-3
        )


# ---- SAC


def sac(env="Pendulum-v1", **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 1, **settings}
    return npr.SAC(env, seed=0, verbose=0, **given)


@pytest.mark.parametrize(("terminated", "y"), [(0, 2.6236), (1, 1.0)])
def test_sac_target_by_hand(terminated, y):
    """Critics that say 2 and 1.5 everywhere, log pi = -.7: y = 1 + .99 (1.5 + .2 x .7)."""
    agent = sac(ent_coef=0.2, learning_rate=0.0)
    for vector in (agent.theta, agent.theta_bar, agent.phi):
        vector[:] = 0
    agent.theta_bar[:, -1] = 2, 1.5
    noise2 = np.array([[u_of_log_prob(-0.7)]], F)
    s, a = np.zeros((1, 3), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.99, np.zeros((1, 1), F), noise2)
    assert loss["critic_loss"] == pytest.approx(y**2, rel=1e-4)  # two critics at zero


def test_sac_actor_loss_by_hand():
    """Q = -2 (a - .3)^2, alpha = .2, mean 0, log std 0, noise 1."""

    def J(out):
        a, logp = TanhGaussian(out).sample(np.ones((1, 1)))
        q = ad_min(ad_stack([-2 * (a[:, 0] - 0.3) ** 2] * 2), axis=0)
        return (0.2 * logp - q).mean()

    loss, g = value_and_grad(J)(np.zeros((1, 2)))
    assert loss == pytest.approx(0.315863, abs=1e-6)
    assert g[0] == pytest.approx([1.080068, 0.880068], abs=1e-6)


def test_sac_takes_the_gradients_of_its_losses_and_the_actor_leaves_the_critics_alone(monkeypatch):
    checked = every_loss_checked(monkeypatch, "sac")
    rng = np.random.default_rng(1)
    agent = sac(batch_size=7)
    noise = rng.standard_normal((2, 7, 1)).astype(F)
    theta = agent.theta.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*small(rng, s=3, a=1), 0.99, *noise)
    assert len(checked) == 2
    assert np.array_equal(agent.theta, theta)


@pytest.mark.parametrize(("log_prob", "falls"), [(-1, True), (3, False)])
def test_sac_temperature_moves_towards_the_target_entropy(log_prob, falls):
    """H_bar = -1: at log pi = -1 the policy is more random than asked, at 3 it is less."""
    agent = sac(learning_rate=1e-2)
    agent.phi[:] = 0
    s, a, zero = np.zeros((1, 3), F), np.zeros((1, 1), F), np.zeros((1, 1), F)
    if falls:
        noise = np.array([[u_of_log_prob(log_prob)]], F)
    else:
        agent.phi[-1] = -6  # log std: a density of e^5
        noise = zero
    agent.update(s, a, rows(0), s, rows(1), 0.99, noise, zero)
    assert (agent.log_alpha[0] < 0) == falls


def temperature_of_entropy(target):
    """The alpha whose best policy has that entropy, by bisection: entropy rises with alpha."""
    low, high = 0.01, 3.0
    for _ in range(10):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if best_tanh_gaussian(middle)[1] < target else (low, middle)
    return middle


def learnt_bandit(**settings):
    agent = sac(
        Bandit, net_arch=[16, 16], batch_size=64, learning_rate="linear:5e-3:5e-4",
        learning_starts=200, **settings,
    ).learn(4_000)  # fmt: skip
    noise = np.random.default_rng(0).standard_normal((4_000, 1)).astype(F)
    a, logp = agent.pi(agent.phi, np.zeros((4_000, 1), F)).sample(noise)
    return agent, a.mean(), -logp.mean()


def test_sac_with_a_fixed_temperature_finds_the_best_policy_of_a_bandit():
    mean, entropy = best_tanh_gaussian(0.5)
    _, got_mean, got_entropy = learnt_bandit(ent_coef=0.5)
    assert got_mean == pytest.approx(mean, abs=0.05)
    assert got_entropy == pytest.approx(entropy, abs=0.1)


def test_sac_learns_the_temperature_that_its_target_entropy_asks_for():
    alpha = temperature_of_entropy(-1.0)
    agent, _, entropy = learnt_bandit()
    assert entropy == pytest.approx(-1.0, abs=0.15)
    assert np.exp(agent.log_alpha[0]) == pytest.approx(alpha, rel=0.3)


# ---- an endless world: V = 1 / (1 - .9) = 10, though episodes are cut after ten steps


@pytest.mark.parametrize("name", ["QLearning", "Sarsa"])
def test_time_outs_are_not_terminal_for_tables(name):
    class Table(ConstantReward):
        observation_space = None

        def __init__(self):
            super().__init__(10)
            self.observation_space = M2().observation_space

        def reset(self, **kwargs):
            super().reset(**kwargs)
            return 0, {}

        def step(self, action):
            return 0, *super().step(action)[1:]

    agent = getattr(npr, name)(Table, seed=0, verbose=0, gamma=0.9, learning_rate=0.5)
    agent.learn(2_000)
    assert agent.Q[0] == pytest.approx([10, 10], rel=0.01)


@pytest.mark.parametrize("name", ["DQN", "PERDQN"])
@pytest.mark.parametrize("n_step", [1, 3])
def test_time_outs_are_not_terminal_for_dqn(name, n_step):
    agent = getattr(npr, name)(
        lambda: ConstantReward(10), seed=0, verbose=0, gamma=0.9, net_arch=[], max_grad_norm=1e6,
        learning_rate=0.05, learning_starts=100, train_freq=1, target_update_interval=20,
        n_step_return=n_step, buffer_size=2_000,
    ).learn(2_500)  # fmt: skip
    assert agent.Q(agent.theta, np.ones((1, 1), F)).max() == pytest.approx(10, rel=0.01)


def test_time_outs_are_not_terminal_for_ppo():
    agent = ppo(
        lambda: ConstantReward(10), gamma=0.9, net_arch=[], learning_rate="linear:0.1:0.01",
        n_steps=32, batch_size=32, n_epochs=4, max_grad_norm=1e6,
    ).learn(6_000)  # fmt: skip
    assert agent.V(agent.phi, np.ones((1, 1), F))[0] == pytest.approx(10, rel=0.01)


def test_time_outs_are_not_terminal_for_sac():
    """With a negligible temperature the soft value is the plain one."""
    agent = sac(
        ConstantBox, gamma=0.9, ent_coef=1e-6, learning_rate=0.02, batch_size=32, tau=0.05,
        learning_starts=50,
    ).learn(1_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q[:, 0] == pytest.approx([10, 10], rel=0.01)


def test_death_is_terminal_for_dqn():
    """The same world, ended for good after ten steps: of ten targets from its one state, nine are
    1 + .9 Q and one is 1. Huber's slope is the error held to one, so Q rests where
    .9 (1 + .9 Q - Q) - .1 = 0: at 80/9 = 8.889."""
    agent = dqn(
        lambda: ConstantReward(10, both=True), gamma=0.9, net_arch=[], batch_size=256,
        learning_rate="linear:0.1:0.001", learning_starts=1_000, train_freq=1, buffer_size=1_000,
        target_update_interval=20, max_grad_norm=1e6,
    ).learn(5_000)  # fmt: skip
    assert agent.Q(agent.theta, np.ones((1, 1), F)).mean() == pytest.approx(80 / 9, abs=0.15)


def test_death_is_terminal_for_sac():
    """Of squared errors the mean: Q = 1 + .9 (.9 Q) = 5.263158; the smaller of two critics is
    a little below it, and without the mask it were 10."""
    agent = sac(
        lambda: ConstantBox(both=True), gamma=0.9, ent_coef=1e-6, batch_size=256, tau=0.05,
        learning_rate="linear:0.02:0.001", learning_starts=50, buffer_size=1_000,
    ).learn(2_500)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q.mean() == pytest.approx(5.263158, abs=0.5)


# ---- Sarsa


def sarsa(env=M2, **settings):
    return npr.Sarsa(env, seed=0, verbose=0, **settings)


@pytest.mark.parametrize(("expected", "value"), [(False, 1.27), (True, 1.441)])
def test_sarsa_steps_by_hand(expected, value):
    """a2 = 0: the target is 1 + .9 x 3; the mean over an epsilon of .1: 1 + .9 x 4.9."""
    agent = sarsa(
        learning_rate=0.1, gamma=0.9, expected=expected, exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
    )  # fmt: skip
    agent.Q[:] = [[1, 2], [3, 5]]
    agent.update(0, 0, 1.0, 1, 0, False)
    assert agent.Q[0, 0] == pytest.approx(value)


def soft_optimum(epsilon, gamma=0.9):
    """The best table among epsilon-greedy policies in M2, by dynamic programming."""
    Q = np.zeros((2, 2))
    for _ in range(1_000):
        v = (1 - epsilon) * Q.max(axis=1) + epsilon * Q.mean(axis=1)
        Q = np.array([[gamma * v[0], 1 + gamma * v[1]], [2 + gamma * v[0], 3.0]])
    return Q


@pytest.mark.parametrize("expected", [False, True])
def test_sarsa_reaches_the_best_soft_policy_not_the_best_policy(expected):
    target = soft_optimum(0.3)
    assert np.abs(target - M2.Q_STAR).max() > 1
    agent = sarsa(
        gamma=0.9, learning_rate="linear:0.2:0.002", expected=expected, max_episode_steps=20,
        exploration_initial_eps=0.3, exploration_final_eps=0.3,
    ).learn(20_000)  # fmt: skip
    assert np.abs(agent.Q - target).max() < (0.02 if expected else 0.3)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsa_takes_the_action_that_it_learnt_with(n_envs):
    agent = sarsa(n_envs=n_envs, exploration_final_eps=1.0)
    learnt, taken = {}, []
    original = agent.update

    def update(s, a, r, s2, a2, terminated):
        learnt.setdefault("rows", []).append((int(s2), int(a2), bool(terminated)))
        taken.append((int(s), int(a)))
        original(s, a, r, s2, a2, terminated)

    agent.update = update
    agent.learn(60 * n_envs)
    for i in range(n_envs):  # environment after environment, in turn
        rows, actions = learnt["rows"][i::n_envs], taken[i::n_envs]
        for (s2, a2, ended), (s, a) in zip(rows, actions[1:]):
            assert ended or (s, a) == (s2, a2)


# ---- PER-DQN


def per_dqn(**settings):
    given = {"net_arch": [8], "buffer_size": 100, **settings}
    return npr.PERDQN("CartPole-v1", seed=0, verbose=0, **given)


def test_the_weight_multiplies_the_loss_of_its_sample():
    """y = 3, 1, Q = 2, 3, w = 1, .5, on squares without the half: Huber's slope is the error held
    to one, so the gradients in Q are -1 and .5 of -1, over the two of them."""
    agent = per_dqn(net_arch=[], double=False)
    seen = {}
    agent.adam.step = lambda theta, g: seen.update(g=g.copy())
    agent.theta[:] = 0
    agent.theta[-2:] = 2, 3  # the biases are the values of both actions
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    metrics = agent.update(s, a, rows(3, 1), s, rows(1, 1), 0.99, rows(1, 0.5))
    assert metrics["delta"] == pytest.approx([1, -2])
    assert seen["g"][-2:] == pytest.approx([-0.5, 0.25])
    assert metrics["loss"] == pytest.approx((0.5 + 0.5 * 1.5) / 2)


def test_priorities_follow_the_td_errors_of_the_batch():
    agent = per_dqn(learning_starts=20, batch_size=8, per_alpha=1.0).learn(60)
    tree = agent.buffer.tree
    assert len(set(tree[:60].tolist())) > 10
    assert (tree[:60] > 0).all() and (tree[60:] == 0).all()


def test_per_dqn_takes_the_gradient_of_its_loss(monkeypatch):
    checked = every_loss_checked(monkeypatch, "per_dqn")
    agent, rng = per_dqn(), np.random.default_rng(1)
    agent.update(*small(rng), 0.99, rng.random(7).astype(F))
    assert len(checked) == 1


def test_another_normalization_is_refused():
    with pytest.raises(npr.ConfigError, match="PERDQN: per_normalization must be 'batch' or"):
        per_dqn(per_normalization="sum")


# ---- DDPG and TD3


def ddpg(env="Pendulum-v1", algorithm="DDPG", **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 1, **settings}
    return getattr(npr, algorithm)(env, seed=0, verbose=0, **given)


def test_the_actor_climbs_its_critic_by_hand():
    """mu = w s with w = .5, s = 1, Q = -(a - 2)^2: dJ/dw = 3, and one step of .1 leads to .8."""

    def minus_J(w):
        return ((w * 1.0 - 2.0) ** 2).mean()

    w = np.array([0.5])
    _, g = value_and_grad(minus_J)(w)
    npr.optim.SGD(w, 0.1).step(w, g)
    assert -g[0] == pytest.approx(3) and w[0] == pytest.approx(0.8)


@pytest.mark.parametrize(("terminated", "y"), [(0, -1.304), (1, 1.0)])
def test_ddpg_target_by_hand(terminated, y):
    """Q = -(2 a - 2)^2 at the target's action .2, r = 1, gamma = .9."""
    agent = ddpg(learning_rate=0.0)
    agent.theta[:] = 0
    agent.mu = lambda phi, s: np.full((1, 1), 0.2, F)
    Q = agent.Q
    agent.Q = lambda theta, s, a: (
        -((2 * a[:, 0] - 2) ** 2)[None] if theta is agent.theta_bar else Q(theta, s, a)
    )
    s, a, zero = np.zeros((1, 3), F), np.zeros((1, 1), F), np.zeros((1, 1), F)
    loss = agent.update(s, a, rows(1), s, rows(terminated), 0.9, zero, delayed=True)
    assert loss["critic_loss"] == pytest.approx(y**2 if terminated else (1 - 0.9 * 2.56) ** 2)
    assert terminated or pytest.approx(y) == 1 - 0.9 * 2.56


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
def test_ddpg_takes_the_gradients_of_its_losses_and_the_actor_leaves_the_critic_alone(
    monkeypatch, algorithm
):
    checked = every_loss_checked(monkeypatch, "ddpg")
    rng = np.random.default_rng(1)
    agent = ddpg(algorithm=algorithm, batch_size=7)
    theta, phi = agent.theta.copy(), agent.phi.copy()
    agent.adam_theta.step = lambda *_: None
    agent.update(*small(rng, s=3, a=1), 0.99, agent.target_noise())
    assert len(checked) == 2
    assert np.array_equal(agent.theta, theta) and not np.array_equal(agent.phi, phi)


def test_td3_moves_actor_and_targets_every_second_time():
    agent = ddpg(algorithm="TD3", batch_size=4, learning_starts=4)
    moved = []
    agent.log = lambda metrics: (
        moved.append("actor_loss" in metrics) or setattr(agent, "n_updates", agent.n_updates + 1)
    )
    agent.learn(12)
    assert moved == [True, False] * 4 + [True]


def test_ddpg_finds_the_best_action_of_a_bandit():
    agent = ddpg(
        Bandit, net_arch=[32, 32], batch_size=64, learning_rate="linear:3e-3:1e-4",
        learning_starts=500,
    ).learn(2_500)  # fmt: skip
    assert agent.act(np.zeros(1, F))[0] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
def test_time_outs_are_not_terminal_for_ddpg(algorithm):
    agent = ddpg(
        ConstantBox, algorithm, gamma=0.9, learning_rate="linear:0.02:0.001", batch_size=32,
        tau=0.05, learning_starts=50,
    ).learn(1_500 if algorithm == "DDPG" else 4_000)  # fmt: skip
    q = agent.Q(agent.theta, np.ones((1, 1), F), np.zeros((1, 1), F))
    assert q.ravel() == pytest.approx([10] * len(q), rel=0.01)


@pytest.mark.parametrize(
    ("sigma", "dt", "deviation"),
    [(0.2, 1.0, 0.379663), (0.2, 0.01, 0.365285), (0.5, 0.01, 0.913213)],
)
def test_ornstein_uhlenbeck_noise_has_its_stationary_deviation(sigma, dt, deviation):
    assert sigma * np.sqrt(dt / (1 - (1 - 0.15 * dt) ** 2)) == pytest.approx(deviation, abs=1e-6)
    noise, rng = OrnsteinUhlenbeck(1, sigma, 0.15, dt), np.random.default_rng(0)
    episodes = np.arange(4_000)
    noise(rng, episodes)
    noise.x[:] = deviation * rng.standard_normal((4_000, 1))
    for _ in range(50):
        x = noise(rng, episodes)
    assert x.std() == pytest.approx(deviation, rel=0.05)
    before = x.copy()
    x = noise(rng, np.where(episodes < 1_000, 4_000 + episodes, episodes))
    step = sigma * np.sqrt(dt)
    assert x[:1_000].std() == pytest.approx(step, rel=0.1)  # one step from zero
    assert (x - (1 - 0.15 * dt) * before)[1_000:].std() == pytest.approx(step, rel=0.1)
    assert noise(rng, episodes[:2]).shape == (2, 1)


@pytest.mark.parametrize(("kind", "sigma"), [(None, 0.0), ("normal", 0.3), ("ou", 0.3)])
def test_sac_explores_with_noise_on_top_of_its_policy(kind, sigma):
    agent = sac(action_noise=kind, exploration_noise=0.3, learning_starts=0, n_envs=500)
    agent.phi[:], agent.phi[-1] = 0, -20.0  # the policy itself says zero
    agent.envs.reset()
    for _ in range(50):
        a = agent.explore(np.zeros((500, 3), F))
    assert np.abs(a).max() <= 1
    expected = 0.1 * sigma * np.sqrt(50) if kind == "ou" else sigma
    assert a.std() == pytest.approx(expected, rel=0.2, abs=1e-3)


def test_another_noise_is_refused():
    with pytest.raises(npr.ConfigError, match="DDPG: action_noise must be 'normal' or 'ou'"):
        ddpg(action_noise="pink")


@pytest.mark.parametrize(
    ("algorithm", "env", "settings"),
    [
        ("Sarsa", "CliffWalking-v1", {"max_episode_steps": 30}),
        ("PERDQN", "CartPole-v1", {"net_arch": [8], "learning_starts": 20, "n_step_return": 2}),
        ("DDPG", "Pendulum-v1", {"net_arch": [8], "learning_starts": 20, "batch_size": 8}),
        ("TD3", "Pendulum-v1", {"net_arch": [8], "learning_starts": 20, "action_noise": "ou",
                                "batch_size": 8, "n_envs": 2}),
    ],
)  # fmt: skip
def test_same_seed_same_bytes_and_a_file_keeps_them(tmp_path, algorithm, env, settings):
    if algorithm != "Sarsa":
        settings = {**settings, "buffer_size": 100}
    paths = [tmp_path / name for name in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        agent = getattr(npr, algorithm)(env, seed=3, verbose=0, **settings).learn(80)
        agent.save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    s = 7 if algorithm == "Sarsa" else np.zeros(agent.observations.shape, F)
    assert np.array_equal(loaded.act(s), agent.act(s))
    assert np.array_equal(npr.infer.load(paths[0])(s), agent.act(s))
    assert loaded.learn(40, reset_num_timesteps=False).num_timesteps == 120
