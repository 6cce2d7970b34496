"""The processor of this machine: its name, and the cores that this process may use."""

import math
import os
import platform
import sys
import time
from pathlib import Path


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name, as far as the system reports one."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on; less where a container's quota is smaller."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _text(root / "sys/fs/cgroup/cpu.max").split()  # of the container, if it is in one
    if not quota:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota = [_text(root / "sys/fs/cgroup/cpu" / name).strip() for name in names]
    if quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, math.floor(int(quota[0]) / int(quota[1]))))
    return cores


def idle_cores(samples: int = 5, root: Path = Path("/")) -> int | None:
    """Cores without a thread to run, besides that of this process, at the busiest of some moments
    2 ms apart; None where the system does not report it.
    """
    busiest = 0
    for i in range(samples):
        if i:
            time.sleep(2e-3)
        fields = _text(root / "proc/loadavg").split()
        if len(fields) < 4 or "/" not in fields[3]:
            return None
        busiest = max(busiest, int(fields[3].split("/")[0]))
    return max(0, usable_cores(root) - max(1, busiest))


def waits() -> int | None:
    """How often this process has waited for something besides a core; None where the system does
    not count it."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def cache_folder() -> Path:
    """The user's folder for what npr can make again. It may not exist."""
    if os.name == "nt" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "npr" / "Cache"
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path("~/.cache").expanduser()) / "npr"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
