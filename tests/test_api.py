"""What a user types, and what comes back: construct, learn, predict, evaluate, read, be told off.

Files are in test_checkpoint.py, environments that misbehave in test_envs.py.
"""

import inspect
import io
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv
from tiny import (
    BUDGET,
    CASES,
    Spaces,
    assert_same_parameters,
    digest,
    observations,
    parameters,
    tiny,
    trained,
)

import npr
from npr import ConfigError, EnvContractError, SpaceError, presets
from npr.algorithms.base import REGISTRY, Algorithm
from npr.training.logger import Logger, Progress
from npr.training.run import DEFAULT_BUDGET

every_case = pytest.mark.parametrize("case", CASES)


def cartpole():
    return gymnasium.make("CartPole-v1")


# ---- the package


def test_the_package_offers_what_its_list_says():
    for name in npr.__all__:
        assert getattr(npr, name) is not None
        assert name in dir(npr)
    with pytest.raises(AttributeError, match="module 'npr' has no attribute 'SACK'"):
        _ = npr.SACK


@every_case
def test_the_signature_lists_every_setting_with_its_default(case):
    algorithm = getattr(npr, CASES[case][0])
    listed = inspect.signature(algorithm).parameters
    assert list(listed)[:2] == ["env", "seed"]
    assert {"n_envs", "max_episode_steps", "verbose", "learning_rate", "gamma"} <= set(listed)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(listed.values())[1:])
    assert {n: p.default for n, p in list(listed.items())[2:]} == algorithm.settings


# ---- environments: an id, an Env, a function, a VectorEnv


@pytest.mark.parametrize(
    "env, n",
    [
        ("CartPole-v1", 1),
        (cartpole, 1),
        (lambda: cartpole(), 3),
        (CartPoleEnv, 2),
        (lambda: gymnasium.vector.SyncVectorEnv([cartpole] * 3), 3),
        (lambda: gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync"), 3),
        (lambda: gymnasium.make_vec("CartPole-v1", 3), 3),  # CartPole's own, in NumPy
    ],
    ids=["id", "function", "function, three", "class", "vector", "make_vec sync", "make_vec"],
)
def test_an_environment_may_be_given_in_many_ways(env, n):
    vector = callable(env) and isinstance(env(), gymnasium.vector.VectorEnv)
    given = env() if vector else env
    agent = tiny("DQN", env=given, n_envs=1 if vector else n).learn(BUDGET)
    assert agent.n_envs == n
    assert BUDGET <= agent.num_timesteps < BUDGET + n
    assert agent.n_updates > 0
    assert agent.evaluate(cartpole, episodes=2, seed=0).lengths.min() > 0
    assert vector or agent.evaluate(episodes=2, seed=0).lengths.min() > 0


@every_case
def test_every_algorithm_takes_many_environments(case):
    agent = tiny(case, n_envs=2).learn(BUDGET)
    assert agent.num_timesteps == BUDGET
    assert digest(agent) != digest(tiny(case, n_envs=2))


def test_an_env_is_used_as_it_is():
    env = cartpole()
    agent = tiny("DQN", env=env).learn(20)
    assert agent.env_id == "CartPole-v1"
    assert env.unwrapped.state is not None  # it was stepped
    assert agent.evaluate(episodes=1, seed=0).lengths[0] > 0  # in another one, of its spec
    env.reset()  # and left open


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_evaluate_makes_a_single_environment_like_those_of_a_vector(mode):
    agent = tiny("DQN", env=gymnasium.make_vec("CartPole-v1", 2, vectorization_mode=mode))
    assert agent.evaluate(episodes=2, seed=0).lengths.min() > 0


def test_the_first_argument_of_stable_baselines3_is_let_pass():
    for agent in (
        npr.SAC("MlpPolicy", "Pendulum-v1", seed=0),
        npr.SAC("MlpPolicy", env="Pendulum-v1", seed=0),
        npr.SAC(env="Pendulum-v1", seed=0),
    ):
        assert_same_parameters(agent, npr.SAC("Pendulum-v1", seed=0))


@pytest.mark.parametrize(
    "env, error, match",
    [
        (None, ConfigError, "DQN takes one environment: an id, .* got .*None"),
        (5, ConfigError, "an id, a gymnasium.Env, a VectorEnv or a function"),
        (lambda: 5, ConfigError, "a function that returns an Env; the function returned int"),
        (["CartPole-v1"], ConfigError, "an id, a gymnasium.Env, a VectorEnv or a function"),
    ],
)
def test_what_is_no_environment_is_refused(env, error, match):
    with pytest.raises(error, match=match):
        npr.DQN(env)


def test_two_environments_are_one_too_many():
    with pytest.raises(ConfigError, match="DQN takes one environment.* got .*Acrobot-v1"):
        npr.DQN("CartPole-v1", "Acrobot-v1")


def test_one_env_cannot_be_many():
    with pytest.raises(ConfigError, match="n_envs=2 needs an id or a function .* got one Env"):
        npr.DQN(cartpole(), n_envs=2)


def test_an_id_that_is_not_registered_is_gymnasium_s_to_refuse():
    with pytest.raises(gymnasium.error.NameNotFound, match="CartPoll"):
        npr.DQN("CartPoll-v1")


# ---- spaces

OBSERVATIONS = {
    "Box": spaces.Box(-1, 1, (3,)),
    "Box float64 (2, 2)": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    "Box uint8 (2, 2, 3)": spaces.Box(0, 255, (2, 2, 3), np.uint8),
    "Discrete": spaces.Discrete(5, start=2),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Dict(c=spaces.Discrete(3))),
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Text": spaces.Text(4),
    "Sequence": spaces.Sequence(spaces.Discrete(3)),
    "Box ()": spaces.Box(-1, 1, ()),
    "Box float16": spaces.Box(-1, 1, (2,), np.float16),
    "Box int16": spaces.Box(-5, 5, (2,), np.int16),
    "Box without width": spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
    "Box of nothing": spaces.Box(-1, 1, (0,)),
    "MultiDiscrete (2, 2)": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 1], [-1, 5]]),
    "Tuple of Dict": spaces.Tuple([spaces.Dict(a=spaces.MultiBinary(2)), spaces.Box(-1, 1, ())]),
    "Tuple of nothing": spaces.Tuple([]),
    "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), None),
    "OneOf": spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
}
ACTIONS = {
    "Discrete": spaces.Discrete(3),
    "Discrete from -1": spaces.Discrete(3, start=-1),
    "Box": spaces.Box(-2, 1, (2,)),
    "Box float64 (2, 2)": spaces.Box(-3, 1, (2, 2), np.float64),
    "Box unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "Box half bounded": spaces.Box(0, np.inf, (2,)),
    "Box of integers": spaces.Box(0, 5, (2,), np.int32),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Box ()": spaces.Box(-1, 1, ()),
    "Box float16": spaces.Box(-1, 1, (2,), np.float16),
    "Box without width": spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
    "Box of nothing": spaces.Box(-1, 1, (0,)),
    "MultiDiscrete (2, 2)": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 1], [-1, 5]]),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, (2,))),
    "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), None),
    "OneOf": spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Sequence": spaces.Sequence(spaces.Discrete(3)),
    "Text": spaces.Text(4),
}
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
def test_every_pair_of_spaces_is_learnt_or_refused_with_advice(case, seen, tmp_path):
    for done in ACTIONS:
        assert_learnt_or_refused(case, seen, done, tmp_path)


