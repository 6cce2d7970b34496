"""progress.csv, progress.jsonl, monitor.csv and log.txt."""

import csv
import json

import pytest

from npr.errors import ConfigError, ConfigWarning
from npr.loggers import Outputs, configure

NAN, INF = float("nan"), float("inf")
STEP = "time/total_timesteps"


def opened(*formats, folder="runs", step=0, episodes=0):
    outputs = Outputs(configure(folder, formats))
    outputs.open("SAC Pendulum-v1", {"env": "Pendulum-v1", "seed": 0}, step, episodes)
    return outputs


def text(name, folder="runs"):
    with open(f"{folder}/{name}", newline="") as file:
        return file.read()


def put(content, name, folder="runs"):
    with open(f"{folder}/{name}", "w", newline="") as file:
        file.write(content)


# ---- progress.csv


def test_a_row_of_values_is_a_line_of_progress_csv():
    outputs = opened("csv")
    outputs.write({"rollout/ep_rew_mean": -1.5, STEP: 10}, 10)
    assert text("progress.csv") == f"rollout/ep_rew_mean,{STEP}\n-1.5,10\n"
    outputs.close()


def test_a_new_key_gets_a_column_at_the_right_that_is_empty_before():
    outputs = opened("csv")
    outputs.write({"a": 1, STEP: 10}, 10)
    outputs.write({"c": 3, "b": 2, STEP: 20}, 20)
    outputs.write({"a": 4, STEP: 30}, 30)
    outputs.close()
    assert text("progress.csv") == f"a,{STEP},c,b\n1,10,,\n,20,3,2\n4,30,,\n"


def test_texts_are_empty_cells_and_numbers_that_are_not_finite_have_names():
    outputs = opened("csv")
    outputs.write({"a": "no episode finished yet", "b": NAN, "c": INF, "d": -INF, STEP: 1}, 1)
    outputs.close()
    assert text("progress.csv") == f"a,b,c,d,{STEP}\n,nan,inf,-inf,1\n"


def test_numbers_are_written_in_full():
    values = {"a": 0.1 + 0.2, "b": 1e-300, "c": 2**60}
    outputs = opened("csv")
    outputs.write(values, 1)
    outputs.close()
    (row,) = csv.DictReader(text("progress.csv").splitlines())
    assert {key: float(row[key]) for key in values} == values


def test_a_row_without_the_number_of_steps_gets_it():
    outputs = opened("csv", "jsonl")
    outputs.write({"a": 1}, 7)
    outputs.close()
    assert text("progress.csv") == f"a,{STEP}\n1,7\n"
    assert json.loads(text("progress.jsonl")) == {"a": 1, STEP: 7}


# ---- progress.jsonl


def test_a_row_of_values_is_a_json_object():
    outputs = opened("jsonl")
    outputs.write({"a": "no episode finished yet", "b": NAN, "c": -INF, "d": 0.5, STEP: 1}, 1)
    outputs.write({"a": 1.5, STEP: 2}, 2)
    outputs.close()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    lines = text("progress.jsonl").splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"b": None, "c": None, "d": 0.5, STEP: 1},
        {"a": 1.5, STEP: 2},
    ]


# ---- monitor.csv


def test_episodes_are_lines_of_monitor_csv():
    outputs = opened("monitor")
    outputs.episode(-1.23456789, 200, 0.5)
    outputs.episode(3, 7, 1.25)
    outputs.close()
    about, *lines = text("monitor.csv").splitlines()
    assert json.loads(about[1:])["env_id"] == "Pendulum-v1"
    assert lines == ["r,l,t", "-1.234568,200,0.5", "3.0,7,1.25"]


def test_success_is_a_column_once_the_environment_tells_it():
    outputs = opened("monitor")
    outputs.episode(1, 2, 3)
    outputs.episode(4, 5, 6, success=True)
    outputs.episode(7, 8, 9, success=False)
    outputs.episode(10, 11, 12)
    outputs.close()
    assert text("monitor.csv").splitlines()[1:] == [
        "r,l,t,is_success", "1.0,2,3.0,", "4.0,5,6.0,True", "7.0,8,9.0,False", "10.0,11,12.0,",
    ]  # fmt: skip


# ---- log.txt


def test_log_txt_has_the_title_and_tables():
    outputs = opened("log")
    outputs.write({"rollout/ep_rew_mean": -1.5}, 10)
    outputs.close()
    opened("log", step=10).close()
    title, *rows, continued = text("log.txt").splitlines()
    assert (title, continued) == ("SAC Pendulum-v1", "SAC Pendulum-v1, continued at step 10")
    assert "|    ep_rew_mean     | -1.5 |" in rows


# ---- runs that continue


