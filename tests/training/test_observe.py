"""select_action() and observe(): an agent learns from steps of its caller as in learn()."""

import copy
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from support.on_the_double import on_the_double
from support.small_agents import CASES, TABLES, RandomEnv, parameters, small_agent
from support.toy_envs import Aim, CountingEnv

import npr
from npr.backend import to_host
from npr.envs.make import make_env
from npr.errors import ConfigError, EnvContractError, NumericsError
from npr.files.parts import arrays_of, parts

STEPS = 120
AIM = {"env": Aim, "max_episode_steps": None}  # with a Dict of actions
SINGLE = [(case, {}) for case in CASES] + [
    ("DQN-n", {"normalize_obs": True, "normalize_reward": True}),
    ("PPO-Box", {"normalize_obs": True, "normalize_reward": True}),
    ("QLearning", {"normalize_reward": True}),
    ("Sarsa", {"expected": True, "learning_rate": "linear:0.5"}),
    ("DDPG", {"action_noise": "ou", "n_step_return": 2}),
    ("QLearning", {"double": True, "n_step_return": 3}),
    ("Sarsa", {"trace_decay": 0.9}),
    ("PPO", AIM),
]


def bytes_of(agent):
    """Everything that a file of the agent holds, but for the position in its environments."""
    held = {f"rng.{name}": str(rng.bit_generator.state) for name, rng in agent.rng.items()}
    for name, part in parts(agent).items():
        held |= {key: np.asarray(one).tobytes() for key, one in arrays_of(name, part).items()}
    counters = agent.num_timesteps, agent.end, agent.n_updates, agent.logger.episode_count
    return {**held, "counters": counters}


def env_like(agent):
    """Another environment like the agent's own, and the seed of its first reset."""
    return make_env(agent.env, agent.max_episode_steps), agent.envs.seeds[0]


class Loop:
    """The loop of somebody who steps an environment and lets an agent learn."""

    def __init__(self, env, seed):
        self.env = env
        self.s, _ = env.reset(seed=seed)

    def step(self, agent, action=None):
        chosen = agent.select_action(self.s)
        action = chosen if action is None else action
        s2, r, terminated, truncated, _ = self.env.step(action)
        agent.observe(self.s, action, r, s2, terminated, truncated)
        self.s = self.env.reset()[0] if terminated or truncated else s2

    def steps(self, agent, n):
        for _ in range(n):
            self.step(agent)


def assert_same(one, other):
    mine, theirs = bytes_of(one), bytes_of(other)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if mine[key] != theirs[key]] == []


@pytest.mark.parametrize(("case", "settings"), SINGLE, ids=str)
def test_observed_steps_are_those_of_learn(case, settings):
    agent, learned = (small_agent(case, **settings) for _ in range(2))
    learned.learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    loop.steps(agent, STEPS)
    assert_same(agent, learned)
    assert agent.n_updates == learned.n_updates


class BatchLoop:
    """The same with several environments, in a VectorEnv of any autoreset mode."""

    def __init__(self, agent, mode):
        self.mode = mode
        make = lambda: make_env(agent.env, agent.max_episode_steps)  # noqa: E731
        self.env = gymnasium.vector.SyncVectorEnv([make] * agent.n_envs, autoreset_mode=mode)
        self.s, _ = self.env.reset(seed=[*agent.envs.seeds])
        self.resets = np.zeros(agent.n_envs, bool)

    def steps(self, agent, n):
        for _ in range(n):
            a = agent.select_action(self.s)
            s, r, terminated, truncated, info = self.env.step(a)
            done, s2 = terminated | truncated, s.copy()
            if self.mode is AutoresetMode.SAME_STEP and done.any():
                s2[done] = np.stack(info["final_obs"][done])
            before = agent.n_updates
            agent.observe(self.s, a, r, s2, terminated, truncated, valid=~self.resets)
            if self.mode is AutoresetMode.NEXT_STEP:
                self.resets = done
            elif self.mode is AutoresetMode.DISABLED:
                if done.any():
                    s = self.env.reset(options={"reset_mask": done})[0]
                if hasattr(agent, "n_episodes") and agent.n_updates > before:
                    s = self.env.reset()[0]  # REINFORCE begins all episodes anew
            self.s = s


