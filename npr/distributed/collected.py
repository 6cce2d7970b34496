"""Environments that actors step, as a BatchedEnv of the learner."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from npr.distributed.actor import Block, Columns, Event, Request, rows_of, weights_of
from npr.distributed.actors import Actors
from npr.distributed.engine import ActorError, Stop
from npr.envs import engines
from npr.envs.batched import NOT_RESUMABLE, BatchedEnv, Record, State
from npr.envs.make import is_vector, make_env, open_envs, sendable
from npr.envs.remake import is_normalizing
from npr.errors import ConfigError, ResumeWarning
from npr.files.generators import generator_state
from npr.settings import Replay

MOST_STEPS = 1024  # of a block that is collected while the agent learns


class ActorEnvs(BatchedEnv):
    """Environments that actors step and act in; the learner gets the same steps, one by one, as a
    list of environments would give it.

    Actors of an agent that learns from rollouts wait while it learns. Those of an agent with a
    replay buffer collect the next block of steps while it learns from one: actions are then at most
    `max_lag` updates old.

    agent     whose actors these are; they start with its first step
    seeds     as for BatchedEnv
    options   further arguments of `open_envs`
    say       as for `open_envs`
    """

    acts = True

    def __init__(
        self,
        agent: Any,
        seeds: np.random.SeedSequence,
        options: dict[str, Any],
        say: Callable[[str], object],
    ) -> None:
        _check(agent)
        self.source, self.options = sendable(agent.env), {**options}
        self.shares = np.array_split(np.arange(agent.n_envs), agent.n_workers)
        if agent.vectorization == "auto":
            self.options["vectorization"] = self._fastest(agent, say)
        # one environment, to know the spaces and wrappers
        self.probe = open_envs(self.source, 1, np.random.SeedSequence(0), **self.options)
        if any(map(is_normalizing, self.probe.described())):
            self.probe.close()
            raise ConfigError(
                f"n_workers={agent.n_workers}: every actor would have statistics of its own in the "
                "environment's normalizing wrappers. Use normalize_obs=True and "
                "normalize_reward=True of the agent instead."
            )
        super().__init__(
            agent.n_envs, self.probe.observation_space, self.probe.action_space, seeds,
            table=False, scale_images=agent.flatten_images,
            error_policy=options["error_policy"], owned=True,
            action_masks=options["action_masks"],
        )  # fmt: skip
        self.agent, self._first_seeds = agent, [seed for seed in self.seeds if seed is not None]
        self.is_ahead = isinstance(agent, Replay)  # whether the next block is collected meanwhile
        self.lag = 0  # the most updates that an action was older than, since the last row of a log
        self._actors: Actors | None = None
        self._pending: tuple[Request, int] | None = None  # not answered, and n_updates before
        self._left_with: Any = None  # `_policy` by which the steps to show were collected
        self._position: State | None = None  # that the actors must be brought to
        self._forget_block()

    def _forget_block(self) -> None:
        self._block: Columns = {}
        self._steps, self._t, self._version = 0, 0, 0  # of the block, those shown, its n_updates
        self._events: dict[int, Event] = {}
        self._valid: list[bool] = []  # whether all rows of a step are valid

    @property
    def actors(self) -> Actors:
        """The actors, which are started."""
        if self._actors is None:
            self._actors = Actors(
                self.agent, self.source, self.options, self.shares, self._first_seeds,
                self._seed_source, self.is_ahead,
            )  # fmt: skip
        return self._actors

    def _fastest(self, agent: Any, say: Callable[[str], object]) -> engines.Vectorization:
        """The engine that steps the environments of each actor, for vectorization="auto"."""
        make = functools.partial(
            make_env, self.source, agent.max_episode_steps, self.options["env_kwargs"]
        )
        plain = not self.options["env_kwargs"] and agent.nan_obs != "terminate"
        n = len(self.shares[0])
        found, why = engines.fastest(agent.env, n, None, make, plain)
        if found == "async":
            found, why = "sync", "workers are processes"
        say(f"vectorization='auto' takes {found!r} in each worker: {why}")
        return found

    def bases(self) -> Any:
        return self.probe.bases()

    def described(self) -> Any:
        return self.probe.described()

    def metrics(self) -> dict[str, float]:
        lag, self.lag = self.lag, 0
        restarts = 0 if self._actors is None else self._actors.restarts
        return {"worker_restarts": restarts, **({"policy_lag": lag} if self.is_ahead else {})}

    def close(self) -> None:
        if self._actors is not None:
            self._actors.close()
            self._actors = None
        self.probe.close()

    # ---- steps

    def step(self, a: np.ndarray) -> Record:
        raise NotImplementedError("Actors choose their actions: use `advance`.")

    def reset(self) -> np.ndarray:
        self._drop_answers()
        self._position = None
        self._forget_block()
        self._start_statistics()
        self.s = None
        try:
            self.s = np.concatenate(self.actors.ask("reset"))
        except ActorError as error:
            self._drop_answers()
            raise error.error from error.error.__cause__
        return self.s

    def advance(
        self, steps: int, missing: np.ndarray | None, stop: Stop
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Record]:
        """(s, a, episode, record) of the next step of all environments.

        steps     how many the agent will take with its current policy, at most; its budget may end
                  before
        missing   (n,) episodes that it waits for; None: all these steps

        stop() is called while this waits, and may raise.
        """
        if self._t == self._steps:
            try:
                self._next_block(steps, missing, stop)
            except ActorError as error:
                self._drop_answers()
                self._drop_block()
                self.s = None
                raise error.error from error.error.__cause__
        t, block, episode = self._t, self._block, self.episode
        if not self.is_ahead:  # the same numbers as `explore` draws
            self.agent.head.noise(self.agent.rng["explore"], (self.n,))
        self._t, self.s, self.finished = t + 1, block["s"][t + 1], []
        self.steps += 1
        event = self._events.get(t)
        if event is not None:
            self.finished = event.episodes
            self._number_next([*event.ended, *event.dropped])
            self.dropped += len(event.dropped)
        if self._t == self._steps:
            self.lag = max(self.lag, self.agent.n_updates - self._version)
        valid = self.all_valid if self._valid[t] else block["valid"][t]
        record = block["s2"][t], block["r"][t], block["terminated"][t], block["truncated"][t], valid
        return block["s"][t], block["a"][t], episode, record

    @property
    def returns(self) -> list[float]:
        """Of the current episodes so far."""
        if not self._t:
            return self._returns
        held: list[float] = self._block["returns"][self._t - 1].tolist()
        return held

    @returns.setter
    def returns(self, values: list[float]) -> None:
        self._returns = values

    @property
    def lengths(self) -> list[int]:
        """Of the current episodes so far."""
        if not self._t:
            return self._lengths
        held: list[int] = self._block["lengths"][self._t - 1].tolist()
        return held

    @lengths.setter
    def lengths(self, values: list[int]) -> None:
        self._lengths = values

    # ---- blocks

    def _next_block(self, steps: int, missing: np.ndarray | None, stop: Stop) -> None:
        """Receive the next block, and request the one after it if that may be ahead."""
        request, self._version = self._pending or self._request(steps, missing)
        answers = [self.actors.answer(i, stop) for i in range(len(self.shares))]
        most = max(one.steps for one in answers)
        parts = [[one] for one in answers]
        if any(one.steps < most for one in answers):  # their episodes ended before those of others
            parts = [[self._copied(one)] for one in answers]
            late = [i for i, one in enumerate(answers) if one.steps < most]
            for i in late:
                taken = answers[i].steps
                rest = request._replace(steps=most - taken, missing=None, rng=None, after=taken)
                self.actors.send(i, "collect", rest)
            for i in late:
                parts[i].append(self.actors.answer(i, stop))
        self._pending = None
        self._take(parts, most)
        if self.is_ahead and self._remaining(most) > 0:
            self._request(steps, None, in_hand=most)

    def _remaining(self, in_hand: int = 0) -> int:
        """Steps of all environments until the budget is used.

        in_hand   steps that were received and not shown yet
        """
        counters = self.agent.counters
        steps: int = -(-(counters.end - counters.num_timesteps) // self.n)
        return steps - in_hand

    def _request(
        self, steps: int, missing: np.ndarray | None, in_hand: int = 0
    ) -> tuple[Request, int]:
        """Send the next request to all actors."""
        counters, actors = self.agent.counters, self.actors
        t = counters.num_timesteps + in_hand * self.n
        steps = min(steps, actors.steps, self._remaining(in_hand))
        if self.is_ahead:
            steps = min(steps, _steps_within_lag(self.agent))
        rng = None if self.is_ahead else generator_state(self.agent.rng["explore"])
        weights, settings = actors.policy()
        request = Request(weights, steps, t, counters.end, settings, rng, missing)
        self._pending = pending = request, self.agent.n_updates
        for i, share in enumerate(self.shares):
            own = request if missing is None else request._replace(missing=missing[share])
            actors.send(i, "collect", own)
        return pending

    def _take(self, parts: list[list[Block]], steps: int) -> None:
        """Let the next steps be those of the answers of each actor."""
        self._block = {
            name: np.concatenate([self._joined(name, one) for one in parts], axis=1)
            for name in self.actors.spec
        }
        self._steps, self._t = steps, 0
        valid: Any = self._block["valid"].all(axis=1)
        self._valid = valid.tolist()
        self._events = {}
        texts: dict[tuple[str, type[Warning]], None] = {}
        for share, answers in zip(self.shares, parts):
            after = 0
            for one in answers:
                for event in one.events:
                    self._add(event, int(share[0]), after)
                texts |= dict.fromkeys(one.warnings)
                after += one.steps
        for text, category in texts:
            warnings.warn(text, category, stacklevel=2)

    def _joined(self, name: str, answers: list[Block]) -> np.ndarray:
        """A column of one actor, of answers that follow each other."""
        *before, last = answers
        pieces = [one.columns[name][: one.steps] for one in before]
        pieces.append(last.columns[name][: rows_of(name, last.steps)])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _copied(self, answer: Block) -> Block:
        """An answer whose columns a further request does not overwrite."""
        return answer._replace(
            columns={name: column.copy() for name, column in answer.columns.items()}
        )

    def _add(self, event: Event, first: int, after: int) -> None:
        """Add what happened to the environments of one actor, whose numbers begin with `first`."""
        t = event.t + after
        held = self._events.get(t, Event(t, [], [], []))
        self._events[t] = Event(
            t,
            held.ended + [first + i for i in event.ended],
            held.episodes + event.episodes,
            held.dropped + [first + i for i in event.dropped],
        )

    # ---- positions

    def claim(self) -> None:
        super().claim()
        left, self._left_with = self._left_with, None
        other_policy = left is not None and left != self._policy()
        if other_policy or (self._pending is not None and not self.is_ahead):
            self._position = self.state()
        if self._position is not None:
            self._go_back(self._position)

    def leave(self) -> None:
        if self.is_ahead and (self._t < self._steps or self._pending is not None):
            self._drop_answers()
            self._drop_block()
            self.s = None
        elif self._t < self._steps:
            self._left_with = self._policy()
        super().leave()

    def _go_back(self, position: State) -> None:
        """Bring the actors from steps that the agent has not taken back to where it is. If that is
        not possible, new episodes begin, with a ResumeWarning."""
        self._drop_block()
        self._position, self.s = None, None
        if position["open"] and (why := self._replay(position)):
            warnings.warn(
                f"The actors have taken steps that the agent did not, and cannot go back: {why}. "
                "New episodes begin.",
                ResumeWarning,
                stacklevel=5,
            )

    def _policy(self) -> tuple[bytes, dict[str, Any]]:
        """What the steps of a block depend on: weights, and settings such as n_steps."""
        agent = self.agent
        return weights_of(agent).tobytes(), {name: getattr(agent, name) for name in agent.settings}

    def _drop_block(self) -> None:
        """Drop the steps that were collected and not shown yet."""
        returns, lengths = self.returns, self.lengths
        self._forget_block()
        self.returns, self.lengths = returns, lengths

    def _drop_answers(self) -> None:
        self._pending = None
        if self._actors is not None:
            self._actors.drop_answers()

    def state(self) -> State:
        if self._position is not None:
            return self._position
        state = super().state()
        if self.s is None or self.is_ahead or self._actors is None:
            return state
        interrupted = self._pending is not None
        if interrupted:
            self._drop_answers()
        found = self._actors.positions(0 if interrupted else self._t)
        if found is not None:
            names = "seed", "start", "taken"
            joined = {name: np.concatenate([one[name] for one in found]) for name in names}
            actions = [one["actions"] for one in found if len(one["actions"])]  # else of no shape
            joined["actions"] = np.concatenate(actions or [np.empty(0)])
            state |= {"s": self.s.copy(), **joined}
        if interrupted:
            self._position = state
        return state

    def _replay(self, state: State) -> str | None:
        if self.is_ahead or "taken" not in state:
            return NOT_RESUMABLE
        ends = np.cumsum(state["taken"])
        begins = ends - state["taken"]
        for i, share in enumerate(self.shares):
            part = {"actions": state["actions"][begins[share[0]] : ends[share[-1]]]}
            for name, value in state.items():
                if name not in part:
                    part[name] = value[share] if value.ndim else value
            self.actors.send(i, "resume", part)
        try:
            answers = [self.actors.answer(i) for i in range(len(self.shares))]
        except ActorError as error:
            self._drop_answers()
            return f"repeating them raised {error.error!r}"
        why: str | None = next((one for one in answers if one is not None), None)
        if why is None:
            self.s = state["s"]
        else:
            self.actors.ask("undo_resume")
        return why


def _check(agent: Any) -> None:
    """Raise ConfigError if an agent cannot have actors."""
    import gymnasium

    name, n_workers, env = type(agent).__name__, agent.n_workers, agent.env
    if agent.table:
        raise ConfigError(
            f"{name}: n_workers={n_workers} needs an algorithm with a network; a table learns from "
            "every step before the next one. Leave it out."
        )
    if is_vector(env) or isinstance(env, gymnasium.Env) or getattr(env, "vector", None):
        raise ConfigError(
            f"{name}: n_workers={n_workers} needs an id or a function that makes an environment, "
            f"got {type(env).__name__}: an environment cannot be moved to another process."
        )
    if agent.vectorization == "async":
        raise ConfigError(
            f"{name}: vectorization='async' starts processes, which the processes of "
            f"n_workers={n_workers} cannot do. Leave one of them out."
        )
    if agent.n_envs < n_workers:
        raise ConfigError(
            f"{name}: n_workers={n_workers} is more than n_envs={agent.n_envs}; give each worker "
            "at least one environment."
        )
    if isinstance(agent, Replay):
        _steps_within_lag(agent)


def _steps_within_lag(agent: Any) -> int:
    """Steps of a block of an agent with a replay buffer. Actions reach it up to two blocks after
    their policy: it makes no more than max_lag updates meanwhile, which come in rounds.

    Raises ConfigError if that leaves no step.
    """
    n, freq = agent.n_envs, agent.train_freq
    each = agent.gradient_steps if agent.gradient_steps >= 0 else freq
    if not each:
        return MOST_STEPS
    steps = int(agent.max_lag // each * freq // (2 * n))
    if not steps:
        updates = each * -(-2 * n // freq)
        raise ConfigError(
            f"max_lag={agent.max_lag} is less than the {updates:,} updates that follow two steps "
            f"of {n} environments, which are on their way while the agent learns. Use "
            f"max_lag={updates} or more, or fewer environments or gradient_steps."
        )
    return min(steps, MOST_STEPS)
