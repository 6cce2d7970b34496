"""Agents written to a file and read back."""

import npr
from npr.files import checkpoint


def content(agent, path):
    """The bytes of an agent's file; they are equal if and only if the agents are."""
    agent.save(path)
    return path.read_bytes()


def copy_of(agent, path, env=None):
    agent.save(path)
    return npr.load(path, env=env)


def without_workers(agent, path):
    """Everything in an agent's file, but the settings of its workers and the versions."""
    agent.save(path)
    manifest, arrays = checkpoint.read(path)
    settings = {k: v for k, v in manifest["settings"].items() if k not in ("n_workers", "max_lag")}
    kept = {k: v for k, v in manifest.items() if k not in ("settings", "created")}
    return {**kept, "settings": settings}, {k: x.tobytes() for k, x in arrays.items()}
