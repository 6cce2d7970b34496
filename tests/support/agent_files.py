"""Agents written to a file and read back."""

import npr


def content(agent, path):
    """The bytes of an agent's file: two agents with the same are the same to the last bit."""
    agent.save(path)
    return path.read_bytes()


def copy_of(agent, path, env=None):
    agent.save(path)
    return npr.load(path, env=env)