def assert_learnt_or_refused(case, seen, done, tmp_path):
    env = Spaces(OBSERVATIONS[seen], ACTIONS[done])
    observed, acted = LEARNS[case]
    if seen not in observed or done not in acted:
        with pytest.raises(SpaceError, match=r"use |wrap |Give |gymnasium\.wrappers"):
            tiny(case, env=env)
        return
    agent = tiny(case, env=env).learn(40)
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    observation, _ = env.reset(seed=0)
    action = agent.act(observation)
    assert ACTIONS[done].contains(action)
    agent.save(tmp_path / "agent.npz")  # and a file knows the spaces
    np.testing.assert_array_equal(npr.infer.load(tmp_path / "agent.npz")(observation), action)
    np.testing.assert_array_equal(npr.load(tmp_path / "agent.npz").act(observation), action)


@pytest.mark.parametrize(
    "name, env, match",
    [
        ("SACS", "CartPole-v1", r"SACS needs a Box action space, got Discrete\(2\);.* DQN, .*PPO"),
        ("DQN", "Pendulum-v1", r"DQN needs a Discrete action space, got Box.*; .* PPO, .*SAC"),
        ("QLearning", "Pendulum-v1", "QLearning needs a Discrete action space, got Box"),
        ("QLearning", "CartPole-v1", "QLearning keeps a table .* Discrete observation .* use DQN"),
        ("SAC", Spaces(OBSERVATIONS["Box"], ACTIONS["Box unbounded"]),
         "SAC squashes actions into finite bounds, got Box.* or use PPO"),
        ("DQN", Spaces(OBSERVATIONS["Box"], ACTIONS["MultiDiscrete"]),
         r"DQN needs a Discrete .* got MultiDiscrete\(\[3 2\]\); .* use A2C, PPO, PPOKL, Q"),
        ("SAC", Spaces(OBSERVATIONS["Box"], ACTIONS["Box of integers"]),
         r"SAC needs a Box or Discrete action space.*got Box\(0, 5, \(2,\), int32\); wrap"),
    ],
)  # fmt: skip
def test_a_space_that_does_not_fit_is_refused_with_alternatives(name, env, match):
    with pytest.raises(SpaceError, match=match):
        getattr(npr, name)(env)


# ---- predict and act


@every_case
def test_predict_returns_an_action_of_the_space_and_none(case):
    agent = trained(case)
    space = agent.envs.action_space
    for obs in observations(agent, 5):
        action, state = agent.predict(obs)
        assert state is None
        assert space.contains(action)
        assert space.contains(agent.act(obs))


@every_case
def test_predict_takes_batches(case):
    agent = trained(case)
    obs = observations(agent, 7)
    actions, state = agent.predict(obs, deterministic=True)
    assert state is None
    assert actions.shape == (7, *agent.envs.action_space.shape)
    one_by_one = np.array([agent.act(one) for one in obs])
    np.testing.assert_allclose(actions, one_by_one, rtol=1e-5, atol=1e-6)
    assert agent.predict(obs[:1])[0].shape == (1, *agent.envs.action_space.shape)


@every_case
def test_predict_samples_and_act_does_not(case):
    agent = trained(case)
    obs = observations(agent, 200)
    best = agent.act(obs)
    np.testing.assert_array_equal(agent.act(obs), best)
    np.testing.assert_array_equal(agent.predict(obs, deterministic=True)[0], best)
    if CASES[case][0] in ("DDPG", "TD3"):
        return  # their policy is deterministic, and the noise of exploration no part of it
    assert (agent.predict(obs)[0] != best).any()
    assert (agent.predict(obs)[0] != agent.predict(obs)[0]).any()
    assert (agent.act(obs, deterministic=False) != best).any()


def test_an_observation_may_be_a_list():
    agent = tiny("SAC")
    one = [0.1, -0.2, 0.3]
    np.testing.assert_array_equal(agent.act(one), agent.act(np.array(one)))
    np.testing.assert_array_equal(agent.act([one, one]), agent.act(np.array([one, one])))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (5, 4), (2, 2, 3), (1, 1, 3)])
