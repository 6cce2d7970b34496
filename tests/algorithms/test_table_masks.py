"""Masks of actions with tables: forbidden actions are never taken, and their values are -inf."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.agent_factories import q_learning, sarsa

import npr
from npr import CheckpointError, ConfigError, EnvContractError, NumericsError
from npr.backend import is_finite
from npr.envs.table_masks import TableMasks
from npr.files.archive import read_archive, write_archive

K = 5
MASKS = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 0, 1, 0]])


class Locked(gym.Env):
    """Four states; action a leads from s to (s + a) % 4, and pays a. A forbidden one is an error.

    by      "info", or "method" for action_masks()
    """

    observation_space, action_space = spaces.Discrete(4), spaces.Discrete(K)

    def __init__(self, by="info", masks=MASKS, ends=0.05):
        self.masks, self.ends = masks, ends
        if by == "method":
            self.action_masks = lambda: self.masks[self.s]
        self.info = (lambda: {"action_mask": self.masks[self.s]}) if by == "info" else dict

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s, self.t = int(self.np_random.integers(4)), 0
        return self.s, self.info()

    def step(self, a):
        assert self.masks[self.s][a], "a forbidden action"
        self.s, self.t = (self.s + int(a)) % 4, self.t + 1
        over = bool(self.np_random.random() < self.ends)
        return self.s, float(a), over, self.t == 30, self.info()


def optimum(gamma):
    """The action values of the best policy where no episode ends, by dynamic programming."""
    Q = np.where(MASKS, 0.0, -np.inf)
    for _ in range(500):
        v = Q.max(axis=1)
        for s, a in np.argwhere(MASKS):
            Q[s, a] = a + gamma * v[(s + a) % 4]
    return Q


KINDS = {
    "QLearning": (q_learning, {}),
    "double": (q_learning, {"double": True, "visit_power": 0.5, "n_step_return": 2}),
    "Watkins": (q_learning, {"trace_decay": 0.7}),
    "Sarsa": (sarsa, {}),
    "expected": (sarsa, {"expected": True, "n_step_return": 3}),
    "lambda": (sarsa, {"trace_decay": 0.9, "traces": "replacing"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_envs", "by"), [(1, "method"), (3, "info")])
def test_forbidden_actions_are_never_taken(kind, n_envs, by, tmp_path):
    algorithm, settings = KINDS[kind]
    env = functools.partial(Locked, by)
    agent = algorithm(env, n_envs=n_envs, action_masks=True, **settings).learn(400)
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz", env=env)
    for one in (agent, loaded):
        assert (np.isneginf(one.Q) == (MASKS == 0)).all() and not np.isnan(one.Q).any()
        one.learn(200, reset_num_timesteps=False)
        one.evaluate(episodes=5, seed=0, deterministic=False)
    assert agent.Q.tobytes() == loaded.Q.tobytes()
    if agent.double:
        assert (np.isneginf(agent.tables) == (MASKS == 0)).all()
    policy, rng = npr.infer.load(tmp_path / "agent.npz"), np.random.default_rng(0)
    for acts in (functools.partial(agent.act, deterministic=False),
                 functools.partial(policy, deterministic=False, rng=rng)):  # fmt: skip
        for s in range(4):
            assert all(MASKS[s, acts(s)] for _ in range(50))


def test_the_optimum_of_the_allowed_actions():
    agent = q_learning(
        functools.partial(Locked, ends=0), action_masks=True, gamma=0.9, learning_rate=1.0,
        exploration_final_eps=1.0,
    ).learn(2_000)  # fmt: skip
    allowed = MASKS > 0
    assert np.abs(agent.Q[allowed] - optimum(0.9)[allowed]).max() < 0.02
    assert (np.isneginf(agent.Q) == (MASKS == 0)).all()


def test_random_actions_are_uniform_among_those_that_are_allowed():
    agent = q_learning(Locked, action_masks=True, exploration_initial_eps=1.0)
    q = np.array([-np.inf, 1.0, 2.0, -np.inf, 0.0])
    draws = np.bincount([agent.epsilon_greedy(q) for _ in range(3_000)], minlength=K) / 3_000
    assert draws[[0, 3]].tolist() == [0, 0]
    assert np.abs(draws[[1, 2, 4]] - 1 / 3).max() < 0.03


def test_the_expectation_is_that_of_the_allowed_actions():
    agent = sarsa(Locked, action_masks=True, exploration_initial_eps=0.3)
    q = np.array([-np.inf, 1.0, 2.0, -np.inf, 0.0])
    assert agent.expectation(q) == pytest.approx(0.7 * 2 + 0.3 * 1)


@pytest.mark.slow
def test_an_agent_without_masks_fails_where_one_with_masks_learns():
    """In Taxi three of six actions of a place only cost a step, or ten: pickups and drop-offs."""
    given = {"seed": 0, "verbose": 0, "learning_rate": 0.5}
    masked, other = (
        npr.QLearning("Taxi-v4", action_masks=masks, **given).learn(15_000)
        for masks in (True, False)
    )
    means = [agent.evaluate(episodes=20, seed=1).mean for agent in (masked, other)]
    assert means[0] > means[1] + 50


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_masks_of_a_vector_environment(mode):
    mode = gym.vector.AutoresetMode[mode]
    env = gym.vector.SyncVectorEnv([Locked] * 2, autoreset_mode=mode)
    agent = npr.QLearning(env, seed=0, verbose=0, action_masks=True, max_episode_steps=None)
    agent.learn(300)
    assert (np.isneginf(agent.Q) == (MASKS == 0)).all()


def test_a_mask_that_changes_at_an_observation_is_an_error():
    class Moody(Locked):
        def step(self, a):
            if self.t == 20:
                self.masks = MASKS.copy()
                self.masks[2] = [1, 1, 0, 1, 0]
            return super().step(a)

    with pytest.raises(EnvContractError, match=r"observation 2 allowed the actions \[0, 3\] and "
                       r"allows \[0, 1, 3\] now. A table needs masks that depend on"):  # fmt: skip
        q_learning(functools.partial(Moody, ends=0), action_masks=True).learn(200)


def test_a_table_remembers_the_masks_that_its_values_have():
    masks, Q = TableMasks(2, 3), np.array([[0, -np.inf, 1], [0, 0, 0]])
    both = np.zeros((2, 2, 3))
    masks.hold([Q, both])
    assert masks.allowed.tolist() == [[1, 0, 1], [1, 1, 1]]
    masks.note(0, np.array([1, 0, 1]))
    masks.note(1, np.array([0, 1, 1]))
    assert np.isneginf([Q, *both]).tolist() == [[[False, True, False], [True, False, False]]] * 3
    with pytest.raises(EnvContractError, match=r"observation 0 allowed the actions \[0, 2\]"):
        masks.note(0, np.array([1, 1, 1]))


@pytest.mark.parametrize(
    ("masks", "match"),
    [
        (np.zeros((4, K)), "A mask allows no action"),
        (np.ones((4, K + 1)), "as the mask of actions"),
        ([None] * 4, "action_masks=True needs the actions that are allowed next"),
    ],
)
def test_invalid_masks_are_refused(masks, match):
    with pytest.raises(EnvContractError, match=match):
        q_learning(lambda: Locked(masks=masks), action_masks=True).learn(10)


def test_a_policy_takes_a_mask_for_a_call():
    agent = q_learning(Locked, action_masks=True).learn(300)
    for s in range(4):
        for a in np.flatnonzero(MASKS[s]):
            assert agent.act(s, action_masks=np.arange(K) == a) == a


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_mask_of_a_call_that_leaves_nothing_is_an_error(deterministic):
    agent = q_learning(Locked, action_masks=True).learn(300)
    with pytest.raises(EnvContractError, match="were forbidden at this observation in training"):
        agent.predict(3, action_masks=1 - MASKS[3], deterministic=deterministic)


def test_infinite_values_are_refused_elsewhere(tmp_path):
    Q = np.array([[0.0, -np.inf], [1.0, 2.0]])
    assert is_finite(Q, masked=True) and not is_finite(Q)
    for bad in (np.inf, np.nan):
        assert not is_finite(np.where(np.isinf(Q), bad, Q), masked=True)
    assert not is_finite(np.array([[-np.inf, -np.inf]]), masked=True), "nothing is allowed"
    plain = q_learning()
    plain.Q[0, 0] = -np.inf
    with pytest.raises(NumericsError, match="params/Q contains NaN or infinite values"):
        plain.save(tmp_path / "plain.npz")
    agent = q_learning(Locked, action_masks=True).learn(100)
    agent.save(tmp_path / "agent.npz")
    manifest, arrays = read_archive(tmp_path / "agent.npz")
    for bad in (np.full((4, K), -np.inf), np.full((4, K), np.inf)):
        write_archive(tmp_path / "bad.npz", manifest, {**arrays, "params/Q": bad})
        with pytest.raises(CheckpointError, match="not finite|NaN or infinite values"):
            npr.load(tmp_path / "bad.npz", env=Locked)


def test_a_masked_table_is_exported(tmp_path):
    agent = q_learning(Locked, action_masks=True).learn(300)
    agent.export(tmp_path / "policy.py", episodes=0)
    scope = {}
    exec((tmp_path / "policy.py").read_text(), scope)
    assert [scope["act"]([s]) for s in range(4)] == [agent.act(s) for s in range(4)]
    agent.export(tmp_path / "policy.py", episodes=5, stochastic=True)
    exec((tmp_path / "policy.py").read_text(), scope)
    for s in range(4):
        drawn = {scope["sample"]([s], (0.0, (i + 0.5) / K)) for i in range(K)}
        assert drawn == {int(a) for a in np.flatnonzero(agent.Q[s] > -np.inf)}


def test_masks_of_observed_steps():
    agent, env = sarsa(Locked, action_masks=True), Locked(ends=0.2)
    s, info = env.reset(seed=0)
    for _ in range(300):
        a = agent.select_action(s, info["action_mask"])
        s2, r, terminated, truncated, info = env.step(a)
        agent.observe(s, a, r, s2, terminated, truncated, action_masks=info["action_mask"])
        if terminated or truncated:
            s2, info = env.reset()
        s = s2
    assert (np.isneginf(agent.Q) == (MASKS == 0)).all()
    agent.select_action(0, MASKS[0])
    with pytest.raises(ConfigError, match="an action that the mask forbids"):
        agent.observe(0, 2, 0.0, 1, False, False, action_masks=MASKS[1])
