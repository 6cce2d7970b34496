"""Read-only arrays and cotangents."""

import numpy as np


def cotangent(y):
    return np.asarray(np.random.default_rng(0).standard_normal(y.shape), y.dtype)


def frozen(array, dtype=None):
    """A read-only copy."""
    array = np.array(array, dtype)
    array.flags.writeable = False
    return array
