"""BLAS threads: a cap by the width of the networks, unless the user sets a number."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from support.small_agents import small_agent

from npr.system.blas import blas_threads

try:
    library = ctypes.CDLL(np._core._multiarray_umath.__file__)
    threads = library.scipy_openblas_get_num_threads64_
except (AttributeError, OSError):
    pytest.skip("this NumPy does not bring its own OpenBLAS", allow_module_level=True)

COUNT = """
import ctypes, numpy as np
from npr.system.blas import blas_threads
threads = ctypes.CDLL(np._core._multiarray_umath.__file__).scipy_openblas_get_num_threads64_
before = threads()
with blas_threads(1):
    print(before, threads())
"""


@pytest.fixture
def two_threads(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = threads()
    library.scipy_openblas_set_num_threads64_(2)
    yield
    library.scipy_openblas_set_num_threads64_(before)


def test_the_number_of_threads_is_restored(two_threads):
    with pytest.raises(KeyError), blas_threads(1):
        assert threads() == 1
        raise KeyError
    assert threads() == 2


@pytest.mark.parametrize(("width", "inside"), [(64, 1), (1023, 1), (1024, 2)])
def test_the_number_of_threads_depends_on_the_width(two_threads, width, inside):
    seen = set()
    agent = small_agent("DQN", net_arch=[width], batch_size=2, gradient_steps=1)
    agent.learn(40, callback=lambda _: seen.add(threads()))
    assert (seen, threads()) == ({inside}, 2)


def test_a_number_of_threads_set_by_the_user_is_kept(monkeypatch):
    for number in ("1", "2"):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", number)
        out = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
        before, during = out.stdout.split()
        assert before == during, out.stderr
