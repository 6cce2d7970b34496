"""The cost of logging: learn() with and without outputs, alternately, in one process.

    python benchmarks/log_cost.py [--rounds 7] [--write]

The outputs are progress.csv, progress.jsonl and monitor.csv, at the default interval. CPU seconds
of the process are compared, by the median over the rounds. --write saves the result in
benchmarks/log_cost.json.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import store

import npr

# algorithm, environment, env steps: some seconds of learning each
CASES = (
    ("QLearning", "CliffWalking-v1", 40_000),
    ("DQN", "CartPole-v1", 3_000),
    ("A2C", "CartPole-v1", 60_000),
    ("PPO", "CartPole-v1", 30_000),
    ("SAC", "Pendulum-v1", 2_000),
)
LOG = ["csv", "jsonl", "monitor"]


def seconds(name, env, budget, log, folder):
    """CPU seconds of one run, the same in every round."""
    agent = getattr(npr, name)(env, seed=0, verbose=0)
    start = time.process_time()
    agent.learn(budget, log=log, log_dir=log and folder)
    return time.process_time() - start


def cost(name, env, budget, rounds):
    """Per cent that logging adds."""
    plain, logged = [], []
    with tempfile.TemporaryDirectory() as folder:
        seconds(name, env, budget, LOG, folder)  # compiles
        for _ in range(rounds):
            plain.append(seconds(name, env, budget, None, None))
            logged.append(seconds(name, env, budget, LOG, folder))
    return 100 * (statistics.median(logged) / statistics.median(plain) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore", npr.ConfigWarning)  # that the log of a round is replaced
    rows = {}
    for name, env, budget in CASES:
        rows[f"{name} on {env}"] = round(cost(name, env, budget, given.rounds), 2)
        print(f"{name} on {env}, {budget:,} steps: {rows[f'{name} on {env}']:+.2f} %")
    if given.write:
        contents = {"machine": store.machine(), "per cent": rows}
        store.write(Path(__file__).with_suffix(".json"), contents)


if __name__ == "__main__":
    main()
