"""Networks of the user's own, in place of multi-layer perceptrons:

    net_arch={"pi": Network(), "qf": [64, 64]}

Such a network is any object with

    size                       the length of theta, a vector of parameters
    init(rng)                  a new theta (size,), drawn with a numpy.random.Generator
    __call__(theta, *inputs)   the outputs for a batch, from functions of npr.autodiff: (B, K) from
                               inputs (B, n), or (B,) for a value

It must be a pure function of its arguments: copies of an agent share it, and a file has no more of
it than the name of its class. What is computed with it is not captured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npr.autodiff import concatenate, stack, tanh
from npr.backend import FLOAT, Array, on_host, to_device, xp
from npr.errors import CheckpointError, ConfigError

_MARKER = "own"  # the key of the class in a file


class OwnNetwork:
    """A network of the user's, as the value of a setting. It is not copied.

    Raises ConfigError for an object that is none.
    """

    def __init__(self, network: Any) -> None:
        if not is_network(network):
            raise ConfigError(
                f"A network needs size, init(rng) and __call__(theta, *inputs), got {network!r}."
            )
        self.network = network

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnNetwork) and self.network is other.network

    def __hash__(self) -> int:
        return id(self.network)

    def __repr__(self) -> str:
        return repr(self.network)

    def __deepcopy__(self, memo: Any) -> "OwnNetwork":
        return self

    @property
    def plain(self) -> dict[str, str]:
        """What a file has of it."""
        return {_MARKER: type(self.network).__name__}


def is_network(value: Any) -> bool:
    """Whether a value of a setting is a network of the user's."""
    if isinstance(value, type):
        return False
    return callable(value) and hasattr(value, "size") and callable(getattr(value, "init", None))


def wrapped(value: Any) -> Any:
    """The value of net_arch, with each network of the user's in a dict as an OwnNetwork."""
    if not isinstance(value, dict):
        return value
    return {name: OwnNetwork(one) if is_network(one) else one for name, one in value.items()}


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain data, with the names of classes in place of own networks."""
    arch = settings.get("net_arch")
    if not isinstance(arch, dict):
        return dict(settings)
    named = {name: one.plain if isinstance(one, OwnNetwork) else one for name, one in arch.items()}
    return {**settings, "net_arch": named}


def restored(settings: Any, given: Any) -> Any:
    """The settings of a file, with own networks in place of the names of their classes.

    given   net_arch with these networks, by name

    Raises CheckpointError if one is missing.
    """
    held = settings.get("net_arch")
    by_name = held if isinstance(held, dict) else {}
    marked = {name: one for name, one in by_name.items() if isinstance(one, dict)}
    if not marked:
        return settings
    there = given if isinstance(given, dict) else {}
    if not all(is_network(there.get(name)) for name in marked):
        wanted = ", ".join(f"{name!r}: {one.get(_MARKER)}(...)" for name, one in marked.items())
        raise CheckpointError(
            "the agent has networks of its user's own code, which no file holds. Pass those that "
            f"it was built with: npr.load(path, net_arch={{{wanted}}})."
        )
    return {**settings, "net_arch": {**by_name, **{name: there[name] for name in marked}}}


class BoundNetwork:
    """An own network at its place in an algorithm, called as npr.nn.MLP is.

    own       the network
    name      in net_arch, for messages
    inputs    numbers per row of each input
    outputs   numbers per row of the result; None: one number without an axis, shape (B,)
    out       activation of the output: identity or tanh
    rows      a stack of that many: they are called one after the other
    free      further outputs that do not depend on the input, at the end of theta and of the result
    ignored   numbers that may follow those of the first input, which the network does not get
    """

    activation, layer_norm = "identity", False

    def __init__(
        self,
        own: OwnNetwork,
        name: str,
        inputs: int | Sequence[int],
        outputs: int | None = None,
        out: str = "identity",
        rows: int | None = None,
        free: int = 0,
        ignored: int = 0,
    ) -> None:
        self._own, self.name, self._out = own.network, name, out
        self.outputs, self.rows, self.free, self.ignored = outputs, rows, free, ignored
        widths = [int(n) for n in np.ravel(inputs)]
        self._first = widths[0]
        self.sizes = [sum(widths), 1 if outputs is None else outputs]
        size = self._own.size
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ConfigError(f"{self}.size must be a whole number above 0, got {size!r}.")
        self._size, self.size = int(size), int(size) + free

    def __repr__(self) -> str:
        return f"net_arch[{self.name!r}], {type(self._own).__name__},"

    def init(
        self, rng: np.random.Generator, scheme: str = "", out_gain: float = 1.0, free: float = 0.0
    ) -> Array:
        """A new theta, (size,) or (rows, size), drawn on the host.

        scheme, out_gain   of npr.nn.MLP; the network draws its parameters in its own way
        """
        theta = np.full((self.rows or 1, self.size), free, FLOAT)
        with on_host():
            for row in theta:
                drawn = np.asarray(self._own.init(rng))
                if drawn.shape != (self._size,) or drawn.dtype.kind != "f":
                    raise ConfigError(
                        f"{self} must draw {self._size} floats, as its size says; its init(rng) "
                        f"returned {drawn.dtype}{drawn.shape}."
                    )
                row[: self._size] = drawn
        return to_device(theta if self.rows else theta[0])

    def __call__(self, theta: Any, *xs: Any) -> Any:
        y = self.linear(theta, *xs)
        return tanh(y) if self._out == "tanh" else y

    def linear(self, theta: Any, *xs: Any) -> Any:
        """The result without the activation of the output."""
        if self.ignored and xs[0].shape[-1] == self._first + self.ignored:
            xs = (xs[0][..., : self._first], *xs[1:])
        lead = xs[0].shape[:-1]
        if len(lead) != 1:
            xs = tuple(x.reshape((-1, x.shape[-1])) for x in xs)
        if not self.rows:
            return self._one(theta, xs, lead)
        return stack([self._one(theta[i], xs, lead) for i in range(len(theta))])

    def _one(self, theta: Any, xs: tuple[Any, ...], lead: tuple[int, ...]) -> Any:
        y = self._own(theta[: self._size], *xs)
        shape = (xs[0].shape[0], *(() if self.outputs is None else (self.outputs,)))
        got, dtype = getattr(y, "shape", None), getattr(y, "dtype", None)
        if got != shape or dtype != theta.dtype:
            raise ConfigError(
                f"{self} must return {theta.dtype}{shape} for a batch of {shape[0]}, got "
                f"{type(y).__name__ if got is None else f'{dtype}{got}'}."
            )
        if self.free:
            tail = theta[self._size :] + xp.zeros((shape[0], self.free), theta.dtype)
            y = concatenate([y, tail], axis=-1)
        return y if len(lead) == 1 else y.reshape((*lead, *y.shape[1:]))
