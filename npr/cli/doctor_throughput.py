"""`npr doctor --throughput ENV`: what an env step of training costs on this machine, part by part,
and with which numbers of environments and workers it takes the least time.

The environment is measured by itself, with random actions. Everything else is measured in learn()
on stand-ins that return its observations at once, so that slow environments need no more time.
"""

import contextlib
import copy
import functools
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from npr import backend, presets
from npr.capture import compiling
from npr.distributed import costs as model
from npr.distributed.actor import Request
from npr.distributed.collected import MOST_STEPS as MOST_STEPS_AHEAD
from npr.distributed.costs import Advice, Costs, Line, Link
from npr.envs.make import make_env, open_envs
from npr.errors import ConfigError, EnvContractError, SpaceError
from npr.kernels import jit
from npr.runs import config
from npr.settings import Replay
from npr.system import machine

ROWS = (1, 8, 64, 256)  # numbers of environments that are measured
SHOWN = (1, 8, 16, 64, 256)  # and those whose rates are predicted
BLOCKS = 20  # of steps of the environment
WAITS = 0.1  # per step, of an environment that waits
KEPT = 256  # observations that stand-ins repeat
LENGTH = 200  # of their episodes, if none of the environment has ended
FEWEST = 8  # steps per environment and rollout that are advised, where n_envs divides a rollout
MOST_STEPS = 2_048  # of a rollout that is cut in minibatches, in measurements
FEW = 20_000  # transitions of a replay buffer, in measurements
WARM = 5  # calls that are left out: they compile, and record what is replayed later
ENOUGH_STEPS, ENOUGH_UPDATES = 400, 30  # that are timed at most
ATTEMPTS = 20  # calls of learn() without an update that can be timed
LEAST = 1e-3  # microseconds: what is too small to measure
# of the time given; workers take most of the rest
SHARE_OF_ENV, SHARE_OF_LEARNING, SHARE_OF_VECTORS = 0.15, 0.35, 0.1
VECTORS = ("entry_point", "envpool")  # vectorizations that step all environments in one call
SECONDS_OF_PROCESSES = 0.1  # of each number of them
WORKERS, SHARE = 2, 8  # that are measured, and environments of each

now = time.perf_counter


# ---- the environment


class EnvTimes(NamedTuple):
    """Microseconds of a step, and of resets per step; computes and spread as in Costs.

    observations   some of its observations
    length         mean steps of an episode with random actions; None: none has ended
    """

    step: float
    reset: float
    computes: float
    spread: float
    observations: list[Any]
    length: float | None


def env_times(env: gymnasium.Env[Any, Any], seconds: float) -> EnvTimes:
    """Step an environment with random actions for so long, and at least three times.

    Blocks of steps are timed, of which a quarter is faster than the result: other processes of the
    machine disturb some of them. Of an environment that never waits, the time of the processor
    counts.
    """
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    kept = [copy.deepcopy(observation)]
    steps: list[float] = []
    resets: list[float] = []
    lengths: list[int] = []
    means: list[float] = []
    shares: list[float] = []  # of the processor, by block
    end, length, before = now() + seconds, 0, machine.waits()
    while now() < end or len(steps) < 3:
        began, used, first = now(), time.process_time(), len(steps)
        while now() < began + seconds / BLOCKS or len(steps) == first:
            action = env.action_space.sample()
            start = now()
            observation, _, terminated, truncated, _ = env.step(action)
            steps.append(now() - start)
            length += 1
            if len(kept) < KEPT:
                kept.append(copy.deepcopy(observation))
            if terminated or truncated:
                lengths.append(length)
                length, start = 0, now()
                env.reset()
                resets.append(now() - start)
        shares.append((time.process_time() - used) / (now() - began))
        means.append(statistics.fmean(steps[first:]))
    low, middle, high = np.percentile(steps, (16, 50, 84)).tolist()
    reset = statistics.median(resets) * len(resets) / len(steps) if resets else 0.0
    after = machine.waits()
    if before is not None and after is not None and after - before < WAITS * len(steps):
        means = [mean * min(1.0, share) for mean, share in zip(means, shares)]
        shares = [1.0]  # what it lacks, other processes have taken
    return EnvTimes(
        1e6 * float(np.percentile(means, 25)), 1e6 * reset, min(1.0, max(shares)),
        (high - low) / 2 / middle, kept, statistics.fmean(lengths) if lengths else None,
    )  # fmt: skip


