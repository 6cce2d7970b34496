"""The door to Gymnasium: whatever stands behind it, the learner sees the same experience.

Reference for every stepping test: single environments in a plain loop, `toy_envs.alone`.
"""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy_envs import (
    M2,
    PLANS,
    SHAPES,
    ActionRecorder,
    Bandit,
    ConstantReward,
    CountingEnv,
    Faulty,
    Fixed,
    Interrupted,
    RandomObservation,
    alone,
    counting_action,
    counting_envs,
)

import npr
from npr.algorithms.base import REGISTRY, Algorithm
from npr.backend import FLOAT
from npr.buffers import PrioritizedReplayBuffer, ReplayBuffer
from npr.envs.contract import action_spec, observation_spec
from npr.envs.make import make_env, open_environments
from npr.envs.spaces import Actions, Observations
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError
from npr.kernels import gae

GAMMA, LAMBDA = 0.9, 0.8


# ---- what stands behind the door, by name


def sync(mode):
    return lambda makers: SyncVectorEnv(makers, autoreset_mode=mode)


def asynchronous(mode, shared_memory=True):
    return lambda makers: AsyncVectorEnv(makers, shared_memory, autoreset_mode=mode)


VECTORS = {
    "sync-next": sync(AutoresetMode.NEXT_STEP),
    "sync-same": sync(AutoresetMode.SAME_STEP),
    "sync-disabled": sync(AutoresetMode.DISABLED),
    "async-next": asynchronous(AutoresetMode.NEXT_STEP),
    "async-same": asynchronous(AutoresetMode.SAME_STEP),
    "async-disabled": asynchronous(AutoresetMode.DISABLED),
    "async-next-pipes": asynchronous(AutoresetMode.NEXT_STEP, shared_memory=False),
    "async-same-pipes": asynchronous(AutoresetMode.SAME_STEP, shared_memory=False),
    "async-disabled-pipes": asynchronous(AutoresetMode.DISABLED, shared_memory=False),
}
KINDS = ("list", *VECTORS)
SYNC_KINDS = ("list", "sync-next", "sync-same", "sync-disabled")


def behind_the_door(kind, makers):
    """(env, n_envs) for an agent: n_envs copies made by npr, or a vector environment."""
    if kind == "list":
        queue = iter(makers)
        return (lambda: next(queue)()), len(makers)
    return VECTORS[kind](makers), 1


class Recorder(Algorithm):
    """An agent that learns nothing and keeps what `interact` yields, row by row."""

    def build(self):
        self.rows, self.episodes = [], []

    def choose(self, s):
        return np.array([counting_action(row) for row in s])

    def train(self):
        for columns in self.interact(self.choose):
            self.episodes.extend(self.last.episode.tolist())
            for s, a, r, s2, terminated in zip(*columns):
                self.rows.append((tuple(s), int(a), float(r), tuple(s2), bool(terminated)))


class RolloutRecorder(Recorder):
    """The same with `rollouts` of eight steps."""

    def train(self):
        self.rows = list(self.rollouts(8, self.choose))


class Keeper(Recorder):
    """The same in what an algorithm learns from, named by `consumer`."""

    consumer = "replay"

    def train(self):
        if self.consumer in ("rollouts", "episodes"):
            consume, each = (
                getattr(Algorithm, self.consumer),
                8 if self.consumer == "rollouts" else 10,
            )
            self.rows = list(consume(self, each, self.choose))
            return
        kind = PrioritizedReplayBuffer if self.consumer == "prioritized" else ReplayBuffer
        self.buffer = kind(1_000, 3, gamma=GAMMA, n_step=3 if self.consumer == "n-step" else 1)
        for columns in self.interact(self.choose):
            self.buffer.add(*columns, self.last.episode)


class RowsOfCartPole(Recorder):
    def choose(self, s):
        return self.rng["explore"].integers(2, size=len(s))


for _name in (
    "Recorder",
    "RolloutRecorder",
    "Keeper",
    "RowsOfCartPole",
):  # they are nothing that a file may name
    del REGISTRY[_name]


def record(kind, makers, steps, cls=Recorder):
    env, n_envs = behind_the_door(kind, makers)
    agent = cls(env, n_envs=n_envs, seed=0, verbose=0).learn(steps)
    agent.envs.close()
    return agent


def by_env(rows):
    """Rows of CountingEnvs in the order of each environment."""
    parts = {}
    for row in rows:
        parts.setdefault(int(row[0][0]), []).append(row)
    return parts


# ---- interact: the same transitions from every kind of environment


