"""The jobs of benchmarks/gpu.py, each run by it in a process with NPR_BACKEND and others set.

    python benchmarks/gpu_jobs.py JOB FILE DEADLINE [small]

A job writes its results to FILE as JSON, after each case, and begins no case after DEADLINE, in
seconds since 1970. It shares the folder of FILE with the other jobs of its section. "small" takes
few cases and small shapes, to test the scripts.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import gpu_checks
import gpu_timing
import numpy as np
import store
from gpu_report import ON_DOUBLE, SMALL, Report, synchronize

from npr.backend import FLOAT, to_device, to_host, xp
from npr.kernels import jit
from npr.kernels.cuda import compiler

PACKAGES = ("numpy", "numba", "gymnasium", "cupy-cuda12x", "cupy-cuda13x", "torch")


def machine(report):
    """Versions, device, and how long the first kernels and own sources take."""
    start = time.perf_counter()
    report.add("versions", {**store.machine(PACKAGES), "compiled by numba": jit.available()})
    report.run("device", device)
    ones = np.ones((64, 64), np.float32)
    first = {"exp": xp.exp, "sum": lambda x: x.sum(axis=0), "matrix product": lambda x: x @ x}
    seconds = {}
    for name, kernel in first.items():
        to_host(kernel(xp.asarray(ones)))
        seconds[name] = round(time.perf_counter() - start, 3)
    report.add("seconds until the first kernels have run", seconds)
    for path in sorted(compiler.FOLDER.glob("*.cu")):
        report.run(f"compile {path.name}", compile_seconds, path)
    report.run("costs", costs)
    report.summarize(summary_of(report.cases))


def summary_of(cases):
    compiled = [case["seconds"] for name, case in cases.items() if name.startswith("compile ")
                and "seconds" in case]  # fmt: skip
    costs = ", ".join(
        f"{name.removesuffix(' us')} {us:.1f} us"
        for name, us in cases["costs"].items()
        if name.endswith(" us")
    )
    return (
        f"{cases['device'].get('name')}, {len(compiled)} own sources compiled in "
        f"{sum(compiled):.1f} s; {costs}"
    )


def device():
    if ON_DOUBLE:
        return {"name": "the strict double of CuPy"}
    runtime = xp.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(), "cupy": xp.__version__,
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"], "bytes": runtime.memGetInfo()[1],
        "cuda of the driver": runtime.driverGetVersion(), "cuda": runtime.runtimeGetVersion(),
        "driver and clocks": nvidia_smi(),
    }  # fmt: skip


CLOCKS = {  # field of nvidia-smi -> what it is
    "driver_version": "driver",
    "clocks.sm": "clock now",
    "clocks.max.sm": "clock at most",
    "power.limit": "power limit",
}


def nvidia_smi():
    """The driver's version, and the clocks now and at most, of the device that CuPy uses."""
    bus = xp.cuda.runtime.deviceGetPCIBusId(0)  # nvidia-smi does not see CUDA_VISIBLE_DEVICES
    command = ["nvidia-smi", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            [*command, f"--id={bus}"], capture_output=True, text=True, timeout=10
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    if done.returncode:
        return f"nvidia-smi: {done.stdout.strip()}"
    values = done.stdout.strip().split(", ")
    return ", ".join(f"{name} {value}" for name, value in zip(CLOCKS.values(), values))


KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")


def compile_seconds(path):
    """Of a source, without CuPy's cache of compiled kernels."""
    text = compiler.text(path.name)
    if not ON_DOUBLE:  # a comment that no other run has: the text is looked up in the cache
        text += f"\n// {time.time_ns()}\n"
    start = time.perf_counter()
    module = xp.RawModule(code=text, options=compiler.options(FLOAT))
    module.get_function(KERNEL.search(text)[1])
    return {"seconds": round(time.perf_counter() - start, 2)}


def costs():
    """Microseconds of single operations: the host's part of a launch, and of small transfers."""
    x, row = xp.zeros(1_000, FLOAT), np.zeros(10_000, FLOAT)
    probe = compiler.Source("probe.cu")
    calls = {
        "own kernel us": lambda: probe.launch("probe", 1, 1, x),
        "array operation us": lambda: xp.add(x, x, out=x),
        "upload of 40 kB us": lambda: to_device(row),
        "download of a number us": lambda: to_host(x[:1]),
    }
    return {
        name: gpu_timing.microseconds(f, synchronize, 0.02 if SMALL else 0.2)["us"]
        for name, f in calls.items()
    }


if __name__ == "__main__":
    job, path, deadline = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    jobs = {**vars(gpu_checks), **vars(gpu_timing), "machine": machine}
    jobs[job](Report(path, deadline))
