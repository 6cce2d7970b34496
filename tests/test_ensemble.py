"""Ensembles: agents that learn together end with the bits of agents that learn alone."""

import csv
import os
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from support.small_agents import CASES, TABLES

import npr
from npr.capture import report
from npr.ensemble.each import Each, NotAlikeError, call_each
from npr.errors import ConfigError
from npr.kernels import gae
from npr.kernels.jit import available

SEEDS = (3, 0, 7)
TOGETHER = [case for case in CASES if case not in (*TABLES, "REINFORCE")]


def settings_of(case, **settings):
    name, env, own = CASES[case]
    algorithm = getattr(npr, name)
    return algorithm, env, {**algorithm.defaults(), "verbose": 0, **own, **settings}


def ensemble_of(case, seeds=SEEDS, **settings):
    algorithm, env, given = settings_of(case, **settings)
    return npr.ensemble(algorithm, env, seeds=seeds, **given)


def alone(case, seed, **settings):
    algorithm, env, given = settings_of(case, **settings)
    return algorithm(env, seed=seed, **given)


def file_of(agent, folder):
    """Everything that an agent has: parameters, optimizers, buffers, log, counters, generators."""
    path = folder / "compared.npz"
    agent.save(path)
    return path.read_bytes()


def assert_equal(agent, other, folder):
    assert file_of(agent, folder) == file_of(other, folder)


@pytest.mark.parametrize("case", TOGETHER)
def test_agents_are_those_of_single_runs_to_the_bit(tmp_path, case):
    """The first budget ends within a rollout; a second call continues it."""
    together = ensemble_of(case).learn(101).learn(60, reset_num_timesteps=False)
    for agent in together:
        single = alone(case, agent.seed).learn(101).learn(60, reset_num_timesteps=False)
        assert agent.num_timesteps == 161 and agent.n_updates
        assert_equal(agent, single, tmp_path)


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("DQN", {"normalize_obs": True, "normalize_reward": True, "n_step_return": 3}),
        ("DQN", {"normalize_obs": True, "normalize_reward": True, "n_envs": 2, "tau": 0.1}),
        ("TD3", {"action_noise": "ou", "policy_delay": 3, "learning_rate": "linear:1e-3"}),
        ("SAC", {"action_noise": "normal", "n_envs": 3, "gradient_steps": 2}),
        ("PPO", {"normalize_obs": True, "normalize_reward": True, "clip_range": "linear:0.2"}),
        ("PPO-Box", {"n_envs": 3, "n_steps": 5, "normalize_obs": True}),
        ("PPO", {"target_kl": 1e-4, "clip_range_vf": "linear:0.2", "vf_share_layers": True}),
        ("SAC", {"n_critics": 3, "n_target_critics": 2, "layer_norm": True}),
        ("PPOKL", {"target_kl": 1e-5, "n_epochs": 4, "learning_rate": 3e-3}),  # epochs end early
        ("QActorCritic", {"n_envs": 3, "actor_lr": "linear:1e-3"}),
    ],
)
def test_so_are_they_with_other_settings(tmp_path, case, settings):
    together = ensemble_of(case, **settings).learn(150)
    for agent in together:
        assert_equal(agent, alone(case, agent.seed, **settings).learn(150), tmp_path)


def test_updates_and_actions_are_joined(monkeypatch):
    """A plan is proved by its fourth call; then both methods are one native call for all agents."""
    if not available():
        pytest.skip("Without Numba nothing is captured.")
    from npr.capture import joined

    calls = []
    replay = joined._Group.replay

    def counted(group):
        calls.append(len(group.plans))
        return replay(group)

    monkeypatch.setattr(joined._Group, "replay", counted)
    together = ensemble_of("SAC", learning_starts=10, train_freq=1).learn(100)
    assert {*calls} == {len(SEEDS)} and len(calls) > 150
    assert all(one.state == "captured" for agent in together for one in report(agent))


def test_attributes_that_a_callback_replaces_are_used(tmp_path):
    """A plan has read theta_bar where it was."""

    def replace(agent):
        if agent.num_timesteps == 60:
            agent.theta_bar = agent.theta_bar.copy() + 1

    together = ensemble_of("DQN").learn(
        100, callback=lambda ensemble: [replace(agent) for agent in ensemble]
    )
    for agent in together:
        assert_equal(agent, alone("DQN", agent.seed).learn(100, callback=replace), tmp_path)


SCRIPT = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
import test_ensemble
for case in ("DQN", "PPO-Box"):
    test_ensemble.test_agents_are_those_of_single_runs_to_the_bit(Path(sys.argv[1]), case)
