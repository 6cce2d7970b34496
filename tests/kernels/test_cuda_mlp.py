"""The CUDA kernels of networks on the strict double of CuPy: equal to the array operations."""

import contextlib
from unittest import mock

import numpy as np
import pytest
from support import cuda

from npr.backend import on_device
from npr.kernels import mlp
from npr.kernels.cuda import mlp as launches
from npr.kernels.mlp import ELU, IDENTITY, RELU, TANH

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
NO_SCRATCH = np.zeros(0)  # neither implementation for devices uses it
FREE = 2  # numbers at the end of theta that no layer uses
SHAPES = {  # rows, B, sizes; tiles have an edge of 32
    "one number": (1, 1, [1, 1]),
    "a batch of one": (2, 1, [4, 33, 2]),
    "one layer": (2, 33, [65, 34]),
    "two hidden layers": (1, 70, [17, 40, 33, 1]),
    "five networks": (5, 9, [3, 7, 5]),
    "whole tiles": (1, 32, [32, 64, 32]),
    "a large batch": (2, 600, [5, 6, 3]),
    "an empty batch": (2, 0, [3, 4, 2]),
}
LARGE_TILES = {"LARGE_TILES": 1}, (2, 70, [65, 130, 66])
CUBLAS = {"CUBLAS_WORK": 0}, (2, 9, [3, 5, 4])
PARTS = {"PART": 7, "MOST_PARTS": 3}, (2, 23, [3, 33, 2])


def either(kernel, constants, theta, x, sizes, activations, *rest):
    """One of the kernels of networks, with `sizes` and `activations` as lists.

    constants   replace those of npr.kernels.cuda.mlp
    """
    with contextlib.ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(launches, name, value))
        implementation = kernel.device if on_device() else kernel.reference
        implementation(theta, x, np.array(sizes), np.array(activations), *rest)


def forward(*args):
    either(mlp.forward, *args)


def backward(*args):
    either(mlp.backward, *args)


def network(rows, B, sizes, hidden=RELU, out=IDENTITY, normal=False):
    """theta, x, sizes, activations, normal."""
    rng = np.random.default_rng([rows, B, *sizes])
    size = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])) + normal * sum(sizes[1:-1]) + FREE
    theta = rng.uniform(-1, 1, (rows, size)) / np.sqrt(max(sizes))
    activations = [hidden] * (len(sizes) - 2) + [out]
    return theta, rng.uniform(-1, 1, (B, sizes[0])), sizes, activations, normal


def values_of(theta, x, sizes, activations, normal):
    """The argument `work`, which forward writes."""
    work = np.full(mlp.work_size(sizes, normal, len(theta), len(x)), np.nan)
    mlp.forward.reference(theta, x, np.array(sizes), np.array(activations), normal, work)
    return work


def cotangents_of(theta, x, sizes, wants_theta=True, wants_x=True):
    """The arguments g, dtheta, dx, of which backward writes the last two."""
    g = np.random.default_rng(len(x)).uniform(-1, 1, (len(theta), len(x), sizes[-1]))
    dtheta = np.full(theta.shape if wants_theta else (0, 0), np.nan)
    return g, dtheta, np.full(x.shape if wants_x else (0, 0), np.nan)


def check_forward(args, constants=(), launches=None):
    work = np.full_like(values_of(*args), np.nan)
    return cuda.check(
        forward, dict(constants), *args, work,
        reference=forward, tolerance=TOLERANCE, launches=launches,
    )  # fmt: skip


def check_backward(args, constants=(), launches=None, **wants):
    g, dtheta, dx = cotangents_of(*args[:3], **wants)
    outcomes = cuda.check(
        backward, dict(constants), *args, values_of(*args), g, dtheta, dx, NO_SCRATCH,
        reference=backward, tolerance=TOLERANCE, launches=launches,
    )  # fmt: skip
    for outcome in outcomes.values():
        outcome.device.pop(), outcome.reference.pop()  # scratch
        assert np.isnan(outcome.device[-2][:, -FREE:]).all()
    return outcomes


