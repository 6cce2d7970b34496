"""The first 16,384 steps of PPO on CartPole-v1: npr and Stable-Baselines3 at equal settings.

    python benchmarks/ppo_early.py [--seeds 30] [--peer-python PYTHON] [--variants npr sb3 ...]
    python benchmarks/ppo_early.py --target-kl [--seeds 5]

The statistic was fixed before the first run. For each seed: the mean, over the 8 checkpoints at
2,048, 4,096, ..., 16,384 steps, of the mean return of 10 deterministic episodes. The episodes of a
checkpoint have the same initial states for all libraries and seeds. Two libraries are compared by
the difference of the means over the seeds, with a two-sided permutation test (200,000 random
permutations of the seeds' labels); p < .05 counts. The seeds are 10,000, 10,100, ...: none of them
was used before, and environments, which take the numbers that follow, share none. npr against
Stable-Baselines3 is the comparison that counts; other variants look for causes.

--target-kl compares settings of target_kl with the preset of CartPole-v1 and its whole budget, and
with a learning rate that is five times as high: returns of 20 episodes, at the end.

Results are kept in benchmarks/ppo_early.json, so that a run that was stopped goes on; runs of
another machine are not mixed with them, but replaced. --peer-python is a Python that has
Stable-Baselines3, by default this one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).with_name("ppo_early.json")
ENV, N_ENVS, CHECKPOINTS, EVERY, EPISODES = "CartPole-v1", 8, 8, 2_048, 10
SETTINGS = {
    "n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3, "gamma": 0.98,
    "gae_lambda": 0.8, "clip_range": 0.2, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5,
}  # fmt: skip
VARIANTS = {  # name -> (library, settings of its own)
    "npr": ("npr", {}),
    "sb3": ("sb3", {}),
    "npr, joint_clip": ("npr", {"joint_clip": True}),
    "npr, vf_share_layers": ("npr", {"vf_share_layers": True}),
}
MAIN = ("npr", "sb3")
BLOCK = 5  # seeds of a variant before the next one has its turn
FAST = {"learning_rate": 5e-3}  # five times the first one of the preset
# name -> (settings beside the preset's, steps; None: the preset's budget)
LIMITS = {
    "target_kl None": ({"target_kl": None}, None),
    "target_kl 0.03": ({"target_kl": 0.03}, None),
    "target_kl 0.01": ({"target_kl": 0.01}, None),
    "learning rate 0.005, target_kl None": ({**FAST, "target_kl": None}, 20_480),
    "learning rate 0.005, target_kl 0.03": ({**FAST, "target_kl": 0.03}, 20_480),
    "learning rate 0.005, target_kl 0.01": ({**FAST, "target_kl": 0.01}, 20_480),
}


# ---- one library, in its own process


def returns(agent, envs):
    """Returns of one deterministic episode in each of these environments."""
    obs = np.array([env.reset(seed=20_000 + i)[0] for i, env in enumerate(envs)])
    total, going = np.zeros(len(envs)), np.ones(len(envs), bool)
    while going.any():
        actions, _ = agent.predict(obs, deterministic=True)
        for i in np.flatnonzero(going):
            obs[i], reward, terminated, truncated, _ = envs[i].step(actions[i])
            total[i] += reward
            going[i] = not (terminated or truncated)
    return total


def npr_agent(seed, given):
    import npr

    return npr.PPO(
        ENV, seed=seed, n_envs=N_ENVS, net_arch=[64, 64], activation="tanh", verbose=0,
        **SETTINGS, **given,
    )  # fmt: skip


def sb3_agent(seed, given):
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    return stable_baselines3.PPO(
        "MlpPolicy", make_vec_env(ENV, N_ENVS, seed=seed), seed=seed, device="cpu",
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}}, **SETTINGS, **given,
    )  # fmt: skip


AGENTS = {"npr": npr_agent, "sb3": sb3_agent}


def side(variant, seeds):
    """Print a line of JSON for each seed."""
    import gymnasium  # here, since a library may be missing in one of two Pythons

    library, given = VARIANTS[variant]
    envs = [gymnasium.make(ENV) for _ in range(EPISODES)]
    for seed in seeds:
        began, curve = time.process_time(), []
        agent = AGENTS[library](seed, given)
        for i in range(CHECKPOINTS):
            agent.learn(EVERY, reset_num_timesteps=not i)
            curve.append(float(returns(agent, envs).mean()))
        seconds = round(time.process_time() - began, 1)
        print(json.dumps({"seed": seed, "curve": curve, "seconds": seconds}), flush=True)


# ---- all variants


def permutation_test(x, y, draws=200_000, seed=0):
    """Two-sided p-value of the difference of the means of x and y."""
    rng, both = np.random.default_rng(seed), np.concatenate([x, y])
    seen, n = abs(np.mean(x) - np.mean(y)), len(x)
    beyond = 0
    for _ in range(draws // 1_000):
        shuffled = rng.permuted(np.tile(both, (1_000, 1)), axis=1)
        gaps = shuffled[:, :n].mean(axis=1) - shuffled[:, n:].mean(axis=1)
        beyond += int((abs(gaps) >= seen - 1e-12).sum())
    return (beyond + 1) / (draws + 1)


def statistics(runs):
    """The statistic of each seed, in the order of the seeds."""
    return np.array([np.mean(runs[seed]["curve"]) for seed in sorted(runs, key=int)])


def shown(held):
    """Lines that show the results."""
    lines = []
    for name, runs in held["early"].items():
        x = statistics(runs)
        curve = np.mean([run["curve"] for run in runs.values()], axis=0)
        lines.append(
            f"{name}: {x.mean():.1f} +- {x.std(ddof=1) / np.sqrt(len(x)):.1f} (standard error, "
            f"{len(x)} seeds); by checkpoint {', '.join(f'{c:.0f}' for c in curve)}"
        )
    for name in held["early"]:
        for other in MAIN:
            if other in held["early"] and name != other and (name, other) != MAIN[::-1]:
                x, y = statistics(held["early"][name]), statistics(held["early"][other])
                p = permutation_test(x, y)
                lines.append(f"{name} - {other}: {x.mean() - y.mean():+.1f}, p = {p:.4f}")
    for name, runs in held["target_kl"].items():
        rows = list(runs.values())
        lines.append(
            f"{name}: return {np.mean([r['return'] for r in rows]):.1f}, "
            f"{np.mean([r['updates'] for r in rows]):.0f} updates, "
            f"{np.mean([r['seconds'] for r in rows]):.1f} s ({len(rows)} seeds)"
        )
    return lines


def load(machine):
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if held.get("machine", {}).get("cpu") != machine["cpu"] or held.get("settings") != SETTINGS:
        return {"machine": machine, "settings": SETTINGS, "early": {}, "target_kl": {}}
    return held


def run_early(held, variants, seeds, peer_python):
    import store

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for first in range(0, len(seeds), BLOCK):
        for variant in variants:
            done = held["early"].setdefault(variant, {})
            wanted = [str(s) for s in seeds[first : first + BLOCK] if str(s) not in done]
            if not wanted:
                continue
            python = peer_python if VARIANTS[variant][0] == "sb3" else sys.executable
            finished = subprocess.run(
                [python, "-W", "ignore", __file__, "--side", variant, "--of", *wanted],
                stdout=subprocess.PIPE, text=True, env=environment, check=True,
            )  # fmt: skip
            for line in finished.stdout.splitlines():
                run = json.loads(line)
                done[str(run.pop("seed"))] = run
            store.write(RESULTS, held)


def run_target_kl(held, seeds):
    import store

    import npr

    for seed in seeds:
        for name, (given, steps) in LIMITS.items():
            done = held["target_kl"].setdefault(name, {})
            if str(seed) in done:
                continue
            began = time.process_time()
            agent = npr.PPO(ENV, seed=seed, verbose=0, **given)
            agent.learn(steps)
            done[str(seed)] = {
                "return": agent.evaluate(episodes=20, seed=20_000).mean,
                "updates": agent.n_updates,
                "seconds": round(time.process_time() - began, 1),
            }
            store.write(RESULTS, held)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, help="how many; by default 30, for --target-kl 5")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(MAIN))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--target-kl", action="store_true")
    parser.add_argument("--show", action="store_true", help="show the results, run nothing")
    parser.add_argument("--side", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments.side, arguments.of)
        return
    import store

    held = load(store.machine())
    seeds = [10_000 + 100 * i for i in range(arguments.seeds or (5 if arguments.target_kl else 30))]
    if arguments.show:
        pass
    elif arguments.target_kl:
        run_target_kl(held, seeds)
    else:
        run_early(held, arguments.variants, seeds, arguments.peer_python)
    print("\n".join(shown(held)))


if __name__ == "__main__":
    main()
