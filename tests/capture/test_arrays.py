"""What Traced arrays record of NumPy's functions, views and writes, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tracing import Recorded, assert_replays, numbers

from npr import backend
from npr.capture import NotCapturableError
from npr.capture.arrays import Traced
from npr.capture.table import Table
from npr.kernels import losses, steps

TYPES = ("float32", "float64")


def written(write):
    """A function that writes to its first argument, and returns nothing but it."""

    def f(x, *rest):
        write(x, *rest)
        return x

    return f


def add_in_place(x, y):
    x += y


def all_in_place(x, y):
    x -= y
    x *= x
    x /= y
    x **= 2
    np.maximum(x, y, out=x)


def of_itself(x, y):
    x[1:] = x[:-1]


def crossed(x, y):
    x[...] = x.T


def chained(x, y):
    view = x[1:3]
    view[:, 2] = 7
    view += y[1:3]
    view[0] = y[3]
    x[0, 0] = 1.5
    x[..., -1] = y[:, 0]


def filled_then_read(x, y):
    z = np.zeros_like(x)
    z[:] = y
    z[2:4] = 0
    x[...] = z + np.ones_like(x) * np.full_like(x, 3)


SQUARES = {  # of (5, 5) arrays x and y
    "where": lambda x, y: np.where(x > y, x, y),
    "where with numbers": lambda x, y: np.where(x > 0, 1.0, -0.0) + np.where(x < y, x, 0),
    "where with a row": lambda x, y: np.where(x[0] > 0, y[1], x),
    "where with a flipped condition": lambda x, y: np.where((x > 0).T[::-1], x, y.T),
    "where in zero axes": lambda x, y: np.where(x.sum() > 0, x.max(0).sum(), y[0, 0]),
    "concatenate": lambda x, y: np.concatenate([x, y[:2], y]),
    "concatenate columns": lambda x, y: np.concatenate((x, y[:, :2], x.T), axis=1),
    "concatenate types": lambda x, y: np.concatenate([x, y > 0, np.arange(5)[None]], axis=-2),
    "concatenate one": lambda x, y: np.concatenate([x[:0], y]),
    "stack": lambda x, y: np.stack([x, y, x.T]),
    "stack inside": lambda x, y: np.stack([x, y[::-1]], axis=-1),
    "stack rows": lambda x, y: np.stack([x[0], y[:, 1]], axis=1),
    "copy": lambda x, y: x.copy() + np.copy(y.T),
    "views": lambda x, y: (x.T[1:, ::-1], y[None, 2], x.reshape(-1)[::3], x.swapaxes(0, 1).ravel()),
    "reshape a transposed": lambda x, y: x.T.reshape(25) + y.T.ravel(),
    "functions of views": lambda x, y: np.moveaxis(x, 0, 1) + np.expand_dims(y[0], 0).squeeze(0),
    "broadcast_to": lambda x, y: np.broadcast_to(x[0], (5, 5)) * y,
    "iteration": lambda x, y: sum(row * 2 for row in x) + y[-1],
    "len": lambda x, y: x / len(y) + y.size + y.ndim + y.shape[0],
    "argmax": lambda x, y: (x.argmax(-1), y.argmax(axis=1), np.argmax(x[0], axis=-1)),
    "argmax of a view": lambda x, y: (x.T[::2].argmax(-1), (x > 0).argmax(1)),
    "astype": lambda x, y: (x > 0).astype(x.dtype) * y,
    "astype kept": lambda x, y: x.astype(x.dtype, copy=False) + y.astype(x.dtype),
    "astype transposed": lambda x, y: (x.T > 0).astype(y.dtype) - y,
    "contiguous": lambda x, y: backend.contiguous(x.T) + backend.contiguous(y),
    "clip": lambda x, y: np.clip(x, -1, 0.5) + np.clip(y, -0.5, 2),
    "zeros": lambda x, y: np.zeros_like(x) + y,
    "powers": lambda x, y: x**2 + y**0.5 + x**1 + y**-1 + x**3 + 2**x + x**0,
    "powers of sums": lambda x, y: (x.sum() ** 2, abs(y.sum()) ** 0.5, x.mean() ** -1),
    "scalars": lambda x, y: (x.sum() / 3, y.max(0).min() * x.min(1).max(), 1 - x.mean()),
    "of both sides": lambda x, y: 2 - x / (1 + y) - (3 / x) // 1 + (-x) % 2 + abs(y),
    "comparisons": lambda x, y: ((x > 0) & (y > 0)) | ~(x >= y) ^ (y != y),
    "chain": lambda x, y: np.tanh(np.exp(x - x.max(1, keepdims=True)).sum(1)[:, None] * y).mean(0),
    "in place": written(add_in_place),
    "many in place": written(all_in_place),
    "onto itself": written(of_itself),
    "transposed onto itself": written(crossed),
    "views of views": written(chained),
    "scratch": written(filled_then_read),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_replay_of_array_functions_has_numpys_bits(name, special, dtype):
    if special and name == "powers of sums":
        return  # powers of NumPy's scalars give NaNs of another sign than those of arrays

    def pair(seed):
        return [numbers((5, 5), dtype, 2 * seed + k, special) for k in (0, 1)]

    assert_replays(SQUARES[name], *pair(0), others=[pair(seed) for seed in range(1, 5)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_argmax_takes_the_first_of_equals_and_of_nans(dtype):
    rows = np.array(
        [[0, 1, 1], [1, 1, 0], [2, 2, 2], [-1, -2, -1], [0, 0, 1]], "float64"
    ).astype(dtype)  # fmt: skip
    others = [rows[::-1], rows[:, ::-1]]
    if rows.dtype.kind == "f":
        holes = rows.copy()
        holes[0, 2] = holes[1, 0] = holes[2, 1] = holes[2, 2] = np.nan
        holes[3] = -np.inf
        holes[4] = [-0.0, 0.0, -0.0]
        others += [holes, holes[:, ::-1], np.full_like(rows, np.nan)]
    assert_replays(lambda x: x.argmax(-1), rows, others=[[x] for x in others])


# ---- floats among the arguments

FLOATS = {  # of an array x, and floats a and b
    "weak": lambda x, a, b: x * a + b,
    "right": lambda x, a, b: a - x / b,
    "before the array": lambda x, a, b: x * (a * b) + (a - b) * x + (1 - a) * x,
    "quotients": lambda x, a, b: x * (a / b) + (a // 0.3) * x + x * (a % 0.3),
    "powers": lambda x, a, b: x * a**2 + x * a**3 + x * (2**b) + x * abs(a) ** 0.5,
    "signs": lambda x, a, b: x * -a + x * abs(b) + x * +a,
    "written": lambda x, a, b: np.full_like(x, a) + np.zeros_like(x) * b,
    "where": lambda x, a, b: np.where(x > a, a, x * b),
    "compared": lambda x, a, b: (x > a) & (x < b),
    "clip": lambda x, a, b: np.clip(x, -abs(a), abs(b)),
    "maximum": lambda x, a, b: np.maximum(x, a) + np.minimum(b, x),
    "powers of arrays": lambda x, a, b: abs(x) ** a + abs(a) ** x,
    "stacked": lambda x, a, b: np.stack([x * a, x * b]),
    "of numpy": lambda x, a, b: x * np.sqrt(abs(a)) + np.exp(b),
    "of numpy with two": lambda x, a, b: x * np.maximum(a, b),
    "sum of both": lambda x, a, b: a + b + x.sum(),
}


# since Python raises errors where NumPy does not, and NumPy's functions of floats give arrays
MAY_BE_REFUSED = {"quotients", "powers", "of numpy", "of numpy with two"}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", FLOATS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(-50, 50).filter(bool), min_size=6, max_size=6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_floats_have_the_bits_of_python(name, dtype, values):
    a, b, *later = values
    x = numbers((7,), dtype, 0)
    others = [(numbers((7,), dtype, k), *later[k : k + 2]) for k in (0, 2)]
    f = FLOATS[name]
    try:
        assert_replays(f, x, a, b, others=others)
    except NotCapturableError as error:
        assert name in MAY_BE_REFUSED and "of floats" in str(error), error
    except OverflowError:  # of Python
        pass


@pytest.mark.parametrize("f", [lambda x, a: x * a**2, lambda x, a: x * 2.0**a])
def test_powers_of_floats_are_refused(f):
    """NumPy's may differ from Python's in the last bit."""
    with pytest.raises(NotCapturableError, match=r"np\.power of floats"):
        Recorded(f, np.ones(3), 1.5)


def test_kernels_with_a_float_that_changes_read_it_in_each_replay():
    def polyak(target, source, tau):
        steps.polyak(target, source, 0.5 * tau)
        steps.polyak(target, source, tau)

    x, y = numbers((9,), "float32", 0, False), numbers((9,), "float32", 1, False)
    others = [(x, y, 0.25), (y, x, 0.75), (x, y, 1.0), (x, y, 0.0)]
    assert_replays(written(polyak), x, y, 0.5, others=others)


# ---- what is refused

REFUSED = {
    "bool": (lambda x: bool(x[0]), "branches on the values"),
    "if": (lambda x: x if x.sum() > 0 else -x, "branches on the values"),
    "float": (lambda x: float(x[0]), "converts an array to a number"),
    "math": (lambda x: math.sqrt(x.sum()), "converts an array to a number"),
    "index": (lambda x: [1, 2, 3][x[0]], "converts an array to a number"),
    "range": (lambda x: range(x[0]), "converts an array to a number"),
    "mask": (lambda x: x[x > 0], "indexes an array by an array"),
    "indices": (lambda x: x[[0, 1]], "indexes an array by an array"),
    "written mask": (lambda x: x.__setitem__(x > 0, 0), "indexes an array by an array"),
    "item": (lambda x: x.item(), "hands an array"),
    "tolist": (lambda x: x.tolist(), "hands an array"),
    "asarray": (lambda x: np.asarray(x), "hands an array|uses .__array"),
    "array of a list": (lambda x: np.array([x[0], x[1]]), "hands an array|uses .__array"),
    "membership": (lambda x: 1.0 in x, "hands an array"),
    "sort": (lambda x: np.sort(x), "np.sort"),
    "unknown function": (lambda x: np.nan_to_num(x), "np.nan_to_num"),
    "unknown method": (lambda x: x.cumsum(), ".cumsum"),
    "matmul": (lambda x: x @ x, "np.matmul"),
    "modf": (lambda x: np.modf(x), "np.modf"),
    "to another array": (lambda x: np.add(x, 1, out=np.zeros(3)), "no argument or attribute"),
    "in place of another": (lambda x: np.zeros(3).__iadd__(x), "no argument or attribute"),
    "copyto": (lambda x: np.copyto(np.zeros(3), x), "np.copyto"),
    "argmax of all": (lambda x: x.argmax(), "argmax"),
    "text": (lambda x: str(x), "makes a text"),
    "memory": (lambda x: x.data, "data"),
    "address": (lambda x: x.ctypes, "ctypes"),
    "maximum over two axes": (lambda x: x[None].max((0, 1)), "np.maximum"),
}
# other errors, which test_subclasses.py keeps from users
RAISING = {
    "into an array": lambda x: np.zeros(3).__setitem__(0, x[0]),
    "options": lambda x: np.max(x, initial=0.0),
    "options of a method": lambda x: x.sum(where=x > 0),
    "one argument of where": lambda x: np.where(x > 0),
    "hash": lambda x: {x: 1},
    "round": lambda x: round(x[0], 2),
    "format": lambda x: f"{x[0]:.2f}",
    "clip without a bound": lambda x: np.clip(x, 0, None),
}


def traced(x=(0.0, 1.0, 2.0)):
    return Traced(np.array(x), Table())


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_replay_could_not_repeat_is_refused(name):
    f, reason = REFUSED[name]
    with pytest.raises(NotCapturableError, match=reason):
        f(traced())


@pytest.mark.parametrize("name", RAISING)
def test_what_only_arrays_can_do_is_an_error_of_the_trace(name):
    with pytest.raises((NotCapturableError, TypeError, ValueError)):
        RAISING[name](traced())


def test_overlapping_views_are_refused_or_have_numpys_bits():
    for f in (
        lambda x: np.add(x[1:], x[:-1], out=x[1:]),
        lambda x: np.add(x[:-1], x[1:], out=x[:-1]),
        lambda x: np.multiply(x, x[::-1], out=x),
        lambda x: np.add(x, x[:1], out=x),
        lambda x: np.negative(x[::-1], out=x),
        lambda x: np.add(x, x, out=x),
        lambda x: np.add(x[::2], x[1::2], out=x[::2]),
    ):
        x = numbers((8,), "float32", 0, False)
        try:
            assert_replays(written(f), x, others=[[2 * x], [x[::-1]]])
        except NotCapturableError as error:
            assert "overlapping" in str(error)


def test_a_kernel_that_writes_elsewhere_leaves_that_array_as_it_was():
    target = np.zeros(3)
    with pytest.raises(NotCapturableError, match="no argument or attribute"):
        Recorded(lambda x: steps.polyak(target, x, 0.5), np.arange(3.0))
    assert target.tolist() == [0, 0, 0]


def test_an_action_out_of_range_raises_the_error_of_its_kernel():
    q, a = numbers((4, 3), "float32", 0, False), np.array([0, 1, 2, 0])
    rest = [numbers((4,), "float32", k, False) for k in (1, 2)]

    def f(q, a, y, w):
        loss, chosen, slope = np.empty_like(y, shape=1), np.empty_like(y), np.empty_like(q)
        losses.td_huber(q, a, y, w, loss, chosen, slope)
        return loss, chosen, slope

    recorded = Recorded(f, q, a, *rest)
    assert recorded.replayed() == recorded.expected()
    a[2] = 3
    with pytest.raises(AssertionError):
        recorded.replayed()
    assert recorded.failed[0] == 1  # the row, counted from one