def test_an_observation_of_another_shape_is_refused(shape):
    agent = tiny("SAC")
    with pytest.raises(EnvContractError, match=r"observation of shape .*, the space says \(3,\)"):
        agent.act(np.zeros(shape, np.float32))


@pytest.mark.parametrize("index", [-1, 48, 10**9])
def test_an_index_outside_the_table_is_refused(index):
    agent = tiny("QLearning")
    for obs in (index, np.array([0, index])):
        with pytest.raises(EnvContractError, match=r"outside Discrete\(48"):
            agent.act(obs)


def test_evaluation_code_for_stable_baselines3_runs():
    """The loop of its documentation, and that of its evaluate_policy on a vector."""
    model = tiny("PPO")
    env = cartpole()
    obs, _ = env.reset(seed=0)
    for _ in range(30):
        action, _states = model.predict(obs, deterministic=True)
        obs, _reward, terminated, truncated, _info = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()

    envs = gymnasium.vector.SyncVectorEnv([cartpole] * 3)
    obs, _ = envs.reset(seed=0)
    states, episode_starts = None, np.ones(3, bool)
    for _ in range(30):
        actions, states = model.predict(
            obs, state=states, episode_start=episode_starts, deterministic=False
        )
        obs, _rewards, terminated, truncated, _infos = envs.step(actions)
        episode_starts = terminated | truncated
    assert states is None


# ---- evaluate


def test_evaluate_tells_returns_and_lengths_of_whole_episodes():
    result = trained("DQN").evaluate(episodes=5, seed=3)
    assert result.returns.shape == result.lengths.shape == (5,)
    np.testing.assert_array_equal(result.returns, result.lengths)  # CartPole pays one a step
    assert result.mean == result.returns.mean()
    assert result.std == result.returns.std()
    assert isinstance(result.mean, float)
    assert isinstance(result.std, float)
    low, high = result.returns.min(), result.returns.max()
    assert repr(result) == (
        f"Evaluation(mean={result.mean:.2f}, std={result.std:.2f}, min={low:.2f}, max={high:.2f}, "
        "episodes=5)"
    )
    assert inspect.signature(Algorithm.evaluate).parameters["episodes"].default == 100


def test_evaluate_starts_its_episodes_in_different_states():
    agent = tiny("SAC", max_episode_steps=5)
    assert len(set(agent.evaluate(episodes=4, seed=0).returns)) == 4


@every_case
def test_evaluate_with_a_seed_repeats_itself(case):
    agent = trained(case)
    first = agent.evaluate(episodes=3, seed=7, deterministic=False)
    again = agent.evaluate(episodes=3, seed=7, deterministic=False)
    other = agent.evaluate(episodes=3, seed=8, deterministic=False)
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.returns != other.returns).any()


def test_evaluate_keeps_the_time_limit_of_the_agent():
    assert tiny("SAC", max_episode_steps=5).evaluate(episodes=2).lengths.tolist() == [5, 5]


class Closing(gymnasium.Wrapper):
    closed = False

    def close(self):
        self.closed = True


def test_evaluate_takes_an_environment_of_the_user_s():
    agent = tiny("SAC", max_episode_steps=None)
    mine = Closing(gymnasium.make("Pendulum-v1", max_episode_steps=7))
    assert agent.evaluate(mine, episodes=1).lengths.tolist() == [7]
    assert not mine.closed
    # what it makes itself, it closes
    made = []

    def make():
        made.append(Closing(gymnasium.make("Pendulum-v1", max_episode_steps=3)))
        return made[-1]

    assert agent.evaluate(make, episodes=2).lengths.tolist() == [3, 3]
    assert [env.closed for env in made] == [True]
    assert agent.evaluate("Pendulum-v1", episodes=1).lengths.tolist() == [200]


def test_evaluate_without_an_environment_to_make_asks_for_one():
    agent = tiny("SAC", env=Spaces(OBSERVATIONS["Box"], ACTIONS["Box"]))
    with pytest.raises(ConfigError, match=r"an environment of its own; pass one: evaluate\(env="):
        agent.evaluate()


@pytest.mark.parametrize("episodes", [0, -1, 2.5, "3", True])
def test_evaluate_needs_a_number_of_episodes(episodes):
    with pytest.raises(ConfigError, match=f"episodes must be .*got {episodes!r}"):
        tiny("DQN").evaluate(episodes=episodes)


@pytest.mark.parametrize("env", [5, gymnasium.vector.SyncVectorEnv([cartpole])])
def test_evaluate_refuses_what_is_no_single_environment(env):
    with pytest.raises(ConfigError, match="must be an id, a gymnasium.Env"):
        tiny("DQN").evaluate(env, episodes=1)


# ---- learn


@every_case
def test_learn_returns_the_agent_and_stops_where_it_is_told(case):
    agent = tiny(case)
    assert agent.learn(37) is agent
    assert agent.num_timesteps == 37


@every_case
def test_learn_for_nothing_changes_nothing(case):
    agent = tiny(case).learn(0)
    assert agent.num_timesteps == 0
    assert_same_parameters(agent, tiny(case))


@every_case
def test_learn_moves_the_parameters_and_keeps_them_finite(case):
    before, after = parameters(tiny(case)), parameters(trained(case))
    assert all(np.isfinite(array).all() for array in after.values())
    moved = {name for name, array in after.items() if (array != before[name]).any()}
    assert moved == set(after)


@pytest.mark.parametrize("budget", [1e2, 100, np.int64(100), np.float32(100)])
def test_a_budget_may_be_any_whole_number(budget):
    agent = tiny("QLearning").learn(budget)
    assert agent.num_timesteps == 100
    assert type(agent.num_timesteps) is int