@pytest.mark.parametrize(
    ("case", "settings"), [*((case, {}) for case in CASES), ("A2C", AIM)], ids=str
)
def test_observed_batches_are_those_of_learn(case, settings):
    agent, learned = (small_agent(case, n_envs=2, **settings) for _ in range(2))
    learned.learn(STEPS)
    loop = BatchLoop(agent, AutoresetMode.DISABLED)
    agent.begin_run(STEPS)
    loop.steps(agent, STEPS // 2)
    assert_same(agent, learned)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("case", ["Sarsa", "PPO", "DQN-n"])
def test_batches_of_every_autoreset_mode_are_those_of_learn(case, mode):
    agent = small_agent(case, n_envs=2)
    loop = BatchLoop(agent, mode)
    other = BatchLoop(agent, mode)
    learned = small_agent(case, other.env, max_episode_steps=None)
    learned.envs.seeds[:] = agent.envs.seeds
    learned.learn(STEPS)
    agent.begin_run(STEPS)
    while agent.num_timesteps < agent.end:
        loop.steps(agent, 1)
    assert_same(agent, learned)


# ---- in pieces, and between learn() and observe()


@pytest.mark.parametrize("case", CASES)
def test_an_observed_run_is_saved_and_continued_exactly(case, tmp_path):
    settings = {"n_envs": 1} if case in TABLES else {"n_envs": 1, "normalize_reward": True}
    agent, learned = (small_agent(case, **settings) for _ in range(2))
    learned.learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    for steps in (1, 40, 33, STEPS - 74):
        loop.steps(agent, steps)
        agent.save(tmp_path / "agent.npz")
        agent = npr.load(tmp_path / "agent.npz")
    assert_same(agent, learned)
    agent.begin_run(5, reset_num_timesteps=False)
    loop.steps(agent, 5)
    assert agent.num_timesteps == agent.end == STEPS + 5


def test_copies_and_closed_agents_go_on_where_they_were():
    agent, learned = small_agent("PPO"), small_agent("PPO").learn(STEPS)
    loop = Loop(*env_like(agent))
    agent.begin_run(STEPS)
    loop.steps(agent, 50)
    other = copy.deepcopy(agent)
    assert other.envs is None
    loop.steps(other, 20)
    other.close()
    loop.steps(other, STEPS - 70)
    assert_same(other, learned)
    assert agent.num_timesteps == 50


def test_learn_and_observe_take_turns():
    """Episodes that are left count as cut, and numbers of episodes are not used twice."""
    agent = small_agent("DQN-n", learning_starts=0)
    agent.learn(30)
    learned, position = agent.envs, agent.position()
    loop = Loop(*env_like(agent))
    agent.begin_run(20, reset_num_timesteps=False)
    loop.steps(agent, 20)
    assert agent.envs.own is learned
    observed = agent.position()
    assert observed["steps"] == 50
    assert observed["episode"] > position["episode"], "the observation was another one"
    agent.learn(10, reset_num_timesteps=False)
    assert agent.envs is learned and agent.num_timesteps == agent.end == 60
    after = agent.position()
    assert after["steps"] == 60 and after["episode"] > observed["episode"]
    loop.steps(agent, 5)
    assert agent.num_timesteps == 65, "beyond the end of the last run"
    agent.set_env("CartPole-v1")
    assert agent.position()["steps"] == 65 and not agent.position()["open"]
    agent.learn(5, reset_num_timesteps=False)
    assert agent.num_timesteps == 70


def test_updates_from_a_fixed_buffer_come_between_observed_steps():
    agent, learned = (small_agent("DQN", learning_starts=0) for _ in range(2))
    learned.learn(40)
    loop = Loop(*env_like(agent))
    agent.begin_run(60)
    loop.steps(agent, 40)
    for one in (agent, learned):
        with pytest.warns(npr.ConfigWarning, match="extrapolation"):
            one.learn_offline(3)
    loop.steps(agent, 20)
    learned.learn(20, reset_num_timesteps=False)
    assert agent.num_timesteps == learned.num_timesteps == 60
    assert agent.n_updates == learned.n_updates


def test_an_episode_of_learn_goes_on_if_its_observation_is_the_next():
    agent, learned = (
        small_agent("A2C", CountingEnv(plan=[(50, "truncated")]), max_episode_steps=None)
        for _ in range(2)
    )
    learned.learn(STEPS)
    agent.learn(30)
    number = agent.envs.episode.copy()
    loop = Loop.__new__(Loop)
    loop.env, loop.s = agent.env, agent.envs.envs[0].unwrapped.where.copy()
    agent.begin_run(STEPS - 30, reset_num_timesteps=False)
    loop.steps(agent, 10)
    assert agent.envs.episode == number and agent.envs.lengths == [40]
    loop.steps(agent, STEPS - 40)
    assert_same(agent, learned)


def test_a_file_of_an_observed_run_begins_new_episodes_in_learn(tmp_path):
    agent = small_agent("PPO")
    Loop(*env_like(agent)).steps(agent, 5)
    agent.save(tmp_path / "agent.npz")
    agent = npr.load(tmp_path / "agent.npz")
    with pytest.warns(npr.ResumeWarning, match="its caller stepped the environments, with agent.o"):
        agent.learn(10)


# ---- episodes


def test_an_observation_that_does_not_follow_begins_a_new_episode():
    """As if the step before had been truncated, for the environments that were reset."""
    agent = small_agent("PPO", n_envs=2)
    s = np.arange(8, dtype=np.float32).reshape(2, 4)
    flags = np.zeros(2, bool)
    for _ in range(3):
        a = agent.select_action(s)
        agent.observe(s, a, np.ones(2), s + 1, flags, flags)
        s = s + 1
    numbers = agent.envs.episode
    agent.select_action(np.stack([s[0], np.zeros(4)]))
    assert agent.envs.episode.tolist() == [numbers[0], numbers.max() + 1]
    assert agent.envs.lengths == [3, 0] and agent.envs.returns == [3.0, 0.0]
    truncated = [step[5].tolist() for step in agent.steps]
    assert truncated == [[False, False], [False, False], [False, True]]
    assert agent.logger.episode_count == 0


def test_the_discounted_return_of_an_episode_that_was_left_is_not_continued():
    agent = small_agent("DQN", normalize_reward=True)
    zeros = np.zeros(4, np.float32)
    agent.observe(zeros, agent.select_action(zeros), 1.0, zeros + 1, False, False)
    assert agent.reward_norm.returns == [1.0]
    agent.select_action(zeros)
    assert agent.reward_norm.returns == [0.0]


def test_a_reset_within_an_episode_leaves_no_incomplete_one_in_a_rollout():
    agent = small_agent("REINFORCE", CountingEnv(plan=[(4, "terminated")]), n_episodes=2)
    loop = Loop(*env_like(agent))
    loop.steps(agent, 6)  # one episode and two steps
    loop.s = loop.env.reset()[0]
    loop.steps(agent, 1)
    assert [bool(step[-1][0]) for step in agent.steps] == [True] * 4 + [False] * 2 + [True]
    loop.steps(agent, 3)
    assert agent.n_updates == 1


# ---- actions


def test_the_action_of_somebody_else_is_learned_from():
    agent = small_agent("DDPG", learning_starts=10_000)
    loop = Loop(*env_like(agent))
    given = [np.array([x], np.float32) for x in (2.0, -1.0, 0.25)]
    for action in given:
        loop.step(agent, action)
    assert agent.buffer.a[:3, 0].tolist() == [1.0, -0.5, 0.125]
    loop.steps(agent, 1)


def test_an_action_that_was_chosen_is_stored_as_it_was_drawn():
    """A Gaussian's action may be beyond the bounds, where the environment gets the bound."""
    agent = small_agent("PPO-Box", n_envs=2, log_std_init=1.5)
    s, flags = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    beyond = 0
    for other in (False, True) * 5:
        actions = agent.select_action(s)
        own, _ = agent._observer.chosen
        done = [actions.tolist(), actions.copy()][other]
        if other:
            done[1] = 0.5
        agent.observe(s, done, np.zeros(2), s, flags, flags)
        a = agent.steps[-1][1]
        assert a[0] == own[0] and a[1] == (0.25 if other else own[1])
        beyond += abs(a[0, 0]) > 1
    assert beyond


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 2, (2, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_actions_are_those_that_the_environment_takes(space, n_envs):
    env = partial(RandomEnv, spaces.Box(-1, 1, (2,)), space)
    agent, learned = (small_agent("A2C", env, n_envs=n_envs, env_kwargs={}) for _ in range(2))
    learned.learn(40)
    observed = learned.envs.envs[0].unwrapped.observation_space
    s = np.stack([observed.sample() for _ in range(n_envs)])
    s = s if n_envs > 1 else s[0]
    flags = np.zeros(n_envs, bool) if n_envs > 1 else False
    for _ in range(10):
        a = agent.select_action(s)
        for one in a if n_envs > 1 else [a]:
            assert space.contains(one) or space.contains(int(one))
        agent.observe(s, a, flags, s, flags, flags)
    assert agent.n_updates and agent.actions.contains(agent.steps[-1][1])


def test_actions_of_several_parts_are_learned_from():
    space = spaces.Dict({"move": spaces.Box(-2, 2, (2,)), "key": spaces.Discrete(3)})
    env = partial(RandomEnv, spaces.Box(-1, 1, (2,)), space)
    agent = small_agent("PPO", env, env_kwargs={})
    s = np.zeros(2, np.float32)
    for change in (False, True):
        action = agent.select_action(s)
        (own,), _ = agent._observer.chosen
        assert space.contains(action)
        if change:
            action["move"][:] = 1.0, -1.0
            action["key"] = (action["key"] + 1) % 3
        agent.observe(s, action, 0.0, s, False, False)
        a = agent.steps[-1][1][0]
        assert a.tolist() == ([0.5, -0.5, action["key"]] if change else own.tolist()) or (
            a.tolist() == [action["key"], 0.5, -0.5]
        )


# ---- masks


class Digits(gymnasium.Env):
    """Of the digits that are left one must be taken; the last one ends the episode."""

    observation_space, action_space = spaces.MultiBinary(4), spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = np.ones(4, np.int8)
        return self.left.copy(), {"action_mask": self.left.copy()}

    def step(self, action):
        if not self.left[action]:
            raise ValueError(f"{action} was taken")
        self.left[action] = 0
        over = not self.left.any()
        return self.left.copy(), float(action), over, False, {"action_mask": self.left.copy()}


@pytest.mark.parametrize("case", ["PPO", "DQN-n", "SAC-Discrete", "REINFORCE"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_masks_travel_with_observed_steps(case, n_envs):
    settings = {"n_envs": n_envs, "action_masks": True, "normalize_obs": True}
    agent, learned = (small_agent(case, Digits, **settings) for _ in range(2))
    if case == "REINFORCE" and n_envs > 1:
        pytest.skip("learn() resets environments in the middle of their episodes")
    learned.learn(STEPS)
    envs = [Digits() for _ in range(n_envs)]
    s, masks = [], []
    for env in envs:
        one, info = env.reset()
        s.append(one)
        masks.append(info["action_mask"])
    agent.begin_run(STEPS)
    while agent.num_timesteps < STEPS:
        a = agent.select_action(*(x if n_envs > 1 else x[0] for x in (s, masks)))
        actions = a if n_envs > 1 else [a]
        s2, r, over, _, infos = zip(*(env.step(one) for env, one in zip(envs, actions)))
        masks = [info["action_mask"] for info in infos]
        given = [s, a, r, s2, over, [False] * n_envs]
        if n_envs == 1:
            given = [s[0], a, r[0], s2[0], over[0], False]
        after = None if all(over) else masks if n_envs > 1 else masks[0]
        agent.observe(*given, action_masks=after)
        s = list(s2)
        for i in np.flatnonzero(over):
            s[i], info = envs[i].reset()
            masks[i] = info["action_mask"]
    assert_same(agent, learned)


def test_masks_that_are_missing_wrong_or_not_wanted_are_refused():
    agent, plain = (small_agent("PPO", Digits, action_masks=masks) for masks in (True, False))
    s, mask = np.ones(4, np.int8), [1, 1, 0, 1]
    with pytest.raises(ConfigError, match="not built with action_masks=True"):
        plain.select_action(s, mask)
    with pytest.raises(ConfigError, match="needs the actions that are allowed next: select_action"):
        agent.select_action(s)
    with pytest.raises(EnvContractError, match=r"as the mask of actions, Discrete\(4\) needs 4"):
        agent.select_action(s, mask[:3])
    a = agent.select_action(s, mask)
    with pytest.raises(ConfigError, match="got an action that the mask forbids, in environment 0"):
        agent.observe(s, 2, 0.0, s, False, False, action_masks=mask)
    with pytest.raises(ConfigError, match="needs the actions that are allowed next"):
        agent.observe(s, a, 0.0, s, False, False)
    agent.observe(s, a, 0.0, s, True, False)
    assert agent.steps[0][3][0, -4:].tolist() == [1, 1, 1, 1]
    several = small_agent("PPO", Digits, action_masks=True, n_envs=2)
    with pytest.raises(ConfigError, match="2 masks of actions are needed, got 1"):
        several.select_action(np.ones((2, 4), np.int8), [mask])
    with pytest.raises(ConfigError, match="2 masks of actions are needed, got 1"):
        several.select_action(np.ones((2, 4), np.int8), 1)
    with pytest.raises(ConfigError, match="needs the actions that are allowed next: select_action"):
        several.select_action(np.ones((2, 4), np.int8), [None, mask])
    with pytest.raises(EnvContractError, match=r"Discrete\(4\) needs 4"):
        several.select_action(np.ones((2, 4), np.int8), [mask[:3], mask])


def test_an_environment_that_ended_needs_no_mask_beside_others():
    agent, s = small_agent("PPO", Digits, action_masks=True, n_envs=2), np.ones((2, 4), np.int8)
    a = agent.select_action(s, [[1, 1, 0, 1]] * 2)
    agent.observe(s, a, [0, 0], s, [True, False], [False] * 2, action_masks=[None, [1, 0, 0, 1]])
    assert agent.steps[0][3][:, -4:].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1]]


# ---- errors


def unchanged(agent):
    agent.save("agent.npz")
    with open("agent.npz", "rb") as file:
        return file.read()


GOOD = {"reward": 0.0, "next_observation": np.ones(4, np.float32), "terminated": False,
        "truncated": False}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"reward": "1"}, ConfigError, r"needs reward as a number, got '1'"),
        ({"reward": [1.0, 2.0]}, ConfigError, r"needs reward as a number, .*\(float64\(2,\)\)"),
        ({"terminated": 0}, ConfigError, "needs terminated as a bool, got 0"),
        ({"truncated": None}, ConfigError, "needs truncated as a bool, got None"),
        ({"valid": [True, True]}, ConfigError, "needs valid as a bool, got"),
        ({"reward": np.nan}, EnvContractError, "returned a non-finite reward .nan."),
        ({"next_observation": np.full(4, np.inf)}, EnvContractError, "non-finite observation"),
        ({"next_observation": np.ones(3)}, EnvContractError, r"of shape \(3,\), the space says"),
        ({"next_observation": [[1], 2]}, EnvContractError, "the space says numbers of shape"),
        ({"action": 2}, ConfigError, r"The action .*2.* is outside Discrete\(2\)"),
        ({"action": "left"}, ConfigError, r"An action of Discrete\(2\) must be whole numbers"),
        ({"observation": np.ones(4)}, ConfigError, "another observation than the last select_act"),
    ],
    ids=str,
)
def test_a_step_that_does_not_fit_is_refused_and_can_be_repeated(wrong, error, match):
    agent = small_agent("DQN")
    s = np.zeros(4, np.float32)
    a = agent.select_action(s)
    before = unchanged(agent)
    given = {"observation": s, "action": a, **GOOD}
    with pytest.raises(error, match=match):
        agent.observe(**{**given, **wrong})
    assert unchanged(agent) == before
    agent.observe(**given)
    assert agent.num_timesteps == 1


