"""npr.export and agent.export: sources, options, and what is refused."""

import copy
import inspect

import gymnasium
import gymnasium.wrappers as gw
import numpy as np
import pytest
from support import export_cases as cases
from support.agent_files import content
from support.small_agents import small_agent, trained

import npr
import npr.export as exports
from npr.errors import CheckpointError, ConfigError
from npr.export import FORMS, Exported, export, model_of

every_form = pytest.mark.parametrize("suffix", FORMS)


def test_the_module_is_a_function(tmp_path):
    path = tmp_path / "policy.js"
    result = npr.export(cases.policy("tanh"), path)
    assert isinstance(result, Exported) and result.path == str(path)
    assert result.bytes == path.stat().st_size > 0
    assert npr.export.export is export


@pytest.mark.parametrize(
    "name, line", [("sac.h", '#include "sac.h"'), ("sac.js", 'import { act } from "./sac.js";')]
)
def test_the_comment_names_the_file(name, line, tmp_path):
    npr.export(cases.policy("tanh"), tmp_path / name)
    written = (tmp_path / name).read_text()
    assert line in written and f"policy{name[3:]}" not in written


@every_form
def test_an_agent_its_file_and_its_policy_give_the_same(suffix, tmp_path):
    agent = trained("SAC")
    agent.save(tmp_path / "sac.npz")
    written = []
    for source in (agent, tmp_path / "sac.npz", str(tmp_path / "sac.npz")):
        npr.export(source, tmp_path / f"a{suffix}", episodes=1)
        written.append((tmp_path / f"a{suffix}").read_bytes())
    assert written[0] == written[1] == written[2]
    agent.export(tmp_path / f"a{suffix}", episodes=1)
    assert (tmp_path / f"a{suffix}").read_bytes() == written[0]
    npr.export(agent.policy, tmp_path / f"p{suffix}")


def test_a_file_of_the_policy_alone_can_be_exported(tmp_path):
    agent = trained("DQN")
    agent.export(tmp_path / "policy.npz", episodes=1)
    result = npr.export(tmp_path / "policy.npz", tmp_path / "policy.py")
    assert result.model.card.sha256 == model_of(agent, episodes=0).card.sha256
    assert result.model.card.title == "DQN on CartPole-v1, 96 steps"
    assert "holds the policy alone" in repr(result)


def test_exporting_changes_nothing_of_the_agent(tmp_path):
    agent = trained("SAC")
    before = content(agent, tmp_path / "before.npz")
    agent.export(tmp_path / "policy.py", episodes=2)
    assert content(agent, tmp_path / "after.npz") == before
    other = copy.deepcopy(agent)
    agent.learn(32, reset_num_timesteps=False)
    other.learn(32, reset_num_timesteps=False)
    assert content(agent, tmp_path / "a.npz") == content(other, tmp_path / "b.npz")


def test_the_return_is_measured_in_the_environment_that_is_given(tmp_path):
    agent, env = trained("SAC"), gymnasium.make("Pendulum-v1", g=0.5)
    card = npr.export(agent, tmp_path / "p.py", env=env, episodes=2, seed=3).model.card
    result = agent.evaluate(env, episodes=2, seed=3)
    assert (card.mean, card.episodes) == (pytest.approx(result.mean, rel=1e-4), 2)
    assert card.low == (-1.0, -1.0, -8.0) and card.high == (1.0, 1.0, 8.0)
    env.close()


def test_an_id_a_function_and_an_environment_measure_the_same(tmp_path):
    agent, env = trained("SAC"), gymnasium.make("Pendulum-v1")
    sources = ["Pendulum-v1", lambda: gymnasium.make("Pendulum-v1"), env, lambda: env]
    paths = [tmp_path / f"{i}.py" for i in range(len(sources))]
    for source, path in zip(sources, paths):
        npr.export(agent, path, env=source, episodes=1)
    assert len({path.read_bytes() for path in paths}) == 1
    env.reset()  # not closed
    env.close()
    vector = gymnasium.make_vec("Pendulum-v1", num_envs=2)
    assert npr.export(agent, paths[0], env=vector, episodes=2).model.card.episodes == 2
    vector.reset()
    vector.close()
    with pytest.raises(ConfigError, match="env must be an id"):
        npr.export(agent, paths[0], env=3)


