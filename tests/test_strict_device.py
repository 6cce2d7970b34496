"""The rules of the strict CuPy double, see tests/strict_device/cupy."""

import inspect

import numpy as np
import pytest
from support.double import new_double, small_array


@pytest.fixture
def cp(monkeypatch):
    monkeypatch.setenv("NPR_DTYPE", "float32")
    with new_double() as module:
        yield module


@pytest.fixture
def x(cp):
    return small_array(cp)


HOST = np.ones(3, np.float32)


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.zeros(6).dot(x)])
def test_r1_implicit_conversion_to_numpy_raises(x, convert):
    assert not isinstance(x, np.ndarray)
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy|got a device array"):
        convert(x)


@pytest.mark.parametrize(
    "mix",
    [
        lambda cp, x: x + HOST,
        lambda cp, x: HOST + x,
        lambda cp, x: HOST @ x.T,
        lambda cp, x: x @ HOST,
        lambda cp, x: x == HOST,
        lambda cp, x: x.__iadd__(HOST),
        lambda cp, x: x + np.array(1, np.float32),
        lambda cp, x: cp.maximum(x, HOST),
        lambda cp, x: cp.exp(HOST),
        lambda cp, x: cp.exp(x, out=np.zeros((2, 3), np.float32)),
        lambda cp, x: cp.where(x > 0, HOST, x),
        lambda cp, x: cp.stack([x[0], HOST]),
        lambda cp, x: cp.dot(x, HOST),
        lambda cp, x: cp.sum(HOST),
        lambda cp, x: x[np.array([0, 1])],
        lambda cp, x: x[[0, 1]],
        lambda cp, x: x[:, np.array([0, 1])],
        lambda cp, x: x.__setitem__(0, HOST),
        lambda cp, x: x.__setitem__(np.array([0]), 1.0),
        lambda cp, x: cp.add.at(x, 0, HOST),
        lambda cp, x: cp.take(x, np.array([0])),
        lambda cp, x: np.exp(x),
        lambda cp, x: np.sum(x),
        lambda cp, x: np.float32(2) * x,
    ],
)
def test_r2_host_arrays_raise_everywhere(cp, x, mix):
    with pytest.raises(TypeError):
        mix(cp, x)
    assert cp.asnumpy(x).tolist() == [[0, 1, 2], [3, 4, 5]], "and nothing was written"


def test_r2_numbers_and_device_arrays_are_valid(cp, x):
    results = [x + 1, 1 - x, 2 * x, x / 2.0, -x, abs(x), x**2, x @ x.T, x * np.float32(2), x > 1]
    assert all(type(y) is cp.ndarray for y in results)
    assert cp.asnumpy(1 - x).tolist() == [[1, 0, -1], [-2, -3, -4]]
    y = x
    y += x
    y *= 0.5
    assert y is x and cp.asnumpy(x).tolist() == [[0, 1, 2], [3, 4, 5]]
    x[0, 1:] = x[1, :2]
    x[1] = 7
    assert cp.asnumpy(x).tolist() == [[0, 3, 4], [7, 7, 7]]
    assert cp.asnumpy(x[cp.asarray(np.array([1, 0])), cp.arange(2)]).tolist() == [7, 3]


def test_r3_reductions_return_arrays(cp, x):
    for y in (x.sum(), x.mean(), x.max(), x.std(ddof=1), x.argmax(), cp.sum(x), (x > 1).any(),
              cp.array_equal(x, x), x[1, 2], x[0] @ x[1]):  # fmt: skip
        assert type(y) is cp.ndarray and y.shape == ()


READS = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "item": lambda y: y.item(),
    "tolist": lambda y: y.tolist(),
    "format": lambda y: f"{y:.1f}",
    "print": str,
    "repr": repr,
    "if": lambda y: 1 if y > 0 else 0,
    "max": lambda y: max(y, 0),
    "in": lambda y: 1.0 in y.reshape(1),
    "list": lambda y: list(y.reshape(1)),
    "unpack": lambda y: [*y.reshape(1)],
}


