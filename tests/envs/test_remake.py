"""Environments like a given one: for evaluation, and from the description in a file."""

import json
import warnings

import gymnasium
import gymnasium.wrappers as gw
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.hostile_files import edited, put
from support.small_agents import small_agent

import npr
from npr import ConfigError, SpaceError
from npr.envs.remake import EnvOfFile, description, remade


def stack(env):
    names = []
    while isinstance(env, gymnasium.Wrapper):
        names.append(type(env).__name__)
        env = env.env
    return names


class Plain(gymnasium.Wrapper):
    """Does not record its arguments."""


class Recorded(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    def __init__(self, env, factor):
        gymnasium.utils.RecordConstructorArgs.__init__(self, factor=factor)
        gymnasium.Wrapper.__init__(self, env)
        self.factor = factor


STACKS = {
    "id": lambda: gymnasium.make("CartPole-v1"),
    "argument": lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True),
    "limit": lambda: gymnasium.make("CartPole-v1", max_episode_steps=30),
    "no limit": lambda: gymnasium.make("CartPole-v1", max_episode_steps=-1),
    "two limits": lambda: gw.TimeLimit(gymnasium.make("CartPole-v1", max_episode_steps=9), 20),
    "stack": lambda: gw.FlattenObservation(
        gw.FrameStackObservation(gw.TimeAwareObservation(gymnasium.make("CartPole-v1")), 3)
    ),
    "arrays": lambda: gw.RescaleObservation(
        gw.ClipReward(gymnasium.make("MountainCar-v0"), max_reward=0.5),
        np.full(2, -1, np.float32), np.array([1, 2], np.float32),
    ),
    "dtype": lambda: gw.DtypeObservation(gymnasium.make("CartPole-v1"), np.float64),
    "tuple": lambda: gw.ReshapeObservation(gymnasium.make("CartPole-v1"), (2, 2)),
    "map": lambda: gymnasium.make("FrozenLake-v1", desc=["SFF", "FHF", "FFG"], is_slippery=False),
}  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_an_environment_is_made_again_here_and_from_plain_data(name):
    env = STACKS[name]()
    plain = json.loads(json.dumps(description(env), allow_nan=False))
    for other in (remade(env), EnvOfFile(plain)()):
        assert other is not env
        assert other.unwrapped is not env.unwrapped
        assert stack(other) == [name for name in stack(env) if name != "PassiveEnvChecker"]
        assert other.observation_space == env.observation_space
        assert other.action_space == env.action_space
        for seed in range(2):
            mine, theirs = env.reset(seed=seed)[0], other.reset(seed=seed)[0]
            np.testing.assert_array_equal(mine, theirs)
            ended = False
            while not ended:
                step, other_step = env.step(1), other.step(1)
                np.testing.assert_array_equal(step[0], other_step[0])
                assert step[1:4] == other_step[1:4]
                ended = step[2] or step[3]
    assert description(EnvOfFile(plain)()) == plain


def test_a_registered_environment_that_is_wrapped_when_it_is_made_is_wrapped_once():
    def make():
        return gw.ClipReward(CartPoleEnv(), max_reward=0.5)

    gymnasium.register("Wrapped-v0", entry_point=make, max_episode_steps=7)
    env = gymnasium.make("Wrapped-v0")
    assert description(env)["id"] == "Wrapped-v0"
    for other in (remade(env), EnvOfFile(description(env))()):
        assert stack(other).count("ClipReward") == 1
        assert stack(other)[0] == "TimeLimit"


def test_a_wrapper_of_the_user_is_made_again_here_but_not_from_a_file():
    env = Recorded(gymnasium.make("CartPole-v1"), 3)
    assert remade(env).factor == 3
    assert "wrapper Recorded is not one" in description(env)["unknown"]
    with pytest.raises(ConfigError, match="wrapper Plain does not record its arguments"):
        remade(Plain(gymnasium.make("CartPole-v1")))
    with pytest.raises(ConfigError, match="CartPoleEnv was not made by gymnasium.make"):
        remade(CartPoleEnv())


