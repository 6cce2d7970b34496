"""The jobs of benchmarks/gpu.py, each run by it in a process with NPR_BACKEND and NPR_DTYPE set.

    python benchmarks/gpu_jobs.py JOB FILE [small]

A job writes its results to FILE as JSON and shares the folder of FILE with other jobs. "small"
takes few cases and small shapes, to test the script itself.
"""

import functools
import hashlib
import importlib.util
import json
import math
import pickle
import statistics
import sys
import time
import traceback
from pathlib import Path

import gymnasium.spaces as gs
import numpy as np
import store
from support import device_cases
from support.small_agents import RandomEnv, next_update, observations

import npr
from npr import autodiff as ad
from npr.backend import BACKEND, FLOAT, ON_HOST, to_device, to_host, xp

SMALL = sys.argv[3:] == ["small"]
ON_DOUBLE = hasattr(xp, "counts")  # whether `cupy` is the strict double of tests/strict_device
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}[str(FLOAT)]  # of a reference's largest entry
LEARNING = {
    "DQN": "CartPole-v1",
    "SAC": "Pendulum-v1",
    "PPO": "CartPole-v1",
    "SoftQ": "Pendulum-v1",
}
LARGE = ((256, 256), (1024, 256), (8192, 256), (256, 1024), (8192, 1024))
SHAPES = ((32, 32),) if SMALL else LARGE  # (batch, width)
CASES = [*device_cases.CASES][:: 4 if SMALL else 1]
PACKAGES = ("numpy", "numba", "gymnasium", "cupy-cuda12x", "cupy-cuda13x", "torch")
INPUTS, ACTIONS = 17, 6  # of the SAC agents that are timed, as in HalfCheetah-v5


class Report:
    """The results of one job, written to its file whenever one is added."""

    def __init__(self, path):
        self.path, self.cases = path, {}

    def add(self, name, result):
        self.cases[name] = result
        store.write(self.path, self.cases)

    def run(self, name, function, *arguments):
        """Add what the function returns, or the traceback of what it raises."""
        try:
            self.add(name, function(*arguments))
        except Exception:
            self.add(name, {"error": traceback.format_exc()})

    def figures(self, key):
        """[(name of the case, its figure `key`), ...] of the cases that have one."""
        cases = ((name, case) for name, case in self.cases.items() if isinstance(case, dict))
        return [(name, case[key]) for name, case in cases if key in case]

    def summarize_worst(self, *keys, allowed=TOLERANCE):
        """The largest of each of these figures, and the case that it belongs to."""
        worst = [max(self.figures(key), key=lambda pair: pair[1]) for key in keys]
        text = ", ".join(f"{key} {x:.1e} ({name})" for key, (name, x) in zip(keys, worst))
        self.summarize(f"{text}, allowed {allowed:.0e}")

    def summarize_times(self):
        self.summarize("; ".join(f"{name}: {us:,.0f} us" for name, us in self.figures("us")))

    def summarize(self, text):
        """One line for the console."""
        self.add("summary", f"{BACKEND} {FLOAT}: {text}")


def synchronize():
    if not (ON_HOST or ON_DOUBLE):
        xp.cuda.Device().synchronize()


def error_of(result, reference):
    """The largest error, relative to the largest entry of the reference; infinity for a NaN."""
    result, reference = np.asarray(result, np.float64), np.asarray(reference, np.float64)
    if result.shape != reference.shape:
        raise ValueError(f"got shape {result.shape}, the reference has {reference.shape}")
    error = np.abs(result - reference).max(initial=0.0)
    return float(error / (np.abs(reference).max(initial=0.0) or 1.0)) if error >= 0 else math.inf


# ---- machine


def machine(report, folder):
    start = time.perf_counter()
    report.add("versions", store.machine(PACKAGES))
    report.run("device", device)
    ones = np.ones((64, 64), np.float32)
    kernels = {"exp": xp.exp, "sum": lambda x: x.sum(axis=0), "matrix product": lambda x: x @ x}
    seconds = {}
    for name, kernel in kernels.items():
        to_host(kernel(xp.asarray(ones)))
        seconds[name] = time.perf_counter() - start
    report.add("seconds until the first kernels have run", seconds)


