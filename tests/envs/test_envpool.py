"""EnvPool: its episodes against Gymnasium's own environments, and agents with a pool."""

import copy
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from support.processes import run
from support.recorders import ConsumerRecorder

import npr
from npr import ConfigError
from npr.algorithms.base import REGISTRY
from npr.envs import envpool as pools
from npr.envs.make import env_id, open_envs, time_limited
from npr.envs.remake import EnvOfFile, description
from npr.presets import PRESETS

try:
    envpool = pools.module()
except npr.ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)


def set_state(env, s):
    """Put an environment of Gymnasium into the state of an observation."""
    name, inner = type(env.unwrapped).__name__, env.unwrapped
    s = np.asarray(s, np.float64)
    if name == "PendulumEnv":
        s = np.array([np.arctan2(s[1], s[0]), s[2]])
    elif name == "AcrobotEnv":
        s = np.array([np.arctan2(s[1], s[0]), np.arctan2(s[3], s[2]), s[4], s[5]])
    elif name in ("CliffWalkingEnv", "TaxiEnv"):
        inner.s = int(s)
        return
    inner.state = tuple(s) if name == "CartPoleEnv" else s
    if name == "CartPoleEnv":
        inner.steps_beyond_terminated = None


def pool_of(id, n=4, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return envpool.make_gymnasium(id, num_envs=n, **kwargs)


# id -> steps, of which some end episodes; the limits of time are shortened
IDS = {
    "CartPole-v1": (300, 20), "MountainCar-v0": (200, 40), "MountainCarContinuous-v0": (200, 40),
    "Pendulum-v1": (200, 40), "Acrobot-v1": (200, 40), "CliffWalking-v1": (300, None),
}  # fmt: skip


@pytest.mark.parametrize("id", IDS)
def test_the_steps_of_a_pool_are_those_of_gymnasium(id):
    steps, limit = IDS[id]
    own = gymnasium.make(id, max_episode_steps=-1, disable_env_checker=True)
    table = isinstance(own.observation_space, gymnasium.spaces.Discrete)
    envs = open_envs(
        id, 4, np.random.SeedSequence(1), vectorization="envpool", max_episode_steps=limit,
        table=table,
    )  # fmt: skip
    own.reset(seed=0)
    rng, s, age = np.random.default_rng(0), envs.reset(), np.zeros(4, int)
    counts = {"valid": 0, "reset": 0, "terminated": 0, "truncated": 0}
    for _ in range(steps):
        a = envs.actions.uniform(rng, 4)
        s2, r, terminated, truncated, valid = envs.step(a)
        for i in range(4):
            if not valid[i]:
                counts["reset"] += 1
                age[i] = 0
                assert not terminated[i] and not truncated[i]
                continue
            counts["valid"] += 1
            age[i] += 1
            set_state(own, s[i])
            expected, reward, ends, _, _ = own.step(envs.actions.to_envs(a[i : i + 1])[0])
            if id == "Pendulum-v1" and abs(s2[i, 2]) == 8:  # EnvPool limits the speed after moving
                continue
            np.testing.assert_allclose(s2[i], expected, rtol=2e-4, atol=2e-4)
            assert r[i] == pytest.approx(reward, rel=2e-4, abs=2e-4)
            if truncated[i]:  # what ends of itself in the last step counts as truncated
                assert age[i] == limit
            else:
                assert bool(terminated[i]) == ends and age[i] != limit
        counts["terminated"] += int(terminated.sum())
        counts["truncated"] += int(truncated.sum())
        s = envs.s
    envs.close()
    if id == "CliffWalking-v1":  # random steps do not reach the goal
        return
    ended = counts["terminated"] + counts["truncated"]
    assert ended >= 8 and counts["reset"] >= ended - 4
    if id == "CartPole-v1":
        assert counts["terminated"] and counts["truncated"]


@pytest.mark.parametrize("id", ["CartPole-v1", "MountainCar-v0"])
def test_an_episode_from_the_same_start_is_that_of_gymnasium(id):
    """Observations, rewards, the end and the last observation, without setting a state between."""
    envs = open_envs(id, 3, np.random.SeedSequence(2), vectorization="envpool")
    own = [gymnasium.make(id, disable_env_checker=True) for _ in range(3)]
    s, rng = envs.reset(), np.random.default_rng(1)
    for one, first in zip(own, s):
        one.reset(seed=0)
        set_state(one, first)
    over = np.zeros(3, bool)
    while not over.all():
        a = envs.actions.uniform(rng, 3)
        s2, r, terminated, truncated, valid = envs.step(a)
        for i in np.flatnonzero(~over):
            assert valid[i]
            expected, reward, *ends, _ = own[i].step(envs.actions.to_envs(a[i : i + 1])[0])
            np.testing.assert_allclose(s2[i], expected, rtol=1e-3, atol=1e-3)
            assert r[i] == reward
            assert ends == [bool(terminated[i]), bool(truncated[i])]
            over[i] = any(ends)
    envs.close()


@pytest.mark.parametrize("consumer", ["replay", "n-step", "prioritized", "rollouts", "episodes"])
@pytest.mark.parametrize("vectorization", ["envpool", "entry_point"])
def test_the_training_data_are_transitions_of_cart_pole(vectorization, consumer):
    kind = type("K", (ConsumerRecorder,), {"consumer": consumer})
    kind.choose = lambda self, s: (s[:, 2] > 0).astype(int)
    try:
        agent = kind(
            "CartPole-v1", n_envs=4, seed=0, verbose=0, vectorization=vectorization,
            max_episode_steps=30,
        ).learn(600)  # fmt: skip
    finally:
        REGISTRY.pop("K")
    if consumer in ("rollouts", "episodes"):
        parts = [
            [x[D.valid] for x in (D.s, D.a, D.r, D.s2, D.terminated, D.done)] for D in agent.rows
        ]
        s, a, r, s2, terminated, done = (np.concatenate(x) for x in zip(*parts))
        assert ((done > 0) >= (terminated > 0)).all() and (done > 0).sum() >= 8
    else:
        D = agent.buffer
        s, a, r, s2, terminated = (x[: D.size] for x in (D.s, D.a, D.r, D.s2, D.terminated))
    assert len(r) >= 300
    own = gymnasium.make("CartPole-v1", disable_env_checker=True)
    own.reset(seed=0)
    for k in range(len(r)):
        set_state(own, s[k])
        own.unwrapped.steps_beyond_terminated = None
        expected, reward, ends, _, _ = own.step(int(a[k]))
        own.unwrapped.steps_beyond_terminated = None
        np.testing.assert_allclose(s2[k], expected, rtol=1e-4, atol=1e-5)
        assert r[k] == reward and bool(terminated[k]) == ends
    if consumer == "rollouts":  # the steps of a column follow each other
        for D in agent.rows:
            for t, i in np.argwhere(D.valid[:-1] & D.valid[1:] & (D.done[:-1] == 0)):
                np.testing.assert_array_equal(D.s2[t, i], D.s[t + 1, i])
    agent.close()


def test_what_ends_of_itself_in_the_last_step_is_only_truncated_by_a_pool():
    """A known difference: Gymnasium reports both."""

    def flags(limit):
        pool = pool_of("CartPole-v1", 1, seed=[5], max_episode_steps=limit)
        pool.reset()
        for age in range(1, 500):
            _, _, terminated, truncated, _ = pool.step(np.zeros(1, int))
            if terminated[0] or truncated[0]:
                return age, bool(terminated[0]), bool(truncated[0])
        raise AssertionError("it does not end")

    age, *ends = flags(500)
    assert ends == [True, False]
    assert flags(age) == (age, False, True)


def test_the_seeds_of_a_pool_follow_from_the_seed_of_the_agent():
    def first(seed, **others):
        agent = npr.PPO(
            "CartPole-v1", n_envs=4, seed=seed, vectorization="envpool", verbose=0, **others
        )
        s = agent.envs.reset()
        agent.close()
        return s

    one = first(0)
    np.testing.assert_array_equal(one, first(0))
    assert (one != first(1)).all() and len(np.unique(one, axis=0)) == 4


def test_a_run_with_a_pool_repeats_and_warns_of_nothing():
    def run():
        agent = npr.PPO("CartPole-v1", n_envs=8, seed=3, vectorization="envpool", verbose=0)
        agent.learn(1_000)
        agent.close()
        return agent.theta

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize(
    ("id", "kwargs"),
    [
        ("CartPole-v0", {}), ("CartPole-v1", {"max_episode_steps": 77}), ("FrozenLake8x8-v1", {}),
        ("Blackjack-v1", {"natural": True}), ("Acrobot-v1", {}),
    ],
)  # fmt: skip
def test_a_pool_is_described_by_its_id_and_its_arguments(id, kwargs):
    pool = pool_of(id, 2, **kwargs)
    assert env_id(pool) == id
    described = description(pool)
    vector = {"mode": "envpool", "autoreset_mode": "NEXT_STEP"}
    assert described == {"id": id, "kwargs": kwargs, "wrappers": None, "vector": vector}
    again = EnvOfFile(described).open_vector(3, np.random.SeedSequence(0))
    assert again.num_envs == 3 and description(again) == described
    assert time_limited(pool) == (id != "Blackjack-v1")


def test_a_pool_as_it_is_has_a_preset_and_is_saved_copied_cloned_and_evaluated(tmp_path):
    pool = pool_of("CartPole-v1", 4, max_episode_steps=90)
    agent = npr.PPO(pool, seed=0, verbose=0)
    preset = PRESETS["PPO"]["CartPole-v1"]
    assert agent.n_envs == 4 and agent.n_epochs == preset["n_epochs"]
    assert 4 * agent.n_steps == 8 * preset["n_steps"]  # as many steps as of its 8 environments
    agent.learn(1_000)
    assert max(length for _, length in agent.logger.episodes) <= 90
    assert agent.evaluate(episodes=3, seed=1).lengths.max() <= 90
    assert agent.evaluate(pool_of("CartPole-v1", 2), episodes=4).returns.shape == (4,)
    agent.save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    for other in (loaded, copy.deepcopy(agent), npr.clone(agent)):
        assert other.evaluate(episodes=3, seed=1).lengths.max() <= 90
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", npr.ResumeWarning)
            other.learn(500, reset_num_timesteps=False)
        assert pools.is_pool(other.envs.env) and other.envs.env is not pool
        assert other.envs.env.config["max_episode_steps"] == 90
        other.close()
    with pytest.raises(ConfigError, match="vectorization='sync' cannot be applied to the agent"):
        npr.load(tmp_path / "agent.npz", vectorization="sync")


def test_an_agent_with_a_pool_goes_on_with_another_engine(tmp_path):
    agent = npr.PPO("CartPole-v1", n_envs=4, seed=0, vectorization="envpool", verbose=0)
    agent.learn(300).save(tmp_path / "agent.npz")
    loaded = npr.load(tmp_path / "agent.npz")
    assert (loaded.vectorization, loaded.env) == ("envpool", "CartPole-v1")
    for name, one in (("sync", "EnvList"), ("entry_point", "VectorEnvAdapter")):
        other = npr.load(tmp_path / "agent.npz", vectorization=name, n_envs=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", npr.ResumeWarning)
            other.learn(200, reset_num_timesteps=False)
        assert type(other.envs).__name__ == one
        other.close()
    given = npr.load(tmp_path / "agent.npz", env=gymnasium.make("CartPole-v1"))
    assert given.vectorization is None and given.learn(10).envs.n == 1
    assert npr.clone(agent).vectorization == "envpool"
    assert npr.clone(agent, env=gymnasium.make("CartPole-v1")).vectorization is None
    agent.close()


def test_one_environment_like_a_pool_is_gymnasiums_or_a_pool_of_one():
    made = pools.single("CartPole-v1", 50)
    assert made.spec.id == "CartPole-v1" and made.spec.max_episode_steps == 50
    other = pools.single("Blackjack-v1")  # another observation space than Gymnasium's
    assert not hasattr(other.unwrapped, "_deck")
    runs = []
    for _ in range(2):
        s, info = other.reset(seed=7)
        assert other.observation_space.contains(s) and isinstance(info, dict)
        s2, reward, terminated, truncated, _ = other.step(1)
        assert other.observation_space.contains(s2) and isinstance(reward, float)
        assert type(terminated) is type(truncated) is bool
        runs.append((s.tolist(), s2.tolist(), reward, terminated))
    assert runs[0] == runs[1]
    agent = npr.PPO("Blackjack-v1", n_envs=4, vectorization="envpool", seed=0, verbose=0)
    agent.learn(200)
    first, second = (agent.evaluate(episodes=20, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)
    agent.close()


def test_a_table_learns_in_a_pool():
    agent = npr.QLearning("FrozenLake-v1", n_envs=4, vectorization="envpool", seed=0, verbose=0)
    agent.learn(2_000)
    assert agent.evaluate(episodes=5, seed=0).lengths.max() <= 100
    agent.close()


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "CheetahRun-v1"])
def test_actions_of_float64_and_dict_observations_of_a_pool(id):
    agent = npr.PPO(
        id, n_envs=2, vectorization="envpool", seed=0, verbose=0, n_steps=8, batch_size=16
    )
    assert agent.actions.dtype == np.float32
    agent.learn(64)
    assert agent.evaluate(episodes=1, seed=0, episode_limit=1_000).lengths.tolist() == [1_000]
    agent.close()


@pytest.mark.parametrize(
    ("id", "settings", "match"),
    [
        ("CartPol-v1", {}, r"EnvPool has no environment 'CartPol-v1'\. The near.*'CartPole-v1'"),
        ("ALE/Pong-v5", {}, r"no environment 'ALE/Pong-v5'\. The nearest that it has is 'Pong-v5'"),
        ("CartPole-v1", {"env_kwargs": {"gravity": 3}}, "not make 'CartPole-v1' with .*gravity"),
        ("CartPole-v1", {"env_kwargs": {"batch_size": 2}}, "has 'batch_size'; npr steps all"),
        ("CartPole-v1", {"env_kwargs": {"seed": 2}}, "has 'seed'; pass seed"),
        ("CartPole-v1", {"env_timeout": 3.0}, "env_timeout=3 needs .*='envpool' does not have"),
        ("Pong-v5", {}, "PPO got images"),
        ("Catch-v0", {"max_episode_steps": 5}, "does not end its episodes after .*=5"),
    ],
)  # fmt: skip
def test_what_a_pool_cannot_have_is_refused(id, settings, match):
    with pytest.raises(npr.NprError, match=match):
        npr.PPO(id, n_envs=4, vectorization="envpool", verbose=0, **settings)


def test_arguments_are_passed_to_a_pool_and_not_to_gymnasium():
    kwargs = {"num_threads": 1}
    agent = npr.PPO(
        "CartPole-v1", n_envs=4, vectorization="envpool", env_kwargs=kwargs, verbose=0, seed=0
    )
    assert agent.envs.env.config["num_threads"] == 1
    assert agent.evaluation_env().spec.id == "CartPole-v1"
    agent.close()


def test_a_pool_that_returns_some_environments_is_refused():
    with pytest.raises(ConfigError, match="batch_size=2 of 4 environments"):
        npr.PPO(pool_of("CartPole-v1", 4, batch_size=2), verbose=0)


def test_a_pool_with_another_interface_is_refused():
    pool = envpool.make_dm("CartpoleSwingup-v1", num_envs=2)
    with pytest.raises(ConfigError, match="takes pools of envpool.make_gymnasium, got DmcCartpole"):
        npr.PPO(pool, verbose=0)


def test_a_missing_package_is_named_and_importing_npr_imports_no_engine():
    code = """
import sys
import npr
npr.PPO("CartPole-v1", n_envs=2, verbose=0).learn(64)
assert "envpool" not in sys.modules
sys.modules["envpool"] = None
try:
    npr.PPO("CartPole-v1", vectorization="envpool")
except npr.ConfigError as error:
    print(error)
print(npr.PPO("Acrobot-v1", n_envs=8, vectorization="auto", verbose=0).envs)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'npr-rl[envpool]'" in done.stdout and "EnvList(8" in done.stdout


def test_the_import_leaves_the_plots_of_the_program_alone():
    code = (
        "import os\n"
        "from npr.envs.envpool import module\n"
        "before = dict(os.environ)\n"
        "module()\n"
        "print({k for k, v in os.environ.items() if k.startswith('MPL') and before.get(k) != v})\n"
    )
    assert run("-c", code).stdout.strip() == "set()"
