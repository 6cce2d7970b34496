"""The example scripts run."""

import os
import subprocess
import sys

import pytest
from support import ROOT


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem
)
def test_examples_run(example, tmp_path):
    """With a budget of a few steps."""
    code = (
        "import runpy\n"
        "from npr.training.counters import Counters\n"
        "begin = Counters.next_run\n"
        "Counters.next_run = lambda self, total, default, reset: begin(self, 600, default, reset)\n"
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "Evaluation(mean=" in done.stdout
    assert (tmp_path / f"{example.stem}.npz").exists()
