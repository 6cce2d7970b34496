"""Tests of a module that run on the strict double of CuPy.

    @on_the_double
    def test_an_upload_is_one_transfer(): ...

The process of pytest has imported NumPy as npr's array module. So each module that has such tests
is imported once more, in a process with NPR_BACKEND=cupy, which runs all of them; the test here
fails with the traceback of the one there. They take no fixtures and no parameters. Standard output
of a test is shown with its failure.
"""

import contextlib
import functools
import importlib
import io
import json
import sys
import traceback

from npr.backend import BACKEND, xp
from support.processes import DOUBLE, run


@contextlib.contextmanager
def no_pinned_memory():
    """A context in which the double has no pinned memory left."""
    cuda = xp.cuda
    alloc = cuda.alloc_pinned_memory

    def fail(size):
        raise cuda.runtime.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")

    cuda.alloc_pinned_memory = fail
    try:
        yield
    finally:
        cuda.alloc_pinned_memory = alloc


_TESTS = {}  # module -> {name: function}


def on_the_double(function):
    """The function as a test that runs in the other process."""
    module, name = function.__module__, function.__name__
    _TESTS.setdefault(module, {})[name] = function

    def test():
        failure = _failures(module)[name]
        assert failure is None, failure

    test.__name__, test.__doc__, test.__module__ = name, function.__doc__, module
    return test


@functools.cache
def _failures(module):
    """Name of each test of a module -> what it raised, as text, or None."""
    ran = run("-m", "support.on_the_double", module, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def _outcome(function):
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            function()
    except BaseException:
        return traceback.format_exc() + output.getvalue()
    return None


def main(module):
    assert BACKEND == "cupy"
    importlib.import_module(module)
    from support import on_the_double as imported  # this module has another name here

    print(json.dumps({name: _outcome(it) for name, it in imported._TESTS[module].items()}))


if __name__ == "__main__":
    main(sys.argv[1])
