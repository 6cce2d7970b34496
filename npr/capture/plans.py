"""Pure methods on the host, replayed as tables of calls.

Most of the time of a small update is Python between the steps. A plan is the record of one call as
a table; one native function runs it, and computes the same bits. A plan is made and used like this,
for each signature (shapes and types of arrays, values of flags) of a method:

1. two calls run as they are: code that is called seldom is never traced;
2. the third is run with Traced arrays, which enter what they compute in a table; then its effects
   are undone, and it runs as it is, with the same result, or else there is no plan;
3. the fourth proves the plan: the call runs as it is, then once more as a replay from the same
   state and arguments, and all that is written must be equal to the bit; so must some later ones;
4. all others are replays, as long as what was read are the same objects.

What cannot be captured, or proved, runs as it is. `report(agent)` has the reasons.
"""

import copy
import struct
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from npr.capture.arrays import Traced, plain
from npr.capture.calls import (
    BY_VALUE,
    SIGNATURES,
    Method,
    NotCapturableError,
    Report,
    signature_text,
    sort,
)
from npr.capture.reads import OPTIMIZERS, ReadWatch, contents, traced
from npr.capture.table import CompilingError, Table
from npr.errors import describe_error
from npr.kernels import table as kernels
from npr.optim import Optimizer

BEFORE = 2  # calls of a signature that run as they are
LATER = 100  # calls until the next try, where something is being compiled
KNOWN = 64  # signatures per agent that are counted
AGAIN = 1_000  # replays after which a plan is proved again; then ten times as many, and so on


# ---- arguments: where a plan has those of a call