@pytest.mark.parametrize("name", READS)
def test_r4_reading_a_value_is_a_synchronization(cp, x, name):
    y = x[0, 1]
    with pytest.raises(cp.SynchronizationError, match="makes the CPU wait for the GPU"):
        READS[name](y)
    with cp.allow_sync():
        READS[name](y)
    with pytest.raises(cp.SynchronizationError):  # only within the block
        READS[name](y)
    assert cp.counts.synchronizations >= 3, "those that raised are counted too"


def test_r4_iterating_over_the_rows_of_a_matrix_is_valid(cp, x):
    first, second = x
    first[:] = second
    assert cp.asnumpy(x).tolist() == [[3, 4, 5], [3, 4, 5]], "rows are views"
    assert cp.counts.synchronizations == 0


def test_r4_a_device_array_is_neither_an_index_nor_hashable(cp, x):
    with pytest.raises(TypeError):
        range(x.argmax())
    with pytest.raises(TypeError):
        hash(x)


@pytest.mark.parametrize(
    "select",
    [
        lambda cp, x: x[x > 1],
        lambda cp, x: x.__setitem__(x > 1, 0.0),
        lambda cp, x: x[:, cp.asarray(np.array([True, False, True]))],
        lambda cp, x: x.nonzero(),
        lambda cp, x: cp.nonzero(x),
        lambda cp, x: cp.flatnonzero(x),
        lambda cp, x: cp.argwhere(x),
        lambda cp, x: cp.unique(x),
        lambda cp, x: cp.where(x > 1),
    ],
)
def test_r5_shapes_that_depend_on_values_raise(cp, x, select):
    with pytest.raises(cp.SynchronizationError):
        select(cp, x)
    assert cp.counts.synchronizations == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, x: x.sum(where=x > 1),
        lambda cp, x: cp.max(x, initial=0.0),
        lambda cp, x: cp.exp(x, where=x > 1),
        lambda cp, x: cp.clip(x, min=0),
        lambda cp, x: x.std(correction=1),
        lambda cp, x: cp.argsort(x, stable=True),
        lambda cp, x: x.setflags(write=False),
        lambda cp, x: cp.maximum.at(x, 0, 1.0),
        lambda cp, x: cp.errstate(),
        lambda cp, x: cp.vecdot(x, x),
        lambda cp, x: cp.random.random(3),
    ],
)
def test_r6_names_and_parameters_that_cupy_lacks_raise(cp, x, call):
    with pytest.raises((TypeError, AttributeError)):
        call(cp, x)


def test_r7_assignment_with_duplicate_indices_raises(cp, x):
    twice, once = (cp.asarray(np.array(i)) for i in ([1, 1], [1, 0]))
    with pytest.raises(ValueError, match="no defined result on a GPU"):
        x[twice] = 0.0
    x[once] = 0.0
    cp.add.at(x, (0, twice), cp.asarray(np.array([1, 2], np.float32)))
    assert cp.asnumpy(x).tolist() == [[0, 3, 0], [0, 0, 0]]


def test_r9_new_memory_is_nan(cp, x):
    assert np.isnan(cp.asnumpy(cp.empty((2, 2), np.float32))).all()
    assert np.isnan(cp.asnumpy(cp.empty_like(x))).all()
    assert np.isnan(cp.asnumpy(cp.empty_like(x, shape=5))).tolist() == [True] * 5
    assert cp.empty_like(x.T, np.int64, "C").flags.c_contiguous
    with pytest.raises(ValueError, match="order of the other one"):
        cp.empty_like(x.T)
    assert cp.asnumpy(cp.empty(2, np.int64)).tolist() == [np.iinfo(np.int64).min] * 2
    assert np.isnan(cp.asnumpy(cp.ndarray(2, np.float32))).all()


