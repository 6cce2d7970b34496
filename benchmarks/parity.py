"""npr and Stable-Baselines3 with the same settings: learning curves compared by permutation tests.

    python benchmarks/parity.py [--seeds 10] [--only DQN CartPole-v1] [--jobs 2]
                                [--peer-python PYTHON] [--show]

Both sides train with the settings below, in processes of one BLAS thread, and are evaluated with
the same deterministic episodes at the same steps. The statistic of a run is the mean return over
all its evaluations; the two-sided permutation test of the difference of means has 200,000 draws,
and Holm's correction is over the rows of a table. Statistic, test and seeds were fixed before the
first run. A second table compares npr's clipping, of actor and critic separately, with that of one
norm.

Curves are stored as those of suite.py, in parity_NAME_npr.npz and parity_NAME_sb3.npz. Runs that
are stored are not repeated. --peer-python is a Python that has stable-baselines3.
"""

import argparse
import functools
import importlib.metadata
import itertools
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

CHECKPOINTS, EPISODES, FINAL_EPISODES = 10, 10, 50
# sides: with "own" settings npr clips the gradients of actor and critic separately, as by default
LIBRARIES = ("npr", "sb3")
OWN = "npr_own"
FIRST_SEED = 30_000


class Pair(NamedTuple):
    """A training in both libraries. The settings have SB3's names, which are npr's too."""

    algorithm: str
    env: str
    steps: int
    n_envs: int
    net_arch: list[int]
    activation: str
    settings: dict[str, Any]

    @property
    def name(self):
        return f"{self.algorithm}_{self.env}"

    @property
    def plain(self):
        """What is stored as the settings of its runs."""
        return json.loads(json.dumps(self._asdict()))


OFF_POLICY = {
    "learning_rate": 1e-3, "buffer_size": 50_000, "learning_starts": 500, "batch_size": 100,
    "tau": 0.005, "gamma": 0.98, "train_freq": 1, "gradient_steps": 1,
}  # fmt: skip
# one norm of actor and critic is clipped in SB3
ON_POLICY = {"ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5}
PAIRS = [
    Pair("DQN", "CartPole-v1", 40_000, 1, [64, 64], "relu", {
        "learning_rate": 1e-3, "buffer_size": 50_000, "learning_starts": 1_000, "batch_size": 64,
        "tau": 1.0, "gamma": 0.99, "train_freq": 4, "gradient_steps": 1,
        "target_update_interval": 250, "exploration_fraction": 0.2,
        "exploration_initial_eps": 1.0, "exploration_final_eps": 0.05, "max_grad_norm": 10.0,
    }),
    Pair("PPO", "CartPole-v1", 40_960, 8, [64, 64], "tanh", {
        **ON_POLICY, "n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3,
        "gamma": 0.98, "gae_lambda": 0.8, "clip_range": 0.2,
    }),
    Pair("A2C", "CartPole-v1", 100_000, 8, [64, 64], "tanh", {
        **ON_POLICY, "n_steps": 5, "learning_rate": 7e-4, "gamma": 0.99, "gae_lambda": 1.0,
        "use_rms_prop": True, "normalize_advantage": False,
    }),
    Pair("PPO", "Pendulum-v1", 102_400, 4, [64, 64], "tanh", {
        **ON_POLICY, "n_steps": 1_024, "batch_size": 64, "n_epochs": 10, "learning_rate": 1e-3,
        "gamma": 0.9, "gae_lambda": 0.95, "clip_range": 0.2,
    }),
    Pair("A2C", "Pendulum-v1", 200_000, 8, [64, 64], "tanh", {
        **ON_POLICY, "n_steps": 8, "learning_rate": 7e-4, "gamma": 0.9, "gae_lambda": 0.9,
        "use_rms_prop": True, "normalize_advantage": False,
    }),
    Pair("A2C", "LunarLander-v3", 200_000, 8, [64, 64], "tanh", {  # as in RL Baselines3 Zoo
        **ON_POLICY, "n_steps": 5, "learning_rate": "linear:8.3e-4", "gamma": 0.995,
        "gae_lambda": 1.0, "ent_coef": 1e-5, "use_rms_prop": True, "normalize_advantage": False,
    }),
    Pair("SAC", "Pendulum-v1", 5_000, 1, [64, 64], "relu", {**OFF_POLICY, "ent_coef": "auto"}),
    Pair("TD3", "Pendulum-v1", 7_500, 1, [64, 64], "relu", {
        **OFF_POLICY, "policy_delay": 2, "target_policy_noise": 0.2, "target_noise_clip": 0.5,
    }),
]  # fmt: skip
EXPLORATION_NOISE = 0.1  # of TD3: normal, for actions in [-1, 1]


# ---- one library, in its own process


def machine():
    """The versions of this Python, which may not have npr."""
    found = {"python": platform.python_version()}
    for name in ("npr-rl", "stable-baselines3", "torch", "numpy", "numba", "gymnasium"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def npr_agent(pair, seed, joint_clip=True):
    import npr

    kind = getattr(npr, pair.algorithm)
    given = {
        **kind.defaults(),  # in place of the preset's
        "n_envs": pair.n_envs, "net_arch": pair.net_arch, "activation": pair.activation,
        "verbose": 0, **pair.settings,
    }  # fmt: skip
    if "joint_clip" in kind.settings:
        given["joint_clip"] = joint_clip
    if pair.algorithm == "TD3":
        given |= {"action_noise": "normal", "exploration_noise": EXPLORATION_NOISE}
    return kind(pair.env, seed=seed, **given)


def sb3_agent(pair, seed):
    import gymnasium
    import numpy as np
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise

    torch.set_num_threads(1)
    env = make_vec_env(lambda: scaled(gymnasium.make(pair.env)), pair.n_envs, seed=seed)
    given = dict(pair.settings)
    if isinstance(given["learning_rate"], str):
        first = float(given["learning_rate"].removeprefix("linear:"))
        given["learning_rate"] = lambda rest: first * rest
    if pair.algorithm == "TD3":
        size = env.action_space.shape[0]
        given["action_noise"] = NormalActionNoise(np.zeros(size), EXPLORATION_NOISE * np.ones(size))
    activations = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    return getattr(stable_baselines3, pair.algorithm)(
        "MlpPolicy", env, seed=seed, device="cpu",
        policy_kwargs={
            "net_arch": pair.net_arch, "activation_fn": activations[pair.activation]
        }, **given,
    )  # fmt: skip


AGENTS = {
    "npr": npr_agent, OWN: functools.partial(npr_agent, joint_clip=False), "sb3": sb3_agent,
}  # fmt: skip


def scaled(env):
    """An environment with actions in [-1, 1], to which npr scales the actions of every policy."""
    import gymnasium
    import numpy as np

    if not isinstance(env.action_space, gymnasium.spaces.Box):
        return env
    return gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))


