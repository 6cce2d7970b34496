"""Weights & Biases and MLflow in their offline modes, read back from their own stores."""

import glob
import sys

import pytest

from npr.errors import ConfigError
from npr.loggers import Outputs, configure

SETTINGS = {"algorithm": "SAC", "seed": 0, "net_arch": [8, 8], "env_kwargs": {"g": 9.8}}


def opened(name, step=0):
    outputs = Outputs(configure("runs", name))
    outputs.open("SAC Pendulum-v1", SETTINGS, step)
    return outputs


def write_rows(outputs, *steps):
    for step in steps:
        outputs.write({"a": step / 8, "rollout/ep_rew_mean": "no episode finished yet"}, step)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"needs the package {name} .*'npr-rl\[{name}\]'"):
        opened(name)


# ---- Weights & Biases


@pytest.fixture
def wandb(monkeypatch):
    for name, value in {"MODE": "offline", "SILENT": "true", "PROJECT": "test"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    module = pytest.importorskip("wandb")
    yield module
    module.teardown()  # ends its service process


def wandb_records(path):
    """Records of a file of an offline run: a log of LevelDB whose records are protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    with open(path, "rb") as file:
        data = file.read()
    at, part, records = 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(part))
            part = b""
    return records


def wandb_rows(records):
    """The logged rows, as {key: JSON text}."""
    return [
        {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]


def test_wandb_has_the_rows_and_settings_of_a_run_and_its_continuation(wandb):
    outputs = opened("wandb")
    write_rows(outputs, 10, 20)
    outputs.close()
    outputs = opened("wandb", step=20)
    write_rows(outputs, 30)
    outputs.close()
    assert wandb.run is None
    wandb.teardown()  # waits for the service process, which writes the files
    first, second = map(wandb_records, sorted(glob.glob("runs/wandb/offline-run-*/*.wandb")))
    runs = [next(r.run for r in part if r.HasField("run")) for part in (first, second)]
    assert runs[0].run_id == runs[1].run_id
    assert (runs[0].project, runs[0].display_name) == ("test", "SAC Pendulum-v1")
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert config["net_arch"] == "[8,8]" and config["algorithm"] == '"SAC"'
    rows = [(row["_step"], row["a"]) for row in wandb_rows(first) + wandb_rows(second)]
    assert rows == [("10", "1.25"), ("20", "2.5"), ("30", "3.75")]
    assert "rollout/ep_rew_mean" not in wandb_rows(first)[0]


def test_wandb_logs_to_the_run_that_is_active_and_leaves_it_open(wandb):
    run = wandb.init(dir=".", config={"seed": 5})
    outputs = opened("wandb")
    write_rows(outputs, 10)
    outputs.close()
    assert wandb.run is run and run.config["seed"] == 0
    run.finish()
    wandb.teardown()  # waits for the service process, which writes the file
    (path,) = glob.glob("wandb/offline-run-*/*.wandb")
    assert [row["a"] for row in wandb_rows(wandb_records(path))] == ["1.25"]


# ---- MLflow


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return pytest.importorskip("mlflow")


def test_mlflow_has_the_rows_and_settings_of_a_run_and_its_continuation(mlflow):
    outputs = opened("mlflow")
    write_rows(outputs, 10, 20)
    outputs.close()
    outputs = opened("mlflow", step=20)
    write_rows(outputs, 30)
    outputs.close()
    client = mlflow.MlflowClient("sqlite:///runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("npr").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "SAC Pendulum-v1")
    assert run.data.params == {
        "algorithm": "SAC", "seed": "0", "net_arch": "[8, 8]", "env_kwargs.g": "9.8",
    }  # fmt: skip
    assert set(run.data.metrics) == {"a", "time/total_timesteps"}
    history = client.get_metric_history(run.info.run_id, "a")
    assert [(m.step, m.value) for m in history] == [(10, 1.25), (20, 2.5), (30, 3.75)]


def test_mlflow_logs_to_the_run_that_is_active_and_leaves_it_open(mlflow):
    mlflow.set_tracking_uri("sqlite:///mine.db")
    try:
        with mlflow.start_run() as run:
            outputs = opened("mlflow")
            write_rows(outputs, 10)
            outputs.close()
            assert mlflow.active_run().info.run_id == run.info.run_id
        assert mlflow.get_run(run.info.run_id).data.metrics["a"] == 1.25
    finally:
        mlflow.set_tracking_uri(None)
