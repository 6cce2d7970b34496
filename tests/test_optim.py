"""Optimizers against their published updates, one number at a time, and by hand."""

import math

import numpy as np
import pytest

from npr.backend import FLOAT
from npr.errors import ConfigError
from npr.optim import SGD, Adam, RMSprop, clip_joint_norm, clip_norm, polyak

# --- the published updates, for one number and its gradients -------------------------------------


def scalar_adam(theta, gradients, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Kingma and Ba 2015, algorithm 1."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta -= learning_rate * m_hat / (math.sqrt(v_hat) + eps)
    return theta


def scalar_rmsprop(theta, gradients, learning_rate=7e-4, decay=0.99, eps=1e-5):
    v = 0.0
    for g in gradients:
        v = decay * v + (1 - decay) * g * g
        theta -= learning_rate * g / (math.sqrt(v) + eps)
    return theta


def scalar_sgd(theta, gradients, learning_rate=1e-2, momentum=0.0):
    velocity = 0.0
    for g in gradients:
        velocity = momentum * velocity + g
        theta -= learning_rate * velocity
    return theta


OPTIMIZERS = [
    (Adam, scalar_adam, {}),
    (Adam, scalar_adam, {"learning_rate": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 1e-2}),
    (Adam, scalar_adam, {"beta1": 0.0}),
    (RMSprop, scalar_rmsprop, {}),
    (RMSprop, scalar_rmsprop, {"learning_rate": 0.05, "decay": 0.5, "eps": 0.1}),
    (SGD, scalar_sgd, {}),
    (SGD, scalar_sgd, {"learning_rate": 0.05, "momentum": 0.9}),
]
every_optimizer = pytest.mark.parametrize("optimizer, scalar, options", OPTIMIZERS)
STEPS = 12


def run(optimizer, theta, gradients, **options):
    theta = theta.copy()
    optimizer = optimizer(theta, **options)
    for g in gradients:
        optimizer.step(theta, g)
    return theta


def drawn(*shape, dtype=np.float64):
    """Parameters, and one gradient for each step; some are tiny, some zero."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(STEPS, *shape)) * rng.choice([0, 1e-6, 1, 10], (STEPS, *shape))
    return rng.normal(size=shape).astype(dtype), gradients.astype(dtype)


@every_optimizer
@pytest.mark.parametrize("shape", [(7,), (2, 5), (1,)], ids=["flat", "stacked", "one"])
def test_every_parameter_is_updated_as_published(optimizer, scalar, options, shape):
    theta, gradients = drawn(*shape)
    moved = run(optimizer, theta, gradients, **options)
    for i in np.ndindex(shape):
        expected = scalar(theta[i], gradients[(slice(None), *i)], **options)
        np.testing.assert_allclose(moved[i], expected, rtol=1e-11, atol=1e-13)


@every_optimizer
def test_float32_stays_float32(optimizer, scalar, options):
    theta, gradients = drawn(2, 5, dtype=np.float32)
    moved = run(optimizer, theta, gradients, **options)
    assert moved.dtype == np.float32
    exact = run(optimizer, theta.astype(np.float64), gradients.astype(np.float64), **options)
    np.testing.assert_allclose(moved, exact, rtol=1e-4, atol=1e-5)


@every_optimizer
def test_the_gradient_is_not_modified_and_rows_are_independent(optimizer, scalar, options):
    theta, gradients = drawn(2, 5)
    gradients.flags.writeable = False
    stacked = run(optimizer, theta, gradients, **options)
    for row in range(2):
        alone = run(optimizer, theta[row], gradients[:, row], **options)
        np.testing.assert_array_equal(stacked[row], alone)


@pytest.mark.parametrize("optimizer", [Adam, RMSprop, SGD])
def test_the_learning_rate_may_change_between_steps(optimizer):
    theta, gradients = drawn(4)
    twice, once = theta.copy(), theta.copy()
    changing, constant = optimizer(twice, 0.1), optimizer(once, 0.1)
    for t, g in enumerate(gradients):
        start = once.copy()
        constant.step(once, g)
        changing.learning_rate = 0.1 * (t + 1)
        before = twice.copy()
        changing.step(twice, g)
        np.testing.assert_allclose(twice - before, (t + 1) * (once - start), rtol=1e-9, atol=1e-12)


def test_the_first_step_of_adam_is_its_learning_rate():
    theta = np.array([1.0, 1.0, 1.0])
    Adam(theta, 0.1).step(theta, np.array([1e-3, -5.0, 200.0]))
    np.testing.assert_allclose(theta, [0.9, 1.1, 0.9], atol=1e-5)


@pytest.mark.parametrize("optimizer", [Adam, RMSprop, SGD])
def test_a_quadratic_is_minimized(optimizer):
    theta = np.array([3.0, -2.0], FLOAT)
    optimizer = optimizer(theta, 0.05)
    for _ in range(500):
        optimizer.step(theta, 2 * (theta - 1))
    np.testing.assert_allclose(theta, 1, atol=0.05)


# --- clipping by the norm ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_clip_norm_keeps_the_direction(shape, dtype):
    g = np.array([3, -4], dtype).reshape(shape)
    assert clip_norm(g, 0.5) is g
    np.testing.assert_allclose(g.ravel(), [0.3, -0.4], rtol=1e-6)
    assert g.dtype == dtype and np.linalg.norm(g) <= 0.5


@pytest.mark.parametrize("g", [[0.3, -0.4], [0.0, 0.0]])
def test_clip_norm_does_not_change_short_gradients(g):
    np.testing.assert_array_equal(clip_norm(np.array(g), 0.6), g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 40])
def test_a_joint_norm_keeps_the_direction_of_both(dtype, n):
    g, h = np.zeros(n, dtype), np.zeros(3, dtype)
    g[-1], h[0] = 3, -4
    clip_joint_norm(g, h, 0.5)
    np.testing.assert_allclose([g[-1], h[0]], [0.3, -0.4], rtol=1e-6)
    assert np.count_nonzero(g) == np.count_nonzero(h) == 1 and g.dtype == h.dtype == dtype


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_joint_norm_that_is_not_finite_changes_nothing(wrong):
    g, h = np.array([3.0, 4.0]), np.array([wrong])
    clip_joint_norm(g, h, 0.5)
    np.testing.assert_array_equal([*g, *h], [3, 4, wrong])


def test_a_short_joint_norm_changes_nothing():
    g, h = np.array([0.3, 0.1]), np.array([-0.4])
    clip_joint_norm(g, h, 0.6)
    assert [*g, *h] == [0.3, 0.1, -0.4]


# --- Polyak averaging ----------------------------------------------------------------------------


@pytest.mark.parametrize("steps, expected", [(100, 0.394230), (1000, 0.993346)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_polyak_by_hand(steps, expected, dtype):
    theta_bar, theta = np.zeros((2, 3), dtype), np.ones((2, 3), dtype)
    for _ in range(steps):
        polyak(theta_bar, theta, 0.005)
    np.testing.assert_allclose(theta_bar, expected, atol=2e-5 if dtype is np.float32 else 5e-7)
    np.testing.assert_array_equal(theta, 1)
    assert theta_bar.dtype == dtype


@pytest.mark.parametrize("tau, expected", [(0.0, [1, 2]), (1.0, [5, 10]), (0.25, [2, 4])])
def test_polyak_moves_by_the_fraction_tau(tau, expected):
    theta_bar = np.array([1.0, 2.0])
    polyak(theta_bar, np.array([5.0, 10.0]), tau)
    np.testing.assert_allclose(theta_bar, expected, rtol=1e-15)


# --- state ---------------------------------------------------------------------------------------

VECTORS = {Adam: {"m", "v"}, RMSprop: {"v"}, SGD: {"velocity"}}


@pytest.mark.parametrize("optimizer", VECTORS)
def test_an_optimizer_continues_from_its_state(optimizer):
    thetas, rng = [np.ones(3, np.float32) for _ in range(2)], np.random.default_rng(0)
    one, other = (optimizer(theta, 0.1) for theta in thetas)
    for g in [*rng.standard_normal((4, 3)).astype(np.float32), np.full(3, np.nan, np.float32)]:
        one.step(thetas[0], g)
    state = {name: held.copy() for name, held in one.state().items()}
    assert set(state) == VECTORS[optimizer]
    assert {"skipped": 1, "consecutive": 1}.items() <= one.counters().items()
    assert one.counters().get("t", 4) == 4
    other.load(state)
    other.load_counters(one.counters())
    assert other.counters() == one.counters()
    thetas[1][:] = thetas[0]
    for each, theta in zip((one, other), thetas):
        each.step(theta, np.ones(3, np.float32))
    np.testing.assert_array_equal(*thetas)
    for name, held in one.state().items():
        np.testing.assert_array_equal(held, other.state()[name])
        assert not np.shares_memory(held, other.state()[name])


@pytest.mark.parametrize("optimizer", VECTORS)
@pytest.mark.parametrize(
    "bad, message",
    [
        (np.ones(2), r"must be float64\(3,\), got float64\(2,\)"),
        (np.ones(3, np.float32), r"must be float64\(3,\), got float32\(3,\)"),
        (np.array([1, np.inf, 1]), "holds numbers that are not finite"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(optimizer, bad, message):
    one = optimizer(np.ones(3))
    state = {name: np.ones(3) for name in VECTORS[optimizer]}
    last = list(one.state())[-1]
    with pytest.raises(ConfigError, match=f"The optimizer's '{last}' {message}"):
        one.load({**state, last: bad})
    assert not any(held.any() for held in one.state().values())


# --- invalid arguments ---------------------------------------------------------------------------


def every_other(*shape):
    """An array that is not contiguous: its flat form is a copy, so an in-place step is lost."""
    return np.ones((*shape, 2))[..., 0]


@pytest.mark.parametrize("optimizer", [Adam, RMSprop, SGD])
def test_a_theta_that_is_not_contiguous_is_refused(optimizer):
    theta = every_other(2, 3)
    with pytest.raises(ConfigError, match="needs a contiguous array"):
        optimizer(theta).step(theta, np.ones((2, 3)))


def test_clip_norm_and_polyak_refuse_arrays_that_are_not_contiguous():
    with pytest.raises(ConfigError, match="needs a contiguous array"):
        clip_norm(every_other(2, 3), 0.1)
    with pytest.raises(ConfigError, match="needs a contiguous array"):
        polyak(every_other(2, 3), np.ones((2, 3)), 0.1)


@pytest.mark.parametrize("optimizer", [Adam, RMSprop, SGD])
@pytest.mark.parametrize("n", [2, 4])
def test_a_gradient_of_the_wrong_shape_is_refused(optimizer, n):
    theta = np.ones(3)
    with pytest.raises(ConfigError, match=rf"shape \(3,\), got \({n},\)"):
        optimizer(theta).step(theta, np.ones(n))


@pytest.mark.parametrize("n", [2, 4])
def test_polyak_refuses_a_target_of_the_wrong_shape(n):
    with pytest.raises(ConfigError, match=rf"shape \(3,\), got \({n},\)"):
        polyak(np.ones(3), np.ones(n), 0.1)


@pytest.mark.parametrize("optimizer", [Adam, RMSprop, SGD])
def test_an_optimizer_refuses_parameters_of_another_size(optimizer):
    with pytest.raises(ConfigError, match="made for 4 parameters, got 3"):
        optimizer(np.ones(4)).step(np.ones(3), np.ones(3))