class StandIn(gymnasium.Env[Any, Any]):
    """An environment that returns the observations of another one at once."""

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        observations: list[Any],
        length: int,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._observations, self._length = itertools.cycle(observations), length
        self._left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._left = self._length
        return next(self._observations), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        return next(self._observations), 1.0, self._left <= 0, False, {}


# ---- learning


class Mark(NamedTuple):
    """A step of learn(): when it began, when its actions were chosen, and how long the environments
    took, in seconds; updates before it."""

    start: float
    chosen: float
    step: float
    updates: int


def watched(agent: Any) -> list[Mark]:
    """A list that every further step of learn() adds its Mark to."""
    marks: list[Mark] = []
    explore, step = agent.explore, agent.envs.step
    times = [0.0, 0.0]

    def timed_explore(s: np.ndarray) -> np.ndarray:
        times[0] = now()
        a: np.ndarray = explore(s)
        times[1] = now()
        return a

    def timed_step(a: np.ndarray) -> Any:
        start = now()
        record = step(a)
        marks.append(Mark(times[0], times[1], now() - start, agent.n_updates))
        return record

    vars(agent)["explore"], vars(agent.envs)["step"] = timed_explore, timed_step
    return marks


def after(first: Mark, second: Mark) -> float:
    """Seconds between two steps that neither chose actions nor stepped the environments."""
    return second.start - first.chosen - first.step


class ActTimes(NamedTuple):
    """Medians in microseconds: choosing actions, stepping the environments, the rest of a step."""

    act: float
    step: float
    rest: float


def act_times(agent: Any, end: float) -> ActTimes:
    """Those of an agent that makes no update; it learns until `end` or until there are enough."""
    marks = watched(agent)
    found: list[tuple[float, float, float]] = []
    while len(found) < 2 * WARM or (len(found) < ENOUGH_STEPS and now() < end):
        marks.clear()
        agent.learn(50 * agent.n_envs, reset_num_timesteps=False)
        found += [
            (first.chosen - first.start, first.step, after(first, second))
            for first, second in itertools.pairwise(marks)
        ]
    return ActTimes(*(1e6 * statistics.median(times) for times in zip(*found[WARM:])))


def update_time(agent: Any, chunk: int, rest: float, end: float) -> float:
    """Microseconds of updates per step of all environments, the median; 0: it makes none.

    chunk    steps in a call of learn(), more than a rollout has
    rest     microseconds of a step without an update, as in ActTimes
    """
    marks = watched(agent)
    found: list[float] = []
    steps, warm = 0, False
    for _ in range(ATTEMPTS):
        marks.clear()
        agent.learn(chunk * agent.n_envs, reset_num_timesteps=False)
        for first, second in itertools.pairwise(marks):
            steps += 1
            if second.updates > first.updates:
                if warm:
                    found.append((after(first, second) - 1e-6 * rest) / steps)
                steps, warm = 0, second.updates > 1
        steps = 0 if agent.n_updates > marks[-1].updates else steps + 1
        if found and (now() >= end or len(found) >= ENOUGH_UPDATES):
            break
    return 1e6 * max(0.0, statistics.median(found)) if found else 0.0


