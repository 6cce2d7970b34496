"""Every algorithm with every pair of observation and action space: it learns, or it refuses."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.small_agents import (
    RandomEnv,
    parameters,
    small_agent,
)

import npr
from npr import SpaceError

NO_ROWS = {"Text", "Sequence", "Graph", "OneOf", "Box of nothing", "Tuple of nothing"}
FIXED_SIZE = set(OBSERVATIONS) - NO_ROWS
DISCRETE = {"Discrete", "Discrete from -1"}
BOUNDED = {"Box", "Box float64 (2, 2)", "Box ()", "Box float16", "Box without width"}
UNBOUNDED = {"Box unbounded", "Box half bounded"}
JOINT = {"MultiDiscrete", "MultiDiscrete (2, 2)", "MultiBinary", "Dict", "Tuple"}
ON_POLICY = (FIXED_SIZE, DISCRETE | BOUNDED | UNBOUNDED | JOINT)
LEARNS = {
    "QLearning": ({"Discrete"}, DISCRETE),
    "Sarsa": ({"Discrete"}, DISCRETE),
    "DQN": (FIXED_SIZE, DISCRETE),
    "PERDQN": (FIXED_SIZE, DISCRETE),
    "REINFORCE": ON_POLICY,
    "QActorCritic": ON_POLICY,
    "A2C": ON_POLICY,
    "PPO": ON_POLICY,
    "PPOKL": ON_POLICY,
    "DDPG": (FIXED_SIZE, BOUNDED),
    "SoftQ": (FIXED_SIZE, BOUNDED | DISCRETE),
    "SACS": (FIXED_SIZE, BOUNDED),
    "SAC": (FIXED_SIZE, BOUNDED | DISCRETE),
}


@pytest.mark.parametrize("seen", OBSERVATIONS)
@pytest.mark.parametrize("case", LEARNS)
def test_every_pair_of_spaces_is_learned_or_refused(case, seen, tmp_path):
    for done in ACTIONS:
        assert_learned_or_refused(case, seen, done, tmp_path)


def assert_learned_or_refused(case, seen, done, tmp_path):
    env = RandomEnv(OBSERVATIONS[seen], ACTIONS[done])
    observed, acted = LEARNS[case]
    if seen not in observed or done not in acted:
        with pytest.raises(SpaceError, match=r"use |wrap |Give |gymnasium\.wrappers"):
            small_agent(case, env=env, flatten_images=True)
        return
    agent = small_agent(case, env=env, flatten_images=True).learn(40)
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    observation, _ = env.reset(seed=0)
    action = agent.act(observation)
    assert ACTIONS[done].contains(action)
    agent.save(tmp_path / "agent.npz")  # the file contains the spaces
    for loaded in (npr.infer.load(tmp_path / "agent.npz"), npr.load(tmp_path / "agent.npz").act):
        assert data_equivalence(loaded(observation), action, exact=True)


IMAGE = OBSERVATIONS["Box uint8 (2, 2, 3)"]


@pytest.mark.parametrize(
    "space", [IMAGE, spaces.Dict(x=spaces.Box(-1, 1), camera=IMAGE), spaces.Tuple([IMAGE])], ids=str
)
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.filterwarnings("ignore::npr.errors.ResumeWarning")
def test_images_are_flattened_only_if_asked(space, n_envs, tmp_path):
    def env():
        return RandomEnv(space, ACTIONS["Discrete"])

    if space is IMAGE:
        match = r"^DQN got images, .*pass flatten_images=True: they are"
        with pytest.raises(SpaceError, match=match):
            small_agent("DQN", env=env, n_envs=n_envs)
    else:  # beside other observations
        assert not small_agent("DQN", env=env, n_envs=n_envs).observations.images
    agent = small_agent("DQN", env=env, n_envs=n_envs, flatten_images=True)
    seen = []
    agent.learn(64, callback=lambda agent: seen.append(agent.envs.s.copy()))
    image = np.concatenate(seen)[:, -12:]
    assert 0 <= image.min() < 0.1 and 0.9 < image.max() <= 1
    agent.save(tmp_path / "agent.npz")
    loaded, policy = (
        npr.load(tmp_path / "agent.npz", env=env),
        npr.infer.load(tmp_path / "agent.npz"),
    )
    for _ in range(20):
        observation = space.sample()
        assert policy(observation) == agent.act(observation) == loaded.act(observation)
    assert loaded.learn(64).flatten_images and loaded.evaluate(env, episodes=2).mean == 10


def test_a_box_that_is_no_image_stays_as_it_is():
    space = spaces.Box(0, 255, (2, 2), np.uint8)
    agent = small_agent("DQN", env=RandomEnv(space, ACTIONS["Discrete"]))
    rows = agent.policy.encode(np.array([[0, 255], [7, 1]], np.uint8))
    assert rows.tolist() == [[0, 255, 7, 1]]


@pytest.mark.parametrize(
    "name, env, match",
    [
        ("DQN", RandomEnv(IMAGE, ACTIONS["Discrete"]),
         r"DQN got images, Box\(0, 255, \(2, 2, 3\), uint8\), .*wrappers.TransformObservation"),
        ("SACS", "CartPole-v1", r"SACS needs a Box action space, got Discrete\(2\);.* DQN, .*PPO"),
        ("DQN", "Pendulum-v1", r"DQN needs a Discrete action space, got Box.*; .* PPO, .*SAC"),
        ("QLearning", "Pendulum-v1", "QLearning needs a Discrete action space, got Box"),
        ("QLearning", "CartPole-v1", "QLearning uses a table .* Discrete observation .* use DQN"),
        ("SAC", RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box unbounded"]),
         "SAC squashes actions into finite bounds, got Box.* or use PPO"),
        ("DQN", RandomEnv(OBSERVATIONS["Box"], ACTIONS["MultiDiscrete"]),
         r"DQN needs a Discrete .* got MultiDiscrete\(\[3 2\]\); .* use A2C, PPO, PPOKL, Q"),
        ("SAC", RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box of integers"]),
         r"SAC needs a Box or Discrete action space.*got Box\(0, 5, \(2,\), int32\); declare"),
        ("PPO", RandomEnv(OBSERVATIONS["Box"], spaces.Text(3)),
         r"PPO needs a .* got Text.*; wrap .*TransformAction to make it Discrete or a Box"),
        ("PPO", RandomEnv(OBSERVATIONS["Box"], spaces.Box(-9, 10**9, (1,), np.int64)),
         r"PPO needs a .* int64\); declare .*MultiDiscrete\(n\) of n integers each\)"),
    ],
)  # fmt: skip
def test_an_unsupported_space_is_refused_with_alternatives(name, env, match):
    with pytest.raises(SpaceError, match=match):
        getattr(npr, name)(env)


# ---- the advice in these errors is code that works


def advised(error, start):
    """The code in the message of an error, from this text on."""
    message = str(error.value)
    return message[message.index(start) :].removesuffix(".")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([spaces.Discrete(3), spaces.Discrete(4), spaces.Discrete(2)]),
        spaces.Dict(far=spaces.Discrete(2), big=spaces.Discrete(5)),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiDiscrete([3, 4], start=[-1, 5]),
        spaces.MultiBinary(4),
        spaces.Box(-1, 1, (2,), np.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["QLearning", "Sarsa"])
def test_a_table_for_other_observations_is_one_wrapper_away(space, algorithm):
    env = RandomEnv(space, spaces.Discrete(2))
    with pytest.raises(SpaceError, match="or make them Discrete: ") as error:
        getattr(npr, algorithm)(env)
    code = advised(error, "gymnasium.wrappers")
    wrapped = eval(code, {"gymnasium": gymnasium, "np": np, "env": env})
    agent = getattr(npr, algorithm)(wrapped, verbose=0).learn(50)
    assert agent.num_timesteps == 50
    env.reset(seed=1)
    seen = {wrapped.observation(space.sample()) for _ in range(2000)}
    assert seen <= {*range(wrapped.observation_space.n)}
    assert len(seen) > 0.9 * wrapped.observation_space.n, "different ones stay different"


def test_observations_without_bounds_are_bounded_before_a_table():
    with pytest.raises(SpaceError, match=r"bound them, .*np\.clip.*, and make them Discrete"):
        npr.QLearning("CartPole-v1")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)]),
        spaces.Tuple([spaces.Discrete(2, start=1)]),
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary(40),
    ],
    ids=str,
)
def test_a_table_for_nested_or_many_observations_is_not_advised(space):
    with pytest.raises(SpaceError, match=r"for other observations use DQN or PPO\.$"):
        npr.QLearning(RandomEnv(space, spaces.Discrete(2)))


@pytest.mark.parametrize(
    "space", [spaces.Box(-2, 5, (2,), np.int32), spaces.Box(0, 255, (1, 2), np.uint8),
              spaces.Box(0, 1, (3,), bool)], ids=str,
)  # fmt: skip
def test_whole_numbers_as_actions_are_one_wrapper_away(space):
    taken = []

    class Noting(RandomEnv):
        def step(self, action):
            taken.append(action)
            return super().step(action)

    env = Noting(OBSERVATIONS["Box"], space)
    with pytest.raises(SpaceError, match="for A2C, PPO and REINFORCE: ") as error:
        npr.PPO(env)
    code = advised(error, "gymnasium.wrappers")
    wrapped = eval(code, {"gymnasium": gymnasium, "env": env})
    npr.PPO(wrapped, n_steps=64, verbose=0).learn(300)
    taken = np.array(taken)
    assert taken.shape == (300, *space.shape)
    assert (taken >= space.low).all() and (taken <= space.high).all()
    if space.high.max() < 10:
        assert {*taken.ravel().tolist()} == {
            *range(int(space.low.min()), int(space.high.max()) + 1)
        }
