"""Performance profiles and probabilities of improvement."""

import numpy as np
import pytest
from support.run_folders import write_run

from npr.errors import ConfigError
from npr.plot import compare, final_scores, improvement, profile
from npr.plot.text import improvement_text, profile_text

SCORES = {"A": [3.0, 5.0, 9.0], "B": [1, 5]}


@pytest.fixture
def runs(tmp_path):
    for seed, last in enumerate((4.0, 8.0)):
        write_run(
            tmp_path / f"SAC{seed}", seed=seed, returns=[0.0, 2.0, last],
            evaluated=([10, 20], [[0.0, 0.0], [last, 0.0]]),
            rows={"time/total_timesteps": [10], "train/loss": [seed]},
        )  # fmt: skip
        write_run(tmp_path / f"PPO{seed}", algorithm="PPO", seed=seed, returns=[6.0])
    return tmp_path


# ---- the score of a run


def test_the_score_of_a_run_is_the_mean_of_its_last_episodes(runs):
    scores = final_scores(runs, last=2)
    assert {label: one["Pendulum-v1"].tolist() for label, one in scores.items()} == {
        "PPO": [6, 6], "SAC": [3, 5],
    }  # fmt: skip


@pytest.mark.parametrize("y, expected", [("evaluation", [2, 4]), ("train/loss", [0, 1])])
def test_the_score_can_be_the_last_evaluation_or_logged_value(runs, y, expected):
    assert final_scores(f"{runs}/SAC*", y)["SAC"]["Pendulum-v1"].tolist() == expected


def test_scores_can_be_given_as_numbers():
    assert final_scores({"A": [3, 4.0], "B": np.array([1])})["A"][""].tolist() == [3, 4]
    with pytest.raises(ConfigError, match=r"scores of 'A' must be finite, got \[nan\]"):
        final_scores({"A": [float("nan")]})


def test_scores_can_be_normalized_by_environment(runs):
    scores = final_scores(runs, last=1, normalize={"Pendulum-v1": (4, 8)})
    assert scores["SAC"]["Pendulum-v1"].tolist() == [0, 1]


# ---- the profile


def test_a_profile_has_a_line_per_group_that_falls_at_its_scores():
    figure = profile(SCORES, points=201)
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["A (3 runs)", "B (2 runs)"]
    for line, scores in zip(ax.lines, SCORES.values()):
        taus, shares = line.get_data()
        assert line.get_drawstyle() == "steps-post"
        slow = [np.mean([score > tau for score in scores]) for tau in taus]
        np.testing.assert_allclose(shares, slow)
    assert len(ax.collections) == 2
    assert ax.get_xlabel() == "score (tau)"
    assert ax.get_ylabel() == "share of runs that score above tau"


def test_a_profile_of_runs_names_the_score(runs):
    (ax,) = profile(runs, last=3, interval=None, title="t").axes
    assert ax.get_xlabel() == "mean return of the last 3 training episodes (tau)"
    assert ax.get_title() == "t" and not ax.collections
    (ax,) = profile(runs, normalize={"Pendulum-v1": (0, 1)}, xlabel="x").axes
    assert ax.get_xlabel() == "x"


def test_a_profile_of_equal_scores_has_a_range():
    (ax,) = profile({"A": [2.0, 2.0]}).axes
    taus, shares = ax.lines[0].get_data()
    assert (taus[0], taus[-1]) == (1, 3) and shares[0] == 1 and shares[-1] == 0


# ---- the probability of improvement


def test_pairs_are_compared_in_the_order_given():
    """Of the 6 pairs A wins 3 > 1, 5 > 1, 9 > 1 and 9 > 5, and has one tie."""
    ((a, b, p, (low, high)),) = compare(SCORES)
    assert (a, b) == ("A", "B")
    assert p == pytest.approx(4.5 / 6)
    assert 0 <= low < p < high <= 1


