"""NumPy's elementwise functions and reductions, replayed: NumPy's bits on other numbers."""

import warnings
from contextlib import contextmanager
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from support.tracing import Recorded, assert_replays, numbers

from npr.capture import NotCapturableError

UFUNCS = {
    name: f
    for name, f in sorted(vars(np).items())
    if isinstance(f, np.ufunc) and f.nout == 1 and f.signature is None and name == f.__name__
}
# those that npr itself uses, or a subclass would: they must not be refused for floats
NEEDED = {
    "add", "subtract", "multiply", "divide", "negative", "absolute", "exp", "log", "sqrt", "tanh",
    "square", "reciprocal", "maximum", "minimum", "power", "sign", "log1p", "expm1", "cos", "sin",
    "greater", "less", "equal", "not_equal", "greater_equal", "less_equal", "isfinite", "isnan",
    "logical_and", "logical_or", "logical_not", "floor", "fmax", "fmin", "arctan2", "hypot",
}  # fmt: skip


def layouts(dtype, seed=0):
    """Name -> array, of shapes that are broadcast to (3, 4, 5), or lone ones."""

    def x(*shape):
        return numbers(shape, dtype, seed)

    return {
        "contiguous": x(4, 5),
        "three axes": x(3, 4, 5),
        "strided": x(8, 15)[::2, ::3],
        "backwards": x(4, 5)[::-1, ::-1],
        "half backwards": x(4, 5)[:, ::-1],
        "transposed": x(5, 4).T,
        "transposed axes": x(5, 3, 4).transpose(1, 2, 0),
        "row": x(5),
        "column": x(4, 1),
        "length one": x(1),
        "broadcast": np.broadcast_to(x(1, 5), (4, 5)),
        "0-d": x(),
        "empty": x(0, 4, 5),
        "long": x(1000),
        "long strided": x(3000)[::3],
    }


def fits(a, b):
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return True


def is_defined(f, *arrays):
    try:
        f(*arrays)
    except (TypeError, ValueError):  # not for these types, or for negative whole numbers
        return False
    return True


TYPES = ("float32", "float64", "bool", "int64")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", UFUNCS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_ufunc_has_numpys_bits(name, dtype):
    f, seeds = UFUNCS[name], (1, 2)
    sides = [layouts(dtype, 0), layouts(dtype, 9)][: f.nin]
    if f.nin > 2:
        sides.append(sides[0])
    others = [[layouts(dtype, 10 * k + s) for k in range(len(sides))] for s in seeds]
    done = 0
    for first in sides[0]:
        for second in sides[1] if f.nin == 2 else [first]:
            names = [first, second, first][: f.nin]
            inputs = [side[one] for side, one in zip(sides, names)]
            if len(inputs) > 1 and not fits(inputs[0], inputs[1]):
                continue
            if "broadcast" in names:  # its numbers cannot be written
                continue
            if not is_defined(f, *inputs):
                continue
            contents = [[side[one] for side, one in zip(other, names)] for other in others]
            if not all(is_defined(f, *x) for x in contents):
                continue
            try:
                assert_replays(f, *inputs, others=contents)
            except NotCapturableError as error:
                if "reversed" in str(error):
                    assert any("backwards" in one for one in names)
                    done += 1
                    continue
                assert f.__name__ in str(error) or "cast is not native" in str(error)
                assert name not in NEEDED or dtype not in ("float32", "float64"), error
                continue
            except AssertionError as error:
                raise AssertionError(f"{error}: {names}") from error
            done += 1
    if name in NEEDED and dtype.startswith("float"):
        assert done >= len(sides[0]) - 1


def positive(x):
    return np.asarray(abs(x))


MIXED = [("float32", "float64"), ("float64", "float32"), ("bool", "float32"), ("int64", "float32"),
         ("float32", "int64"), ("bool", "int64"), ("float32", "bool")]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), MIXED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_operands_of_two_types_are_converted_as_numpy_does(left, right):
    for f in (np.add, np.multiply, np.maximum, np.divide, np.greater, np.equal, np.power):
        for shape, other in [
            ((4, 5), (4, 5)),
            ((4, 5), (5,)),
            ((), (3,)),
            ((6,), ()),
            ((0,), (1,)),
        ]:
            x, y = numbers(shape, left, 0), positive(numbers(other, right, 1))
            if not is_defined(f, x, y):
                continue
            later = [(numbers(shape, left, 2), positive(numbers(other, right, 3)))]
            assert_replays(f, x, y, others=later)


# ---- any layout


@st.composite
def arrays(draw, min_dims=0, max_dims=4, dtypes=("float32", "float64"), longest=5):
    """An array of random shape, order of axes, steps and directions."""
    n = draw(st.integers(min_dims, max_dims))
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, longest]), min_size=n, max_size=n)))
    steps = draw(st.lists(st.sampled_from([1, 1, 2, 3, -1, -2]), min_size=n, max_size=n))
    order = draw(st.permutations(range(n)))
    dtype, seed = draw(st.sampled_from(dtypes)), draw(st.integers(0, 99))
    whole = numbers([length * abs(step) for length, step in zip(shape, steps)], dtype, seed)
    x = whole[(*(slice(None, None, step) for step in steps), ...)]
    return x.transpose(order)


several = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def refreshed(x, seed):
    return numbers(x.shape, x.dtype, seed)


