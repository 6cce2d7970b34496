"""Which runs are drawn as one group, and the curve of a run."""

import numpy as np
import pytest
from support.run_folders import monitor, write_run

from npr.errors import ConfigError, ConfigWarning
from npr.files.run_folder import read
from npr.plot.groups import curve, resolve, series, text


def labels(runs):
    return {group.title: [run.seed for run in group.runs] for group in resolve(runs)}


def folders(path, **runs):
    """name -> arguments of write_run; returns the folder of all."""
    for name, arguments in runs.items():
        write_run(path / name, **arguments)
    return path


# ---- groups


def test_runs_that_differ_in_the_seed_only_are_one_group(tmp_path):
    root = folders(tmp_path, a={"seed": 0}, b={"seed": 1}, c={"seed": 2})
    assert labels(root) == {"SAC (3 seeds)": [0, 1, 2]}


def test_runs_are_grouped_by_the_settings_that_differ(tmp_path):
    root = folders(
        tmp_path,
        a={"seed": 0, "settings": {"learning_rate": 1e-3, "gamma": 0.99, "net_arch": [8]}},
        b={"seed": 1, "settings": {"learning_rate": 1e-3, "gamma": 0.99, "net_arch": [8]}},
        c={"seed": 0, "settings": {"learning_rate": 3e-4, "gamma": 0.99, "net_arch": [8]}},
    )
    assert labels(root) == {
        "SAC, learning_rate=0.001 (2 seeds)": [0, 1],
        "SAC, learning_rate=0.0003 (1 seed)": [0],
    }


def test_how_much_a_run_prints_makes_no_groups(tmp_path):
    root = folders(
        tmp_path, a={"seed": 0, "settings": {"verbose": 1}}, b={"seed": 1, "settings": {}}
    )
    assert labels(root) == {"SAC (2 seeds)": [0, 1]}


def test_settings_are_compared_within_an_algorithm_only(tmp_path):
    root = folders(
        tmp_path,
        a={"algorithm": "SAC", "settings": {"learning_rate": 1e-3}},
        b={"algorithm": "PPO", "settings": {"learning_rate": 3e-4, "n_steps": 8}},
    )
    assert [*labels(root)] == ["SAC (1 seed)", "PPO (1 seed)"]


def test_environments_are_groups_and_their_arguments_settings(tmp_path):
    root = folders(tmp_path, a={}, b={"env": "CartPole-v1"})
    assert [group.envs for group in resolve(root)] == [["Pendulum-v1"], ["CartPole-v1"]]
    folders(tmp_path, b={"env_kwargs": {"g": 9}})
    assert [*labels([read(root / name) for name in "ab"])] == [
        "SAC (1 seed)",
        "SAC, env_kwargs={g=9} (1 seed)",
    ]


def test_a_run_without_the_curve_changes_no_label(tmp_path):
    """Such as one that failed before its settings were resolved: its config.json has few."""
    full = {"learning_rate": 1e-3, "gamma": 0.99}
    root = folders(
        tmp_path, a={"seed": 0, "settings": full}, b={"seed": 1, "settings": full},
        failed={"settings": {"gamma": 0.5, "net_arch": [8]}, "returns": []},
    )  # fmt: skip
    with pytest.warns(ConfigWarning, match="failed has no finished episodes.*It is left out"):
        (group,) = resolve(root, "steps", "return")
    assert group.title == "SAC (2 seeds)"


def test_a_setting_that_a_run_does_not_name_makes_no_groups(tmp_path):
    root = folders(tmp_path, a={"seed": 0, "settings": {"gamma": 0.9}}, b={"seed": 1})
    assert labels(root) == {"SAC (2 seeds)": [0, 1]}


