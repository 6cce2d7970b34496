"""Arguments of `update` as learning gives them."""

import numpy as np

from support.small_agents import next_update


def batches(agent, n=12):
    """Arguments of n updates like those of learning, with other numbers."""
    given, rng = next_update(agent), np.random.default_rng(0)

    def other(x):
        if isinstance(x, (list, tuple)):
            return [other(one) for one in x]
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            return (x + 0.1 * rng.standard_normal(x.shape)).astype(x.dtype)
        return x

    return [[other(x) for x in given] for _ in range(n)]