def train(library, pair, seed):
    """Train one run, and print it as JSON."""
    import gymnasium  # here, since a library may be missing in one of two Pythons
    from ppo_early import returns

    agent = AGENTS[library](pair, seed)
    envs = [gymnasium.make(pair.env) for _ in range(FINAL_EPISODES)]
    if library == "sb3":
        envs = [scaled(env) for env in envs]
    steps, curve, outside = [], [], 0.0

    def evaluate(*_):
        """A callback of both libraries. SB3 calls it before the update that follows a step, npr
        after it: one step after a checkpoint both have made the updates up to there."""
        nonlocal outside
        checkpoint = (len(steps) + 1) * pair.steps // CHECKPOINTS
        if agent.num_timesteps > checkpoint:
            start = time.process_time()
            steps.append(checkpoint)
            curve.append(float(returns(agent, envs[:EPISODES]).mean()))
            outside += time.process_time() - start
        return True

    start = time.process_time()
    agent.learn(pair.steps, callback=evaluate)
    seconds = time.process_time() - start - outside
    final = returns(agent, envs).tolist()
    steps.append(pair.steps)
    curve.append(sum(final[:EPISODES]) / EPISODES)
    print(json.dumps({
        "seed": seed, "steps": steps, "curve": curve, "final": final,
        "seconds": round(seconds, 2), "trained": agent.num_timesteps,
        "machine": machine(),
    }))  # fmt: skip


# ---- all runs


def sides(pair):
    """npr and SB3, and npr with its own clipping where that is another."""
    return (*LIBRARIES, OWN) if pair.algorithm in ("PPO", "A2C") else LIBRARIES


def stored_as(library, pair):
    return f"parity_{pair.name}_{library}"


