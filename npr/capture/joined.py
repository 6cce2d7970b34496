"""One method of several agents, replayed by one native call.

The calls compute what they compute one by one, with the same bits: only Python's share of a call is
paid once. Each agent's own plans are used, so that a call that cannot be replayed now runs as it
does for a single agent, and may make the plan for the next one.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from npr.autodiff import anomaly
from npr.capture.calls import SIGNATURES, thread
from npr.capture.plans import Plan, Plans
from npr.errors import NprError
from npr.kernels import table as kernels


def caught(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns, or the NprError that it raises."""
    try:
        return function(*args)
    except NprError as error:
        return error


class _Group:
    """Plans of one signature, one per agent, and the table that runs them all."""

    def __init__(self, plans: list[Plan]) -> None:
        self.plans = plans
        self._table = np.array([plan.as_row() for plan in plans], np.int64)
        self._failed = np.zeros(1, np.int64)
        self._status = self._failed.data
        native = kernels.run.native(self._table, self._failed)
        self._run: Any = None if native is None else native.function
        self._words = struct.pack("QQ", id(self._table), id(self._failed))

    def unchanged(self, agents: Iterable[Any]) -> bool:
        """Whether the agents still have what the plans have read of them."""
        return all(plan.read.changed(agent) is None for plan, agent in zip(self.plans, agents))

    def take(self, args: Iterable[Sequence[Any]]) -> bool:
        """Take the arguments of calls; False if replays do not do them."""
        return all(plan.may_take(one) for plan, one in zip(self.plans, args))

    def replay(self) -> list[Any]:
        """Do the calls whose arguments were taken; returns what each returns."""
        for plan in self.plans:
            plan.take_rates()
        if self._run(self._words) or self._status[0]:
            # a table that fails is a row that says so in its own cell, not a row that fails
            raise RuntimeError("captured tables cannot be run")
        return [plan.finished() for plan in self.plans]


class Joined:
    """Calls of a method of several agents of one class.

    name   of a method that `capture_methods` let be captured; of another one, or where nothing is
           captured, the calls run one after the other

    Attributes of the agents that are replaced must be followed by `check`.
    """

    def __init__(self, agents: Sequence[Any], name: str) -> None:
        self.agents = agents
        self._call: Callable[..., Any] = getattr(type(agents[0]), name)
        captured = hasattr(self._call, "captured")
        self._method: Any = getattr(self._call, "__wrapped__", None) if captured else None
        self._groups: list[_Group] = []  # the one that was used last is first

    def __call__(self, args: Sequence[Sequence[Any]]) -> list[Any]:
        """What each agent's method returns for its arguments, or the NprError that it raises."""
        if self._groups and not anomaly.on and not thread.inside:
            locks = [vars(agent)["_captured"].lock for agent in self.agents]
            for lock in locks:  # another thread that has one will soon be done
                lock.acquire()
            try:
                group = self._fitting(args)
                if group is not None:
                    return group.replay()
            finally:
                for lock in locks:
                    lock.release()
        results = [caught(self._call, agent, *one) for agent, one in zip(self.agents, args)]
        self._note_plans()
        return results

    def check(self) -> None:
        """Forget plans that have read something of an agent which is another one now. To be called
        whenever that may be so: a call does not look."""
        self._groups = [group for group in self._groups if group.unchanged(self.agents)]

    def _fitting(self, args: Sequence[Sequence[Any]]) -> _Group | None:
        for i, group in enumerate(self._groups):
            if group.take(args):
                if i:
                    self._groups.insert(0, self._groups.pop(i))
                return group
        return None

    def _note_plans(self) -> None:
        """Join the plans that the agents have used last, if each of them has a proved one."""
        if self._method is None:
            return
        plans = []
        for agent in self.agents:
            calls = vars(agent).get("_captured")
            plan = calls.ready.get(self._method) if type(calls) is Plans else None
            if plan is None or not plan.proved:
                return
            plans.append(plan)
        self._groups = [group for group in self._groups if group.plans != plans]
        group = _Group(plans)
        if group._run is not None:
            self._groups = [group, *self._groups[: SIGNATURES - 1]]