def test_an_environment_that_is_not_known_is_said(tmp_path):
    class Own(gymnasium.Wrapper):
        pass

    agent = small_agent("PPO", lambda: Own(gymnasium.make("CartPole-v1")))
    agent.save(tmp_path / "ppo.npz")
    result = npr.export(tmp_path / "ppo.npz", tmp_path / "policy.py")
    assert result.model.card.mean is None
    assert "return not measured: its environment is not known" in repr(result)
    assert len(result.model.observations) == 32


def test_a_function_that_makes_a_registered_environment_is_known(tmp_path):
    agent = small_agent("PPO", lambda: gymnasium.make("CartPole-v1"))
    agent.save(tmp_path / "ppo.npz")
    for source in (agent, tmp_path / "ppo.npz"):
        card = npr.export(source, tmp_path / "policy.py", episodes=1).model.card
        assert card.title == "PPO on CartPole-v1, 0 steps" and card.episodes == 1


def _rescaled():
    return gw.RescaleAction(gymnasium.make("Pendulum-v1"), -1, 1)


@pytest.mark.parametrize(
    "env, name",
    [
        (_rescaled, "Pendulum-v1 with RescaleAction"),
        (lambda: gw.NormalizeObservation(_rescaled()),
         "Pendulum-v1 with RescaleAction, NormalizeObservation"),
        (lambda: gw.NormalizeReward(gymnasium.make("Pendulum-v1")), "Pendulum-v1"),
        (lambda: gw.RecordEpisodeStatistics(gymnasium.make("Pendulum-v1")), "Pendulum-v1"),
    ],
)  # fmt: skip
def test_wrappers_that_a_policy_acts_through_are_named(env, name, tmp_path):
    for source in (env, env()):
        agent = small_agent("SAC", source)
        result = agent.export(tmp_path / "policy.h", episodes=1)
        assert result.model.card.title == f"SAC on {name}, 0 steps"
        assert name in (tmp_path / "policy.h").read_text()
    agent.save(tmp_path / "sac.npz")
    card = npr.export(tmp_path / "sac.npz", tmp_path / "policy.js", episodes=1).model.card
    assert card.env == name or "its wrapper Normalize" in card.measured
    agent.close()
    assert model_of(agent, episodes=0).card.env == name


def test_bounds_that_are_not_finite_are_none():
    card = model_of(trained("DQN"), episodes=1).card
    assert card.low[0] == pytest.approx(-4.8) and card.low[1] is None and card.high[3] is None


def test_given_observations_are_those_of_the_tests(tmp_path):
    agent = trained("SAC")
    given = (0.25 + np.arange(500) / 1e4).astype(np.float32)[:, None].repeat(3, axis=1)
    model = npr.export(agent, tmp_path / "p.py", episodes=0, observations=given).model
    assert (model.observations[:, None] == given).all(axis=-1).any(axis=-1).sum() > 16


