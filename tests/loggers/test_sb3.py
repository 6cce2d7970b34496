"""Files and agents of npr in Stable-Baselines3: its readers, plotter, Monitor and evaluation."""

import gymnasium
import numpy as np
import pytest
from support.small_agents import small_agent, trained

import npr
from npr.loggers import Outputs, configure

pytest.importorskip("stable_baselines3")
EPISODES = [(-1.5, 10, 0.5, None), (2.25, 20, 1.0, True), (4.0, 5, 2.5, False)]


@pytest.fixture
def logged():
    outputs = Outputs(configure("run", ["monitor", "csv", "jsonl"]))
    outputs.open("PPO CartPole-v1", {"env": "CartPole-v1"})
    for episode in EPISODES:
        outputs.episode(*episode)
    outputs.write({"a": 1, "b": float("nan"), "c": "no episode finished yet"}, 10)
    outputs.write({"d": 2.5}, 20)
    outputs.close()


def test_load_results_reads_monitor_csv(logged):
    from stable_baselines3.common.monitor import load_results

    pytest.importorskip("pandas")
    table = load_results("run")
    np.testing.assert_allclose(table[["r", "l", "t"]], [episode[:3] for episode in EPISODES])
    assert [str(x) for x in table["is_success"]] == ["nan", "True", "False"]


def test_the_plotter_draws_monitor_csv(logged):
    pytest.importorskip("pandas")
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from stable_baselines3.common import results_plotter
    from stable_baselines3.common.monitor import load_results

    x, y = results_plotter.ts2xy(load_results("run"), "timesteps")
    assert (x.tolist(), y.tolist()) == ([10, 30, 35], [-1.5, 2.25, 4.0])
    results_plotter.plot_results(["run"], None, "timesteps", "CartPole")
    (points,) = pyplot.gca().collections
    assert points.get_offsets().tolist() == [[10, -1.5], [30, 2.25], [35, 4.0]]
    pyplot.close("all")


def test_pandas_reads_progress_files_as_its_logger_does(logged):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv("run/progress.csv", index_col=None, comment="#")
    assert list(table) == ["a", "b", "c", "time/total_timesteps", "d"]
    expected = [[1, np.nan, np.nan, 10, np.nan], [np.nan, np.nan, np.nan, 20, 2.5]]
    np.testing.assert_array_equal(table.to_numpy(float), expected)
    lines = pandas.read_json("run/progress.jsonl", lines=True)
    np.testing.assert_array_equal(lines["time/total_timesteps"], [10, 20])
    np.testing.assert_array_equal(lines["d"], [np.nan, 2.5])


def test_an_agent_learns_in_an_environment_with_its_monitor():
    pytest.importorskip("pandas")
    from stable_baselines3.common.monitor import Monitor, load_results

    env = Monitor(gymnasium.make("CartPole-v1", max_episode_steps=20), "monitored")
    agent = small_agent("PPO", env, max_episode_steps=None).learn(96)
    agent.close()
    table = load_results(".")
    np.testing.assert_allclose(table[["r", "l"]], agent.logger.state()["episodes"][:, :2])


class SameEpisodes(gymnasium.Wrapper):
    """Episode i begins with seed i, whoever resets it."""

    next_seed = 0

    def reset(self, *, seed=None, options=None):
        self.next_seed += 1
        return super().reset(seed=self.next_seed, options=options)


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
@pytest.mark.parametrize("loaded", [False, True], ids=["trained", "loaded"])
@pytest.mark.parametrize("case", ["QLearning", "DQN", "PPO", "PPO-Box", "SAC", "SAC-Discrete"])
def test_evaluate_policy_plays_the_episodes_of_evaluate(case, loaded):
    from stable_baselines3.common.evaluation import evaluate_policy

    agent = trained(case)
    if loaded:
        agent.save("agent.npz")
        agent = npr.load("agent.npz")

    def env():
        return SameEpisodes(gymnasium.make(agent.env_name, max_episode_steps=20))

    returns, lengths = evaluate_policy(agent, env(), 4, return_episode_rewards=True)
    played = agent.evaluate(env(), 4)
    np.testing.assert_allclose(returns, played.returns, rtol=1e-5)  # it sums rewards in 32 bits
    np.testing.assert_array_equal(lengths, played.lengths)
