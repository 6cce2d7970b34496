"""Base classes of heads and distributions."""

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from npr.autodiff import Tensor, record
from npr.backend import FLOAT, Array, contiguous, to_device, to_host
from npr.envs.spaces import Actions


class Distribution(ABC):
    """A distribution over actions for each row of a network's outputs (..., K).

    Log-probabilities, entropies and divergences have shape (...). Random numbers are passed in
    (`noise`), so that samples are pure functions. If the outputs are a Tensor, the results are
    differentiable in them.
    """

    # (rng, shape) -> random numbers as `sample` needs them, on the host
    random: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of the random numbers that `sample` needs."""

    def noise(self, rng: np.random.Generator) -> np.ndarray:
        """The random numbers that `sample` needs, on the host."""
        return self.random(rng, self.noise_shape)

    @abstractmethod
    def sample(self, noise: Array) -> Any:
        """Actions, computed from the noise."""

    @abstractmethod
    def mode(self) -> Array:
        """The most likely actions."""

    @abstractmethod
    def log_prob(self, a: Array) -> Any:
        """Log-probabilities, or log densities, of actions."""

    @abstractmethod
    def entropy(self) -> Any:
        """Entropies in nats."""

    @abstractmethod
    def kl(self, other: Any) -> Any:
        """KL(self || other), for `other` of the same class."""

    def choose(self, noise: Array) -> Array:
        """The actions of `sample` alone, where it returns more."""
        return self.sample(noise)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Actions on the host, drawn with rng."""
        a: np.ndarray = to_host(self.choose(to_device(self.noise(rng))))
        return a


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in [0, 1)."""
    return rng.random(shape, FLOAT)


def total(parts: Iterable[Any]) -> Any:
    """The sum of numbers of independent parts of an action."""
    return functools.reduce(operator.add, parts)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers."""
    return rng.standard_normal(shape, FLOAT)


def node(name: str, x: Any, y: Array, pull: Callable[[Array], Array]) -> Any:
    """The value y (B, ...) of a function of the rows (B, K) of x (..., K), as (..., ...).

    If x is a Tensor, on its tape; `pull` maps the cotangent of y to that of the rows, both
    contiguous. `name` is for messages.
    """
    shape, rows = x.shape, y.shape
    y = y.reshape((*shape[:-1], *rows[1:]))
    if type(x) is not Tensor:
        return y
    return record(y, [x], lambda g: [pull(contiguous(g).reshape(rows)).reshape(shape)], name, (x,))


@dataclass
class Head(ABC):
    """Chooses the actions of a policy from the outputs of its network.

    actions      the action space, of one of its `kinds`
    epsilon      probability of a uniformly random action, for the heads of action values
    temperature  divisor of the logits, for the categorical head
    """

    actions: Actions
    epsilon: float = 0.0
    temperature: float = 1.0

    name: ClassVar[str]  # in a policy file
    kinds: ClassVar[tuple[str, ...]]  # of actions

    @property
    def outputs(self) -> int:
        """Outputs of the network per action, without the free ones."""
        return self.actions.size

    @property
    def free(self) -> int:
        """Further outputs that do not depend on the observation: free parameters."""
        return 0

    @property
    def noise_inputs(self) -> int:
        """Inputs of the network, after the observation, that are standard normal numbers."""
        return 0

    def metrics(self, theta: Array) -> dict[str, Array]:
        """What a log has about the distribution, besides losses; theta: the policy's parameters."""
        return {}

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """The random numbers, on the host, that so many actions of a run are chosen with: the
        further inputs of the network, which may be none."""
        return normal(rng, (*shape, self.noise_inputs))

    @abstractmethod
    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """The agent's actions (B, ...) for outputs y (B, outputs + free), with NumPy only.

        rng    None: the deterministic action
        mask   (B, mask_size) of the actions that are allowed, see npr.heads.masks; None: all
        """

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        """The meaning of the outputs y (outputs + free,) for one observation, for `agent.inspect`:
        names and arrays, which it prints.

        mask   (mask_size,) as for `choose`
        """
        return {"outputs": y}


class StochasticHead(Head):
    """A head with a distribution for training: head(outputs)."""

    distribution: ClassVar[type[Distribution]]  # of the actions

    @property
    def noise_size(self) -> int:
        """Standard normal numbers per action that the distribution's `expectation` needs."""
        return 0

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """The random numbers, on the host, that `sample` needs for so many actions.

        The same as `noise` of a distribution of these actions, without its parameters.
        """
        return self.distribution.random(rng, (*shape, *self.actions.columns()[0]))

    @abstractmethod
    def __call__(self, outputs: Any, mask: Array | None = None) -> Distribution:
        """The distribution of actions, in which those that `mask` (..., mask_size) forbids have
        probability 0; None: all are allowed."""