@pytest.mark.parametrize(
    "widen",
    [
        lambda cp, x: x * np.float64(2),
        lambda cp, x: cp.asarray(np.zeros(2)),
        lambda cp, x: cp.zeros(2),
        lambda cp, x: cp.full(2, 0.5),
        lambda cp, x: x.astype(float),
        lambda cp, x: (x > 1).mean(),
        lambda cp, x: x.argmax(axis=0) / 2,
        lambda cp, x: x + cp.arange(3),
    ],
)
def test_r10_float64_results_raise(cp, x, widen, monkeypatch):
    with pytest.raises(cp.PrecisionError, match="float64 array of shape"):
        widen(cp, x)
    monkeypatch.setattr(cp, "_TOO_WIDE", ())  # as with NPR_DTYPE=float64
    assert widen(cp, x).dtype == np.float64


def test_r13_results_are_contiguous(cp, x):
    cube = cp.arange(24, dtype=np.float32).reshape(2, 3, 4)
    swapped = cube.swapaxes(0, 2)
    results = [x.T + 1, cp.exp(x.T), cp.where(x.T > 1, x.T, 0), swapped.sum(axis=1), swapped.copy(),
               cp.concatenate([x.T, x.T]), x[:, cp.asarray(np.array([1, 0]))],
               cp.clip(swapped, 0, 1)]  # fmt: skip
    assert all(y.flags.c_contiguous for y in results)
    host = np.arange(24, dtype=np.float32).reshape(2, 3, 4).swapaxes(0, 2)
    assert not np.exp(host).flags.c_contiguous, "NumPy keeps the order"
    assert cp.asnumpy(cp.exp(swapped)).tolist() == np.exp(host).tolist()


def test_r15_transfers_are_counted(cp, x):
    host = np.zeros(3, np.float32)
    cp.counts.reset()
    y = cp.asarray(host)
    host[:] = 1
    assert cp.asarray(y) is y and cp.counts.uploads == 1, "on the device already"
    assert cp.asnumpy(y).tolist() == [0, 0, 0], "the upload was a copy"
    y.get()[:] = 5
    assert cp.asnumpy(y).tolist() == [0, 0, 0], "the download too"
    assert cp.asnumpy(host) is host
    assert cp.counts.transfers() == {"uploads": 1, "downloads": 3, "synchronizations": 0}


def test_an_elementwise_kernel_broadcasts_arrays_of_one_type(cp, x):
    guarded = cp.ElementwiseKernel("T g, T x", "T y", "y = g == 0 ? T(0) : g / x", "guarded")
    g = cp.asarray(np.array([[0], [2]], np.float32))
    assert cp.asnumpy(guarded(g, 0 * x)).tolist() == [[0, 0, 0], [np.inf] * 3]
    assert cp.asnumpy(guarded(x, 2)).tolist() == [[0, 0.5, 1], [1.5, 2, 2.5]]
    for wrong in ((g, x.astype(np.int64)), (g,), (g, HOST), (1, 2)):
        with pytest.raises(TypeError):
            guarded(*wrong)
    with pytest.raises(ValueError, match="is not simulated"):
        cp.ElementwiseKernel("T x", "U y", "y = x")


