"""Stein variational gradient descent: directions by hand, convergence, errors."""

import numpy as np
import pytest

from npr.kernels import svgd_bandwidth, svgd_direction
from npr.kernels.svgd import _bandwidth

FIXED, UPDATED = np.array([[-0.5], [0.5]]), np.array([[0.0], [0.25]])
SCORE = -8 * (FIXED - 0.3)


def test_svgd_directions_by_hand():
    np.testing.assert_allclose(SCORE[:, 0], [6.4, -1.6])
    moved = svgd_direction(FIXED, UPDATED, SCORE, bandwidth=1.0)
    np.testing.assert_allclose(moved[:, 0], [1.869122, 1.264258], atol=1e-6)


def test_the_bandwidth_is_the_median_over_the_log_of_the_number():
    """Squared distances .0625, .25, .25, .5625: h = .25 / log 2."""
    np.testing.assert_allclose(svgd_bandwidth(FIXED, UPDATED), 0.360674, atol=1e-6)
    moved = svgd_direction(FIXED, UPDATED, SCORE)
    np.testing.assert_allclose(moved[:, 0], [1.2, -0.145716], atol=1e-6)


def test_particles_repel_each_other():
    moved = svgd_direction(np.zeros((1, 1)), np.full((1, 1), 0.1), np.zeros((1, 1)), 1.0)
    assert moved[0, 0] > 0


def test_leading_axes_are_batch_axes():
    rng = np.random.default_rng(0)
    fixed, updated, score = (rng.standard_normal((2, 3, n, 2)) for n in (5, 4, 5))
    moved = svgd_direction(fixed, updated, score)
    assert moved.shape == updated.shape
    for where in np.ndindex(2, 3):
        alone = svgd_direction(fixed[where], updated[where], score[where])
        np.testing.assert_allclose(moved[where], alone, rtol=1e-12)


@pytest.mark.parametrize(("density", "mean", "deviation"), [(8.0, 0.3, 0.353553), (1.0, -1.0, 1.0)])
def test_particles_converge_to_their_density(density, mean, deviation):
    """All particles at once, for a normal density: exact mean, approximate standard deviation."""
    x = np.random.default_rng(0).standard_normal((60, 1))
    for _ in range(600):
        x += 0.2 / density * svgd_direction(x, x, -density * (x - mean))
    assert x.mean() == pytest.approx(mean, abs=0.01)
    assert x.std() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
    ("fixed", "updated", "score"),
    [((3, 2), (4, 1), (3, 2)), ((3, 2), (4, 2), (2, 2)), ((3,), (4,), (3,)),
     ((2, 3, 1), (3, 4, 1), (2, 3, 1))],
)  # fmt: skip
def test_particles_of_wrong_shapes_are_refused(fixed, updated, score):
    with pytest.raises(ValueError, match=r"SVGD needs fixed particles and scores \(..., K, D\)"):
        svgd_direction(np.ones(fixed), np.ones(updated), np.ones(score), 1.0)


@pytest.mark.parametrize("largest", [1e19, 3e19])
def test_the_bandwidth_is_nan_only_if_a_distance_is(largest):
    """Squares 1e38 and 2 of them are finite, four are not, in float32; 9e38 is not by itself."""
    fixed = np.array([[0.0], [largest]], np.float32)
    updated = np.array([[0.0], [largest]] * 4, np.float32)
    for bandwidth in (_bandwidth.reference, _bandwidth):
        h = np.zeros(1, np.float32)
        with np.errstate(all="ignore"):
            bandwidth(fixed[None], updated[None], h, np.zeros(16, np.float32))
        assert np.isnan(h[0]) == (largest == 3e19)


def test_a_single_fixed_particle_is_refused():
    with pytest.raises(ValueError, match="log 1 = 0"):
        svgd_direction(np.ones((1, 1)), np.ones((2, 1)), np.ones((1, 1)))


def test_the_bandwidth_must_be_positive():
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        svgd_direction(FIXED, UPDATED, SCORE, bandwidth=0)


def test_particles_of_mixed_dtypes_are_promoted():
    whole = np.array([[0], [2]]), np.array([[1], [3]]), np.array([[1], [-1]])
    expected = svgd_direction(*(x.astype(float) for x in whole), 1.0)
    np.testing.assert_allclose(svgd_direction(*whole, 1.0), expected, atol=1e-6)
    narrow = [FIXED.astype(np.float32), UPDATED.astype(np.float32)]
    assert svgd_direction(*narrow, SCORE, 1.0).dtype == np.float64
    assert svgd_direction(*narrow, SCORE.astype(np.float32)).dtype == np.float32
