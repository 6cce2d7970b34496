"""The setting vectorization: what steps the environments of an id or a function."""

import copy
import sys
import time
import types

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from support.recorders import CartPoleRecorder
from support.toy_envs import CountingEnv

import npr
from npr import ConfigError, EnvContractError
from npr.cli import main
from npr.envs import engines, envpool
from npr.envs.batched import ErrorPolicy
from npr.envs.make import open_envs

HERE = ("sync", "async")


def recorded(vectorization, **settings):
    agent = CartPoleRecorder(
        "CartPole-v1", n_envs=3, seed=0, verbose=0, vectorization=vectorization, **settings
    )
    agent.learn(400)
    agent.close()
    return agent


def test_sync_and_async_give_the_same_transitions_and_statistics():
    one, other = map(recorded, HERE)
    assert one.rows == other.rows and one.episodes == other.episodes
    assert list(one.logger.episodes) == list(other.logger.episodes)


def test_returns_are_summed_in_the_precision_of_the_environment():
    def returns(vectorization):
        envs = open_envs(
            "Pendulum-v1", 2, np.random.SeedSequence(0), vectorization=vectorization,
            max_episode_steps=20,
        )  # fmt: skip
        envs.reset()
        rng = np.random.default_rng(0)
        for _ in range(20):
            envs.step(rng.uniform(-1, 1, (2, 1)).astype(np.float32))
        envs.close()
        return envs.finished

    one, other = map(returns, HERE)
    assert one == other and len(one) == 2


def test_a_function_is_stepped_in_processes():
    envs = open_envs(CountingEnv, 2, np.random.SeedSequence(0), vectorization="async")
    envs.reset()
    assert envs.step(np.zeros(2, int))[4].all()
    envs.close()


def test_a_native_vector_environment_has_the_episodes_of_gymnasium():
    """CartPole's NumPy version, with a limit of 15 steps."""
    limit = 15
    envs = open_envs(
        "CartPole-v1", 5, np.random.SeedSequence(3), vectorization="entry_point",
        max_episode_steps=limit, env_kwargs={"sutton_barto_reward": True},
    )  # fmt: skip
    own = [
        gymnasium.make("CartPole-v1", limit, disable_env_checker=True, sutton_barto_reward=True)
        for _ in range(5)
    ]
    s, rng, begins = envs.reset(), np.random.default_rng(0), np.ones(5, bool)
    ends = []
    for _ in range(200):
        a = rng.integers(2, size=5)
        for i in np.flatnonzero(begins):
            own[i].reset(seed=0)
            own[i].unwrapped.state = tuple(s[i].astype(float))
        s2, r, terminated, truncated, valid = envs.step(a)
        for i in range(5):
            if not valid[i]:
                assert not terminated[i] and not truncated[i]
                assert (abs(s2[i]) <= 0.05).all(), "the first observation of an episode"
                continue
            expected, reward, *flags, _ = own[i].step(int(a[i]))
            np.testing.assert_allclose(s2[i], expected, rtol=1e-4, atol=1e-5)
            assert r[i] == reward
            assert flags == [bool(terminated[i]), bool(truncated[i])]
            if any(flags):
                ends.append(tuple(flags))
        begins, s = ~valid, envs.s
    assert {(True, False), (False, True)} <= set(ends) and len(ends) > 40
    envs.close()


def test_the_seeds_of_a_native_vector_environment_are_those_of_the_agent():
    def first(seed):
        envs = open_envs(
            "CartPole-v1", 3, np.random.SeedSequence(seed), vectorization="entry_point"
        )
        s = envs.reset()
        assert (s != envs.reset()).all(), "the seeds are used once"
        return s

    np.testing.assert_array_equal(first(0), first(0))
    assert (first(0) != first(1)).all()


