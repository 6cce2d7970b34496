"""Check npr on an NVIDIA GPU and measure it there: one command, a few minutes, one JSON file.

    python benchmarks/gpu.py --out DIR [--sections ops,updates] [--minutes 7] [--commit ID]

A section is a list of jobs (gpu_jobs.py), each in a process of its own. DIR/gpu.json is rewritten
after each section, so that an interrupted run keeps its results. The exit status is 1 if a section
is WRONG, or if there is no GPU. docs/gpu.md says how to read the results.

With tests/strict_device on PYTHONPATH everything that needs no GPU runs on the strict double of
CuPy: that tests this script (--small is enough) and says nothing about a GPU.
"""

import argparse
import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import store

ROOT = Path(__file__).parent.parent


class Job(NamedTuple):
    """A function of gpu_jobs.py, and the process that it runs in."""

    function: str
    backend: str
    dtype: str = "float32"
    threads: str = "1"  # of BLAS; "" leaves them to BLAS


class Section(NamedTuple):
    title: str
    seconds: float  # time limit of all its jobs together
    jobs: tuple  # in order: later jobs read files of earlier ones


def _compared(function):
    """On the host, then on the device, in both types."""
    return tuple(
        Job(function, backend, dtype)
        for dtype in ("float32", "float64")
        for backend in ("numpy", "cupy")
    )


def _on(function, *backends):
    return tuple(Job(function, backend) for backend in backends)


SECTIONS = {
    "machine": Section("versions, device, first kernels", 75, _on("machine", "cupy")),
    "ops": Section("value and gradient of every operation", 110, _compared("ops")),
    "updates": Section("one update of every deep algorithm", 120, _compared("updates")),
    "bits": Section("the same update again, to the bit", 60, _on("bits", "cupy", "cupy")),
    "learning": Section("short runs", 130, _on("learning", "cupy", "numpy")),
    "files": Section("files between backends", 75, _on("files", "cupy", "numpy", "cupy")),
    "memory": Section("device memory", 60, _on("memory", "cupy")),
    "speed": Section(
        "time of a SAC update", 150,
        (*_on("speed", "cupy", "numpy"), Job("speed", "numpy", threads="")),
    ),
    "torch": Section("time of a SAC update in PyTorch", 80, _on("torch_speed", "numpy")),
}  # fmt: skip


def environment(job, folder):
    """The environment variables of a job's process."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {
        "CUPY_CACHE_DIR": str(folder / "kernels"),
        **os.environ,
        "NPR_BACKEND": job.backend,
        "NPR_DTYPE": job.dtype,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **({"OPENBLAS_NUM_THREADS": job.threads} if job.threads else {}),
    }


def no_device():
    """Why the device cannot be used, in one sentence; None where it can."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job("", "cupy")
        done = subprocess.run(
            [sys.executable, "-c", "import npr.backend"], env=environment(job, Path(folder)),
            capture_output=True, text=True,
        )  # fmt: skip
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def run_job(job, path, seconds, *options):
    """What a job has written to `path` by its end or its time limit."""
    start, error = time.perf_counter(), None
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_jobs.py"), job.function, str(path)]
    command += options
    try:
        done = subprocess.run(
            command, env=environment(job, path.parent), capture_output=True, text=True,
            timeout=seconds,
        )  # fmt: skip
        if done.returncode:
            error = f"exit status {done.returncode}\n{done.stderr[-3_000:]}"
    except subprocess.TimeoutExpired:
        error = f"cut off after {seconds:.0f} s"
    result = json.loads(path.read_text()) if path.exists() else {}
    if error:
        result["process"] = {"error": error}
    return {**result, "seconds": round(time.perf_counter() - start, 1)}


def run_section(name, folder, end, *options):
    """Job -> its results, until `end` at most."""
    section = SECTIONS[name]
    end = min(end, time.perf_counter() + section.seconds)
    results = {}
    for number, job in enumerate(section.jobs):
        title = f"{number} " + " ".join(filter(None, job))
        left = end - time.perf_counter()
        if name == "torch" and not importlib.util.find_spec("torch"):
            results[title] = {"skipped": "PyTorch is not installed"}
        elif left < 1:
            results[title] = {"skipped": "no time was left"}
        else:
            results[title] = run_job(job, folder / f"{name} {number}.json", left, *options)
    return without_folders(results)


def faults(tree, place=()):
    """The places in results that hold an error, or something that is not ok."""
    if not isinstance(tree, dict):
        return []
    found = [" > ".join(place)] if "error" in tree or tree.get("ok") is False else []
    return found + [fault for key, part in tree.items() for fault in faults(part, (*place, key))]


def without_folders(tree):
    """The results with file names for paths: a record is published."""
    if isinstance(tree, dict):
        return {key: without_folders(part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [without_folders(part) for part in tree]
    return re.sub(r"(?<![\w.])(?:/[^/\s\"']+)+/", "", tree) if isinstance(tree, str) else tree


def summary(name, results, wrong, seconds):
    """A line about a section, and one about each of its jobs and faults."""
    jobs = results.values()
    skipped = all("skipped" in result for result in jobs)
    state = "WRONG" if wrong else "skipped" if skipped else "ok"
    lines = [f"{name}: {SECTIONS[name].title}: {state}, {seconds:.1f} s"]
    lines += [f"    {result[key]}" for result in jobs for key in ("summary", "skipped")
              if key in result]  # fmt: skip
    return "\n".join(lines + [f"    wrong: {place}" for place in wrong[:12]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="names, separated by commas")
    parser.add_argument("--minutes", type=float, default=7.0, help="time limit of all sections")
    parser.add_argument("--commit", help="of the checkout, for the record")
    parser.add_argument("--small", action="store_true", help="few cases, to test this script")
    arguments = parser.parse_args()
    options = ["small"] if arguments.small else []
    names = arguments.sections.split(",")
    if not set(names) <= set(SECTIONS):
        parser.error(f"sections are {', '.join(SECTIONS)}; got {arguments.sections}")
    reason = no_device()
    if reason:
        sys.exit(f"Nothing was checked. {reason}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {"date": str(datetime.date.today()), "commit": arguments.commit, "sections": {}}
    end, bad = time.perf_counter() + 60 * arguments.minutes, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            start = time.perf_counter()
            results = run_section(name, Path(folder), end, *options)
            wrong = faults(results)
            record["sections"][name] = {"wrong": wrong, **results}
            store.write(arguments.out / "gpu.json", record)
            bad += [name] if wrong else []
            print(summary(name, results, wrong, time.perf_counter() - start), flush=True)
    print(f"WRONG: {', '.join(bad)}" if bad else "Nothing is wrong.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