def test_wrappers_are_named_by_their_classes_or_in_full_if_these_are_equal(tmp_path):
    root = folders(
        tmp_path, a={}, b={"wrappers": ["mine:Scale", "other:Clip"]}, c={"wrappers": ["mine:Clip"]}
    )
    assert [*labels(root)] == [
        "SAC (1 seed)", "SAC, wrappers=Scale+Clip (1 seed)", "SAC, wrappers=Clip (1 seed)",
    ]  # fmt: skip
    folders(tmp_path, b={"wrappers": ["other:Clip"]})
    assert [*labels(root)][1:] == [
        "SAC, wrappers=other:Clip (1 seed)", "SAC, wrappers=mine:Clip (1 seed)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("env_kwargs", {"map": "8x8", "slow": True}, "{map=8x8, slow=true}"),
        ("net_arch", [8, 8], "[8, 8]"),
        ("alpha", None, "none"),
        ("learning_rate", 0.0003, "0.0003"),
    ],
)
def test_values_are_shown_as_they_are_typed(name, value, shown):
    assert text(name, value) == shown


def test_runs_with_the_same_seed_are_counted_as_runs(tmp_path):
    root = folders(tmp_path, a={"seed": 0}, b={"seed": 0})
    assert labels(root) == {"SAC (2 runs)": [0, 0]}


def test_a_dict_defines_the_groups(tmp_path):
    root = folders(tmp_path, a={}, b={"algorithm": "PPO"})
    assert [*labels({"all": [root / "a", root / "b"], "one": str(root / "a")})] == [
        "all (2 runs)", "one (1 seed)",
    ]  # fmt: skip


def test_patterns_are_sorted_by_number(tmp_path):
    root = folders(tmp_path, **{f"x_seed{n}": {"seed": n} for n in (10, 2, 1)})
    assert labels(f"{root}/x_*") == {"SAC (3 seeds)": [1, 2, 10]}


def test_folders_of_another_library_are_grouped_by_name(tmp_path):
    for name in ("sac_seed0", "sac_seed1", "ppo"):
        (tmp_path / name).mkdir()
        monitor(tmp_path / name / "monitor.csv", [1.0], [10])
    assert [*labels(tmp_path)] == ["ppo (1 run)", "sac (2 runs)"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder .*nothing"):
        resolve(str(tmp_path / "nothing*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file; runs are folders"):
        resolve(tmp_path / "file")
    with pytest.raises(ConfigError, match="Runs are folders, patterns .*; got 3"):
        resolve([3])
    with pytest.raises(ConfigError, match=r"There are no runs in \[\]"):
        resolve([])


# ---- the curve of a run


@pytest.fixture
def run(tmp_path):
    """Episodes of 10, 20 and 30 steps that end after 0.5, 1 and 1.5 seconds."""
    write_run(
        tmp_path, returns=[1.0, 3.0, 8.0], lengths=[10, 20, 30],
        rows={
            "time/total_timesteps": [30, 60], "time/time_elapsed": [1.25, 2.25],
            "train/loss": [5.0, 4.0], "train/empty": ["", ""], "train/late": ["", 7.0],
        },
        evaluated=([20, 60], [[1.0, 3.0], [5.0, 9.0]]),
    )  # fmt: skip
    return resolve(tmp_path)[0].runs[0]


@pytest.mark.parametrize(
    "x, expected", [("steps", [10, 30, 60]), ("seconds", [0.5, 1, 1.5]), ("episodes", [1, 2, 3])]
)
def test_returns_stand_at_the_ends_of_their_episodes(run, x, expected):
    xs, ys = series(run, x, "return", 2)
    assert (xs.tolist(), ys.tolist()) == (expected, [1, 2, 5.5])


def test_lengths_are_a_curve_too(run):
    assert series(run, "steps", "length", 1)[1].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    "x, expected", [("steps", [20, 60]), ("seconds", [0.75, 1.5]), ("episodes", [1.5, 3])]
)
def test_an_evaluation_is_the_mean_of_its_episodes(run, x, expected):
    """Its time is between those of the episodes around it."""
    xs, ys = series(run, x, "evaluation", 10)
    assert (xs.tolist(), ys.tolist()) == (expected, [2, 7])


@pytest.mark.parametrize(
    "x, expected", [("steps", [30, 60]), ("seconds", [1.25, 2.25]), ("episodes", [2, 3])]
)
def test_logged_values_have_the_x_of_their_row(run, x, expected):
    xs, ys = series(run, x, "train/loss", 10)
    assert (xs.tolist(), ys.tolist()) == (expected, [5, 4])


def test_rows_without_a_number_are_left_out(run):
    assert [one.tolist() for one in series(run, "steps", "train/late", 1)] == [[60], [7]]


def test_a_curve_that_a_run_does_not_have_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="no values of 'train/los'. It can be one of return, len"):
        series(run, "steps", "train/los", 1)
    with pytest.raises(ConfigError, match="no numbers of 'train/empty' in progress.csv"):
        series(run, "steps", "train/empty", 1)
    with pytest.raises(ConfigError, match="x must be one of steps, seconds, episodes; got 'time'"):
        series(run, "time", "return", 1)
    run.evaluations = {}
    with pytest.raises(ConfigError, match="has no evaluations. Evaluate during the training"):
        series(run, "steps", "evaluation", 1)
    run.progress = {"train/loss": np.ones(2)}
    with pytest.raises(ConfigError, match="no column time/total_timesteps"):
        series(run, "steps", "train/loss", 1)


