"""Statistics of several runs, against numbers worked out by hand and slow loops."""

import itertools

import numpy as np
import pytest

from npr.errors import ConfigError
from npr.plot import statistics as st


def test_a_moving_mean_is_over_an_episode_and_those_before_it():
    assert st.moving_mean(np.array([1.0, 2, 6, 4, 0]), 3).tolist() == [1, 1.5, 3, 4, 10 / 3]


def test_a_moving_mean_equals_a_slow_loop():
    y = np.random.default_rng(0).standard_normal(50)
    for window in (1, 7, 50, 80):
        slow = [y[max(0, i - window + 1) : i + 1].mean() for i in range(50)]
        np.testing.assert_allclose(st.moving_mean(y, window), slow, atol=1e-12)


def test_runs_with_the_same_x_are_compared_at_it():
    x = np.array([10.0, 30, 35])
    assert st.common_grid([x, x.copy()], points=7).tolist() == [10, 30, 35]


def test_other_runs_are_compared_in_the_range_that_all_cover():
    grid = st.common_grid([np.array([0.0, 50, 90]), np.array([20.0, 100])], points=8)
    np.testing.assert_allclose(grid, [20, 30, 40, 50, 60, 70, 80, 90])


def test_runs_without_a_common_range_are_refused():
    with pytest.raises(ConfigError, match="one begins at 20, another ends at 10"):
        st.common_grid([np.array([0.0, 10]), np.array([20.0, 30])])


def test_interpolation_is_linear_and_takes_the_last_of_several_values():
    x, y = np.array([0.0, 10, 10, 20]), np.array([0.0, 5, 7, 17])
    assert st.interpolated(x, y, np.array([5.0, 10, 15])).tolist() == [3.5, 7, 12]


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ([3.0], 3.0),
        ([1.0, 2, 9], 4.0),  # three: none is cut
        ([0.0, 4, 6, 100], 5.0),
        ([100.0, 1, 2, 3, -50], 2.0),
        ([0.0, 0, 1, 2, 3, 4, 9, 99], 2.5),
    ],
)
def test_the_interquartile_mean_drops_a_quarter_at_each_end(numbers, expected):
    assert st.iqm(np.array(numbers)) == expected


def test_the_interquartile_mean_of_curves_is_that_at_each_point():
    y = np.random.default_rng(0).standard_normal((9, 5))
    slow = [np.mean(sorted(column)[2:7]) for column in y.T.tolist()]
    np.testing.assert_allclose(st.iqm(y), slow)


# ---- the bootstrap


def all_resamples(scores, statistic):
    """The statistic of every one of the n^n equally likely resamples."""
    return np.array([statistic(np.array(draw)) for draw in itertools.product(scores, repeat=3)])


def test_an_interval_has_the_quantiles_of_all_resamples():
    scores = np.array([0.0, 1.0, 5.0])
    exact = np.quantile(all_resamples(scores, np.mean), [0.1, 0.9])
    drawn = st.bootstrap(scores, interval=0.8, resamples=5_000)
    np.testing.assert_allclose(drawn, exact, atol=1e-12)


def test_an_interval_of_a_normal_mean_is_about_two_standard_errors():
    scores = np.random.default_rng(1).standard_normal(400)
    low, high = st.bootstrap(scores, resamples=1_000)
    error = scores.std() / 20
    np.testing.assert_allclose([low, high], scores.mean() + 1.96 * error * np.array([-1, 1]),
                               atol=0.15 * error)  # fmt: skip


