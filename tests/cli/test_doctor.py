"""npr doctor."""

import configparser
import os
import re
import subprocess
import sys
import types
from functools import partial

import numpy as np
import pytest
from support import ROOT, cuda
from support.processes import DOUBLE, run
from support.proof_size import n_trials

from npr.cli import doctor, doctor_gpu, main
from npr.kernels import object_files, steps
from npr.system import memory
from npr.system.blas import THREAD_VARIABLES


def npr(*words, **environment):
    here = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    return subprocess.run(
        [sys.executable, "-m", "npr.cli", *words], capture_output=True, text=True,
        env={**here, **environment},
    )  # fmt: skip


def test_doctor_reports_the_configuration_and_success(capsys, monkeypatch):
    monkeypatch.setattr(doctor_gpu, "topics", lambda: ([], True))  # without CuPy
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "npr", "packages", "extras", "backend", "kernels", "networks", "threads", "memory",
        "products",
    ]  # fmt: skip
    assert "numpy, float" in lines[3]
    assert lines[-1].endswith(" correct")


def test_doctor_reports_the_packages_of_the_extras(monkeypatch):
    held = {"matplotlib": "3.8", "pillow": "10.1"}
    monkeypatch.setattr(doctor.backend, "installed", lambda name: held.get(name, "not installed"))
    text = doctor.extras()
    assert text.startswith("[plot] matplotlib 3.8; [progress] tqdm not installed; [tensorboard] ")
    assert text.endswith("; [video] pillow 10.1, imageio-ffmpeg not installed")


def test_the_extras_that_doctor_reports_are_those_of_users():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    others = {
        "test", "test-services", "lint", "docs", "cuda12", "cuda13", "bench", "box2d", "mujoco",
        "embedded",
    }  # fmt: skip
    declared = {
        extra: re.findall(r"^([\w-]+)>=", text, re.MULTILINE)
        for extra, text in setup["options.extras_require"].items()
        if extra not in others
    }
    assert declared == doctor.EXTRAS


def test_doctor_reports_environment_variables():
    out = npr("doctor", NPR_NUMBA="0", NPR_DTYPE="float64", OMP_NUM_THREADS="3").stdout
    assert "NPR_NUMBA=0" in out and "numpy, float64" in out and "layer by layer" in out
    assert "set by OMP_NUM_THREADS=3" in out