def test_a_run_that_continues_drops_the_rows_after_its_step():
    outputs = opened("csv", "jsonl")
    for step in (10, 20, 30):
        outputs.write({"a": step / 7, STEP: step}, step)
    outputs.close()
    before = {name: text(name) for name in ("progress.csv", "progress.jsonl")}
    outputs = opened("csv", "jsonl", step=20)
    for name, content in before.items():
        assert text(name) == "".join(content.splitlines(True)[:-1])
    outputs.write({"a": 30 / 7, STEP: 30}, 30)
    outputs.close()
    assert {name: text(name) for name in before} == before


def test_a_run_that_continues_drops_a_line_that_was_cut_off():
    outputs = opened("csv", "jsonl", "monitor")
    outputs.write({"a": 1, STEP: 10}, 10)
    outputs.episode(1, 2, 3)
    outputs.close()
    for name in ("progress.csv", "progress.jsonl", "monitor.csv"):
        before = text(name)
        put(before + before.splitlines()[-1][:3], name)
        opened("csv", "jsonl", "monitor", step=10, episodes=2).close()
        assert text(name) == before


def test_rows_are_kept_byte_for_byte_however_they_were_written():
    opened("csv", "jsonl").close()
    table, lines = f"{STEP},a\n1e1,+0.50\n", f'{{"{STEP}" : 10, "a": 5.0e-1}}\n'
    put(f"{table}2e1,1\n", "progress.csv")
    put(f'{lines}{{"{STEP}": 20}}\n', "progress.jsonl")
    opened("csv", "jsonl", step=10).close()
    assert (text("progress.csv"), text("progress.jsonl")) == (table, lines)


def test_new_keys_may_come_after_a_run_has_continued():
    outputs = opened("csv")
    outputs.write({STEP: 10}, 10)
    outputs.close()
    outputs = opened("csv", step=10)
    outputs.write({STEP: 20, "a": 1}, 20)
    outputs.close()
    assert text("progress.csv") == f"{STEP},a\n10,\n20,1\n"


def test_monitor_csv_keeps_the_episodes_of_the_run_and_its_time_goes_on():
    outputs = opened("monitor")
    for i in range(3):
        outputs.episode(i, 10, 1.5 * (i + 1))
    outputs.close()
    outputs = opened("monitor", step=20, episodes=2)
    outputs.episode(5, 10, 0.25)
    outputs.close()
    assert text("monitor.csv").splitlines()[1:] == [
        "r,l,t", "0.0,10,1.5", "1.0,10,3.0", "5.0,10,3.25",
    ]  # fmt: skip


def test_monitor_csv_that_began_within_a_run_counts_the_episodes_before():
    outputs = opened("monitor", step=100, episodes=10)
    for i in range(3):
        outputs.episode(i, 10, i)
    outputs.close()
    opened("monitor", step=120, episodes=12).close()
    assert text("monitor.csv").splitlines()[2:] == ["0.0,10,0.0", "1.0,10,1.0"]


def test_a_column_of_successes_stays_when_a_run_continues():
    outputs = opened("monitor")
    outputs.episode(1, 2, 3, success=True)
    outputs.close()
    outputs = opened("monitor", step=2, episodes=1)
    outputs.episode(1, 2, 3)
    outputs.close()
    lines = text("monitor.csv").splitlines()[1:]
    assert lines == ["r,l,t,is_success", "1.0,2,3.0,True", "1.0,2,6.0,"]


def test_a_run_continues_without_files_of_its_beginning():
    outputs = opened("csv", "jsonl", "monitor", "log", step=10)
    outputs.write({"a": 1}, 20)
    outputs.close()
    assert text("progress.csv") == f"a,{STEP}\n1,20\n"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("progress.csv", "a,b\n1,2\n", "progress.csv has no column time/total_timesteps"),
        ("progress.jsonl", '{"a": 1}\n', "progress.jsonl does not begin with an object with time/"),
        ("progress.jsonl", "a,b\n", "progress.jsonl does not begin with an object with time/"),
        ("monitor.csv", "a,b\n1,2\n", "monitor.csv is no log of episodes of npr"),
        ("monitor.csv", "#{}\nr,l\n", "monitor.csv is no log of episodes of npr"),
        ("monitor.csv", "#[]\nr,l,t\n", "monitor.csv is no log of episodes of npr"),
    ],
)
def test_a_run_does_not_continue_another_kind_of_file(name, content, message):
    opened("log").close()
    put(content, name)
    with pytest.raises(ConfigError, match=message):
        opened("csv", "jsonl", "monitor", step=10)
    assert text(name) == content


def test_a_new_run_says_which_files_it_replaces():
    opened("csv", "monitor").close()
    with pytest.warns(
        ConfigWarning, match=r"A new run replaces what is logged in runs/monitor.csv. Give each run"
    ):
        opened("csv", "monitor").close()


# ---- folders and disks


def test_a_folder_that_cannot_be_made_is_an_error():
    put("", "file", ".")
    with pytest.raises(ConfigError, match=r"The folder \S+file/runs for progress.csv cannot be"):
        opened("csv", folder="file/runs")