@pytest.mark.parametrize("kind", KINDS)
def test_interact_yields_what_each_environment_yields_alone(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.rows) == agent.num_timesteps >= 60, "dead rows must not count"
    parts = by_env(agent.rows)
    assert sorted(parts) == [0, 1, 2]
    for number, rows in parts.items():
        assert len(rows) >= 12
        reference = alone(CountingEnv(number, PLANS[number]), counting_action, len(rows))
        assert rows == [row[:5] for row in reference]


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_crosses_an_episode_and_s2_is_its_true_end(kind):
    for s, _, _, s2, _ in record(kind, counting_envs(), steps=60).rows:
        assert s2 == (s[0], s[1], s[2] + 1)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_every_episode_has_a_number_of_its_own(kind):
    agent = record(kind, counting_envs(), steps=60)
    assert len(agent.episodes) == len(agent.rows)
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}) == len({where for _, where in pairs})


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_one_environment_is_a_vector_of_one(kind):
    rows = record(kind, counting_envs(1), steps=20).rows
    reference = alone(CountingEnv(0, PLANS[0]), counting_action, 20)
    assert rows == [row[:5] for row in reference]


def test_one_environment_may_be_an_env_a_function_or_an_id():
    reference = [row[:5] for row in alone(CountingEnv(), counting_action, 10)]
    assert Recorder(CountingEnv(), verbose=0).learn(10).rows == reference
    assert Recorder(CountingEnv, verbose=0).learn(10).rows == reference
    gym.register("Counting-v0", CountingEnv)
    try:
        assert Recorder("Counting-v0", verbose=0).learn(10).rows == reference
    finally:
        del gym.registry["Counting-v0"]


def test_rows_survive_an_environment_that_reuses_its_array():
    agent = record("list", counting_envs(reuse=True), steps=60)
    assert agent.rows == record("list", counting_envs(), steps=60).rows