class Case(NamedTuple):
    """What is measured: an agent with one environment, and how it divides its rollouts.

    n_envs        of the preset, or the default
    n_steps       per environment with so many of them; None: the algorithm has no such setting
    """

    agent: Any
    n_envs: int
    n_steps: int | None

    @property
    def per_rollout(self) -> int:
        """As in Costs: presets belong to the size of a rollout."""
        return self.n_steps * self.n_envs if self.agent.preset and self.n_steps else 0

    def steps(self, n: int) -> int:
        """n_steps with n environments."""
        if self.n_steps is None:
            return 1
        return presets.steps_per_env(self.n_steps, self.n_envs if self.per_rollout else n, n)


def opened(env: str, algorithm: str) -> Case:
    """The case of an id and the name of an algorithm. Raises ConfigError or SpaceError for what
    cannot be measured, and what Gymnasium raises for ids that it does not know."""
    kind = config.algorithm(algorithm)
    if kind.table:
        raise ConfigError(
            f"{kind.__name__} learns a table, in one process: there is nothing to choose. Name an "
            "algorithm with a network: --algorithm dqn."
        )
    agent: Any = kind(env, seed=0, n_envs=1, verbose=0)
    held = {**kind.defaults(), **agent.preset}
    return Case(agent, held["n_envs"], held.get("n_steps"))


class StandIns:
    """Agents like that of a case, in stand-ins of its environment.

    quiet   settings with which an agent makes no update
    step    microseconds of a step of a StandIn
    """

    def __init__(self, case: Case, times: EnvTimes) -> None:
        self.case, self.replay = case, isinstance(case.agent, Replay)
        self.length = round(times.length or LENGTH)
        (env,) = case.agent.envs.bases()
        self.make = functools.partial(
            StandIn, env.observation_space, env.action_space, times.observations, self.length
        )
        self.settings = case.agent.get_params()
        del self.settings["env"]
        self.quiet: dict[str, Any] = {"learning_starts": 0, "gradient_steps": 0}
        if not self.replay:
            self.quiet = {"n_steps" if case.n_steps else "n_episodes": 1 << 30}
        one, n = self.make(), 2_000
        one.reset()
        start = now()
        for _ in range(n):
            one.step(0)
        self.step = 1e6 * (now() - start) / n

    @contextlib.contextmanager
    def agent(self, n: int, **changes: Any) -> Iterator[Any]:
        """An agent with n environments; it is closed at the end."""
        given = {**self.settings, "max_episode_steps": None, "env_kwargs": None, "n_envs": n}
        if self.replay:
            given["buffer_size"] = FEW
        agent = type(self.case.agent)(self.make, **{**given, **changes})
        try:
            yield agent
        finally:
            agent.close()


