"""REINFORCE, Q actor-critic, A2C and PPO-KL against numbers worked out by hand.

What they share with PPO (heads for all kinds of actions) is tested here for all of them.
"""

import math

import gymnasium.spaces as gs
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from oracles import F, every_loss_checked, rows, small
from tiny import Spaces
from toy_envs import Bandit, ConstantReward, CountingEnv, counting_envs

import npr
from npr.autodiff import stop_gradient
from npr.heads import Categorical

ON_POLICY = ("REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL")
SHORT = {  # settings of runs that are a few updates long
    "REINFORCE": {"n_episodes": 2},
    "QActorCritic": {"n_steps": 8},
    "A2C": {},
    "PPO": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "PPOKL": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
}
every_algorithm = pytest.mark.parametrize("name", ON_POLICY)


def agent_of(name, env="CartPole-v1", **settings):
    given = {"net_arch": [8], "n_envs": 1, **SHORT[name], **settings}
    return getattr(npr, name)(env, seed=0, verbose=0, **given)


# ---- actions of all kinds

SPACES = {
    "Discrete": gs.Discrete(3, start=-1),
    "Box": gs.Box(np.array([-2, 0], F), np.array([1, 5], F)),
    "MultiDiscrete": gs.MultiDiscrete([3, 1, 4]),
    "MultiDiscrete in a square": gs.MultiDiscrete([[2, 3], [4, 2]]),
    "MultiBinary": gs.MultiBinary(3),
    "MultiBinary in a square": gs.MultiBinary((2, 2)),
}


@every_algorithm
@pytest.mark.parametrize("kind", SPACES)
def test_every_kind_of_action_is_learnt_saved_and_carried_away(tmp_path, name, kind):
    """The environment refuses an action outside its space."""

    def env():
        return Spaces(gs.Box(-1, 1, (2,), F), SPACES[kind])

    agent = agent_of(name, env, n_envs=2).learn(96)
    assert agent.n_updates > 1
    s = np.array([[0.3, -0.4], [1.0, 0.0], [-0.2, 0.9]], F)
    agent.save(tmp_path / "agent.npz")
    for policy in (npr.load(tmp_path / "agent.npz").policy, npr.infer.load(tmp_path / "agent.npz")):
        for deterministic in (True, False):
            rngs = np.random.default_rng(1), np.random.default_rng(1)
            a = agent.policy(s, deterministic, rngs[0])
            assert np.array_equal(a, policy(s, deterministic, rngs[1]))
            assert all(SPACES[kind].contains(one) for one in a)
            assert SPACES[kind].contains(policy(s[0], deterministic))


class Match(Spaces):
    """One step; the reward is the share of an action's parts that are the right ones."""

    def __init__(self, space, right):
        super().__init__(gs.Box(-1, 1, (1,), F), space, length=1)
        self.right = np.array(right)

    def step(self, action):
        observation, *_ = super().step(action)
        return observation, float((action == self.right).mean()), True, False, {}


@every_algorithm
@pytest.mark.parametrize(
    ("space", "right"),
    [(gs.MultiDiscrete([3, 2, 4]), [2, 0, 1]), (gs.MultiBinary((2, 2)), [[0, 1], [1, 0]])],
    ids=["MultiDiscrete", "MultiBinary"],
)
def test_the_right_joint_action_is_found(name, space, right):
    agent = agent_of(
        name, lambda: Match(space, right), n_envs=4, learning_rate=0.02, ent_coef=0.0,
        **({"n_episodes": 32} if name == "REINFORCE" else {"n_steps": 8}),
    ).learn(4_000)  # fmt: skip
    assert np.array_equal(agent.act(np.zeros(1, F)), right)


@every_algorithm
def test_the_mean_of_a_gaussian_finds_the_best_action(name):
    agent = agent_of(
        name, Bandit, n_envs=8, learning_rate="linear:0.02", log_std_init=-0.5,
        **({"n_episodes": 64} if name == "REINFORCE" else {"n_steps": 8}),
    ).learn(10_000)  # fmt: skip
    assert agent.act(np.zeros(1, F))[0] == pytest.approx(0.3, abs=0.1)