@pytest.mark.parametrize(
    ("env", "settings", "match"),
    [
        (
            "Acrobot-v1", {"vectorization": "entry_point"},
            r"Acrobot-v1 has no vector environment in Gymnasium .*takes vectorization='sync' or",
        ),
        (
            "CartPole-v1", {"vectorization": "entry_point", "env_kwargs": {"gravity": 3}},
            r"of CartPole-v1 cannot be made with \{'gravity': 3\}.*'sync' or 'async'",
        ),
        (CountingEnv, {"vectorization": "entry_point"}, "needs the id of an environment, got"),
        (CountingEnv, {"vectorization": "envpool"}, "needs the id .*'sync' or 'async'"),
        (
            "CartPole-v1", {"vectorization": "sync", "env_timeout": 1.0},
            "env_timeout=1 needs environments in worker processes.*use vectorization='async'",
        ),
        ("CartPole-v1", {"vectorization": "entry_point", "env_timeout": 1.0}, "env_timeout=1"),
        (
            "CartPole-v1", {"vectorization": "entry_point", "nan_obs": "terminate"},
            r"NEXT_STEP\)\. Use vectorization='sync' or 'async'",
        ),
        ("CartPole-v1", {"vectorization": "threads"}, "vectorization must be .*'sync'.*'threads'"),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_have_is_refused(env, settings, match):
    with pytest.raises(ConfigError, match=match):
        npr.PPO(env, n_envs=2, verbose=0, **settings)


def test_an_environment_that_was_made_has_its_engine():
    made = gymnasium.make("CartPole-v1")
    vector = gymnasium.make_vec("CartPole-v1", 2, "sync")
    for env, kind in ((made, "an Env"), (vector, "a VectorEnv, which steps")):
        with pytest.raises(ConfigError, match=f"'sync' needs an id or a function .*got {kind}"):
            npr.PPO(env, vectorization="sync", verbose=0)


def test_a_spec_is_opened_with_what_is_its_own():
    spec = copy.deepcopy(gymnasium.spec("CartPole-v1"))
    spec.max_episode_steps = 5
    envs = open_envs(spec, 2, np.random.SeedSequence(0), vectorization="entry_point")
    envs.reset()
    for _ in range(5):
        *_, truncated, _ = envs.step(np.array([0, 1]))
    assert truncated.all()


def test_the_setting_is_saved_and_may_be_replaced(tmp_path):
    agent = npr.PPO("CartPole-v1", n_envs=2, vectorization="entry_point", seed=0, verbose=0)
    agent.save(tmp_path / "agent.npz")
    assert npr.load(tmp_path / "agent.npz").vectorization == "entry_point"
    loaded = npr.load(tmp_path / "agent.npz", vectorization="sync")
    assert type(loaded.learn(64).envs).__name__ == "EnvList"
    assert npr.clone(agent).get_params()["vectorization"] == "entry_point"
    with pytest.raises(ConfigError, match="vectorization"):
        agent.vectorization = "sync"


def test_a_flag_of_the_command_line(tmp_path, capsys):
    done = main(
        ["train", "ppo", "CartPole-v1", "--vectorization", "entry_point", "--n-envs", "4",
         "--total-timesteps", "200", "--seed", "0", "--out", str(tmp_path)]
    )  # fmt: skip
    assert not done
    (path,) = tmp_path.rglob("final*")
    assert npr.load(path).vectorization == "entry_point"


# ---- auto


class SlowEnv(CountingEnv):
    def step(self, action):
        time.sleep(2 * engines.SLOW_STEP)
        return super().step(action)


def chosen(env, n, **others):
    lines = []
    envs = open_envs(
        env, n, np.random.SeedSequence(0), vectorization="auto", say=lines.append, **others
    )
    envs.close()
    (line,) = lines
    return line


def test_auto_takes_the_first_engine_of_its_order(monkeypatch):
    monkeypatch.setattr(engines, "usable_cores", lambda: 4)
    monkeypatch.setattr(envpool, "same_as_gymnasium", lambda id: id == "CartPole-v1")
    monkeypatch.setattr(engines, "open_envpool", lambda *given: engines.open_entry_point(*given))
    few, many = engines.MIN_ENVPOOL, engines.MIN_ENTRY_POINT
    assert "'sync': there is one environment" in chosen("CartPole-v1", 1)
    assert "'envpool': EnvPool has CartPole-v1" in chosen("CartPole-v1", few)
    assert "'entry_point': CartPole-v1 has a vector environment" in chosen("CartPole-v1", many)
    assert "'sync': a step takes" in chosen("Acrobot-v1", few)
    assert "'sync': a step takes" in chosen("CartPole-v1", 2)
    assert "'sync': a step" in chosen("CartPole-v1", many, env_kwargs={"render_mode": "rgb_array"})
    terminate = ErrorPolicy(nan_obs="terminate")
    assert "'sync': a step" in chosen("CartPole-v1", many, error_policy=terminate)
    assert "'async': env_timeout" in chosen("CartPole-v1", 2, env_timeout=30.0)
    assert "and there are 4 cores" in chosen(SlowEnv, 2)
    monkeypatch.setattr(engines, "usable_cores", lambda: 1)
    assert "'sync': there is one core" in chosen(SlowEnv, 2)


def test_auto_says_what_it_takes_unless_it_is_silent(capsys):
    for verbose, text in ((0, ""), (1, "DQN: vectorization='auto' takes 'sync': there is one")):
        npr.DQN("CartPole-v1", vectorization="auto", verbose=verbose).close()
        assert capsys.readouterr().out.startswith(text)


# ---- environments that are not NumPy's


class Array:
    """An array of another library, on the host (DLPack's device 1) or on a GPU (2)."""

    __module__ = "isaac"

    def __init__(self, x, device):
        self.x, self.kind, self.shape = np.asarray(x), device, np.shape(x)
        self.device = f"cuda:{device}"

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, **kwargs):
        return self.x.__dlpack__(**kwargs)

    def __array__(self, dtype=None, copy=None):
        if self.kind == 2:
            raise TypeError("can't convert device memory")
        return self.x


class Converted(gymnasium.vector.VectorWrapper):
    """Returns some of its arrays as those of another library."""

    def __init__(self, env, device, names, resets=True):
        super().__init__(env)
        self.kind, self.names, self.resets = device, names, resets

    def reset(self, **kwargs):
        s, info = self.env.reset(**kwargs)
        return Array(s, self.kind) if "s" in self.names and self.resets else s, info

    def step(self, actions):
        result = dict(zip(("s", "r", "term", "trunc", "info"), self.env.step(actions)))
        return tuple(Array(x, self.kind) if k in self.names else x for k, x in result.items())


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ("s", "the environment returned observations"), ("r", r"step\(\) returned rewards"),
        ("term", r"step\(\) returned terminated"), ("trunc", r"step\(\) returned truncated"),
    ],
)  # fmt: skip
def test_arrays_on_a_device_are_refused_in_one_sentence(names, what):
    env = Converted(gymnasium.make_vec("CartPole-v1", 2), 2, [names])
    match = f"{what} in a isaac.Array on the device cuda:2, but npr .*Wrap the environment"
    with pytest.raises(EnvContractError, match=match):
        npr.PPO(env, verbose=0).learn(64)