@pytest.mark.parametrize(
    "budget, match",
    [
        (-1, "total_timesteps must not be negative, got -1"),
        (0.5, "total_timesteps must be a whole number, got 0.5"),
        (float("nan"), "must be a whole number, got nan"),
        (float("inf"), "must be a whole number, got inf"),
        ("100", "must be a whole number, got '100'"),
        (True, "must be a whole number, got True"),
        ([100], "must be a whole number"),
    ],
)
def test_a_budget_that_is_no_number_of_steps_is_refused(budget, match):
    with pytest.raises(ConfigError, match=match):
        tiny("QLearning").learn(budget)


@every_case
def test_the_callback_sees_the_agent_after_every_step(case):
    agent, seen = tiny(case), []

    def callback(given):
        assert given is agent
        seen.append(given.num_timesteps)

    agent.learn(25, callback)
    assert seen == list(range(1, 26))


@pytest.mark.filterwarnings("ignore:REINFORCE learnt nothing")
@pytest.mark.parametrize("no", [False, np.bool_(False)], ids=["False", "NumPy's False"])
@every_case
def test_the_callback_stops_with_false(case, no):
    agent = tiny(case).learn(40, callback=lambda agent: no if agent.num_timesteps == 7 else None)
    assert agent.num_timesteps == 7
    assert agent.learn(10, reset_num_timesteps=False).num_timesteps == 17  # and is gone


@pytest.mark.parametrize("yes", [None, True, np.bool_(True), 0, "", 0.0])
def test_the_callback_goes_on_with_anything_else(yes):
    assert tiny("QLearning").learn(9, callback=lambda _: yes).num_timesteps == 9


def test_an_error_in_a_callback_is_the_user_s_and_learning_can_go_on():
    def callback(agent):
        if agent.num_timesteps == 7:
            raise KeyError("mine")

    agent = tiny("DQN")
    with pytest.raises(KeyError, match="mine"):
        agent.learn(40, callback)
    assert agent.learn(40, reset_num_timesteps=False).num_timesteps == 47


@every_case
def test_learning_in_two_halves_is_learning_once(case):
    """With a constant learning rate and exploration, where nothing depends on the budget."""
    steady = {"exploration_initial_eps": 0.3, "exploration_final_eps": 0.3}
    if CASES[case][0] == "REINFORCE":
        pytest.skip("an episode that a budget cuts is not learnt from")
    steady = steady if "exploration_fraction" in getattr(npr, CASES[case][0]).settings else {}
    once = tiny(case, **steady).learn(64)
    twice = tiny(case, **steady).learn(32).learn(32, reset_num_timesteps=False)
    assert twice.num_timesteps == 64
    assert_same_parameters(once, twice)


def test_reset_num_timesteps_starts_the_count_and_the_schedules_again():
    agent = tiny("QLearning", exploration_fraction=1.0).learn(40)
    assert (agent.num_timesteps, agent.progress) == (40, 1.0)
    assert agent.epsilon == pytest.approx(agent.exploration_final_eps)
    agent.learn(60, reset_num_timesteps=False)
    assert agent.num_timesteps == 100
    first = []
    agent.learn(10, callback=lambda agent: first.append((agent.num_timesteps, agent.epsilon)))
    assert agent.num_timesteps == 10
    assert first[0] == (1, pytest.approx(1 - 0.1 * 0.7))


# ---- schedules


@pytest.mark.parametrize(
    "setting, first, last",
    [
        ("linear:1e-3", 1e-3, 0.0),
        ("linear:1e-3:1e-4", 1e-3, 1e-4),
        ([1e-3, 1e-4], 1e-3, 1e-4),
        ((1e-4, 1e-3), 1e-4, 1e-3),
        (2e-3, 2e-3, 2e-3),
        (1, 1.0, 1.0),
    ],
)
def test_a_schedule_runs_over_the_budget(setting, first, last):
    agent, seen = tiny("QLearning", learning_rate=setting), []
    agent.learn(50, callback=lambda agent: seen.append(agent.now(agent.learning_rate)))
    np.testing.assert_allclose(seen, first + (last - first) * np.arange(1, 51) / 50)


@pytest.mark.parametrize("case", ["DQN", "PPO", "SAC"])
def test_the_optimisers_follow_the_schedule(case):
    agent = tiny(case, learning_rate="linear:1e-3:2e-4").learn(BUDGET)
    adams = [part for name, part in vars(agent).items() if name.startswith("adam")]
    assert adams
    assert [adam.learning_rate for adam in adams] == [pytest.approx(2e-4)] * len(adams)


def test_a_schedule_that_ends_at_nought_leaves_the_table_alone():
    agent = tiny("QLearning", learning_rate=[0, 0]).learn(50)
    assert not agent.Q.any()


def test_exploration_falls_over_its_fraction_of_the_budget():
    agent = tiny(
        "DQN", exploration_initial_eps=0.9, exploration_final_eps=0.1, exploration_fraction=0.5
    )
    seen = {}
    agent.learn(40, callback=lambda agent: seen.update({agent.num_timesteps: agent.epsilon}))
    expected = [0.9 - 0.8 * min(1, t / 20) for t in range(1, 41)]
    np.testing.assert_allclose(list(seen.values()), expected)


# ---- same seed, same bytes


