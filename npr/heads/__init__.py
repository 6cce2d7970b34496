"""Policy heads: how actions are chosen from the outputs of a network, one class per head.

A head chooses actions on the host with NumPy only; a stochastic head also has a distribution for
training. It may import autodiff, kernels and envs.spaces. Public: the distributions, the heads,
HEADS (name in a policy file -> class) and policy_head. To add a head, add a class and an entry in
HEADS.
"""

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
from npr.heads.product import Product, ProductHead, policy_head
from npr.heads.values import ArgmaxHead, DuelingHead, TableHead

__all__ = [
    "HEADS", "ArgmaxHead", "Bernoulli", "BernoulliHead", "Categorical", "CategoricalHead",
    "Distribution", "DuelingHead", "Gaussian", "GaussianHead", "Head", "MultiCategorical",
    "MultiCategoricalHead", "Product", "ProductHead", "SamplerHead", "StochasticHead", "TableHead",
    "TanhGaussian", "TanhGaussianHead", "TanhHead", "log_slope", "masked", "policy_head",
    "uniform_choice",
]  # fmt: skip

HEADS: dict[str, type[Head]] = {
    head.name: head
    for head in (
        TableHead, ArgmaxHead, DuelingHead, CategoricalHead, MultiCategoricalHead, BernoulliHead,
        GaussianHead, TanhGaussianHead, TanhHead, SamplerHead, ProductHead,
    )
}  # fmt: skip
