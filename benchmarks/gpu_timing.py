"""The jobs of benchmarks/gpu.py that measure time: updates, matrix products, learn(), PyTorch."""

import functools
import importlib.util
import json
import statistics
import time

import numpy as np
from follow import Follow
from gpu_report import (
    ACTIONS,
    AGENTS,
    INPUTS,
    ON_DOUBLE,
    SMALL,
    TOLERANCE,
    error_of,
    graphs_of,
    synchronize,
)
from support import device_cases
from support.small_agents import next_update

import npr
from npr.backend import FLOAT, ON_HOST, to_device, to_host, xp
from npr.kernels import mlp
from npr.kernels.cuda import mlp as own

BATCHES, WIDTHS = (256, 1_024, 4_096, 16_384, 65_536), (256, 1_024, 64, 2_048)
# (algorithm, batch, width), the most important first
CASES = [("SAC", 32, 32), ("PPO", 32, 32)] if SMALL else [
    ("SAC", 256, 256), ("PPO", 64, 64), ("SAC", 4_096, 256), ("PPO", 4_096, 256),
    ("SAC", 256, 1_024), ("SAC", 16_384, 1_024),
]  # fmt: skip
GRID = [("SAC", batch, width) for width in WIDTHS for batch in BATCHES]
LONGEST = 1.5  # seconds that an update may take to be measured


def case_name(algorithm, batch, width):
    return f"{algorithm}, batch {batch}, width {width}"


def microseconds(f, wait, seconds=0.02 if SMALL else 0.4):
    """Median and least time per call, over up to five series of calls that end when the device
    does. The first calls are not counted: they compile, and capture a graph."""

    def series(calls):
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            f()
        wait()
        return 1e6 * (time.perf_counter() - start) / calls

    once = series(1)
    if once < 1e6 * seconds or not ON_HOST:
        series(1)
        once = min(series(1) for _ in range(2))
    calls = max(1, min(200, int(1e6 * seconds / 5 / once)))
    times = [series(calls) for _ in range(5 if once < 2e5 * seconds else 1)]
    return {"us": statistics.median(times), "least us": min(times), "calls": len(times) * calls}


class Prediction:
    """How long an update would take at least, from those that were measured: a large one is as
    efficient as the most efficient so far, or more. Too high while the overhead dominates, so cases
    are measured with growing batches."""

    def __init__(self):
        self.us_per_work = {}

    @staticmethod
    def work(batch, width):
        return batch * width * (width + 64)

    def note(self, algorithm, batch, width, us):
        ratio = us / self.work(batch, width)
        self.us_per_work[algorithm] = min(ratio, self.us_per_work.get(algorithm, ratio))

    def seconds(self, algorithm, batch, width):
        return 1e-6 * self.us_per_work.get(algorithm, 0.0) * self.work(batch, width)


def speed(report):
    """Time of an update; on the device also the host's part of it, and the time with its batch."""
    _speed(report, CASES)
    times = [f"{name}: {us:,.0f} us" for name, us in report.figures("us")]
    report.summarize("; ".join(times) or "no case was finished")
    launches(report)


def grid(report):
    """The same of SAC for many batches and widths."""
    _speed(report, GRID)
    report.summarize(f"{len(report.figures('us'))} of {len(GRID)} cases")


def _speed(report, cases):
    prediction = Prediction()

    def time_of(algorithm, batch, width):
        seconds = prediction.seconds(algorithm, batch, width)
        if seconds > LONGEST:
            return {"skipped": f"an update might take {seconds:,.1f} s", "too slow": True}
        if 5 * seconds > report.left():
            return {"skipped": f"{report.left():.0f} s were left, too few for updates of "
                               f"{seconds:,.1f} s"}  # fmt: skip
        agent, draw = AGENTS[algorithm](batch, width)
        update = functools.partial(agent.update, *draw())
        result = microseconds(update, synchronize)
        prediction.note(algorithm, batch, width, result["us"])
        if ON_HOST:
            return result
        if 1e-6 * result["us"] < 0.05:
            with_batch = microseconds(lambda: agent.update(*draw()), synchronize)
            result["with its batch us"] = with_batch["us"]
            host = []
            for _ in range(20):
                synchronize()
                start = time.perf_counter()
                update()
                host.append(1e6 * (time.perf_counter() - start))
            result["host us"] = statistics.median(host)
        return result | graphs_of(agent)

    for case in cases:
        report.run(case_name(*case), time_of, *case)


