"""The sources of CUDA kernels: NVIDIA's compiler and g++ accept them, and all are launched.

What they compute is tested beside, in test_cuda_*.py.
"""

import ast
import functools
import re

import numpy as np
import pytest
from support import cuda, nvrtc
from support.proof_size import half
from support.source_files import SOURCES

from npr.kernels.cuda import compiler

FILES = sorted(path.name for path in compiler.FOLDER.glob("*.cu"))
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")  # from the oldest that CUDA 13 has
TYPES = ("float32", "float64")
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\(')
FORBIDDEN = {
    "instructions of warps": r"__(shfl|ballot|any|all|match|reduce|activemask|syncwarp)\w*",
    "cooperative groups": r"cooperative_groups|this_grid|grid\.sync",
    "dynamic shared memory": r"extern\s+__shared__",
    "other files": r"#\s*include",
    "assembler": r"\basm\b",
    "approximate functions": r"\b__(exp|log|sin|cos|tan|pow|fdividef|powf)\w*\(",
    "strides that overflow": r"\bint \w+ = THREAD\s*;[^;]*;[^;)]*\+=",
    "variables that stay": r"^\s*__(device|managed)__\s+[\w\s]+(=|;|\[)",
}  # fmt: skip

each_file = pytest.mark.parametrize("file", FILES)
each_type = pytest.mark.parametrize("dtype", TYPES)


def code(file):
    """A source without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", (compiler.FOLDER / file).read_text(), flags=re.S)


def kernels(file):
    return KERNEL.findall(code(file))


def compiled(file, dtype, architecture):
    options = (*compiler.options(np.dtype(dtype)), "--ptxas-options=-v")
    return nvrtc.compiled(compiler.text(file), options, architecture)


@nvrtc.needs_nvrtc
@pytest.mark.parametrize("file, dtype, architecture", half(FILES, TYPES, ARCHITECTURES))
def test_nvrtc_compiles_the_source(file, dtype, architecture):
    """Without warnings, and without variables in memory since registers are too few."""
    made = compiled(file, dtype, architecture)
    assert made.machine_code.startswith(b"\x7fELF")
    assert "warning" not in made.log, made.log
    assert spills(made.log) == dict.fromkeys(kernels(file), 0)


def spills(log):
    """The bytes of variables of each kernel that are in memory, not in registers."""
    found = {}
    for entry in log.split("Compiling entry function ")[1:]:
        name = entry.split("'")[1]
        found[name] = max(map(int, re.findall(r"(\d+) bytes spill", entry)))
        print(f"{name}: {re.search(r'Used [^,]*registers', entry)[0]}")
    return found


@nvrtc.needs_nvrtc
@each_file
def test_kernels_in_float32_compute_in_float32(file):
    """Most GPUs are slow in float64: a source that uses it says `double`."""
    ptx = compiled(file, "float32", "sm_80").ptx
    assert ".entry" in ptx
    assert "double" in code(file) or ".f64" not in ptx


MANY = """extern "C" __global__ void many(const real *x, real *y) {
  real a[64];
  for (int i = 0; i < 64; i++) a[i] = x[i * 32 + threadIdx.x];
  for (int i = 0; i < 64; i++)
    for (int j = 0; j < 64; j++) a[j] = a[j] * a[i] + a[63 - j];
  for (int i = 0; i < 64; i++) y[i * 32 + threadIdx.x] = a[i];
}"""


@nvrtc.needs_nvrtc
def test_what_nvrtc_finds():
    options = ("-Dreal=float", "--std=c++17", "--ptxas-options=-v")
    with pytest.raises(nvrtc.CompileError, match='identifier "nothing" is undefined'):
        nvrtc.compiled(MANY.replace("a[i];", "nothing;"), options, "sm_80")
    with pytest.raises(nvrtc.CompileError, match="too much shared data"):
        large = MANY.replace("real a[64]", "__shared__ real a[64 * 1024]")
        nvrtc.compiled(large, options, "sm_80")
    assert (
        "warning" in nvrtc.compiled(MANY.replace("real a", "int u; real a"), options, "sm_80").log
    )
    wide = nvrtc.compiled(MANY.replace("a[j] * a[i]", "0.5 * a[j]"), options, "sm_80")
    assert ".f64" in wide.ptx
    made = nvrtc.compiled(MANY, (*options, "--maxrregcount=32"), "sm_80")
    assert spills(made.log)["many"] > 0 and ".f64" not in made.ptx


@cuda.needs_compiler
@each_type
@each_file
def test_the_host_compiler_accepts_the_source(file, dtype):
    """Without warnings."""
    library = cuda.host_compiler().compiled(compiler.text(file), compiler.options(np.dtype(dtype)))
    assert library.with_suffix(".log").read_text() == ""


@each_file
def test_all_functions_of_the_grid_are_found(file):
    """The double finds kernels by their text."""
    assert kernels(file), file
    assert len(kernels(file)) == code(file).count("__global__")


@each_file
def test_the_source_keeps_to_what_runs_on_the_host_too(file):
    assert {what for what, text in FORBIDDEN.items() if re.search(text, code(file), re.M)} == set()


@pytest.mark.parametrize(
    "text, what",
    [
        ("x += __shfl_down_sync(m, x, 1);", "instructions of warps"),
        ("  extern __shared__ real x[];", "dynamic shared memory"),
        ("y = __expf(x);", "approximate functions"),
        ("for (int i = THREAD; i < n; i += THREADS) x[i] = 0;", "strides that overflow"),
        ("  __device__ unsigned done = 0;", "variables that stay"),
        ("__device__ real total[8];", "variables that stay"),
    ],
)
def test_what_sources_must_not_use_is_found(text, what):
    assert [name for name, known in FORBIDDEN.items() if re.search(known, text, re.M)] == [what]


@pytest.mark.parametrize(
    "text",
    ["__device__ real f(real x) { return x; }", "__syncthreads();", "const int n = THREAD;",
     "for (unsigned i = THREAD; i < n; i += THREADS) x[i] = 0;"],
)  # fmt: skip
def test_what_sources_may_use_is_not(text):
    assert not any(re.search(known, text, re.M) for known in FORBIDDEN.values())


@nvrtc.needs_nvrtc
def test_denormal_numbers_are_zero_in_float32_as_cupy_compiles():
    """The options of the tests have an effect, see `adam` in steps.cu."""
    assert "sqrt.rn.ftz.f32" in compiled("steps.cu", "float32", "sm_80").ptx


@functools.cache
def words():
    """A pattern for each text in Python files; {} in f-strings is any name."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.escape(node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", None) for part in node.values]
                texts = [re.escape(part) if isinstance(part, str) else r"\w+" for part in parts]
                if any(isinstance(part, str) for part in parts):
                    found.add("".join(texts))
    return [re.compile(text) for text in found]


@each_file
def test_every_kernel_is_launched(file):
    assert [name for name in kernels(file) if not any(w.fullmatch(name) for w in words())] == []