@every_case
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(case):
    assert_same_parameters(trained(case, seed=3), trained(case, seed=3))
    assert digest(trained(case, seed=3)) != digest(trained(case, seed=4))
    assert digest(trained(case, seed=None)) != digest(trained(case, seed=None))


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path):
    script = (
        "from tiny import CASES, digest, trained\n"
        "for case in reversed(CASES): print(case, digest(trained(case)))\n"
    )
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONHASHSEED": "4711"}
    env["PYTHONPATH"] = os.pathsep.join([here, env.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{c} {digest(trained(c))}" for c in reversed(CASES)]


@every_case
def test_the_global_generator_is_neither_read_nor_moved(case):
    np.random.seed(1)
    before = np.random.get_state()
    agent = trained(case)
    agent.evaluate(episodes=1, deterministic=False)
    agent.predict(observations(agent, 3))
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    np.random.seed(2)
    assert_same_parameters(agent, trained(case))


@every_case
def test_looking_at_an_agent_does_not_change_what_it_learns(case):
    def look(agent):
        if agent.num_timesteps % 20 == 0:
            agent.evaluate(episodes=1, deterministic=False)
            agent.predict(observations(agent, 3))
            agent.logger.table(io.StringIO())
            repr(agent)

    assert_same_parameters(trained(case), tiny(case).learn(BUDGET, look))


def test_numpy_s_integers_are_seeds():
    assert_same_parameters(tiny("SAC", seed=np.int64(5)), tiny("SAC", seed=5))
    assert digest(tiny("SAC", seed=2**100)) != digest(tiny("SAC", seed=2**100 + 1))


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True, [1]])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ConfigError, match=r"seed must be a whole number >= 0 or None, got "):
        tiny("SAC", seed=seed)


# ---- settings


class Untouched(gymnasium.Wrapper):
    """An environment that fails the test when anything is done to it."""

    def reset(self, **_):
        pytest.fail("the environment was reset")

    def step(self, _):
        pytest.fail("the environment was stepped")


nan, inf = float("nan"), float("inf")
BAD = {
    # not the type
    ("DQN", "batch_size"): ["64", 2.5, True, None, [64], nan, inf, 0, -1],
    ("DQN", "gamma"): [True, "0.9", None, nan, inf, 1.5, -0.1],
    ("DQN", "double"): ["yes", 1, None],
    ("DQN", "activation"): [3, None, "selu", "Tanh", "__class__"],
    ("PPO", "normalize_advantage"): [1, "no"],
    # not in range
    ("DQN", "buffer_size"): [0, 1e300],
    ("DQN", "train_freq"): [0, -1],
    ("DQN", "gradient_steps"): [-2, 0.5],
    ("DQN", "learning_starts"): [-1, inf],
    ("DQN", "target_update_interval"): [0],
    ("DQN", "exploration_initial_eps"): [-0.1, 1.1, nan],
    ("DQN", "exploration_final_eps"): [-0.1, 1.1, nan],
    ("DQN", "exploration_fraction"): [-0.1, 1.1, nan],
    ("DQN", "max_grad_norm"): [0, -1, nan],
    ("DQN", "n_envs"): [0, 1.5],
    ("DQN", "max_episode_steps"): [0, 2.5, "10"],
    ("PPO", "gae_lambda"): [-0.1, 1.1, nan],
    ("PPO", "n_steps"): [0, None],
    ("PPO", "n_epochs"): [0],
    ("PPO", "clip_range"): [-0.2, nan, "wide", "linear:-0.2"],
    ("PPO", "vf_coef"): [nan, inf],
    ("SAC", "tau"): [-0.1, 1.5, 0.9, 0.995, nan, True],
    # a number, or a schedule
    ("SAC", "learning_rate"): [
        10.5, 1e30, "linear:11", "linear:0:1e30", [1e30, 0],
        -1, nan, inf, True, None, "fast", "linear", "linear:", "linear:x", "linear:1:2:3",
        "linear:nan", "linear:inf", "linear:-1e-3", "linear:1e-3:-1", "cosine:1", "1e-3:0",
        [], [1, 2, 3], ["a", "b"], [nan, 0], [0, inf], [-1e-3, 0], [True, 0], [None, 0], {"a": 1},
    ],
    # a number, or one of a few words
    ("SAC", "ent_coef"): [-1, nan, inf, True, None, "always", "auto_", "auto_0", "auto_-1",
                          "auto_x", "auto_nan", "auto_inf", "automatic"],
    ("SAC", "target_entropy"): ["low", nan, inf, True, None],
    ("PPO", "ent_coef"): [-1, nan, inf, True, "auto"],
    ("PPO", "log_std_init"): [1e6, -1e6, nan, inf],
    ("REINFORCE", "n_episodes"): [0, 1.5],
    ("REINFORCE", "vf_epochs"): [-1],
    ("REINFORCE", "ent_coef"): [-1],
    ("REINFORCE", "baseline"): [1],
    ("QActorCritic", "baseline_actions"): [0],
    ("A2C", "use_rms_prop"): [1, "yes"],
    ("A2C", "ent_coef"): [-1],
    ("PPOKL", "kl_coef"): [0, 1e6, nan],
    ("PPOKL", "target_kl"): [0, -1],
    ("PPOKL", "kl_tol"): [1, 0.5],
    ("PPOKL", "kl_scale"): [1],
    ("DDPG", "action_noise"): ["pink", None],
    ("DDPG", "tau"): [0.995],
    ("PERDQN", "per_normalization"): ["sum"],
    ("PERDQN", "per_alpha"): [-0.1, 1.1],
    ("SoftQ", "n_particles"): [0, 2],
    ("SoftQ", "value_n_particles"): [0],
    ("SoftQ", "kernel_update_ratio"): [0, 1.5],
    ("SoftQ", "ent_coef"): [0, -1],
    ("SACS", "ent_coef"): [-1, "auto"],
    ("SACS", "tau"): [0.995],
    ("SAC", "action_noise"): ["pink", 0.1],
    ("SAC", "exploration_noise"): [-0.1, nan],
    # widths
    ("SAC", "net_arch"): [
        [0], [-4], [2.5], ["64"], [True], [None], 64, "64", None, {"pi": [8]}, {"qf": [8]},
        {"pi": 8, "qf": [8]}, {"pi": [8], "qf": [0]}, {"pi": [8], "qf": [8], "vf": [8]}, {},
    ],
    # what does not fit another setting
    ("PPO", "batch_size"): [1],
}  # fmt: skip