# ---- launches, transfers and synchronizations per update


def launches(report):
    """Add what updates with their batches make the device do, counted by the double or by CUPTI."""

    def count(algorithm, batch, width):
        agent, draw = AGENTS[algorithm](batch, width)

        def update():
            agent.update(*draw())

        for _ in range(3):  # eager, captured, replayed
            update()
        found = counted(update) if ON_DOUBLE else traced(update, synchronize, report.folder)
        return found | graphs_of(agent)

    if ON_HOST:
        return
    if not (ON_DOUBLE or torch_sees_gpu()):
        report.add("launches", {"skipped": "launches are counted by a PyTorch that sees the GPU"})
        return
    for case in CASES[:2]:
        report.run(f"launches, {case_name(*case)}", count, *case)


def counts(report):
    """What an update of each algorithm makes the double do, and transfers of a short run.

    The agents are small, but no size changes these counts while products are npr's own kernels.
    """

    def count(name):
        agent = device_cases.make(name)
        batch = next_update(agent, device_cases.STEPS)
        for _ in range(3):  # eager, captured, replayed
            agent.update(*batch)
        update = counted(lambda: agent.update(*batch))
        agent = device_cases.make(name)
        device_cases.reset_counts()
        agent.learn(device_cases.STEPS)
        run, n = device_cases.counts(), agent.n_updates
        learn = {key: run[key] / n for key in ("uploads", "downloads", "synchronizations")}
        return {"update": update, "learn": learn}

    for name in COUNTED:
        report.run(name, count, name)


COUNTED = (
    "DQN", "PERDQN", "SoftQ Box", "DDPG", "TD3", "SAC", "SACS", "SAC Discrete", "REINFORCE",
    "QActorCritic Box", "A2C", "PPO Box", "PPOKL",
)  # fmt: skip
COUNTS = ("kernels", "launches", "graph launches", "uploads", "downloads", "synchronizations")


CALLS = {  # part of the name of a driver's function -> what it counts as
    "GraphLaunch": "graph launches",
    "Launch": "launches",
    "Synchronize": "synchronizations",
}


def counted(f, calls=4):
    """The double's counts per call of f."""
    before = dict(vars(xp.counts))
    for _ in range(calls):
        f()
    found = {name: (n - before[name]) / calls for name, n in vars(xp.counts).items()}
    graphs, inside = found.pop("graph_launches"), found.pop("graph_nodes")
    alone = found["launches"] - graphs
    return {**found, "launches": alone, "graph launches": graphs, "kernels": alone + inside}


def torch_sees_gpu():
    if not importlib.util.find_spec("torch"):
        return False
    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # so that its profiler finds a context
        return True
    return False


def traced(f, wait, folder, calls=10):
    """Kernels, copies and driver calls per call of f, and its time on the device.

    PyTorch's profiler records them by CUPTI, which sees the whole process.
    """
    from torch.profiler import ProfilerActivity, profile

    wait()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        for _ in range(calls):
            f()
        wait()
    path = folder / "trace.json"
    trace.export_chrome_trace(str(path))
    found = dict.fromkeys(("device us", *COUNTS), 0.0)
    for event in json.loads(path.read_text())["traceEvents"]:
        kind, name = event.get("cat"), event.get("name", "")
        if kind in ("kernel", "gpu_memcpy", "gpu_memset"):
            found["device us"] += event["dur"] / calls
        if kind == "kernel":
            found["kernels"] += 1 / calls
        elif kind == "gpu_memcpy":
            for text, key in (("HtoD", "uploads"), ("DtoH", "downloads")):
                found[key] += (text in name) / calls
        elif kind in ("cuda_runtime", "cuda_driver"):
            key = next((key for text, key in CALLS.items() if text in name), None)
            if key:
                found[key] += 1 / calls
    found["synchronizations"] -= 1 / calls  # that of the trace itself
    return found | {"ok": found["kernels"] > 0}


# ---- own matrix products beside cuBLAS


