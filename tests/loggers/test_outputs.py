"""Outputs by name, and outputs that fail."""

import io
import json
import os
import pathlib
import warnings

import pytest

import npr
from npr.errors import ConfigError, LogWarning
from npr.loggers import NAMES, Output, Outputs, configure
from npr.loggers.console import Console, table


def opened(*outputs, step=0):
    everything = Outputs(outputs)
    everything.open("SAC Pendulum-v1", {"env": "Pendulum-v1"}, step)
    return everything


# ---- configure


def test_outputs_are_chosen_by_name_and_an_output_is_kept():
    own = Output()
    outputs = configure(pathlib.Path("runs"), ["stdout", "log", "csv", own, "jsonl", "monitor"])
    assert [type(output).__name__ for output in outputs] == [
        "Console", "ConsoleFile", "CSVFile", "Output", "JSONLines", "Monitor",
    ]  # fmt: skip
    assert outputs[3] is own
    assert [output.path for output in outputs if output.path] == [
        os.path.join("runs", name)
        for name in ("log.txt", "progress.csv", "progress.jsonl", "monitor.csv")
    ]


def test_one_name_is_enough_and_the_working_folder_is_the_default():
    (output,) = configure(formats="csv")
    assert output.path == "progress.csv"


def test_the_name_of_stable_baselines3_for_json_lines_is_no_second_output():
    assert len(configure("runs", ["json", "jsonl", "json"])) == 1


