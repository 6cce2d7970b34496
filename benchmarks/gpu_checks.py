"""The jobs of benchmarks/gpu.py that check results: against NumPy, against themselves, in files.

Each is a function of the job's Report. Jobs of one section share the folder `report.folder`.
"""

import contextlib
import copy
import functools
import hashlib
import pickle

import numpy as np
from follow import Follow
from gpu_report import (
    ON_DOUBLE,
    SMALL,
    TOLERANCE,
    Saved,
    error_of,
    graphs_of,
    sac,
    synchronize,
    uploaded,
)
from support import device_cases, kernel_cases
from support.small_agents import next_update, observations

import npr
from npr import autodiff as ad
from npr.backend import CUDA_KERNELS, FLOAT, GRAPHS, ON_HOST, on_host, to_device, to_host, xp
from npr.errors import BackendError
from npr.kernels.cuda import compiler

CASES = [*device_cases.CASES][:: 6 if SMALL else 1]
REPEATS = 4 if SMALL else 20


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


def ops(report):
    """The reference is computed by NumPy in the same process."""
    table = uses()
    with on_host():
        host_table = uses()  # its indices are host arrays

    def values(name, uses):
        """Name of a result -> array, of all uses of an operation; inputs depend on the name."""
        rng, found = np.random.default_rng(list(name.encode())), {}
        positive = name in ("divide", "power", "log", "sqrt")
        for n, (f, shapes) in enumerate(uses):
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
            raise LookupError(f"uses() in benchmarks/gpu_checks.py has no use of {name}")
        found = values(name, table[name])
        with on_host():
            reference = values(name, host_table[name])
        worst = max(error_of(array, reference[key]) for key, array in found.items())
        return {"worst": worst, "ok": worst <= TOLERANCE}

    for name in ad.OPS:
        report.run(name, check, name)
    report.summarize_worst("worst")


# ---- kernels: own CUDA kernels against the same computed by NumPy and by CuPy's operations


WIDTHS = {"forward": 2, "backward": 2}  # kernel -> its argument that is always a host array
RATES = {"adam": 5, "rmsprop": 4, "sgd": 4}  # kernel -> its argument that is a device array


def _arrays(value):
    """The arrays and NumPy scalars in a value, in nested lists and tuples too."""
    if isinstance(value, (np.ndarray, np.generic, xp.ndarray)):
        return [value]
    parts = value if isinstance(value, (list, tuple)) else ()
    return [array for part in parts for array in _arrays(part)]


def kernels(report):
    sizes = ((5, 4),) if SMALL else ((1, 1), (5, 4), (130, 3), (70, 40), (3, 300))

    def outcome(body, arguments, put):
        """The arrays among copied arguments, and those returned, after body(*arguments)."""
        held = [put(i, copy.deepcopy(x)) for i, x in enumerate(arguments)]
        result = body(*held)
        numbers = [isinstance(x, float) for x in arguments]  # rates, which have not changed
        held = [x for x, number in zip(held, numbers) if not number]
        return [to_host(array) for array in _arrays([held, result])]

    def check(name):
        if name not in kernel_cases.CASES:
            raise LookupError(f"tests/support/kernel_cases.py has no case of {name}")
        kernel, (_, draw) = kernel_cases.KERNELS[name], kernel_cases.CASES[name]
        worst = {"numpy": 0.0, "cupy": 0.0}

        def put(i, x):
            if i == WIDTHS.get(name):
                return x
            return uploaded(np.asarray(x, FLOAT) if i == RATES.get(name) else x)

        for seed, (B, n) in enumerate(sizes):
            arguments = draw(kernel_cases.Draw(seed, B, n, FLOAT))
            found = outcome(kernel.device, arguments, put)
            with on_host():
                on_numpy = outcome(kernel.reference, arguments, lambda i, x: x)
            on_cupy = outcome(kernel.reference, arguments, put)
            for side, reference in (("numpy", on_numpy), ("cupy", on_cupy)):
                errors = [error_of(*pair) for pair in zip(found, reference, strict=True)]
                worst[side] = max(worst[side], *errors)
        return {**worst, "ok": max(worst.values()) <= TOLERANCE}

    if not (CUDA_KERNELS and compiler.available()):
        report.add("compiler", {"error": "npr's kernels cannot be compiled on this machine"})
    for name, kernel in kernel_cases.KERNELS.items():
        if kernel.device is not None:
            report.run(name, check, name)
    report.summarize_worst("numpy", "cupy")


# ---- updates: parameters and optimizer averages after one update, on the device against the host


def _times():
    """How often an update is repeated from the same state: on a device with graphs the first call
    runs eagerly, the second is captured, and the third is the first replay."""
    return ("eager", "captured", "replayed") if GRAPHS and not ON_HOST else ("eager",)


