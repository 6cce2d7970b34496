"""CUDA kernels of losses, against their references."""

import numpy as np
import pytest
from support import cuda
from support.processes import DOUBLE, run

from npr.kernels import losses as kernels

SIZES = [1, 31, 256, 257, 1024, 1025, 70_000]  # a block takes 1024 items, more need a second launch
every_size = pytest.mark.parametrize("n", SIZES)
pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def check(kernel, *args, n=1, **options):
    """The arrays in float64 after a loss of n items, which equal those of the reference."""
    options = {"launches": 1 + (n > 1024), "tolerance": {"float64": 1e-12}, **options}
    return cuda.check(kernel, *args, **options)["float64"].device


# ---- mse


@every_size
def test_mse_equals_the_reference(n):
    x, y = normal(2, n)
    *_, loss, error = check(kernels.mse, x, y, n=n)
    np.testing.assert_array_equal(error, x - y)
    assert loss == pytest.approx(np.mean((x - y) ** 2))


@pytest.mark.parametrize(
    "x, y",
    [((2, 300), (300,)), ((2, 3, 5), (3, 5)), ((2, 300), (2, 1)), ((2, 3), ()), ((2, 3), (1,)),
     ((2, 3), (1, 3)), ((), ()), ((2, 3, 5), (3, 1))],
)  # fmt: skip
def test_the_target_of_mse_may_be_broadcast(x, y):
    *_, loss, error = check(kernels.mse, normal(*x), normal(*y, seed=1), n=np.prod(x))
    assert loss.shape == () and error.shape == x


def test_arrays_of_mse_may_have_strides():
    x, y = normal(2, 7, 4)
    cuda.check(_strided_mse, x, y, reference=_strided_mse)


def _strided_mse(x, y):
    return kernels.mse(x.T, y.T)


# ---- the clipped surrogate


@every_size
@pytest.mark.parametrize("epsilon", [0.2, np.array(0.2), 0, 3.0], ids=["0.2", "array", "0", "3"])
def test_the_surrogate_equals_the_reference(n, epsilon):
    ratio, A = np.exp(0.3 * normal(n)), normal(n, seed=1)
    slope = check(kernels.surrogate, ratio, A, epsilon, n=n)[-1]
    if n > 100 and np.ndim(epsilon) == 0 and epsilon == 0.2:
        assert 0 < np.count_nonzero(slope) < n


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_number_that_is_not_finite_stays_so(bad, place):
    for A in (1.0, -1.0, 0.0):
        arrays = [np.exp(0.3 * normal(5)), np.full(5, A)]
        arrays[place][2] = bad
        check(kernels.surrogate, *arrays, 0.2)
    arrays = [normal(5), normal(5, seed=1)]
    arrays[place][2] = bad
    *_, loss, error = check(kernels.mse, *arrays)
    assert not np.isfinite(loss) and np.isfinite(error).sum() == 4


@cuda.needs_compiler
@pytest.mark.parametrize("kind", ["np.float32", "np.float64", "np.int64", "np.array", "float"])
def test_epsilon_may_be_any_number_of_the_host(kind):
    """An address is expected only of a device array."""
    code = f"""
import numpy as np
from npr.backend import FLOAT, to_device, to_host
from npr.kernels.losses import surrogate
ratio, A = to_device(np.array([0.5, 3.0], FLOAT)), to_device(np.ones(2, FLOAT))
loss, slope = surrogate(ratio, A, {kind}(1))
print(to_host(loss), *to_host(slope))
"""
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.stdout.split() == ["1.25", "1.0", "0.0"], ran.stderr


# ---- td_huber


def batch(B, K):
    q, y = 2 * normal(B, K), 2 * normal(B, seed=1)
    a, w = np.random.default_rng(2).integers(K, size=B), normal(B, seed=3) ** 2
    return [q, a, y, w, np.empty(1), np.empty(B), np.empty((B, K))]


@pytest.mark.parametrize(("B", "K"), [*((n, 3) for n in SIZES), (5, 1), (40, 300)])
def test_td_huber_equals_the_reference(B, K):
    q, a, *_, chosen, _ = check(kernels.td_huber, *batch(B, K), n=B)
    np.testing.assert_array_equal(chosen, q[np.arange(B), a])


@pytest.mark.parametrize("kind", [np.int32, np.uint8])
def test_td_huber_takes_indices_of_any_integer_type(kind):
    q, a, *rest = batch(40, 4)
    check(kernels.td_huber, q, a.astype(kind), *rest)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_td_huber_keeps_numbers_that_are_not_finite(bad, place):
    args = batch(6, 3)
    args[place][2] = bad
    loss, chosen, slope = check(kernels.td_huber, *args)[-3:]
    assert not np.isfinite(loss)
    assert np.isfinite(chosen).sum() == (5 if place == 0 else 6)


def _poisoned(q, a, y, w, loss, chosen, slope):
    valid = (a >= 0) & (a < q.shape[1])
    kernels.td_huber.reference(q, np.where(valid, a, 0), y, w, loss, chosen, slope)
    loss[:] = chosen[~valid] = slope[~valid] = np.nan


@pytest.mark.parametrize("wrong", [-1, 3, -(2**40), 2**40])
def test_an_action_out_of_range_makes_its_row_and_the_loss_nan(wrong):
    """On a device nothing can raise: the optimizer skips the step."""
    args = batch(300, 3)
    args[1][[7, 299]] = wrong
    assert np.isnan(check(kernels.td_huber, *args, reference=_poisoned)[4]).all()


# ---- on the tape

LOSSES = """
import numpy as np
from npr import ConfigError
from npr.autodiff import value_and_grad
from npr.backend import FLOAT, to_device, to_host, xp
from npr.losses import clipped_surrogate, mse, td_huber

def on(*arrays):
    return [to_device(x.astype(FLOAT) if x.dtype.kind == "f" else x) for x in arrays]

rng = np.random.default_rng(0)
x, y, r, A = on(*rng.standard_normal((4, 6)))
q, a = on(rng.standard_normal((6, 3)), rng.integers(3, size=6))
saved = {}
for name, f, x in [
    ("mse", lambda x: 0.7 * mse(x, y), x),
    ("surrogate", lambda r: 0.7 * clipped_surrogate(r, A, 0.2), xp.exp(r)),
    ("td_huber", lambda q: 0.7 * td_huber(q, a, y)[0], q),
]:
    f(x)  # on plain arrays
    saved[name], saved[f"{name}, gradient"] = map(to_host, value_and_grad(f)(x))
try:
    mse(y, y[:, None])
except ConfigError as error:
    saved["error"] = str(error)
"""


@cuda.needs_compiler
def test_losses_and_their_gradients_equal_those_on_the_host(tmp_path):
    held = []
    for backend in ("numpy", "cupy"):
        file = tmp_path / f"{backend}.npz"
        code = f"{LOSSES}\nnp.savez({str(file)!r}, **saved)"
        ran = run("-c", code, path=[DOUBLE], NPR_BACKEND=backend, NPR_DTYPE="float64")
        assert ran.returncode == 0, ran.stderr
        held.append(np.load(file))
    host, device = held
    assert host["error"] == device["error"] == "mse needs y to fit x of shape (6,), got (6, 1)."
    for name in set(host.files) - {"error"}:
        np.testing.assert_allclose(device[name], host[name], rtol=1e-12, atol=1e-15)