def test_an_interval_is_the_same_each_time_and_depends_on_the_seed():
    scores = np.random.default_rng(0).standard_normal((6, 4))
    one, same, other = (st.bootstrap(scores, resamples=50, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (np.array(one) != np.array(other)).any()


def test_resampling_keeps_the_runs_of_each_task():
    """Each task has equal runs: their mean has no spread, unless runs change tasks."""
    tasks = [np.full(4, 1.0), np.full(4, 9.0)]
    assert st.bootstrap(tasks, resamples=50) == (5, 5)
    low, high = st.bootstrap(np.concatenate(tasks), resamples=50)
    assert low < 4 and high > 6


def test_a_single_run_has_an_interval_of_one_point():
    assert st.bootstrap(np.array([3.0]), resamples=10) == (3, 3)


@pytest.mark.parametrize("interval", [0, 1, 1.5, -0.1])
def test_intervals_outside_of_0_to_1_are_refused(interval):
    with pytest.raises(ConfigError, match="interval must be between 0 and 1"):
        st.bootstrap(np.ones(3), interval=interval, resamples=10)


@pytest.mark.parametrize("name", ["window", "resamples"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_counts_that_are_no_whole_numbers_are_refused(name, value):
    message = f"{name} must be a whole number of at least 1, got {value}"
    with pytest.raises(ConfigError, match=message):
        if name == "window":
            st.moving_mean(np.ones(3), value)
        else:
            st.bootstrap(np.ones(3), resamples=value)


def test_no_runs_are_refused():
    with pytest.raises(ConfigError, match="need at least one run of each task, got none"):
        st.bootstrap([np.ones(3), np.ones(0)])


# ---- profiles and comparisons


def test_a_profile_is_the_share_of_runs_above_each_score():
    scores = np.array([1.0, 2, 2, 4])
    shares = st.profile(scores, np.array([0, 1, 1.5, 2, 3, 4]))
    assert shares.tolist() == [1, 0.75, 0.75, 0.25, 0.25, 0]


def test_a_profile_averages_tasks_of_different_numbers_of_runs():
    tasks = [np.array([0.0, 2]), np.array([2.0, 2, 2, 0])]
    assert st.profile(tasks, np.array([1.0])).tolist() == [(1 / 2 + 3 / 4) / 2]


def test_the_interval_of_a_profile_is_that_of_the_shares():
    """The share of one of three runs above 1 is 0, 1/3, 2/3 or 1 in a resample."""
    scores = np.array([0.0, 0.0, 2.0])
    low, high = st.profile_interval(scores, np.array([1.0, 3.0]), interval=0.8, resamples=5_000)
    exact = np.quantile(all_resamples(scores, lambda x: (x > 1).mean()), [0.1, 0.9])
    np.testing.assert_allclose([low[0], high[0]], exact, atol=1e-12)
    assert (low[1], high[1]) == (0, 0)


def mann_whitney(x, y):
    """Pairs that x wins, ties one half, as a share of all pairs."""
    return sum((a > b) + 0.5 * (a == b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize(
    "x, y, expected",
    [([1, 2], [3, 4], 0.0), ([3, 4], [1, 2], 1.0), ([1, 2], [1, 2], 0.5), ([2], [1, 2, 3], 0.5),
     ([5, 1, 1], [1, 0], 5 / 6)],
)  # fmt: skip
def test_the_probability_of_improvement_counts_ties_one_half(x, y, expected):
    got = st.probability_of_improvement(np.array(x, float), np.array(y, float))
    assert got == pytest.approx(mann_whitney(x, y)) == pytest.approx(expected)


def test_the_probability_of_improvement_averages_tasks():
    x = [np.array([1.0, 2]), np.array([0.0])]
    y = [np.array([0.0]), np.array([1.0, 2, 3])]
    assert st.probability_of_improvement(x, y) == 0.5


def test_the_probability_of_improvement_needs_the_same_tasks():
    with pytest.raises(ConfigError, match="need the same tasks, got 1 and 2"):
        st.probability_of_improvement(np.ones(2), [np.ones(2), np.ones(2)])


def test_the_interval_of_an_improvement_resamples_both_sets():
    x, y = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    exact = [
        mann_whitney(a, b)
        for a in itertools.product(x, repeat=2)
        for b in itertools.product(y, repeat=2)
    ]
    drawn = st.improvement_interval(x, y, interval=0.8, resamples=5_000)
    np.testing.assert_allclose(drawn, np.quantile(exact, [0.1, 0.9]), atol=1e-12)
