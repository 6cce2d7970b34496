"""Runs as tasks of a real Ray: files, failures, signals, and a node that is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import ROOT
from support.small_runs import digest, monitor, stop_at, table_run

import npr
from npr.errors import ConfigError
from npr.runs import grid, resume_all, run_all, train
from npr.runs.folder import locked
from npr.runs.on_ray import _check_visible, _train
from npr.runs.task import Task
from npr.system import ray_session
from npr.system.ray_session import Home
from npr.tune import tune


def test_a_missing_ray_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (
        lambda: run_all([table_run()], engine="ray"),
        lambda: resume_all([], engine="ray"),
        lambda: npr.sweep("QLearning", "CliffWalking-v1", engine="ray"),
        lambda: tune("QLearning", "CliffWalking-v1", engine="ray"),
    ):
        with pytest.raises(ConfigError, match=r"needs Ray: pip install 'npr-rl\[ray\]'"):
            call()
    assert not Path("runs").exists()


@pytest.mark.parametrize("cpus", [0, -1, "2", True, float("inf")])
def test_cpus_are_a_number_above_zero(cpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", sys)
    with pytest.raises(ConfigError, match="num_cpus must be None or a number above 0"):
        run_all([table_run()], engine="ray", num_cpus=cpus)


def test_an_agent_uses_a_cpu_and_one_for_each_process_of_its_own():
    assert ray_session.cpus_of({}) == ray_session.cpus_of({"n_workers": 0}) == 1
    assert ray_session.cpus_of({"n_workers": 3, "engine": "processes"}) == 4
    assert ray_session.cpus_of({"n_workers": 3, "engine": "ray"}) == 1
    assert Task(Path("new"), table_run(settings={"gamma": 0.5}), {}).settings["gamma"] == 0.5
    train(table_run(settings={"gamma": 0.5}), "old")
    assert Task(Path("old"), None, {}).settings["gamma"] == 0.5


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path):
    (tmp_path / "token").touch()
    _check_visible(tmp_path, Home.here(), "token")
    with pytest.raises(ConfigError, match=f"does not see the folder {tmp_path}.*NFS"):
        _check_visible(tmp_path, Home.here(), "other")


def test_a_node_with_another_npr_is_refused():
    with pytest.raises(ConfigError, match="this program 0.0.1: install the same version"):
        ray_session.settle(Home.here()._replace(version="0.0.1"))


def test_a_run_that_was_lost_waits_for_its_old_process_and_goes_on(tmp_path):
    """To the bit, from a checkpoint, and from the start where there is none yet."""
    train(table_run(), "whole")

    for name in ("begun", "empty"):
        with pytest.raises(KeyboardInterrupt):
            train(table_run(), name, report=stop_at(100))
    for path in Path("empty/checkpoints").iterdir():
        path.unlink()
    held, waited = threading.Event(), []

    def hold():
        with locked(Path("begun")):
            held.set()
            time.sleep(0.7)
            waited.append("begun")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    for name in ("begun", "empty"):
        _train(Task(Path(name), table_run(), {"command": []}), True, {})
        assert waited == ["begun"]
        assert digest(Path(name, "final.npz")) == digest(Path("whole", "final.npz"))
        assert monitor(Path(name)) == monitor(Path("whole"))
    thread.join()


def test_an_address_without_a_cluster_is_named(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "no-scheme")
    with pytest.raises(ConfigError, match="RAY_ADDRESS=no-scheme: no Ray cluster answers there"):
        run_all([table_run()], engine="ray")


# ---- slow: a cluster of three nodes, and signals

LONG = {"total_timesteps": 30_000, "save_freq": 1_000}


@pytest.mark.slow
def test_the_runs_of_a_lost_node_go_on_elsewhere(tmp_path):
    pytest.importorskip("ray")
    from support import ray_sessions

    points = grid(table_run(**LONG), seed=range(4))
    lost = []
    with ray_sessions.cluster(0, 2, 2) as (cluster, nodes):

        def lose():
            """Remove a node when all runs have a checkpoint."""
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                if len([*Path("out").glob("*/checkpoints/latest.npz")]) == 4:
                    lost.append(cluster.remove_node(nodes[1], allow_graceful=False))
                    return
                time.sleep(0.05)

        thread = threading.Thread(target=lose)
        thread.start()
        outcomes = run_all(points, "out", engine="ray")
        thread.join()
    assert lost and [one.state for one in outcomes] == ["finished"] * 4
    moved = 0
    for point, outcome in zip(points, outcomes):
        moved += "goes on at step" in (outcome.folder / "console.log").read_text()
        train(point, Path("local", str(point.seed)))
        assert digest(outcome.folder / "final.npz") == digest(
            Path("local", str(point.seed), "final.npz")
        )
        assert monitor(outcome.folder) == monitor(Path("local", str(point.seed)))
    assert moved == 2


def start(*words):
    """`npr train` of endless runs over Ray, two of which have learned for a while."""
    process = subprocess.Popen(
        [sys.executable, "-m", "npr", "train", "q-learning", "CliffWalking-v1", *words,
         "--total-timesteps", "1e8", "--eval-freq", "0", "--save-freq", "0", "--max-episode-steps",
         "30", "--engine", "ray"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(learning()) < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return process


def learning():
    """The folders of runs whose monitor.csv has rows."""
    files = Path("runs").glob("*/monitor.csv")
    return [path.parent for path in files if path.read_text().count("\n") > 50]


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, status, send",
    [(signal.SIGINT, 130, os.killpg), (signal.SIGTERM, 143, os.kill)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_saves_the_runs_of_ray(number, status, send):
    """Two runs learn, and a third waits for a CPU. SIGINT goes to the whole process group."""
    pytest.importorskip("ray")
    process = start("--seed", "0", "1", "2", "--jobs", "2")
    folders = learning()
    send(process.pid, number)
    _, err = process.communicate(timeout=90)
    assert process.returncode == status, err
    (waited,) = {*Path("runs").glob("[!.]*")} - {*folders}
    assert [path.name for path in waited.iterdir()] == ["config.json"]
    assert f"`npr resume {waited}` trains this run, which waited" in err
    for folder in folders:
        agent = npr.load(folder / "checkpoints" / "latest.npz")
        assert 1_000 < agent.num_timesteps < agent.end == 100_000_000
        assert f"`npr resume {folder}` continues this run" in err
    assert "Traceback" not in err and not [*Path("runs").glob(".*")]
