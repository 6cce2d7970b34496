"""Returns and times of `learn()` with its presets, over many seeds and several arithmetics.

    python benchmarks/presets.py [--seeds 20] [--only SAC Pendulum-v1] [--write]
                                 [--variants Haswell Haswell-numpy Sandybridge Nehalem]

Rounding differs between processors and libraries, and training amplifies it. A variant is the name
of OpenBLAS's kernels (its core types; "native": those of this processor), with "-numpy" if Numba is
off. One process per variant trains all seeds of a preset and evaluates each over 100 episodes
(1,000 for a table). Seconds are the processor's, of the whole process with the first seed of the
first variant, without the evaluation.

--write saves the results in benchmarks/presets.json, the source of the README's table: a variant
replaces the one of the same name if the settings are the same, else all others too. Environments of
Box2D and MuJoCo run only if they are named.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import store
from gates import GATES

from npr.presets import LONG, PRESETS

PATH = Path(__file__).with_name("presets.json")
RUN = """
import time
import npr
spent = 0.0
for seed in range({seeds}):
    agent = getattr(npr, {algorithm!r})({env!r}, seed=seed, verbose=0).learn()
    seconds = time.process_time() - spent
    mean = agent.evaluate(episodes=1000 if agent.table else 100, seed=10_000 + seed).mean
    spent = time.process_time()
    print(mean, seconds, agent.num_timesteps, flush=True)
"""


def environment(variant):
    """The environment variables of a variant."""
    core, _, numpy = variant.partition("-")
    own = {} if core == "native" else {"OPENBLAS_CORETYPE": core}
    return {**os.environ, **own, **({"NPR_NUMBA": "0"} if numpy else {})}


def run(algorithm, env, seeds, variant):
    """[(mean return, seconds, env steps)] of one new process; [] if the CPU cannot run it."""
    code = RUN.format(algorithm=algorithm, env=env, seeds=seeds)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        stdout=subprocess.PIPE, text=True, env=environment(variant),
    )  # fmt: skip
    if done.returncode < 0:
        print(f"{variant} cannot run here: signal {-done.returncode}", file=sys.stderr)
        return []
    done.check_returncode()
    return [tuple(map(float, line.split())) for line in done.stdout.splitlines()]


def summary(algorithm, env, returns):
    """What is kept of the mean returns of several seeds."""
    over = [mean_return >= GATES[algorithm, env] for mean_return in returns]
    return {
        "seeds": len(returns), "mean": statistics.fmean(returns), "worst": min(returns),
        "share": statistics.fmean(over),
    }  # fmt: skip


def row(algorithm, env, runs):
    """A row of presets.json from variant -> [(mean return, seconds, env steps)]."""
    first = next(iter(runs.values()))[0]
    returns = {variant: [r[0] for r in results] for variant, results in runs.items()}
    return {
        "algorithm": algorithm, "env": env, "preset": PRESETS[algorithm][env],
        "steps": int(first[2]), "seconds": first[1],
        "variants": {variant: summary(algorithm, env, r) for variant, r in returns.items()},
    }  # fmt: skip


def merged(held, new):
    """The rows of a file with new ones, in the order of the presets."""
    both = {(row["algorithm"], row["env"]): row for row in held}
    for row in new:
        old = both.get((row["algorithm"], row["env"]))
        if old and old["preset"] == row["preset"]:
            row["variants"] = {**old["variants"], **row["variants"]}
        both[row["algorithm"], row["env"]] = row
    order = [(name, env) for name, table in PRESETS.items() for env in table]
    return [both[key] for key in order if key in both]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="names of algorithms or environments")
    parser.add_argument("--variants", nargs="*", default=["native"], help="arithmetics")
    parser.add_argument("--write", action="store_true", help="save the results")
    arguments = parser.parse_args()
    names = set(arguments.only)
    print(
        f"{'algorithm':<12} {'environment':<24} {'variant':<16} {'steps':>9} {'mean':>8} "
        f"{'worst':>8} {'share':>6} {'s':>6}"
    )
    for algorithm, table in PRESETS.items():
        for env in table:
            if names & set(PRESETS) and algorithm not in names:
                continue
            if names - set(PRESETS) and env not in names:
                continue
            if env in LONG and env not in names:
                continue
            runs = {}
            for variant in arguments.variants:
                results = run(algorithm, env, arguments.seeds, variant)
                if not results:
                    continue
                runs[variant] = results
                one = summary(algorithm, env, [r[0] for r in results])
                print(
                    f"{algorithm:<12} {env:<24} {variant:<16} {int(results[0][2]):>9,} "
                    f"{one['mean']:>8.2f} {one['worst']:>8.2f} {one['share']:>6.0%} "
                    f"{results[0][1]:>6.1f}",
                    flush=True,
                )
            if arguments.write and runs:
                rows = merged(json.loads(PATH.read_text())["rows"], [row(algorithm, env, runs)])
                machine = store.machine(("numpy", "numba", "gymnasium"))
                store.write(PATH, {"machine": machine, "rows": rows})


if __name__ == "__main__":
    main()
