"""Siblings of Q-learning and Sarsa: several steps, traces, two tables and step sizes that decrease,
against loops over the log of an environment that are as slow and obvious as the textbook's.
"""

import copy
import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.agent_factories import q_learning, sarsa

import npr
from npr import ConfigError
from npr.traces import Trail

STATES, ACTIONS, GAMMA = 5, 3, 0.9


class Walk(gym.Env):
    """States 0 to 4 from 2; actions move by -1, 0 and 1, beyond an end it terminates. `log` has
    (env, episode, s, a, r, s2, terminated, over), in the order of the steps of all environments."""

    observation_space, action_space = spaces.Discrete(STATES), spaces.Discrete(ACTIONS)

    def __init__(self, log, limit):
        self.log, self.limit, self.episode = log, limit, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s, self.t, self.episode = 2, 0, self.episode + 1
        return self.s, {}

    def step(self, a):
        s, self.t = self.s, self.t + 1
        s2 = s + int(a) - 1
        terminated, r = not 0 <= s2 < STATES, float(self.np_random.normal() + s)
        self.s = min(max(s2, 0), STATES - 1)
        over = terminated or self.t == self.limit
        r = float(np.float32(r))  # as it is kept
        self.log.append((id(self), self.episode, s, int(a), r, self.s, terminated, over))
        return self.s, r, terminated, over and not terminated, {}


def run(algorithm, n_envs, limit, steps=240, **settings):
    """(Q after the steps, Q before them, log of them and of one more, their number, agent)."""
    log = []
    given = {"learning_rate": 0.1, "gamma": GAMMA, "exploration_initial_eps": 0.5,
             "exploration_final_eps": 0.5, **settings}  # fmt: skip
    agent = algorithm(lambda: Walk(log, limit), n_envs=n_envs, **given)
    before = agent.Q[:] = np.random.default_rng(1).standard_normal((STATES, ACTIONS))
    agent.learn(steps)
    Q, n = agent.Q.copy(), len(log)
    assert any(over and not terminated for *_, terminated, over in log) == (limit < steps)
    agent.learn(n_envs, reset_num_timesteps=False)  # so that the log has the actions chosen last
    return Q, before, log, n, agent


def episodes(log):
    """The steps of each episode, as (time in the log, s, a, r, s2, terminated, over)."""
    found = {}
    for t, (env, episode, *step) in enumerate(log):
        found.setdefault((env, episode), []).append((t, *step))
    return list(found.values())


def step_sizes(power):
    """Functions of (s, a): the step size of its next visit, and that of the last one."""
    N = np.zeros((STATES, ACTIONS))

    def visit(s, a):
        N[s, a] += 1
        return last(s, a)

    def last(s, a):
        return 0.1 / N[s, a] ** power

    return visit, last


def returns(log, T, n):
    """(s, a, sum of rewards, discount, s2, terminated, a2) of n steps as in section 7.2 of the
    book, of the first T steps of a log: each at the time when the last of its rewards is known."""
    due = {}
    for steps in episodes(log):
        for i, (_, s, a, *_) in enumerate(steps):
            part = steps[i : i + n]
            time, *_, s2, terminated, over = part[-1]
            if len(part) == n or over:
                rewards = sum(GAMMA**k * one[3] for k, one in enumerate(part))
                a2 = steps[i + n][2] if i + n < len(steps) else None
                one = s, a, rewards, GAMMA ** len(part), s2, terminated, a2
                due.setdefault(time, []).append(one)
    return [one for time in range(T) for one in due.get(time, [])]


def several_steps(Q, log, T, n, value, power):
    visit, _ = step_sizes(power)
    for s, a, rewards, discount, s2, terminated, a2 in returns(log, T, n):
        y = rewards + (0 if terminated else discount * value(Q, s2, a2))
        Q[s, a] += visit(s, a) * (y - Q[s, a])
    return Q


def with_traces(Q, log, T, decay, replacing, value, cut, power):
    """Traces as in sections 12.7 and 12.10, in a table for each episode, of the first T steps."""
    next_action = {}
    for steps in episodes(log):
        for one, later in itertools.pairwise(steps):
            next_action[one[0]] = later[2]
    traces, (visit, last) = {}, step_sizes(power)
    for t, (env, episode, s, a, r, s2, terminated, _) in enumerate(log[:T]):
        e = traces.setdefault((env, episode), np.zeros((STATES, ACTIONS)))
        e *= GAMMA * decay * (0 if cut and Q[s, a] < Q[s].max() else 1)
        e[s, a] = 1 if replacing else e[s, a] + 1
        y = r + (0 if terminated else GAMMA * value(Q, s2, next_action.get(t)))
        visit(s, a)
        error = y - Q[s, a]
        for x, b in np.argwhere(e).tolist():
            Q[x, b] += last(x, b) * error * e[x, b]
    return Q


