"""Kernels with and without Numba, each time in a new interpreter."""

import os
import subprocess
import sys

import pytest
from support import cuda
from support.processes import DOUBLE, run

from npr.kernels import mlp

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
    script = "import sys, npr.kernels, npr.nn, npr.optim, npr.heads; print('numba' in sys.modules)"
    assert output_of(script) == ["False"]


def test_a_failing_import_of_numba_causes_one_warning():
    blocked = GAE_BY_HAND.format(first="sys.modules['numba'] = None")
    assert output_of(blocked) == ["1.75", "True", "RuntimeWarning"]


def test_a_kernel_that_cannot_be_cached_causes_one_warning():
    script = """
import warnings
import numpy as np
from npr.kernels.jit import Kernel

def double(x):  # a function without a file cannot be cached by Numba
    for i in range(len(x)):
        x[i] *= 2

x = np.ones(2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kernel = Kernel(double, double)
    kernel(x)
    kernel(x)
print(*x, *(w.category.__name__ for w in caught if "cache cannot be used" in str(w.message)))
"""
    pytest.importorskip("numba")
    assert output_of(script) == ["4.0", "4.0", "RuntimeWarning"]


@pytest.mark.parametrize("damaged", ["*", "*.2.nbc"], ids=["all files", "of the second type"])
def test_a_damaged_cache_is_rebuilt(damaged, tmp_path):
    script = """
import numpy as np
from npr.optim import polyak
for dtype in (np.float32, np.float64):
    theta_bar = np.zeros(1, dtype)
    polyak(theta_bar, np.ones(1, dtype), 0.25)
    print(theta_bar[0])
"""
    pytest.importorskip("numba")
    cache = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    assert output_of(script, **cache) == ["0.25", "0.25"]
    files = [path for path in tmp_path.rglob(damaged) if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"damaged")
    assert output_of(script, **cache) == ["0.25", "0.25"]
    cache["PYTHONWARNINGS"] = (
        "error"  # damaged files are rewritten, at the latest by the second run
    )
    assert output_of(script, **{**cache, "PYTHONWARNINGS": "ignore"}) == ["0.25", "0.25"]
    assert output_of(script, **cache) == ["0.25", "0.25"]


def test_a_change_in_a_file_that_a_loop_calls_into_is_compiled(tmp_path):
    """Numba itself looks at the file of the loop alone."""
    pytest.importorskip("numba")
    (tmp_path / "loops.py").write_text(
        "from factors import scale\n\n\ndef loop(x):\n    x[0] *= scale(3.0)\n"
    )
    script = """
import warnings
warnings.simplefilter("error")
import numpy as np
from factors import scale
from loops import loop
from npr.kernels.jit import Kernel
x = np.ones(1)
kernel = Kernel(loop, loop, calls=(scale,))
kernel(x)
print(x[0], kernel._cached, sum(kernel._run.stats.cache_hits.values()))
"""
    paths = os.pathsep.join([str(tmp_path), os.getcwd(), *sys.path])
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": paths}
    factors = tmp_path / "factors.py"
    factors.write_text("def scale(x):\n    return x\n")
    assert output_of(script, **place) == ["3.0", "True", "0"]
    assert output_of(script, **place) == ["3.0", "True", "1"]
    factors.write_text("def scale(x):\n    return 10 * x\n")
    assert output_of(script, **place) == ["30.0", "True", "0"]


def test_the_loops_of_networks_are_compiled_again_when_the_binding_changes():
    assert [os.path.basename(file) for file in mlp.forward._other_files()] == ["blas.py"]
    assert [os.path.basename(file) for file in mlp.backward._other_files()] == ["blas.py"]


def test_networks_run_layer_by_layer_if_openblas_is_not_found():
    script = """
import numpy as np
from npr.kernels import blas, mlp
{hide}
from npr.nn import MLP
net = MLP(3, [4], 2, "tanh")
theta = net.init(np.random.default_rng(0))
print(np.round(net(theta, np.ones((2, 3), np.float32)), 4).ravel().tolist(), end=" ")
print(mlp.forward._run is mlp.forward.reference)
"""
    by_name, by_layer = (
        output_of(script.format(hide=hide)) for hide in ("", "blas.openblas = lambda: None")
    )
    assert by_name[:-1] == by_layer[:-1] and by_layer[-1] == "True"


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
    assert polyak._cached
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


def test_a_damaged_cache_of_loops_for_host_arrays_is_rebuilt_beside_a_device(tmp_path):
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