def test_learning_goes_on_where_it_stopped():
    makers = counting_envs()
    env, n_envs = behind_the_door("list", makers)
    agent = Recorder(env, n_envs=n_envs, verbose=0).learn(30).learn(30)
    assert agent.rows == record("list", makers, steps=60).rows


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_statistics_are_those_of_whole_episodes(kind):
    agent = record(kind, counting_envs(), steps=60)
    expected = []
    for number, rows in by_env(agent.rows).items():
        total, length = 0.0, 0
        for row in alone(CountingEnv(number, PLANS[number]), counting_action, len(rows)):
            total, length = total + row[2], length + 1
            if row[4] or row[5]:
                expected.append((total, length))
                total, length = 0.0, 0
    assert sorted(agent.logger.episodes) == sorted(expected)
    assert agent.logger.episode_count == len(expected) > 12


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_death_and_time_out_are_kept_apart(kind):
    """(terminated, truncated) of each step, with what the plans of the environments say."""
    makers = counting_envs()
    env, n_envs = behind_the_door(kind, makers)
    envs = open_environments(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    flags = {}
    for _ in range(20):
        a = np.array([counting_action(s) for s in envs.s])
        s2, _, terminated, truncated, valid = envs.step(a)
        for i in np.flatnonzero(valid):
            flags[tuple(s2[i])] = bool(terminated[i]), bool(truncated[i])
    envs.close()
    meaning = {"terminated": (True, False), "truncated": (False, True), "both": (True, True)}
    for (number, episode, t), got in flags.items():
        plan = PLANS[int(number)]
        length, ending = plan[int(episode) % len(plan)]
        assert got == (meaning[ending] if t == length else (False, False))
    assert set(flags.values()) == {(False, False), *meaning.values()}


def test_gymnasiums_vector_cartpole_keeps_to_its_physics():
    """A VectorEnv that is no list of environments: every row is a step of a single CartPole."""
    agent = RowsOfCartPole(gym.make_vec("CartPole-v1", 3), seed=0, verbose=0).learn(200)
    single = gym.make("CartPole-v1").unwrapped
    single.reset(seed=0)
    ends = 0
    for s, a, r, s2, terminated in agent.rows:
        single.state, single.steps_beyond_terminated = s, None
        expected, reward, ended, _, _ = single.step(a)
        np.testing.assert_allclose(s2, expected, atol=1e-5)
        assert (r, terminated) == (reward, ended)
        ends += terminated
    assert ends > 5


def test_own_time_limit_truncates():
    env, n_envs = lambda: CountingEnv(plan=((10, "terminated"),)), 2
    envs = open_environments(env, n_envs, np.random.SeedSequence(0), max_episode_steps=4)
    envs.reset()
    steps = [envs.step(np.zeros(2, int)) for _ in range(5)]
    assert [bool(truncated.all()) for _, _, _, truncated, _ in steps] == [0, 0, 0, 1, 0]
    assert not any(terminated.any() for _, _, terminated, _, _ in steps)
    assert steps[3][0][0].tolist() == [0, 0, 4], "the true last observation"
    assert steps[4][0][0].tolist() == [0, 1, 1], "the first step of the next episode"


def test_dead_rows_are_marked_in_next_step_mode():
    env = SyncVectorEnv([lambda: CountingEnv(plan=((1, "terminated"),))])
    envs = open_environments(env, 1, np.random.SeedSequence(0))
    envs.reset()
    assert [bool(envs.step(np.zeros(1, int))[4][0]) for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    assert envs.s[0].tolist() == [0, 3, 0]


# ---- rollouts: cut and masked


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_rollouts_hold_the_same_steps_as_interact(kind):
    rollouts = record(kind, counting_envs(), 60, RolloutRecorder).rows
    rows = []
    for D in rollouts:
        for t, i in np.argwhere(D.valid):
            row = tuple(D.s[t, i]), int(D.a[t, i]), float(D.r[t, i]), tuple(D.s2[t, i])
            rows.append((*row, bool(D.terminated[t, i]), bool(D.done[t, i])))
    for number, mine in by_env(rows).items():
        assert len(mine) >= 12
        reference = alone(CountingEnv(number, PLANS[number]), counting_action, len(mine))
        assert mine == [(*row[:5], row[4] or row[5]) for row in reference]
    assert all(D.s.shape == (8, 3, 3) for D in rollouts[:-1])
    dead = sum(int((~D.valid).sum()) for D in rollouts)
    assert (dead > 0) == (kind == "sync-next"), "only NEXT_STEP wastes steps"


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_advantages_never_look_past_a_cut(kind):
    """GAE on the rollout equals the sum of discounted TD errors of each episode on its own."""

    def V(s):
        return np.sin(s @ [1.0, 2.0, 3.0])

    for D in record(kind, counting_envs(), 60, RolloutRecorder).rows:
        v, v2 = V(D.s), V(D.s2)
        A = gae(D.r.astype(float), v, v2, D.terminated.astype(float), D.done.astype(float),
                GAMMA, LAMBDA)  # fmt: skip
        for i in range(3):
            steps = np.flatnonzero(D.valid[:, i])
            for k, t in enumerate(steps):
                expected, weight = 0.0, 1.0
                for u in steps[k:]:
                    if D.s[u, i, 1] != D.s[t, i, 1]:  # another episode
                        break
                    ends = D.terminated[u, i]
                    delta = D.r[u, i] + GAMMA * v2[u, i] * (1 - ends) - v[u, i]
                    expected, weight = expected + weight * delta, weight * GAMMA * LAMBDA
                assert A[t, i] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_time_out_is_worth_its_future_and_a_death_nothing(kind):
    """Reward 1 for ever is worth 10 at gamma = .9: then no step has an advantage, the last before
    a time-out included; where the world ends, the last step lacks .9 * 10."""
    for both, last in ((False, 0.0), (True, -9.0)):
        makers = [lambda both=both: ConstantReward(4, both)] * 2
        D = record(kind, makers, 40, RolloutRecorder).rows[0]
        ten = np.full(D.r.shape, 10.0)
        A = gae(D.r.astype(float), ten, ten, D.terminated.astype(float), D.done.astype(float),
                GAMMA, 0.0)  # fmt: skip
        ends = D.valid & (D.done == 1)
        assert ends.sum() >= 2
        assert A[ends] == pytest.approx(last)
        assert A[D.valid & ~ends] == pytest.approx(0.0)


def test_the_last_rollout_holds_what_the_budget_still_bought():
    agent = record("list", counting_envs(), 30, RolloutRecorder)  # 10 steps of 3
    assert [D.s.shape[:2] for D in agent.rows] == [(8, 3), (2, 3)]
    assert agent.num_timesteps == 30


# ---- the matrix: every mode, every vectoriser, every shape of episode, every consumer


def shape_envs():
    return [lambda i=i: CountingEnv(i, SHAPES[i]) for i in range(len(SHAPES))]


def by_start(steps):
    """The rows of single environments, by the observation that each begins with."""
    alone_ = [alone(CountingEnv(i, SHAPES[i]), counting_action, steps) for i in range(len(SHAPES))]
    return {row[0]: row for rows in alone_ for row in rows}


def rows_of(columns):
    s, a, r, s2, terminated, *_ = columns
    return [
        (tuple(s[k]), int(a[k]), float(r[k]), tuple(s2[k]), bool(terminated[k]))
        for k in range(len(r))
    ]


def successors(rows, reference):
    """For every row the number of the next row of its episode, or None."""
    where = {row[0]: k for k, row in enumerate(rows)}
    ends = [any(reference[row[0]][4:]) for row in rows]
    return [None if over else where.get(row[3]) for row, over in zip(rows, ends)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("consumer", ["replay", "n-step", "prioritized", "rollouts", "episodes"])
def test_what_is_learnt_from_is_what_single_environments_give(kind, consumer):
    agent = record(kind, shape_envs(), 150, type("K", (Keeper,), {"consumer": consumer}))
    REGISTRY.pop("K")
    reference = by_start(200)
    if consumer in ("replay", "n-step", "prioritized"):
        D = agent.buffer
        rows = rows_of([D.s, D.a, D.r, D.s2, D.terminated])[: D.size]
    else:
        rows = [
            row
            for D in agent.rows
            for row in rows_of([x[D.valid] for x in (D.s, D.a, D.r, D.s2, D.terminated)])
        ]
    assert all(row == reference[row[0]][:5] for row in rows)
    assert len({row[0] for row in rows}) == len(rows), "no step twice"
    for number, mine in by_env(rows).items():
        if consumer == "episodes":
            for episode in {row[0][1] for row in mine}:
                length, _ = SHAPES[number][int(episode) % len(SHAPES[number])]
                times = [row[0][2] for row in mine if row[0][1] == episode]
                assert sorted(times) == [*range(length)], "whole episodes only"
        else:
            first = alone(CountingEnv(number, SHAPES[number]), counting_action, len(mine))
            assert {row[0] for row in mine} == {row[0] for row in first}, "no step left out"
    assert set(by_env(rows)) == {*range(len(SHAPES))} and len(rows) >= 40
    if consumer == "n-step":
        following = successors(rows, reference)
        _, _, R, s2, terminated, power = agent.buffer.gather(np.arange(len(rows)))
        for k in range(len(rows)):
            total, weight, last = 0.0, 1.0, k
            for _ in range(3):
                total, weight, end = total + weight * rows[last][2], weight * GAMMA, last
                last = following[last]
                if last is None:
                    break
            assert R[k] == pytest.approx(total, rel=1e-5)
            assert power[k] == pytest.approx(weight, rel=1e-6)
            assert (tuple(s2[k]), bool(terminated[k])) == rows[end][3:]
    if consumer == "prioritized":
        assert agent.buffer.tree.total == len(rows)
    if consumer in ("rollouts", "episodes"):
        for D in agent.rows:
            v = np.sin(D.s @ [1.0, 2.0, 3.0])
            v2 = np.sin(D.s2 @ [1.0, 2.0, 3.0])
            A = gae(D.r.astype(float), v, v2, D.terminated.astype(float), D.done.astype(float),
                    GAMMA, LAMBDA)  # fmt: skip
            at = [tuple(x) for x in np.argwhere(D.valid)]
            mine = rows_of([x[D.valid] for x in (D.s, D.a, D.r, D.s2, D.terminated)])
            following = successors(mine, reference)
            for k, where in enumerate(at):
                expected, weight, u = 0.0, 1.0, k
                while u is not None:
                    s, _, r, s2, end = mine[u]
                    value, after = np.sin(np.dot([s, s2], [1.0, 2.0, 3.0]))
                    expected += weight * (r + GAMMA * after * (1 - end) - value)
                    u, weight = following[u], weight * GAMMA * LAMBDA
                assert A[where] == pytest.approx(expected, abs=1e-5)


# ---- a table, a bandit


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_table_agent_sees_indices_and_finds_the_fixed_point(kind):
    env, n_envs = behind_the_door(kind, [M2, M2])
    agent = npr.QLearning(env, n_envs=n_envs, seed=0, verbose=0, gamma=0.9, learning_rate=0.5,
                          exploration_final_eps=1.0)  # fmt: skip
    agent.learn(1_500)
    np.testing.assert_allclose(agent.Q, M2.Q_STAR, atol=1e-5)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_table_counts_from_zero_wherever_the_space_starts(kind):
    makers = [lambda x=x: Fixed(spaces.Discrete(4, start=-2), x) for x in (-2, 1)]
    env, n_envs = behind_the_door(kind, makers)
    envs = open_environments(env, n_envs, np.random.SeedSequence(0), table=True)
    envs.reset()
    for _ in range(4):
        assert envs.s.tolist() == [0, 3]
        assert envs.step(np.zeros(2, int))[0].tolist() == [0, 3]


def test_rewards_belong_to_the_action_that_was_scaled():
    envs = open_environments(Bandit(), 1, np.random.SeedSequence(0))
    envs.reset()
    for a in (-1.0, 0.3, 0.8):
        assert envs.step(np.array([[a]]))[1][0] == pytest.approx(-4 * (a - 0.3) ** 2, abs=1e-5)


# ---- seeds


def first_observations(seed, kind="list", n=3, episodes=1):
    env, n_envs = behind_the_door(kind, [RandomObservation] * n)
    agent = Recorder(env, n_envs=n_envs, seed=seed, verbose=0)
    agent.envs.reset()
    rows = [agent.envs.s.copy()]
    while len(rows) < 1 + 6 * (episodes - 1):
        agent.envs.step(np.zeros(n, int))
        rows.append(agent.envs.s.copy())
    return np.array(rows)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_same_seed_same_observations(kind):
    one = first_observations(7, kind, episodes=3)
    assert np.array_equal(one, first_observations(7, kind, episodes=3))
    assert not np.array_equal(one, first_observations(8, kind, episodes=3))


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_environments_of_one_agent_differ_and_do_not_repeat_themselves(kind):
    rows = first_observations(7, kind, episodes=4).reshape(-1, 2)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_the_kind_of_vector_does_not_change_the_seeds():
    one, *others = (first_observations(7, kind) for kind in SYNC_KINDS)
    assert all(np.array_equal(one, other) for other in others)


def test_neighbouring_seeds_share_no_environment():
    """Gymnasium's own s, s+1, ... would make env 1 of seed s the env 0 of seed s+1."""
    rows = np.concatenate([first_observations(seed)[0] for seed in range(20)])
    assert len(np.unique(rows, axis=0)) == 60


def test_any_whole_number_is_a_seed_and_none_is_chance():
    one = first_observations(7)
    for seed in (np.int64(7), np.uint8(7)):
        assert np.array_equal(one, first_observations(seed))
    assert not np.array_equal(first_observations(None), first_observations(None))
    first_observations(2**40)
    for seed in (-1, 1.5, "7"):
        with pytest.raises(ConfigError, match="seed must be a whole number >= 0 or None, got"):
            first_observations(seed)


# ---- actions


def box(low, high, shape=None, dtype=np.float32):
    return Actions(action_spec(spaces.Box(low, high, shape, dtype)))


def both_ways(actions, a):
    """The environment's action of one a, after the batched way has given the same."""
    one = actions.to_env(np.asarray(a))
    batch = actions.to_env_batch(np.stack([np.asarray(a)] * 2))
    assert batch.shape == (2, *np.shape(one))
    assert batch.dtype == np.asarray(one).dtype
    assert np.array_equal(batch[0], one) and np.array_equal(batch[1], one)
    return one


def test_a_box_is_reached_from_minus_one_to_one():
    actions = box(0, 10, (1,))
    assert [both_ways(actions, [a])[0] for a in (-1.0, 0.0, 1.0)] == [0, 5, 10]
    assert [both_ways(actions, [a])[0] for a in (-3.0, 3.0)] == [0, 10], "clipped"


def test_every_dimension_has_its_own_scale():
    actions = box(np.array([-2, 0], np.float32), np.array([0.5, 10], np.float32))
    assert both_ways(actions, [0.0, 0.5]).tolist() == [-0.75, 7.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_have_shape_and_type_of_the_space(dtype):
    actions = box(0, 10, (2, 3), dtype)
    assert actions.size == 6
    one = both_ways(actions, np.linspace(-1, 1, 6, dtype=np.float32))
    assert one.shape == (2, 3) and one.dtype == dtype
    np.testing.assert_allclose(one, [[0, 2, 4], [6, 8, 10]], rtol=1e-6)


def test_a_dimension_without_width_is_held():
    actions = box(np.array([3, 0], np.float32), np.array([3, 1], np.float32))
    for a in (-1.0, 0.2, 1.0, 5.0):
        assert both_ways(actions, [a, -1.0]).tolist() == [3, 0]


def test_an_unbounded_dimension_passes_as_it_is():
    actions = box(np.array([-np.inf, 0], np.float32), np.array([np.inf, 10], np.float32))
    assert not actions.bounded and box(0, 1, (2,)).bounded
    assert both_ways(actions, [123.0, 3.0]).tolist() == [123, 10]


def test_huge_bounds_do_not_overflow():
    limit = np.finfo(np.float32).max
    actions = box(-limit, limit, (1,))
    assert [both_ways(actions, [a])[0] for a in (-1.0, 0.0, 1.0)] == [-limit, 0, limit]


def test_discrete_actions_start_where_the_space_starts():
    actions = Actions(action_spec(spaces.Discrete(3, start=-1)))
    assert [both_ways(actions, a) for a in (0, 1, 2)] == [-1, 0, 1]
    assert actions.n == 3


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite, st.floats(-2, 2, width=32))
@example(low=-1e6, high=1e-6, a=1.0)
def test_a_scaled_action_lies_in_the_space(low, high, a):
    low, high = sorted((low, high))
    for dtype in (np.float32, np.float64):
        space = spaces.Box(low, high, (1,), dtype)
        assert space.contains(both_ways(Actions(action_spec(space)), [a]))


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 10, (1,), np.float32),
        spaces.Box(-1, 3, (2, 3), np.float64),
        spaces.Discrete(3, start=-1),
    ],
    ids=str,
)
def test_environments_get_actions_of_their_space(kind, space):
    recorders = [ActionRecorder(space), ActionRecorder(space)]
    makers = [lambda env=env: env for env in recorders]
    env, n_envs = behind_the_door(kind, makers)
    envs = open_environments(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    rng = np.random.default_rng(0)
    for _ in range(6):
        if envs.actions.kind == "discrete":
            envs.step(rng.integers(3, size=2))
        else:
            envs.step(rng.uniform(-2, 2, (2, envs.actions.size)).astype(FLOAT))
    for recorder in recorders:
        assert len(recorder.taken) >= 3
        assert all(space.contains(action) for action in recorder.taken)
        assert len({str(action) for action in recorder.taken}) > 1


# ---- observations


SPACES = [
    spaces.Box(-1, 1, (3,), np.float32),
    spaces.Box(-1, 1, (2, 3, 2), np.float64),
    spaces.Box(0, 255, (4, 4), np.uint8),
    spaces.Box(-1, 1, (), np.float32),
    spaces.Discrete(4),
    spaces.Discrete(4, start=-2),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([3, 2], start=[5, -1]),
    spaces.MultiDiscrete([[3, 2], [2, 4]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Dict({"b": spaces.Discrete(3, start=1), "a": spaces.Box(-1, 1, (2, 2))}),
    spaces.Tuple((spaces.Box(-1, 1, ()), spaces.Discrete(2), spaces.MultiBinary(3))),
    spaces.Dict({"x": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (2,)))),
                 "y": spaces.MultiDiscrete([2, 2])}),
]  # fmt: skip


