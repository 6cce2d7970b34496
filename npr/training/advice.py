"""What is said of settings that are valid, but may not be what was intended."""

import warnings
from collections.abc import Iterator
from typing import Any

from npr.backend import ON_HOST
from npr.envs.make import time_limited
from npr.errors import ConfigWarning
from npr.files.parts import instances
from npr.nn import MLP
from npr.settings import Networks, Replay, Tabular
from npr.system import second_thread


def warn_of_settings(agent: Any, stacklevel: int) -> None:
    """Give each warning about the settings of an agent once in its life."""
    name = type(agent).__name__
    for text in _advice(agent):
        if text not in agent._advised:
            agent._advised.add(text)
            warnings.warn(f"{name}: {text}", ConfigWarning, stacklevel=stacklevel + 1)


def note_on_batches(agent: Any) -> str:
    """A sentence for the headline if a batch is a whole rollout, which works as well; else ""."""
    rollout, batch_size = (
        getattr(agent, "n_steps", 0) * agent.envs.n,
        getattr(agent, "batch_size", 0),
    )
    if not rollout or batch_size <= rollout:
        return ""
    return (
        f" (batch_size={batch_size:,} is more than the n_steps * n_envs = {rollout:,} steps of a "
        "rollout, so that a batch is a whole rollout)"
    )


def widest(agent: Any) -> int:
    """Units of the widest layer of an agent's networks; 0 without a network."""
    return max((max(net.sizes) for net in instances(agent, MLP).values()), default=0)


def note_on_threads(agent: Any) -> str:
    """A line under the headline if a second BLAS thread would pay on this machine now; else ""."""
    rows = getattr(agent, "batch_size", 0) or getattr(agent, "n_steps", 0) * agent.envs.n
    said = second_thread.advice(rows, widest(agent)) if ON_HOST and rows else ""
    return f"{type(agent).__name__}: {said}\n" if said else ""


def _advice(agent: Any) -> Iterator[str]:
    batch_size = getattr(agent, "batch_size", 0)
    if agent.engine != "processes" and not agent.n_workers:
        yield f"engine={agent.engine!r} runs workers, and there are none. Pass n_workers too."
    if isinstance(agent, Replay) and batch_size > agent.buffer_size:
        yield (
            f"batch_size={batch_size:,} is more than buffer_size={agent.buffer_size:,} "
            "transitions, so that every batch repeats some. Raise buffer_size, or lower batch_size."
        )
    if isinstance(agent, Tabular) and agent.traces != "accumulating" and not agent.trace_decay:
        yield f"traces={agent.traces!r} has no effect without trace_decay. Set that too."
    bootstraps = isinstance(agent, Networks) and not hasattr(agent, "n_episodes")
    if bootstraps and agent.gamma == 1 and agent.preset.get("gamma") != 1:
        opened = agent.envs.bases() if agent.envs else []
        limited = agent.max_episode_steps is not None or (
            time_limited(opened[0]) if opened else None
        )
        if limited is False:
            yield (
                "gamma=1 on an environment without a time limit: values grow without bound if an "
                "episode does not terminate. Lower gamma, or set max_episode_steps."
            )
