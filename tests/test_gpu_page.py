"""docs/gpu.md is written from the newest record of benchmarks/gpu.py."""

import json
import sys

import pytest
from support import ROOT, cuda
from support.processes import DOUBLE, run

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu
import gpu_page

RUN = "batch 256, width 256"
FAST, SLOW, LARGE = (
    "SAC, batch 4096, width 256",
    "SAC, batch 256, width 256",
    "SAC, batch {}, width {}",
)


def job(function, backend="cupy", mode="graph", dtype="float32", threads="1", **cases):
    return gpu.Job(function, backend, mode, dtype, threads).title, cases.pop("cases", cases)


def times(**cases):
    return {name: {"us": value} for name, value in cases.items()}


def on_gpu(us, **others):
    return {"us": us, "host us": us / 2, **others}


COUNTS = {"kernels": 86.0, "launches": 3.0, "graph launches": 1.0, "uploads": 1.0,
          "downloads": 0.0, "synchronizations": 0.0, "device us": 120.0}  # fmt: skip
SECTIONS = {
    "machine": [job(
        "machine",
        versions={"cpu": "EPYC", "cores": 16, "python": "3.12.1", "compiled by numba": True},
        device={"name": "NVIDIA H0", "cupy": "14.2.0", "cuda": 13_020,
                "driver and clocks": "driver 580.1, clock now 1980 MHz"},
        costs={"own kernel us": 4.0, "array operation us": 9.5},
        **{"compile adam.cu": {"seconds": 0.5}},
    )],
    "files": [job("files", "numpy", "", DQN={"actions": 3e-7}, SAC={"actions": 2e-6})],
    "products": [job("products", cases={
        "1 x batch 64, width 64": {"own us": 8.0, "cublas us": 12.0, "ok": True},
        "crossover": {"set": 65_536, "products": 1_048_576, "updates": None},
    })],
    "kernels": [job("kernels", adam={"numpy": 1e-7, "cupy": 0.0, "ok": True},
                    squash={"numpy": 2e-7, "cupy": 3e-7, "ok": True})],
    "updates": [
        job("updates", "numpy", "", DQN={}),
        job("updates", dtype="float64", DQN={"params": 1e-16, "optim": 2e-15, "replays": 1}),
        job("updates", mode="plain", DQN={"params": 1e-7, "optim": 2e-2, "ok": False},
            SAC={"error": "Traceback"}),
    ],
    "bits": [
        job("bits", cases={"DQN": {"runs": 20, "results": 1, "replays": 18, "ok": True},
                           "SAC, wide": {"runs": 20, "results": 2, "replays": 18, "ok": False}}),
        job("resume", DQN={"updates": 9, "same bits": True}, SAC={"same bits": False}),
    ],
    "memory": [job("memory", cases={
        "growth": {"text": "in 10,000 updates used bytes moved by 0"},
        "out of memory": {"text": "SAC.update needs 64 MB"},
    })],
    "learning": [job("learning", PPO={"reward": 0.912, "before": 0.5, "needed": 0.83})],
    "speed": [
        job("speed", cases={SLOW: on_gpu(400), FAST: on_gpu(500), f"launches, {SLOW}": COUNTS}),
        job("speed", "numpy", "", threads="all", cases=times(**{SLOW: 395.0, FAST: 4_000.0})),
        job("speed", "numpy", "", cases=times(**{SLOW: 390.0, FAST: 9_000.0})),
        job("speed", mode="eager", cases={SLOW: on_gpu(900)}),
    ],
    "grid": [
        job("grid", cases={LARGE.format(256, 64): on_gpu(300), LARGE.format(1024, 64): on_gpu(310),
                           LARGE.format(256, 2048): on_gpu(1_000),
                           LARGE.format(1024, 2048): on_gpu(4_000),
                           LARGE.format(256, 1024): on_gpu(600)}),
        job("grid", "numpy", "", threads="all", cases={
            **times(**{LARGE.format(256, 64): 200.0, LARGE.format(1024, 64): 250.0}),
            LARGE.format(256, 2048): {"skipped": "9 s were left"},
            LARGE.format(1024, 2048): {"skipped": "an update might take 3 s", "too slow": True},
            LARGE.format(256, 1024): {"error": "MemoryError"},
        }),
    ],
    "torch": [job(
        "torch_speed", "numpy", "",
        cases={"torch": {"version": "2.13", "where": "cuda"}, f"graph, {SLOW}": {"us": 200.0},
               f"eager, {SLOW}": {"us": 3_000.0}, f"graph, {FAST}": {"us": 1_000.0}},
    )],
    "steps": [
        job("steps", cases={f"SAC, 1 environment, {RUN}": {"steps per second": 900.0}}),
        job("steps", "numpy", "", threads="all",
            cases={f"SAC, 1 environment, {RUN}": {"steps per second": 1_200.0}}),
    ],
}  # fmt: skip


