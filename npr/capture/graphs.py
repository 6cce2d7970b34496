"""Updates on a device, replayed as CUDA graphs.

The `update` of an agent is a pure function of its arguments and of what it reads from the agent. So
the work of one call can be recorded and repeated: one launch of a graph replaces some hundred
launches of kernels, each of which costs more time on the host than on the device.

Calls are distinguished by their signature: shapes and types of arrays, values of flags. The first
call of a signature runs eagerly, which compiles its kernels; the second is captured, and from then
on the graph is launched. Floats are passed to `update` as device arrays, captured or not, so that
they may change between calls.

What cannot be captured runs eagerly, with the same results. `report(agent)` has the reasons.
"""

import collections
import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from npr.autodiff import anomaly
from npr.backend import FLOAT, GRAPHS, Array, xp
from npr.capture.calls import (
    ARRAY,
    BY_VALUE,
    SIGNATURES,
    Method,
    NotCapturableError,
    Report,
    filled,
    signature_text,
    sort,
)
from npr.capture.reads import ReadWatch, optimizers, traced
from npr.errors import describe_error
from npr.training.logger import Column, Replayed

WORTH = 10  # replays per capture that are needed to go on capturing
ROWS = 256  # results of that many replays share an array: the logger reads it at once
ROW_BYTES = 1 << 22  # of that array at most


def _owner(x: Array) -> Array:
    """The array whose memory this one has, or is a part of."""
    return x if x.base is None else x.base


# ---- results


