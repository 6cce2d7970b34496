"""Returns of uniformly random actions, for the scores in docs/results.md.

    python benchmarks/random_policy.py

Writes benchmarks/random_policy.json: environment -> mean return of 100 episodes.
"""

import json
from pathlib import Path

import gymnasium
import numpy as np
import store
from tasks import GROUPS, zoo

RESULTS = Path(__file__).with_name("random_policy.json")
EPISODES = 100


def environments():
    """Those of tasks with the zoo's env steps."""
    return {task.env for group in GROUPS.values() for task in group if zoo(task) is not None}


def mean_return(env_id, episodes=EPISODES):
    env = gymnasium.make(env_id)
    env.action_space.seed(0)
    returns = []
    for episode in range(episodes):
        env.reset(seed=episode)
        total, done = 0.0, False
        while not done:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def load():
    return json.loads(RESULTS.read_text())["returns"]


def main():
    returns = {env: round(mean_return(env), 2) for env in sorted(environments())}
    machine = store.machine(("gymnasium", "box2d", "mujoco"))
    store.write(RESULTS, {"episodes": EPISODES, "machine": machine, "returns": returns})


if __name__ == "__main__":
    main()