def updates(report):
    """The host writes an agent, a batch and what it has learned from it; the device repeats it."""

    def paths(case):
        return [report.folder / f"{case} {FLOAT} {what}" for what in ("before.npz", "after")]

    def write(case):
        before, after = paths(case)
        agent = device_cases.make(case)
        batch = next_update(agent, device_cases.STEPS)
        agent.save(before)
        held = pickle.dumps(batch)
        agent.update(*batch)
        after.write_bytes(pickle.dumps((held, Saved(agent).now())))
        return {}

    def repeat(case):
        before, after = paths(case)
        if not after.exists():
            return {"skipped": "the host has no result for it"}
        held, reference = pickle.loads(after.read_bytes())
        agent, batch = npr.load(before), uploaded(pickle.loads(held))
        saved, worst = Saved(agent), {"params": 0.0, "optim": 0.0}
        for _ in _times():
            saved.restore()
            agent.update(*batch)
            for name, array in saved.now().items():
                kind = name.split("/")[0]
                worst[kind] = max(worst[kind], error_of(array, reference[name]))
        if not ON_DOUBLE:  # the double refuses to wait in any update
            report.run(f"{case}, waiting forbidden", without_waiting, agent, batch)
        held = graphs_of(agent)
        ok = max(worst.values()) <= TOLERANCE and held.get("replays") != 0
        return {**worst, **held, "ok": ok}

    for case in CASES:
        report.run(case, write if ON_HOST else repeat, case)
    if not ON_HOST:
        report.summarize_worst("params", "optim")


def without_waiting(agent, batch):
    """One update in which CuPy raises where the host waits for the device (it may miss some)."""
    import cupyx

    with cupyx.allow_synchronize(False):
        agent.update(*batch)
    return {}


# ---- bits: the same update from the same state, and a run that continues from a file


def _digest(arrays):
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def bits(report):
    """Repeated updates; jobs of the same section must find the bits of the one before.

    With graphs all but the first two repeats are replays, so that this compares them with an eager
    update; the job without graphs compares all with those of the job before.
    """

    def repeat(case):
        if case == "SAC, wide":
            agent, draw = sac(*((32, 32) if SMALL else (256, 256)))
            batch = draw()
        else:
            agent = device_cases.make(case)
            batch = next_update(agent, device_cases.STEPS)
        saved, known = Saved(agent), report.folder / f"{case} digest"
        first = not known.exists()
        digests = [] if first else [known.read_text()]
        for _ in range(REPEATS):
            saved.restore()
            agent.update(*batch)
            digests.append(_digest(saved.now()))
        if first:
            known.write_text(digests[0])
        held, different = graphs_of(agent), len(set(digests))
        ok = different == 1 and held.get("replays") != 0
        return {"runs": len(digests), "results": different, **held, "ok": ok}

    cases = ("DQN", "SAC", "PPO Discrete", "PPO Box", "SoftQ Box", "SAC, wide")
    for case in cases[:: 5 if SMALL else 1]:
        report.run(case, repeat, case)
    report.summarize(", ".join(f"{n} result(s) of {name}" for name, n in report.figures("results")))


class _Stopped(Exception):
    """Ends a run in its middle, after it was saved."""


def resume(report):
    """A run that is saved, loaded and continued must end at the bits of one that was not."""

    def check(case):
        end = 120 if SMALL else device_cases.STEPS
        middle = end // 2

        def stop(agent):
            if agent.num_timesteps >= middle:
                agent.save(path)
                raise _Stopped

        path, whole = report.folder / f"{case} middle.npz", device_cases.make(case).learn(end)
        with contextlib.suppress(_Stopped):
            device_cases.make(case).learn(end, callback=stop)
        resumed = npr.load(path).learn()  # the rest
        same = _digest(Saved(whole).now()) == _digest(Saved(resumed).now())
        return {"updates": whole.n_updates, "same bits": same, "ok": same}

    for case in ("DQN", "PERDQN", "SAC", "PPO Box")[: 1 if SMALL else None]:
        report.run(case, check, case)
    same = [name for name, equal in report.figures("same bits") if equal]
    report.summarize(f"resumed with the same bits: {', '.join(same) or 'none'}")


# ---- learning, files, memory

_ON = {"net_arch": [64, 64], "learning_rate": 1e-3, "gamma": 0.5, "verbose": 0}
_OFF = {**_ON, "learning_starts": 200, "batch_size": 64, "buffer_size": 2_000}
LEARNING = {  # algorithm -> (environments, discrete, settings, mean reward to reach)
    # an untrained agent reaches 0.5 on average if discrete, 0.67 otherwise. Ten seeds on NumPy,
    # 2,000 steps each, reached at least: DQN 0.988, PPO 0.901, SAC 0.984, SoftQ 0.989
    "DQN": (1, True, {**_OFF, "train_freq": 1, "target_update_interval": 50}, 0.9),
    "PPO": (8, False, {**_ON, "n_steps": 25, "batch_size": 50, "n_epochs": 10}, 0.83),
    "SAC": (1, False, _OFF, 0.93),
    "SoftQ": (1, False, {**_OFF, "ent_coef": 0.1}, 0.93),
}


