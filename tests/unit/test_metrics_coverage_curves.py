"""Coverage at all levels: right, too wide and too narrow intervals told apart."""

import doctest

import numpy as np
import pytest
from scipy import stats

from bayesian_layers import metrics
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.metrics import coverage_curves

VERDICTS = {
    1.0: "calibrated, as far as this shows",
    0.5: "too narrow (over-confident)",
    2.0: "too wide (under-confident)",
}


def normal_curve(scale, n=300, seed=0):
    y = np.random.default_rng(seed).normal(size=n)
    return y, metrics.coverage_curve(metrics.pit_normal(y, np.zeros(n), scale))


def test_doctests_run():
    result = doctest.testmod(coverage_curves)
    assert result.attempted >= 2
    assert not result.failed


@pytest.mark.parametrize("scale", VERDICTS)
def test_right_narrow_and_wide(scale):
    _, curve = normal_curve(scale)
    assert curve.verdict() == VERDICTS[scale]
    assert curve.verdict(1e-300) == VERDICTS[1.0]
    with pytest.raises(DataError, match="level"):
        curve.verdict(5)
    assert (np.abs(curve.shares - curve.levels).max() > curve.band(0.95)) == (scale != 1.0)
    # the share that Normal intervals with a wrong standard deviation contain, within 4 standard errors
    expected = 2 * stats.norm.cdf(scale * stats.norm.ppf((1 + curve.levels) / 2)) - 1
    assert np.all(np.abs(curve.shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / 300) + 1e-9)
    assert np.sign(curve.off) == np.sign(scale - 1) or scale == 1.0


def test_agrees_with_coverage_of_single_levels():
    y, curve = normal_curve(0.7)
    for level, share in zip(curve.levels, curve.shares, strict=True):
        half = 0.7 * stats.norm.ppf((1 + level) / 2)
        assert share == metrics.coverage(y, np.full(300, -half), np.full(300, half))
    np.testing.assert_allclose(curve.stderr, np.sqrt(curve.levels * (1 - curve.levels) / 300))


def test_intervals_given_are_the_same_curve():
    y, curve = normal_curve(0.7)
    half = 0.7 * stats.norm.ppf((1 + curve.levels) / 2)[:, np.newaxis] * np.ones(300)
    np.testing.assert_array_equal(
        metrics.interval_coverage_curve(y, -half, half, curve.levels).shares, curve.shares
    )
    open_ended = metrics.interval_coverage_curve(y, np.full((1, 300), -np.inf), np.zeros((1, 300)), [0.5])
    assert open_ended.shares[0] == np.mean(y <= 0)


def test_false_alarms_and_the_band_are_at_most_as_frequent_as_stated():
    rng = np.random.default_rng(1)
    curves = [metrics.coverage_curve(rng.uniform(0.001, 0.999, 100)) for _ in range(500)]
    alarms = np.mean([curve.p_value < 0.05 for curve in curves])
    outside = np.mean([np.abs(curve.shares - curve.levels).max() > curve.band(0.95) for curve in curves])
    assert alarms == outside  # the band is the test
    assert 0.005 < alarms < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: metrics.coverage_curve([0.5, 1.5]), DataError),
        (lambda: metrics.coverage_curve([[0.5]]), ShapeError),
        (lambda: metrics.coverage_curve([0.5], levels=[0.9, 0.5]), DataError),
        (lambda: metrics.coverage_curve([0.5], levels=[0.5, 1.0]), DataError),
        (lambda: metrics.interval_coverage_curve([1.0], [[2.0]], [[0.0]], [0.5]), DataError),
        (lambda: metrics.interval_coverage_curve([1.0], [0.0], [[2.0]], [0.5]), ShapeError),
        (lambda: metrics.coverage_curve([0.5]).band(0.0), DataError),
        (lambda: metrics.CoverageCurve(np.array([0.5]), np.zeros(2), np.zeros(1), 3), ShapeError),
    ],
)
def test_refused(call, problem):
    with pytest.raises(problem):
        call()
