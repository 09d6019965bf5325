"""Reliability tables and calibration errors with intervals: right, over- and under-confident told apart."""

import doctest
import math

import numpy as np
import pytest
from scipy import special, stats

from bayesian_layers import metrics
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.metrics import ece_intervals, reliability_tables

SHARPER = {"right": 1.0, "over": 2.5, "under": 0.4}  # what the logits are multiplied by
VERDICTS = {"right": "calibrated, as far as this shows", "over": "over-confident", "under": "under-confident"}


def case(kind, n=800, seed=0):
    rng = np.random.default_rng(seed)
    p = special.expit(1.5 * rng.normal(size=n))
    return (rng.uniform(size=n) < p).astype(int), special.expit(SHARPER[kind] * special.logit(p))


def test_doctests_run():
    results = [doctest.testmod(room) for room in (ece_intervals, reliability_tables)]
    assert sum(result.attempted for result in results) >= 4
    assert not any(result.failed for result in results)


def test_table_by_loops():
    y, p = case("over")
    table = metrics.reliability(y, p, bins=8, event=1, level=0.9)
    for b in range(8):
        inside = (p > b / 8) & (p <= (b + 1) / 8)
        assert table.count[b] == inside.sum()
        assert table.confidence[b] == pytest.approx(p[inside].mean(), rel=1e-12)
        assert table.frequency[b] == pytest.approx(y[inside].mean(), rel=1e-12)
        spread = np.sqrt(np.sum(p[inside] * (1 - p[inside]))) / inside.sum()
        assert table.stderr[b] == pytest.approx(spread, rel=1e-12)
        bar = stats.binomtest(int(y[inside].sum()), int(inside.sum())).proportion_ci(0.9, "wilson")
        assert (table.lower[b], table.upper[b]) == pytest.approx((bar.low, bar.high), rel=1e-9)
    z = (table.frequency - table.confidence) / table.stderr
    half = (
        z @ z / 2
    )  # with 8 degrees of freedom the tail of a chi-square variable is that of Poisson's below 4
    assert table.p_value == pytest.approx(
        math.exp(-half) * sum(half**k / math.factorial(k) for k in range(4)), rel=1e-9
    )


def test_wilsons_interval_solves_its_equation():
    successes, trials = np.array([0.0, 3.0, 17.0, 20.0]), np.array([5.0, 10.0, 40.0, 20.0])
    share, z = successes / trials, stats.norm.isf(0.025)
    low, high = reliability_tables._wilson_interval(successes, trials, 0.95)
    for end in (low, high):
        inner = (end > 1e-9) & (end < 1 - 1e-9)
        score = (share - end)[inner] / np.sqrt(end * (1 - end) / trials)[inner]
        np.testing.assert_allclose(np.abs(score), z, rtol=1e-9)
    assert low[0] == 0.0
    assert high[3] == 1.0
    assert high[0] > 0.3
    assert low[3] < 0.9


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error_is_ece(bins):
    rng = np.random.default_rng(4)
    table = rng.dirichlet(np.ones(4), 300)
    y = rng.integers(0, 4, 300)
    assert metrics.reliability(y, table, bins).calibration_error == pytest.approx(
        metrics.ece(y, table, bins), rel=1e-12
    )
    assert metrics.ece_interval(y, table, bins, num_draws=100).ece == pytest.approx(
        metrics.ece(y, table, bins)
    )


@pytest.mark.parametrize("event", [None, 0, 1])
@pytest.mark.parametrize("kind", SHARPER)
def test_right_over_and_under(kind, event):
    table = metrics.reliability(*case(kind), bins=10, event=event)
    assert table.verdict() == VERDICTS[kind]
    assert table.verdict(1e-300) == VERDICTS["right"]
    with pytest.raises(DataError, match="level"):
        table.verdict(5)
    assert kind == "right" or (table.overconfidence > 0.03) == (kind == "over")


def test_empty_bins_are_nan_and_count_for_nothing():
    table = metrics.reliability([1, 0], [0.9, 0.8], bins=4, event=1)
    np.testing.assert_array_equal(np.isnan(table.confidence), [True, True, True, False])
    assert table.calibration_error == pytest.approx(0.35)
    assert np.isnan(table.lower[0])


