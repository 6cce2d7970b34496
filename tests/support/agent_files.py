"""Agents written to a file and read back."""

import npr


def content(agent, path):
    """The bytes of an agent's file; they are equal if and only if the agents are."""
    agent.save(path)
    return path.read_bytes()


def copy_of(agent, path, env=None):
    agent.save(path)
    return npr.load(path, env=env)
