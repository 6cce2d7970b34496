"""npr and other libraries with the same environment, networks, batch and number of updates.

    python benchmarks/peers.py [--rounds 5] [--threads 1 2] [--only "DQN 64x64" ...] [--write]

Every library runs in a process of its own, alternately (A B C A B C); the medians over the rounds
count. The first two rounds are run with each number of BLAS threads, later ones with the better
number of that library; on a machine that others use, two threads wait for each other most of the
time, and --threads 1 leaves them out. A run warms up (imports, compilers, a filled replay) before
it is timed. For npr there are also:

update   the time of an update with the arguments of learn(), with capture and without
         (NPR_CAPTURE=0), alternately with its floor: its matrix products alone, in NumPy
loop     the time per environment step that is spent neither in the environment nor in an update,
         and its parts: act (choose actions), step (around the environment), add and sample (the
         replay), log (of updates), other

--write saves the results in benchmarks/results.json. Libraries that are not installed are skipped:
pip install 'npr-rl[bench]'.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import store
from clock import PARTS, Clock, watch_loop

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}  # library -> its module
NAMES = {"sb3": "SB3", "sbx": "SBX"}
_OFF = {"learning_starts": 1_000, "train_freq": 1, "gradient_steps": 1, "buffer_size": 50_000}
_DQN = {**_OFF, "learning_rate": 1e-3, "batch_size": 64, "target_update_interval": 250}
_SAC = {**_OFF, "learning_rate": 1e-3}

# case -> (algorithm, environment, environments, widths, settings that all libraries share, steps)
CASES = {
    "DQN 64x64, batch 64": ("DQN", "CartPole-v1", 1, [64, 64], _DQN, 3_000),
    "SAC 64x64, batch 100": (
        "SAC", "Pendulum-v1", 1, [64, 64], {**_SAC, "batch_size": 100}, 1_500,
    ),
    "SAC 256x256, batch 256": (
        "SAC", "Pendulum-v1", 1, [256, 256], {**_SAC, "batch_size": 256}, 400,
    ),
    "DDPG 256x256, batch 256": (
        "DDPG", "Pendulum-v1", 1, [256, 256], {**_SAC, "batch_size": 256}, 600,
    ),
    "PPO, 8 environments": (
        "PPO", "CartPole-v1", 8, [64, 64],
        {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3, "gamma": 0.98,
         "gae_lambda": 0.8}, 10_240,
    ),
    "A2C, 8 environments": ("A2C", "CartPole-v1", 8, [64, 64], {"learning_rate": 7e-4}, 10_000),
}  # fmt: skip


# ---- one library, in its own process


def with_arguments(agent, steps):
    """The arguments of the last update in so many env steps of learn()."""
    kind, held = type(agent), []
    update = kind.update

    def keep(self, *arguments):
        held[:] = arguments
        return update(self, *arguments)

    kind.update = keep
    agent.learn(steps, reset_num_timesteps=False)
    kind.update = update
    return held


def alternately(*functions, seconds=1.0, blocks=20):
    """Microseconds of a call of each function, in blocks in turn: the medians."""
    counts, seen = [], [[] for _ in functions]
    for f in functions:
        start = time.perf_counter()
        f()
        each = time.perf_counter() - start
        counts.append(max(1, int(seconds / len(functions) / blocks / each)))
    for _ in range(blocks):
        for f, n, times in zip(functions, counts, seen):
            start = time.perf_counter()
            for _ in range(n):
                f()
            times.append((time.perf_counter() - start) / n)
    return [1e6 * statistics.median(times) for times in seen]


def npr_side(algorithm, env, n_envs, widths, settings, steps):
    import npr

    kind = getattr(npr, algorithm)
    given = {**settings, "net_arch": widths, "n_envs": n_envs}
    defaults = {**kind.defaults(), **given, "verbose": 0}
    warm = settings.get("learning_starts", 2_000) + 50

    def learned():
        return kind(env, seed=0, **defaults).learn(warm)

    agent = learned()
    start = time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    rate = steps / (time.perf_counter() - start)
    arguments = with_arguments(agent, n_envs * settings.get("n_steps", 5))
    multiply = matrix_products(products(algorithm, widths, settings, *SPACES[env]))
    update, floor = alternately(lambda: agent.update(*arguments), multiply)
    clock = Clock()
    watch_loop(clock, agent)
    agent = learned()
    clock.reset()
    start = time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    parts = clock.parts(time.perf_counter() - start)
    parts = {part: 1e6 * parts.get(part, 0.0) / steps for part in PARTS}
    return {"rate": rate, "update": update, "floor": floor, "loop": sum(parts.values()), **parts}


def sb3_side(algorithm, env, n_envs, widths, settings, steps, module="stable_baselines3"):
    import stable_baselines3.common.env_util as env_util

    library = importlib.import_module(module)
    if not hasattr(library, algorithm):
        return {}
    arch = widths if algorithm in ("DQN", "PPO", "A2C") else {"pi": widths, "qf": widths}
    agent = getattr(library, algorithm)(
        "MlpPolicy", env_util.make_vec_env(env, n_envs, seed=0), seed=0,
        policy_kwargs={"net_arch": arch}, **settings,
    )  # fmt: skip
    agent.learn(settings.get("learning_starts", 2_000) + 50)
    start = time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    return {"rate": steps / (time.perf_counter() - start)}


def sbx_side(*case):
    return sb3_side(*case, module="sbx")


# ---- the floor: matrix products alone


def products(algorithm, widths, settings, inputs, actions):
    """(rows, inner, columns) of every matrix product in one update."""
    B = settings.get("batch_size", 40)
    found = []

    def network(n_in, n_out, forward=1, wants_theta=True, wants_x=False):
        sizes = [n_in, *widths, n_out]
        layers = list(zip(sizes, sizes[1:]))
        found.extend((B, n, m) for n, m in layers * forward)
        for i, (n, m) in enumerate(layers):
            found.extend([(n, B, m)] * wants_theta)
            found.extend([(B, m, n)] * (i > 0 or wants_x))

    if algorithm == "DQN":
        network(inputs, actions, forward=2)
    elif algorithm in ("PPO", "A2C"):
        network(inputs, actions)
        network(inputs, 1)
    else:
        critics, outputs = (2, 2 * actions) if algorithm == "SAC" else (1, actions)
        for _ in range(critics):
            network(inputs + actions, 1, forward=2)  # target and loss
            network(inputs + actions, 1, wants_theta=False, wants_x=True)  # the actor's loss
        network(inputs, outputs, forward=2)
    return found


def matrix_products(shapes):
    """A function that computes these products, with results written in place."""
    rng = np.random.default_rng(0)
    work = []
    for n, k, m in shapes:
        A, B = rng.standard_normal((n, k)).astype("f4"), rng.standard_normal((k, m)).astype("f4")
        work.append((A, B, np.empty((n, m), "f4")))

    def multiply():
        for A, B, out in work:
            np.dot(A, B, out=out)

    return multiply


SPACES = {"CartPole-v1": (4, 2), "Pendulum-v1": (3, 1)}  # numbers observed, actions


SIDES = {"npr": npr_side, "eager": npr_side, "sb3": sb3_side, "sbx": sbx_side}


# ---- all libraries in turn


def run(side, case, threads):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    environment["NPR_CAPTURE"] = "0" if side == "eager" else "1"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--side", side, "--case", case],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side}, {case}:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(case, sides, rounds, numbers):
    """{side: {figure: median}}, each side with that of these numbers of threads that it is faster
    with."""
    seen = {(side, threads): [] for side in sides for threads in numbers}
    best = {}
    for number in range(rounds):
        for threads in numbers:
            for side in sides:
                if best.get(side, threads) == threads:
                    seen[side, threads].append(run(side, case, threads))
        if number == min(1, rounds - 1):
            best = {side: max(numbers, key=lambda n: _rate(seen[side, n])) for side in sides}
    medians = {}
    for side, threads in best.items():
        figures = seen[side, threads]
        if not figures[0]:  # the library has no such algorithm
            continue
        medians[side] = {
            name: statistics.median(one[name] for one in figures) for name in figures[0]
        }
        medians[side]["threads"] = threads
    medians["floor"] = {"floor": medians["npr"].pop("floor")}
    return medians


def _rate(figures):
    return statistics.median(one.get("rate", 0) for one in figures)


def shown(case, sides):
    """Lines that show the medians of a case."""
    mine, floor = sides["npr"], sides["floor"]["floor"]
    theirs = [
        f"{NAMES[side]} {sides[side]['rate']:,.0f} ({mine['rate'] / sides[side]['rate']:.1f}x)"
        for side in PEERS if side in sides
    ]  # fmt: skip
    threads = f"{mine['threads']} thread{'s' * (mine['threads'] > 1)}"
    eager = sides["eager"]["update"]
    parts = ", ".join(f"{part} {mine[part]:.1f}" for part in PARTS if mine[part])
    return [
        case,
        f"  steps/s  npr {mine['rate']:,.0f} ({threads}), {', '.join(theirs)}".rstrip(", "),
        f"  update   {mine['update']:,.1f} us, without capture {eager:,.1f}, products alone "
        f"{floor:,.1f}: {mine['update'] / floor:.2f} and {eager / floor:.2f} times these",
        f"  loop     {mine['loop']:.1f} us per step: {parts}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="of BLAS")
    parser.add_argument("--only", nargs="*", default=[], help="prefixes of case names")
    parser.add_argument("--write", action="store_true", help="save the results")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](*CASES[arguments.case])))
        return
    store.show_machine()
    peers = [side for side, module in PEERS.items() if importlib.util.find_spec(module)]
    for side in PEERS.keys() - set(peers):
        print(f"{NAMES[side]} is skipped: it is not installed (pip install 'npr-rl[bench]').")
    rows = []
    for case in CASES:
        if arguments.only and not case.startswith(tuple(arguments.only)):
            continue
        sides = measure(case, ["npr", "eager", *peers], arguments.rounds, arguments.threads)
        rows.append({"case": case, "rounds": arguments.rounds, **sides})
        print("\n".join(shown(case, sides)), flush=True)
    if arguments.write:
        store.keep("training", rows)


if __name__ == "__main__":
    main()
