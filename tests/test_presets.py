"""Presets: lookup, overriding, budgets, and how settings are printed."""

import gymnasium
import pytest
from gymnasium.envs.registration import parse_env_id
from hypothesis import given
from hypothesis import strategies as st
from support.proof_size import half

import npr
from npr import presets
from npr.algorithms.base import REGISTRY
from npr.training.run import DEFAULT_BUDGET


def cartpole():
    return gymnasium.make("CartPole-v1")


@pytest.fixture
def preset(monkeypatch):
    """A single preset in place of those of the library."""
    table = {"SAC": {"Pendulum-v1": {"total_timesteps": 30, "net_arch": [7], "gamma": 0.9}}}
    monkeypatch.setattr(presets, "PRESETS", table)


def test_a_preset_is_found_by_id_and_by_name(preset):
    found = presets.find("SAC", "Pendulum-v1")
    assert found["net_arch"] == [7]
    assert presets.find("SAC", "Pendulum-v7") is found
    assert presets.find("SAC", "Pendulum") is found
    for name, env in [("DQN", "Pendulum-v1"), ("SAC", "Pend-v1"), ("SAC", None), ("SAC", "")]:
        assert presets.find(name, env) == {}


IDS = st.text("aA0_:.-/v1", max_size=12) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "a/", "a-b/", "a:b/", "Pendulum/"]),
    st.sampled_from(["Pendulum", "Pendulum-v", "Pendulum-v1-hard", "Pendulum-vision", "a-v1"]),
    st.sampled_from(["", "-v0", "-v1", "-v12", "-v", "-v1a", "-v1-v2", " -v1", "-v1\n"]),
)


@given(IDS)
def test_names_in_ids_are_those_of_gymnasium(env_id):
    try:
        right = parse_env_id(env_id)[:2]
    except gymnasium.error.Error:
        right = None
    assert presets.name_of(env_id) == right


@pytest.mark.parametrize(
    "env_id, has",
    [
        ("Pendulum-v0", True), ("Pendulum", True), ("module:Pendulum-v1", True),
        ("a.b:Pendulum-v3", True), ("Pendulum-vision-v1", False), ("Pendulum-v1-hard-v0", False),
        ("Pendulum-v", False), ("lab/Pendulum-v1", False), ("module:lab/Pendulum-v1", False),
        ("pendulum-v1", False), ("Pendulum-v1 ", False), ("not an id", False),
    ],
)  # fmt: skip
def test_another_environment_does_not_get_a_preset(preset, env_id, has):
    assert bool(presets.find("SAC", env_id)) == has


def test_arguments_override_a_preset(preset):
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
    assert out == "SAC on Pendulum-v1, 30 steps: net_arch=[7], tau=0.01, gamma=0.9\n"
    npr.DQN(cartpole, learning_starts=9).learn(5)
    assert capsys.readouterr().out == "DQN on cartpole, 5 steps: learning_starts=9\n"
    npr.SAC("Pendulum-v1", verbose=0).learn(5, progress_bar=False)
    assert capsys.readouterr() == ("", "")


def test_repr_shows_settings_that_differ_from_the_defaults(preset):
    assert repr(npr.DQN("CartPole-v1", seed=1)) == "DQN('CartPole-v1', default settings)"
    assert repr(npr.SAC("Pendulum-v1", ent_coef=0.1)) == (
        "SAC('Pendulum-v1', net_arch=[7], ent_coef=0.1, gamma=0.9)"
    )
    assert repr(npr.DQN(cartpole)) == "DQN(cartpole, default settings)"


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


def test_every_preset_is_valid_for_its_algorithm():
    for name, table in presets.PRESETS.items():
        for env_id, preset in table.items():
            settings = {k: v for k, v in preset.items() if k != "total_timesteps"}
            assert settings.keys() <= REGISTRY[name].settings.keys(), (name, env_id)
            if env_id in gymnasium.registry and env_id not in presets.LONG:
                agent = REGISTRY[name](env_id, verbose=0)
                assert {k: getattr(agent, k) for k in settings} == settings


def opened(env_id, n):
    """The kinds of environments that an agent can be given: name -> (env, settings, number)."""
    one = {"an Env": (gymnasium.make(env_id), {}, 1)}
    vector = gymnasium.make_vec(env_id, n, vectorization_mode="sync")
    return one | {"n_envs": (env_id, {"n_envs": n}, n), "a VectorEnv": (vector, {}, n)}


@pytest.mark.parametrize(
    "case, n",
    half(
        [
            (name, env_id)
            for name, table in presets.PRESETS.items()
            for env_id in table
            if env_id in gymnasium.registry and env_id not in presets.LONG
        ],
        [1, 3, 4, 64],
    ),
)
def test_another_number_of_environments_keeps_the_size_of_a_rollout(case, n):
    name, env_id = case
    tuned = REGISTRY[name](env_id, verbose=0)
    own = tuned.setting_values()
    for kind, (env, settings, number) in opened(env_id, n).items():
        agent = REGISTRY[name](env, verbose=0, **settings)
        assert agent.n_envs == number
        changed = {k for k, v in agent.setting_values().items() if v != own[k]} - {"n_envs"}
        if kind == "a VectorEnv":
            changed -= {"max_episode_steps"}  # its own
        assert changed <= {"n_steps"}, (kind, changed)
        if "n_steps" in own:
            size, right = agent.n_steps * number, tuned.n_steps * tuned.n_envs
            least = min(tuned.n_steps, 16)
            assert abs(size - right) <= number / 2 or agent.n_steps == least, (kind, size, right)
            assert agent.n_steps >= least


def test_n_steps_that_is_given_is_not_changed():
    for n_envs in (1, 2, 8, 16):
        assert npr.A2C("CartPole-v1", n_envs=n_envs, n_steps=5).n_steps == 5
    assert npr.A2C(cartpole(), n_steps=7).n_steps == 7


def test_without_a_preset_n_steps_is_the_default(preset):
    assert npr.PPO(cartpole()).n_steps == npr.PPO("CartPole-v1", n_envs=2).n_steps == 256
    assert npr.PPO(cartpole, n_envs=2).n_steps == 256


def test_changed_n_steps_are_printed(capsys):
    npr.PPO(gymnasium.make("Pendulum-v1")).learn(0)
    assert "n_envs=1, n_steps=1024," in capsys.readouterr().out
    assert "n_envs=2, n_steps=256," in repr(npr.PPO("CartPole-v1", n_envs=2))  # also the default


def test_a_vector_env_keeps_its_time_limits():
    env = gymnasium.make_vec("CliffWalking-v1", 2, vectorization_mode="sync")
    assert npr.QLearning(env).max_episode_steps is None
    with pytest.raises(npr.ConfigError, match="max_episode_steps=9 cannot be applied"):
        npr.QLearning(env, max_episode_steps=9)


def test_a_file_keeps_the_steps_of_its_agent(tmp_path):
    path = tmp_path / "agent.npz"
    npr.A2C(cartpole(), verbose=0, max_episode_steps=None).learn(50).save(path)
    env = gymnasium.make_vec("CartPole-v1", 4, vectorization_mode="sync")
    with pytest.warns(npr.ResumeWarning, match="it had 1 environments, now there are 4"):
        assert npr.load(path).n_steps == npr.load(path, env=env).learn(160).n_steps == 40