def test_steps_of_several_environments_have_one_row_each():
    agent = small_agent("DQN", n_envs=2)
    s, flags = np.zeros((2, 4), np.float32), np.zeros(2, bool)
    with pytest.raises(EnvContractError, match="observations of 1 environments, it has 2"):
        agent.select_action(s[:1])
    with pytest.raises(ConfigError, match=r"has n_envs=2: pass a batch.* build it with n_envs=1"):
        agent.select_action(s[0])
    a = agent.select_action(s)
    with pytest.raises(ConfigError, match=r"needs reward as numbers of shape \(2,\), got 1.0"):
        agent.observe(s, a, 1.0, s, flags, flags)
    with pytest.raises(ConfigError, match=r"needs terminated as bools of shape \(2,\)"):
        agent.observe(s, a, flags, s, [False] * 3, flags)
    with pytest.raises(ConfigError, match="needs 2 actions, as many as environments; got 1"):
        agent.observe(s, [0], flags, s, flags, flags)


def test_numbers_that_are_not_finite_can_end_the_episode_instead():
    agent = small_agent("PPO", nan_obs="terminate")
    s = np.zeros(4, np.float32)
    agent.observe(s, agent.select_action(s), 1.0, s, False, False)
    with pytest.warns(RuntimeWarning, match="Its episode was dropped"):
        agent.observe(s, agent.select_action(s), np.nan, s, False, False)
    assert (agent.num_timesteps, agent.envs.dropped) == (1, 1)
    assert agent.envs.lengths == [0] and agent.logger.episode_count == 0
    with pytest.raises(EnvContractError, match="non-finite observation"):
        agent.select_action(np.full(4, np.nan))