def device():
    if ON_DOUBLE:
        return {"name": "the strict double of CuPy"}
    runtime = xp.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(), "cupy": xp.__version__,
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"], "bytes": runtime.memGetInfo()[1],
        "driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion(),
    }  # fmt: skip


# ---- ops: values and gradients, on the device against the host


def uses():
    """Operation -> [(function of arrays, their shapes), ...]."""
    small, cube, large = (3, 4), (2, 3, 7), (300, 129)  # large: more than one block of a GPU
    pairs = ((cube, (3, 1)), (large, large))
    matrices = (((3, 4), (4, 2)), ((2, 3, 4), (4,)), ((5,), (5, 3)), ((130, 257), (257, 65)))

    def index(*numbers):
        return to_device(np.array(numbers))

    def each(f, *options, shape=small):
        return [(functools.partial(f, **one), (shape,)) for one in options]

    table = {}
    for name in ("add", "subtract", "multiply", "divide", "power", "minimum", "maximum"):
        table[name] = [(ad.OPS[name], shapes) for shapes in pairs]
    for name in ("negative", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "softplus", "abs"):
        table[name] = [(ad.OPS[name], (shape,)) for shape in (small, large)]
    axes = [{"axis": 0}, {"axis": 1}, {"axis": -1}]
    for name in ("sum", "mean", "max", "min", "logsumexp"):
        table[name] = [
            use for shape in (cube, large) for use in each(ad.OPS[name], *axes, shape=shape)
        ]
        table[name] += each(ad.OPS[name], {"axis": 1, "keepdims": True}, shape=cube)
    for name in ("sum", "mean", "max", "min"):
        table[name] += each(ad.OPS[name], {"axis": None}, {"axis": (0, 2)}, shape=cube)
    for name in ("concatenate", "stack"):
        join = ad.OPS[name]
        table[name] = [(lambda *x, f=join, i=i: f(x, i), (small, small)) for i in (0, 1)]
    picked, picked_of_cube = index(3, 0, 3), index([3, 0, 1], [2, 2, 6])
    parts = (1, (slice(None), -1), (..., None, slice(0, 3, 2)), index(0, 2, 2, 1))
    return table | {
        "matmul": [(ad.matmul, shapes) for shapes in matrices],
        "getitem": each(ad.getitem, *({"index": part} for part in parts)),
        "pick": each(ad.pick, {"index": picked})
        + each(ad.pick, {"index": picked_of_cube}, shape=cube),
        "clip": [(lambda x: ad.clip(x, -0.6, 0.9), (large,))],
        "where": [(lambda a, b: ad.where(index(1, 0, 1, 1) > 0, a, b), (small, (4,)))],
        "reshape": [(lambda x: ad.reshape(x, (2, -1)), (small,))],
        "transpose": [(ad.transpose, (small,)), (lambda x: ad.transpose(x, (2, 0, 1)), (cube,))],
        "huber": [(lambda a, b: ad.huber(a, b), (large, large))],
        "log_softmax": [(lambda x, i=i: ad.log_softmax(x, i), (cube,)) for i in (0, 1, -1)],
    }


def ops(report, folder):
    table, path = uses(), folder / f"ops {FLOAT}.pickle"
    reference = {} if ON_HOST else pickle.loads(path.read_bytes())

    def values(name):
        """Name of a result -> array, of all uses of an operation; inputs depend on the name."""
        rng, found = np.random.default_rng(list(name.encode())), {}
        positive = name in ("divide", "power", "log", "sqrt")
        for n, (f, shapes) in enumerate(table[name]):
            x = [rng.uniform(0.5, 2, s) if positive else rng.standard_normal(s) for s in shapes]
            x = [to_device(one.astype(FLOAT)) for one in x]
            found[f"{n} value"] = y = f(*x)
            v = to_device(rng.standard_normal(y.shape).astype(FLOAT))
            for i, one in enumerate(x):
                _, pullback = ad.vjp(lambda t, i=i, x=x, f=f: f(*x[:i], t, *x[i + 1 :]), one)
                found[f"{n} gradient {i}"] = pullback(v)
        return {key: to_host(array) for key, array in found.items()}

    def check(name):
        if name not in table:
            raise LookupError(f"uses() in benchmarks/gpu.py has no use of {name}")
        found = values(name)
        if ON_HOST:
            reference[name] = found
            return {}
        worst = max(error_of(array, reference[name][key]) for key, array in found.items())
        return {"worst": worst, "ok": worst <= TOLERANCE}

    for name in ad.OPS:
        report.run(name, check, name)
    if ON_HOST:
        path.write_bytes(pickle.dumps(reference))
    else:
        report.summarize_worst("worst")


