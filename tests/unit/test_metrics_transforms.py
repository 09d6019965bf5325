"""Probability integral transforms and the tests of their uniformity: right, too wide and too narrow told apart."""

import doctest
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats

from bayesian_layers import metrics
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.metrics import transforms, uniform

KINDS = {  # predicted over true standard deviation, and bias in true standard deviations
    "right": (1.0, 0.0),
    "narrow": (0.5, 0.0),
    "wide": (2.0, 0.0),
    "low": (1.0, -0.5),
    "high": (1.0, 0.5),
}
VERDICTS = {
    "right": "calibrated, as far as this shows",
    "narrow": "too narrow (over-confident)",
    "wide": "too wide (under-confident)",
    "low": "biased downwards",
    "high": "biased upwards",
}


def transformed(kind, n=400, seed=0):
    scale, shift = KINDS[kind]
    y = np.random.default_rng(seed).normal(size=n)
    return metrics.pit_normal(y, np.full(n, shift), scale)


def test_doctests_run():
    results = [doctest.testmod(room) for room in (transforms, uniform)]
    assert sum(result.attempted for result in results) >= 8
    assert not any(result.failed for result in results)


# --- transforms ---------------------------------------------------------------------------------------


def test_pit_normal_is_the_distribution_function():
    y, mean, std = np.array([0.0, 2.0, -9.0]), np.array([0.5, 1.0, 0.0]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(metrics.pit_normal(y, mean, std), stats.norm.cdf(y, mean, std), rtol=1e-12)


def test_pit_stays_strictly_inside():
    p = metrics.pit_normal([50.0, -50.0], [0.0, 0.0], 1.0)
    assert 0 < p[1] < p[0] < 1


@pytest.mark.parametrize("discrete", [False, True])
def test_pit_of_right_draws_is_uniform_for_few_draws_too(discrete):
    rng = np.random.default_rng(1)
    y, draws = (
        rng.poisson(0.7, size) if discrete else rng.normal(size=size) for size in (20_000, (4, 20_000))
    )
    p = metrics.pit(y, draws)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # the mean of 20,000 uniform numbers: 5 standard errors
    assert abs(p.mean() - 0.5) < 5 / np.sqrt(12 * 20_000)


def test_pit_lies_in_the_rank_s_cell_and_repeats():
    p = metrics.pit([0.0, 1.5, 9.0], np.array([[1.0] * 3, [2.0] * 3, [3.0] * 3]), seed=4)
    np.testing.assert_array_equal(np.floor(4 * p), [0, 1, 3])
    np.testing.assert_array_equal(p, metrics.pit([0.0, 1.5, 9.0], [[1.0] * 3, [2.0] * 3, [3.0] * 3], seed=4))


def test_pit_discrete_of_right_and_wrong_bernoulli():
    rng = np.random.default_rng(2)
    q = rng.uniform(0.2, 0.8, 5000)
    y = rng.uniform(size=5000) < q

    def p(predicted):
        return metrics.pit_discrete(np.where(y, 1 - predicted, 0.0), np.where(y, 1.0, 1 - predicted))

    assert metrics.uniformity(p(q)).verdict() == VERDICTS["right"]
    assert metrics.uniformity(p(q - 0.15)).verdict() == VERDICTS["low"]
    assert metrics.uniformity(p(special.expit(4 * special.logit(q)))).p_value < 1e-6


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: metrics.pit([0.0], [0.0, 1.0]), ShapeError),
        (lambda: metrics.pit([0.0, 1.0], [[0.0], [1.0]]), ShapeError),
        (lambda: metrics.pit([0.0], [[np.nan]]), DataError),
        (lambda: metrics.pit([0.0], [[0.0]], seed=-1), DataError),
        (lambda: metrics.pit_normal([0.0], [0.0], [0.0]), DataError),
        (lambda: metrics.pit_discrete([0.5], [0.4]), DataError),
        (lambda: metrics.pit_discrete([0.5], [1.1]), DataError),
        (lambda: metrics.pit_histogram([0.0, 0.5]), DataError),
        (lambda: metrics.pit_histogram([0.2, 0.5], bins=1), DataError),
        (lambda: metrics.pit_histogram([0.2, 0.5], level=1.0), DataError),
        (lambda: metrics.uniformity([0.5]), DataError),
        (lambda: metrics.uniformity([[0.5, 0.2]]), ShapeError),
    ],
)
def test_refused(call, problem):
    with pytest.raises(problem):
        call()


# --- uniformity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_tell_them_apart(kind):
    assert metrics.uniformity(transformed(kind)).verdict() == VERDICTS[kind]


def test_shift_and_spread_are_the_true_ones():
    assert metrics.uniformity(transformed("narrow")).spread == pytest.approx(
        2.0, rel=0.12
    )  # 3 standard errors
    assert metrics.uniformity(transformed("wide")).spread == pytest.approx(0.5, rel=0.12)
    assert metrics.uniformity(transformed("low")).shift == pytest.approx(0.5, abs=0.15)


