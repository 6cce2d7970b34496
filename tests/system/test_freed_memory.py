"""The allocator's threshold, in new interpreters."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from npr.system.blas import keep_freed_memory
{call}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for k in range(1, 25):
    np.empty(k << 17).fill(0)  # k MiB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this threshold")
def test_freed_memory_is_reused_without_page_faults():
    environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}

    def faults(call):
        command = [sys.executable, "-c", SCRIPT.format(call=call)]
        return int(subprocess.check_output(command, env=environment))

    assert faults("keep_freed_memory()") < 0.7 * faults("")
