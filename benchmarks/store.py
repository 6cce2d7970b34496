"""The JSON files with the results of the benchmarks, the machine and the versions."""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = (
    "numpy", "numba", "gymnasium", "torch", "stable-baselines3", "sbx-rl", "jax", "cpprb",
)  # fmt: skip


def cpu():
    """The processor's name, if the system provides it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else ():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def machine(packages=PACKAGES):
    held = {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()}
    for name in packages:
        try:
            held[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return held


def write(path, contents):
    """Write JSON in one step: a process that is killed leaves the old file or the new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(contents, indent=1) + "\n")
    os.replace(part, path)


def keep(part, rows):
    """Put rows into a part of results.json: a row replaces the one of the same case."""
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    merged = {row["case"]: row for row in held.get(part, [])}
    merged |= {row["case"]: row for row in rows}
    write(RESULTS, {**held, "machine": machine(), part: list(merged.values())})