def test_every_step_needs_a_selected_action():
    agent = small_agent("Sarsa")
    with pytest.raises(ConfigError, match=r"observe\(\) needs a call of select_action\(\)"):
        agent.observe(36, 0, -1.0, 24, False, False)
    agent.observe(36, agent.select_action(36), -1.0, 24, False, False)
    with pytest.raises(ConfigError, match="needs a call of select_action"):
        agent.observe(24, 0, -1.0, 12, False, False)
    agent.select_action(24)
    agent.learn(10)
    with pytest.raises(ConfigError, match="needs a call of select_action"):
        agent.observe(24, 0, -1.0, 12, False, False)


def test_an_agent_that_is_learning_is_not_observed():
    agent = small_agent("DQN")
    s = np.zeros(4, np.float32)

    def within(agent):
        calls = [
            lambda: agent.select_action(s),
            lambda: agent.observe(s, 0, 0.0, s, False, False),
            agent.begin_run,
        ]
        for call in calls:
            with pytest.raises(
                ConfigError, match=r"\w+\(\) was called on an agent that is learning"
            ):
                call()

    agent.learn(3, callback=within)
    next(agent.iterate(3))
    agent.select_action(s)


def test_the_arguments_of_a_run_are_checked():
    agent = small_agent("DQN")
    for given, match in [
        ({"total_timesteps": 1.5}, "must be a whole number of env steps"),
        ({"reset_num_timesteps": None}, "reset_num_timesteps must be True or False"),
        ({"log_interval": 0}, "log_interval must be a whole number"),
        ({"log_dir": "runs"}, "needs a log to write there"),
    ]:
        with pytest.raises(ConfigError, match=match):
            agent.begin_run(**given)
    assert not agent.envs.observed