class _Constant:
    """A flag, a whole number, a text or None, which is a part of the signature.

    value   what needs not be taken
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def traced(self, table: Table) -> Any:
        return self.value

    def arrays(self) -> list[np.ndarray]:
        """Those that the plan reads."""
        return []

    def take(self, x: Any) -> bool:
        """Take this argument, if it is one of the signature."""
        return type(x) is type(self.value) and bool(x == self.value)


class _Number(_Constant):
    """A float, which may be another one in each call."""

    def __init__(self, value: float) -> None:
        self.value, self._cell = value, np.array(value, np.float64)

    def traced(self, table: Table) -> Traced:
        return Traced(self._cell, table, is_float=True)

    def take(self, x: Any) -> bool:
        if type(x) is not float:
            return False
        self.value = x
        self._cell[...] = x
        return True


class _Array(_Constant):
    """An array; the plan reads a copy."""

    def __init__(self, array: np.ndarray) -> None:
        self.value, self._strides = _NOTHING, array.strides
        self.array = array.copy(order="K")

    def traced(self, table: Table) -> Traced:
        return Traced(self.array, table)

    def arrays(self) -> list[np.ndarray]:
        return [self.array]

    def take(self, x: Any) -> bool:
        array = self.array
        if (
            type(x) is not np.ndarray or x.shape != array.shape or x.strides != self._strides
            or x.dtype != array.dtype
        ):  # fmt: skip
            return False
        array[...] = x
        return True


class _SameArray(_Array):
    """An array that every call is given; the plan reads it where it is."""

    def __init__(self, array: np.ndarray) -> None:
        self.value, self.array, self._shape = _NOTHING, array, array.shape

    def take(self, x: Any) -> bool:
        return x is self.array and x.shape == self._shape


class _Items(_Constant):
    """A tuple or list of arguments."""

    def __init__(self, items: Any, same: Set[int]) -> None:
        self.value, self._kind = _NOTHING, type(items)
        self._items = [_argument(x, same) for x in items]

    def traced(self, table: Table) -> Any:
        return self._kind(item.traced(table) for item in self._items)

    def arrays(self) -> list[np.ndarray]:
        return [array for item in self._items for array in item.arrays()]

    def take(self, x: Any) -> bool:
        return type(x) is self._kind and _take(self._items, x)


_NOTHING = object()


def _argument(x: Any, same: Set[int]) -> _Constant:
    """Where a plan has the argument x.

    same   the ids of the arrays that the call before was given, too
    """
    if type(x) is np.ndarray:
        return _SameArray(x) if id(x) in same else _Array(x)
    if isinstance(x, (tuple, list)):
        return _Items(x, same)
    if isinstance(x, np.floating):  # which counts as an array in arithmetic
        raise NotCapturableError(f"it was given a {type(x).__name__} of NumPy instead of a float")
    return _Number(x) if type(x) is float else _Constant(x)


def _take(held: Sequence[_Constant], args: Sequence[Any]) -> bool:
    """Take the arguments of a call; False if it is not one of the signature."""
    for one, x in zip(held, args):
        if x is not one.value and not one.take(x):
            return False
    return len(held) == len(args)


# ---- plans


class Plan:
    """One traced call, whose effects were undone.

    arrays   those among its arguments
    same     the ids of those that the call before was given, too
    """

    def __init__(
        self, agent: Any, method: Method, args: Sequence[Any], options: dict[str, Any],
        arrays: Sequence[np.ndarray], same: Set[int],
    ) -> None:  # fmt: skip
        self._table = Table()
        self._failed = np.zeros(1, np.int64)
        # at first, since it may not be compiled yet
        self._native = self._table.native(kernels.run, self._failed[None], self._failed)
        self._run = self._native.function
        self._traced: dict[int, Any] = {}  # what was read from the agent, as Traced, by id
        self.written: list[tuple[np.ndarray, np.ndarray]] = []  # those arrays, and their copies
        self._rates: list[tuple[Optimizer, _Number]] = []
        self._args = [_argument(x, same) for x in (*args, *options.values())]
        values = [one.traced(self._table) for one in self._args]
        named = dict(zip(options, values[len(args) :]))
        given = Saved(arrays)
        try:
            with traced(agent, self._wrap, method) as reads:
                self._returns(method(agent, *values[: len(args)], **named))
                self.read = ReadWatch(reads)
            if given.changed() or not _take(self._args, (*args, *options.values())):
                raise NotCapturableError("it writes to its arguments")
            self._rows = self._table.finish()
            self._result = self._copied()
            self._after = [array.copy() for array, _ in self.written]
        finally:
            given.restore()
            for array, before in self.written:
                _restore(array, before)
        self._words = struct.pack("QQ", id(self._rows), id(self._failed))
        self._status = self._failed.data  # quicker to read
        self._traced.clear()
        self.replays, self.proved, self.due = 0, False, 0

    def agrees(self, result: Any) -> bool:
        """Whether the traced call has done what the call has now done as it is."""
        for name, x in {"": result}.items() if self._alone else result.items():
            if isinstance(x, np.ndarray) and not x.ndim:
                self._whole.add(name)
        wrote = [array for array, _ in self.written]
        agrees = _same(self._result, result) and all(map(_same, self._after, wrote))
        self.written = [(array, array) for array, _ in self.written]  # the copies are not needed
        del self._result, self._after
        return agrees

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
                rate = _Number(float(value.learning_rate))
                held.learning_rate = rate.traced(self._table)
                self._rates.append((value, rate))
            return held
        if isinstance(value, tuple):
            return tuple(map(self._wrap, value))
        if any(self._wrap(x) is not x for x in contents(value) or ()):
            raise NotCapturableError(f"it reads arrays within a {type(value).__qualname__}")
        return value

    def _returns(self, returned: Any) -> None:
        self._alone = not isinstance(returned, dict)
        results = {"": returned} if self._alone else {**returned}
        for x in results.values():
            if type(x) is Traced and x.is_float:
                raise NotCapturableError("it returns a number that depends on its arguments")
            if type(x) not in (Traced, np.ndarray, float, *BY_VALUE):
                raise NotCapturableError(f"it returns a {type(x).__qualname__}")
        self._results = [(name, plain(x)) for name, x in results.items()]
        self._whole: set[str] = set()  # results that are arrays without axes, not numbers
        theirs = [array for one in self._args for array in one.arrays()]
        theirs += [array for array, _ in self.written]
        for _, x in self._results:
            if isinstance(x, np.ndarray) and any(np.may_share_memory(x, y) for y in theirs):
                raise NotCapturableError("it returns an argument or an attribute; return a copy")

    def _copied(self) -> Any:
        """What the last run returns: its arrays are written again by the next one."""
        results = {
            name: (x.copy() if x.ndim or name in self._whole else x[()])
            if type(x) is np.ndarray
            else x
            for name, x in self._results
        }
        return results[""] if self._alone else results

    def takes(self, agent: Any, args: Sequence[Any]) -> bool:
        """Take the arguments of a call; False if a replay does not do this call."""
        return self.read.changed(agent) is None and _take(self._args, args)

    def fits(self, agent: Any, args: Sequence[Any]) -> bool:
        """As `takes`, and False if the plan is to be proved by the call."""
        return self.replays != self.due and self.takes(agent, args)

    def replay(self) -> Any:
        """Do the call whose arguments were taken; returns what it returns."""
        self.take_rates()
        return self.finished(self._run(self._words))

    def may_take(self, args: Sequence[Any]) -> bool:
        """As `fits`, of an agent that has not changed."""
        return self.replays != self.due and _take(self._args, args)

    def take_rates(self) -> None:
        """Take the learning rates as they are now."""
        for optimizer, rate in self._rates:
            if optimizer.learning_rate is not rate.value:
                rate.take(float(optimizer.learning_rate))

    def as_row(self) -> list[int]:
        """The run of this plan's table, as a row of another table."""
        return [self._native.address, id(self._rows), id(self._failed)]

    def finished(self, failed: int = 0) -> Any:
        """What the call returns, after its table was run; raises the error of a row that failed."""
        if failed or self._status[0]:
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


