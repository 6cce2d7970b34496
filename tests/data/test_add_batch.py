"""add_batch: recorded transitions in the units of the environment, as if they had been lived."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import RandomEnv, small_agent
from support.toy_envs import CountingEnv, counting_action, single_env_rows

import npr
from npr.backend import to_host
from npr.buffers import ReplayBuffer
from npr.data import Transitions
from npr.errors import ConfigError

PLAN = ((3, "terminated"), (4, "truncated"), (1, "both"), (2, "terminated"))


def recorded(steps=20):
    """Transitions of CountingEnv, in the order of its episodes."""
    return Transitions(*map(np.array, _columns(single_env_rows(counting(), policy, steps))))


def _columns(rows):
    s, a, r, s2, terminated, truncated = zip(*rows)
    return s, a, r, s2, terminated, truncated


def counting():
    return CountingEnv(0, PLAN)


def policy(s):
    return counting_action(np.asarray(s))


def dqn(case="DQN", **settings):
    return small_agent(case, counting, **{"batch_size": 8, **settings})


def live(steps=20, **settings):
    """An agent that chose the recorded actions itself, and made no update."""
    agent = dqn(**{"learning_starts": 1_000, **settings})
    agent.explore = lambda s: np.array([policy(one) for one in s])
    with pytest.warns(npr.ConfigWarning, match="no update will run"):
        agent.learn(steps)
    return agent


@pytest.mark.parametrize("case", ["DQN", "PERDQN"])
def test_a_batch_is_stored_as_the_same_steps_of_a_run(case):
    lived, given = live(), dqn(case)
    assert given.buffer.add_batch(*recorded()) == 20
    for name, column in lived.buffer.columns.items():
        assert np.array_equal(given.buffer.columns[name][:20], column[:20]), name
    assert given.buffer.size == given.buffer.position == 20
    if case == "PERDQN":
        assert given.buffer.tree[:20].tolist() == [1.0] * 20


@pytest.mark.parametrize("n", [2, 3, 5])
def test_returns_of_several_steps_end_with_the_episodes(n):
    lived, given = live(n_step_return=n), dqn(n_step_return=n)
    given.buffer.add_batch(*recorded())
    index = np.arange(20)
    for one, other in zip(lived.buffer.gather(index), given.buffer.gather(index)):
        assert np.array_equal(to_host(one), to_host(other))


def test_rows_of_other_episodes_are_not_linked_though_no_end_is_known():
    data = recorded()
    order = np.random.default_rng(0).permutation(20)
    agent = dqn(n_step_return=3)
    agent.buffer.add_batch(*(x[order] for x in data[:5]))  # without truncated
    row_of = {tuple(s): i for i, s in enumerate(agent.buffer.s[:20].tolist())}
    for row, s2, ended, link in zip(
        range(20), agent.buffer.s2, agent.buffer.terminated, agent.buffer.next
    ):
        neighbor = row_of.get(tuple(s2.tolist())) == row + 1 and not ended
        assert link == (row + 1 if neighbor else -1)


def test_a_run_goes_on_in_its_own_episode_after_a_batch():
    """Two steps of an episode, a batch, and the next step: the second step is linked to it."""
    agent = live(5, n_step_return=3)  # the fifth step is the second of an episode of four
    agent.buffer.add_batch(*(x[:7] for x in recorded()[:6]))
    agent.learn(2, reset_num_timesteps=False)
    assert agent.buffer.next[:14].tolist() == [1, 2, -1, 4, 12, 6, 7, -1, 9, 10, 11, -1, 13, -1]


def test_a_batch_that_replaces_the_newest_row_of_an_episode_cuts_it():
    agent = live(5, n_step_return=3, buffer_size=8)
    agent.buffer.add_batch(*(x[:7] for x in recorded()[:6]))  # rows 5, 6, 7, 0, 1, 2, 3
    agent.buffer.add_batch(
        *(x[:1] for x in recorded()[:6])
    )  # row 4, the newest of the open episode
    agent.learn(1, reset_num_timesteps=False)
    assert agent.buffer.position == 6 and agent.buffer.next[4] == -1


def test_moments_of_normalization_include_the_batch():
    data = recorded()
    agent = dqn(normalize_obs=True, normalize_reward=True, gamma=0.9)
    agent.buffer.add_batch(*data)
    np.testing.assert_allclose(agent.obs_norm.moments.mean, data.observations.mean(axis=0))
    np.testing.assert_allclose(agent.obs_norm.moments.variance, data.observations.var(axis=0))
    past, total = [], 0.0
    for r, done in zip(data.rewards, data.terminated | data.truncated):
        total = 0.9 * total + r
        past.append(total)
        total *= not done
    np.testing.assert_allclose(agent.reward_norm.moments.variance, np.var(past))
    assert agent.reward_norm.returns.tolist() == [0.0], "of the environment"


class Mixed(gym.Env):
    """Observations of several parts."""

    observation_space = spaces.Dict(
        {"place": spaces.Discrete(3, start=1), "speed": spaces.Box(-1, 1, (2,))}
    )
    action_space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"place": np.int64(2), "speed": np.zeros(2, np.float32)}, {}

    def step(self, action):
        return *self.reset()[:1], 0.0, False, False, {}


def test_observations_of_several_parts_and_actions_in_bounds_are_encoded():
    agent = small_agent("SAC", Mixed)
    s = {"place": np.array([1, 3]), "speed": np.array([[0.5, 0.25], [-1, 1]])}
    agent.buffer.add_batch(s, [[0, 10], [-2, 5]], [1, 2], s, [False, True])
    assert agent.buffer.s[:2].tolist() == [[1, 0, 0, 0.5, 0.25], [0, 0, 1, -1, 1]]
    assert agent.buffer.a[:2].tolist() == [[0, 1], [-1, 0]]
    assert agent.buffer.terminated[:2].tolist() == [0, 1]


BAD = {
    "unequal observations": (0, [[1, 2], [1]], "observations must be a batch"),
    "unequal rewards": (2, [[1, 2], [1]], "rewards must be numbers"),
    "observations of another shape": (0, np.zeros((4, 2)), "observations do not fit"),
    "one observation": (0, np.zeros(3), "observations must be a batch of"),
    "rows of unequal lengths": (0, [[1, 2, 3], [1]] * 2, "observations must be a batch of"),
    "rewards of unequal lengths": (2, [1, [1, 2], 0, 0], "rewards must be numbers"),
    "text": (0, [["a", "b", "c"]] * 4, "observations do not fit"),
    "NaN": (0, np.full((4, 3), np.nan), "observations holds numbers that are not finite"),
    "infinite": (3, np.full((4, 3), np.inf), "next_observations holds .* the first in row 0"),
    "an action outside": (1, [0, 1, 2, 0], "actions: The action 2|actions: The action .2. is out"),
    "actions of another type": (1, np.zeros(4), "actions: An action of Discrete"),
    "one action too few": (1, [0, 1, 0], "as many actions"),
    "one row too many": (3, np.zeros((5, 3)), "as many actions"),
    "rewards of another shape": (2, np.zeros((4, 1)), r"rewards must be numbers of shape \(4,\)"),
    "rewards that are not finite": (2, [0, 0, np.inf, 0], "rewards holds .* first in row 2"),
    "rewards of a type": (2, ["a"] * 4, "rewards must be numbers"),
    "flags that are numbers": (4, [0, 2, 0, 0], "terminated must be true or false"),
    "one flag": (5, True, "truncated must be numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(case):
    position, value, message = BAD[case]
    agent, data = dqn(n_step_return=3, normalize_obs=True), [x[:4] for x in recorded()[:6]]
    data[position] = value
    with pytest.raises(ConfigError, match=message):
        agent.buffer.add_batch(*data)
    assert agent.buffer.size == agent.buffer.position == agent.obs_norm.moments.count == 0


def test_more_than_the_capacity_is_refused():
    agent = dqn(buffer_size=19)
    with pytest.raises(ConfigError, match="at most buffer_size=19; got 20"):
        agent.buffer.add_batch(*recorded())
    assert agent.buffer.add_batch(*(x[:19] for x in recorded()[:6])) == 19


def test_an_empty_batch_changes_nothing():
    agent = live(5, n_step_return=3)
    before = agent.buffer.state()
    assert agent.buffer.add_batch(*(x[:0] for x in recorded()[:6])) == 0
    for name, array in agent.buffer.state().items():
        assert np.array_equal(array, before[name])


def test_a_buffer_without_an_agent_says_so():
    with pytest.raises(ConfigError, match="the buffer of an agent"):
        ReplayBuffer(4, 3).add_batch(*recorded(4))


def test_copies_and_files_of_an_agent_take_batches_too(tmp_path):
    agent = dqn(env_kwargs=None)
    agent.buffer.add_batch(*recorded())
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz", env=counting)
    assert loaded.buffer.add_batch(*recorded()) == 20 and loaded.buffer.size == 40


# ---- masks of actions


def with_actions(space):
    return RandomEnv(spaces.Box(-1, 1, (2,)), space)


def test_rows_of_an_agent_with_masks_end_with_them():
    agent = small_agent("DQN", with_actions(spaces.Discrete(4)), action_masks=True, n_step_return=2)
    s, masks = np.eye(3, 2), np.array([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
    following = np.array([[0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]], bool)
    agent.buffer.add_batch(
        s[:2], [2, 1], [0, 0], s[1:], [False, False], None, masks[:2], following[:2]
    )
    assert agent.buffer.s[:2].tolist() == [[1, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 0]]
    assert agent.buffer.s2[:2].tolist() == [[0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 0, 1]]
    assert agent.buffer.next[:2].tolist() == [1, -1]
    # nothing is allowed where no action follows, and without a mask all is
    agent.buffer.add_batch(s[2:], [3], [0], s[2:], [True], None, None, following[2:])
    assert agent.buffer.s[2].tolist() == agent.buffer.s2[2].tolist() == [0, 0, 1, 1, 1, 1]
    with pytest.raises(ConfigError, match="next_action_masks: A mask allows no action"):
        agent.buffer.add_batch(s[2:], [3], [0], s[2:], [False], None, None, following[2:])
    with pytest.raises(ConfigError, match="action_masks forbid the action in row 1"):
        agent.buffer.add_batch(s[:2], [2, 0], [0, 0], s[1:], [0, 0], None, masks[:2])
    with pytest.raises(ConfigError, match=r"action_masks must be .* of shape \(2, 4\)"):
        agent.buffer.add_batch(s[:2], [2, 0], [0, 0], s[1:], [0, 0], None, masks)
    assert agent.buffer.size == 3


def test_masks_need_an_agent_with_masks():
    agent = small_agent("DQN", with_actions(spaces.Discrete(4)))
    s = np.zeros((1, 2))
    with pytest.raises(ConfigError, match="need an agent with action_masks=True"):
        agent.buffer.add_batch(s, [3], [0], s, [True], None, np.ones((1, 4)))


@pytest.mark.parametrize(
    ("space", "a", "mask"),
    [
        (spaces.Discrete(4, start=5), [5, 6, 7, 8], [1, 0, 1, 1]),
        (spaces.MultiDiscrete([2, 2]), [[0, 0], [1, 0], [0, 1], [1, 1]], [1, 0, 1, 1]),
        (spaces.MultiBinary(2), [[0, 0], [1, 0], [0, 1], [1, 1]], [1, 0, 1, 1]),
    ],
    ids=str,
)
def test_whether_a_mask_allows_an_action(space, a, mask):
    actions = npr.PPO(with_actions(space), action_masks=True, verbose=0).actions
    found = actions.allowed(actions.from_env_batch(np.array(a)), np.tile(mask, (4, 1)))
    assert found.tolist() == [True, False, True, space.shape == ()]
