"""Policy heads: how actions are chosen from the outputs of a network, one class per head.

A head chooses actions on the host with NumPy only; a stochastic head also has a distribution for
training. It may import autodiff, kernels and envs.spaces. Public: the distributions, the heads,
HEADS (name in a policy file -> class) and policy_head. To add a head, add a class and an entry in
HEADS.
"""

from npr.envs.spaces import Actions
from npr.heads.base import Distribution, Head, StochasticHead
from npr.heads.continuous import (
    Gaussian,
    GaussianHead,
    SamplerHead,
    TanhGaussian,
    TanhGaussianHead,
    TanhHead,
    log_slope,
)
from npr.heads.discrete import (
    Bernoulli,
    BernoulliHead,
    Categorical,
    CategoricalHead,
    MultiCategorical,
    MultiCategoricalHead,
)
from npr.heads.masks import masked, uniform_choice
from npr.heads.values import ArgmaxHead, DuelingHead, TableHead

__all__ = [
    "HEADS", "ArgmaxHead", "Bernoulli", "BernoulliHead", "Categorical", "CategoricalHead",
    "Distribution", "DuelingHead", "Gaussian", "GaussianHead", "Head", "MultiCategorical",
    "MultiCategoricalHead", "SamplerHead", "StochasticHead", "TableHead", "TanhGaussian",
    "TanhGaussianHead", "TanhHead", "log_slope", "masked", "policy_head", "uniform_choice",
]  # fmt: skip

HEADS: dict[str, type[Head]] = {
    head.name: head
    for head in (
        TableHead, ArgmaxHead, DuelingHead, CategoricalHead, MultiCategoricalHead, BernoulliHead,
        GaussianHead, TanhGaussianHead, TanhHead, SamplerHead,
    )
}  # fmt: skip

_STOCHASTIC = (CategoricalHead, MultiCategoricalHead, BernoulliHead)


def policy_head(actions: Actions, squashed: bool = False) -> StochasticHead:
    """The head of a stochastic policy over these actions.

    squashed   for Box actions. True: tanh of a Gaussian, whose log standard deviation depends on
               the observation; False: a Gaussian, whose log standard deviation is a free parameter
    """
    heads = (*_STOCHASTIC, TanhGaussianHead if squashed else GaussianHead)
    return next(head(actions) for head in heads if actions.kind in head.kinds)
