"""benchmarks/gpu.py, which checks npr on a GPU, on the strict double of CuPy and with few cases."""

import json

from support import ROOT
from support.processes import DOUBLE, run

SCRIPT = str(ROOT / "benchmarks" / "gpu.py")
SECTIONS = ["machine", "ops", "updates", "bits", "files", "memory", "speed"]


def check(tmp_path, *options, path=(DOUBLE,)):
    return run(SCRIPT, "--out", str(tmp_path), "--small", *options, path=path)


def test_every_section_runs_on_the_double(tmp_path):
    done = check(tmp_path, "--sections", ",".join(SECTIONS), "--commit", "abc1234")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["commit"] == "abc1234"
    assert [*record["sections"]] == SECTIONS
    for section in record["sections"].values():
        assert section["wrong"] == []
    assert "CuPy" in record["sections"]["machine"]["0 machine cupy float32 1"]["device"]["name"]
    worst = record["sections"]["updates"]["1 updates cupy float32 1"]["DQN"]["optim"]
    assert 0 <= worst <= 1e-4
    assert str(ROOT) not in json.dumps(record), "a record is published"


def test_a_wrong_result_is_reported(tmp_path):
    """`exp` on the device is twice that on the host."""
    double = tmp_path / "double" / "cupy"
    double.mkdir(parents=True)
    double.joinpath("__init__.py").write_text(
        f"__path__.append({str(DOUBLE / 'cupy')!r})\n"
        f"exec(open({str(DOUBLE / 'cupy' / '__init__.py')!r}).read())\n"
        "exp_ = exp\n"
        "def exp(*args, **options):\n"
        "    return exp_(*args, **options) * 2\n"
    )
    done = check(tmp_path, "--sections", "ops", path=[double.parent])
    assert done.returncode == 1, done.stdout + done.stderr
    wrong = json.loads((tmp_path / "gpu.json").read_text())["sections"]["ops"]["wrong"]
    assert "1 ops cupy float32 1 > exp" in wrong
    assert "1 ops cupy float32 1 > add" not in wrong


def test_without_a_device_there_is_one_message(tmp_path):
    done = run(SCRIPT, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Nothing was checked. npr.errors.BackendError: NPR_BACKEND=cupy, but")
    assert not (tmp_path / "out").exists()


def test_an_unknown_section_is_refused(tmp_path):
    done = check(tmp_path, "--sections", "ops,nonsense")
    assert done.returncode == 2
    assert "sections are machine, ops, updates" in done.stderr