LAUNCHES = {
    "elementwise kernel": (1, lambda cp, x: cp.ElementwiseKernel("T x", "T y", "y = -x")(x)),
    "ufunc": (1, lambda cp, x: cp.exp(x)),
    "operator": (1, lambda cp, x: x + 1),
    "in place": (1, lambda cp, x: x.__iadd__(x)),
    "reduction": (1, lambda cp, x: x.sum(axis=0)),
    "with out": (1, lambda cp, x: cp.sum(x, axis=1, out=x[:, 0])),
    "mean": (2, lambda cp, x: x.mean()),
    "mean over the first axis": (1, lambda cp, x: x.mean(axis=0)),
    "deviation": (4, lambda cp, x: x.std(axis=-1)),
    "where": (1, lambda cp, x: cp.where(x, x, x)),
    "concatenation of three": (3, lambda cp, x: cp.concatenate([x, x, x])),
    "stack of two": (2, lambda cp, x: cp.stack([x, x])),
    "copy": (1, lambda cp, x: x.copy()),
    "type": (1, lambda cp, x: x.astype(np.int64)),
    "the same type": (0, lambda cp, x: x.astype(np.float32, copy=False)),
    "reshape": (0, lambda cp, x: x.reshape(3, 2)),
    "reshape that copies": (1, lambda cp, x: x.T.reshape(6)),
    "ravel that copies": (1, lambda cp, x: cp.ravel(x.T)),
    "contiguous": (0, lambda cp, x: cp.ascontiguousarray(x)),
    "contiguous copy": (1, lambda cp, x: cp.ascontiguousarray(x.T)),
    "views": (0, lambda cp, x: cp.broadcast_to(cp.expand_dims(x[0, 1:], 1).T, (4, 1, 2))),
    "slice": (0, lambda cp, x: x[:, ::2]),
    "index array": (1, lambda cp, x: x[cp.empty(0, np.int64)]),
    "two index arrays": (4, lambda cp, x: x[cp.empty(0, np.int64), cp.empty(0, np.int64)]),
    "take": (1, lambda cp, x: cp.take(x, cp.empty(0, np.int64))),
    "assignment": (1, lambda cp, x: x.__setitem__(0, x[1])),
    "fill": (1, lambda cp, x: x.fill(0.0)),
    "empty": (0, lambda cp, x: cp.empty((2, 2), np.float32)),
    "full": (1, lambda cp, x: cp.full(2, 0.5, np.float32)),
    "accumulation": (1, lambda cp, x: cp.add.at(x, 0, 1.0)),
    "argmax": (1, lambda cp, x: x.argmax()),
    "sort": (1, lambda cp, x: cp.sort(x)),
    "product": (1, lambda cp, x: x @ x.T),
    "product of vectors": (2, lambda cp, x: x[0] @ x[1]),
    "products": (1, lambda cp, x: x[None] @ x.reshape(1, 3, 2)),
    "products of transposed matrices": (2, lambda cp, x: x[None] @ x[None].swapaxes(1, 2)),
    "products of one matrix": (4, lambda cp, x: x @ x.reshape(1, 3, 2)),
    "download": (0, lambda cp, x: x.get()),
    "download that copies": (1, lambda cp, x: x.T.get()),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_r15_launches_are_counted(cp, x, name):
    expected, call = LAUNCHES[name]
    cp.counts.reset()
    call(cp, x)
    assert cp.counts.launches == expected


def test_r15_calls_of_cublas_are_counted_too(cp, x):
    cp.counts.reset()
    for _ in (x @ x.T, cp.dot(x, x.T), cp.tensordot(x, x, [[1], [1]]), x.T.dot(x), 2 * x):
        pass
    assert (cp.counts.products, cp.counts.launches) == (4, 5)
    cp.counts.reset()
    assert set(vars(cp.counts).values()) == {0}


def test_operators_defer_to_reflected_ones(cp, x):
    class Tensor:
        __array_ufunc__ = None

        def answer(self, other):
            return "reflected", other

        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = __rmatmul__ = answer

    t = Tensor()
    for y in (x + t, x - t, x * t, x / t, x**t, x @ t):
        assert y[0] == "reflected" and y[1] is x


def test_cupy_has_every_name_and_parameter_of_the_double(cp):
    """Against the real CuPy, if it is installed; no GPU is needed."""
    real = pytest.importorskip("cupy")
    for name, value in vars(cp).items():
        if isinstance(value, cp.ufunc):
            assert hasattr(real, name), name
    for name, signature in cp.SIGNATURES.items():
        function = getattr(real, name)
        known = inspect.signature(function).parameters
        for parameter in signature.replace("*", "").split():
            assert parameter in known or name == "einsum", f"cupy.{name} has no {parameter}"
    own = {name for name in vars(cp.ndarray) if not name.startswith("_")}
    assert own and own <= set(dir(real.ndarray))
    for name in cp.cuda.__all__:
        assert hasattr(real.cuda, name), f"cupy.cuda has no {name}"
        for part in vars(getattr(cp.cuda, name)) if name != "memory" else ():
            known = hasattr(getattr(real.cuda, name), part)
            assert part.startswith("_") or known, f"cupy.cuda.{name} has no {part}"
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    for name in ("Stream", "Event"):
        mine, known = (
            {*inspect.signature(getattr(module, name)).parameters}
            for module in (cp.cuda, real.cuda)
        )
        assert mine <= known, name
