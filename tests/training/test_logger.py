"""The logger: means between rows, keys of Stable-Baselines3, and when rows are written."""

import copy
import io
import itertools
import json
import math
import warnings

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.small_agents import (
    BUDGET,
    CASES,
    small_agent,
)

import npr
from npr.backend import to_host
from npr.errors import ConfigError
from npr.loggers import Output
from npr.training.history import ROWS, History
from npr.training.logger import Column, Logger, Replayed
from npr.training.run import ROWS as ROWS_OF_A_LOG

every_case = pytest.mark.parametrize("case", CASES)

KEYS_OF_SB3 = {
    "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate",
    "rollout/exploration_rate", "time/fps", "time/iterations", "time/episodes",
    "time/time_elapsed", "time/total_timesteps", "train/learning_rate", "train/n_updates",
    "train/loss", "train/actor_loss", "train/critic_loss", "train/ent_coef",
    "train/ent_coef_loss", "train/policy_gradient_loss", "train/policy_loss", "train/value_loss",
    "train/entropy_loss", "train/approx_kl", "train/clip_fraction", "train/clip_range",
    "train/explained_variance", "train/std",
}  # fmt: skip
KEYS_OF_NPR = {
    "train/td_error", "train/per_beta", "train/q_mean", "time/peak_rss_mb", "train/kl_coef",
    "train/svgd_kernel_bandwidth",
}  # fmt: skip
GREEDY = {"rollout/exploration_rate", "train/learning_rate"}
POLICY = {
    "train/policy_gradient_loss", "train/entropy_loss", "train/learning_rate", "time/iterations",
}  # fmt: skip
ACTOR = {"train/critic_loss", "train/learning_rate"}
TABLES = [case for case, (name, *_) in CASES.items() if getattr(npr, name).table]
KEYS_OF = {
    "QLearning": GREEDY,
    "Sarsa": GREEDY,
    "DQN": GREEDY | {"train/loss"},
    "PERDQN": GREEDY | {"train/loss", "train/td_error", "train/per_beta"},
    "REINFORCE": POLICY | {"train/value_loss"},
    "QActorCritic": POLICY | {"train/critic_loss"},
    "A2C": POLICY - {"train/policy_gradient_loss"} | {"train/value_loss", "train/policy_loss"},
    "PPO": POLICY
    | {"train/value_loss", "train/approx_kl", "train/clip_fraction", "train/clip_range"},
    "PPOKL": POLICY | {"train/value_loss", "train/approx_kl", "train/kl_coef"},
    "DDPG": ACTOR | {"train/actor_loss"},
    "TD3": ACTOR | {"train/actor_loss"},
    "SoftQ": ACTOR,
    "SACS": ACTOR | {"train/actor_loss", "train/value_loss"},
    "SAC": ACTOR | {"train/actor_loss", "train/ent_coef", "train/ent_coef_loss"},
}


class Rows(Output):
    """Keeps what it is given."""

    def __init__(self):
        self.rows, self.steps, self.episodes = [], [], []
        self.opened = []

    def open(self, *about):
        self.opened.append(about)

    def write(self, values, step):
        self.rows.append(values)
        self.steps.append(step)

    def episode(self, r, l, t, success):  # noqa: E741
        self.episodes.append((r, l, t, success))


def logger_with_rows():
    logger, rows = Logger(), Rows()
    logger.outputs = npr.loggers.Outputs([rows])
    logger.outputs.open("title", {})
    return logger, rows.rows


# ---- rows of a run


@every_case
def test_a_row_has_the_keys_of_stable_baselines3(case):
    rows = Rows()
    small_agent(case, max_episode_steps=10).learn(BUDGET, log=rows, log_interval=2)
    on_policy = "time/iterations" in KEYS_OF[CASES[case][0]]
    count = "time/iterations" if on_policy else "time/episodes"
    assert [row[count] for row in rows.rows] == [2 * n + 2 for n in range(len(rows.rows))]
    for row in rows.rows:
        assert set(row) <= KEYS_OF_SB3 | KEYS_OF_NPR
    last = rows.rows[-1]
    common = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/time_elapsed",
              "time/total_timesteps"}  # fmt: skip
    common |= set() if case in TABLES else {"train/n_updates"}
    assert set().union(*rows.rows) >= common | KEYS_OF[CASES[case][0]]
    played = [episode for episode in rows.episodes][: last["time/episodes"]]
    assert last["rollout/ep_rew_mean"] == pytest.approx(np.mean([r for r, *_ in played]))
    assert last["time/total_timesteps"] == rows.steps[-1] >= sum(n for _, n, *_ in played)
    assert all(type(value) in (int, float) for row in rows.rows for value in row.values())


