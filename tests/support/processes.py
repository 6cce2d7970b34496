"""Python in a new process, with the checkout and the test helpers on its path."""

import os
import subprocess
import sys

from support import ROOT, TESTS

DOUBLE = TESTS / "strict_device"


def environment(path=(), **variables):
    """The environment of a process with the checkout and tests/ on its path."""
    folders = [*map(str, path), str(ROOT), str(TESTS)]
    inherited = {k: v for k, v in os.environ.items() if k not in ("NPR_BACKEND", "PYTHONPATH")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(folders), **variables}


def run(*command, path=(), seconds=300, **variables):
    """Run Python in a new process, with the checkout and tests/ on its path."""
    return subprocess.run(
        [sys.executable, *command],
        env=environment(path, **variables),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