def test_recordings_of_a_training_are_not_made_again():
    class Recording(gw.RecordVideo):
        def __init__(self, env):
            gymnasium.Wrapper.__init__(self, env)

    env = gw.ClipReward(Recording(gymnasium.make("CartPole-v1")), max_reward=0.5)
    assert stack(remade(env)) == ["ClipReward", "TimeLimit", "OrderEnforcing"]
    assert "Recording" not in str(description(env))


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: gw.TransformReward(gymnasium.make("CartPole-v1"), abs), "TransformReward is not"),
        (lambda: gymnasium.make("CartPole-v1", render_mode="a/b"), "argument 'a/b'"),
        (lambda: gw.NormalizeObservation(gymnasium.make("CartPole-v1")), "normalize_obs=True"),
        (lambda: gw.NormalizeReward(gymnasium.make("CartPole-v1")), "normalize_reward=True"),
        (CartPoleEnv, "not made by gymnasium.make"),
    ],
)
def test_what_a_file_cannot_describe_is_refused_with_the_reason(make, reason, tmp_path):
    if "a/b" in reason:
        env = gymnasium.make("CartPole-v1")
        env.unwrapped.spec.kwargs["path"] = "a/b"
    else:
        env = make()
    agent = small_agent("DQN", env=env)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert loaded.act(np.zeros(4, np.float32)) in (0, 1)
    for use, call in ((loaded.learn, "npr.load"), (loaded.evaluate, "evaluate")):
        with pytest.raises(ConfigError, match=f"{reason}.*Pass one: {call}"):
            use()
    assert npr.load(tmp_path / "a.npz", env="CartPole-v1").learn(5).num_timesteps == 5


def test_a_function_whose_environments_differ_is_not_described():
    lengths = iter((10, 20))
    agent = small_agent(
        "PPO",
        n_envs=2,
        max_episode_steps=None,
        env=lambda: gymnasium.make("CartPole-v1", max_episode_steps=next(lengths)),
    )
    assert agent.env_description == {"unknown": "its environments differ from each other"}


@pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
def test_a_loaded_agent_opens_the_same_kind_of_vector_env(mode, tmp_path):
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode=mode, sutton_barto_reward=True)
    agent = small_agent("PPO", env=envs, max_episode_steps=None)
    agent.learn(32)
    agent.save(tmp_path / "a.npz")
    envs.close()
    loaded = npr.load(tmp_path / "a.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", npr.ResumeWarning)
        loaded.learn(32)
    opened = loaded.envs.env
    assert type(opened) is type(envs)
    assert (opened.num_envs, opened.metadata["autoreset_mode"]) == (
        2, envs.metadata["autoreset_mode"],
    )  # fmt: skip
    for _ in range(2):  # with sutton_barto_reward, the only reward is -1 at the end
        assert loaded.evaluate(episodes=2).returns.tolist() == [-1, -1]
        loaded.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_evaluate_has_the_wrappers_of_a_vector_env(mode):
    envs = gymnasium.make_vec(
        "CartPole-v1", 2, vectorization_mode=mode,
        wrappers=[lambda env: gw.TransformReward(env, lambda r: 10 * r)],
    )  # fmt: skip
    agent = small_agent("PPO", env=envs, max_episode_steps=None)
    result = agent.evaluate(episodes=2)
    np.testing.assert_array_equal(result.returns, 10 * result.lengths)
    envs.close()