@pytest.mark.parametrize(
    "case, setting, value",
    [(case, setting, value) for (case, setting), values in BAD.items() for value in values],
)
def test_a_bad_setting_is_refused_before_the_first_step(case, setting, value):
    """The message names the class and the setting, and says what was got and what is needed."""
    env_id = CASES[case][1]
    with pytest.raises(ConfigError) as caught:
        tiny(case, env=lambda: Untouched(gymnasium.make(env_id)), **{setting: value})
    message = str(caught.value)
    assert message.startswith(f"{case}: ")
    assert setting in message
    shown = {repr(value), repr(float(value)) if isinstance(value, int) else repr(value)}
    assert any(text in message for text in shown), message
    assert re.search(r" must be ['\w]|; use \w+ (>=|=)|are needed\.", message), message


@pytest.mark.parametrize(
    "name, near",
    [
        ("learning_rat", "learning_rate"),
        ("Gamma", "gamma"),
        ("lr", "learning_rate"),
        ("polyak", r"tau \(tau = 1 - polyak\)"),
        ("policy", "net_arch"),
        ("net_archs", "net_arch"),
        ("learning_start", "learning_starts"),
    ],
)
def test_an_unknown_setting_gets_the_nearest_name(name, near):
    with pytest.raises(ConfigError, match=f"SAC has no setting '{name}'; did you mean {near}"):
        npr.SAC("Pendulum-v1", **{name: 1})


def test_an_unknown_setting_with_nothing_near_gets_the_list():
    with pytest.raises(ConfigError, match="SAC has no setting 'zzz'; it has .*gamma.*ent_coef"):
        npr.SAC("Pendulum-v1", zzz=1)


def test_settings_are_plain_data_of_their_type():
    agent = tiny(
        "SAC", gamma=1, batch_size=16.0, tau=np.float32(0.5), learning_starts=np.int64(3),
        net_arch=(8, 4), ent_coef=1, max_episode_steps=None,
    )  # fmt: skip
    kept = {"gamma": 1.0, "batch_size": 16, "tau": 0.5, "learning_starts": 3, "net_arch": [8, 4],
            "ent_coef": 1.0, "max_episode_steps": None}  # fmt: skip
    for name, value in kept.items():
        assert getattr(agent, name) == value
        assert type(getattr(agent, name)) is type(value)


def test_a_list_of_the_user_s_is_not_shared():
    arch = [8]
    one, other = tiny("DQN", net_arch=arch), tiny("DQN", net_arch=arch)
    arch.append(4)
    one.net_arch.append(5)
    assert other.net_arch == [8]
    assert npr.DQN.settings["net_arch"] == [64, 64]


@pytest.mark.parametrize("case, parts", [("DQN", ["qf"]), ("PPO", ["pi", "vf"]),
                                         ("SAC", ["pi", "qf"])])  # fmt: skip
def test_widths_may_be_given_part_by_part(case, parts):
    widths = {part: [3 + i, 5] for i, part in enumerate(parts)}
    agent = tiny(case, net_arch=widths)
    networks = {"DQN": ["net"], "PPO": ["actor", "critic"], "SAC": ["actor", "Q"]}[case]
    assert [getattr(agent, name).sizes[1:-1] for name in networks] == list(widths.values())
    assert tiny(case, net_arch=[]).learn(BUDGET).n_updates > 0  # linear maps


@pytest.mark.parametrize(
    "setting, value, check",
    [
        ("ent_coef", 0.3, lambda first, last: first == last == pytest.approx(0.3)),
        ("ent_coef", 0, lambda first, last: first == last < 1e-20),
        ("ent_coef", "auto", lambda first, last: first == 1 != last),
        ("ent_coef", "auto_0.2", lambda first, last: first == pytest.approx(0.2) != last),
    ],
)
def test_the_temperature_of_sac_is_fixed_or_learnt(setting, value, check):
    agent = tiny("SAC", **{setting: value})
    first = float(np.exp(agent.log_alpha[0]))
    last = float(np.exp(agent.learn(BUDGET).log_alpha[0]))
    assert check(first, last)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(
    "env",
    [
        lambda: "CartPole-v1",
        cartpole,
        lambda: gymnasium.vector.SyncVectorEnv(
            [lambda n=n: Spaces(OBSERVATIONS["Box"], ACTIONS["Box"], length=n) for n in (4, 7)]
        ),
    ],
    ids=["id", "env", "vector"],
)
def test_the_smallest_rollouts_of_ppo_stay_finite_or_are_refused(steps, env):
    """A single step has no standard deviation to normalise advantages by. In a vector it may be
    alone in its rollout, while the other environment resets itself."""
    try:
        agent = tiny("PPO", env=env(), n_steps=steps, max_episode_steps=None)
    except ConfigError as error:
        assert "n_steps" in str(error)
        assert steps == 1
        return
    agent.learn(60)
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    assert agent.n_updates > 0


# ---- presets, and what is printed of them


@pytest.fixture
def preset(monkeypatch):
    """One preset instead of those of the library."""
    table = {"SAC": {"Pendulum-v1": {"total_timesteps": 30, "net_arch": [7], "gamma": 0.9}}}
    monkeypatch.setattr(presets, "PRESETS", table)


def test_a_preset_is_found_by_id_and_by_name_without_version(preset):
    found = presets.find("SAC", "Pendulum-v1")
    assert found["net_arch"] == [7]
    assert presets.find("SAC", "Pendulum-v7") is found
    assert presets.find("SAC", "Pendulum") is found
    for name, env in [("DQN", "Pendulum-v1"), ("SAC", "Pend-v1"), ("SAC", None), ("SAC", "")]:
        assert presets.find(name, env) == {}