def best(Q, s2, a2):
    return Q[s2].max()


def mean(Q, s2, a2):
    """Of the epsilon-greedy policy."""
    return 0.5 * Q[s2].max() + 0.5 * Q[s2].mean()


def sampled(Q, s2, a2):
    return Q[s2, a2]


# Sarsa without a time limit, since an action that was drawn for a target only is not in the log
KINDS = {
    "QLearning": (q_learning, best, 6, {}),
    "expected": (sarsa, mean, 6, {"expected": True}),
    "Sarsa": (sarsa, sampled, 10**9, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(("n", "power"), [(1, 1.0), (2, 0.0), (4, 0.8), (50, 0.0)])
def test_several_steps_are_those_of_a_loop(kind, n_envs, n, power):
    algorithm, value, limit, settings = KINDS[kind]
    settings = {**settings, "n_step_return": n, "visit_power": power}
    Q, before, log, T, _ = run(algorithm, n_envs, limit, **settings)
    expected = several_steps(before, log, T, n, value, power)
    assert np.abs(Q - expected).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("traces", ["accumulating", "replacing"])
@pytest.mark.parametrize(("decay", "power"), [(0.7, 0.0), (1.0, 0.6)])
def test_traces_are_those_of_a_loop(kind, n_envs, traces, decay, power):
    algorithm, value, limit, settings = KINDS[kind]
    settings = {**settings, "trace_decay": decay, "traces": traces, "visit_power": power}
    Q, before, log, T, _ = run(algorithm, n_envs, limit, **settings)
    arguments = decay, traces == "replacing", value, kind == "QLearning", power
    assert np.abs(Q - with_traces(before, log, T, *arguments)).max() < 1e-9


@pytest.mark.parametrize(("n", "power"), [(1, 0.0), (1, 1.0), (3, 0.5)])
def test_double_q_learning_is_that_of_a_loop(n, power):
    log = []
    agent = q_learning(
        lambda: Walk(log, 6), double=True, learning_rate=0.1, gamma=GAMMA, n_step_return=n,
        visit_power=power,
    )  # fmt: skip
    coins = copy.deepcopy(agent.rng["sample"])
    agent.learn(300)
    A, B = np.zeros((2, STATES, ACTIONS))
    (visit_A, _), (visit_B, _) = step_sizes(power), step_sizes(power)
    for s, a, rewards, discount, s2, terminated, _ in returns(log, len(log), n):
        heads = coins.random() < 0.5
        mine, other, visit = (B, A, visit_B) if heads else (A, B, visit_A)
        y = rewards + (0 if terminated else discount * other[s2, mine[s2].argmax()])
        mine[s, a] += visit(s, a) * (y - mine[s, a])
    assert np.abs(agent.tables - [A, B]).max() < 1e-9
    assert np.abs(agent.Q - (A + B) / 2).max() < 1e-9
    assert agent.policy.theta is agent.Q


# ---- known values


class RandomWalk(gym.Env):
    """Example 6.2 of the book: states 0 to 4 from 2, one action, which moves left or right at
    random; beyond the right end it pays 1. The values are 1/6 to 5/6."""

    observation_space, action_space = spaces.Discrete(5), spaces.Discrete(1)

    def __init__(self, log=None):
        self.log = [] if log is None else log

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = 2
        self.log.append(([], []))
        return 2, {}

    def step(self, a):
        self.log[-1][0].append(self.s)
        self.s += 1 if self.np_random.random() < 0.5 else -1
        self.log[-1][1].append(float(self.s == 5))
        return min(max(self.s, 0), 4), float(self.s == 5), not 0 <= self.s < 5, False, {}


@pytest.mark.parametrize("algorithm", [q_learning, sarsa])
def test_harmonic_steps_without_bootstrapping_average_the_returns_of_every_visit(algorithm):
    log = []
    agent = algorithm(
        lambda: RandomWalk(log), gamma=1.0, learning_rate=1.0, visit_power=1.0, n_step_return=10**6
    ).learn(1_000)
    returns = {s: [] for s in range(5)}
    for states, rewards in log[:-1]:  # the last episode is not over
        for s in states:
            returns[s].append(rewards[-1])
    assert agent.Q[:, 0] == pytest.approx([np.mean(returns[s]) for s in range(5)], abs=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"trace_decay": 0.8, "traces": "replacing"},
        {"double": True},
        {"learning_rate": 1.0, "visit_power": 0.7},
    ],
    ids=str,
)
def test_the_values_of_a_random_walk(settings):
    algorithm = q_learning if "double" in settings else sarsa
    given = {"learning_rate": "linear:0.1:0.001", "gamma": 1.0, "max_episode_steps": None}
    agent = algorithm(RandomWalk, **given | settings).learn(8_000)
    assert agent.Q[:, 0] == pytest.approx(np.arange(1, 6) / 6, abs=0.08)