"""


@pytest.mark.parametrize("numba", ["0", pytest.param("1", marks=pytest.mark.slow)])  # compiles
def test_so_are_they_without_numba_and_in_double_precision(tmp_path, numba):
    variables = {**os.environ, "NPR_NUMBA": numba, "NPR_DTYPE": "float64"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path], env=variables,
        cwd=os.path.dirname(os.path.dirname(__file__)), capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


# ---- files


def test_one_agent_continues_alone(tmp_path):
    together = ensemble_of("DQN").learn(90)
    together.save(tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "seed0.npz", "seed3.npz", "seed7.npz",
    ]  # fmt: skip
    loaded = npr.load(tmp_path / "all" / "seed3.npz")
    single = alone("DQN", 3).learn(90)
    for agent in (loaded, single, together[0]):
        agent.learn(50, reset_num_timesteps=False)
    assert_equal(loaded, single, tmp_path)
    assert_equal(together[0], single, tmp_path)


def test_a_loaded_ensemble_continues(tmp_path):
    together = ensemble_of("PPO").learn(90)
    together.save(tmp_path)
    loaded = npr.ensemble.load(tmp_path)
    assert loaded.seeds == (0, 3, 7)
    loaded.learn(50, reset_num_timesteps=False)
    together.learn(50, reset_num_timesteps=False)
    for agent, same in zip(loaded, (together[1], together[0], together[2])):
        assert_equal(agent, same, tmp_path)


def test_no_ensemble_in_a_folder(tmp_path):
    with pytest.raises(npr.ConfigError, match=r"no file seedN\.npz"):
        npr.ensemble.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(npr.ConfigError, match="is a file"):
        ensemble_of("DQN").save(tmp_path / "file")


# ---- agents that fail


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _crash(agent):
    env = agent.envs.envs[0]
    step, steps = env.step, iter(range(1_000))

    def crash(action):
        if next(steps) == 40:
            raise RuntimeError("broken")
        return step(action)

    env.step = crash


def _diverge(agent):
    agent.theta_bar[...] = np.nan  # ten updates in a row are skipped


@pytest.mark.parametrize(("fail", "kind", "text"), [
    (_crash, npr.EnvCrashedError, "broken"), (_diverge, npr.NumericsError, "ten steps or more"),
])  # fmt: skip
def test_the_others_go_on_without_an_agent_that_fails(folder, fail, kind, text):
    together = ensemble_of("DQN", seeds=(0, 1, 2), learning_starts=16)
    fail(together[1])
    with pytest.warns(RuntimeWarning, match=f"seed 1 has failed, .*{text}"):
        together.learn(120, save_path=folder / "all")
    assert list(together.errors) == [1] and type(together.errors[1]) is kind
    for seed in (0, 2):
        assert together[seed].num_timesteps == 120
        single = alone("DQN", seed, learning_starts=16).learn(120)
        assert_equal(together[seed], single, folder)
    single = alone("DQN", 1, learning_starts=16)
    fail(single)
    with pytest.raises(kind, match=text) as caught:
        single.learn(120)
    assert str(caught.value) == str(together.errors[1])
    if fail is _crash:  # parameters that are not finite cannot be saved
        assert npr.load(folder / "all" / "seed1.npz").num_timesteps == single.num_timesteps
    together.learn(20, reset_num_timesteps=False)
    assert [agent.num_timesteps for agent in together] == [140, single.num_timesteps, 140]
    assert together.evaluate(episodes=1).seeds == (0, 2)


def test_an_action_that_is_not_finite_is_not_taken(folder):
    together = ensemble_of("PPO-Box", seeds=(0, 1))
    together[0].theta[...] = np.nan
    with pytest.warns(RuntimeWarning, match="seed 0 has failed.*not finite"):
        together.learn(40)
    assert together[0].num_timesteps == 0
    assert_equal(together[1], alone("PPO-Box", 1).learn(40), folder)


def test_the_error_of_the_last_agent_is_raised(folder):
    together = ensemble_of("PPO-Box", seeds=(0, 1))
    for agent in together:
        agent.theta[...] = np.nan
    with (
        pytest.warns(RuntimeWarning, match="has failed"),
        pytest.raises(npr.NumericsError, match="not finite"),
    ):
        together.learn(40)
    with pytest.raises(npr.ConfigError, match="All agents of the ensemble have failed"):
        together.learn(40)


def test_an_error_of_the_callback_is_raised_and_all_agents_are_saved(tmp_path):
    def fail(ensemble):
        if ensemble[0].num_timesteps == 50:
            raise ValueError("mine")

    together = ensemble_of("DQN")
    with pytest.raises(ValueError, match="mine") as caught:
        together.learn(100, callback=fail, save_path=tmp_path)
    assert len(caught.value.__notes__) == 3
    resumed = npr.ensemble.load(tmp_path).learn()
    for agent in resumed:
        assert_equal(agent, alone("DQN", agent.seed).learn(100), tmp_path)


def test_ctrl_c_saves_all_agents(tmp_path, capfd):
    def interrupt(ensemble):
        if ensemble[0].num_timesteps == 50:
            signal.raise_signal(signal.SIGINT)

    together = ensemble_of("PPO")
    with pytest.raises(KeyboardInterrupt):
        together.learn(100, callback=interrupt, save_path=tmp_path)
    assert capfd.readouterr().err.count("the agent was saved") == 3
    resumed = npr.ensemble.load(tmp_path).learn()
    for agent in resumed:
        assert agent.num_timesteps == 100
        assert_equal(agent, alone("PPO", agent.seed).learn(100), tmp_path)


# ---- the run


def test_a_callback_stops_all_agents():
    steps = []

    def stop(ensemble):
        steps.append([agent.num_timesteps for agent in ensemble])
        return len(steps) < 5

    ensemble_of("DQN", n_envs=2).learn(100, callback=stop)
    assert steps == [[2 * i] * 3 for i in range(1, 6)]


def test_every_agent_has_its_log_and_its_files(tmp_path):
    ensemble_of("PPO").learn(
        96, log="csv", log_dir=tmp_path / "logs", save_path=tmp_path / "files", save_freq=40
    )
    for seed in SEEDS:
        alone("PPO", seed).learn(96, log="csv", log_dir=tmp_path / f"single{seed}")
        read = [
            [
                {name: x for name, x in row.items() if not name.startswith("time/time") and name
                 not in ("time/fps", "time/peak_rss_mb")}
                for row in csv.DictReader((folder / "progress.csv").open())
            ]
            for folder in (tmp_path / "logs" / f"seed{seed}", tmp_path / f"single{seed}")
        ]  # fmt: skip
        assert read[0] == read[1] and len(read[0]) > 3
        assert npr.load(tmp_path / "files" / f"seed{seed}.npz").num_timesteps == 96


def test_scores_are_those_of_the_agents():
    together = ensemble_of("DQN")
    scores = together.evaluate(episodes=3, seed=1)
    assert scores.seeds == together.seeds == SEEDS
    means = [agent.evaluate(episodes=3, seed=1).mean for agent in together]
    assert scores.means.tolist() == means and scores.mean == pytest.approx(np.mean(means))
    low, high = scores.interval
    assert min(means) <= low <= scores.mean <= high <= max(means)
    assert repr(scores).startswith("Scores(")


def test_an_ensemble_is_a_sequence():
    together = ensemble_of("DQN")
    assert len(together) == 3 and [*together] == together[:] == together.agents
    assert together[-1].seed == 7
    assert repr(together).startswith("Ensemble(3 x DQN(")


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "why"),
    [("REINFORCE", "complete episodes"), ("QLearning", "a table"), ("Sarsa", "a table")],
)
def test_algorithms_that_cannot_learn_together(name, why):
    with pytest.raises(npr.ConfigError, match=f"{name} cannot learn in an ensemble: .*{why}"):
        npr.ensemble(getattr(npr, name), "CartPole-v1", seeds=[0, 1])


def test_a_train_of_ones_own_is_refused():
    class Mine(npr.DQN):
        def _train(self, run):
            pass

    with pytest.raises(npr.ConfigError, match="its _train is not one of npr's"):
        npr.ensemble(Mine, "CartPole-v1", seeds=[0, 1])


def test_an_explore_of_ones_own_is_used(tmp_path):
    class Mine(npr.DQN):
        def explore(self, s):
            return self.rng["explore"].integers(0, 2, len(s))

    _, env, given = settings_of("DQN")
    together = npr.ensemble(Mine, env, seeds=[0, 1], **given).learn(60)
    for agent in together:
        assert_equal(agent, Mine(env, seed=agent.seed, **given).learn(60), tmp_path)


def test_a_seed_of_an_agent_is_one():
    with pytest.raises(npr.ConfigError, match=r"npr\.ensemble\(npr\.PPO, env, seeds=\[0, 1\]\)"):
        npr.PPO("CartPole-v1", seeds=[0, 1])


@pytest.mark.parametrize(("arguments", "text"), [
    ({"seeds": []}, "seeds must be"), ({"seeds": [1, 1]}, "seeds must be"),
    ({"algorithm": "PPO"}, "a class of agents"), ({"nan_obs": "terminate"}, "nan_obs='raise'"),
    ({"env_timeout": 5.0}, "env_timeout=None"),
])  # fmt: skip
def test_arguments_that_are_not_valid(arguments, text):
    given = {"algorithm": npr.PPO, "env": "CartPole-v1", "seeds": [0, 1], **arguments}
    with pytest.raises(npr.ConfigError, match=text):
        npr.ensemble(**given)


def test_an_environment_is_not_shared():
    with pytest.raises(npr.ConfigError, match="environments of their own"):
        npr.ensemble(npr.PPO, gymnasium.make("CartPole-v1"), seeds=[0, 1])


def test_agents_that_are_not_alike():
    together = ensemble_of("DQN")
    together[1].tau = 0.5
    with pytest.raises(npr.ConfigError, match=r"tau is 1\.0 for seed 3 and 0\.5 for seed 0"):
        together.learn(10)
    together[1].tau = 1.0
    together[1].learn(10)
    with pytest.raises(npr.ConfigError, match="must be at the same step"):
        together.learn(10)
    with pytest.raises(npr.ConfigError, match="agents of one class"):
        npr.ensemble.Ensemble([alone("DQN", 0), alone("PPO", 1)])
    with pytest.raises(npr.ConfigError, match="takes names of outputs"):
        ensemble_of("DQN").learn(10, log=["csv"])
    with pytest.raises(npr.ConfigError, match="a function of the ensemble"):
        ensemble_of("DQN").learn(10, callback=[print])


# ---- values of several agents


def test_what_is_done_with_the_values_of_agents_is_done_with_each():
    a, b = np.arange(6.0).reshape(3, 2), -np.arange(6.0).reshape(3, 2)
    both = Each([a, b])
    assert both.shape == (3, 2) and both.dtype == np.float64 and len(both) == 3
    for function in (
        lambda x: 2 * x + 1, lambda x: 1 - x, lambda x: abs(x), lambda x: x[1:], lambda x: x.sum(),
        lambda x: np.clip(x, -1, 1), lambda x: np.where(x > 0, x, 5), lambda x: x[x > 0],
        lambda x: np.sqrt(np.abs(x)), lambda x: gae(*[x] * 5, 0.9, 0.9),
        lambda x: np.mean(x, axis=0), lambda x: -x, lambda x: x == 1,
    ):  # fmt: skip
        for mine, own in zip(function(both).values, (a, b)):
            assert np.array_equal(mine, function(own))
    both[0] = 7
    assert a[0, 0] == b[0, 0] == 7
    assert [*Each([(1, a), (1, b)])][0] == 1
    with pytest.raises(NotAlikeError, match="another way"):
        bool(Each([True, False]))
    assert bool(Each([2, 3]))
    with pytest.raises(NotAlikeError, match="of no agent"):
        gae(both, both, a, both, both, 0.9, 0.9)
    assert np.signbit(call_each(lambda x: x, 2, Each([0.0, -0.0])).values[1])


def test_a_loaded_ensemble_with_workers_is_refused_before_it_learns(tmp_path):
    npr.ensemble(npr.PPO, "CartPole-v1", seeds=[0, 1], verbose=0).save(tmp_path)
    held = npr.ensemble.load(tmp_path, n_workers=1)
    with pytest.raises(ConfigError, match="in this process; leave out n_workers=1"):
        held.learn(100)
    held.close()


def test_a_number_of_seeds_is_0_1_and_so_on():
    together = npr.ensemble(npr.DQN, "CartPole-v1", 2, verbose=0)
    assert together.seeds == (0, 1)
    together.close()


@pytest.mark.parametrize(
    "given, text",
    [
        ({"seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
        ({"seeds": None}, "seeds must be a whole number of at least 1, got None"),
        ({"seeds": "ab"}, "seeds must be a whole number of at least 1, got 'ab'"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": 2, "seed": 3}, "leave seed out"),
        ({"seeds": 2, "n_workers": 2}, "in this process; leave out n_workers=2"),
        ({"seeds": 2, "vectorization": "async"}, "leave out vectorization='async'"),
    ],
)
def test_arguments_of_an_ensemble_that_do_not_fit_are_named(given, text):
    with pytest.raises(npr.ConfigError, match=text):
        npr.ensemble(npr.PPO, "CartPole-v1", verbose=0, n_envs=2, **given)