# --- equal to the array operations ---------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_launch_per_layer_forward(shape):
    _, B, sizes = shape
    check_forward(network(*shape), launches=len(sizes) - 1 if B else 0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_launch_per_layer_backward_and_one_for_a_divided_batch(shape):
    _, B, sizes = shape
    check_backward(network(*shape), launches=len(sizes) - 1 + (B > launches.PART))


@pytest.mark.parametrize("out", [RELU, TANH, ELU, IDENTITY])
@pytest.mark.parametrize("hidden", [RELU, TANH, ELU, IDENTITY])
def test_activations(hidden, out):
    args = network(2, 5, [3, 6, 4, 2], hidden, out)
    check_forward(args, launches=3)
    check_backward(args, launches=3 + (out != IDENTITY))


def test_every_layer_has_its_own_activation():
    theta, x, sizes, _, normal = network(2, 5, [3, 6, 4, 2])
    args = theta, x, sizes, [TANH, ELU, RELU], normal
    check_forward(args, launches=3)
    check_backward(args, launches=4)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_more_launch_per_normalized_layer(shape):
    """Forward; backward two, for rows and for the sums over the batch."""
    _, B, sizes = shape
    hidden, args = len(sizes) - 2, network(*shape, TANH, normal=True)
    check_forward(args, launches=len(sizes) - 1 + hidden if B else 0)
    divided = int(B > launches.PART)
    check_backward(args, launches=len(sizes) - 1 + divided + (2 if B else 1) * hidden)


@pytest.mark.parametrize("wants_theta, wants_x", [(True, False), (False, True), (False, False)])
def test_only_what_is_wanted_is_computed_of_normalized_layers(wants_theta, wants_x):
    args = network(2, 300, [3, 40, 4, 2], normal=True)
    expected = 2 + (wants_theta or wants_x) + 2 + 3 * wants_theta
    check_backward(args, launches=expected, wants_theta=wants_theta, wants_x=wants_x)


@pytest.mark.parametrize("constants, shape", [LARGE_TILES, PARTS, CUBLAS])
def test_normalized_layers_in_large_tiles_parts_and_by_cublas(constants, shape):
    args = network(*shape, ELU, normal=True)
    check_forward(args, constants)
    check_backward(args, constants)


@pytest.mark.parametrize("n", [1, 9, 70])
def test_rows_are_normalized(n):
    rng = np.random.default_rng(n)
    z, gain, y = rng.standard_normal((70, n)), rng.standard_normal(n), np.empty((70, n))
    cuda.check(mlp.normalize, z, gain, np.empty(70), y, tolerance=TOLERANCE, launches=1)
    g, scale = rng.standard_normal((70, n)), rng.uniform(0.1, 10, 70)
    cuda.check(
        mlp.normalize_backward, g, z, gain, scale, np.empty(n), tolerance=TOLERANCE, launches=2
    )


@pytest.mark.parametrize(
    "wants_theta, wants_x, expected", [(True, False, 3), (False, True, 3), (False, False, 2)]
)
def test_only_what_is_wanted_is_computed(wants_theta, wants_x, expected):
    args = network(2, 300, [3, 6, 4, 2])
    expected += wants_theta  # the sum over parts of the batch
    check_backward(args, launches=expected, wants_theta=wants_theta, wants_x=wants_x)


@pytest.mark.parametrize("constants, shape", [LARGE_TILES, PARTS])
def test_large_tiles_and_parts_of_the_batch(constants, shape):
    check_forward(network(*shape, TANH), constants, launches=2)
    check_backward(network(*shape, TANH), constants, launches=2 + ("PART" in constants))


@pytest.mark.parametrize("hidden, per_row", [(RELU, 2), (TANH, 2), (ELU, 2), (IDENTITY, 1)])
def test_products_of_cublas(hidden, per_row):
    """Kernels are started for biases and derivatives; the identity has none."""
    constants, shape = CUBLAS
    args = network(*shape, hidden, TANH)
    check_forward(args, constants, launches=2 * len(args[0]))
    check_backward(args, constants, launches=per_row * len(args[0]))


def test_work_decides_about_cublas():
    theta, x, sizes = np.empty((2, 1)), np.empty((8, 1)), np.array([4, 2, 64])
    for limit, is_large in ((8 * 2 * 128 - 1, True), (8 * 2 * 128, False)):
        with mock.patch.object(launches, "CUBLAS_WORK", limit):
            assert launches.is_large(theta, x, sizes) is is_large


# --- numbers that are not finite -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("constants, shape", [({}, (2, 35, [33, 34, 2])), LARGE_TILES, PARTS])
def test_what_is_not_finite_stays_in_its_row(constants, shape, bad):
    """In tiles that are filled up with zeros: zero times infinity is NaN."""
    theta, x, *rest = network(*shape)
    x[3, -1] = bad
    for outcome in check_forward((theta, x, *rest), constants).values():
        finite = np.isfinite(outcome.device[-1]).sum()
        assert finite >= outcome.device[-1].size * (len(x) - 1) / len(x)
    for outcome in check_backward((theta, x, *rest), constants).values():
        assert np.isfinite(outcome.device[-1]).all(axis=1).sum() >= len(x) - 1


@pytest.mark.parametrize("at", [0, -1 - FREE])  # in W of the first layer, and in the last bias
@pytest.mark.parametrize("constants, shape", [({}, (3, 35, [33, 34, 2])), LARGE_TILES, PARTS])
def test_what_is_not_finite_stays_in_its_network(constants, shape, at):
    theta, *rest = network(*shape)
    theta[1, at] = np.inf
    check_forward((theta, *rest), constants)
    for outcome in check_backward((theta, *rest), constants).values():
        assert np.isfinite(outcome.device[-2][0, :-FREE]).all()


# --- biases and derivatives alone ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["bias", "bias_relu", "bias_tanh", "bias_elu"])
def test_biases(name):
    z = 3 * np.random.default_rng(0).standard_normal((70, 9))
    z[1, 2], z[3, 4] = np.nan, -np.inf
    cuda.check(getattr(mlp, name), z, z[5].copy(), launches=1)


@pytest.mark.parametrize("name", ["relu_backward", "tanh_backward", "elu_backward"])
def test_derivatives(name):
    g, h = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 70, 9))
    g[1, 2], h[3, 4] = np.nan, np.nan
    cuda.check(getattr(mlp, name), g, h, np.empty(9), launches=1)


