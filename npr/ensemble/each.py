"""One value for each of several agents, used as if it were the value of one."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from npr.kernels.jit import Kernel

# of equal ones it does not matter which one is used
_PLAIN = {bool, int, str, type(None)}


def together(values: Sequence[Any]) -> Any:
    """An Each of these values, or the number, text or shape that they all are."""
    first = values[0]
    kind = type(first)
    if kind is np.ndarray:
        return Each(values)
    plain = (
        kind in _PLAIN or isinstance(first, np.dtype)
        or (kind is float and first)  # zeros may have different signs
        or (kind is tuple and _PLAIN.issuperset(map(type, first)))
    )  # fmt: skip
    if plain and values.count(first) == len(values) and len({*map(type, values)}) == 1:
        return first
    return Each(values)


def per_agent(args: Iterable[Any], n: int) -> Iterator[tuple[Any, ...]]:
    """The arguments of n calls, one per agent."""
    columns = [x.values if type(x) is Each else _column(x, n) for x in args]
    return zip(*columns) if columns else iter([()] * n)


def _column(x: Any, n: int) -> Sequence[Any]:
    if type(x) in (list, tuple) and any(type(item) is Each for item in x):
        return [type(x)(row) for row in per_agent(x, n)]
    if type(x) is dict and any(type(item) is Each for item in x.values()):
        return [dict(zip(x, row)) for row in per_agent(x.values(), n)]
    return [x] * n


def call_each(function: Callable[..., Any], n: int, *args: Any, **options: Any) -> Any:
    """function(*args, **options) for each of n agents."""
    if not options:
        return together([function(*row) for row in per_agent(args, n)])
    named = per_agent(options.values(), n)
    return together(
        [function(*row, **dict(zip(options, more))) for row, more in zip(per_agent(args, n), named)]
    )


class Each:
    """The values of several agents. What is done with it is done with each of them: attributes,
    calls, operators, items, functions of NumPy and kernels. Where all results are the same number,
    text or shape, they are that one.

    values   one per agent
    """

    __slots__ = ("values",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"Each({len(self.values)} of {type(self.values[0]).__name__})"

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":  # which Python asks for to find out what this can do
            raise AttributeError(name)
        return together([getattr(x, name) for x in self.values])

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options:
            return call_each(operator.call, len(self.values), self, *args, **options)
        rows = per_agent(args, len(self.values))
        return together([f(*row) for f, row in zip(self.values, rows)])

    def __getitem__(self, index: Any) -> Any:
        return call_each(operator.getitem, len(self.values), self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        call_each(operator.setitem, len(self.values), self, index, value)

    def __iter__(self) -> Iterator[Any]:
        return map(together, zip(*self.values, strict=True))

    def __len__(self) -> int:
        return int(self._one([len(x) for x in self.values]))

    def __bool__(self) -> bool:
        return bool(self._one([bool(x) for x in self.values]))

    def _one(self, values: list[Any]) -> Any:
        if any(x != values[0] for x in values):
            raise NotAlikeError(
                "An algorithm takes another way for some agents of an ensemble than for others; "
                "such agents must be trained one after the other."
            )
        return values[0]

    # ---- what NumPy and kernels hand over

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return call_each(getattr(ufunc, method), len(self.values), *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return call_each(function, len(self.values), *args, **options)

    def __kernel__(self, kernel: Kernel, args: Sequence[Any]) -> Any:
        if any(type(x) is np.ndarray for x in args):  # to which all agents would write
            raise NotAlikeError(f"{kernel.__name__} is given an array that is of no agent.")
        return call_each(kernel, len(self.values), *args)


class NotAlikeError(RuntimeError):
    """Agents that learn together cannot do the same steps."""


def _operator(name: str, swapped: bool = False) -> Any:
    function = getattr(operator, name)

    def method(self: Each, *others: Any) -> Any:
        args = (*others, self) if swapped else (self, *others)
        return call_each(function, len(self.values), *args)

    return method


for _name in ("neg", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Each, f"__{_name}__", _operator(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_"):
    _bare = _name.rstrip("_")
    setattr(Each, f"__{_bare}__", _operator(_name))
    setattr(Each, f"__r{_bare}__", _operator(_name, swapped=True))