def test_a_gaussian_policy_has_its_standard_deviation_in_the_log():
    rows = Rows()
    small_agent("PPO-Box").learn(BUDGET, log=rows, log_interval=1)
    assert rows.rows[0]["train/std"] == pytest.approx(1, abs=0.05)  # log_std_init=0


@pytest.mark.parametrize("case", [case for case in CASES if case not in TABLES])
def test_a_row_has_the_means_of_all_updates_since_the_row_before(case):
    agent, rows, seen, expected = small_agent(case, max_episode_steps=10), Rows(), [], []
    original = agent.update

    def update(*batch):
        metrics = original(*batch)
        logged = {name: value for name, value in metrics.items() if name != "delta"}  # of PERDQN
        seen.append({name: float(np.mean(to_host(value))) for name, value in logged.items()})
        return metrics

    def dump(step, original=agent.logger.dump):
        names = set().union(*seen)
        expected.append({n: np.mean([m[n] for m in seen if n in m]) for n in names})
        seen.clear()
        original(step)

    vars(agent)["update"], agent.logger.dump = update, dump
    agent.learn(BUDGET, log=rows, log_interval=2)
    assert len(rows.rows) == len(expected) > 1
    for row, means in zip(rows.rows, expected):
        for name, mean in means.items():
            assert row[f"train/{name}"] == pytest.approx(mean, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("case", ["QLearning", "DQN", "PPO"])
def test_without_an_interval_a_log_has_about_a_hundred_rows_and_the_end(case):
    rows = Rows()
    agent = small_agent(case, max_episode_steps=2)
    agent.learn(4 * ROWS_OF_A_LOG, log=rows)
    steps = rows.steps
    assert steps[-1] == agent.num_timesteps and len(steps) <= ROWS_OF_A_LOG + 1
    assert len({*steps}) == len(steps)
    widest = max(b - a for a, b in itertools.pairwise(steps))
    per_rollout = getattr(agent, "n_steps", 2) * agent.envs.n
    assert widest <= 2 * max(4, per_rollout)


def test_no_table_is_printed_by_default(capsys):
    small_agent("DQN").learn(BUDGET)
    assert capsys.readouterr() == ("", "")


def tables(text):
    """The printed tables, each as {"rollout/ep_rew_mean": "12.5"}."""
    found = []
    for line, rows in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if not line:
            continue
        table, group = {}, ""
        for row in rows:
            name, value = (cell.strip() for cell in row.strip("|").split("|"))
            if name.endswith("/"):
                group = name
            else:
                table[group + name] = value
        found.append(table)
    return found


def test_log_interval_alone_prints_tables(capsys):
    agent = small_agent("DQN", max_episode_steps=10).learn(BUDGET, log_interval=2)
    printed = tables(capsys.readouterr().out)
    assert len(printed) == agent.logger.episode_count // 2
    assert [table["time/episodes"] for table in printed[:2]] == ["2", "4"]


def test_a_rollout_without_a_finished_episode_says_so():
    rows = Rows()
    small_agent("PPO", env="Pendulum-v1").learn(64, log=rows, log_interval=1)
    assert rows.rows[0]["rollout/ep_rew_mean"] == "no episode finished yet"


def test_outputs_learn_what_the_run_is():
    rows = Rows()
    agent = small_agent("DQN").learn(20, log=rows)
    agent.learn(20, log=rows, reset_num_timesteps=False)
    (title, settings, step, episodes), again = rows.opened
    assert title == "DQN CartPole-v1" and (step, episodes) == (0, 0) and again[2] == 20
    assert settings["algorithm"] == "DQN" and settings["env"] == "CartPole-v1"
    assert {name: settings[name] for name in agent.settings} == {
        name: getattr(agent, name) for name in agent.settings
    }


def test_set_logger_is_for_every_further_run_and_log_replaces_it():
    first, second = Rows(), Rows()
    agent = small_agent("DQN")
    agent.set_logger([first])
    agent.learn(30)
    agent.learn(30, log=[second])
    assert len(first.opened) == len(second.opened) == 1
    agent.set_logger(None)
    agent.learn(30)
    assert len(first.opened) == 1


def test_a_log_dir_without_a_log_is_refused():
    with pytest.raises(npr.ConfigError, match="log_dir='runs' needs a log to write there"):
        small_agent("DQN").learn(30, log_dir="runs")


def test_the_log_changes_no_bit_of_a_run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, log in (("with", ["csv", "jsonl", "monitor"]), ("without", None)):
            small_agent("SAC").learn(60, log=log, log_dir=log and tmp_path).save(tmp_path / name)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


# ---- success


class Fortunate(CartPoleEnv):
    """Every second episode is a success."""

    count = 0

    def step(self, action):
        *result, info = super().step(action)
        if result[2]:
            self.count += 1
            info = {"is_success": self.count % 2 == 0}
        return *result, info


@pytest.mark.parametrize("settings", [{}, {"n_envs": 2}, {"env_timeout": 60.0, "n_envs": 2}])
def test_the_success_rate_is_that_of_the_last_episodes(settings):
    rows = Rows()
    agent = small_agent("DQN", env=Fortunate, **settings).learn(150, log=rows, log_interval=1)
    known = [success for *_, success in rows.episodes]
    assert {*known} == {True, False}
    assert rows.rows[-1]["rollout/success_rate"] == pytest.approx(np.mean(known))
    agent.close()


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
def test_the_success_of_vector_environments_is_known_in_every_mode(mode):
    import gymnasium

    envs = gymnasium.vector.SyncVectorEnv(
        [Fortunate, Fortunate], autoreset_mode=gymnasium.vector.AutoresetMode[mode]
    )
    rows = Rows()
    small_agent("DQN", env=envs).learn(150, log=rows)
    assert [success for *_, success in rows.episodes].count(True) > 1
    assert None not in [success for *_, success in rows.episodes]


def test_an_evaluation_has_the_success_rate():
    result = small_agent("DQN", env=Fortunate).evaluate(episodes=4)
    assert result.success_rate == 0.5 and "success_rate=0.50" in repr(result)
    assert result.successes.tolist() == [False, True, False, True]
    plain = small_agent("DQN").evaluate(episodes=2)
    assert plain.success_rate is None and "success" not in repr(plain)


def test_successes_are_in_the_file(tmp_path):
    agent = small_agent("DQN", env=Fortunate).learn(100)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert list(loaded.logger.successes) == list(agent.logger.successes) and agent.logger.successes
    assert loaded.logger.episodes == agent.logger.episodes


# ---- the logger by itself


def test_means_latest_values_and_an_empty_interval():
    logger, rows = logger_with_rows()
    logger.add({"loss": 1.0})
    logger.add({"loss": np.array([2.0, 4.0]), "kl": np.float32(3)})
    logger.record_mean("my/mean", 5)
    logger.record_mean("my/mean", np.array([True, False]))
    logger.record("my/value", 1)
    logger.record("my/value", 2)
    logger.dump(10)
    assert rows[0] == {
        "train/loss": 2.0, "train/kl": 3.0, "my/mean": 2.75, "my/value": 2,
        "rollout/ep_rew_mean": "no episode finished yet", "time/total_timesteps": 10,
    }  # fmt: skip
    logger.dump(20)
    assert "train/loss" not in rows[1], "nothing was measured since"
    assert logger.snapshot()["train/loss"] == 2.0, "the last known value"


@pytest.mark.parametrize("metric", [lambda x: x, lambda x: x[:, 0]], ids=["column", "view"])
def test_metrics_in_memory_that_is_written_to_again_keep_their_values(metric):
    logger, x = Logger(), np.empty((8, 3), np.float32)
    for k in range(10):
        x[...] = k
        logger.add({"x": metric(x)})
    assert logger.snapshot()["train/x"] == 4.5


def test_an_update_may_return_a_part_of_its_batch():
    means = []
    for copied in (False, True):
        agent = _ReturnsItsBatch("CartPole-v1", seed=0, verbose=0, learning_starts=20, train_freq=1)
        agent.copied = copied
        agent.learn(60)
        means.append([agent.logger.snapshot()[f"train/{key}"] for key in ("reward", "first")])
    assert means[0] == means[1]


class _ReturnsItsBatch(npr.DQN):
    copied = False

    def update(self, s, a, r, *rest):
        metrics, own = super().update(s, a, r, *rest), {"reward": s[:, 0], "first": r}
        return {**metrics, **({k: x.copy() for k, x in own.items()} if self.copied else own)}


def test_means_of_many_updates_of_different_sizes_are_exact():
    logger, rng, means = Logger(), np.random.default_rng(0), []
    for i in range(1_000):
        value = rng.standard_normal((64, 7)[i % 3 == 0]).astype(np.float32)
        means.append(value.mean(dtype=np.float64))
        logger.add({"x": value})
    assert logger.snapshot()["train/x"] == pytest.approx(np.mean(means), rel=1e-9)
    assert len(logger._metrics) < 300, "memory is bounded"


def test_metrics_in_rows_of_shared_arrays_have_the_same_means():
    """The results of a captured update; here with 300 updates in arrays of 70 rows."""
    rng, separate, shared = np.random.default_rng(0), Logger(), Logger()
    for k in range(300):
        if k % 70 == 0:
            rows = np.empty((70, 34 * 4 + 8), np.uint8)
            floats = rng.standard_normal((70, 34)).astype(np.float32)
            flags = rng.random((70, 5)) < 0.5
            rows[:, : 34 * 4], rows[:, 34 * 4 : 34 * 4 + 5] = floats.view(np.uint8), flags
            columns = [
                Column("loss", 0, 4, np.float32, ()), Column("q", 4, 34 * 4, np.float32, (33,)),
                Column("clipped", 34 * 4, 34 * 4 + 5, bool, (5,)),
            ]  # fmt: skip
        row = k % 70
        metrics = {
            "loss": floats[row, 0:1].reshape(()), "q": floats[row, 1:34], "clipped": flags[row, 0:5]
        }  # fmt: skip
        replayed = Replayed(metrics, rows, row, columns)
        if k == 100:  # an algorithm may change what it logs
            metrics = {"loss": 7.0, "q": np.float32([1, 2])}
            del replayed["clipped"]
            replayed |= metrics
        separate.add({**metrics})
        shared.add(replayed)
        assert replayed.keys() == metrics.keys()
    assert shared.snapshot() == separate.snapshot()
    assert replayed["q"] is metrics["q"], "it belongs to the caller"


def test_the_table_on_the_console():
    logger, stream = Logger(), io.StringIO()
    logger.outputs = npr.loggers.Outputs([npr.loggers.console.Console(stream)])
    logger.outputs.open("", {})
    logger.add({"loss": np.float32(0.123456)})
    logger.record("train/n_updates", 3)
    logger.dump(7)
    assert stream.getvalue().splitlines() == [
        "------------------------------------------------",
        "| rollout/           |                         |",
        "|    ep_rew_mean     | no episode finished yet |",
        "| time/              |                         |",
        "|    total_timesteps | 7                       |",
        "| train/             |                         |",
        "|    loss            | 0.1235                  |",
        "|    n_updates       | 3                       |",
        "------------------------------------------------",
    ]


def test_the_logger_averages_over_a_hundred_episodes():
    logger = Logger()
    assert logger.mean_return() is None
    for i in range(250):
        logger.episode(float(i), i, success=i >= 200)
    assert logger.episode_count == 250
    assert logger.mean_return() == np.mean(range(150, 250))
    assert logger.snapshot()["rollout/ep_len_mean"] == np.mean(range(150, 250))
    assert logger.snapshot()["rollout/success_rate"] == 0.5


def test_a_copy_of_a_logger_has_no_outputs():
    logger, _ = logger_with_rows()
    logger.episode(1.0, 2)
    other = copy.deepcopy(logger)
    assert not other.outputs and len(other.history.rows()) == 0 and logger.outputs
    assert other.episodes == logger.episodes


@pytest.mark.parametrize("value", [None, [1.0], {}, "x" * 201, np.array(["a"]), np.empty(0)])
def test_what_a_log_cannot_hold_is_refused_before_it_is_in_a_file(value):
    logger = Logger()
    with pytest.raises(npr.ConfigError, match=r"logger.record\('a/b', ...\) takes a number, an "):
        logger.record("a/b", value)
    with pytest.raises(
        npr.ConfigError, match=r"logger.record_mean\('a/b', ...\) takes a number or"
    ):
        logger.record_mean("a/b", value)
    assert logger.snapshot() == {}


@pytest.mark.parametrize(
    "value", [1, 2.5, True, math.nan, "a text", np.float32(3), np.arange(3), np.array(True)]
)
def test_whatever_a_log_can_hold_is_in_the_file_of_an_open_row(value, tmp_path):
    agent = small_agent("DQN")
    agent.logger.record("a/b", value)
    agent.save(tmp_path / "a.npz")
    held = npr.load(tmp_path / "a.npz").logger.snapshot()["a/b"]
    expected = value if isinstance(value, str) else pytest.approx(np.mean(value), nan_ok=True)
    assert held == expected


def test_an_output_that_cannot_be_opened_leaves_the_agent_as_it_was():
    class Missing(Output):
        def open(self, *about):
            raise npr.ConfigError("it needs a package")

    agent = small_agent("DQN").learn(30)
    before = (agent.num_timesteps, agent.end, len(agent.logger.history.rows()))
    with pytest.raises(npr.ConfigError, match="it needs a package"):
        agent.learn(100, log=Missing())
    assert before == (agent.num_timesteps, agent.end, len(agent.logger.history.rows()))
    assert agent.learn(10, reset_num_timesteps=False).num_timesteps == 40


def test_a_missing_package_is_noticed_before_an_earlier_log_is_replaced(tmp_path):
    class Missing(Output):
        def check(self):
            raise npr.ConfigError("it needs a package")

    agent = small_agent("DQN").learn(60, log="csv", log_dir=tmp_path)
    before = (tmp_path / "progress.csv").read_bytes()
    with pytest.raises(npr.ConfigError, match="it needs a package"):
        agent.learn(60, log=["csv", Missing()], log_dir=tmp_path)
    assert (tmp_path / "progress.csv").read_bytes() == before


@pytest.mark.filterwarnings("ignore:A new run replaces")
def test_a_second_run_and_its_continuation_keep_all_their_episodes(tmp_path):
    agent, monitor = small_agent("DQN", max_episode_steps=5), tmp_path / "monitor.csv"
    for budget, reset, episodes in ((60, True, 12), (40, True, 8), (20, False, 12)):
        agent.learn(budget, log="monitor", log_dir=tmp_path, reset_num_timesteps=reset)
        assert (
            len(monitor.read_text().splitlines()) == 2 + episodes == 2 + agent.logger.episode_count
        )
    assert '"episodes_before": 0' in monitor.read_text()


@pytest.mark.parametrize("key", [3, None, "", "x" * 201, ("a", "b")])
def test_a_name_that_a_file_cannot_hold_is_refused(key):
    for record in (Logger().record, Logger().record_mean):
        with pytest.raises(npr.ConfigError, match="name of a logged value must be a text"):
            record(key, 1.0)


def test_an_array_is_logged_as_it_was():
    logger, array = Logger(), np.zeros(3)
    logger.record("a/latest", array)
    logger.record_mean("a/mean", array)
    array += 1
    assert (logger.snapshot()["a/latest"], logger.snapshot()["a/mean"]) == (0, 0)


def test_values_recorded_at_the_end_of_training_are_in_the_last_row():
    class Final(npr.callbacks.Callback):
        def _on_training_end(self):
            self.logger.record("my/final", 1)

    rows = Rows()
    small_agent("DQN").learn(30, Final(), log=rows)
    assert rows.rows[-1]["my/final"] == 1


# ---- history


def test_the_history_has_every_episode_of_a_short_run():
    agent, rows = small_agent("DQN", max_episode_steps=7), Rows()
    agent.learn(100, log=rows)
    steps, returns, lengths, seconds = agent.logger.history.rows().T
    assert steps.tolist() == np.cumsum(lengths).tolist()
    assert returns.tolist() == [r for r, *_ in rows.episodes]
    assert seconds.tolist() == [t for _, _, t, _ in rows.episodes] == sorted(seconds)
    agent.learn(20, reset_num_timesteps=False)
    assert (np.diff(agent.logger.history.rows()[:, 3]) >= 0).all(), "time goes on"
    agent.learn(20)
    assert agent.logger.history.rows()[0, 0] <= 20, "a new run begins to count anew"


def test_a_long_history_merges_neighbors_and_keeps_the_mean():
    history, n = History(), 5 * ROWS + 8
    for i in range(n):
        history.add(i, float(i), 2 * i, i / 2)
    rows, k = history.rows(), history.per_row
    assert k == 8 and len(rows) == n // k < ROWS
    whole = np.arange(len(rows) * k).reshape(-1, k)
    assert np.array_equal(rows[:, 0], whole[:, -1]) and np.array_equal(rows[:, 3], whole[:, -1] / 2)
    assert np.allclose(rows[:, 1], whole.mean(axis=1)) and np.allclose(rows[:, 2], 2 * rows[:, 1])
    assert not math.isnan(rows.sum())


# ---- the open row in a file


def file_row(agent, **changes):
    row = json.loads(agent.logger.state()["row"].tobytes())
    return np.frombuffer(json.dumps({**row, **changes}).encode(), np.uint8)


def test_a_loaded_agent_continues_the_row_that_was_open(tmp_path):
    whole, parts = Rows(), Rows()
    small_agent("DQN").learn(96, log=whole, log_interval=3)
    stopped = small_agent("DQN").learn(96, lambda agent: agent.num_timesteps < 67, log=parts,
                                       log_interval=3)  # fmt: skip
    stopped.logger.record("my/text", "kept")
    stopped.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz")
    assert loaded.logger.snapshot()["my/text"] == "kept"
    loaded.logger._values.clear()
    loaded.learn(log=parts, log_interval=3)
    times = ("time/fps", "time/time_elapsed", "time/peak_rss_mb")
    rows = [[{k: v for k, v in row.items() if k not in times} for row in held.rows]
            for held in (whole, parts)]  # fmt: skip
    assert rows[0] == rows[1] and any("train/loss" in row for row in rows[0])


def test_the_sums_of_a_row_do_not_depend_on_when_they_are_added_up():
    rng = np.random.default_rng(0)
    values = [float(x) for x in rng.standard_normal(50)]
    values += [rng.standard_normal((3,)).astype(np.float32) for _ in range(50)]
    at_once, often = Logger(), Logger()
    for value in values:
        at_once.record_mean("a/b", value)
        often.record_mean("a/b", value)
        often.state()
    assert at_once.snapshot() == often.snapshot()
    assert at_once.snapshot()["a/b"] == pytest.approx(np.mean([np.mean(v) for v in values]))


def test_the_file_of_a_finished_run_does_not_depend_on_its_log(tmp_path):
    small_agent("DQN").learn(96).save(tmp_path / "a.npz")
    small_agent("DQN").learn(96, log=Rows(), log_interval=2).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "change",
    [{"step": -1}, {"step": "1"}, {"iterations": None}, {"sums": []}, {"sums": {"a": 1}},
     {"sums": {"a": [1, 2, 3]}}, {"sums": {"a": [[], 2]}}, {"values": {"a": []}}, {"values": 1}],
    ids=str,
)  # fmt: skip
def test_an_open_row_that_is_not_valid_is_refused(change):
    agent = small_agent("DQN")
    state = {**agent.logger.state(), "row": file_row(agent, **change)}
    with pytest.raises(ConfigError, match="open row of the log is not valid"):
        agent.logger.load(state)


