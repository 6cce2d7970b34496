"""npr report: the page it writes, where, and wrong usage."""

from pathlib import Path

import pytest
from support.pages import data_of


def test_a_page_is_in_the_run_folder_or_beside_the_file(trained_runs, agents, npr):
    folder = trained_runs / "small0"
    status, out, err = npr("report", folder, "--episodes", 1)
    assert (status, out, err) == (0, f"written to {folder / 'report.html'}\n", "")
    (one,) = data_of(folder / "report.html")["agents"]
    assert one["title"] == "SAC on Pendulum-v1" and len(one["evaluation"]["returns"]) == 1
    (folder / "report.html").unlink()
    _, out, _ = npr("report", agents / "lake.npz", "--episodes", 0)
    assert out == f"written to {agents / 'lake.html'}\n"
    (agents / "lake.html").unlink()


def test_options_choose_the_agent_its_environment_and_the_page(trained_runs, agents, npr):
    words = ["-o", "a.html", "--which", "latest", "--episodes", 2, "--seed", 4]
    assert npr("report", trained_runs / "small0", *words)[0] == 0
    (one,) = data_of(Path("a.html"))["agents"]
    assert dict(one["facts"])["file"] == "latest.npz"
    words = ["-o", "b.html", "--episodes", 3, "--env-kwargs", "map_name=4x4", "is_slippery=false"]
    assert npr("report", agents / "lake.npz", *words)[0] == 0
    (one,) = data_of(Path("b.html"))["agents"]
    assert len(set(one["evaluation"]["returns"])) == 1


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["nothing.npz"], 2, "No such file or directory"),
        (["."], 2, "is not a run folder"),
        (["sac.npz", "-o", "a.txt"], 2, "'a.txt' must end with .html"),
        (["sac.npz", "--which", "best"], 2, "which='best' needs a run folder"),
        (["sac.npz", "--episodes", "-1"], 2, "whole number of at least 0, got -1"),
        (["sac.npz", "-o", "nowhere/a.html", "--episodes", "0"], 2, "create the folder first"),
    ],
)
def test_wrong_usage_is_one_sentence(words, status, message, agents, npr, monkeypatch):
    monkeypatch.chdir(agents)
    got, out, err = npr("report", *words)
    assert (got, out) == (status, "")
    assert err.startswith("npr report: ") and message in err and err.count("\n") == 1