@pytest.fixture
def compiled(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(doctor.jit, "NUMBA", True)


def test_doctor_reports_the_folder_of_object_code(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = object_files.folder()
    assert folder.parent == tmp_path
    (folder / "kernel.npr").touch()
    assert doctor.kernels() == f"compiled by Numba, object code in {folder} (1 files)"
    monkeypatch.setattr(object_files, "open_to_others", lambda folder: folder.parent == tmp_path)
    text = doctor.kernels()
    assert f"{folder} is not used: other users of this machine may write there" in text
    assert "Set NUMBA_CACHE_DIR" in text


def test_doctor_reports_that_there_is_no_folder_for_object_code(compiled, monkeypatch):
    monkeypatch.setattr(object_files.os, "access", lambda *_: False)
    text = "compiled by Numba in every process: no folder can be written to; set NUMBA_CACHE_DIR"
    assert doctor.kernels().startswith(text)


def test_the_reported_folder_is_the_one_in_use(compiled):
    (path,) = {object_files.path_for("x", ["d"], [steps.polyak.loop]).parent}
    assert f"object code in {path} (" in doctor.kernels()


@pytest.mark.parametrize(
    "needs, limit, warned",
    [
        (["llvmlite<0.49,>=0.48", "numpy<2.6,>=1.22"], (2, 6), False),
        (["numpy>=1.22,<2.0"], (2, 0), True),
        (["numpy<1.27"], (1, 27), True),
        (["numpy>=1.22", "numpydoc<1.1"], None, False),
        (["numpy<9.0; python_version < '3'"], (9, 0), False),
        (None, None, False),
    ],
)
def test_doctor_knows_the_numpy_limit_of_numba(needs, limit, warned, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    assert doctor.numpy_limit() == limit
    assert ("needs numpy < " in doctor.packages()) == warned


def test_doctor_does_not_need_numba(monkeypatch):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    assert doctor.numpy_limit() is None


def test_doctor_reports_the_memory_for_a_replay_buffer(monkeypatch):
    for free, limit, text in (
        (12_500_000_000, None, "10.0 GB of 12.5 GB for a replay buffer"),
        (2 * 10**9, 2 * 10**9, "1.6 GB of 2.0 GB for a replay buffer; the container's limit "
                               "leaves 2.0 GB"),
        (None, None, "this system does not report how much is available"),
    ):  # fmt: skip
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        monkeypatch.setattr(memory, "container", lambda limit=limit: limit)
        assert doctor.replay_memory() == text


# ---- matrix products


def symmetric(wrong, left, right):
    """A matmul that is wrong for A @ A.T, where NumPy calls another BLAS routine."""
    product = np.matmul(left, right)
    if np.may_share_memory(left, right) and product.shape[0] == 300:
        wrong(product)
    return product


def strided(wrong, left, right):
    product = np.matmul(left, right)
    if not (left.flags.forc and right.flags.forc):
        wrong(product)
    return product


def batched(wrong, left, right):
    product = np.matmul(left, right)
    if product.ndim == 3:
        wrong(product)
    return product


RNG = np.random.default_rng()


def garbage(product):
    product[...] = RNG.standard_normal(product.shape)


def one_entry(product):
    product[tuple(RNG.integers(product.shape))] += RNG.choice([-1, 1]) * RNG.uniform(0.1, 1)


def not_a_number(product):
    product[tuple(RNG.integers(product.shape))] = RNG.choice([np.nan, np.inf])


def unwritten(product):
    """Leaves the lower triangle at zero."""
    product[...] = np.triu(product)


@pytest.mark.parametrize("fault", [garbage, one_entry, not_a_number, unwritten])
@pytest.mark.parametrize("where", [symmetric, strided, batched])
def test_a_wrong_product_is_always_detected(where, fault):
    for _ in range(n_trials(1, 100)):
        assert doctor.wrong_products(partial(where, fault)), "the fault was not detected"


def test_doctor_fails_with_advice_if_products_are_wrong(monkeypatch, capsys):
    found = partial(doctor.wrong_products, partial(symmetric, garbage))
    monkeypatch.setattr(doctor, "wrong_products", found)
    assert main(["doctor"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("products   WRONG: A @ A.T in float32 is off by ")
    assert "A @ A.T in float64" in last and "a copy" not in last
    assert "install another NumPy" in last


# ---- CuPy and the GPU


def on_the_double(folder=DOUBLE, **environment):
    return run("-m", "npr.cli", "doctor", path=[folder, DOUBLE], NPR_BACKEND="cupy", **environment)


def topics(text):
    return dict(line.split(maxsplit=1) for line in text.splitlines())


@cuda.needs_compiler
def test_doctor_reports_the_device():
    done = on_the_double()
    assert done.returncode == 0, done.stderr
    found = topics(done.stdout)
    assert [*found][-4:] == ["device", "cuda", "parity", "products"]
    assert re.search(r"compute capability 9\.0, [\d.]+ GB of [\d.]+ GB free, CuPy 14\.2\.0, driver "
                     r"\d+\.\d, runtime \d+\.\d$", found["device"])  # fmt: skip
    assert found["cuda"] == "npr's kernels, compiled by NVRTC; updates are replayed as graphs"
    errors = re.findall(r"(\w+) (\de-\d\d|\d\.\de-\d\d)", found["parity"])
    assert [name for name, _ in errors[:-1]] == ["exp", "sum", "product"]
    assert all(0 < float(error) < 1e-5 for _, error in errors[:-1])
    assert errors[-1] == ("allowed", "1e-04")


def test_doctor_reports_what_is_switched_off():
    found = topics(on_the_double(NPR_CUDA_KERNELS="0", NPR_DTYPE="float64").stdout)
    assert found["cuda"] == (
        "array operations of CuPy (NPR_CUDA_KERNELS=0); which graphs cannot contain"
    )
    assert found["parity"].endswith("allowed 1e-09")
    assert topics(on_the_double(NPR_GRAPHS="0").stdout)["cuda"].endswith("no graphs (NPR_GRAPHS=0)")


def damaged_double(folder, source):
    """The double with this source at its end."""
    folder = folder / "cupy"
    folder.mkdir()
    folder.joinpath("__init__.py").write_text(
        f"__path__ = [{str(DOUBLE / 'cupy')!r}]\n"
        f"exec(open({str(DOUBLE / 'cupy' / '__init__.py')!r}).read())\n{source}\n"
    )
    return folder.parent


def test_doctor_says_why_kernels_cannot_be_compiled(tmp_path):
    source = "def RawModule(**options):\n    raise OSError('no libnvrtc\\nand more')"
    done = on_the_double(damaged_double(tmp_path, source))
    assert done.returncode == 0, done.stderr
    assert topics(done.stdout)["cuda"] == (
        "array operations of CuPy (npr's kernels cannot be compiled, OSError: no libnvrtc); which "
        "graphs cannot contain"
    )


@pytest.mark.parametrize(
    "source, message",
    [
        (
            "exp_ = exp\ndef exp(x):\n    return exp_(x) * 1.001",
            "WRONG: errors relative to NumPy: ",
        ),
        ("def exp(x):\n    return x * float('nan')", "WRONG: errors relative to NumPy: exp nan"),
        ("def exp(x):\n    raise OSError('lost')", "WRONG: exp failed, OSError: lost"),
    ],
)
def test_doctor_fails_if_the_gpu_computes_wrongly(source, message, tmp_path):
    done = on_the_double(damaged_double(tmp_path, source))
    assert done.returncode == 1
    assert topics(done.stdout)["parity"].startswith(message)


@pytest.fixture
def cupy_is_installed(monkeypatch):
    """A function that puts a module in CuPy's place, on the NumPy backend."""
    monkeypatch.setattr(
        doctor_gpu.backend, "installed",
        lambda name: "14.2" if name == "cupy-cuda13x" else "not installed",
    )  # fmt: skip
    return lambda module: monkeypatch.setitem(sys.modules, "cupy", module)


def test_doctor_reports_cupy_without_a_gpu_in_one_line(cupy_is_installed, capsys):
    cupy_is_installed(types.SimpleNamespace(__version__="14.2.0", is_available=lambda: False))
    assert main(["doctor"]) == 0
    found = topics(capsys.readouterr().out)
    assert found["device"] == (
        "none: CuPy 14.2.0 finds no usable NVIDIA GPU, its driver is missing or too old"
    )
    assert "cuda" not in found and "parity" not in found


def test_doctor_reports_a_cupy_that_cannot_be_imported(cupy_is_installed):
    cupy_is_installed(None)
    ((topic, text),), correct = doctor_gpu.topics()
    assert topic == "device" and text.startswith("CuPy cannot be used: ModuleNotFoundError: ")
    assert correct


def test_doctor_survives_a_device_that_cannot_be_read(cupy_is_installed):
    """Nothing but the module's version is there."""
    cupy_is_installed(types.SimpleNamespace(__version__="14.2.0", is_available=lambda: True))
    found, correct = doctor_gpu.topics()
    found = dict(found)
    assert found["device"].startswith("CuPy 14.2.0, cannot be read: AttributeError: ")
    assert "npr's kernels cannot be compiled, AttributeError: " in found["cuda"]
    assert found["parity"].startswith("WRONG: exp failed, AttributeError: ") and not correct


def test_doctor_says_that_a_device_is_not_used_on_numpy():
    code = (
        "from npr.cli import doctor_gpu\n"
        "doctor_gpu.backend.installed = lambda name: '14.2'\n"
        "(_, text), *_ = doctor_gpu.topics()[0]\n"
        "print(text)"
    )
    done = run("-c", code, path=[DOUBLE])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("; not used, since NPR_BACKEND is not cupy\n")
