"""benchmarks/vector.py: what it counts and shows."""

import sys
import types

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import vector


def test_the_rate_is_that_of_whole_rollouts_after_the_first_ones(monkeypatch):
    """Each step takes 1 ms, the very first rollout a minute more."""
    now, learned = [0.0], []
    monkeypatch.setattr(vector.time, "perf_counter", lambda: now[0])

    def learn(steps):
        now[0] += 1e-3 * steps + 60 * (not learned)
        learned.append(steps)

    assert vector.rate(learn, 100, 1.0) == pytest.approx(1_000)
    assert learned == [100, 100, 1_000]
    assert vector.rate(learn, 5_000, 1.0) == pytest.approx(1_000)
    assert learned[-1] == 5_000  # one, if it takes longer


def test_sb3_has_the_same_settings():
    for part in vector.LEARNING.values():
        for _, _, n, settings, ways in part.values():
            assert {"learning_rate", "n_steps"} <= set(settings)
            assert set(ways) <= {*vector.NPR, *vector.SB3}
            if "batch_size" in settings:
                assert n * settings["n_steps"] % settings["batch_size"] == 0  # no short minibatch


def test_ways_with_a_process_per_environment_are_left_out_where_they_are_too_many(monkeypatch):
    monkeypatch.setattr(vector, "installed", lambda module: True)
    found = vector.cases("train")
    assert "async" in found["PPO, 64"] and "async" not in found["PPO, 256"]
    assert "SB3 SubprocVecEnv" not in found["A2C, 256"] and "2 workers" in found["A2C, 256"]


def test_ways_whose_package_is_missing_are_left_out(monkeypatch):
    monkeypatch.setattr(vector, "installed", lambda module: module in (None, "ray"))
    assert vector.cases("train")["PPO, 8"] == [
        "list", "async", "entry_point", "2 workers", "ray, 2 workers",
    ]  # fmt: skip


def test_the_median_of_the_rounds_counts_and_ways_run_in_turn(monkeypatch):
    order, rates = [], iter([1, 10, 3, 30, 2, 20])

    def run(part, case, way, seconds):
        order.append(way)
        return {"rate": next(rates)}

    monkeypatch.setattr(vector, "run", run)
    monkeypatch.setattr(vector, "cases", lambda part: {"case": ["list", "envpool"]})
    assert vector.measure("train", 3, 1.0) == {
        "case": {"list": {"rate": 2}, "envpool": {"rate": 20}}
    }
    assert order == ["list", "envpool"] * 3


def test_a_way_that_fails_is_shown_and_left_out(monkeypatch, capsys):
    failed = types.SimpleNamespace(returncode=1, stderr="no such engine")
    monkeypatch.setattr(vector.subprocess, "run", lambda *args, **options: failed)
    monkeypatch.setattr(vector, "cases", lambda part: {"case": ["list"]})
    assert vector.measure("train", 1, 1.0) == {}
    assert capsys.readouterr().out == "train, case, list failed:\nno such engine\n"


def test_tables():
    medians = {"PPO, 8": {"list": {"rate": 1234.5}}, "PPO, 256": {"envpool": {"rate": 100_000.0}}}
    assert list(vector.table("train", medians))[2:] == [
        "| | PPO, 8 | PPO, 256 |",
        "|---|--:|--:|",
        "| list | 1,234 |  |",
        "| envpool |  | 100,000 |",
        "",
    ]
    costs = {"CartPole-v1": {"list": {"environment": 10.0, "npr": 3.0, "policy": 0.5}}}
    assert "| list | 10.00 | 3.00 | 0.50 |" in vector.table("cost", costs)
    found = {f"{W} {what}": 10.0 * W for W in (1, 2, 4, 16) for what in ("predicted", "measured")}
    rows = list(vector.table("model", {"waits 5 ms": {"all": found}}))
    assert "| waits 5 ms, 4 workers | 40 | 40 |" in rows
