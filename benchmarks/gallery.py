"""A page with twelve agents at work, one per algorithm: build/gallery/gallery.html.

    python benchmarks/gallery.py [--out build/gallery] [--only SAC DQN ...]

Each is trained with its preset and seed 0 in a run folder of its own, if it is not there yet: ten
minutes in all on one core.
"""

import argparse
from pathlib import Path

import npr
from npr import report, runs

AGENTS = {
    "QLearning": "Taxi-v4",
    "Sarsa": "CliffWalking-v1",
    "DQN": "CartPole-v1",
    "PERDQN": "Acrobot-v1",
    "REINFORCE": "CartPole-v1",
    "QActorCritic": "CartPole-v1",
    "PPO": "Acrobot-v1",
    "PPOKL": "Pendulum-v1",
    "DDPG": "Pendulum-v1",
    "SoftQ": "Pendulum-v1",
    "SACS": "Pendulum-v1",
    "SAC": "MountainCarContinuous-v0",
}
LARGEST = 1_000_000  # bytes of the page


def trained(name, env, folder):
    """The run folder of an agent, which is trained if it is not there."""
    run = folder / name
    if not (run / "final.npz").exists():
        print(f"training {name} on {env}", flush=True)
        config = runs.RunConfig(name, env, settings={"verbose": 0})
        if (run / "config.json").exists():
            runs.resume(run)
        else:
            runs.train(config, run)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/gallery"))
    parser.add_argument("--only", nargs="+", choices=AGENTS, default=[*AGENTS], metavar="NAME")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = [trained(name, AGENTS[name], args.out) for name in args.only]
    path = args.out / "gallery.html"
    report.gallery(
        found, path, title="Twelve algorithms at work",
        lead=f"Trained by npr {npr.__version__} with its presets and seed 0. The policies run on "
        "this page as JavaScript. Click a picture and press the arrow keys to take over.",
    )  # fmt: skip
    size = path.stat().st_size
    print(f"written to {path}: {size:,} bytes")
    return 0 if size < LARGEST else 1


if __name__ == "__main__":
    raise SystemExit(main())
