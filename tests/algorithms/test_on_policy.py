"""What all on-policy algorithms share: action kinds, autoreset modes, complete episodes."""

import copy

import gymnasium.spaces as gs
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from support.agent_factories import on_policy_agent
from support.oracles import F
from support.proof_size import rotated
from support.small_agents import RandomEnv
from support.toy_envs import Bandit, CountingEnv, counting_envs

import npr
from npr import ConfigWarning

ON_POLICY = ("REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL")
every_algorithm = pytest.mark.parametrize("name", ON_POLICY)


# ---- kinds of actions

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
def test_every_kind_of_action_is_learned_and_saved(tmp_path, name, kind):
    """The environment raises for an action outside its space."""

    def env():
        return RandomEnv(gs.Box(-1, 1, (2,), F), SPACES[kind])

    agent = on_policy_agent(name, env, n_envs=2).learn(96)
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


class TargetAction(RandomEnv):
    """One step; the reward is the fraction of correct components of the action."""

    def __init__(self, space, target):
        super().__init__(gs.Box(-1, 1, (1,), F), space, length=1)
        self.target = np.array(target)

    def step(self, action):
        observation, *_ = super().step(action)
        return observation, float((action == self.target).mean()), True, False, {}


TARGETS = {
    "MultiDiscrete": (gs.MultiDiscrete([3, 2, 4]), [2, 0, 1]),
    "MultiBinary": (gs.MultiBinary((2, 2)), [[0, 1], [1, 0]]),
}


@pytest.mark.parametrize("name, kind", rotated(ON_POLICY, list(TARGETS)))
def test_the_best_joint_action_is_learned(name, kind):
    space, target = TARGETS[kind]
    agent = on_policy_agent(
        name, lambda: TargetAction(space, target), n_envs=4, learning_rate=0.02, ent_coef=0.0,
        **({"n_episodes": 32} if name == "REINFORCE" else {"n_steps": 8}),
    ).learn(4_000)  # fmt: skip
    assert np.array_equal(agent.act(np.zeros(1, F)), target)


@every_algorithm
def test_the_mean_of_a_gaussian_learns_the_best_action(name):
    agent = on_policy_agent(
        name, Bandit, n_envs=8, learning_rate="linear:0.02", log_std_init=-0.5,
        **({"n_episodes": 64} if name == "REINFORCE" else {"n_steps": 8}),
    ).learn(10_000)  # fmt: skip
    assert agent.act(np.zeros(1, F))[0] == pytest.approx(0.3, abs=0.1)


MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


@every_algorithm
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_steps", [1, 2, 5])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_autoreset_steps_are_not_learned_from(name, mode, n_steps):
    """Two environments that both reset in every fourth step."""
    env = SyncVectorEnv([lambda: CountingEnv(0, ((3, "terminated"),))] * 2, autoreset_mode=mode)
    settings = {} if name == "REINFORCE" else {"n_steps": n_steps}
    settings |= {"normalize_advantage": False} if name in ("A2C", "PPO", "PPOKL") else {}
    agent = on_policy_agent(name, env, learning_rate=0.01, **settings)
    kept = []
    update = agent.update
    agent.update = lambda *batch: kept.append(batch[0]) or update(*batch)
    agent.learn(60)
    assert agent.n_updates > 2
    assert all(np.isfinite(x).all() for x in vars(agent).values() if isinstance(x, np.ndarray))
    seen = agent.logger.snapshot()
    assert all(np.isfinite(v) for key, v in seen.items() if key.startswith("train/"))
    # the third and last step of an episode leads to t = 3, where no action is taken
    assert max(s[..., 2].max() for s in kept) <= (3 if name == "QActorCritic" else 2)


# ---- rollouts of complete episodes


def episodes_of(envs, n_episodes, budget, **settings):
    """The rollouts of `episodes` for an agent that always takes action 0."""
    agent = on_policy_agent("REINFORCE", envs, n_episodes=n_episodes, **settings)
    seen = []

    def train(run):
        for rollout in run.episodes(n_episodes, lambda s: np.zeros(len(s), np.int64)):
            seen.append(copy.deepcopy(rollout))  # the next one has the same memory

    agent._train = train
    agent.learn(budget)
    return agent, seen


def test_rollouts_contain_complete_episodes():
    plan = ((3, "terminated"), (2, "truncated"), (4, "both"))
    _, rollouts = episodes_of(lambda: CountingEnv(0, plan), 2, 18)
    for rollout in rollouts:
        episode, t = rollout.s[:, 0, 1], rollout.s[:, 0, 2]
        ends = np.flatnonzero(rollout.done[:, 0])
        assert rollout.valid.all() and len(ends) == 2 and ends[-1] == len(t) - 1
        assert t[0] == 0 and t[ends[0] + 1] == 0 and len(set(episode)) == 2
        assert np.array_equal(rollout.steps()[:, 0], t)
    assert sum(len(rollout.r) for rollout in rollouts) == 18


def test_every_environment_contributes_as_many_episodes():
    factories = iter(counting_envs() * 2)
    agent, rollouts = episodes_of(lambda: next(factories)(), 6, 100, n_envs=3)
    assert len(rollouts) > 2
    for rollout in rollouts:
        finished = (rollout.done > 0) & rollout.valid
        assert (finished.sum(axis=0) == 2).all()
        for i in range(3):
            rows = rollout.valid[:, i]
            assert (
                rollout.s[0, i, 2] == 0
            )  # from the start of an episode, also after another rollout
            assert np.array_equal(rollout.steps()[rows, i], rollout.s[rows, i, 2])
            assert finished[rows, i][-1]


def test_an_incomplete_episode_is_kept_for_the_next_run():
    agent, rollouts = episodes_of(lambda: CountingEnv(0, ((4, "terminated"),)), 2, 14)
    assert [int(r.valid.sum()) for r in rollouts] == [8]
    assert len(agent.steps) == 6  # an episode and a half
    seen = []
    agent._train = lambda run: seen.extend(run.episodes(2, lambda s: np.zeros(1, np.int64)))
    agent.learn(2)
    (rollout,) = seen
    assert rollout.s[:, 0, 2].tolist() == [0, 1, 2, 3] * 2 and rollout.valid.all()


def test_no_complete_episode_within_the_budget_causes_a_warning():
    agent = on_policy_agent("REINFORCE", lambda: CountingEnv(0, ((100, "terminated"),)))
    with pytest.warns(ConfigWarning, match="no update was made, since one needs 2 complete"):
        agent.learn(50)
