"""What `npr doctor` reports of CuPy and the GPU, on the NumPy backend too if CuPy is installed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npr import backend
from npr.errors import describe_error
from npr.kernels.cuda import compiler
from npr.system.memory import format_bytes

PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "cupy")
ALLOWED = {"float32": 1e-4, "float64": 1e-9}  # relative to the largest entry of a result


def topics() -> tuple[list[tuple[str, str]], bool]:
    """([(topic, result), ...], whether the GPU computes correctly). Without CuPy, no topic."""
    module, why_not = _cupy()
    if module is None:
        return ([("device", why_not)] if why_not else []), True
    text, correct = parity(module)
    return [("device", device(module)), ("cuda", kernels(module)), ("parity", text)], correct


def _cupy() -> tuple[Any, str]:
    """(CuPy, "") with a usable GPU, (None, why not) without one, (None, "") without CuPy."""
    if backend.ON_HOST and all(backend.installed(name) == backend.MISSING for name in PACKAGES):
        return None, ""
    try:
        import cupy

        if cupy.is_available():
            return cupy, ""
    except Exception as error:  # not of this NumPy, or a library of CUDA is missing
        return None, f"CuPy cannot be used: {_line(error)}"
    missing = "finds no usable NVIDIA GPU, its driver is missing or too old"
    return None, f"none: CuPy {cupy.__version__} {missing}"


def _line(error: Exception) -> str:
    """The first line of an error: a compiler's continue with its whole log."""
    return describe_error(error).partition("\n")[0]


def device(cupy: Any) -> str:
    """The device, its memory, and the versions of CuPy, driver and runtime."""
    try:
        runtime = cupy.cuda.runtime
        held = runtime.getDeviceProperties(runtime.getDevice())
        free, total = runtime.memGetInfo()
        versions = {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}
        name = held["name"].decode()
    except Exception as error:
        return f"CuPy {cupy.__version__}, cannot be read: {_line(error)}"
    text = (
        f"{name}, compute capability {held['major']}.{held['minor']}, {format_bytes(free)} of "
        f"{format_bytes(total)} free, CuPy {cupy.__version__}"
    )
    for what, version in versions.items():  # CUDA 13.2 is 13020
        text += f", {what} {version // 1000}.{version % 1000 // 10}"
    unused = "; not used, since NPR_BACKEND is not cupy" if backend.ON_HOST else ""
    return text + unused


def kernels(cupy: Any) -> str:
    """Whether npr's own kernels are compiled, and updates captured as CUDA graphs."""
    why_not = "" if backend.CUDA_KERNELS else "NPR_CUDA_KERNELS=0"
    if not why_not:
        try:
            compiler.try_out(cupy)
        except Exception as error:
            why_not = f"npr's kernels cannot be compiled, {_line(error)}"
    if why_not:
        text, graphs = f"array operations of CuPy ({why_not})", "which graphs cannot contain"
    else:
        text, graphs = "npr's kernels, compiled by NVRTC", "updates are replayed as graphs"
    return f"{text}; {graphs if backend.GRAPHS else 'no graphs (NPR_GRAPHS=0)'}"


def parity(cupy: Any) -> tuple[str, bool]:
    """The largest errors of three operations on the GPU, and whether all are within ALLOWED."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(backend.FLOAT) for shape in ((300, 129), (129, 65)))
    exact = x.astype(np.float64)
    cases: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
        "exp": (lambda a, b: cupy.exp(a), np.exp(exact)),
        "sum": (lambda a, b: a.sum(axis=0), exact.sum(axis=0)),
        "matrix product": (lambda a, b: a @ b, exact @ y.astype(np.float64)),
    }
    allowed, errors = ALLOWED[str(backend.FLOAT)], {}
    for name, (operation, reference) in cases.items():
        try:
            found = cupy.asnumpy(operation(cupy.asarray(x), cupy.asarray(y)))
        except Exception as error:
            return f"WRONG: {name} failed, {_line(error)}", False
        errors[name] = np.abs(found - reference).max() / np.abs(reference).max()
    text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    correct = all(error <= allowed for error in errors.values())  # False for a NaN
    state = "" if correct else "WRONG: "
    return f"{state}errors relative to NumPy: {text}, allowed {allowed:.0e}", correct
