"""Python in a new process, with the checkout and the test helpers on its path."""

import os
import subprocess
import sys

from support import ROOT, TESTS

DOUBLE = TESTS / "strict_device"


def run(*command, path=(), **environment):
    """Run Python in a new process, with the checkout and tests/ on its path."""
    folders = [*map(str, path), str(ROOT), str(TESTS)]
    inherited = {k: v for k, v in os.environ.items() if k not in ("NPR_BACKEND", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, *command],
        env={**inherited, "PYTHONPATH": os.pathsep.join(folders), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