def test_training_that_diverges_says_so_and_ends_the_run():
    agent = small_agent("DDPG", learning_starts=0)
    loop = Loop(*env_like(agent))
    loop.steps(agent, 20)
    agent.phi[:] = np.nan
    with pytest.raises(NumericsError, match="chose an action that is not finite at step 20: phi"):
        loop.steps(agent, 1)

    class Fails(npr.DQN):
        def update(self, *batch):
            raise ValueError("no update")

    agent = Fails("CartPole-v1", verbose=0, learning_starts=2, train_freq=1)
    loop = Loop(*env_like(agent))
    loop.steps(agent, 1)
    with pytest.raises(ValueError, match="no update"):
        loop.steps(agent, 1)
    assert agent.num_timesteps == 2 and not agent._learning
    agent.select_action(loop.s)


# ---- budgets and logs


def test_a_run_ends_with_its_budget_and_steps_go_on_with_the_last_values(tmp_path):
    agent = small_agent("QLearning", learning_rate="linear:0.5")
    loop = Loop(*env_like(agent))
    agent.begin_run(40, log="csv", log_dir=tmp_path)
    loop.steps(agent, 40)
    assert agent.progress == 1 and agent.now(agent.learning_rate) == 0
    rows = (tmp_path / "progress.csv").read_text().splitlines()
    learned = small_agent("QLearning", learning_rate="linear:0.5")
    learned.learn(40, log="csv", log_dir=tmp_path / "learned")
    others = (tmp_path / "learned" / "progress.csv").read_text().splitlines()
    assert rows[0] == others[0] and len(rows) == len(others)
    before = agent.Q.tobytes()
    loop.steps(agent, 3)
    assert agent.Q.tobytes() == before and (agent.num_timesteps, agent.end) == (43, 40)
    agent.begin_run(10)
    assert (agent.num_timesteps, agent.end, agent.progress) == (0, 10, 0.0)