def test_another_shape_is_named():
    spike = 1 + np.linspace(0, 0.05, 1000)
    z = np.concatenate([spike, -spike])  # two spikes, symmetric, with the right standard deviation
    found = metrics.uniformity(special.ndtr(z / z.std(ddof=1)))
    assert found.verdict() == "of another shape"
    assert found.p_value < 1e-6


def test_p_values_by_other_means():
    p = transformed("right", 50, seed=3)
    found = metrics.uniformity(p)

    # the largest distance of the steps from the diagonal, among 20,000 sets of uniform numbers
    def distance(p):
        ranks, ordered = np.arange(50) / 50, np.sort(p, axis=-1)
        return np.maximum(ranks + 1 / 50 - ordered, ordered - ranks).max(axis=-1)

    share = np.mean(distance(np.random.default_rng(1).uniform(size=(20_000, 50))) >= distance(p))
    assert found.p_value == pytest.approx(share, abs=4 * np.sqrt(0.25 / 20_000))
    z = stats.norm.ppf(p)
    tail = stats.chi2.cdf(49 * z.var(ddof=1), 49)
    assert found.spread_p_value == pytest.approx(2 * min(tail, 1 - tail), rel=1e-8)
    # the symmetry test by drawing the signs again; 4 standard errors of the share
    off = p[np.argsort(-np.abs(p - 0.5))] - 0.5
    signs = np.random.default_rng(0).choice([-1, 1], (20_000, 50))
    largest = np.abs(np.cumsum(np.sign(off))).max()
    share = np.mean(np.abs(np.cumsum(signs, axis=1)).max(axis=1) >= largest)
    assert found.symmetry_p_value == pytest.approx(share, abs=4 * np.sqrt(0.25 / 20_000))


def test_false_alarms_are_as_rare_as_stated():
    rng = np.random.default_rng(5)
    found = [metrics.uniformity(rng.uniform(size=40)) for _ in range(1000)]
    for name in ("p_value", "symmetry_p_value", "spread_p_value"):
        share = np.mean([getattr(each, name) < 0.05 for each in found])
        assert share < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1000)  # a test on a lattice is rarer
        assert share > 0.015
    assert np.mean([each.verdict() != VERDICTS["right"] for each in found]) < 0.05 + 4 * np.sqrt(
        0.05 * 0.95 / 1000
    )


def test_an_invalid_result_cannot_be_built():
    with pytest.raises(DataError, match="p-values"):
        metrics.Uniformity(10, 1.2, 0.5, 0.0, 1.0, 0.5)


# --- histogram ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["right", "narrow", "wide"])
def test_histogram(kind):
    p = transformed(kind)
    table = metrics.pit_histogram(p, bins=10)
    np.testing.assert_array_equal(table.counts, [np.sum(np.floor(10 * p) == k) for k in range(10)])
    assert table.verdict() == VERDICTS[kind]
    assert table.p_value == metrics.uniformity(p).p_value
    outside = set(table.outside.tolist())
    ends, middle = outside & {0, 9}, outside & {4, 5}
    assert outside == set() if kind == "right" else ends == {0, 9} and (kind == "narrow" or middle == {4, 5})
    assert (table.counts[0] > table.upper) == (kind == "narrow")
    assert (table.counts[0] < table.lower) == (kind == "wide")


def test_band_holds_all_bins_together_as_often_as_stated():
    rng = np.random.default_rng(6)
    inside = np.mean(
        [not len(metrics.pit_histogram(rng.uniform(size=200), 10, 0.8).outside) for _ in range(500)]
    )
    assert 0.8 - 4 * np.sqrt(0.16 / 500) < inside < 0.97


@pytest.mark.parametrize(("count", "bins", "level"), [(5, 2, 0.96), (200, 10, 0.95), (1000, 20, 0.2)])
def test_band_by_the_sum_of_the_binomial_law(count, bins, level):
    table = metrics.pit_histogram((np.arange(count) + 0.5) / count, bins, level)
    tail, p = (1 - level) / (2 * bins), Fraction(1, bins)
    law = [float(math.comb(count, k) * p**k * (1 - p) ** (count - k)) for k in range(count + 1)]
    assert sum(law[: table.lower]) <= tail < sum(law[: table.lower + 1])
    assert sum(law[table.upper + 1 :]) <= tail < sum(law[table.upper :])


def test_random_numbers_depend_on_seed_and_row_alone():
    def p(rows, seed):
        return metrics.pit_discrete(np.zeros(rows), np.ones(rows), seed=seed)

    np.testing.assert_array_equal(p(5, 3), p(50, 3)[:5])
    assert not np.array_equal(p(5, 3), p(5, 4))


def test_histogram_checks_itself():
    table = metrics.pit_histogram([0.2, 0.4], bins=2)
    with pytest.raises(ShapeError):
        metrics.PitHistogram(table.edges, np.zeros(3), 1.0, 0, 2, 0.95, table.uniformity)