def test_a_preset_gives_settings_and_budget_and_the_user_overrides_it(preset):
    agent = npr.SAC("Pendulum-v1", verbose=0)
    assert (agent.net_arch, agent.gamma, agent.tau) == ([7], 0.9, 0.005)
    assert agent.learn().num_timesteps == 30
    agent = npr.SAC("Pendulum-v1", verbose=0, gamma=0.8)
    assert (agent.net_arch, agent.gamma) == ([7], 0.8)
    assert agent.learn(20).num_timesteps == 20
    assert npr.SAC(gymnasium.make("Pendulum-v1")).gamma == 0.9  # an Env has an id too
    assert npr.SAC(lambda: gymnasium.make("Pendulum-v1")).gamma == 0.99  # a function has none


def test_without_a_preset_there_is_a_default_budget(preset):
    agent = npr.DQN("CartPole-v1", verbose=0)
    ends = []
    agent.learn(callback=lambda agent: ends.append(agent.end) or False)
    assert ends == [DEFAULT_BUDGET]


def test_settings_are_printed_once(preset, capsys):
    agent = npr.SAC("Pendulum-v1", tau=0.01)
    agent.learn().learn(5)
    out, _ = capsys.readouterr()
    assert out == "SAC on Pendulum-v1, 30 steps: gamma=0.9, tau=0.01, net_arch=[7]\n"
    npr.DQN(cartpole, learning_starts=9).learn(5)
    assert capsys.readouterr().out == "DQN on cartpole, 5 steps: learning_starts=9\n"
    npr.SAC("Pendulum-v1", verbose=0).learn(5, progress_bar=False)
    assert capsys.readouterr() == ("", "")


def test_repr_shows_what_is_not_the_default(preset):
    assert repr(npr.DQN("CartPole-v1", seed=1)) == "DQN('CartPole-v1', default settings)"
    assert repr(npr.SAC("Pendulum-v1", ent_coef=0.1)) == (
        "SAC('Pendulum-v1', gamma=0.9, net_arch=[7], ent_coef=0.1)"
    )
    assert repr(npr.DQN(cartpole)) == "DQN(None, default settings)"


@pytest.mark.parametrize(
    "name, env",
    [
        ("QLearning", "CliffWalking-v1"), ("QLearning", "FrozenLake-v1"), ("QLearning", "Taxi"),
        ("DQN", "CartPole-v1"), ("DQN", "Acrobot-v1"),
        ("PPO", "CartPole-v1"), ("PPO", "Acrobot-v1"), ("PPO", "Pendulum-v1"),
        ("SAC", "Pendulum-v1"),
    ],
)  # fmt: skip
def test_these_environments_have_presets_with_a_budget(name, env):
    assert presets.find(name, env)["total_timesteps"] > 0


def test_every_preset_is_one_that_its_algorithm_takes():
    for name, table in presets.PRESETS.items():
        for env_id, preset in table.items():
            settings = {k: v for k, v in preset.items() if k != "total_timesteps"}
            assert settings.keys() <= REGISTRY[name].settings.keys(), (name, env_id)
            if env_id in gymnasium.registry and env_id not in presets.LONG:
                agent = REGISTRY[name](env_id, verbose=0)
                assert {k: getattr(agent, k) for k in settings} == settings


# ---- the console

KEYS_OF_SB3 = {
    "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate",
    "rollout/exploration_rate", "time/fps", "time/iterations", "time/episodes",
    "time/time_elapsed", "time/total_timesteps", "train/learning_rate", "train/n_updates",
    "train/loss", "train/actor_loss", "train/critic_loss", "train/ent_coef",
    "train/ent_coef_loss", "train/policy_gradient_loss", "train/value_loss",
    "train/entropy_loss", "train/approx_kl", "train/clip_fraction", "train/clip_range",
    "train/explained_variance", "train/std",
}  # fmt: skip
KEYS_OF_NPR = {
    "train/td_error", "train/q_mean", "train/grad_norm", "time/peak_rss_mb", "train/kl_coef",
    "train/svgd_kernel_bandwidth",
}  # fmt: skip
GREEDY = {"rollout/exploration_rate", "train/learning_rate"}
POLICY = {"train/policy_gradient_loss", "train/entropy_loss", "train/learning_rate"}
ACTOR = {"train/critic_loss", "train/learning_rate"}
KEYS_OF = {
    "QLearning": GREEDY,
    "Sarsa": GREEDY,
    "DQN": GREEDY | {"train/loss"},
    "PERDQN": GREEDY | {"train/loss"},
    "REINFORCE": POLICY | {"train/value_loss"},
    "QActorCritic": POLICY | {"train/critic_loss"},
    "A2C": POLICY | {"train/value_loss"},
    "PPO": POLICY | {"train/value_loss", "train/approx_kl", "train/clip_fraction"},
    "PPOKL": POLICY | {"train/value_loss", "train/approx_kl", "train/kl_coef"},
    "DDPG": ACTOR | {"train/actor_loss"},
    "TD3": ACTOR,  # its actor moves every second time
    "SoftQ": ACTOR,
    "SACS": ACTOR | {"train/actor_loss", "train/value_loss"},
    "SAC": ACTOR | {"train/actor_loss", "train/ent_coef"},
}


def tables(text):
    """The printed tables, each as {"rollout/ep_rew_mean": "12.5"}."""
    found = []
    for line, rows in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if not line:
            continue
        table, group = {}, ""
        for row in rows:
            name, value = (cell.strip() for cell in row.strip("|").split("|"))
            if name.endswith("/"):
                group = name
            else:
                table[group + name] = value
        found.append(table)
    return found


