"""Pure methods on the host, replayed as tables of calls.

Most of the time of a small update is Python between the steps. A plan is the record of one call as
a table; one native function runs it, and computes the same bits. A plan is made and used like this,
for each signature (shapes and types of arrays, values of flags) of a method:

1. two calls run as they are: code that is called seldom is never traced;
2. the third is run with Traced arrays, which enter what they compute in a table;
3. the fourth proves the plan: the call runs as it is, then once more as a replay from the same
   state and arguments, and all that is written must be equal to the bit; so must some later ones;
4. all others are replays, as long as the attributes that were read are the same objects.

What cannot be captured, or proved, runs as it is. `report(agent)` has the reasons.
"""

import copy
import struct
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from npr.backend import CAPTURE
from npr.capture.arrays import Traced, plain
from npr.capture.calls import (
    BY_VALUE,
    OPTIMIZERS,
    SIGNATURES,
    Method,
    NotCapturableError,
    ReadWatch,
    Report,
    filled,
    signature_text,
    sort,
    traced,
)
from npr.capture.table import Table
from npr.kernels import table as kernels
from npr.optim import Optimizer

BEFORE = 2  # calls of a signature that run as they are
KNOWN = 64  # signatures per agent that are counted
AGAIN = 1_000  # replays after which a plan is proved again; then ten times as many, and so on

_MISS = object()  # a plan does not fit the call


class Plan:
    """One traced call. `result` is what it has returned.

    arrays, floats   the arguments in the signature's order
    fixed            whether each array is the caller's own, which it passes in every call: the plan
                     reads it there, and the others from copies
    """

    def __init__(
        self, agent: Any, method: Method, args: Sequence[Any], options: dict[str, Any],
        arrays: Sequence[np.ndarray], floats: Sequence[float], fixed: Sequence[bool],
    ) -> None:  # fmt: skip
        self._table = Table()
        self._traced: dict[int, Any] = {}  # what was read from the agent, as Traced, by id
        self.written: list[tuple[np.ndarray, np.ndarray]] = []  # those arrays, and their copies
        self._fixed = list(fixed)
        self._inputs = [x if same else x.copy() for x, same in zip(arrays, fixed)]
        self._cells = [np.array(x, np.float64) for x in floats]
        self._floats = [*floats]
        self._rates: list[tuple[Optimizer, np.ndarray]] = []
        inputs = [Traced(x, self._table) for x in self._inputs]
        numbers = [Traced(x, self._table, is_float=True) for x in self._cells]
        values = filled((*args, *options.values()), iter(inputs), iter(numbers))
        try:
            with traced(agent, self._wrap) as reads:
                returned = method(
                    agent, *values[: len(args)], **dict(zip(options, values[len(args) :]))
                )
                self.read = ReadWatch(agent, reads)
            self._returns(returned)
            self._rows = self._table.finish()
            self._failed = np.zeros(1, np.int64)
            run = kernels.run.native(self._rows, self._failed)
        except BaseException:
            self.restore([before for _, before in self.written])
            raise
        self._words = struct.pack("QQ", id(self._rows), id(self._failed))
        self._run = run.function
        del self._traced
        self.replays, self.proved = 0, False

    def _wrap(self, value: Any) -> Any:
        """What the traced call sees of an attribute."""
        if isinstance(value, np.ndarray):
            held = self._traced.get(id(value))
            if held is None:
                held = self._traced[id(value)] = Traced(value, self._table)
                self.written.append((value, value.copy()))
            return held
        if type(value) in OPTIMIZERS:
            held = self._traced.get(id(value))
            if held is None:
                held = self._traced[id(value)] = copy.copy(value)
                for name, x in vars(value).items():
                    vars(held)[name] = self._wrap(x)
                held.theta, held.counts = self._wrap(value.theta), self._wrap(value.counts)
                rate = np.array(value.learning_rate, np.float64)
                held.learning_rate = Traced(rate, self._table, is_float=True)
                self._rates.append((value, rate))
            return held
        if isinstance(value, tuple):
            return tuple(map(self._wrap, value))
        return value

    def _returns(self, returned: Any) -> None:
        self._alone = not isinstance(returned, dict)
        results = {"": returned} if self._alone else {**returned}
        for name, x in results.items():
            if type(x) is Traced and x.is_float:
                raise NotCapturableError("it returns a number that depends on its arguments")
            if type(x) not in (Traced, np.ndarray, float, *BY_VALUE):
                raise NotCapturableError(f"it returns a {type(x).__qualname__}")
        self._results = [(name, plain(x)) for name, x in results.items()]
        self.result = self._copied()

    def _copied(self) -> Any:
        """What the last run returns: its arrays are written again by the next one."""
        results = {
            name: (x.copy() if x.ndim else x[()]) if type(x) is np.ndarray else x
            for name, x in self._results
        }
        return results[""] if self._alone else results

    def take(self, arrays: Sequence[np.ndarray], floats: Sequence[float]) -> bool:
        """Copy the arguments of a call of this signature to where the plan reads them. False if
        one is not the array that it should be."""
        for x, held, same in zip(arrays, self._inputs, self._fixed):
            if x is not held:
                if same:
                    return False
                held[...] = x
        if floats != self._floats:
            self._floats = [*floats]
            for cell, number in zip(self._cells, floats):
                cell[...] = number
        return True

    def replay(self) -> Any:
        """Do the call whose arguments were taken; returns what it returns."""
        for optimizer, rate in self._rates:
            rate[...] = optimizer.learning_rate
        if self._run(self._words) or self._failed[0]:
            self._raise()
        self.replays += 1
        return self._copied()

    def _raise(self) -> None:
        """Raise the error of the row that failed."""
        row = int(self._failed[0]) - 1
        if row < 0:
            raise RuntimeError("a captured table cannot be run")
        kernel, args = self._table.calls[row]
        kernel(*args)  # which raises the error of its reference
        raise RuntimeError(f"the kernel {kernel.__name__} of a captured call failed")

    def restore(self, values: Iterable[np.ndarray]) -> None:
        """Write values to the arrays of the agent that the call has read."""
        for (array, _), value in zip(self.written, values):
            array[...] = value


