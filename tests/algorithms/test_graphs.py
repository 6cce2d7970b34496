"""Updates that are replayed as CUDA graphs, on the strict double of CuPy. The checks themselves are
in tests/support/graph_cases.py.
"""

import functools
import json
import tempfile

import pytest
from support import TESTS, cuda
from support.graph_cases import CHECKS
from support.processes import DOUBLE, run

TOGETHER = 30  # checks per process: most of its time is the import
NAMES = list(CHECKS)


@functools.cache
def outcomes(first):
    """{name: error or ""} of a group of checks, in a process with the double."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(TESTS / "support" / "graph_cases.py")
        names = NAMES[first : first + TOGETHER]
        ran = run(script, folder, *names, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@cuda.needs_compiler  # array operations call cuBLAS, which no graph can hold
@pytest.mark.parametrize("name", NAMES)
def test_graphs(name):
    error = outcomes(NAMES.index(name) // TOGETHER * TOGETHER)[name]
    assert not error, error