def row_of(space, one):
    """Gymnasium's own flattening: the reference."""
    return spaces.flatten(space, one).astype(FLOAT)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rows_are_those_of_gymnasiums_flatten(space):
    observations = Observations(observation_spec(space))
    space.seed(0)
    for _ in range(5):
        one = space.sample()
        row = np.full(observations.size, np.nan, FLOAT)
        observations.row(one, row)
        np.testing.assert_array_equal(row, row_of(space, one))
        assert not observations.batched(one)
        assert np.array_equal(observations.encode(one), [row])


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_batch_is_encoded_row_by_row(space):
    """The batch as a vector environment gives it: one leading axis in every leaf."""
    observations = Observations(observation_spec(space))
    space.seed(1)
    ones = [space.sample() for _ in range(5)]
    envs = SyncVectorEnv([lambda one=one: Fixed(space, one) for one in ones])
    batch, _ = envs.reset()
    rows = observations.encode(batch)
    assert observations.batched(batch)
    assert rows.dtype == FLOAT and rows.shape == (5, observations.size)
    np.testing.assert_array_equal(rows, [row_of(space, one) for one in ones])


def test_encoding_copies():
    observations = Observations(observation_spec(spaces.Box(-1, 1, (2,), np.float32)))
    batch = np.zeros((3, 2), np.float32)
    rows = observations.encode(batch)
    batch[:] = 7
    assert not rows.any()


