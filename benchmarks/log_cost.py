"""The cost of logging: the share of the time of learn() that writing rows and episodes takes.

    python benchmarks/log_cost.py [--rounds 3] [--write]

The outputs are progress.csv, progress.jsonl and monitor.csv, at the default interval. The calls
that a run makes because it has outputs are timed within the run, since two runs differ by more than
logging costs. The median over the rounds counts. --write saves it in benchmarks/log_cost.json.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import store

import npr
from npr.loggers import Outputs
from npr.training.run import Run

# algorithm, environment, env steps: some seconds of learning each
CASES = (
    ("QLearning", "CliffWalking-v1", 40_000),
    ("DQN", "CartPole-v1", 3_000),
    ("A2C", "CartPole-v1", 60_000),
    ("PPO", "CartPole-v1", 30_000),
    ("SAC", "Pendulum-v1", 2_000),
)
LOG = ["csv", "jsonl", "monitor"]


def timed(owner, name, spent):
    """Add the seconds of each call of a method to `spent`."""
    original = getattr(owner, name)

    def call(*args):
        start = time.perf_counter()
        try:
            return original(*args)
        finally:
            spent.append(time.perf_counter() - start)

    setattr(owner, name, call)


def share(name, env, budget, spent):
    """Per cent of one run."""
    agent = getattr(npr, name)(env, seed=0, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        agent.learn(budget // 10, log=LOG, log_dir=folder)  # compiles
        spent.clear()
        start = time.perf_counter()
        agent.learn(budget, log=LOG, log_dir=folder)
        return 100 * sum(spent) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore", npr.ConfigWarning)  # that the first log is replaced
    rows, spent = {}, []
    timed(Run, "_log_row", spent)
    timed(Outputs, "episode", spent)
    for name, env, budget in CASES:
        case = f"{name} on {env}"
        shares = [share(name, env, budget, spent) for _ in range(given.rounds)]
        rows[case] = round(statistics.median(shares), 2)
        print(f"{case}, {budget:,} steps: {rows[case]:.2f} %")
    if given.write:
        contents = {"machine": store.machine(), "per cent": rows}
        store.write(Path(__file__).with_suffix(".json"), contents)


if __name__ == "__main__":
    main()