# ---- updates: parameters and optimizer averages after one update, on the device against the host


def learned(path):
    """Name -> array of the parameters and the optimizers' averages in an agent's file."""
    with np.load(path) as file:
        names = [name for name in file.files if name.startswith(("params/", "optim/"))]
        return {name: file[name] for name in names}


def uploaded(batch):
    """The arguments of an update with their arrays on the device."""
    if isinstance(batch, (list, tuple)):
        return [uploaded(part) for part in batch]
    return to_device(batch) if isinstance(batch, (np.ndarray, np.generic)) else batch


def updates(report, folder):
    """The host writes an agent, a batch and the agent after the update; the device repeats it."""

    def paths(case):
        return [folder / f"{case} {FLOAT} {what}" for what in ("before.npz", "after.npz", "batch")]

    def on_host(case):
        before, after, batch_path = paths(case)
        agent = device_cases.make(case)
        batch = next_update(agent, device_cases.STEPS)
        agent.save(before)
        batch_path.write_bytes(pickle.dumps(batch))
        agent.update(*batch)
        agent.save(after)
        return {}

    def on_device(case):
        before, after, batch_path = paths(case)
        agent, batch = npr.load(before), uploaded(pickle.loads(batch_path.read_bytes()))
        agent.update(*batch)
        agent.save(folder / "device.npz")
        found, reference = learned(folder / "device.npz"), learned(after)
        worst = {"params": 0.0, "optim": 0.0}
        for name, array in reference.items():
            kind = name.split("/")[0]
            worst[kind] = max(worst[kind], error_of(found[name], array))
        if not ON_DOUBLE:  # the double refuses to wait in any update
            report.run(f"{case}, waiting forbidden", without_waiting, agent, batch)
        return {**worst, "ok": max(worst.values()) <= TOLERANCE}

    for case in CASES:
        report.run(case, on_host if ON_HOST else on_device, case)
    if not ON_HOST:
        report.summarize_worst("params", "optim")


def without_waiting(agent, batch):
    """One update in which CuPy raises where the host waits for the device (it may miss some)."""
    import cupyx

    with cupyx.allow_synchronize(False):
        agent.update(*batch)
    return {}


# ---- bits: the same update from the same state


def bits(report, folder):
    """20 updates from one file; the second process must end at the same bytes as the first."""

    def repeat(case):
        if case == "SAC, wide":
            agent, draw = sac(*SHAPES[0])
            batch = draw()
        else:
            agent = device_cases.make(case)
            batch = next_update(agent, device_cases.STEPS)
        start, end, known = (folder / f"{case} {x}" for x in ("start.npz", "end.npz", "digest"))
        agent.save(start)
        digests = [known.read_text()] if known.exists() else []
        for _ in range(3 if SMALL else 20):
            agent = npr.load(start)
            agent.update(*batch)
            agent.save(end)
            arrays = b"".join(array.tobytes() for array in learned(end).values())
            digests.append(hashlib.sha256(arrays).hexdigest())
        known.write_text(digests[0])
        return {"runs": len(digests), "results": len(set(digests)), "ok": len(set(digests)) == 1}

    for case in ("DQN", "SAC", "PPO Discrete", "PPO Box", "SAC, wide"):
        report.run(case, repeat, case)
    report.summarize(", ".join(f"{n} result(s) of {name}" for name, n in report.figures("results")))


# ---- learning, files, memory


