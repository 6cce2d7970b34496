"""Returns and times of `learn()` with its presets, in whole processes including imports.

    python benchmarks/presets.py [--seeds 3] [--only SAC Pendulum-v1] [--write]

Each run is a new interpreter that builds the agent, learns for the preset's budget and evaluates
100 episodes (1,000 for a table). Seconds are those of the whole process without the evaluation.
--write saves the results in benchmarks/presets.json, the source of the README's table. Environments
of Box2D and MuJoCo run only if they are named.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import store

from npr.presets import LONG, PRESETS

RUN = """
import time
import npr
agent = getattr(npr, {algorithm!r})({env!r}, seed={seed}, verbose=0).learn()
start = time.perf_counter()
result = agent.evaluate(episodes=1000 if agent.table else 100, seed=10_000 + {seed})
print(result.mean, time.perf_counter() - start, agent.num_timesteps)
"""


def run(algorithm, env, seed):
    """(mean return, seconds, env steps) of one new process."""
    start = time.perf_counter()
    code = RUN.format(algorithm=algorithm, env=env, seed=seed)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    mean, evaluation, steps = (float(word) for word in done.stdout.split())
    return mean, seconds - evaluation, int(steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of algorithms or environments")
    parser.add_argument("--write", action="store_true", help="save the results")
    arguments = parser.parse_args()
    rows = []
    print(f"{'algorithm':<12} {'environment':<18} {'steps':>9} {'mean':>8} {'worst':>8} {'s':>6}")
    for algorithm, table in PRESETS.items():
        for env in table:
            names = set(arguments.only)
            if names & set(PRESETS) and algorithm not in names:
                continue
            if names - set(PRESETS) and env not in names:
                continue
            if env in LONG and env not in names:
                continue
            runs = [run(algorithm, env, seed) for seed in range(arguments.seeds)]
            scores, seconds = [r[0] for r in runs], sorted(r[1] for r in runs)
            row = {
                "algorithm": algorithm, "env": env, "steps": runs[0][2],
                "mean": sum(scores) / len(scores), "worst": min(scores),
                "seconds": seconds[len(seconds) // 2], "seeds": arguments.seeds,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{algorithm:<12} {env:<18} {row['steps']:>9,} {row['mean']:>8.2f} "
                f"{row['worst']:>8.2f} {row['seconds']:>6.1f}",
                flush=True,
            )
    if arguments.write:
        path = Path(__file__).with_name("presets.json")
        held = {(row["algorithm"], row["env"]): row for row in json.loads(path.read_text())["rows"]}
        held |= {(row["algorithm"], row["env"]): row for row in rows}
        order = [(name, env) for name, table in PRESETS.items() for env in table]
        kept = [held[key] for key in order if key in held]
        machine = store.machine(("numpy", "numba", "gymnasium"))
        store.write(path, {"machine": machine, "rows": kept})


if __name__ == "__main__":
    main()