# --- inputs and free outputs ---------------------------------------------------------------------


@pytest.mark.parametrize("B", [1, 200])
def test_inputs_are_joined_by_one_launch_each(B):
    x, y, z = (np.random.default_rng(B).standard_normal((B, n)) for n in (3, 1, 4))
    for parts in ([x, y], [x, y, z]):
        cuda.check(mlp.join, parts, launches=len(parts) - 1)
        cuda.check(mlp.join, [part[0] for part in parts], launches=len(parts) - 1)


def test_inputs_of_other_shapes_and_types_are_joined_as_arrays():
    x, y = np.ones((2, 3)), np.arange(2, dtype=np.int16)[:, None]
    for outcome in (cuda.run(mlp.join, [x, y], dtype=dtype) for dtype in ("float32", "float64")):
        assert outcome.launches == 0
        np.testing.assert_array_equal(outcome.device[-1], outcome.reference[-1])
    with pytest.raises(AssertionError, match="ValueError"):
        cuda.run(mlp.join, [x, np.ones((3, 1))])


@pytest.mark.parametrize("rows, B, free", [(1, 1, 1), (1, 300, 2), (3, 130, 1), (2, 0, 3)])
def test_free_outputs(rows, B, free):
    rng = np.random.default_rng(B)
    theta, y = rng.standard_normal((rows, 9)), rng.standard_normal((rows, B, 4))
    g, dtheta = rng.standard_normal((rows, B, 4 + free)), np.full_like(theta, 7)
    cuda.check(mlp.add_free, y, theta, free, launches=int(B > 0))
    cuda.check(mlp.split_free, g, free, dtheta, launches=1)
    cuda.check(mlp.split_free, g, free, dtheta[:0, :0], launches=int(B > 0))