# ---- files

SIBLINGS = {
    "several steps": ("Sarsa", {"n_step_return": 4, "visit_power": 0.5}),
    "expected": ("Sarsa", {"expected": True, "trace_decay": 0.9, "traces": "replacing"}),
    "traces": ("QLearning", {"trace_decay": 0.9, "visit_power": 1.0}),
    "double": ("QLearning", {"double": True, "n_step_return": 3, "visit_power": 0.5}),
}


@pytest.mark.parametrize("sibling", SIBLINGS)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_run(sibling, n_envs, tmp_path):
    name, settings = SIBLINGS[sibling]

    def agent():
        return getattr(npr, name)(
            "CliffWalking-v1", seed=0, verbose=0, n_envs=n_envs, max_episode_steps=20, **settings
        )

    def stop(agent):
        return agent.num_timesteps < 50 * n_envs

    agent().learn(120 * n_envs).save(tmp_path / "whole.npz")
    part = agent().learn(120 * n_envs, callback=stop)
    part.save(tmp_path / "part.npz")
    loaded = npr.load(tmp_path / "part.npz")
    for one in (part, loaded):
        one.learn(120 * n_envs - one.num_timesteps, reset_num_timesteps=False)
        one.save(tmp_path / "end.npz")
        assert (tmp_path / "end.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("settings", [{"n_step_return": 3}, {"trace_decay": 0.9}])
def test_trails_hold_the_episodes_of_the_environments(settings):
    agent = q_learning("CliffWalking-v1", n_envs=2, max_episode_steps=7, **settings).learn(100)
    trail = agent.recent if "n_step_return" in settings else agent.eligible
    assert 0 < len(trail) <= 2


def test_a_trail_refuses_a_state_that_is_none():
    trail = Trail(6)
    trail.visit(3, 5, 0.5, False)
    trail.visit(3, 2, 0.5, False)
    trail.visit(4, 0, 0.5, False)
    trail.visit(3, 5, 0.5, False)
    state, other = trail.state(), Trail(6)
    assert state["pairs"].tolist() == [[3, 5], [3, 2], [4, 0]]
    assert state["numbers"].tolist() == [1.25, 0.5, 1.0]
    other.load(state)
    assert other.state()["pairs"].tolist() == state["pairs"].tolist()
    assert other.visit(3, 2, 0.5, True)[1].tolist() == [0.625, 1.0]
    with pytest.raises(ConfigError, match="pairs of episodes must be below 6, the table's"):
        other.load({**state, "pairs": state["pairs"] + 1})
    with pytest.raises(ConfigError, match="The pairs of episodes must be int64"):
        other.load({**state, "pairs": state["pairs"].T})
    with pytest.raises(ConfigError, match="The numbers of episodes must be float64"):
        other.load({**state, "numbers": state["numbers"][1:]})
    with pytest.raises(ConfigError, match="numbers of episodes holds numbers that are not finite"):
        other.load({**state, "numbers": state["numbers"] * np.nan})


# ---- settings


@pytest.mark.parametrize(
    ("algorithm", "settings", "match"),
    [
        (sarsa, {"n_step_return": 2, "trace_decay": 0.5}, "Sarsa: n_step_return=2 and trace_decay"),
        (q_learning, {"double": True, "trace_decay": 0.5}, "double=True updates one step at a"),
        (q_learning, {"traces": "dutch"}, "traces must be 'accumulating' or 'replacing', got"),
        (sarsa, {"double": True}, "Sarsa has no setting 'double'"),
        (sarsa, {"trace_decay": 1.5}, r"trace_decay must be in \[0, 1\]"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(algorithm, settings, match):
    with pytest.raises(ConfigError, match=match):
        algorithm(**settings)


def test_a_plain_agent_has_no_further_state():
    for agent in (q_learning(), sarsa()):
        assert agent.N is agent.recent is agent.eligible is agent.tables is None
        assert agent.coin() == 0


# ---- steps of the caller


@pytest.mark.parametrize("sibling", SIBLINGS)
def test_observed_steps_are_learned_from_as_in_a_run(sibling):
    name, settings = SIBLINGS[sibling]

    def cliff():
        return gym.make("CliffWalking-v1", max_episode_steps=15)

    def agent():  # with an epsilon that does not depend on the budget
        given = {"exploration_initial_eps": 0.3, "exploration_final_eps": 0.3, **settings}
        return getattr(npr, name)(cliff, seed=0, verbose=0, **given)

    one, other, env = agent().learn(100), agent(), cliff()
    s, _ = env.reset()
    for _ in range(100):
        a = other.select_action(s)
        s2, r, terminated, truncated, _ = env.step(a)
        other.observe(s, a, r, s2, terminated, truncated)
        s = env.reset()[0] if terminated or truncated else s2
    assert other.Q.any() and other.Q.tobytes() == one.Q.tobytes()