@contextmanager
def refused_if_reversed(*arrays):
    """Functions with code for vectors are not recorded for arrays with negative strides."""
    try:
        yield
    except NotCapturableError as error:
        assert "on a reversed array" in str(error), error
        assert min(stride for x in arrays for stride in x.strides) < 0


@several
@given(x=arrays(), name=st.sampled_from(["exp", "tanh", "log", "sqrt", "negative", "sin", "expm1"]))
def test_a_function_of_any_layout_has_numpys_bits(x, name):
    with refused_if_reversed(x):
        assert_replays(UFUNCS[name], x, others=[[refreshed(x, s)] for s in (100, 101)])


@several
@given(
    x=arrays(max_dims=3), y=arrays(max_dims=3, dtypes=("float32", "bool")),
    name=st.sampled_from(["add", "multiply", "power", "maximum", "arctan2", "less"]),
)  # fmt: skip
def test_a_function_of_two_arrays_of_any_layouts_has_numpys_bits(x, y, name):
    if fits(x, y):
        others = [[refreshed(x, s), refreshed(y, s + 9)] for s in (100, 101)]
        with refused_if_reversed(x, y):
            assert_replays(UFUNCS[name], x, y, others=others)


@settings(several, max_examples=200)
@given(
    x=arrays(max_dims=4, longest=40), f=st.sampled_from([np.add, np.maximum, np.minimum]),
    keepdims=st.booleans(), data=st.data(),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_reduction_of_any_layout_has_numpys_bits(x, f, keepdims, data):
    axes = [None, *range(-x.ndim, x.ndim), *([(0, 1), (0, -1), (1, 0)] if x.ndim > 1 else [])]
    axis = data.draw(st.sampled_from([a for a in axes if x.ndim or a is None]))

    def reduce(x):
        return f.reduce(x, axis=axis, keepdims=keepdims)

    if not is_defined(reduce, x):  # the maximum of nothing
        return
    try:
        assert_replays(reduce, x, others=[[refreshed(x, s)] for s in (100, 101)])
    except NotCapturableError as error:
        of_a_view = "not contiguous" in str(error) and not x.flags.c_contiguous
        many = x.ndim > 2 and "over more than two axes" in str(error)
        assert of_a_view or many or ("over axes" in str(error) and f is not np.add), error


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(7,), (1,), (130,), (20_000,), (3, 9000), (9000, 3), (5, 4, 30)])
def test_sums_means_and_extremes_have_numpys_bits(shape, dtype):
    x = numbers(shape, dtype, 0, special=False)
    others = [[numbers(shape, dtype, s, special=s == 2)] for s in (1, 2)]
    for axis in (None, 0, -1):
        for f in summaries(axis, mean=x.dtype.kind == "f"):
            check_captured(f, x, others, dtype)


def summaries(axis, mean):
    """Functions that reduce one axis, or all."""
    for keep in (False, True):
        yield lambda x, keep=keep: x.sum(axis, keepdims=keep)
        yield lambda x, keep=keep: x.max(axis, keepdims=keep)
        yield lambda x, keep=keep: x.min(axis, keepdims=keep)
        if mean:
            yield lambda x, keep=keep: x.mean(axis, keepdims=keep)
    yield lambda x: np.sum(x, axis=axis)
    yield lambda x: np.max(x, axis=axis)
    yield lambda x: x.sum(axis, np.float64)


def check_captured(f, x, others, dtype):
    """It is captured, unless it is an extreme over several axes or of whole numbers, or a sum in
    another type, which NumPy computes in parts of the size of its buffer."""
    try:
        assert_replays(f, x, others=others)
    except NotCapturableError as error:
        if "adds up many numbers" in str(error):
            assert x.size > np.getbufsize()
        else:
            assert "maximum" in str(error) or "minimum" in str(error)
            assert x.ndim > 1 or not dtype.startswith("float"), error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_of_negative_zeros_has_numpys_sign(dtype):
    for shape, axis in [((3,), 0), ((2, 3), 0), ((2, 3), 1), ((0,), 0), ((2, 0), 1)]:
        x = np.full(shape, -0.0, dtype)
        assert_replays(partial(np.sum, axis=axis), x, others=[[x], [-x]])


def test_several_reductions_of_one_table_do_not_disturb_each_other():
    def f(x):
        return x.sum(0) - x.sum(1).mean(), x.max(0), (x - x.max(1, keepdims=True)).sum()

    x = numbers((6, 6), "float32", 0, special=False)
    assert_replays(f, x, others=[[2 * x], [-x]])


@pytest.mark.parametrize("options", [{"where": True}, {"casting": "unsafe"}, {"dtype": "float64"}])
def test_options_of_a_ufunc_are_refused(options):
    with pytest.raises(NotCapturableError, match="np.add"):
        Recorded(lambda x: np.add(x, 1, **options), np.ones(3))


@pytest.mark.parametrize("method", ["accumulate", "outer", "reduceat", "at"])
def test_methods_of_a_ufunc_are_refused(method):
    arguments = {"outer": (1.0,), "reduceat": ([0, 1],), "at": ([0], 1.0)}.get(method, ())
    with pytest.raises(NotCapturableError, match=f"add.{method}"):
        Recorded(lambda x: getattr(np.add, method)(x, *arguments), np.ones(3))


def test_warnings_of_a_trace_are_those_of_numpy():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Recorded(np.log, np.zeros(3))
    assert [str(one.message) for one in seen] == ["divide by zero encountered in log"]
