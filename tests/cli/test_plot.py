"""npr plot: what it asks npr.plot for, text without matplotlib, and wrong usage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npr import plot
from npr.cli import plot as plot_command

pytest.importorskip("matplotlib")


@pytest.fixture
def called(monkeypatch):
    """[(function, runs, keywords)]: the calls of npr.plot, which draw nothing."""
    calls = []
    for name in ("curves", "profile", "improvement", "table"):
        monkeypatch.setattr(
            plot, name, lambda runs, name=name, **given: calls.append((name, runs, given))
        )
    return calls


def test_without_an_output_the_curves_are_text(trained_runs, npr):
    status, out, err = npr("plot", trained_runs, "--smooth", 1)
    assert (status, err) == (0, "")
    assert out.rstrip("\n") == plot.curves_text(str(trained_runs), smooth=1)
    assert "net_arch=[8] (2 seeds)" in out and "net_arch=[16] (1 seed)" in out


def test_a_picture_is_written(trained_runs, npr):
    status, out, _ = npr("plot", trained_runs, "-o", "a.png")
    assert (status, out) == (0, "written to a.png\n")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = npr("plot", trained_runs, "-o", "a.svg", "--text")
    assert status == 0 and "return over steps" in out and out.endswith("written to a.svg\n")
    assert "<svg" in Path("a.svg").read_text()


def test_flags_of_curves_are_passed_on(trained_runs, npr, called):
    words = ["--x", "seconds", "--y", "train/actor_loss", "--smooth", 3, "--iqm", "--each"]
    words += ["--interval", "0", "--title", "SAC", "--normalize", "Pendulum-v1=[-1600,0]"]
    assert (
        npr("plot", trained_runs / "small0", trained_runs / "small1", "-o", "a.png", *words)[0] == 0
    )
    ((name, runs, given),) = called
    assert name == "curves" and runs == [str(trained_runs / f"small{i}") for i in (0, 1)]
    assert given == {
        "x": "seconds", "y": "train/actor_loss", "smooth": 3, "center": "iqm", "each": True,
        "interval": None, "title": "SAC", "normalize": {"Pendulum-v1": (-1600, 0)}, "path": "a.png",
    }  # fmt: skip


def test_groups_are_named_with_their_runs(trained_runs, npr, called):
    small, wide = f"{trained_runs}/small*", f"{trained_runs}/wide0"
    npr("plot", "--group", "small", small, "--group", "both", wide, small, "-o", "a.png")
    assert called[0][1] == {"small": [small], "both": [wide, small]}


def test_profiles_and_their_scores(trained_runs, npr, called):
    assert npr("plot", trained_runs, "--profile", "--last", 2, "-o", "a.png")[0] == 0
    name, _, given = called[0]
    assert name == "profile" and given["last"] == 2 and given["interval"] == 0.95
    _, out, _ = npr("plot", trained_runs, "--profile", "--last", 2)
    scores, shares = out.split("\n\n")
    labels = ["SAC, net_arch=[8] (2 runs)", "SAC, net_arch=[16] (1 run)"]  # without environment
    for part in (scores, shares):
        assert [line.split("  ")[0] for line in part.splitlines()[1:]] == labels
    held = plot.final_scores(str(trained_runs), last=2)
    for line, label, tasks in zip(scores.splitlines()[1:], labels, held.values(), strict=True):
        (values,) = tasks.values()
        shown = [*map(float, line.removeprefix(label).split())]
        expected = [values.mean(), values.mean(), values.min(), values.max()]
        np.testing.assert_allclose(shown, expected, rtol=1e-3)


def test_reference_scores_may_have_brackets(trained_runs, npr, called):
    for word in ("Pendulum-v1=-1600,0", "Pendulum-v1=[-1600, 0]"):
        assert npr("plot", trained_runs, "-o", "a.png", "--normalize", word)[0] == 0
    assert [given["normalize"] for *_, given in called] == 2 * [{"Pendulum-v1": (-1600, 0)}]


def test_text_is_shortened_on_a_terminal_only(trained_runs, npr, monkeypatch):
    full = npr("plot", trained_runs)[1]
    monkeypatch.setattr(plot_command.streams, "is_terminal", lambda stream: True)
    monkeypatch.setattr(plot_command.streams, "columns", lambda stream: 60)
    short = npr("plot", trained_runs)[1]
    assert max(map(len, full.splitlines())) > 60 >= max(map(len, short.splitlines()))


def test_improvement_of_two_sets_or_of_all_groups(trained_runs, npr, called):
    small, wide = f"{trained_runs}/small*", f"{trained_runs}/wide*"
    assert npr("plot", "--improvement", small, wide, "-o", "a.png")[0] == 0
    assert called[0][:2] == ("improvement", {small: small, wide: wide})
    _, out, _ = npr("plot", trained_runs, "--improvement")
    ((a, b, p, (low, high)),) = plot.compare(str(trained_runs))
    score, line, note = out.splitlines()
    assert score == "score of a run: mean return of the last 100 training episodes"
    assert line == f"{a} > {b}   probability {p:.2f}   95% interval [{low:.2f}, {high:.2f}]"
    assert note == "Fewer than 5 runs: intervals are too narrow."
    _, out, _ = npr("plot", trained_runs, "--improvement", "--y", "evaluation")
    assert out.startswith("score of a run: mean return of the last evaluation\n")


def test_the_actions_of_a_table_are_text_or_a_picture(agents, npr, called):
    file = agents / "lake.npz"
    status, out, _ = npr("plot", file)
    title, *rows = out.splitlines()
    assert status == 0 and title == "QLearning on FrozenLake-v1"
    (panel,) = plot.tables.panels(file)
    arrows = {(0, -1): "<", (0, 1): ">", (-1, 0): "^", (1, 0): "v"}
    for i, row in enumerate(rows):
        for j, mark in enumerate(row.split()):
            action = panel.greedy(i, j)
            cell = panel.cells[i][j]
            assert mark == (cell if action is None else arrows[tuple(panel.actions[action])])
    assert npr("plot", file, "-o", "map.png")[0] == 0
    assert called == [("table", [str(file)], {"title": None, "path": "map.png"})]


def test_without_matplotlib_the_text_is_shown_and_the_extra_named(trained_runs, npr, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = npr("plot", trained_runs, "-o", "a.png")
    assert status == 2 and "return over steps" in out
    assert err == (
        "npr plot: a.png was not written: pictures need matplotlib: pip install 'npr-rl[plot]'.\n"
    )
    assert npr("plot", trained_runs)[0] == 0  # text needs none


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "Give run folders: npr plot runs/*"),
        (["nothing"], "There is no run folder nothing."),
        (["RUNS", "--y", "train/lss"], "has no values of 'train/lss'. It can be one of return"),
        (["RUNS", "-o", "a.gif"], "A picture is written to .png, .svg or .pdf; got 'a.gif'."),
        (["RUNS", "--smooth", "0"], "smooth must be a whole number of at least 1, got 0"),
        (["RUNS", "--profile", "--last", "0"], "last must be a whole number of at least 1, got 0"),
        (["RUNS", "--interval", "2"], "interval must be between 0 and 1, got 2"),
        (["RUNS", "--normalize", "CartPole-v1"], "needs ENV=[LOW,HIGH] or ENV=LOW,HIGH, such as"),
        (["RUNS", "--normalize", "A=1,b"], "got 'A=1,b'."),
        (["RUNS", "--normalize", "=1,2"], "got '=1,2'."),
        (["RUNS", "--normalize", "A=1,2,3"], "got 'A=1,2,3'."),
        (["RUNS", "--normalize", "A=1,2", "A=1,2"], "--normalize has 'A' twice."),
        (["RUNS", "--profile", "--improvement"], "--profile and --improvement are two plots"),
        (["--improvement", "a"], "--improvement compares two sets of runs, got 1."),
        (["RUNS", "--improvement", "a", "b"], "Give the runs once"),
        (["RUNS", "--group", "a", "b"], "Give the runs once"),
        (["--group", "a"], "--group needs a label and runs, got a."),
        (["RUNS", "a.npz"], "Give either run folders, or files of agents with a table."),
        (["SAC"], "has a network and no table of values"),
        (["RUNS", "--x", "days"], "argument --x: invalid choice: 'days'"),
        (["RUNS", "--smoth", "1"], "there is no --smoth; did you mean --smooth?"),
    ],
)
def test_wrong_usage_is_one_sentence(words, message, trained_runs, agents, npr):
    places = {"RUNS": trained_runs, "SAC": agents / "sac.npz"}
    status, _, err = npr("plot", *(places.get(word, word) for word in words))
    assert (status, err.count("\n")) == (2, 1) and message in err


def test_the_command_runs_in_a_process(trained_runs):
    command = [sys.executable, "-m", "npr", "plot", trained_runs / "wide0"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0 and done.stdout.startswith("return over steps")
