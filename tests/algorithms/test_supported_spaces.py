"""Every algorithm with every pair of observation and action space: it learns, or it refuses."""

import numpy as np
import pytest
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
JOINT = {"MultiDiscrete", "MultiDiscrete (2, 2)", "MultiBinary"}
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
            small_agent(case, env=env)
        return
    agent = small_agent(case, env=env).learn(40)
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    observation, _ = env.reset(seed=0)
    action = agent.act(observation)
    assert ACTIONS[done].contains(action)
    agent.save(tmp_path / "agent.npz")  # the file contains the spaces
    np.testing.assert_array_equal(npr.infer.load(tmp_path / "agent.npz")(observation), action)
    np.testing.assert_array_equal(npr.load(tmp_path / "agent.npz").act(observation), action)


@pytest.mark.parametrize(
    "name, env, match",
    [
        ("SACS", "CartPole-v1", r"SACS needs a Box action space, got Discrete\(2\);.* DQN, .*PPO"),
        ("DQN", "Pendulum-v1", r"DQN needs a Discrete action space, got Box.*; .* PPO, .*SAC"),
        ("QLearning", "Pendulum-v1", "QLearning needs a Discrete action space, got Box"),
        ("QLearning", "CartPole-v1", "QLearning uses a table .* Discrete observation .* use DQN"),
        ("SAC", RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box unbounded"]),
         "SAC squashes actions into finite bounds, got Box.* or use PPO"),
        ("DQN", RandomEnv(OBSERVATIONS["Box"], ACTIONS["MultiDiscrete"]),
         r"DQN needs a Discrete .* got MultiDiscrete\(\[3 2\]\); .* use A2C, PPO, PPOKL, Q"),
        ("SAC", RandomEnv(OBSERVATIONS["Box"], ACTIONS["Box of integers"]),
         r"SAC needs a Box or Discrete action space.*got Box\(0, 5, \(2,\), int32\); wrap"),
    ],
)  # fmt: skip
def test_an_unsupported_space_is_refused_with_alternatives(name, env, match):
    with pytest.raises(SpaceError, match=match):
        getattr(npr, name)(env)
