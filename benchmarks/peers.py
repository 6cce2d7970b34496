"""npr and other libraries with the same environment, networks, batch and number of updates.

    python benchmarks/peers.py [--rounds 3] [--only "DQN 64x64" ...] [--write]

Every library runs in a process of its own, alternately (A B C A B C), with one BLAS thread and with
two; the better number of threads counts, and the median over the rounds. A run warms up (imports,
compilers, a filled replay) before it is timed. For npr there are also the time of an update, its
floor (the matrix products of that update alone, in NumPy) and its loop (the time per environment
step that is spent neither in the environment nor in an update). --write saves the results in
benchmarks/results.json. Libraries that are not installed are skipped: pip install 'npr-rl[bench]'.
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

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}  # library -> its module
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


def timed(f):
    """f, which adds its time to timed.seconds."""

    def wrapped(*arguments):
        start = time.perf_counter()
        result = f(*arguments)
        timed.seconds += time.perf_counter() - start
        return result

    return wrapped


timed.seconds = 0.0


def npr_side(algorithm, env, n_envs, widths, settings, steps):
    import npr

    given = {**settings, "net_arch": widths, "n_envs": n_envs}
    defaults = {**getattr(npr, algorithm).settings, **given, "verbose": 0}
    agent = getattr(npr, algorithm)(env, seed=0, **defaults)
    warm = settings.get("learning_starts", 2_000) + 50
    agent.learn(warm)
    batch, update = None, agent.update

    def keep(*arguments):
        nonlocal batch
        batch = arguments
        return update(*arguments)

    agent.update = keep
    agent.learn(n_envs * settings.get("n_steps", 5), reset_num_timesteps=False)
    agent.update = update
    start = time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    rate = steps / (time.perf_counter() - start)
    seconds = []
    for _ in range(200):
        start = time.perf_counter()
        update(*batch)
        seconds.append(time.perf_counter() - start)
    agent.update = timed(update)
    for one in agent.envs.envs:
        one.step = timed(one.step)
    start = time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    rest = time.perf_counter() - start - timed.seconds
    return {
        "rate": rate, "update": 1e6 * statistics.median(seconds), "loop": 1e6 * rest / steps,
    }  # fmt: skip


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


def floor(shapes, rounds=200):
    """Microseconds of these matrix products, with results written in place."""
    rng = np.random.default_rng(0)
    work = []
    for n, k, m in shapes:
        A, B = rng.standard_normal((n, k)).astype("f4"), rng.standard_normal((k, m)).astype("f4")
        work.append((A, B, np.empty((n, m), "f4")))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for A, B, out in work:
            np.dot(A, B, out=out)
        seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds)


SPACES = {"CartPole-v1": (4, 2), "Pendulum-v1": (3, 1)}  # numbers observed, actions


def floor_side(algorithm, env, n_envs, widths, settings, steps):
    return {"floor": floor(products(algorithm, widths, settings, *SPACES[env]))}


SIDES = {"npr": npr_side, "sb3": sb3_side, "sbx": sbx_side, "floor": floor_side}


# ---- all libraries in turn


def run(side, case, threads):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--side", side, "--case", case],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side}, {case}:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(case, sides, rounds):
    """{side: {"rate" or "floor": median of the better number of threads}}"""
    seen = {}
    for _ in range(rounds):
        for threads in (1, 2):
            for side in sides:
                for key, value in run(side, case, threads).items():
                    seen.setdefault((side, key), {}).setdefault(threads, []).append(value)
    better = {}
    for (side, key), by_threads in seen.items():
        medians = map(statistics.median, by_threads.values())
        better.setdefault(side, {})[key] = (max if key == "rate" else min)(medians)
    return better


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="prefixes of case names")
    parser.add_argument("--write", action="store_true", help="save the results")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](*CASES[arguments.case])))
        return
    peers = [side for side, module in PEERS.items() if importlib.util.find_spec(module)]
    rows = []
    print(f"{'steps/s':<26} {'npr':>8} {'sb3':>8} {'sbx':>8} {'/sb3':>6} {'/sbx':>6}"
          f" {'update':>8} {'floor':>7} {'ratio':>6} {'loop':>6}")  # fmt: skip
    for case in CASES:
        if arguments.only and not case.startswith(tuple(arguments.only)):
            continue
        sides = measure(case, ["npr", *peers, "floor"], arguments.rounds)
        row = {"case": case, "rounds": arguments.rounds, **sides}
        rows.append(row)
        nothing = {"rate": float("nan")}
        rate = {side: sides.get(side, nothing)["rate"] for side in ("npr", *PEERS)}
        update, least = sides["npr"]["update"], sides["floor"]["floor"]
        print(
            f"{case:<26} {rate['npr']:>8.0f} {rate['sb3']:>8.0f} {rate['sbx']:>8.0f} "
            f"{rate['npr'] / rate['sb3']:>6.1f} {rate['npr'] / rate['sbx']:>6.1f} "
            f"{update:>8.0f} {least:>7.0f} {update / least:>6.2f} {sides['npr']['loop']:>6.1f}",
            flush=True,
        )
    if arguments.write:
        store.keep("training", rows)


if __name__ == "__main__":
    main()
