"""The strict double of CuPy under another name, beside a backend that is NumPy."""

import contextlib
import importlib.util
import sys

import numpy as np

from support.processes import DOUBLE

NAME = "strict_double"


@contextlib.contextmanager
def new_double():
    """A new instance of the double, with NPR_DTYPE as it is now."""
    folder = DOUBLE / "cupy"
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def small_array(cp):
    """A device array [[0, 1, 2], [3, 4, 5]]."""
    return cp.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