@pytest.mark.parametrize(
    "name, message",
    [
        ("tensorbord", r"no log output 'tensorbord'; did you mean 'tensorboard'\?"),
        (
            "paper",
            r"no log output 'paper'; choose from stdout, log, csv, .* or pass an npr.loggers",
        ),
        (3, r"no log output 3; choose from stdout, log, csv, .* or pass an npr.loggers.Output"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        configure("runs", ["csv", name])


@pytest.mark.parametrize("formats", [3, None, [["csv"]]])
def test_what_is_no_name_is_refused(formats):
    with pytest.raises(ConfigError, match=r"There is no log output .*; choose from stdout"):
        configure("runs", formats)


def test_every_name_is_described():
    assert all(name in configure.__doc__ for name in NAMES)


def test_outputs_have_a_short_repr():
    assert repr(Outputs(configure("runs"))) == "Outputs(Console, CSVFile)"


# ---- the table


def test_a_table_has_the_values_in_groups():
    values = {
        "train/loss": 0.123456, "rollout/ep_rew_mean": "no episode finished yet",
        "time/total_timesteps": 1000, "own": 1, "a/b/c": 2.0, "rollout/ep_len_mean": 200.0,
    }  # fmt: skip
    assert table(values) == (
        "------------------------------------------------\n"
        "| own                | 1                       |\n"
        "| a/b/               |                         |\n"
        "|    c               | 2                       |\n"
        "| rollout/           |                         |\n"
        "|    ep_len_mean     | 200                     |\n"
        "|    ep_rew_mean     | no episode finished yet |\n"
        "| time/              |                         |\n"
        "|    total_timesteps | 1000                    |\n"
        "| train/             |                         |\n"
        "|    loss            | 0.1235                  |\n"
        "------------------------------------------------\n"
    )


def test_a_table_without_values_is_empty():
    assert table({}) == "-------\n-------\n"


def test_the_console_gets_tables(capsys):
    stream = io.StringIO()
    outputs = opened(Console(), Console(stream))
    outputs.write({"a": 1, "time/total_timesteps": 2}, 2)
    outputs.close()
    expected = table({"a": 1, "time/total_timesteps": 2})
    assert (capsys.readouterr().out, stream.getvalue()) == (expected, expected)


# ---- outputs that fail


class Calls(Output):
    """Notes its calls, and fails in some of them."""

    def __init__(self, *failing, error=None):
        self.failing, self.calls = failing, []
        self.error = error or ValueError("broken")

    def _called(self, name):
        self.calls.append(name)
        if name in self.failing:
            raise self.error

    def open(self, title, settings, step, episodes):
        self._called("open")

    def write(self, values, step):
        self._called("write")

    def episode(self, r, l, t, success):
        self._called("episode")

    def close(self):
        self._called("close")


@pytest.mark.parametrize("failing", ["open", "write", "episode", "close"])
def test_an_output_that_fails_is_turned_off_with_one_warning(failing):
    broken, sound = Calls(failing), Calls()
    with pytest.warns(LogWarning) as caught:
        outputs = opened(broken, sound)
        for _ in range(3):
            outputs.write({}, 1)
            outputs.episode(1.0, 2, 3.0)
        outputs.close()
    assert [str(warning.message) for warning in caught] == [
        "Logging to Calls is off for the rest of this run, after ValueError: broken. What was "
        "written before remains, and training continues."
    ]
    assert broken.calls[-2:] == [failing, "close"]
    assert sound.calls == ["open", *["write", "episode"] * 3, "close"]


def test_an_output_that_fails_again_when_it_is_closed_warns_once():
    broken = Calls("write", "close", error=ConfigError("broken"))
    with pytest.warns(LogWarning) as caught:
        outputs = opened(broken)
        outputs.write({}, 1)
        outputs.close()
    assert len(caught) == 1


def test_the_next_run_tries_an_output_again():
    broken = Calls("write")
    outputs = opened(broken)
    for _ in range(2):
        with pytest.warns(LogWarning):
            outputs.write({}, 1)
        outputs.open("SAC Pendulum-v1", {})
    assert broken.calls == ["open", "write", "close"] * 2 + ["open"]


def test_an_error_of_configuration_stops_the_opening_and_closes_the_others():
    first, broken = Calls(), Calls("open", error=ConfigError("needs a package"))
    with pytest.raises(ConfigError, match="needs a package"):
        opened(first, broken)
    assert first.calls == ["open", "close"]


def test_an_interrupt_is_not_caught():
    outputs = opened(Calls("write", error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        outputs.write({}, 1)


def test_a_row_before_the_run_has_begun_is_an_error():
    (output,) = configure(None, "csv")
    with pytest.raises(
        ConfigError, match=r"progress.csv is not open: a run opens its outputs when"
    ):
        output.write({"a": 1}, 1)


# ---- full disks

FILES = ("progress.csv", "progress.jsonl", "monitor.csv", "log.txt")
needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


@needs_dev_full
@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_is_full_from_the_start_turns_an_output_off(name):
    os.symlink("/dev/full", name)
    with pytest.warns(LogWarning, match=rf"to {name} is off .* No space left") as caught:
        outputs = opened(*configure(None, ["csv", "jsonl", "monitor", "log"]))
        for step in range(1, 4):
            outputs.write({"a": step}, step)
            outputs.episode(step, step, step)
        outputs.close()
    assert len(caught) == 1
    others = [other for other in FILES if other != name]
    assert all(pathlib.Path(other).read_text().count("\n") >= 3 for other in others)


@pytest.fixture
def small_disk():
    """A limit for the size of files, as set by its argument; the rest of a line does not fit."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", range(150, 190, 8))
def test_files_end_with_a_whole_line_when_the_disk_gets_full(size, small_disk):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outputs = opened(*configure(None, ["csv", "jsonl", "monitor"]))
        small_disk(size)
        for step in range(30):
            outputs.write({"a": step / 7, "time/total_timesteps": step}, step)
            outputs.episode(step, step, step)
        outputs.close()
    assert [warning.category for warning in caught] == [LogWarning] * 3
    text = {name: pathlib.Path(name).read_text() for name in FILES[:3]}
    assert all(content.endswith("\n") and len(content) <= size for content in text.values())
    header, *rows = text["progress.csv"].splitlines()
    assert rows == [f"{step / 7},{step}" for step in range(len(rows))] and rows
    lines = text["progress.jsonl"].splitlines()
    assert [json.loads(line)["a"] for line in lines] == [step / 7 for step in range(len(lines))]
    about, _, *episodes = text["monitor.csv"].splitlines()
    assert episodes == [f"{step}.0,{step},{step}.0" for step in range(len(episodes))] and episodes


def test_a_new_column_that_does_not_fit_leaves_the_file_as_it_was(small_disk):
    outputs = opened(*configure(None, "csv"))
    outputs.write({"a": 1, "time/total_timesteps": 1}, 1)
    before = pathlib.Path("progress.csv").read_text()
    small_disk(len(before))
    with pytest.warns(LogWarning, match=r"to progress.csv is off for the rest of this run, after"):
        outputs.write({"b": 1, "time/total_timesteps": 2}, 2)
    assert os.listdir() == ["progress.csv"]
    assert pathlib.Path("progress.csv").read_text() == before


def test_the_warning_is_a_name_of_npr():
    assert npr.LogWarning is LogWarning
