"""Kernels of CUDA sources on the strict CuPy double, see tests/strict_device/cupy/raw.py."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import cuda
from support.double import new_double
from support.processes import DOUBLE, run

pytestmark = cuda.needs_compiler

CODE = r"""
#define I (blockIdx.x * blockDim.x + threadIdx.x)
/* extern "C" __global__ void no_kernel(real *x) {} */
extern "C" __global__ void types(const real *a, long long *b, int *c, unsigned *d, bool *e,
                                 unsigned char *f, double g, int h) {}
extern "C" __global__ void __launch_bounds__(64) set(int *x, int n) { if (I < n) x[I] = I; }
extern "C" __global__ void places(int *x) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  x[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}
extern "C" __global__ void first(unsigned *count, int *x) { x[atomicAdd(count, 1u)] = I; }
extern "C" __global__ void wrap(unsigned *count) { atomicInc(count, 2); }
extern "C" __global__ void shared(real *x) {
  __shared__ real kept;
  if (threadIdx.x == 0) { x[blockIdx.x] = kept; kept = 1; }
}
template <int n> __device__ real sum_of(real x) {
  __shared__ real parts[n];
  parts[threadIdx.x] = x;
  for (int half = n / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  __syncthreads();
  return parts[0];
}
extern "C" __global__ void sums(const real *x, real *y) {
  const real total = sum_of<128>(x[I]);
  if (threadIdx.x == 0) y[blockIdx.x] = total;
}
extern "C" __global__ void some_wait(real *x) { if (threadIdx.x < 3) __syncthreads(); }
extern "C" __global__ void wait_apart(real *x) {
  if (threadIdx.x < 3)
    __syncthreads();
  else
    __syncthreads();
}
extern "C" __global__ void at(const real *x, real *y, int i) { y[i] = x[i]; }
extern "C" __global__ void turn(const real *x, real *y) { y[3 - threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void larger(const real *x, real *y) { y[I] = max(x[I], real(0)); }
"""


@pytest.fixture(scope="module")
def cp():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPR_DTYPE", "float64")
        with new_double() as module:
            yield module


@pytest.fixture
def kernel(cp, monkeypatch):
    """get_function of the module; the order of threads is reset after a test."""
    monkeypatch.setattr(cp.raw, "order", "forward")
    cp.counts.reset()
    return cp.RawModule(code=CODE, options=("-Dreal=double", "--std=c++17")).get_function


def arguments(cp):
    kinds = (np.float64, np.int64, np.int32, np.uint32, np.bool_, np.uint8)
    return [*(cp.zeros(3, kind) for kind in kinds), np.float64(1), np.int32(1)]


def test_arguments_of_every_type(cp, kernel):
    right = arguments(cp)
    cp.counts.reset()
    kernel("types")((1,), (1,), tuple(right))
    kernel("types")((1,), (1,), (np.uint64(0), *right[1:]))
    assert cp.counts.launches == 2


@pytest.mark.parametrize("at", range(8))
def test_arguments_of_other_types_raise(cp, kernel, at):
    wrong = arguments(cp)
    wrong[at] = cp.zeros(3, np.int16) if at < 6 else np.float32(1)
    with pytest.raises(TypeError, match=f"argument {at} must be .*, got .*(i2|f4)"):
        kernel("types")((1,), (1,), tuple(wrong))


@pytest.mark.parametrize(
    "value, message",
    [
        (1, "must be i4, got i8"),  # CuPy passes Python's numbers in 8 bytes
        (1.0, "must be i4, got f8"),
        (True, "must be i4, got i8"),
        (None, "Unsupported type .*NoneType"),
        (np.uint64(0), "must be i4, got null"),
        (np.zeros(1, np.int32), "Unsupported type .*ndarray"),
        ("1", "Unsupported type .*str"),
    ],
)
def test_numbers_of_other_types_raise(cp, kernel, value, message):
    with pytest.raises(TypeError, match=message):
        kernel("set")((1,), (1,), (cp.zeros(1, np.int32), value))


def test_what_else_a_launch_refuses(cp, kernel):
    x, n, set_ = cp.zeros((4, 4), np.int32), np.int32(16), kernel("set")
    with pytest.raises(TypeError, match="set has 2 arguments, got 1"):
        set_((1,), (16,), (x,))
    with pytest.raises(ValueError, match="not its strides"):
        set_((1,), (16,), (x.T, n))
    with pytest.raises(ValueError, match="at most 64 threads, got .65, 1, 1."):  # launch bounds
        set_((1,), (65,), (x, n))
    with pytest.raises(ValueError, match="at most 1024 threads"):
        kernel("places")((1,), (64, 32), (x,))
    with pytest.raises(ValueError, match="are more than"):
        set_((1, 65_536), (16,), (x, n))
    with pytest.raises(TypeError, match="one to three integers"):
        set_(1, (16,), (x, n))
    with pytest.raises(ValueError, match="dynamic shared memory"):
        set_((1,), (16,), (x, n), shared_mem=4)
    with pytest.raises(ValueError, match="named symbol not found: no_kernel"):
        kernel("no_kernel")
    assert cp.counts.launches == 1 and not x._host.any(), "only the fill"


def test_an_empty_grid_runs_one_block(cp, kernel):
    """As in CuPy: a kernel must compare its index with the number of entries."""
    x = cp.zeros(4, np.int32)
    kernel("set")((0,), (2,), (x, np.int32(4)))
    assert x._host.tolist() == [0, 1, 0, 0]
    kernel("set")((1,), (4,), (cp.zeros(0, np.int32), np.int32(0)))


@pytest.mark.parametrize("order", cuda.ORDERS)
def test_every_thread_runs_once(cp, kernel, monkeypatch, order):
    monkeypatch.setattr(cp.raw, "order", order)
    x = cp.zeros((24, 60), np.int32)
    kernel("places")((2, 3, 4), (3, 4, 5), (x,))
    assert np.array_equal(x._host, 1000 * np.arange(24)[:, None] + np.arange(60))


def test_orders_of_threads_and_blocks(cp, kernel, monkeypatch):
    seen = {}
    for order in cuda.ORDERS:
        monkeypatch.setattr(cp.raw, "order", order)
        x = cp.zeros(8, np.int32)
        kernel("first")((2,), (4,), (cp.zeros(1, np.uint32), x))
        seen[order] = x._host.tolist()
        assert sorted(seen[order]) == list(range(8))
        assert {i // 4 for i in seen[order][:4]} != {0, 1}, "blocks run one after the other"
    assert seen["forward"] == list(range(8)) and seen["reverse"] == list(range(8))[::-1]
    assert len(set(map(tuple, seen.values()))) == len(cuda.ORDERS) >= 3


@pytest.mark.parametrize("order", cuda.ORDERS)
def test_barriers(cp, kernel, monkeypatch, order):
    monkeypatch.setattr(cp.raw, "order", order)
    x = cp.asarray(np.arange(1024.0))
    y = cp.empty(8, np.float64)
    kernel("sums")((8,), (128,), (x, y))
    assert y._host.tolist() == x._host.reshape(8, 128).sum(1).tolist()


@pytest.mark.parametrize("name", ["some_wait", "wait_apart"])
def test_a_barrier_that_not_all_threads_reach_raises(cp, kernel, name):
    with pytest.raises(RuntimeError, match=f"{name}: not all threads of a block reach the barrier"):
        kernel(name)((1,), (8,), (cp.zeros(8, np.float64),))
    x, y = cp.zeros(128, np.float64), cp.empty(1, np.float64)
    kernel("sums")((1,), (128,), (x, y))  # the next launch is not affected
    assert y._host == 0


def test_shared_memory_begins_as_nan_in_each_block(cp, kernel):
    x = cp.zeros(3, np.float64)
    kernel("shared")((3,), (2,), (x,))
    assert np.isnan(x._host).all()


def test_atomics(cp, kernel):
    count = cp.zeros(1, np.uint32)
    kernel("wrap")((1,), (5,), (count,))
    assert count._host == 5 % 3


def test_the_maximum_of_nan_is_the_other_number(cp, kernel):
    """As CUDA's fmax, and unlike NumPy's maximum."""
    x = cp.asarray(np.array([np.nan, -1, 2]))
    y = cp.empty(3, np.float64)
    kernel("larger")((1,), (3,), (x, y))
    assert y._host.tolist() == [0, 0, 2]


@pytest.mark.parametrize("i", [-1, 4])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_writing_beside_an_array_raises(cp, kernel, i, value):
    x = cp.asarray(np.full(8, value))
    with pytest.raises(IndexError, match="at wrote outside an array of 32 bytes"):
        kernel("at")((1,), (1,), (x[4:], x[:4] if i < 0 else cp.zeros(4, np.float64), np.int32(i)))


def test_what_is_beside_an_array_is_nan(cp, kernel):
    x, y = cp.zeros(4, np.float64), cp.zeros(8, np.float64)
    kernel("at")((1,), (1,), (x, y, np.int32(5)))
    assert np.isnan(y._host[5]) and not y._host[:5].any()


def test_arrays_that_overlap_share_memory(cp, kernel):
    x = cp.asarray(np.arange(6.0))
    kernel("turn")((1,), (4,), (x[:4], x[2:]))  # reads what it has written
    assert x._host.tolist() == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("guard", [True, False])
def test_results_do_not_depend_on_the_guard(cp, kernel, monkeypatch, guard):
    monkeypatch.setattr(cp.raw, "guard", guard)
    x, y = cp.asarray(np.arange(4.0)), cp.empty(4, np.float64)
    kernel("turn")((1,), (4,), (x, y))
    assert y._host.tolist() == [3, 2, 1, 0]


def test_a_graph_repeats_launches(cp, kernel):
    x, y = cp.zeros(4, np.float64), cp.zeros(4, np.float64)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        kernel("turn")((1,), (4,), (x, y))
        graph = stream.end_capture()
    assert not y._host.any()
    x[:] = 1
    graph.launch()
    assert y._host.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "body, message",
    [
        ("atomicAdd(x, real(1));", "atomics are allowed on int"),
        ("x[0] = __shfl_down_sync(~0u, x[0], 1);", "__shfl_down_sync"),
        ("extern __shared__ real y[]; x[0] = y[0];", "source.cu:1"),
        ("x[0] = nothing;", "source.cu:1.*nothing"),
    ],
)
def test_what_cannot_be_compiled_raises(cp, body, message):
    code = f'extern "C" __global__ void f(real *x) {{ {body} }}'
    module = cp.RawModule(code=code, options=("-Dreal=float",))
    with pytest.raises(Exception, match=message) as caught:
        module.get_function("f")
    assert type(caught.value).__name__ == "CompileException"


def test_other_options_raise(cp):
    with pytest.raises(TypeError, match="tuple"):
        cp.RawModule(code=CODE, options=["-Dreal=float"])
    with pytest.raises(Exception, match="unknown options .'--use_fast_math'."):
        cp.RawModule(code=CODE, options=("-Dreal=float", "--use_fast_math")).get_function("set")
    with pytest.raises(ValueError, match="nvcc"):
        cp.RawModule(code=CODE, backend="nvcc")


def test_libraries_are_compiled_once(cp, monkeypatch):
    made = [cp.RawModule(code=CODE, options=("-Dreal=double", "--std=c++17")) for _ in range(2)]
    made[0].get_function("set")
    monkeypatch.setattr(subprocess, "run", None)
    made[1].get_function("set")


def test_a_cache_that_others_may_write_is_refused(cp, monkeypatch, tmp_path):
    compiler = sys.modules[f"{cp.__name__}._compiler"]
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = compiler.cache_folder.__wrapped__()
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    os.chmod(folder, 0o777)
    with pytest.raises(compiler.CompileException, match="of this user alone"):
        compiler.cache_folder.__wrapped__()


def test_without_a_compiler_npr_uses_array_operations():
    code = (
        "import numpy as np; from npr.backend import xp; from npr.kernels import steps\n"
        "x = xp.zeros(3, xp.float32); steps.polyak(x, x + 1, 0.5); print(xp.asnumpy(x))"
    )
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy", PATH="")
    assert ran.stdout.split() == ["[0.5", "0.5", "0.5]"], ran.stderr
    assert (
        ran.stderr.count("CUDA kernels cannot be compiled (CUDA sources run on the host by g++")
        == 1
    )
