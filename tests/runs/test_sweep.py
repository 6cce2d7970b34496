"""npr.sweep: which runs its arguments stand for, and what it returns."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support.small_runs import TABLE, table_run

import npr
from npr import runs
from npr.errors import ConfigError
from npr.runs import Outcome, RunConfig, SweepResult, SweepRow
from npr.runs.sweep import points_of, result_of

PPO = RunConfig("PPO", "CartPole-v1")


def points(config=PPO, seeds=1, **settings):
    found = points_of(config, seeds, settings)
    return [(one.settings, one.seed) for one in found]


def test_lists_ranges_and_arrays_make_a_grid_with_seeds_fastest():
    found = points(seeds=[3, 5], gamma=[0.9, 0.99], n_envs=range(1, 3), learning_rate=3e-4)
    assert len(found) == 8
    assert found[:3] == [
        ({"learning_rate": 3e-4, "gamma": 0.9, "n_envs": 1}, 3),
        ({"learning_rate": 3e-4, "gamma": 0.9, "n_envs": 1}, 5),
        ({"learning_rate": 3e-4, "gamma": 0.9, "n_envs": 2}, 3),
    ]
    rates = np.array([1e-3, 1e-4])
    assert [one["learning_rate"] for one, _ in points(learning_rate=rates)] == [1e-3, 1e-4]
    assert [seed for _, seed in points(seeds=3)] == [0, 1, 2]
    assert [seed for _, seed in points(seeds=np.arange(2))] == [0, 1]


def test_a_tuple_is_one_value():
    assert points(net_arch=(64, 32), learning_rate=(1e-3, 0.0)) == [
        ({"net_arch": [64, 32], "learning_rate": [1e-3, 0.0]}, 0)
    ]
    found = [one["net_arch"] for one, _ in points(net_arch=[(64, 64), [8], {"pi": [4], "vf": []}])]
    assert found[:2] == [[64, 64], [8]] and found[2]["pi"] == [4]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"net_arch": [64, 64]}, r"net_arch must be .* if net_arch=\[64, 64\] is one value, write"),
        ({"gamma": [0.9, 2]}, "PPO: gamma must be"),
        ({"gamma": []}, "gamma has no values"),
        ({"gama": 0.9}, "did you mean gamma"),
        ({"gamma": [0.9, 0.9]}, "is given twice"),
        ({"seeds": []}, "seeds has no values"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"seeds": [-1]}, "seed must be a whole number >= 0"),
    ],
)
def test_invalid_values_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        points(**settings)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"engine": "threads"}, "engine must be 'processes' or 'ray', got 'threads'"),
        ({"num_cpus": 2}, "num_cpus=2 is for engine='ray'"),
        ({"jobs": 0}, "jobs must be"),
        ({"seed": [0, 1]}, r"no setting 'seed'; use seeds=\[0, 1\]"),
        ({"env": len}, "Register it with Gymnasium"),
        ({"algorithm": "QLaerning"}, "did you mean QLearning"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        npr.sweep(**{"algorithm": "QLearning", "env": "CliffWalking-v1", **given})
    assert [*tmp_path.iterdir()] == []


BREAKING = """
import gymnasium

class Breaking(gymnasium.Wrapper):
    def step(self, action):
        try:
            open("broken", "x")
        except FileExistsError:
            return super().step(action)
        raise KeyError("broken")
"""


def test_a_run_that_fails_is_named_and_has_no_score(tmp_path, monkeypatch):
    (tmp_path / "breaking_sweep.py").write_text(BREAKING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = npr.sweep(
        npr.QLearning, "CliffWalking-v1", learning_rate=[0.5, 0.1], total_timesteps=300, jobs=1,
        eval_freq=0, wrappers=["breaking_sweep:Breaking"], **TABLE,
    )  # fmt: skip
    assert [one.state for one in result.outcomes] == ["failed", "finished"]
    assert result.failed == result.outcomes[:1] and result.best is result.rows[1]
    assert [row.folders for row in result.rows] == [[], [result.outcomes[1].folder]]
    lines = str(result).splitlines()
    assert lines[1].split() == ["0.5", "0", "nan", "nan"]
    assert lines[3].startswith(f"{result.outcomes[0].folder} failed: ") and "broken" in lines[3]


def test_scores_are_the_last_evaluations_by_settings():
    config = table_run(eval_freq=200, eval_episodes=2)
    found = points_of(config, 2, {"learning_rate": [0.5, 0.1], **config.settings})
    outcomes = [Outcome(Path(f"run{i}"), "finished") for i in range(4)]
    for point, one in zip(found, outcomes):
        runs.train(point, one.folder)
    result = result_of(found, outcomes)
    assert result.score == "evaluation" and result.failed == []
    assert [row.settings for row in result.rows] == [{"learning_rate": 0.5}, {"learning_rate": 0.1}]
    for row, pair in zip(result.rows, (outcomes[:2], outcomes[2:])):
        assert row.folders == [one.folder for one in pair]
        last = [np.load(folder / "evaluations.npz")["results"][-1] for folder in row.folders]
        assert row.scores.tolist() == [one.mean() for one in last]
    assert str(result).splitlines()[0].split() == ["learning_rate", "runs", "evaluation", "std"]


def test_the_best_row_is_that_with_the_largest_mean(tmp_path):
    rows = [SweepRow({"gamma": g}, [], np.array(s)) for g, s in ((0, [1, 5]), (1, [2, 5]), (2, []))]
    result = SweepResult([Outcome(tmp_path, "failed", "no number")], rows, "return")
    assert result.best is rows[1] and rows[1].mean == 3.5 and rows[1].std == pytest.approx(4.5**0.5)
    assert np.isnan(rows[2].mean) and np.isnan(rows[2].std)
    with pytest.raises(ConfigError, match="No run has finished; the last error: no number"):
        _ = SweepResult(result.outcomes, rows[2:], "return").best


def test_runs_without_evaluations_are_scored_by_their_last_episodes():
    result = npr.sweep(
        "q-learning", "CliffWalking-v1", total_timesteps=300, eval_freq=0, jobs=1, out="here",
        **TABLE,
    )  # fmt: skip
    (row,) = result.rows
    returns = np.loadtxt(row.folders[0] / "monitor.csv", delimiter=",", skiprows=2)[:, 0]
    assert result.score == "return" and row.settings == {}
    assert row.scores.tolist() == pytest.approx([returns[-100:].mean()])
    assert result.folders == [one.folder for one in result.outcomes]


def test_the_runs_are_those_of_run_all():
    config = table_run()
    (one,) = points_of(config, 1, config.settings)
    assert one == table_run().checked()
