"""Returns with and without an option, on the environment where it matters.

    python benchmarks/options.py [--seeds 5] [--only masks] [--write]

Every run has fresh evaluation episodes; seconds are those of learn(), CPU time. --write puts the
rows into benchmarks/options.json.
"""

import argparse
import runpy
import time
from pathlib import Path

import numpy as np
import store

import npr

RECORD = Path(__file__).with_name("options.json")
Tricks = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "action_masks.py"))["Tricks"]
KEY = "part", "algorithm", "environment", "steps", "settings"  # of a row in the record
MASKS = {"action_masks": True}
MANY_UPDATES = {"gradient_steps": 20, "train_freq": 1}
HOPPER = {**MANY_UPDATES, "learning_starts": 1_000}
REDQ = {"n_critics": 10, "n_target_critics": 2}
CRITICS = {
    "plain": {}, "layer_norm": {"layer_norm": True}, "REDQ": REDQ,
    "both": {"layer_norm": True, **REDQ},
}  # fmt: skip

# part -> (algorithm, environment, its name, steps, settings, {label: further settings})
CASES = {
    "masks": [
        ("PPO", Tricks, "Tricks", 50_000, {}, {"plain": {}, "masks": MASKS}),
        ("DQN", Tricks, "Tricks", 50_000, {}, {"plain": {}, "masks": MASKS}),
        ("PPO", "Taxi-v4", "Taxi-v4", 200_000, {}, {"plain": {}, "masks": MASKS}),
        ("DQN", "Taxi-v4", "Taxi-v4", 100_000, {}, {"plain": {}, "masks": MASKS}),
        ("QLearning", "Taxi-v4", "Taxi-v4", 20_000, {}, {"plain": {}, "masks": MASKS}),
    ],
    "critics": [("SAC", "Pendulum-v1", "Pendulum-v1", 1_500, MANY_UPDATES, CRITICS)],
    "hopper": [("SAC", "Hopper-v5", "Hopper-v5", 20_000, HOPPER, CRITICS)],
}


def measured(name, env, steps, settings, seed):
    """(mean return of 100 episodes, CPU seconds of learn)."""
    agent = getattr(npr, name)(env, seed=1000 + seed, verbose=0, **settings)
    start = time.process_time()
    agent.learn(steps)
    seconds = time.process_time() - start
    result = agent.evaluate(episodes=100, seed=seed)
    agent.close()
    return result.mean, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    store.show_machine()
    rows = []
    print("| algorithm | environment | steps | option | mean | worst | best | seconds |")
    print("|---|---|--:|---|--:|--:|--:|--:|")
    for part in args.only:
        for name, env, called, steps, settings, options in CASES[part]:
            for label, more in options.items():
                runs = [
                    measured(name, env, steps, {**settings, **more}, seed)
                    for seed in range(args.seeds)
                ]
                returns, seconds = (np.array(column) for column in zip(*runs))
                rows.append({
                    "part": part, "algorithm": name, "environment": called, "steps": steps,
                    "settings": {**settings, **more}, "returns": returns.round(2).tolist(),
                    "seconds": round(float(seconds.mean()), 1),
                })  # fmt: skip
                if args.write:
                    store.keep_rows(RECORD, rows, KEY)
                print(
                    f"| {name} | {called} | {steps:,} | {label} | {returns.mean():.1f} | "
                    f"{returns.min():.1f} | {returns.max():.1f} | {seconds.mean():.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
