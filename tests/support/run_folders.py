"""Writes the files of run folders, as npr and Stable-Baselines3 do."""

import json
from pathlib import Path

import numpy as np


def monitor(path, returns, lengths, seconds=None, start=100.0, env="Pendulum-v1"):
    """A monitor.csv; an episode takes half a second if `seconds` are not given."""
    seconds = 0.5 * np.arange(1, len(returns) + 1) if seconds is None else seconds
    lines = [f"#{json.dumps({'t_start': start, 'env_id': env})}", "r,l,t"]
    lines += [f"{r},{l},{t}" for r, l, t in zip(returns, lengths, seconds)]
    path.write_text("\n".join(lines) + "\n")
    return path


def progress(path, rows):
    """A progress.csv with these columns."""
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values()))]
    path.write_text("\n".join(lines) + "\n")


def evaluations(path, timesteps, results):
    results = np.array(results)
    np.savez(path, timesteps=np.array(timesteps), results=results, ep_lengths=results.astype(int))


def write_run(
    folder, algorithm="SAC", env="Pendulum-v1", seed=0, settings=None, returns=(1.0, 2.0),
    lengths=None, rows=None, evaluated=None, **others,
):  # fmt: skip
    """A run folder; episodes have 10 steps if `lengths` are not given."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "algorithm": algorithm,
        "env": env,
        "seed": seed,
        "settings": settings or {},
        **others,
    }
    (folder / "config.json").write_text(json.dumps(config))
    lengths = [10] * len(returns) if lengths is None else lengths
    monitor(folder / "monitor.csv", returns, lengths, env=env)
    if rows:
        progress(folder / "progress.csv", rows)
    if evaluated:
        evaluations(folder / "evaluations.npz", *evaluated)
    return folder
