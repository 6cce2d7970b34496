"""What a step of an environment costs in training, from times that were measured once.

All times are in microseconds; a rate is in steps per second. With n environments, of which each of
W workers holds k = ceil(n / W), and T steps of each per block, an env step takes

one process     (policy(n) + env(n) + loop(n) + update(n)) / n
workers that the learner waits for, as in PPO
                (phase + gather + learn) / (T n)
workers that collect the next block while the learner uses one, as in SAC
                (gather + max(phase, learn)) / (T n)

phase = latency + T (policy(rows) + env(k) + record), of the slowest worker; the first kind chooses
        actions for all n rows, so that they do not depend on W, the second one for its own k
gather = W request + (T n row_bytes + weight_bytes) byte
learn = T (replay(n) + update(n))

env(n) is the time of one step of n environments. On a machine with fewer cores than processes that
compute, the processor time of all of them, divided by the cores, is another lower bound of what
they do at once.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from npr.errors import ConfigError

LOSS = 0.05  # share of the best rate that a simpler configuration may lose and be advised
MOST_PROCESSES = 64  # of vectorization="async", and of workers on one machine, that are advised
LONGEST = 1e7  # microseconds of an env step up to which break_even searches


class Line(NamedTuple):
    """A time that grows with a number: fixed + n * each."""

    fixed: float = 0.0
    each: float = 0.0

    def __call__(self, n: float) -> float:
        return self.fixed + n * self.each

    @classmethod
    def fitted(cls, numbers: Sequence[float], times: Sequence[float]) -> Line:
        """The line nearest to times measured at these numbers, by relative errors; its parts are
        not negative. One time gives a line through 0."""
        n, t = np.asarray(numbers, float), np.asarray(times, float)
        if len(set(numbers)) > 1:
            columns = np.stack([1 / t, n / t], 1)
            (fixed, each), *_ = np.linalg.lstsq(columns, np.ones(len(t)), rcond=None)
            if fixed >= 0 and each >= 0:
                return cls(float(fixed), float(each))
            if each < 0:
                return cls(float((1 / t).sum() / (1 / t**2).sum()), 0.0)
        return cls(0.0, float((n / t).sum() / ((n / t) ** 2).sum()))


class Link(NamedTuple):
    """How the learner and a worker exchange data.

    request   time of the learner per request and its answer
    byte      time of the learner per byte of an answer, or of weights
    latency   from a request until its answer can be received, besides the worker's steps
    """

    request: float = 0.0
    byte: float = 0.0
    latency: float = 0.0


@dataclass(frozen=True)
class Costs:
    """Measured times, in microseconds, of one environment and algorithm on one machine.

    env, reset    one step of one environment; the share of resets in it
    computes      the share of a step in which the environment needs a processor, from 0 (it waits,
                  as for a robot) to 1
    spread        standard deviation of the time of a step, as a share of its mean
    policy        choosing actions for n rows
    stepping      npr's part of a step of n environments that are stepped in turn
    loop          the rest of a step of learn(), without the update
    replay        the same with workers, whose steps the learner repeats; None: as loop
    record        what a worker adds to a step of its environments, to hand it over
    update        learning, per step of n environments
    processes     the messages of a step of n environments in n processes; None: not measured
    vectors       vectorization -> one step of n environments in one call, with resets
    links         engine of workers -> its Link
    row_bytes     of one recorded env step
    weight_bytes  of the policy
    n_steps       steps of each environment per rollout; not synchronous: per block, at most
    per_rollout   steps of all environments per rollout, where n_steps is adapted to their number;
                  0: it is not
    synchronous   whether the algorithm learns from rollouts of its current policy
    steps_per_update, max_lag   env steps per update, and updates that an action may be behind; not
                  synchronous only
    startup       until a worker has started
    cores         of the machine
    """

    env: float
    reset: float = 0.0
    computes: float = 1.0
    spread: float = 0.0
    policy: Line = Line()
    stepping: Line = Line()
    loop: Line = Line()
    replay: Line | None = None
    record: float = 0.0
    update: Line = Line()
    processes: Line | None = None
    vectors: Mapping[str, Line] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=lambda: {"processes": Link()})
    row_bytes: float = 0.0
    weight_bytes: float = 0.0
    n_steps: int = 1
    per_rollout: int = 0
    synchronous: bool = True
    steps_per_update: float = 1.0
    max_lag: float = math.inf
    startup: float = 0.0
    cores: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.computes <= 1:
            raise ConfigError(f"computes must be in [0, 1], got {self.computes!r}.")
        for name in ("env", "reset", "spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be in [0, inf), got {getattr(self, name)!r}.")
        for name in ("n_steps", "cores"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)!r}.")

    @property
    def env_step(self) -> float:
        """One step of one environment, with its share of resets."""
        return self.env + self.reset

    def steps(self, n_envs: int) -> int:
        """Steps of each of n_envs environments per block."""
        if self.synchronous:
            return max(1, round(self.per_rollout / n_envs)) if self.per_rollout else self.n_steps
        allowed = self.max_lag * self.steps_per_update / (2 * n_envs)
        return self.n_steps if allowed >= self.n_steps else max(1, int(allowed))

    def lag(self, n_envs: int) -> float:
        """The updates that an action is behind when it is used, at most: those of two blocks."""
        if self.synchronous:
            return 0.0
        return 2 * n_envs * self.steps(n_envs) / self.steps_per_update


# ---- closed forms


def vector_step(costs: Costs, n: int, vectorization: str = "sync") -> float:
    """The time of one step of n environments."""
    if vectorization == "sync":
        return costs.stepping(n) + n * costs.env_step
    if vectorization == "async":
        if costs.processes is None:
            raise ConfigError("The messages of environments in processes were not measured.")
        slowest = costs.env_step * (1 + costs.spread * largest(n))
        busy = n * costs.env_step * costs.computes / costs.cores
        return costs.processes(n) + max(slowest, busy)
    if vectorization not in costs.vectors:
        known = ", ".join(["sync", "async", *costs.vectors])
        raise ConfigError(f"vectorization={vectorization!r} was not measured, only {known}.")
    return costs.vectors[vectorization](n)


def in_process(costs: Costs, n_envs: int, vectorization: str = "sync") -> float:
    """The time per env step of a learner that steps its environments itself."""
    own = costs.policy(n_envs) + costs.loop(n_envs) + costs.update(n_envs)
    return (own + vector_step(costs, n_envs, vectorization)) / n_envs


def with_workers(
    costs: Costs,
    n_envs: int,
    n_workers: int,
    *,
    nodes: int = 1,
    engine: str = "processes",
    vectorization: str = "sync",
) -> float:
    """The time per env step with actors in n_workers processes, on as many machines as `nodes`,
    each with `costs.cores`. The learner is on the first.

    Where the time of a step varies, all wait for the slowest worker: the mean of the largest of W
    normal numbers is added.
    """
    T, work = costs.steps(n_envs), _Work.of(costs, n_envs, n_workers, nodes, engine, vectorization)
    slowest = costs.spread * costs.env_step * math.sqrt(T * work.k) * largest(n_workers)
    busy = work.per_node * work.actor_cpu
    if costs.synchronous:
        phase = work.latency + max(work.actor + slowest, busy / costs.cores)
        total = phase + n_workers * work.receive + work.learn
    else:
        phase = max(work.latency + work.actor + slowest, (busy + work.learn) / costs.cores)
        total = n_workers * work.receive + max(phase, work.learn)
    return total / (T * n_envs)


class _Work(NamedTuple):
    """What one block is: times of an actor and of the learner.

    k           environments of a worker, at most
    per_node    workers of the first machine
    actor       time of a worker, of which it needs a processor for actor_cpu
    receive     time of the learner to take the answer of one worker, with its share of the weights
    learn       time of the learner to repeat the steps and learn from them
    """

    k: int
    per_node: int
    actor: float
    actor_cpu: float
    receive: float
    learn: float
    latency: float

    @classmethod
    def of(
        cls, costs: Costs, n_envs: int, n_workers: int, nodes: int, engine: str, vectorization: str
    ) -> _Work:
        if not 1 <= n_workers <= n_envs:
            raise ConfigError(f"n_workers must be in [1, n_envs={n_envs}], got {n_workers!r}.")
        if nodes < 1:
            raise ConfigError(f"nodes must be at least 1, got {nodes!r}.")
        if engine not in costs.links:
            known = ", ".join(costs.links)
            raise ConfigError(f"The transfer of engine={engine!r} was not measured, only {known}.")
        T, k, link = costs.steps(n_envs), -(-n_envs // n_workers), costs.links[engine]
        rows = n_envs if costs.synchronous else k
        actor = T * (costs.policy(rows) + vector_step(costs, k, vectorization) + costs.record)
        waits = T * k * costs.env_step * (1 - costs.computes) if vectorization == "sync" else 0.0
        moved = (T * n_envs * costs.row_bytes + costs.weight_bytes) / n_workers
        replay = costs.loop if costs.replay is None else costs.replay
        return cls(
            k, -(-n_workers // nodes), actor, actor - waits, link.request + link.byte * moved,
            T * (replay(n_envs) + costs.update(n_envs)), link.latency,
        )  # fmt: skip


def largest(n: int) -> float:
    """The mean of the largest of n standard normal numbers, to about 1 % (Blom 1958)."""
    return NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) if n > 1 else 0.0


def rate(per_step: float) -> float:
    """Steps per second of a time per step."""
    return 1e6 / per_step if per_step > 0 else math.inf


# ---- where one configuration overtakes another


def break_even(
    costs: Costs, one: Callable[[Costs], float], other: Callable[[Costs], float]
) -> float | None:
    """From how many microseconds per step of one environment `other` is faster than `one`; both
    give the time per env step of Costs. None: not within LONGEST. Other times stay as they are."""

    def overtakes(env: float) -> bool:
        given = dataclasses.replace(costs, env=env)
        return other(given) < one(given)

    if overtakes(0.0):
        return 0.0
    if not overtakes(LONGEST):
        return None
    low, high = 0.0, LONGEST
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if overtakes(middle) else (middle, high)
    return high


def workers_pay(costs: Costs, n_envs: int, n_workers: int, **options: Any) -> float | None:
    """From how many microseconds per env step workers are faster than one process that steps its
    environments in turn; None: never. `options` are those of `with_workers`."""
    return break_even(
        costs,
        lambda given: in_process(given, n_envs),
        lambda given: with_workers(given, n_envs, n_workers, **options),
    )


def cluster_pays(
    costs: Costs, n_envs: int, n_workers: int, nodes: int, engine: str = "ray"
) -> float | None:
    """From how many microseconds per env step n_workers on so many machines are faster than one of
    these machines with its best number of workers; None: never."""

    def alone(given: Costs) -> float:
        workers = [with_workers(given, n_envs, W) for W in counts(given, n_envs)]
        return min([in_process(given, n_envs), *workers])

    return break_even(
        costs,
        alone,
        lambda given: with_workers(given, n_envs, n_workers, nodes=nodes, engine=engine),
    )


# ---- advice


class Advice(NamedTuple):
    """Arguments of an algorithm, and the steps per second that are predicted with them."""

    n_envs: int
    n_workers: int
    vectorization: str
    engine: str
    rate: float

    @property
    def options(self) -> str:
        """These as keyword arguments, without n_envs and those that are defaults."""
        given = []
        if self.vectorization != "sync":
            given.append(f'vectorization="{self.vectorization}"')
        if self.n_workers:
            given.append(f"n_workers={self.n_workers}")
        if self.engine != "processes":
            given.append(f'engine="{self.engine}"')
        return ", ".join(given)

    @property
    def arguments(self) -> str:
        """All of these as keyword arguments."""
        return ", ".join(filter(None, [f"n_envs={self.n_envs}", self.options]))


def counts(costs: Costs, n_envs: int) -> list[int]:
    """Numbers of workers of one machine to consider: powers of 2, and its cores. More of them than
    cores help only where environments wait."""
    most = min(n_envs, costs.cores if costs.computes > 0.9 else MOST_PROCESSES)
    powers = {1 << i for i in range(1, most.bit_length())}
    return sorted(n for n in powers | {costs.cores} if 2 <= n <= most)


def candidates(costs: Costs, numbers: Iterable[int]) -> list[Advice]:
    """Every configuration that was measured, with each of these numbers of environments; the
    fastest first."""
    found = []
    for n in numbers:
        modes = ["sync", *costs.vectors]
        if costs.processes is not None and 1 < n <= MOST_PROCESSES:
            modes.append("async")
        found += [Advice(n, 0, mode, "processes", rate(in_process(costs, n, mode)))
                  for mode in modes]  # fmt: skip
        found += [Advice(n, W, "sync", engine, rate(with_workers(costs, n, W, engine=engine)))
                  for engine in costs.links for W in counts(costs, n)]  # fmt: skip
    return sorted(found, key=lambda one: -one.rate)


def advice(costs: Costs, numbers: Iterable[int]) -> Advice:
    """The simplest configuration whose rate is within LOSS of the best: fewest processes, then
    fewest environments."""
    found = candidates(costs, numbers)
    if not found:
        raise ConfigError("There is no number of environments to choose from.")
    near = [one for one in found if one.rate >= (1 - LOSS) * found[0].rate]

    def processes(one: Advice) -> int:
        return one.n_envs if one.vectorization == "async" else one.n_workers

    return min(near, key=lambda one: (one.engine != "processes", processes(one), one.n_envs))


# ---- simulation


class Simulated(NamedTuple):
    """The result of `simulate`.

    per_step   microseconds per env step
    idle       share of the time in which an actor has nothing to do, mean of all
    waiting    share of the time in which the learner waits for answers
    """

    per_step: float
    idle: float
    waiting: float


def simulate(
    costs: Costs,
    n_envs: int,
    n_workers: int,
    *,
    nodes: int = 1,
    engine: str = "processes",
    blocks: int = 20,
    seed: int = 0,
    durations: Callable[[int, int], float] | None = None,
) -> Simulated:
    """Simulate the learner and its workers, one event after another.

    nodes       machines with `costs.cores` each; workers are dealt to them in turn, the learner is
                on the first. Processes that need more processors than there are share them equally
    blocks      whose time is counted. Not synchronous: from when the first one was received
    durations   (worker, block) -> microseconds that all environment steps of a block take, for one
                block more than are counted; None: the sum of steps whose times have a gamma
                distribution with `costs.spread`
    """
    if blocks < 1:
        raise ConfigError(f"blocks must be at least 1, got {blocks!r}.")
    work = _Work.of(costs, n_envs, n_workers, nodes, engine, "sync")
    T = costs.steps(n_envs)
    if durations is None:
        durations = _gamma_sums(costs, T * work.k, seed)
    own = work.actor - T * work.k * costs.env_step
    demand = work.actor_cpu / work.actor if work.actor else 1.0
    machines = _Machines(nodes, costs.cores)

    def send(block: int) -> None:
        for worker in range(n_workers):
            acting = own + durations(worker, block)
            machines.send(_Job(worker % nodes, acting, demand, worker), work.latency)

    learning, began, busy = 0.0, 0.0, 0.0
    if not costs.synchronous:
        send(0)
        _gather(machines, n_workers, work.receive)
        began, busy = machines.now, machines.busy
    for i in range(blocks):
        if costs.synchronous:
            send(i)
            learning += _gather(machines, n_workers, work.receive) + machines.learn(work.learn)
        else:
            send(i + 1)
            learning += machines.learn(work.learn) + _gather(machines, n_workers, work.receive)
    passed = machines.now - began
    if not passed:
        return Simulated(0.0, 0.0, 0.0)
    idle = 1 - (machines.busy - busy) / (n_workers * passed)
    return Simulated(passed / (blocks * T * n_envs), idle, 1 - learning / passed)


def _gather(machines: _Machines, n_workers: int, receive: float) -> float:
    """Receive the answers of all workers, in their order; returns how long the learner was at
    work."""
    return sum(machines.receive(worker, receive) for worker in range(n_workers))


def _gamma_sums(costs: Costs, steps: int, seed: int) -> Callable[[int, int], float]:
    """The durations of so many steps: a sum of gamma variates of one scale is one such variate."""
    rng, mean, variance = np.random.default_rng(seed), steps * costs.env_step, costs.spread**2

    def draw(worker: int, block: int) -> float:
        if not variance or not mean:
            return mean
        return float(rng.gamma(steps / variance, costs.env_step * variance))

    return draw


LEARNER = -1  # stands for a worker in its jobs


class _Job(NamedTuple):
    """So many microseconds of work on a machine, with a share of a processor."""

    node: int
    work: float
    demand: float
    worker: int = LEARNER


class _Machines:
    """The clock, and the processors of every machine. busy: microseconds that the workers have
    worked, together."""

    def __init__(self, nodes: int, cores: int) -> None:
        self.now, self.busy = 0.0, 0.0
        self._nodes = [_Node(cores) for _ in range(nodes)]
        self._delayed: list[tuple[float, int, _Job]] = []
        self._count = itertools.count()
        self._began: dict[int, float] = {}  # of workers at work
        self._answered: set[int] = set()

    def send(self, job: _Job, latency: float) -> None:
        """Send a request to a worker, which begins when it arrives."""
        heapq.heappush(self._delayed, (self.now + latency, next(self._count), job))

    def learn(self, work: float) -> float:
        """Let the learner work; returns how long it took."""
        began = self.now
        self._nodes[0].start(_Job(0, work, 1.0), next(self._count))
        while self._next_end() != LEARNER:
            pass
        return self.now - began

    def receive(self, worker: int, work: float) -> float:
        """Let time pass until a worker has answered, and the learner take the answer; returns how
        long that took."""
        while worker not in self._answered:
            self._next_end()
        self._answered.remove(worker)
        return self.learn(work)

    def _next_end(self) -> int:
        """Let time pass until a job ends; returns its worker."""
        while True:
            ends = [node.until_end() for node in self._nodes]
            soonest = min(ends)
            arrival = self._delayed[0][0] - self.now if self._delayed else math.inf
            passed = max(0.0, min(soonest, arrival))
            self.now += passed
            for node in self._nodes:
                node.advance(passed)
            if arrival > soonest:
                return self._end(self._nodes[ends.index(soonest)].pop())
            job = heapq.heappop(self._delayed)[-1]
            self._began[job.worker] = self.now
            self._nodes[job.node].start(job, next(self._count))

    def _end(self, job: _Job) -> int:
        if job.worker != LEARNER:
            self.busy += self.now - self._began.pop(job.worker)
            self._answered.add(job.worker)
        return job.worker


class _Node:
    """One machine. When its jobs need more processors than it has, all are slowed down alike. Its
    clock counts the work that a job has done, so that the order of ends never changes."""

    def __init__(self, cores: int) -> None:
        self.cores, self.clock, self.demand = cores, 0.0, 0.0
        self.jobs: list[tuple[float, int, _Job]] = []

    @property
    def speed(self) -> float:
        return min(1.0, self.cores / self.demand) if self.demand else 1.0

    def start(self, job: _Job, order: int) -> None:
        heapq.heappush(self.jobs, (self.clock + job.work, order, job))
        self.demand += job.demand

    def until_end(self) -> float:
        return (self.jobs[0][0] - self.clock) / self.speed if self.jobs else math.inf

    def advance(self, passed: float) -> None:
        self.clock += passed * self.speed

    def pop(self) -> _Job:
        self.clock, _, job = heapq.heappop(self.jobs)
        self.demand = self.demand - job.demand if self.jobs else 0.0
        return job
