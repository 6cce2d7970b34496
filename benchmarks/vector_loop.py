"""What the loop over a vector environment costs besides the environment and the update.

    python benchmarks/vector_loop.py [--n 256] [--rounds 5] [--other FOLDER]

PPO with two layers of 64 collects rollouts from a vector environment that computes nothing: spaces
and ends of episodes (1 % of the steps) like CartPole's. Microseconds per environment and step, the
least of the rounds, by part: choosing actions, the step around the environment's, the statistics of
episodes, the log, copying the rollout, and the rest of the loop.

--other names a folder with another version of npr, which is timed in turn, in processes of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
from clock import Clock
from gymnasium.vector import AutoresetMode

STEPS = 64  # of a rollout
PARTS = ("act", "step", "statistics", "log", "rollout", "other")  # "other" is the loop


class NullVectorEnv(gymnasium.vector.VectorEnv):
    """n environments whose steps return arrays that exist."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, n):
        self.num_envs = n
        self.single_observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(2)
        rng = np.random.default_rng(0)
        self.s = rng.normal(size=(STEPS, n, 4)).astype(np.float32)
        self.r, self.none = np.ones(n, np.float32), np.zeros(n, bool)
        self.ends = rng.random((STEPS, n)) < 0.01
        self.t, self.ended = 0, self.none

    def reset(self, *, seed=None, options=None):
        return self.s[0], {}

    def step(self, actions):
        self.t = (self.t + 1) % STEPS
        self.ended = self.ends[self.t] & ~self.ended
        return self.s[self.t], self.r, self.ended, self.none, {}


def measured(n, rounds):
    """Part -> microseconds per environment and step."""
    import npr
    from npr.envs.vector import VectorEnvAdapter
    from npr.settings import PolicyGradient
    from npr.training.run import Run

    clock, rollouts = Clock(), Run.rollouts
    clock.watch(NullVectorEnv, "step", "environment")
    clock.watch(VectorEnvAdapter, "step", "step")
    for name in {"_add", "_count", "_end_episodes"} & set(dir(VectorEnvAdapter)):
        clock.watch(VectorEnvAdapter, name, "statistics")
    clock.watch(Run, "_log_episodes", "log")
    clock.watch(Run, "_rollout", "rollout")
    clock.watch(PolicyGradient, "explore", "act")
    seconds = [0.0]

    def collecting(run, *given):
        """`rollouts`, with the time between two updates."""
        steps = rollouts(run, *given)
        while True:
            start = time.perf_counter()
            try:
                D = next(steps)
            except StopIteration:
                return
            finally:
                seconds[0] += time.perf_counter() - start
            yield D

    Run.rollouts = collecting
    agent = npr.PPO(
        NullVectorEnv(n), seed=0, n_steps=STEPS, batch_size=n * STEPS, n_epochs=1, verbose=0,
        net_arch=[64, 64],
    )  # fmt: skip
    agent.learn(2 * n * STEPS)
    best = {}
    for _ in range(rounds):
        clock.reset()
        seconds[0] = 0.0
        agent.learn(8 * n * STEPS, reset_num_timesteps=False)
        spent = clock.parts(seconds[0])
        for part in PARTS:
            each = 1e6 * spent[part] / (8 * n * STEPS)
            best[part] = min(each, best.get(part, each))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(measured(given.n, 3)))
        return
    here = Path(__file__).resolve().parent.parent
    folders = [here] if given.other is None else [given.other.resolve(), here]
    best = {folder: {} for folder in folders}
    for _ in range(given.rounds):
        for folder, least in best.items():
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--once", "--n", str(given.n)],
                env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            for part, value in json.loads(done.stdout).items():
                least[part] = min(value, least.get(part, value))
    for folder, least in best.items():
        parts = ", ".join(f"{part} {least[part]:.3f}" for part in PARTS)
        print(f"{folder}: {sum(least.values()):.2f} us per environment and step: {parts}")


if __name__ == "__main__":
    main()
