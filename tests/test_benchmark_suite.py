"""benchmarks/suite.py and parity.py: stored runs, what is trained next, tables, p-values."""

import json
import re
import sys
import time

import numpy as np
import pytest
from support import ROOT

import npr
from npr.algorithms.agent import Agent

sys.path.insert(0, str(ROOT / "benchmarks"))
import parity
import random_policy
import records
import runner
import suite
import table
import tasks

TINY = tasks.Task("QLearning", "FrozenLake-v1", 2, 400, {"learning_rate": 0.5}, first=0)


def run(seed=0, final=(1.0, 3.0), steps=(10, 20), curve=(0.5, 2.0), trained=20, cpu="A"):
    return records.Run(
        seed, np.array(steps), np.array(curve), np.array(final), 1.5, trained, {"cpu": cpu}
    )


# ---- stored runs


def test_runs_are_stored_and_read(tmp_path):
    records.add(
        "x", {"a": [1, 2]}, [run(3, cpu="B"), run(1, steps=[5], curve=[7], final=[2])], tmp_path
    )
    records.add("x", {"a": [1, 2]}, [run(2)], tmp_path)
    held = records.load("x", tmp_path)
    assert held.settings == {"a": [1, 2]}
    assert [one.seed for one in held.runs] == [1, 2, 3]
    assert [one.machine["cpu"] for one in held.runs] == ["A", "A", "B"]
    assert held.runs[0].steps.tolist() == [5] and held.runs[0].curve.tolist() == [7]
    assert held.runs[2].curve.tolist() == [0.5, 2.0] and held.runs[2].trained == 20
    assert held.returns.tolist() == [2, 2, 2]
    assert records.load("y", tmp_path) is None


def test_a_run_replaces_that_of_its_seed_and_other_settings_replace_all(tmp_path):
    assert records.add("x", {"a": 1}, [run(0), run(1)], tmp_path) == 0
    assert records.add("x", {"a": 1}, [run(1, final=[9])], tmp_path) == 0
    assert records.load("x", tmp_path).returns.tolist() == [2, 9]
    assert records.add("x", {"a": 2}, [run(5)], tmp_path) == 2
    assert [one.seed for one in records.load("x", tmp_path).runs] == [5]


def test_the_statistics_of_a_task(tmp_path):
    records.add("x", {}, [run(i, final=[value]) for i, value in enumerate([0, 1, 2, 9])], tmp_path)
    found = records.summary(records.load("x", tmp_path))
    assert (found.runs, found.mean, found.iqm, found.worst) == (4, 3.0, 1.5, 0.0)
    assert found.std == pytest.approx(np.sqrt((9 + 4 + 1 + 36) / 3))
    assert 0 <= found.interval[0] < 1.5 < found.interval[1] <= 9
    assert found.seconds == 1.5


def test_the_stored_curves_are_small_and_hold_no_objects():
    files = sorted(records.FOLDER.glob("*.npz"))
    assert files and sum(path.stat().st_size for path in files) < 5e6
    for path in files:
        with np.load(path, allow_pickle=False) as held:
            assert all(held[name].dtype != object for name in held.files), path


def test_every_stored_file_is_of_a_task():
    names = {task.name for group in tasks.GROUPS.values() for task in group}
    names |= {parity.stored_as(side, pair) for pair in parity.PAIRS for side in parity.sides(pair)}
    assert {path.stem for path in records.FOLDER.glob("*.npz")} <= names


# ---- what is trained


def test_tasks_have_names_of_their_own_and_valid_settings():
    everything = [task for group in tasks.GROUPS.values() for task in group]
    assert len({task.name for task in everything}) == len(everything)
    for task in everything:
        npr.runs.RunConfig(task.algorithm, task.env, dict(task.settings)).checked()
        assert json.loads(json.dumps(task.given)) == task.given


def test_only_takes_groups_algorithms_environments_and_tasks():
    names = [task.name for task in suite.chosen(["classic", "SAC", "Pendulum-v1"])]
    assert names == ["SAC_Pendulum-v1"]
    assert len(suite.chosen(["SAC", "TD3", "mujoco"])) == 6
    assert [task.name for task in suite.chosen(["DQN_Acrobot-v1"])] == ["DQN_Acrobot-v1"]
    assert suite.chosen([]) == [task for group in tasks.GROUPS.values() for task in group]
    with pytest.raises(SystemExit, match="Pendulum-v9"):
        suite.chosen(["Pendulum-v9"])


def test_runs_that_are_stored_with_the_same_settings_are_not_repeated(tmp_path):
    other = TINY._replace(label="_other")
    records.add(TINY.name, TINY.given, [run(0, trained=400)], tmp_path)
    records.add(other.name, {"learning_rate": 0.1}, [run(0, trained=400)], tmp_path)
    missing = suite.wanted([TINY, other], None, tmp_path)
    assert missing == [(other, 0), (TINY, 1), (other, 1)]
    assert suite.wanted([TINY], [0, 7], tmp_path) == [(TINY, 7)]


