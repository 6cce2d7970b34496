"""Event files, read back by TensorBoard's own reader."""

import sys

import numpy as np
import pytest

from npr.errors import ConfigError, ConfigWarning, LogWarning
from npr.loggers import Outputs, configure

SETTINGS = {"algorithm": "SAC", "seed": 0, "env_kwargs": {"g": 9.8}}


def opened(step=0):
    outputs = Outputs(configure("runs", "tensorboard"))
    outputs.open("SAC Pendulum-v1", SETTINGS, step)
    return outputs


def accumulated():
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator("runs", size_guidance={reader.SCALARS: 0})
    return events.Reload()


def scalars(events):
    """Tag -> {step: value}."""
    tags = events.Tags()["scalars"]
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ConfigError, match=r"needs the package tensorboard .*npr-rl\[tensorboard\]"):
        opened()


def test_tensorboard_reads_all_tags_steps_and_values():
    pytest.importorskip("tensorboard")
    rng = np.random.default_rng(0)
    rows = {1000 * i: dict(zip("abcdefgh", rng.normal(0, 10.0**i, 8).tolist())) for i in range(9)}
    outputs = opened()
    for step, row in rows.items():
        outputs.write({**row, "rollout/ep_rew_mean": "no episode finished yet"}, step)
    outputs.close()
    read = scalars(accumulated())
    assert read.pop("time/total_timesteps") == {step: step for step in rows}
    assert read == {
        tag: {step: float(np.float32(row[tag])) for step, row in rows.items()} for tag in "abcdefgh"
    }


def test_numbers_that_are_not_finite_are_read_back():
    pytest.importorskip("tensorboard")
    outputs = opened()
    outputs.write({"a": float("nan"), "b": -float("inf")}, 1)
    outputs.close()
    read = scalars(accumulated())
    assert np.isnan(read["a"][1]) and read["b"] == {1: -np.inf}


def test_the_settings_are_a_text():
    pytest.importorskip("tensorboard")
    opened().close()
    (event,) = accumulated().Tensors("settings")
    assert event.tensor_proto.string_val[0].decode() == (
        "**SAC Pendulum-v1**\n\n|setting|value|\n|---|---|\n|algorithm|SAC|\n|seed|0|\n"
        "|env_kwargs.g|9.8|"
    )


@pytest.mark.parametrize("step, kept", [(20, [10, 20]), (25, [10, 20]), (0, [])])
def test_a_run_that_continues_drops_later_steps_of_the_files_before(step, kept):
    pytest.importorskip("tensorboard")
    outputs = opened()
    for at in (10, 20, 30, 40):
        outputs.write({"a": at}, at)
    outputs.close()
    if step:
        outputs = opened(step)
    else:
        with pytest.warns(ConfigWarning, match=r"replaces what is logged in runs/events.out.tfev"):
            outputs = opened(step)
    outputs.write({"a": -1}, 35)
    outputs.close()
    assert scalars(accumulated())["a"] == {**{at: at for at in kept}, 35: -1}


def test_files_of_one_second_are_in_the_order_of_their_names(monkeypatch):
    """The 10th file of a process would be read before the 9th."""
    module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(module, "_global_uid", module.AtomicCounter(9))
    outputs = opened()
    outputs.write({"a": 1}, 10)
    outputs.write({"a": 1}, 20)
    outputs.close()
    outputs = opened(step=10)
    outputs.write({"a": 2}, 15)
    outputs.close()
    assert scalars(accumulated())["a"] == {10: 1, 15: 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_a_full_disk_turns_the_output_off_and_closes_it(failing, monkeypatch):
    """The writer's thread meets the error; neither writing nor closing waits for it."""
    gfile = pytest.importorskip("tensorboard.compat.tensorflow_stub.io.gfile")
    append = gfile.LocalFileSystem.append

    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    outputs = opened()
    written = 0
    with pytest.warns(LogWarning, match=r"events.out.tfevents.*No space left") as caught:
        for step in range(30):
            method = full if step >= failing else append
            monkeypatch.setattr(gfile.LocalFileSystem, "append", method)
            outputs.write({"a": step}, step)
            written += step < failing
        outputs.close()
    assert len(caught) == 1
    assert scalars(accumulated()).get("a", {}) == {step: step for step in range(written)}