def test_all_pairs_or_those_with_one_group_are_compared():
    three = {**SCORES, "C": [0.0, 1.0]}
    assert [pair[:2] for pair in compare(three)] == [("A", "B"), ("A", "C"), ("B", "C")]
    against = compare(three, against="B")
    assert [pair[:2] for pair in against] == [("A", "B"), ("C", "B")]
    assert against[1][2] == 1 / 8


def test_a_comparison_is_drawn_as_a_point_and_a_bar_per_pair(tmp_path):
    pairs = compare(SCORES)
    figure = improvement(SCORES, path=tmp_path / "i.svg")
    (ax,) = figure.axes
    half, bar, point = ax.lines
    assert set(half.get_xdata()) == {0.5}
    assert tuple(bar.get_xdata()) == pairs[0][3]
    assert list(point.get_xdata()) == [pairs[0][2]]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A  >  B"]
    assert ax.get_xlabel() == (
        "probability that the first scores higher, 95% interval\n"
        "fewer than 5 runs: intervals are too narrow"
    )
    assert (tmp_path / "i.svg").exists()


def test_more_pairs_than_a_picture_can_show_are_refused():
    nine = {str(i): [0.0, float(i)] for i in range(9)}
    message = r"9 groups make 36 pairs.*at most 28. Name two sets.*--improvement A B"
    with pytest.raises(ConfigError, match=message):
        improvement(nine)


def test_long_labels_of_pairs_have_two_lines():
    labels = ["a" * 100, "b" * 30]
    (ax,) = improvement(dict(zip(labels, SCORES.values()))).axes
    (text,) = ax.get_yticklabels()
    first, second = text.get_text().split("\n")
    assert len(first) == 72 and second == ">  " + labels[1]


@pytest.mark.parametrize(
    "given, message",
    [({"last": 0}, "last must be a whole number of at least 1, got 0"),
     ({"interval": 2}, "interval must be between 0 and 1, got 2")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(given, message, runs):
    for function in (profile, improvement, compare):
        with pytest.raises(ConfigError, match=message):
            function({"a": runs, "b": runs}, **given)


# ---- as text


def test_the_text_of_a_profile_has_scores_and_shares_above_five_of_them():
    text = profile_text({"A": [0.0, 3.0, 5.0], "B": [1.0, 6.0]})
    assert [line.split() for line in text.splitlines()] == [
        ["score", "of", "a", "run", "mean", "IQM", "min", "max"],
        ["A", "(3", "runs)", "2.667", "2.667", "0", "5"],
        ["B", "(2", "runs)", "3.5", "3.5", "1", "6"],
        [],
        ["share", "of", "runs", "above", "1", "2", "3", "4", "5"],
        ["A", "(3", "runs)", "0.67", "0.67", "0.33", "0.33", "0.00"],
        ["B", "(2", "runs)", "0.50", "0.50", "0.50", "0.50", "0.50"],
    ]


def test_the_text_of_an_improvement_is_shortened_to_the_columns():
    scores = {"a" * 40: SCORES["A"], "b" * 40: SCORES["B"]}
    line, note = improvement_text(scores, columns=100).splitlines()
    assert len(line) <= 100 and line.startswith("aaa") and "…" in line and " > bbb" in line
    assert note == "Fewer than 5 runs: intervals are too narrow."
    assert improvement_text(scores).startswith(f"{'a' * 40} > {'b' * 40}   probability 0.75   95%")


def test_runs_of_other_environments_are_not_compared(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", env="CartPole-v1")
    with pytest.raises(ConfigError, match="needs runs on the same environments"):
        compare({"a": tmp_path / "a", "b": tmp_path / "b"})


def test_a_comparison_needs_two_groups_and_a_known_one():
    with pytest.raises(ConfigError, match="needs two groups of runs or more; got 1: A"):
        compare({"A": [1.0]})
    with pytest.raises(ConfigError, match="against='C' is not a group; these are A, B"):
        compare(SCORES, against="C")
