"""Errors for environments of the old Gym API, wrong shapes and unsupported spaces."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from support.recorders import stepped
from support.toy_envs import (
    CountingEnv,
    Fixed,
    counting_envs,
)

import npr
from npr.envs.contract import observation_spec
from npr.envs.make import make_env
from npr.envs.spaces import Actions, Observations
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

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