def test_certain_and_wrong_is_no_chance():
    assert metrics.reliability([1, 1, 0], [1.0, 1.0, 0.0]).p_value == 1.0
    assert metrics.reliability([1, 0], [1.0, 1.0]).p_value == 0.0


def test_p_value_is_uniform_for_right_probabilities():
    p = np.array([metrics.reliability(*case("right", 500, seed), bins=5).p_value for seed in range(400)])
    assert stats.kstest(p, "uniform").pvalue > 0.001


# --- the interval -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHARPER)
def test_interval_tells_them_apart(kind):
    found = metrics.ece_interval(*case(kind), bins=10)
    assert (found.p_value < 0.05) == (kind != "right")
    assert (found.lower > 0.03) == (kind != "right")
    assert 0 <= found.lower <= found.corrected <= found.upper
    assert (
        found.corrected < found.ece + 0.1 * found.stderr
    )  # noise only adds, but draws have some of their own
    assert (found.ece > found.expected + 2 * found.stderr) == (kind != "right")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "off", "bins"), [(300, 0.0, 5), (300, 0.1, 5), (300, 0.1, 1), (3000, 0.05, 10)]
)
def test_interval_holds_the_true_error(n, off, bins):
    """True shares are ``off`` below the probabilities in every bin, so that the true error is ``off``."""
    rng, runs = np.random.default_rng(7), 150
    held = 0
    for seed in range(runs):
        p = rng.uniform(0.6, 0.95, n)
        y = rng.uniform(size=n) < p - off
        found = metrics.ece_interval(y, p, bins, num_draws=200, seed=seed)
        held += found.lower <= off <= found.upper
    assert held / runs > 0.95 - 4 * np.sqrt(0.05 * 0.95 / runs)


def test_interval_has_a_width_where_the_gaps_are_hidden_by_chance():
    found = metrics.ece_interval([1] * 90 + [0] * 10, [0.9] * 100, bins=1)  # no gap at all is seen
    assert found.ece < 1e-12
    assert found.lower == 0.0
    assert 0.03 < found.upper < 0.12  # one to four standard deviations, 0.03, of the share


def test_interval_shrinks_with_rows_and_repeats():
    small, large = (metrics.ece_interval(*case("over", n), bins=10, seed=3) for n in (500, 50_000))
    assert large.upper - large.lower < 0.2 * (small.upper - small.lower)
    assert large.stderr < 0.2 * small.stderr
    assert small == metrics.ece_interval(*case("over", 500), bins=10, seed=3)


def test_expected_and_p_value_by_drawing_labels():
    _, p = case("right", 200)
    confidence = np.maximum(p, 1 - p)
    y = (p > 0.5).astype(int)
    rng = np.random.default_rng(9)
    seen = []
    for _ in range(400):
        right = rng.uniform(size=200) < confidence
        seen.append(metrics.ece(np.where(right, y, 1 - y), p, 5))
    found = metrics.ece_interval(y, p, 5)
    # ours takes each bin's rows to be alike in probability, which adds a little to the variance
    assert found.expected == pytest.approx(np.mean(seen), rel=0.1)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: metrics.reliability([0, 1], [[0.5, 0.5]]), ShapeError),
        (lambda: metrics.reliability([0, 2], [0.5, 0.5]), DataError),
        (lambda: metrics.reliability([0, 1], [0.5, 0.5], event=2), DataError),
        (lambda: metrics.reliability([0, 1], [0.5, 0.5], bins=0), DataError),
        (lambda: metrics.reliability([0, 1], [0.5, 0.5], level=1.5), DataError),
        (lambda: metrics.ece_interval([0, 1], [0.5, 1.5]), DataError),
        (lambda: metrics.ece_interval([0, 1], [0.5, 0.5], num_draws=10), DataError),
        (lambda: metrics.ece_interval([0, 1], [0.5, 0.5], seed=-1), DataError),
        (lambda: metrics.EceInterval(0.1, 0.3, 0.0, 0.0, 0.2, 0.95, 0.0, 1.0), DataError),
        (lambda: metrics.Reliability(np.arange(3), *[np.zeros(2)] * 5, np.zeros(3), 0.95, None), ShapeError),
    ],
)
def test_refused(call, problem):
    with pytest.raises(problem):
        call()
