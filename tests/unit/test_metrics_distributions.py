"""The few distributions behind tests of calibration, against scipy's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from bayesian_layers.metrics import _distributions as ours

TIGHT = 1e-8  # torch's expansion of the incomplete gamma function differs from scipy's by 1e-9


def test_normal_cdf_and_quantile():
    z = np.linspace(-8, 5, 53)
    np.testing.assert_allclose(ours.normal_cdf(z), stats.norm.cdf(z), rtol=TIGHT)
    np.testing.assert_allclose(ours.normal_quantile(stats.norm.cdf(z)), z, rtol=1e-8, atol=TIGHT)


@pytest.mark.parametrize(("statistic", "degrees"), [(0.3, 1), (12.0, 10), (250.0, 199)])
def test_chi_square(statistic, degrees):
    lower, upper = ours.chi_square_tails(statistic, degrees)
    assert lower == pytest.approx(stats.chi2.cdf(statistic, degrees), rel=TIGHT)
    assert upper == pytest.approx(stats.chi2.sf(statistic, degrees), rel=TIGHT)


@pytest.mark.parametrize("count", [10, 30, 100, 1000])
def test_kolmogorov_within_its_4_percent_of_the_exact_value(count):
    for tail in (0.5, 0.2, 0.05, 0.01):
        distance = stats.kstwo.isf(tail, count)
        assert ours.kolmogorov_tail(distance, count) == pytest.approx(tail, rel=0.04)
        assert ours.kolmogorov_tail(ours.kolmogorov_distance(tail, count), count) == pytest.approx(tail)


def test_kolmogorov_of_tiny_and_largest_distances():
    assert ours.kolmogorov_tail(1e-4, 100) == 1.0
    assert ours.kolmogorov_tail(1.0, 1000) < 1e-12


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_walk_by_counting_every_walk(steps):
    reached = [max(abs(np.cumsum(walk))) for walk in itertools.product((-1, 1), repeat=steps)]
    for reach in range(steps + 2):
        assert ours.walk_tail(reach, steps) == pytest.approx(np.mean(np.array(reached) >= reach), abs=1e-12)


def test_walk_of_many_steps_is_brownian():
    # P(max |B| >= c) by the reflection principle; the lattice adds one of 1000 / (c sqrt(n)) steps
    n, c = 1_000_000, 2.0
    sides = sum(2 * (-1) ** k * 2 * stats.norm.sf((2 * k + 1) * c) for k in range(4))
    assert ours.walk_tail(round(c * n**0.5), n) == pytest.approx(sides, rel=0.01)


@pytest.mark.parametrize(
    ("trials", "probability", "tail"), [(5, 0.5, 0.01), (200, 0.1, 0.0025), (1000, 0.05, 0.02)]
)
def test_binomial_range(trials, probability, tail):
    low, high = ours.binomial_range(trials, probability, tail)
    law = stats.binom(trials, probability)
    assert law.cdf(low - 1) <= tail < law.cdf(low)
    assert law.sf(high) <= tail < law.sf(high - 1)


def test_wilson_solves_its_equation():
    successes, trials = np.array([0.0, 3.0, 17.0, 20.0]), np.array([5.0, 10.0, 40.0, 20.0])
    share, z = successes / trials, stats.norm.isf(0.025)
    low, high = ours.wilson_interval(successes, trials, 0.95)
    for end in (low, high):
        inner = (end > 1e-9) & (end < 1 - 1e-9)
        score = (share - end)[inner] / np.sqrt(end * (1 - end) / trials)[inner]
        np.testing.assert_allclose(np.abs(score), z, rtol=1e-9)
    assert low[0] == 0.0
    assert high[3] == 1.0
    assert high[0] > 0.3
    assert low[3] < 0.9


def test_stream_depends_on_seed_and_number_alone():
    np.testing.assert_array_equal(ours.uniform_stream(3, 5), ours.uniform_stream(3, 50)[:5])
    assert not np.array_equal(ours.uniform_stream(3, 5), ours.uniform_stream(4, 5))
