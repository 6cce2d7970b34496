"""Episodes with a policy as it is written: its return, and the observations that it meets."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.export.card import bounds_of
from npr.export.graph import Array, Graph
from npr.policy import Policy
from npr.training.evaluation import EPISODE_LIMIT, Evaluation, evaluate

KEPT = 10_000  # observations


@dataclass(frozen=True)
class Played:
    """Episodes: the evaluation, observations (B, numbers) in their order, masks (B, graph.mask) of
    actions, and the bounds of observations."""

    evaluation: Evaluation
    observations: Array
    masks: Array
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def play(
    graph: Graph, policy: Policy, env: Any, episodes: int, seed: int | None, limit: int | None
) -> Played:
    """Run episodes with the deterministic actions of a graph; same seed, same episodes.

    env     an Env or VectorEnv
    limit   steps of an episode; None: those of the environment
    """
    actor: Any = _Actor(graph, policy)
    masked = graph.masked
    result = evaluate(actor, env, episodes, seed, True, EPISODE_LIMIT, limit, masked)
    low, high = bounds_of(getattr(env, "single_observation_space", env.observation_space))
    seen, masks = (thinned(np.concatenate(rows), KEPT) for rows in (actor.seen, actor.masks))
    return Played(result, seen, masks, tuple(low), tuple(high))


class _Actor:
    """What `evaluate` needs of a policy, with the actions of a graph."""

    norm = None  # the graph normalizes

    def __init__(self, graph: Graph, policy: Policy):
        self.graph, self.sizes = graph, policy.sizes
        self.observations, self.actions = policy.observations, policy.actions
        self.seen: list[Array] = []
        self.masks: list[Array] = []

    def choose(
        self, x: Array, deterministic: bool, rng: np.random.Generator, masks: Array | None = None
    ) -> Array:
        size = self.observations.size
        if self.graph.masked and self.sizes is not None:
            x, masks = x[:, :size], x[:, size:]
        numbers = self.graph.decode(x)
        self.seen.append(numbers)
        self.masks.append(np.zeros((len(x), 0)) if masks is None else masks)
        return self.graph.choose(self.graph.encode(numbers), None, masks)


def thinned(rows: Array, most: int) -> Array:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    chosen: Array = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    return chosen