@pytest.mark.parametrize(
    "row",
    [np.zeros(3), np.zeros((2, 2), np.uint8), np.zeros(2 << 20, np.uint8),
     np.frombuffer(b"[" * 100_000, np.uint8), np.frombuffer(b"[]", np.uint8)],
    ids=["floats", "a matrix", "too long", "too deep", "a list"],
)  # fmt: skip
def test_an_open_row_that_is_no_text_is_refused(row):
    logger = Logger()
    with pytest.raises(ConfigError, match="open row of the log is not valid"):
        logger.load({**logger.state(), "row": row})


def test_means_of_many_updates_are_those_of_one_after_the_other_to_the_bit():
    """Of updates with the same names, with others, with arrays of several shapes and numbers."""
    rng = np.random.default_rng(0)
    for same in (True, False):
        logger, sums = Logger(), {}
        for t in range(700):
            metrics = {"x": rng.random(7).astype(np.float32), "y": np.float32(rng.random())}
            if not same and t % 3 == 0:
                metrics = {"y": np.array(rng.random()), "a/z": rng.random((2, 3)), "n": t}
            if not same and t % 5 == 0:
                metrics["x"] = rng.random(4)
            logger.add(metrics)
            for name, value in metrics.items():
                name = name if "/" in name else f"train/{name}"
                total, n = sums.get(name, (0.0, 0))
                sums[name] = total + float(np.mean(value, dtype=np.float64)), n + 1
        got = logger.snapshot()
        assert got == {name: total / n for name, (total, n) in sums.items()}
