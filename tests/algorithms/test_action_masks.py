"""Agents that choose among the actions that an environment allows. The environments here fail at
any other action, so that a run which ends has taken none."""

import functools
import math
import warnings

import numpy as np
import pytest
from support.agent_files import without_workers
from support.local_actors import LocalEngine
from support.masked_envs import Hand, K
from support.small_agents import assert_same_parameters, next_update, small_agent

import npr
from npr.backend import FLOAT
from npr.distributed import actors
from npr.errors import ConfigError, ConfigWarning, EnvContractError, SpaceError
from npr.training.evaluation import evaluate

JOINT = ("REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL")
DISCRETE = ("DQN", "DQN-n", "PERDQN", "SAC-Discrete", "SoftQ-n")
CASES = [
    *((case, "discrete") for case in (*DISCRETE, *JOINT)),
    *((case, kind) for case in JOINT for kind in ("multidiscrete", "multibinary")),
]
every_case = pytest.mark.parametrize(("case", "kind"), CASES)


def masked_agent(case, kind="discrete", how="info", **settings):
    env = functools.partial(Hand, kind, how)
    return small_agent(case, env, action_masks=True, **settings)


def forbidden(agent, kind, rows):
    """The probability of what masks forbid, by the policy in training: one number per row."""
    pi, total = agent.pi(getattr(agent, agent.policy_parameters), rows), np.zeros(len(rows))
    masks = rows[:, K:]
    if kind == "discrete":
        return (np.exp(pi.logp) * (masks == 0)).sum(axis=-1)
    if kind == "multidiscrete":
        for part, (i, j) in zip(pi.parts, ((0, K), (K, K + 3))):
            total += (np.exp(part.logp) * (masks[:, i:j] == 0)).sum(axis=-1)
        return total
    one = 0.5 + 0.5 * np.tanh(0.5 * pi.logits)
    return (one * (masks[:, 1::2] == 0) + (1 - one) * (masks[:, 0::2] == 0)).sum(axis=-1)


def rows_of(agent, kind, n=50):
    """Rows with the masks of hands that are not empty."""
    rng = np.random.default_rng(0)
    env, rows = Hand(kind), []
    for _ in range(n):
        env.reset(seed=int(rng.integers(1 << 30)))
        rows.append(np.concatenate([env.held, env.mask()]))
    return np.array(rows, FLOAT)


@every_case
def test_nothing_forbidden_is_done_in_training_evaluating_saving_and_resuming(case, kind, tmp_path):
    agent = masked_agent(case, kind, n_envs=2)
    agent.learn(100)
    agent.evaluate(functools.partial(Hand, kind), episodes=5, deterministic=False)
    if hasattr(agent, "pi") and kind in ("discrete", "multidiscrete", "multibinary"):
        assert forbidden(agent, kind, rows_of(agent, kind)).max() == 0
    agent.save(tmp_path / "a.npz")
    other = npr.load(tmp_path / "a.npz", env=functools.partial(Hand, kind, "method"))
    for one in (agent, other):
        one.learn(100, reset_num_timesteps=False)
    assert_same_parameters(agent, other)  # in the middle of episodes, too


@pytest.mark.parametrize(
    ("case", "kind"), [("PPO", "multidiscrete"), ("DQN", "discrete"), ("SAC-Discrete", "discrete")]
)
def test_workers_carry_masks(case, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "_new_engine", lambda name, *args: LocalEngine(*args))
    found = []
    for n_workers in (0, 2):
        agent = masked_agent(case, kind, n_envs=4, n_workers=n_workers).learn(200)
        found.append(without_workers(agent, tmp_path / "a.npz"))
    assert found[0] == found[1] or case != "PPO"  # a replay's workers act one block ahead


def test_with_normalized_observations_masks_stay_as_they_are(tmp_path):
    agent = masked_agent("PPO", normalize_obs=True, n_envs=2).learn(200)
    assert agent.obs_norm.moments.mean.shape == (K,)
    rows = rows_of(agent, "discrete")
    np.testing.assert_array_equal(agent.obs_norm(rows)[:, K:], rows[:, K:])
    agent.evaluate(Hand, episodes=3)
    agent.save(tmp_path / "a.npz")
    policy = npr.infer.load(tmp_path / "a.npz")
    masks = rows[:, K:]
    np.testing.assert_array_equal(
        policy(rows[:, :K], action_masks=masks), agent.act(rows[:, :K], action_masks=masks)
    )
    result = evaluate(policy, Hand(), 3, 0, False, 100, action_masks=True)
    assert len(result.returns) == 3


# ---- the numbers, by brute force over the actions that are allowed


def q_of(agent, theta, s):
    """Values of all actions, without masks."""
    y = agent.net(theta, s[:, :K])
    return y[:, :1] + y[:, 1:] - y[:, 1:].mean(axis=1, keepdims=True) if agent.dueling else y


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("case", ["DQN", "PERDQN"])
def test_targets_of_dqn_use_the_best_action_that_is_allowed(case, double):
    agent = masked_agent(case, double=double)
    s, a, r, s2, terminated, gamma, *_ = (np.copy(x) for x in next_update(agent, 400))
    y = agent.target(r, s2, terminated, gamma)
    own, bar = q_of(agent, agent.theta, s2), q_of(agent, agent.theta_bar, s2)
    for i, mask in enumerate(s2[:, K:]):
        allowed = np.flatnonzero(mask)
        best = max(allowed, key=lambda k: (own if double else bar)[i, k])
        assert y[i] == pytest.approx(r[i] + gamma * (1 - terminated[i]) * bar[i, best], rel=1e-5)


