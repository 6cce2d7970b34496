"""Fused losses against compositions of basic operations, and by hand."""

import numpy as np
import pytest

from npr import ConfigError
from npr.autodiff import clip, grad, gradcheck, huber, minimum, pick, value_and_grad, where
from npr.losses import clipped_mse, clipped_surrogate, mse, td_huber

RNG = np.random.default_rng(0)
Q, A, Y = 2 * RNG.standard_normal((6, 3)), np.array([0, 2, 1, 1, 0, 2]), RNG.standard_normal(6)
W = RNG.random(6)


@pytest.mark.parametrize("w", [None, W], ids=["even", "weighted"])
def test_td_huber_equals_its_composition(w):
    def composed(q):
        return ((1 if w is None else w) * huber(pick(q, A), Y)).mean()

    loss, g = value_and_grad(composed)(Q)
    (got, chosen), got_g = value_and_grad(lambda q: td_huber(q, A, Y, w), has_aux=True)(Q)
    assert got == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(got_g, g, rtol=1e-12)
    np.testing.assert_array_equal(chosen, Q[np.arange(6), A])
    gradcheck(lambda q: td_huber(q, A, Y, w)[0], Q)


def test_td_huber_by_hand():
    """y = 3, 1 and q = 2, 3: errors -1 and 2, losses .5 and 1.5, derivatives -1 and 1."""
    loss, chosen = td_huber(np.array([[2.0, 9], [9, 3.0]]), np.array([0, 1]), np.array([3.0, 1]))
    assert loss == 1.0 and chosen.tolist() == [2, 3]
    (_, _), g = value_and_grad(
        lambda q: td_huber(q, np.array([0, 1]), np.array([3.0, 1.0])), has_aux=True
    )(np.array([[2.0, 9], [9, 3.0]]))
    assert g.tolist() == [[-0.5, 0], [0, 0.5]]


def test_td_huber_keeps_float32():
    q, y = Q.astype(np.float32), Y.astype(np.float32)
    (loss, chosen), g = value_and_grad(lambda q: td_huber(q, A, y), has_aux=True)(q)
    assert loss.dtype == chosen.dtype == g.dtype == np.float32


@pytest.mark.parametrize(("q", "a", "y"), [(Q[0], A, Y), (Q, A[:5], Y), (Q, A, Y[:, None])])
def test_td_huber_refuses_wrong_shapes(q, a, y):
    with pytest.raises(ConfigError, match=r"td_huber needs q \(B, K\) and a, y, w \(B,\)"):
        td_huber(q, a, y)


@pytest.mark.parametrize("y", [Y[:3], Q[::-1]], ids=["broadcast", "whole"])
def test_mse_equals_its_composition(y):
    loss, g = value_and_grad(lambda q: ((q - y) ** 2).mean())(Q)
    got, got_g = value_and_grad(lambda q: mse(q, y))(Q)
    assert got == pytest.approx(loss, rel=1e-12) == mse(Q, y)
    np.testing.assert_allclose(got_g, g, rtol=1e-12)
    gradcheck(lambda q: mse(q, y), Q)
    assert mse(Q.astype(np.float32), y.astype(np.float32)).dtype == np.float32


def test_mse_refuses_targets_that_would_broadcast_x():
    """(B,) and (B, 1) would broadcast to all pairs: a wrong loss without an error."""
    with pytest.raises(ConfigError, match=r"x of shape \(6,\), got \(6, 1\)"):
        mse(Y, Y[:, None])


def test_clipped_mse_by_hand():
    """v_old = 0 and a range of 1. Within it the error counts, and beyond it the larger one: that
    of v, if v went beyond R; that of the end of the range, a constant, if v is nearer to R."""
    v, R = np.array([0.5, 2.0, 2.0, -3.0]), np.array([1.0, 0.0, 3.0, -4.0])
    loss, g = value_and_grad(lambda v: clipped_mse(v, R, R, 1.0))(v)
    assert loss == (0.25 + 4 + 4 + 9) / 4 == clipped_mse(v, R, R, 1.0)
    np.testing.assert_allclose(g, [-0.25, 1, 0, 0])
    # Stable-Baselines3 takes the error of the clipped value alone
    assert ((np.clip(v, -1, 1) - R) ** 2).mean() == (0.25 + 1 + 4 + 9) / 4