def test_a_run_without_episodes_has_no_returns_and_no_seconds(tmp_path):
    write_run(tmp_path, returns=[], evaluated=([5], [[1.0]]))
    run = resolve(tmp_path)[0].runs[0]
    with pytest.raises(ConfigError, match="no finished episodes, so no return of one"):
        series(run, "steps", "return", 1)
    with pytest.raises(ConfigError, match="so its seconds are not known. Use x='steps'"):
        series(run, "seconds", "evaluation", 1)
    assert series(run, "steps", "evaluation", 1)[1].tolist() == [1]


# ---- the curve of a group


def curve_of(runs, center="mean", interval=0.95, points=5, normalize=None, smooth=1):
    (group,) = resolve(runs)
    return curve(group, "steps", "return", smooth, center, interval, points, normalize)


def test_the_curve_of_a_group_is_the_center_of_its_runs(tmp_path):
    root = folders(
        tmp_path, a={"returns": [0.0, 4.0]}, b={"returns": [2.0, 6.0]}, c={"returns": [7.0, 2.0]}
    )
    found = curve_of(root)
    assert found.x.tolist() == [10, 20]
    assert found.each.tolist() == [[0, 4], [2, 6], [7, 2]]
    assert found.center.tolist() == [3, 4]
    assert found.low[0] == 0 and found.high[0] == 7


def test_runs_with_other_ends_of_episodes_are_interpolated(tmp_path):
    root = folders(
        tmp_path,
        a={"returns": [0.0, 4.0], "lengths": [10, 20]},
        b={"returns": [1.0, 5.0], "lengths": [20, 10]},
    )
    found = curve_of(root, points=3)
    assert found.x.tolist() == [20, 25, 30]
    assert found.each.tolist() == [[2, 3, 4], [1, 3, 5]]


def test_one_run_has_no_interval(tmp_path):
    found = curve_of(write_run(tmp_path))
    assert found.low is None and found.high is None


def test_a_curve_ends_where_its_shortest_run_ends_with_a_warning(tmp_path):
    root = folders(tmp_path, a={"returns": [1.0] * 4}, b={"returns": [1.0] * 2})
    with pytest.warns(ConfigWarning, match="ends at 20 steps, where .*b ends; the longest .* 40"):
        assert curve_of(root).x[-1] == 20


def test_normalized_returns_are_0_and_1_at_the_two_scores(tmp_path):
    root = folders(tmp_path, a={"returns": [-10.0, 30.0, 110.0]})
    scores = {"Pendulum-v1": (-10, 90)}
    assert curve_of(root, normalize=scores).center.tolist() == [0, 0.4, 1.2]
    with pytest.raises(ConfigError, match="normalize has no scores for Pendulum-v1; it has A"):
        curve_of(root, normalize={"A": (0, 1)})
    with pytest.raises(ConfigError, match=r"must be two different numbers, got \(3, 3\)"):
        curve_of(root, normalize={"Pendulum-v1": (3, 3)})


def test_returns_of_different_environments_are_averaged_with_a_warning(tmp_path):
    root = folders(tmp_path, a={}, b={"env": "CartPole-v1"})
    with pytest.warns(ConfigWarning, match="the mean is over CartPole-v1, Pendulum-v1"):
        curve_of({"both": root})


def test_an_unknown_center_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="center must be one of mean, iqm; got 'median'"):
        curve_of(write_run(tmp_path), center="median")