def learning(report):
    """Runs on a task that an agent learns in 2,000 steps with every seed."""
    steps = 200 if SMALL else 2_000

    def learn(name):
        n_envs, discrete, settings, needed = LEARNING[name]
        agent = getattr(npr, name)(Follow(n_envs, discrete=discrete), seed=0, **settings)
        env = Follow(1, discrete=discrete)
        before = agent.evaluate(env=env, episodes=20, seed=1).mean / env.length
        agent.learn(steps, callback=lambda agent: report.left() > 0)
        agent.save(report.folder / "learning.npz")  # refuses parameters that are not finite
        after = agent.evaluate(env=env, episodes=20, seed=1).mean / env.length
        result = {
            "env steps": agent.num_timesteps, "updates": agent.n_updates, "before": before,
            "reward": after, "needed": needed, **graphs_of(agent),
        }  # fmt: skip
        if agent.num_timesteps < steps:
            return {**result, "skipped": "no time was left"}
        return {**result, "ok": after >= (before if SMALL else needed)}

    for name in ("PPO",) if SMALL else LEARNING:
        report.run(name, learn, name)
    report.summarize(
        f"mean reward after {steps:,} steps (before): "
        + ", ".join(
            f"{name} {case['reward']:.3f} ({case['before']:.3f})"
            for name, case in report.cases.items()
            if "reward" in case
        )
    )


def files(report):
    """The first job learns and saves; each later one loads, acts alike, learns on and saves."""
    steps = 60 if SMALL else 200

    def learned(path):
        """Name -> array of the parameters and the optimizers' averages in an agent's file."""
        with np.load(path) as file:
            names = [name for name in file.files if name.startswith(("params/", "optim/"))]
            return {name: file[name] for name in names}

    def pass_on(case):
        path, actions = report.folder / f"{case}.npz", report.folder / f"{case} actions.npy"
        first = not path.exists()
        agent = device_cases.make(case).learn(steps) if first else npr.load(path)
        x = observations(agent, 64)
        result = {}
        if not first:
            again = report.folder / "again.npz"
            agent.save(again)
            before, after = learned(path), learned(again)
            same = all(array.tobytes() == after[name].tobytes() for name, array in before.items())
            worst = error_of(agent.predict(x, deterministic=True)[0], np.load(actions))
            agent.learn(steps // 2)
            result = {"actions": worst, "same bits": same, "ok": same and worst <= 1e-5}
        np.save(actions, agent.predict(x, deterministic=True)[0])
        agent.save(path)
        return result

    for case in ("DQN", "SAC", "PPO Box", "PPO Discrete", "SoftQ Box")[:: 9 if SMALL else 1]:
        report.run(case, pass_on, case)
    if report.figures("actions"):
        report.summarize_worst("actions", allowed=1e-5)


def memory(report):
    report.run("growth", _growth, report)
    report.run("out of memory", _out_of_memory)
    report.summarize("; ".join(text for _, text in report.figures("text")) or "not measured")


def _growth(report):
    """Bytes of CuPy's pool over many updates: they must not grow after the first fifth."""
    updates = 10 if SMALL else 10_000
    agent, draw = sac(*((32, 32) if SMALL else (256, 256)))
    readings = []
    for i in range(updates + 1):
        agent.update(*draw())
        if i % (updates // 10) == 0:
            synchronize()
            if report.left() <= 0:
                break
            pool = xp.get_default_memory_pool()
            readings.append((i, pool.used_bytes(), pool.total_bytes()))
    if len(readings) < 4:
        return {"readings": readings, "skipped": "no time was left"}
    _, used, total = zip(*readings[2:])
    used, total = max(used) - min(used), max(total) - min(total)
    text = f"in {i:,} updates used bytes moved by {used:,}, the pool by {total:,}"
    return {
        "readings": readings, "text": text, **graphs_of(agent),
        "ok": used <= 1 << 20 and total == 0,
    }  # fmt: skip


def _out_of_memory():
    """Where memory is short learn() must raise an error that says how much was asked for and what
    to lower, and the agent must learn on when there is more."""
    if ON_DOUBLE:
        return {"skipped": "the pool of the double has no limit"}
    agent = npr.SAC(
        Follow(1), seed=0, verbose=0, batch_size=65_536, learning_starts=64, buffer_size=1_000
    )
    agent.learn(60)
    pool = xp.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + (32 << 20))
    try:
        agent.learn(64, reset_num_timesteps=False)
        text = "an update that needs more than 32 MB raised nothing"
    except BackendError as error:
        text = str(error)
    finally:
        pool.set_limit(size=0)
    updates = agent.n_updates
    agent.learn(64, reset_num_timesteps=False)
    finite = all(np.isfinite(array).all() for array in Saved(agent).now().values())
    on = finite and agent.n_updates > updates
    return {"text": text, "learns on": on, "ok": on and "batch_size=65536" in text}