def test_arrays_of_another_library_on_the_host_are_taken():
    def learned(wrap):
        env = gymnasium.make_vec("CartPole-v1", 4)
        agent = npr.PPO(wrap(env), seed=0, verbose=0, n_steps=16)
        return agent.learn(200).theta

    names = ["s", "r", "term", "trunc"]
    expected = learned(lambda env: env)
    np.testing.assert_array_equal(learned(lambda env: Converted(env, 1, names)), expected)


def test_a_single_environment_on_a_device_is_refused():
    class Isaac(CountingEnv):
        def reset(self, **kwargs):
            s, info = super().reset(**kwargs)
            return Array(s, 2), info

    with pytest.raises(
        EnvContractError, match="^env 0, step 0: the environment returned obs.*isaac"
    ):
        npr.DQN(Isaac, verbose=0).learn(10)


def test_vector_environments_that_stall_while_resetting_are_refused(monkeypatch):
    """Those of Gymnasium in JAX restore the state of all environments when one is reset."""
    package = types.ModuleType("gymnasium.envs.functional_jax_env")
    base = gymnasium.envs.classic_control.cartpole.CartPoleVectorEnv
    package.FunctionalJaxVectorEnv = type(
        "FunctionalJaxVectorEnv", (base,), {"__module__": package.__name__}
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    gymnasium.register(
        "Stalling-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        vector_entry_point=package.FunctionalJaxVectorEnv,
    )  # fmt: skip
    try:
        with pytest.raises(ConfigError, match="Stalling-v0.* does not step the others while it"):
            npr.PPO("Stalling-v0", n_envs=2, vectorization="entry_point", verbose=0)
        assert "'sync'" in chosen("Stalling-v0", engines.MIN_ENTRY_POINT)
        with pytest.raises(EnvContractError, match="does not step the others while it resets"):
            npr.PPO(gymnasium.make_vec("Stalling-v0", 2), verbose=0)
    finally:
        del gymnasium.registry["Stalling-v0"]


# ---- statistics of many environments


def test_the_statistics_of_a_vector_environment_are_those_of_each_environment():
    makers = [lambda i=i: CountingEnv(i, [(3 + i, True), (2 + i, False)]) for i in range(5)]
    vector = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    queue = iter(makers)
    kinds = [
        open_envs(vector, 1, np.random.SeedSequence(0)),
        open_envs(lambda: next(queue)(), 5, np.random.SeedSequence(0)),
    ]
    for envs in kinds:
        envs.reset()
    for t in range(60):
        a = np.arange(t, t + 5) % 2
        records = [envs.step(a) for envs in kinds]
        for x, y in zip(*records):
            np.testing.assert_array_equal(x, y)
        one, other = kinds
        assert one.finished == other.finished
        assert one.episode.tolist() == other.episode.tolist()
        assert (list(one.returns), list(one.lengths)) == (other.returns, other.lengths)
        assert one.longest() == other.longest()
