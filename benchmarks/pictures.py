"""The pictures of the README: docs/curves.png, table.png, policies.png and profile.png.

    python benchmarks/pictures.py [--only curves table policies profile]

Trains small agents for each, two minutes in all on two cores (needs npr-rl[plot]).
"""

import argparse
import time
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

import npr
from npr.plot import compare, curves, curves_text, policy, profile, table

DOCS = Path(__file__).parent.parent / "docs"


class TwoTargets(gymnasium.Env):
    """One step: the reward is highest at the actions -1 and 1."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        distance = abs(abs(float(action[0])) - 1)
        return np.zeros(1, np.float32), 1 - distance**2, True, False, {}


def draw_curves(path):
    """Returns of SAC on Pendulum-v1 with two learning rates, five seeds of each."""
    agents = [
        npr.SAC("Pendulum-v1", seed=seed, verbose=0, net_arch=[64, 64], learning_rate=rate).learn(
            5_000
        )
        for rate in (1e-3, 3e-4)
        for seed in range(5)
    ]
    curves(agents, smooth=3, each=True, path=path)
    print(curves_text(agents, smooth=3))


def draw_table(path):
    """Value maps of Q-learning and Sarsa on CliffWalking-v1."""
    agents = {
        f"{name}: exploration 10 %": algorithm("CliffWalking-v1", seed=0, verbose=0).learn(50_000)
        for name, algorithm in (("Q-learning", npr.QLearning), ("Sarsa", npr.Sarsa))
    }
    table(agents, path=path)


def draw_policies(path):
    """SoftQ beside SAC where two actions are equally good, with the same temperature."""
    same = {
        "seed": 0, "verbose": 0, "ent_coef": 0.05, "net_arch": [64, 64], "learning_rate": 1e-3,
        "batch_size": 64, "learning_starts": 500,
    }  # fmt: skip
    agents = {
        "SoftQ": npr.SoftQ(TwoTargets, n_particles=32, target_update_interval=200, **same),
        "SAC": npr.SAC(TwoTargets, **same),
    }
    for agent in agents.values():
        agent.learn(4_000)
    policy(agents, np.zeros(1, np.float32), path=path)


def draw_profile(path):
    """Success of twenty short runs of Q-learning and Sarsa on FrozenLake-v1."""
    scores = {
        name: [
            algorithm("FrozenLake-v1", seed=seed, verbose=0).learn(20_000).evaluate(seed=0).mean
            for seed in range(20)
        ]
        for name, algorithm in (("QLearning", npr.QLearning), ("Sarsa", npr.Sarsa))
    }
    profile(
        scores, xlabel="share of 100 evaluation episodes that reach the goal (tau)",
        title="FrozenLake-v1 after 20,000 steps", path=path,
    )  # fmt: skip
    for a, b, p, (low, high) in compare(scores):
        print(f"P({a} > {b}) = {p:.2f}, 95% interval {low:.2f} to {high:.2f}")


PICTURES = {
    "curves": draw_curves, "table": draw_table, "policies": draw_policies, "profile": draw_profile,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PICTURES, default=[*PICTURES])
    for name in parser.parse_args().only:
        start, path = time.process_time(), DOCS / f"{name}.png"
        PICTURES[name](path)
        seconds, size = time.process_time() - start, path.stat().st_size
        print(f"{path.name}: {seconds:.1f} s of one core, {size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