def test_a_run_of_an_older_preset_does_not_replace_those_of_a_newer_one(tmp_path):
    store = suite.job(TINY, 0, tmp_path, tmp_path).store
    newer = {"settings": TINY.given, **run(0, final=[5.0])._replace(began=20.0)._asdict()}
    older = {"settings": {"learning_rate": 0.1}, **run(1)._replace(began=10.0)._asdict()}
    assert store(dict(newer)) == "5.00"
    assert store(dict(older)).startswith("not stored")
    assert records.load(TINY.name, tmp_path).settings == TINY.given
    assert store(older | {"began": 30.0}) == "2.00"
    assert [one.seed for one in records.load(TINY.name, tmp_path).runs] == [1]


def test_a_task_that_grows_keeps_its_runs_until_they_have_gone_on(tmp_path):
    task = TINY._replace(grows=True)
    records.add(task.name, task.given, [run(0, trained=400), run(1, trained=400)], tmp_path)
    longer = task._replace(steps=800)
    assert suite.wanted([task], None, tmp_path) == []
    assert suite.wanted([longer], None, tmp_path) == [(longer, 0), (longer, 1)]
    assert records.add(task.name, longer.given, [run(0, trained=800)], tmp_path) == 0
    assert suite.wanted([longer], None, tmp_path) == [(longer, 1)]


def test_times_have_units():
    assert [runner.seconds_of(text) for text in ("30s", "1.5m", "2h")] == [30, 90, 7_200]
    for text in ("2", "h", "2d", ""):
        with pytest.raises(ValueError, match="2h, 90m or 30s"):
            runner.seconds_of(text)


def printing(name, text, code=0, cost=0.0, kept=None):
    """A job that prints a text and ends with a status."""
    program = f"import sys; print('noise'); print({text!r}); sys.exit({code})"
    kept = {} if kept is None else kept
    return runner.Job(
        name, [sys.executable, "-c", program], lambda got: str(kept.setdefault(name, got)), cost
    )


def test_jobs_store_what_they_print_and_a_failed_one_does_not_stop_the_others(tmp_path, capfd):
    kept = {}
    jobs = [printing("a", '{"x": [1, 2]}', kept=kept), printing("b", "", 3, kept=kept),
            printing("c", '{"x": 5}', kept=kept)]  # fmt: skip
    assert runner.run_all(jobs, 2, tmp_path) == ["b"]
    assert kept["a"]["x"].tolist() == [1, 2] and kept["c"] == {"x": 5} and "b" not in kept
    assert "b: failed" in capfd.readouterr().out


def test_jobs_that_do_not_fit_into_a_budget_are_left_and_said(tmp_path, capfd):
    kept = {}
    jobs = [
        printing("long", '{"x": 1}', cost=1e6, kept=kept),
        printing("short", '{"x": 2}', kept=kept),
    ]
    assert runner.run_all(jobs, 2, tmp_path, 60.0) == []
    assert [*kept] == ["short", "long"], "a long one begins when nothing else runs"
    sleeper = runner.Job("x", [sys.executable, "-c", "import time; time.sleep(99)"], str)
    assert runner.run_all([sleeper, sleeper], 1, tmp_path, 0.5) == []
    assert "1 jobs have not begun; stopped: x" in capfd.readouterr().out


def test_variables_that_change_npr_are_not_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("NPR_NUMBA", "0")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items()}))"
    kept = []
    job = runner.Job("x", [sys.executable, "-c", code], lambda got: str(kept.append(got)))
    runner.run_all([job], 1, tmp_path)
    assert not {"NPR_NUMBA", "OPENBLAS_CORETYPE"} & {*kept[0]}
    assert kept[0]["OPENBLAS_NUM_THREADS"] == "1"


def test_a_stopwatch_leaves_evaluations_out(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "process_time", lambda: now)

    class Owner:
        def work(self):
            nonlocal now
            now += 10

    watch = suite.Stopwatch(tmp_path / "x.json", {"a": 1}, 4.0)
    watch.leave_out(Owner, "work")
    now = 3.0
    Owner().work()
    assert watch.seconds == 7
    watch.keep()
    assert json.loads((tmp_path / "x.json").read_text()) == {"given": {"a": 1}, "seconds": 7}