@pytest.mark.parametrize(
    "wrap, reason",
    [
        (gw.vector.NormalizeObservation, "normalize_obs=True"),
        (lambda envs: gw.vector.TransformReward(envs, abs), "TransformReward is for vector"),
        (gw.vector.RecordEpisodeStatistics, None),
    ],
)
def test_evaluate_refuses_wrappers_of_vector_envs_that_it_would_lose(wrap, reason):
    envs = wrap(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    agent = small_agent("PPO", env=envs, max_episode_steps=None)
    if reason is None:
        assert len(agent.evaluate(episodes=2).returns) == 2
        return
    with pytest.raises(ConfigError, match=f"{reason}"):
        agent.evaluate(episodes=1)
    assert reason.split()[0] in agent.env_description["unknown"]


# ---- statistics of normalizing wrappers


@pytest.mark.parametrize("kind", ["Env", "function", "SyncVectorEnv"])
def test_evaluation_uses_the_statistics_of_the_training_and_leaves_them(kind):
    def make():
        return gw.NormalizeObservation(gymnasium.make("CartPole-v1"))

    training = make()
    source = {
        "Env": lambda: training,
        "function": lambda: make,
        "SyncVectorEnv": lambda: gymnasium.vector.SyncVectorEnv([make]),
    }[kind]()
    agent = small_agent("PPO", env=source, n_envs=1, max_episode_steps=None)
    agent.learn(64)
    if kind == "function":
        training = agent.envs.envs[0]
    elif kind == "SyncVectorEnv":
        training = source.envs[0]
    moments = training.obs_rms
    before = moments.mean.copy(), moments.var.copy(), moments.count
    seen = []
    choose = agent.policy.choose
    agent.policy.choose = lambda x, *rest: seen.append(x[0]) or choose(x, *rest)
    agent.evaluate(episodes=1, seed=3)
    assert (moments.mean == before[0]).all()
    assert (moments.var == before[1]).all()
    assert moments.count == before[2]
    raw = gymnasium.make("CartPole-v1")
    seeds = np.random.SeedSequence(3)
    seeds.spawn(1)
    first, _ = raw.reset(seed=int(seeds.spawn(1)[0].generate_state(1)[0]))
    expected = (first - before[0]) / np.sqrt(before[1] + training.epsilon)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5)


@pytest.mark.parametrize("vector", [False, True])
def test_several_statistics_are_refused(vector):
    def make():
        return gw.NormalizeObservation(gymnasium.make("CartPole-v1"))

    source = gymnasium.vector.SyncVectorEnv([make, make]) if vector else make
    agent = small_agent(
        "PPO", env=source, max_episode_steps=None, **({} if vector else {"n_envs": 2})
    )
    with pytest.raises(ConfigError, match=r"NormalizeObservation .*normalize_obs=True"):
        agent.evaluate(episodes=1)


def test_an_id_that_is_not_registered_is_said(tmp_path):
    path = tmp_path / "a.npz"
    small_agent("DQN", env=gymnasium.make("CartPole-v1")).save(path)
    edited(path, put("env_description", "id", "Missing-v7"))
    for use in (lambda agent: agent.learn(1), lambda agent: agent.evaluate(episodes=1)):
        with pytest.raises(ConfigError, match="'Missing-v7', which is not registered here"):
            use(npr.load(path))


# ---- set_env, and arguments of load


def test_set_env_goes_on_in_another_environment():
    agent = small_agent("DQN", env="CartPole-v1")
    agent.learn(40)
    theta = agent.theta.copy()
    agent.set_env("CartPole-v1", env_kwargs={"sutton_barto_reward": True})
    assert (agent.theta == theta).all()
    assert agent.evaluate(episodes=2).returns.tolist() == [-1, -1]
    agent.learn(20, reset_num_timesteps=False)
    assert agent.num_timesteps == 60
    limited = gymnasium.make("CartPole-v1", max_episode_steps=5)
    agent.set_env(limited)
    agent.learn(10)
    assert agent.env is limited
    assert agent.evaluate(episodes=2).lengths.tolist() == [5, 5]


@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCarContinuous-v0", 5, lambda: None])
def test_set_env_changes_nothing_if_the_environment_does_not_fit(env):
    agent = small_agent("DQN", env="CartPole-v1")
    agent.learn(40)
    held = agent.env, agent.envs, agent.env_id, agent.n_envs, agent.env_description
    with pytest.raises((SpaceError, ConfigError)):
        agent.set_env(env)
    assert (agent.env, agent.envs, agent.env_id, agent.n_envs, agent.env_description) == held
    agent.learn(10)


def test_the_environment_is_not_replaced_by_assignment():
    with pytest.raises(ConfigError, match=r"env cannot be changed .*set_env"):
        small_agent("DQN").env = "CartPole-v1"