def products(report):
    """Forward and backward of a network by npr's kernels and by cuBLAS, and whole SAC updates with
    either: from which number of multiplications on is cuBLAS faster?"""
    if SMALL:
        shapes, updates = ((1, 8, 8), (2, 40, 16)), ((32, 32),)
    else:
        shapes = [
            (rows, batch, width) for width in (64, 256, 1_024, 2_048) for rows in (1, 2)
            for batch in (64, 256, 1_024, 4_096, 16_384)
        ]  # fmt: skip
        updates = ((256, 256), (1_024, 256), (4_096, 256), (16_384, 256), (256, 1_024),
                   (1_024, 1_024), (4_096, 1_024))  # fmt: skip

    def pair(rows, batch, width):
        sizes, rng = np.array([width, width, width]), np.random.default_rng(0)
        size = 2 * (width + 1) * width
        theta, x = (rng.standard_normal(shape).astype(FLOAT) for shape in
                    ((rows, size), (batch, width)))  # fmt: skip
        theta /= np.sqrt(width).astype(FLOAT)
        g = rng.standard_normal((rows, batch, width)).astype(FLOAT)
        theta, x, g = map(to_device, (theta, x, g))
        kinds = np.array([mlp.RELU, mlp.IDENTITY]), False
        found = {}
        for side, forward, backward in (
            ("own", own.forward, own.backward),
            ("cublas", mlp.forward.reference, mlp.backward.reference),
        ):

            def both(forward=forward, backward=backward):
                work = xp.empty(rows * batch * 2 * width, FLOAT)
                forward(theta, x, sizes, *kinds, work)
                dtheta, dx = xp.empty_like(theta), xp.empty_like(x)
                scratch = xp.empty(mlp.scratch_size(sizes.tolist(), batch), FLOAT)
                backward(theta, x, sizes, *kinds, work, g.copy(), dtheta, dx, scratch)
                return work, dtheta, dx

            found[side] = [to_host(array) for array in both()]
            found[f"{side} us"] = microseconds(both, synchronize, 0.02 if SMALL else 0.1)["us"]
        worst = max(map(error_of, found.pop("own"), found.pop("cublas")))
        return {
            **found, "multiplications": rows * batch * width * width, "worst": worst,
            "ok": worst <= TOLERANCE,
        }  # fmt: skip

    def update(batch, width):
        """With graphs, where the products can be captured."""
        threshold, found = own.CUBLAS_WORK, {}
        for side, work in (("own", 2**62), ("cublas", 0)):
            own.CUBLAS_WORK = work
            try:
                agent, draw = AGENTS["SAC"](batch, width)
                f = functools.partial(agent.update, *draw())
                found[f"{side} us"] = microseconds(f, synchronize)["us"]
            finally:
                own.CUBLAS_WORK = threshold
        return {**found, "multiplications": 2 * batch * width * width}

    for batch, width in updates:
        report.run(f"update of SAC, batch {batch}, width {width}", update, batch, width)
    for rows, batch, width in shapes:
        report.run(f"{rows} x batch {batch}, width {width}", pair, rows, batch, width)
    at = {}
    for kind, of_update in (("updates", True), ("products", False)):
        cases = [
            case for name, case in report.cases.items()
            if "own us" in case and name.startswith("update") == of_update
        ]  # fmt: skip
        at[kind] = crossover([(c["multiplications"], c["own us"], c["cublas us"]) for c in cases])
    report.add("crossover", {"set": own.CUBLAS_WORK, **at})
    report.summarize(
        f"cuBLAS is faster from {_power(at['products'])} multiplications on in products alone, "
        f"from {_power(at['updates'])} in whole updates; CUBLAS_WORK is {_power(own.CUBLAS_WORK)}"
    )


def crossover(rows):
    """The least amount of work from which on the second time is less in all larger cases; None if
    it is not in the largest.

    rows   (work, time, other time)
    """
    at = None
    for work, one, other in sorted(rows, reverse=True):
        if other >= one:
            break
        at = work
    return at


def _power(number):
    return "no number of" if number is None else f"2^{np.log2(number):.1f}"


# ---- learn(): environments, acting, replay and updates together

_NET = {"net_arch": [256, 256], "verbose": 0}
_OFF = {**_NET, "batch_size": 256, "learning_starts": 512, "learning_rate": 3e-4,
        "buffer_size": 100_000, "gradient_steps": 1}  # fmt: skip