def test_seeds_that_were_seen_before_are_not_shown():
    for task in [task for group in tasks.GROUPS.values() for task in group]:
        assert len(task.shown) == task.seeds and min(task.shown) >= 3
    page = (ROOT / "docs" / "results.md").read_text()
    lines = re.findall(r"\| (\w+) \| (\S+) \| .* \| from (\d+) \|", page)
    changed = {(algorithm, env, int(first)) for algorithm, env, first in lines}
    assert changed == {(*row, first) for row, first in tasks.FIRST_SEEDS.items()}


def test_a_run_is_trained_once_goes_on_when_its_task_grows_and_equals_an_agent(
    tmp_path, monkeypatch, capsys
):
    evaluate = Agent.evaluate
    task = TINY._replace(grows=True)

    def trained(task):
        monkeypatch.setattr(Agent, "evaluate", evaluate)  # without the stopwatches before
        suite.train(task, 3, tmp_path / "run")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    first = trained(task)
    assert first["seed"] == 3 and first["trained"] == 400
    assert first["steps"] == list(range(20, 401, 20)) and len(first["curve"]) == 20
    assert len(first["final"]) == suite.FINAL_OF_TABLES
    again = trained(task)
    clocks = {"began": 0, "seconds": 0}
    assert again | clocks == first | clocks
    agent = npr.QLearning("FrozenLake-v1", seed=3, learning_rate=0.5, verbose=0).learn(400)
    assert agent.evaluate(episodes=1_000, seed=10_003).returns.tolist() == first["final"]
    # a process that was killed after it had begun to go on
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["total_timesteps"] = 800
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    (tmp_path / "run" / "final.npz").unlink()
    longer = trained(task._replace(steps=800))
    assert longer["trained"] == 800 and longer["steps"][:20] == first["steps"]
    assert longer["seconds"] > 0
    other = trained(task._replace(settings={"learning_rate": 0.4}))
    assert other["trained"] == 400 and other["settings"]["learning_rate"] == 0.4


# ---- tables


def row(value=1.0, env="Acrobot-v1", algorithm="DQN", trained=100_000):
    """A row with a single run, on the budget of the preset."""
    record = records.Record({}, [run(0, final=[value], trained=trained)])
    return table.Row(tasks.Task(algorithm, env, 1), record, records.summary(record))


def test_rows_below_a_published_figure_of_their_budget_are_named():
    assert table.falls_short(row(-90.0)) == [("zoo", -76.6)]
    assert table.falls_short(row(-70.0)) == []
    assert table.falls_short(row(-90.0, trained=30_000)) == []
    (line,) = table.shortfalls([row(-90.0)])
    assert line.startswith(
        "- **DQN, Acrobot-v1**, 100k steps: IQM -90.0 (-90.0 to -90.0), zoo -76.6."
    )
    assert table.shortfalls([row(-70.0)]) == ["None."]


def test_a_row_of_the_page_has_every_statistic():
    text = table.full_row(row(-90.0))
    assert text == (
        "| DQN | Acrobot-v1 | 100,000 | 1 | -90.0 | - | -90.0 | - | -90.0 | -100 | "
        "-76.6 (zoo, 100k); -91.5 (CleanRL, 500k) | 1.5 |"
    )


def test_readmes_have_the_first_row_of_each_algorithm_in_their_language():
    rows = [row(-90.0), row(500.0, "CartPole-v1"), row(-99.0, algorithm="PPO")]
    rows += [row(1.0, "CartPole-v1", algorithm="PPO")]
    mark = "<!-- results --><!-- /results -->"
    shown = {name: table.with_table(mark, one, rows) for name, one in table.READMES.items()}
    for name, folder in (("README.md", "docs"), ("README.zh-CN.md", "docs/zh")):
        _, _, _, *lines, _ = shown[name].split("\n")
        assert [line.split(" | ")[4:6] for line in lines] == [["-90.0"] * 2, ["-99.0"] * 2]
        assert lines[0] == (
            f"| [`DQN`]({folder}/algorithms/dqn.md) | Acrobot-v1 | 100,000 | 1 | -90.0 | -90.0 | "
            "-76.6 (zoo, 100k); -91.5 (CleanRL, 500k) | 1.5 |"
        )


def test_runs_of_other_settings_are_not_shown(tmp_path):
    records.add(TINY.name, {"learning_rate": 0.1}, [run(0)], tmp_path)
    assert table.stored([TINY], tmp_path) == []
    records.add(TINY.name, TINY.given, [run(0), run(99)], tmp_path)
    (found,) = table.stored([TINY], tmp_path)
    assert found.steps == 20 and [one.seed for one in found.record.runs] == [0]


def test_the_runs_of_a_row_have_one_length(tmp_path):
    task = TINY._replace(seeds=3)
    runs = [run(0, trained=800), run(1, trained=400), run(2, trained=400)]
    records.add(task.name, task.given, runs, tmp_path)
    (found,) = table.stored([task], tmp_path)
    assert found.steps == 400 and found.summary.runs == 2


