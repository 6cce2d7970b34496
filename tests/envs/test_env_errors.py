"""Errors for environments of the old Gym API, wrong shapes and unsupported spaces."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from support.recorders import first_step
from support.toy_envs import (
    CountingEnv,
    Fixed,
    counting_envs,
)

import npr
from npr.envs.contract import observation_spec
from npr.envs.make import make_env
from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError


class OldGymEnv(CountingEnv):
    """Violates one rule of Gymnasium's contract."""

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
            raise ValueError("a bug in the environment")
        return np.zeros(1, np.float32), reward, terminated, truncated, info


def test_the_reset_of_old_gym_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"env 0, step 0: reset\(\) must return \(observation, info\), got ndarray. This is "
        "the API of old Gym; wrap the environment, or return the pair",
    ):
        first_step(OldGymEnv("reset"))


def test_the_step_of_old_gym_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"env 0, step 1: step\(\) must return \(observation, reward, terminated, truncated, "
        r"info\), got tuple of 4\. Four values are the API of old Gym: return both flags",
    ):
        first_step(OldGymEnv("four values"))


@pytest.mark.parametrize("settings", [{}, {"n_envs": 2, "vectorization": "sync"}])
def test_the_step_of_old_gym_is_refused_within_a_time_limit(settings):
    """A wrapper unpacks what step() returned before npr sees it."""
    agent = npr.DQN(lambda: OldGymEnv("four values"), max_episode_steps=9, verbose=0, **settings)
    with pytest.raises(
        EnvContractError,
        match=r"env 0, step 1: step\(\) must return \(observation, reward, terminated, truncated, "
        r"info\), got 4 values\. Four values are the API of old Gym: return both flags",
    ) as caught:
        agent.learn(10)
    assert type(caught.value.__cause__) is ValueError


def test_an_error_of_the_environment_is_reported_and_is_the_cause():
    with pytest.raises(
        EnvCrashedError,
        match=r"^env 0 raised ValueError: a bug in the environment, at step 1, 1 steps into its "
        r"episode; its last action was 0\. The step was not stored\. Fix the environment, "
        r"or pass on_env_error='reset'\.$",
    ) as caught:
        first_step(OldGymEnv("own error"))
    assert type(caught.value.__cause__) is ValueError


def test_a_wrong_shape_is_refused():
    with pytest.raises(
        EnvContractError,
        match=r"Got an observation of shape \(1,\), the space says \(3,\). Fix the environment's "
        r"observation_space or what reset\(\) and step\(\) return",
    ):
        first_step(OldGymEnv("shape"))


@pytest.mark.parametrize("observation", [4, -1, np.int64(7)])
def test_a_discrete_observation_outside_its_space_is_refused(observation):
    space = spaces.Discrete(4)
    message = (
        rf"The observation .*{observation}.* is outside Discrete\(4, start=0\). Fix the "
        r"environment's observation_space or what"
    )
    with pytest.raises(EnvContractError, match=message):
        first_step(Fixed(space, observation))
    with pytest.raises(EnvContractError, match=message):
        observations_from_spec(observation_spec(space)).index(observation)


@pytest.mark.parametrize("observation", [[3, 0], [0, -1], [0, 2]], ids=str)
def test_a_multidiscrete_observation_outside_its_space_is_refused(observation):
    observations = observations_from_spec(observation_spec(spaces.MultiDiscrete([3, 2])))
    with pytest.raises(EnvContractError, match="is outside MultiDiscrete"):
        observations.encode(np.array(observation))


@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 1), ()])
def test_a_batch_of_the_wrong_shape_is_refused(shape):
    observations = observations_from_spec(observation_spec(spaces.Box(-1, 1, (3,))))
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


def test_unknown_kinds_of_spaces_are_refused():
    with pytest.raises(ConfigError, match="Observation kind 'text' is not known"):
        observations_from_spec({"kind": "text"})
    with pytest.raises(ConfigError, match=r"Action kind 'text' is not known; use \('discrete', "):
        actions_from_spec({"kind": "text"})


def test_a_function_that_returns_no_environment_is_refused():
    with pytest.raises(
        ConfigError,
        match="env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an Env; "
        "the function returned int",
    ):
        make_env(lambda: 3)


def test_n_envs_with_a_single_env_is_refused():
    with pytest.raises(
        ConfigError, match="n_envs=2 needs an id or a function that makes an environment, got one"
    ):
        npr.DQN(CountingEnv(), n_envs=2)


def test_a_single_env_makes_n_envs_one():
    """Also for algorithms whose default is several environments."""
    for cls in (npr.DQN, npr.PPO):
        assert cls(CountingEnv(), verbose=0).n_envs == 1


def test_a_vector_env_must_declare_its_autoreset_mode():
    env = SyncVectorEnv(counting_envs())
    env.metadata = {}
    with pytest.raises(
        EnvContractError,
        match=r"does not declare metadata\['autoreset_mode'\] \(NEXT_STEP, SAME_STEP or "
        r"DISABLED\), so the ends of its episodes are unknown. Set it, or pass an id with n_envs",
    ):
        npr.DQN(env)