class _Results:
    """What an update returns, packed while it is captured; copied after each launch, since the next
    one overwrites it."""

    def __init__(self, returned: Any) -> None:
        self._alone = not isinstance(returned, dict)
        self._constants: dict[str, Any] = {"": returned} if self._alone else {**returned}
        arrays: list[tuple[str, Array]] = []
        for name, x in self._constants.items():
            if type(x) is ARRAY:
                arrays.append((name, x))
                self._constants[name] = None
            elif type(x) not in (*BY_VALUE, float):
                raise NotCapturableError(f"it returns a {type(x).__qualname__}")
        arrays = sorted(arrays, key=lambda item: -item[1].itemsize)  # so that all are aligned
        self._columns, stop = [], 0
        for name, x in arrays:
            start, stop = stop, stop + x.nbytes
            self._columns.append(Column(name, start, stop, x.dtype, x.shape))
        # one after the other in bytes, so that one copy is enough whatever their types
        self._packed = xp.empty(-(-stop // 8) * 8, np.uint8)
        for (_, x), (_, start, stop, kind, shape) in zip(arrays, self._columns):
            self._packed[start:stop].view(kind).reshape(shape)[...] = x
        self._rows: Array = ()  # copies of what was packed
        self._used = 0

    def copied(self) -> Any:
        """What the last launch has returned."""
        results = {**self._constants}
        if not self._columns:
            return results[""] if self._alone else results
        if self._used == len(self._rows):
            size, self._used = self._packed.size, 0
            self._rows = xp.empty((min(ROWS, max(1, ROW_BYTES // max(1, size))), size), np.uint8)
        row = self._rows[self._used]
        xp.copyto(row, self._packed)
        self._used += 1
        for name, start, stop, kind, shape in self._columns:
            results[name] = row[start:stop].view(kind).reshape(shape)
        if self._alone:
            return results[""]
        return Replayed(results, self._rows, self._used - 1, self._columns)


# ---- graphs


class _Graph:
    """One captured update. Nothing is computed before `launch`.

    arrays, scalars   the update's arguments in the signature's order
    fixed             whether each array is the caller's own memory, which has the same address in
                      every call; others are copied to one of the graph
    """

    def __init__(
        self, agent: Any, call: Callable[[Iterator[Array], Iterator[Array]], Any],
        arrays: Sequence[Array], scalars: Sequence[Array], fixed: Sequence[bool],
    ) -> None:  # fmt: skip
        self._inputs = [
            (x.data.ptr if same else 0, x if same else x.copy()) for x, same in zip(arrays, fixed)
        ]
        for optimizer in optimizers(vars(agent).values()):
            optimizer.refresh()  # a write would be repeated by every launch
        # What is freed during the capture may be used again by a later part of it, which runs after
        # in each launch; no memory of this pool is given to others as long as it exists.
        failures: list[str] = []

        def allocate(size: int) -> Any:
            try:
                return xp.cuda.MemoryPointer(xp.cuda.Memory(size), 0)
            except MemoryError as error:
                failures.append(str(error))
                raise

        self._pool = xp.cuda.MemoryPool(allocate)
        stream = xp.cuda.Stream(non_blocking=True)
        with traced(agent) as reads, xp.cuda.using_allocator(self._pool.malloc), stream:
            stream.begin_capture()
            try:
                inputs = iter([static for _, static in self._inputs])
                self._results = _Results(call(inputs, iter(scalars)))
            except BaseException:
                with contextlib.suppress(Exception):  # what went wrong may have ended it already
                    stream.end_capture()
                raise
            self._graph = stream.end_capture()
            self.read = ReadWatch(reads)
        if failures:  # the pool has freed blocks, which the graph uses, and has tried again
            raise MemoryError(failures[0])

    def take(self, arrays: Sequence[Array]) -> bool:
        """Copy the arguments of a call to the graph's inputs. False if one should have the address
        of its input and has another."""
        for x, (address, static) in zip(arrays, self._inputs):
            if not address:
                xp.copyto(static, x)
            elif x.data.ptr != address:
                return False
        return True

    def launch(self) -> Any:
        """Do the update, once its arguments were taken; returns what it returns."""
        for optimizer in self.read.optimizers:
            optimizer.refresh()
        self._graph.launch()
        return self._results.copied()


class _Signature:
    """The updates with arguments of one signature."""

    def __init__(self, text: str, floats: int) -> None:
        self.text, self.reason, self.replays = text, "called once so far", 0
        self.graph: _Graph | None = None
        self.hopeless = False  # whether a capture was tried and failed
        # the arrays of the last eager call: their owners and addresses
        self.last: list[tuple[Any, int]] | None = None
        self.scalars = [xp.empty((), FLOAT) for _ in range(floats)]
        self._numbers: list[float | None] = [None] * floats  # what these hold

    def report(self) -> Report:
        state = "captured" if self.graph is not None else f"eager: {self.reason}"
        return Report(self.text, state, self.replays)

    def fill(self, floats: Sequence[float]) -> None:
        """Write the numbers that have changed to the device."""
        for i, number in enumerate(floats):
            if number != self._numbers[i]:
                self.scalars[i].fill(number)
                self._numbers[i] = number


def _captured(*args: Any) -> _Graph:
    """A captured update. The pool of eager updates first frees what it does not use: the pool of
    the graph cannot take it."""
    xp.get_default_memory_pool().free_all_blocks()
    return _Graph(*args)


_CUBLAS = "it calls cuBLAS, which CuPy does not capture"


def _reason(error: Exception) -> str:
    """Why an update was not captured."""
    if isinstance(error, NotCapturableError):
        return str(error)
    if isinstance(error, NotImplementedError) and "cuBLAS" in str(error):
        return _CUBLAS
    return f"capturing raised {describe_error(error)}"


class Graphs:
    """The captured updates of one agent, which is not kept alive. A copy has none."""

    def __init__(self) -> None:
        self.signatures: collections.OrderedDict[Any, _Signature] = collections.OrderedDict()
        self.captures = self.replays = 0

    def __reduce__(self) -> Any:
        return Graphs, ()

    def run(self, update: Method, agent: Any, args: Any, options: dict[str, Any]) -> Any:
        """update(agent, *args, **options), launched where it was captured."""
        key: list[Any] = [update, *options]
        arrays: list[Array] = []
        floats: list[float] = []
        values = (*args, *options.values()) if options else args
        try:
            sort(values, key, arrays, floats)
        except NotCapturableError as error:
            one = self._signature((update, str(error)), update, agent, args, options)
            result = update(agent, *args, **options)
            self._give_up(one, str(error), agent)
            return result
        one = self._signature(tuple(key), update, agent, args, options, len(floats))
        one.fill(floats)

        def call(arrays: Iterator[Array], scalars: Iterator[Array]) -> Any:
            given = filled(values, arrays, scalars)
            n = len(args)
            return update(agent, *given[:n], **dict(zip(options, given[n:])))

        failed = ""
        if not anomaly.on and not one.hopeless:
            try:
                graph = self._graph(one, agent, call, arrays)
            except Exception as error:  # the update may be any code
                # not the error: its traceback holds the memory of the capture
                failed = _reason(error)
            else:
                if graph is not None:
                    return graph.launch()
        result = call(iter(arrays), iter(one.scalars))
        one.last = [(weakref.ref(_owner(x)), x.data.ptr) for x in arrays]
        if failed:
            self._give_up(one, failed, agent)
        return result

    def _signature(
        self, key: Any, update: Method, agent: Any, args: Any, options: Any, floats: int = 0
    ) -> _Signature:
        one = self.signatures.get(key)
        if one is None:
            if len(self.signatures) == SIGNATURES:
                self.signatures.popitem(last=False)
            text = signature_text(update, agent, args, options)
            one = self.signatures[key] = _Signature(text, floats)
        else:
            self.signatures.move_to_end(key)
        return one

    def _graph(
        self, one: _Signature, agent: Any, call: Callable[..., Any], arrays: Sequence[Array]
    ) -> _Graph | None:
        """The graph of this call, which has taken its arguments; None: it must run eagerly."""
        graph = one.graph
        if graph is not None:
            if changed := graph.read.changed(agent):
                # another value may need kernels that are not compiled yet
                one.graph, one.last = None, None
                one.reason = f"{changed} was changed"
                return None
            if graph.take(arrays):
                one.replays += 1
                self.replays += 1
                return graph
            fixed = [False] * len(arrays)
        elif not GRAPHS:
            one.reason = "NPR_GRAPHS=0"
            return None
        elif one.last is None:
            return None
        else:
            # not one that was freed, and its memory given to another
            fixed = [
                owner() is _owner(x) and address == x.data.ptr
                for x, (owner, address) in zip(arrays, one.last)
            ]
        if self.captures >= SIGNATURES and self.replays < WORTH * self.captures:
            one.graph = None
            one.reason = (
                f"{self.captures} graphs were captured for {self.replays} replays: shapes, or "
                "attributes that it reads, change too often"
            )
            return None
        self.captures += 1
        one.graph = None
        with contextlib.suppress(MemoryError):
            one.graph = _captured(agent, call, arrays, one.scalars, fixed)
        if one.graph is None:  # once more, as the memory of that capture was freed with the error
            one.graph = _captured(agent, call, arrays, one.scalars, fixed)
        one.graph.take(arrays)
        return one.graph

    def _give_up(self, one: _Signature, reason: str, agent: object) -> None:
        """Let a signature run eagerly, and say why once, unless npr expects it."""
        one.reason, one.hopeless = reason, True
        if reason == _CUBLAS:
            return
        name = type(agent).__name__
        if (name, one.reason) not in _warned:
            _warned.add((name, one.reason))
            warnings.warn(
                f"{name}.update runs without CUDA graphs, which is slower: {one.reason}.",
                RuntimeWarning,
                stacklevel=4,  # the caller of update
            )


_warned: set[tuple[str, str]] = set()