def jobs(pairs, seeds, peer_python):
    """The runs that are not stored, as jobs that store them."""
    import records
    from runner import Job

    from npr.system.machine import cpu_name

    found = []
    for seed, pair in itertools.product(seeds, pairs):
        for library in sides(pair):
            name = stored_as(library, pair)
            held = records.load(name)
            same = held is not None and held.settings == pair.plain
            if same and seed in {run.seed for run in held.runs}:
                continue

            def store_run(result, name=name, pair=pair):
                result["machine"]["cpu"] = cpu_name()
                run = records.Run(**result)
                records.add(name, pair.plain, [run])
                return f"{run.final.mean():,.1f}"

            python = peer_python if library == "sb3" else sys.executable
            script = Path(__file__).resolve()
            command = [python, "-W", "ignore", script, "--run", library, pair.name, str(seed)]
            found.append(Job(f"{name}_seed{seed}", command, store_run))
    return found


def statistics(pair):
    """side -> its runs and their statistic, for the sides that are stored with several seeds."""
    import records

    found = {}
    for side in sides(pair):
        record = records.load(stored_as(side, pair))
        if record is not None and record.settings == pair.plain and len(record.runs) > 1:
            found[side] = record, [float(run.curve.mean()) for run in record.runs]
    return found


def holm(p_values):
    """Holm's corrected p-values, in the same order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def compared(ours, theirs):
    """(pair, records, statistics, p, corrected p) of the pairs of which both are stored."""
    from ppo_early import permutation_test

    found = [(pair, statistics(pair)) for pair in PAIRS]
    shown = [(pair, held[ours], held[theirs]) for pair, held in found if {ours, theirs} <= {*held}]
    p_values = [permutation_test(x, y) for _, (_, x), (_, y) in shown]
    return [
        (pair, (a, b), (x, y), p, after)
        for (pair, (a, x), (b, y)), p, after in zip(shown, p_values, holm(p_values))
    ]


def interval(x, y):
    """95 % interval of the difference of the means of x and y, by bootstrap of both."""
    import numpy as np
    import records

    first, second = records.resampled_means([x, y])
    return np.quantile(first - second, [0.025, 0.975])


def table(ours="npr", theirs="sb3"):
    """Lines of a table that compares two sides: by default npr and SB3, with equal settings."""
    import numpy as np
    import records

    names = {"npr": "npr", "sb3": "SB3", OWN: "separate"}
    if theirs == "npr":
        names["npr"] = "one norm"
    a, b = names[ours], names[theirs]
    lines = [
        f"| training | env steps | seeds | {a}, over all evaluations | {b} | difference | "
        f"95 % interval | p | corrected | {a}, at the end | {b} | seconds, {a} | {b} |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for pair, held, (x, y), p, after in compared(ours, theirs):
        means = [f"{np.mean(s):.1f} ({np.std(s, ddof=1) / len(s) ** 0.5:.1f})" for s in (x, y)]
        low, high = interval(x, y)
        finals = [records.summary(record) for record in held]
        lines.append(
            f"| {pair.algorithm} {pair.env} | {pair.steps:,} | {len(x)} | {' | '.join(means)} | "
            f"{np.mean(x) - np.mean(y):+.1f} | {low:+.1f} to {high:+.1f} | {p:.4f} | {after:.3f} | "
            + " | ".join(f"{one.mean:.1f}" for one in finals) + " | "
            + " | ".join(f"{one.seconds:.1f}" for one in finals) + " |"
        )  # fmt: skip
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--only", nargs="*", default=[], help="algorithms and environments")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--show", action="store_true", help="show the results, run nothing")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        library, name, seed = arguments.run
        (pair,) = (one for one in PAIRS if one.name == name)
        train(library, pair, int(seed))
        return
    if not arguments.show:
        from runner import run_all

        words = {*arguments.only}
        if unknown := words.difference(*((pair.algorithm, pair.env) for pair in PAIRS)):
            raise SystemExit(f"Unknown names: {', '.join(sorted(unknown))}.")
        algorithms, envs = ({pair[i] for pair in PAIRS} & words for i in (0, 1))
        pairs = [
            pair for pair in PAIRS
            if (not algorithms or pair.algorithm in algorithms) and (not envs or pair.env in envs)
        ]  # fmt: skip
        seeds = [FIRST_SEED + 100 * i for i in range(arguments.seeds)]  # environments share none
        folder = Path(__file__).resolve().parents[1] / "build" / "parity"
        if failed := run_all(jobs(pairs, seeds, arguments.peer_python), arguments.jobs, folder):
            raise SystemExit(f"Failed: {', '.join(failed)}.")
    print("\n".join([*table(), "", *table(OWN, "npr")]))


if __name__ == "__main__":
    main()
