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
    """Episodes: the evaluation, observations (B, numbers) in their order, and their bounds."""

    evaluation: Evaluation
    observations: Array
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
    result = evaluate(actor, env, episodes, seed, True, EPISODE_LIMIT, limit)
    low, high = bounds_of(getattr(env, "single_observation_space", env.observation_space))
    return Played(result, thinned(np.concatenate(actor.seen), KEPT), tuple(low), tuple(high))


class _Actor:
    """What `evaluate` needs of a policy, with the actions of a graph."""

    norm = None  # the graph normalizes

    def __init__(self, graph: Graph, policy: Policy):
        self.graph, self.sizes = graph, policy.sizes
        self.observations, self.actions = policy.observations, policy.actions
        self.seen: list[Array] = []

    def choose(self, x: Array, deterministic: bool, rng: np.random.Generator) -> Array:
        numbers = self.graph.decode(x)
        self.seen.append(numbers)
        return self.graph.choose(self.graph.encode(numbers))


def thinned(rows: Array, most: int) -> Array:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    chosen: Array = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    return chosen