def test_a_box_observation_may_be_a_list_or_a_number():
    vector = Observations(observation_spec(spaces.Box(-1, 1, (2,))))
    assert vector.encode([0.5, 1.0]).tolist() == [[0.5, 1.0]]
    assert vector.encode([[0.5, 1.0], [0.0, 0.25]]).tolist() == [[0.5, 1.0], [0.0, 0.25]]
    scalar = Observations(observation_spec(spaces.Box(-1, 1, ())))
    assert scalar.encode(0.5).tolist() == [[0.5]]
    assert scalar.encode([0.5, 0.25]).tolist() == [[0.5], [0.25]]


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_space_passes_the_door(kind, space):
    """The last observation of an episode too, which SAME_STEP hands over by another way."""
    space.seed(2)
    ones = [space.sample() for _ in range(2)]
    env, n_envs = behind_the_door(kind, [lambda one=one: Fixed(space, one) for one in ones])
    envs = open_environments(env, n_envs, np.random.SeedSequence(0))
    envs.reset()
    expected = [row_of(space, one) for one in ones]
    for _ in range(4):
        np.testing.assert_array_equal(envs.s, expected)
        np.testing.assert_array_equal(envs.step(np.zeros(2, int))[0], expected)


# ---- refusals: what was got, what is needed, what to do