@every_algorithm
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_the_same_seed_gives_the_same_bytes_and_a_file_keeps_them(tmp_path, name, env):
    paths = [tmp_path / f for f in ("one.npz", "two.npz", "again.npz")]
    for path in paths[:2]:
        agent_of(name, env, max_episode_steps=20, n_envs=2).learn(120).save(path)
    loaded = npr.load(paths[0])
    loaded.save(paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    assert loaded.learn(60, reset_num_timesteps=False).num_timesteps == 180


@pytest.mark.parametrize("name", ["REINFORCE", "A2C", "PPO", "PPOKL"])
def test_time_outs_are_not_terminal(name):
    """V = 1 / (1 - .9) = 10, though episodes are cut after ten steps."""
    longer = {"PPO": {"n_steps": 32, "batch_size": 32}, "PPOKL": {"n_steps": 32, "batch_size": 32}}
    agent = agent_of(
        name, lambda: ConstantReward(10), gamma=0.9, net_arch=[], learning_rate="linear:0.1:0.01",
        max_grad_norm=1e6, **longer.get(name, {}),
    ).learn(8_000)  # fmt: skip
    assert agent.V(agent.phi, np.ones((1, 1), F))[0] == pytest.approx(10, rel=0.01)


def test_time_outs_are_not_terminal_for_the_q_critic():
    agent = agent_of(
        "QActorCritic", lambda: ConstantReward(10), gamma=0.9, net_arch=[], n_steps=20,
        learning_rate="linear:0.1:0.01", max_grad_norm=1e6, ent_coef=1.0,
    ).learn(4_000)  # fmt: skip
    q = agent.critic(agent.w, np.ones((1, 1), F))[0]
    assert q == pytest.approx([10, 10], rel=0.01)


MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


@every_algorithm
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_steps", [1, 2, 5])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_resets_in_any_mode_are_no_experience(name, mode, n_steps):
    """Two environments that both reset themselves in every fourth step, and nothing else."""
    env = SyncVectorEnv([lambda: CountingEnv(0, ((3, "terminated"),))] * 2, autoreset_mode=mode)
    settings = {} if name == "REINFORCE" else {"n_steps": n_steps}
    settings |= {"normalize_advantage": False} if name in ("A2C", "PPO", "PPOKL") else {}
    agent = agent_of(name, env, learning_rate=0.01, **settings)
    kept = []
    update = agent.update
    agent.update = lambda *batch: kept.append(batch[0]) or update(*batch)
    agent.learn(60)
    assert agent.n_updates > 2
    assert all(np.isfinite(x).all() for x in vars(agent).values() if isinstance(x, np.ndarray))
    seen = agent.logger.snapshot()
    assert all(np.isfinite(v) for key, v in seen.items() if key.startswith("train/"))
    # the third and last step of an episode leads to t = 3, where nothing is done
    assert max(s[..., 2].max() for s in kept) <= (3 if name == "QActorCritic" else 2)


# ---- whole episodes


def episodes_of(envs, n_episodes, budget, **settings):
    """The rollouts that `episodes` yields, from an agent that always takes action 0."""
    agent = agent_of("REINFORCE", envs, n_episodes=n_episodes, **settings)
    seen = []

    def train():
        seen.extend(agent.episodes(n_episodes, lambda s: np.zeros(len(s), np.int64)))

    agent.train = train
    agent.learn(budget)
    return agent, seen


def test_rollouts_hold_whole_episodes_from_their_first_step_to_their_last():
    plan = ((3, "terminated"), (2, "truncated"), (4, "both"))
    _, rollouts = episodes_of(lambda: CountingEnv(0, plan), 2, 18)
    for rollout in rollouts:
        episode, t = rollout.s[:, 0, 1], rollout.s[:, 0, 2]
        ends = np.flatnonzero(rollout.done[:, 0])
        assert rollout.valid.all() and len(ends) == 2 and ends[-1] == len(t) - 1
        assert t[0] == 0 and t[ends[0] + 1] == 0 and len(set(episode)) == 2
        assert np.array_equal(rollout.steps()[:, 0], t)
    assert sum(len(rollout.r) for rollout in rollouts) == 18


def test_every_environment_gives_as_many_episodes():
    factories = iter(counting_envs() * 2)
    agent, rollouts = episodes_of(lambda: next(factories)(), 6, 100, n_envs=3)
    assert len(rollouts) > 2
    for rollout in rollouts:
        finished = (rollout.done > 0) & rollout.valid
        assert (finished.sum(axis=0) == 2).all()
        for i in range(3):
            rows = rollout.valid[:, i]
            assert rollout.s[0, i, 2] == 0  # from the start, also after the last rollout
            assert np.array_equal(rollout.steps()[rows, i], rollout.s[rows, i, 2])
            assert finished[rows, i][-1]


def test_an_episode_that_the_budget_cuts_is_dropped_and_none_begins_in_its_middle():
    agent, rollouts = episodes_of(lambda: CountingEnv(0, ((4, "terminated"),)), 2, 14)
    assert [int(r.valid.sum()) for r in rollouts] == [8, 4]  # two steps of the fourth are dropped
    seen = []
    agent.train = lambda: seen.extend(agent.episodes(1, lambda s: np.zeros(1, np.int64)))
    agent.learn(4)
    assert seen[0].s[0, 0, 2] == 0 and seen[0].valid.all()


def test_no_episode_within_the_budget_is_worth_a_warning():
    agent = agent_of("REINFORCE", lambda: CountingEnv(0, ((100, "terminated"),)))
    with pytest.warns(RuntimeWarning, match="no 2 episodes ended within 50 steps"):
        agent.learn(50)


# ---- REINFORCE


def gradients(agent, *names):
    """Catch the gradients that the named optimisers are given, instead of taking the steps."""
    caught = {name: [] for name in names}
    for name in names:
        getattr(agent, name).step = lambda theta, g, name=name: caught[name].append(g.copy())
    return caught


def bandit_policy(name="REINFORCE", **settings):
    """Two arms, logits that are the two biases alone, even chances."""
    settings = {"net_arch": [], "normalize_advantage": False, "max_grad_norm": 1e6, **settings}
    agent = agent_of(name, **settings)
    agent.theta[:] = 0
    return agent


def test_one_step_of_a_softmax_bandit_by_hand():
    """theta = (0, 0), arm 0, G = 1, step .1: theta = (.05, -.05)."""
    agent = bandit_policy(baseline=False)
    caught = gradients(agent, "adam_theta")
    agent.update(np.zeros((1, 4), F), np.array([0]), rows(1), rows(1))
    assert -0.1 * caught["adam_theta"][0][-2:] == pytest.approx([0.05, -0.05])


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_the_gradient_is_unbiased_and_a_constant_baseline_does_not_change_it(constant):
    """Rewards (1, 0) and even chances: the expected gradient is (.25, -.25)."""
    agent = bandit_policy(baseline=constant > 0)
    agent.phi[:], agent.phi[-1] = 0, constant
    caught = gradients(agent, "adam_theta", "adam_phi")
    a = np.random.default_rng(0).integers(2, size=100_000)
    agent.update(np.zeros((len(a), 4), F), a, (a == 0).astype(F), np.ones(len(a), F))
    assert -caught["adam_theta"][0][-2:] == pytest.approx([0.25, -0.25], abs=0.01)


@pytest.mark.parametrize(
    ("discount_state", "weighted"), [(False, [2.75, 3.5, 3]), (True, [2.75, 1.75, 0.75])]
)
def test_returns_of_an_episode_by_hand(discount_state, weighted):
    """gamma = .5 and rewards 1, 2, 3, which are those of CountingEnv."""
    agent = agent_of(
        "REINFORCE", lambda: CountingEnv(0, ((3, "terminated"),)), n_episodes=1, gamma=0.5,
        baseline=False, discount_state=discount_state,
    )  # fmt: skip
    agent.explore = lambda s: np.zeros(len(s), np.int64)
    seen = []
    agent.update = lambda s, a, G, weight: seen.append(weight * G) or {}
    agent.learn(3)
    assert seen[0] == pytest.approx(weighted)


def test_the_return_goes_on_with_the_value_where_time_ran_out():
    """The same, cut by time, with V = 4: 3.25, 4.5, 5."""
    agent = agent_of(
        "REINFORCE", lambda: CountingEnv(0, ((3, "truncated"),)), n_episodes=1, gamma=0.5
    )
    agent.explore = lambda s: np.zeros(len(s), np.int64)
    agent.phi[:], agent.phi[-1] = 0, 4
    seen = []
    agent.update = lambda s, a, G, weight: seen.append(G) or {}
    agent.learn(3)
    assert seen[0] == pytest.approx([3.25, 4.5, 5])


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_reinforce_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = every_loss_checked(monkeypatch, "reinforce")
    agent, rng = agent_of("REINFORCE", env, ent_coef=0.1, vf_epochs=2), np.random.default_rng(1)
    s, a, G, _, _ = small(rng, s=agent.observations.size, a=a)
    agent.update(s, a, G, rng.random(7).astype(F))
    assert len(checked) == 3


# ---- Q actor-critic


def q_critic_saying(agent, values):
    """Biases alone: the same values of both actions everywhere."""
    agent.w[:], agent.w[-2:] = 0, values


def q_batch(*steps):
    """Columns (T, 1, ...) of steps (a, r, a2, terminated) of CartPole."""
    a, r, a2, terminated = zip(*steps)
    T = len(steps)
    zeros, valid = np.zeros((T, 1, 4), F), np.ones((T, 1), bool)
    column = [np.array(x)[:, None] for x in (a, r, a2, terminated)]
    return zeros, column[0], rows(*r)[:, None], zeros, column[2], rows(*terminated)[:, None], valid


@pytest.mark.parametrize(("terminated", "delta"), [(0, 1.8), (1, 0.0)])
def test_the_critic_steps_along_the_td_error_of_sarsa(terminated, delta):
    """Q(s, a) = 1, Q(s2, a2) = 2, r = 1, gamma = .9: delta = 1.8, and Q is 1.18 after a step of
    .1; where the world ended, the target is the reward alone."""
    agent = agent_of("QActorCritic", net_arch=[], gamma=0.9, max_grad_norm=1e6)
    q_critic_saying(agent, (1, 2))
    caught = gradients(agent, "adam_w", "adam_theta")
    agent.update(*q_batch((0, 1.0, 1, terminated)), [])
    assert -caught["adam_w"][0][-2:] == pytest.approx([delta, 0], abs=1e-6)
    assert 1 - 0.1 * caught["adam_w"][0][-2] == pytest.approx(1 + 0.1 * delta)


def test_what_the_last_step_taught_is_seen_by_the_step_before():
    """Backwards: the second step raises Q(., 1) before the first one bootstraps from it."""
    agent = agent_of("QActorCritic", net_arch=[], gamma=1.0, max_grad_norm=1e6)
    q_critic_saying(agent, (0, 0))
    agent.adam_w = npr.optim.SGD(agent.w, learning_rate=1.0)
    gradients(agent, "adam_theta")
    agent.update(*q_batch((0, 0.0, 1, 0), (1, 3.0, 0, 1)), [])
    assert agent.w[-2:] == pytest.approx([3, 3])


@pytest.mark.parametrize(("baseline", "weights"), [(True, [-1.5, 0.5]), (False, [1, 3])])
def test_the_actor_is_weighted_by_q_less_its_mean(baseline, weights):
    """Q = (1, 3), pi = (.25, .75): the advantages are -1.5 and .5, whose mean under pi is 0; the
    entropy of pi is .562335."""
    agent = agent_of("QActorCritic", net_arch=[], baseline=baseline, learning_rate=0.0)
    q_critic_saying(agent, (1, 3))
    agent.theta[:], agent.theta[-1] = 0, math.log(3)
    seen = gradients(agent, "adam_theta")["adam_theta"]
    for a in (0, 1):
        metrics = agent.update(*q_batch((a, 0.0, 0, 0)), [])
        assert metrics["policy_gradient_loss"] == pytest.approx(
            -weights[a] * math.log([0.25, 0.75][a]), rel=1e-5
        )
    assert metrics["entropy_loss"] == pytest.approx(-0.562335, abs=1e-6)
    assert len(seen) == 2


def test_the_next_action_is_the_one_that_was_taken():
    plan = ((3, "terminated"), (2, "truncated"))
    agent = agent_of("QActorCritic", lambda: CountingEnv(0, plan), n_steps=12)
    seen = []
    agent.update = lambda *data: seen.append(data) or {}
    agent.learn(24)
    for s, a, _, s2, a2, _, _, _ in seen:
        follows = np.flatnonzero((s[1:, 0] == s2[:-1, 0]).all(axis=-1))
        assert len(follows) > 4 and np.array_equal(a2[follows], a[follows + 1])


@pytest.mark.parametrize("kind", ["Discrete", "Box", "MultiDiscrete", "MultiBinary"])
def test_q_actor_critic_takes_the_gradients_of_its_losses(monkeypatch, kind):
    checked = every_loss_checked(monkeypatch, "q_actor_critic")
    agent = agent_of(
        "QActorCritic", lambda: Spaces(gs.Box(-1, 1, (2,), F), SPACES[kind]), n_envs=3, n_steps=4
    )
    agent.learn(12)
    assert len(checked) == 5


# ---- A2C


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_a2c_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = every_loss_checked(monkeypatch, "a2c")
    agent, rng = agent_of("A2C", env, ent_coef=0.1), np.random.default_rng(1)
    s, a, A, R, _ = small(rng, s=agent.observations.size, a=a)
    agent.update(s, a, A, R[:, 0])
    assert len(checked) == 2


# ---- PPO-KL


@pytest.mark.parametrize(("env", "a"), [("CartPole-v1", None), ("Pendulum-v1", 1)])
def test_ppo_kl_takes_the_gradients_of_its_losses(monkeypatch, env, a):
    checked = every_loss_checked(monkeypatch, "ppo_kl")
    agent, rng = agent_of("PPOKL", env, ent_coef=0.1), np.random.default_rng(1)
    s, a, A, R, _ = small(rng, s=agent.observations.size, a=a)
    out_old = agent.actor(agent.theta, s)
    out_old = out_old + rng.normal(0, 0.3, out_old.shape).astype(F)
    agent.update(s, a, A, R[:, 0], agent.head(out_old).log_prob(a), out_old, 0.7)
    assert len(checked) == 2


@pytest.mark.parametrize(
    ("d", "factor"), [(0.0151, 2), (0.0149, 1), (0.01, 1), (0.0067, 1), (0.0066, 0.5)]
)
def test_the_coefficient_moves_when_the_divergence_misses_its_target_by_half(d, factor):
    agent = agent_of("PPOKL", target_kl=0.01, kl_coef=0.3)
    agent.adapt(d)
    assert agent.kl_weight[0] == pytest.approx(0.3 * factor)


def test_the_coefficient_stays_in_its_range():
    agent = agent_of("PPOKL")
    for d, end in ((1.0, 100), (0.0, 1e-4)):
        for _ in range(30):
            agent.adapt(d)
        assert agent.kl_weight[0] == end


def test_the_coefficient_is_adapted_once_per_rollout_and_saved(tmp_path):
    agent = agent_of("PPOKL", n_epochs=5, target_kl=1e3)  # never reached: halved each time
    agent.learn(24)
    assert agent.kl_weight[0] == 1 / 8
    agent.save(tmp_path / "agent.npz")
    assert npr.load(tmp_path / "agent.npz").kl_weight[0] == 1 / 8


def test_epochs_end_where_the_policy_has_gone_too_far():
    agent = agent_of("PPOKL", n_epochs=50, target_kl=1e-9, learning_rate=0.01, batch_size=8)
    agent.learn(8)
    assert agent.n_updates == 1


def test_a_rollout_begins_at_no_divergence():
    agent = agent_of("PPOKL")
    s = np.random.default_rng(0).standard_normal((5, 4)).astype(F)
    assert agent.divergence(s, agent.actor(agent.theta, s)) == pytest.approx(0, abs=1e-7)


def test_the_penalty_stops_a_two_armed_bandit_where_the_forward_divergence_does():
    """pi_old = (1/2, 1/2), A = (1, -1), lambda = 1. With p the new chance of arm 0, the mean of
    ratio times A is 2p - 1 and KL(old || new) = -1/2 log(4 p (1 - p)); the slope of their
    difference is zero where (2p - 1) / (p - p^2) = 4: p = (1 + sqrt 5) / 4 = .809. KL(new || old)
    would stop at 1 / (1 + e^-2) = .881."""
    agent = bandit_policy("PPOKL", learning_rate="linear:0.02")
    s, a = np.zeros((2, 4), F), np.array([0, 1])
    logp_old, out_old = np.log(rows(0.5, 0.5)), np.zeros((2, 2), F)
    for _ in range(600):
        agent.update(s, a, rows(1, -1), rows(0, 0), logp_old, out_old, 1.0)
    p = np.exp(Categorical(stop_gradient(agent.actor(agent.theta, s[:1]))).logp[0, 0])
    assert p == pytest.approx((1 + math.sqrt(5)) / 4, abs=0.005)