def learning(stand_ins: StandIns, seconds: float) -> dict[str, Any]:
    """policy, stepping, loop and update of Costs, measured for about so long."""
    case, own, replay = stand_ins.case, stand_ins.settings, stand_ins.replay
    acting: dict[int, ActTimes] = {}
    for n in ROWS:
        with stand_ins.agent(n, **stand_ins.quiet) as agent:
            acting[n] = act_times(agent, now() + 0.1 * seconds)
    updates: dict[int, float] = {}
    for n in [case.n_envs] if replay else sorted({case.n_envs, 64}):
        T, changes = case.steps(n), {}
        if replay:
            T, changes = -(-own["train_freq"] // n), {"learning_starts": 20 * n}
        elif case.n_steps is None:
            T = stand_ins.length * -(-own["n_episodes"] // n)
        else:
            T = max(1, min(T, MOST_STEPS // n)) if "batch_size" in own else T
            changes = {"n_steps": T}
        with stand_ins.agent(n, **changes) as agent:
            limit = now() + (0.6 if replay else 0.3) * seconds
            updates[n] = update_time(agent, max(T, 30) + 1, acting[8].rest, limit)
    steps = [max(LEAST, acting[n].step - n * stand_ins.step) for n in ROWS]
    return {
        "policy": Line.fitted(ROWS, [acting[n].act for n in ROWS]),
        "stepping": Line.fitted(ROWS, steps),
        "loop": Line.fitted(ROWS, [max(LEAST, acting[n].rest) for n in ROWS]),
        "update": Line.fitted([*updates], [max(LEAST, one) for one in updates.values()]),
    }


# ---- vector environments


def vector_times(case: Case, seconds: float) -> dict[str, Line]:
    """vectorization -> microseconds of a step of n environments in one call, for those that this
    environment has and whose packages are installed."""
    found, agent = {}, case.agent
    for vectorization in VECTORS:
        times: dict[int, float] = {}
        with contextlib.suppress(ConfigError, SpaceError, EnvContractError):
            for n in ROWS[1:]:
                limit = seconds / len(VECTORS) / len(ROWS[1:])
                if times and 3e-6 * n * max(t / m for m, t in times.items()) > limit:
                    break
                times[n] = step_time(
                    agent, agent.env, n, vectorization, limit, agent.max_episode_steps
                )
        if times:
            found[vectorization] = Line.fitted([*times], [*times.values()])
    return found


def step_time(
    agent: Any, env: Any, n: int, vectorization: Any, seconds: float, limit: int | None = None
) -> float:
    """Microseconds of a step of n environments, with random actions and resets.

    limit   max_episode_steps
    """
    rng = np.random.default_rng(0)
    envs = open_envs(
        env, n, np.random.SeedSequence(0), max_episode_steps=limit,
        scale_images=agent.flatten_images, vectorization=vectorization,
    )  # fmt: skip
    try:
        envs.reset()
        taken: list[float] = []
        end = now() + seconds
        while len(taken) < 3 or now() < end:
            actions = agent.actions.uniform(rng, n)
            start = now()
            envs.step(actions)
            taken.append(now() - start)
    finally:
        envs.close()
    return 1e6 * statistics.median(taken)


def process_times(stand_ins: StandIns) -> Line:
    """Microseconds of the messages of n environments in a process each."""
    agent, numbers = stand_ins.case.agent, (2, 8)
    times = [step_time(agent, stand_ins.make, n, "async", SECONDS_OF_PROCESSES) for n in numbers]
    return Line.fitted(numbers, times)


# ---- workers


class WorkerTimes(NamedTuple):
    """Microseconds, and bytes of a recorded env step.

    link      of the engine
    replay    of the learner, per step of all environments
    step      of an actor, per step of its environments, with `policy` and `stepping`
    startup   of a worker
    """

    link: Link
    replay: float
    step: float
    startup: float
    row_bytes: float


def worker_times(stand_ins: StandIns, engine: str) -> WorkerTimes:
    """Those of an agent with WORKERS workers that have SHARE environments each."""
    n = WORKERS * SHARE
    changes = {**stand_ins.quiet, "n_workers": WORKERS, "engine": engine}
    with stand_ins.agent(n, **changes) as agent:
        start = now()
        agent.learn(n)
        startup = now() - start
        ends: list[float] = []  # of steps of the learner; 0: in which it received a block
        taken: dict[int, list[float]] = {}  # bytes of a block -> seconds to take it
        advance, receive, take = agent.envs.advance, agent.envs._next_block, agent.envs._take

        def timed_advance(*args: Any) -> Any:
            step = advance(*args)
            ends.append(now())
            return step

        def timed_receive(*args: Any) -> None:
            receive(*args)
            ends.append(0.0)

        def timed_take(parts: Any, steps: int) -> None:
            start = now()
            take(parts, steps)
            taken.setdefault(steps, []).append(now() - start)

        vars(agent.envs).update(advance=timed_advance, _next_block=timed_receive, _take=timed_take)
        for steps in (20, 500) * 5:
            agent.learn(steps * n, reset_num_timesteps=False)
            ends.append(0.0)
        replay = [b - a for a, b in itertools.pairwise(ends) if a and b]
        actors = agent.envs.actors
        row = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in actors.spec.values())
        take_times = [min(times) for times in taken.values()]
        moving = Line.fitted([steps * n * row for steps in taken], take_times)

        def seconds(workers: int, steps: int, count: int) -> float:
            """Of requests for so many steps to so many workers, from first to last: the least,
            since other processes only add to it."""
            seen = []
            for _ in range(count):
                start = now()
                weights, settings = actors.policy()
                request = Request(weights, steps, 0, 1 << 30, settings)
                for i in range(workers):
                    actors.send(i, "collect", request)
                for i in range(workers):
                    actors.answer(i)
                seen.append(now() - start)
            return min(seen)

        one, all_ = seconds(1, 0, 100), seconds(WORKERS, 0, 100)
        step = (seconds(1, 10, 100) - one) / 10
    request = max(0.0, (all_ - one) / (WORKERS - 1))
    link = Link(1e6 * request, 1e6 * moving.each, 1e6 * (max(0.0, one - request) + moving.fixed))
    own = 1e6 * step - SHARE * stand_ins.step
    return WorkerTimes(link, 1e6 * statistics.median(replay), own, 1e6 * startup / WORKERS, row)


def workers(stand_ins: StandIns, lines: dict[str, Any], engines: list[str]) -> dict[str, Any]:
    """links, replay, record, startup and row_bytes of Costs, from the lines of `learning`."""
    found = {engine: worker_times(stand_ins, engine) for engine in engines}
    times, n = found[engines[0]], WORKERS * SHARE
    known = lines["policy"](SHARE if stand_ins.replay else n) + lines["stepping"](SHARE)
    each = lines["loop"].each
    return {
        "links": {engine: one.link for engine, one in found.items()},
        "replay": Line(max(0.0, times.replay - each * n), each),
        "record": max(0.0, times.step - known),
        "startup": times.startup,
        "row_bytes": times.row_bytes,
    }


# ---- the report


def measured(case: Case, seconds: float, ray: bool = False) -> Costs:
    """The costs of a case, measured for about so many seconds. ray: whether with workers on Ray."""
    agent = case.agent
    env = make_env(agent.env, agent.max_episode_steps)
    try:
        times = env_times(env, SHARE_OF_ENV * seconds)
    finally:
        env.close()
    stand_ins = StandIns(case, times)
    with warnings.catch_warnings():  # of settings that are chosen for the measurement
        warnings.simplefilter("ignore")
        lines = learning(stand_ins, SHARE_OF_LEARNING * seconds)
        lines["vectors"] = vector_times(case, SHARE_OF_VECTORS * seconds)
        lines["processes"] = process_times(stand_ins)
        lines |= workers(stand_ins, lines, ["processes", *(["ray"] if ray else [])])
    *_, theta = agent.acts_by()
    if stand_ins.replay:
        each = agent.gradient_steps if agent.gradient_steps >= 0 else agent.train_freq
        lines |= {
            "synchronous": False, "n_steps": MOST_STEPS_AHEAD, "max_lag": agent.max_lag,
            "steps_per_update": agent.train_freq / each if each else math.inf,
        }  # fmt: skip
    else:
        lines |= {"n_steps": case.n_steps or stand_ins.length, "per_rollout": case.per_rollout}
    return Costs(
        times.step, times.reset, times.computes, times.spread, **lines,
        weight_bytes=theta.nbytes, cores=machine.usable_cores(),
    )  # fmt: skip


def report(costs: Costs, case: Case) -> Iterator[str]:
    """The lines that `npr doctor --throughput` prints."""
    name = f"{type(case.agent).__name__} on {case.agent.env_id}"
    yield f"{name}, {costs.cores} cores of {machine.cpu_name()}; microseconds"
    if machine.idle_cores() == 0:
        yield "other processes keep this machine busy: measure again when they have ended"
    yield (
        f"environment  {costs.env:,.1f} per step, resets {costs.reset:,.1f} per step; computes "
        f"{costs.computes:.0%} of the time, varies by {costs.spread:.0%}"
    )
    for part, what in PARTS.items():
        if (line := getattr(costs, part)) is not None:
            yield f"{part:<12} {line.fixed:,.1f} + {line.each:,.2f} n   {what}"
    for vectorization, line in costs.vectors.items():
        yield f"{vectorization:<12} {line.fixed:,.1f} + {line.each:,.2f} n   step n environments"
    for engine, link in costs.links.items():
        name = "workers" if engine == "processes" else f"on {engine}"
        yield (
            f"{name:<12} {link.request:,.0f} for each, {1e3 * link.byte:,.2f} per kB, "
            f"{link.latency:,.0f} per block of steps, {costs.record:,.1f} per step of a worker, "
            f"which starts in {costs.startup / 1e6:.1f} s"
        )
    yield ""
    yield from rates(costs)
    yield ""
    yield from where_workers_pay(costs, case.n_envs)
    chosen = model.advice(costs, numbers(costs, case))
    text = f"advice: {chosen.arguments}: {chosen.rate:,.0f} steps per second"
    if chosen.arguments == f"n_envs={case.n_envs}":
        yield f"{text}, as it is without other arguments"
        return
    times = chosen.rate / model.rate(model.in_process(costs, case.n_envs))
    yield f"{text}, {times:.1f} times those of n_envs={case.n_envs} in one process"


PARTS = {
    "policy": "choose actions for n environments",
    "stepping": "step n environments one after another, besides themselves",
    "loop": "the rest of a step of learn()",
    "update": "learn from a step of n environments",
    "replay": "the loop again, for steps that workers have taken",
    "processes": "step n environments in a process each, besides themselves",
}


def where_workers_pay(costs: Costs, n_envs: int) -> Iterator[str]:
    """A line for each engine, with the numbers of workers that are fit for this machine."""
    n_envs = max(n_envs, costs.cores)
    for engine in costs.links:
        found = []
        for W in model.counts(costs, n_envs):
            least = model.workers_pay(costs, n_envs, W, engine=engine)
            found.append(f"{W} never" if least is None else f"{W} from {least:,.0f} us")
        if found:
            name = f"workers ({engine})" if len(costs.links) > 1 else "workers"
            yield (
                f"{name} pay with n_envs={n_envs} and an environment whose step takes long enough: "
                f"{', '.join(found)} per step"
            )


def numbers(costs: Costs, case: Case) -> list[int]:
    """Numbers of environments to advise: those that leave a rollout enough steps of each."""
    return sorted(
        n for n in {case.n_envs, *SHOWN}
        if n == case.n_envs or not costs.per_rollout or costs.steps(n) >= FEWEST
    )  # fmt: skip


def rates(costs: Costs) -> Iterator[str]:
    """A table of the predicted steps per second, by n_envs and what steps them."""
    yield f"{'steps per second, predicted':<30}" + "".join(f"{f'n_envs={n}':>12}" for n in SHOWN)
    held: dict[tuple[int, str, str], dict[int, float]] = {}
    for n_envs, n_workers, vectorization, engine, rate in model.candidates(costs, SHOWN):
        held.setdefault((n_workers, vectorization, engine), {})[n_envs] = rate
    for how in sorted(held):
        shown = [f"{held[how][n]:,.0f}" if n in held[how] else "" for n in SHOWN]
        yield f"{Advice(0, *how, 0.0).options or 'one after another':<30}" + "".join(
            f"{one:>12}" for one in shown
        )


def show(env: str, algorithm: str, seconds: float, ray: bool, write: Callable[[str], None]) -> None:
    """Measure and write the report."""
    if backend.ON_HOST and backend.CAPTURE and jit.available():
        compiling.compile_all()
    case = opened(env, algorithm)
    try:
        costs = measured(case, seconds, ray)
    finally:
        case.agent.close()
    for line in report(costs, case):
        write(line)
