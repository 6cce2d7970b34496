"""Settings of algorithms with a table, and the steps of their updates that depend on these."""

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np

from npr.errors import ConfigError
from npr.settings.groups import EpsilonGreedy
from npr.settings.setting import setting
from npr.traces import Trail

Row = tuple[int, int, float, int, bool, int]  # s, a, r, s2, terminated, number of the episode


class Tabular(EpsilonGreedy):
    """Temporal-difference learning of a table Q (S, K)."""

    visit_power: float = setting(
        0.0,
        "divide the step size by N(s, a) to this power: 0 constant, 1 harmonic",
        within="[0, 1]",
        fixed=True,
    )
    n_step_return: int = setting(
        1, "env steps of rewards in a target before bootstrapping", within="[1, inf)", fixed=True
    )
    trace_decay: float = setting(
        0.0, "lambda of eligibility traces, per env step; 0: none", within="[0, 1]", fixed=True
    )
    traces: Literal["accumulating", "replacing"] = setting(
        "accumulating", "what a visit does to its trace: add 1, or set it to 1"
    )

    double: bool = False  # whether there are two tables
    tables: Any

    def check(self: Any) -> None:
        super().check()
        name, n = type(self).__name__, self.n_step_return
        if self.trace_decay and n > 1:
            raise ConfigError(
                f"{name}: n_step_return={n} and trace_decay={self.trace_decay} both say how far "
                "back a reward counts. Leave one of them out."
            )
        if self.trace_decay and self.double:
            raise ConfigError(
                f"{name}: double=True updates one step at a time, without trace_decay. Leave one "
                "of them out."
            )

    def zeros(self: Any) -> np.ndarray:
        """A new table (S, K), and what the settings need: two more tables, counts of visits, the
        last steps of episodes, their traces. None where not needed."""
        S, K = self.observations.size, self.actions.size
        own = (2, S, K) if self.double else (S, K)
        self.tables = np.zeros(own) if self.double else None
        self.N = np.zeros(own) if self.visit_power else None
        self.recent = Trail(S * K) if self.n_step_return > 1 else None
        self.eligible = Trail(S * K) if self.trace_decay else None
        self._plain = not (self.double or self.visit_power or self.trace_decay)
        return np.zeros((S, K))

    @property
    def masked_tables(self: Any) -> tuple[str, ...]:
        names = ("Q", "tables") if self.double else ("Q",)
        return names if self.action_masks else ()

    def expectation(self: Any, q: np.ndarray) -> float:
        """The mean of q (K,) over the actions of the epsilon-greedy policy."""
        allowed = q[q > -np.inf] if self.action_masks else q
        mean: float = (1 - self.epsilon) * q.max() + self.epsilon * allowed.mean()
        return mean

    def coin(self: Any) -> int:
        """0, or with double=True the number of the table to update, 0 or 1 at random."""
        return int(self.rng["sample"].random() < 0.5) if self.double else 0

    def returns(self: Any, rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
        """The rows of Run.transitions as (s, a, r, s2, terminated, episode, gamma).

        With n_step_return > 1, r is the discounted sum of so many rewards from a in s on, s2 what
        they lead to and gamma its discount. They are fewer where an episode ends.
        """
        if self.recent is None and self.eligible is None:
            return map(operator.add, rows, itertools.repeat((self.gamma,)))
        current: Iterator[tuple[Any, ...]] = self._current(rows)
        return current if self.recent is None else self._several(current)

    def _current(self: Any, rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
        """`returns` of one step. Before the rows of each step of the environments it forgets the
        episodes that had ended."""
        envs, trail = self.envs, self.eligible if self.recent is None else self.recent
        steps, episodes = envs.steps, envs.episode
        for row in rows:
            if envs.steps != steps:
                trail.keep(episodes)
                steps, episodes = envs.steps, envs.episode
            yield *row, self.gamma

    def _several(self: Any, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """`returns` of several steps. What is waiting for further rewards is in `recent`."""
        recent, K = self.recent, self.actions.size
        for s, a, r, s2, terminated, episode, gamma in rows:
            over = episode not in self.envs.episode.tolist()
            pairs, rewards = recent.setdefault(episode, ([], []))
            pairs.append(s * K + a)
            rewards.append(r)
            while pairs and (over or len(pairs) >= self.n_step_return):
                R = 0.0
                for reward in reversed(rewards):
                    R = reward + gamma * R
                discount = gamma ** len(rewards)
                del rewards[0]
                yield *divmod(pairs.pop(0), K), R, s2, terminated, episode, discount

    def credit(self: Any, s: int, a: int, y: float, episode: int, coin: int = 0) -> None:
        """Q(s, a) <- Q(s, a) + alpha [y - Q(s, a)], in the table `coin` if there are two.

        With trace_decay every pair moves by alpha [y - Q(s, a)] times its trace. With visit_power
        alpha is learning_rate / N^visit_power, N the visits to the pair so far.
        """
        Q, alpha = self.Q, self.learning_rate
        if alpha.__class__ is not float:  # faster than a call for every number
            alpha = self.now(alpha)
        if self._plain:
            before = Q.item(s, a)
            Q[s, a] = before + alpha * (y - before)
            return
        K, N, table = Q.shape[1], self.N, self.tables[coin] if self.double else Q
        pair, q, e = s * K + a, table.reshape(-1), 1.0
        at: Any = pair
        if self.eligible is not None:
            # traces of an algorithm that learns about the best actions end at the others
            cut = self.off_policy and q[pair] < table[s].max()
            decay = 0.0 if cut else self.gamma * self.trace_decay
            at, e = self.eligible.visit(episode, pair, decay, self.traces == "replacing")
        if N is not None:
            visits = (N[coin] if self.double else N).reshape(-1)
            visits[pair] += 1
            alpha = alpha / visits[at] ** self.visit_power
        q[at] += alpha * (y - q[pair]) * e
        if self.double:
            Q[s, a] = self.tables[:, s, a].mean()
