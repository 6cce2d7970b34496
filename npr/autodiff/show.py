"""What a tape holds: `show(f, x)` runs f and returns its operations with values and cotangents."""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npr.autodiff import anomaly
from npr.autodiff.nodes import Node, number, text
from npr.autodiff.tensor import Tensor, _backward, _one, _trace, stop_gradient
from npr.backend import Array, to_device, to_host
from npr.errors import ConfigError, GradientError

_SMALL = 4  # numbers of a constant that are written out
_LONGEST = 28  # characters of one constant


@dataclass
class TapeView:
    """The operations that `show` has recorded: print it, or look at it in a notebook.

    name        of the function, with its inputs: "f(x, y)"
    nodes       the entries of the tape, in the order of computation: inputs first
    result      the number of the entry that is the result; None: it does not depend on the inputs
    value       the result
    limit       arrays of more numbers are written as their range
    operations  operations that are written or drawn at most; those in the middle are left out
    """

    name: str
    nodes: list[Node]
    result: int | None
    value: float
    n_inputs: int = field(repr=False)
    limit: int = 6
    operations: int = 40

    @property
    def gradients(self) -> dict[str, np.ndarray | None]:
        """The gradient of the result with respect to each input, by name."""
        return {node.name: node.cotangent for node in self.nodes[: self.n_inputs]}

    def shown(self) -> list[Node]:
        """The nodes that are written or drawn: all, or the first and the last of the operations."""
        inputs, rest = self.nodes[: self.n_inputs], self.nodes[self.n_inputs :]
        over = len(rest) - max(self.operations, 2)
        if over > 0:
            first = max(self.operations, 2) // 2
            rest = rest[:first] + rest[first + over :]
        return inputs + rest

    def notes(self) -> list[str]:
        """Sentences on what is left out, and what needs an explanation."""
        shown, notes = self.shown(), []
        if self.result is None:
            notes.append("The result does not depend on the inputs: all gradients are zero.")
        else:
            notes.append(
                f"cotangent: the derivative of the result #{self.result} with respect to that "
                "value."
            )
        if any(node.cotangent is None for node in shown):
            notes.append("cotangent none: the result does not depend on that value.")
        if fused := list(dict.fromkeys(node.name for node in shown if node.fused)):
            notes.append(f"One operation each, with a pullback of its own: {', '.join(fused)}.")
        if any(node.value.size > self.limit for node in shown):
            notes.append(f"Arrays of more than {self.limit} numbers (limit): their range is shown.")
        if out := len(self.nodes) - len(shown):
            numbers = [node.number for node in shown]
            start = next(i for i, n in enumerate(numbers) if i != n)
            notes.append(
                f"{out} of {len(self.nodes) - self.n_inputs} operations are left out, #{start} to "
                f"#{start + out - 1} (operations={self.operations})."
            )
        return notes

    def heading(self) -> str:
        """ "f(x, y) = 9.66" """
        return f"{self.name} = {number(self.value)}"

    def __str__(self) -> str:
        rows = [("#", "operation", "of", "shape", "value", "cotangent")]
        before = -1
        for node in self.shown():
            if node.number != before + 1:
                rows.append(("...", "", "", "", "", ""))
            before = node.number
            of = node.arguments or "input"
            value, cotangent = text(node.value, self.limit), text(node.cotangent, self.limit)
            rows.append((str(node.number), node.name, of, str(node.shape), value, cotangent))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            "  ".join([row[0].rjust(widths[0]), *map(str.ljust, row[1:], widths[1:])]).rstrip()
            for row in rows
        ]
        return "\n".join([self.heading(), "", *lines, "", *self.notes()])

    __repr__ = __str__

    def svg(self) -> str:
        """The graph of the operations as SVG: inputs above, arrows to what was computed of them."""
        from npr.autodiff.drawing import draw  # needed by few

        return draw(self.heading(), self.shown(), self.notes(), self.result, self.limit)

    _repr_svg_ = svg  # for notebooks

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the graph to a file, which must end in .svg. Raises ConfigError otherwise."""
        if not os.fspath(path).lower().endswith(".svg"):
            raise ConfigError(f"The picture of a tape is SVG: name it .svg, got {path!r}.")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg())


def show(f: Callable[..., Any], *inputs: Any, **constants: Any) -> TapeView:
    """Run f(*inputs, **constants) and its backward pass, and return what the tape held.

    f          a function that returns a scalar, as for `grad`
    inputs     of f, by position. Floats and arrays of floats of any shape are on the tape, all of
               them, in the type of the first array; others, such as integers, are constants
    constants  of f, by name: as they are

    print(show(f, x)) is a table, show(f, x).svg() a picture, which notebooks show. A value has the
    derivative of the result as its cotangent, of the value's shape; where it is used several times,
    it is the sum. What is a constant for f, such as a batch, is best given by name: then functions
    that take arrays alone accept it.

    Raises GradientError if no input holds floats, and if the result is not a scalar.
    """
    names = _names(f, len(inputs))
    floats = [i for i, x in enumerate(inputs) if _is_float(x)]
    if not floats:
        kinds = ", ".join(str(getattr(x, "dtype", type(x).__name__)) for x in inputs) or "nothing"
        raise GradientError(
            f"show needs an input of floats, got {kinds}. Write 2.0 for 2, and x.astype(float) for "
            "an array of integers."
        )
    arrays = [inputs[i] for i in floats if not isinstance(inputs[i], float)]
    dtype = np.result_type(*(x.dtype for x in arrays)) if arrays else np.dtype(np.float64)
    values = [to_device(np.asarray(to_host(inputs[i]), dtype)) for i in floats]
    recorder = _Recorder(_constants(f, {**dict(zip(names, inputs)), **constants}))

    def run(first: Tensor) -> Any:
        tensors = [first, *(recorder.further(first.tape, x) for x in values[1:])]
        args = list(inputs)
        for i, tensor in zip(floats, tensors):
            args[i] = tensor
        with anomaly.observed(first.tape, recorder):
            return f(*args, **constants)

    try:
        tape, out = _trace(run, values[0], ())
    except (TypeError, ValueError) as error:
        if len(floats) > 1:
            error.add_note(
                f"show puts every input of floats on the tape, here "
                f"{', '.join(names[i] for i in floats)}. Give what is a constant by name: "
                f"show(f, {names[floats[0]]}, {names[floats[1]]}=...)."
            )
        raise
    value = stop_gradient(out)
    if getattr(value, "shape", None) != () and not isinstance(value, (int, float)):
        got = f"shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
        raise GradientError(
            f"show needs a scalar, f returned {got}. Return one number: for instance the array's "
            ".sum(), or the loss without what is returned beside it."
        )
    on_tape = type(out) is Tensor and out.tape is tape
    first = _backward(tape, out, _one(dtype), values[0])
    recorder.cotangents[0] = first
    nodes = []
    for i, name in enumerate(names[j] for j in floats):
        cotangent = recorder.cotangents.get(i)
        cotangent = np.zeros(values[i].shape, dtype) if cotangent is None else cotangent
        nodes.append(Node(i, name, (), "", _copy(values[i]), _copy(cotangent)))
    for i, (name, y, arguments) in recorder.operations.items():
        parents, _ = tape.entries[i]
        arguments = arguments or ", ".join(f"#{p}" for p in parents)
        cotangent = recorder.cotangents.get(i)
        cotangent = None if cotangent is None else _copy(cotangent)
        nodes.append(Node(i, name, tuple(parents), arguments, y, cotangent))
    tape.entries = None
    called = f"{_name(f)}({', '.join(names)})"
    result = out.index if on_tape else None
    return TapeView(called, nodes, result, float(to_host(value)), len(floats))


class _Recorder:
    """What a tape does not hold: names, values and cotangents of its entries."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names  # of constants, by id
        self.operations: dict[int, tuple[str, np.ndarray, str]] = {}
        self.cotangents: dict[int, Array] = {}

    def further(self, tape: Any, x: Array) -> Tensor:
        """A further input, an entry without parents."""
        index = len(tape.entries)
        tape.entries.append(((), self._keeping(index, lambda g: ())))
        return Tensor(x, tape, index)

    def __call__(
        self,
        index: int,
        name: str,
        y: Array,
        arguments: Sequence[Any],
        pullback: Callable[[Array], Any],
    ) -> Callable[[Array], Any]:
        """An operation: see anomaly.observed."""
        words = ", ".join(self._argument(one) for one in arguments)
        self.operations[index] = name, _copy(y), words
        return self._keeping(index, pullback)

    def _keeping(self, index: int, pullback: Callable[[Array], Any]) -> Callable[[Array], Any]:
        def keeping(g: Array) -> Any:
            self.cotangents[index] = g
            return pullback(g)

        return keeping

    def _argument(self, x: Any) -> str:
        if type(x) is Tensor:
            return f"#{x.index}"
        if id(x) in self.names:
            return self.names[id(x)]
        if hasattr(x, "dtype") and hasattr(x, "shape"):
            return text(to_host(x), _SMALL, ranges=False)
        if isinstance(x, float):
            return number(x)
        if isinstance(x, slice):
            ends = [x.start, x.stop, *([] if x.step is None else [x.step])]
            return ":".join("" if end is None else str(end) for end in ends)
        if isinstance(x, (tuple, list)):
            inner = ", ".join(map(self._argument, x))
            return _short(f"({inner})" if isinstance(x, tuple) else f"[{inner}]")
        return _short("..." if x is Ellipsis else str(x))


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or getattr(getattr(x, "dtype", None), "kind", "") == "f"


def _copy(x: Any) -> np.ndarray:
    return np.array(to_host(x))


def _name(f: Any) -> str:
    name = getattr(f, "__name__", "f")
    return "f" if name == "<lambda>" else name


def _names(f: Any, n: int) -> list[str]:
    """A name for each of n arguments by position: those of f's parameters, as far as known."""
    kind = inspect.Parameter
    try:
        given = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # a built-in function
        given = []
    by_place = kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD
    names = [one.name for one in given if one.kind in by_place][:n]
    rest = next((one.name for one in given if one.kind is kind.VAR_POSITIONAL), "x")
    return names + [f"{rest}{i}" for i in range(n - len(names))]


def _constants(f: Any, given: dict[str, Any]) -> dict[int, str]:
    """Names of the arrays that f uses, by id: its arguments, and variables around it."""
    try:
        around = inspect.getclosurevars(f)
        outer = {**around.globals, **around.nonlocals}
    except (TypeError, ValueError):  # no function in Python
        outer = {}
    named = {**outer, **given}
    return {id(x): name for name, x in named.items() if hasattr(x, "dtype") and hasattr(x, "shape")}