class Saved:
    """Copies of arrays."""

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self._arrays = [(x, x.copy()) for x in arrays]

    def changed(self) -> bool:
        return not all(_same(x, before) for x, before in self._arrays)

    def restore(self) -> None:
        for x, before in self._arrays:
            _restore(x, before)


def _restore(x: np.ndarray, before: np.ndarray) -> None:
    if not _same(x, before):  # it may be read-only
        x[...] = before


class _Signature:
    """The calls of a method with one signature."""

    def __init__(self, method: Method, text: str) -> None:
        self.method, self.text = method, text
        self.calls = self.earlier = 0  # earlier: replays of plans that were dropped
        self.given: list[Any] = []  # references to the arrays of the last call
        self.reason = f"called {BEFORE} times at most so far"
        self.plan: Plan | None = None
        self.hopeless = False

    @property
    def replays(self) -> int:
        return self.earlier + (0 if self.plan is None else self.plan.replays)

    def report(self) -> Report:
        captured = self.plan is not None and self.plan.proved
        state = "captured" if captured else f"eager: {self.reason}"
        return Report(f"{self.method.__name__}({self.text})", state, self.replays)


class Plans:
    """The plans of one agent. A copy has none."""

    def __init__(self) -> None:
        self.signatures: OrderedDict[Any, _Signature] = OrderedDict()
        self.ready: dict[Method, Plan] = {}  # the plan that was used last, by method
        self.traces = 0
        # a plan computes in its own arrays: another thread runs its calls as they are
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Plans, ()

    def __repr__(self) -> str:
        plans = sum(one.plan is not None for one in self.signatures.values())
        return f"Plans({plans} of {len(self.signatures)} signatures)"

    def run(self, method: Method, agent: Any, args: Any, options: dict[str, Any]) -> Any:
        """method(agent, *args, **options), replayed where there is a plan."""
        if not self.lock.acquire(blocking=False):
            return method(agent, *args, **options)
        try:
            return self._run(method, agent, args, options)
        finally:
            self.lock.release()

    def _run(self, method: Method, agent: Any, args: Any, options: dict[str, Any]) -> Any:
        key: list[Any] = [method, *options]
        arrays: list[np.ndarray] = []
        values = (*args, *options.values())
        try:
            sort(values, key, arrays, [])
        except NotCapturableError as error:
            one = self._signature((method, str(error)), method, agent, args, options)
            one.reason, one.hopeless = str(error), True
            return method(agent, *args, **options)
        one = self._signature(tuple(key), method, agent, args, options)
        plan = one.plan
        if plan is not None:
            if plan.takes(agent, values):
                if plan.replays == plan.due:
                    return self._proved(one, plan, agent, args, options, arrays)
                if not options:
                    self.ready[method] = plan
                return plan.replay()
            changed = plan.read.changed(agent)
            self._drop(one)
            plan, one.calls = None, BEFORE
            one.reason = f"{changed} was changed" if changed else "it was given other arrays"
        one.calls += 1
        if not one.hopeless and one.calls > BEFORE and not self._too_many(one):
            same = {id(x) for x, before in zip(arrays, one.given) if before() is x}
            try:
                plan = Plan(agent, method, args, options, arrays, same)
                self.traces += 1
            except CompilingError as error:
                one.reason, one.calls = str(error), BEFORE - LATER
            except Exception as error:  # the call as it is raises its own, if it has one
                known = isinstance(error, NotCapturableError)
                one.reason = str(error) if known else f"tracing raised {describe_error(error)}"
                one.hopeless = True
        one.given = [weakref.ref(x) for x in arrays]
        result = method(agent, *args, **options)
        if plan is not None and not one.hopeless:
            if plan.agrees(result):
                one.plan, one.reason = plan, "the plan is proved by the next call"
            else:
                one.hopeless, one.reason = True, _DIFFERS
        return result

    def _signature(
        self, key: Any, method: Method, agent: Any, args: Any, options: Any
    ) -> _Signature:
        one = self.signatures.get(key)
        if one is None:
            if len(self.signatures) == KNOWN:
                self._drop(self.signatures.popitem(last=False)[1])
            text = signature_text(method, agent, args, options)
            one = self.signatures[key] = _Signature(method, text)
        else:
            self.signatures.move_to_end(key)
        return one

    def _too_many(self, one: _Signature) -> bool:
        """Whether no further plan should be made."""
        replays = sum(one.replays for one in self.signatures.values())
        if self.traces >= SIGNATURES and replays < 4 * self.traces:
            one.reason = (
                f"{self.traces} calls were traced for {replays} replays: shapes, or "
                "attributes that are read, change too often"
            )
            return True
        held = [other for other in self.signatures.values() if other.plan is not None]
        if len(held) >= SIGNATURES:
            seldom = min(held, key=lambda other: other.replays)
            self._drop(seldom)
            seldom.reason = f"{SIGNATURES} other signatures have plans"
        return False

    def _drop(self, one: _Signature) -> None:
        """Forget a plan."""
        if one.plan is not None:
            one.plan.due = one.plan.replays  # it fits no call any more, whoever has it
            if self.ready.get(one.method) is one.plan:
                del self.ready[one.method]
        one.earlier, one.plan = one.replays, None

    def _proved(
        self, one: _Signature, plan: Plan, agent: Any, args: Any, options: Any,
        arrays: Sequence[np.ndarray],
    ) -> Any:  # fmt: skip
        """The result of the call as it is; a replay must write and return the same."""
        given, wrote = Saved(arrays), [array for array, _ in plan.written]
        before = Saved(wrote)
        result = one.method(agent, *args, **options)
        if not given.changed():
            after = Saved(wrote)
            try:
                before.restore()
                agrees = _same(result, plan.replay()) and not after.changed()
            except Exception:  # the call as it is has succeeded
                agrees = False
            finally:
                after.restore()
            if agrees:
                plan.due = 10 * plan.replays if plan.proved else AGAIN
                plan.proved = True
                return result
        if plan.proved:  # earlier replays may have been wrong
            warnings.warn(
                f"{type(agent).__name__}.{one.method.__name__} is not a pure function: after "
                f"{one.replays:,} replays its result differs from the recorded steps. Pass what "
                "changes between calls as an argument, or set NPR_CAPTURE=0.",
                RuntimeWarning,
                stacklevel=5,
            )
        self._drop(one)
        one.hopeless, one.reason = True, _DIFFERS
        return result


_DIFFERS = "a replay differs from the call: it depends on more than what it is given"


def _same(a: Any, b: Any) -> bool:
    """Whether results are equal to the bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