def test_without_a_budget_a_run_has_that_of_learn():
    agent = npr.QLearning("CliffWalking-v1", verbose=0)
    agent.select_action(36)
    learned = npr.QLearning("CliffWalking-v1", verbose=0)
    learned.learn(callback=lambda agent: False)
    assert agent.end == learned.end > 0


class OnlySpaces(gymnasium.Env):
    """Says what a robot sees and does; it is stepped elsewhere."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (1,))


def test_an_environment_that_has_only_spaces_is_enough(tmp_path):
    agent = npr.SAC(OnlySpaces, verbose=0, learning_starts=4, batch_size=4, net_arch=[8])
    s = np.zeros(2)
    for _ in range(8):
        agent.observe(s, agent.select_action(s), 1.0, s, False, False)
    assert agent.n_updates == 5
    agent.save(tmp_path / "robot.npz")
    loaded = npr.load(tmp_path / "robot.npz")
    assert repr(loaded.select_action(s)) == repr(agent.select_action(s))
    assert "SAC" in repr(loaded) and loaded.policy.actions.kind == "box"


# ---- devices


@on_the_double
def test_observed_steps_on_a_device_are_those_of_learn():
    for case in ("PPO", "SAC"):
        agent, learned = small_agent(case), small_agent(case).learn(80)
        loop = Loop(*env_like(agent))
        agent.begin_run(80)
        loop.steps(agent, 80)
        mine, theirs = parameters(agent), parameters(learned)
        assert to_host(agent.acts_by()[2]).tobytes() == to_host(learned.acts_by()[2]).tobytes()
        assert mine.keys() == theirs.keys() and agent.n_updates == learned.n_updates
        pieces = small_agent(case)
        assert len(list(pieces.iterate(80))) == 80
        assert to_host(pieces.acts_by()[2]).tobytes() == to_host(learned.acts_by()[2]).tobytes()
