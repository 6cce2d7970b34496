"""An actor: its environments, and the policy that acts in them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from npr.backend import FLOAT, to_host
from npr.envs.batched import BatchedEnv, Episode
from npr.envs.env_list import EnvList
from npr.envs.episode_log import Mark
from npr.envs.make import open_envs
from npr.envs.workers import MIN_START_TIMEOUT
from npr.errors import NumericsError
from npr.files.generators import generator_state, set_generator_state
from npr.files.parts import is_array
from npr.optim import Optimizer

Columns = dict[str, np.ndarray]  # name -> (steps, environments, ...), but s has one step more
Spec = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]  # name -> shape of a row, dtype

_NOT_FOR_ACTING = {
    "env", "envs", "steps", "logger", "snapshot", "reward_norm", "_policy", "_acting", "_captured",
    "_outputs", "_position", "_optimizers", "_initial", "_normal", "_crash_file", "env_description",
}  # fmt: skip


class Setup(NamedTuple):
    """What an actor is made of; every part can be sent to another process.

    kind     class of the agent
    held     attributes of an agent of this class that can act, from `acting_part`
    env      id, EnvSpec or function
    options  further arguments of `open_envs`
    first    the number of its first environment among all
    total    the number of all environments
    seeds    of the first resets of its environments
    whole    whether it acts for all environments, and uses the actions of its own: so that they do
             not depend on the number of actors
    steps    the most steps of a request
    timeout  seconds that one step, or reset, of all of its environments may take; None: no limit
    threads  of BLAS
    """

    kind: type
    held: dict[str, Any]
    env: Any
    options: dict[str, Any]
    first: int
    total: int
    seeds: list[int]
    whole: bool
    steps: int
    timeout: float | None
    threads: int

    @property
    def n(self) -> int:
        """The number of environments of this actor."""
        return len(self.seeds)

    @property
    def start_timeout(self) -> float | None:
        """Seconds until the environments must be made."""
        return None if self.timeout is None else max(self.timeout, MIN_START_TIMEOUT)


class Request(NamedTuple):
    """Steps to take with one policy.

    weights   of the policy: what `Engine.publish` returned
    steps     how many, at most
    t, end    counters of env steps at the first step, and at the end of the run
    settings  of the agent that have changed
    rng       (WORDS,) state of the generator of exploration; None: the actor's own goes on
    missing   (n,) episodes to complete; the request is done when there are none left. None: all
              steps
    after     steps that the same actors have already taken for the same block
    lost      whether the actor takes the place of a lost one: its first step is not a transition
    """

    weights: Any
    steps: int
    t: int
    end: int
    settings: dict[str, Any]
    rng: np.ndarray | None = None
    missing: np.ndarray | None = None
    after: int = 0
    lost: bool = False


class Event(NamedTuple):
    """Ends of episodes in step t: of the environments `ended`, with `episodes`, and `dropped`."""

    t: int
    ended: list[int]
    episodes: list[Episode]
    dropped: list[int]


class Block(NamedTuple):
    """The answer to a request.

    steps     that were taken
    columns   of these steps: those that the request was given, or new ones
    events    in the order of steps
    rng       (WORDS,) state of the generator of exploration, after the last step; None: unknown
    warnings  (text, category) of each
    """

    steps: int
    columns: Columns
    events: list[Event]
    rng: np.ndarray | None
    warnings: list[tuple[str, type[Warning]]]


def column_spec(n: int, size: int, a_shape: tuple[int, ...], a_dtype: Any) -> Spec:
    """The columns of n environments: s, a, r, s2 and the flags of a record, and the returns and
    lengths of the current episodes after each step."""
    flag = np.dtype(bool)
    return {
        "s": ((n, size), FLOAT), "a": ((n, *a_shape), np.dtype(a_dtype)), "r": ((n,), FLOAT),
        "s2": ((n, size), FLOAT), "terminated": ((n,), flag), "truncated": ((n,), flag),
        "valid": ((n,), flag), "returns": ((n,), np.dtype(float)),
        "lengths": ((n,), np.dtype(np.int64)),
    }  # fmt: skip


def rows_of(name: str, steps: int) -> int:
    """Rows of a column for so many steps: s has also what follows."""
    return steps + (name == "s")


def acting_part(agent: Any) -> dict[str, Any]:
    """Copies of the attributes of an agent that it needs to `explore`: settings, heads, networks,
    statistics of observations, counters, generators, and the parameters that it acts by; no other
    parameters, optimizers and buffers. They can be sent to other processes."""
    *_, theta = agent.acts_by()
    held = {}
    for name, value in vars(agent).items():
        other = is_array(value) and value is not theta
        buffer = getattr(type(value), "group", None) == "buffer"
        closure = callable(value) and name in agent.settings  # a schedule
        if name in _NOT_FOR_ACTING or other or buffer or closure or isinstance(value, Optimizer):
            continue
        held[name] = to_host(theta) if value is theta else value
    return copy.deepcopy(held)


def weights_of(agent: Any) -> np.ndarray:
    """The parameters that an agent acts by, and the scaling of observations, as one flat vector."""
    *_, theta = agent.acts_by()
    parts = [to_host(theta).ravel()]
    if agent.obs_norm is not None:
        parts += agent.obs_norm.scaling
    return np.concatenate(parts)


def load_weights(agent: Any, weights: np.ndarray) -> None:
    """Write weights from `weights_of` to an acting copy."""
    *_, theta = agent.acts_by()
    size = theta.size
    theta[...] = weights[:size].reshape(theta.shape)
    if agent.obs_norm is not None:
        mean, scale = agent.obs_norm.scaling
        mean[...], scale[...] = weights[size:].reshape(2, -1)


class Actor:
    """Steps environments with an acting part of the agent.

    setup     how it is made
    weights   from what a request has for them to the vector
    moved     called before each step; it may set `stopped`, which ends a request
    """

    def __init__(
        self,
        setup: Setup,
        weights: Callable[[Any], np.ndarray] = lambda vector: vector,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self.setup, self._weights, self._moved = setup, weights, moved
        kind: Any = setup.kind
        self.agent = kind.__new__(kind)
        vars(self.agent).update(setup.held)
        self.envs: BatchedEnv = open_envs(
            setup.env, setup.n, np.random.SeedSequence(setup.seeds), **setup.options
        )
        self.envs.seeds, self.envs.first = list(setup.seeds), setup.first
        vars(self.agent)["envs"] = self.envs  # whose episodes the noise of actions depends on
        size = self.envs.row_size
        self.spec = column_spec(setup.n, size, *self.agent.actions.columns())
        self._rows = np.zeros((setup.total, size), FLOAT)
        self._rows[:, self.envs.observations.size :] = 1  # a mask of the others' actions
        self._marks: list[list[tuple[int, Mark]]] = []
        self._seeds_before: list[int | None] = [*setup.seeds]
        self.stopped = False

    def reset(self) -> np.ndarray:
        """Begin new episodes, and return their first observations (n, size)."""
        s = self.envs.reset()
        self._mark_all()
        return s

    def collect(self, request: Request, columns: Columns | None = None) -> Block:
        """Take steps. They are written to `columns`, or else to new ones."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            block = self._collect(request, columns)
        texts = {(str(one.message), one.category): None for one in caught}
        return block._replace(warnings=list(texts))

    def _collect(self, request: Request, columns: Columns | None) -> Block:
        agent, envs, rng = self.agent, self.envs, self.agent.rng["explore"]
        vars(agent).update(request.settings)
        load_weights(agent, self._weights(request.weights))
        agent.counters.end = request.end
        if request.rng is not None:
            set_generator_state(rng, request.rng)
        own = columns is None
        out = columns or {
            name: np.empty((rows_of(name, request.steps), *shape), dtype)
            for name, (shape, dtype) in self.spec.items()
        }
        envs.steps = request.t // self.setup.total  # for messages
        missing = None if request.missing is None else request.missing.copy()
        events: list[Event] = []
        if not request.after:
            self._mark_all()
        t, self.stopped = 0, False
        while t < request.steps:
            self._moved()
            if self.stopped:
                break
            agent.counters.num_timesteps = request.t + t * self.setup.total
            s, a = self._explore()
            if request.lost and t == 0:
                none = np.zeros(envs.n, bool)
                record = s, np.zeros(envs.n, FLOAT), none, none, none
                events.append(Event(0, [], [], list(range(envs.n))))
                self._write(out, 0, s, a, record)
                self._mark_all(1)
            else:
                episode = envs.episode
                record = envs.step(a)
                self._write(out, t, s, a, record)
                if envs.episode is not episode:
                    events.append(self._event(t, episode, record, request.after))
            t += 1
            if missing is not None:
                _, _, terminated, truncated, valid = record
                missing -= valid & (terminated | truncated) & (missing > 0)
                if not missing.any():
                    break
        if envs.s is not None:
            out["s"][t] = envs.s
        if own:
            out = {name: column[: rows_of(name, t)] for name, column in out.items()}
        return Block(t, out, events, generator_state(rng), [])

    def _explore(self) -> tuple[np.ndarray, np.ndarray]:
        """The current observations, and the agent's actions there."""
        agent, first, n = self.agent, self.setup.first, self.envs.n
        s = self.reset() if self.envs.s is None else self.envs.s
        x = s if agent.obs_norm is None else agent.obs_norm(s)
        if not self.setup.whole:
            a: np.ndarray = agent.explore(x)
        else:
            self._rows[first : first + n] = x
            a = agent.explore(self._rows)[first : first + n]
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            raise NumericsError(
                "The policy chose an action that is not finite. The environment was not stepped. "
                "Lower learning_rate, or check the scale of rewards and observations."
            )
        return s, a

    def _write(self, out: Columns, t: int, s: np.ndarray, a: np.ndarray, record: Any) -> None:
        s2, r, terminated, truncated, valid = record
        out["s"][t], out["a"][t], out["r"][t], out["s2"][t] = s, a, r, s2
        out["terminated"][t], out["truncated"][t], out["valid"][t] = terminated, truncated, valid
        out["returns"][t], out["lengths"][t] = self.envs.returns, self.envs.lengths

    def _event(self, t: int, episode: np.ndarray, record: Any, after: int) -> Event:
        """The ends of episodes in step t, before which they had the numbers `episode`."""
        _, _, terminated, truncated, valid = record
        over = self.envs.episode != episode
        ended = np.flatnonzero(over & valid & (terminated | truncated)).tolist()
        dropped = np.flatnonzero(over & ~(valid & (terminated | truncated))).tolist()
        for i in (*ended, *dropped):
            self._mark(i, after + t + 1)
        return Event(t, ended, list(self.envs.finished), dropped)

    # ---- positions

    def _mark_all(self, t: int = 0) -> None:
        if isinstance(self.envs, EnvList):
            self._marks = [[(t, log.mark())] for log in self.envs.logs]

    def _mark(self, i: int, t: int) -> None:
        if self._marks:
            self._marks[i].append((t, self.envs.logs[i].mark()))  # type: ignore[attr-defined]

    def position(self, t: int) -> dict[str, np.ndarray] | None:
        """Where the environments were after t steps of the last block, as `EnvList.state` has it;
        None if they cannot be brought there again."""
        if not self._marks:
            return None
        logs = self.envs.logs  # type: ignore[attr-defined]
        found = []
        if self._marks[0][0][0] > t:  # of an actor in whose place this one is
            return None
        for log, marks in zip(logs, self._marks):
            since, mark = next(one for one in reversed(marks) if one[0] <= t)
            found.append(log.at(mark, t - since))
        seeds, starts, actions = zip(*found)
        return {
            "seed": np.array(seeds, np.int64),
            "start": np.array(starts),
            "taken": np.array([len(one) for one in actions]),
            "actions": np.concatenate([one for one in actions if len(one)] or [np.empty(0)]),
        }

    def resume(self, state: Mapping[str, np.ndarray]) -> str | None:
        """Bring the environments to a position; returns None, or why that is not possible."""
        self._seeds_before = [*self.envs.seeds]
        why = self.envs.resume(dict(state))
        if why is None:
            self._mark_all()
        return why

    def undo_resume(self) -> None:
        """Let the next reset use the seeds that it would have used without `resume`."""
        self.envs.seeds = self._seeds_before

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()