BAD_OBSERVATIONS = {
    "NaN": np.full((4, 3), np.nan), "infinite": np.full((4, 3), np.inf),
    "large": np.full((4, 3), 1e300), "few numbers": np.zeros((4, 2)), "none": np.zeros((0, 3)),
    "text": "abc", "a number": 3.0, "ragged": [[0.0], [0.0, 1.0]], "axes": np.zeros((2, 2, 3)),
    "an empty list": [], "a dict": {"a": 1},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", BAD_OBSERVATIONS)
def test_observations_that_are_not_the_policys_are_refused(name, dtype, tmp_path):
    given = {"observations": BAD_OBSERVATIONS[name], "dtype": dtype, "episodes": 0}
    with pytest.raises(ConfigError, match="observations= must be a batch of the policy's"):
        npr.export(trained("SAC"), tmp_path / "p.h", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", cases.CASES)
def test_observations_of_every_space_are_given_as_a_batch(case):
    policy = cases.policy(case)
    rows = cases.rows(policy, 20_000 if case == "tanh" else 200)
    model = model_of(policy, observations=cases.batch(policy, rows))
    held = {row.tobytes() for row in rows}
    assert sum(row.tobytes() in held for row in model.observations) >= min(16, len(held))


def test_an_agent_is_not_replaced_by_its_policy(tmp_path):
    agent, path = trained("SAC"), tmp_path / "sac.npz"
    agent.save(path)
    held = path.read_bytes()
    for source in (agent, path):
        with pytest.raises(ConfigError, match="holds an agent, which can learn on"):
            npr.export(source, path, episodes=0)
    assert path.read_bytes() == held
    for content_of_another in (lambda p: agent.export(p, episodes=0), lambda p: np.savez(p, a=1)):
        content_of_another(tmp_path / "policy.npz")
        npr.export(path, tmp_path / "policy.npz", episodes=0)
        assert "policy alone" in repr(npr.export(tmp_path / "policy.npz", tmp_path / "p.js"))


@every_form
def test_sampling_is_refused_where_the_policy_is_deterministic(suffix, tmp_path):
    with pytest.raises(ConfigError, match="stochastic=True needs a policy that samples"):
        npr.export(trained("DDPG"), tmp_path / f"p{suffix}", episodes=0, stochastic=True)
    assert list(tmp_path.iterdir()) == []


@every_form
def test_parameters_that_are_not_finite_are_refused_and_nothing_is_written(suffix, tmp_path):
    agent, path = trained("SAC"), tmp_path / f"p{suffix}"
    path.write_text("earlier")
    getattr(agent, agent.policy_parameters)[7] = np.inf
    with pytest.raises(ConfigError, match="not finite.*an earlier file"):
        agent.export(path, episodes=0)
    assert path.read_text() == "earlier"


@pytest.mark.parametrize(
    "path, message",
    [("policy", "must end with"), ("policy.cpp", "must end with .h"), ("a.h/b.txt", "must end")],
)
def test_the_suffix_must_be_known(path, message):
    with pytest.raises(ConfigError, match=message):
        npr.export(cases.policy("tanh"), path)


@pytest.mark.parametrize("path", [None, 3, "", "{folder}"])
def test_the_path_must_be_that_of_a_file(path, tmp_path):
    folder = tmp_path / "policy.h"
    folder.mkdir()
    path = folder if path == "{folder}" else path
    with pytest.raises(ConfigError, match="path must be the path of a file"):
        npr.export(cases.policy("tanh"), path)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMS if suffix != ".h"])
@pytest.mark.parametrize("options", [{"libm": False}, {"name": "robot"}], ids=str)
def test_options_of_c_are_refused_elsewhere(suffix, options, tmp_path):
    with pytest.raises(ConfigError, match=r"is for C headers.*Leave it out"):
        npr.export(cases.policy("tanh"), tmp_path / f"p{suffix}", **options)


@pytest.mark.parametrize(
    "path, options, error",
    [("p.h", {"name": "1"}, ConfigError), ("p.js", {"dtype": "int8"}, ConfigError),
     ("missing/p.h", {}, FileNotFoundError)],
)  # fmt: skip
def test_arguments_are_checked_before_episodes(path, options, error, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "play", lambda *args: pytest.fail("an episode was played"))
    with pytest.raises(error):
        npr.export(trained("SAC"), tmp_path / path, **options)


def test_the_signature_is_that_of_the_function():
    assert inspect.signature(npr.export) == inspect.signature(export)


@pytest.mark.parametrize("source", [None, 3, object(), np.zeros(3)])
def test_only_agents_files_and_policies_are_exported(source):
    with pytest.raises(ConfigError, match="An agent, the path of its file, or a policy"):
        npr.export(source, "policy.h")


def test_a_file_that_is_not_nprs_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError):
        npr.export(tmp_path / "a.npz", "policy.h")
    with pytest.raises(FileNotFoundError):
        npr.export(tmp_path / "missing.npz", "policy.h")


@pytest.mark.parametrize("episodes", [-1, 1.5, "two", None])
def test_episodes_must_be_a_whole_number(episodes):
    with pytest.raises(ConfigError, match="episodes"):
        npr.export(cases.policy("tanh"), "policy.js", episodes=episodes)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMS if suffix != ".h"])
def test_integers_are_for_c_only(suffix):
    with pytest.raises(ConfigError, match="dtype"):
        npr.export(cases.policy("tanh"), f"policy{suffix}", dtype="int8")