def test_soft_values_of_softq_count_what_is_allowed():
    agent = masked_agent("SoftQ-n", ent_coef=0.3)
    s2 = rows_of(agent, "discrete")
    V, q = agent.V(agent.theta, s2, None), agent.Q(agent.theta, s2)
    for v, row, mask in zip(V, q, s2[:, K:]):
        exact = 0.3 * math.log(sum(math.exp(x / 0.3) for x in row[mask > 0]))
        assert v == pytest.approx(exact, rel=1e-5)


def test_sac_takes_expectations_and_entropies_over_what_is_allowed():
    agent = masked_agent("SAC-Discrete")
    s = rows_of(agent, "discrete")
    v, logp = agent.soft_value(agent.phi, agent.theta, s, None)
    y, q = agent.actor(agent.phi, s), agent.Q(agent.theta, s).min(axis=0)
    alpha = agent.alpha
    for i, mask in enumerate(s[:, K:] > 0):
        p = np.exp(y[i, mask]) / np.exp(y[i, mask]).sum()
        assert logp[i] == pytest.approx((p * np.log(p)).sum(), abs=1e-5)
        assert v[i] == pytest.approx((p * (q[i, mask] - alpha * np.log(p))).sum(), abs=1e-5)
    counts = s[:, K:].sum(axis=1)
    np.testing.assert_allclose(agent.entropy_at(s), 0.6 * np.log(counts), rtol=1e-6)
    assert masked_agent("SAC-Discrete", target_entropy=0.3).entropy_at(s) == 0.3


def test_explored_actions_are_uniform_among_those_allowed():
    agent = masked_agent("DQN", exploration_initial_eps=1.0, exploration_final_eps=1.0)
    mask, n = np.array([0, 1, 0, 1], FLOAT), 20_000
    rows = np.tile(np.concatenate([np.zeros(K, FLOAT), mask]), (n, 1))
    a = agent.explore(rows)
    assert set(a) == {1, 3}
    assert abs((a == 1).mean() - 0.5) < 4 * 0.5 / math.sqrt(n)


def test_forbidden_logits_have_no_gradient():
    agent = masked_agent("PPO")
    rows = rows_of(agent, "discrete", 1)
    mask = rows[0, K:] > 0
    a = np.array([int(np.flatnonzero(mask)[0])])

    def loss(theta):
        pi = agent.pi(theta, rows)
        return (pi.log_prob(a) + pi.entropy()).sum()

    _, g = npr.autodiff.value_and_grad(loss)(agent.theta)
    *_, (W, b) = agent.actor.layers(g)[0]
    assert np.isfinite(g).all()
    assert (b[~mask] == 0).all()
    assert (W[:, ~mask] == 0).all()
    assert (b[mask] != 0).any()


# ---- acting


def test_predict_takes_masks_for_one_observation_and_for_a_batch():
    agent = masked_agent("PPO")
    one = np.ones(K, np.float32)
    for k in range(K):
        mask = np.arange(K) == k
        for deterministic in (True, False):
            a, _ = agent.predict(one, action_masks=mask, deterministic=deterministic)
            assert a == 2 + k  # the space starts at 2
            batch, _ = agent.predict(
                np.tile(one, (3, 1)), action_masks=[mask] * 3, deterministic=deterministic
            )
            assert batch.tolist() == [2 + k] * 3
    assert agent.act(one, action_masks=[0, 0, 0, 1]) == 5


def test_an_agent_without_masks_takes_one_when_it_acts():
    agent = npr.DQN("CartPole-v1", seed=0, verbose=0)
    for k in (0, 1):
        assert agent.act(np.zeros(4), action_masks=np.arange(2) == k) == k


def test_without_a_mask_there_is_a_warning():
    agent = masked_agent("PPO")
    with pytest.warns(ConfigWarning, match="trained with masks of actions"):
        agent.act(np.ones(K, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.act(np.ones(K, np.float32), action_masks=np.ones(K))


@pytest.mark.parametrize(
    "masks", [[0, 0, 0, 0], [1, 1], [[1, 1, 1, 1]] * 2, [[1], [1, 1, 1]], "abc"]
)
def test_masks_that_do_not_fit_are_refused(masks):
    with pytest.raises(EnvContractError, match=r"mask|action_masks"):
        masked_agent("PPO").act(np.ones(K, np.float32), action_masks=masks)


def test_boxes_have_no_masks():
    with pytest.raises(SpaceError, match="action_masks=True needs Discrete"):
        npr.PPO("Pendulum-v1", action_masks=True)
    with pytest.raises(ConfigError, match="have no meaning"):
        npr.PPO("Pendulum-v1", verbose=0).act(np.zeros(3), action_masks=[1])


def test_an_environment_that_offers_masks_is_said_once(capsys):
    small_agent("DQN", "Taxi-v4", verbose=1).learn(30).learn(30)
    assert capsys.readouterr().out.count("action_masks=True") == 1
    small_agent("DQN", "Taxi-v4", verbose=1, action_masks=True).learn(30)
    small_agent("DQN", verbose=1).learn(30)
    assert "chooses among the allowed ones" not in capsys.readouterr().out


def test_callbacks_and_iterations_see_observations_without_masks():
    seen = []

    class Look(npr.callbacks.Callback):
        def _on_step(self):
            seen.append((self.locals["obs"].shape, self.locals["new_obs"].shape))
            return True

    masked_agent("DQN").learn(5, callback=Look())
    for step in masked_agent("DQN").iterate(5):
        seen.append((step.observations.shape, step.next_observations.shape))
    assert set(seen) == {((1, K), (1, K))}
    assert len(seen) == 10