@pytest.fixture
def record(tmp_path):
    sections = {}
    for name, jobs in SECTIONS.items():
        jobs = {f"{i} {title}": found for i, (title, found) in enumerate(jobs)}
        sections[name] = {"date": "2027-01-02T03:04:05+00:00", "commit": "abc1234",
                          "wrong": gpu.faults(jobs), "jobs": jobs}  # fmt: skip
    path = tmp_path / "2027-01-02-h0.json"
    path.write_text(json.dumps({"device": "NVIDIA H0", "sections": sections}))
    return gpu_page.Record(path)


def test_the_page_is_what_the_command_writes():
    text = gpu_page.PAGE.read_text()
    assert gpu_page.page(text, gpu_page.shown(text)) == text, "run python benchmarks/gpu_page.py"


def test_without_a_record_the_page_says_so():
    text = gpu_page.page(gpu_page.PAGE.read_text(), None)
    assert "**No GPU has run this version of npr.**" in text
    assert "**Estimates**, none of them measured" in text and "Measured on" not in text


def test_the_newest_record_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_page, "HERE", tmp_path)
    assert gpu_page.newest() is None
    (tmp_path / "gpu").mkdir()
    for date in ("2027-01-02", "2026-12-31"):
        (tmp_path / "gpu" / f"{date}-h0.json").write_text('{"device": "H0", "sections": {}}')
    assert gpu_page.newest().name == "2027-01-02-h0.json"
    assert gpu_page.shown("no record").name == "2027-01-02-h0.json"
    assert gpu_page.shown("(../benchmarks/gpu/2026-12-31-h0.json)").name == "2026-12-31-h0.json"
    (tmp_path / "gpu" / "2027-01-03-double.json").write_text('{"device": "double", "sections": {}}')
    assert gpu_page.newest().name == "2027-01-02-h0.json", "the double is no GPU"


def test_a_later_record_of_fewer_sections_does_not_hide_a_full_one(tmp_path, monkeypatch, capsys):
    page = tmp_path / "gpu.md"
    page.write_text(gpu_page.PAGE.read_text())
    monkeypatch.setattr(gpu_page, "HERE", tmp_path)
    monkeypatch.setattr(gpu_page, "PAGE", page)
    (tmp_path / "gpu").mkdir()
    section = {"date": "2027-01-02", "commit": None, "wrong": [], "jobs": {}}
    for name, sections in (("2027-01-02-h0", ("speed", "bits")), ("2027-01-03-h0", ("speed",)),
                           ("2027-01-04-double", ("speed",))):  # fmt: skip
        held = {"device": name[11:], "sections": dict.fromkeys(sections, section)}
        (tmp_path / "gpu" / f"{name}.json").write_text(json.dumps(held))

    def write(*options):
        monkeypatch.setattr(sys, "argv", ["gpu_page.py", *options])
        gpu_page.main()
        return page.read_text(), capsys.readouterr().out

    text, out = write()
    assert "(../benchmarks/gpu/2027-01-02-h0.json)" in text
    assert "2027-01-03-h0.json is newer and has 1 section: --record shows it." in out
    text, out = write("--record", str(tmp_path / "gpu" / "2027-01-03-h0.json"))
    assert "(../benchmarks/gpu/2027-01-03-h0.json)" in text and not out
    with pytest.raises(SystemExit):
        write("--record", str(tmp_path / "gpu" / "2027-01-04-double.json"))
    assert "is a record of the strict double" in capsys.readouterr().err


@cuda.needs_compiler
def test_the_counts_are_those_of_the_double(tmp_path):
    """benchmarks/launches.json, for one algorithm."""
    held = json.loads(gpu_page.LAUNCHES.read_text())
    for mode, (kernels, graphs) in gpu.MODES.items():
        if mode == "eager":
            continue
        code = f"""
import json, sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu_timing
gpu_timing.COUNTED = ("DQN",)
class Report:
    def run(self, name, function, *arguments):
        print(json.dumps(function(*arguments)))
gpu_timing.counts(Report())
"""
        done = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy", NPR_DTYPE="float32",
                   NPR_CUDA_KERNELS=kernels, NPR_GRAPHS=graphs)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert found == held[mode]["DQN"], "run python benchmarks/gpu_page.py --count"


