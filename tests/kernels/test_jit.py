"""Kernels with and without Numba, each time in a new interpreter."""

import os
import subprocess
import sys

import pytest
from support import cuda
from support.processes import DOUBLE, run

# --- with and without Numba, each time in a fresh interpreter ------------------------------------


def output_of(script, **environment):
    """What the script prints in a new interpreter."""
    environment = {**os.environ, "NPR_NUMBA": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


GAE_BY_HAND = """
import sys, warnings
{first}
import numpy as np
from npr.kernels import discounted_returns, gae, svgd_bandwidth, svgd_direction
x = np.ones((3, 1))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    A = gae(x, 0 * x, 0 * x, 0 * x, 0 * x, 0.5, 1.0)
    discounted_returns(x, 0 * x, 0.5)
kinds = [w.category.__name__ for w in caught if "Numba" in str(w.message)]
print(A[0, 0], "numba" in sys.modules, *kinds)
"""


def test_npr_numba_0_does_not_import_numba():
    assert output_of(GAE_BY_HAND.format(first=""), NPR_NUMBA="0") == ["1.75", "False"]


def test_kernels_are_not_compiled_before_the_first_call():
    script = """
import sys, npr.kernels, npr.nn, npr.optim, npr.heads
print("numba" in sys.modules, "llvmlite" in sys.modules)
"""
    assert output_of(script) == ["False", "False"]


def test_numba_is_imported_only_to_compile(tmp_path):
    pytest.importorskip("numba")
    script, cache = GAE_BY_HAND.format(first=""), {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert output_of(script, **cache) == ["1.75", "True"]
    assert output_of(script, **cache) == ["1.75", "False"]
    assert output_of(GAE_BY_HAND.format(first="sys.modules['numba'] = None"), **cache)[0] == "1.75"


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_a_failing_import_causes_one_warning(package, tmp_path):
    blocked = GAE_BY_HAND.format(first=f"sys.modules[{package!r}] = None")
    value, _, *warned = output_of(blocked, NUMBA_CACHE_DIR=str(tmp_path))
    assert value == "1.75" and warned == ["RuntimeWarning"]


def test_networks_run_layer_by_layer_if_openblas_is_not_found():
    script = """
import numpy as np
from npr.kernels import blas, mlp
{hide}
from npr.nn import MLP
net = MLP(3, [4], 2, "tanh")
theta = net.init(np.random.default_rng(0))
print(np.round(net(theta, np.ones((2, 3), np.float32)), 4).ravel().tolist(), end=" ")
print(*mlp.forward._natives.values())
"""
    by_name, by_layer = (
        output_of(script.format(hide=hide)) for hide in ("", "blas.openblas = lambda: None")
    )
    assert by_name[:4] == by_layer[:4]
    assert by_name[4].endswith("Native") and by_layer[4:] == ["None"]


# --- on a device ---------------------------------------------------------------------------------


@cuda.needs_compiler
def test_a_first_call_on_the_host_does_not_decide_about_the_device():
    """CUDA kernels cannot be compiled by NumPy, which computes there."""
    script = """
import numpy as np
from npr.backend import on_host, to_device
from npr.kernels.jit import Kernel
kernel = Kernel(None, lambda x: print("reference"), lambda x: print("device"))
x = np.ones(1, np.float32)
with on_host():
    kernel(x)
kernel(to_device(x))
"""
    done = run("-W", "error", "-c", script, path=[DOUBLE], NPR_BACKEND="cupy")
    assert done.stdout.split() == ["reference", "device"], done.stderr


@cuda.needs_compiler
def test_an_error_on_the_host_does_not_decide_about_the_device(tmp_path):
    pytest.importorskip("numba")
    script = """
import numpy as np
from npr.backend import FLOAT, on_host, to_device, to_host
from npr.kernels.steps import polyak
x, y = np.zeros(1, FLOAT), np.ones(1, FLOAT)
with on_host():
    polyak(x, y, 0.25)
    assert polyak.native(x, y, 0.25) is not None
    try:
        polyak(x, y)
    except TypeError:
        print("raised")
device = to_device(x)
polyak(device, to_device(y), 0.5)
with on_host():
    polyak(x, y, 0.5)
print(to_host(device)[0], x[0])
"""
    environment = {"NPR_BACKEND": "cupy", "NPR_NUMBA": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = run("-c", script, path=[DOUBLE], **environment)
    assert done.stdout.split() == ["raised", "0.625", "0.625"], done.stderr


def test_damaged_code_of_loops_for_host_arrays_is_rebuilt_beside_a_device(tmp_path):
    pytest.importorskip("numba")
    script = """
import numpy as np
from npr.kernels.returns import n_step_returns
rewards, row = np.ones(2, np.float32), np.zeros(1, np.int64)
r, power, last = np.empty(1, np.float32), np.empty(1, np.float32), np.empty(1, np.int64)
n_step_returns(rewards, np.array([1, -1]), row, 2, 0.5, r, power, last)
print(r[0])
"""
    environment = {"NPR_BACKEND": "cupy", "NPR_NUMBA": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run("-c", script, path=[DOUBLE], **environment).stdout.split() == ["1.5"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"damaged")
    done = run("-c", script, path=[DOUBLE], **environment)
    assert done.stdout.split() == ["1.5"], done.stderr