def learning(report, folder):
    """Short runs with the preset of each environment: they must update and stay finite."""
    steps = 100 if SMALL else 1_500

    def learn(name):
        times = []

        def callback(agent):
            times.append(time.perf_counter())
            return times[-1] - times[0] < 25  # seconds

        settings = {} if name == "PPO" else {"learning_starts": steps // 5}
        agent = getattr(npr, name)(LEARNING[name], seed=0, verbose=0, **settings)
        agent.learn(steps, callback=callback)
        agent.save(folder / "learning.npz")  # refuses parameters that are not finite
        half = times[len(times) // 2 :]
        pace = agent.num_timesteps / len(times) * (len(half) - 1) / (half[-1] - half[0])
        return {
            "env steps": agent.num_timesteps, "updates": agent.n_updates, "ok": agent.n_updates > 0,
            "steps per second, second half": pace,
        }  # fmt: skip

    for name in LEARNING:
        report.run(name, learn, name)
    paces = report.figures("steps per second, second half")
    report.summarize("steps per second: " + ", ".join(f"{name} {pace:.0f}" for name, pace in paces))


def files(report, folder):
    """The first job learns and saves; each later one loads, acts alike, learns on and saves."""

    def pass_on(case):
        path, actions = folder / f"{case}.npz", folder / f"{case} actions.npy"
        first = not path.exists()
        agent = device_cases.make(case).learn(200) if first else npr.load(path)
        x = observations(agent, 64)
        result = {}
        if not first:
            agent.save(folder / "again.npz")
            before, again = learned(path), learned(folder / "again.npz")
            same = all(array.tobytes() == again[name].tobytes() for name, array in before.items())
            worst = error_of(agent.predict(x, deterministic=True)[0], np.load(actions))
            agent.learn(100)
            result = {"actions": worst, "same bits": same, "ok": same and worst <= 1e-5}
        np.save(actions, agent.predict(x, deterministic=True)[0])
        agent.save(path)
        return result

    for case in ("DQN", "SAC", "PPO Box", "PPO Discrete", "SoftQ Box"):
        report.run(case, pass_on, case)
    if report.figures("actions"):
        report.summarize_worst("actions", allowed=1e-5)


def memory(report, folder):
    """Bytes of CuPy's pool over many updates: they must not grow after the first fifth."""
    if ON_DOUBLE:
        report.add("pool", {"skipped": "the double has no memory pool"})
        return
    agent, draw = sac(*SHAPES[0])
    readings = []
    for i in range(3_001):
        agent.update(*draw())
        if i % 300 == 0:
            synchronize()
            pool = xp.get_default_memory_pool()
            readings.append((i, pool.used_bytes(), pool.total_bytes()))
    _, used, total = zip(*readings[2:])
    used, total = max(used) - min(used), max(total) - min(total)
    report.add("pool", {"readings": readings, "used moved by": used, "total moved by": total,
                        "ok": used <= 1 << 20 and total == 0})  # fmt: skip
    report.summarize(f"used bytes moved by {used:,}, the pool by {total:,}")


# ---- speed


def sac(batch, width):
    """A SAC agent whose replay holds random transitions, and a function that draws a batch."""
    n, rng = 20_000, np.random.default_rng(0)
    spaces = (gs.Box(-1, 1, (size,), np.float32) for size in (INPUTS, ACTIONS))
    env = RandomEnv(*spaces)
    agent = npr.SAC(
        env, seed=0, verbose=0, buffer_size=n, batch_size=batch, net_arch=[width, width],
        learning_rate=3e-4,
    )  # fmt: skip
    s, s2, a = (np.tanh(rng.standard_normal((n, m))) for m in (INPUTS, INPUTS, ACTIONS))
    agent.buffer.add(s, a, rng.standard_normal(n), s2, rng.random(n) < 0.01)
    return agent, lambda: agent.buffer.sample(batch, agent.rng["sample"], agent.noise())


def microseconds(f, wait, seconds=0.1 if SMALL else 1.0):
    """Median and least time per call, over five series of calls that end when the device does."""

    def series(calls):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            f()
        wait()
        return 1e6 * (time.perf_counter() - start) / calls

    series(1)
    once = min(series(1) for _ in range(2))
    calls = max(1, min(200, int(1e6 * seconds / 5 / once)))
    times = [series(calls) for _ in range(5 if once < 2e5 * seconds else 1)]
    return {"us": statistics.median(times), "least us": min(times), "calls": len(times) * calls}


def speed(report, folder):
    """Time of an update, on the device also the host's part of it: until the last launch."""

    def time_of(shape):
        agent, draw = sac(*shape)
        update = functools.partial(agent.update, *draw())
        result = microseconds(update, synchronize)
        if ON_HOST:
            return result
        result["with its batch"] = microseconds(lambda: agent.update(*draw()), synchronize)
        host = []
        for _ in range(20):
            synchronize()
            start = time.perf_counter()
            update()
            host.append(1e6 * (time.perf_counter() - start))
        return result | {"host us": statistics.median(host)}

    def launches_of(shape):
        agent, draw = sac(*shape)
        counts = launches(functools.partial(agent.update, *draw()), synchronize, folder)
        return counts | {"ok": counts["kernel"] > 0}

    for shape in SHAPES:
        report.run(f"batch {shape[0]}, width {shape[1]}", time_of, shape)
    if not ON_HOST and not torch_sees_gpu():
        report.add("launches", {"skipped": "launches are counted by a PyTorch that sees the GPU"})
    elif not ON_HOST:
        for shape in (SHAPES[0], SHAPES[-1]):
            report.run(f"launches, batch {shape[0]}, width {shape[1]}", launches_of, shape)
    report.summarize_times()


def torch_sees_gpu():
    if not importlib.util.find_spec("torch"):
        return False
    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # so that its profiler finds a context
        return True
    return False


def launches(f, wait, folder, calls=10):
    """Kernels, copies and driver calls per call of f, and its time on the device.

    PyTorch's profiler records them by CUPTI, which sees the whole process.
    """
    from torch.profiler import ProfilerActivity, profile

    f()
    wait()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        for _ in range(calls):
            f()
        wait()
    path = folder / "trace.json"
    trace.export_chrome_trace(str(path))
    counts = {"device us": 0.0, "kernel": 0.0}
    for event in json.loads(path.read_text())["traceEvents"]:
        kind = event.get("cat")
        if kind in ("kernel", "gpu_memcpy", "gpu_memset"):
            counts["device us"] += event["dur"] / calls
        elif kind in ("cuda_runtime", "cuda_driver"):
            kind = event["name"]
        else:
            continue
        counts[kind] = counts.get(kind, 0.0) + 1 / calls
    return counts


# ---- torch


def torch_speed(report, folder):
    """PyTorch eager and as a CUDA graph; without a GPU one shape on the CPU."""
    import torch
    from torch_sac import TorchSAC, captured

    gpu = torch_sees_gpu()
    where, wait = ("cuda", torch.cuda.synchronize) if gpu else ("cpu", lambda: None)

    def time_of(kind, batch, width):
        adam = {"fused": True, "capturable": kind == "graph"} if gpu else {}
        agent = TorchSAC(INPUTS, ACTIONS, width, where, **adam)
        sizes = (INPUTS, ACTIONS, INPUTS, ACTIONS, ACTIONS)
        s, a, s2, noise, noise2 = (torch.randn(batch, n, device=where) for n in sizes)
        r, terminated = torch.randn(batch, device=where), torch.zeros(batch, device=where)
        run = functools.partial(agent.update, s, a.tanh(), r, s2, terminated, noise, noise2)
        if kind == "graph":
            run = captured(run)
        before = agent.actor[0].weight.detach().clone()
        result = microseconds(run, wait)
        after = agent.actor[0].weight.detach()
        result["ok"] = bool(after.isfinite().all()) and not torch.equal(before, after)
        if gpu and (batch, width) == SHAPES[0]:
            result["launches"] = launches(run, wait, folder)
        return result

    for shape in SHAPES if gpu else SHAPES[:1]:
        for kind in ("eager", "graph") if gpu else ("eager",):
            name = f"{kind} on {where}, batch {shape[0]}, width {shape[1]}"
            report.run(name, time_of, kind, *shape)
    report.summarize_times()


if __name__ == "__main__":
    job, path = sys.argv[1], Path(sys.argv[2])
    globals()[job](Report(path), path.parent)
