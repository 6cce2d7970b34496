"""Check npr on an NVIDIA GPU and measure it there: one command, up to 7 minutes, one JSON file.

    python benchmarks/gpu.py [--section updates --section bits,speed] [--minutes 7]
                             [--out benchmarks/gpu] [--commit ID] [--double]

A section is a list of jobs (gpu_jobs.py), each in a process of its own with a time limit, so that
none can take the others with it. The record, OUT/DATE-DEVICE.json, is rewritten after each job and
keeps the sections that are not run again. SIGINT and SIGTERM end the running jobs, whose finished
cases are kept. The exit status is 1 if a section is WRONG, or if nothing was checked.
docs/gpu.md shows the record (gpu_page.py).

--double runs on tests/strict_device, which computes on the host: that tests the scripts, with few
cases, and says nothing about a GPU.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import gpu_page
import store

ROOT = Path(__file__).parent.parent
DOUBLE = ROOT / "tests" / "strict_device"


class Job(NamedTuple):
    """A function of gpu_jobs.py, and the process that it runs in."""

    function: str
    backend: str
    mode: str = ""  # of the device, one of MODES
    dtype: str = "float32"
    threads: str = "1"  # of BLAS; "all" leaves them to BLAS
    on_double: bool = True  # False: the double tests nothing more with it

    @property
    def title(self):
        threads = f"{self.threads} threads" if self.backend == "numpy" else ""
        return " ".join(filter(None, (self.function, self.backend, self.mode, self.dtype, threads)))


MODES = {  # mode -> (NPR_CUDA_KERNELS, NPR_GRAPHS)
    "graph": ("1", "1"),
    "eager": ("1", "0"),
    "plain": ("0", "0"),  # array operations of CuPy
}


class Section(NamedTuple):
    title: str
    seconds: float  # its share of the time; what is left over goes to later ones
    # Waves of jobs: those of a wave may run side by side, since nothing in them is timed, and need
    # files of earlier waves only
    waves: tuple
    on_double: bool = True


def _alone(*jobs):
    """Waves of one job, for what is timed and for jobs that need files of those before."""
    return tuple((job,) for job in jobs)


def _in_both_types(function, *modes):
    return tuple(
        Job(function, "cupy" if mode else "numpy", mode, dtype, on_double=dtype == "float32")
        for dtype in ("float32", "float64")
        for mode in modes
    )


def _timed(function):
    """The most important first."""
    graph, eager, plain = (Job(function, "cupy", mode, on_double=mode != "eager") for mode in MODES)
    most = Job(function, "numpy", threads="all", on_double=False)
    return _alone(graph, most, Job(function, "numpy"), eager, plain)


def _with_graphs(function):
    return Job(function, "cupy", "graph")


SECTIONS = {  # the most important first: they run in this order
    "machine": Section("versions, device, first kernels", 35, _alone(_with_graphs("machine"))),
    "kernels": Section(
        "own kernels against NumPy and CuPy", 35, (_in_both_types("kernels", "graph"),)
    ),
    "updates": Section(
        "one update of every deep algorithm against NumPy",
        60,
        (_in_both_types("updates", ""), _in_both_types("updates", "graph", "plain")),
    ),
    "bits": Section(
        "the same update again, and a run resumed, to the bit",
        40,
        (
            (_with_graphs("bits"),),
            (
                Job("bits", "cupy", "graph", on_double=False),
                Job("bits", "cupy", "eager"),
                _with_graphs("resume"),
            ),
        ),
    ),
    "speed": Section("time of an update, and what it launches", 55, _timed("speed")),
    "torch": Section("time of an update in PyTorch", 30, _alone(Job("torch_speed", "numpy"))),
    "learning": Section(
        "runs of 2,000 steps",
        35,
        ((_with_graphs("learning"), Job("learning", "numpy", on_double=False)),),
    ),
    "files": Section(
        "files between backends",
        15,
        _alone(_with_graphs("files"), Job("files", "numpy"), _with_graphs("files")),
    ),
    "memory": Section("device memory", 25, _alone(_with_graphs("memory"))),
    "steps": Section(
        "environment steps of learn()",
        30,
        _alone(_with_graphs("steps"), Job("steps", "numpy", threads="all", on_double=False)),
    ),
    "grid": Section("time of an update by batch and width", 45, _timed("grid"), on_double=False),
    "products": Section("own matrix products beside cuBLAS", 25, _alone(_with_graphs("products"))),
    "ops": Section("value and gradient of every operation", 25, (_in_both_types("ops", "graph"),)),
}


class Runner:
    """Runs jobs in processes.

    folder   for their files; it also has CuPy's cache of kernels, so that each compiles once
    double   whether on the strict double, with few cases
    """

    def __init__(self, folder, double):
        self.folder, self.double = folder, double
        self.running, self.cut = set(), None  # processes; the name of the signal that ended them

    def end(self, number):
        """End all jobs, and begin no other: for a signal."""
        self.cut = signal.Signals(number).name
        for process in tuple(self.running):
            _kill(process)

    def environment(self, job):
        """The environment variables of a job's process."""
        paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        paths += [str(DOUBLE)] if self.double else []
        kernels, graphs = MODES[job.mode or "graph"]
        variables = {
            "CUPY_CACHE_DIR": str(self.folder / "kernels"),
            **os.environ,
            "NPR_BACKEND": job.backend,
            "NPR_DTYPE": job.dtype,
            "NPR_CUDA_KERNELS": kernels,
            "NPR_GRAPHS": graphs,
            "OPENBLAS_NUM_THREADS": job.threads,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        if job.threads == "all":
            del variables["OPENBLAS_NUM_THREADS"]
        return variables

    def device(self):
        """(name of the device, None), or (None, why it cannot be used)."""
        try:
            done = subprocess.run(
                [sys.executable, "-c", DEVICE_NAME], env=self.environment(Job("", "cupy")),
                capture_output=True, text=True, timeout=DEVICE_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, f"The device did not answer within {DEVICE_SECONDS} s."
        if done.returncode < 0:
            reason = f"The process that looks for the device died by signal {-done.returncode}."
            return None, "\n".join([reason, *done.stderr.strip().splitlines()[-10:]])
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["No reason is known."]
            said = lines[-1].startswith("npr.errors.")  # a sentence for users
            return None, lines[-1] if said else "\n".join(["This failed:", *lines[-10:]])
        return done.stdout.strip(), None

    def __call__(self, job, path, seconds):
        """What a job has written to `path` by its end, or by its time limit."""
        start, error = time.perf_counter(), None
        deadline = time.time() + 0.9 * seconds - 1  # it begins no further case then
        command = [sys.executable, str(ROOT / "benchmarks" / "gpu_jobs.py"), job.function]
        command += [str(path), str(deadline), *(["small"] if self.double else [])]
        # in a session of its own: Ctrl-C reaches this process alone, which ends the job
        process = subprocess.Popen(
            command, env=self.environment(job), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        self.running.add(process)
        try:
            if self.cut:  # since the caller looked
                _kill(process)
            _, said = process.communicate(timeout=seconds)
            if process.returncode:
                error = f"exit status {process.returncode}\n{said[-3_000:]}"
        except subprocess.TimeoutExpired:
            _kill(process)
            process.communicate()
            error = f"cut off after {seconds:.0f} s"
        finally:
            self.running.discard(process)
        result = json.loads(path.read_text()) if path.exists() else {}
        if self.cut and error:
            result["process"] = {"skipped": f"cut by {self.cut}"}
        elif error:
            result["process"] = {"error": error}
        return {**result, "seconds": round(time.perf_counter() - start, 1)}


def _kill(process):
    """End a process and its children; nothing if it has ended."""
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


DEVICE_SECONDS = 60  # for a first answer of the driver
DEVICE_NAME = """
import gymnasium
from npr.backend import xp
double = hasattr(xp, "counts")
print("double" if double else xp.cuda.runtime.getDeviceProperties(0)["name"].decode())
"""


def run_section(name, runner, end, keep):
    """Run the jobs of a section until `end`, and give keep(title of a job, its results) each."""
    waves = SECTIONS[name].waves
    if runner.double:
        waves = [[job for job in wave if job.on_double] for wave in waves]
        waves = [wave for wave in waves if wave]
    side_by_side = max(1, (os.cpu_count() or 1) // 4)
    number = 0
    for i, wave in enumerate(waves):
        # more than an equal share: the first is the most important, and later ones rarely need it
        fair, later = (end - time.perf_counter()) / (len(waves) - i), len(waves) - i - 1
        left = fair * (1 + 0.4 * later)
        turns = -(-len(wave) // side_by_side)
        with ThreadPoolExecutor(side_by_side) as pool:
            running = []
            for job in wave:
                title = f"{number} {job.title}"
                path = runner.folder / f"{name} {number}.json"
                running.append((title, pool.submit(_run, runner, job, path, left / turns)))
                number += 1
            for title, job in running:
                keep(title, without_folders(job.result()))


def _run(runner, job, path, seconds):
    if runner.cut:
        return {"skipped": f"cut by {runner.cut}"}
    if job.function == "torch_speed" and not importlib.util.find_spec("torch"):
        return {"skipped": "PyTorch is not installed"}
    if seconds < 3:
        return {"skipped": "no time was left"}
    return runner(job, path, seconds)


def faults(tree, place=()):
    """The places in results that hold an error, or something that is not ok."""
    if not isinstance(tree, dict):
        return []
    found = [" > ".join(place)] if "error" in tree or tree.get("ok") is False else []
    return found + [fault for key, part in tree.items() for fault in faults(part, (*place, key))]


def skips(tree, place=()):
    """[(place, reason), ...] of what was skipped."""
    if not isinstance(tree, dict):
        return []
    found = [(" > ".join(place), tree["skipped"])] if "skipped" in tree else []
    return found + [skip for key, part in tree.items() for skip in skips(part, (*place, key))]


def nothing_ran(jobs):
    """Whether no job of a section has finished a case: none on the device, if it has such jobs."""
    on_device = {title: result for title, result in jobs.items() if "cupy" in title.split()}
    cases = (case for result in (on_device or jobs).values() for case in result.items())
    return not any(
        name != "process" and isinstance(case, dict) and not {"skipped", "error"} & case.keys()
        for name, case in cases
    )


def without_folders(tree):
    """The results with file names for paths: a record is published."""
    if isinstance(tree, dict):
        return {key: without_folders(part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [without_folders(part) for part in tree]
    return re.sub(r"(?<![\w.])(?:/[^/\s\"']+)+/", "", tree) if isinstance(tree, str) else tree


def summary(name, section, seconds):
    """A line about a section, and one about each of its jobs, faults and reasons to skip."""
    jobs, wrong, skipped = section["jobs"].values(), section["wrong"], skips(section["jobs"])
    state = "WRONG" if wrong else "skipped" if nothing_ran(section["jobs"]) else "ok"
    lines = [f"{name}: {SECTIONS[name].title}: {state}, {seconds:.1f} s"]
    lines += [f"    {result['summary']}" for result in jobs if "summary" in result]
    reasons = {}
    for place, reason in skipped:
        reasons.setdefault(reason, []).append(place)
    lines += [
        f"    skipped: {places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)}: {reason}"
        for reason, places in [*reasons.items()][:6]
    ]
    lines += [f"    and more was skipped, {len(skipped)} in all"] * (len(reasons) > 6)
    return "\n".join(lines + [f"    wrong: {place}" for place in wrong[:12]])


def record_path(folder, date, device):
    name = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("nvidia", "")).strip("-")
    return folder / f"{date}-{name}.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--section", "--sections", action="append", dest="sections",
        help="names, separated by commas; may be repeated. By default, all",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=7.0, help="time limit of all sections")
    parser.add_argument(
        "--out", type=Path,
        help="folder of the record: benchmarks/gpu by default, build/gpu with --double",
    )  # fmt: skip
    parser.add_argument("--commit", help="of the checkout, for the record")
    parser.add_argument("--double", action="store_true", help="on the strict double of CuPy")
    arguments = parser.parse_args()
    if arguments.double:
        print("No GPU code runs: this is the strict double of CuPy, which computes on the host.",
              flush=True)  # fmt: skip
    known = [name for name, one in SECTIONS.items() if one.on_double or not arguments.double]
    names = [name for text in arguments.sections or [] for name in text.split(",")] or known
    if not set(names) <= set(known):
        parser.error(f"sections are {', '.join(known)}; got {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), arguments.double)
        device, reason = runner.device()
        if reason:
            sys.exit(f"Nothing was checked. {reason}")
        out = arguments.out or ROOT / ("build/gpu" if arguments.double else "benchmarks/gpu")
        return check(runner, device, names, 60 * arguments.minutes, out, arguments.commit)


def check(runner, device, names, seconds, out, commit):
    """Run sections, print and write what they find; the exit status."""
    held = {one: signal.signal(one, lambda number, _: runner.end(number)) for one in SIGNALS}
    try:
        return _check(runner, device, names, seconds, out, commit)
    finally:
        for one, handler in held.items():
            signal.signal(one, handler)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _check(runner, device, names, seconds, out, commit):
    out.mkdir(parents=True, exist_ok=True)
    path = record_path(out, datetime.date.today(), device)
    record = json.loads(path.read_text()) if path.exists() else {"device": device, "sections": {}}
    shares = seconds / sum(SECTIONS[name].seconds for name in names)
    end, bad, skipped = time.perf_counter(), [], []
    for name in names:
        start = time.perf_counter()
        end += shares * SECTIONS[name].seconds
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        section = {"date": now, "commit": commit, "wrong": [], "jobs": {}}

        def keep(title, result, name=name, section=section):
            section["jobs"][title] = result
            section["wrong"] = faults(section["jobs"])
            record["sections"][name] = section
            store.write(path, record)

        run_section(name, runner, end, keep)
        bad += [name] if section["wrong"] else []
        skipped += [name] if not section["wrong"] and nothing_ran(section["jobs"]) else []
        if runner.cut:
            break
        print(summary(name, section, time.perf_counter() - start), flush=True)
    if runner.cut:
        print(f"cut by {runner.cut}; the record is {path}")
        return 128 + signal.Signals[runner.cut]
    if not runner.double:
        written = gpu_page.Record(path)
        print(
            "\n".join(["", *gpu_page.pays(written), "", "It loses:", *gpu_page.loses(written), ""])
        )
    print(f"The record is {path.name}.")
    nothing = len(skipped) == len(names)
    right = "Nothing was checked" if nothing else "Nothing is wrong"
    found = f"WRONG: {', '.join(bad)}" if bad else right
    found += f"; skipped: {', '.join(skipped)}" if skipped else ""
    print(found if bad else f"{found}.")
    return 1 if bad or nothing else 0


if __name__ == "__main__":
    sys.exit(main())