def test_clipped_mse_without_a_range_is_mse_to_the_bit():
    v, R, A = RNG.standard_normal((3, 9)).astype(np.float32)
    for got, expected in zip(
        value_and_grad(lambda v: clipped_mse(v, R, A))(v), value_and_grad(lambda v: mse(v, R))(v)
    ):
        np.testing.assert_array_equal(got, expected)


def test_the_gradient_of_clipped_mse_is_that_of_its_differences():
    v, R, A = RNG.standard_normal((3, 40))
    gradcheck(lambda v: clipped_mse(v, R, A, 0.5), v)
    g = grad(lambda v: clipped_mse(v, R, A, 0.5))(v)
    assert 0 < (g == 0).sum() < 40
    v, R, A = (x.astype(np.float32) for x in (v, R, A))
    loss, g = value_and_grad(lambda v: clipped_mse(v, R, A, 0.5))(v)
    assert loss.dtype == g.dtype == np.float32


def test_clipped_mse_refuses_other_shapes():
    with pytest.raises(ConfigError, match=r"of one shape, got \(6,\), \(6, 1\) and \(6,\)"):
        clipped_mse(Y, Y[:, None], Y, 0.2)


def test_clipped_surrogate_equals_its_composition():
    ratio, A = np.exp(0.5 * RNG.standard_normal(40)), RNG.standard_normal(40)

    def composed(ratio):
        return minimum(ratio * A, clip(ratio, 0.8, 1.2) * A).mean()

    loss, g = value_and_grad(composed)(ratio)
    got, got_g = value_and_grad(lambda ratio: clipped_surrogate(ratio, A, 0.2))(ratio)
    assert got == pytest.approx(loss, rel=1e-12) == clipped_surrogate(ratio, A, 0.2)
    np.testing.assert_allclose(got_g, g, rtol=1e-12)
    assert 0 < (g == 0).sum() < 40


def test_clipped_surrogate_by_hand():
    """The four cases with epsilon = 0.2: only steps further away are clipped."""
    ratio, A = np.array([1.5, 0.5, 1.5, 0.5]), np.array([1.0, 1, -1, -1])
    loss, g = value_and_grad(lambda ratio: clipped_surrogate(ratio, A, 0.2))(ratio)
    assert loss == pytest.approx((1.2 + 0.5 - 1.5 - 0.8) / 4)
    np.testing.assert_allclose(g, [0, 0.25, -0.25, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_where_drops_has_no_influence(bad):
    spoiled = np.where(np.arange(6) == 2, bad, Y)
    losses = {
        "mse": (lambda x: mse(x, spoiled), Y),
        "td_huber": (lambda q: td_huber(q, A, spoiled)[0], Q),
        "clipped_surrogate": (lambda ratio: clipped_surrogate(ratio, spoiled, 0.2), W),
    }
    for name, (loss, x) in losses.items():
        g = grad(lambda x, loss=loss: where(False, loss(x), 0.0))(x)
        assert (g == 0).all(), name


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_infinite_ratio_does_not_matter_where_the_advantage_is_zero():
    loss, g = value_and_grad(lambda r: clipped_surrogate(r, np.array([0.0, 1.0]), 0.2))(
        np.array([np.inf, 1.1])
    )
    assert loss == 0.55 and g.tolist() == [0, 0.5]


def test_a_value_that_is_not_a_number_has_no_slope_of_zero():
    """Else a critic that has diverged is not noticed."""
    v, R, A = np.array([1.0, np.nan, 3.0]), np.zeros(3), np.ones(3)
    loss, slope = value_and_grad(lambda v: clipped_mse(v, R, A, 0.1))(v)
    assert np.isnan(loss) and np.isnan(slope[1]) and np.isfinite(slope[[0, 2]]).all()
