"""`npr eval`: the returns of a trained agent."""

import argparse
import json

import numpy as np

from npr.cli import agent_files
from npr.system import streams

HELP = "run complete episodes with a trained agent, and report their returns and lengths"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr eval`."""
    agent_files.arguments(parser, episodes=100)
    parser.add_argument("--json", action="store_true", help="print JSON, with every episode")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the result."""
    agent, path = agent_files.load(args)
    env = agent_files.env_of(args, agent)
    if not args.json:
        where = f" in {args.env}" if args.env else ""
        actions = "sampled" if args.stochastic else "deterministic"
        streams.show(agent_files.heading(agent, path))
        streams.show(f"{args.episodes} episodes{where}, {actions} actions, seed {args.seed}")
    result = agent.evaluate(
        env, args.episodes, args.seed, not args.stochastic, agent_files.limit(args)
    )
    if args.json:
        about = {
            "file": str(path),
            "algorithm": type(agent).__name__,
            "env": args.env or agent.env_id,
            "num_timesteps": agent.num_timesteps,
            "episodes": args.episodes,
            "seed": args.seed,
            "deterministic": not args.stochastic,
        }
        numbers = {"mean": result.mean, "std": result.std, "min": float(result.returns.min())}
        numbers |= {"max": float(result.returns.max()), "mean_length": result.lengths.mean().item()}
        if result.success_rate is not None:
            numbers["success_rate"] = result.success_rate
        held = {"returns": result.returns.tolist(), "lengths": result.lengths.tolist()}
        if result.successes is not None:
            held["successes"] = result.successes.tolist()
        streams.show(json.dumps(about | numbers | held))
        return 0
    for name, values in (("return", result.returns), ("length", result.lengths)):
        streams.show(f"{name}   {_summary(values)}")
    if result.success_rate is not None:
        streams.show(f"success  {result.success_rate:.2f}")
    return 0


def _summary(values: np.ndarray) -> str:
    numbers = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return "   ".join(f"{name} {number:.2f}" for name, number in numbers.items())
