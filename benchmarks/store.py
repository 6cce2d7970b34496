"""The JSON files with the results of the benchmarks, the machine and the versions."""

import json
import os
import platform
import textwrap
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = (
    "npr-rl", "numpy", "numba", "gymnasium", "torch", "stable-baselines3", "sbx-rl", "jax", "cpprb",
    "envpool",
)  # fmt: skip


def machine(packages=PACKAGES):
    """The processor, its cores, NumPy's BLAS and the versions of these packages."""
    from npr.system.blas import blas_name  # here, since gpu.py runs where npr is not installed
    from npr.system.machine import cpu_name

    held = {
        "cpu": cpu_name(), "cores": os.cpu_count(), "BLAS": blas_name(),
        "python": platform.python_version(),
    }  # fmt: skip
    for name in packages:
        try:
            held[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return held


def show_machine():
    """Print the machine, and what else may explain figures: load and npr's variables."""
    held = machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{held.pop('cpu')}, {held.pop('cores')} cores{load}\n{held.pop('BLAS')}")
    versions = [f"{name} {version}" for name, version in held.items()]
    ours = ("NPR_", "OPENBLAS_")
    given = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(ours)]
    print(textwrap.fill(", ".join(versions + given), 98, break_on_hyphens=False), flush=True)


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


def keep_rows(path, rows, key):
    """Put rows into a file: a row replaces the one with the same values of these keys."""
    held = json.loads(path.read_text())["rows"] if path.exists() else []
    merged = {json.dumps([row[k] for k in key]): row for row in [*held, *rows]}
    write(path, {"machine": machine(), "rows": list(merged.values())})
