"""Compiles what plans need, and the steps of learning do not, in a process beside this one.

Compiling takes a second or two, once per machine. Until the files are there, calls run as they are.
"""

import functools
import os
import subprocess
import sys
import threading

import numpy as np

from npr.backend import FLOAT
from npr.kernels import table
from npr.kernels.jit import Kernel


def compile_all() -> None:
    """Write the files of all kernels of tables."""
    x, words, index = np.zeros(1, FLOAT), np.zeros(table.WORDS, np.int64), np.zeros(1, np.int64)
    flags, wide = np.zeros(1, bool), np.zeros(1, np.float64)
    table.run.native(words[None, :], index)
    table.strided.native(words)
    table.argmax.native(x[None, :], index)
    for source, target in ((flags, x), (wide, x), (wide, index), (x, index), (index, x)):
        table.cast.native(source, target)
    for y in (x, index):
        table.select.native(flags, y, y, y)


def is_ready(kernel: Kernel, args: tuple[object, ...]) -> bool:
    """Whether a kernel can be used without waiting for its compilation.

    The first one that cannot starts the process; kernels that it leaves out, or cannot keep in a
    file, are ready when it has ended.
    """
    if kernel.is_compiled(*args):
        return True
    with _lock:
        process = _start()
    return process is None or process.poll() is not None


_PROGRAM = "from npr.capture import compiling; compiling.compile_all()"
_lock = threading.Lock()


@functools.cache
def _start() -> "subprocess.Popen[bytes] | None":
    if not sys.executable or getattr(sys, "frozen", False):  # an application with npr in it
        return None
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],  # -P: not with modules of the current folder
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:  # no interpreter to start, or no more processes
        return None