def test_arguments_of_the_environment(tmp_path):
    agent = small_agent("QLearning", env="FrozenLake-v1", env_kwargs={"is_slippery": False})
    assert len(agent.envs.envs[0].unwrapped.P[0][2]) == 1
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    loaded.learn(5)
    assert loaded.envs.envs[0].unwrapped.P == agent.envs.envs[0].unwrapped.P

    def make(size):
        assert size == 3
        return gymnasium.make("CartPole-v1")

    assert small_agent("DQN", env=make, env_kwargs={"size": 3}).learn(5).num_timesteps == 5
    for env in (gymnasium.make("CartPole-v1"), gymnasium.make_vec("CartPole-v1", 2)):
        with pytest.raises(ConfigError, match="env_kwargs=.*pass"):
            small_agent("DQN", env=env, env_kwargs={"size": 3})


def test_settings_are_changed_as_a_file_is_loaded(tmp_path):
    agent = small_agent("DQN", env="CartPole-v1")
    agent.learn(40)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz", learning_rate=1e-4, n_envs=2, max_episode_steps=6)
    with pytest.warns(npr.ResumeWarning, match="had 1 environments, now there are 2"):
        loaded.learn(40)
    assert loaded.adam.learning_rate == 1e-4
    assert len(loaded.envs.envs) == 2
    assert loaded.evaluate(episodes=2).lengths.max() <= 6
    for given, match in (
        ({"net_arch": [3]}, "takes effect when the agent is built"),
        ({"gamma": 0.5}, "takes effect when the agent is built"),
        ({"lerning_rate": 1.0}, "did you mean learning_rate"),
        ({"n_envs": 0}, "n_envs must be at least 1"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=match):
            npr.load(tmp_path / "a.npz", **given)


# ---- time limits


@pytest.mark.parametrize("limit", [50, 1000])
def test_max_episode_steps_replaces_the_limit_of_an_id(limit):
    agent = small_agent("PPO", env="MountainCar-v0", max_episode_steps=limit, n_envs=1)
    agent.learn(1100)
    assert agent.logger.episodes[0][1] == limit
    assert agent.evaluate(episodes=1).lengths.tolist() == [limit]


def test_an_env_keeps_its_limit():
    def make():
        return gymnasium.make("MountainCar-v0")

    for env in (make(), make):
        with pytest.raises(ConfigError, match="max_episode_steps=1000 is above the time limit"):
            small_agent("PPO", env=env, n_envs=1, max_episode_steps=1000)
        agent = small_agent("PPO", env=env, n_envs=1, max_episode_steps=50)
        agent.learn(120)
        assert agent.logger.episodes[0][1] == 50
    # the preset of an id has a limit, which the environment's own replaces
    cliff = gymnasium.make("CliffWalking-v1", max_episode_steps=20)
    assert npr.QLearning(cliff, verbose=0).max_episode_steps is None
    assert npr.QLearning("CliffWalking-v1", verbose=0).max_episode_steps == 500


class Scaled(gw.TransformReward):
    """Takes other arguments than the class that records them."""

    def __init__(self, env, factor):
        super().__init__(env, lambda reward: factor * reward)


def test_a_subclass_of_a_wrapper_is_not_made_with_the_arguments_of_its_parent():
    agent = small_agent("DQN", env=Scaled(gymnasium.make("CartPole-v1"), 3))
    with pytest.raises(ConfigError, match="wrapper Scaled does not record its arguments"):
        agent.evaluate(episodes=1)


@pytest.mark.parametrize("vector", [False, True])
def test_functions_with_recordings_are_evaluated_without_them(vector):
    class Recording(gw.RecordVideo):
        def __init__(self, env):
            gymnasium.Wrapper.__init__(self, env)

        def reset(self, **kwargs):
            return self.env.reset(**kwargs)

        def step(self, action):
            recorded.append(action)
            return self.env.step(action)

    def make():
        return gw.ClipReward(Recording(gymnasium.make("CartPole-v1")), max_reward=0.5)

    recorded = []
    source = gymnasium.vector.SyncVectorEnv([make]) if vector else make
    agent = small_agent("DQN", env=source)
    result = agent.evaluate(episodes=2)
    assert not recorded
    np.testing.assert_array_equal(result.returns, result.lengths / 2)


def test_statistics_of_a_given_environment_are_kept():
    env = gw.NormalizeObservation(gymnasium.make("CartPole-v1"))
    agent = small_agent("PPO", env=env, max_episode_steps=None)
    agent.learn(64)
    count = env.obs_rms.count
    agent.evaluate(env, episodes=1)
    assert env.obs_rms.count == count
    assert env.update_running_mean
    fresh = gw.NormalizeObservation(gymnasium.make("CartPole-v1"))
    with pytest.warns(npr.ConfigWarning, match="NormalizeObservation has seen nothing yet"):
        agent.evaluate(fresh, episodes=1)


@pytest.mark.parametrize(
    "kwargs", [{"size": np.int64(3)}, {"scale": np.float32(0.5)}, {"x": np.zeros(2)},
               {"x": (1, (2.0, np.inf))}, {"x": object()}, {"path": "a/b"}],
    ids=["int64", "float32", "array", "tuples", "object", "path"],
)  # fmt: skip
def test_any_argument_can_be_given_and_the_agent_saved(kwargs, tmp_path):
    class Taking(CartPoleEnv):
        def __init__(self, **given):
            super().__init__()
            self.given = given

    gymnasium.register("Taking-v0", entry_point=Taking, max_episode_steps=20)
    agent = small_agent("DQN", env="Taking-v0", env_kwargs=kwargs)
    agent.learn(40, save_path=tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    if type(kwargs.get("x")) is object or "path" in kwargs:
        with pytest.raises(ConfigError, match="Taking-v0 has the argument"):
            loaded.learn(5)
        return
    loaded.learn(5, reset_num_timesteps=False)
    given = loaded.envs.envs[0].unwrapped.given
    assert str(given) == str(
        {k: v.item() if isinstance(v, np.generic) else v for k, v in kwargs.items()}
    )


def test_arguments_belong_to_the_environment_that_they_were_given_for(tmp_path):
    agent = small_agent("DQN", env="CartPole-v1", env_kwargs={"sutton_barto_reward": True})
    agent.learn(40)
    agent.save(tmp_path / "a.npz")
    for env in (
        gymnasium.make("CartPole-v1"),
        "CartPole-v1",
        lambda: gymnasium.make("CartPole-v1"),
    ):
        other = npr.load(tmp_path / "a.npz", env=env)
        assert other.env_kwargs is None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", npr.ResumeWarning)
            other.learn(5)
        result = other.evaluate(episodes=1)
        assert result.returns == result.lengths
    assert npr.load(tmp_path / "a.npz", env_kwargs=None).evaluate(episodes=1).mean > 0
    assert npr.load(tmp_path / "a.npz").evaluate(episodes=1).mean == -1
    with pytest.raises(ConfigError, match="pass max_episode_steps= by itself"):
        small_agent("DQN", env_kwargs={"max_episode_steps": 3})


def test_what_a_vector_env_decides_cannot_be_set(tmp_path):
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="n_envs=3 does not match the VectorEnv, which has 2"):
        small_agent("DQN", env=envs, n_envs=3)
    agent = small_agent("DQN", env=envs)
    agent.save(tmp_path / "a.npz")
    for given in ({"max_episode_steps": 5}, {"n_envs": 3}, {"env_kwargs": {"x": 1}}):
        for env in (None, envs):
            with pytest.raises(ConfigError, match="cannot be applied to the agent's environment"):
                npr.load(tmp_path / "a.npz", env=env, **given)


class ForeignSpec:
    """As of a library that makes vector environments itself, such as EnvPool."""

    max_episode_steps = 200


def test_a_vector_env_may_have_a_spec_that_is_not_gymnasiums(tmp_path):
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point")
    envs.spec, envs.unwrapped.spec = ForeignSpec(), ForeignSpec()
    agent = npr.PPO(envs, seed=0, n_steps=8, batch_size=8, verbose=0).learn(20)
    agent.save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"CartPoleVectorEnv was not made by gymnasium\.make_vec"):
        agent.evaluate(episodes=1)
    with pytest.raises(ConfigError, match=r"CartPoleVectorEnv was not made by gymnasium\.make_vec"):
        npr.load(tmp_path / "a.npz").learn(5)