class _Signature:
    """The calls of a method with one signature."""

    def __init__(self, method: Method, text: str) -> None:
        self.method, self.text = method, text
        self.calls = self.replays = 0
        self.last: list[int] = []  # the ids of the arrays of the last call
        self.reason = f"called {BEFORE} times at most so far"
        self.plan: Plan | None = None
        self.hopeless = False

    def report(self) -> Report:
        state = "captured" if self.plan is not None and self.plan.proved else f"eager: {self.reason}"
        return Report(f"{self.method.__name__}({self.text})", state, self.replays)


class Plans:
    """The plans of one agent. A copy has none."""

    def __init__(self) -> None:
        self.signatures: OrderedDict[Any, _Signature] = OrderedDict()
        self.traces = self.replays = 0

    def __reduce__(self) -> Any:
        return Plans, ()

    def run(self, method: Method, agent: Any, args: Any, options: dict[str, Any]) -> Any:
        """method(agent, *args, **options), replayed where there is a plan."""
        key: list[Any] = [method, *options]
        arrays: list[np.ndarray] = []
        floats: list[float] = []
        values = (*args, *options.values()) if options else args
        try:
            sort(values, key, arrays, floats)
        except NotCapturableError as error:
            one = self._signature((method, str(error)), method, agent, args, options)
            one.reason, one.hopeless = str(error), True
            return method(agent, *args, **options)
        one = self.signatures.get(tuple(key)) or self._signature(
            tuple(key), method, agent, args, options
        )
        plan = one.plan
        if plan is not None:
            changed = plan.read.changed(agent)
            if changed is None and plan.take(arrays, floats):
                if not plan.proved or plan.replays == one.due:
                    return self._proved(one, plan, agent, args, options)
                one.replays += 1
                self.replays += 1
                return plan.replay()
            one.plan, one.calls = None, BEFORE
            one.reason = f"{changed} was changed" if changed else "it was given other arrays"
        one.calls += 1
        if one.hopeless or one.calls <= BEFORE or self._too_many(one):
            one.last = [*map(id, arrays)]
            return method(agent, *args, **options)
        fixed = [id(x) == before for x, before in zip(arrays, one.last or [0] * len(arrays))]
        self.traces += 1
        try:
            one.plan = plan = Plan(agent, method, args, options, arrays, floats, fixed)
        except NotCapturableError as error:
            one.reason, one.hopeless = str(error), True
            return method(agent, *args, **options)
        one.reason, one.due = "the plan is proved by the next call", AGAIN
        result = plan.result
        del plan.result
        return result

    def _signature(
        self, key: Any, method: Method, agent: Any, args: Any, options: Any
    ) -> _Signature:
        one = self.signatures.get(key)
        if one is None:
            if len(self.signatures) == KNOWN:
                self.signatures.popitem(last=False)
            text = signature_text(method, agent, args, options)
            one = self.signatures[key] = _Signature(method, text)
        return one

    def _too_many(self, one: _Signature) -> bool:
        """Whether no further plan should be made."""
        if self.traces >= SIGNATURES and self.replays < 4 * self.traces:
            one.reason = (
                f"{self.traces} calls were traced for {self.replays} replays: shapes, or attributes "
                "that are read, change too often"
            )
            return True
        held = [other for other in self.signatures.values() if other.plan is not None]
        if len(held) >= SIGNATURES:
            seldom = min(held, key=lambda other: other.replays)
            seldom.plan, seldom.reason = None, f"{SIGNATURES} other signatures have plans"
        return False

    def _proved(self, one: _Signature, plan: Plan, agent: Any, args: Any, options: Any) -> Any:
        """The result of the call as it is; the plan must write and return the same."""
        before = [array.copy() for array, _ in plan.written]
        result = one.method(agent, *args, **options)
        after = [array.copy() for array, _ in plan.written]
        plan.restore(before)
        replayed = plan.replay()
        written = [array for array, _ in plan.written]
        if _same(result, replayed) and all(map(_same, after, written)):
            plan.proved, one.due = True, AGAIN if not plan.proved else 10 * plan.replays
            return result
        plan.restore(after)
        if plan.proved:  # earlier replays may have been wrong
            warnings.warn(
                f"{type(agent).__name__}.{one.method.__name__} is not a pure function: after "
                f"{one.replays:,} replays its result differs from the recorded steps. Pass what "
                "changes between calls as an argument, or set NPR_CAPTURE=0.",
                RuntimeWarning,
                stacklevel=5,
            )
        one.plan, one.hopeless = None, True
        one.reason = "a replay differs from the call: it depends on more than what it is given"
        return result


def _same(a: Any, b: Any) -> bool:
    """Whether results are equal to the bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()


__all__ = ["CAPTURE", "Plan", "Plans"]
