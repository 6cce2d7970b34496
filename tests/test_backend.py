"""Backends that cannot be used are refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
from support.processes import DOUBLE, run

from npr import backend

IMPORT = "import npr.backend"
BROKEN = f"""
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cupy":
            raise ImportError("libcudart.so.13: no such file")
sys.meta_path.insert(0, Finder())
{IMPORT}
"""


@pytest.mark.parametrize(
    ("code", "environment", "message"),
    [
        pytest.param(
            IMPORT,
            {"NPR_BACKEND": "torch"},
            "NPR_BACKEND='torch' is not known; use 'numpy' or 'cupy'.",
            id="torch",
        ),
        pytest.param(
            f"import sys; sys.modules['cupy'] = None; {IMPORT}",
            {"NPR_BACKEND": "cupy"},
            "NPR_BACKEND=cupy, but CuPy is not installed. Install npr-rl[cuda12] or "
            "npr-rl[cuda13], or unset NPR_BACKEND to run on the CPU.",
            id="not installed",
        ),
        pytest.param(
            BROKEN,
            {"NPR_BACKEND": "cupy"},
            "NPR_BACKEND=cupy, but CuPy cannot be imported (libcudart.so.13: no such file). "
            "Install npr-rl[cuda12] or npr-rl[cuda13], or unset NPR_BACKEND to run on the CPU.",
            id="a library is missing",
        ),
        pytest.param(
            f"import cupy; cupy.is_available = lambda: False; {IMPORT}",
            {"NPR_BACKEND": "cupy"},
            "NPR_BACKEND=cupy, but no usable NVIDIA GPU was found (cupy 14.2.0 imports; the driver "
            "is missing or too old). Unset NPR_BACKEND to run on the CPU.",
            id="no GPU",
        ),
        pytest.param(
            IMPORT,
            {"NPR_DTYPE": "float16"},
            "NPR_DTYPE='float16' is not known; use 'float32' or 'float64'.",
            id="float16",
        ),
        pytest.param(
            IMPORT,
            {"NPR_NUMBA": "disable"},
            "NPR_NUMBA='disable' is not known; use '1' or '0' (or true, yes, on, false, no, off).",
            id="disable",
        ),
    ],
)
def test_an_unusable_backend_is_refused(code, environment, message):
    ran = run("-c", code, path=[DOUBLE], **environment)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == f"npr.errors.BackendError: {message}"


def test_cupy_is_imported_only_if_it_is_the_backend():
    code = "import npr.backend as b; print(b.xp.__file__, b.ON_HOST, b.FLOAT)"
    fake = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy", NPR_DTYPE="float64").stdout.split()
    assert Path(fake[0]) == DOUBLE / "cupy" / "__init__.py"
    assert fake[1:] == ["False", "float64"]
    numpy = run("-c", code, path=[DOUBLE], NPR_DTYPE="float32").stdout.split()
    assert Path(numpy[0]) == Path(np.__file__)
    assert numpy[1:] == ["True", "float32"]


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF", "0 ", "1", "True", "yes", "on", ""])
def test_the_words_of_a_switch(text, monkeypatch):
    monkeypatch.setenv("NPR_NUMBA", text)
    word = backend._variable("NPR_NUMBA", "1", "0", others=backend._SWITCH)
    assert word == ("1" if text in ("1", "True", "yes", "on", "") else "0")


@pytest.mark.parametrize("text, compiled", [("OFF", False), ("0 ", False), ("", True)])
def test_a_switch_is_understood_wherever_it_is_read(text, compiled):
    code = """
from npr.cli import doctor
from npr.files import checkpoint
from npr.kernels import jit
print(jit.NUMBA, jit.available(), checkpoint.made_with()["numba"], doctor.kernels(), sep="\\n")
"""
    pytest.importorskip("numba")
    ran = run("-c", code, NPR_NUMBA=text)
    asked, available, saved, report = ran.stdout.splitlines()
    assert asked == available == str(compiled)
    assert (saved == "switched off") is not compiled
    assert report.startswith("compiled by Numba") is compiled
    assert report.endswith(f"NPR_NUMBA={text}") is not compiled


def test_values_may_be_in_capitals():
    code = "import npr.backend as b; print(b.BACKEND, b.FLOAT)"
    assert run("-c", code, NPR_BACKEND="NumPy", NPR_DTYPE=" Float64").stdout == "numpy float64\n"


def test_a_thread_that_computes_on_the_host_does_not_affect_others():
    code = """
import threading
import numpy as np
from npr.backend import on_device, on_host, to_device, xp

entered, seen, checked = threading.Event(), {}, threading.Event()

def look(where):
    seen[where] = on_device(), xp.zeros is not np.zeros, to_device(x) is not x

def act():
    with on_host():
        entered.set()
        checked.wait(60)
        look("there")
    look("after")

x = np.zeros(2, np.float32)
acting = threading.Thread(target=act)
acting.start()
entered.wait(60)
look("here")
with on_host():
    checked.set()
    acting.join()
for where in ("here", "there", "after"):
    print(where, *seen[where])
"""
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.stdout.splitlines() == [
        "here True True True",
        "there False False False",
        "after True True True",
    ], ran.stderr