_PPO = {**_NET, "n_epochs": 10, "learning_rate": 3e-4}
RUNS = {  # name -> (algorithm, environments, settings)
    "SAC, 1 environment, batch 256, width 256": ("SAC", 1, {**_OFF, "train_freq": 1}),
    "PPO, 1 environment, batch 64, width 64": (
        "PPO", 1, {**_PPO, "net_arch": [64, 64], "n_steps": 2_048, "batch_size": 64},
    ),
    "SAC, 256 environments, batch 4096, width 256": (
        "SAC", 256, {**_OFF, "train_freq": 256, "batch_size": 4_096},
    ),
    "PPO, 256 environments, batch 4096, width 256": (
        "PPO", 256, {**_PPO, "n_steps": 64, "batch_size": 4_096},
    ),
    "PPO, 256 of Pendulum-v1, batch 4096, width 256": (
        "PPO", "Pendulum-v1", {**_PPO, "n_envs": 256, "n_steps": 64, "batch_size": 4_096},
    ),
}  # fmt: skip


_SMALL = {"net_arch": [8, 8], "batch_size": 16}
SMALL_RUNS = {
    "SAC, 1 environment, batch 16, width 8": (
        "SAC", 1, {**_OFF, **_SMALL, "train_freq": 1, "learning_starts": 32},
    ),
    "PPO, 1 environment, batch 16, width 8": ("PPO", 1, {**_PPO, **_SMALL, "n_steps": 32}),
}  # fmt: skip


def steps(report):
    """Environment steps per second of learn(), after the first fifth of the time of a case."""

    def pace(name, seconds):
        algorithm, envs, settings = runs[name]
        env = envs if isinstance(envs, str) else Follow(envs, INPUTS, ACTIONS)
        agent, rounds = getattr(npr, algorithm)(env, seed=0, **settings), []
        start = time.perf_counter()

        def callback(agent):
            """Note the steps after which updates were made: whole rollouts are counted."""
            now = time.perf_counter()
            if agent.n_updates > (rounds[-1][2] if rounds else 0):
                rounds.append((now, agent.num_timesteps, agent.n_updates))
            enough = len(rounds) > 2 and now - start > seconds
            return not enough and report.left() > 0

        agent.learn(10**9, callback=callback)
        later = [one for one in rounds[1:] if one[0] - start > seconds / 5] or rounds[1:]
        if len(later) < 2:
            return {"skipped": f"fewer than three rounds of updates in {seconds:.0f} s"}
        (start, first, n), (end, last, m) = later[0], later[-1]
        return {
            "steps per second": (last - first) / (end - start),
            "updates per second": (m - n) / (end - start), **graphs_of(agent),
        }  # fmt: skip

    runs = SMALL_RUNS if SMALL else RUNS
    for i, name in enumerate(runs):
        seconds = 0.1 if SMALL else min(10.0, 0.8 * report.left() / (len(runs) - i))
        report.run(name, pace, name, seconds)
    paces = report.figures("steps per second")
    text = "; ".join(f"{name}: {pace:,.0f}" for name, pace in paces)
    report.summarize(f"steps per second: {text or 'no case was finished'}")


# ---- PyTorch


def torch_speed(report):
    """PyTorch eager and as a CUDA graph; without a GPU one case of each algorithm on the CPU."""
    import torch
    from torch_updates import TorchPPO, TorchSAC, captured

    gpu = torch_sees_gpu()
    where, wait = ("cuda", torch.cuda.synchronize) if gpu else ("cpu", lambda: None)
    kinds = {"SAC": TorchSAC, "PPO": TorchPPO}

    def time_of(kind, algorithm, batch, width):
        adam = {"fused": True, "capturable": kind == "graph"} if gpu else {}
        agent = kinds[algorithm](INPUTS, ACTIONS, width, where, **adam)
        run = functools.partial(agent.update, *agent.random_batch(batch))
        if kind == "graph":
            run = captured(run)
        before = agent.actor[0].weight.detach().clone()
        result = microseconds(run, wait)
        after = agent.actor[0].weight.detach()
        result["ok"] = bool(after.isfinite().all()) and not torch.equal(before, after)
        if gpu and (algorithm, batch, width) in CASES[:2]:
            result["launches"] = traced(run, wait, report.folder)
        return result

    report.add("torch", {"version": torch.__version__, "where": where})
    for case in CASES if gpu else CASES[:2]:
        for kind in ("eager", "graph") if gpu else ("eager",):
            report.run(f"{kind}, {case_name(*case)}", time_of, kind, *case)
    times = [f"{name}: {us:,.0f} us" for name, us in report.figures("us")]
    report.summarize(f"on {where}: " + ("; ".join(times) or "no case was finished"))
