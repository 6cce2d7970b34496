"""The head of a Dict or Tuple of actions: a product of the heads of its parts, which are
independent given the observation. And `policy_head`, which chooses the head for any actions.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npr.autodiff import concatenate
from npr.backend import Array, xp
from npr.envs.spaces import Actions, GroupActions
from npr.heads.base import Distribution, StochasticHead, total
from npr.heads.continuous import GaussianHead, TanhGaussianHead
from npr.heads.discrete import BernoulliHead, CategoricalHead, MultiCategoricalHead


class Product(Distribution):
    """Independent actions of several kinds, from the distribution of each part.

    Actions and noise are rows (..., width) with the columns of the parts, as GroupActions has them.
    """

    def __init__(self, head: "ProductHead", parts: list[Distribution], batch: tuple[int, ...]):
        self.head, self.parts, self.batch = head, parts, batch

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.head.noise(rng, shape[:-1])

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(..., width)"""
        return *self.batch, self.head.actions.width

    def sample(self, noise: Array) -> Any:
        pairs = zip(self.parts, self.head.actions.slices(noise))
        return self.head.actions.join((part.sample(x) for part, x in pairs), concatenate)

    def mode(self) -> Array:
        a: Array = self.head.actions.join((part.mode() for part in self.parts), xp.concatenate)
        return a

    def log_prob(self, a: Array) -> Any:
        pairs = zip(self.parts, self.head.actions.split(a))
        return total(part.log_prob(x) for part, x in pairs)

    def entropy(self) -> Any:
        return total(part.entropy() for part in self.parts)

    def kl(self, other: "Product") -> Any:
        return total(p.kl(q) for p, q in zip(self.parts, other.parts))


class ProductHead(StochasticHead):
    """Outputs are those of the heads of all parts, one after the other, then their free ones."""

    name, kinds = "product", ("group",)
    distribution = Product
    actions: GroupActions

    @functools.cached_property
    def parts(self) -> list[StochasticHead]:
        """The head of each part."""
        return [policy_head(part) for part in self.actions.parts]

    @property
    def free(self) -> int:
        return sum(head.free for head in self.parts)

    def metrics(self, theta: Array) -> dict[str, Array]:
        return {"std": xp.exp(theta[-self.free :])} if self.free else {}

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        noise: np.ndarray = self.actions.join(head.noise(rng, shape) for head in self.parts)
        return noise

    def __call__(self, outputs: Any, mask: Array | None = None) -> Product:
        each = zip(self.parts, self.split(outputs, concatenate), self.actions.masks(mask))
        return Product(self, [head(y, one) for head, y, one in each], outputs.shape[:-1])

    def choose(
        self, y: np.ndarray, rng: np.random.Generator | None, mask: np.ndarray | None = None
    ) -> np.ndarray:
        each = zip(self.parts, self.split(y, np.concatenate), self.actions.masks(mask))
        a: np.ndarray = self.actions.join(head.choose(x, rng, one) for head, x, one in each)
        return a

    def describe(self, y: np.ndarray, mask: np.ndarray | None = None) -> dict[Any, Any]:
        each = zip(self.parts, self.split(y, np.concatenate), self.actions.masks(mask))
        return dict(zip(self.actions.keys, (head.describe(x, one) for head, x, one in each)))

    def split(self, y: Any, joined: Callable[..., Any]) -> Iterator[Any]:
        """The outputs of each head, of all outputs y (..., outputs + free).

        joined   concatenates arrays like y
        """
        start, free = 0, self.outputs
        for head in self.parts:
            own = y[..., start : start + head.outputs]
            start += head.outputs
            if head.free:
                own = joined([own, y[..., free : free + head.free]], axis=-1)
                free += head.free
            yield own


_STOCHASTIC = (CategoricalHead, MultiCategoricalHead, BernoulliHead, ProductHead)


def policy_head(actions: Actions, squashed: bool = False) -> StochasticHead:
    """The head of a stochastic policy over these actions.

    squashed   for Box actions. True: tanh of a Gaussian, whose log standard deviation depends on
               the observation; False: a Gaussian, whose log standard deviation is a free parameter
    """
    heads = (*_STOCHASTIC, TanhGaussianHead if squashed else GaussianHead)
    return next(head(actions) for head in heads if actions.kind in head.kinds)