def test_rows_with_seeds_below_their_gate_are_named():
    record = records.Record({}, [run(i, final=[value]) for i, value in enumerate([-90, -150])])
    task = tasks.Task("DQN", "Acrobot-v1", 2)
    found = table.Row(task, record, records.summary(record))
    assert found.gate == -100
    start = "- **DQN, Acrobot-v1**: 1 of 2, worst -150.0, gate -100. "
    assert table.below_gates([found]) == [start + "Not investigated."]
    longer = found._replace(task=task._replace(steps=100_000))
    assert longer.gate is None and table.below_gates([longer]) == ["None."]


def test_evaluations_at_equal_steps():
    one = run(0, steps=[100_000, 300_100], curve=[5.0, 7.0])
    other = run(1, steps=[99_900], curve=[6.0])
    record = records.Record({}, [one, other])
    assert records.at(record, 100_000).tolist() == [5.0, 6.0]
    assert records.at(record, 300_000).tolist() == [7.0]
    task = tasks.Task("SAC", "HalfCheetah-v5", 2)
    (*_, line) = table.checkpoints([table.Row(task, record, records.summary(record))])
    assert line == "| SAC | HalfCheetah-v5 | 5.50 +- 0.71 (2) | 7.00 (1) | - |"


def test_rows_that_fall_short_or_are_below_their_gates_have_been_investigated():
    rows = [row for group in tasks.GROUPS.values() for row in table.stored(group)]
    rows = [row for row in rows if row.summary.runs == row.task.seeds]
    lines = table.shortfalls(rows) + table.below_gates(rows)
    assert not [line for line in lines if "Not investigated" in line]


def test_scores_are_0_for_random_actions_and_1_for_the_zoo():
    returns = [random_policy.load()["Acrobot-v1"], -76.6, -76.6]
    record = records.Record({}, [run(i, final=[x], trained=100_000) for i, x in enumerate(returns)])
    task = tasks.Task("DQN", "Acrobot-v1", 3, 100_000)
    found = table.Row(task, record, records.summary(record))
    assert table.scores([found])["DQN"][0] == pytest.approx([0, 1, 1])
    other = found._replace(task=task._replace(steps=50_000))  # not the zoo's steps
    assert table.scores([other]) == {}
    first = table.aggregates([found])[2]
    interval = "0.667 | 0.000 to 1.000"
    assert first == f"| DQN | 1 | 3 | {interval} | {interval} | 0% | 67% |"
    center, low, high = table.mean_over_rows([np.zeros(9), np.array([1.0, 1.0])])
    assert (center, low, high) == (0.5, 0.5, 0.5)  # each row counts as much


def test_random_actions_are_reproducible():
    first, again = (random_policy.mean_return("CartPole-v1", 3) for _ in range(2))
    assert first == again
    assert {*random_policy.load()} == random_policy.environments()


def test_the_interval_of_a_difference():
    low, high = parity.interval([1.0, 2.0, 3.0], [0.0, 0.0])
    assert 1.0 <= low < 2.0 < high <= 3.0
    assert parity.interval([2.0, 2.0], [0.5, 0.5]).tolist() == [1.5, 1.5]


def test_every_plot_of_the_page_is_there():
    page = (ROOT / "docs" / "results.md").read_text()
    named = re.findall(r"\]\((results/.*?)\)", page)
    held = {f"results/{path.name}" for path in (ROOT / "docs" / "results").iterdir()}
    assert named and {*named} == held


def test_plots_show_the_curves_and_the_published_figures(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "x.png"
    table.draw("Acrobot-v1", [row(-90.0)], path)
    assert path.stat().st_size > 5_000


# ---- the comparison with SB3


def test_holms_correction_by_hand():
    assert parity.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert parity.holm([0.9, 0.6]) == [1.0, 1.0]


@pytest.mark.parametrize("pair", parity.PAIRS, ids=lambda pair: pair.name)
def test_the_settings_of_a_pair_are_not_those_of_a_preset(pair):
    """What is not given has the same default in both libraries."""
    if pair.env.startswith("LunarLander"):
        pytest.importorskip("Box2D")
    agent = parity.npr_agent(pair, 0)
    given = {
        **pair.settings, "n_envs": pair.n_envs, "net_arch": pair.net_arch,
        "activation": pair.activation, "verbose": 0, "joint_clip": True,
    }  # fmt: skip
    for name, default in type(agent).defaults().items():
        expected = given.get(name, default)
        if name not in ("actor_lr", "critic_lr", "net_arch"):
            assert getattr(agent, name) == expected, name
    assert agent.net_arch in (pair.net_arch, dict.fromkeys(agent.net_arch, pair.net_arch))
    agent.close()