@every_case
def test_log_interval_prints_a_table_with_the_keys_of_stable_baselines3(case, capsys):
    agent = tiny(case, max_episode_steps=10).learn(BUDGET, log_interval=2)
    printed = tables(capsys.readouterr().out)
    assert len(printed) == agent.logger.episode_count // 2
    for n, table in enumerate(printed):
        assert set(table) <= KEYS_OF_SB3 | KEYS_OF_NPR
        assert table["time/episodes"] == str(2 * n + 2)
    last = printed[-1]
    common = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/time_elapsed",
              "time/total_timesteps", "train/n_updates"}  # fmt: skip
    assert set(last) >= common | KEYS_OF[CASES[case][0]]
    returns, lengths = zip(*agent.logger.episodes)
    assert int(last["time/total_timesteps"]) == sum(lengths[: 2 * len(printed)])
    assert float(last["rollout/ep_rew_mean"]) == pytest.approx(
        np.mean(returns[: 2 * len(printed)]), rel=1e-3
    )


def test_no_table_is_printed_unless_it_is_asked_for(capsys):
    tiny("DQN").learn(BUDGET)
    assert capsys.readouterr() == ("", "")


def test_a_table_before_the_first_episode_says_so():
    logger, stream = Logger(), io.StringIO()
    logger.record("train", {"loss": np.float32(0.123456), "n_updates": 3})
    logger.table(stream)
    assert stream.getvalue().splitlines() == [
        "--------------------------------------------",
        "| rollout/       |                         |",
        "|    ep_rew_mean | no episode finished yet |",
        "| train/         |                         |",
        "|    loss        | 0.1235                  |",
        "|    n_updates   | 3                       |",
        "--------------------------------------------",
    ]


def test_the_logger_keeps_a_hundred_episodes():
    logger = Logger()
    assert logger.mean_return() is None
    for i in range(250):
        logger.episode((float(i), i))
    assert logger.episode_count == 250
    assert logger.mean_return() == np.mean(range(150, 250))
    assert logger.snapshot()["rollout/ep_len_mean"] == np.mean(range(150, 250))


# ---- the progress line, with a clock of our own


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """clock.now = seconds; time stands still otherwise."""
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("npr.training.logger.time", clock)
    return clock


def test_a_run_shorter_than_a_second_shows_nothing(clock):
    stream, logger = io.StringIO(), Logger()
    progress = Progress("SAC Pendulum-v1", 0, 20_000, stream=stream)
    clock.now += 0.99
    progress.update(5000, logger)
    progress.close(20_000, logger)
    assert stream.getvalue() == ""


def test_a_longer_run_prints_a_line_every_ten_seconds_and_at_its_end(clock):
    stream, logger = io.StringIO(), Logger()
    progress = Progress("SAC Pendulum-v1", 0, 20_000, stream=stream)
    clock.now = 102.0
    progress.update(4000, logger)
    logger.episode((-1234.56, 200))
    clock.now = 111.9
    progress.update(9000, logger)  # too early
    clock.now = 112.0
    progress.update(9600, logger)
    clock.now = 120.0
    progress.close(20_000, logger)
    assert stream.getvalue().splitlines() == [
        "SAC Pendulum-v1  4,000/20,000   20%  no episode yet  2,000 steps/s  8 s left",
        "SAC Pendulum-v1  9,600/20,000   48%  return -1234.6  800 steps/s  13 s left",
        "SAC Pendulum-v1  20,000/20,000  100%  return -1234.6  1,000 steps/s  0 s left",
    ]


def test_on_a_terminal_the_line_is_written_over_itself(clock):
    stream, logger = Terminal(), Logger()
    progress = Progress("DQN", 0, 1000, stream=stream)
    for step, seconds in ((100, 1.0), (110, 0.125), (200, 0.125)):
        clock.now += seconds
        progress.update(step, logger)
    progress.close(1000, logger)
    first, *lines = stream.getvalue().split("\r")
    assert first == ""
    assert [line.split("  ")[1] for line in lines] == ["100/1,000", "200/1,000", "1,000/1,000"]
    assert all(len(line.rstrip("\n")) == 79 for line in lines)  # the old line is covered
    assert stream.getvalue().endswith("\n")


def test_the_time_left_is_told_in_seconds_minutes_or_hours(clock):
    told = {}
    for total in (50_000, 6_000_000, 100_000_000):
        stream = io.StringIO()
        progress = Progress("PPO", 0, total, stream=stream)
        clock.now += 10.0
        progress.update(10_000, Logger())
        told[total] = stream.getvalue().split("  ")[-1].strip()
    assert told == {50_000: "40 s left", 6_000_000: "100 min left", 100_000_000: "28 h left"}


def test_a_run_that_goes_on_counts_its_speed_from_its_own_start(clock):
    stream = io.StringIO()
    progress = Progress("PPO", 10_000, 30_000, stream=stream)
    clock.now += 10.0
    progress.update(20_000, Logger())
    assert (
        stream.getvalue() == "PPO  20,000/30,000   67%  no episode yet  1,000 steps/s  10 s left\n"
    )


def test_no_progress_where_it_is_not_wanted(clock):
    stream = io.StringIO()
    progress = Progress("PPO", 0, 100, shown=False, stream=stream)
    clock.now += 100.0
    progress.update(50, Logger())
    progress.close(100, Logger())
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "verbose, progress_bar, shown",
    [(1, None, True), (0, None, False), (1, False, False), (0, True, True)],
)
def test_learn_shows_its_progress_on_standard_error(verbose, progress_bar, shown, clock, capsys):
    agent = tiny("DQN", verbose=verbose)

    def tick(_):
        clock.now += 1.0

    agent.learn(30, tick, progress_bar=progress_bar)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (4 if shown else 0)  # after 2, 12 and 22 seconds, and at the end
    assert all(line.startswith("DQN CartPole-v1  ") for line in lines)
    if shown:
        assert re.search(r"  30/30  100%  (return \d+\.\d|no episode yet)  1 steps/s", lines[-1])


# ---- the base class


def test_an_algorithm_must_say_what_it_builds_and_how_it_trains():
    agent = tiny("DQN")
    for method in (Algorithm.build, Algorithm.train):
        with pytest.raises(NotImplementedError):
            method(agent)