def lines(record, part):
    return gpu_page.PARTS[part](record)


def test_the_device_and_what_is_wrong(record):
    text = " ".join(lines(record, "state"))
    assert "**Measured on NVIDIA H0**, 2027-01-02, by" in text
    assert "CuPy 14.2.0, CUDA 13.2, driver 580.1, clock now 1980 MHz, Python" in text
    assert "beside EPYC with 16 cores, with Numba on the CPU, commit abc1234" in text
    assert "(../benchmarks/gpu/2027-01-02-h0.json)" in text
    assert "**Wrong: updates (2), bits (1), grid (1).**" in text
    record.sections = {"machine": record.sections["machine"]}
    assert " ".join(lines(record, "state")).endswith("Nothing in it is wrong.")


def test_where_a_gpu_pays(record):
    """Against the better number of threads; what NumPy was too slow for counts as faster, what
    failed or had no time does not."""
    first, _, *found = lines(record, "pays")
    assert first.endswith("than on the CPU with the better of one and all threads:")
    assert found == [
        "- width 64: up to batch 1,024 it does not pay",
        "- width 256: from batch 4,096 on",
        "- width 1,024: NumPy was not measured",
        "- width 2,048: from batch 1,024 on",
    ]


def test_where_it_loses(record):
    assert lines(record, "loses") == [
        f"- {LARGE.format(256, 64)}: 300 us, NumPy 200 us",
        f"- {LARGE.format(1024, 64)}: 310 us, NumPy 250 us",
        f"- {SLOW}: 400 us, NumPy 390 us",
        f"- {SLOW}: 400 us, PyTorch as a CUDA graph 200 us",
        "- learn(), SAC, 1 environment, batch 256, width 256: 900 steps per second, NumPy 1,200",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "| kernels | own kernels, graphs | float32 | 2 | 3.0e-07 (squash, cupy) | 1e-4 |",
        "| updates | own kernels, graphs | float64 | 1 | 2.0e-15 (DQN, optim) | 1e-9 |",
        "| updates | array operations | float32 | 1 | 2.0e-02 (DQN, optim) | 1e-4 |",
        "- own kernels, graphs: 40 runs of 2 updates, 36 by graphs: the same bits in 1 of 2",
        "- runs that were saved, loaded and continued: the same bits in 1 of 2",
        "- memory: in 10,000 updates used bytes moved by 0",
        "- memory: out of memory is reported as: SAC.update needs 64 MB",
        "| own kernel | array operation |",
        "| 4 | 9.5 |",
        "NVRTC compiles npr's sources once, in 0.5 s: adam.cu 0.5 s.",
        "- 2 files read by NumPy: actions differ by at most 2.0e-06 (allowed 1e-5)",
        "| 1 x batch 64, width 64 | 8 | 12 |",
        "| PPO | cupy | 0.500 | 0.912 | 0.830 |",
        f"| {SLOW} | 400 | 900 | - | 200 | 390 | 395 |",
        f"| {SLOW} | own kernels, graphs | 86 | 3 | 1 | 1 | 0 | 0 |",
        "| batch | width 64 | width 1,024 | width 2,048 |",
        "| 256 | 300 (0.667x) | 600 (-) | 1,000 (-) |",
        "| 1,024 | 310 (0.806x) | - | 4,000 (-) |",
        "### Beside PyTorch 2.13 on cuda",
        f"| {SLOW} | 400 | 900 | 200 | 3,000 | 0.50 |",
        f"| {FAST} | 500 | - | 1,000 | - | 2.00 |",
        "| SAC, 1 environment, batch 256, width 256 | 900 | 1,200 | 725 (127) |",
        "2 cases were skipped; the record says why.",
    ],
)
def test_the_tables(line, record):
    assert line in lines(record, "results")


def test_a_record_of_some_sections_is_shown_too(record):
    for name in SECTIONS:
        alone = gpu_page.Record.__new__(gpu_page.Record)
        alone.name, alone.device = record.name, record.device
        alone.sections = {name: record.sections[name]}
        text = gpu_page.page(gpu_page.PAGE.read_text(), alone)
        assert "**Measured on NVIDIA H0**" in text
