"""Conventions of scikit-learn: get_params, set_params, clone and score."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import NormalizeObservation, TimeLimit, TransformReward
from support.small_agents import BUDGET, CASES, assert_same_parameters, digest, small_agent

import npr
from npr import ConfigError

every_case = pytest.mark.parametrize("case", CASES)

# ---- get_params


@every_case
def test_the_parameters_are_the_arguments_of_the_constructor(case):
    agent = small_agent(case, seed=3)
    params = agent.get_params()
    assert params == {"env": agent.env, "seed": 3, **{k: getattr(agent, k) for k in agent.settings}}
    again = type(agent)(**params)
    assert_same_parameters(again, agent)
    assert again.get_params(deep=False) == params
    assert repr(again) == repr(agent)


def test_parameters_are_those_of_the_preset_too():
    agent = npr.PPO(gymnasium.make("Pendulum-v1"), verbose=0)
    assert agent.get_params()["n_steps"] == agent.n_steps == 1024, "8 environments have 128"
    assert type(agent)(**agent.get_params()).n_steps == 1024


def test_parameters_are_as_trained_and_changing_them_changes_nothing():
    agent = small_agent("DQN", net_arch={"qf": [8]})
    agent.learning_rate = 0.5
    agent.net_arch["qf"].append(9)  # has no effect on the network
    params = agent.get_params()
    assert (params["learning_rate"], params["net_arch"]) == (0.5, {"qf": [8]})
    params["net_arch"]["qf"].append(7)
    assert agent.get_params()["net_arch"] == {"qf": [8]}


# ---- set_params


def test_set_params_changes_settings_and_returns_the_agent():
    agent = small_agent("SAC")
    assert agent.set_params(batch_size=np.int64(3), learning_rate="linear:1e-3", seed=0) is agent
    assert (agent.batch_size, agent.learning_rate) == (3, "linear:1e-3")
    assert agent.set_params(**agent.get_params()) is agent.set_params() is agent


@pytest.mark.parametrize(
    "given, match",
    [
        ({"gamma": 0.5}, r"PPO: gamma takes effect when .* 0.99; .*npr\.clone\(agent, gamma=0"),
        ({"batch_size": 1}, "batch_size=1 has no standard deviation"),
        ({"clip_range": -1}, "clip_range must be at least 0"),
        ({"lerning_rate": 0.1}, "no setting 'lerning_rate'; did you mean learning_rate"),
        ({"sed": 1}, "no setting 'sed'; did you mean seed"),
        ({"seed": 1}, "PPO: seed cannot be changed after construction"),
        ({"env": "Acrobot-v1"}, r"PPO: env cannot be changed .* except with set_env\(env\)"),
        ({"policy_kwargs": {}}, "no setting 'policy_kwargs'; only the constructor takes it"),
    ],
)
def test_if_one_parameter_is_refused_none_has_changed(given, match):
    agent = small_agent("PPO").learn(16)
    before = agent.get_params()
    with pytest.raises(ConfigError, match=match):
        agent.set_params(learning_rate=0.5, **given, n_epochs=7)
    assert agent.get_params() == before


def test_parameters_that_fit_only_together_may_be_set_in_any_order():
    for params in (
        {"batch_size": 1, "normalize_advantage": False},
        {"normalize_advantage": False, "batch_size": 1},
    ):
        assert small_agent("PPO").set_params(**params).batch_size == 1


def test_a_parameter_that_is_set_acts():
    agent = small_agent("DQN").learn(60).set_params(learning_rate=0.0)
    before = agent.theta.copy()
    agent.learn(40, reset_num_timesteps=False)
    assert np.array_equal(agent.theta, before)


# ---- set_params of an agent that has learned nothing


@every_case
def test_a_new_agent_takes_every_parameter_as_if_it_were_built_with_it(case):
    given = {"gamma": 0.5, "seed": 7, "n_envs": 2, "max_episode_steps": 9}
    agent = small_agent(case)
    assert agent.set_params(**given) is agent
    other = small_agent(case, **given)
    assert agent.get_params() == other.get_params() and agent.seed == 7
    assert_same_parameters(agent, other)


@pytest.mark.parametrize(
    "case, given",
    [
        ("DQN", {"net_arch": [4], "buffer_size": 30, "seed": 5, "learning_rate": 0.1}),
        ("PPO", {"n_envs": 2, "normalize_obs": True, "normalize_reward": True, "gamma": 0.7}),
        ("SAC", {"env": "MountainCarContinuous-v0", "ent_coef": 0.3}),
    ],
)
def test_a_new_agent_learns_as_if_it_were_built_with_its_parameters(case, given):
    agent = small_agent(case).set_params(**given).learn(BUDGET)
    assert digest(agent) == digest(small_agent(case, **given).learn(BUDGET))


def test_parameters_of_a_new_agent_are_the_same_in_one_call_and_in_several():
    agent = small_agent("DQN").set_params(gamma=0.5).set_params(seed=3).set_params(net_arch=[4])
    assert digest(agent) == digest(small_agent("DQN").set_params(net_arch=[4], seed=3, gamma=0.5))


@pytest.mark.parametrize("source", ["Env", "function", "sync"])
def test_the_environment_of_the_user_stays(source):
    env = SOURCES[source]()
    agent = small_agent("DQN", env=env, max_episode_steps=None)
    bases = agent.envs.bases()
    agent.set_params(gamma=0.5, seed=1)
    assert agent.env is env
    if source != "function":
        assert all(one is other for one, other in zip(agent.envs.bases(), bases, strict=True))
    again = small_agent("DQN", env=SOURCES[source](), max_episode_steps=None, gamma=0.5, seed=1)
    assert digest(agent.learn(40)) == digest(again.learn(40))


def test_environments_that_the_agent_has_made_are_closed_and_others_are_not():
    closed = []

    class Closing(Custom):
        def close(self):
            closed.append(self)

    made = small_agent("DQN", env=Closing)
    (first,) = made.envs.bases()
    made.set_params(gamma=0.5)
    assert closed == [first]
    held = Closing()
    small_agent("DQN", env=held).set_params(gamma=0.5)
    small_agent("DQN", env=lambda: held).set_params(gamma=0.5)
    assert closed == [first]


@pytest.mark.parametrize(
    "given, match",
    [
        ({"gamma": 2}, r"DQN: gamma must be in \[0, 1\], got 2"),
        ({"gamma": 0.5, "batch_size": 0}, "batch_size must be at least 1"),
        ({"gamma": 0.5, "n_envs": 3}, "n_envs=3 does not match the VectorEnv, which has 2"),
        ({"gamma": 0.5, "seed": -1}, "seed must be a whole number"),
        ({"env": "Pendulum-v1"}, "DQN needs a Discrete action space"),
        ({"env": None}, "takes one environment"),
    ],
)
def test_if_a_new_agent_cannot_be_built_again_nothing_has_changed(given, match):
    agent = small_agent("DQN", env=SOURCES["sync"](), max_episode_steps=None)
    before, parameters = agent.get_params(), agent.theta
    with pytest.raises(npr.NprError, match=match):
        agent.set_params(**given)
    assert agent.get_params() == before and agent.theta is parameters
    again = small_agent("DQN", env=SOURCES["sync"](), max_episode_steps=None)
    assert digest(agent.learn(40)) == digest(again.learn(40))


def learned(agent, path):
    return agent.learn(1)


def loaded(agent, path):
    agent.learn(40).save(path)
    return npr.load(path)


def changed_by_hand(agent, path):
    agent.theta += 1
    return agent


def with_transitions(agent, path):
    s = np.zeros((1, 4), np.float32)
    agent.buffer.add(s, np.zeros(1, np.int64), np.zeros(1), s, np.zeros(1))
    return agent


@pytest.mark.parametrize("used", [learned, loaded, changed_by_hand, with_transitions])
def test_an_agent_that_would_lose_something_is_not_built_again(used, tmp_path):
    agent = used(small_agent("DQN"), tmp_path / "a.npz")
    before = digest(agent)
    for given in ({"gamma": 0.5}, {"seed": 5}, {"net_arch": [4]}, {"n_envs": 2}):
        with pytest.raises(ConfigError, match="when the agent is built|after construction"):
            agent.set_params(**given)
    assert digest(agent) == before


def test_an_agent_that_is_learning_is_not_built_again():
    def callback(agent):
        with pytest.raises(ConfigError, match="takes effect when the agent is built"):
            agent.set_params(gamma=0.5)

    assert small_agent("DQN").learn(3, callback).gamma == 0.99


def test_a_copy_in_another_process_and_a_clone_take_parameters():
    agent = small_agent("DQN")
    for other in (pickle.loads(pickle.dumps(agent)), copy.deepcopy(agent), npr.clone(agent)):
        other.set_params(gamma=0.5, net_arch=[4])
        assert digest(other) == digest(small_agent("DQN", gamma=0.5, net_arch=[4]))


def test_the_outputs_of_the_log_stay(tmp_path):
    agent = small_agent("DQN")
    agent.set_logger(npr.loggers.configure(tmp_path, ["csv"]))
    agent.set_params(gamma=0.5).learn(40)
    assert (tmp_path / "progress.csv").exists()


# ---- clone


@every_case
def test_a_clone_has_the_settings_and_learned_nothing(case):
    agent = small_agent(case).learn(BUDGET)
    clone = npr.clone(agent)
    assert type(clone) is type(agent) and clone.get_params() == agent.get_params()
    assert (clone.num_timesteps, clone.n_updates) == (0, 0)
    assert_same_parameters(clone, small_agent(case))
    assert_same_parameters(clone.learn(BUDGET), agent)


def test_a_clone_may_have_other_settings_and_another_environment():
    agent = small_agent("PPO", n_envs=2)
    clone = npr.clone(agent, seed=5, gamma=0.5, net_arch=[4])
    assert (clone.seed, clone.gamma, clone.net_arch, clone.n_envs) == (5, 0.5, [4], 2)
    assert npr.clone(agent, "Acrobot-v1").env_id == "Acrobot-v1"
    assert npr.clone(agent, gymnasium.make("Acrobot-v1")).n_envs == 1
    assert npr.clone(agent, "Acrobot-v1", n_envs=3).n_envs == 3
    with pytest.raises(ConfigError, match="PPO has no setting 'gama'; did you mean gamma"):
        npr.clone(agent, gama=0.5)


class Custom(CartPoleEnv):
    """An environment that no file can describe."""


def custom(**kwargs):
    return TimeLimit(Custom(**kwargs), 15)


SOURCES = {
    "id": lambda: "CartPole-v1",
    "Env": lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True),
    "custom Env": custom,
    "function": lambda: custom,
    "local function": lambda: lambda: custom(),
    "sync": lambda: gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_a_clone_has_its_own_environment(source, trained):
    env = SOURCES[source]()
    agent = small_agent("DQN", env=env, max_episode_steps=None)
    if trained:
        agent.learn(40)
    clone = npr.clone(agent)
    mine, theirs = clone.envs.bases(), agent.envs.bases()
    assert not any(one is other for one in mine for other in theirs)
    assert clone.env is not env or callable(env) or isinstance(env, str)
    assert clone.env_id == agent.env_id and clone.n_envs == agent.n_envs
    clone.learn(40)
    if trained:
        assert digest(clone) == digest(agent)
    if source == "Env":
        assert clone.evaluate(episodes=2).returns.tolist() == [-1, -1]


def test_an_agent_from_a_file_has_clones_that_can_be_saved(tmp_path):
    env = gymnasium.make("CartPole-v1", sutton_barto_reward=True)
    small_agent("DQN", env=env, max_episode_steps=None).learn(20).save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    clone = npr.clone(loaded)
    assert (clone.env_id, clone.env_description) == (loaded.env_id, loaded.env_description)
    clone.learn(20).save(tmp_path / "b.npz")
    assert digest(npr.load(tmp_path / "b.npz")) == digest(loaded)


def test_arguments_of_an_environment_are_cloned():
    agent = small_agent("DQN", env_kwargs={"sutton_barto_reward": True}, max_episode_steps=None)
    assert npr.clone(agent).env_kwargs == {"sutton_barto_reward": True}
    assert npr.clone(agent, Custom).env_kwargs is None


def once(env):
    return lambda: env


class Uncopied(Custom):
    def __deepcopy__(self, memo):
        raise TypeError("it has a socket")


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: NormalizeObservation(gymnasium.make("CartPole-v1")),
         "statistics of its wrapper NormalizeObservation .* Use normalize_obs=True"),
        (lambda: once(gymnasium.make("CartPole-v1")), "returns the same environment again"),
        (Uncopied, "Uncopied was not made by gymnasium.make, and copying it raised TypeError: it"),
        (lambda: gymnasium.vector.AsyncVectorEnv([Custom] * 2), "functions in other processes"),
    ],
)  # fmt: skip
def test_an_environment_that_cannot_be_made_again_is_asked_for(make, match):
    env = make()
    agent = small_agent("DQN", env=env, max_episode_steps=None)
    with pytest.raises(ConfigError, match=rf"{match}.* Pass one: npr\.clone\(agent, env="):
        npr.clone(agent)
    assert npr.clone(agent, "CartPole-v1").env == "CartPole-v1"
    agent.close()
    if isinstance(env, gymnasium.vector.VectorEnv):
        env.close()


def test_an_agent_without_an_environment_needs_one_for_a_clone(tmp_path):
    env = TransformReward(Custom(), lambda r: 2 * r)
    small_agent("DQN", env=env).save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"was not made by gymnasium\.make\. Pass one"):
        npr.clone(npr.load(tmp_path / "a.npz"))


def test_only_agents_are_cloned():
    with pytest.raises(ConfigError, match="npr.clone takes an agent, .* got 'SAC'"):
        npr.clone("SAC")


def test_scikit_learn_clones_an_agent():
    agent = small_agent("DQN", seed=4)
    clone = agent.__sklearn_clone__()  # what sklearn.base.clone calls
    assert clone is not agent and clone.get_params() == agent.get_params()
    base = pytest.importorskip("sklearn.base")
    assert base.clone(agent).get_params() == agent.get_params()
    assert base.clone(agent).set_params(gamma=0.5, net_arch=[4]).gamma == 0.5


# ---- together with copies, files and evaluation


@pytest.mark.parametrize("way", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))])
def test_copies_have_the_same_parameters_and_clones(way):
    agent = small_agent("SAC", actor_lr=2e-3).learn(BUDGET)
    other = way(agent)
    assert other.get_params() == agent.get_params() and other.alpha == agent.alpha
    assert digest(npr.clone(other)) == digest(npr.clone(agent))
    other.set_params(batch_size=3)
    assert agent.batch_size == 16
    clone = way(npr.clone(agent))
    assert_same_parameters(clone.learn(BUDGET), agent)


def test_a_score_is_the_mean_of_an_evaluation():
    agent = small_agent("DQN")
    assert agent.score(episodes=4, seed=2) == agent.evaluate(episodes=4, seed=2).mean
    assert type(agent.score(Custom, episodes=2, seed=2)) is float


def test_a_budget_may_be_a_float():
    agent = small_agent("QLearning").learn(1e2)
    assert agent.num_timesteps == 100 and type(agent.num_timesteps) is int
