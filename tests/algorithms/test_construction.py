"""Construction of agents: kinds of environment arguments and the errors for invalid ones."""

import gymnasium
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.small_agents import (
    BUDGET,
    CASES,
    assert_same_parameters,
    digest,
    small_agent,
)

import npr
from npr import ConfigError
from npr.algorithms.base import Algorithm

every_case = pytest.mark.parametrize("case", CASES)


def cartpole():
    return gymnasium.make("CartPole-v1")


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
        (lambda: gymnasium.make_vec("CartPole-v1", 3), 3),  # Gymnasium's vectorized CartPole
    ],
    ids=["id", "function", "function, three", "class", "vector", "make_vec sync", "make_vec"],
)
def test_kinds_of_environment_arguments(env, n):
    vector = callable(env) and isinstance(env(), gymnasium.vector.VectorEnv)
    given = env() if vector else env
    agent = small_agent("DQN", env=given, n_envs=1 if vector else n).learn(BUDGET)
    assert agent.n_envs == n
    assert BUDGET <= agent.num_timesteps < BUDGET + n
    assert agent.n_updates > 0
    assert agent.evaluate(cartpole, episodes=2, seed=0).lengths.min() > 0
    assert vector or agent.evaluate(episodes=2, seed=0).lengths.min() > 0


@every_case
def test_every_algorithm_takes_several_environments(case):
    agent = small_agent(case, n_envs=2).learn(BUDGET)
    assert agent.num_timesteps == BUDGET
    assert digest(agent) != digest(small_agent(case, n_envs=2))


def test_an_env_is_used_directly():
    env = cartpole()
    agent = small_agent("DQN", env=env).learn(20)
    assert agent.env_id == "CartPole-v1"
    assert env.unwrapped.state is not None  # it was stepped
    assert (
        agent.evaluate(episodes=1, seed=0).lengths[0] > 0
    )  # in another environment, made from its spec
    env.reset()  # and not closed


def test_the_policy_argument_of_stable_baselines3_is_accepted():
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
def test_invalid_environments_are_refused(env, error, match):
    with pytest.raises(error, match=match):
        npr.DQN(env)


def test_two_environments_are_refused():
    with pytest.raises(ConfigError, match="DQN takes one environment.* got .*Acrobot-v1"):
        npr.DQN("CartPole-v1", "Acrobot-v1")


def test_n_envs_with_an_env_is_refused():
    with pytest.raises(ConfigError, match="n_envs=2 needs an id or a function .* got one Env"):
        npr.DQN(cartpole(), n_envs=2)


def test_gymnasium_refuses_an_unknown_id():
    with pytest.raises(gymnasium.error.NameNotFound, match="CartPoll"):
        npr.DQN("CartPoll-v1")


# ---- the base class


def test_an_algorithm_must_define_build_and_train():
    agent = small_agent("DQN")
    for method, args in ((Algorithm.build, ()), (Algorithm._train, (None,))):
        with pytest.raises(NotImplementedError):
            method(agent, *args)
