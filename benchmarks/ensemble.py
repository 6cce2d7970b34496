"""Agents with several seeds together, against one after the other.

    python benchmarks/ensemble.py [--seeds 16] [--rounds 5] [ALGORITHM ...]

CPU time per env step of one seed, with the settings of the presets but learning_starts=100. Blocks
of steps of both kinds in turn; the minimum of the rounds counts.
"""

import argparse
import time

import npr

CASES = [
    ("PPO", "CartPole-v1", 2048), ("PPOKL", "CartPole-v1", 2048), ("A2C", "CartPole-v1", 2000),
    ("QActorCritic", "CartPole-v1", 2048), ("DQN", "CartPole-v1", 512),
    ("PERDQN", "CartPole-v1", 512), ("SoftQ", "CartPole-v1", 256), ("SAC", "CartPole-v1", 200),
    ("PPO", "Pendulum-v1", 2048), ("A2C", "Pendulum-v1", 2000), ("DDPG", "Pendulum-v1", 200),
    ("TD3", "Pendulum-v1", 200), ("SoftQ", "Pendulum-v1", 100), ("SAC", "Pendulum-v1", 200),
    ("SACS", "Pendulum-v1", 200),
]  # fmt: skip


def measured(name, env, steps, seeds, rounds):
    """Microseconds per env step of one seed: (one after the other, together)."""
    algorithm, settings = getattr(npr, name), {"verbose": 0}
    if "learning_starts" in algorithm.settings:
        settings["learning_starts"] = 100
    single = [algorithm(env, seed=seed, **settings) for seed in range(seeds)]
    together = npr.ensemble(algorithm, env, seeds=range(seeds), **settings)
    times = []
    for i in range(rounds + 1):
        row = []
        for learners in (single, [together]):
            start = time.process_time()
            for one in learners:
                one.learn(max(steps, 0 if i else 400), reset_num_timesteps=not i)
            row.append(time.process_time() - start)
        times.append(row)
    for one in (*single, together):
        one.close()
    del times[0]  # which compiles and captures
    return [1e6 * min(column) / steps / seeds for column in zip(*times)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("algorithms", nargs="*", metavar="ALGORITHM")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"| algorithm | environment | one by one, us | {args.seeds} together, us | faster |")
    print("|---|---|---|---|---|")
    for name, env, steps in CASES:
        if not args.algorithms or name in args.algorithms:
            single, together = measured(name, env, steps, args.seeds, args.rounds)
            ratio = single / together
            print(f"| `{name}` | {env} | {single:.1f} | {together:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