class Old(CountingEnv):
    """Breaks one rule of Gymnasium's contract."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return observation if self.rule == "reset" else (observation, info)

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if self.rule == "four values":
            return observation, reward, terminated, info
        if self.rule == "own error":
            raise ValueError("a bug of the environment")
        return np.zeros(1, np.float32), reward, terminated, truncated, info


def stepped(env):
    envs = open_environments(env, 1, np.random.SeedSequence(0))
    envs.reset()
    return envs.step(np.zeros(1, int))


def test_old_gyms_reset_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"env 0, step 0: reset\(\) must return \(observation, info\), got ndarray. This is "
        "the API of old Gym; wrap the environment, or return the pair",
    ):
        stepped(Old("reset"))


def test_old_gyms_step_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"env 0, step 1: step\(\) must return \(observation, reward, terminated, truncated, "
        r"info\), got tuple of 4\. Four values are the API of old Gym: return both flags",
    ):
        stepped(Old("four values"))


def test_an_error_of_the_environment_itself_is_named_and_kept_as_the_cause():
    with pytest.raises(
        EnvCrashedError,
        match=r"^env 0 raised ValueError: a bug of the environment, at step 1, 1 steps into its "
        r"episode; its last action was 0\. Nothing of that step was stored\. Fix the environment, "
        r"or pass on_env_error='reset'\.$",
    ) as caught:
        stepped(Old("own error"))
    assert type(caught.value.__cause__) is ValueError


def test_a_wrong_shape_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"Got an observation of shape \(1,\), the space says \(3,\). Fix the environment's "
        r"observation_space or what reset\(\) and step\(\) return",
    ):
        stepped(Old("shape"))


@pytest.mark.parametrize("observation", [4, -1, np.int64(7)])
def test_a_discrete_observation_outside_its_space_is_refused(observation):
    space = spaces.Discrete(4)
    sentence = (
        rf"The observation .*{observation}.* is outside Discrete\(4, start=0\). Fix the "
        r"environment's observation_space or its step\(\)"
    )
    with pytest.raises(EnvContractError, match=sentence):
        stepped(Fixed(space, observation))
    with pytest.raises(EnvContractError, match=sentence):
        Observations(observation_spec(space)).index(observation)


@pytest.mark.parametrize("observation", [[3, 0], [0, -1], [0, 2]], ids=str)
def test_a_multidiscrete_observation_outside_its_space_is_refused(observation):
    observations = Observations(observation_spec(spaces.MultiDiscrete([3, 2])))
    with pytest.raises(EnvContractError, match="is outside MultiDiscrete"):
        observations.encode(np.array(observation))


@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 1), ()])
def test_a_batch_of_the_wrong_shape_is_refused(shape):
    observations = Observations(observation_spec(spaces.Box(-1, 1, (3,))))
    with pytest.raises(EnvContractError, match="Got an observation of shape"):
        observations.encode(np.zeros(shape))


def test_a_space_without_a_fixed_size_is_refused():
    for space in (spaces.Text(5), spaces.Sequence(spaces.Discrete(2)),
                  spaces.Dict({"a": spaces.Text(5)})):  # fmt: skip
        with pytest.raises(
            SpaceError,
            match=r"npr's networks need observations of fixed size, got .*Text|Sequence.*; wrap "
            "the environment with gymnasium.wrappers.TransformObservation to make them a Box",
        ):
            observation_spec(space)


def test_unknown_kinds_in_a_file_are_refused():
    with pytest.raises(ConfigError, match="Observation kind 'text' is not known"):
        Observations({"kind": "text"})
    with pytest.raises(ConfigError, match=r"Action kind 'text' is not known; use \('discrete', "):
        Actions({"kind": "text"})


def test_what_is_no_environment_is_refused():
    with pytest.raises(
        ConfigError,
        match="env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an Env; "
        "the function returned int",
    ):
        make_env(lambda: 3)


def test_one_env_cannot_be_many():
    with pytest.raises(
        ConfigError, match="n_envs=2 needs an id or a function that makes an environment, got one"
    ):
        npr.DQN(CountingEnv(), n_envs=2)


def test_one_env_is_enough_for_every_algorithm():
    """Also for those that would make several from an id."""
    for cls in (npr.DQN, npr.PPO):
        assert cls(CountingEnv(), verbose=0).n_envs == 1


def test_a_vector_environment_must_say_how_it_resets():
    env = SyncVectorEnv(counting_envs())
    env.metadata = {}
    with pytest.raises(
        EnvContractError,
        match=r"does not declare metadata\['autoreset_mode'\] \(NEXT_STEP, SAME_STEP or "
        r"DISABLED\), so where an episode ends cannot be known. Set it, or pass an id with n_envs",
    ):
        npr.DQN(env)


# ---- nothing bad is kept


def dqn(env, n_envs, **settings):
    return npr.DQN(
        env, n_envs=n_envs, seed=0, verbose=0, learning_starts=1_000, buffer_size=100, **settings
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_number_that_is_not_finite_is_named_and_not_stored(kind, fault, bad):
    """Env 1 of two is faulty: at its 2nd step, its 4th, or the reset that follows the 4th."""
    env, n_envs = behind_the_door(kind, [CountingEnv, lambda: Faulty(fault, bad, number=1)])
    agent = dqn(env, n_envs)
    what = r"reward \(" if fault == "reward" else r"observation \(index 2 = "
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5 if kind == "sync-next" else 4}[fault]
    into = {"step": 2, "reward": 2, "final": 4, "reset": 0}[fault]
    action = "; its last action was [01]" if into else ""
    large = "" if np.isnan(bad) else " It may be a number too large for float32."
    other = ", or pass nan_obs='terminate'" if kind in ("list", "sync-disabled") else ""
    with pytest.raises(
        EnvContractError,
        match=rf"^env 1 returned a non-finite {what}{bad}\) at step {step}, {into} steps into its "
        rf"episode{action}\.{large} Nothing of it was stored. Fix the environment{other}\.",
    ):
        agent.learn(100)
    D = agent.buffer
    assert D.size == 2 * (step - 1) - (kind == "sync-next" and step == 5)
    for column in D.state().values():
        assert np.isfinite(column).all()


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_the_first_observation_is_checked_too(kind):
    space = spaces.Box(-1, 1, (2,), np.float32)
    bad = np.array([0, np.nan], np.float32)
    env, n_envs = behind_the_door(kind, [lambda: Fixed(space, bad)])
    agent = dqn(env, n_envs)
    with pytest.raises(EnvContractError, match=r"env 0 .* observation \(index 1 = nan\) at step 0"):
        agent.learn(10)
    assert agent.buffer.size == 0


@pytest.mark.parametrize("kind", SYNC_KINDS)
@pytest.mark.parametrize(
    ("breaks", "error"),
    [
        pytest.param(Interrupted, KeyboardInterrupt, id="Ctrl-C"),
        *(
            pytest.param(functools.partial(Faulty, fault), EnvContractError, id=f"bad {fault}")
            for fault in Faulty.FAULTS
        ),
    ],
)
def test_after_a_step_that_broke_off_learning_goes_on_with_whole_transitions(kind, breaks, error):
    """Some environments have made the step and some not; none of it may become a row."""
    makers = [CountingEnv, lambda: breaks(number=1), lambda: CountingEnv(2)]
    env, n_envs = behind_the_door(kind, makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0)
    with pytest.raises(error):
        agent.learn(30)
    agent.learn(30)
    assert len(agent.rows) >= 30
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1)
        assert np.isfinite(r)
    episodes = {}
    for s, _, r, _, _ in agent.rows:
        episodes.setdefault(s[:2], []).append(r)
    whole = [3, 3 if breaks is Interrupted else 4, 3]  # steps in an episode of each environment
    expected = [(sum(r), len(r)) for (i, _), r in episodes.items() if len(r) == whole[int(i)]]
    assert sorted(agent.logger.episodes) == sorted(expected), "statistics start anew as well"


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_finite_numbers_are_never_taken_for_infinite(seed):
    """The check is one dot product with zeros; huge numbers must not trip it."""
    rng = np.random.default_rng(seed)
    huge = (rng.choice([-1, 1], 3) * np.finfo(np.float32).max).astype(np.float32)
    space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    assert np.array_equal(stepped(Fixed(space, huge))[0], [huge])
