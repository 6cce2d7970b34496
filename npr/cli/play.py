"""`npr play`: a trained agent in a window, or in a GIF or MP4."""

import argparse
import os
from typing import Any

from npr.cli import agent_files
from npr.errors import ConfigError
from npr.system import streams

HELP = "show a trained agent in a window, or record it as GIF or MP4"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr play`."""
    agent_files.arguments(parser, episodes=3)
    parser.add_argument(
        "--record", metavar="FILE", help="write a .gif or .mp4 instead of showing a window"
    )
    parser.add_argument(
        "--fps", type=float, metavar="N", help="frames per second; default: the environment's"
    )


def run(args: argparse.Namespace) -> int:
    """Play, and print the return and length of each episode."""
    from npr.training import recording

    if args.fps is not None and not 0 < args.fps <= 1000:
        raise ConfigError(f"--fps must be a number above 0, at most 1000, got {args.fps}.")
    if args.record is not None:
        recording.check_file(args.record)
    elif not recording.has_display():
        raise _no_display("DISPLAY is not set", args.file)
    agent, path = agent_files.load(args)
    env = agent_files.env_of(args, agent, "human" if args.record is None else "rgb_array")
    streams.show(agent_files.heading(agent, path))
    given: dict[str, Any] = {
        "episodes": args.episodes, "seed": args.seed, "deterministic": not args.stochastic,
        "episode_limit": agent_files.limit(args),
    }  # fmt: skip
    if args.record is not None:
        result = recording.record(agent, args.record, env, fps=args.fps, **given)
    else:
        made = recording.rendering(agent, "human", env)
        if args.fps is not None:
            made.unwrapped.metadata = {**made.metadata, "render_fps": args.fps}
        try:
            if not recording.open_window(made):
                display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
                raise _no_display(f"{display} cannot be opened", args.file)
            result = recording.play(agent, made, **given)
        finally:
            made.close()
    for number, (total, length) in enumerate(zip(result.returns, result.lengths), 1):
        streams.show(f"episode {number}   return {total:.2f}   length {length}")
    if args.record is not None:
        streams.show(f"written to {args.record}")
    return 0


def _no_display(reason: str, file: str) -> ConfigError:
    return ConfigError(
        f"There is no display to show a window on ({reason}). Write a file: npr play {file} "
        "--record play.gif"
    )
