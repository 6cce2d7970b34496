"""benchmarks/gpu.py, which checks npr on a GPU, on the strict double of CuPy and with few cases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, cuda
from support.processes import DOUBLE, run

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu
import gpu_page

SCRIPT = str(ROOT / "benchmarks" / "gpu.py")
SECTIONS = [name for name, section in gpu.SECTIONS.items() if section.on_double]


def check(tmp_path, *options, path=()):
    # other tests may run beside it: its limits are for a GPU
    time = ("--minutes", "60")
    return run(SCRIPT, "--double", "--out", str(tmp_path), *time, *options, path=path, seconds=900)


def record_in(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


@cuda.needs_compiler
@pytest.mark.slow
def test_every_section_runs_on_the_double(tmp_path):
    done = check(tmp_path, "--commit", "abc1234")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("No GPU code runs")
    assert last.startswith("Nothing is wrong")
    record = record_in(tmp_path)
    assert record["device"] == "double"
    assert [*record["sections"]] == SECTIONS
    for section in record["sections"].values():
        assert section["wrong"] == [] and section["commit"] == "abc1234" and section["date"]
        assert section["jobs"]
    jobs = {name: section["jobs"] for name, section in record["sections"].items()}
    assert "CuPy" in jobs["machine"]["0 machine cupy graph float32"]["device"]["name"]
    worst = jobs["updates"]["1 updates cupy graph float32"]["DQN"]["optim"]
    assert 0 <= worst <= 1e-4
    assert jobs["bits"]["1 bits cupy eager float32"]["DQN"]["runs"] == 5, "one of another process"
    for mode, graphs in (("graph", 1), ("plain", 0)):
        (found,) = (job for name, job in jobs["speed"].items() if mode in name)
        counts = found["launches, SAC, batch 32, width 32"]
        assert counts["graph launches"] == graphs and counts["kernels"] > 10
        assert counts["uploads"] == 1 and counts["downloads"] == counts["synchronizations"] == 0
    assert str(ROOT) not in json.dumps(record), "a record is published"
    (path,) = tmp_path.glob("*.json")
    text = "\n".join(gpu_page.results(gpu_page.Record(path)))
    for title in ("Results equal those of NumPy", "Bits and memory", "Time of an update",
                  "Mean reward", "learn(): environment"):  # fmt: skip
        assert f"### {title}" in text, "the page finds what the jobs write"
    assert "| SAC, batch 32, width 32 | own kernels, graphs |" in text


@cuda.needs_compiler
def test_a_wrong_result_is_reported_and_a_record_keeps_its_other_sections(tmp_path):
    """`exp` on the device is twice that on the host."""
    double, out = tmp_path / "double" / "cupy", tmp_path / "out"
    double.mkdir(parents=True)
    double.joinpath("__init__.py").write_text(
        f"__path__ = [{str(DOUBLE / 'cupy')!r}]\n"
        f"exec(open({str(DOUBLE / 'cupy' / '__init__.py')!r}).read())\n"
        "exp_ = exp\n"
        "def exp(*args, **options):\n"
        "    return exp_(*args, **options) * 2\n"
    )
    done = check(out, "--section", "ops", "--section", "machine", path=[double.parent])
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "WRONG: ops"
    wrong = record_in(out)["sections"]["ops"]["wrong"]
    assert "0 ops cupy graph float32 > exp" in wrong
    assert "0 ops cupy graph float32 > add" not in wrong
    done = check(out, "--sections", "ops")
    assert done.returncode == 0, done.stdout + done.stderr
    sections = record_in(out)["sections"]
    assert sections["ops"]["wrong"] == [] and "machine" in sections


def test_without_a_device_there_is_one_message(tmp_path):
    done = run(SCRIPT, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Nothing was checked. npr.errors.BackendError: NPR_BACKEND=cupy, but")
    assert not (tmp_path / "out").exists()


def test_an_unknown_section_is_refused(tmp_path):
    done = check(tmp_path, "--sections", "ops,nonsense")
    assert done.returncode == 2
    assert "sections are machine, kernels, updates" in done.stderr


# ---- jobs that do not end as they should


@pytest.fixture
def one_job(tmp_path, monkeypatch):
    """A section of jobs, the second of which is given; returns its results."""

    def run_it(source, seconds, names=("first", "second", "third")):
        script = tmp_path / "benchmarks" / "gpu_jobs.py"
        script.parent.mkdir()
        script.write_text(
            "import json, sys, time\n"
            "job, path = sys.argv[1:3]\n"
            "open(path, 'w').write(json.dumps({'case': {'us': 1}}))\n"
            f"if job == 'second': {source}\n"
        )
        monkeypatch.setattr(gpu, "ROOT", tmp_path)
        jobs = [gpu.Job(name, "cupy", "graph") for name in names]
        section = gpu.Section("", seconds, gpu._alone(*jobs))
        monkeypatch.setitem(gpu.SECTIONS, "alone", section)
        runner = gpu.Runner(tmp_path, double=False)
        assert gpu.check(runner, "NVIDIA H0", ["alone"], seconds, tmp_path / "out", None) == 1
        (path,) = (tmp_path / "out").iterdir()
        assert path.name.endswith("-h0.json")
        return json.loads(path.read_text())["sections"]["alone"]

    return run_it


@pytest.mark.slow
def test_a_job_that_is_cut_off_keeps_its_results(one_job, capsys):
    section = one_job("time.sleep(60)", 12, ["first", "second"])
    assert section["wrong"] == ["1 second cupy graph float32 > process"]
    first, second = section["jobs"].values()
    assert first["case"] == second["case"] == {"us": 1}
    assert second["process"]["error"].startswith("cut off after ")
    out = capsys.readouterr().out
    assert "wrong: 1 second" in out and out.endswith("WRONG: alone\n")
    assert "The record has no times of SAC." in out


def test_a_job_that_fails_does_not_stop_the_others(one_job):
    section = one_job("raise SystemExit('no memory')", 60)
    first, second, third = section["jobs"].values()
    assert first["case"] == third["case"]
    assert second["process"]["error"] == "exit status 1\nno memory\n"


def test_what_is_skipped_is_said():
    tree = {"job": {"a": {"skipped": "slow"}, "b": {"skipped": "slow"}, "c": {"us": 1}}}
    text = gpu.summary("speed", {"jobs": tree, "wrong": []}, 1.0)
    assert "speed: time of an update, and what it launches: ok, 1.0 s" in text
    assert "skipped: job > a and 1 more: slow" in text
    alone = {"job": {"skipped": "PyTorch is not installed"}}
    assert ": skipped, 1.0 s" in gpu.summary("torch", {"jobs": alone, "wrong": []}, 1.0)


FAKE_RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import gpu
gpu.ROOT = Path({folder!r})
jobs = [gpu.Job(name, "cupy", "graph") for name in ("first", "second", "third")]
gpu.SECTIONS["three"] = gpu.Section("", 60, gpu._alone(*jobs))
runner = gpu.Runner(gpu.ROOT, double=False)
sys.exit(gpu.check(runner, "NVIDIA H0", ["three"], 120, gpu.ROOT / "out", None))
"""
FAKE_JOB = """
import json, os, sys, time
job, path = sys.argv[1:3]
open(path, "w").write(json.dumps({"case": {"us": 1}}))
if job == "second":
    print("a line of the job")
    open(path + ".pid.part", "w").write(str(os.getpid()))
    os.rename(path + ".pid.part", path + ".pid")
    time.sleep(120)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="groups of processes are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_cut_ends_its_jobs_and_keeps_what_they_found(tmp_path, number):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "gpu_jobs.py").write_text(FAKE_JOB)
    code = FAKE_RUN.format(benchmarks=str(ROOT / "benchmarks"), folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        pid = tmp_path / "three 1.json.pid"
        while not pid.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(number)
        out, said = process.communicate()
    (path,) = (tmp_path / "out").iterdir()
    name = signal.Signals(number).name
    assert said == "" and process.returncode == 128 + number
    assert out == f"cut by {name}; the record is {path}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    first, second, third = json.loads(path.read_text())["sections"]["three"]["jobs"].values()
    assert first["case"] == second["case"] == {"us": 1}
    assert second["process"] == third == {"skipped": f"cut by {name}"}


def test_a_run_without_time_has_checked_nothing(tmp_path):
    done = check(tmp_path, "--sections", "machine,ops", "--minutes", "0.01")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Nothing was checked; skipped: machine, ops."


@pytest.mark.parametrize(
    ("jobs", "nothing"),
    [
        ({"0 ops numpy float32": {"add": {}}, "1 ops cupy graph": {"skipped": "late"}}, True),
        ({"0 ops cupy graph": {"add": {"skipped": "late"}, "summary": "", "seconds": 1.0}}, True),
        ({"0 ops cupy graph": {"process": {"skipped": "cut"}}}, True),
        ({"0 ops cupy graph": {"add": {"worst": 0.0}, "exp": {"skipped": "late"}}}, False),
        ({"0 torch_speed numpy": {"case": {"us": 1.0}}}, False),
    ],
)
def test_whether_a_section_has_checked_anything(jobs, nothing):
    assert gpu.nothing_ran(jobs) is nothing


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", ["The process that looks for the device died by "
                                                "signal 9."]),
        ("import sys; print('\\n'.join(map(str, range(20))), file=sys.stderr); sys.exit(1)",
         ["This failed:", *map(str, range(10, 20))]),
        ("raise SystemExit(3)", ["This failed:", "No reason is known."]),
        ("import time; time.sleep(60)", ["The device did not answer within 1 s."]),
    ],
)  # fmt: skip
def test_why_a_device_cannot_be_used(source, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "DEVICE_NAME", source)
    monkeypatch.setattr(gpu, "DEVICE_SECONDS", 1 if "sleep" in source else 60)
    device, text = gpu.Runner(tmp_path, double=False).device()
    assert device is None and text.splitlines() == reason


def test_jobs_without_the_results_that_they_need(tmp_path):
    """Costs that were skipped, and updates whose NumPy job was cut."""
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu_checks, gpu_jobs, gpu_report
from pathlib import Path
cases = {{"device": {{"name": "H0"}}, "costs": {{"skipped": "no time was left"}}}}
assert gpu_jobs.summary_of(cases) == "H0, 0 own sources compiled in 0.0 s; ", "costs"
report = gpu_report.Report(Path({str(tmp_path / "report.json")!r}), time.time() + 1_000)
gpu_checks.updates(report)
assert report.cases["DQN"] == {{"skipped": "the host has no result for it"}}, report.cases
"""
    done = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_gpu_installs_nothing_but_wheels_that_are_there(tmp_path):
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def recipe(*options):
        command = ["make", "--dry-run", "gpu", "PYTHON=python3", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    text = recipe()
    assert "pip" not in text and "venv" not in text and "python3" in text
    assert "cuda13" in recipe("CUDA=13") and ".venv/bin/python" in recipe("CUDA=13")
    (tmp_path / ".whl").mkdir()
    (tmp_path / ".whl" / "one.whl").touch()
    text = recipe()
    assert "--no-index --no-deps" in text and "--target build/packages .whl/one.whl" in text
    assert f'PYTHONPATH="{tmp_path}/build/packages:' in text
