"""Parts of npr and of other libraries: tables, EnvPool, sum tree, GAE, import, compiling, solving.

    python benchmarks/pieces.py [--rounds 5] [--only import ...] [--rltools PROGRAM] [--write]

In every case, npr and the other libraries run alternately; the medians count. Processes are timed
from the start of Python; a cold start has an empty cache of kernels. --write saves the results in
benchmarks/results.json.

RLtools is a C++ library, with environments of its own in C++. Its trainings of Pendulum-v1 are
repeated with their settings, in Gymnasium's environment, and the times that it publishes are
quoted, with the machine that they were taken on. --rltools (or the variable NPR_RLTOOLS) names its
program rl_environments_pendulum_sac_benchmark, which is then run in turn with npr. In its
repository, with OpenBLAS for C:

    g++ -std=c++17 -Ofast -march=native -DBENCHMARK -DRL_TOOLS_BACKEND_ENABLE_OPENBLAS \\
        -DRL_TOOLS_DISABLE_TENSORBOARD -DRL_TOOLS_DISABLE_HDF5 -I include \\
        src/rl/environments/pendulum/sac/cpu/training.cpp -lopenblas -o rltools_sac
"""

import argparse
import functools
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings

import numpy as np
import store


def microseconds(f, seconds=0.1):
    """The best of seven timings of a call."""
    f()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        f()
        n += 1
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(n // 7 + 1):
            f()
        best = min(best, (time.perf_counter() - start) / (n // 7 + 1))
    return 1e6 * best


def process(code, **environment):
    """Seconds of a new interpreter that runs this code; its output goes to stderr."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, stdout=sys.stderr,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", **environment},
    )  # fmt: skip
    return time.perf_counter() - start


# ---- tables: the environment is the lower bound

STEPS = 20_000


@functools.cache
def table_agent(algorithm):
    import npr

    agent = getattr(npr, algorithm)("CliffWalking-v1", seed=0, verbose=0)
    return agent.learn(1_000)


def table_npr(algorithm):
    agent = table_agent(algorithm)
    start = time.perf_counter()
    agent.learn(STEPS, reset_num_timesteps=False)
    return 1e6 * (time.perf_counter() - start) / STEPS


def table_bare():
    """The same environment with random actions, without an agent."""
    import gymnasium

    env = gymnasium.make("CliffWalking-v1", disable_env_checker=True)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(4, size=STEPS).tolist()
    start = time.perf_counter()
    for a in actions:
        _, _, terminated, truncated, _ = env.step(a)
        if terminated or truncated:
            env.reset()
    return 1e6 * (time.perf_counter() - start) / STEPS


# ---- environments of EnvPool, which steps them in threads of C++

ENVPOOL_STEPS = 16_384


@functools.cache
def envpool_of(n):
    import envpool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that spaces are rounded to float32
        return envpool.make("CartPole-v1", env_type="gymnasium", num_envs=n, seed=0)


@functools.cache
def envpool_agent(n, own):
    """PPO with n environments: npr's own ones, or EnvPool's."""
    import npr

    env, rows = ("CartPole-v1" if own else envpool_of(n)), 2_048
    agent = npr.PPO(env, seed=0, n_envs=n, n_steps=rows // n, batch_size=256, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that EnvPool ignores the seed of reset()
        return agent.learn(2 * rows)


def envpool_npr(n, own):
    agent = envpool_agent(n, own)
    start = time.perf_counter()
    agent.learn(ENVPOOL_STEPS, reset_num_timesteps=False)
    return 1e6 * (time.perf_counter() - start) / ENVPOOL_STEPS


def envpool_bare(n):
    """Its environments alone, with random actions. A pool of its own: the agent's must not move."""
    import envpool

    env = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=n, seed=0)
    env.reset()
    actions = np.random.default_rng(0).integers(2, size=(ENVPOOL_STEPS // n, n), dtype=np.int32)
    start = time.perf_counter()
    for a in actions:
        env.step(a)
    return 1e6 * (time.perf_counter() - start) / actions.size


# ---- prioritized replay: sample 64 of 2^20 and set new priorities

SIZE, BATCH = 1 << 20, 64


@functools.cache
def prioritized_npr():
    from npr.buffers import PrioritizedReplayBuffer

    rng = np.random.default_rng(0)
    buffer = PrioritizedReplayBuffer(SIZE, 4, alpha=0.6)
    s, a = rng.standard_normal((SIZE, 4), np.float32), rng.integers(2, size=SIZE)
    buffer.add(s, a, s[:, 0], s, s[:, 1] > 2)
    buffer.set_priorities(np.arange(SIZE), rng.random(SIZE))
    return buffer, rng, rng.random(BATCH)


def sum_tree_npr():
    buffer, rng, errors = prioritized_npr()
    return microseconds(lambda: buffer.set_priorities(buffer.sample(BATCH, rng, 0.4)[-1], errors))


@functools.cache
def prioritized_cpprb():
    from cpprb import PrioritizedReplayBuffer

    rng = np.random.default_rng(0)
    columns = {"s": {"shape": 4}, "a": {"dtype": np.int64}, "r": {}, "s2": {"shape": 4}, "t": {}}
    buffer = PrioritizedReplayBuffer(SIZE, columns, alpha=0.6)
    s, a = rng.standard_normal((SIZE, 4), np.float32), rng.integers(2, size=SIZE)
    buffer.add(s=s, a=a, r=s[:, 0], s2=s, t=s[:, 1] > 2)
    buffer.update_priorities(np.arange(SIZE), rng.random(SIZE))
    return buffer, rng.random(BATCH)


def sum_tree_cpprb():
    buffer, errors = prioritized_cpprb()
    return microseconds(
        lambda: buffer.update_priorities(buffer.sample(BATCH, 0.4)["indexes"], errors)
    )


# ---- GAE over 2,048 steps of 8 environments

T, N = 2_048, 8


def gae_npr():
    from npr.kernels import gae

    rng = np.random.default_rng(0)
    r, v, v2 = rng.standard_normal((3, T, N), np.float32)
    done = (rng.random((T, N)) < 0.01).astype(np.float32)
    return microseconds(lambda: gae(r, v, v2, done, done, 0.99, 0.95))


def gae_sb3():
    import gymnasium.spaces as gs
    import torch
    from stable_baselines3.common.buffers import RolloutBuffer

    rng = np.random.default_rng(0)
    buffer = RolloutBuffer(T, gs.Box(-1, 1, (4,)), gs.Discrete(2), "cpu", 0.95, 0.99, N)
    buffer.rewards, buffer.values = rng.standard_normal((2, T, N), np.float32)
    buffer.episode_starts = (rng.random((T, N)) < 0.01).astype(np.float32)
    last, dones = torch.zeros(N, 1), np.zeros(N)
    return microseconds(lambda: buffer.compute_returns_and_advantage(last, dones))


# ---- import and first update

FIRST = {
    "PPO": "npr.PPO('CartPole-v1', n_envs=1, n_steps=64, verbose=0).learn(64)",
    "SAC": "npr.SAC('Pendulum-v1', learning_starts=1, verbose=0).learn(2)",
}


def importing(module):
    return lambda: process(f"import {module}")


def first_update(algorithm, cold):
    def run():
        with tempfile.TemporaryDirectory() as empty:
            cache = {"NUMBA_CACHE_DIR": empty} if cold else {}
            return process(f"import npr; {FIRST[algorithm]}", **cache)

    return run


# ---- solving: the mean of 20 deterministic episodes, evaluated at regular intervals

SOLVE_NPR = """
import npr

def solved(agent):
    if agent.num_timesteps % {every} == 0:
        return agent.evaluate(episodes=20, seed=1).mean < {goal}

agent = npr.{algorithm}({env!r}, seed={seed}, verbose=0).learn(callback=solved)
mean = agent.evaluate(episodes=20, seed=1).mean
print("npr", agent.num_timesteps, "steps", mean)
assert mean >= {goal}, "not solved"
"""
SOLVE_SB3 = """
import stable_baselines3 as sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

env, test = make_vec_env({env!r}, {n_envs}, seed={seed}), make_vec_env({env!r}, 1, seed=1)
agent, mean = sb3.{algorithm}("MlpPolicy", env, seed={seed}, **{settings}), -1e9
while mean < {goal} and agent.num_timesteps < 100_000:
    agent.learn({every}, reset_num_timesteps=False)
    mean = evaluate_policy(agent, test, n_eval_episodes=20)[0]
print("sb3", agent.num_timesteps, "steps", mean)
assert mean >= {goal}, "not solved"
"""
# npr's settings are its presets, Stable-Baselines3's those of its zoo, without schedules
SOLVE = {
    "DQN": {"env": "CartPole-v1", "goal": 475, "every": 2_000},
    "PPO": {
        "env": "CartPole-v1", "goal": 475, "every": 4_096, "n_envs": 8,
        "settings": {
            "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gae_lambda": 0.8, "gamma": 0.98,
            "learning_rate": 1e-3,
        },
    },
    "SAC": {
        "env": "Pendulum-v1", "goal": -200, "every": 500, "n_envs": 1,
        "settings": {"learning_rate": 1e-3},
    },
}  # fmt: skip


def solving(algorithm, template):
    """Seconds of a whole process, with one BLAS thread, for each seed in turn."""
    seeds = iter(range(1_000))

    def run():
        code = template.format(algorithm=algorithm, seed=next(seeds), **SOLVE[algorithm])
        return process(code, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

    return run


# ---- RLtools: its trainings of Pendulum-v1, as whole processes

AS_RLTOOLS = {
    "SAC": (
        10_000,
        "net_arch=[64, 64], batch_size=100, learning_rate=1e-3, learning_starts=100, "
        "buffer_size=10_000, train_freq=1, gradient_steps=1, tau=0.005, gamma=0.99",
    ),
    "TD3": (
        10_000,
        "net_arch=[64, 64], batch_size=100, learning_rate=1e-3, learning_starts=100, "
        "buffer_size=10_000, train_freq=1, gradient_steps=1, tau=0.005, gamma=0.99, policy_delay=2",
    ),
    "PPO": (
        303_104,
        "net_arch=[64, 64], batch_size=256, learning_rate=1e-3, n_envs=4, n_steps=1_024, "
        "n_epochs=2, gamma=0.9, gae_lambda=0.95, ent_coef=0.0, normalize_obs=True",
    ),
}
_SOURCE = "https://github.com/rl-tools/rl-tools/blob/master/"
# algorithm -> the file with RLtools' own times, and (seconds, machine) of each
PUBLISHED = {
    "SAC": (
        f"{_SOURCE}src/rl/environments/pendulum/sac/cpu/training.cpp",
        [(1.94, "AMD Ryzen 9 7945HX, MKL"), (1.68, "Apple M3 Pro")],
    ),
    "TD3": (
        f"{_SOURCE}tests/src/rl/algorithms/td3/full_training_test.cpp",
        [(5.5, "Lenovo P1"), (2.5, "MacBook M1")],
    ),
    "PPO": (
        f"{_SOURCE}src/rl/environments/pendulum/ppo/cpu/README.md",
        [(0.566, "AMD Ryzen 9 7945HX, MKL"), (0.751, "the same, OpenBLAS")],
    ),
}


def as_rltools(algorithm):
    steps, settings = AS_RLTOOLS[algorithm]
    agent = f"npr.{algorithm}('Pendulum-v1', seed=0, verbose=0, {settings})"
    return lambda: process(f"import npr; {agent}.learn({steps})", OPENBLAS_NUM_THREADS="1")


def rltools(program):
    """Seconds of its program, which trains SAC."""

    def run():
        start = time.perf_counter()
        subprocess.run(
            [program], check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
        return time.perf_counter() - start

    return run


# case -> (unit, {library: function that measures it once})
CASES = {
    **{
        f"{name} on CliffWalking-v1": (
            "us per step",
            {"npr": functools.partial(table_npr, name), "bare environment": table_bare},
        )
        for name in ("QLearning", "Sarsa")
    },
    **{
        f"PPO on {n} CartPole-v1": (
            "us per step",
            {
                "npr": functools.partial(envpool_npr, n, own=True),
                "with EnvPool": functools.partial(envpool_npr, n, own=False),
                "EnvPool alone": functools.partial(envpool_bare, n),
            },
        )
        for n in (8, 64)
    },
    "sum tree of 2^20, sample and update 64": (
        "us", {"npr": sum_tree_npr, "cpprb": sum_tree_cpprb},
    ),
    "GAE of (2048, 8)": ("us", {"npr": gae_npr, "sb3": gae_sb3}),
    "import": (
        "s",
        {
            "npr": importing("npr"), "numpy": importing("numpy"),
            "sb3": importing("stable_baselines3"), "sbx": importing("sbx"),
        },
    ),
    **{
        f"first update of {name}, {'cold' if cold else 'warm'}": (
            "s", {"npr": first_update(name, cold)},
        )
        for name in FIRST for cold in (False, True)
    },
    **{
        f"{name} solves {case['env']}": (
            "s",
            {"npr": solving(name, SOLVE_NPR)}
            | ({"sb3": solving(name, SOLVE_SB3)} if "settings" in case else {}),
        )
        for name, case in SOLVE.items()
    },
    **{
        f"{name} on Pendulum-v1, {steps:,} steps as RLtools": (
            "s", {"npr": as_rltools(name)}, name,  # that RLtools has published times of
        )
        for name, (steps, _) in AS_RLTOOLS.items()
    },
}  # fmt: skip
NEEDS = {  # side -> the module and the package of its library
    "sb3": ("stable_baselines3", "stable-baselines3"),
    "sbx": ("sbx", "sbx-rl"),
    "cpprb": ("cpprb", "cpprb"),
    "with EnvPool": ("envpool", "envpool"),
    "EnvPool alone": ("envpool", "envpool"),
}


def missing():
    """{side: sentence} of the sides whose library is not installed."""
    return {
        side: f"{side} is skipped: pip install {package}"
        for side, (module, package) in NEEDS.items()
        if not importlib.util.find_spec(module)
    }


def shown(row):
    """Lines that show the medians of a case."""
    sides = {k: v for k, v in row.items() if k not in ("case", "unit", "rounds", "published")}
    figures = [
        f"{side} {value:.3g}" + ("" if side == "npr" else f" ({value / row['npr']:.2f}x)")
        for side, value in sides.items()
    ]
    lines = textwrap.wrap(f"{row['unit']}: {', '.join(figures)}", 96)
    if "published" in row:
        times = (f"{seconds:g} s ({machine})" for seconds, machine in row["published"]["times"])
        lines += [f"RLtools has published {', '.join(times)}:", row["published"]["source"]]
    return [row["case"], *(f"  {line}" for line in lines)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="prefixes of case names")
    parser.add_argument("--rltools", default=os.environ.get("NPR_RLTOOLS"), help="RLtools' program")
    parser.add_argument("--write", action="store_true", help="save the results")
    arguments = parser.parse_args()
    store.show_machine()
    absent, rows = missing(), []
    for sentence in absent.values():
        print(sentence)
    program = arguments.rltools and shutil.which(arguments.rltools)
    if arguments.rltools and not program:
        raise SystemExit(f"--rltools: {arguments.rltools} is not a program.")
    if not program:
        print("RLtools is not measured: --rltools or NPR_RLTOOLS names no program")
    for case, (unit, sides, *published) in CASES.items():
        if arguments.only and not case.startswith(tuple(arguments.only)):
            continue
        sides = {side: measure for side, measure in sides.items() if side not in absent}
        if program and published == ["SAC"]:
            sides["RLtools"] = rltools(program)
        seen = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, measure in sides.items():
                seen[side].append(measure())
        medians = {side: statistics.median(values) for side, values in seen.items()}
        row = {"case": case, "unit": unit, "rounds": arguments.rounds, **medians}
        for name in published:
            source, times = PUBLISHED[name]
            row["published"] = {"source": source, "times": times}
        rows.append(row)
        print("\n".join(shown(row)), flush=True)
    if arguments.write:
        store.keep("pieces", rows)


if __name__ == "__main__":
    main()
