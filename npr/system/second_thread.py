"""What a second thread of OpenBLAS would gain on this machine for the products of wide networks.

The number of threads is never changed by what is found here: products differ in the last bits with
two threads, and a run must not depend on what else the machine did when it began. Users are told,
and ask for it with OPENBLAS_NUM_THREADS=2.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from npr.backend import FLOAT
from npr.system import blas, machine

WIDTH = 128  # in narrower networks a second thread hardly gains
WORTH = 1.2  # times as fast: less is not worth to be mentioned
DISTURBED = 0.5  # a smaller factor: the second core was needed by others meanwhile
SECONDS = 0.02  # of a measurement


def gain(rows: int, width: int) -> float | None:
    """How many times as fast two threads compute the products of layers of this width.

    rows   of a batch

    Sizes are rounded down to powers of two. The factor is measured once per machine, while a second
    core is idle and no run of this process limits the threads, and kept in the user's cache. None:
    it cannot be measured now, the number of threads is not npr's to choose, or the networks are
    narrow.
    """
    if width < WIDTH or blas.threads_set_by_user():
        return None
    library = blas.openblas()
    if library is None or library.scipy_openblas_get_num_threads64_() < 2:
        return None
    case = f"{_power_of_two(min(rows, 4_096))} x {_power_of_two(width)}"
    kept = _kept()
    found = kept.get(case)
    if isinstance(found, float) and 0 < found < 100:  # the file may have NaN, too
        return found
    with blas.without_limits() as free:
        if not free or not machine.idle_cores():
            return None
        found = kept[case] = round(measured(*map(int, case.split(" x "))), 2)
    if found < DISTURBED:
        return None
    _keep(kept)
    return found


def advice(rows: int, width: int) -> str:
    """A sentence for users if a second thread would pay now in learning; "" if not."""
    if blas.threads_for(width) > 1:
        return ""
    factor = gain(rows, width)
    if factor is None or factor < WORTH or not machine.idle_cores():
        return ""
    return (
        f"a second core is idle: OPENBLAS_NUM_THREADS=2 would make matrix products {factor:.1f} "
        "times as fast, while it stays so (results then differ in the last bits)"
    )


def measured(rows: int, width: int) -> float:
    """The factor for the three products of a hidden layer: forward, and both gradients."""
    library: Any = blas.openblas()
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, rows, width)).astype(FLOAT)
    W = rng.standard_normal((width, width)).astype(FLOAT)
    least = {1: np.inf, 2: np.inf}  # seconds by number of threads
    before = library.scipy_openblas_get_num_threads64_()
    try:
        stop, rounds = time.perf_counter() + SECONDS, 0
        while rounds < 3 or time.perf_counter() < stop:
            for threads in least:
                library.scipy_openblas_set_num_threads64_(threads)
                start = time.perf_counter()
                x @ W, x.T @ g, g @ W.T
                seconds = time.perf_counter() - start
                least[threads] = min(least[threads], seconds) if rounds else np.inf  # it warms up
            rounds += 1
    finally:
        library.scipy_openblas_set_num_threads64_(before)
    return float(least[1] / least[2])


def _power_of_two(n: int) -> int:
    return 1 << max(0, n.bit_length() - 1)


# ---- the cache: a file with the factors of each machine that shares this folder


def _path() -> Path:
    return machine.cache_folder() / "second_thread.json"


def _here() -> str:
    cores = machine.usable_cores()
    return f"{machine.cpu_name()}, {cores} cores, {blas.blas_name()}, {FLOAT}"


def _read() -> dict[str, Any]:
    try:
        held = json.loads(_path().read_text())
    except (OSError, RuntimeError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _kept() -> dict[str, Any]:
    """{"256 x 256": factor} of this machine."""
    held = _read().get(_here())
    return held if isinstance(held, dict) else {}


def _keep(kept: dict[str, Any]) -> None:
    """Write the factors of this machine. A folder that cannot be written to is no error."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
        path = _path()
        part = path.with_name(f"{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps({**_read(), _here(): kept}, indent=1))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
