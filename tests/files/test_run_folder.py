"""Reading of run folders of npr and of Stable-Baselines3."""

import json

import numpy as np
import pytest
from support.run_folders import evaluations, monitor, progress, write_run

from npr.errors import CheckpointError, ConfigError, ConfigWarning
from npr.files.run_folder import is_run, read


def test_a_run_folder_is_read_as_it_was_written(tmp_path):
    folder = write_run(
        tmp_path / "run", seed=3, settings={"gamma": 0.9}, returns=[-5.0, 2.5], lengths=[10, 20],
        rows={"time/total_timesteps": [10, 30], "train/loss": [0.5, 0.25]},
        evaluated=([10, 20], [[1.0, 3.0], [2.0, 4.0]]),
    )  # fmt: skip
    data = read(folder)
    assert (data.folder, data.env, data.config["seed"]) == (str(folder), "Pendulum-v1", 3)
    assert data.monitor["r"].tolist() == [-5, 2.5]
    assert data.monitor["l"].tolist() == [10, 20]
    assert data.monitor["t"].tolist() == [0.5, 1.0]
    assert data.progress["train/loss"].tolist() == [0.5, 0.25]
    assert data.evaluations["timesteps"].tolist() == [10, 20]
    assert data.evaluations["results"].tolist() == [[1, 3], [2, 4]]


def test_the_files_of_a_logged_run_are_read(tmp_path):
    """What the log outputs write, without a config.json."""
    from support.small_agents import small_agent

    agent = small_agent("QLearning").learn(120, log=["csv", "monitor"], log_dir=tmp_path)
    data, rows = read(tmp_path), agent.logger.history.rows()
    assert data.env == "CliffWalking-v1"
    np.testing.assert_allclose(data.monitor["r"], rows[:, 1])
    np.testing.assert_allclose(data.monitor["l"].cumsum(), rows[:, 0])
    assert data.progress["time/total_timesteps"][-1] <= 120


def test_a_folder_may_have_a_monitor_only(tmp_path):
    monitor(tmp_path / "monitor.csv", [1.0], [5])
    data = read(tmp_path)
    assert (data.config, data.progress, data.evaluations) == ({}, {}, {})
    assert data.env == "Pendulum-v1" and data.monitor["r"].tolist() == [1]


def test_a_folder_may_have_evaluations_only(tmp_path):
    evaluations(tmp_path / "evaluations.npz", [5], [[1.0, 2.0]])
    assert read(tmp_path).evaluations["results"].tolist() == [[1, 2]]


def test_episodes_of_several_monitors_are_merged_by_the_time_of_their_ends(tmp_path):
    """The second begins two seconds later; t is then counted from the first."""
    monitor(tmp_path / "0.monitor.csv", [1.0, 2.0], [5, 6], seconds=[1.0, 4.0], start=100.0)
    monitor(tmp_path / "1.monitor.csv", [3.0, 4.0], [7, 8], seconds=[1.0, 1.5], start=102.0)
    data = read(tmp_path)
    assert data.monitor["r"].tolist() == [1, 3, 4, 2]
    assert data.monitor["l"].tolist() == [5, 7, 8, 6]
    assert data.monitor["t"].tolist() == [1, 3, 3.5, 4]


@pytest.mark.parametrize("rest", ["", "7", "7,5", "7,5,0.3"])
def test_a_last_row_without_its_end_is_left_out(tmp_path, rest):
    path = monitor(tmp_path / "monitor.csv", [1.0, 2.0], [5, 6])
    path.write_text(path.read_text() + rest)
    assert read(tmp_path).monitor["r"].tolist() == [1, 2]


def test_rows_of_another_length_are_left_out_with_a_warning(tmp_path):
    path = monitor(tmp_path / "monitor.csv", [1.0], [5])
    path.write_text(path.read_text() + "3,4\n7,5,0.3\n")
    with pytest.warns(ConfigWarning, match="1 of 3 rows do not have the 3 columns"):
        data = read(tmp_path)
    assert data.monitor["r"].tolist() == [1, 7]


def test_a_monitor_that_begins_within_a_run_says_so(tmp_path):
    path = monitor(tmp_path / "monitor.csv", [1.0], [5])
    head, _, rows = path.read_text().partition("\n")
    about = {**json.loads(head[1:]), "episodes_before": 12}
    path.write_text(f"#{json.dumps(about)}\n{rows}")
    with pytest.warns(ConfigWarning, match="does not have the first 12 episodes"):
        read(tmp_path)


def test_cells_that_are_no_numbers_are_nan_and_those_of_success_are_0_or_1(tmp_path):
    path = tmp_path / "progress.csv"
    path.write_text("a,b,c\n1,,no episode finished yet\n2,inf,True\n")
    held = read(tmp_path).progress
    np.testing.assert_array_equal(held["a"], [1, 2])
    np.testing.assert_array_equal(held["b"], [np.nan, np.inf])
    np.testing.assert_array_equal(held["c"], [np.nan, 1])


def test_empty_files_have_no_columns_and_no_rows(tmp_path):
    write_run(tmp_path, returns=[], lengths=[])
    (tmp_path / "progress.csv").write_text("")
    data = read(tmp_path)
    assert data.progress == {} and data.monitor["r"].shape == (0,)


def test_a_folder_that_is_missing_or_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="is not a run folder: it has none of config.json"):
        read(tmp_path)
    assert not is_run(tmp_path)
    progress(tmp_path / "progress.csv", {"a": [1]})
    assert is_run(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [("{", "config.json is not valid JSON"), ("[1]", "must hold an object, got list"),
     ("[" * 100_000, "config.json is not valid JSON"),
     ('{"algorithm": ["x"]}', "algorithm must be a text or null")],
)  # fmt: skip
def test_an_invalid_config_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path)


def test_a_monitor_without_its_columns_is_refused(tmp_path):
    (tmp_path / "monitor.csv").write_text('#{"env_id": "x"}\nr,l\n1,2\n')
    with pytest.raises(ConfigError, match="needs the columns r, l and t, and has r, l"):
        read(tmp_path)


def test_evaluations_that_are_no_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(1), results=np.array([object()]))
    with pytest.raises(CheckpointError, match="not a file of evaluations"):
        read(tmp_path)
